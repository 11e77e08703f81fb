"""Arms compared on frozen features: which clips a head is fitted to is all that they differ in.

An arm is a pool of pairs, a label rule and a way to choose. Its head is the optimum of a convex
problem (`train.frozen.head`), so that no seed but the draw of pairs is left, and several draws
cost seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.settings import LabelRule
from train.advice.scores import Score
from train.frozen.features import FeatureBank
from train.frozen.head import STRENGTHS, HeadProblem, LinearHead, choose_l2, cross_entropy
from train.prepared import PreparedData

Rows = NDArray[np.int64]
Scenes = Callable[[Callable[[Tensor], Tensor]], Mapping[str, float]]
"""Features ─► logits given, the accuracy in each form of the scene test."""

_TRIED = 3
"""Draws on which an arm's strength is chosen; the others are fitted with it."""


@dataclass(frozen=True)
class Sides:
    """Which clips a head is fitted to, and which it is measured on.

    Attributes:
        fit: bank rows of real training clips, which also give the pairs.
        tune: on which the strength of the penalty is chosen.
        measure: on which the head is measured. No recording stands on two of these sides.
    """

    fit: Rows
    tune: Rows
    measure: Rows


@dataclass(frozen=True)
class Fitted:
    """What became of an arm on one division of the clips.

    Attributes:
        scores: one for each draw of pairs.
        l2: the strength that was chosen.
        heads: theirs.
    """

    scores: tuple[Score, ...]
    l2: float
    heads: tuple[LinearHead, ...]


class Study:
    """Heads on one division of the clips of a data set."""

    def __init__(
        self,
        prepared: PreparedData,
        bank: FeatureBank,
        sides: Sides,
        scenes: Scenes | None = None,
        near: float | None = None,
    ) -> None:
        """
        Args:
            prepared, bank: the data set and the features of its clips.
            sides: what is fitted to, and what is measured on.
            scenes: measures a head in the scene test.
            near: where the search for a strength begins, which then goes downhill from there
                (`walk_l2`); without it all strengths are tried.
        """
        self._near = near
        self._source, self._bank, self._scenes = prepared.source, bank, scenes
        views = bank.real(sides.fit)
        self._real = views.flatten(0, 1)
        self._labels = self._one_hot(sides.fit).repeat_interleave(views.shape[1], dim=0)
        self._tune = bank.centre(sides.tune), self._one_hot(sides.tune)
        self._measure = bank.centre(sides.measure)
        self._truth = torch.from_numpy(self._source.labels[sides.measure])

    def real_alone(self) -> Fitted:
        """The head that has seen no composite."""
        return self._fitted([HeadProblem(self._real, self._labels)])

    def with_pairs(self, draws: Sequence[Rows], rule: LabelRule) -> Fitted:
        """Heads that have seen real clips and composites, which weigh the same in all.

        Args:
            draws: bank rows of the pairs of each draw, int64 `[m, 2]`.
            rule: the label rule.
        """
        return self._fitted([self._problem(pairs, rule) for pairs in draws])

    def _problem(self, pairs: Rows, rule: LabelRule) -> HeadProblem:
        made = self._bank.composites(pairs)
        labels = self._bank.composite_labels(
            pairs, made, replace(self._source.settings, label_rule=rule)
        )
        features, labels = made.features.flatten(0, 1), labels.flatten(0, 1)
        weights = torch.cat([
            torch.full((len(self._real),), 1 / len(self._real)),
            torch.full((len(features),), 1 / len(features)),
        ])  # fmt: skip
        return HeadProblem(
            torch.cat([self._real, features]), torch.cat([self._labels, labels]), weights
        )

    def _fitted(self, problems: Sequence[HeadProblem]) -> Fitted:
        if self._near is None:
            strength = choose_l2(problems[:_TRIED], *self._tune)
            l2, heads = strength.l2, list(strength.heads)
        else:
            l2, first = walk_l2(problems[0], *self._tune, self._near)
            heads = [first]
        for problem in problems[len(heads) :]:
            heads.append(problem.fit(l2, heads[0]))
        return Fitted(tuple(map(self._score, heads)), l2, tuple(heads))

    def _score(self, head: LinearHead) -> Score:
        logits = head.logits(self._measure)
        loss = torch.nn.functional.cross_entropy(logits, self._truth)
        top1 = (logits.argmax(dim=1) == self._truth).double().mean()
        scenes = self._scenes(head.logits) if self._scenes else {}
        return Score(float(top1), float(loss), scenes)

    def _one_hot(self, rows: Rows) -> Tensor:
        return self._source.one_hot(rows).double()


def walk_l2(
    problem: HeadProblem, features: Tensor, labels: Tensor, start: float
) -> tuple[float, LinearHead]:
    """The strength from which the loss on validation clips rises to both sides, and its head.

    The loss has one valley for all that we have seen, and weak strengths take the most time: from
    a good start three are tried and not ten.

    Args:
        problem: what is fitted.
        features, labels: of the validation clips, `[m, D]` and `[m, C]`.
        start: one of `STRENGTHS`, or the nearest of them is taken.
    """
    shares = torch.full((len(features),), 1 / len(features), dtype=torch.float64)
    tried: dict[int, tuple[float, LinearHead]] = {}

    def loss(place: int, near: LinearHead | None = None) -> float:
        if place not in tried:
            head = problem.fit(STRENGTHS[place], near)
            found = cross_entropy(head.logits(features), labels.double(), shares)[0]
            tried[place] = float(found), head
        return tried[place][0]

    place = min(range(len(STRENGTHS)), key=lambda one: abs(math.log(STRENGTHS[one] / start)))
    best = loss(place)
    for step in (-1, 1):
        while 0 <= place + step < len(STRENGTHS):
            if loss(place + step, tried[place][1]) >= best:
                break
            place += step
            best = tried[place][0]
    return STRENGTHS[place], tried[place][1]
