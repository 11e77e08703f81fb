"""What the readers of annotation files share: finding the files, their lines, and who is listed."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from l2a.errors import InputError
from l2a.formats.settings import DataSettings
from l2a.formats.tree import LISTED, SPLIT_WORDS, Found, Tree, is_plain_file
from l2a.text import nfc, printable
from l2a.videos import Skipped, Video, VideoSet

ANNOTATION_FOLDERS = (
    "splits",
    "testTrainMulti_7030_splits",
    "ucfTrainTestlist",
    "annotations",
    "annotation",
    "lists",
    "",
)
"""Where annotation files are looked for, in this order, relative to the data set's folder."""

SPLIT_COLUMNS = ("split", "subset", "set", "partition")
"""What the column of a table is called that says the split, in lower case; the first counts."""

_START_BYTES = 65_536

# Which split keeps a video that is listed in several: no test video may be trained on.
_STRENGTH = {"unused": 0, "train": 1, "val": 2, "test": 3}


class Claim(NamedTuple):
    """What one line of a list says: this file is of this class and in this split."""

    found: Found
    label: str
    split: str


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A file of one official split: what its name says, the number of the split, where it is."""

    name: str
    number: int
    path: Path


def split_files(root: Path, settings: DataSettings, pattern: re.Pattern[str]) -> list[SplitFile]:
    """Files whose whole name `pattern` matches; its groups are what it is and the split's number.

    One file given as `settings.annotations` stands for the folder that holds them all.
    """
    place = settings.annotations
    if place is not None and place.is_file():
        place = place.parent
    files = annotation_files(root, place, lambda path: bool(pattern.fullmatch(path.name)))
    matches = [(pattern.fullmatch(path.name), path) for path in files]
    return [SplitFile(match[1], int(match[2]), path) for match, path in matches if match]


def of_split(files: Sequence[SplitFile], settings: DataSettings) -> list[SplitFile]:
    """The files of split `settings.split`, or `InputError` with the numbers that there are."""
    chosen = [file for file in files if file.number == settings.split_number]
    if not chosen:
        numbers = ", ".join(str(number) for number in sorted({file.number for file in files}))
        raise InputError(
            f"There is no split {settings.split} in {files[0].path.parent};"
            f" choose one of: {numbers}."
        )
    return chosen


def refuse_other_split(root: Path, settings: DataSettings, kind: str) -> None:
    """Refuse a split by number where the data set has no numbered splits.

    Args:
        root: the data set's folder.
        settings: of which `split` is looked at.
        kind: what the data set is, for the sentence: "plain class folders".

    Raises:
        InputError: `settings.split` is another than the default.
    """
    if settings.split_number != 1:
        raise InputError(
            f"There is no split {settings.split} in {root}, which is read as {kind} and has no"
            " numbered splits; give --split 1."
        )


def annotation_files(
    root: Path,
    annotations: Path | None,
    wanted: Callable[[Path], bool],
    places: Sequence[str] = ANNOTATION_FOLDERS,
) -> list[Path]:
    """The `wanted` files of the first of `places` under the root that has any, sorted by name.

    With `annotations`, a folder or one file, nothing else is looked at.
    """
    if annotations is not None:
        if annotations.is_file():
            return [annotations] if wanted(annotations) else []
        return _files_in(annotations, wanted)
    for name in places:
        files = _files_in(root / name, wanted)
        if files:
            return files
    return []


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that are not blank, without white space at their ends."""
    for number, line in enumerate(io.StringIO(text_of(path), newline=None), start=1):
        text = line.strip()
        if text:
            yield number, text


def text_of(path: Path) -> str:
    """A list's text: UTF-8 or UTF-16 by its mark, UTF-8, or else the alphabet of Western Europe.

    Raises:
        InputError: it holds NUL bytes, which no text has.
    """
    text = _decoded(path.read_bytes())
    if "\0" in text:
        raise InputError(f"{path} holds NUL bytes and is not text; write it again as UTF-8.")
    return text


