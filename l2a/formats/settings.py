"""The settings that say how a data set is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.settings import setting


@dataclass(frozen=True)
class DataSettings:
    """How a data set is read.

    Attributes:
        format: the layout: hmdb51, ucf101, kinetics, lists, folder, or auto to look at the files.
        split: the number of the official split, where a data set has several (HMDB51, UCF101 and
            lists whose names carry a number); one that is not there is refused.
        annotations: a split file, or the folder that holds them, when it is not found by itself.
        group_pattern: regular expression with one group, searched in each video's id (its path
            relative to the data set's folder); videos that give the same text belong together.
            Without it, groups follow the naming of the data set.
        val_share: share of the train videos of each class that is set aside for validation when
            the data set has no validation split of its own; between 0 and 1.
        labelled: a list of the training videos whose class may be known, one a line; the others
            become unlabelled. Lines are a path with or without suffix, or lines of VideoSSL,
            MMAction2 or PyTorchVideo: classes are those of the data set, whatever numbers say.
        labelled_share: instead of a list, the share of the training videos that stay labelled,
            0..1, drawn by group; every class keeps one.
        labelled_seed: another seed, another draw of --labelled-share.
        unlabelled: a folder of videos without class, inside the data set's folder or elsewhere.
        unlabelled_set: whether methods that learn from unlabelled videos learn from labelled ones
            in the same way too ("all", as public code does), or from the rest alone ("rest").
        missing_classes: "refuse" a list of labelled videos that leaves a class without one, or
            "allow" it.
    """

    GROUP: ClassVar[str] = "data"

    format: str = "auto"
    split: str = "1"
    annotations: Path | None = None
    group_pattern: str | None = None
    val_share: float = 0.2
    labelled: Path | None = setting(None, added=True)
    labelled_share: float | None = setting(None, added=True)
    labelled_seed: int = setting(0, added=True)
    unlabelled: Path | None = setting(None, added=True)
    unlabelled_set: Literal["all", "rest"] = setting("all", added=True)
    missing_classes: Literal["refuse", "allow"] = setting("refuse", added=True)

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise InputError(
                f"The validation share is {self.val_share}; choose one between 0 and 1."
            )
        if self.labelled_share is not None:
            if not 0 < self.labelled_share <= 1:
                raise InputError(
                    f"The labelled share is {self.labelled_share}; choose one above 0, and at most "
                    "1."
                )
            if self.labelled is not None:
                raise InputError(
                    f"Which videos are labelled is said by the list {self.labelled} and by the "
                    f"share {self.labelled_share}; give one of --labelled and --labelled-share."
                )
        if self.group_pattern is not None:
            self._check_pattern(self.group_pattern)

    @staticmethod
    def _check_pattern(pattern: str) -> None:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise InputError(
                f"The group pattern {pattern!r} is not a regular expression: {error}."
            ) from None
        if groups != 1:
            raise InputError(
                f"The group pattern {pattern!r} has {groups} groups in parentheses; write one,"
                " around the part of the id that names the recording."
            )

    @property
    def split_number(self) -> int:
        """`split` as a number, or `InputError`."""
        if not (self.split.isascii() and self.split.isdigit()):
            raise InputError(f"The split {self.split!r} is not a number; official splits are 1-3.")
        return int(self.split)
