"""Videos by the names that lists of other people's making give them.

A listed path is never opened. It is compared with the videos of a data set, by its class folder and
its name: what stands before the folder, the suffix and spellings of the folder may differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from l2a.formats.groups import plain
from l2a.formats.listing import lines_of
from l2a.formats.lists import below, parts_of
from l2a.formats.rows import class_number, names_columns, rows_of
from l2a.formats.tree import strip_suffix
from l2a.text import nfc
from l2a.videos import Video

_NUMBER_LAST = re.compile(r"^(.*\S)[\s,;]+[\"']?([-+]?\d+(?:\.\d*)?)[\"']?$")
_NAME_LAST = re.compile(r"^(.*\S)\s*[,;\t]\s*(\S.*)$")
_NAME_BEHIND_FILE = re.compile(r"^(.*\.\w{2,5})[\"']?\s+(\S.*)$")
_NUMBERS = 2  # VideoSSL and MMAction2's lists of frames: their count, then the class
_LONGEST = 4096  # characters of a line that is looked into: no path is longer
_HEADER = re.compile(r"\b(path|file|video|clip|name|label|class)", re.IGNORECASE)


class Line(NamedTuple):
    """A line of a list.

    Attributes:
        number: from 1.
        text: as it is written.
        readings: what it can mean, the most literal first: (path, class as the list writes it, ""
            where it writes none).
    """

    number: int
    text: str
    readings: tuple[tuple[str, str], ...]

    @property
    def may_be_none(self) -> bool:
        """Whether it can be a comment or a header; a file can be called like one."""
        return self.text.startswith(("#", "//")) or (
            self.number == 1 and "/" not in self.text and _HEADER.search(self.text) is not None
        )


def lines_named(path: Path) -> Iterator[Line]:
    """The lines of a list of videos: paths with or without suffix, alone or with a class behind
    them; VideoSSL's `Class/clip FRAMES LABEL`; tables with a header.

    Raises:
        InputError: it is no text, or a row of a table with a header lacks what the header names.
    """
    if names_columns(path):
        for row in rows_of(path):
            yield Line(row.line, row.path, ((row.path, str(row.label)),))
        return
    for number, text in lines_of(path):
        yield Line(number, text, tuple(_readings(text)))


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """A line's readings: numbers are taken off its end, for only who knows the videos can say
    whether they belong to a name."""
    yield _clean(text), ""
    if len(text) > _LONGEST:
        return
    rest, label = text, ""
    for _ in range(_NUMBERS):
        match = _NUMBER_LAST.match(rest)
        if match is None:
            break
        rest = match[1].rstrip(",;")
        number = class_number(match[2])
        label = label or (match[2] if number is None else str(number))
        yield _clean(rest), label
    for pattern in (_NAME_LAST, _NAME_BEHIND_FILE):
        if match := pattern.match(text):
            yield _clean(match[1]), match[2].strip("\"' ")


def _clean(path: str) -> str:
    path = path.strip().rstrip(",;").replace("\\", "/")
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path


class _Known(NamedTuple):
    video: Video
    folders: tuple[str, ...]  # plain, the innermost first
    name: str


class Names:
    """Finds videos by listed paths.

    Args:
        videos: among which to look.
        root: the data set's folder, which no path may leave.
        list_file: where the paths stand: those with `..` can be relative to it.
    """

    def __init__(self, videos: Iterable[Video], root: Path, list_file: Path) -> None:
        self._root, self._base = root, below(list_file.parent, root)
        self._by_stem: dict[str, list[_Known]] = {}
        self._folders: set[str] = set()
        # What lies less deep is meant first, and among those, what can be trained on.
        for video in sorted(videos, key=lambda v: (v.id.count("/"), v.split != "train", v.id)):
            *folders, name = nfc(video.id).split("/")
            known = _Known(video, tuple(map(plain, reversed(folders))), name)
            self._by_stem.setdefault(stem_of(name), []).append(known)
            self._folders |= {plain(video.label), *known.folders[:1]}

    def find(self, path: str) -> Video | None:
        """The video that a listed path means; None where it means none, or could mean several.

        Raises:
            InputError: the path leaves the data set's folder.
        """
        *folders, name = path.split("/")
        if stem_of(name) not in self._by_stem:
            return None
        *folders, name = parts_of(path, self._root, self._base) or ("",)
        candidates = self._by_stem.get(stem_of(name), [])
        written = [plain(folder) for folder in reversed(folders)]
        best = max((_agreement(written, known) for known in candidates), default=0)
        if best:
            nearest = [known for known in candidates if _agreement(written, known) == best]
            exact = [known for known in nearest if known.name == name]
            return (exact or nearest)[0].video
        # The list's folders are not the data set's, if it has any: the name alone has to tell.
        if len(candidates) != 1 or (written and written[0] in self._folders):
            return None
        return candidates[0].video


def _agreement(written: Sequence[str], known: _Known) -> int:
    """How many folders, the innermost first, are those of a video; its class can stand for one."""
    agreeing = 0
    for ours, theirs in zip(known.folders, written, strict=False):
        if ours != theirs:
            break
        agreeing += 1
    return agreeing or int(bool(written) and written[0] == plain(known.video.label))


def stem_of(name: str) -> str:
    """A file's name without a video's suffix, as names are compared."""
    return nfc(strip_suffix(name)).casefold()


def key_of(path: str) -> tuple[str, str]:
    """(class folder, name) of a path, as names are compared."""
    folder, _, name = path.rpartition("/")
    return plain(folder.rpartition("/")[2]), stem_of(name)
