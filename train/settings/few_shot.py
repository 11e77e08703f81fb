"""Settings of the few-shot setting (Sec. 5.2, 5.5): episodes of classes that are new to all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.settings import setting

Verb = Literal["train", "evaluate"]
Backgrounds = Literal["base", "support"]
Choice = Literal["none", "random", "selector"]

MOST_CANDIDATES = 64


@dataclass(frozen=True)
class FewShotVerb:
    """What is done.

    Attributes:
        verb: "train" learns from episodes of the base classes, "evaluate" measures on episodes of
            the novel ones.
    """

    GROUP: ClassVar[str] = "few_shot"

    verb: Verb


@dataclass(frozen=True)
class OfData:
    """What to work on.

    Attributes:
        data: the data set's folder; for evaluate also the folder of a run of `l2a few-shot train`,
            whose settings then hold unless given.
    """

    GROUP: ClassVar[str] = "data"

    data: Path


@dataclass(frozen=True)
class OutFewShot:
    """Where the results go.

    Attributes:
        out: the run's folder; an interrupted run resumes in its own. RUN/evaluation if not given,
            where a run is evaluated.
    """

    GROUP: ClassVar[str] = "run"

    out: Path | None = None


@dataclass(frozen=True)
class GivenSelector:
    """A Selector that was trained before.

    Attributes:
        selector: its folder, or USER/NAME[@REVISION] on the Hugging Face Hub; one is trained on the
            base classes if not given.
    """

    GROUP: ClassVar[str] = "selector"

    selector: str | None = None

    def __post_init__(self) -> None:
        if self.selector == "":
            raise InputError("--selector is empty; give a Selector's folder, or leave it out.")


@dataclass(frozen=True)
class FewShotSettings:
    """Episodes: how classes are split, what is drawn, and what learns from it.

    Attributes:
        method: "prototype" (C3D-PN), "arn" or "trx"; docs/few-shot-methods.md says what each
            computes.
        way: classes of an episode.
        shots: n, real clips of a class that a method is shown; evaluation takes each of several,
            such as 1 2 3 4 5, training the largest.
        queries: clips of a class that it is asked about.
        episodes: episodes that each number of shots is measured on.
        class_split: a file or folder that says which classes are base, validation and novel; drawn
            at random by --seed if not given.
        validation_classes: without a class split, how many classes are for validation: a share
            below 1, or a number; 0 for none.
        novel_classes: without a class split, how many are novel, likewise; the others are base.
        group_disjoint: no recording on both sides of an episode. Off as in the papers, although
            clips of one recording then tell each other's class.
        episode_file: a file of episodes to evaluate on; it is written where it is not there.
        composites: what is added to the support: "none", "random" or "selector".
        composites_per_class: k, composites of each class; as many as there are shots if not given.
        backgrounds: where composites take their scenes: from clips of "base" classes, or from the
            other clips of the "support" of the same episode.
        candidates: scenes of base clips that are tried for each support clip, drawn once; features
            are computed once for each.
        compare: evaluate without composites, with random and with selected ones, on the same
            episodes, and say how they differ.
        interval: the formula of the 95 % interval: "normal" is 1.96 σ / √n over episodes, as in
            TRX; "student-t" as in ARN.
        train_episodes: episodes that a method learns from.
        train_queries: clips of a class that it is asked about in training; the method's own number
            if not given.
        episodes_per_step: episodes in one step of gradient descent; the method's own number if not
            given.
        episode_lr: learning rate at the start; it falls to 0 along a cosine. The method's own if
            not given, as is its optimiser.
        validate_every: training episodes between two measurements on the validation classes; one
            more follows the last episode, and what did best is kept. 0 keeps what training ends
            with.
        validation_episodes: episodes of the validation classes, the same each time.
        chunk: episodes that are measured at once; an interrupted evaluation loses at most so many.
    """

    GROUP: ClassVar[str] = "few_shot"

    method: str = "prototype"
    way: int = 5
    shots: tuple[int, ...] = (1, 2, 3, 4, 5)
    queries: int = 1
    episodes: int = 10_000
    class_split: Path | None = None
    validation_classes: float = 0.1
    novel_classes: float = 0.3
    group_disjoint: bool = False
    episode_file: Path | None = None
    composites: Choice = "none"
    composites_per_class: int | None = None
    backgrounds: Backgrounds = "base"
    candidates: int = 8
    compare: bool = False
    interval: Literal["normal", "student-t"] = "normal"
    train_episodes: int = 2_000
    train_queries: int | None = None
    episodes_per_step: int | None = None
    episode_lr: float | None = None
    validate_every: int = 400
    validation_episodes: int = 600
    chunk: int = setting(4_000, speed_only=True)

    def __post_init__(self) -> None:
        for name in (
            "queries", "episodes", "train_episodes", "train_queries", "episodes_per_step",
            "validation_episodes", "chunk", "composites_per_class",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
        if self.way < 2:
            raise InputError(f"way is {self.way}; give 2 or more classes.")
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
            shown = " ".join(map(str, self.shots))
            raise InputError(
                f"shots is {shown!r}; give whole numbers from 1, each once, such as --shots 1 5."
            )
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise InputError(f"candidates is {self.candidates}; give 1 to {MOST_CANDIDATES}.")
        if self.episode_lr is not None and not 0 < self.episode_lr < math.inf:
            raise InputError(f"episode_lr is {self.episode_lr}; it must be above 0.")
        if self.validate_every < 0:
            raise InputError(f"validate_every is {self.validate_every}; give 0 (never) or more.")

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What is added to the support, in the order of the table."""
        return ("none", "random", "selector") if self.compare else (self.composites,)
