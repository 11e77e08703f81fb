"""Placements: drawn once, replayed on frames and mask alike; moves and mirrors are exact."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compositing.placement import (
    IDENTITY,
    Placement,
    apply,
    draw_placement,
    placement_of_pair,
)
from compositing.settings import CompositeSettings

LOOSE = CompositeSettings(shift=0.3, scale=2.0, flip_foreground=0.5)


def clip(shape=(2, 10, 20), seed=0):
    """Noise, with a mask of 4 x 3 pixels in rows 3..6 and columns 4..6, one frame smaller."""
    frames = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    mask = np.zeros(shape, bool)
    mask[0, 3:7, 4:7] = True
    mask[1:, 4:6, 5:6] = True
    return frames, mask


def seen(frames, mask):
    """The foreground alone: frames with 0 outside the mask."""
    return frames * mask[..., None]


def moved(array, down, right):
    """`array` [T, H, W, ...] shifted, 0 coming in."""
    result = np.zeros_like(array)
    height, width = array.shape[1:3]
    to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    of = (slice(max(-down, 0), height - max(down, 0)), slice(max(-right, 0), width - max(right, 0)))
    result[:, *to] = array[:, *of]
    return result


def test_identity_gives_the_same_arrays():
    frames, mask = clip()
    placed = apply(frames, mask, IDENTITY)
    assert placed[0] is frames and placed[1] is mask
    assert apply(frames, mask, Placement(0.0, 0.0, 1.0, False))[0] is frames


def test_identity_in_a_window_is_a_view():
    frames, mask = clip()
    placed = apply(frames, mask, IDENTITY, (slice(2, 8), slice(3, 12)))
    assert_array_equal(placed[0], frames[:, 2:8, 3:12])
    assert_array_equal(placed[1], mask[:, 2:8, 3:12])
    assert np.shares_memory(placed[0], frames) and np.shares_memory(placed[1], mask)


@pytest.mark.parametrize("down", [-2, 0, 3])
@pytest.mark.parametrize("right", [-4, 0, 5])
def test_whole_pixels_are_moved_exactly(down, right):
    frames, mask = clip()
    placed = apply(frames, mask, Placement(down / 10, right / 20))
    assert_array_equal(placed[1], moved(mask, down, right))
    assert_array_equal(seen(*placed), moved(seen(frames, mask), down, right))


def test_a_mask_that_meets_the_border_is_not_drawn_out_when_it_leaves_it():
    frames, _ = clip()
    full = np.ones(frames.shape[:3], bool)
    placed = apply(frames, full, Placement(0.2, -0.3))
    assert_array_equal(placed[1], moved(full, 2, -6))
    assert_array_equal(seen(*placed), moved(frames, 2, -6))
    _, small = apply(frames, full, Placement(scale=0.5))
    expected = np.zeros_like(full)
    expected[:, 5:, 5:15] = True  # rows −0.5..9.5 ─► 4.5..9.5, columns −0.5..19.5 ─► 4.5..14.5
    assert_array_equal(small, expected)


def test_shares_are_rounded_to_whole_pixels():
    frames, mask = clip()
    placed = apply(frames, mask, Placement(0.26, -0.03))  # 2.6 rows and 0.6 columns
    assert_array_equal(placed[1], moved(mask, 3, -1))


def test_a_flip_mirrors_the_frame_about_its_middle():
    for width in (20, 21):
        frames, mask = clip((2, 10, width))
        placed = apply(frames, mask, Placement(flip=True))
        assert_array_equal(placed[0], frames[:, :, ::-1])
        assert_array_equal(placed[1], mask[:, :, ::-1])
        twice = apply(*placed, Placement(flip=True))
        assert_array_equal(twice[0], frames)


def test_mirrored_first_and_then_moved():
    frames, mask = clip()
    placed = apply(frames, mask, Placement(0.1, 0.15, flip=True))
    assert_array_equal(seen(*placed), moved(seen(frames, mask)[:, :, ::-1], 1, 3))


def test_twice_the_size_from_the_feet_up():
    """The box's edges: rows 2.5..6.5 ─► −1.5..6.5, columns 3.5..6.5 ─► 2..8."""
    frames, mask = clip()
    _, large = apply(frames, mask, Placement(scale=2.0))
    expected = np.zeros_like(mask)
    expected[0, :7, 2:8] = True
    expected[1, 1:5, 4:6] = True  # rows 3.5..5.5 ─► 0.5..4.5, column 4.5..5.5 ─► 4..6
    assert_array_equal(large, expected)


def test_half_the_size_stands_on_the_same_ground():
    """Rows 2.5..6.5 ─► 4.5..6.5, columns 3.5..6.5 ─► 4.25..5.75."""
    frames, mask = clip()
    _, small = apply(frames, mask, Placement(scale=0.5))
    expected = np.zeros_like(mask)
    expected[0, 5:7, 5] = expected[1, 5, 5] = True
    assert_array_equal(small, expected)


