"""Which class a number in a list means: by a file of names, or by the videos' folders.

Numbers are taken literally. A file of names that counts from 1 next to lists that count from 0 is
the one other reading that is made, and said: number 0 could mean nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from l2a.errors import InputError
from l2a.formats.groups import plain
from l2a.formats.listing import bad_line, lines_of
from l2a.text import nfc, printable

_NUMBERED = re.compile(r"^(\d{1,9})[\s,;:]+(.+)$")
_LAST_NUMBER = re.compile(r"^(.+?)\s*[,;:\t]\s*(\d{1,9})$")
_HEADERS = {"class", "classes", "class_name", "class name", "label", "labels", "name", "names"}
_NEARLY_ALL = 0.9


class Use(NamedTuple):
    """How often lists give a class to a video of a folder, and the first such video.

    `label` is what the list writes: a class number, or a name.
    """

    label: int | str
    folder: str
    videos: int
    example: str


@dataclass(frozen=True)
class NameFile:
    """A file of class names.

    Attributes:
        path: the file.
        names: number ─► name, by the numbers that are written, else by lines from 0.
    """

    path: Path
    names: Mapping[int, str]


def uses_of(rows: Iterable[tuple[int | str, str, str]]) -> list[Use]:
    """(label, folder, path) of every listed video ─► each label with each of its folders."""
    counts: dict[tuple[int | str, str], int] = {}
    first: dict[tuple[int | str, str], str] = {}
    for label, folder, path in rows:
        key = (label, folder)
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, path)
    return [Use(*key, count, first[key]) for key, count in counts.items()]


def class_names(
    file: NameFile | None, uses: Sequence[Use]
) -> tuple[dict[int | str, str], list[str]]:
    """What the lists write ─► class name, and what a person should know about it.

    Raises:
        InputError: a number or a name of the lists is not in the file, or folders contradict
            numbers.
    """
    numbered = [use for use in uses if isinstance(use.label, int)]
    named: dict[int | str, str] = {}
    notes: list[str] = []
    if numbered and file:
        named, notes = names_by_file(file, numbered)
    elif numbered:
        named, notes = names_by_folders(numbered)
    words = [use for use in uses if isinstance(use.label, str)]
    known = {plain(name): name for name in (file.names.values() if file else named.values())}
    for label in dict.fromkeys(str(use.label) for use in words):
        if file and plain(label) not in known:
            raise InputError(
                f"{file.path} does not name the class {label!r} of the lists; add it, or correct"
                " the lists."
            )
        named[label] = known.get(plain(label), label)
    right, wrong = _by_folders(named, words, named.values())
    if wrong:
        notes.append(_contradiction(wrong, named, right, "the lists"))
    return named, notes


def read_names(path: Path) -> NameFile:
    """Read one name a line, or lines `number name` or `name,number`; a header is left out.

    Raises:
        InputError: some lines have a number and others none, or a number or a name stands twice.
    """
    texts = list(lines_of(path))
    pairs = _numbered(path, texts) or _number_last(texts)
    if pairs is None:
        if texts and texts[0][1].lower() in _HEADERS:
            del texts[0]
        pairs = [(index, text) for index, (_, text) in enumerate(texts)]
    return NameFile(path, _unique(path, pairs))


def _unique(path: Path, pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Number ─► name; each number has one name, each name one number, or `InputError`."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for number, name in pairs:
        if names.get(number, name) != name:
            raise InputError(
                f"{path} has two names for class {number}, {names[number]!r} and {name!r}; keep"
                " the right one."
            )
        if numbers.setdefault(nfc(name), number) != number:
            raise InputError(
                f"{path} names two classes {name!r}, numbers {numbers[nfc(name)]} and {number};"
                " give each class a name of its own."
            )
        names[number] = name
    return names


def _numbered(path: Path, texts: Sequence[tuple[int, str]]) -> list[tuple[int, str]] | None:
    """Lines `number name`, or None where they are not such."""
    rows = [(line, text, _NUMBERED.match(text)) for line, text in texts]
    if len(rows) > 1 and rows[0][2] is None and rows[1][2] is not None:
        rows = rows[1:]  # a header, or the first of names that follow: what comes next says which
    pairs = [(int(match[1]), match[2]) for _, _, match in rows if match]
    if len(pairs) == len(rows):
        return pairs or None
    if 2 * len(pairs) <= len(rows) or max(number for number, _ in pairs) >= 2 * len(rows):
        return None  # names such as `100 m sprint`
    line, text = next((line, text) for line, text, match in rows if match is None)
    raise bad_line(path, line, text, "a number and a class name, as most lines are")


def _number_last(texts: Sequence[tuple[int, str]]) -> list[tuple[int, str]] | None:
    """Lines `name,number` with every number once, or None where they are not such."""
    matches = [_LAST_NUMBER.match(text) for _, text in texts]
    if matches and matches[0] is None:
        matches = matches[1:]  # a header
    pairs = [(int(match[2]), match[1]) for match in matches if match]
    count = len(matches)
    numbers = sorted(number for number, _ in pairs)
    return pairs if numbers in (list(range(count)), list(range(1, count + 1))) else None


def names_by_file(file: NameFile, uses: Sequence[Use]) -> tuple[dict[int | str, str], list[str]]:
    """Class number of the lists ─► name, and what a person should know about it.

    | numbers of the file | of the lists | reading |
    | --- | --- | --- |
    | any | all in the file | literal |
    | from 1 | from 0 | one more in the file, noted |
    | from 0, or lines without | from 1, one too many | one less if folders say so, noted |
    | any other | | refused |

    Whatever the reading, it is refused when nearly all videos whose folder is called like a class
    lie in the folder of another one, and noted when some do.

    Raises:
        InputError: a number has no name, or folders contradict the numbers.
    """
    numbers = {int(use.label) for use in uses}
    names = file.names
    shift = _shift(names, numbers, uses)
    if shift is None:
        start = 1 if 0 in numbers and min(names, default=0) == 1 else 0
        lacking = min(number for number in numbers if number + start not in names)
        raise InputError(
            f"{file.path} names {len(names)} classes, but not number {lacking} of the lists (it has"
            f" {min(names, default=0)} to {max(names, default=0)}); add its name, or write in front"
            " of each name the number that the lists use."
        )
    named = _shifted(names, numbers, shift)
    right, wrong = _by_folders(named, uses, names.values())
    if wrong and sum(use.videos for use in wrong) >= _NEARLY_ALL * (right + _videos(wrong)):
        raise InputError(
            f"By {file.path}, {_videos(wrong)} of {right + _videos(wrong)} videos lie in the folder"
            f" of another class, such as {_shown(wrong[0], named)}; write in front of each name the"
            " number that the lists use."
        )
    notes = []
    if shift:
        start = min(numbers)
        notes.append(
            f"The lists count classes from {start} and {file.path.name} from {start + shift}:"
            f" number {start} of the lists is {named[start]!r}."
        )
    if wrong:
        notes.append(_contradiction(wrong, named, right, file.path.name))
    return named, notes


def names_by_folders(uses: Sequence[Use]) -> tuple[dict[int | str, str], list[str]]:
    """Class number ─► its folder's name where each number has one of its own, else `class_003`."""
    folders: dict[int, set[str]] = {}
    for use in uses:
        folders.setdefault(int(use.label), set()).add(use.folder)
    by_folder: dict[int | str, str] = {
        number: next(iter(own)) for number, own in folders.items() if len(own) == 1
    }
    if len(folders) == len(set(by_folder.values()) - {""}):
        return by_folder, []
    width = max(3, len(str(max(folders))))
    return {number: f"class_{number:0{width}}" for number in folders}, [
        "The lists number the classes, and neither a file of names (classes.txt) nor a folder for"
        f" each class says what they are: they are called class_{min(folders):0{width}} and so on."
    ]


