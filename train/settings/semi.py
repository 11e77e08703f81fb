"""Settings of the semi-supervised setting (Sec. 5.2): few labels, many videos without."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.settings import setting

Setting = Literal["full", "semi-supervised"]


@dataclass(frozen=True)
class SemiSettings:
    """Training on labelled and unlabelled videos; of use with --setting semi-supervised alone.

    Attributes:
        setting: "full" trains on labelled videos alone; "semi-supervised" also gives unlabelled
            ones pseudo-labels, makes them material for pairs, and trains on them.
        pseudo_threshold: the confidence, 0..1, from which a pseudo-label counts.
        pseudo_labels: "hard" takes the class of highest probability alone, "soft" the
            probabilities as they are.
        train_on_pseudo: train on pseudo-labelled clips as they are, too; without it they are
            material for pairs alone.
        rounds: how often pseudo-labels are given: from the second time on by the classifier of the
            round before.
        methods: other ways to learn from unlabelled videos, by name, each trained for the same
            number of steps and compared: pseudo-label, mean-teacher, fixmatch, s4l, actorcut,
            actorcut-id, videossl, tcl; or "all". With --compare all of them if not given; "none"
            for none.
        pretrained_selector: a Selector from before (a folder or Hub id), whose pairs are one more
            arm, without training it further.
        teacher: an image network whose ImageNet probabilities are distilled: efficientnet_lite0
            (extra "pretrained"), a torchvision network by name, or NAME:FILE. None for no
            distillation, but for methods that are nothing without it.
        distillation_weight: weight of the loss against the teacher.
        distillation_temperature: both sides' probabilities are taken at it.
        unlabelled_per_batch: unlabelled clips beside the real clips of each batch; as many as
            batch_size if not given.
        unlabelled_weight: weight of a method's loss on unlabelled clips.
        method_threshold: the confidence from which methods that label while they train use a
            label; pseudo_threshold if not given.
        ema: how slowly the moving average of a network's weights follows, 0..1, for the methods
            that have one.
    """

    GROUP: ClassVar[str] = "semi"

    pseudo_threshold: float = setting(0.95, added=True)
    pseudo_labels: Literal["hard", "soft"] = setting("hard", added=True)
    train_on_pseudo: bool = setting(True, added=True)
    rounds: int = setting(1, added=True)
    methods: tuple[str, ...] | str | None = setting(None, added=True)
    pretrained_selector: str | None = setting(None, added=True)
    teacher: str | None = setting(None, added=True)
    distillation_weight: float = setting(1.0, added=True)
    distillation_temperature: float = setting(1.0, added=True)
    unlabelled_per_batch: int | None = setting(None, added=True)
    unlabelled_weight: float = setting(1.0, added=True)
    method_threshold: float | None = setting(None, added=True)
    ema: float = setting(0.999, added=True)
    setting: Setting = setting("full", added=True)  # last: it hides the function of this name

    def __post_init__(self) -> None:
        for name in ("pseudo_threshold", "method_threshold", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; give a number from 0 to 1.")
        for name in ("distillation_weight", "unlabelled_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more.")
        if not 0 < self.distillation_temperature < math.inf:
            raise InputError(
                f"distillation_temperature is {self.distillation_temperature}; it must be above 0."
            )
        for name in ("rounds", "unlabelled_per_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")

    @property
    def on(self) -> bool:
        """Whether this is the semi-supervised setting."""
        return self.setting == "semi-supervised"

    @property
    def online_threshold(self) -> float:
        """The confidence from which methods that label while they train use a label."""
        return self.pseudo_threshold if self.method_threshold is None else self.method_threshold
