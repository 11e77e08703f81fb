"""Splits of classes for few-shot recognition: base, validation and novel classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from l2a.files import fingerprint

SIDES = ("base", "validation", "novel")
"""The sides of a class split: to train on, to choose by, to test on."""


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

    def side_of(self, label: str) -> str | None:
        """The side of a class; None for a class that the split leaves out."""
        return next((side for side in SIDES if label in self.of(side)), None)

    def fingerprint(self) -> str:
        """Changes when a class changes sides, or when other clips are listed."""
        listed = {label: sorted(names) for label, names in self.clips.items()}
        return fingerprint([self.base, self.validation, self.novel, listed])
