"""Curves of pseudo-labels for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.semi_supervised.judged import compare, judge_rounds
from train.tracking import Tracker

_GROUP = "pseudo_labels"


def log_pseudo_labels(
    tracker: Tracker, number: int, confidence: NDArray[np.float64],
    accepted: NDArray[np.bool_], labels: Sequence[str], truths: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write one round: coverage, how many, mean confidence and its histogram; where truth is
    known, precision and the histograms of right and of wrong labels.

    Args:
        tracker: of the run.
        number: the round, which is the step of all curves.
        confidence: float64 [n], 0..1, of each unlabelled video; n > 0.
        accepted: bool [n], whether its label counts.
        labels: n class names.
        truths: n class names, "" where not known; empty for none at all.
    """
    truths = truths or [""] * len(labels)
    rounds = np.full(len(labels), number, np.int64)
    (figures,) = judge_rounds(rounds, accepted, labels, truths)
    values: dict[str, float] = {
        "coverage": figures.coverage,
        "accepted": figures.accepted,
        "confidence_mean": float(confidence.mean()),
    }
    if figures.precision is not None:
        values["precision"] = figures.precision
    if figures.accuracy is not None:
        values["accuracy"] = figures.accuracy
    tracker.scalars(_GROUP, values, number)
    tracker.histogram(f"{_GROUP}/confidence", confidence, number)
    known, right = compare(labels, truths)
    for name, kind in (("right", right), ("wrong", known & ~right)):
        if kind.any():
            tracker.histogram(f"{_GROUP}/confidence_{name}", confidence[kind], number)
