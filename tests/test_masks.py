"""Masks: run lengths, what counts as foreground, and the YouTube-VIS form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from compositing.masks import Instance, VideoMasks, decode, encode, from_json, no_masks, to_json
from compositing.settings import PrepareSettings

ALL = PrepareSettings(score_threshold=0.0)

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


def test_at_picks_frames_in_the_order_asked_for() -> None:
    picked = two_instances().at(np.array([2, 1, 1]))
    assert picked.num_frames == 3
    assert picked.union(ALL).sum(axis=(1, 2)).tolist() == [0, 3, 3]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "no run-length text"),
        ("5", "do not fill"),  # too short: five pixels of fifteen
        ("9220003999", "do not fill"),
        ("9O", "do not fill"),  # nine, then minus one
        ("o", "no run-length text"),  # says that more follows
        ("abc\x7f", "no run-length text"),
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
    np.testing.assert_array_equal(masks.union(PrepareSettings(score_threshold=1.0)), expected)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (document(score=1.5), "score 1.5"),
        (document(score=float("nan")), "score nan"),
        (document(segmentations=[None]), "2 frames, but 1 segmentations"),
        (document(segmentations=[None, {"size": [2, 3], "counts": [1, 9]}]), "do not fill 2x3"),
        (document(segmentations=[None, {"size": [2, 3], "counts": [9, -3]}]), "do not fill 2x3"),
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
