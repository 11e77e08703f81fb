"""What the readers of annotation files share: finding the files, their lines, and who is listed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from l2a.errors import InputError
from l2a.formats.settings import DataSettings
from l2a.formats.tree import Found, Tree
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

# Which split keeps a video that is listed in several: no test video may be trained on.
_STRENGTH = {"unused": 0, "train": 1, "val": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class Claim:
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
    """(number from 1, text) of the lines that are not blank.

    Bytes that are not UTF-8 pass as Python passes them in file names, so that both still match.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if text:
                yield number, text


def assemble(
    root: Path,
    format: str,
    claims: Iterable[Claim],
    group_of: Callable[[Found, str], str],
    skipped: Sequence[Skipped],
    notes: Sequence[str],
) -> VideoSet:
    """One video for each listed file.

    A file that is listed in several splits stays in the strongest, test before val before train; a
    file that is listed with two classes is skipped.
    """
    by_id: dict[str, list[Claim]] = {}
    for claim in claims:
        by_id.setdefault(claim.found.id, []).append(claim)
    videos: list[Video] = []
    ambiguous: list[Skipped] = []
    for id, said in by_id.items():
        labels = sorted({claim.label for claim in said})
        if len(labels) > 1:
            ambiguous.append(Skipped(id, f"listed with two classes, {labels[0]} and {labels[1]}"))
            continue
        found, label = said[0].found, labels[0]
        split = max((claim.split for claim in said), key=_STRENGTH.__getitem__)
        videos.append(Video(id, found.path, label, group_of(found, label), split))
    repeated = sorted(id for id, said in by_id.items() if len(said) > 1)
    if repeated:
        notes = [
            *notes,
            f"Videos listed more than once: {len(repeated)} ({examples(repeated)}); where the"
            " splits differ, test goes before val and val before train.",
        ]
    return VideoSet(
        root=root,
        format=format,
        classes=tuple(sorted({video.label for video in videos})),
        videos=tuple(sorted(videos, key=lambda video: video.id)),
        skipped=tuple(sorted([*skipped, *ambiguous], key=lambda row: row.id)),
        notes=tuple(notes),
        repeated=tuple(repeated),
    )


def with_unused(claims: Sequence[Claim], tree: Tree) -> tuple[list[Claim], list[str]]:
    """The claims and, as "unused", the files of the same class folders that no list names.

    Files in other folders belong to no known class and are only counted, in the notes.
    """
    label_of = {claim.found.folder: claim.label for claim in claims}
    listed = {claim.found.id for claim in claims}
    others = [found for found in tree.videos if found.id not in listed]
    unused = [
        Claim(found, label_of[found.folder], "unused")
        for found in others
        if found.folder in label_of
    ]
    unknown = [found.id for found in others if found.folder not in label_of]
    return [*claims, *unused], unlisted_note(unknown)


def unlisted_note(ids: Sequence[str]) -> list[str]:
    """A note on files that were left out because no list names them; none if there are none."""
    if not ids:
        return []
    return [f"Video files in no list, left out: {len(ids)} ({examples(ids)})."]


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def bad_line(path: Path, number: int, text: str, meant: str) -> InputError:
    """The error for a line that is not what its file's layout asks for."""
    return InputError(f"Line {number} of {path} is {text!r}, but should be {meant}; correct it.")


def _files_in(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and e.is_file()]
    return [folder / name for name in sorted(names) if wanted(folder / name)]
