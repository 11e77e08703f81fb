"""A foreground at the height of its background, in its own shape: no actor is stretched.

Two videos of one aspect ratio lie pixel on pixel, as in the paper. Where the ratios differ, the
foreground is scaled by the height alone, so that feet stay on their ground, and stands in the wider
or narrower scene where it stood in its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.media import resize_frames, resize_masks

_WIDEST = 4
"""Widths of the scene that are kept of a wider foreground: what is further away is never seen."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A foreground at the scale of its scene.

    Attributes:
        frames: uint8 [T, H, w, 3], RGB, of the scene's height and of the foreground's own width.
        mask: bool [T, H, w].
        left: the scene's column on which the first column lies; below 0 where it hangs out.
        width: W, the scene's, in pixels.
    """

    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    left: int
    width: int

    @property
    def scene(self) -> tuple[int, int]:
        """The scene's height and width."""
        return self.mask.shape[1], self.width


def fit_foreground(
    frames: NDArray[np.uint8], mask: NDArray[np.bool_], size: tuple[int, int], ratio: float = 1.0
) -> Fitted:
    """Scale a foreground to its scene's height, and stand it there.

    Args:
        frames: uint8 [T, H, W, 3], RGB.
        mask: bool [T, H, W].
        size: of the scene's frames: (height, width).
        ratio: the foreground's aspect ratio over the scene's, each as people see them: so many
            times as wide as the scene is the foreground at the same height. Frames of either may
            be squeezed, as those of a bank are: the foreground comes out squeezed like the scene.

    Returns:
        The fitted foreground. Of the scene's own shape and size it is the inputs themselves.
    """
    height, width = size
    whole = max(1, round(ratio * width))
    if whole == width:
        return Fitted(_frames_at(frames, size), _masks_at(mask, size), 0, width)
    columns = mask.shape[2]
    left = _standing(shadows(mask)[1], whole, width)
    kept = slice(0, columns)
    if whole > _WIDEST * width:
        scale, around = columns / whole, (_WIDEST - 1) / 2 * width
        first = max(0, int((-left - around) * scale))
        kept = slice(first, min(columns, int((width + around - left) * scale) + 1))
        left += round(first / scale)
        whole = max(1, round((kept.stop - kept.start) / scale))
    fitted = (height, whole)
    return Fitted(
        _frames_at(frames[:, :, kept], fitted),
        _masks_at(mask[:, :, kept], fitted),
        left,
        width,
    )


def shadows(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows [H] and which columns [W] a mask [T, H, W] touches in any frame."""
    seen: NDArray[np.bool_] = np.bitwise_or.reduce(mask, axis=0)
    return np.bitwise_or.reduce(seen, axis=1), np.bitwise_or.reduce(seen, axis=0)


def _standing(touched: NDArray[np.bool_], whole: int, width: int) -> int:
    """The scene's column on which a foreground's first column lies.

    The middle of the mask's box over the whole clip keeps its place relative to the frame. From
    there it moves only to keep what was seen in sight: what fits into the scene lies in it, and
    what its own frame cut off on one side ends at the scene's border on that side, so that no
    actor is cut through in the middle of a scene.

    Args:
        touched: bool [W], the columns that the mask touches, in the foreground's own pixels.
        whole: width of the fitted foreground, in the scene's pixels.
        width: of the scene.
    """
    columns = len(touched)
    found = np.flatnonzero(touched)
    if not len(found):
        return round((width - whole) / 2)
    first, last = int(found[0]), int(found[-1]) + 1
    scale = whole / columns
    free = width - (last - first) * scale
    start = (first + last) / 2 / columns * width - (last - first) * scale / 2
    if (first == 0) != (last == columns):
        start = 0.0 if first == 0 else free
    start = min(max(start, min(free, 0.0)), max(free, 0.0))
    return round(start - first * scale)


def _frames_at(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`resize_frames`, without a copy where nothing changes."""
    return frames if frames.shape[1:3] == size else resize_frames(frames, size)


def _masks_at(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """`resize_masks`, without a copy where nothing changes."""
    return mask if mask.shape[1:] == size else resize_masks(mask, size)
