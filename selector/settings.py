"""What a person can set about the Selector: its network, its training, and the choice of pairs.

Field names are unique across these classes, because the command line shows them side by side.
Nothing heavy is imported here: reading `--help` must not load PyTorch.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.settings import setting

RewardName = Literal["credit", "counterfactual", "moving-average"]
LabelMode = Literal["embedding", "one-hot"]
Balance = Literal["none", "equal", "data"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SelectorSettings:
    """The Selector's network (Learn2Augment, Sec. 3.1).

    Attributes:
        labels: how a class enters the network. "embedding", the vector of its name, carries over
            to classes that were never seen; "one-hot" fits only the classes it was trained with.
        hidden: sizes of the hidden layers. The paper's are 2048, 1024 and 512.
        label_scale: norm that label vectors are brought to. At 1 the hundreds of standardised
            features drown them; 3 is what a study on real clips found to work.
        agreement_scale: weight among the inputs of how far videos that look alike carry the same
            label; 0 leaves it out, as in the paper.
        dropout: share of features and label vectors that each step of training hides, so that the
            Selector learns what holds for other videos too, and does not memorise each video.
    """

    GROUP: ClassVar[str] = "selector"

    labels: LabelMode = "embedding"
    hidden: tuple[int, ...] = (2048, 1024, 512)
    label_scale: float = 3.0
    agreement_scale: float = 16.0
    dropout: float = 0.8

    def __post_init__(self) -> None:
        _refuse(
            (self.labels not in ("embedding", "one-hot"), "labels", self.labels,
             "choose embedding or one-hot"),
            (not self.hidden or min(self.hidden) < 1, "hidden", self.hidden,
             "give at least one size, each 1 or more"),
            (not _positive(self.label_scale), "label_scale", self.label_scale,
             "give a number above 0"),
            (not 0 <= self.agreement_scale < math.inf, "agreement_scale", self.agreement_scale,
             "give 0 (not used) or more"),
            (not 0 <= self.dropout < 1, "dropout", self.dropout, "give 0 or more, and below 1"),
        )  # fmt: skip


@dataclass(frozen=True)
class ReinforceSettings:
    """How the Selector is trained (Learn2Augment, Sec. 4.1; DVRL for the exploration penalty).

    Attributes:
        reward: "credit" rewards each pair by how far a step on it alone would lower the
            validation loss; "counterfactual" a subset by how far its step lowered the loss;
            "moving-average" is the paper's: the loss of a subset against the moving average δ.
        selector_steps: the most steps of training, each with one batch of pairs.
        selector_batch: pairs in a batch. 64-128 is what a study on real clips found to work.
        selector_lr: Adam's learning rate.
        baseline_window: S of Eq. 6, over how many steps δ averages.
        within_class: with the reward credit, compare a pair with the pairs of its foreground class
            in the batch, and not with all of them: which classes are worth more is decided by caps
            and --balance.
        trajectories: with the reward counterfactual, subsets tried in a step, each compared with
            the mean of the others.
        roll_back: with the reward counterfactual, put the classifier back after every step.
        entropy: weight of the entropy of π, which keeps ω from saturating before the ranking is
            found; 0 leaves it out, as in the paper.
        explore_low: mean ω of a batch below which exploration is enforced.
        explore_high: mean ω of a batch above which exploration is enforced.
        explore_weight: weight of that penalty; 0 leaves it out.
        restart_every: steps after which the classifier is put back to its start, so that bad
            pairs show again what they do to a fresh one; 0 never puts it back.
        checkpoint_every: steps between two checkpoints: looks at ω's ranking, and saved states that
            an interrupted training resumes from.
        settle: stop when ω's ranking has kept this rank correlation from checkpoint to checkpoint,
            three times in a row; 1 never stops early.
    """

    GROUP: ClassVar[str] = "reinforce"

    reward: RewardName = "credit"
    selector_steps: int = 75
    selector_batch: int = 128
    selector_lr: float = 1e-5
    baseline_window: int = 5
    within_class: bool = True
    trajectories: int = 1
    roll_back: bool = False
    entropy: float = 0.1
    explore_low: float = 0.1
    explore_high: float = 0.9
    explore_weight: float = 1e3
    restart_every: int = 10
    checkpoint_every: int = 25
    settle: float = 0.98

    def __post_init__(self) -> None:
        ordered = 0 <= self.explore_low < self.explore_high <= 1
        window = f"{self.explore_low} to {self.explore_high}"
        known = typing.get_args(RewardName)
        several = self.trajectories > 1 and self.reward != "counterfactual"
        _refuse(
            (self.reward not in known, "reward", self.reward, f"choose {', '.join(known)}"),
            (self.selector_steps < 1, "selector_steps", self.selector_steps, "give 1 or more"),
            (self.selector_batch < 2, "selector_batch", self.selector_batch, "give 2 or more"),
            (not _positive(self.selector_lr), "selector_lr", self.selector_lr,
             "give a number above 0"),
            (self.baseline_window < 1, "baseline_window", self.baseline_window, "give 1 or more"),
            (self.trajectories < 1, "trajectories", self.trajectories, "give 1 or more"),
            (several, "trajectories", self.trajectories,
             f"only the reward counterfactual tries several subsets in a step, not {self.reward}"),
            (self.roll_back and self.reward != "counterfactual", "roll_back", True,
             f"only the reward counterfactual puts the classifier back, not {self.reward}"),
            (not 0 <= self.entropy < math.inf, "entropy", self.entropy, "give 0 or more"),
            (not ordered, "explore_low to explore_high", window,
             "give two numbers in 0..1, the lower one first"),
            (not 0 <= self.explore_weight < math.inf, "explore_weight", self.explore_weight,
             "give 0 or more"),
            (self.restart_every < 0, "restart_every", self.restart_every,
             "give 0 (never) or more"),
            (self.checkpoint_every < 1, "checkpoint_every", self.checkpoint_every,
             "give 1 or more"),
            (not 0 < self.settle <= 1, "settle", self.settle,
             "give a rank correlation above 0, or 1 to never stop early"),
        )  # fmt: skip


@dataclass(frozen=True)
class RankSettings:
    """How unevenly the budget may fall on videos and classes, and how exactly pairs are scored.

    Choosing the best pairs blindly collapses: on real clips a tenth of the foregrounds and a
    twentieth of the backgrounds took the whole budget, often all of one class. Each cap is a
    multiple of the even share (the budget divided by the number of videos, classes or matches), but
    for that of recordings; 0 is none.

    The caps alone prevent the collapse: with every foreground class held to one and a half even
    shares, at least two thirds of the classes have pairs, as far as whole pairs allow and no cap
    has to be doubled. Which of them deserve more is left to the Selector, as in the paper, unless
    `balance` is set.

    Attributes:
        foreground_cap: how many even shares one foreground video may take.
        background_cap: how many even shares one background video may take.
        class_cap: how many even shares one foreground class may take, and one match of it with a
            background class. Where one scene goes with one action only, the scene gives the action
            away.
        recording_cap: how many pairs of one recording as foreground and another as background there
            may be, as a plain number. Clips cut from one recording look alike, and two of one on
            two of another are one composite four times.
        balance: what each foreground class gets: none (whatever the ranking and the caps give it),
            equal (the same number of pairs for each), or data (in proportion to its real training
            videos). What a class has no pairs for goes to the others.
        sharpness: what is picked of each foreground class's pairs: "best", those with the highest
            scores; "half", drawn at random from the better half; "random", from all of them; or a
            number q above 0, at most 1, drawn from the best share q. Caps and balance hold in any
            case. A choice is worth being only as sharp as the reward behind it is reliable: "auto"
            takes that from the Selector (best from a reliability of 0.2 on, half from 0.1, else
            random; random, too, where validation held fewer than 8 recordings or a probe found the
            ranking upside down, half for rewards of subsets, best where it was not measured).
        scoring: float32, or bfloat16, which is about twice as fast, more on a GPU, and swaps pairs
            whose scores are near each other.
    """

    GROUP: ClassVar[str] = "rank"

    foreground_cap: float = 2.0
    background_cap: float = 2.0
    class_cap: float = 1.5
    recording_cap: int = 1
    balance: Balance = "none"
    scoring: Precision = "float32"
    sharpness: str = setting("auto", added=True)

    def __post_init__(self) -> None:
        remedy = "give 0 (no cap), or 1 (an even share) or more"
        caps = ("foreground_cap", "background_cap", "class_cap")
        values = {name: getattr(self, name) for name in caps}
        _refuse(
            *((v != 0 and not 1 <= v < math.inf, name, v, remedy) for name, v in values.items()),
            (self.recording_cap < 0, "recording_cap", self.recording_cap,
             "give 0 (no cap), or 1 or more"),
            (self.balance not in ("none", "equal", "data"), "balance", self.balance,
             "choose none, equal or data"),
            (self.scoring not in ("float32", "bfloat16"), "scoring", self.scoring,
             "choose float32 or bfloat16"),
            (not _is_sharpness(self.sharpness), "sharpness", self.sharpness,
             "choose auto, best, half, random, or a number above 0 and at most 1"),
        )  # fmt: skip


SHARES: Mapping[str, float] = {"best": 0.0, "half": 0.5, "random": 1.0}
"""The share of each foreground class's pairs that a word for a sharpness keeps; 0: the best."""


def sharpness_share(sharpness: str) -> float:
    """The share that a sharpness stands for, 0 (the best alone) to 1; not of "auto".

    Raises:
        ValueError: it is neither a word for one nor a number.
    """
    return SHARES[sharpness] if sharpness in SHARES else float(sharpness)


def _is_sharpness(text: str) -> bool:
    if text == "auto" or text in SHARES:
        return True
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _refuse(*checks: tuple[bool, str, object, str]) -> None:
    """Raise one `InputError` for all fields that are wrong: (is it wrong, name, value, remedy)."""
    wrong = [f"{name} is {value!r}: {remedy}" for bad, name, value, remedy in checks if bad]
    if wrong:
        raise InputError("; ".join(wrong) + ".")