def first_line(path: Path) -> str:
    """The first line that is not blank, without reading all of a file that may be no list."""
    with path.open("rb") as file:
        text = _decoded(file.read(_START_BYTES))
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _decoded(data: bytes) -> str:
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def assemble(
    tree: Tree,
    format: str,
    claims: Iterable[Claim],
    group_of: Callable[[Found, str], str],
    *,
    lists: Sequence[Path] = (),
    missing: Sequence[Skipped] = (),
    notes: Sequence[str] = (),
    home: str = "list",
) -> VideoSet:
    """One video for each file that is listed; the others are skipped or left out, none is lost.

    A file in several splits stays in the strongest, test before val before train; one that is
    listed with two classes is skipped.

    Args:
        tree: the files that there are.
        format: the layout's name.
        claims: what the lists say.
        group_of: (file, class) ─► the group that its name tells.
        lists: the files that were read for it.
        missing: what they list and the disk lacks.
        notes: what a person should know.
        home: what a file that is left out lies in none of, for the note on it.
    """
    first, several = _by_id(claims)
    claims_twice = (claim for said in several.values() for claim in said)
    spelled = _spellings({claim.label for claim in (*first.values(), *claims_twice)})
    videos: list[Video] = []
    root = f"{str(tree.root).rstrip('/')}/"
    skipped = {row.id: Skipped(printable(row.id), row.reason) for row in (*missing, *tree.skipped)}
    for id, (found, written, split) in first.items():
        label = spelled[written]
        if id in several:
            labels = sorted({spelled[claim.label] for claim in several[id]})
            if len(labels) > 1:
                reason = f"{LISTED} two classes, {labels[0]} and {labels[1]}"
                skipped[id] = Skipped(id, reason)
                continue
            split = max((claim.split for claim in several[id]), key=_STRENGTH.__getitem__)
        videos.append(Video(id, root + id, label, group_of(found, label), split))
    left_out = tuple(found.id for found in tree.videos if found.id not in first)
    repeated = sorted(several)
    return VideoSet(
        root=tree.root,
        format=format,
        classes=tuple(sorted({video.label for video in videos})),
        videos=tuple(sorted(videos, key=attrgetter("id"))),
        skipped=tuple(sorted(skipped.values(), key=attrgetter("id"))),
        notes=(*notes, *_counts(tree, left_out, repeated, home)),
        repeated=tuple(repeated),
        left_out=left_out,
        lists=tuple(lists),
    )


def _by_id(claims: Iterable[Claim]) -> tuple[dict[str, Claim], dict[str, list[Claim]]]:
    """Id ─► its first claim, and id ─► all its claims for those that have several."""
    first: dict[str, Claim] = {}
    several: dict[str, list[Claim]] = {}
    for claim in claims:
        id = claim.found.id
        if first.setdefault(id, claim) is not claim:
            several.setdefault(id, [first[id]]).append(claim)
    return first, several


def _counts(
    tree: Tree, left_out: Sequence[str], repeated: Sequence[str], home: str
) -> Iterator[str]:
    """Notes on files that were not listed: how many, and a few of them."""
    if left_out:
        yield f"Video files in no {home}, left out: {len(left_out)} ({examples(left_out)})."
    if repeated:
        yield (
            f"Videos listed more than once: {len(repeated)} ({examples(repeated)}); where the"
            " splits differ, test goes before val and val before train."
        )
    if tree.skipped:
        rows = [f"{row.id}: {row.reason}" for row in tree.skipped]
        yield f"Files and folders that cannot be used: {len(rows)} ({examples(rows, 1)})."
    if tree.runs:
        yield f"Folders of earlier runs, left out: {len(tree.runs)} ({examples(tree.runs)})."


def _spellings(labels: Iterable[str]) -> dict[str, str]:
    """Class name as it is written ─► as it is spelled everywhere.

    One that is written in several of Unicode's forms, as a Mac's folders and a list do, is one
    class, in the composed form.
    """
    forms: dict[str, list[str]] = {}
    for label in labels:
        forms.setdefault(nfc(label), []).append(label)
    return {
        label: one if len(written) > 1 else label
        for one, written in forms.items()
        for label in written
    }


def unused_claims(claims: Sequence[Claim], tree: Tree) -> list[Claim]:
    """As "unused", the files of the claims' class folders that no list names.

    Files in other folders belong to no known class.
    """
    label_of = {claim.found.folder: claim.label for claim in claims}
    listed = {claim.found.id for claim in claims}
    return [
        Claim(found, label_of[found.folder], "unused")
        for found in tree.videos
        if found.folder in label_of and found.id not in listed
    ]


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first few names, for a message."""
    return ", ".join(map(printable, names[:most])) + (", …" if len(names) > most else "")


def bad_line(path: Path, number: int, text: str, meant: str) -> InputError:
    """The error for a line that is not what its file's layout asks for."""
    shown = text if len(text) <= 200 else f"{text[:100]}…{text[-60:]}"
    return InputError(f"Line {number} of {path} is {shown!r}, but should be {meant}; correct it.")


def split_of_word(path: Path, number: int, word: str, default: str) -> str:
    """The split that a table's column says in one line.

    Args:
        path: the table.
        number: of the line, from 1.
        word: what the column has, in any case; `default` where it is empty.
        default: the split of the table itself.

    Raises:
        InputError: the word is none of `SPLIT_WORDS`: taken for the default, a test video could be
            trained on.
    """
    said = word.strip().lower()
    if not said:
        return default
    if said not in SPLIT_WORDS:
        raise InputError(
            f"Line {number} of {path} has the split {printable(word[:100])!r}, but should have"
            " train, val (or valid, validation, eval, evaluation, dev, development), test or"
            " unused; correct it, or rename the column if it says something else."
        )
    return SPLIT_WORDS[said]


def _files_in(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and is_plain_file(e)]
    return [folder / name for name in sorted(names) if wanted(folder / name)]
