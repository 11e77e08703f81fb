"""Means over episodes, their intervals, and paired differences, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2a.errors import InputError
from train.few_shot.results import FORMULAS, accuracy, paired_difference, score


def test_the_interval_is_1_96_population_deviations_over_root_n() -> None:
    found = accuracy([1.0, 0.0, 1.0, 1.0])
    assert found.mean == 0.75
    assert found.reach == pytest.approx(1.96 * math.sqrt(0.1875) / 2, rel=1e-12)
    assert (found.low, found.high) == (0.75 - found.reach, 0.75 + found.reach)
    assert str(found) == "75.00 ± 42.44"
    assert found.to_json()["formula"] == FORMULAS["normal"]


def test_arn_has_students_t_and_the_sample_deviation() -> None:
    found = accuracy([1.0, 0.0, 1.0, 1.0], "student-t")
    assert found.reach == pytest.approx(3.1824 * 0.5 / 2, abs=2e-5)


def test_one_episode_says_nothing_of_the_interval() -> None:
    found = accuracy([0.5])
    assert math.isnan(found.reach)
    assert found.to_json()["interval_95"] is None
    assert not found.is_sure


def test_differences_are_paired() -> None:
    base = np.tile([0.0, 1.0], 50)
    own = base * 0.8 + 0.15  # 0.15 better in one half, 0.05 worse in the other
    found = paired_difference(own, base)
    assert found.mean == pytest.approx(0.05)
    assert found.reach == pytest.approx(1.96 * 0.1 / 10)
    assert found.is_sure
    assert accuracy(base).reach == pytest.approx(1.96 * 0.5 / 10)
    with pytest.raises(ValueError, match="not the same episodes"):
        paired_difference([1.0], [1.0, 0.0])


def test_what_is_no_result() -> None:
    with pytest.raises(InputError, match="No episode"):
        accuracy([])
    with pytest.raises(InputError, match="no interval 'bootstrap'"):
        accuracy([1.0], "bootstrap")  # type: ignore[arg-type]


def test_a_score_counts_ties_as_chance() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0], [5.0, -np.inf]])
    assert score(logits, np.array([0, 0, 1, 0])) == (1 + 0 + 0.5 + 1) / 4
