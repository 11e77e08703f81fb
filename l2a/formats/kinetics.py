"""Kinetics: CSV files that list many clips, of which only some could ever be downloaded.

Columns `label,youtube_id,time_start,time_end,split`; files `{id}_{start:06}_{end:06}` in any
container. A file is known by its name, wherever it lies: makers of copies spell class folders with
spaces, with underscores, or without quotes and parentheses, and some have no class folders at all.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l2a.errors import InputError
from l2a.formats.groups import kinetics_key, plain
from l2a.formats.listing import Claim, annotation_files, assemble, examples, unlisted_note
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING, SPLIT_FOLDERS, Found, Tree
from l2a.videos import Skipped, VideoSet

_SPLIT_IN_NAME = re.compile(r"(train|val|test)")


@dataclass(frozen=True, slots=True)
class _Row:
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
        except ValueError:
            return None


def recognises(root: Path, settings: DataSettings) -> bool:
    """Whether there is a CSV file with a column `youtube_id`."""
    return bool(annotation_files(root, settings.annotations, _is_table))


def read(root: Path, settings: DataSettings) -> VideoSet:
    """Read all tables of the annotation folder; what they list and the disk lacks is skipped.

    Raises:
        InputError: there is no such table, or one lacks a column that it needs.
    """
    tables = annotation_files(root, settings.annotations, _is_table)
    if not tables:
        raise InputError(
            f"There is no CSV file with a column youtube_id for {root}; put Kinetics' train.csv and"
            " validate.csv beside the videos or name them by --annotations."
        )
    tree = Tree(root)
    by_key: dict[tuple[str, int, int], list[Found]] = {}
    for found in tree.videos:
        key = kinetics_key(found.stem)
        if key is not None:
            by_key.setdefault(key, []).append(found)
    # A table of everything often lies beside the tables of its splits: equal rows are one row.
    rows = dict.fromkeys(row for table in tables for row in _rows(table))
    claims: list[Claim] = []
    skipped: list[Skipped] = []
    for row in rows:
        key = row.key()
        copies = by_key.get(key, []) if key else []
        if row.label and copies:
            claims.append(Claim(_best(copies, row), row.label, row.split))
        else:
            skipped.append(_why_skipped(row, key))
    listed = {claim.found.id for claim in claims}
    absent = sorted({row.label for row in rows if row.label} - {claim.label for claim in claims})
    notes = unlisted_note([found.id for found in tree.videos if found.id not in listed])
    if absent:
        notes.append(f"Listed classes without a file here: {len(absent)} ({examples(absent)}).")
    return assemble(root, "kinetics", claims, _group, [*skipped, *tree.dangling], notes)


def _is_table(path: Path) -> bool:
    if path.suffix.lower() != ".csv":
        return False
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        return "youtube_id" in _columns(file.readline())


def _columns(header: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in header.split(",")]


def _rows(table: Path) -> Iterator[_Row]:
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        columns = _columns(file.readline())
        needed = ("label", "youtube_id", "time_start", "time_end")
        lacking = [name for name in needed if name not in columns]
        if lacking:
            raise InputError(
                f"{table} has no column {lacking[0]}; its columns should be label, youtube_id,"
                " time_start, time_end and split."
            )
        where = [columns.index(name) for name in needed]
        where_split = columns.index("split") if "split" in columns else None
        in_name = _SPLIT_IN_NAME.search(table.stem.lower())
        default = in_name[1] if in_name else "train"
        for cells in csv.reader(file):
            if not cells:
                continue
            cells += [""] * (len(columns) - len(cells))
            label, youtube_id, start, end = (cells[place].strip() for place in where)
            said = cells[where_split].strip().lower() if where_split is not None else ""
            yield _Row(label, youtube_id, start, end, SPLIT_FOLDERS.get(said, default))


def _best(copies: list[Found], row: _Row) -> Found:
    """Of several files of one clip the one in the row's class folder and split folder."""
    return max(
        copies,
        key=lambda found: (plain(found.folder) == plain(row.label), found.split == row.split),
    )


def _why_skipped(row: _Row, key: tuple[str, int, int] | None) -> Skipped:
    if key is None:
        return Skipped(f"{row.label}/{row.youtube_id}", f"no times, {row.start!r} to {row.end!r}")
    name = f"{row.label}/{key[0]}_{key[1]:06}_{key[2]:06}"
    return Skipped(name, MISSING if row.label else "no class is listed for it")


def _group(found: Found, label: str) -> str:
    """The YouTube video that the clip is part of."""
    key = kinetics_key(found.stem)
    return key[0] if key else found.stem
