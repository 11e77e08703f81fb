"""Eq. 7 and 8 by hand, and the label rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from compositing.labels import LABEL_RULES, foreground_ratio, mix_labels, mixing_weight

shares = st.floats(0, 1)
alphas = st.floats(0.25, 8)


def test_foreground_ratio_by_hand():
    mask = np.zeros((2, 4, 5, 10), bool)
    mask[0, :2, :, :5] = True
    mask[1, 3, 4, 9] = True
    assert_allclose(foreground_ratio(mask), [0.25, 1 / 200])
    assert foreground_ratio(mask[0]).shape == ()
    assert foreground_ratio(mask[0]) == 0.25


def test_foreground_ratio_of_no_clips():
    assert foreground_ratio(np.zeros((0, 8, 4, 4), bool)).shape == (0,)


@pytest.mark.parametrize(
    ("gamma", "alpha", "lam"),
    [
        (0.0, 4, 0.0),
        (1.0, 4, 1.0),
        (0.5, 4, 0.9375),
        (0.1, 4, 0.3439),
        (0.25, 1, 0.25),
        (0.2, 3, 0.488),  # odd: the printed −(γ−1)³ + 1 would be 1.512
        (0.36, 0.5, 0.2),
    ],
)
def test_eq_8_by_hand(gamma, alpha, lam):
    assert mixing_weight(gamma, alpha) == pytest.approx(lam)


def test_the_papers_alpha_is_the_default():
    assert mixing_weight(0.5) == pytest.approx(1 - 0.5**4)


@given(shares, shares, alphas)
def test_eq_8_grows_with_the_foreground_and_stays_in_0_to_1(a, b, alpha):
    low, high = mixing_weight([min(a, b), max(a, b)], alpha)
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("gamma", [-0.01, 1.01, float("nan"), [0.2, 1.2]])
def test_a_share_outside_0_to_1_is_refused(gamma):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        mixing_weight(gamma)


def test_eq_7_by_hand():
    foreground, background = (
        np.eye(3, dtype=np.float32)[[0, 2]],
        np.eye(3, dtype=np.float32)[[1, 2]],
    )
    mixed = mix_labels(foreground, background, [0.25, 0.6])
    assert mixed.dtype == np.float32
    assert_allclose(mixed, [[0.25, 0.75, 0], [0, 0, 1]])
    assert_allclose(mix_labels(foreground[0], background[0], 0.9), [0.9, 0.1, 0], rtol=1e-6)


@given(st.integers(1, 7), st.lists(shares, min_size=1, max_size=5), st.integers(0, 99))
def test_eq_7_rows_sum_to_1(classes, lams, seed):
    rng = np.random.default_rng(seed)
    foreground, background = rng.dirichlet(np.ones(classes), (2, len(lams))).astype(np.float32)
    mixed = mix_labels(foreground, background, lams)
    assert (mixed >= 0).all()
    assert_allclose(mixed.sum(axis=-1), 1, rtol=1e-6)


def test_label_rules_by_hand():
    assert LABEL_RULES["mixed"].formula(0.1, 0.3, 4.0) == pytest.approx(0.3439)
    assert LABEL_RULES["foreground"].formula(0.1, 0.3, 4.0) == 1
    assert LABEL_RULES["actor"].formula(0.1, 0.3, 4.0) == pytest.approx(1 - 0.75**4)
    assert LABEL_RULES["actor"].formula(0.1, 0.0, 4.0) == 1
    assert LABEL_RULES["actor"].formula(0.0, 0.3, 4.0) == 0
    assert LABEL_RULES["actor"].formula(0.0, 0.0, 4.0) == 0


@pytest.mark.parametrize("rule", sorted(LABEL_RULES))
@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=6), alphas)
def test_label_rules_on_a_batch_are_those_of_its_clips(rule, pairs, alpha):
    visible, removed = np.array(pairs).T
    batch = LABEL_RULES[rule].formula(visible, removed, alpha)
    assert batch.shape == visible.shape
    assert ((batch >= 0) & (batch <= 1)).all()
    for lam, seen, gone in zip(batch, visible, removed, strict=True):
        assert lam == pytest.approx(float(LABEL_RULES[rule].formula(seen, gone, alpha)))
