"""Files that say which classes are base, validation and novel ones, as others publish them.

| written by | form |
| --- | --- |
| ARN, TRX | `train`, `val` and `test` lists of `Class/clip`, or of class names, one a line |
| HyRSM | the same with `test0//videos/Class/clip.avi` |
| CMN | `train.list`, `val.list`, `test.list` of `class in words/clip` |
| TruZe | `FSL.txt`: names in prose, separated by commas, several data sets in one file |
| here | YAML: `base: [...]`, `validation: [...]`, `novel: [...]` |

What is read is names as they are written; `l2a.class_splits` finds the data set's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from l2a.errors import InputError
from l2a.formats.listing import lines_of
from l2a.formats.lists import SPLIT_IN_NAME
from l2a.formats.tree import is_video, strip_suffix
from l2a.settings_file import key_of, read_tree
from l2a.text import nfc

SIDE_OF = {"train": "base", "val": "validation", "test": "novel"}
"""What a list's name says ─► the side of a class split."""

_SUFFIXES = {".txt", ".list", ".lst", ".csv"}
_TRUZE_SIDE = re.compile(r"^(Training|Validation|Testing)\s*\((\d+) classes\)\s*:(.*)$", re.I)
_TRUZE_TITLE = re.compile(r"^#*\s*(\w[\w -]*)$")
_TRUZE_WORDS = {"training": "base", "validation": "validation", "testing": "novel"}


@dataclass(frozen=True)
class NamedSplit:
    """A class split in the names of the file that it stands in.

    Attributes:
        title: which data set it is for, where a file holds several; "" otherwise.
        sides: "base", "validation" and "novel" ─► names, each once.
        clips: name ─► the clips that are listed under it, without suffix; empty for lists of
            classes alone.
    """

    title: str
    sides: Mapping[str, Sequence[str]]
    clips: Mapping[str, frozenset[str]] = field(default_factory=dict)


def read_named(path: Path) -> list[NamedSplit]:
    """What a file or a folder of lists says: one split, or one for each data set of the file.

    Of lists, one file stands for all that go with it: `testlist03.txt` for `trainlist03.txt` and
    `vallist03.txt` beside it too.

    Raises:
        InputError: it is not there, or in none of the forms; lists are missing.
    """
    if path.is_dir():
        return [_of_lists(_one_set(path))]
    if not path.is_file():
        raise InputError(f"There is no class split {path}; check the path.")
    if path.suffix.lower() in (".yaml", ".yml"):
        return [_of_yaml(path)]
    if any(_TRUZE_SIDE.match(text) for _, text in lines_of(path)):
        return _of_truze(path)
    frame = _frame(path)
    if frame is None:
        raise InputError(
            f"{path} is no class split that l2a reads; give a folder with train, val and test "
            "lists, one of these lists, TruZe's FSL.txt, or a YAML file with base, validation and "
            "novel."
        )
    return [_of_lists(_sets(path.parent)[frame[0]])]


def _frame(path: Path) -> tuple[str, str] | None:
    """(a list's name without what says its side, the side), or None where nothing says it."""
    found = SPLIT_IN_NAME.search(path.name.lower())
    if found is None or path.suffix.lower() not in _SUFFIXES:
        return None
    name = path.name.lower()
    return f"{name[: found.start()]}*{name[found.end() :]}", SIDE_OF[found[1]]


def _sets(folder: Path) -> dict[str, dict[str, Path]]:
    """The lists of a folder that go together: name without the side ─► side ─► file."""
    sets: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        frame = _frame(path) if path.is_file() else None
        if frame is not None:
            sets.setdefault(frame[0], {})[frame[1]] = path
    return sets


def _one_set(folder: Path) -> dict[str, Path]:
    """The lists of a folder that holds those of one split."""
    whole = {frame: files for frame, files in _sets(folder).items() if len(files) > 1}
    if len(whole) > 1:
        examples = " and ".join(min(files.values()).name for files in list(whole.values())[:2])
        raise InputError(
            f"{folder} holds lists of {len(whole)} class splits, such as {examples}; give one of "
            "these files, and those that go with it are found."
        )
    if not whole:
        raise InputError(
            f"{folder} holds no train and test lists of classes, such as train.list or "
            "trainlist03.txt; give the folder or the file of the class split."
        )
    return next(iter(whole.values()))


def _of_lists(files: Mapping[str, Path]) -> NamedSplit:
    """The split that lists of clips or of class names make."""
    for side, word in (("base", "train"), ("novel", "test")):
        if side not in files:
            known = next(iter(files.values()))
            raise InputError(f"There is no {word} list beside {known}; put it there.")
    sides: dict[str, list[str]] = {}
    clips: dict[str, set[str]] = {}
    for side, path in files.items():
        names: dict[str, None] = {}
        for name, clip in _entries(path):
            names[name] = None
            if clip:
                clips.setdefault(name, set()).add(clip)
        sides[side] = list(names)
    return NamedSplit("", sides, {name: frozenset(found) for name, found in clips.items()})


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """(class, clip) of each line, the clip "" in a list of classes: one in which a line is no
    path."""
    texts = [nfc(text) for _, text in lines_of(path)]
    parts = [[part for part in text.replace("\\", "/").split("/") if part] for text in texts]
    if any(len(of_line) < 2 for of_line in parts):
        yield from ((text, "") for text in texts)
        return
    for *_, name, clip in parts:
        yield name, strip_suffix(clip) if is_video(clip) else clip


def _of_truze(path: Path) -> list[NamedSplit]:
    """The splits of a file such as TruZe's: names over several lines, sections by data set."""
    splits: list[NamedSplit] = []
    title, side, prose, said = "", "", "", 0
    sides: dict[str, list[str]] = {}

    def close() -> None:
        if not side:
            return
        found = [" ".join(name.split()) for name in prose.rstrip(" .").split(",")]
        sides[side] = [name for name in found if name]
        if len(sides[side]) != said:
            raise InputError(
                f"{path} announces {said} {side} classes{f' of {title}' if title else ''} and "
                f"names {len(sides[side])}; mend the list."
            )

    for _, text in lines_of(path):
        start, heading = _TRUZE_SIDE.match(text), _TRUZE_TITLE.match(text)
        if start:
            close()
            side, said, prose = _TRUZE_WORDS[start[1].lower()], int(start[2]), start[3]
        elif heading and (text.startswith("#") or not side):
            close()
            if sides:
                splits.append(NamedSplit(title, sides))
            title, side, sides = heading[1], "", {}
        else:
            prose += f" {text}"
    close()
    return [*splits, NamedSplit(title, sides)]


def _of_yaml(path: Path) -> NamedSplit:
    """The split of our own form."""
    root = read_tree(path)
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path} holds no class split; write base: [...] and novel: [...].")
    sides: dict[str, list[str]] = {}
    for key, node in root.value:
        side = key_of(path, key)
        if side not in SIDE_OF.values() or side in sides:
            raise InputError(
                f"{path} names the side {side!r}; write base, validation and novel, each once."
            )
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(item, yaml.ScalarNode) for item in items):
            raise InputError(f"The {side} classes of {path} are no plain list; write one.")
        sides[side] = [nfc(str(item.value)) for item in items if item.value]
    return NamedSplit("", sides)
