"""The composite's pixels: Learn2Augment's Eq. 1, and softer ways for the foreground to meet the
background.

`composite_clip` and `paste` work on one clip and on whole batches alike: leading dimensions are
free. `blend` is for one clip, and does what the settings ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.colour import match_colour
from compositing.fitting import shadows
from compositing.poisson import REACH, clone
from compositing.settings import Blend, CompositeSettings

Frames = NDArray[np.uint8]
Masks = NDArray[np.bool_]
BlendFunction = Callable[[Frames, Masks, Frames, float], float]

_AT_ONCE = 1 << 16
"""Pixels that are mixed in one go: few enough for the processor's cache."""


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
    _masked_copy(foreground, mask, canvas)


def _masked_copy(foreground: Frames, mask: Masks, canvas: Frames) -> None:
    if not mask.size:
        return
    # OpenCV's masked copy runs at memory speed; np.where and boolean indexing visit pixels one by
    # one, and exclusive ors of all bytes take twice as long (benchmarks/composite_speed.py).
    height, width = mask.shape[-2:]
    shown = mask.view(np.uint8)
    if all(array.flags.c_contiguous for array in (foreground, mask, canvas)):
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


def blend(
    foreground: Frames,
    mask: Masks,
    canvas: Frames,
    settings: CompositeSettings,
    height: int | None = None,
) -> float:
    """Put the foreground on a canvas in the way that the settings name.

    Colours are matched first (`colour.match_colour`), where that is asked for. No blend changes a
    pixel outside the mask.

    Args:
        foreground: uint8 [T, H, W, 3], RGB.
        mask: bool [T, H, W], true where the foreground is seen.
        canvas: uint8 [T, H, W, 3], RGB, contiguous: holds the background, is the caller's own, and
            is written to.
        settings: of these, `blend`, `feather` and `match_colour`.
        height: of the whole scene, where the canvas is a part of it: soft edges are a share of it.

    Returns:
        γ, the share of the clip in which the foreground is seen, in 0..1: the mean of the weight
        that each pixel has, which is 0 or 1 but for soft edges.

    Raises:
        ValueError: the shapes or types do not fit each other, or `canvas` is not contiguous.
    """
    _check(foreground, mask, canvas)
    method = BLENDS[settings.blend]
    edge = settings.feather * (height or mask.shape[1])
    if method.copies and not settings.match_colour:
        return method.put(foreground, mask, canvas, edge) / max(mask.size, 1)
    rows, columns = shadows(mask)
    if not rows.any():
        return 0.0
    # Everything happens in the mask's box over all frames and a few pixels around it.
    box = (slice(None), _span(rows, method.reach + 1), _span(columns, method.reach + 1))
    actor = match_colour(
        foreground[box], mask[box], canvas, settings.match_colour, reach=method.reach
    )
    return method.put(actor, mask[box], canvas[box], edge) / mask.size


def soft_weight(mask: Masks, width: float) -> NDArray[np.float32]:
    """The weight of the foreground under a soft edge: 0 outside the mask, 1 deep inside.

    It rises linearly with the distance from the edge to 1 at `width`. The edge lies halfway between
    the last pixel inside and the first one outside; a pixel counts by its centre, so that a pixel
    next to a straight edge lies half a pixel inside. The ramp lies inside the mask: outside it is
    the foreground's own scene, which would come along as a halo. Where the mask meets the frame's
    border it continues unseen, and there is no edge to soften.

    Args:
        mask: bool [T, H, W].
        width: of the ramp, in pixels, at least 0; up to half a pixel, the weight is the mask.

    Returns:
        float32 [T, H, W], in 0..1.
    """
    if width <= 0.5:
        return mask.astype(np.float32)
    # OpenCV counts only pixels of the picture as outside, never what lies beyond its border. All
    # frames are measured in one picture: between them lies so much inside that none sees the next.
    count, height, columns = mask.shape
    between = math.ceil(width) + 1
    stacked = np.ones((count, height + between, columns), np.uint8)
    stacked[:, :height] = mask
    distance = cv2.distanceTransform(
        stacked.reshape(-1, columns), cv2.DIST_L2, cv2.DIST_MASK_5
    ).reshape(stacked.shape)
    weight = np.asarray(distance[:, :height] - np.float32(0.5), np.float32)
    weight *= np.float32(1 / width)
    return np.clip(weight, 0, 1, out=weight)


def _paste(foreground: Frames, mask: Masks, canvas: Frames, edge: float) -> float:
    _masked_copy(foreground, mask, canvas)
    # A crop of a larger array is counted without a copy.
    return float(np.count_nonzero(mask))


def _feather(foreground: Frames, mask: Masks, canvas: Frames, edge: float) -> float:
    """Eq. 1 with `soft_weight` in place of the binary mask, in fixed point."""
    if edge <= 0.5:
        return _paste(foreground, mask, canvas, edge)
    step = max(1, _AT_ONCE // mask[0].size)
    parts = [slice(start, start + step) for start in range(0, len(mask), step)]
    return sum(_mix(foreground[part], mask[part], canvas[part], edge) for part in parts)


def _mix(foreground: Frames, mask: Masks, canvas: Frames, edge: float) -> float:
    weight = soft_weight(mask, edge)
    # In units of 1/128, so that products with a difference of grey levels fit into 16 bits: at most
    # a level off the exact sum, and none where the weight is 0 or 1.
    units = (weight * np.float32(128) + np.float32(0.5)).astype(np.int16)
    flat = units.reshape(-1, units.shape[2])
    under = canvas.astype(np.int16)
    mixed = foreground.astype(np.int16)
    mixed -= under
    mixed *= cv2.merge([flat] * 3).reshape(mixed.shape)
    mixed += 64
    mixed >>= 7
    mixed += under
    np.copyto(canvas, mixed, casting="unsafe")
    return float(weight.sum(dtype=np.float64))


def _poisson(foreground: Frames, mask: Masks, canvas: Frames, edge: float) -> float:
    """Poisson Image Editing, frame by frame (`poisson.clone`)."""
    for source, shape, target in zip(foreground, mask, canvas, strict=True):
        if shape.any():
            clone(source, shape, target)
    return float(np.count_nonzero(mask))


@dataclass(frozen=True, slots=True)
class BlendMethod:
    """A way for the foreground to meet the background.

    Attributes:
        name: as the settings have it.
        put: function of (foreground, mask, canvas, width of a soft edge in pixels) that writes to
            the canvas, and gives the sum of the weights with which the foreground is seen. It gets
            the mask's box over all frames with `reach` + 1 pixels around it, or whole frames.
        reach: pixels past the mask at which it looks at the foreground; there, colours are matched
            along.
        copies: it copies pixels and mixes none, which is fastest over whole frames.
    """

    name: Blend
    put: BlendFunction
    reach: int = 0
    copies: bool = False


BLENDS: Mapping[str, BlendMethod] = {
    method.name: method
    for method in (
        BlendMethod("paste", _paste, copies=True),
        BlendMethod("feather", _feather),
        BlendMethod("poisson", _poisson, reach=REACH),
    )
}
"""Name ─► blend.

- paste: Eq. 1, as in the paper.
- feather: a soft edge, `feather` of the height wide, inside the mask.
- poisson: the foreground's gradients on the background's colours: the actor takes on the light of
  the place, and its own colours go.
"""


def _span(touched: NDArray[np.bool_], around: int) -> slice:
    """From the first to the last position that is touched (bool [N]), `around` pixels wider."""
    found = np.flatnonzero(touched)
    return slice(max(int(found[0]) - around, 0), int(found[-1]) + 1 + around)


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
