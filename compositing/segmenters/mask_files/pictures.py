"""Folders of PNG masks: one picture for each frame, in a folder for each video.

As DAVIS, YouTube-VOS and SAM 2 write them: a pixel's value is the number of its instance, 0 the
background, 255 not to be judged; or, in pictures that know 0 and 255 alone, 255 the instance.
Pictures without a palette whose levels are the soft edge of the brightest of them are refused.
SAM 2 can write a folder for each instance below that of the video.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compositing.masks import Instance, VideoMasks, encode
from compositing.segmenters.mask_files.entry import UNNAMED, Entry, checked_size
from compositing.segmenters.mask_files.fields import frame_numbers, shown

VOID = 255
MAX_INSTANCES = 100
"""More values than that in the pictures of a video are no numbers of instances."""

_FLAT = 0.25
"""Share of a smoothed edge's pixels with neighbours of their own level alone, at most."""
_DEPTH = 8
"""Folders are followed no deeper; links may lead round."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _IN_COLOUR, _PALETTE = 0, (2, 6), 3


def find_pictures(root: Path) -> dict[Path, list[str]]:
    """Every folder below `root` with PNG files, relative to it ─► their names, sorted.

    Links to folders are followed, each folder once; what is not a regular file is left out.
    """
    found: dict[Path, list[str]] = {}
    seen: set[tuple[int, int]] = set()
    waiting = [(root, Path())]
    while waiting:
        folder, relative = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _is_folder(entry):
                    if len(relative.parts) < _DEPTH:
                        waiting.append((folder / entry.name, relative / entry.name))
                elif entry.name.lower().endswith(".png") and Path(entry.path).is_file():
                    found.setdefault(relative, []).append(entry.name)
    return dict(sorted(found.items()))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def read_pictures(root: Path, found: Mapping[Path, Sequence[str]]) -> list[Entry]:
    """The entries of a folder of pictures.

    A folder whose name is a number is read both as a video of that name and as one instance of the
    video that the folder above is named after: which it is, the names of the videos decide.

    Raises:
        ValueError: pictures lie next to the videos' folders, or both in and below one.
    """
    entries: list[Entry] = []
    instances: dict[Path, list[Path]] = {}
    for folder in found:
        if not folder.parts:
            raise ValueError("PNG files lie in it directly, and not in a folder for each video")
        entries.append(_entry(root, folder, [folder], found))
        if folder.name.isdecimal() and len(folder.parts) > 1:
            instances.setdefault(folder.parent, []).append(folder)
    for video, folders in instances.items():
        if video in found:
            raise ValueError(f"PNG files lie both in {video} and in {folders[0]}")
        entries.append(_entry(root, video, folders, found))
    return entries


@dataclass(frozen=True, slots=True)
class _Pictures:
    """An `Entry`: for each folder of one video's pictures, the file of each frame that has one."""

    name: str
    numbers: tuple[int, ...] | None
    count: int
    folders: tuple[Mapping[int, Path], ...]

    def masks(self, frames: Sequence[int]) -> VideoMasks:
        """See `Entry`."""
        files = [file for folder in self.folders for file in folder.values()]
        size = _header(files[0])[:2]
        instances = tuple(
            instance for folder in self.folders for instance in _instances(folder, frames, size)
        )
        return VideoMasks(*size, len(frames), instances)


def _entry(
    root: Path, name: Path, folders: Sequence[Path], found: Mapping[Path, Sequence[str]]
) -> Entry:
    stems = {Path(file).stem for folder in folders for file in found[folder]}
    ordered = sorted(stems, key=lambda stem: (frame_numbers([stem]) or (-1,), stem))
    place = {stem: number for number, stem in enumerate(ordered)}
    return _Pictures(
        name.as_posix(),
        frame_numbers(ordered),
        len(ordered),
        tuple(
            {place[Path(file).stem]: root / folder / file for file in found[folder]}
            for folder in folders
        ),
    )


