"""Scoring a pool and choosing from it, against sorting it whole."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from l2a.errors import InputError, L2AError
from selector.network import SelectorConfig, new_selector
from selector.rank import (
    Caps,
    Selection,
    auroc,
    even_caps,
    score_pool,
    select_random,
    select_top,
)
from selector.settings import RankSettings

Pairs = NDArray[np.int64]


def all_pairs(foregrounds: int, backgrounds: int) -> Pairs:
    grid = np.indices((foregrounds, backgrounds)).reshape(2, -1).T
    return np.ascontiguousarray(grid, dtype=np.int64)


def in_blocks(
    pairs: Pairs, logits: NDArray[np.float32], size: int
) -> Iterator[tuple[Pairs, NDArray[np.float32]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size], logits[start : start + size]


# Scoring.


def test_pool_scores_are_those_of_the_network() -> None:
    config = SelectorConfig(feature_dim=6, label_dim=3, hidden=(32, 8))
    selector = new_selector(config, seed=0)
    features, labels = torch.randn(20, 6), torch.randn(20, 3)
    selector.fit_standardiser(features)
    pairs = all_pairs(20, 20)
    blocks = [pairs[:7], pairs[7:7], pairs[7:]]
    scored = list(score_pool(selector, features, labels, blocks))
    assert all(np.array_equal(out, block) for (out, _), block in zip(scored, blocks, strict=True))
    found = np.concatenate([logits for _, logits in scored])
    assert found.dtype == np.float32
    fore, back = torch.from_numpy(pairs).T
    with torch.no_grad():
        plain = selector(features[fore], features[back], labels[fore], labels[back])
    assert np.allclose(found, plain.numpy(), atol=1e-4)


def test_a_block_larger_than_a_chunk_is_scored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    selector = new_selector(SelectorConfig(2, 2, hidden=(4,)), seed=0)
    features, labels, pairs = torch.randn(5, 2), torch.randn(5, 2), all_pairs(5, 5)
    ((_, whole),) = score_pool(selector, features, labels, [pairs])
    monkeypatch.setattr("selector.rank.CHUNK", 4)
    ((_, chunked),) = score_pool(selector, features, labels, [pairs])
    assert np.allclose(chunked, whole, atol=1e-5)


def test_a_score_that_is_no_number_is_reported() -> None:
    selector = new_selector(SelectorConfig(2, 2, hidden=(4,)), seed=0)
    features = torch.zeros(3, 2)
    features[2] = torch.nan
    with pytest.raises(L2AError, match=r"pair of rows \(0, 2\)"):
        list(score_pool(selector, features, torch.ones(3, 2), [all_pairs(3, 3)]))


# Choosing without caps.


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("budget", [1, 4321])
def test_the_top_is_that_of_a_sort_ties_by_position(size: int, budget: int) -> None:
    pairs = all_pairs(250, 400)  # 100,000
    rng = np.random.default_rng(0)
    logits = (rng.integers(-500, 500, len(pairs)) / 16).astype(np.float32)  # many ties
    expected = np.lexsort((np.arange(len(pairs)), -logits))[:budget]
    found = select_top(in_blocks(pairs, logits, size), budget)
    assert np.array_equal(found.pairs, pairs[expected])
    assert np.array_equal(found.logits, logits[expected])
    assert found.pairs.dtype == np.int64
    assert (found.considered, found.caps, found.relaxed) == (100_000, None, 0)


def test_omega_and_threshold() -> None:
    logits = np.array([0.0, 200.0, -200.0, np.log(3)], np.float32)
    found = select_top([(all_pairs(2, 2), logits)], 3)
    assert found.pairs.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert found.omega.tolist() == pytest.approx([1.0, 0.75, 0.5])
    assert found.threshold == 0.5
    assert select_top([(all_pairs(2, 2), logits)], 4).threshold == 0.0


def test_memory_is_bounded_by_budget_and_block() -> None:
    rng = np.random.default_rng(0)
    block = all_pairs(100, 100)
    tracemalloc.start()
    scored = ((block, rng.standard_normal(len(block), np.float32)) for _ in range(200))
    found = select_top(scored, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.considered == 2_000_000
    assert peak < 2e6  # the pool whole would take 40 MB


@pytest.mark.parametrize("caps", [None, Caps(foreground=2)])
def test_a_budget_that_cannot_be_met_is_refused(caps: Caps | None) -> None:
    scored = [(all_pairs(2, 2), np.zeros(4, np.float32))]
    with pytest.raises(InputError, match="budget is 5 pairs and the pool holds 4"):
        select_top(scored, 5, caps=caps)
    with pytest.raises(InputError, match="budget is 1 pairs and the pool holds 0"):
        select_top([], 1, caps=caps)
    with pytest.raises(InputError, match="budget is 0"):
        select_top(scored, 0, caps=caps)


# Choosing with caps.


def greedy(
    pairs: Pairs, logits: NDArray[np.float32], budget: int, caps: Caps, classes: NDArray[np.int64]
) -> tuple[list[int], int]:
    """The rule, word by word: walk down the ranking; at its end, double and walk again."""
    limits = [caps.foreground, caps.background, caps.class_match]
    order = sorted(range(len(pairs)), key=lambda i: (-logits[i], i))
    taken: list[int] = []
    counts: Counter[tuple[int, int]] = Counter()
    for relaxed in range(64):
        for i in order:
            fore, back = map(int, pairs[i])
            groups = list(enumerate((fore, back, (int(classes[fore]), int(classes[back])))))
            full = any(
                limit is not None and counts[group] >= limit * 2**relaxed
                for group, limit in zip(groups, limits, strict=True)
            )
            if i in taken or full:
                continue
            counts.update(groups)
            taken.append(i)
            if len(taken) == budget:
                return sorted(taken, key=order.index), relaxed
    raise AssertionError


cap = st.one_of(st.none(), st.integers(1, 4))


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    caps=st.builds(Caps, cap, cap, cap),
    share=st.floats(0.01, 1),
    size=st.integers(1, 20),
    seed=st.integers(0, 999),
)
def test_capped_choice_equals_the_rule(
    shape: tuple[int, int], caps: Caps, share: float, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(all_pairs(*shape))
    logits = rng.integers(0, 6, len(pairs)).astype(np.float32)
    classes = rng.integers(0, 3, max(shape))
    budget = max(1, int(share * len(pairs)))
    found = select_top(in_blocks(pairs, logits, size), budget, caps=caps, classes=classes)
    expected, relaxed = greedy(pairs, logits, budget, caps, classes)
    assert found.pairs.tolist() == pairs[expected].tolist()
    assert np.array_equal(found.logits, logits[expected])
    assert found.relaxed == relaxed


def most(values: NDArray[np.int64]) -> int:
    return int(np.bincount(values).max())


def test_default_caps_prevent_the_collapse_on_a_large_pool() -> None:
    """A few videos of one class score best by far; without caps they take everything."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(all_pairs(300, 400))
    classes = np.arange(400) % 10
    favourites = 5.0 * (classes[pairs[:, 0]] == 3) + 3.0 * (pairs[:, 1] < 12)
    logits = (favourites + 0.1 * rng.standard_normal(len(pairs))).astype(np.float32)
    blind = select_top([(pairs, logits)], 300)
    assert set(classes[blind.pairs[:, 0]]) == {3}

    caps = even_caps(300, 300, 400, 100, RankSettings())
    assert caps == Caps(foreground=2, background=2, class_match=5)
    found = select_top(in_blocks(pairs, logits, 9999), 300, caps=caps, classes=classes)
    assert len(found.pairs) == len({tuple(pair) for pair in found.pairs.tolist()}) == 300
    assert (np.diff(found.logits) <= 0).all()
    assert found.relaxed == 0
    assert most(found.pairs[:, 0]) <= 2
    assert most(found.pairs[:, 1]) <= 2
    assert most(10 * classes[found.pairs[:, 0]] + classes[found.pairs[:, 1]]) <= 5