def test_frames_are_interpolated_linearly():
    """A ramp of 12 grey levels a column becomes one of 6 at twice the size, 60 as ever at x = 5."""
    frames, mask = clip((1, 10, 20))
    frames[:] = (12 * np.arange(20, dtype=np.uint8))[:, None]
    placed, _ = apply(frames, mask, Placement(scale=2.0))
    expected = 60 + 6.0 * (np.arange(20) - 5)
    assert np.abs(placed[0, :, :, 0] - expected).max() <= 1


@given(st.floats(0.5, 2.5), st.booleans(), st.integers(8, 40), st.integers(8, 40))
def test_a_scaled_mask_is_where_its_box_says(scale, flip, height, width):
    mask = np.zeros((1, height, width), bool)
    top, bottom, left, right = height // 3, height * 3 // 4, width // 4, width // 2
    mask[0, top : bottom + 1, left : right + 1] = True
    frames = np.zeros((1, height, width, 3), np.uint8)
    _, placed = apply(frames, mask, Placement(scale=scale, flip=flip))
    rows, columns = np.flatnonzero(placed[0].any(axis=1)), np.flatnonzero(placed[0].any(axis=0))
    assert rows[-1] == bottom
    assert abs(rows[0] - max(0, bottom + 1 - scale * (bottom + 1 - top))) <= 1
    middle = (left + right) / 2 if not flip else width - 1 - (left + right) / 2
    half = scale * (right + 1 - left) / 2
    assert abs(columns[0] - max(0, middle + 0.5 - half)) <= 1
    assert abs(columns[-1] - min(width - 1, middle - 0.5 + half)) <= 1


@pytest.mark.parametrize("scale", [0.7, 1.4])
@pytest.mark.parametrize("flip", [False, True])
def test_frames_and_mask_stay_on_each_other(scale, flip):
    """A bright block whose mask is exact stays bright within its mask, and dark without."""
    mask = np.zeros((1, 40, 60), bool)
    mask[:, 16:31, 24:37] = True
    frames = np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, -1)
    placed, there = apply(frames, mask, Placement(-0.05, 0.1, scale, flip))
    wrong = (placed[..., 0] > 127) != there
    assert there.sum() == pytest.approx(mask.sum() * scale**2, rel=0.1)
    assert wrong.sum() <= 0.06 * there.sum()
    assert (placed[there] >= 120).all()


def test_no_black_comes_in_at_the_frames_edge():
    """The mask reaches the border: the pixels along it are the frame's, not mixed with nothing."""
    frames, mask = np.full((1, 21, 33, 3), 200, np.uint8), np.ones((1, 21, 33), bool)
    for placement in (Placement(0.1, 0.2), Placement(scale=0.73), Placement(scale=1.9, flip=True)):
        placed, there = apply(frames, mask, placement)
        assert (placed[there] == 200).all()


@given(
    st.floats(-1, 1), st.floats(-1, 1), st.floats(0.5, 2), st.booleans(),
    st.integers(0, 24), st.integers(0, 40),
)  # fmt: skip
def test_a_quarter_of_a_box_is_always_seen(down, right, scale, flip, top, left):
    """In a corner the middle of the box is in the frame, and so is a quarter of it at least."""
    mask = np.zeros((1, 40, 60), bool)
    mask[0, top : top + 16, left : left + 20] = True
    frames = np.zeros((1, 40, 60, 3), np.uint8)
    _, placed = apply(frames, mask, Placement(down, right, scale, flip))
    _, alone = apply(frames, mask, Placement(scale=scale, flip=flip))
    whole = 16 * 20 * scale**2
    assert placed.sum() >= min(0.2 * whole, alone.sum())


def test_a_shift_ends_where_the_middle_of_the_box_meets_the_border():
    frames, mask = clip()  # box of rows 3..6, columns 4..6: its middle lies at (4.5, 5)
    _, placed = apply(frames, mask, Placement(1.0, 1.0))
    assert_array_equal(placed, moved(mask, 4, 14))
    _, placed = apply(frames, mask, Placement(-1.0, -1.0))
    assert_array_equal(placed, moved(mask, -4, -5))


def test_a_foreground_too_large_for_the_frame_is_not_pushed_by_its_limits():
    """Four times as large, its middle lies above the frame; its feet stay all the same."""
    frames, mask = clip()
    _, placed = apply(frames, mask, Placement(scale=4.0))
    assert np.flatnonzero(placed[0].any(axis=1))[-1] == 6
    _, up = apply(frames, mask, Placement(shift_y=-0.5, scale=4.0))
    assert_array_equal(up, placed)


