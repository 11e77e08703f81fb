"""Detections of single frames, followed through the video as instances.

Detections of the same category whose masks overlap from frame to frame are one instance: its masks
can then be filled in where the network missed it, and it stays one annotation when stored. None
lasts over a cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compositing.alignment import find_cuts
from compositing.masks import Instance, VideoMasks
from compositing.run_lengths import MaskPatch
from compositing.segmenters.detections import Detect, Detection, detections_in

MIN_OVERLAP = 0.1
"""Least IoU of an instance's last mask and its next. So little, because people are quick: of the
actors of JHMDB's real clips, 98 of 100 overlap more from one frame to the next, and 93 of 100 over
five frames."""
PATIENCE = 15
"""Frames in a row that an instance may go unseen before it ends: longer than gaps worth filling."""
IDENTITY = f"followed 1 overlap {MIN_OVERLAP} patience {PATIENCE}"
"""What a segmenter's identity says about this file."""


def detect_and_track(frames: NDArray[np.uint8], detect: Detect, name: str) -> VideoMasks:
    """The instances of a video (uint8 [T, H, W, 3], RGB) in what a network detects.

    Args:
        name: of the network, for the note where it detects nothing.
    """
    count, height, width = frames.shape[:3]
    instances = track_detections(detections_in(frames, detect), find_cuts(frames))
    note = "" if instances else f"{name} finds nothing in it"
    return VideoMasks(height, width, count, instances, note)


def track_detections(
    frames: Iterable[Sequence[Detection]], cuts: Collection[int] = ()
) -> tuple[Instance, ...]:
    """Follow detections through a video.

    Within a category, each detection continues the instance whose last mask it overlaps most, the
    best overlaps being given first (equal ones to the older instance, then to the earlier
    detection); one that overlaps none enough begins an instance. Overlap is the IoU of masks and
    not of boxes, because the boxes of people who pass each other say little about who is who.

    Args:
        frames: per frame its detections, all masks of one size; read once, one frame at a time.
        cuts: the frames that a cut comes before. All instances end there: who stands in the same
            place behind it is somebody else, and was not there between.

    Returns:
        Instances in the order in which they appear, each with an entry per frame; every detection
        is in exactly one of them.
    """
    tracks: list[_Track] = []
    live: list[_Track] = []
    count = 0
    for frame, found in enumerate(frames):
        count = frame + 1
        lasting = [track for track in live if frame - track.frames[-1] <= PATIENCE + 1]
        live = [] if frame in cuts else lasting
        links = _link(live, found)
        for number, detection in enumerate(found):
            track = links.get(number)
            if track is None:
                track = _Track(detection.category, detection.patch)
                tracks.append(track)
                live.append(track)
            track.add(frame, detection)
    return tuple(track.instance(count) for track in tracks)


@dataclass(slots=True)
class _Track:
    """An instance that is being followed; of its masks only the last one is kept as pixels."""

    category: str
    last: MaskPatch
    frames: list[int] = field(default_factory=list)
    seen: list[tuple[str, float]] = field(default_factory=list)

    def add(self, frame: int, detection: Detection) -> None:
        """Continue the track with a detection."""
        self.last = detection.patch
        self.frames.append(frame)
        self.seen.append((detection.rle, detection.score))

    def instance(self, count: int) -> Instance:
        """It, with an entry for each of `count` frames."""
        rles: list[str | None] = [None] * count
        scores = [0.0] * count
        for frame, (rle, score) in zip(self.frames, self.seen, strict=True):
            rles[frame], scores[frame] = rle, score
        return Instance(self.category, max(scores), tuple(rles), tuple(scores))


def _link(tracks: Sequence[_Track], found: Sequence[Detection]) -> dict[int, _Track]:
    """Which track each detection continues, by the detection's number; none for a new instance."""
    candidates = sorted(
        (-overlap, track, detection) for track, detection, overlap in _overlaps(tracks, found)
    )
    links: dict[int, _Track] = {}
    taken = set()
    for _, track, detection in candidates:
        if track not in taken and detection not in links:
            taken.add(track)
            links[detection] = tracks[track]
    return links


def _overlaps(
    tracks: Sequence[_Track], found: Sequence[Detection]
) -> Iterator[tuple[int, int, float]]:
    """(track, detection, IoU) of all of one category whose masks overlap enough.

    Boxes and areas, compared all at once, bound the IoU: few masks are looked at.
    """
    if not tracks or not found:
        return
    names = [track.category for track in tracks], [row.category for row in found]
    kinds = {name: n for n, name in enumerate({*names[0], *names[1]})}
    old, new = [track.last for track in tracks], [detection.patch for detection in found]
    first, last = _boxes(old), _boxes(new)
    low = np.maximum(first[:, None, :2], last[None, :, :2])
    high = np.minimum(first[:, None, 2:4], last[None, :, 2:4])
    most = np.maximum(high - low, 0).prod(axis=2)
    most = np.minimum(most, np.minimum(first[:, None, 4], last[None, :, 4]))
    enough = most >= MIN_OVERLAP * (first[:, None, 4] + last[None, :, 4] - most)
    same = np.equal.outer(*([kinds[name] for name in side] for side in names))
    for track, detection in zip(*np.nonzero(enough & same & (most > 0)), strict=True):
        common = _common(old[track], new[detection])
        union = int(first[track, 4]) + int(last[detection, 4]) - common
        if common / union >= MIN_OVERLAP:
            yield int(track), int(detection), common / union


def _boxes(patches: Sequence[MaskPatch]) -> NDArray[np.int64]:
    """Top, left, bottom, right and area of patches: int64 [N, 5]."""
    rows = []
    for patch in patches:
        height, width = patch.mask.shape
        area = np.count_nonzero(patch.mask)
        rows.append((patch.top, patch.left, patch.top + height, patch.left + width, area))
    return np.array(rows, np.int64)


def _common(one: MaskPatch, other: MaskPatch) -> int:
    """How many pixels two masks share."""
    parts = []
    for patch, beside in ((one, other), (other, one)):
        top, left = max(beside.top - patch.top, 0), max(beside.left - patch.left, 0)
        bottom = beside.top + beside.mask.shape[0] - patch.top
        right = beside.left + beside.mask.shape[1] - patch.left
        parts.append(patch.mask[top:bottom, left:right])
    return int(np.count_nonzero(parts[0] & parts[1]))
