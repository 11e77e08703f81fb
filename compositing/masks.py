"""The instances found in every frame of one video, as COCO run lengths in YouTube-VIS JSON.

Masks are kept raw, as the segmenter gave them: score threshold, humans-only, refinement over time
and boxes are applied afterwards, by `VideoMasks.union`: changing them segments nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from compositing.refinement import drop_specks, fill_gaps
from compositing.run_lengths import MaskPatch, areas_and_boxes, decode, decode_patch, encode

__all__ = [
    "Instance",
    "VideoMasks",
    "bounding_box",
    "decode",
    "dilate_masks",
    "encode",
    "from_json",
    "no_masks",
    "to_json",
]

HUMAN = "person"


class MaskSettings(Protocol):
    """What `VideoMasks.union` needs to know; `PrepareSettings` has it."""

    @property
    def score_threshold(self) -> float: ...
    @property
    def humans_only(self) -> bool: ...
    @property
    def boxes(self) -> bool: ...
    @property
    def max_gap(self) -> int: ...
    @property
    def temporal_or(self) -> bool: ...
    @property
    def min_speck(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing followed through a video, or one category's things together.

    Attributes:
        category: the segmenter's name of it, such as "person".
        score: the segmenter's confidence, 0..1; with `scores`, the largest of them.
        rles: per frame the compressed COCO run lengths, or None where it is not seen.
        scores: per frame the confidence of a segmenter that judges frames one by one, 0 where it
            is not seen; None when `score` holds for all.
    """

    category: str
    score: float
    rles: tuple[str | None, ...]
    scores: tuple[float, ...] | None = None

    @property
    def human(self) -> bool:
        """Whether the category is person, in any case."""
        return self.category.strip().lower() == HUMAN

    def sure(self, threshold: float) -> tuple[str | None, ...]:
        """Per frame the run lengths where the score reaches `threshold`, None elsewhere."""
        if self.scores is None:
            return self.rles if self.score >= threshold else (None,) * len(self.rles)
        frames = zip(self.rles, self.scores, strict=True)
        return tuple(rle if score >= threshold else None for rle, score in frames)


@dataclass(frozen=True, slots=True)
class Doubts:
    """Why a segmenter does not trust its own masks of a video, by the use made of them.

    Attributes:
        foreground: why they are no good as a foreground; "" where they are.
        background: why the background would not be emptied; "" where it would.
    """

    foreground: str = ""
    background: str = ""


NO_DOUBTS = Doubts()


@dataclass(frozen=True, slots=True)
class Unmasked:
    """The frames of which nobody made masks: an actor may be in them or not.

    Attributes:
        frames: their numbers, ascending.
        hold: how many of those at the video's end the last masks can stand for: after them there
            is nothing to interpolate with.
    """

    frames: tuple[int, ...] = ()
    hold: int = 0

    def runs(self) -> list[tuple[int, int]]:
        """(first frame, frame after the last) of those that follow each other."""
        numbers = np.array(self.frames, np.int64)
        parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
        return [(int(part[0]), int(part[-1]) + 1) for part in parts if part.size]


ALL_MASKED = Unmasked()


