"""One instance's masks, refined over time: specks dropped, gaps filled from their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Vector = NDArray[np.float64]
Point = NDArray[np.int64]


def drop_specks(mask: Bool, area: float) -> Bool:
    """A mask without its parts smaller than `area`.

    Args:
        mask: bool [H, W].
        area: in pixels; a part of exactly this area stays. Pixels that touch at a corner belong to
            the same part.

    Returns:
        bool [H, W]; `mask` itself when nothing can be that small.
    """
    if area <= 1:
        return mask
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= area
    kept[0] = False  # what is around the parts
    return np.asarray(kept[parts])


def fill_gaps(masks: Bool, max_gap: int) -> Bool:
    """One instance's masks, with short gaps filled from the masks before and after.

    Between the two, the shape is interpolated: the signed distance to the outline, linear in time,
    with the centroids of both on top of each other; it is placed on the straight line from one
    centroid to the other, at a whole pixel. So a thing that moves steadily and keeps its shape is
    given back as it was, and one that grows is given back in between.

    Two masks that overlap more where they are than on top of each other are not moved: then a part
    appeared or vanished, which shifts the centroid, and the rest stood still. Where the shapes are
    so different that nothing lies between them, the nearer one in time is taken, where it is.

    Args:
        masks: bool [T, H, W].
        max_gap: how many frames in a row without a mask are filled; longer gaps stay empty, and so
            do those before the first mask and after the last.

    Returns:
        bool [T, H, W]; `masks` itself when there is nothing to fill.
    """
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    short = np.flatnonzero((np.diff(seen) > 1) & (np.diff(seen) <= max_gap + 1))
    if not short.size:
        return masks
    filled = masks.copy()
    for before, after in zip(seen[short].tolist(), seen[short + 1].tolist(), strict=True):
        between = _between(masks[before], masks[after])
        for frame in range(before + 1, after):
            between.draw((frame - before) / (after - before), filled[frame])
    return filled


@dataclass(frozen=True, slots=True)
class _Between:
    """Two shapes on one canvas, one on top of the other.

    Attributes:
        first, last: signed distances in pixels to either outline, negative inside; [h, w].
        origin: where the canvas lies in the first mask: row and column, int64 [2].
        way: from the first shape to the last, in whole pixels, int64 [2].
    """

    first: NDArray[np.float32]
    last: NDArray[np.float32]
    origin: Point
    way: Point

    def draw(self, time: float, target: Bool) -> None:
        """Set the shape at `time` (0..1 from first to last) in `target`, bool [H, W], in place."""
        shape = (1 - time) * self.first + time * self.last < 0
        if not shape.any():
            time = float(round(time))
            shape = (self.last if time else self.first) < 0
        top, left = (self.origin + _whole(time * self.way.astype(np.float64))).tolist()
        # The canvas may reach out of the frame, a shape on it never does: it lies within the box
        # around the first and the last mask.
        skip_rows, skip_columns = max(-top, 0), max(-left, 0)
        part = target[top + skip_rows :, left + skip_columns :]
        shape = shape[skip_rows:, skip_columns:][: part.shape[0], : part.shape[1]]
        part[: shape.shape[0], : shape.shape[1]] |= shape


def _between(first: Bool, last: Bool) -> _Between:
    """What lies between two masks, bool [H, W], neither empty."""
    cuts = (_cut(first), _cut(last))
    centres = [low + _centroid(shape) for shape, low in cuts]
    # A whole number of pixels: the shapes stay sharp, and equal ones meet exactly.
    way = _whole(centres[1] - centres[0])
    canvases, origin = _on_one_canvas(*cuts, way)
    if way.any():
        unmoved, place = _on_one_canvas(*cuts, np.zeros_like(way))
        if np.count_nonzero(unmoved[0] & unmoved[1]) > np.count_nonzero(canvases[0] & canvases[1]):
            canvases, origin, way = unmoved, place, np.zeros_like(way)
    first_distance, last_distance = (_signed_distance(canvas) for canvas in canvases)
    return _Between(first_distance, last_distance, origin, way)


def _on_one_canvas(
    first: tuple[Bool, Point], last: tuple[Bool, Point], way: Point
) -> tuple[list[NDArray[np.uint8]], Point]:
    """Both shapes, the last one moved back by `way`, uint8 [h, w]; and where the canvas begins.

    There is a rim of one pixel, so that the distance to what is outside can be measured.
    """
    placed = (first, (last[0], last[1] - way))
    origin = np.min([low for _, low in placed], axis=0) - 1
    size = np.max([low + shape.shape for shape, low in placed], axis=0) + 1 - origin
    canvases = []
    for shape, low in placed:
        canvas = np.zeros(size, np.uint8)
        top, left = low - origin
        canvas[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        canvases.append(canvas)
    return canvases, origin


def _signed_distance(canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels to the outline, which runs between pixels; negative where the canvas is 1."""
    inside, outside = _distance(canvas), _distance(1 - canvas)
    return np.where(canvas == 1, 0.5 - inside, outside - 0.5).astype(np.float32)


def _distance(canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels from each 1 to the nearest 0: the root of a whole number, rounded as roots are.

    OpenCV's last digit depends on where the picture lies in memory: a pixel halfway between two
    shapes would be filled in one run and not in the next.
    """
    near = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    return np.sqrt(np.rint(near * near)).astype(np.float32)


def _cut(mask: Bool) -> tuple[Bool, Point]:
    """The set pixels' bounding box, and the row and column at which it begins."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return box, np.array([rows[0], columns[0]])


def _centroid(shape: Bool) -> Vector:
    """Mean row and column of the set pixels."""
    moments = cv2.moments(shape.astype(np.uint8), binaryImage=True)
    return np.array([moments["m01"], moments["m10"]]) / moments["m00"]


def _whole(vector: Vector) -> Point:
    return np.floor(vector + 0.5).astype(np.int64)
