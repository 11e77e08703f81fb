"""The instances found in every frame of one video, as COCO run lengths in YouTube-VIS JSON.

Masks are kept raw, as the segmenter gave them: score threshold, humans-only, upkeep over time and
boxes are applied afterwards, by `VideoMasks.union`, so that changing them segments nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from compositing.upkeep import drop_specks, fill_gaps

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

    def at(self, frames: Sequence[int]) -> Instance:
        """The instance in these frames, in order; its score stays that of the whole video."""
        rles = tuple(self.rles[t] for t in frames)
        scores = None if self.scores is None else tuple(self.scores[t] for t in frames)
        return Instance(self.category, self.score, rles, scores)


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
class VideoMasks:
    """All instances of one video.

    Attributes:
        height, width: the size of the masks in pixels, which need not be that of the frames.
        num_frames: how many frames each instance has an entry for.
        instances: in the segmenter's order.
        note: why there are no masks, when the segmenter knows; "" otherwise.
        doubts: why there are masks that are not to be trusted, when the segmenter knows.
    """

    height: int
    width: int
    num_frames: int
    instances: tuple[Instance, ...]
    note: str = ""
    doubts: Doubts = NO_DOUBTS

    def union(self, settings: MaskSettings) -> NDArray[np.bool_]:
        """All instances that pass the settings, together: bool [T, H, W] at the masks' size.

        In this order: frames below the score threshold do not count; each instance loses its
        specks, so that none can make a box larger; its gaps are filled; with `boxes` it counts as
        its tight bounding box in each frame; then all instances are taken together, and with
        `temporal_or` all frames, as in ObjectMix (Sec. 3.3, Eq. 2: the union over t and n).

        Raises:
            ValueError: run lengths of an instance that passes do not decode.
        """
        union = np.zeros((self.num_frames, self.height, self.width), np.bool_)
        for instance in self.instances:
            if settings.humans_only and not instance.human:
                continue
            patches = self._patches(instance.sure(settings.score_threshold), settings.min_speck)
            if patches:
                _draw(patches, settings, union)
        if settings.temporal_or:
            union[:] = union.any(axis=0)
        return union

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

    def _patches(self, rles: Iterable[str | None], min_speck: float) -> list[_Patch]:
        """What is left of an instance's masks without specks, ascending by frame."""
        patches = []
        for frame, counts in enumerate(rles):
            patch = counts is not None and _patch(frame, counts, self.height, self.width)
            if patch:
                mask = drop_specks(patch.mask, min_speck * self.height * self.width)
                if mask.any():
                    patches.append(_Patch(frame, patch.top, patch.left, mask))
        return patches

    def at(self, indices: NDArray[np.int64]) -> VideoMasks:
        """The masks of the frames at `indices` (int64 [n], 0 <= index < num_frames), in order."""
        picked = tuple(instance.at(indices.tolist()) for instance in self.instances)
        return VideoMasks(self.height, self.width, len(indices), picked, self.note, self.doubts)


@dataclass(frozen=True, slots=True)
class _Patch:
    """A mask cut to its bounding box: bool [h, w], its first pixel at (top, left) of the frame."""

    frame: int
    top: int
    left: int
    mask: NDArray[np.bool_]


def _draw(patches: list[_Patch], settings: MaskSettings, union: NDArray[np.bool_]) -> None:
    """Fill one instance's gaps and add it to `union`, bool [T, H, W], in place.

    Only the part of the video is touched in which the instance is seen, in space and in time.
    """
    start, stop = patches[0].frame, patches[-1].frame + 1
    top, left = (min(getattr(patch, side) for patch in patches) for side in ("top", "left"))
    bottom = max(patch.top + patch.mask.shape[0] for patch in patches)
    right = max(patch.left + patch.mask.shape[1] for patch in patches)
    masks = np.zeros((stop - start, bottom - top, right - left), np.bool_)
    for patch in patches:
        height, width = patch.mask.shape
        rows, columns = patch.top - top, patch.left - left
        masks[patch.frame - start, rows : rows + height, columns : columns + width] = patch.mask
    # What is filled in lies within the box around all masks, so that nothing is cut off.
    masks = fill_gaps(masks, settings.max_gap)
    if settings.boxes:
        masks = np.stack([bounding_box(mask) for mask in masks])
    union[start:stop, top:bottom, left:right] |= masks


def no_masks(height: int, width: int, num_frames: int, note: str = "") -> VideoMasks:
    """The masks of a video in which nothing was found, with the reason if there is one."""
    return VideoMasks(height, width, num_frames, (), note)


