"""Eq. 1, 7 and 8 by hand, and what must hold for any clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from compositing.blend import (
    LABEL_RULES,
    composite_clip,
    foreground_ratio,
    mix_labels,
    mixing_weight,
    paste,
)

shapes = st.tuples(*(st.integers(1, n) for n in (3, 4, 9, 9)))
shares = st.floats(0, 1)
alphas = st.floats(0.25, 8)


def random_clips(shape, seed):
    rng = np.random.default_rng(seed)
    foreground, background = (rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    return foreground, rng.random(shape) < 0.4, background


def test_eq_1_by_hand():
    foreground = np.array([[[[1, 2, 3], [4, 5, 6]]]], np.uint8)
    background = np.array([[[[250, 251, 252], [253, 254, 255]]]], np.uint8)
    mask = np.array([[[True, False]]])
    assert composite_clip(foreground, mask, background).tolist() == [[[[1, 2, 3], [253, 254, 255]]]]


@given(shapes, st.integers(0, 99))
def test_eq_1_takes_each_pixel_whole_from_one_clip_and_mutates_none(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    before = [a.copy() for a in (foreground, mask, background)]
    result = composite_clip(foreground, mask, background)
    assert_array_equal(result[mask], foreground[mask])
    assert_array_equal(result[~mask], background[~mask])
    for now, then in zip((foreground, mask, background), before, strict=True):
        assert_array_equal(now, then)
    assert not np.shares_memory(result, background)


@given(shapes, st.integers(0, 99))
def test_empty_mask_gives_the_background_and_full_mask_the_foreground(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    assert_array_equal(composite_clip(foreground, np.zeros_like(mask), background), background)
    assert_array_equal(composite_clip(foreground, np.ones_like(mask), background), foreground)


@given(shapes, st.integers(0, 99))
def test_a_batch_is_its_clips(shape, seed):
    foreground, mask, background = random_clips(shape, seed)
    batch = composite_clip(foreground, mask, background)
    for i in range(shape[0]):
        assert_array_equal(batch[i], composite_clip(foreground[i], mask[i], background[i]))


def test_views_of_larger_arrays_are_fine():
    """Crops, flips and strides come from augmentation without a copy."""
    foreground, mask, background = random_clips((2, 3, 12, 14), 0)
    crop = (slice(None), slice(None, None, 2), slice(2, 11), slice(None, 3, -1))
    result = composite_clip(foreground[crop], mask[crop], background[crop])
    assert_array_equal(result, np.where(mask[..., None], foreground, background)[crop])


def test_read_only_inputs_are_fine():
    clips = random_clips((2, 3, 4), 0)
    for array in clips:
        array.flags.writeable = False
    assert composite_clip(*clips).flags.writeable


@pytest.mark.parametrize("shape", [(0, 8, 4, 4), (2, 4, 0)])
def test_no_pixels_at_all_are_fine(shape):
    assert composite_clip(*random_clips(shape, 0)).shape == (*shape, 3)


def test_paste_writes_to_the_callers_canvas():
    foreground, mask, background = random_clips((2, 5, 7), 1)
    canvas = background.copy()
    paste(foreground, mask, canvas)
    assert_array_equal(canvas, composite_clip(foreground, mask, background))
    assert (canvas != background).any()


@pytest.mark.parametrize(
    ("foreground", "mask", "background", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), bool), (2, 4, 5, 3), "do not fit"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), bool), (2, 4, 4, 3), "do not fit"),
        (np.zeros((2, 4, 4, 4), np.uint8), np.zeros((2, 4, 4), bool), (2, 4, 4, 4), "do not fit"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8), (2, 4, 4, 3), "bool"),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4), bool), (2, 4, 4, 3), "float32"),
    ],
)
def test_what_does_not_fit_is_refused(foreground, mask, background, message):
    with pytest.raises(ValueError, match=message):
        composite_clip(foreground, mask, np.zeros(background, np.uint8))


def test_a_canvas_that_would_not_be_written_to_is_refused():
    foreground, mask, background = random_clips((2, 4, 4), 0)
    with pytest.raises(ValueError, match="contiguous"):
        paste(foreground, mask, background[:, ::-1])


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
    assert LABEL_RULES["mixed"](0.1, 0.3, 4.0) == pytest.approx(0.3439)
    assert LABEL_RULES["foreground"](0.1, 0.3, 4.0) == 1
    assert LABEL_RULES["actor"](0.1, 0.3, 4.0) == pytest.approx(1 - 0.75**4)
    assert LABEL_RULES["actor"](0.1, 0.0, 4.0) == 1
    assert LABEL_RULES["actor"](0.0, 0.3, 4.0) == 0
    assert LABEL_RULES["actor"](0.0, 0.0, 4.0) == 0


@pytest.mark.parametrize("rule", sorted(LABEL_RULES))
@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=6), alphas)
def test_label_rules_on_a_batch_are_those_of_its_clips(rule, pairs, alpha):
    visible, removed = np.array(pairs).T
    batch = LABEL_RULES[rule](visible, removed, alpha)
    assert batch.shape == visible.shape
    assert ((batch >= 0) & (batch <= 1)).all()
    for lam, seen, gone in zip(batch, visible, removed, strict=True):
        assert lam == pytest.approx(float(LABEL_RULES[rule](seen, gone, alpha)))
