"""The rows of a list of videos: a path, and a class as a number or a name.

What other programs write is read: white space, tabs, commas or semicolons between the columns,
quotes, a header, comments, `1.0` for 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from l2a.errors import InputError
from l2a.formats.listing import SPLIT_COLUMNS, bad_line, first_line, lines_of, text_of
from l2a.formats.tree import is_video

MEANT = "a path and a class: its number, or its name behind a comma, semicolon or tab"

_NUMBER_LAST = re.compile(r"[\s,;]+[\"']?([-+]?\d+(?:\.\d*)?)[\"']?$")
_NAME_LAST = re.compile(r"^(.+\.\w{2,5})[\"']?\s*([,;\t ])\s*[\"']?(\S.*?)[\"']?$")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?")
_CELLS = re.compile(r"[,;\t ]+")
_PATHS = ("path", "video_path", "file_path", "filepath", "clip_path", "file_name", "filename",
          "file", "video", "video_name", "clip", "clip_name", "name")  # fmt: skip
_LABELS = ("label", "class", "class_name", "label_name", "class_id", "label_id", "category",
           "action", "target", "classname", "tag", "y")  # fmt: skip


class Row(NamedTuple):
    """A line of a list: the path as it is written, with forward slashes, and the class.

    `label` is an int where it is a number; `split` is the word that stands in its column, ""
    where the line has none.
    """

    path: str
    label: int | str
    split: str
    line: int


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a list.

    Raises:
        InputError: a line is not a path with one class, or some classes are numbers and others
        names.
    """
    first: Row | None = None
    for row, text in _table(path) if _columns(path) else _lines(path):
        first = first or row
        if isinstance(row.label, int) != isinstance(first.label, int):
            kind = "number" if isinstance(first.label, int) else "name"
            raise bad_line(path, row.line, text, f"a path and a class {kind}, as line {first.line}")
        yield row


def holds_rows(path: Path) -> bool:
    """Whether one of the first two lines (the first can be a header) is a path and a class."""
    if _columns(path):
        return True
    texts = (text for _, text in lines_of(path) if not _comment(text))
    return any(_parsed(text) for _, text in zip(range(2), texts, strict=False))


def names_columns(path: Path) -> bool:
    """Whether a list's first line is a header that names a column of paths and one of classes."""
    return _columns(path) is not None


def class_number(text: str) -> int | None:
    """A class number, `1` or `1.0`; None when it is negative, broken or has too many digits."""
    whole, _, rest = text.partition(".")
    if text.startswith("-") or rest.strip("0") or len(whole) > 9:
        return None
    return int(whole)


def _lines(path: Path) -> Iterator[tuple[Row, str]]:
    """Lines without a header that names the columns: the class is what stands last."""
    for number, text in lines_of(path):
        parsed = _parsed(text)
        if parsed is None:
            first = number == 1 and path.suffix.lower() in {".csv", ".tsv"}
            if first or _comment(text) or (number == 1 and _is_header(text)):
                continue
            raise bad_line(path, number, text, MEANT)
        yield Row(*parsed, "", number), text


def _parsed(text: str) -> tuple[str, int | str] | None:
    """(path, class) of a line, or None."""
    number = _NUMBER_LAST.search(text)
    path = _clean(text[: number.start()]) if number else ""
    if number and is_video(path):
        return _with_number(path, number[1])
    name = _NAME_LAST.match(text)
    if name is None or not is_video(_clean(name[1])):
        return _with_number(path, number[1]) if number and path else None
    if name[2] == " " and " " in name[3]:
        return None
    if all(_NUMBER.fullmatch(word) for word in _CELLS.split(name[3])):
        return None  # several numbers: of several classes, or of frames
    return _clean(name[1]), name[3].strip()


def _with_number(path: str, text: str) -> tuple[str, int] | None:
    label = class_number(text)
    return None if label is None else (path, label)


def _table(path: Path) -> Iterator[tuple[Row, str]]:
    """Lines under a header that names the columns."""
    delimiter, at_path, at_label, at_split = _columns(path) or ("", 0, 0, None)
    lines = io.StringIO(text_of(path), newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows = (cells for cells in reader if "".join(cells).strip())
    try:
        next(rows)  # the header
        for cells in rows:
            number, text = reader.line_num, delimiter.join(cells)
            if _comment(text):
                continue
            if len(cells) <= max(at_path, at_label) or not cells[at_path].strip():
                raise bad_line(path, number, text, "a path and a class in the columns of line 1")
            label: int | str | None = cells[at_label].strip()
            if _NUMBER.fullmatch(str(label)):
                label = class_number(str(label))
            if label is None or label == "":
                raise bad_line(path, number, text, "a row with a class, its number or its name")
            said = cells[at_split].strip() if at_split is not None and at_split < len(cells) else ""
            yield Row(_clean(cells[at_path]), label, said, number), text
    except csv.Error as error:
        raise InputError(f"{path} is not a readable table ({error}); write it again.") from None


def _columns(path: Path) -> tuple[str, int, int, int | None] | None:
    """(delimiter, places of path, class and split) as the first line names them, or None."""
    header = first_line(path)
    for delimiter in (",", ";", "\t"):
        cells = [cell.strip(" \"'").lower() for cell in header.split(delimiter)]
        places = [
            next((cells.index(name) for name in names if name in cells), None)
            for names in (_PATHS, _LABELS, SPLIT_COLUMNS)
        ]
        if places[0] is not None and places[1] is not None:
            return delimiter, places[0], places[1], places[2]
    return None


def _is_header(text: str) -> bool:
    cells = set(_CELLS.split(text.lower()))
    return bool(cells & set(_PATHS)) and bool(cells & set(_LABELS))


def _comment(text: str) -> bool:
    return text.startswith(("#", "//")) and _parsed(text) is None


def _clean(path: str) -> str:
    path = path.rstrip(" \t,;").strip('"').replace("\\", "/")
    return path[1:-1] if path[:1] == path[-1:] == "'" and len(path) > 1 else path
