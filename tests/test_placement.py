"""Placements: drawn once, replayed on frames and mask alike; moves and mirrors are exact."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compositing.fitting import Fitted, fit_foreground
from compositing.placement import (
    IDENTITY,
    Placement,
    draw_placement,
    place_foreground,
    placement_of_pair,
)
from compositing.settings import CompositeSettings

LOOSE = CompositeSettings(shift=0.3, scale=2.0, flip_foreground=0.5)


def apply(frames, mask, placement, window=None):
    """Place a foreground of the scene's own size."""
    return place_foreground(Fitted(frames, mask, 0, mask.shape[2]), placement, window)


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
    for placement in (IDENTITY, Placement(0.0, 0.0, 1.0, False)):
        for got, own in zip(apply(frames, mask, placement), (frames, mask), strict=True):
            assert_array_equal(got, own)
            assert np.shares_memory(got, own)


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
    assert_array_equal(placed[0], frames)
    assert_array_equal(placed[1], mask)


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


# In a scene of another shape


def standing(mask, left, width, height=None):
    """A foreground of the scene's height that stands at `left` in a scene so many columns wide."""
    frames = np.random.default_rng(1).integers(0, 256, (*mask.shape, 3), np.uint8)
    return Fitted(frames, mask, left, width)


def on_scene(fitted):
    """Frames and mask on the whole scene by hand: 0 where the foreground has no pixel."""
    count, height, columns = fitted.mask.shape
    canvas = np.zeros((count, height, fitted.width + 200, 4), np.uint8)
    at = slice(100 + fitted.left, 100 + fitted.left + columns)
    canvas[:, :, at, :3], canvas[:, :, at, 3] = fitted.frames, fitted.mask
    canvas = canvas[:, :, 100:-100]
    return canvas[..., :3], canvas[..., 3] > 0


@pytest.mark.parametrize("left", [-14, -3, 0, 5, 13, 30])
@pytest.mark.parametrize("window", [None, (slice(2, 8), slice(4, 17))])
def test_a_foreground_of_another_width_is_cut_where_the_scene_ends(left, window):
    """Narrower and wider than the scene, hanging out on either side, and all outside of it."""
    for columns in (9, 20, 45):
        mask = np.random.default_rng(0).random((2, 10, columns)) < 0.5
        fitted = standing(mask, left, 20)
        expected = on_scene(fitted)
        placed = place_foreground(fitted, IDENTITY, window)
        rows, across = window or (slice(None), slice(None))
        assert_array_equal(placed[1], expected[1][:, rows, across])
        assert_array_equal(seen(*placed), seen(*expected)[:, rows, across])
        # Around it its border goes on, so that blends that look there find no black.
        if not window and 0 < left < 20:
            assert_array_equal(placed[0][:, :, 0], fitted.frames[:, :, 0])


@given(st.integers(0, 999), st.integers(-8, 12), st.booleans())
def test_placements_are_about_the_scene(seed, left, flip):
    """A foreground with a wide empty border is the same foreground: it is placed alike."""
    mask = np.zeros((1, 12, 14), bool)
    mask[:, 3:9, 4:9] = True
    placement = draw_placement(LOOSE, np.random.default_rng(seed))
    narrow = standing(mask, left, 24)
    frames = np.pad(narrow.frames, ((0, 0), (0, 0), (7, 9), (0, 0)), "edge")
    wide = Fitted(frames, np.pad(mask, ((0, 0), (0, 0), (7, 9))), left - 7, 24)
    one, two = (place_foreground(fitted, placement) for fitted in (narrow, wide))
    assert_array_equal(one[1], two[1])
    assert np.abs(seen(*one).astype(int) - seen(*two)).max() <= 8  # interpolation's rounding


def test_a_flip_is_about_the_middle_of_the_scene():
    mask = np.zeros((1, 6, 10), bool)
    mask[:, 2:5, 1:4] = True
    placed = place_foreground(standing(mask, 3, 30), Placement(flip=True))
    expected = np.zeros((1, 6, 30), bool)
    expected[:, 2:5, 23:26] = True  # columns 4..6 of 30
    assert_array_equal(placed[1], expected)


# Fitting


def block(shape, first, last, rows=(3, 9)):
    """One frame with a block from column `first` up to `last`."""
    mask = np.zeros((1, *shape), bool)
    mask[:, slice(*rows), first:last] = True
    return np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, -1), mask


def columns_of(fitted):
    """The mask's first column and the one after its last, in the scene."""
    found = np.flatnonzero(fitted.mask.any(axis=(0, 1))) + fitted.left
    return int(found[0]), int(found[-1]) + 1


