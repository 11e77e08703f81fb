"""`masks:PATH`: bring your own masks, in a JSON file, a folder of them, or folders of PNG files.

What PATH is is found by looking. Each kind of file has a reader, which gives entries: what the
file has on each video (`entry.Entry`). `documents.KINDS` is the table of JSON kinds; pictures are
read by `pictures`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compositing.masks import Instance, Unmasked, VideoMasks, decode, encode, no_masks
from compositing.records import ABSENT, DAMAGED, LENGTH, MASK_FILES, SHAPE, UNCLEAR, reason_kind
from compositing.segmenters.mask_files.documents import read_entries
from compositing.segmenters.mask_files.entry import UNNAMED, Entry
from compositing.segmenters.mask_files.names import Names
from compositing.segmenters.mask_files.pictures import find_pictures, read_pictures
from compositing.segmenters.mask_files.timing import Timing, time_masks
from l2a.errors import InputError, UnreadableVideo
from l2a.files import file_sha256, fingerprint
from l2a.logs import say
from l2a.media import Frames, read_frames, resize_masks
from l2a.videos import Video

TRIED = 3
"""Videos that are tried before any work, so that masks that fit none are refused at once."""
MOST_PIXELS = 2**28
"""Masks of one video with more pixels in all are reduced to the size of its frames: they would take
a byte for each when they are put together."""
_TRIAL = {"max_frames": 300, "max_side": 160}
"""How these are read: it takes little memory."""


class MaskFiles:
    """Reads masks that somebody made with another program.

    A video is looked up in the file named after its class if there is one, else in all files. Each
    file is read when first needed, and once.

    Raises:
        InputError: PATH does not exist or holds no masks; later, a file is wrong as a whole.
    """

    def __init__(self, path: Path) -> None:
        # Unlike Path's own, it answers for every text: one too long for a name, or with a zero.
        if not os.path.exists(path):  # noqa: PTH110
            raise InputError(f"There are no masks at {path}; check the path after 'masks:'.")
        self._path = path
        self._files: tuple[Path, ...] = () if path.is_dir() else (path,)
        self._pictures: dict[Path, list[str]] = {}
        if path.is_dir():
            self._files = tuple(sorted(file for file in path.glob("*.json") if file.is_file()))
            try:
                self._pictures = find_pictures(path)
            except OSError as error:
                raise InputError(
                    f"{error.filename} cannot be opened ({error.strerror}); check it."
                ) from None
        if not self._files and not self._pictures:
            raise InputError(f"The folder {path} holds no .json and no .png file; put masks there.")
        if self._files:
            self._pictures.pop(Path(), None)  # a picture next to the files holds no masks
        if self._files and self._pictures:
            example = next(iter(self._pictures)) / next(iter(self._pictures.values()))[0]
            raise InputError(
                f"The folder {path} holds both {self._files[0].name} and {example}; give the folder"
                " of one of the two, so that it is clear which are the masks."
            )
        self._read: dict[tuple[Path, ...], _MaskSource] = {}

    @classmethod
    def from_argument(cls, argument: str) -> MaskFiles:
        """The segmenter of the text after `masks:`."""
        if not argument:
            raise InputError("The segmenter 'masks' needs a path; write masks:PATH.")
        return cls(Path(argument).expanduser())

    @cached_property
    def identity(self) -> str:
        """`masks`, with the SHA-256 of every file; where PATH lies does not matter."""
        try:
            if self._pictures:
                digest = hashlib.sha256()
                for folder, names in self._pictures.items():
                    for name in names:
                        own = file_sha256(self._path / folder / name)
                        digest.update(
                            f"{(folder / name).as_posix()}\0{own}\n".encode(errors="replace")
                        )
                return f"{MASK_FILES} pictures {digest.hexdigest()[:16]}"
            sums = [(file.name, file_sha256(file)) for file in map(_regular, self._files)]
        except OSError as error:
            raise InputError(f"{error.filename} cannot be opened ({error.strerror}).") from None
        return f"{MASK_FILES} {fingerprint(sums)}"

    def check(self, videos: Sequence[Video]) -> None:
        """See `Segmenter`. Says what had to be assumed about these masks.

        Raises:
            InputError: a file is wrong as a whole, a class has no masks at all, or of the videos
                that are tried none can use its masks.
        """
        with_masks = [video for video in videos if not isinstance(self._find(video), str)]
        some = {video.label for video in with_masks}
        without = {v.label: v for v in videos if v.label not in some and not self._own(v.label)}
        if without or (videos and not with_masks):
            raise InputError(self._nothing_for(without or {v.label: v for v in videos}, not some))
        self._try(with_masks)

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """The stored masks of the frames, at the masks' own size; a note where there are none."""
        count, height, width = frames.frames.shape[:3]
        masks = self._masks(video, frames)
        return no_masks(height, width, count, masks) if isinstance(masks, str) else masks

    def _masks(self, video: Video, frames: Frames) -> VideoMasks | str:
        """The masks of a video, or why it has none."""
        height, width = frames.frames.shape[1:3]
        entry = self._find(video)
        if isinstance(entry, str):
            return entry
        timing = self._timing(entry, video, frames)
        try:
            masks = entry.masks(timing.masks.tolist() if timing else [])
        except ValueError as error:
            return f"{DAMAGED}: {error}"
        # Masks made of a file whose pixels are no squares lie on its pixels as they are stored.
        of_file = (masks.height, masks.width) == frames.stored
        if not of_file and not _same_shape(masks, height, width):
            shapes = f"{masks.height}x{masks.width} and the video {height}x{width}"
            return f"{SHAPE}: they are {shapes} (height x width)"
        if timing is None:
            return f"{LENGTH}: {_lengths(entry)} and the video has {frames.total}"
        if not masks.instances:
            return masks.note or f"{ABSENT}: {self._path.name} has no instance in it"
        masks = replace(masks, unmasked=_unmasked(masks, timing))
        if masks.num_frames * masks.height * masks.width > MOST_PIXELS:
            return _reduced(masks, (height, width))
        return masks

    def _timing(self, entry: Entry, video: Video, frames: Frames) -> Timing | None:
        first = self._source(video.label).first_number
        return time_masks(frames, entry.count, entry.numbers, first) if entry.count else None

    def _find(self, video: Video) -> Entry | str:
        """The entry of a video, or why it has none."""
        try:
            found = self._source(video.label).names.find(video)
        except ValueError as error:
            return f"{UNCLEAR}: in {self._path.name}, {error}"
        example = self._source(video.label).names.example()
        others = f"names others, such as {example}" if example else "names no video"
        return found or f"{ABSENT}: {self._path.name} {others}"

    def _source(self, label: str) -> _MaskSource:
        """What is asked for the videos of a class."""
        files = self._own(label) or self._files
        if files not in self._read:
            self._read[files] = _MaskSource(self._entries(files))
        return self._read[files]

    def _own(self, label: str) -> tuple[Path, ...]:
        """The file that is named after a class, if there are several."""
        # Compared by name: a label comes from data and may hold slashes.
        return tuple(f for f in self._files if len(self._files) > 1 and f.stem == label)

    def _entries(self, files: Sequence[Path]) -> list[Entry]:
        if self._pictures:
            try:
                return read_pictures(self._path, self._pictures)
            except ValueError as error:
                raise InputError(
                    f"The folder {self._path} cannot be used as masks: {error};"
                    " sort them into one folder per video."
                ) from None
        entries: list[Entry] = []
        named: dict[str, Path] = {}
        for file in files:
            others = [other for other in self._files if other != file]
            for entry in read_entries(file, others):
                if (other := named.setdefault(entry.name, file)) != file:
                    raise InputError(
                        f"{other} and {file.name} both name the video {entry.name}; keep one."
                    )
                entries.append(entry)
        return entries

    def _nothing_for(self, without: Mapping[str, Video], nobody: bool) -> str:
        """The sentence for classes of which no video has masks, each with one of its videos."""
        labels = sorted(without)
        video = without[labels[0]]
        source = self._source(video.label)
        try:
            source.names.find(video)
        except ValueError as error:
            return (
                f"{self._path} is ambiguous: {error}; name videos as the data set does, such as"
                f" {video.id}."
            )
        found = source.names.example()
        if not found:
            return f"{self._path} names no video, such as {video.id}; give a file with masks."
        names = f"it names videos such as {found}, where {video.id} is expected"
        if nobody:
            return f"{self._path} has masks for none of these videos: {names}; rename one of them."
        return (
            f"{self._path} has no masks for the class {', '.join(labels)}: {names}; add a file"
            f" {labels[0]}.json, or leave the class out."
        )

    def _try(self, videos: Sequence[Video]) -> None:
        """Use the masks of a few videos, of middling length, before the work begins."""
        ordered = sorted(videos, key=lambda video: (_size(video.path), video.id))
        parts = (ordered[(2 * n + 1) * len(ordered) // (2 * TRIED)] for n in range(TRIED))
        steps: dict[int, str] = {}
        unnamed = False
        tried: list[str] = []
        for video in dict.fromkeys(parts):
            try:
                frames = read_frames(video.path, **_TRIAL)
            except UnreadableVideo:
                continue
            masks, entry = self._masks(video, frames), self._find(video)
            fewer = not isinstance(entry, str) and entry.count < frames.total
            if isinstance(masks, VideoMasks):
                tried.append("")
                unnamed |= any(instance.category == UNNAMED for instance in masks.instances)
                step = self._assumed_step(video, frames)
                steps.setdefault(step, f"{video.id} ({entry.count} for {frames.total} frames)")
            elif reason_kind(masks) in (SHAPE, DAMAGED, LENGTH):
                # Fewer may be right with the settings, which are not known here.
                tried.append(
                    "" if fewer and reason_kind(masks) == LENGTH else f"{video.id}: {masks}"
                )
        if tried and all(tried):
            damaged = f": {DAMAGED}: " in tried[0]
            remedy = "write them again" if damaged else "make masks of these videos"
            raise InputError(
                f"{self._path} does not fit the videos that were tried, such as {tried[0]};"
                f" {remedy}."
            )
        self._say(steps, unnamed)

    def _assumed_step(self, video: Video, frames: Frames) -> int:
        """n where masks are taken to be of one frame in n without the file's saying so; else 1."""
        entry = self._find(video)
        if isinstance(entry, str) or entry.numbers is not None:
            return 1
        timing = self._timing(entry, video, frames)
        return timing.step if timing else 1

    def _say(self, steps: Mapping[int, str], unnamed: bool) -> None:
        """Say what is assumed about these masks, or that it cannot be."""
        if len(steps) > 1:
            found = " but ".join(f"one frame in {s} of {v}" for s, v in sorted(steps.items())[:2])
            raise InputError(
                f"{self._path} has masks for {found}: it is not known which frames they are of;"
                " name the frames in 'file_names', with their numbers."
            )
        for step, example in steps.items():
            if step > 1:
                say(
                    f"note: {self._path} is taken to have masks of one frame in {step}, the first"
                    f" among them, as for {example}; --max-gap fills those between where it is"
                    f" {step - 1} or more"
                )
        if unnamed:
            say(
                f"note: {self._path} has instances without a category: they count as {UNNAMED!r},"
                " which --humans-only leaves out"
            )


class _MaskSource:
    """The entries that are asked for some classes."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.names = Names(entries)
        numbers = [entry.numbers[0] for entry in entries if entry.numbers]
        # Programs number frames from 0 or from 1: all of a file's videos alike.
        self.first_number = 1 if numbers and min(numbers) == 1 else 0


def _reduced(masks: VideoMasks, size: tuple[int, int]) -> VideoMasks:
    """The masks at another size (height, width); one frame is decoded at a time."""

    def reduce(instance: Instance) -> Instance:
        rles: list[str | None] = [None] * masks.num_frames
        for frame, mask in decode(instance.rles, masks.height, masks.width):
            (rles[frame],) = encode(resize_masks(mask[None], size))
        return replace(instance, rles=tuple(rles))

    instances = tuple(reduce(instance) for instance in masks.instances)
    return replace(masks, height=size[0], width=size[1], instances=instances)


def _unmasked(masks: VideoMasks, timing: Timing) -> Unmasked:
    """The frames of which the file has no masks, with those of which it says so itself."""
    own = masks.unmasked
    frames = {*own.frames, *np.flatnonzero(timing.masks < 0).tolist()}
    return Unmasked(tuple(sorted(frames)), max(own.hold, timing.hold))


def _same_shape(masks: VideoMasks, height: int, width: int) -> bool:
    """Whether masks have the frames' aspect ratio, whose sides are rounded to whole pixels."""
    difference = abs(masks.width * height - masks.height * width)
    return difference <= 0.05 * masks.height * width + max(masks.height, masks.width)


def _regular(file: Path) -> Path:
    """The file, unless it is none that ends: a pipe, a device."""
    if not file.is_file():
        raise InputError(f"{file} is neither a file nor a folder; check the path after 'masks:'.")
    return file


def _lengths(entry: Entry) -> str:
    if entry.numbers:
        last = entry.numbers[-1]
        return f"they are of {entry.count} frames, up to number {last},"
    return f"they are of {entry.count} frames"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
