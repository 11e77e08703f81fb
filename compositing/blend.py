"""The composite's pixels: Learn2Augment's Eq. 1, and softer ways for the foreground to meet the
background.

`composite_clip` and `paste` work on one clip and on whole batches alike: leading dimensions are
free. `blend` is for one clip, and does what the settings ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.colour import match_colour
from compositing.labels import foreground_ratio
from compositing.settings import Blend, CompositeSettings

Frames = NDArray[np.uint8]
Masks = NDArray[np.bool_]
BlendFunction = Callable[[Frames, Masks, Frames, CompositeSettings], float]

_ERODED = 3
"""Pixels by which `cv2.seamlessClone` shrinks a mask before it looks at the source."""

_MARGIN = _ERODED + 2
"""Pixels around a frame, so that no widened mask touches the border."""


def composite_clip(
    foreground: NDArray[np.uint8], mask: NDArray[np.bool_], background: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Paste the foreground's masked pixels on the clean background (Eq. 1).

    Ṽ^t = M_f^t ⊙ V_f^t + (1 − M_f^t) ⊙ V'_b^t, with Ṽ the result, V_f `foreground`, M_f `mask`
    and V'_b `background`. The mask is binary, so no pixel is ever a mixture of both.

    Args:
        foreground: uint8 [..., H, W, 3], RGB.
        mask: bool [..., H, W], true where the foreground is seen.
        background: uint8 [..., H, W, 3], RGB.

    Returns:
        uint8 [..., H, W, 3], RGB, a new array.

    Raises:
        ValueError: the shapes or types do not fit each other.
    """
    canvas = np.array(background, order="C")
    paste(foreground, mask, canvas)
    return canvas


def paste(
    foreground: NDArray[np.uint8], mask: NDArray[np.bool_], canvas: NDArray[np.uint8]
) -> None:
    """Eq. 1 on a `canvas` that holds the background and is the caller's own: it is written to.

    For callers that gathered the backgrounds into a fresh array anyway, and can spare the copy.

    Args:
        foreground: uint8 [..., H, W, 3], RGB.
        mask: bool [..., H, W].
        canvas: uint8 [..., H, W, 3], RGB, contiguous.

    Raises:
        ValueError: the shapes or types do not fit each other, or `canvas` is not contiguous.
    """
    _check(foreground, mask, canvas)
    if not mask.size:
        return
    # OpenCV's masked copy runs at memory speed; np.where and boolean indexing visit pixels one by
    # one (benchmarks/composite_speed.py).
    height, width = mask.shape[-2:]
    shown = mask.view(np.uint8)
    if foreground.flags.c_contiguous and mask.flags.c_contiguous:
        # All frames stacked on top of each other.
        stacked = (-1, width)
        cv2.copyTo(
            foreground.reshape(*stacked, 3), shown.reshape(stacked), canvas.reshape(*stacked, 3)
        )
        return
    # Crops of larger frames: frame by frame, where OpenCV follows the longer rows without a copy.
    one = (-1, height, width)
    frames = foreground.reshape(*one, 3), shown.reshape(one), canvas.reshape(*one, 3)
    for source, shape, target in zip(*frames, strict=True):
        cv2.copyTo(source, shape, target)


def blend(foreground: Frames, mask: Masks, canvas: Frames, settings: CompositeSettings) -> float:
    """Put the foreground on a canvas in the way that the settings name.

    Colours are matched first (`colour.match_colour`), where that is asked for. No blend changes a
    pixel outside the mask.

    Args:
        foreground: uint8 [T, H, W, 3], RGB.
        mask: bool [T, H, W], true where the foreground is seen.
        canvas: uint8 [T, H, W, 3], RGB, contiguous: holds the background, is the caller's own, and
            is written to.
        settings: of these, `blend`, `feather` and `match_colour`.

    Returns:
        γ, the share of the clip in which the foreground is seen, in 0..1: the mean of the weight
        that each pixel has, which is 0 or 1 but for soft edges.

    Raises:
        ValueError: the shapes or types do not fit each other, or `canvas` is not contiguous.
    """
    _check(foreground, mask, canvas)
    reach = _ERODED + 1 if settings.blend == "poisson" else 0
    actor = match_colour(foreground, mask, canvas, settings.match_colour, reach=reach)
    return BLENDS[settings.blend](actor, mask, canvas, settings)


