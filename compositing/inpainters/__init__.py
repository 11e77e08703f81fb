"""Inpainters: who fills the hole that the actors leave. One table, `INPAINTERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from compositing.inpainters.base import Inpainter
from l2a.backends import make_backend


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

    return TemporalInpainter(make_spatial_inpainter(argument) if argument else None)


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