@dataclass(frozen=True, slots=True)
class VideoMasks:
    """All instances of one video.

    Attributes:
        height, width: the size of the masks in pixels, which need not be that of the frames.
        num_frames: how many frames each instance has an entry for.
        instances: in the segmenter's order.
        note: why there are no masks, when the segmenter knows; "" otherwise.
        doubts: why there are masks that are not to be trusted, when the segmenter knows.
        unmasked: frames that the segmenter was given no masks of. Their entries are None, which
            for other frames says that an instance is not seen.
    """

    height: int
    width: int
    num_frames: int
    instances: tuple[Instance, ...]
    note: str = ""
    doubts: Doubts = NO_DOUBTS
    unmasked: Unmasked = ALL_MASKED

    def union(self, settings: MaskSettings) -> NDArray[np.bool_]:
        """All instances that pass the settings, together: bool [T, H, W] at the masks' size.

        In this order: frames below the score threshold do not count; each instance loses its
        specks, so that none can make a box larger; its gaps are filled, and its last mask is held
        where `unmasked` says so, both for at most `max_gap` frames; with `boxes` it counts as its
        tight bounding box in each frame; then all instances are taken together, and with
        `temporal_or` all frames, as in ObjectMix (Sec. 3.3, Eq. 2: the union over t and n).

        Raises:
            ValueError: run lengths of an instance that passes do not decode.
        """
        union = np.zeros((self.num_frames, self.height, self.width), np.bool_)
        held = self._held(settings.max_gap)
        for instance in self.instances:
            if settings.humans_only and not instance.human:
                continue
            patches = self._patches(instance.sure(settings.score_threshold), settings.min_speck)
            if held and held[0] - 1 in patches:
                patches |= dict.fromkeys(held, patches[held[0] - 1])
            if patches:
                _draw(patches, settings, union)
        if settings.temporal_or:
            union[:] = union.any(axis=0)
        return union

    def lost(self, seen: NDArray[np.bool_], max_gap: int) -> NDArray[np.bool_]:
        """The frames that may show an actor whom no mask covers, because nobody made one.

        Those are the frames without masks that are not filled in: more than `max_gap` in a row, or
        at one of the video's ends; and where an instance is seen beside them, but not found again.

        Args:
            seen: bool [T], the frames in which `union` has a mask.
            max_gap: as for `union`.

        Returns:
            bool [T].
        """
        lost = np.zeros(self.num_frames, np.bool_)
        lost[list(self.unmasked.frames)] = True
        for start, stop in self.unmasked.runs():
            if start == 0 or stop == self.num_frames or stop - start > max_gap:
                continue
            beside = seen[start - 1] or seen[stop]
            lost[start:stop] = ~seen[start:stop] if beside else False
        lost[self._held(max_gap)] = False
        return lost

    def _held(self, max_gap: int) -> list[int]:
        """The frames at the end for which the last masks stand."""
        start, stop = next(reversed(self.unmasked.runs()), (0, 0))
        if start == 0 or stop != self.num_frames:
            return []
        return list(range(start, min(start + min(self.unmasked.hold, max_gap), stop)))

    def why_nothing_passes(self, settings: MaskSettings) -> str:
        """Why `union` is empty, where a setting is the reason; "" where none is known."""
        some = [i for i in self.instances if any(rle is not None for rle in i.rles)]
        if self.instances and not some:
            return "its instances are seen in none of the frames that are used"
        if settings.humans_only and some and not any(instance.human for instance in some):
            found = ", ".join(sorted({instance.category for instance in some})[:3])
            return f"humans_only keeps only persons, and this is {found}"
        best = max((i.score for i in some if i.human or not settings.humans_only), default=1.0)
        if best < settings.score_threshold:
            return f"its best score is {best:.2f}, and score_threshold {settings.score_threshold}"
        return ""

    def merged(self) -> NDArray[np.bool_]:
        """All instances together, as they are: bool [T, H, W] at the masks' size.

        Raises:
            ValueError: an instance's run lengths do not decode.
        """
        union = np.zeros((self.num_frames, self.height, self.width), np.bool_)
        for instance in self.instances:
            for frame, mask in decode(instance.rles, self.height, self.width):
                union[frame] |= mask
        return union

    def _patches(self, rles: Iterable[str | None], min_speck: float) -> dict[int, MaskPatch]:
        """Frame ─► what is left of an instance's mask without specks, ascending by frame."""
        patches = {}
        for frame, counts in enumerate(rles):
            patch = counts is not None and decode_patch(counts, self.height, self.width)
            if patch:
                mask = drop_specks(patch.mask, min_speck * self.height * self.width)
                if mask.any():
                    patches[frame] = MaskPatch(patch.top, patch.left, mask)
        return patches