def encode(masks: NDArray[np.bool_]) -> tuple[str | None, ...]:
    """COCO run lengths of masks (bool [T, H, W]); None for a frame without a set pixel."""
    columns = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    rles = coco.encode(columns)
    return tuple(
        rle["counts"].decode("ascii") if mask.any() else None
        for rle, mask in zip(rles, masks, strict=True)
    )


def decode(
    rles: Iterable[str | None], height: int, width: int
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield (frame index, mask bool [H, W]) for each frame that has run lengths.

    Raises:
        ValueError: run lengths that are damaged, or do not fill `height` x `width` exactly.
    """
    for frame, counts in enumerate(rles):
        if counts is not None:
            yield frame, _decode_one(counts, height, width)


def _decode_one(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.bool_)
    patch = _patch(0, counts, height, width)
    if patch:
        rows, columns = patch.mask.shape
        mask[patch.top : patch.top + rows, patch.left : patch.left + columns] = patch.mask
    return mask


def _patch(frame: int, counts: str, height: int, width: int) -> _Patch | None:
    """The mask of run lengths; None for one without a set pixel. Raises as `decode` does."""
    runs = _runs(counts)
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"run lengths that do not fill {height}x{width} pixels")
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
    return _Patch(frame, int(rows[0]), first, mask)


def _runs(counts: str) -> NDArray[np.int64]:
    """COCO's text form: run lengths down the columns, first of 0, then of 1, and so on.

    Each number is written in groups of five bits, lowest first; bit 32 says that more groups
    follow, bit 16 of the last group is the sign. From the fourth number on, what is written is the
    difference to the number two before. Decoded here and not by pycocotools, which gives memory
    that nobody wrote to for run lengths that stop too early.
    """
    groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not groups.size or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError(f"{counts[:20]!r} is no run-length text")
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("a run length has more than 32 bits")
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((groups & 31) << 5 * place, starts)
    runs -= np.where(groups[ends] & 16, 1 << 5 * lengths, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


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
    annotations = [
        {
            "id": number,
            "video_id": 1,
            "category_id": names.index(instance.category) + 1,
            "iscrowd": 0,
            "score": instance.score,
            **({} if instance.scores is None else {"scores": list(instance.scores)}),
            **_segmentations(instance, masks.height, masks.width),
        }
        for number, instance in enumerate(masks.instances, start=1)
    ]
    return {
        "info": {
            **info,
            "note": masks.note,
            **({} if masks.doubts == NO_DOUBTS else {"doubts": asdict(masks.doubts)}),
        },
        "videos": [video],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        "annotations": annotations,
    }


def from_json(document: Any) -> dict[str, VideoMasks]:
    """Every video of a YouTube-VIS document, by its file_name with forward slashes.

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
        note, doubts = str(info.get("note", "")), _doubts(info.get("doubts", {}))
        return {
            _name(row): _video(row, tuple(instances[row["id"]]), note, doubts)
            for row in document["videos"]
        }
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    except (TypeError, AttributeError) as error:
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


def _video(
    row: Mapping[str, Any], instances: tuple[Instance, ...], note: str, doubts: Doubts
) -> VideoMasks:
    height, width, length = (int(row[key]) for key in ("height", "width", "length"))
    if min(height, width, length) < 1:
        raise ValueError(f"{row['file_name']} has the size {height}x{width}, {length} frames")
    for instance in instances:
        if len(instance.rles) != length:
            raise ValueError(
                f"{row['file_name']} has {length} frames, but {len(instance.rles)} segmentations"
            )
    return VideoMasks(height, width, length, instances, note, doubts)


def _name(row: Mapping[str, Any]) -> str:
    return str(PurePosixPath(str(row["file_name"]).replace("\\", "/")))


def _counts(entry: Any) -> str | None:
    """One frame's run lengths as compressed text: COCO also writes them as a list of numbers."""
    if entry is None:
        return None
    counts = entry["counts"]
    if isinstance(counts, list):
        height, width = entry["size"]
        runs = np.array(counts)
        if runs.dtype.kind != "i" or runs.min() < 0 or runs.sum() != height * width:
            raise ValueError(f"run lengths that do not fill {height}x{width} pixels")
        counts = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)[
            "counts"
        ]
    return counts.decode("ascii") if isinstance(counts, bytes) else str(counts)


def _segmentations(instance: Instance, height: int, width: int) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [None] * len(instance.rles) for name in ("segmentations", "bboxes", "areas")
    }
    for frame, mask in decode(instance.rles, height, width):
        rle = {"size": [height, width], "counts": instance.rles[frame]}
        columns["segmentations"][frame] = rle
        columns["areas"][frame] = int(mask.sum())
        rows, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            left, top = int(across[0]), int(rows[0])
            columns["bboxes"][frame] = [
                left,
                top,
                int(across[-1]) + 1 - left,
                int(rows[-1]) + 1 - top,
            ]
    return columns
