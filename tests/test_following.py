"""Detections of single frames, followed through a video as instances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compositing.alignment import find_cuts
from compositing.masks import VideoMasks, decode
from compositing.run_lengths import MaskPatch, encode
from compositing.segmenters.detections import Detection, Detections
from compositing.segmenters.following import PATIENCE, detect_and_track, track_detections
from compositing.settings import PrepareSettings

H, W = 24, 32


def square(top: int, left: int, side: int = 8) -> NDArray[np.bool_]:
    mask = np.zeros((H, W), np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def seen(mask: NDArray[np.bool_], category: str = "person", score: float = 0.9) -> Detection:
    (rle,) = encode(mask[None])
    assert rle is not None
    return Detection(category, score, rle, MaskPatch(0, 0, mask))


def tracks(frames: Sequence[Sequence[Detection]]) -> list[list[int]]:
    """Per instance, the frames in which it is seen."""
    found = track_detections(frames)
    return [[t for t, rle in enumerate(i.rles) if rle is not None] for i in found]


def lefts(instance: Any) -> list[int]:
    """The left edge of an instance's mask in each frame in which it is seen."""
    masks = [mask for _, mask in decode(instance.rles, H, W)]
    return [int(np.flatnonzero(mask.any(axis=0))[0]) for mask in masks]


def test_a_moving_square_is_one_instance_with_its_masks_and_scores() -> None:
    masks = [square(4, 2 + 3 * t) for t in range(5)]
    scores = [0.6, 0.9, 0.2, 0.8, 0.7]
    (instance,) = track_detections(
        [[seen(mask, score=score)] for mask, score in zip(masks, scores, strict=True)]
    )
    assert (instance.category, instance.score, instance.scores) == ("person", 0.9, tuple(scores))
    for frame, mask in decode(instance.rles, H, W):
        np.testing.assert_array_equal(mask, masks[frame])


def test_two_that_pass_each_other_keep_their_own_masks() -> None:
    """One walks right, one left, four rows apart: their boxes meet, listed in changing order."""
    frames = []
    for t in range(8):
        both = [seen(square(4, 3 * t)), seen(square(9, 22 - 3 * t))]
        frames.append(both if t % 2 else both[::-1])
    first, second = track_detections(frames)
    assert lefts(first) == [22 - 3 * t for t in range(8)]
    assert lefts(second) == [3 * t for t in range(8)]


def test_overlap_is_that_of_masks_and_not_of_boxes() -> None:
    """Two halves of one square, cut along its diagonal, have the same box."""
    upper = np.zeros((H, W), np.bool_)
    upper[4:20, 4:20] = np.triu(np.ones((16, 16), np.bool_), 1)
    lower = np.zeros((H, W), np.bool_)
    lower[4:20, 4:20] = np.tril(np.ones((16, 16), np.bool_), -1)
    first, second = track_detections([[seen(upper), seen(lower)], [seen(lower), seen(upper)]])
    assert first.rles == (seen(upper).rle,) * 2
    assert second.rles == (seen(lower).rle,) * 2


def test_the_best_overlap_is_given_first() -> None:
    # 2 of 8 columns off before 1 off, in the order of detections and of instances.
    found = track_detections([[seen(square(0, 4))], [seen(square(0, 6)), seen(square(0, 5))]])
    assert [lefts(i) for i in found] == [[4, 5], [6]]
    # The second instance is nearer to the only detection, though the first is older.
    found = track_detections([[seen(square(0, 2)), seen(square(0, 7))], [seen(square(0, 6))]])
    assert [lefts(i) for i in found] == [[2], [7, 6]]


def test_of_equal_overlaps_the_older_instance_and_the_earlier_detection_come_first() -> None:
    one, other = square(0, 4), square(0, 8)
    between = square(0, 6)
    assert tracks([[seen(one), seen(other)], [seen(between)]]) == [[0, 1], [0]]
    found = track_detections([[seen(between)], [seen(other), seen(one)]])
    assert [lefts(i) for i in found] == [[6, 8], [4]]


def test_what_overlaps_by_less_than_a_tenth_is_another_thing() -> None:
    # 8 of 120 pixels, then 16 of 112.
    assert tracks([[seen(square(0, 0))], [seen(square(0, 7))]]) == [[0], [1]]
    assert tracks([[seen(square(0, 0))], [seen(square(0, 6))]]) == [[0, 1]]


@pytest.mark.parametrize("missed", [1, PATIENCE])
def test_one_that_is_missed_for_a_while_stays_one_instance(missed: int) -> None:
    frames = [[seen(square(4, 4))], *[[] for _ in range(missed)], [seen(square(4, 5))]]
    assert tracks(frames) == [[0, missed + 1]]
    (instance,) = track_detections(frames)
    assert instance.scores == (0.9, *[0.0] * missed, 0.9)


def test_one_that_is_gone_for_long_is_another_when_it_comes_back() -> None:
    frames = [[seen(square(4, 4))], *[[] for _ in range(PATIENCE + 1)], [seen(square(4, 4))]]
    assert tracks(frames) == [[0], [PATIENCE + 2]]


