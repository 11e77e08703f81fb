"""Masks: run lengths, what counts as foreground, and the YouTube-VIS form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from compositing.masks import (
    Instance,
    Unmasked,
    VideoMasks,
    bounding_box,
    decode,
    encode,
    from_json,
    no_masks,
    to_json,
)
from compositing.refinement import drop_specks, fill_gaps
from compositing.segmenters.mask_files import MaskFiles
from compositing.settings import PrepareSettings
from l2a.files import write_json
from l2a.media import Frames
from l2a.videos import Video

# Lets everything pass, and does nothing to it.
ALL = PrepareSettings(score_threshold=0.0, max_gap=0, min_speck=0.0)

PERSON = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.bool_)
BALL = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.bool_)


def two_instances() -> VideoMasks:
    """A person seen in frames 0 and 1, and an unsure ball seen in frame 1, in 3 x 4 pixels."""
    empty = np.zeros_like(PERSON)
    return VideoMasks(
        3,
        4,
        3,
        (
            Instance("Person", 0.9, encode(np.stack([PERSON, PERSON, empty]))),
            Instance("ball", 0.4, encode(np.stack([empty, BALL, empty]))),
        ),
    )


def document(**changes: Any) -> dict[str, Any]:
    """A hand-written document: one pixel at row 1, column 0 of a 2 x 3 frame, in frame 1 of 2."""
    annotation: dict[str, Any] = {
        "id": 7,
        "video_id": 3,
        "category_id": 1,
        # Column-major: one 0, one 1, four 0.
        "segmentations": [None, {"size": [2, 3], "counts": [1, 1, 4]}],
    }
    return {
        "videos": [{"id": 3, "file_name": "a/b.avi", "height": 2, "width": 3, "length": 2}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{**annotation, **changes}],
    }


@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_run_lengths_give_back_every_mask(masks: np.ndarray) -> None:
    rles = encode(masks)
    decoded = dict(decode(rles, *masks.shape[1:]))
    for frame, mask in enumerate(masks):
        assert (rles[frame] is None) == (not mask.any())
        np.testing.assert_array_equal(decoded.get(frame, np.zeros_like(mask)), mask)


def test_union_takes_all_instances_of_a_frame() -> None:
    union = two_instances().union(ALL)
    assert union.dtype == np.bool_
    np.testing.assert_array_equal(union, [PERSON, PERSON | BALL, np.zeros_like(PERSON)])


def test_a_score_at_the_threshold_passes_and_one_below_does_not() -> None:
    masks = two_instances()
    assert masks.union(replace(ALL, score_threshold=0.4))[1].sum() == 3
    assert masks.union(replace(ALL, score_threshold=0.41))[1].sum() == 2
    assert not masks.union(replace(ALL, score_threshold=0.91)).any()


def test_humans_only_keeps_persons_in_any_case() -> None:
    np.testing.assert_array_equal(two_instances().union(replace(ALL, humans_only=True))[1], PERSON)


def test_boxes_are_tight_and_per_instance() -> None:
    box = np.zeros((3, 4), np.bool_)
    box[0:2, 0:2] = True
    union = two_instances().union(replace(ALL, boxes=True))
    # One box around both instances would fill the frame.
    np.testing.assert_array_equal(union[1], box | BALL)


def test_with_scores_each_frame_is_judged_by_its_own() -> None:
    person = Instance("person", 0.9, encode(np.stack([PERSON] * 3)), (0.9, 0.2, 0.5))
    masks = VideoMasks(3, 4, 3, (person,))
    for threshold, frames in ((0.5, [True, False, True]), (0.51, [True, False, False])):
        union = masks.union(replace(ALL, score_threshold=threshold))
        assert union.any(axis=(1, 2)).tolist() == frames
    # A frame that is not sure enough is a gap, and filled as one.
    assert masks.union(replace(ALL, score_threshold=0.5, max_gap=1)).any(axis=(1, 2)).all()


def moving(sides: dict[int, int], count: int = 4, category: str = "person") -> Instance:
    """In frame t, where `sides` names one, a square at row 4 and column 4 + 2t of 20 x 30."""
    masks = np.zeros((count, 20, 30), np.bool_)
    for t, side in sides.items():
        masks[t, 4 : 4 + side, 4 + 2 * t : 4 + 2 * t + side] = True
    return Instance(category, 1.0, encode(masks))


def test_a_speck_makes_no_box_larger_and_ends_no_gap() -> None:
    person = moving({0: 6, 1: 1, 2: 6})  # in frame 1 one pixel, which is no detection
    masks = VideoMasks(20, 30, 4, (person,))
    settings = replace(ALL, boxes=True, min_speck=2 / 600, max_gap=1)
    expected = np.zeros((4, 20, 30), np.bool_)
    for t in range(3):
        expected[t, 4:10, 4 + 2 * t : 10 + 2 * t] = True
    np.testing.assert_array_equal(masks.union(settings), expected)
    assert masks.union(replace(settings, min_speck=1 / 600))[1].sum() == 1
    corner = np.zeros((1, 20, 30), np.bool_)
    corner[0, 4:10, 4:10] = corner[0, 19, 29] = True
    speckled = VideoMasks(20, 30, 1, (Instance("person", 1.0, encode(corner)),))
    assert speckled.union(settings).sum() == 36
    assert speckled.union(replace(settings, min_speck=0.0)).sum() == 16 * 26


def test_boxes_are_drawn_around_what_was_filled_in() -> None:
    diamond = np.abs(np.arange(9)[:, None] - 4) + np.abs(np.arange(9) - 4) <= 4
    frames = np.zeros((3, 20, 30), np.bool_)
    frames[0, 5:14, 2:11] = frames[2, 5:14, 14:23] = diamond
    masks = VideoMasks(20, 30, 3, (Instance("person", 1.0, encode(frames)),))
    filled = masks.union(replace(ALL, boxes=True, max_gap=1))[1]
    box = np.zeros((20, 30), np.bool_)
    box[5:14, 8:17] = True
    np.testing.assert_array_equal(filled, box)


def test_a_gap_belongs_to_one_instance() -> None:
    one, other = moving({0: 6}), moving({2: 6})
    union = VideoMasks(20, 30, 4, (one, other)).union(replace(ALL, max_gap=3))
    assert union.any(axis=(1, 2)).tolist() == [True, False, True, False]


def test_with_temporal_or_every_frame_has_the_masks_of_all() -> None:
    masks = two_instances()
    np.testing.assert_array_equal(masks.union(replace(ALL, temporal_or=True)), [PERSON | BALL] * 3)
    without_ball = masks.union(replace(ALL, temporal_or=True, score_threshold=0.5))
    np.testing.assert_array_equal(without_ball, [PERSON] * 3)
    assert not no_masks(3, 4, 2).union(replace(ALL, temporal_or=True)).any()


def scattered(seed: int) -> np.ndarray:
    """bool [6, 7, 8]: pixels here and there, and in about every third frame none."""
    rng = np.random.default_rng(seed)
    return (rng.random((6, 7, 8)) < 0.3) & (rng.random((6, 1, 1)) < 0.7)


INSTANCES = st.lists(
    st.tuples(
        st.sampled_from(["person", "ball"]),
        st.integers(0, 10**6).map(scattered),
        st.none() | st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 6),
        st.sampled_from([0.25, 0.5, 1.0]),
    ),
    max_size=3,
)
SETTINGS = st.builds(
    PrepareSettings,
    score_threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    humans_only=st.booleans(),
    boxes=st.booleans(),
    max_gap=st.integers(0, 3),
    temporal_or=st.booleans(),
    min_speck=st.sampled_from([0.0, 0.03, 0.06]),
)


def instances_of(drawn: list[Any]) -> tuple[Instance, ...]:
    return tuple(
        Instance(category, max(scores) if scores else score, encode(masks), scores)
        for category, masks, scores, score in drawn
    )


@given(INSTANCES, SETTINGS)
def test_union_is_what_its_steps_give_on_whole_frames(
    drawn: list[Any], settings: PrepareSettings
) -> None:
    expected = np.zeros((6, 7, 8), np.bool_)
    for instance in instances_of(drawn):
        if settings.humans_only and instance.category != "person":
            continue
        masks = np.zeros_like(expected)
        for t, mask in decode(instance.rles, 7, 8):
            score = instance.scores[t] if instance.scores else instance.score
            if score >= settings.score_threshold:
                masks[t] = drop_specks(mask, settings.min_speck * 56)
        masks = fill_gaps(masks, settings.max_gap)
        expected |= np.stack([bounding_box(m) for m in masks]) if settings.boxes else masks
    if settings.temporal_or:
        expected |= expected.any(axis=0)
    union = VideoMasks(7, 8, 6, instances_of(drawn)).union(settings)
    np.testing.assert_array_equal(union, expected)


@given(INSTANCES)
def test_merged_takes_everything_as_it_is(drawn: list[Any]) -> None:
    masks = VideoMasks(7, 8, 6, instances_of(drawn))
    np.testing.assert_array_equal(masks.merged(), masks.union(ALL))


@given(INSTANCES, st.sampled_from(["", "a remark"]))
def test_masks_that_were_written_are_read_back_equal(drawn: list[Any], note: str) -> None:
    masks = VideoMasks(7, 8, 6, instances_of(drawn), note)
    document = to_json(masks, "run/a\\b.avi", {})  # a name that Linux allows
    assert from_json(json.loads(json.dumps(document))) == {"run/a\\b.avi": masks}
    for instance, row in zip(masks.instances, document["annotations"], strict=True):
        assert ("scores" in row) == (instance.scores is not None)


def test_the_segmenter_of_masks_gives_back_what_was_written(tmp_path: Path) -> None:
    video = Video("videos/run/a.avi", tmp_path / "a.avi", "run", "a", "train")
    frames = Frames(np.zeros((4, 20, 30, 3), np.uint8), np.arange(4) / 25, 25.0)
    steady, wavering = moving({0: 6, 1: 6, 3: 7}), moving({1: 5, 2: 4}, category="ball")
    wavering = replace(wavering, score=0.7, scores=(0.0, 0.7, 1 / 3, 0.0))
    for instances, note in (((steady, wavering), ""), ((steady,), "a remark"), ((), "too dark")):
        masks = VideoMasks(20, 30, 4, instances, note)
        write_json(tmp_path / "masks.json", to_json(masks, video.id, {}))
        assert MaskFiles(tmp_path / "masks.json")(video, frames) == masks


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "not a run-length text"),
        ("5", "do not fill"),  # too short: five pixels of fifteen
        ("9220003999", "do not fill"),
        ("9O", "do not fill"),  # nine, then minus one
        ("o", "not a run-length text"),  # says that more follows
        ("abc\x7f", "not a run-length text"),
        ("oooooooo0", "32 bits"),
        ("é", "ascii"),
    ],
)
def test_damaged_run_lengths_are_refused(counts: str, message: str) -> None:
    masks = VideoMasks(3, 5, 1, (Instance("person", 1.0, (counts,)),))
    with pytest.raises(ValueError, match=message):
        masks.union(ALL)
    with pytest.raises(ValueError, match=message):
        to_json(masks, "a.avi", {})


@pytest.mark.parametrize("counts", [[6], [2, 0, 4], [6, 0], [0, 0, 6]])
def test_runs_of_no_pixel_are_no_mask(counts: list[int]) -> None:
    segmentations = [{"size": [2, 3], "counts": counts}, {"size": [2, 3], "counts": [0, 0, 5, 1]}]
    (masks,) = from_json(document(segmentations=segmentations)).values()
    for settings in (ALL, replace(ALL, boxes=True)):
        assert np.argwhere(masks.union(settings)).tolist() == [[1, 1, 2]]


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_decoding_agrees_with_pycocotools(mask: np.ndarray) -> None:
    counts = encode(mask[None])[0] or coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
    text = counts if isinstance(counts, str) else counts.decode()
    ((_, ours),) = decode([text], *mask.shape)
    np.testing.assert_array_equal(ours, mask)
    assert int(coco.area({"size": list(mask.shape), "counts": text})) == mask.sum()


def test_a_document_comes_back_as_it_was_written() -> None:
    masks = replace(two_instances(), note="a remark")
    written = json.loads(json.dumps(to_json(masks, "a/b.avi", {"segmenter": "stub 1"})))
    assert from_json(written) == {"a/b.avi": masks}
    assert written["info"]["segmenter"] == "stub 1"
    ball = next(
        row
        for row in written["annotations"]
        if written["categories"][row["category_id"] - 1]["name"] == "ball"
    )
    assert ball["areas"] == [None, 1, None]
    assert ball["bboxes"] == [None, [3, 2, 1, 1], None]


def test_a_document_without_instances_keeps_its_size_and_note() -> None:
    masks = no_masks(5, 7, 4, "nothing moves in it")
    assert from_json(to_json(masks, "x.mp4", {})) == {"x.mp4": masks}
    assert masks.union(ALL).shape == (4, 5, 7)


def test_uncompressed_run_lengths_are_column_major_and_no_score_is_one() -> None:
    (masks,) = from_json(document()).values()
    assert masks.instances[0].score == 1.0
    expected = np.zeros((2, 2, 3), np.bool_)
    expected[1, 1, 0] = True
    np.testing.assert_array_equal(masks.union(replace(ALL, score_threshold=1.0)), expected)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (document(score=1.5), "score 1.5"),
        (document(score=10**400), "YouTube-VIS form"),
        (document(score=float("nan")), "score nan"),
        (document(scores=[0.5, 1.5]), "score 1.5"),
        (document(scores=[-0.1, 0.5]), "score -0.1"),
        (document(scores=[0.5, float("nan")]), "score nan"),
        (document(scores=[0.5, float("inf")]), "score inf"),
        (document(scores=[0.5]), "annotation 7 has 1 scores, but 2 segmentations"),
        (document(scores=[]), "annotation 7 has 0 scores, but 2 segmentations"),
        (document(scores=0.5), "YouTube-VIS form"),
        (document(segmentations=[None]), "2 frames, but 1 segmentations"),
        (document(segmentations=[None, {"size": [2, 3], "counts": [1, 9]}]), "do not fill 2x3"),
        (document(segmentations=[None, {"size": [2, 3], "counts": [9, -3]}]), "do not fill 2x3"),
        (
            document(segmentations=[None, {"size": [2, 3], "counts": [2**62] * 4 + [6]}]),
            "do not fill 2x3",
        ),
        (document(category_id=9), "lacks 9"),
        (document(video_id=4), "lacks 4"),
        (document(segmentations=None), "YouTube-VIS form"),
        ({**document(), "videos": None}, "YouTube-VIS form"),
        ({}, "lacks 'categories'"),
        ([], "YouTube-VIS form"),
    ],
)
def test_what_is_wrong_with_a_document_is_said(broken: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(broken)


@given(st.integers(0, 4), st.integers(0, 4))
def test_union_never_changes_with_settings_that_let_everything_pass(a: int, b: int) -> None:
    masks = two_instances()
    before = masks.union(ALL).copy()
    masks.union(PrepareSettings(score_threshold=a / 4, humans_only=bool(b % 2), boxes=b > 2))
    np.testing.assert_array_equal(masks.union(ALL), before)


@pytest.mark.parametrize(
    ("without", "hold", "seen", "lost"),
    [
        ([], 0, "101101", "000000"),
        ([2, 3], 0, "110011", "001100"),  # the actor is lost between: nobody knows where it was
        ([2, 3], 0, "111011", "000100"),
        ([2, 3], 0, "100001", "000000"),  # no actor before and none behind
        ([1, 2, 3], 0, "100011", "011100"),
        ([1, 2, 3], 0, "000000", "011100"),  # longer than gaps that are filled
        ([0, 1], 9, "000011", "110000"),
        ([4, 5], 0, "111100", "000011"),
        ([4, 5], 1, "111110", "000001"),
        ([3, 4, 5], 9, "111110", "000001"),
        ([0, 1, 2, 3, 4, 5], 9, "000000", "111111"),
    ],
)
def test_frames_without_masks_are_lost_where_an_actor_may_be_in_them(
    without: list[int], hold: int, seen: str, lost: str
) -> None:
    masks = VideoMasks(7, 8, 6, (), unmasked=Unmasked(tuple(without), hold))
    found = masks.lost(np.array([letter == "1" for letter in seen]), 2)
    assert "".join(map(str, found.astype(int))) == lost


def test_frames_without_masks_are_stored() -> None:
    masks = replace(two_instances(), unmasked=Unmasked((1, 2), 1))
    assert from_json(to_json(masks, "a", {}))["a"] == masks
    document = to_json(masks, "a", {})
    document["info"]["unmasked"]["frames"] = [2, 1]
    with pytest.raises(ValueError, match="unmasked"):
        from_json(document)
