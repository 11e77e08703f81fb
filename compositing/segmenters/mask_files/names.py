"""Which entry of a mask file is meant for a video: by its path, from the end.

Files name videos with and without folders, with another suffix or none. An entry fits a video when
the shorter of the two paths is the end of the longer. What would fit two is used for none.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from compositing.segmenters.mask_files.entry import Entry
from compositing.segmenters.mask_files.fields import shown
from l2a.formats.tree import SUFFIXES
from l2a.formats.unlabelled import below_folder
from l2a.videos import Video

_ABOVE = {
    "videos", "jpegimages", "annotations", "images", "frames", "rawframes", "masks", "480p",
    "1080p", "full-resolution", "train", "valid", "val", "test",
}  # fmt: skip
"""Folders that data sets of masks have above their videos, and that are no part of a name."""
_PICTURES = {"jpg", "jpeg", "png", "json"}

Name = tuple[tuple[str, ...], str]
"""The folders and the stem of a path, and its suffix in lower case, "" if it has none."""


class Names:
    """The entries of one or more files, by name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_stem: dict[str, list[tuple[Name, Entry]]] = {}
        for entry in entries:
            name = _name(entry.name)
            self._by_stem.setdefault(name[0][-1], []).append((name, entry))

    def find(self, video: Video) -> Entry | None:
        """The entry that is meant for a video; None if there is none.

        Raises:
            ValueError: several entries may be meant, or the entry may be meant for another video.
        """
        wanted = _name(_full(video, own := below_folder(video.id)))
        fitting = [
            (fit, name, entry)
            for name, entry in self._by_stem.get(wanted[0][-1], ())
            if (fit := _match_quality(name, wanted))
        ]
        if not fitting:
            return None
        best = max(fit for fit, _, _ in fitting)
        chosen = [(name, entry) for fit, name, entry in fitting if fit == best]
        if len(chosen) > 1:
            both = " and ".join(shown(entry.name) for _, entry in chosen[:2])
            raise ValueError(f"{both} may both be meant")
        ((name, entry),) = chosen
        if name != wanted:
            for other in _same_stem(_root(video)).get(wanted[0][-1], ()):
                if other != own and _match_quality(name, _name(_full(video, other))) >= best:
                    raise ValueError(f"{shown(entry.name)} may also be meant for {shown(other)}")
        return entry

    def example(self) -> str:
        """The first name, as the file has it; "" without entries."""
        names = (entry.name for named in self._by_stem.values() for _, entry in named)
        return shown(next(names, ""))


def _name(path: str) -> Name:
    parts = [
        part for part in PurePosixPath(unicodedata.normalize("NFC", path)).parts if part != "/"
    ]
    if parts[:1] == ["videos"]:
        del parts[0]
    stem, _, suffix = (parts or [path])[-1].rpartition(".")
    if stem and suffix.lower() in SUFFIXES | _PICTURES:
        return (*parts[:-1], stem), suffix.lower() if suffix.lower() in SUFFIXES else ""
    return tuple(parts) or (path,), ""


def _match_quality(name: Name, wanted: Name) -> tuple[bool, int, bool] | tuple[()]:
    """How well an entry's name fits a video's, to be compared; () if it does not."""
    parts = name[0]
    if not _is_end(parts, wanted[0]):
        while len(parts) > 1 and parts[0].lower() in _ABOVE:
            parts = parts[1:]
        if not _is_end(parts, wanted[0]):
            return ()
    return parts == wanted[0], min(len(parts), len(wanted[0])), name[1] == wanted[1]


def _is_end(one: Sequence[str], other: Sequence[str]) -> bool:
    shared = min(len(one), len(other))
    return one[-shared:] == other[-shared:]


def _full(video: Video, below: str) -> str:
    """A path below the video's root as names are compared with it: as it is, or of an unlabelled
    video outside of the data set with its folder's name, so that no video of the data set fits."""
    return below if below_folder(video.id) == video.id else f"{_root(video).name}/{below}"


def _root(video: Video) -> Path:
    """The data set's folder, or that of unlabelled videos outside of it."""
    above = len(PurePosixPath(below_folder(video.id)).parts)
    return video.path.parents[min(above, len(video.path.parents)) - 1]


@functools.lru_cache(maxsize=4)
def _same_stem(root: Path) -> dict[str, list[str]]:
    """Stem ─► the paths below `root` of all video files with it. Looked at once for a process."""
    found: dict[str, list[str]] = {}
    seen = set()
    for folder, below, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            below.clear()
            continue
        seen.add(place)
        for file in files:
            if file.rpartition(".")[2].lower() in SUFFIXES:
                path = (Path(folder) / file).relative_to(root).as_posix()
                found.setdefault(_name(path)[0][-1], []).append(path)
    return found
