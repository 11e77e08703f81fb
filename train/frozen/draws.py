"""Draws of pairs: what an arm on frozen features is repeated with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from train.choosing import PairChooser
from train.mix import NO_PAIRS
from train.trained_selector import SelectorWithTrunk


@dataclass(frozen=True)
class ArmPairs:
    """The pairs of a run's arms.

    Attributes:
        first: `ArmPlan.pairs` ─► the pairs that the run's files hold, int64 `[m, 2]`.
        chooser: draws others under the same budget and caps; None where nothing is composited.
        trained: for each kind that a Selector chooses, what gives it.
        dropped: gives the bank rows of videos that no pair of the Selector may use, int64.
    """

    first: Mapping[str, NDArray[np.int64]]
    chooser: PairChooser | None = None
    trained: Mapping[str, Callable[[], SelectorWithTrunk]] = field(default_factory=dict)
    dropped: Callable[[], NDArray[np.int64]] = lambda: np.empty(0, np.int64)

    def draws(self, kind: str, count: int) -> Sequence[NDArray[np.int64]]:
        """`count` draws of pairs; one where nothing is drawn: no pairs, or the very best ones."""
        if kind == "none" or self.chooser is None:
            return (NO_PAIRS,)
        if kind == "random":
            return self.chooser.draws(count)
        if kind not in self.trained:
            raise ValueError("There is no Selector to choose by.")
        trained = self.trained[kind]()
        if not self.chooser.sharpness(trained).share:
            return (self.first[kind],)
        return self.chooser.without(self.dropped()).draws(count, trained)
