"""`motion`: what moves against the background is the foreground. Needs no weights.

The camera's motion is removed, the temporal median of the aligned frames is the background, and
what differs from it by more than the noise is kept: a robust background subtraction. What never
moves is never found, and a person who only waves is found by the arms: so every video's mask is
judged by itself (`trust.py`), and what is not to be trusted is said to be so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.alignment import Shot, find_shots, masked_median
from compositing.masks import Instance, VideoMasks, encode, no_masks
from compositing.segmenters import trust
from compositing.segmenters.trust import Moving, judge
from l2a.errors import InputError
from l2a.media import Frames, resize_frames
from l2a.videos import Video

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

CATEGORY = "moving"
SIDE = 320
"""Longer side at which motion is looked for, in pixels; masks have this size."""
MAX_SAMPLES = 31
"""Frames of a shot that the background is the median of, at most."""
MIN_SAMPLES = 3
"""A place in view less often has no background to differ from."""
NOISE = 6.0
"""How many standard deviations of the frame's noise count as a difference."""
FLOOR = 14.0
"""The least difference that counts, in units of 8-bit Lab with chroma doubled."""
FAINT = 0.57
"""Share of that threshold at which a region that passes it somewhere ends: clothes are often nearly
as bright as what is behind them."""
BRIGHT = 0.25
"""The same as a share of how much most of the region differs: a bright thing has a sharp end."""
SPECK = 0.0008
"""Share of the frame below which a moving region is dropped."""
CLOSE = 0.05
"""Share of the frame's height: gaps between moving regions up to twice as wide are closed."""
CLOSE_SURE = 0.012
"""The same for what surely moves, with which the mask is compared."""
MINOR = 0.05
"""Share of the frame's largest moving region below which another one is dropped."""


class MotionSegmenter:
    """Finds what moves, as one instance of the category `moving` with score 1 for each shot.

    One each, so that no gap in time is filled across a cut.
    """

    identity = (
        f"motion 3 side {SIDE} samples {MAX_SAMPLES} noise {NOISE} floor {FLOOR} faint {FAINT}"
        f" bright {BRIGHT} close {CLOSE} speck {SPECK} minor {MINOR} {trust.IDENTITY}"
    )

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """The segmenter of `motion`, which takes no argument."""
        if argument:
            raise InputError(
                f"The segmenter 'motion' takes no argument, but was given {argument!r}."
            )
        return cls()

    def check(self, videos: Sequence[Video]) -> None:
        """Every video can be looked at."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """The moving regions, and whether they are to be trusted; `video` itself is not needed."""
        count, height, width = frames.frames.shape[:3]
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        found, shots = find(resize_frames(frames.frames, size))
        if not found.masks.any():
            return no_masks(*size, count, "nothing moves in it")
        return replace(as_masks(found, shots), doubts=judge(found))


def as_masks(found: Moving, shots: Sequence[Shot]) -> VideoMasks:
    """The moving regions as instances, one for each shot that has some."""
    count, height, width = found.masks.shape
    instances = []
    for shot in shots:
        rles = encode(found.masks[shot.start : shot.stop])
        if any(rles):
            before, after = (None,) * shot.start, (None,) * (count - shot.stop)
            instances.append(Instance(CATEGORY, 1.0, (*before, *rles, *after)))
    return VideoMasks(height, width, count, tuple(instances))


def find_moving(frames: UInt8) -> Bool:
    """The moving regions: bool [T, H, W] of frames uint8 [T, H, W, 3], RGB."""
    return find(frames)[0].masks


def find(frames: UInt8) -> tuple[Moving, list[Shot]]:
    """The moving regions, and the shots in which they were looked for."""
    shots = find_shots(frames)
    found = _moving_in(frames, shots)
    if not found.masks.any() or all(shot.still for shot in shots):
        return found, shots
    # What moves misleads the search for the camera's motion: now that it is known, look again.
    reach = max(1, round(0.02 * frames.shape[1]))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    ignore = np.stack([cv2.dilate(mask.astype(np.uint8), square) > 0 for mask in found.masks])
    shots = find_shots(frames, ignore)
    return _moving_in(frames, shots), shots


def _moving_in(frames: UInt8, shots: list[Shot]) -> Moving:
    """The moving regions, where the shots are known."""
    masks, sure = np.zeros((2, *frames.shape[:3]), np.bool_)
    for shot in shots:
        if shot.stop - shot.start < MIN_SAMPLES:
            continue
        differences = _differences(shot, frames[shot.start : shot.stop])
        for t, distance in enumerate(differences, start=shot.start):
            threshold = _threshold(distance)
            masks[t] = _tidy(_outlined(distance, threshold), CLOSE)
            sure[t] = _tidy(_hysteresis(distance, threshold, threshold), CLOSE_SURE)
    return Moving(masks, sure)


def _differences(shot: Shot, frames: UInt8) -> Iterator[NDArray[np.float32]]:
    """How far each of a shot's frames is from their common background: float32 [H, W] each."""
    labs = [cv2.cvtColor(cv2.GaussianBlur(f, (0, 0), 0.6), cv2.COLOR_RGB2LAB) for f in frames]
    inside = np.full(frames.shape[1:3], 255, np.uint8)
    chosen = np.unique(np.linspace(0, len(frames) - 1, MAX_SAMPLES).round().astype(int)).tolist()
    looks = np.stack([shot.into_reference(t, labs[t]).reshape(-1, 3).T for t in chosen])
    views = np.stack([shot.into_reference(t, inside).ravel() == 255 for t in chosen])
    median, counts = masked_median(looks, views)
    plate = _without_lingerers(looks, views, median, shot.size)
    known = (counts >= MIN_SAMPLES).astype(np.uint8).reshape(shot.size) * 255
    low, high = plate, plate
    if not shot.still:
        # Half a pixel of misalignment must not make every edge move.
        square = np.ones((3, 3), np.uint8)
        low, high = cv2.erode(plate, square), cv2.dilate(plate, square)
    size = frames.shape[1:3]
    for t, lab in enumerate(labs):
        over = cv2.subtract(lab, shot.from_reference(t, high, size))
        under = cv2.subtract(shot.from_reference(t, low, size), lab)
        distance = _distance(cv2.max(over, under).transpose(0, 2, 1))
        distance[shot.from_reference(t, known, size) < 255] = 0
        yield distance