def test_patience_outlasts_the_gaps_that_are_filled_by_default() -> None:
    assert PrepareSettings().max_gap <= PATIENCE


def test_two_categories_never_mix() -> None:
    here = square(4, 4)
    frames = [[seen(here)], [seen(here, "dog")], [seen(here, "dog"), seen(here)]]
    found = track_detections(frames)
    assert [i.category for i in found] == ["person", "dog"]
    assert tracks(frames) == [[0, 2], [1, 2]]


def test_low_scores_are_kept_for_thresholds_that_come_later() -> None:
    frames = [[seen(square(4, 4), score=s)] for s in (0.9, 0.06, 0.8)]
    (instance,) = track_detections(frames)
    assert instance.scores == (0.9, 0.06, 0.8)
    masks = VideoMasks(H, W, 3, (instance,))
    for settings, shown in (
        (PrepareSettings(score_threshold=0.05, max_gap=0), [True, True, True]),
        (PrepareSettings(score_threshold=0.5, max_gap=0), [True, False, True]),
        (PrepareSettings(score_threshold=0.85, max_gap=0), [True, False, False]),
        (PrepareSettings(score_threshold=0.5, max_gap=1), [True, True, True]),  # filled in
    ):
        assert masks.union(settings).any(axis=(1, 2)).tolist() == shown


def test_nothing_found_is_no_instance() -> None:
    assert track_detections([[], []]) == ()
    assert track_detections([]) == ()


boxes = st.tuples(
    st.integers(0, H - 4), st.integers(0, W - 4), st.integers(2, 16), st.sampled_from("ab")
)


@given(st.lists(st.lists(boxes, max_size=5), max_size=8))
def test_every_detection_is_in_exactly_one_instance_at_its_frame(
    video: list[list[tuple[int, int, int, str]]],
) -> None:
    # Scores tell the detections apart.
    numbers = iter(range(1, 1000))
    frames = [
        [seen(square(top, left, side), name, next(numbers) / 1000) for top, left, side, name in row]
        for row in video
    ]
    found = track_detections(iter(frames))
    for instance in found:
        assert instance.scores is not None
        assert len(instance.rles) == len(instance.scores) == len(frames)
        assert instance.score == max(instance.scores) > 0
        shown = [t for t, rle in enumerate(instance.rles) if rle is not None]
        assert all(b - a <= PATIENCE + 1 for a, b in pairwise(shown))
    for t, row in enumerate(frames):
        landed = [
            (i.category, i.scores[t], i.rles[t])
            for i in found
            if i.scores and i.rles[t] is not None
        ]
        assert sorted(landed) == sorted((d.category, d.score, d.rle) for d in row)
        assert all(
            (i.rles[t] is None) == (i.scores is not None and i.scores[t] == 0) for i in found
        )
    assert track_detections(frames) == found


def scene(seed: int, count: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Frames of a soft random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.repeat(picture[None], count, axis=0)


def boxed(frames: Sequence[int], count: int) -> Any:
    """A network that sees a person in the same place in some of `count` frames, one by one."""
    left = iter(range(count))

    def detect(shown: NDArray[np.uint8]) -> list[Detections]:
        found = []
        for _ in shown:
            n = int(next(left) in frames)
            boxes = np.array([[40.0, 20.0, 70.0, 80.0]] * n).reshape(n, 4)
            masks = np.ones((n, 4, 4), np.float32)
            found.append(Detections(("person",) * n, np.full(n, 0.9, np.float32), boxes, masks))
        return found

    return detect


def test_nobody_is_made_up_between_the_people_before_and_behind_a_cut() -> None:
    shown = [*range(10), *range(18, 24)]
    film = np.concatenate([scene(1, 10), scene(2, 14)])
    masks = detect_and_track(film, boxed(shown, 24), "net")
    seen_in = [[t for t, rle in enumerate(i.rles) if rle] for i in masks.instances]
    assert seen_in == [list(range(10)), list(range(18, 24))]
    union = masks.union(PrepareSettings(max_gap=12))
    assert np.flatnonzero(union.any(axis=(1, 2))).tolist() == shown
    # Without a cut it is one person, whom the network lost.
    masks = detect_and_track(scene(1, 24), boxed(shown, 24), "net")
    assert masks.union(PrepareSettings(max_gap=12)).any(axis=(1, 2)).all()


def test_cuts_are_found_and_flashes_and_pans_are_none() -> None:
    assert find_cuts(np.concatenate([scene(1, 3), scene(2, 1), scene(1, 2)])) == [3, 4]
    assert find_cuts(scene(1, 1)) == []
    flash = scene(1, 5)
    flash[2] = flash[2] // 2 + 127
    wide = scene(3, 1, 96, 400)[0]
    pan = np.stack([wide[:, 12 * t : 12 * t + 128] for t in range(20)])
    for film in (flash, pan):
        assert find_cuts(film) == []
