"""Kinetics: CSV files that list many clips, of which only some could ever be downloaded.

Columns `label,youtube_id,time_start,time_end,split`; files `{id}_{start:06}_{end:06}` in any
container. A file is known by its name, wherever it lies: makers of copies spell class folders with
spaces, with underscores, or without quotes and parentheses, and some have no class folders at all.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from l2a.errors import InputError
from l2a.formats.groups import kinetics_key, plain
from l2a.formats.listing import (
    SPLIT_COLUMNS,
    Claim,
    annotation_files,
    assemble,
    examples,
    first_line,
    refuse_other_split,
    split_of_word,
    text_of,
)
from l2a.formats.settings import DataSettings
from l2a.formats.tree import LISTED, MISSING, SPLIT_WORDS, Found, Tree
from l2a.videos import Skipped, VideoSet

_SPLIT_IN_NAME = re.compile(r"(train|val|test|(?<![a-z])dev)")


class _Row(NamedTuple):
    """One line of a CSV file: a clip of `youtube_id` from `start` to `end` seconds, as written."""

    label: str
    youtube_id: str
    start: str
    end: str
    split: str

    def key(self) -> tuple[str, int, int] | None:
        """What the file's name says, or None when the times are not numbers."""
        try:
            return self.youtube_id, int(float(self.start)), int(float(self.end))
        except (ValueError, OverflowError):
            return None


def recognises(tree: Tree, settings: DataSettings) -> bool:
    """Whether there is a CSV file with a column `youtube_id`."""
    return bool(annotation_files(tree.root, settings.annotations, is_table))


def read(tree: Tree, settings: DataSettings) -> VideoSet:
    """Read all tables of the annotation folder; what they list and the disk lacks is skipped.

    Raises:
        InputError: there is no such table, one lacks a column that it needs or has a word as a
            split that is none, or a numbered split was given, which this layout has none of.
    """
    refuse_other_split(tree.root, settings, "Kinetics")
    tables = annotation_files(tree.root, settings.annotations, is_table)
    if not tables:
        raise InputError(
            f"There is no CSV file with a column youtube_id for {tree.root}; put Kinetics'"
            " train.csv and validate.csv next to the videos or name them by --annotations."
        )
    by_key: dict[tuple[str, int, int], list[Found]] = {}
    for found in tree.videos:
        key = kinetics_key(found.stem)
        if key is not None:
            by_key.setdefault(key, []).append(found)
    # A table of everything often lies next to the tables of its splits: equal rows are one row.
    rows = dict.fromkeys(row for table in tables for row in _rows(table))
    claims: list[Claim] = []
    missing: list[Skipped] = []
    for row in rows:
        key = row.key()
        copies = by_key.get(key, []) if key else []
        if row.label and copies:
            found = copies[0] if len(copies) == 1 else _best(copies, row)
            claims.append(Claim(found, row.label, row.split))
        else:
            missing.append(_why_skipped(row, key))
    absent = sorted({row.label for row in rows if row.label} - {claim.label for claim in claims})
    notes = []
    if absent:
        notes.append(f"Listed classes without a file here: {len(absent)} ({examples(absent)}).")
    return assemble(tree, "kinetics", claims, _group, lists=tables, missing=missing, notes=notes)


def is_table(path: Path) -> bool:
    """Whether a file is a table of Kinetics: one with a column `youtube_id`."""
    return path.suffix.lower() in (".csv", ".tsv") and _header(path) is not None


def _header(path: Path) -> tuple[str, list[str]] | None:
    """The character between columns and their names, if `youtube_id` is one of them."""
    first = first_line(path)
    for delimiter in (",", ";", "\t"):
        columns = [name.strip().strip('"').lower() for name in first.split(delimiter)]
        if "youtube_id" in columns:
            return delimiter, columns
    return None


def _rows(table: Path) -> Iterator[_Row]:
    delimiter, columns = _header(table) or (",", [])
    needed = ("label", "youtube_id", "time_start", "time_end")
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise InputError(
            f"{table} has no column {lacking[0]}; its columns should be label, youtube_id,"
            " time_start, time_end and split."
        )
    where = [columns.index(name) for name in needed]
    where_split = next((columns.index(name) for name in SPLIT_COLUMNS if name in columns), None)
    in_name = _SPLIT_IN_NAME.search(table.stem.lower())
    default = SPLIT_WORDS[in_name[1]] if in_name else "train"
    reader = csv.reader(io.StringIO(text_of(table), newline=""), delimiter=delimiter)
    rows = (cells for cells in reader if any(map(str.strip, cells)))
    try:
        next(rows)  # the header
        for cells in rows:
            cells += [""] * (len(columns) - len(cells))
            label, youtube_id, start, end = (cells[place].strip() for place in where)
            said = cells[where_split] if where_split is not None else ""
            split = split_of_word(table, reader.line_num, said, default)
            yield _Row(label, youtube_id, start, end, split)
    except csv.Error as error:
        raise InputError(f"{table} is not a readable table ({error}); write it again.") from None


def _best(copies: list[Found], row: _Row) -> Found:
    """Of several files of one clip the one in the row's class folder and split folder."""
    return max(
        copies,
        key=lambda found: (
            plain(found.folder) == plain(row.label),
            found.split == row.split,
            -found.id.count("/"),
        ),
    )


def _why_skipped(row: _Row, key: tuple[str, int, int] | None) -> Skipped:
    if key is None:
        times = f"{LISTED} no times, {row.start!r} to {row.end!r}"
        return Skipped(f"{row.label}/{row.youtube_id}", times)
    name = f"{row.label}/{key[0]}_{key[1]:06}_{key[2]:06}"
    return Skipped(name, MISSING if row.label else f"{LISTED} no class")


def _group(found: Found, label: str) -> str:
    """The YouTube video that the clip is part of."""
    key = kinetics_key(found.stem)
    return key[0] if key else found.stem