def soft_weight(mask: Masks, width: float) -> NDArray[np.float32]:
    """The weight of the foreground under a soft edge: 0 outside the mask, 1 deep inside.

    It rises linearly with the distance from the edge to 1 at `width`. The edge lies halfway between
    the last pixel inside and the first one outside; a pixel counts by its centre, so that a pixel
    next to a straight edge lies half a pixel inside. The ramp lies inside the mask: outside it is
    the foreground's own scene, which would come along as a halo. Where the mask meets the frame's
    border it goes on unseen, and there is no edge to soften.

    Args:
        mask: bool [T, H, W].
        width: of the ramp, in pixels, at least 0; up to half a pixel, the weight is the mask.

    Returns:
        float32 [T, H, W], in 0..1.
    """
    if width <= 0.5:
        return mask.astype(np.float32)
    distance = np.empty(mask.shape, np.float32)
    for source, target in zip(np.ascontiguousarray(mask).view(np.uint8), distance, strict=True):
        # OpenCV counts only pixels of the frame as outside, never what lies beyond its border.
        cv2.distanceTransform(source, cv2.DIST_L2, cv2.DIST_MASK_5, dst=target)
    return np.clip((distance - np.float32(0.5)) / np.float32(width), 0, 1)


def _paste(foreground: Frames, mask: Masks, canvas: Frames, settings: CompositeSettings) -> float:
    paste(foreground, mask, canvas)
    return float(foreground_ratio(mask))


def _feather(foreground: Frames, mask: Masks, canvas: Frames, settings: CompositeSettings) -> float:
    """Eq. 1 with `soft_weight` in the place of the binary mask."""
    width = settings.feather * mask.shape[1]
    if width <= 0.5 or not mask.any():
        return _paste(foreground, mask, canvas, settings)
    # Everything happens in the box of the mask and the pixel around it, which says where edges are.
    box = (slice(None), *_box(mask, 1))
    weight = soft_weight(mask[box], width)
    behind = canvas[box]
    stacked = (-1, behind.shape[2], 3)
    flat = weight.reshape(stacked[:2])
    canvas[box] = cv2.blendLinear(
        np.ascontiguousarray(foreground[box]).reshape(stacked),
        np.ascontiguousarray(behind).reshape(stacked),
        flat,
        1 - flat,
    ).reshape(behind.shape)
    return float(weight.sum(dtype=np.float64) / mask.size)


def _poisson(foreground: Frames, mask: Masks, canvas: Frames, settings: CompositeSettings) -> float:
    """Poisson Image Editing (Pérez et al., SIGGRAPH 2003), frame by frame, by OpenCV.

    `cv2.seamlessClone` shrinks the mask by three pixels, which at training size is all of an arm,
    and smears the actor's colours over the whole box around the mask. So the mask is widened
    by three pixels before, and only what lies in the mask itself is taken from the result.
    """
    square = np.ones((3, 3), np.uint8)
    inner = (slice(_MARGIN, -_MARGIN),) * 2
    for source, shape, target in zip(foreground, mask, canvas, strict=True):
        if not shape.any():
            continue
        hole = np.pad(shape, _MARGIN).astype(np.uint8) * np.uint8(255)
        hole = cv2.dilate(hole, square, iterations=_ERODED)
        left, top, width, height = cv2.boundingRect(hole)
        cloned = cv2.seamlessClone(
            _framed(source),
            _framed(target),
            hole,
            (left + width // 2, top + height // 2),  # where it already is
            cv2.NORMAL_CLONE,
        )
        paste(cloned[inner], shape, target)
    return float(foreground_ratio(mask))


BLENDS: Mapping[Blend, BlendFunction] = {"paste": _paste, "feather": _feather, "poisson": _poisson}
"""Blend ─► function of (foreground, mask, canvas, settings) that writes to the canvas and gives γ.

- paste: Eq. 1, as in the paper.
- feather: a soft edge, `feather` of the height wide, inside the mask.
- poisson: the foreground's gradients on the background's colours: the actor takes on the light of
  the place, and its own colours go.
"""


def _box(mask: Masks, around: int) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box over all frames, `around` pixels wider."""
    seen: Masks = np.bitwise_or.reduce(mask, axis=0)
    rows, columns = (
        slice(max(int(at[0]) - around, 0), int(at[-1]) + 1 + around)
        for at in (np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0)))
    )
    return rows, columns


def _framed(frame: Frames) -> Frames:
    """A frame with its border repeated `_MARGIN` pixels outwards."""
    margins = (_MARGIN,) * 4
    return np.asarray(cv2.copyMakeBorder(frame, *margins, cv2.BORDER_REPLICATE), np.uint8)


def _check(foreground: Frames, mask: Masks, canvas: Frames) -> None:
    if not foreground.shape == (*mask.shape, 3) == canvas.shape:
        raise ValueError(
            f"foreground {foreground.shape}, mask {mask.shape} and background {canvas.shape} "
            f"do not fit: [..., H, W, 3], [..., H, W] and [..., H, W, 3] are needed"
        )
    if foreground.dtype != np.uint8 or mask.dtype != np.bool_ or canvas.dtype != np.uint8:
        raise ValueError(
            f"uint8, bool and uint8 are needed, not {foreground.dtype}, {mask.dtype}, "
            f"{canvas.dtype}"
        )
    if not canvas.flags.c_contiguous:
        raise ValueError("the canvas must be contiguous")
