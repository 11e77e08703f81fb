"""Refinement of masks over time: specks, gaps, and how well real masks are given back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from compositing.masks import decode, from_json
from compositing.refinement import _distance, drop_specks, fill_gaps

Bool = NDArray[np.bool_]


def square(top: int, left: int, side: int, size: tuple[int, int] = (24, 40)) -> Bool:
    mask = np.zeros(size, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def without(masks: Bool, *frames: int) -> Bool:
    holed = masks.copy()
    holed[list(frames)] = False
    return holed


def drawn(*rows: str) -> Bool:
    return np.array([[c == "#" for c in row] for row in rows])


# Specks


def test_parts_below_the_area_go_and_one_of_just_this_area_stays() -> None:
    mask = drawn(
        "##....#",
        "##.....",
        "....###",
    )
    kept = drop_specks(mask, 3)
    np.testing.assert_array_equal(kept, drawn("##.....", "##.....", "....###"))
    np.testing.assert_array_equal(drop_specks(mask, 3.5), drawn("##.....", "##.....", "......."))
    assert not drop_specks(mask, 5).any()
    np.testing.assert_array_equal(drop_specks(mask, 0), mask)


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    mask = drawn("#...", ".#..", "..#.", "....")
    np.testing.assert_array_equal(drop_specks(mask, 3), mask)


def test_a_full_mask_is_one_part_and_an_empty_one_none() -> None:
    assert drop_specks(np.ones((4, 5), np.bool_), 20).all()
    assert not drop_specks(np.zeros((4, 5), np.bool_), 2).any()


def test_what_lies_around_the_parts_never_becomes_one() -> None:
    assert drop_specks(square(2, 2, 2), 3).sum() == 4


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(0, 12))
def test_every_part_that_is_left_is_large_enough_and_every_large_one_is_left(
    mask: Bool, area: int
) -> None:
    before = mask.copy()
    expected = np.zeros_like(mask)
    for part in parts_of(mask):
        if part.sum() >= area:
            expected |= part
    np.testing.assert_array_equal(drop_specks(mask, area), expected)
    np.testing.assert_array_equal(mask, before)


def parts_of(mask: Bool) -> list[Bool]:
    """Connected parts, by growing each from one pixel until it grows no more."""
    parts, left = [], mask.copy()
    while left.any():
        part = np.zeros_like(mask)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            wide = np.pad(part, 1)
            shifts = [
                wide[r : r + mask.shape[0], c : c + mask.shape[1]]
                for r in range(3)
                for c in range(3)
            ]
            grown = np.logical_or.reduce(shifts) & mask
            if (grown == part).all():
                break
            part = grown
        parts.append(part)
        left &= ~part
    return parts


# Gaps


def test_a_square_that_moves_steadily_is_given_back_exactly() -> None:
    masks = np.stack([square(3 + t, 2 + 4 * t, 5) for t in range(8)])
    for gone in ((1,), (3,), (2, 3), (1, 2, 3, 4, 5, 6), (1, 3, 5, 6)):
        np.testing.assert_array_equal(fill_gaps(without(masks, *gone), 6), masks)


def test_a_thing_that_leaves_no_whole_pixels_per_frame_keeps_its_shape() -> None:
    thing = drawn("#####", "#....", "###..", "#....")
    masks = np.zeros((4, 9, 12), np.bool_)
    masks[0, 1:5, 1:6] = masks[3, 3:7, 6:11] = thing
    filled = fill_gaps(masks, 2)
    # A third of (2, 5) is (0.67, 1.67), two thirds are (1.33, 3.33).
    np.testing.assert_array_equal(filled[1, 2:6, 3:8], thing)
    np.testing.assert_array_equal(filled[2, 2:6, 4:9], thing)
    assert (filled.sum(axis=(1, 2)) == thing.sum()).all()


def test_a_growing_square_is_given_back_in_between() -> None:
    masks = np.stack([square(9 - t, 9 - t, 5 + 2 * t) for t in range(3)])
    np.testing.assert_array_equal(fill_gaps(without(masks, 1), 1), masks)


def test_growth_is_even_in_time() -> None:
    masks = np.stack([square(9 - t, 9 - t, 5 + 2 * t, (30, 30)) for t in range(5)])
    np.testing.assert_array_equal(fill_gaps(without(masks, 1, 2, 3), 3), masks)
    slow = np.zeros((11, 24, 40), np.bool_)
    slow[0], slow[10] = square(9, 9, 5), square(7, 7, 9)
    # Half the width is 2.5 + 0.2 t, and a pixel is in when its middle is.
    widths = fill_gaps(slow, 9)[:, 11].sum(axis=1)
    assert widths.tolist() == [5, 5, 5, 7, 7, 7, 7, 7, 9, 9, 9]


def test_a_growing_disc_stays_round() -> None:
    rows, columns = np.mgrid[-20:21, -20:21]
    discs = np.stack([rows**2 + columns**2 <= radius**2 for radius in (5, 10, 15)])
    filled = fill_gaps(without(discs, 1), 1)
    assert iou(filled[1], discs[1]) > 0.98


def test_shapes_that_meet_no_better_where_they_are_are_moved() -> None:
    lying, standing = np.zeros((2, 24, 40), np.bool_)
    lying[10, 5:16] = standing[5:16, 15] = True  # they meet in one pixel, moved or not
    filled = fill_gaps(np.stack([lying, np.zeros_like(lying), standing]), 1)
    assert np.argwhere(filled[1]).tolist() == [[10, 13]]


def test_a_square_that_moves_and_shrinks_is_given_back_in_between() -> None:
    masks = np.stack([square(2 + t, 2 + 4 * t, 9 - 2 * t) for t in range(3)])
    np.testing.assert_array_equal(fill_gaps(without(masks, 1), 1), masks)


def test_the_frames_edge_cuts_nothing_off() -> None:
    masks = np.stack([square(5 * t, 9 * t, 4, (19, 31)) for t in range(4)])
    np.testing.assert_array_equal(fill_gaps(without(masks, 1, 2), 2), masks)
    np.testing.assert_array_equal(fill_gaps(without(masks, 1, 2)[::-1], 2), masks[::-1])
    whole = np.ones((3, 6, 7), np.bool_)
    np.testing.assert_array_equal(fill_gaps(without(whole, 1), 1), whole)


@pytest.mark.parametrize(("gap", "max_gap", "filled"), [(3, 3, True), (3, 2, False), (1, 0, False)])
def test_only_gaps_of_at_most_max_gap_are_filled(gap: int, max_gap: int, filled: bool) -> None:
    masks = np.stack([square(3, 2 + 4 * t, 5) for t in range(gap + 2)])
    holed = without(masks, *range(1, gap + 1))
    np.testing.assert_array_equal(fill_gaps(holed, max_gap), masks if filled else holed)


def test_frames_before_the_first_mask_and_after_the_last_stay_empty() -> None:
    masks = np.stack([square(3, 2 + 4 * t, 5) for t in range(7)])
    filled = fill_gaps(without(masks, 0, 3, 5, 6), 5)
    assert filled.any(axis=(1, 2)).tolist() == [False, True, True, True, True, False, False]
    assert not fill_gaps(np.zeros((4, 5, 6), np.bool_), 3).any()


def test_when_a_part_vanishes_the_rest_stays_where_it_stood() -> None:
    left, right = square(8, 2, 7), square(8, 30, 7)
    masks = np.stack([left | right, np.zeros_like(left), left])
    # On top of each other by their centroids, 18 columns apart, they would not meet at all.
    np.testing.assert_array_equal(fill_gaps(masks, 1)[1], left)


def test_where_nothing_lies_between_the_nearer_mask_is_taken_where_it_is() -> None:
    apart, one = square(2, 2, 5) | square(2, 32, 5), square(11, 17, 5)
    masks = np.zeros((6, *one.shape), np.bool_)
    masks[0], masks[5] = apart, one
    np.testing.assert_array_equal(fill_gaps(masks, 4), [apart, apart, apart, one, one, one])


MASKS = arrays(
    np.bool_,
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9)),
    elements=st.integers(0, 3).map(lambda n: n == 0),
)


@given(MASKS, st.lists(st.integers(0, 6)), st.integers(0, 4))
def test_what_is_seen_stays_and_what_is_filled_lies_among_its_neighbours(
    masks: Bool, gone: list[int], max_gap: int
) -> None:
    masks[[t for t in gone if t < len(masks)]] = False
    before = masks.copy()
    filled = fill_gaps(masks, max_gap)
    np.testing.assert_array_equal(masks, before)
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    np.testing.assert_array_equal(filled[seen], masks[seen])
    for t in range(len(masks)):
        earlier, later = seen[seen < t], seen[seen > t]
        short = earlier.size and later.size and later[0] - earlier[-1] - 1 <= max_gap
        if t not in seen:
            assert filled[t].any() == bool(short)
        if t not in seen and short:
            both = masks[earlier[-1]] | masks[later[0]]
            for axis in (0, 1):
                lines, allowed = filled[t].any(axis), np.flatnonzero(both.any(axis))
                assert not lines[: allowed[0]].any()
                assert not lines[allowed[-1] + 1 :].any()


@given(MASKS, st.integers(0, 3), st.integers(0, 3))
def test_a_wider_frame_changes_nothing(masks: Bool, above: int, beside: int) -> None:
    wide = ((0, 0), (above, 2), (beside, 1))
    masks[1:-1:2] = False
    np.testing.assert_array_equal(
        fill_gaps(np.pad(masks, wide), 3), np.pad(fill_gaps(masks, 3), wide)
    )


# Real masks


@pytest.mark.clips
def test_real_masks_come_back_better_than_from_the_nearest_frame(clips_root: Path) -> None:
    """Every fifth frame's mask is taken out; those between two others are compared."""
    filled_ious, nearest_ious = [], []
    for action in ("golf", "kick_ball", "run", "climb_stairs", "swing_baseball"):
        path = clips_root / "jhmdb12" / "masks" / f"{action}.json"
        document = from_json(json.loads(path.read_text(encoding="utf-8")))
        for video in list(document.values())[:6]:
            for instance in video.instances:
                if not instance.human:
                    continue
                truth = np.zeros((video.num_frames, video.height, video.width), np.bool_)
                for frame, mask in decode(instance.rles, video.height, video.width):
                    truth[frame] = drop_specks(mask, 0.0005 * mask.size)
                whole = truth.any(axis=(1, 2))
                gone = [t for t in range(2, len(truth) - 1, 5) if whole[t - 1 : t + 2].all()]
                filled = fill_gaps(without(truth, *gone), 1)
                filled_ious += [iou(filled[t], truth[t]) for t in gone]
                nearest_ious += [iou(truth[t - 1], truth[t]) for t in gone]
    assert len(filled_ious) > 100
    assert np.mean(filled_ious) > 0.8
    assert np.mean(filled_ious) > np.mean(nearest_ious) + 0.01


def iou(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_distances_do_not_depend_on_where_a_picture_lies_in_memory() -> None:
    rows, columns = np.mgrid[:113, :79]
    disc = (((rows - 55) / 50) ** 2 + ((columns - 40) / 33) ** 2 < 1).astype(np.uint8)
    room = np.zeros(disc.size + 64, np.uint8)
    found = []
    for offset in range(64):
        canvas = room[offset : offset + disc.size].reshape(disc.shape)
        canvas[:] = disc
        found.append(_distance(canvas))
    assert all((one == found[0]).all() for one in found)
    squares = found[0].astype(np.float64) ** 2
    np.testing.assert_allclose(squares, np.rint(squares), rtol=1e-6)
