"""Heads of a study, each with its scores on test clips, and means and differences of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.advice.study import Fitted, Sides, Study
from train.estimates import Estimate
from train.frozen.features import FeatureBank
from train.frozen.head import HeadProblem, LinearHead, Strength, choose_l2
from train.prepared import PreparedData

Scenes = Callable[[Callable[[Tensor], Tensor]], Mapping[str, float]]
"""Features ─► logits given, the accuracy in each form of the scene test."""


@dataclass(frozen=True)
class Score:
    """One head on held-out clips.

    Attributes:
        top1: accuracy, 0..1.
        loss: mean cross-entropy, in nats.
        scenes: form of the scene test ─► accuracy, 0..1; empty where it was not made.
    """

    top1: float
    loss: float
    scenes: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """All of them by name."""
        return {"top1": self.top1, "loss": self.loss, **self.scenes}


class MeasuredStudy(Study):
    """A study whose heads are measured on the third side, and whose strengths are tried on three
    draws: downhill from `near`, or without it all of them."""

    def __init__(
        self, prepared: PreparedData, bank: FeatureBank, sides: Sides,
        scenes: Scenes | None = None, near: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(prepared, bank, sides, near=near or 1.0, tried=3)
        self._everywhere, self._scenes = near is None, scenes
        self._measure = bank.centre(sides.measure)
        self._truth = torch.from_numpy(prepared.source.labels[sides.measure])

    def choose(self, problems: Sequence[HeadProblem]) -> Strength:
        """See `Study`."""
        return choose_l2(problems, *self._tune) if self._everywhere else super().choose(problems)

    def scores(self, fitted: Fitted) -> list[Score]:
        """One for each draw of pairs."""
        return [self._score(head) for head in fitted.heads]

    def _score(self, head: LinearHead) -> Score:
        logits = head.logits(self._measure)
        loss = torch.nn.functional.cross_entropy(logits, self._truth)
        top1 = (logits.argmax(dim=1) == self._truth).double().mean()
        scenes = self._scenes(head.logits) if self._scenes else {}
        return Score(float(top1), float(loss), scenes)


def mean_score(draws: Sequence[Score]) -> dict[str, float]:
    """Mean figures over draws of pairs."""
    names = draws[0].figures()
    return {name: statistics.fmean(draw.figures()[name] for draw in draws) for name in names}


def independent(values: Sequence[float]) -> Estimate:
    """The mean of independent values, and its standard error."""
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    freedom = max(1, len(values) - 1)
    return Estimate(statistics.fmean(values), spread / math.sqrt(len(values)), len(values), freedom)


def differences(
    arm: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]
) -> dict[str, Estimate]:
    """Paired differences of an arm to another, over folds or splits.

    Args:
        arm, base: the figures on each fold, in the same order.
    """
    pairs = list(zip(arm, base, strict=True))
    names = [name for name in arm[0] if all(name in one and name in other for one, other in pairs)]
    return {name: independent([one[name] - other[name] for one, other in pairs]) for name in names}
