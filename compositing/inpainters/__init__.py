"""Inpainters: who fills the hole that the actors leave. One table, `INPAINTERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2a.backends import make_backend


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
    def looks_behind(self) -> bool:
        """Whether it uses what other frames show, so that `unseen` tells a good fill from a bad."""
        ...

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """Fill `holes` (bool [T, H, W]) in `frames` (uint8 [T, H, W, 3], RGB)."""
        ...


@dataclass(frozen=True, slots=True)
class HostedInpainter:
    """An inpainter that lives in another process.

    Attributes:
        identity, looks_behind: those of the inpainter itself.
        answer: asks it.
    """

    identity: str
    looks_behind: bool
    answer: Callable[..., Inpainted]

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """See `Inpainter`."""
        return self.answer(frames, holes)


def make_inpainter(spec: str) -> Inpainter:
    """The inpainter that `spec` names, such as "temporal".

    Raises:
        InputError: there is no inpainter of that name, or it does not take that argument.
    """
    return make_backend("inpainter", spec, INPAINTERS)


def _temporal(argument: str) -> Inpainter:
    from compositing.inpainters.temporal import TemporalInpainter

    return TemporalInpainter.from_argument(argument)


def _opencv(argument: str) -> Inpainter:
    from compositing.inpainters.spatial import SpatialInpainter

    return SpatialInpainter.from_argument(argument)


def _none(argument: str) -> Inpainter:
    from compositing.inpainters.spatial import NoInpainter

    return NoInpainter.from_argument(argument)


INPAINTERS: Mapping[str, Callable[[str], Inpainter]] = MappingProxyType(
    {"temporal": _temporal, "opencv": _opencv, "none": _none}
)
