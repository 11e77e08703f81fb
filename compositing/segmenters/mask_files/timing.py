"""Which mask of a file belongs to which decoded frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.media import Frames

LENGTH_SLACK = 2
"""Decoders disagree by a frame or two about a video's end; masks that do so still belong to it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the masks of one video lie in time.

    Attributes:
        masks: int64 [T], for each decoded frame the number of its mask, or -1.
        step: masks are of every step-th frame; 1 where they are of all.
        hold: how many decoded frames after the last with a mask come before the place of a next
            one, which lies behind the video's end.
    """

    masks: NDArray[np.int64]
    step: int = 1
    hold: int = 0


def time_masks(
    frames: Frames, count: int, numbers: tuple[int, ...] | None, first: int
) -> Timing | None:
    """Find the mask of each decoded frame; None when the lengths do not belong together.

    By the numbers that the file gives its frames, if they lie in the video. Else one mask for each
    frame, up to `LENGTH_SLACK`; or for each frame that was kept of a longer video, as in the masks
    that a layer store holds; or one for every n-th frame, if there is just one n with which
    `count` masks reach the video's end.

    Args:
        frames: what was decoded, and which frames of the file that is.
        count: how many masks there are.
        numbers: the number of each mask's frame, ascending, if the file says it.
        first: the number of a video's first frame, 0 or 1.
    """
    kept, total = frames.indices, frames.total
    if numbers is not None and numbers[0] >= first and numbers[-1] - first < total + LENGTH_SLACK:
        places = np.array(numbers, np.int64) - first
        step = _step(places)
        if step == 1 or count != total:
            return _sparse(places, kept, step)
    if abs(count - total) <= LENGTH_SLACK:
        return Timing(np.minimum(kept, count - 1))
    if count == len(kept):
        return Timing(np.arange(count))
    if numbers is None and (step := _only_step(count, total)):
        return _sparse(np.arange(count) * step, kept, step)
    return None


def _step(places: NDArray[np.int64]) -> int:
    """The usual distance of two masks in frames."""
    return max(1, int(np.median(np.diff(places)))) if len(places) > 1 else 1


def _only_step(count: int, total: int) -> int:
    """The one n with which every n-th of `total` frames is `count` frames; 0 if there is none."""
    if not 2 <= count < total:
        return 0
    least, most = -(-total // count), -(-total // (count - 1)) - 1
    return least if least == most else 0


def _sparse(places: NDArray[np.int64], kept: NDArray[np.int64], step: int) -> Timing:
    """Masks of some frames: the others are left for `fill_gaps`, those at the end are held.

    Args:
        places: int64 [M], ascending: the masks' frames in the file.
        kept: int64 [T], ascending: the decoded frames in the file.
        step: the usual distance of two masks in frames.
    """
    found = _nearest(places, kept)
    after = np.arange(len(kept)) > np.flatnonzero(found >= 0).max(initial=-1)
    # After the last mask there is nothing to interpolate with, and an actor who is there must not
    # stay in the background.
    return Timing(found, step, int(np.count_nonzero(after & (kept < places[-1] + step))))


def _nearest(places: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each kept frame the mask that is nearest to it, if to no other it is nearer; else -1."""
    spacing = max(1, int(np.median(np.diff(kept)))) if len(kept) > 1 else 1
    right = np.searchsorted(kept, places).clip(0, len(kept) - 1)
    left = (right - 1).clip(0)
    nearer = np.where(np.abs(kept[left] - places) < np.abs(kept[right] - places), left, right)
    distance = np.abs(kept[nearer] - places)
    found = np.full(len(kept), -1, np.int64)
    # The nearest is written last.
    for mask in np.argsort(-distance, kind="stable"):
        if 2 * distance[mask] <= spacing:
            found[nearer[mask]] = mask
    return found
