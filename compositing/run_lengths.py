"""COCO's compressed run lengths: masks as short texts, and back.

The pixels of a mask are counted down its columns: how many are 0, then how many are 1, and so on
until all H x W are counted. Written and read here and not by pycocotools where that is faster, and
where it must not trust what it reads: pycocotools returns uninitialised memory for run lengths
that stop too early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

_TEXTS_AT_ONCE = 1024
"""Texts that are read together: bounds the memory."""
_MOST_GROUPS = 7
"""Groups of five bits that a number of 32 bits takes."""


@dataclass(frozen=True, slots=True)
class MaskPatch:
    """A part of a mask, bool [h, w], its first pixel at (top, left) of the frame; all else is 0."""

    top: int
    left: int
    mask: Bool


def encode(masks: Bool) -> tuple[str | None, ...]:
    """Run lengths of masks (bool [T, H, W]); None for a frame without a set pixel."""
    columns = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    rles = coco.encode(columns)
    return tuple(
        rle["counts"].decode("ascii") if mask.any() else None
        for rle, mask in zip(rles, masks, strict=True)
    )


def encode_patches(patches: Sequence[MaskPatch], height: int, width: int) -> tuple[str | None, ...]:
    """Run lengths of whole masks (height x width) that are 0 outside a patch each; all in one go.

    The same texts as `encode` gives for masks at full size, whose empty part costs nothing here.
    """
    if not patches:
        return ()
    owner, starts, stops = _runs_of_patches(patches, height)
    each = np.bincount(owner, minlength=len(patches))
    numbers, per_patch = _counts(owner, starts, stops, each, height * width)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(per_patch) - per_patch, per_patch)
    differences = numbers.copy()
    late = np.flatnonzero(within > 2)
    differences[late] -= numbers[late - 2]
    text, lengths = _text(differences)
    whose = np.repeat(np.arange(len(patches)), per_patch)
    ends = np.cumsum(np.bincount(whose, lengths, minlength=len(patches))).astype(np.int64).tolist()
    texts = (text[start:end] for start, end in pairwise([0, *ends]))
    return tuple(some or None for some in texts)


def _runs_of_patches(patches: Sequence[MaskPatch], height: int) -> tuple[Int64, Int64, Int64]:
    """All runs of ones: number of the patch, first pixel and the one after the last, int64 [R].

    Pixels are counted down the columns of the frame.
    """
    heights, widths = np.array([patch.mask.shape for patch in patches]).T
    # Behind each column stands a 0, and before all: no run continues from one column to the next.
    sizes = (heights + 1) * widths
    offsets = 1 + np.cumsum(sizes) - sizes
    flat = np.zeros(1 + int(sizes.sum()), np.bool_)
    for patch, offset, size in zip(patches, offsets.tolist(), sizes.tolist(), strict=True):
        columns = flat[offset : offset + size].reshape(patch.mask.shape[1], -1)
        columns[:, :-1] = patch.mask.T
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    owner = np.searchsorted(offsets, starts, side="right") - 1
    column, row = np.divmod(starts - offsets[owner], heights[owner] + 1)
    tops = np.array([patch.top for patch in patches])
    lefts = np.array([patch.left for patch in patches])
    starts = (lefts[owner] + column) * height + tops[owner] + row
    stops = starts + lengths
    # Where a patch is as high as the frame, one column's last run and the next one's first are one.
    joined = (starts[1:] == stops[:-1]) & (owner[1:] == owner[:-1])
    first = np.concatenate([[True], ~joined])[: len(starts)]
    last = np.concatenate([~joined, [True]])[: len(starts)]
    return owner[first], starts[first], stops[last]


def _counts(
    owner: Int64, starts: Int64, stops: Int64, each: Int64, pixels: int
) -> tuple[Int64, Int64]:
    """Run lengths of zeros and ones in turn, patch after patch, and how many are each patch's."""
    before = np.concatenate([[0], stops[:-1]])[: len(starts)]
    before[np.concatenate([[True], owner[1:] != owner[:-1]])[: len(starts)]] = 0
    pairs = np.stack([starts - before, stops - starts], axis=1).ravel()
    ends = np.cumsum(each)
    some = each > 0
    tails = np.zeros(len(each), np.int64)
    tails[some] = pixels - stops[ends[some] - 1]
    numbers = np.insert(pairs, 2 * ends[tails > 0], tails[tails > 0])
    return numbers, 2 * each + (tails > 0)


def _text(numbers: Int64) -> tuple[str, Int64]:
    """Numbers in COCO's form, one after the other, and how many characters each takes."""
    limits = 16 << 5 * np.arange(_MOST_GROUPS - 1)
    reach = np.where(numbers < 0, ~numbers, numbers)
    lengths = 1 + (reach[:, None] >= limits).sum(axis=1)
    place = np.arange(lengths.max(initial=1))
    groups = (numbers[:, None] >> 5 * place) & 31
    groups += np.where(place < lengths[:, None] - 1, 32, 0) + 48
    kept = groups[place < lengths[:, None]].astype(np.uint8)
    return kept.tobytes().decode("ascii"), lengths


def decode(rles: Iterable[str | None], height: int, width: int) -> Iterator[tuple[int, Bool]]:
    """Yield (frame index, mask bool [H, W]) for each frame that has run lengths.

    Raises:
        ValueError: run lengths that are damaged, or do not fill `height` x `width` exactly.
    """
    for frame, counts in enumerate(rles):
        if counts is not None:
            mask = np.zeros((height, width), np.bool_)
            patch = decode_patch(counts, height, width)
            if patch:
                rows, columns = patch.mask.shape
                mask[patch.top : patch.top + rows, patch.left : patch.left + columns] = patch.mask
            yield frame, mask


