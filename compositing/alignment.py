"""Where the camera went: shots, the frames' places in a shot's common picture, and its plate.

A shot is a run of frames that show the same scene, so that one picture, the reference, can hold
them all. A cut starts a new shot; so does a camera that has gone too far from where it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Affine = NDArray[np.float64]

TRACKING_SIDE = 320
"""Points are tracked on frames no longer than this: enough for a quarter of a pixel at 640."""
STILL = 0.3
"""A move that takes no corner further than this (tracking pixels) is the tracker's noise."""
MIN_POINTS = 12
"""An affine map is fitted to no fewer points than this."""
MIN_INLIERS = 0.5
"""Share of the followed points that must agree on a map."""
FRESH_INLIERS = 0.65
"""Below this share of inliers the next frames are tracked from a newer frame."""
CUT = 32.0
"""Grey levels, mean absolute difference of 32 x 24 thumbnails: above it a lost track is a cut."""
GRID = (12, 9)
"""Cells, across and down, that vote on whether the camera moved."""
PER_CELL = 2
"""Corners that are tracked in each cell, at most."""
STRENGTH = (1e-4, 0.1)
"""A corner's least eigenvalue, at least (about one grey level per pixel in its weaker direction:
more than noise has); or, in pictures that are softer than that, its share of the largest one."""
LOCAL = 25
"""Tracking pixels: structure finer than this is tracked, and what is wider is taken for light."""
PRECISION = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 6, 0.05)
"""When a corner's search ends; RANSAC and the number of corners do the rest."""
GAIN = 0.3
"""Grey levels by which the differences' spread in a cell must change for a vote."""
SHARE = 0.25
"""Share of a cell that must be usable and in view for it to vote."""
MIN_WINS = 0.25
"""Share of the cells that a camera's motion must improve: an actor covers less."""
MAJORITY = 1.5
"""Cells that it must improve for each that it makes worse: where in doubt, the camera stands."""
MARGIN = 0.04
"""Share of the shorter side, left out all around."""
MIN_SIDE = 16
"""Pixels; the motion of a smaller picture is not looked for."""
MIN_PEAK = 0.2
"""Phase correlation's peak (1 is a pure shift) below which it found nothing."""
MAX_SHIFT = 0.6
"""Share of the frame's side by which the camera may leave the place where the shot began."""
MAX_ZOOM = 1.6
"""Factor by which it may zoom; both bound the size of the reference."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames `start` to `stop` (exclusive) and where they lie in the reference picture.

    Attributes:
        start, stop: frame numbers in the video.
        to_reference: float64 [n, 2, 3], affine maps from a frame's pixel coordinates (x, y) to the
            reference's. The reference has the first frame's scale, and holds all frames.
        size: (height, width) of the reference in pixels.
    """

    start: int
    stop: int
    to_reference: Affine
    size: tuple[int, int]

    @property
    def still(self) -> bool:
        """Whether the camera stood: then nothing is resampled."""
        return bool((self.to_reference == np.eye(2, 3)).all())

    def into_reference(self, frame: int, picture: UInt8) -> UInt8:
        """A frame's picture (uint8 [H, W] or [H, W, 3]) in the reference, 0 outside of it.

        Bilinear; `frame` counts from the shot's start.
        """
        if self.still:
            return picture
        height, width = self.size
        moved = cv2.warpAffine(picture, self.to_reference[frame], (width, height))
        return np.asarray(moved, np.uint8)

    def from_reference(self, frame: int, picture: UInt8, size: tuple[int, int]) -> UInt8:
        """The part of a reference picture that a frame of `size` (height, width) shows."""
        if self.still:
            return picture
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(
            picture,
            self.to_reference[frame],
            size[::-1],
            flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(seen, np.uint8)


def find_shots(frames: UInt8, ignore: Bool | None = None) -> list[Shot]:
    """Estimate the camera's motion over a clip.

    Corners, equally many of each part of the picture, are tracked (pyramidal Lucas-Kanade) from a
    key frame, and a shift with rotation and zoom is fitted by RANSAC, so that what moves by itself
    does not count as long as it covers less than half of the parts that have any. Changing light
    does not count either. Where nothing can be tracked, the camera is taken to stand.

    Args:
        frames: uint8 [T, H, W, 3], RGB, T >= 1.
        ignore: bool [T, H, W], pixels known to move by themselves; no corner is taken there.

    Returns:
        Shots in order; together they hold each frame once.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, TRACKING_SIDE / max(height, width))
    views = [
        _view(frame, None if ignore is None else ignore[t], scale) for t, frame in enumerate(frames)
    ]
    shots: list[Shot] = []
    start, key = 0, views[0]
    moves = [np.eye(3)]  # from each frame of the shot to its first, in tracking pixels
    key_move, guess = np.eye(3), np.eye(3)  # from the key frame to the first, and to the last seen
    for t in range(1, len(frames)):
        before, view = views[t - 1], views[t]
        tracked = _track(key, view, guess, MIN_INLIERS)
        if tracked is None:
            key, key_move = before, moves[-1]
            tracked = _track_afresh(before, view)
        cut = tracked is None and _unlike(before, view)
        step, inliers = tracked or (np.eye(3), 0.0)
        move = key_move @ np.linalg.inv(step)
        if cut or _too_far(move, view.grey.shape):
            shots.append(_shot(start, t, moves, scale, (height, width)))
            start, moves, move, inliers = t, [], np.eye(3), 0.0
        moves.append(move)
        guess = step
        if inliers < FRESH_INLIERS:
            key, key_move, guess = view, move, np.eye(3)
    shots.append(_shot(start, len(frames), moves, scale, (height, width)))
    return shots


def find_cuts(frames: UInt8) -> list[int]:
    """The frames that a cut comes before, ascending; of frames uint8 [T, H, W, 3], RGB, T >= 1.

    As in `find_shots`: the whole picture changes, and nothing of it can be followed. A flash is no
    cut, nor is a fast pan.
    """
    scale = min(1.0, TRACKING_SIDE / max(frames.shape[1:3]))
    cuts = []
    before = _view(frames[0], None, scale)
    for t in range(1, len(frames)):
        view = _view(frames[t], None, scale)
        if _unlike(before, view) and _track_afresh(before, view) is None:
            cuts.append(t)
        before = view
    return cuts


def _unlike(before: _View, view: _View) -> bool:
    """Whether two frames are so unlike that one can follow the other at a cut alone."""
    return float(np.abs(view.thumb - before.thumb).mean()) > CUT


def masked_median(samples: UInt8, valid: Bool) -> tuple[UInt8, NDArray[np.int64]]:
    """The lower median over the valid samples, channel by channel.

    Args:
        samples: uint8 [S, C, P], S samples of P places.
        valid: bool [S, P], which samples count.

    Returns:
        Medians uint8 [C, P] (255 where no sample counts), and how many counted, int64 [P].
    """
    counts = valid.sum(axis=0)
    # 255 stands behind every valid value, so the middle of the valid ones is where it always is.
    ordered = list(samples | np.where(valid, np.uint8(0), np.uint8(255))[:, None])
    _sort_in_place(ordered)
    middle = np.maximum(counts - 1, 0) // 2
    median = ordered[0].copy()
    for index in range(1, int(middle.max(initial=0)) + 1):
        np.copyto(median, ordered[index], where=middle == index)
    return median, counts


def _sort_in_place(rows: list[UInt8]) -> None:
    """Sort each element over the list by Batcher's odd-even merge network.

    Minimum and maximum of whole rows run in vector registers: tens of times faster than sorting
    short columns one by one.
    """
    count = len(rows)
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(min(k, count - j - k)):
                    low, high = i + j, i + j + k
                    if low // (2 * p) == high // (2 * p):
                        smaller = np.minimum(rows[low], rows[high])
                        np.maximum(rows[low], rows[high], out=rows[high])
                        rows[low] = smaller
            k //= 2
        p *= 2


@dataclass(frozen=True)
class _View:
    """A frame as the tracker sees it: small and grey.

    Attributes:
        grey: uint8 [h, w].
        usable: uint8 [h, w], 255 where points may be taken. The margin is not: borders and
            captions burnt into the picture do not move with the scene.
        thumb: int16 [24, 32].
    """

    grey: UInt8
    usable: UInt8
    thumb: NDArray[np.int16]

    @cached_property
    def flat(self) -> UInt8:
        """The grey picture without its local brightness, uint8 [h, w], 128 where nothing is.

        Lucas-Kanade looks for equal brightness: in a picture that brightens, it moves each corner
        to where it was as bright before.
        """
        light = cv2.blur(self.grey, (LOCAL, LOCAL))
        return np.asarray(cv2.addWeighted(self.grey, 1, light, -1, 128), np.uint8)

    @cached_property
    def corners(self) -> NDArray[np.float32]:
        """The strongest corners (x, y), float32 [n, 1, 2], up to `PER_CELL` of each cell of `GRID`.

        So each part of the picture has the same voice: the camera is what most of the area does,
        while an actor with a patterned shirt before a plain wall holds most of the corners.
        """
        strength = cv2.cornerMinEigenVal(self.grey, 3)
        strength[self.usable == 0] = 0
        enough = min(STRENGTH[0], STRENGTH[1] * float(strength.max()))
        peaks = strength == cv2.dilate(strength, np.ones((7, 7), np.uint8))
        rows, columns = np.nonzero(peaks & (strength > enough))
        height, width = strength.shape
        cells = rows * GRID[1] // height * GRID[0] + columns * GRID[0] // width
        order = np.lexsort((-strength[rows, columns], cells))
        rank = np.arange(len(order)) - np.searchsorted(cells[order], cells[order])
        chosen = order[rank < PER_CELL]
        return np.stack([columns, rows], axis=1)[chosen, None].astype(np.float32)

    @cached_property
    def texture(self) -> NDArray[np.float32]:
        """The usable fine structure, float32 [h, w], for phase correlation."""
        grey = self.grey.astype(np.float32)
        fine = cv2.GaussianBlur(grey, (0, 0), 1.2) - cv2.GaussianBlur(grey, (0, 0), 8)
        return np.asarray(fine * cv2.GaussianBlur(self.usable, (0, 0), 3) / 255, np.float32)


def _view(frame: UInt8, ignore: Bool | None, scale: float) -> _View:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    usable = np.zeros_like(grey)
    margin = round(MARGIN * min(grey.shape))
    usable[margin : len(usable) - margin, margin : usable.shape[1] - margin] = 255
    if ignore is not None:
        small = cv2.resize(
            ignore.astype(np.uint8), grey.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        usable[small > 0] = 0
    thumb = cv2.resize(grey, (32, 24), interpolation=cv2.INTER_AREA).astype(np.int16)
    return _View(grey, usable, thumb)


def _track(
    before: _View, after: _View, guess: Affine, min_inliers: float
) -> tuple[Affine, float] | None:
    """The 3 x 3 map from `before` to `after` and its share of inliers; None if there is none."""
    corners = before.corners
    if len(corners) < MIN_POINTS:
        return None
    start = (corners @ guess[:2, :2].T + guess[:2, 2]).astype(np.float32)
    ends, found, _ = cv2.calcOpticalFlowPyrLK(
        before.flat,
        after.flat,
        corners,
        start,
        winSize=(15, 15),
        maxLevel=3,
        criteria=PRECISION,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    height, width = after.grey.shape
    good = (found.ravel() == 1) & ((ends > -1) & (ends < (width, height))).all(axis=(1, 2))
    if good.sum() < MIN_POINTS:
        return None
    affine, inside = cv2.estimateAffinePartial2D(
        corners[good, 0], ends[good, 0], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if affine is None or inside.mean() < min_inliers or inside.sum() < MIN_POINTS:
        return None
    step = np.vstack([affine, (0.0, 0.0, 1.0)])
    if _furthest(step, after.grey.shape) < STILL or not _explains(step, before, after):
        step = np.eye(3)
    return step, float(inside.sum()) / len(corners)


def _explains(step: Affine, before: _View, after: _View) -> bool:
    """Whether a map brings the pictures closer together, over a wide part, than standing still.

    Corners can sit on the actor more than on a plain background; areas cannot be fooled so. What
    counts in a cell is the spread of the differences, not their mean: light that changes shifts all
    of them alike, and no move of the camera could explain that.
    """
    size = after.grey.shape[::-1]
    moved, shown = (cv2.warpAffine(p, step[:2], size) for p in (before.grey, before.usable))
    usable = cv2.min(cv2.min(before.usable, after.usable), shown)
    counted = (usable == 255).astype(np.float32)
    share = cv2.resize(counted, GRID, interpolation=cv2.INTER_AREA)
    voting = share >= SHARE
    still_spread, moved_spread = (
        _std_by_cell(cv2.subtract(picture, after.grey, dtype=cv2.CV_32F), counted, share)
        for picture in (before.grey, moved)
    )
    gain = (still_spread - moved_spread)[voting]
    wins, losses = int((gain > GAIN).sum()), int((gain < -GAIN).sum())
    return wins > MAJORITY * losses and wins >= MIN_WINS * len(gain)


def _std_by_cell(
    differences: NDArray[np.float32], counted: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The standard deviation in each cell of `GRID` of those differences [h, w] that are counted.

    `counted` [h, w] is 1 or 0, and `share` its mean in each cell.
    """
    differences = differences * counted
    mean, square = (
        cv2.resize(values, GRID, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)
        for values in (differences, differences**2)
    )
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float32)