def test_an_empty_mask_is_given_back():
    frames, mask = clip()
    mask[:] = False
    placed = apply(frames, mask, Placement(0.2, 0.1, 2.0, True))
    assert placed[0] is frames and placed[1] is mask


@given(st.integers(0, 999), st.integers(0, 4), st.integers(0, 6))
def test_a_window_is_a_cut_of_the_whole(seed, top, left):
    """What the placement brings in from outside the window is there."""
    placement = draw_placement(LOOSE, np.random.default_rng(seed))
    frames, mask = clip((3, 17, 23), seed)
    window = (slice(top, top + 11), slice(left, left + 13))
    whole, cut = apply(frames, mask, placement), apply(frames, mask, placement, window)
    assert_array_equal(cut[1], whole[1][:, *window])
    # Another origin may round the interpolation to the other side.
    assert np.abs(cut[0].astype(int) - whole[0][:, *window]).max() <= 8


@given(st.integers(0, 99))
def test_inputs_are_untouched(seed):
    frames, mask = clip(seed=seed)
    frames.flags.writeable = mask.flags.writeable = False
    apply(frames, mask, draw_placement(LOOSE, np.random.default_rng(seed)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (3, 5, 4)])
def test_tiny_clips_are_fine(shape):
    frames = np.full((*shape, 3), 9, np.uint8)
    mask = np.ones(shape, bool)
    for seed in range(20):
        placement = draw_placement(LOOSE, np.random.default_rng(seed))
        placed, there = apply(frames, mask, placement)
        assert placed.shape == frames.shape and there.shape == mask.shape and there.any()


def test_nothing_is_drawn_where_nothing_may_move():
    rng = np.random.default_rng(5)
    assert draw_placement(CompositeSettings(blend="feather"), rng) == IDENTITY
    assert rng.random() == np.random.default_rng(5).random()


@pytest.mark.parametrize("changes", [{"shift": 0.1}, {"scale": 1.2}, {"flip_foreground": 0.5}])
def test_one_thing_does_not_change_another(changes):
    """The same numbers are taken whatever is turned on."""
    for seed in range(8):
        one, two = np.random.default_rng(seed), np.random.default_rng(seed)
        alone = draw_placement(CompositeSettings(**changes), one)
        both = draw_placement(CompositeSettings(**{"shift": 0.0, **changes}), two)
        assert alone == both
        every = draw_placement(
            CompositeSettings(**{"shift": 0.3, "scale": 2.0, "flip_foreground": 0.5, **changes}),
            np.random.default_rng(seed),
        )
        if "shift" in changes:
            assert (alone.shift_y, alone.shift_x) == (every.shift_y, every.shift_x)
        if "scale" in changes:
            assert alone.scale == every.scale
        if "flip_foreground" in changes:
            assert alone.flip == every.flip
        assert one.random() == np.random.default_rng(seed).random(5)[4]


def test_placements_fill_their_range_evenly():
    rng = np.random.default_rng(0)
    drawn = [draw_placement(LOOSE, rng) for _ in range(4000)]
    for shifts in ([p.shift_y for p in drawn], [p.shift_x for p in drawn]):
        assert -0.3 <= min(shifts) < -0.29 and 0.29 < max(shifts) <= 0.3
        assert abs(np.mean(shifts)) < 0.01
    scales = np.array([p.scale for p in drawn])
    assert 0.5 <= scales.min() < 0.51 and 1.97 < scales.max() <= 2
    assert abs(np.log(scales).mean()) < 0.02  # as often smaller as larger
    assert np.mean([p.flip for p in drawn]) == pytest.approx(0.5, abs=0.03)
    assert all(draw_placement(CompositeSettings(flip_foreground=1), rng).flip for _ in range(9))


def test_a_pairs_placement_follows_from_seed_and_pair():
    one = placement_of_pair(LOOSE, 3, "a", "b")
    assert one == placement_of_pair(LOOSE, 3, "a", "b")
    others = [(3, "b", "a"), (4, "a", "b"), (3, "a", "c"), (3, "c", "b")]
    assert all(placement_of_pair(LOOSE, *other) != one for other in others)
    assert placement_of_pair(LOOSE, None, "a", "b") == placement_of_pair(LOOSE, 0, "a", "b")


def test_a_pairs_placement_never_changes_between_versions():
    """An export that goes on tomorrow must draw what it drew today."""
    placement = placement_of_pair(LOOSE, 3, "a", "b")
    assert placement == Placement(
        0.15486009635257225, 0.17817495010485151, 0.9158513419507249, True
    )


def test_a_record_is_json_and_none_when_nothing_moves():
    assert IDENTITY.record() is None
    assert Placement(0.0, 0.0, 1.0).record() is None
    placement = placement_of_pair(LOOSE, 3, "a", "b")
    record = json.loads(json.dumps(placement.record()))
    assert Placement(**record) == placement