def test_caps_that_forbid_the_budget_are_doubled_and_reported() -> None:
    # One foreground, a cap of one pair for it, a budget of three: 1 ─► 2 ─► 4.
    scored = [(all_pairs(1, 5), np.arange(5, dtype=np.float32))]
    found = select_top(scored, 3, caps=Caps(foreground=1))
    assert found.pairs[:, 1].tolist() == [4, 3, 2]
    assert found.relaxed == 2
    assert found.caps == Caps(foreground=4)
    assert found.considered == 5


def test_even_caps_round_up_and_can_be_left_out() -> None:
    assert even_caps(10, 30, 40, 3, RankSettings()) == Caps(1, 1, 5)
    none = RankSettings(foreground_cap=0, background_cap=0, class_cap=0)
    assert even_caps(10, 30, 40, 3, none) == Caps()
    scored = [(all_pairs(2, 2), np.zeros(4, np.float32))]
    assert select_top(scored, 2, caps=Caps()).caps is None


def test_a_cap_on_classes_needs_classes() -> None:
    scored = [(all_pairs(2, 2), np.zeros(4, np.float32))]
    with pytest.raises(ValueError, match="class of every row"):
        select_top(scored, 2, caps=Caps(class_match=1))


# The baseline and the yardstick.


def draw(seed: int, caps: Caps | None = None) -> Selection:
    return select_random([all_pairs(10, 10)], 30, np.random.default_rng(seed), caps=caps)


def test_random_choice_is_repeatable_uniform_and_capped() -> None:
    assert np.array_equal(draw(1).pairs, draw(1).pairs)
    assert not np.array_equal(draw(1).pairs, draw(2).pairs)
    assert len({tuple(pair) for pair in draw(1).pairs.tolist()}) == 30
    assert draw(1).threshold == 0.5
    times = Counter(tuple(pair) for seed in range(400) for pair in draw(seed).pairs.tolist())
    # Each of 100 pairs comes 120 times on average, with a standard deviation of 9.
    assert len(times) == 100
    assert min(times.values()) > 70
    assert max(times.values()) < 170
    capped = draw(1, Caps(foreground=3, background=4))
    assert most(capped.pairs[:, 0]) == 3
    assert most(capped.pairs[:, 1]) <= 4 * 2**capped.relaxed


def test_auroc_by_hand() -> None:
    good = torch.tensor([True, True, False, False])
    assert auroc(torch.tensor([4.0, 3.0, 2.0, 1.0]), good) == 1.0
    assert auroc(torch.tensor([1.0, 2.0, 3.0, 4.0]), good) == 0.0
    assert auroc(torch.tensor([1.0, 1.0, 1.0, 1.0]), good) == 0.5
    # 3 beats both bad ones; 1 ties with one and loses to the other.
    assert auroc(torch.tensor([3.0, 1.0, 1.0, 2.0]), good) == (2 + 0.5) / 4