def _track_afresh(before: _View, after: _View) -> tuple[Affine, float] | None:
    """Track from one frame to the next where tracking failed: fast pans, blur, bare lawns.

    Phase correlation of the whole pictures gives the shift; the points refine it if they can.
    """
    if min(before.grey.shape) < MIN_SIDE:
        return None
    window = cv2.createHanningWindow(before.grey.shape[::-1], cv2.CV_32F)
    (x, y), peak = cv2.phaseCorrelate(before.texture, after.texture, window)
    if not peak > MIN_PEAK:
        return _track(before, after, np.eye(3), MIN_INLIERS)
    shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    refined = _track(before, after, shift, MIN_INLIERS / 2)
    if refined is None and _explains(shift, before, after):
        return shift, 0.0
    return refined


def _furthest(move: Affine, shape: tuple[int, ...]) -> float:
    """How far a map takes the corners of a picture, at most, in pixels."""
    corners = _outline(*shape[:2])
    return float(np.hypot(*(move[:2] @ corners - corners[:2])).max())


def _outline(height: int, width: int) -> Affine:
    """The four corner pixels, homogeneous, [3, 4]."""
    return np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1.0]])


def _too_far(move: Affine, shape: tuple[int, ...]) -> bool:
    zoom = np.sqrt(abs(np.linalg.det(move[:2, :2])))
    middle = np.array([shape[1] / 2, shape[0] / 2, 1.0])
    shift = np.abs(move[:2] @ middle - middle[:2]) / (shape[1], shape[0])
    return not 1 / MAX_ZOOM < zoom < MAX_ZOOM or float(shift.max()) > MAX_SHIFT


def _shot(start: int, stop: int, moves: list[Affine], scale: float, size: tuple[int, int]) -> Shot:
    """Tracking pixels become frame pixels, and the reference large enough for all frames."""
    if all(np.array_equal(move, np.eye(3)) for move in moves):
        return Shot(start, stop, np.tile(np.eye(2, 3), (len(moves), 1, 1)), size)
    # Pixel centres: frame pixel x lies at (x + 0.5) * scale - 0.5 in the tracked picture.
    shrink = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5], [0, 0, 1]])
    full = np.stack([np.linalg.inv(shrink) @ move @ shrink for move in moves])
    reached = full[:, :2] @ _outline(*size)
    low = np.floor(reached.min(axis=(0, 2)))
    high = np.ceil(reached.max(axis=(0, 2)))
    full[:, :2, 2] -= low
    width, height = (high - low + 1).astype(int).tolist()
    return Shot(start, stop, full[:, :2], (height, width))
