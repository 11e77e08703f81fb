"""How good pseudo-labels are, where the truth is known, and what tells the wrong ones.

All of it is for reports: nothing here is trained on, or chosen by. A truth or label that is not
known is "".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RoundFigures:
    """One round of pseudo-labelling.

    Attributes:
        number: of the round.
        videos: unlabelled videos that got a label, accepted or not.
        accepted: of them those whose label counts.
        known: of the accepted ones those whose truth is known.
        right: of those, those whose label is right.
        accuracy: the share of right labels among all whose truth is known, accepted or not; None
            where there is none.
    """

    number: int
    videos: int
    accepted: int
    known: int
    right: int
    accuracy: float | None

    @property
    def coverage(self) -> float:
        """The share of the videos whose label counts, 0..1."""
        return self.accepted / self.videos

    @property
    def precision(self) -> float | None:
        """The share of right labels among the accepted ones; None where no truth is known."""
        return self.right / self.known if self.known else None


@dataclass(frozen=True)
class ClassFigures:
    """One class in a round.

    Attributes:
        label: its name.
        labels: videos that were taken for it.
        accepted: of them those whose label counts.
        precision: the share of those that are of it, among those whose truth is known; None where
            there is none.
        videos: videos that are of it, where the truth is known.
        coverage: the share of those whose label counts, right or not; None where there is none.
    """

    label: str
    labels: int
    accepted: int
    precision: float | None
    videos: int
    coverage: float | None


@dataclass(frozen=True)
class Auroc:
    """How well a score tells good from bad.

    Attributes:
        value: how often a good one outranks a bad one, ties counted half; 0.5 is chance.
        error: its standard error.
        good, bad: how many of each there were.
    """

    value: float
    error: float
    good: int
    bad: int


def judge_rounds(
    rounds: NDArray[np.int64], accepted: NDArray[np.bool_], labels: Sequence[str],
    truths: Sequence[str],
) -> list[RoundFigures]:  # fmt: skip
    """Coverage and precision of each round, in order.

    Args:
        rounds: int64 [n], the round of each label.
        accepted: bool [n], whether it counts.
        labels, truths: n class names; a truth that is not known is "".
    """
    known, right = compare(labels, truths)
    found = []
    for number in np.unique(rounds).tolist():
        own = rounds == number
        counted = own & accepted
        figures = RoundFigures(
            number, int(own.sum()), int(counted.sum()), int((counted & known).sum()),
            int((counted & right).sum()), _share(right[own & known]),
        )  # fmt: skip
        found.append(figures)
    return found


def judge_classes(
    accepted: NDArray[np.bool_], labels: Sequence[str], truths: Sequence[str]
) -> list[ClassFigures]:
    """Precision and coverage of each class in one round, by name; arguments of one round as in
    `judge_rounds`."""
    known, right = compare(labels, truths)
    names, other = np.array(labels, dtype=object), np.array(truths, dtype=object)
    found = []
    for name in sorted({*labels, *truths} - {""}):
        said, meant = names == name, other == name
        figures = ClassFigures(
            name, int(said.sum()), int((said & accepted).sum()),
            _share(right[said & accepted & known]), int(meant.sum()), _share(accepted[meant]),
        )  # fmt: skip
        found.append(figures)
    return found


def at_thresholds(
    confidence: NDArray[np.float64], labels: Sequence[str], truths: Sequence[str],
    thresholds: Sequence[float],
) -> list[tuple[float, float | None]]:  # fmt: skip
    """(coverage, precision) of one round, had the threshold been another; precision is None where
    nothing whose truth is known would count.

    Args:
        confidence: float64 [n], n > 0.
        labels, truths: n class names; a truth that is not known is "".
        thresholds: confidences from which a label would count.
    """
    known, right = compare(labels, truths)
    return [
        (float((confidence >= least).mean()), _share(right[known & (confidence >= least)]))
        for least in thresholds
    ]


def auroc(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> Auroc | None:
    """How well scores tell good ones from bad ones; None where there is no one of either kind.

    Args:
        scores: float64 [n], finite.
        good: bool [n].
    """
    n, m = int(good.sum()), int((~good).sum())
    if not n or not m:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1; equal ones share their mean
    area = float((ranks[good].sum() - n * (n + 1) / 2) / (n * m))
    return Auroc(area, auroc_error(area, n, m), n, m)


def auroc_error(area: float, good: int, bad: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil 1982).

    Of n good and m bad ones, with A the area, Q₁ = A / (2 − A) and Q₂ = 2A² / (1 + A):
    SE² = [A(1 − A) + (n − 1)(Q₁ − A²) + (m − 1)(Q₂ − A²)] / nm. It is 0 where A is 0 or 1.
    """
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (good - 1) * (first - area**2) + (bad - 1) * (second - area**2)
    return math.sqrt(max(spread, 0.0) / (good * bad))


def compare(
    labels: Sequence[str], truths: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(known, right), bool [n] each: whose truth is known, and whose label is the truth."""
    known = np.array([bool(truth) for truth in truths], dtype=bool)
    same = [label == truth for label, truth in zip(labels, truths, strict=True)]
    return known, known & np.array(same, dtype=bool)


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
