"""Inpainters that look at one frame at a time, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.inpainters.base import Inpainted
from l2a.errors import InputError

RADIUS = 3
"""OpenCV's neighbourhood in pixels: larger blurs, smaller draws streaks."""
SWEEPS = 12
"""Relaxation steps at each scale: more change nothing that can be seen."""
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


METHODS: Mapping[str, int] = MappingProxyType({"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS})
"""Telea's fast marching method (2004), and Bertalmio et al.'s fluid dynamics (2001)."""


class SpatialInpainter:
    """OpenCV's inpainting in every frame by itself.

    Args:
        method: a name in `METHODS`.
    """

    uses_other_frames = False

    def __init__(self, method: str = "telea") -> None:
        self.identity = f"opencv {method} {RADIUS}"
        self._method = METHODS[method]

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """The inpainter of `opencv` or `opencv:METHOD`.

        Raises:
            InputError: there is no such method.
        """
        if argument not in ("", *METHODS):
            known = ", ".join(METHODS)
            raise InputError(f"OpenCV has no inpainting {argument!r}; choose one of: {known}.")
        return cls(argument or "telea")

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """Fill each frame's hole from the pixels around it; one that is all hole stays."""
        filled = frames.copy()
        for picture, hole in zip(filled, holes, strict=True):
            # Of a picture a pixel high or wide, OpenCV makes what happens to lie in memory.
            if hole.any() and not hole.all() and min(hole.shape) > 1:
                box = box_around(hole, 2 * RADIUS)  # what is farther away is not looked at
                within = hole[box]
                made_up = cv2.inpaint(
                    np.ascontiguousarray(picture[box]),
                    within.astype(np.uint8),
                    RADIUS,
                    self._method,
                )
                picture[box][within] = made_up[within]
        return Inpainted(filled, holes.copy())


class NoInpainter:
    """Leaves the actors where they are: the paper's Table 2, without inpainting."""

    identity = "none"
    uses_other_frames = False

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """The inpainter of `none`, which takes no argument."""
        refuse_argument("none", argument)
        return cls()

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        """The frames as they are; the whole hole counts as unseen."""
        return Inpainted(frames.copy(), holes.copy())


def refuse_argument(name: str, argument: str) -> None:
    """Raise `InputError` when text follows the colon of a back end that takes none."""
    if argument:
        raise InputError(f"The inpainter {name!r} takes no argument, but was given {argument!r}.")


def box_around(places: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The smallest box (rows, columns) that holds all true `places` and `margin` pixels more."""
    left, top, width, height = cv2.boundingRect(places.astype(np.uint8))
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )


def fill_smoothly(picture: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Make up the unknown part of a picture: a membrane stretched between the known colours.

    Laplace's equation, solved from coarse to fine: each scale starts from the next coarser one and
    relaxes for `SWEEPS` steps. What is made up meets its surroundings without a seam, so that no
    outline of the actor stays, and lies between the known colours; Telea's method, on holes as
    large as an actor, draws rays and overshoots.

    Args:
        picture: uint8 [H, W, 3], RGB.
        known: bool [H, W].

    Returns:
        uint8 [H, W, 3]: `picture` where `known`, made up elsewhere. All-unknown gives mid-grey.
    """
    if not known.any():
        return np.full_like(picture, 127)
    weight = known.astype(np.float32)[:, :, None]
    scales = [np.concatenate([picture * weight, weight], axis=2)]
    while scales[-1][:, :, 3].min() == 0:
        height, width = (max(1, side // 2) for side in scales[-1].shape[:2])
        scales.append(cv2.resize(scales[-1], (width, height), interpolation=cv2.INTER_AREA))
    filled = scales[-1][:, :, :3] / scales[-1][:, :, 3:]
    for scale in reversed(scales[:-1]):
        height, width = scale.shape[:2]
        fixed = scale[:, :, 3:] > 0
        colours = scale[:, :, :3] / np.where(fixed, scale[:, :, 3:], 1)
        filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        for _ in range(SWEEPS):
            filled = np.where(fixed, colours, filled.reshape(height, width, 3))
            filled = cv2.filter2D(filled, -1, NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
    made_up = np.rint(filled).reshape(picture.shape).astype(np.uint8)
    return np.where(known[:, :, None], picture, made_up)
