"""Arms compared on frozen features: which clips a head is fitted to is all that they differ in.

An arm is a pool of pairs, a label rule and a way to choose. Its head is the optimum of a convex
problem (`train.frozen.head`), so that no seed but the draw of pairs is left, and several draws
cost seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.settings import LabelRule
from train.advice.scores import Score
from train.frozen.features import FeatureBank
from train.frozen.head import HeadProblem, LinearHead, choose_l2, fit_heads, walk_l2
from train.prepared import PreparedData

Rows = NDArray[np.int64]
Scenes = Callable[[Callable[[Tensor], Tensor]], Mapping[str, float]]
"""Features ─► logits given, the accuracy in each form of the scene test."""


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
        tried: int = 3,
    ) -> None:
        """
        Args:
            prepared, bank: the data set and the features of its clips.
            sides: what is fitted to, and what is measured on.
            scenes: measures a head in the scene test.
            near: where the search for a strength begins, which then goes downhill from there
                (`walk_l2`); without it all strengths are tried.
            tried: draws on which an arm's strength is chosen; the others are fitted with it.
        """
        self._near, self._tried = near, tried
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
        tried, tune = problems[: self._tried], self._tune
        if self._near is None:
            strength = choose_l2(tried, *tune)
        else:
            strength = walk_l2(tried, *tune, self._near)
        left = problems[len(tried) :]
        starts = [strength.heads[0]] * len(left)
        heads = (*strength.heads, *fit_heads(left, strength.l2, starts))
        return Fitted(tuple(map(self._score, heads)), strength.l2, heads)

    def _score(self, head: LinearHead) -> Score:
        logits = head.logits(self._measure)
        loss = torch.nn.functional.cross_entropy(logits, self._truth)
        top1 = (logits.argmax(dim=1) == self._truth).double().mean()
        scenes = self._scenes(head.logits) if self._scenes else {}
        return Score(float(top1), float(loss), scenes)

    def _one_hot(self, rows: Rows) -> Tensor:
        return self._source.one_hot(rows).double()
