"""What a person can set about the Selector: its network, its training, and the choice of pairs.

Field names are unique across these classes, because the command line shows them side by side.
Nothing heavy is imported here: reading `--help` must not load PyTorch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from l2a.errors import InputError

RewardName = Literal["credit", "moving-average"]
LabelMode = Literal["embedding", "one-hot"]


@dataclass(frozen=True)
class SelectorSettings:
    """The Selector's network (Learn2Augment, Sec. 3.1).

    Attributes:
        labels: how a class enters the network. "embedding", the vector of its name, carries over
            to classes that were never seen; "one-hot" fits only the classes it was trained with.
        hidden: sizes of the hidden layers. The paper's are 2048, 1024 and 512.
        label_scale: norm that label vectors are brought to. At 1 the hundreds of standardised
            features drown them; 3 is what a study on real clips found to work.
    """

    labels: LabelMode = "embedding"
    hidden: tuple[int, ...] = (2048, 1024, 512)
    label_scale: float = 3.0

    def __post_init__(self) -> None:
        _refuse(
            (self.labels not in ("embedding", "one-hot"), "labels", self.labels,
             "choose embedding or one-hot"),
            (not self.hidden or min(self.hidden) < 1, "hidden", self.hidden,
             "give at least one size, each 1 or more"),
            (not _positive(self.label_scale), "label_scale", self.label_scale,
             "give a number above 0"),
        )  # fmt: skip


@dataclass(frozen=True)
class ReinforceSettings:
    """How the Selector is trained (Learn2Augment, Sec. 4.1; DVRL for the exploration penalty).

    Attributes:
        reward: "credit" rewards each pair by how far a step on it alone would lower the
            validation loss, which is what learns in hundreds of steps; "moving-average" is the
            paper's: one number for the whole subset, its loss against the moving average δ.
        selector_steps: steps of training, each with one batch of pairs.
        selector_batch: pairs in a batch. 64-128 is what a study on real clips found to work.
        selector_lr: Adam's learning rate.
        baseline_window: S of Eq. 6, over how many steps δ averages.
        explore_low: mean ω of a batch below which exploration is enforced.
        explore_high: mean ω of a batch above which exploration is enforced.
        explore_weight: weight of that penalty; 0 leaves it out.
        restart_every: steps after which the classifier is put back to its start, so that bad
            pairs show again what they do to a fresh one; 0 never puts it back.
        checkpoint_every: steps between two saved states that an interrupted training goes on from.
    """

    reward: RewardName = "credit"
    selector_steps: int = 500
    selector_batch: int = 64
    selector_lr: float = 1e-4
    baseline_window: int = 5
    explore_low: float = 0.1
    explore_high: float = 0.9
    explore_weight: float = 1e3
    restart_every: int = 50
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        ordered = 0 <= self.explore_low < self.explore_high <= 1
        window = f"{self.explore_low} to {self.explore_high}"
        _refuse(
            (self.reward not in ("credit", "moving-average"), "reward", self.reward,
             "choose credit or moving-average"),
            (self.selector_steps < 1, "selector_steps", self.selector_steps, "give 1 or more"),
            (self.selector_batch < 2, "selector_batch", self.selector_batch, "give 2 or more"),
            (not _positive(self.selector_lr), "selector_lr", self.selector_lr,
             "give a number above 0"),
            (self.baseline_window < 1, "baseline_window", self.baseline_window, "give 1 or more"),
            (not ordered, "explore_low to explore_high", window,
             "give two numbers in 0..1, the lower one first"),
            (not 0 <= self.explore_weight < math.inf, "explore_weight", self.explore_weight,
             "give 0 or more"),
            (self.restart_every < 0, "restart_every", self.restart_every,
             "give 0 (never) or more"),
            (self.checkpoint_every < 1, "checkpoint_every", self.checkpoint_every,
             "give 1 or more"),
        )  # fmt: skip


@dataclass(frozen=True)
class RankSettings:
    """How unevenly the budget may fall on videos and classes.

    Choosing the best pairs blindly collapses: on real clips a tenth of the foregrounds and a
    twentieth of the backgrounds took the whole budget, often all of one class. Each cap is a
    multiple of the even share (the budget divided by the number of videos or matches); 0 is none.

    Attributes:
        foreground_cap: how many even shares one foreground video may take.
        background_cap: how many even shares one background video may take.
        class_cap: how many even shares one match of a foreground class with a background class may
            take. Where one scene goes with one action only, the scene gives the action away.
    """

    foreground_cap: float = 2.0
    background_cap: float = 2.0
    class_cap: float = 1.5

    def __post_init__(self) -> None:
        remedy = "give 0 (no cap), or 1 (an even share) or more"
        caps = ("foreground_cap", "background_cap", "class_cap")
        values = {name: getattr(self, name) for name in caps}
        _refuse(
            *((v != 0 and not 1 <= v < math.inf, name, v, remedy) for name, v in values.items())
        )


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _refuse(*checks: tuple[bool, str, object, str]) -> None:
    """Raise one `InputError` for all fields that are wrong: (is it wrong, name, value, remedy)."""
    wrong = [f"{name} is {value!r}: {remedy}" for bad, name, value, remedy in checks if bad]
    if wrong:
        raise InputError("; ".join(wrong) + ".")
