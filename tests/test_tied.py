"""How far pairs give scenes away: every figure by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semantic_match.match import ClassMatch
from semantic_match.tied import match_counts, scene_tie, tie_sentence


def test_scenes_that_give_everything_away() -> None:
    tie = scene_tie(np.array([[0, 5, 0], [0, 0, 5], [5, 0, 0]]))
    assert tie.largest.tolist() == [1, 1, 1]
    assert (tie.scenes, tie.tied) == (3, 3)
    assert tie.information == pytest.approx(math.log2(3)) and tie.share == pytest.approx(1)
    assert tie.accuracy == 1 and tie.chance == pytest.approx(1 / 3)
    assert tie_sentence(tie) == (
        "3 of 3 scene classes come with the actors of one class only: scenes give 100 % of the"
        " actors' classes away, independent pairs 33 %; --matches any ties none."
    )


def test_a_table_in_between_by_hand() -> None:
    # Scene 0: actors 3 to 1; scene 1: actor 1 alone, 4 of 8 pairs; scene 2: in no pair.
    tie = scene_tie(np.array([[3, 0, 0], [1, 4, 0]]).repeat([1, 1], axis=0))
    assert tie.largest[:2].tolist() == [0.75, 1] and np.isnan(tie.largest[2])
    assert (tie.scenes, tie.tied) == (2, 1)
    assert tie.accuracy == pytest.approx(7 / 8) and tie.chance == pytest.approx(5 / 8)
    actors = -(3 / 8 * math.log2(3 / 8) + 5 / 8 * math.log2(5 / 8))
    given_scene = 1 / 2 * -(3 / 4 * math.log2(3 / 4) + 1 / 4 * math.log2(1 / 4))
    assert tie.information == pytest.approx(actors - given_scene)
    assert tie.share == pytest.approx((actors - given_scene) / actors)
    assert "1 of 2 scene classes come" in tie_sentence(tie)


def test_nothing_is_said_where_nothing_is_tied() -> None:
    for counts in ([[2, 2], [2, 2]], [[0, 0], [0, 0]], [[3, 4], [0, 0]]):
        assert tie_sentence(scene_tie(np.array(counts))) == ""
    nothing = scene_tie(np.zeros((2, 2)))
    assert (nothing.scenes, nothing.tied, nothing.accuracy) == (0, 0, 0)


@given(
    arrays(np.int64, st.integers(1, 6), elements=st.integers(1, 20)),
    arrays(np.int64, st.integers(1, 6), elements=st.integers(1, 20)),
)
def test_independent_pairs_say_nothing(actors: np.ndarray, scenes: np.ndarray) -> None:
    tie = scene_tie(np.outer(actors, scenes))
    assert tie.information == pytest.approx(0, abs=1e-9)
    assert tie.accuracy == pytest.approx(tie.chance)


@given(arrays(np.int64, (4, 4), elements=st.integers(0, 9)))
def test_what_always_holds(counts: np.ndarray) -> None:
    tie = scene_tie(counts)
    assert 0 <= tie.share <= 1 and tie.information <= 2 + 1e-9
    assert tie.chance <= tie.accuracy + 1e-9 <= 1 + 2e-9
    assert tie.tied <= tie.scenes


def test_what_a_match_can_expect_by_hand() -> None:
    matches = [ClassMatch(0, 1, 0.5), ClassMatch(1, 0, 0.5), ClassMatch(1, 1, 1.0)]
    plain = match_counts(2, matches, np.array([3, 2]), np.array([4, 0]))
    assert plain.tolist() == [[0, 0], [1, 0]]  # class 1 lends no scenes
    weighed = match_counts(
        2, matches, np.array([3, 2]), np.array([4, 4]), np.array([[9, 1], [1, 3]])
    )
    assert weighed.tolist() == [[0, 3], [0.5, 1.5]]
