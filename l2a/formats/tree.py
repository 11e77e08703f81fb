"""Where the videos of a data set lie: class folders, at the top or one of a few known places.

A data set is walked once, with `os.scandir`: no file is opened, and only links are asked what they
lead to, so that 200,000 files are listed in about a second. Every file called like a video is
either found or listed as skipped with its reason. Hidden files and folders (`.git`, a Mac's
`._clip.avi`) are no data.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from l2a.formats.groups import plain
from l2a.text import is_printable, nfc, printable
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

SPLIT_WORDS = {
    **SPLIT_FOLDERS,
    **dict.fromkeys(("eval", "evaluation", "dev", "development"), "val"),
    "unused": "unused",
}
"""Word of a column `split`, lower case ─► the split that it means."""

MISSING = "no such file"
DANGLING = "a link to a missing file"
"""Why a file is skipped that is listed, or linked, and is not there."""

LISTED = "listed with"
"""How the reason begins for which a file is skipped that is there and listed wrongly."""

ODD_NAME = "its name has control characters or bytes that are not UTF-8; rename it"
CIRCLE = "a link to a folder that it lies in"
LOOP = "a link that leads to itself"
CROWD = "a link to a folder that too many others lead to"
"""Why a file or a folder is skipped that is there."""

_FILE = "a file"
_FOLDER = "a folder, not a video file"
_KINDS = {
    stat.S_IFIFO: "a pipe, not a video file",
    stat.S_IFSOCK: "a socket, not a video file",
    stat.S_IFCHR: "a device, not a video file",
    stat.S_IFBLK: "a device, not a video file",
}
_LOST = (DANGLING, LOOP)  # whatever such a link is called, there may have been a class behind it
_VIDEO_ROOTS = ("videos", "hmdb51_org", "UCF-101", "UCF101", "hmdb51")
_RUN = "run.yaml"  # in every folder that one of our commands wrote
_LAYER_STORE = {"records", "backgrounds", "foregrounds"}  # in what --layers names
_MOST_WAYS = 8  # to one folder; links of many folders to each other would have no end


class Found(NamedTuple):
    """A video file.

    Attributes:
        id: its path relative to the data set's folder, with forward slashes.
        folder: the name of its class folder; "" for a file that lies in none.
        stem: its name without the suffix.
        split: the split that the folder above says ("train", "val", "test"); "" if none.
    """

    id: str
    folder: str
    stem: str
    split: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder on the way: its path, what ids in it begin with, and the real folders above it."""

    path: str
    prefix: str
    above: tuple[str, ...] = ()