def _without_lingerers(looks: UInt8, views: Bool, median: UInt8, size: tuple[int, int]) -> UInt8:
    """The background, also where the actor stood in more than half of the frames.

    What a region showed at the shot's start, or at its end, replaces the median where that removes
    an outline from the picture: a background continues under an actor; an actor ends there.

    Args:
        looks: uint8 [S, 3, P], Lab, the samples of the P places of the reference.
        views: bool [S, P], which samples are in view.
        median: uint8 [3, P], of the samples in view.
        size: (height, width) of the reference, P = height x width.

    Returns:
        uint8 [height, width, 3], Lab.
    """
    few = min(3, len(looks) // 3)
    plate = np.ascontiguousarray(median.T).reshape(*size, 3)
    for part in (slice(None, few), slice(-few, None)):
        other, seen = masked_median(looks[part], views[part])
        differs = (_apart(other, median) > 2 * FLOOR) & (seen > 0)
        opened = cv2.morphologyEx(
            differs.astype(np.uint8).reshape(size), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)
        )
        other = np.ascontiguousarray(other.T).reshape(*size, 3)
        count, labels = cv2.connectedComponents(opened, connectivity=4)
        for label in range(1, count):
            region = labels == label
            replaced = np.where(region[:, :, None], other, plate)
            if _contrast(replaced, region) < _contrast(plate, region):
                plate = replaced
    return plate


def _contrast(picture: UInt8, region: Bool) -> float:
    """How strong the edges of a picture are along a region's outline."""
    square = np.ones((3, 3), np.uint8)
    inside = region.astype(np.uint8)
    outline = cv2.subtract(cv2.dilate(inside, square), cv2.erode(inside, square))
    gradient = cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, square)
    return float(sum(cv2.mean(gradient, mask=outline)))


def _apart(one: UInt8, other: UInt8) -> NDArray[np.float32]:
    """Distance of Lab colours, uint8 [3, P] each: [P]."""
    return _distance((np.maximum(one, other) - np.minimum(one, other))[None])[0]


def _distance(apart: NDArray[np.generic]) -> NDArray[np.float32]:
    """Lengths [n, P] of Lab differences [n, 3, P]; chroma is doubled, 8-bit Lab halves it."""
    light, a, b = (apart[:, channel].astype(np.float32) for channel in range(3))
    return np.sqrt(light**2 + 4 * (a**2 + b**2))


def _threshold(distance: NDArray[np.float32]) -> float:
    """Noise-adaptive: the median plus `NOISE` robust standard deviations, at least `FLOOR`."""
    middle = float(np.median(distance))
    deviation = 1.4826 * float(np.median(np.abs(distance - middle)))
    return max(FLOOR, middle + NOISE * deviation)


def _outlined(distance: NDArray[np.float32], threshold: float) -> Bool:
    """What moves, as far as it differs at all, but no further than it stands out."""
    found = _hysteresis(distance, FAINT * threshold, threshold)
    if not found.any():
        return found
    usual = float(np.percentile(distance[found], 75))
    return found & (distance > BRIGHT * usual)


def _hysteresis(distance: NDArray[np.float32], edge: float, threshold: float) -> Bool:
    """Regions above `edge` that somewhere reach twice the threshold."""
    _, labels = cv2.connectedComponents((distance > edge).astype(np.uint8), connectivity=8)
    strong = np.zeros(int(labels.max()) + 1, np.bool_)
    strong[labels[distance > 2 * threshold]] = True
    strong[0] = False
    return strong[labels]


def _tidy(mask: Bool, gap: float) -> Bool:
    """Close gaps (of twice this share of the height), fill holes, drop specks and minor regions."""
    if not mask.any():
        return mask
    height, width = mask.shape
    reach = max(1, round(gap * height))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(closed)
    cv2.drawContours(filled, contours, -1, 1, thickness=cv2.FILLED)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(SPECK * height * width, MINOR * int(areas.max()))
    keep[0] = False
    return keep[labels]
