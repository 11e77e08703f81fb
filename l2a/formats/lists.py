"""Text lists with lines `path number`, as MMAction2, PyTorchVideo and SlowFast read them.

Paths are relative to the data set's folder, to its folder of videos or to the list, or were written
on another machine: then leading folders are dropped until the rest names a file here. The number is
the class, counted from 0, behind the right-most white space or comma.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from l2a.errors import InputError
from l2a.files import inside
from l2a.formats.groups import guessed_group
from l2a.formats.listing import (
    Claim,
    SplitFile,
    annotation_files,
    assemble,
    bad_line,
    lines_of,
    of_split,
)
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING, Found, strip_suffix
from l2a.videos import Skipped, VideoSet

_CLASS = re.compile(r"[\s,](\d+)$")
_SPLIT = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idate|idation)?(?:_?list)?(?![a-z])")
_NUMBER = re.compile(r"(?:split|list|fold)_?0*(\d+)")
_NAMES = re.compile(r"^(classes|class_?names|labels|classInd|.*label_?map.*)\.txt$")
_NUMBERED_NAME = re.compile(r"^(\d+)[\s,]+(.+)$")
_LIST_PLACES = ("splits", "annotations", "annotation", "lists", "")
_PLACES = ("", "videos/", "hmdb51_org/", "UCF-101/")


@dataclass(frozen=True, slots=True)
class _Line:
    """A path as its list gives it, with forward slashes, and its class number."""

    path: PurePosixPath
    number: int
    split: str


def recognises(root: Path, settings: DataSettings) -> bool:
    """Whether there are files named after a split whose lines end in a number."""
    return any(_holds_rows(path) for path in _lists(root, settings))


def read(root: Path, settings: DataSettings) -> VideoSet:
    """Read the train, val and test lists; of numbered ones those of `settings.split`.

    Classes are named by a file of names beside the lists (`classes.txt`, `classInd.txt`, a label
    map), else by the videos' folders if each class has one of its own, else `class_003`.

    Raises:
        InputError: there is no list, none of this number, a line without a class number, a path
            that leaves the folder, or fewer class names than classes.
    """
    lists = _of_number(_lists(root, settings), settings)
    if not lists:
        raise InputError(
            f"There is no list such as train.txt or val.csv for {root}; put the lists into its"
            " folder lists/ or name them by --annotations."
        )
    lines = [line for path in lists for line in _lines(path, root)]
    names = _class_names((lists[0].parent, root), lines)
    files = _Files(root, _places(root, lists))
    claims: list[Claim] = []
    skipped: list[Skipped] = []
    for line in lines:
        found = files.find(line.path)
        if found is None:
            skipped.append(Skipped(str(line.path), MISSING))
        else:
            claims.append(Claim(found, names[line.number], line.split))
    return assemble(
        root, "lists", claims, lambda found, label: guessed_group(found.stem, label), skipped, []
    )


class _Files:
    """Finds listed paths under a root by listing each folder once."""

    def __init__(self, root: Path, places: Sequence[str]) -> None:
        self._root = root
        self._places = places
        self._listed: dict[str, frozenset[str]] = {}
        self._last = ("", 0)

    def find(self, path: PurePosixPath) -> Found | None:
        """The file that a list means: where the last one was first, then every place."""
        parts = path.parts[1:] if path.is_absolute() else path.parts
        # The class folder is never dropped: another class could have a file of this name.
        deepest = max(len(parts) - 1, 1)
        tries = [(place, drop) for drop in range(deepest) for place in self._places]
        for place, drop in [self._last, *tries]:
            if drop >= deepest:
                continue
            id = place + "/".join(parts[drop:])
            folder, _, name = id.rpartition("/")
            if name in self._names(folder):
                self._last = (place, drop)
                within = folder.rpartition("/")[2]
                return Found(id, self._root / id, within, strip_suffix(name), "")
        return None

    def _names(self, folder: str) -> frozenset[str]:
        """The files in a folder under the root, given relative to it."""
        if folder not in self._listed:
            place = self._root / folder
            names: frozenset[str] = frozenset()
            if place.is_dir():
                with os.scandir(place) as entries:
                    names = frozenset(entry.name for entry in entries if entry.is_file())
            self._listed[folder] = names
        return self._listed[folder]


def _lists(root: Path, settings: DataSettings) -> list[Path]:
    """The video lists. A file that is given by name is one, whatever it is called."""
    if settings.annotations is not None and settings.annotations.is_file():
        return [settings.annotations]
    files = annotation_files(root, settings.annotations, _is_list, _LIST_PLACES)
    if any("rawframes" in path.name for path in files):
        # Lists of extracted frames lie beside the lists of the same videos.
        files = [path for path in files if "rawframes" not in path.name]
    return files


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in {".txt", ".csv"} and _SPLIT.search(path.stem.lower()) is not None


def _of_number(lists: Sequence[Path], settings: DataSettings) -> list[Path]:
    """Lists of the wanted split, where their names carry different numbers; otherwise all."""
    matches = [(_NUMBER.search(path.stem.lower()), path) for path in lists]
    numbered = [SplitFile(path.stem, int(match[1]), path) for match, path in matches if match]
    if len({file.number for file in numbered}) < 2:
        return list(lists)
    return [file.path for file in of_split(numbered, settings)]


def _holds_rows(path: Path) -> bool:
    """Whether one of the first two lines (the first can be a header) is a path and a number."""
    texts = (text for _, text in lines_of(path))
    return any(_CLASS.search(text) for _, text in zip(range(2), texts, strict=False))


def _lines(path: Path, root: Path) -> Iterator[_Line]:
    in_name = _SPLIT.search(path.stem.lower())
    split = in_name[1] if in_name else "train"
    for number, text in lines_of(path):
        match = _CLASS.search(text)
        if match is None:
            if number == 1 and path.suffix.lower() == ".csv":
                continue  # a header
            raise bad_line(path, number, text, "a path and a class number counted from 0")
        listed = PurePosixPath(text[: match.start()].rstrip(" \t,").strip('"').replace("\\", "/"))
        inside(root, str(listed).lstrip("/"))  # an absolute path is looked up under the root
        yield _Line(listed, int(match[1]), split)


def _places(root: Path, lists: Sequence[Path]) -> list[str]:
    """Where listed paths can start, relative to the root, each with a slash at its end."""
    places = dict.fromkeys(_PLACES)
    for path in lists:
        folder = path.parent.absolute()
        if folder != root.absolute() and folder.is_relative_to(root.absolute()):
            places[folder.relative_to(root.absolute()).as_posix() + "/"] = None
    return list(places)


def _class_names(places: Sequence[Path], lines: Sequence[_Line]) -> Mapping[int, str]:
    """Class number ─► name, for every number that occurs."""
    numbers = {line.number for line in lines}
    for place in places:
        for file in annotation_files(place, place, lambda path: bool(_NAMES.match(path.name))):
            names = _names_in(file)
            lacking = sorted(numbers - names.keys())
            if lacking:
                raise InputError(
                    f"{file} names {len(names)} classes, but not number {lacking[0]} (from 0) of"
                    " the lists; add its name."
                )
            return names
    folders: dict[int, set[str]] = {}
    for line in lines:
        folders.setdefault(line.number, set()).add(line.path.parent.name)
    by_folder = {number: next(iter(own)) for number, own in folders.items() if len(own) == 1}
    if len(numbers) == len(set(by_folder.values()) - {""}):
        return by_folder
    width = max(3, len(str(max(numbers, default=0))))
    return {number: f"class_{number:0{width}}" for number in numbers}


def _names_in(path: Path) -> dict[int, str]:
    """Class number from 0 ─► name: one name a line, or lines `number name` from 0 or from 1."""
    texts = [text for _, text in lines_of(path)]
    numbered = [match for text in texts if (match := _NUMBERED_NAME.match(text))]
    if len(numbered) < len(texts):
        return dict(enumerate(texts))
    first = min((int(match[1]) for match in numbered), default=0)
    return {int(match[1]) - min(first, 1): match[2] for match in numbered}
