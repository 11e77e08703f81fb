"""Poisson image editing: the foreground's gradients on the background's colours.

Poisson Image Editing (Pérez et al., SIGGRAPH 2003), as OpenCV's `seamlessClone` sets it up: the
guiding field is the foreground's gradient inside the mask and the background's around it, in the
rectangle around the mask, on whose border the background is given. A rectangle is what sine
transforms solve exactly, and at these sizes they are products with small matrices: a tenth of
OpenCV's time (benchmarks/composite_speed.py).
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


def clone(foreground: Frame, mask: NDArray[np.bool_], canvas: Frame) -> None:
    """Clone the foreground into one frame; only what lies in the mask is written.

    Args:
        foreground: uint8 [H, W, 3], RGB.
        mask: bool [H, W], true somewhere.
        canvas: uint8 [H, W, 3], RGB: holds the background, is written to.
    """
    margin = REACH + 1  # so that the widened mask meets no border: there, pictures go on
    hole = np.pad(mask, margin).astype(np.uint8)
    square = np.ones((2 * _CLOSED + 1,) * 2, np.uint8)
    hole = cv2.dilate(hole, square)
    left, top, width, height = cv2.boundingRect(hole)
    rectangle = (slice(top, top + height), slice(left, left + width))
    inside = cv2.erode(hole, square)[rectangle].astype(bool)
    source, target = (_framed(frame, margin)[:, *rectangle] for frame in (foreground, canvas))
    solved = _solve(_divergence(source, target, inside), target)
    rows, columns = (
        slice(max(side.start, margin), min(side.stop, margin + whole))
        for side, whole in zip(rectangle, mask.shape, strict=True)
    )
    wanted = mask[
        rows.start - margin : rows.stop - margin, columns.start - margin : columns.stop - margin
    ]
    part = canvas[
        rows.start - margin : rows.stop - margin, columns.start - margin : columns.stop - margin
    ]
    cut = solved[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    cloned = (cut.clip(0, 255) + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0)
    cv2.copyTo(np.ascontiguousarray(cloned), wanted.astype(np.uint8), part)


def _framed(frame: Frame, margin: int) -> NDArray[np.float32]:
    """Float32 [3, H + 2 margin, W + 2 margin]: the frame with its border repeated outwards."""
    wide = cv2.copyMakeBorder(frame, *(margin,) * 4, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(wide.transpose(2, 0, 1), np.float32)


def _divergence(
    source: NDArray[np.float32], target: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Divergence of the guiding field at the inner points: float32 [3, H − 2, W − 2].

    Gradients are forward differences and belong to the pixel that they start from; the divergence
    takes backward differences of them.
    """
    down, right = (np.diff(source, axis=axis) for axis in (1, 2))
    down_there, right_there = (np.diff(target, axis=axis) for axis in (1, 2))
    down = np.where(inside[:-1], down, down_there)
    right = np.where(inside[:, :-1], right, right_there)
    return np.asarray(np.diff(down, axis=1)[:, :, 1:-1] + np.diff(right, axis=2)[:, 1:-1])


def _solve(divergence: NDArray[np.float32], border: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pictures of this Laplacian whose border is given: float32 [3, H, W].

    The five-point Laplacian with fixed values on the border of a rectangle is diagonal under the
    discrete sine transform.
    """
    height, width = divergence.shape[1:]
    known = border.copy()
    known[:, 1:-1, 1:-1] = 0
    known = (
        known[:, :-2, 1:-1] + known[:, 2:, 1:-1] + known[:, 1:-1, :-2] + known[:, 1:-1, 2:]
    )  # fmt: skip
    (rows, of_rows), (columns, of_columns) = _sines(height), _sines(width)
    spectrum = rows @ (divergence - known) @ columns
    spectrum /= of_rows[:, None] + of_columns
    solved = border.copy()
    solved[:, 1:-1, 1:-1] = rows @ spectrum @ columns
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
