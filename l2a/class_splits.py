"""Splits of classes for few-shot recognition: base, validation and novel classes.

They are read from others' files (`l2a.formats.class_lists`), whose names are matched to the data
set's by their letters and digits, or drawn.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from l2a.errors import InputError
from l2a.files import fingerprint, write_text
from l2a.formats.class_lists import NamedSplit, read_named
from l2a.formats.groups import plain
from l2a.formats.listing import examples
from l2a.formats.tree import strip_suffix
from l2a.text import nfc
from l2a.videos import Video, counted

SIDES = ("base", "validation", "novel")
"""The sides of a class split: to train on, to choose by, to test on."""

ALIASES: Mapping[str, str] = {
    "basketballshooting": "basketball",
    "salsaspins": "salsaspin",
    "swingbasketball": "swingbaseball",
    "brushhairs": "brushhair",
    "swordexercies": "swordexercise",
    "swingbaseketball": "swingbaseball",
    "moppingfloow": "moppingfloor",
    "trampolinejumpling": "trampolinejumping",
}
"""What TruZe's and ARN's lists write otherwise than UCF101 and HMDB51 do, as letters and digits;
of use only where the data set has no class of that name."""


@dataclass(frozen=True, slots=True)
class ClassSplit:
    """Which classes a few-shot method trains on, is chosen by and is tested on.

    Attributes:
        base, validation, novel: class names, as the data set spells them, sorted. No class is on
            two sides; validation may be empty.
        source: what they were read from, or drawn by, in words.
        clips: class name ─► names of the files (without suffix) that the lists name; of such a
            class only these belong to the split. Empty where lists name classes alone.
        notes: what a person should know, one sentence each.
    """

    base: tuple[str, ...]
    validation: tuple[str, ...]
    novel: tuple[str, ...]
    source: str = ""
    clips: Mapping[str, frozenset[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, side: str) -> tuple[str, ...]:
        """The classes of a side, one of `SIDES`."""
        return {"base": self.base, "validation": self.validation, "novel": self.novel}[side]

    def videos_of(self, side: str, videos: Iterable[Video]) -> tuple[Video, ...]:
        """The videos of a side, in the order given: of its classes, and listed where clips are.

        Splits of videos (train, test) have no meaning here: a class is on one side as a whole.
        """
        wanted = set(self.of(side))
        return tuple(
            video
            for video in videos
            if video.label in wanted
            and (video.label not in self.clips or _stem(video) in self.clips[video.label])
        )

    def missing(self, videos: Iterable[Video]) -> list[str]:
        """`class/clip` of all clips that the lists name and that are not among the videos."""
        here = {(video.label, _stem(video)) for video in videos}
        listed = ((label, clip) for label, names in self.clips.items() for clip in names)
        return sorted(f"{label}/{clip}" for label, clip in listed if (label, clip) not in here)

    def fingerprint(self) -> str:
        """Changes when a class changes sides, or when other clips are listed."""
        listed = {label: sorted(names) for label, names in self.clips.items()}
        return fingerprint([self.base, self.validation, self.novel, listed])


def read_class_split(path: Path, classes: Sequence[str]) -> ClassSplit:
    """Read a class split for a data set.

    Args:
        path: a file or a folder in any form of `l2a.formats.class_lists`.
        classes: the data set's classes. Those that the split does not name are on no side.

    Raises:
        InputError: it cannot be read, names a class that the data set has not, has a class on two
            sides, or lacks base or novel classes.
    """
    names = _Names(classes)
    splits = read_named(path)
    named = max(splits, key=lambda one: names.known(one) / max(1, _size(one)))
    where = f"{path} ({named.title})" if named.title else str(path)
    if unknown := names.unknown(named):
        raise InputError(
            f"{where} names {counted(len(unknown), 'class', 'classes')} that the data set does not "
            f"have: {_with_nearest(unknown, names)}; correct the names, or use the data set that "
            "the split was made for."
        )
    sides = {side: sorted({names.find(n) for n in named.sides.get(side, ())}) for side in SIDES}
    aliased = [  # for the reader to see what was taken for what
        f"{name!r} for {names.find(name)!r}"
        for side in SIDES
        for name in named.sides.get(side, ())
        if plain(name) != plain(names.find(name))
    ]
    clips: dict[str, frozenset[str]] = {}
    for name, found in named.clips.items():
        label = names.find(name)
        clips[label] = clips.get(label, frozenset()) | found
    notes = [f"The class split writes {examples(aliased, len(aliased))}."] if aliased else []
    if not sides["validation"]:
        notes.append("The class split has no validation classes: there is nothing to stop by.")
    left = sorted(set(classes) - {label for of in sides.values() for label in of})
    if left:
        notes.append(f"Classes that the class split leaves out: {len(left)} ({examples(left)}).")
    return _checked(ClassSplit(
        tuple(sides["base"]), tuple(sides["validation"]), tuple(sides["novel"]),
        where, clips, tuple(notes),
    ))  # fmt: skip


def random_class_split(
    classes: Sequence[str], validation: float, novel: float, seed: int
) -> ClassSplit:
    """Draw a class split.

    Args:
        classes: all of them.
        validation: classes that are chosen by: a share below 1, or a number of classes; 0 for none.
        novel: classes that are tested on, likewise; the others are base classes.
        seed: of the draw. A class that is added to a data set leaves the order of the others.

    Raises:
        InputError: a share or number makes no sense, or base or novel are left with less than two.
    """
    counts = {}
    for name, wanted in (("validation", validation), ("novel", novel)):
        if wanted < 0 or (wanted >= 1 and wanted != int(wanted)):
            raise InputError(
                f"The {name} classes are {wanted}; give a share below 1, or a number of classes."
            )
        share = max(1, round(wanted * len(classes))) if wanted else 0
        counts[name] = share if wanted < 1 else int(wanted)
    base = len(classes) - counts["validation"] - counts["novel"]
    if base < 2 or counts["novel"] < 2:
        raise InputError(
            f"{counted(len(classes), 'class', 'classes')} with {counts['validation']} for "
            f"validation and {counts['novel']} novel ones leave {max(base, 0)} base classes; an "
            "episode needs two base and two novel ones at least: set --novel-classes and "
            "--validation-classes, which may be 0."
        )
    order = sorted(classes, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    ends = counts["novel"], counts["novel"] + counts["validation"]
    return ClassSplit(
        base=tuple(sorted(order[ends[1] :])),
        validation=tuple(sorted(order[ends[0] : ends[1]])),
        novel=tuple(sorted(order[: ends[0]])),
        source=f"drawn with seed {seed}",
    )


def write_class_split(path: Path, split: ClassSplit) -> None:
    """Write the classes as YAML, which `read_class_split` reads; listed clips are left out."""
    value = {side: list(split.of(side)) for side in SIDES}
    write_text(path, yaml.safe_dump(value, allow_unicode=True, sort_keys=False))


def check_counts(counts: Mapping[str, int], shots: int, queries: int) -> None:
    """Whether every class has the clips that an episode takes of it.

    Args:
        counts: class ─► clips that it has.
        shots: support clips of each class.
        queries: query clips of each class.

    Raises:
        InputError: one has fewer; the message says how many.
    """
    few = {name: count for name, count in counts.items() if count < shots + queries}
    if not few:
        return
    name = min(few, key=few.__getitem__)
    others = counted(len(few) - 1, "other class", "other classes")
    too = f" (and {others} too few as well)" if len(few) > 1 else ""
    raise InputError(
        f"The class {name!r} has {counted(few[name], 'clip')}{too}, too few for "
        f"{asked_for(shots, queries)}; give fewer shots or queries, or leave the class out of the "
        "class split."
    )


def asked_for(shots: int, queries: int) -> str:
    """`5 shots and 1 query`."""
    return f"{counted(shots, 'shot')} and {counted(queries, 'query', 'queries')}"


class _Names:
    """The data set's classes by their letters and digits."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._exact = set(classes)
        self._plain = {plain(name): name for name in reversed(classes)}

    def get(self, name: str) -> str | None:
        if name in self._exact:
            return name
        key = plain(name)
        return self._plain.get(key) or self._plain.get(ALIASES.get(key, ""))

    def find(self, name: str) -> str:
        found = self.get(name)
        assert found is not None, name  # `unknown` was asked before
        return found

    def known(self, split: NamedSplit) -> int:
        return _size(split) - len(self.unknown(split))

    def unknown(self, split: NamedSplit) -> list[str]:
        names = [name for side in split.sides.values() for name in side]
        return [name for name in names if self.get(name) is None]

    def nearest(self, name: str) -> list[str]:
        keys = difflib.get_close_matches(plain(name), list(self._plain), n=3, cutoff=0.5)
        return [self._plain[key] for key in keys]


def _with_nearest(unknown: Sequence[str], names: _Names) -> str:
    shown = []
    for name in unknown[:3]:
        near = names.nearest(name)
        hint = f"nearest: {', '.join(map(repr, near))}" if near else "none is near"
        shown.append(f"{name!r} ({hint})")
    return ", ".join(shown) + (", …" if len(unknown) > 3 else "")


def _checked(split: ClassSplit) -> ClassSplit:
    for one, other in (("base", "validation"), ("base", "novel"), ("validation", "novel")):
        if both := sorted(set(split.of(one)) & set(split.of(other))):
            raise InputError(
                f"{split.source} has {counted(len(both), 'class', 'classes')} on two sides, such "
                f"as {both[0]!r}, which is a {one} and a {other} class; keep it on one."
            )
    for side in ("base", "novel"):
        if (count := len(split.of(side))) < 2:
            raise InputError(
                f"{split.source} has {counted(count, f'{side} class', f'{side} classes')}; an "
                "episode needs two at least."
            )
    return split


def _size(split: NamedSplit) -> int:
    return sum(map(len, split.sides.values()))


def _stem(video: Video) -> str:
    return nfc(strip_suffix(PurePosixPath(video.id).name))
