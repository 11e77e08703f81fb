"""Poisson image editing: the foreground's gradients on the background's colours.

Poisson Image Editing (Pérez et al., SIGGRAPH 2003), as OpenCV's `seamlessClone` sets it up: the
guiding field is the foreground's gradient inside the mask and the background's around it, in the
rectangle around the mask, on whose border the background is given. A rectangle is what sine
transforms solve exactly, and at these sizes they are products with small matrices, several times
faster than OpenCV (benchmarks/composite_speed.py).
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

_CLOSED = 3
"""Pixels by which the mask is closed: gaps up to twice as wide are bridged by the foreground."""

REACH = _CLOSED + 1
"""Pixels past the mask at which the foreground's gradients are used."""

_MARGIN = REACH + 1
"""Pixels around a frame, so that no widened mask meets its border: there, pictures continue."""


def clone(foreground: Frame, mask: NDArray[np.bool_], canvas: Frame) -> None:
    """Clone the foreground into one frame; only what lies in the mask is written.

    Args:
        foreground: uint8 [H, W, 3], RGB.
        mask: bool [H, W], true somewhere.
        canvas: uint8 [H, W, 3], RGB: holds the background, is written to.
    """
    shape = _framed(mask.astype(np.uint8), cv2.BORDER_CONSTANT)
    square = np.ones((2 * _CLOSED + 1,) * 2, np.uint8)
    hole = cv2.dilate(shape, square)
    left, top, width, height = cv2.boundingRect(hole)
    rectangle = (slice(top, top + height), slice(left, left + width))
    inside = cv2.erode(hole, square)[rectangle].astype(np.float32)

    whole = _framed(canvas, cv2.BORDER_REPLICATE)
    scene = whole[rectangle]
    source = _framed(foreground, cv2.BORDER_REPLICATE)[rectangle]
    difference = cv2.subtract(source, scene, dtype=cv2.CV_32F)
    # The clone is the scene plus what solves Δv = div(inside · ∇difference), with v = 0 around.
    cloned = cv2.add(scene, _solve(_divergence(difference, inside)), dtype=cv2.CV_8U)
    cv2.copyTo(cloned, np.ascontiguousarray(shape[rectangle]), scene)
    canvas[:] = whole[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _framed(frame: NDArray[np.uint8], border: int) -> NDArray[np.uint8]:
    """A frame or a mask, `_MARGIN` pixels larger on all sides."""
    return np.asarray(cv2.copyMakeBorder(frame, *(_MARGIN,) * 4, border), np.uint8)


def _divergence(
    difference: NDArray[np.float32], inside: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Divergence of the difference's gradient inside, at the inner points: [3, H − 2, W − 2].

    Gradients are forward differences and belong to the pixel that they start from; the divergence
    takes backward differences of them.

    Args:
        difference: float32 [H, W, 3].
        inside: float32 [H, W], 0 or 1.
    """
    planes = np.ascontiguousarray(difference.transpose(2, 0, 1))
    down, right = (np.diff(planes, axis=axis) for axis in (1, 2))
    down *= inside[:-1]
    right *= inside[:, :-1]
    found = down[:, 1:, 1:-1] - down[:, :-1, 1:-1]
    found += right[:, 1:-1, 1:]
    found -= right[:, 1:-1, :-1]
    return found


def _solve(divergence: NDArray[np.float32]) -> NDArray[np.float32]:
    """What has this Laplacian and is 0 on the border: float32 [H, W, 3] of [3, H − 2, W − 2].

    The five-point Laplacian with a fixed border is diagonal under the discrete sine transform.
    """
    height, width = divergence.shape[1:]
    (rows, of_rows), (columns, of_columns) = _sines(height), _sines(width)
    spectrum = rows @ divergence @ columns
    spectrum /= of_rows[:, None] + of_columns
    solved = np.zeros((height + 2, width + 2, 3), np.float32)
    solved[1:-1, 1:-1] = (rows @ spectrum @ columns).transpose(1, 2, 0)
    return solved


@functools.lru_cache(maxsize=256)
def _sines(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The sine transform of so many points, its own inverse, and the eigenvalues of x'' under it.

    Returns:
        float32 [count, count] and float32 [count].
    """
    order = np.arange(1, count + 1)
    angle = math.pi / (count + 1)
    sines = math.sqrt(2 / (count + 1)) * np.sin(angle * np.outer(order, order))
    return sines.astype(np.float32), (2 * np.cos(angle * order) - 2).astype(np.float32)
