"""Pairs are numbered, drawn evenly, and never listed."""

from __future__ import annotations

import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from semantic_match.match import ClassMatch, match_classes
from semantic_match.pool import Pool

Rows = list[list[int]]


def matches(*pairs: tuple[int, int]) -> list[ClassMatch]:
    return [ClassMatch(c1, c2, 0.5) for c1, c2 in pairs]


def listed(foregrounds: Rows, backgrounds: Rows, chosen: list[ClassMatch]) -> set[tuple[int, int]]:
    """The definition, by brute force."""
    return {
        (f, b)
        for match in chosen
        for f in foregrounds[match.foreground]
        for b in backgrounds[match.background]
        if f != b
    }


@st.composite
def pools(draw: st.DrawFn) -> tuple[Rows, Rows, list[ClassMatch]]:
    """Classes of some videos each; some lend actors, some scenes, some both; some classes none."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    foregrounds: Rows = []
    backgrounds: Rows = []
    video = 100
    for size in sizes:
        videos = draw(st.permutations(range(video, video + size)))
        video += size
        kinds = [draw(st.sampled_from(["f", "b", "fb"])) for _ in videos]
        foregrounds.append([v for v, kind in zip(videos, kinds, strict=True) if "f" in kind])
        backgrounds.append([v for v, kind in zip(videos, kinds, strict=True) if "b" in kind][::-1])
    index = st.integers(0, len(sizes) - 1)
    chosen = draw(st.lists(st.tuples(index, index), unique=True, max_size=6))
    return foregrounds, backgrounds, matches(*chosen)


@given(pools())
def test_every_pair_once_and_none_with_itself(pool: tuple[Rows, Rows, list[ClassMatch]]) -> None:
    made = Pool(*pool)
    pairs = list(made)
    assert len(pairs) == len(made) == len(set(pairs))
    assert set(pairs) == listed(*pool)
    assert [made.pair(i) for i in range(len(made))] == pairs
    blocks = list(made.blocks(3))
    assert all(len(block) == 3 for block in blocks[:-1])
    assert [tuple(pair) for block in blocks for pair in block.tolist()] == pairs


@given(pools(), st.data())
def test_a_block_is_the_pairs_of_its_numbers(
    pool: tuple[Rows, Rows, list[ClassMatch]], data: st.DataObject
) -> None:
    made = Pool(*pool)
    start = data.draw(st.integers(0, len(made)))
    stop = data.draw(st.integers(start, len(made)))
    found = made.block(start, stop)
    assert found.dtype == np.int64
    assert found.tolist() == made.pairs(np.arange(start, stop)).tolist()
    for wrong in ((-1, 0), (start, len(made) + 1), (1, 0)):
        with pytest.raises(IndexError, match="the pool has pairs 0 to"):
            made.block(*wrong)


@given(pools())
def test_everything_is_all_with_all_but_oneself(pool: tuple[Rows, Rows, list[ClassMatch]]) -> None:
    foregrounds, backgrounds, _ = pool
    count = len(foregrounds)
    every = matches(*[(a, b) for a in range(count) for b in range(count)])
    assert set(Pool.everything(foregrounds, backgrounds)) == listed(foregrounds, backgrounds, every)


def test_order_by_hand() -> None:
    pool = Pool([[1, 2], [3]], [[2, 5], [3, 4]], matches((0, 1), (1, 1), (0, 0)))
    # 2 lends both, so it stands first in its class; 3 and 2 skip themselves.
    assert list(pool) == [(2, 3), (2, 4), (1, 3), (1, 4), (3, 4), (2, 5), (1, 2), (1, 5)]
    chosen = pool.pairs(np.array([7, 4, 4]))
    assert chosen.dtype == np.int64
    assert chosen.tolist() == [[1, 5], [3, 4], [3, 4]]


def test_the_direction_of_a_match_is_kept() -> None:
    assert list(Pool([[1], [2]], [[1], [2]], matches((0, 1)))) == [(1, 2)]


@pytest.mark.parametrize("index", [-1, 8, 1 << 40])
def test_numbers_outside_are_refused(index: int) -> None:
    pool = Pool([[1, 2], [3]], [[2, 5], [3, 4]], matches((0, 1), (1, 1), (0, 0)))
    with pytest.raises(IndexError, match="pairs 0 to 7"):
        pool.pair(index)


def test_sample_is_even_over_pairs_not_over_classes() -> None:
    """A class of 1 x 2 pairs beside one of 20 x 3: χ² of 62 cells, and the classes' shares."""
    small, large = [0], list(range(10, 30))
    pool = Pool([small, large], [[30, 31, 32], [1, 2]], matches((0, 1), (1, 0)))
    assert len(pool) == 2 + 60
    draws = pool.sample(62_000, np.random.default_rng(1))
    assert draws.shape == (62_000, 2)
    pairs, counts = np.unique(draws, axis=0, return_counts=True)
    assert {tuple(pair) for pair in pairs.tolist()} == set(pool)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 110  # 61 degrees of freedom: passed with probability 0.9999
    assert abs((draws[:, 0] == 0).sum() - 2000) < 200