def _instances(
    files: Mapping[int, Path], frames: Sequence[int], size: tuple[int, int]
) -> Iterator[Instance]:
    """The instances of one folder's pictures, one for each value."""
    rles: dict[int, list[str | None]] = {}
    for t, frame in enumerate(frames):
        if frame in files:
            values = read_values(files[frame], size)
            present = np.flatnonzero(np.bincount(values.ravel(), minlength=1)[1:]) + 1
            _refuse_smoothed(files[frame], values, present)
            for value in present[: MAX_INSTANCES + 1].tolist():
                masks = rles.setdefault(value, [None] * len(frames))
                (masks[t],) = encode(values[None] == value)
    if set(rles) != {VOID}:
        rles.pop(VOID, None)
    if len(rles) > MAX_INSTANCES:
        raise ValueError(
            f"{_named(next(iter(files.values())))} and others have more than {MAX_INSTANCES}"
            " different values, where each should be the number of an instance"
        )
    for _, masks in sorted(rles.items()):
        yield Instance(UNNAMED, 1.0, tuple(masks))


def _refuse_smoothed(path: Path, values: NDArray[np.uint8], present: NDArray[np.int64]) -> None:
    """Refuse a picture with soft edges: its outline would be read as instances, its actor as void.

    Args:
        path: of the picture, for the message, and for its kind.
        values: uint8 [H, W].
        present: its values but 0, ascending. One alone is an instance, whatever it is.
    """
    grey = present[(present > MAX_INSTANCES) & (present < VOID)]
    if not grey.size or present.size == 1 or _header(path)[3] == _PALETTE:
        return
    if _is_soft_edge(values, int(present[-1])):
        raise ValueError(
            f"{_named(path)} has soft edges, with grey levels such as {present[-2]} below"
            f" {present[-1]}: save masks without smoothing, thresholded at {present[-1] // 2 + 1},"
            " or instances by number, in a palette or as 1 to 100"
        )


def _is_soft_edge(values: NDArray[np.uint8], brightest: int) -> bool:
    """Whether the levels below the brightest are the edge of it, and no instances.

    A smoothed edge goes through its levels: hardly a pixel lies among others of its own level, and
    they surround what is brightest. An instance is flat inside, or lies beside another and not
    around it: instances may have any number, as in DAVIS's colours made grey (38, 75, 113).

    Args:
        values: uint8 [H, W].
        brightest: the largest of them.
    """
    levels = (values > 0) & (values < brightest)
    around = np.ones((3, 3), np.uint8)
    flat = cv2.erode(values, around) == cv2.dilate(values, around)
    if np.count_nonzero(levels & flat) > _FLAT * np.count_nonzero(levels):
        return False
    top = values == brightest
    outline = (cv2.dilate(top.astype(np.uint8), around) > 0) & ~top
    return bool(2 * np.count_nonzero(outline & levels) >= np.count_nonzero(outline))


def read_values(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture's values: uint8 [H, W], of the `size` (height, width) that it must have.

    Raises:
        ValueError: it is no PNG of one channel of at most 8 bits, is damaged, or of another size.
    """
    height, width, depth, kind = _header(path)
    if (height, width) != size:
        raise ValueError(
            f"{_named(path)} has {height}x{width} pixels, and others {size[0]}x{size[1]}"
        )
    if depth > 8:
        raise ValueError(f"{_named(path)} has {depth} bits a pixel, and not 8")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        raise ValueError(f"{_named(path)} is damaged ({error})") from None
    if values.ndim == 3:
        if kind in _IN_COLOUR and (values[..., :1] != values[..., :3]).any():
            raise ValueError(f"{_named(path)} is in colour: a mask has one channel, or a palette")
        values = values[..., 0]
    if kind == _GREY and depth in (2, 4):
        values = values // (VOID // (2**depth - 1))  # Pillow spreads them over 0..255
    return values.astype(np.uint8)


def _header(path: Path) -> tuple[int, int, int, int]:
    """Height, width, bits a channel and kind of colour, from a file's first bytes.

    Read before any decoder sees the file, which may say that it has a terapixel.
    """
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise ValueError(f"{_named(path)} cannot be opened ({error.strerror})") from None
    if len(head) < 26 or head[:8] != _SIGNATURE or head[12:16] != b"IHDR":
        raise ValueError(f"{_named(path)} is no PNG file")
    width, height = (int.from_bytes(head[start : start + 4]) for start in (16, 20))
    try:
        return *checked_size(height, width), head[24], head[25]
    except ValueError:
        raise ValueError(f"{_named(path)} has the impossible size {height}x{width}") from None


def _named(path: Path) -> str:
    return shown(f"{path.parent.name}/{path.name}")
