"""Where the videos of a data set lie: class folders, at the top or one of a few known places.

Folders are read with `os.scandir`, never by patterns, and files are not opened, so that a data set
of many thousand files is read in about a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l2a.formats.groups import plain
from l2a.videos import Skipped

SUFFIXES = frozenset(
    {"3gp", "asf", "avi", "divx", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"}
    | {"mts", "ogv", "ts", "vob", "webm", "wmv"}
)
"""What counts as a video file, in any case."""

SPLIT_FOLDERS = {
    f"{before}{name}{after}": split
    for split, names in {
        "train": ("train", "training"),
        "val": ("val", "valid", "validate", "validation"),
        "test": ("test", "testing"),
    }.items()
    for name in names
    for before in ("", "videos_")
    for after in ("", "_256", "_videos")
}
"""Folder name, lower case ─► the split whose class folders it holds."""

MISSING = "no such file"
DANGLING = "a link to a missing file"
"""Why a file is skipped that is listed, or linked, and is not there."""

_VIDEO_ROOTS = ("videos", "hmdb51_org", "UCF-101", "UCF101", "hmdb51")


@dataclass(frozen=True, slots=True)
class Found:
    """A video file.

    Attributes:
        id: its path relative to the data set's folder, with forward slashes.
        path: the file.
        folder: the name of its class folder; "" for a file that lies beside class folders.
        stem: its name without the suffix.
        split: the split that the folder above says ("train", "val", "test"); "" if none.
    """

    id: str
    path: Path
    folder: str
    stem: str
    split: str


class Tree:
    """All video files of a data set, sorted by id.

    Attributes:
        videos: the files found.
        dangling: links to files that are not there.
        bare: folders where a class is expected, and in which there is no video.
        prefix: where the class folders lie, relative to the data set's folder: "" or "videos/".
    """

    def __init__(self, root: Path) -> None:
        self.prefix = _video_root(root)
        self.dangling: list[Skipped] = []
        self.bare: list[str] = []
        self.videos = tuple(sorted(self._scan(root), key=lambda found: found.id))
        self._by_name: dict[tuple[str, str], list[Found]] = {}
        for found in self.videos:
            key = (plain(found.folder), found.stem.casefold())
            self._by_name.setdefault(key, []).append(found)

    def find(self, folder: str, name: str) -> Found | None:
        """The file `name` of a class folder, however the list spells the folder.

        A list that still says `.avi` finds the file that was converted to another container.
        """
        stem = strip_suffix(name)
        candidates = self._by_name.get((plain(folder), stem.casefold()), [])
        for found in candidates:
            if found.path.name == name:
                return found
        return candidates[0] if candidates else None

    def _scan(self, root: Path) -> Iterator[Found]:
        top = root / self.prefix
        for name, folder in _subfolders(top):
            split = SPLIT_FOLDERS.get(name.lower(), "")
            classes = list(_subfolders(folder)) if split else []
            if not classes:
                yield from self._class(folder, f"{self.prefix}{name}/", name, "")
                continue
            yield from self._files(folder, f"{self.prefix}{name}/", "", split)
            for label, inner in classes:
                yield from self._class(inner, f"{self.prefix}{name}/{label}/", label, split)
        yield from self._files(top, self.prefix, "", "")

    def _class(self, folder: Path, prefix: str, label: str, split: str) -> list[Found]:
        files = list(self._files(folder, prefix, label, split))
        if not files:
            self.bare.append(prefix.rstrip("/"))
        return files

    def _files(self, folder: Path, prefix: str, label: str, split: str) -> Iterator[Found]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_video(entry.name):
                    continue
                if entry.is_file():
                    yield Found(
                        id=prefix + entry.name,
                        path=folder / entry.name,
                        folder=label,
                        stem=strip_suffix(entry.name),
                        split=split,
                    )
                elif entry.is_symlink():
                    self.dangling.append(Skipped(prefix + entry.name, DANGLING))


def is_video(name: str) -> bool:
    """Whether a file name is that of a video. Hidden files are not: `._x.avi` is a Mac's note."""
    return not name.startswith(".") and strip_suffix(name) != name


def strip_suffix(name: str) -> str:
    """A file name without its video suffix; another dot in the name stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix.lower() in SUFFIXES else name


def _video_root(root: Path) -> str:
    """The known subfolder that holds class folders with videos, such as "videos/", or ""."""
    for name in _VIDEO_ROOTS:
        if any(_holds_video(folder) for _, folder in _subfolders(root / name)):
            return f"{name}/"
    return ""


def _holds_video(folder: Path) -> bool:
    """Whether a video lies in the folder or in one of its own folders."""
    for place in (folder, *(inner for _, inner in _subfolders(folder))):
        with os.scandir(place) as entries:
            if any(is_video(entry.name) for entry in entries):
                return True
    return False


def _subfolders(folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of the folders in a folder, sorted; nothing when it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
    return [(name, folder / name) for name in sorted(names)]
