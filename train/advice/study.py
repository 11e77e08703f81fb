"""Arms compared on frozen features: which clips a head is fitted to is all that they differ in.

An arm is a pool of pairs, a label rule and a way to choose. Its head is the optimum of a convex
problem (`train.frozen.head`), so that no seed but the draw of pairs is left, and several draws
cost seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.settings import LabelRule
from train.frozen.features import FeatureBank
from train.frozen.head import HeadProblem, LinearHead, Strength, fit_heads, walk_l2
from train.prepared import PreparedData

Rows = NDArray[np.int64]


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
        l2: the strength that was chosen.
        heads: one for each draw of pairs.
    """

    l2: float
    heads: tuple[LinearHead, ...]


class Study:
    """Heads on one division of the clips of a data set."""

    def __init__(
        self, prepared: PreparedData, bank: FeatureBank, sides: Sides, *, near: float, tried: int
    ) -> None:
        """
        Args:
            prepared, bank: the data set and the features of its clips.
            sides: what is fitted to; heads are measured by who asks for them.
            near: where the search for a strength begins, which then goes downhill (`walk_l2`).
            tried: draws on which an arm's strength is chosen; the others are fitted with it.
        """
        self._near, self._tried = near, tried
        self._source, self._bank = prepared.source, bank
        views = bank.real(sides.fit)
        self._real = views.flatten(0, 1)
        self._labels = self._one_hot(sides.fit).repeat_interleave(views.shape[1], dim=0)
        self._tune = bank.centre(sides.tune), self._one_hot(sides.tune)

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
        tried, left = problems[: self._tried], problems[self._tried :]
        strength = self.choose(tried)
        heads = fit_heads(left, strength.l2, [strength.heads[0]] * len(left))
        return Fitted(strength.l2, (*strength.heads, *heads))

    def choose(self, problems: Sequence[HeadProblem]) -> Strength:
        """The strength with the lowest loss on the clips to tune on."""
        return walk_l2(problems, *self._tune, self._near)

    def _one_hot(self, rows: Rows) -> Tensor:
        return self._source.one_hot(rows).double()
