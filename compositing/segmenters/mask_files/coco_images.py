"""COCO: `images`, and annotations of single images, which are the frames of videos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pycocotools import mask as coco

from compositing.masks import Instance, VideoMasks
from compositing.run_lengths import decode_patch
from compositing.segmenters.detections import Detection
from compositing.segmenters.following import track_detections
from compositing.segmenters.mask_files.entry import Broken, Entry, checked_size
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
from compositing.segmenters.mask_files.youtube_vis import Categories, categories, category

TRACKS = ("track_id", "instance_id", "object_id")
"""Fields that say which annotations are of one instance; without them it is followed by overlap."""

_FLAT = re.compile(r"(.+?)[_-]?\d+")


def read_coco_images(document: Row) -> list[Entry]:
    """The entries of a document whose images are frames, in the order of their numbers.

    A video is the folder of its images, as in `VIDEO/00001.jpg`; without a folder, what stands
    before the number, as in `VIDEO_00001.jpg`. Where images name a video by `video_id`, it is that.

    Raises:
        ValueError: the document is wrong as a whole.
    """
    images, annotations = rows(document, "images"), rows(document, "annotations")
    refuse_repeated((identifier(row, "id") for row in images), "the image id")
    refuse_repeated((row["id"] for row in annotations if has_id(row)), "the annotation id")
    of_image: dict[int | str, list[Row]] = {row["id"]: [] for row in images}
    for row in annotations:
        if (image_id := identifier(row, "image_id")) not in of_image:
            raise ValueError(f"an annotation is of the image {brief(image_id)}, which it lacks")
        of_image[image_id].append(row)
    videos: dict[str, list[Row]] = {}
    titles = _titles(document)
    for row in images:
        videos.setdefault(_video_of(row, titles), []).append(row)
    names = categories(document)
    return [_entry(name, frames, of_image, names) for name, frames in videos.items()]


@dataclass(frozen=True, slots=True)
class _Frames:
    """An `Entry`: the images of one video, in order, each with its annotations."""

    name: str
    numbers: tuple[int, ...] | None
    height: int
    width: int
    annotations: tuple[Sequence[Row], ...]
    categories: Categories

    @property
    def count(self) -> int:
        """See `Entry`."""
        return len(self.annotations)

    def masks(self, frames: Sequence[int]) -> VideoMasks:
        """See `Entry`."""
        known = [t for t, frame in enumerate(frames) if frame >= 0]
        found = [self.annotations[frame] if frame >= 0 else () for frame in frames]
        tracked = [(t, row, _track(row)) for t, annotated in enumerate(found) for row in annotated]
        if tracked and all(track is not None for *_, track in tracked):
            return self._by_track(tracked, len(frames))
        detections = [
            [
                Detection(
                    category(row, self.categories), score(row.get("score"), whose(row)), rle, patch
                )
                for row in annotated
                if (rle := self._mask(row))
                and (patch := decode_patch(rle, self.height, self.width))
            ]
            for annotated in map(found.__getitem__, known)
        ]
        # Frames that have no image tell nothing: no instance ends in them.
        followed = track_detections(detections)
        instances = tuple(_spread(instance, known, len(frames)) for instance in followed)
        return VideoMasks(self.height, self.width, len(frames), instances)

    def _by_track(self, tracked: list[tuple[int, Row, Any]], count: int) -> VideoMasks:
        rles: dict[tuple[Any, str], list[str | None]] = {}
        scores: dict[tuple[Any, str], list[float]] = {}
        for t, row, track in tracked:
            key = (track, category(row, self.categories))
            masks = rles.setdefault(key, [None] * count)
            new, old = self._mask(row), masks[t]
            if new and old:  # an instance in several parts
                new = coco.merge([self._coco(old), self._coco(new)])["counts"].decode("ascii")
            masks[t] = new or old
            value = score(row.get("score"), whose(row))
            each = scores.setdefault(key, [0.0] * count)
            each[t] = max(each[t], value)
        instances = tuple(
            Instance(key[1], max(scores[key]), tuple(masks), tuple(scores[key]))
            for key, masks in rles.items()
        )
        return VideoMasks(self.height, self.width, count, instances)

    def _mask(self, row: Row) -> str | None:
        return run_length_text(row.get("segmentation"), self.height, self.width)

    def _coco(self, rle: str) -> dict[str, Any]:
        return {"size": [self.height, self.width], "counts": rle}


def _spread(instance: Instance, known: Sequence[int], count: int) -> Instance:
    """An instance of the frames `known` as one of `count` frames, not seen in the others."""
    if len(known) == count:
        return instance
    rles: list[str | None] = [None] * count
    scores = [0.0] * count
    for place, t in enumerate(known):
        rles[t] = instance.rles[place]
        scores[t] = instance.scores[place] if instance.scores else instance.score
    return replace(instance, rles=tuple(rles), scores=tuple(scores))


def _titles(document: Row) -> dict[int | str, str]:
    """id ─► name of the videos that a document lists besides its images."""
    videos = rows(document, "videos")
    refuse_repeated((identifier(row, "id") for row in videos), "the video id")
    return {
        row["id"]: text(row.get("file_name") or row.get("name"), "a video's name") for row in videos
    }


def _video_of(image: Row, titles: dict[int | str, str]) -> str:
    video_id = image.get("video_id")
    if isinstance(video_id, int | str) and video_id in titles:
        return titles[video_id].replace("\\", "/")
    name = PurePosixPath(text(image.get("file_name"), "an image's 'file_name'").replace("\\", "/"))
    if str(name.parent) != ".":
        return str(name.parent)
    flat = _FLAT.fullmatch(name.stem)
    return flat[1] if flat else name.stem


def _entry(
    name: str, images: list[Row], of_image: dict[int | str, list[Row]], names: Categories
) -> Entry:
    try:
        numbered = [(_number(image), image) for image in images]
        if all(number is not None for number, _ in numbered):
            numbered.sort(key=lambda pair: pair[0] or 0)
            refuse_repeated((number for number, _ in numbered), "the frame number")
        sizes = {(whole(image, "height"), whole(image, "width")) for image in images}
        if len(sizes) > 1:
            raise ValueError(f"its images have different sizes: {brief(sorted(sizes))}")
        height, width = checked_size(*sizes.pop())
    except ValueError as error:
        return Broken(name, str(error))
    numbers = tuple(number for number, _ in numbered if number is not None)
    return _Frames(
        name,
        numbers if len(numbers) == len(images) else None,
        height,
        width,
        tuple(of_image[image["id"]] for _, image in numbered),
        names,
    )


def _number(image: Row) -> int | None:
    """The number of an image's frame."""
    for key in ("frame_id", "frame_index"):
        if isinstance(image.get(key), int):
            return int(image[key])
    file = image.get("file_name")
    found = frame_numbers([file]) if isinstance(file, str) else None
    return found[0] if found else None


def _track(row: Row) -> int | str | None:
    """Which instance an annotation belongs to, if it says so."""
    own = row.get("attributes")
    places = (row, own) if isinstance(own, dict) else (row,)
    for place in places:
        for key in TRACKS:
            if isinstance(place.get(key), int | str):
                return place[key]
    return None