def _draw(
    patches: Mapping[int, MaskPatch], settings: MaskSettings, union: NDArray[np.bool_]
) -> None:
    """Fill the gaps of one instance and add it to `union`, bool [T, H, W], in place.

    Only the part of the video is touched in which the instance is seen, in space and in time.
    """
    start, stop = min(patches), max(patches) + 1
    seen = patches.values()
    top, left = min(patch.top for patch in seen), min(patch.left for patch in seen)
    bottom = max(patch.top + patch.mask.shape[0] for patch in seen)
    right = max(patch.left + patch.mask.shape[1] for patch in seen)
    masks = np.zeros((stop - start, bottom - top, right - left), np.bool_)
    for frame, patch in patches.items():
        height, width = patch.mask.shape
        rows, columns = patch.top - top, patch.left - left
        masks[frame - start, rows : rows + height, columns : columns + width] = patch.mask
    # What is filled in lies within the box around all masks, so that nothing is cut off.
    masks = fill_gaps(masks, settings.max_gap)
    if settings.boxes:
        masks = np.stack([bounding_box(mask) for mask in masks])
    union[start:stop, top:bottom, left:right] |= masks


def no_masks(height: int, width: int, num_frames: int, note: str = "") -> VideoMasks:
    """The masks of a video in which nothing was found, with the reason if there is one."""
    return VideoMasks(height, width, num_frames, (), note)