def decode_patch(counts: str, height: int, width: int) -> MaskPatch | None:
    """A mask cut to its bounding box; None for one without a set pixel. Raises as `decode` does."""
    runs = run_lengths(counts, height, width)
    ends = np.cumsum(runs)
    stops = ends[1::2]
    starts = stops - runs[1::2]
    set_ = stops > starts
    if not set_.any():
        return None
    first, last = int(starts[set_][0]) // height, int(stops[set_][-1] - 1) // height
    # The runs between the first and the last column that have a set pixel.
    bounds = np.clip(ends, first * height, (last + 1) * height)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, np.diff(bounds, prepend=first * height))
    columns = flat.reshape(last + 1 - first, height)
    rows = np.flatnonzero(columns.any(axis=0))
    mask = np.ascontiguousarray(columns[:, rows[0] : rows[-1] + 1].T)
    return MaskPatch(int(rows[0]), first, mask)


def run_lengths(counts: str, height: int, width: int) -> Int64:
    """The run lengths, int64 [n], of COCO's text form: none negative, together height * width.

    Raises:
        ValueError: as `decode`.
    """
    runs, pixels = _runs(counts), height * width
    # The largest is looked at first: a sum of many huge ones wraps around.
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"run lengths that do not fill {height}x{width} pixels")
    return runs


def areas_and_boxes(rles: Sequence[str], height: int, width: int) -> tuple[Int64, Int64]:
    """How many pixels masks have, and their tight boxes, without drawing them.

    Returns:
        int64 [N]; and int64 [N, 4]: left, top, width, height, all 0 for a mask without a pixel.

    Raises:
        ValueError: as `decode`.
    """
    areas, boxes = np.zeros(len(rles), np.int64), np.zeros((len(rles), 4), np.int64)
    for start in range(0, len(rles), _TEXTS_AT_ONCE):
        part = slice(start, start + _TEXTS_AT_ONCE)
        areas[part], boxes[part] = _areas_and_boxes(rles[part], height, width)
    return areas, boxes


def _areas_and_boxes(rles: Sequence[str], height: int, width: int) -> tuple[Int64, Int64]:
    numbers, each = _written("".join(rles), np.array([len(rle) for rle in rles]))
    firsts = np.cumsum(each) - each
    owner = np.repeat(np.arange(len(each)), each)
    within = np.arange(len(numbers)) - firsts[owner]
    # Differences add up along the runs of 1 and, but for the first, along those of 0.
    chain = np.where(within == 0, 0, 2 - within % 2)
    order = np.lexsort((within, chain, owner))
    sums = np.cumsum(numbers[order])
    links = np.stack([owner, chain])[:, order]
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(links) != 0).any(axis=0)]))
    before = np.concatenate([[0], sums])[begins]
    runs = np.empty_like(numbers)
    runs[order] = sums - np.repeat(before, np.diff([*begins.tolist(), len(numbers)]))
    most = height * width
    if runs.min() < 0 or runs.max() > most or (np.add.reduceat(runs, firsts) != most).any():
        raise ValueError(f"run lengths that do not fill {height}x{width} pixels")
    stops = np.cumsum(runs) - owner * (height * width)
    ones = (within % 2 == 1) & (runs > 0)
    owner, runs, stops = owner[ones], runs[ones], stops[ones]
    (left, top), (right, bottom) = np.divmod(stops - runs, height), np.divmod(stops - 1, height)
    tall = right > left  # from one column into the next: it reaches both ends
    edges = np.full((4, len(each)), height * width, np.int64)
    edges[2:] = -1
    for edge, values in zip(edges[:2], (left, np.where(tall, 0, top)), strict=True):
        np.minimum.at(edge, owner, values)
    for edge, values in zip(edges[2:], (right, np.where(tall, height - 1, bottom)), strict=True):
        np.maximum.at(edge, owner, values)
    areas = np.bincount(owner, runs, minlength=len(each)).astype(np.int64)
    boxes = np.concatenate([edges[:2], edges[2:] + 1 - edges[:2]]).T
    boxes[areas == 0] = 0
    return areas, boxes


def _runs(counts: str) -> Int64:
    """The run lengths of COCO's text form: of 0, then of 1, and so on."""
    runs, _ = _written(counts, np.array([len(counts)]))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _written(text: str, sizes: Int64) -> tuple[Int64, Int64]:
    """The numbers in texts that stand one after the other, and how many there are in each.

    Each number is written in groups of five bits, lowest first; bit 32 says that more groups
    follow, bit 16 of the last group is the sign. From the fourth number on, what is written is the
    difference to the number two before.
    """
    groups = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    bounds = np.cumsum(sizes)
    wrong = not groups.size or sizes.min() == 0 or groups.min() < 0 or groups.max() > 63
    if wrong or (groups[bounds - 1] & 32).any():
        raise ValueError(f"{text[:20]!r} is not a run-length text")
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MOST_GROUPS:
        raise ValueError("a run length has more than 32 bits")
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((groups & 31) << 5 * place, starts)
    numbers -= np.where(groups[ends] & 16, 1 << 5 * lengths, 0)
    each = np.diff(np.searchsorted(ends, bounds), prepend=0)
    return numbers, each
