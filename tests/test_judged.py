"""Precision, coverage and AUROC of pseudo-labels, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.semi_supervised.judged import (
    at_thresholds,
    auroc,
    auroc_error,
    compare,
    judge_classes,
    judge_rounds,
)

# Two rounds of four videos; of the last nobody knows the class.
LABELS = ["run", "run", "sit", "sit", "run", "sit", "sit", "sit"]
TRUTHS = ["run", "sit", "sit", "", "run", "sit", "sit", ""]
ROUNDS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
ACCEPTED = np.array([True, True, False, True, True, True, True, False])


def test_rounds_by_hand() -> None:
    first, second = judge_rounds(ROUNDS, ACCEPTED, LABELS, TRUTHS)
    assert (first.number, first.videos, first.accepted, first.known, first.right) == (0, 4, 3, 2, 1)
    assert (first.coverage, first.precision, first.accuracy) == (0.75, 0.5, pytest.approx(2 / 3))
    assert (second.number, second.accepted, second.known, second.right) == (1, 3, 3, 3)
    assert (second.coverage, second.precision, second.accuracy) == (0.75, 1.0, 1.0)


def test_what_is_not_known_is_none() -> None:
    (only,) = judge_rounds(np.zeros(2, np.int64), np.zeros(2, bool), ["a", "b"], ["", "b"])
    assert (only.coverage, only.precision, only.accuracy) == (0.0, None, 1.0)
    (only,) = judge_rounds(np.zeros(1, np.int64), np.ones(1, bool), ["a"], [""])
    assert (only.coverage, only.precision, only.accuracy) == (1.0, None, None)


def test_classes_by_hand() -> None:
    run, sit = judge_classes(ACCEPTED[:4], LABELS[:4], TRUTHS[:4])
    # Two were taken for running, both accepted, one rightly; the one that runs was accepted.
    assert (run.label, run.labels, run.accepted, run.precision) == ("run", 2, 2, 0.5)
    assert (run.videos, run.coverage) == (1, 1.0)
    # Of those taken for sitting one was accepted, whose class is not known; of two that sit, one.
    assert (sit.label, sit.labels, sit.accepted, sit.precision) == ("sit", 2, 1, None)
    assert (sit.videos, sit.coverage) == (2, 0.5)


def test_coverage_is_of_the_class_and_precision_of_the_label() -> None:
    one, other = judge_classes(np.array([True, False]), ["a", "a"], ["a", "b"])
    assert (one.labels, one.accepted, one.precision, one.videos, one.coverage) == (
        2,
        1,
        1.0,
        1,
        1.0,
    )
    assert (other.labels, other.precision, other.videos, other.coverage) == (0, None, 1, 0.0)


def test_thresholds_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.6, 0.3])
    found = at_thresholds(confidence, LABELS[:4], TRUTHS[:4], [0.0, 0.7, 0.9, 0.95])
    assert found == [(1.0, pytest.approx(2 / 3)), (0.5, 0.5), (0.25, 1.0), (0.0, None)]


def test_auroc_and_its_error_by_hand() -> None:
    found = auroc(np.array([0.9, 0.8, 0.4, 0.3]), np.array([True, False, True, False]))
    assert found is not None
    assert (found.value, found.good, found.bad) == (0.75, 2, 2)
    # A(1 − A) = 0.1875; Q₁ − A² = 0.6 − 0.5625; Q₂ − A² = 1.125 / 1.75 − 0.5625; all over 4.
    assert found.error == pytest.approx(0.276296, abs=1e-6)
    ties = auroc(np.zeros(3), np.array([True, False, False]))
    assert ties is not None
    assert ties.value == 0.5
    assert auroc(np.zeros(3), np.ones(3, bool)) is None
    assert auroc(np.zeros(0), np.zeros(0, bool)) is None


def test_the_error_of_the_paper_s_example() -> None:
    """Hanley and McNeil 1982: an area of 0.893 with 51 and 58 patients is uncertain by 0.032."""
    assert auroc_error(0.893, 51, 58) == pytest.approx(0.0325, abs=1e-4)
    assert auroc_error(1.0, 3, 4) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_won(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in rows])
    good = np.array([kind for _, kind in rows])
    found = auroc(scores, good)
    if good.all() or not good.any():
        assert found is None
        return
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[good] for b in scores[~good]
    ]  # fmt: skip
    assert found is not None
    assert found.value == pytest.approx(float(np.mean(wins)))
    assert 0 <= found.error <= 0.71


def test_an_unknown_truth_is_neither_right_nor_wrong() -> None:
    known, right = compare(["a", "b", ""], ["a", "", ""])
    assert known.tolist() == [True, False, False]
    assert right.tolist() == [True, False, False]
