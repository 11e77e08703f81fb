"""How much of a budget each match of classes gets, and that a choice keeps to it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from l2a.errors import InputError
from selector.caps import Caps, SelectionLimits, split_matches
from selector.rank import select_random, select_top
from selector.score import RandomScorer
from semantic_match.match import ClassMatch, match_classes, match_weights, table_of
from semantic_match.partners import AnyClass, Nearest, parse_matches
from semantic_match.pool import Pool
from semantic_match.weights import WHOLE, Independent, Weighted

ANGLES = np.radians([0, 60, 90])  # cosines .5, 0 and .866
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
NAMES = ("a", "b", "c")


# Specifications.


def test_the_words_by_hand() -> None:
    assert parse_matches("nearest") == (Nearest(1),)
    assert parse_matches("any") == (AnyClass(),)
    assert match_classes(NAMES, PLANE, "any") == match_classes(NAMES, PLANE, "all+same-class")
    assert match_classes(NAMES, PLANE, "nearest") == match_classes(NAMES, PLANE, "1")
    assert match_classes(NAMES, PLANE, "independent") == match_classes(NAMES, PLANE, "any")
    assert match_classes(NAMES, PLANE, "weighted:1") == match_classes(NAMES, PLANE, "all")
    assert len(match_classes(NAMES[:1], PLANE[:1], "any")) == 1


@pytest.mark.parametrize(
    "spec, message",
    [
        ("weighted:0", "gives no temperature"),
        ("weighted:warm", "weighted:0.1"),
        ("weighted:nan", "gives no temperature"),
        ("weighted:0.1+same-class", "one of them alone"),
        ("1+independent", "one of them alone"),
        ("independant", "perhaps 'independent' is meant"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_matches(spec)


def test_weighted_needs_another_class() -> None:
    with pytest.raises(InputError, match="no other class"):
        match_classes(NAMES[:1], PLANE[:1], "weighted:1")


def test_weights_are_a_softmax_of_the_similarity_by_hand() -> None:
    weights = match_weights(PLANE, "weighted:0.5", np.array([9, 1, 5]))
    assert weights is not None
    # From a: exp(.5 / .5) to b against exp(0) to c.
    share = np.e / (np.e + 1)
    assert weights[0].tolist() == [0, round(WHOLE * share), round(WHOLE * (1 - share))]
    assert weights.diagonal().tolist() == [0, 0, 0]
    # Cold, it is the nearest class alone, and a class without a share is no partner.
    assert match_classes(NAMES, PLANE, "weighted:0.001") == match_classes(NAMES, PLANE, "1")


def test_independent_weights_are_the_scenes_that_there_are() -> None:
    weights = match_weights(PLANE, "independent", np.array([4, 0, 2]))
    assert weights is not None and weights.tolist() == [[4, 0, 2]] * 3
    assert match_weights(PLANE, "1", np.array([4, 0, 2])) is None
    assert Independent().weigh(PLANE, np.array([1])).shape == (3, 1)
    assert Weighted(1.0).temperature == 1.0


def test_the_table_says_each_share() -> None:
    matches = match_classes(NAMES[:2], PLANE[:2], "independent")
    weights = match_weights(PLANE[:2], "independent", np.array([3, 1]))
    rows = table_of(NAMES[:2], matches, weights)
    assert [row[3] for row in rows] == ["share", "75.0 %", "25.0 %", "25.0 %", "75.0 %"]
    assert [len(row) for row in table_of(NAMES[:2], matches)] == [3] * 5


# Whole shares.


def test_shares_by_hand() -> None:
    plenty = np.full((2, 2), 100)
    # p(f) = 3/4, 1/4 and p(b) = 1/2, 1/2 of 8 pairs.
    shares, short = split_matches(8, [3, 1], np.array([[1, 1], [1, 1]]), plenty)
    assert shares.tolist() == [[3, 3], [1, 1]] and short == ()
    # Three pairs of each class on two scenes: no column gets both of the odd ones.
    shares, _ = split_matches(6, [1, 1], np.array([[1, 1], [1, 1]]), plenty)
    assert shares.tolist() == [[2, 1], [1, 2]]


def test_what_a_match_cannot_fill_goes_to_its_own_class_first() -> None:
    capacity = np.array([[1, 9, 9], [9, 9, 9], [9, 9, 9]])
    weights = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]])
    shares, short = split_matches(18, [1, 1, 1], weights, capacity)
    assert shares.sum(axis=1).tolist() == [6, 6, 6] and short == ()
    assert shares[0].tolist() == [1, 5, 0]  # nothing where there is no weight
    capacity[0] = [1, 2, 2]
    shares, short = split_matches(18, [1, 1, 1], weights, capacity)
    assert shares[0].tolist() == [1, 2, 2] and short == (0,)  # but when all else is full
    assert shares.sum() == 18


Case = tuple[list[int], list[list[tuple[int, int]]], float]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, 6))
    cell = st.tuples(st.integers(0, 9), st.integers(0, 12))
    rows = draw(st.lists(st.lists(cell, min_size=count, max_size=count), min_size=count,
                         max_size=count))  # fmt: skip
    weights = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    return weights, rows, draw(st.floats(0, 1))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_shares_meet_the_budget_and_exceed_no_capacity(case: Case) -> None:
    weights, rows, part = case
    given_, capacity = (np.array([[cell[i] for cell in row] for row in rows]) for i in (0, 1))
    budget = round(part * int(capacity.sum()))
    shares, _ = split_matches(budget, weights, given_, capacity)
    assert shares.sum() == budget
    assert (shares >= 0).all() and (shares <= capacity).all()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=7),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
)
def test_both_margins_of_independent_shares_hold(actors: list[int], budget: int, seed: int) -> None:
    scenes = np.random.default_rng(seed).permutation(actors)
    count = len(actors)
    shares, _ = split_matches(
        budget, actors, np.tile(scenes, (count, 1)), np.full((count, count), budget)
    )
    for axis, given_ in ((1, np.array(actors)), (0, scenes)):
        ideal = budget * given_ / given_.sum()
        assert np.abs(shares.sum(axis=axis) - ideal).max() < 1
    assert shares.sum() == budget


# The choice.


def world(per_class: tuple[int, ...]) -> tuple[Pool, NDArray[np.int64]]:
    """A pool of every class with every class, and the class of each row."""
    ends = np.cumsum(per_class)
    rows = [list(range(start, stop)) for start, stop in pairwise([0, *ends.tolist()])]
    count = range(len(rows))
    matches = [ClassMatch(f, b, 0.0) for f in count for b in count]
    return Pool(rows, rows, matches), np.repeat(np.arange(len(rows)), per_class)


def taken(pairs: NDArray[np.int64], classes: NDArray[np.int64]) -> list[list[int]]:
    count = int(classes.max()) + 1
    found = np.zeros((count, count), np.int64)
    np.add.at(found, tuple(classes[pairs].T), 1)
    return found.tolist()  # type: ignore[no-any-return]


class Liking(RandomScorer):
    """Likes low numbers: the first matches of the pool, whole."""

    def __call__(self, numbers: NDArray[np.int64], pairs: object) -> torch.Tensor:
        return torch.from_numpy(-numbers.astype(np.float32))


@pytest.mark.parametrize("caps", [Caps(), Caps(foreground=2, background=2, class_match=1)])
def test_a_choice_holds_quotas_per_match_exactly(caps: Caps) -> None:
    pool, classes = world((6, 3))
    weights = np.array([[2, 1], [2, 1]])
    limits = SelectionLimits(classes, caps, None, [2, 1], weights)
    wanted = [[4, 2], [2, 1]]
    best = select_top(pool, Liking(0), 9, limits, spares=9)
    assert taken(best.pairs, classes) == wanted and best.short == ()
    assert best.caps is None or best.caps.class_match is None
    # The spare ones make it a choice of twice as many.
    assert taken(np.concatenate([best.pairs, best.spares.pairs]), classes) == [[8, 4], [4, 2]]
    drawn = select_random(pool, 9, np.random.default_rng(0), limits)
    assert taken(drawn.pairs, classes) == wanted
    assert drawn.pairs.tolist() != best.pairs.tolist()


def test_within_a_match_the_best_are_chosen() -> None:
    pool, classes = world((6, 3))
    limits = SelectionLimits(classes, Caps(), None, [1, 1], np.array([[1, 0], [0, 1]]))
    found = select_top(pool, Liking(0), 4, limits)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [6, 7], [6, 8]]


def test_a_match_without_pairs_gives_its_share_to_its_class() -> None:
    pool, classes = world((1, 4))  # one video alone makes no pair with itself
    limits = SelectionLimits(classes, Caps(), None, [1, 1], np.array([[1, 1], [1, 1]]))
    assert taken(select_top(pool, Liking(0), 8, limits).pairs, classes) == [[0, 4], [2, 2]]


def test_quotas_per_match_need_those_of_classes() -> None:
    with pytest.raises(ValueError, match="nothing to split"):
        SelectionLimits(np.zeros(2, np.int64), background_weights=np.ones((1, 1), np.int64))
