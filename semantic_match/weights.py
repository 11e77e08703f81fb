"""Specifications that say besides which classes meet how often: shares of the budget for matches.

A specification such as `1` or `all` leaves it to caps and ranking how many pairs each match of
classes gets. `weighted:TEMPERATURE` and `independent` decide it: of what a foreground class gets,
each background class has its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError

WHOLE = 1_000_000
"""What the shares of one foreground class add up to, about, where they are no numbers of videos."""


@runtime_checkable
class Weighing(Protocol):
    """A part of a specification that also says how often classes meet."""

    def weigh(
        self, similarity: NDArray[np.float64], backgrounds: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How a foreground class's pairs (row) are split among background classes (column).

        Args:
            similarity: [C, C], cosines in -1..1.
            backgrounds: [C], how many videos of each class can lend their backgrounds.

        Returns:
            int64 [C, C], 0 or more: only ratios within a row mean anything.
        """


@dataclass(frozen=True)
class Weighted:
    """Each class with every other, nearer ones more often.

    The share of background class b among the pairs of foreground class f is softmax over b of
    similarity(f, b) / `temperature`: near 0 it is the nearest class alone, towards infinity all
    others alike.
    """

    temperature: float

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `partners.Part.choose`; a class whose share is below a millionth is no partner."""
        at_least_two(classes)
        return self.weigh(similarity, np.ones(len(classes), np.int64)) > 0

    def weigh(
        self, similarity: NDArray[np.float64], backgrounds: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """See `Weighing.weigh`; how many videos a class has plays no part."""
        others = ~np.eye(len(similarity), dtype=bool)
        highest = np.where(others, similarity, -np.inf).max(axis=1, keepdims=True)
        powers = np.where(others, np.exp((similarity - highest) / self.temperature), 0.0)
        return np.rint(WHOLE * powers / powers.sum(axis=1, keepdims=True)).astype(np.int64)


@dataclass(frozen=True)
class Independent:
    """Each class with every class, its own included, so that scenes say nothing of actors.

    A match (f, b) gets p(f) · p(b) of the budget, with the shares p of the classes among the videos
    that are fit for that side: whoever sees the scene of a composite knows no more of its actor's
    class than before. Caps on matches come near it; this is it, up to whole numbers.
    """

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `partners.Part.choose`."""
        return np.ones(similarity.shape, bool)

    def weigh(
        self, similarity: NDArray[np.float64], backgrounds: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """See `Weighing.weigh`: the same row for every class."""
        return np.tile(backgrounds, (len(similarity), 1))


def at_least_two(classes: Sequence[str]) -> int:
    """How many classes there are.

    Raises:
        InputError: fewer than two.
    """
    if len(classes) < 2:
        names = ", ".join(map(repr, classes)) or "none"
        raise InputError(
            f"There is no other class to match with: the classes are {names}; give at least 2 "
            "classes, or match each with itself by same-class."
        )
    return len(classes)
