"""Which clips were cut from one recording, by the names that the makers of data sets gave them.

Names are data: HMDB51's hold `# & ; [ ] ( ) ! + @ ~`, so none is ever used as a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import category

from l2a.text import nfc

_UCF = re.compile(r"^v_.+_g(\d+)_c\d+$")
_UCF_CLASS = re.compile(r"^v_(.+)_g\d+_c\d+$")
_HMDB = re.compile(r"^(.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+$")
_KINETICS = re.compile(r"^(.+)_(\d{1,6})_(\d{1,6})$")
_YOUTUBE = re.compile(r"^([\w-]{11})_\d{6}_\d{6}$", re.ASCII)


@lru_cache(maxsize=65_536)
def plain(name: str) -> str:
    """A name's letters and digits, lower case: spellings of one class folder that differ by spaces,
    underscores, quotes, parentheses or capitals are the same then. Marks that make vowels stay."""
    return "".join(
        mark for mark in nfc(name).casefold() if mark.isalnum() or category(mark)[0] == "M"
    )


def hmdb51_group(stem: str, label: str) -> str:
    """The recording that an HMDB51 clip was cut from: its name up to the last `_<class>_`.

    The same recording can be cut into several classes, so the group does not hold the class.
    """
    for spelling in (label, label.replace(" ", "_")):
        recording, found, _ = stem.rpartition(f"_{spelling}_")
        if found:
            return recording
    match = _HMDB.match(stem)
    return match[1] if match else stem


def ucf101_group(stem: str, label: str) -> str:
    """`<class>/gXX`, for UCF101 numbers its groups within each class; the name if it has none."""
    match = _UCF.match(stem)
    return f"{label}/g{match[1]}" if match else stem


def kinetics_key(stem: str) -> tuple[str, int, int] | None:
    """(YouTube id, start, end in seconds) of `{id}_{start:06}_{end:06}`, or None."""
    match = _KINETICS.match(stem)
    return (match[1], int(match[2]), int(match[3])) if match else None


def told_group(stem: str, classes: Iterable[str]) -> str | None:
    """The group of a clip whose class is not known, as clips of known class have it; None where
    its name follows no naming, and so tells no recording.

    Args:
        stem: the file's name without suffix.
        classes: of the data set, one of which the name can hold.
    """
    if match := _UCF_CLASS.match(stem):
        same = (label for label in classes if plain(label) == plain(match[1]))
        return ucf101_group(stem, next(same, match[1]))
    if match := _HMDB.match(stem):
        for label in sorted(classes, key=len, reverse=True):
            for spelling in (label, label.replace(" ", "_")):
                if match[1].endswith(f"_{spelling}"):
                    return match[1].removesuffix(f"_{spelling}")
        return match[1]
    match = _YOUTUBE.match(stem)
    return match[1] if match else None


def guessed_group(stem: str, label: str) -> str:
    """The group by whichever naming `stem` follows; a name of any other kind is a group by itself.

    The rest of a name is kept as it is: two files of one name in two classes share a group, for
    they may well be one recording.
    """
    if _UCF.match(stem):
        return ucf101_group(stem, label)
    if _HMDB.match(stem):
        return hmdb51_group(stem, label)
    match = _YOUTUBE.match(stem)
    return match[1] if match else stem
