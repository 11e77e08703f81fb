"""Where the foreground stands in the scene: the same place as in its own, or one drawn at random.

Sample first, then apply: a generator makes a small record, which is replayed on frames and mask
alike and stored with the composite. What the record says is about the scene's frame, in which
`fitting.fit_foreground` has stood the foreground before.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.fitting import Fitted, shadows
from compositing.settings import CompositeSettings
from l2a.files import fingerprint

Window = tuple[slice, slice]
"""Rows and columns of a frame, with start and stop given."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What happens to a foreground, in this order: mirrored, scaled, shifted.

    Attributes:
        shift_y: how far down, as a share of the frame's height; rounded to whole pixels.
        shift_x: how far to the right, as a share of the frame's width; rounded to whole pixels.
        scale: factor of height and width, about the middle of the bottom edge of the mask's box
            over the whole clip, so that feet stay on their ground.
        flip: whether the foreground is mirrored about the middle of the frame.
    """

    shift_y: float = 0.0
    shift_x: float = 0.0
    scale: float = 1.0
    flip: bool = False

    def record(self) -> dict[str, float | bool] | None:
        """The placement as JSON can hold it; None where the foreground stays as it is."""
        return None if self == IDENTITY else asdict(self)


IDENTITY = Placement()
"""The foreground stays as it is and where it is: identical geometry, as in the paper."""


def draw_placement(settings: CompositeSettings, rng: np.random.Generator) -> Placement:
    """A placement within the settings: shifts uniform, scale uniform in its logarithm.

    Where the settings leave nothing to chance, `rng` is not touched; otherwise it always gives
    four numbers, so that turning on one thing changes no other.

    Args:
        settings: of these, `shift`, `scale` and `flip_foreground`.
        rng: drawn from.
    """
    if not settings.shift and settings.scale == 1 and not settings.flip_foreground:
        return IDENTITY
    down, right, size, mirrored = rng.random(4).tolist()
    return Placement(
        shift_y=settings.shift * (2 * down - 1),
        shift_x=settings.shift * (2 * right - 1),
        scale=math.exp(math.log(settings.scale) * (2 * size - 1)),
        flip=mirrored < settings.flip_foreground,
    )


def placement_of_pair(
    settings: CompositeSettings, seed: int | None, foreground: str, background: str
) -> Placement:
    """The placement of a pair outside of training: it follows from seed and pair alone.

    Args:
        settings: of these, `shift`, `scale` and `flip_foreground`.
        seed: of the run; None counts as 0.
        foreground: the video's id.
        background: the video's id.
    """
    digest = fingerprint([seed or 0, foreground, background])
    return draw_placement(settings, np.random.default_rng(int(digest, 16)))


def place_foreground(
    fitted: Fitted, placement: Placement, window: Window | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Place a foreground in the scene: one affine map for all frames; what leaves it is cut off.

    Frames are interpolated bilinearly, the mask by nearest neighbour. A shift that would carry the
    middle of the mask's box out of the scene ends where that middle meets the border, so that no
    foreground is lost altogether.

    Args:
        fitted: the foreground as it stands in the scene by itself.
        placement: what to do.
        window: the part of the scene that is wanted, h x w pixels; all of it when not given. What
            a shift brings into the window is there, as if the whole had been placed and then cut.

    Returns:
        Frames uint8 [T, h, w, 3] and mask bool [T, h, w]; beyond the foreground's own frame its
        border is repeated, and not masked. Where nothing moves, the inputs themselves, or views of
        them.
    """
    height, width = fitted.scene
    rows, columns = window or (slice(0, height), slice(0, width))
    if placement == IDENTITY or not fitted.mask.any():
        return _cut(fitted, rows, columns)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    (step_y, y_0), (step_x, x_0) = _way_back(fitted, placement)
    y_0, x_0 = y_0 + step_y * rows.start, x_0 + step_x * columns.start - fitted.left

    placed = np.empty((len(fitted.frames), *size, 3), np.uint8)
    for source, target in zip(fitted.frames, placed, strict=True):
        cv2.warpAffine(
            source,
            np.array([[step_x, 0, x_0], [0, step_y, y_0]]),
            size[::-1],
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,  # no black in the pixels along the frame's edge
        )
    from_y = np.floor(step_y * np.arange(size[0]) + y_0 + 0.5).astype(np.int64)
    from_x = np.floor(step_x * np.arange(size[1]) + x_0 + 0.5).astype(np.int64)
    return placed, _picked(fitted.mask, from_y, from_x)


def _cut(
    fitted: Fitted, rows: slice, columns: slice
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A part of the scene with the foreground where it stands by itself."""
    start, stop = columns.start - fitted.left, columns.stop - fitted.left
    width = fitted.mask.shape[2]
    if start >= 0 and stop <= width:
        return fitted.frames[:, rows, start:stop], fitted.mask[:, rows, start:stop]
    from_x = np.arange(start, stop)
    # Few columns are copied rather than picked one by one: the same pixels, far faster.
    inner = fitted.frames[:, rows, max(start, 0) : max(stop, 0)]
    if inner.shape[2]:
        around = (max(-start, 0), max(stop - width, 0))
        frames = np.pad(inner, ((0, 0), (0, 0), around, (0, 0)), "edge")
    else:
        frames = fitted.frames[:, rows][:, :, from_x.clip(0, width - 1)]
    return frames, _picked(fitted.mask[:, rows], np.arange(rows.stop - rows.start), from_x)


def _picked(
    mask: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """A mask [T, H, W] at some rows and columns, false where there are none."""
    height, width = mask.shape[1:]
    inside = np.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    return mask[:, rows.clip(0, height - 1)][:, :, columns.clip(0, width - 1)] & inside


def _way_back(
    fitted: Fitted, placement: Placement
) -> tuple[tuple[float, float], tuple[float, float]]:
    """From a pixel of the result to the scene's pixel it comes from: step and start of y and of x.

    y ↦ step · y + start, and so for x, where a pixel's centre has whole coordinates.
    """
    height, width = fitted.scene
    rows, columns = (np.flatnonzero(side) for side in shadows(fitted.mask))
    top, bottom = float(rows[0]) - 0.5, float(rows[-1]) + 0.5
    feet = float(columns[0] + columns[-1]) / 2 + fitted.left
    if placement.flip:
        feet = width - 1 - feet
    middle = bottom + placement.scale * (top - bottom) / 2
    down = _within(round(placement.shift_y * height), middle, height)
    across = _within(round(placement.shift_x * width), feet, width)

    step = 1 / placement.scale
    y_0 = bottom - step * (bottom + down)
    x_0 = feet - step * (feet + across)
    return (step, y_0), ((-step, width - 1 - x_0) if placement.flip else (step, x_0))


def _within(shift: int, middle: float, side: int) -> int:
    """As much of a shift as leaves `middle` within 0..side − 1, never turned round."""
    return int(np.clip(shift, min(math.ceil(-middle), 0), max(math.floor(side - 1 - middle), 0)))