def _shift(names: Mapping[int, str], numbers: set[int], uses: Sequence[Use]) -> int | None:
    """What is added to a list's number to get the file's; None when no reading fits."""
    if numbers <= names.keys():
        return 0
    for shift in (1, -1):
        if not {number + shift for number in numbers} <= names.keys():
            continue
        if shift == 1 and 0 in numbers and min(names) == 1:
            return shift
        right, wrong = _by_folders(_shifted(names, numbers, shift), uses, names.values())
        if right and _videos(wrong) < (1 - _NEARLY_ALL) * (right + _videos(wrong)):
            return shift
    return None


def _shifted(names: Mapping[int, str], numbers: set[int], shift: int) -> dict[int | str, str]:
    return {number: names[number + shift] for number in sorted(numbers)}


def _contradiction(
    wrong: Sequence[Use], named: Mapping[int | str, str], right: int, source: str
) -> str:
    return (
        f"Videos in the folder of another class than {source} gives them: {_videos(wrong)} of"
        f" {right + _videos(wrong)} ({_shown(wrong[0], named)})."
    )


def _by_folders(
    named: Mapping[int | str, str], uses: Sequence[Use], classes: Iterable[str]
) -> tuple[int, list[Use]]:
    """(videos in the folder of their class, uses in the folder of another class).

    Folders that are called like no class say nothing.
    """
    known = {plain(name) for name in classes}
    clear_example = [use for use in uses if plain(use.folder) in known]
    wrong = [use for use in clear_example if plain(use.folder) != plain(named[use.label])]
    return _videos(clear_example) - _videos(wrong), wrong


def _videos(uses: Iterable[Use]) -> int:
    return sum(use.videos for use in uses)


def _shown(use: Use, named: Mapping[int | str, str]) -> str:
    number = f" with number {use.label}" if isinstance(use.label, int) else ""
    return printable(f"{use.example}{number}, {named[use.label]!r}")
