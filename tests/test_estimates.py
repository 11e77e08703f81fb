"""Means with standard errors over recordings, and how far their intervals reach."""

from __future__ import annotations

import math

import numpy as np
import pytest

from train.estimates import Estimate, student


def test_errors_are_over_recordings() -> None:
    values = np.array([1, 1, 0, 0, np.nan])
    # Residuals by recording +1 and −1: 2/1 · (1 + 1) / 4² = 1/4.
    found = Estimate.of(values, np.array([7, 7, 9, 9, 2]))
    assert found == Estimate(0.5, 0.5, count=4, freedom=1)
    # Each its own: 4/3 · 4 · 0.25 / 4² = 1/12.
    apart = Estimate.of(values, np.arange(5))
    assert apart.error == pytest.approx((1 / 12) ** 0.5)
    assert (apart.count, apart.freedom) == (4, 3)
    one = Estimate.of(values[:2], np.zeros(2, np.int64))
    assert one.mean == 1 and np.isnan(one.error) and not one.sure(1)
    assert Estimate.of(np.array([np.nan]), np.zeros(1, np.int64)).count == 0


def test_students_t_is_that_of_the_tables() -> None:
    """97.5 % quantiles as tables print them, to three decimals."""
    table = {
        1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
        10: 2.228, 11: 2.201, 20: 2.086, 30: 2.042, 60: 2.000, 100: 1.984, 120: 1.980, None: 1.960,
    }  # fmt: skip
    for freedom, value in table.items():
        assert round(student(freedom), 3) == value, freedom
    assert student(100) == pytest.approx(student(101), abs=3e-4)


def test_more_comparisons_ask_for_more() -> None:
    found = Estimate(0.021, 0.01)
    assert found.reach() == pytest.approx(1.96, abs=0.01)
    assert found.reach(8) == pytest.approx(2.734, abs=0.01)  # Φ⁻¹(1 − 0.025 / 8)
    assert found.sure(1) and not found.sure(8)
    assert not Estimate(1.0, math.nan).sure(1)
    # One degree of freedom is a Cauchy variable: tan(π (1 − 0.05 / m) / 2), for m of them.
    for comparisons in (1, 24):
        exact = math.tan(math.pi / 2 * (1 - 0.05 / comparisons))
        assert student(1, comparisons) == pytest.approx(exact, rel=1e-9)
    # With two P(|t| < x) is x / √(x² + 2), and four recordings with 24 figures ask for ten errors.
    inside = 1 - 0.05 / 24
    assert student(2, 24) == pytest.approx(inside * math.sqrt(2 / (1 - inside**2)), rel=1e-9)
    assert student(3, 24) == pytest.approx(10.07, abs=0.005)
    assert not Estimate(0.08, 0.01, freedom=3).sure(24)  # eight errors
