"""Scenes of matched classes: what a descriptor sees, and which matches are doubted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from semantic_match.match import ClassMatch
from semantic_match.scenes import (
    sample_rows,
    scene_descriptor,
    scene_distances,
    unlike_matches,
    unlike_sentence,
)


def scene(colour: tuple[int, int, int], stripes: int = 0) -> NDArray[np.uint8]:
    """A plane of one colour; `stripes` of black run down it."""
    picture = np.empty((48, 64, 3), np.uint8)
    picture[:] = colour
    if stripes:
        picture[:, :: 64 // stripes] = 0
    return picture


def test_a_descriptor_has_length_one_and_knows_colours_places_and_edges() -> None:
    green = scene_descriptor(scene((0, 200, 0)))
    assert green.shape == (216,) and green.dtype == np.float32
    assert np.linalg.norm(green) == pytest.approx(1, abs=1e-6)
    above = scene((0, 200, 0))
    above[:16] = (200, 200, 255)
    below = above[::-1].copy()
    striped = scene((0, 200, 0), stripes=8)
    across = np.ascontiguousarray(striped.transpose(1, 0, 2))
    kinds = [scene_descriptor(each) for each in (above, below, striped, across)]
    for index, kind in enumerate([green, *kinds]):
        for other in [green, *kinds][:index]:
            assert np.linalg.norm(kind - other) > 0.2
    np.testing.assert_array_equal(green, scene_descriptor(scene((10, 210, 20))))


def test_distances_by_hand() -> None:
    """On a line: class 0 at 0, 0, 2, 2 and class 1 at 10, 10, 12, 12; class 2 has one video.
    Each is a recording of its own."""
    places = np.array([[0.0], [0], [2], [2], [10], [10], [12], [12], [5]])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    distances = scene_distances(places, labels, np.arange(9), 3)
    # Between: 10 on average. Within: of 12 ordered pairs 8 are 2 apart, 4/3 on average.
    assert distances[0, 1] == distances[1, 0] == pytest.approx(10 / (4 / 3))
    assert np.isnan(distances[2]).all() and np.isnan(np.diag(distances)).all()


def world(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Six classes of five videos: 0 to 4 lie near one place, 5 far from all."""
    centres = np.vstack([rng.normal(0, 0.3, (5, 4)), np.full((1, 4), 5.0)])
    labels = np.repeat(np.arange(6), 5)
    return centres[labels] + rng.normal(0, 0.3, (30, 4)), labels


def test_only_near_names_with_far_scenes_are_doubted() -> None:
    descriptors, labels = world(np.random.default_rng(0))
    distances = scene_distances(descriptors, labels, np.arange(30), 6)
    far = int(np.nanargmax(distances[5]))
    matches = [
        ClassMatch(5, far, 0.7),  # near by name, the farthest by scene
        ClassMatch(0, 1, 0.8),  # near by both
        ClassMatch(far, 5, 0.3),  # far by both
        ClassMatch(5, 5, 1.0),  # itself
    ]
    found = unlike_matches(descriptors, labels, np.arange(30), 6, matches)
    assert [each.match for each in found] == matches[:1]
    assert found[0].rank > 0.9 and found[0].distance == distances[5, far]
    names = [f"class {index}" for index in range(6)]
    sentence = unlike_sentence(names, found)
    assert sentence.startswith(
        f"1 match of near names and unlike scenes (class 5 with class {far})"
    )
    assert unlike_sentence(names, []) == ""


def test_too_few_classes_say_nothing() -> None:
    descriptors, labels = world(np.random.default_rng(0))
    keep = labels > 1
    matches = [ClassMatch(a, b, 1.0) for a in range(4) for b in range(4) if a != b]
    each = np.arange(20)
    assert unlike_matches(descriptors[keep], labels[keep] - 2, each, 4, matches) == []


def test_a_few_videos_of_each_class_are_compared() -> None:
    labels = np.array([1, 0] * 30 + [2])
    rows = sample_rows(labels, np.arange(61), 4)
    assert rows.tolist() == [*range(40), 60]
    assert np.bincount(labels[rows], minlength=4).tolist() == [20, 20, 1, 0]
    assert len(sample_rows(np.arange(20_000) % 2000, np.arange(20_000), 2000)) == 8000


# Clips of one recording.


def test_copies_of_a_scene_do_not_make_a_class_look_even() -> None:
    """Class 0 has four scenes, 0, 2, 4 and 6, alone or four times each; class 1 four others."""
    alone = np.array([[0.0], [2], [4], [6], [20], [22], [24], [26]])
    labels, each = np.repeat([0, 1], 4), np.arange(8)
    # Between: 20 on average. Within: of six pairs 2, 4, 6, 2, 4, 2 apart: 10/3 on average.
    expected = scene_distances(alone, labels, each, 2)
    assert expected[0, 1] == pytest.approx(20 / (10 / 3))
    found = scene_distances(
        np.repeat(alone, 4, axis=0), np.repeat(labels, 4), np.repeat(each, 4), 2
    )
    assert found[0, 1] == found[1, 0] == pytest.approx(expected[0, 1])


def test_many_clips_of_three_recordings_say_nothing_of_a_class() -> None:
    places = np.arange(24.0)[:, None]
    recordings = np.array([0, 1, 2] * 4 + list(range(3, 15)))
    assert np.isnan(scene_distances(places, np.repeat([0, 1], 12), recordings, 2)).all()


def test_one_clip_of_each_recording_is_compared_before_a_second_one() -> None:
    recordings = np.repeat(np.arange(15), 3)
    rows = sample_rows(np.zeros(45, np.int64), recordings, 1)
    assert rows[recordings[rows] >= 5].tolist() == list(range(15, 45, 3))
    assert np.bincount(recordings[rows]).tolist() == [2] * 5 + [1] * 10


def test_distances_are_the_same_both_ways_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    found = scene_distances(rng.normal(size=(300, 216)), np.arange(300) % 7, np.arange(300), 7)
    assert np.array_equal(found, found.T, equal_nan=True)