def bounding_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tight box around a mask's set pixels, filled: bool [H, W]; empty stays empty."""
    box = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size:
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def dilate_masks(masks: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Widen masks (bool [T, H, W]) by a disc with a radius of `share` of the height."""
    radius = round(share * masks.shape[1])
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide = [cv2.dilate(mask.astype(np.uint8), disc) if mask.any() else mask for mask in masks]
    return np.stack(wide).astype(np.bool_)


def to_json(masks: VideoMasks, file_name: str, info: Mapping[str, object]) -> dict[str, Any]:
    """One video's masks as a YouTube-VIS document; `info` holds where they come from.

    Beside what YouTube-VIS has, an annotation has `score`, and `scores`, one per frame, where the
    segmenter judged frames one by one.

    Raises:
        ValueError: an instance's run lengths do not decode.
    """
    names = sorted({instance.category for instance in masks.instances})
    video = {
        "id": 1,
        "file_name": file_name,
        "height": masks.height,
        "width": masks.width,
        "length": masks.num_frames,
    }
    size = [masks.height, masks.width]
    seen = [[counts for counts in one.rles if counts is not None] for one in masks.instances]
    ends = np.cumsum([len(texts) for texts in seen]).astype(np.int64)
    areas, boxes = areas_and_boxes([counts for texts in seen for counts in texts], *size)
    parts = zip(masks.instances, np.split(areas, ends), np.split(boxes, ends), strict=False)
    annotations = [
        {
            "id": number,
            "video_id": 1,
            "category_id": names.index(instance.category) + 1,
            "iscrowd": 0,
            "score": instance.score,
            **({} if instance.scores is None else {"scores": list(instance.scores)}),
            **_segmentations(instance.rles, own_areas, own_boxes, size),
        }
        for number, (instance, own_areas, own_boxes) in enumerate(parts, start=1)
    ]
    return {
        "info": {
            **info,
            "note": masks.note,
            **({} if masks.doubts == NO_DOUBTS else {"doubts": asdict(masks.doubts)}),
            **({} if masks.unmasked == ALL_MASKED else {"unmasked": asdict(masks.unmasked)}),
        },
        "videos": [video],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        "annotations": annotations,
    }


def from_json(document: Any) -> dict[str, VideoMasks]:
    """Every video of a YouTube-VIS document, by its file_name as it is written: a backslash is a
    character of a name like any other.

    Annotations without a score count as score 1 in all frames, those with a score and no scores
    have that score in all. Nothing is decoded yet.

    Raises:
        ValueError: the document does not have that form; the message says where.
    """
    try:
        categories = {row["id"]: str(row["name"]) for row in document["categories"]}
        instances: dict[Any, list[Instance]] = {row["id"]: [] for row in document["videos"]}
        for row in document["annotations"]:
            instances[row["video_id"]].append(_instance(row, categories[row["category_id"]]))
        info = document.get("info", {})
        told = (str(info.get("note", "")), _doubts(info.get("doubts", {})), unmasked_in(info))
        return {
            str(row["file_name"]): replace(
                _video(row, tuple(instances[row["id"]])),
                note=told[0],
                doubts=told[1],
                unmasked=told[2],
            )
            for row in document["videos"]
        }
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it is not in YouTube-VIS form ({error})") from None


def _instance(row: Mapping[str, Any], category: str) -> Instance:
    given = row.get("scores")
    score = float(row.get("score", 1.0))
    scores = None if given is None else tuple(float(value) for value in given)
    for value in (score, *(scores or ())):
        if not 0 <= value <= 1:  # NaN neither
            raise ValueError(f"annotation {row['id']} has the score {value}, not 0..1")
    rles = tuple(_counts(entry) for entry in row["segmentations"])
    if scores is not None and len(scores) != len(rles):
        raise ValueError(
            f"annotation {row['id']} has {len(scores)} scores, but {len(rles)} segmentations"
        )
    return Instance(category, score, rles, scores)


def _doubts(row: Mapping[str, Any]) -> Doubts:
    return Doubts(str(row.get("foreground", "")), str(row.get("background", "")))


def unmasked_in(info: Any) -> Unmasked:
    """What the `info` of a document that `to_json` wrote says of frames without masks.

    Raises:
        ValueError: frames that are no numbers, or not ascending.
    """
    row = info.get("unmasked") if isinstance(info, Mapping) else None
    if row is None:
        return ALL_MASKED
    try:
        frames, hold = tuple(row["frames"]), row["hold"]
        sound = all(type(n) is int and n >= 0 for n in (*frames, hold))
        if sound and list(frames) == sorted(frames):
            return Unmasked(frames, hold)
    except (KeyError, TypeError):
        pass
    raise ValueError(f"its 'unmasked' is {str(row)[:40]}")


def _video(row: Mapping[str, Any], instances: tuple[Instance, ...]) -> VideoMasks:
    height, width, length = (int(row[key]) for key in ("height", "width", "length"))
    if min(height, width, length) < 1:
        raise ValueError(f"{row['file_name']} has the size {height}x{width}, {length} frames")
    for instance in instances:
        if len(instance.rles) != length:
            raise ValueError(
                f"{row['file_name']} has {length} frames, but {len(instance.rles)} segmentations"
            )
    return VideoMasks(height, width, length, instances)


def _counts(entry: Any) -> str | None:
    """One frame's run lengths as compressed text: COCO also writes them as a list of numbers."""
    if entry is None:
        return None
    counts = entry["counts"]
    if isinstance(counts, list):
        height, width = entry["size"]
        runs = np.array(counts)
        most = height * width
        if runs.dtype.kind != "i" or not 0 <= runs.min() <= runs.max() <= most == runs.sum():
            raise ValueError(f"run lengths that do not fill {height}x{width} pixels")
        counts = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)[
            "counts"
        ]
    return counts.decode("ascii") if isinstance(counts, bytes) else str(counts)


def _segmentations(
    rles: Sequence[str | None], areas: NDArray[np.int64], boxes: NDArray[np.int64], size: list[int]
) -> dict[str, list[Any]]:
    """One instance's columns; `areas` and `boxes` are of the frames in which it is seen."""
    columns: dict[str, list[Any]] = {
        name: [None] * len(rles) for name in ("segmentations", "bboxes", "areas")
    }
    seen = [frame for frame, counts in enumerate(rles) if counts is not None]
    for frame, area, box in zip(seen, areas.tolist(), boxes.tolist(), strict=True):
        columns["segmentations"][frame] = {"size": size, "counts": rles[frame]}
        columns["areas"][frame] = area
        columns["bboxes"][frame] = box if area else None
    return columns
