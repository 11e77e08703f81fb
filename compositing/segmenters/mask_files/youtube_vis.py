"""YouTube-VIS: `videos`, and annotations with one mask for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from compositing.masks import Instance, Unmasked, VideoMasks, unmasked_in
from compositing.segmenters.mask_files.entry import UNNAMED, Broken, Entry, checked_size, picked
from compositing.segmenters.mask_files.fields import (
    Row,
    brief,
    frame_numbers,
    has_id,
    identifier,
    refuse_repeated,
    rows,
    score,
    text,
    whole,
    whose,
)
from compositing.segmenters.mask_files.shapes import run_length_text

Categories = Mapping[int | str, str]


def read_youtube_vis(document: Row) -> list[Entry]:
    """The entries of a document; what is wrong with one video alone, its entry says when asked.

    A video is named by `file_name`, or by the folder of its frames in `file_names`, whose numbers
    say which frames they are. Without `height` and `width` the masks' own size is taken.

    Raises:
        ValueError: the document is wrong as a whole.
    """
    videos, annotations = rows(document, "videos"), rows(document, "annotations")
    refuse_repeated((identifier(row, "id") for row in videos), "the video id")
    refuse_repeated((row["id"] for row in annotations if has_id(row)), "the annotation id")
    of_video: dict[int | str, list[Row]] = {row["id"]: [] for row in videos}
    for row in annotations:
        if (video_id := identifier(row, "video_id")) not in of_video:
            raise ValueError(f"an annotation is of the video {brief(video_id)}, which it lacks")
        of_video[video_id].append(row)
    names = categories(document)
    info = document.get("info")
    told = (str(info.get("note", "")) if isinstance(info, dict) else "", unmasked_in(info))
    entries = [_entry(row, of_video[row["id"]], names, told) for row in videos]
    refuse_repeated((entry.name for entry in entries), "the video")
    return entries


def categories(document: Row) -> Categories:
    """id ─► name of the document's categories; empty when it has none."""
    listed = rows(document, "categories")
    refuse_repeated((identifier(row, "id") for row in listed), "the category id")
    return {row["id"]: text(row.get("name"), "a category's name") for row in listed}


def category(row: Row, names: Categories) -> str:
    """An annotation's category; `UNNAMED` where the document has none at all.

    Raises:
        ValueError: it has some, but not this one.
    """
    if not names:
        return UNNAMED
    given = row.get("category_id")
    if isinstance(given, list | dict) or given not in names:
        raise ValueError(f"{whose(row)} has the category {brief(given)}, which the file lacks")
    return names[given]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class _Video:
    """An `Entry`: the rows of one video, as they are in the document."""

    name: str
    count: int
    numbers: tuple[int, ...] | None
    height: int
    width: int
    annotations: Sequence[Row]
    categories: Categories
    told: tuple[str, Unmasked]  # by the file itself

    def masks(self, frames: Sequence[int]) -> VideoMasks:
        """See `Entry`."""
        instances = tuple(self._instance(row, frames) for row in self.annotations)
        note, own = self.told
        without = tuple(t for t, frame in enumerate(frames) if frame in own.frames)
        return VideoMasks(
            self.height, self.width, len(frames), instances, note,
            unmasked=Unmasked(without, own.hold),
        )  # fmt: skip

    def _instance(self, row: Row, frames: Sequence[int]) -> Instance:
        name, best = whose(row), score(row.get("score"), whose(row))
        masks = _per_frame(row, "segmentations", self.count)
        rles = tuple(
            run_length_text(mask, self.height, self.width) for mask in picked(masks, frames)
        )
        scores = None
        if row.get("scores") is not None:
            each = [score(value, name) for value in _per_frame(row, "scores", self.count)]
            scores = tuple(0.0 if frame < 0 else each[frame] for frame in frames)
        return Instance(category(row, self.categories), best, rles, scores)


def _entry(
    row: Row, annotations: Sequence[Row], names: Categories, told: tuple[str, Unmasked]
) -> Entry:
    files = row.get("file_names")
    if not isinstance(files, list | None) or not all(isinstance(file, str) for file in files or ()):
        raise ValueError(f"'file_names' is {brief(files)}, and not a list of strings")
    name = row.get("file_name") or (str(PurePosixPath(files[0]).parent) if files else None)
    name = text(name, "a video's 'file_name'").replace("\\", "/")
    try:
        size = _stated_size(row, annotations)
        height, width = checked_size(whole(size, "height"), whole(size, "width"))
        longest = max((len(_masks(a)) for a in annotations), default=0)
        count = whole({"length": row.get("length", len(files or ()) or longest)}, "length")
        if count < 1 or (files and len(files) != count):
            raise ValueError(f"it has the length {count} and names {len(files or ())} frames")
        for annotation in annotations:
            _per_frame(annotation, "segmentations", count)
    except ValueError as error:
        return Broken(name, str(error))
    numbers = frame_numbers(files) if files else None
    return _Video(name, count, numbers, height, width, annotations, names, told)


def _stated_size(row: Row, annotations: Sequence[Row]) -> Row:
    """The video's `height` and `width`; those of its first mask where it has none itself."""
    masks = (mask for annotation in annotations for mask in _masks(annotation))
    size = next((mask.get("size") for mask in masks if isinstance(mask, dict)), None)
    own = size if isinstance(size, list) and len(size) == 2 else (None, None)
    return {"height": row.get("height", own[0]), "width": row.get("width", own[1])}


def _per_frame(row: Row, key: str, count: int) -> list[Any]:
    values = row.get(key)
    if not isinstance(values, list):
        raise ValueError(f"{whose(row)} has {brief(values)} as {key!r}, and not a list")
    if len(values) != count:
        raise ValueError(f"{whose(row)} has {len(values)} {key}, but the video {count} frames")
    return values


def _masks(row: Row) -> list[Any]:
    masks = row.get("segmentations")
    return masks if isinstance(masks, list) else []