def test_of_the_scenes_size_and_shape_it_is_the_input():
    frames, mask = clip()
    fitted = fit_foreground(frames, mask, (10, 20))
    assert fitted.frames is frames and fitted.mask is mask
    assert (fitted.left, fitted.width) == (0, 20)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        # A portrait of 12 x 8 in a landscape of 12 x 32 (4 times as wide as high is the ratio 1/4):
        # the middle keeps its place in the frame: 4/8 and 3/8 and 5.5/8 of 32 columns.
        (3, 5, (15, 17)),
        (2, 4, (11, 13)),
        (4, 7, (20, 23)),  # 20.5..23.5, to the even column
        # What its frame cut off ends at the scene's border too, but not where both sides are cut.
        (0, 3, (0, 3)),
        (6, 8, (30, 32)),
        (0, 8, (12, 20)),
    ],
)
def test_a_portrait_actor_in_a_landscape_by_hand(first, last, expected):
    fitted = fit_foreground(*block((12, 8), first, last), (12, 32), ratio=1 / 4)
    assert fitted.mask.shape == (1, 12, 8)
    assert columns_of(fitted) == expected
    assert np.flatnonzero(fitted.mask.any(axis=(0, 2))).tolist() == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (15, 17, (3, 5)),  # the middle of 32 is that of 8
        (6, 8, (1, 3)),  # 7/32 of 8 is 1.75: 0.75..2.75
        (1, 5, (0, 4)),  # 3/32: −1.25..2.75 would hang out, and need not
        (26, 32, (2, 8)),
        (4, 14, (-2, 8)),  # too wide for the scene: it fills it
        (0, 32, (-12, 20)),
    ],
)
def test_a_landscape_actor_in_a_portrait_by_hand(first, last, expected):
    fitted = fit_foreground(*block((12, 32), first, last), (12, 8), ratio=4)
    assert fitted.mask.shape == (1, 12, 32)
    assert columns_of(fitted) == expected


def test_feet_and_shape_are_kept_at_another_size():
    """60 x 40 in a scene of 30 x 80: half the size, 16 of 40 columns become 8 of 80."""
    frames, mask = block((60, 40), 12, 28, rows=(10, 50))
    fitted = fit_foreground(frames, mask, (30, 80), ratio=(40 / 60) / (80 / 30))
    assert fitted.frames.shape == (1, 30, 20, 3)
    assert np.flatnonzero(fitted.mask.any(axis=(0, 2))).tolist() == list(range(5, 25))
    assert columns_of(fitted) == (36, 44)
    assert ((fitted.frames[..., 0] > 127) == fitted.mask).all()


@given(
    st.floats(0.15, 6), st.integers(1, 40), st.integers(0, 39), st.integers(1, 40),
    st.integers(8, 50),
)  # fmt: skip
def test_what_can_be_seen_is_seen(ratio, columns, first, size, width):
    """Whatever the shapes: as tall, as wide by the ratio, in the frame if it fits, else filling."""
    first = first % columns
    last = min(columns, first + size)
    fitted = fit_foreground(*block((12, columns), first, last), (12, width), ratio)
    assert fitted.scene == (12, width)
    whole = max(1, round(ratio * width))
    if whole == width or not fitted.mask.any():
        return
    left, right = columns_of(fitted)
    assert right > 0 and left < width
    wanted = (last - first) * whole / columns
    if whole <= 4 * width:
        assert abs(right - left - wanted) <= 1 + whole / columns
    if right - left <= width:
        assert left >= -1 and right <= width + 1
    elif whole <= 4 * width:
        assert left <= 1 and right >= width - 1


def test_a_banner_on_a_tower_takes_no_more_than_four_scenes():
    """640x16 on 16x640: as tall as the scene it were 25,600 pixels wide."""
    frames, mask = block((16, 640), 500, 520)
    frames[:, :, :500] = 40
    fitted = fit_foreground(frames, mask, (640, 16), ratio=1600)
    assert fitted.mask.shape[1:] == (640, fitted.frames.shape[2])
    assert fitted.mask.shape[2] <= 4 * 16 + 2 * 40
    placed, there = place_foreground(fitted, IDENTITY)
    assert there[:, 120:360].all() and not there[:, :120].any()
    assert (placed[there] > 120).all() and (placed[:, 140:340] == 255).all()


def test_an_empty_mask_is_put_in_the_middle():
    frames, mask = block((12, 8), 0, 0)
    assert fit_foreground(frames, mask, (12, 32), ratio=1 / 4).left == 12