class Tree:
    """All video files of a data set, sorted by id.

    Attributes:
        root: the data set's folder.
        prefix: where the class folders lie, relative to the data set's folder: "" or "videos/".
        videos: the files found.
        skipped: what is called like a video and is none, and what cannot be listed.
        bare: folders where a class is expected, and in which there is no video.
        nested: videos that lie deeper in their class folder; the topmost folder is their class.
        runs: folders that one of our commands wrote, whose videos are not data.
        texts: ids of files that may be lists: `train.csv`, `labels/classes.txt`.
    """

    def __init__(self, root: Path, without: Path | None = None) -> None:
        """Walk `root`, but not into the folder `without`, whichever way leads there."""
        self.root = root
        self._without = None if without is None else os.path.realpath(without)
        self.skipped: list[Skipped] = []
        self.runs: list[str] = []
        self.texts: list[str] = []
        self._seen: dict[str, list[str]] = {}  # prefix of a folder ─► names of its videos
        self._ways: dict[str, int] = {}  # real path of a folder ─► how many links led to it
        self._walk(root)
        self.prefix = self._video_root()
        self.bare: list[str] = []
        self.nested: list[str] = []
        self.videos = tuple(sorted(self._found()))
        self.texts.sort()
        self.nested.sort()
        self._ids: dict[str, Found] | None = None
        self._by_name: dict[tuple[str, str], list[Found]] | None = None

    @property
    def ids(self) -> Mapping[str, Found]:
        """Composed id ─► its file."""
        if self._ids is None:
            self._ids = {nfc(found.id): found for found in reversed(self.videos)}
        return self._ids

    def find(self, folder: str, name: str) -> Found | None:
        """The file `name` of a class folder, however the list spells the folder.

        A list that still says `.avi` finds the file that was converted to another container.
        """
        if self._by_name is None:
            self._by_name = {}
            # Files that lie less deep come first: a copy in a subfolder is not what a list means.
            for found in sorted(self.videos, key=lambda found: found.id.count("/")):
                key = (plain(found.folder), nfc(found.stem).casefold())
                self._by_name.setdefault(key, []).append(found)
        candidates = self._by_name.get((plain(folder), nfc(strip_suffix(name)).casefold()), [])
        for found in candidates:
            if nfc(found.id.rpartition("/")[2]) == nfc(name):
                return found
        return candidates[0] if candidates else None

    def folders(self) -> dict[str, str]:
        """Plain name of each class folder ─► the name as it is spelled."""
        return {plain(name): name for name in {found.folder: None for found in self.videos}}

    # --- the walk ------------------------------------------------------------------------------

    def _walk(self, root: Path) -> None:
        waiting = [_Folder(str(root), "", (os.path.realpath(root),))]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder.path) as entries:
                    listed = list(entries)
            except OSError as error:
                name = printable(folder.prefix.rstrip("/")) or str(root)
                why = error.strerror or "an error"
                self.skipped.append(Skipped(name, f"a folder that cannot be listed: {why}"))
                continue
            names = {entry.name for entry in listed}
            if folder.prefix and (_RUN in names or names >= _LAYER_STORE):
                self.runs.append(folder.prefix.rstrip("/"))
                continue
            waiting += self._look(folder, listed)

    def _look(self, folder: _Folder, entries: list[os.DirEntry[str]]) -> Iterator[_Folder]:
        """Note a folder's videos; its own folders are still to be walked."""
        videos = self._seen.setdefault(folder.prefix, [])
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            kind, video = _kind(entry), is_video(name)
            if kind == _FILE:
                if not _is_usable(name):
                    if video:
                        self._skip(folder, name, ODD_NAME)
                elif video:
                    videos.append(name)
                elif name.lower().endswith(TEXTS):
                    self.texts.append(folder.prefix + name)
            elif video or kind in _LOST:
                self._skip(folder, name, kind)
            if kind == _FOLDER:
                yield from self._below(folder, entry)

    def _below(self, folder: _Folder, entry: os.DirEntry[str]) -> Iterator[_Folder]:
        """The folder of an entry, unless it leads in a circle or its name cannot be used."""
        if not _is_usable(entry.name):
            self._skip(folder, entry.name, ODD_NAME)
            return
        if self._without is not None and os.path.realpath(entry.path) == self._without:
            return
        # Only the folders in which a link was followed can be met again by another link.
        above = (*folder.above[:-1], f"{folder.above[-1]}/{entry.name}")
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            above = (*folder.above, real)
            if any(f"{place}/".startswith(f"{real.rstrip('/')}/") for place in folder.above):
                self._skip(folder, entry.name, CIRCLE)
                return
            self._ways[real] = self._ways.get(real, 0) + 1
            if self._ways[real] > _MOST_WAYS:
                self._skip(folder, entry.name, CROWD)
                return
        yield _Folder(entry.path, f"{folder.prefix}{entry.name}/", above)

    def _skip(self, folder: _Folder, name: str, reason: str) -> None:
        self.skipped.append(Skipped(printable(folder.prefix + name), reason))

    # --- what the folders mean -----------------------------------------------------------------

    def _video_root(self) -> str:
        """The known subfolder that holds class folders with videos, such as "videos/", or ""."""
        tops = {prefix.partition("/")[0] for prefix, names in self._seen.items()
                if names and prefix.count("/") > 1}  # fmt: skip
        return next((f"{name}/" for name in _VIDEO_ROOTS if name in tops), "")

    def _found(self) -> Iterator[Found]:
        holds_folders = {prefix.rstrip("/").rpartition("/")[0] + "/" for prefix in self._seen}
        empty: dict[str, bool] = {}
        for prefix, names in sorted(self._seen.items()):
            inside = prefix.startswith(self.prefix)
            parts = prefix[len(self.prefix) :].split("/")[:-1] if inside else []
            split = SPLIT_FOLDERS.get(parts[0].lower(), "") if parts else ""
            if split and f"{self.prefix}{parts[0]}/" in holds_folders:
                above, parts = f"{self.prefix}{parts[0]}/", parts[1:]
            else:
                above, split = self.prefix, ""
            label = parts[0] if parts else ""
            if label:
                place = above + label
                empty[place] = empty.get(place, True) and not names
            if len(parts) > 1:
                self.nested += (prefix + name for name in names)
            for name in names:
                yield Found(prefix + name, label, strip_suffix(name), split)
        self.bare = [place for place, without in empty.items() if without]


TEXTS = (".txt", ".csv", ".tsv", ".lst", ".list", ".json", ".jsonl", ".xlsx", ".xls", ".parquet")
"""Suffixes of files that may be lists of videos, read or not."""


def is_video(name: str) -> bool:
    """Whether a file name is that of a video. Hidden files are not: `._x.avi` is a Mac's note."""
    return name[:1] != "." and name.rpartition(".")[2].lower() in SUFFIXES and "." in name


_MARKS = dict.fromkeys(map(ord, "\u061c\u200e\u200f"))


def _is_usable(name: str) -> bool:
    """Whether a name can be a video's id. One with a mark of its language's direction can, which
    phones write into names: it is escaped where it is shown."""
    return is_printable(name) or is_printable(name.translate(_MARKS))


def strip_suffix(name: str) -> str:
    """A file name without its video suffix; another dot in the name stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix.lower() in SUFFIXES else name


def is_plain_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to one; no link makes this fail."""
    return _kind(entry) == _FILE


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry is, links followed: `_FILE`, `_FOLDER`, or why it is neither."""
    try:
        if entry.is_file():
            return _FILE
        if entry.is_dir():
            return _FOLDER
        return _KINDS.get(stat.S_IFMT(entry.stat().st_mode), "no file")
    except FileNotFoundError:
        return DANGLING
    except OSError as error:
        return LOOP if error.errno == errno.ELOOP else f"it cannot be read: {error.strerror}"