def test_sample_repeats_with_its_seed() -> None:
    pool = Pool.everything([list(range(50))], [list(range(50))])
    first, again, other = (pool.sample(20, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[:, 0] != first[:, 1]).all()


def test_360_billion_pairs_take_no_memory() -> None:
    """Kinetics-600 size: 400 classes, 600,000 videos."""
    videos = [list(range(c * 1500, (c + 1) * 1500)) for c in range(400)]
    tracemalloc.start()
    pool = Pool.everything(videos, videos)
    assert len(pool) == 600_000 * 599_999
    assert pool.pair(len(pool) - 1) == (599_999, 599_998)
    draws = pool.sample(100_000, np.random.default_rng(0))
    assert (draws[:, 0] != draws[:, 1]).all()
    assert len(list(islice(pool, 10_000))) == 10_000
    first = next(pool.blocks(50_000))
    assert first[0].tolist() == [0, 1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_a_pool_can_have_any_matches_of_the_callers_choice() -> None:
    """Pairs within a class, as in the paper's supplement: 4 x 3 for each class."""
    videos = [[0, 1, 2, 3], [4, 5, 6, 7]]
    pool = Pool(videos, videos, [ClassMatch(c, c, 1.0) for c in range(2)])
    assert len(pool) == 24
    assert all(f != b and f // 4 == b // 4 for f, b in pool)


@given(pools())
def test_a_specification_of_everything_is_the_pool_without_matching(
    pool: tuple[Rows, Rows, list[ClassMatch]],
) -> None:
    foregrounds, backgrounds, _ = pool
    count = len(foregrounds)
    names, vectors = [f"class {c}" for c in range(count)], np.eye(count)
    within = match_classes(names, vectors, "same-class")
    made = Pool(foregrounds, backgrounds, within)
    owner = {video: c for c, side in enumerate(foregrounds) for video in side}
    owner |= {video: c for c, side in enumerate(backgrounds) for video in side}
    assert all(f != b and owner[f] == owner[b] for f, b in made)
    if count > 1:
        every = match_classes(names, vectors, "all+same-class")
        made = Pool(foregrounds, backgrounds, every)
    assert len(made) == len(Pool.everything(foregrounds, backgrounds))
    assert set(made) == set(Pool.everything(foregrounds, backgrounds))


@pytest.mark.parametrize("videos", [[[], []], [[7], []]])
def test_an_empty_pool_has_no_pairs_and_says_so_when_asked(videos: Rows) -> None:
    pool = Pool(videos, videos, matches((0, 1), (0, 0)))
    assert len(pool) == 0
    assert list(pool) == []
    assert list(Pool(videos, videos, [])) == []
    with pytest.raises(InputError, match=r"pool has no pairs: .*; match more classes or relax"):
        pool.sample(1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("foregrounds", "backgrounds", "pairs", "message"),
    [
        ([[1], [2]], [[1]], [(0, 0)], "same classes"),
        ([[1], [2]], [[1], [2]], [(0, 1), (0, 1)], "match stands twice"),
        ([[1, 1]], [[2]], [(0, 0)], "video stands twice"),
        ([[1], [2]], [[2], [3]], [(0, 1)], "belongs to two classes"),
    ],
)
def test_contradictions_are_refused(
    foregrounds: Rows, backgrounds: Rows, pairs: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Pool(foregrounds, backgrounds, matches(*pairs))
