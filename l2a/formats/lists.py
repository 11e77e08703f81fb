"""Text lists with lines `path class`, as MMAction2, PyTorchVideo and SlowFast read them.

Paths are relative to the data set's folder, to its folder of videos or to the list, or were written
on another machine: then leading folders are dropped until the rest names a file here. The class is
a number (`numbering.py` says of which class) or a name (`rows.py` says how lines are read).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from l2a.errors import InputError
from l2a.formats import numbering
from l2a.formats.groups import guessed_group
from l2a.formats.listing import (
    Claim,
    SplitFile,
    annotation_files,
    assemble,
    examples,
    of_split,
    refuse_other_split,
    split_of_word,
)
from l2a.formats.rows import holds_rows, rows_of
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING, SPLIT_FOLDERS, Found, Tree, is_video, strip_suffix
from l2a.text import nfc
from l2a.videos import Skipped, VideoSet

SPLIT_IN_NAME = re.compile(
    r"(?<![a-z])(train|val|test)(?:ing|id|idate|idation)?(?:_?list)?(?![a-z])"
)
"""The split that the name of a list says, in lower case."""

_NUMBER = re.compile(r"(?:split|list|fold)_?0*(\d+)")
_NAMES = re.compile(r"^(classes|class_?names|labels|classInd|.*label_?map.*)\.(txt|csv|tsv)$")
_LIST_PLACES = ("splits", "annotations", "annotation", "lists", "")
_PLACES = ("", "videos/", "hmdb51_org/", "UCF-101/")


class _Line(NamedTuple):
    """A video as its list gives it: the parts of its path, its class, its path as written."""

    parts: tuple[str, ...]
    label: int | str
    split: str
    written: str


def recognises(tree: Tree, settings: DataSettings) -> bool:
    """Whether there are files named after a split whose lines are a path and a class."""
    return any(holds_rows(path) for path in _lists(tree.root, settings))


def read(tree: Tree, settings: DataSettings) -> VideoSet:
    """Read the train, val and test lists; of numbered ones those of `settings.split`.

    Numbered classes are named by a file of names next to the lists (`classes.txt`, `classInd.txt`,
    a label map), else by the videos' folders if each class has one of its own, else `class_003`.

    Raises:
        InputError: there is no list, none of this number, a line without a class, a word as a
            split that is none, a path that leaves the folder, a class number without a
            name, or folders that contradict numbers.
    """
    known = _lists(tree.root, settings)
    if not known:
        raise InputError(
            f"There is no list such as train.txt or val.csv for {tree.root}; put the lists into its"
            " folder lists/ or name them by --annotations."
        )
    lists = _of_number(known, tree.root, settings)
    lines = [line for path in lists for line in _lines(path, tree.root)]
    files = [path for place in dict.fromkeys((lists[0].parent, tree.root))
             for path in annotation_files(place, place, _is_names)]  # fmt: skip
    names, notes = _class_names(files, lines)
    finder = _Finder(tree, _places(tree.root, lists))
    claims: list[Claim] = []
    missing: list[Skipped] = []
    for line in lines:
        found = finder.find(line)
        if found is None:
            missing.append(Skipped(line.written, MISSING))
        else:
            claims.append(Claim(found, names[line.label], line.split))
    return assemble(
        tree,
        "lists",
        claims,
        lambda found, label: guessed_group(found.stem, label),
        lists=[*known, *files],
        missing=missing,
        notes=notes,
    )


class _Finder:
    """Finds listed paths among the files of a tree."""

    def __init__(self, tree: Tree, places: Sequence[str]) -> None:
        self._root = tree.root
        self._ids = tree.ids
        self._places = places
        self._last: dict[str, tuple[str, int]] = {}
        # MMAction2 names the folder of a split (`data_prefix`) beside its list, and not in it.
        self._of_split: dict[str, list[str]] = {}
        for folder in dict.fromkeys(id.partition("/")[0] for id in tree.ids if "/" in id):
            split = SPLIT_FOLDERS.get(folder.lower(), "")
            self._of_split.setdefault(split, []).append(f"{folder}/")

    def find(self, line: _Line) -> Found | None:
        """The file that a list means: where the last one of its split was first, then every
        place."""
        parts = line.parts
        # The class folder is never dropped: another class could have a file of this name.
        deepest = max(len(parts) - 1, 1)
        place, drop = self._last.get(line.split, ("", 0))
        if drop < deepest and (found := self._ids.get(place + "/".join(parts[drop:]))):
            return found
        for drop in range(deepest):
            rest = "/".join(parts[drop:])
            for place in (*self._places, *self._of_split.get(line.split, ())):
                found = self._ids.get(place + rest) or self._unusual(place + rest)
                if found:
                    self._last[line.split] = place, drop
                    return found
        return None

    def _unusual(self, id: str) -> Found | None:
        """A file that the tree does not hold, because it is hidden or not called like a video."""
        name = id.rpartition("/")[2]
        if (is_video(name) and "/." not in f"/{id}") or not os.path.isfile(self._root / id):  # noqa: PTH113 (no error for names that no file can have)
            return None
        return Found(id, "", strip_suffix(name), "")


def _lists(root: Path, settings: DataSettings) -> list[Path]:
    """The video lists. A file that is given by name is one, whatever it is called."""
    if settings.annotations is not None and settings.annotations.is_file():
        return [settings.annotations]
    files = annotation_files(root, settings.annotations, _is_list, _LIST_PLACES)
    if settings.labelled is not None:  # it can lie among them, and is no list of a split
        files = [path for path in files if path.absolute() != settings.labelled.absolute()]
    if any("rawframes" in path.name for path in files):
        # Lists of extracted frames lie next to the lists of the same videos.
        files = [path for path in files if "rawframes" not in path.name]
    return files


def _is_list(path: Path) -> bool:
    suffixes = {".txt", ".csv", ".tsv", ".lst", ".list"}
    return path.suffix.lower() in suffixes and SPLIT_IN_NAME.search(path.stem.lower()) is not None


def _is_names(path: Path) -> bool:
    """A table of videos can be called labels.csv; a file of names has no rows of paths."""
    return _NAMES.match(path.name) is not None and (
        path.suffix.lower() == ".txt" or not holds_rows(path)
    )


def _of_number(lists: Sequence[Path], root: Path, settings: DataSettings) -> list[Path]:
    """Lists of the wanted split, where their names carry different numbers; otherwise all. One
    without a number holds for every split, if no other is of its side.

    Raises:
        InputError: no list is of the wanted split.
    """
    matches = [(_NUMBER.search(path.stem.lower()), path) for path in lists]
    numbered = [SplitFile(path.stem, int(match[1]), path) for match, path in matches if match]
    if not numbered:
        refuse_other_split(root, settings, "lists without numbers")
        return list(lists)
    if len({file.number for file in numbered}) == 1:
        # Where no split is asked for, the only one is meant.
        if settings.split != DataSettings.split:
            of_split(numbered, settings)
        return list(lists)
    wanted = {file.path for file in of_split(numbered, settings)}
    told = {_split_in_name(file.path) for file in numbered}
    return [
        path
        for match, path in matches
        if path in wanted
        or (match is None and _split_in_name(path) not in told and holds_rows(path))
    ]


def _split_in_name(path: Path) -> str | None:
    found = SPLIT_IN_NAME.search(path.stem.lower())
    return found[1] if found else None


def _lines(path: Path, root: Path) -> Iterator[_Line]:
    in_name = SPLIT_IN_NAME.search(path.stem.lower())
    split = in_name[1] if in_name else "train"
    base = below(path.parent, root)
    for row in rows_of(path):
        of_row = split_of_word(path, row.line, row.split, split)
        yield _Line(parts_of(row.path, root, base), row.label, of_row, row.path)


def parts_of(written: str, root: Path, base: str | None) -> tuple[str, ...]:
    """The parts of a listed path, composed and without `.` and `..`.

    `..` counts from the folder of the list or from the data set's folder, whichever it stays in.

    Raises:
        InputError: it leaves both.
    """
    parts = nfc(written).split("/")
    if ".." not in parts and "." not in parts and "" not in parts:
        return tuple(parts)
    starts: list[tuple[str, ...]] = [()]
    if ".." in parts and base is not None and not written.startswith("/"):
        starts.insert(0, tuple(base.split("/")))
    for start in starts:
        resolved = _resolved((*start, *parts))
        if resolved is not None:
            return resolved
    raise InputError(f"The path {written!r} leaves {root}; give paths relative to it.")


def _resolved(parts: Iterable[str]) -> tuple[str, ...] | None:
    """The parts without `.` and `..`; None when they lead above where they begin."""
    way: list[str] = []
    for part in parts:
        if part == "..":
            if not way:
                return None
            way.pop()
        elif part not in ("", "."):
            way.append(part)
    return tuple(way)


def below(folder: Path, root: Path) -> str | None:
    """A folder relative to the root, with forward slashes; None where it is the root or outside."""
    folder, root = folder.absolute(), root.absolute()
    if folder == root or not folder.is_relative_to(root):
        return None
    return folder.relative_to(root).as_posix()


def _places(root: Path, lists: Sequence[Path]) -> list[str]:
    """Where listed paths can start, relative to the root, each with a slash at its end."""
    bases = [below(path.parent, root) for path in lists]
    return list(dict.fromkeys((*_PLACES, *(f"{nfc(base)}/" for base in bases if base))))


def _class_names(
    files: Sequence[Path], lines: Sequence[_Line]
) -> tuple[dict[int | str, str], list[str]]:
    """Class as the lists write it ─► its name, and what a person should know about that."""
    uses = numbering.uses_of(
        (line.label, line.parts[-2] if len(line.parts) > 1 else "", line.written) for line in lines
    )
    notes: list[str] = []
    if len(files) > 1:
        others = examples([path.name for path in files[1:]])
        notes.append(f"Class names are read from {files[0].name}, and not from {others}.")
    names, more = numbering.class_names(numbering.read_names(files[0]) if files else None, uses)
    return names, [*notes, *more]
