"""What networks detect in a frame, small as it leaves them, and its masks at the frame's size.

A network gives each detection a box and a mask of about 28 x 28 probabilities within it. The
process that holds the network hands out just that; pasting the masks to full size and writing them
as run lengths is done by whoever asked, in numpy and without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compositing.run_lengths import MaskPatch, encode_patches

INSIDE = 0.5
"""Least probability of a pixel that belongs to a mask."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_AT_ONCE = 32
"""Frames that a network is asked for at a time: bounds what is on the way. A multiple of what
usually goes through it together."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What a network detects in one frame.

    Attributes:
        categories: N names, such as "person".
        scores: float32 [N], the network's confidence, 0..1.
        boxes: float64 [N, 4], left, top, right, bottom, in pixels: the part of the frame that a
            mask covers; it may reach out of the frame.
        masks: float32 [N, M, M], probabilities 0..1 in the M x M equal cells of the box. (They need
            not be as many in both directions: a network without boxes gives one for each pixel.)
    """

    categories: tuple[str, ...]
    scores: Float32
    boxes: Float64
    masks: Float32


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in one frame.

    Attributes:
        category: the network's name of it, such as "person".
        score: the network's confidence, 0..1, to six digits.
        rle: compressed COCO run lengths of its mask, which has a set pixel.
        patch: the same mask, cut out.
    """

    category: str
    score: float
    rle: str
    patch: MaskPatch


Detect = Callable[[NDArray[np.uint8]], Sequence[Detections]]
"""Frames uint8 [n, H, W, 3], RGB ─► what is detected in each."""


def detections_in(frames: NDArray[np.uint8], detect: Detect) -> Iterator[tuple[Detection, ...]]:
    """Each frame's detections, at its size; a network is asked for `_AT_ONCE` frames at a time."""
    height, width = frames.shape[1:3]
    for start in range(0, len(frames), _AT_ONCE):
        for found in detect(frames[start : start + _AT_ONCE]):
            yield at_full_size(found, height, width)


def at_full_size(found: Detections, height: int, width: int) -> tuple[Detection, ...]:
    """One frame's detections with masks at its size, without those whose mask is empty there."""
    numbers, patches = paste(found.boxes, found.masks, height, width)
    rles = encode_patches(patches, height, width)
    scores = found.scores.tolist()
    return tuple(
        Detection(found.categories[n], round(scores[n], 6), rle, patch)
        for n, rle, patch in zip(numbers, rles, patches, strict=True)
        if rle
    )


def paste(
    boxes: Float64, masks: Float32, height: int, width: int
) -> tuple[list[int], list[MaskPatch]]:
    """Masks at the size of a frame: where the probability reaches `INSIDE`.

    A pixel takes the probability at its centre, interpolated between the centres of the four cells
    around it; outside the box it is 0 (detectron2's `paste_masks_in_image`; torchvision's is the
    same with boxes that are `snapped`).

    Args:
        boxes: float64 [N, 4], as in `Detections`.
        masks: float32 [N, M, M'].
        height, width: of the frame.

    Returns:
        The numbers of the masks whose box meets the frame, and each one's patch, which may have no
        set pixel.
    """
    if not len(boxes):
        return [], []
    # A rim of zeros: beyond the outermost centres a mask fades out.
    padded = np.pad(masks, [(0, 0), (1, 1), (1, 1)])
    lefts, columns = _samples(boxes[:, 0], boxes[:, 2], masks.shape[2], width)
    tops, rows = _samples(boxes[:, 1], boxes[:, 3], masks.shape[1], height)
    numbers = np.flatnonzero((rows.counts > 0) & (columns.counts > 0)).tolist()
    share = rows.shares[:, None]
    stretched = padded[rows.owner, rows.cells] * (1 - share)
    stretched += padded[rows.owner, rows.cells + 1] * share
    patches = []
    for n in numbers:
        turned = np.ascontiguousarray(stretched[rows.slice(n)].T)  # [M' + 2, h]
        part = columns.slice(n)
        cells, share = columns.cells[part], columns.shares[part, None]
        probabilities = turned[cells] * (1 - share)  # [w, h]: run lengths go down the columns
        probabilities += turned[cells + 1] * share
        patches.append(MaskPatch(int(tops[n]), int(lefts[n]), (probabilities >= INSIDE).T))
    return numbers, patches


@dataclass(frozen=True, slots=True)
class _AxisSamples:
    """Where the pixels of N windows, one after the other, look into their masks along one axis.

    Attributes:
        counts: int64 [N], pixels of each window.
        ends: int64 [N], their running sum.
        owner: int64 [S], which window a pixel is of.
        cells: int64 [S], the cell before the pixel's centre, counted with the rim of zeros.
        shares: float32 [S], how much of the cell after it comes in.
    """

    counts: Int64
    ends: Int64
    owner: Int64
    cells: Int64
    shares: Float32

    def slice(self, number: int) -> slice:
        """The pixels of one window."""
        return slice(int(self.ends[number] - self.counts[number]), int(self.ends[number]))


def _samples(low: Float64, high: Float64, side: int, size: int) -> tuple[Int64, _AxisSamples]:
    """Windows of whole pixels that hold [low, high], cut at the frame: their first, their samples.

    A mask of at most 1 is below `INSIDE` farther out than its box.
    """
    first = np.clip(np.floor(low - 0.5), 0, size).astype(np.int64)
    stop = np.clip(np.ceil(high + 0.5), 0, size).astype(np.int64)
    counts = np.maximum(stop - first, 0)
    ends = np.cumsum(counts)
    owner = np.repeat(np.arange(len(low)), counts)
    pixels = np.arange(len(owner)) - np.repeat(ends - counts - first, counts)
    span = np.maximum(high - low, 1e-9)
    places = (pixels + 0.5 - low[owner]) * (side / span)[owner] - 0.5
    places = np.clip(places, -1, side)
    cells = np.minimum(np.floor(places), side - 1).astype(np.int64)
    return first, _AxisSamples(counts, ends, owner, cells + 1, (places - cells).astype(np.float32))


def snapped(boxes: Float32, side: int) -> Float64:
    """Boxes as torchvision pastes into them: widened by a cell all around, cut to whole pixels.

    Args:
        boxes: float32 [N, 4], left, top, right, bottom, in pixels.
        side: M, cells of a mask in each direction.

    Returns:
        float64 [N, 4], without the cell all around.
    """
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((side + 2) / side)
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    low = np.trunc(centre - half).astype(np.float64)
    span = np.maximum(np.trunc(centre + half).astype(np.float64) - low + 1, 1)
    cell = span / (side + 2)
    return np.concatenate([low + cell, low + span - cell], axis=1)
