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


def make_inpainter(spec: str) -> Inpainter:
    """The inpainter that `spec` names, such as "temporal" or "lama:/data/big-lama.pt".

    Raises:
        InputError: there is no inpainter of that name, or not with that argument, or its weights
            are not there.
    """
    return make_backend("inpainter", spec, INPAINTERS)


def make_spatial_inpainter(spec: str) -> Inpainter | None:
    """The inpainter of `temporal:SPEC`, for what no frame shows; None for "smooth".

    Raises:
        InputError: as `make_inpainter`; nor can it be one that leaves that as it is.
    """
    return make_backend("spatial inpainter", spec, SPATIAL_INPAINTERS)


def _temporal(argument: str) -> Inpainter:
    from compositing.inpainters.temporal import TemporalInpainter

    return TemporalInpainter.from_argument(argument)


def _lama(argument: str) -> Inpainter:
    from compositing.inpainters.lama import LamaInpainter

    return LamaInpainter.from_argument(argument)


def _opencv(argument: str) -> Inpainter:
    from compositing.inpainters.spatial import SpatialInpainter

    return SpatialInpainter.from_argument(argument)


def _none(argument: str) -> Inpainter:
    from compositing.inpainters.spatial import NoInpainter

    return NoInpainter.from_argument(argument)


def _smooth(argument: str) -> None:
    from compositing.inpainters.spatial import refuse_argument

    refuse_argument("smooth", argument)


INPAINTERS: Mapping[str, Callable[[str], Inpainter]] = MappingProxyType(
    {"temporal": _temporal, "lama": _lama, "opencv": _opencv, "none": _none}
)
"""What they are called with:

- `temporal`: other frames of the shot, the rest a smooth fill. `temporal:SPATIAL`: the rest by one
  of `SPATIAL_INPAINTERS`, once per shot.
- `lama`: the network LaMa in every frame, from torch hub's folder; `lama:PATH`: from there.
- `opencv`, which is `opencv:telea`; `opencv:ns`: Navier-Stokes.
- `none`: the actors stay.
"""

SPATIAL_INPAINTERS: Mapping[str, Callable[[str], Inpainter | None]] = MappingProxyType(
    {"smooth": _smooth, "lama": _lama, "opencv": _opencv}
)
"""Who makes up for `temporal` what no frame shows: `smooth` (its own default), or one of these."""
