"""What an inpainter is, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Inpainted:
    """Frames whose holes are filled.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB; outside the holes exactly the input.
        unseen: bool [T, H, W], the pixels of the holes whose content no frame showed, so that it
            had to be made up. An inpainter that does not look into other frames makes up all.
    """

    frames: NDArray[np.uint8]
    unseen: NDArray[np.bool_]


class Inpainter(Protocol):
    """Fills the holes of a video."""

    @property
    def identity(self) -> str:
        """Name, checksum of the weights and own settings: changes when the result does."""
        ...

    @property
    def uses_other_frames(self) -> bool:
        """Whether it uses what other frames show, so that `unseen` tells a good fill from a bad."""
        ...

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """Fill `holes` (bool [T, H, W]) in `frames` (uint8 [T, H, W, 3], RGB)."""
        ...


@dataclass(frozen=True, slots=True)
class HostedInpainter:
    """An inpainter that lives in another process.

    Attributes:
        identity, uses_other_frames: those of the inpainter itself.
        infer: asks it: frames and holes ─► what it gives.
    """

    identity: str
    uses_other_frames: bool
    infer: Callable[..., Inpainted]

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """See `Inpainter`."""
        return self.infer(frames, holes)
