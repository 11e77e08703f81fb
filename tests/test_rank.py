"""Choosing from a pool, against sorting it whole and walking down."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compositing.engines.base import Engine, as_network_task
from compositing.engines.local import LocalEngine
from l2a.errors import InputError, L2AError
from selector import candidates, rank
from selector.allowance import Allowance
from selector.caps import Caps, SelectionLimits, even_caps, split_budget
from selector.keeper import Keeper, best_first
from selector.network import SelectorConfig, new_selector
from selector.rank import Selection, describe, select_random, select_top
from selector.score import PairScorer
from selector.settings import RankSettings
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool

Pairs = NDArray[np.int64]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Listed:
    """A pool that is written down, and scores that are too."""

    listed: Pairs
    logits: Logits
    scored: list[int] | None = None

    def __len__(self) -> int:
        return len(self.listed)

    def pairs(self, indices: NDArray[np.int64], /) -> Pairs:
        return self.listed[indices]

    def block(self, start: int, stop: int, /) -> Pairs:
        return self.listed[start:stop]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __call__(self, numbers: NDArray[np.int64], pairs: Pairs | torch.Tensor) -> torch.Tensor:
        assert np.array_equal(np.asarray(pairs), self.listed[numbers])
        if self.scored is not None:
            self.scored.extend(numbers.tolist())
        return torch.from_numpy(self.logits[numbers])

    def on(self, device: str) -> Listed:
        return self

    def memory(self) -> int:
        return 0


def all_pairs(foregrounds: int, backgrounds: int) -> Pairs:
    grid = np.indices((foregrounds, backgrounds)).reshape(2, -1).T
    return np.ascontiguousarray(grid, dtype=np.int64)


def top(
    pairs: Pairs,
    logits: Logits,
    budget: int,
    caps: Caps | None = None,
    classes: NDArray[np.int64] | None = None,
    weights: list[int] | None = None,
) -> Selection:
    world = Listed(pairs, logits)
    if classes is None:
        classes = np.zeros(int(pairs.max(initial=0)) + 1, np.int64)
    return select_top(
        world, world, budget, SelectionLimits(classes, caps or Caps(), weights=weights)
    )


# Choosing without caps.


@pytest.mark.parametrize("budget", [1, 4321])
def test_the_top_is_that_of_a_sort_ties_by_number(budget: int) -> None:
    pairs = all_pairs(500, 400)  # 200,000: four blocks
    rng = np.random.default_rng(0)
    logits = (rng.integers(-500, 500, len(pairs)) / 16).astype(np.float32)  # many ties
    expected = np.lexsort((np.arange(len(pairs)), -logits))[:budget]
    found = top(pairs, logits, budget)
    assert np.array_equal(found.pairs, pairs[expected])
    assert np.array_equal(found.logits, logits[expected])
    assert found.pairs.dtype == np.int64
    assert (found.considered, found.caps, found.relaxed) == (200_000, None, 0)
    assert (found.passed_over, found.passed_over_more, found.passes) == (0, False, 1)


def test_omega_and_threshold() -> None:
    logits = np.array([0.0, 200.0, -200.0, np.log(3)], np.float32)
    found = top(all_pairs(2, 2), logits, 3)
    assert found.pairs.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert found.omega.tolist() == pytest.approx([1.0, 0.75, 0.5])
    assert found.threshold == 0.5
    assert top(all_pairs(2, 2), logits, 4).threshold == 0.0


@pytest.mark.parametrize("caps", [None, Caps(foreground=2)])
def test_a_budget_that_cannot_be_met_is_refused(caps: Caps | None) -> None:
    pairs, logits = all_pairs(2, 2), np.zeros(4, np.float32)
    with pytest.raises(InputError, match="budget is 5 pairs and the pool holds 4"):
        top(pairs, logits, 5, caps)
    with pytest.raises(InputError, match="budget is 1 pairs and the pool holds 0"):
        top(pairs[:0], logits[:0], 1, caps)
    with pytest.raises(InputError, match="budget is 0"):
        top(pairs, logits, 0, caps)


def test_a_score_that_is_no_number_is_reported() -> None:
    logits = np.array([0, 0, np.nan, 0], np.float32)
    with pytest.raises(L2AError, match=r"pair of rows \(1, 0\)"):
        top(all_pairs(2, 2), logits, 1)


# Choosing with caps and quotas.


def greedy(
    pairs: Pairs,
    logits: Logits,
    budget: int,
    caps: Caps,
    classes: NDArray[np.int64],
    quotas: list[int] | None,
    recordings: NDArray[np.int64],
) -> tuple[list[int], int]:
    """The rule, word by word: walk down the ranking; at its end, double and walk again."""
    limits = [caps.foreground, caps.background, caps.class_match, caps.recordings]
    order = sorted(range(len(pairs)), key=lambda i: (-logits[i], i))
    taken: list[int] = []
    counts: Counter[object] = Counter()
    for relaxed in range(64):
        for i in order:
            fore, back = map(int, pairs[i])
            of_class = ("class", int(classes[fore]))
            match = (int(classes[fore]), int(classes[back]))
            shots = (int(recordings[fore]), int(recordings[back]))
            groups = list(enumerate((fore, back, match, shots)))
            full = any(
                limit is not None and counts[group] >= limit * 2**relaxed
                for group, limit in zip(groups, limits, strict=True)
            )
            if quotas is not None:
                full |= counts[of_class] >= quotas[of_class[1]]
            if i in taken or full:
                continue
            counts.update([*groups, of_class])
            taken.append(i)
            if len(taken) == budget:
                return sorted(taken, key=order.index), relaxed
    raise AssertionError


cap = st.one_of(st.none(), st.integers(1, 4))


@dataclass(frozen=True)
class Case:
    """A small pool, what bounds the choice, and how little a pass keeps."""

    shape: tuple[int, int]
    caps: Caps
    shots: int
    weights: list[int] | None
    share: float
    block: int
    most: int
    in_processes: bool
    spares: int
    seed: int


cases = st.builds(
    Case,
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    caps=st.builds(Caps, cap, cap, cap, cap),
    shots=st.integers(1, 7),
    weights=st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=3, max_size=3)),
    share=st.floats(0.01, 1),
    block=st.integers(1, 20),
    most=st.integers(1, 60),
    in_processes=st.booleans(),
    spares=st.integers(0, 12),
    seed=st.integers(0, 999),
)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_the_choice_is_that_of_the_rule_however_little_is_kept(case: Case) -> None:
    caps, weights, spares = case.caps, case.weights, case.spares
    rng = np.random.default_rng(case.seed)
    pairs = rng.permutation(all_pairs(*case.shape))
    logits = rng.integers(0, 6, len(pairs)).astype(np.float32)
    classes = rng.integers(0, 3, max(case.shape))
    recordings = rng.integers(0, case.shots, max(case.shape))
    budget = max(1, int(case.share * len(pairs)))
    world = Listed(pairs, logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank, "_most", lambda budget: case.most)
        patch.setattr(rank, "_WALK", 1 + case.seed % 9)
        patch.setattr(candidates, "BLOCK", case.block)
        patch.setattr(candidates, "_STRETCHES", 3)
        found = select_top(
            world, world, budget, SelectionLimits(classes, caps, recordings, weights),
            spares=spares, executor=LocalEngine(workers=1) if case.in_processes else None,
        )  # fmt: skip
    quotas = None
    if weights is not None:
        capacity = np.bincount(classes[pairs[:, 0]], minlength=3)
        quotas = split_budget(budget, weights, capacity)[0].tolist()
    expected, relaxed = greedy(pairs, logits, budget, caps, classes, quotas, recordings)
    assert found.pairs.tolist() == pairs[expected].tolist()
    assert np.array_equal(found.logits, logits[expected])
    assert found.relaxed == relaxed
    spare = [tuple(pair) for pair in found.spares.pairs.tolist()]
    assert len(spare) == min(spares, len(pairs) - budget)
    assert len({*spare, *map(tuple, found.pairs.tolist())}) == budget + len(spare)
    assert (np.diff(found.spares.logits) <= 0).all()
    if quotas is None:
        more, _ = greedy(pairs, logits, budget + len(spare), caps, classes, None, recordings)
        assert sorted(more) == sorted(
            [*expected, *(pairs.tolist().index(list(pair)) for pair in spare)]
        )
    else:
        capacity = np.bincount(classes[pairs[:, 0]], minlength=3)
        larger = split_budget(budget + len(spare), weights, capacity)[0]
        of_class = np.bincount(classes[found.spares.pairs[:, 0]], minlength=3)
        assert (of_class <= np.maximum(larger - np.array(quotas), 0)).all()
    last = (-logits[expected[-1]], expected[-1])
    over = sum((-logits[i], i) < last for i in set(range(len(pairs))) - set(expected))
    assert found.passed_over == over or (found.passed_over < over and found.passed_over_more)


@given(
    st.lists(st.floats(-4, 4, width=16) | st.sampled_from([0.0, -0.0, 1e30, -1e30]), max_size=40)
)
def test_best_first_is_a_stable_sort(values: list[float]) -> None:
    logits = np.array(values, np.float32)
    assert best_first(logits).tolist() == np.argsort(-logits, kind="stable").tolist()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), max_size=120),
    st.integers(1, 30),
    st.integers(1, 25),
)
def test_a_keeper_keeps_the_best_of_all_and_of_each_stratum(
    stream: list[tuple[int, int]], most: int, block: int
) -> None:
    """However the stream is cut up, and however many of a stratum come at once."""
    keeper = Keeper(most, 4)
    for start in range(0, len(stream), block):
        part = stream[start : start + block]
        strata = np.array([stratum for stratum, _ in part], np.int32)
        logits = np.array([logit for _, logit in part], np.float32)
        places = keeper.passing(torch.from_numpy(logits), torch.from_numpy(strata)).numpy()
        keeper.add(places + start, logits[places], strata[places])
    numbers, logits, strata = keeper.kept()
    order = sorted(range(len(stream)), key=lambda i: (-stream[i][1], i))
    each = max(1, most // 2 // max(1, len({stratum for stratum, _ in stream})))
    expected = set(order[: max(1, most // 2)])
    for stratum in range(4):
        expected |= set([i for i in order if stream[i][0] == stratum][:each])
    assert numbers.tolist() == sorted(expected)
    assert [(s, int(v)) for s, v in zip(strata, logits, strict=True)] == [
        stream[i] for i in sorted(expected)
    ]


def test_a_crowd_of_one_stratum_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matches come one after the other; each would pass as a whole."""
    held: list[int] = []
    reduce = Keeper._reduce

    def counted(keeper: Keeper) -> NDArray[np.int64]:
        held.append(keeper._count)
        return reduce(keeper)

    monkeypatch.setattr(Keeper, "_reduce", counted)
    keeper, rng = Keeper(1000, 50), np.random.default_rng(0)
    for stratum in range(50):
        logits = torch.from_numpy(rng.standard_normal(2000, np.float32))
        strata = torch.full((2000,), stratum, dtype=torch.int32)
        places = keeper.passing(logits, strata).numpy()
        keeper.add(places + 2000 * stratum, logits.numpy()[places], strata.numpy()[places])
    assert len(held) < 10  # 50 times 2,000 pairs would fill it fifty times
    assert max(held[1:]) < 2500


def test_a_million_pairs_in_several_passes_are_those_of_a_sort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores by class and by background, as Selectors give them: the worst that caps can meet."""
    rng = np.random.default_rng(0)
    pairs = all_pairs(1000, 1000)
    classes = np.arange(1000) % 20
    per_match, per_back = 3 * rng.standard_normal((20, 20)), rng.standard_normal(1000)
    logits = per_match[classes[pairs[:, 0]], classes[pairs[:, 1]]] + per_back[pairs[:, 1]]
    logits = (np.round(logits * 8) / 8).astype(np.float32)
    caps = even_caps(2000, 1000, 1000, 400, RankSettings())
    monkeypatch.setattr(rank, "_most", lambda budget: 20_000)
    seen: list[int] = []
    world = Listed(pairs, logits, seen)
    found = select_top(world, world, 2000, SelectionLimits(classes, caps))

    left = [np.full(1000, caps.foreground), np.full(1000, caps.background)]
    left.append(np.full(400, caps.class_match))
    expected = []
    for i in np.argsort(-logits, kind="stable").tolist():
        fore, back = pairs[i]
        places = [(left[0], fore), (left[1], back), (left[2], 20 * classes[fore] + classes[back])]
        if all(room[place] for room, place in places):
            for room, place in places:
                room[place] -= 1
            expected.append(i)
            if len(expected) == 2000:
                break
    assert len(expected) == 2000
    assert np.array_equal(found.pairs, pairs[expected])
    assert found.relaxed == 0
    assert found.passes > 1
    assert len(seen) < found.passes * len(pairs)
    assert found.passed_over_more


def test_a_few_matches_that_score_best_do_not_cost_a_pass_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    pairs = all_pairs(400, 400)
    classes = np.arange(400) % 20
    logits = 10.0 * (classes[pairs[:, 0]] * 20 + classes[pairs[:, 1]]) + rng.random(len(pairs))
    monkeypatch.setattr(rank, "_most", lambda budget: 16_000)  # 400 pairs for each of 40 matches
    found = top(pairs, logits.astype(np.float32), 1600, Caps(class_match=8), classes)
    assert found.passes == 1
    matches = 20 * classes[found.pairs[:, 0]] + classes[found.pairs[:, 1]]
    assert np.bincount(matches).tolist() == [0] * 200 + [8] * 200


def test_a_class_whose_quota_is_full_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, classes = all_pairs(40, 40), np.arange(40) % 2
    logits = (100 * (classes[pairs[:, 0]] == 0) - np.arange(1600) / 1600).astype(np.float32)
    monkeypatch.setattr(rank, "_most", lambda budget: 60)  # 30, and 15 of each class
    found = top(pairs, logits, 10, None, classes, [1, 1])
    assert found.passes == 1
    assert np.bincount(classes[found.pairs[:, 0]]).tolist() == [5, 5]


def most(values: NDArray[np.int64]) -> int:
    return int(np.bincount(values).max())


def test_default_caps_prevent_the_collapse_on_a_large_pool() -> None:
    """A few videos of one class score best by far; without caps they take everything."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(all_pairs(300, 400))
    classes = np.arange(400) % 10
    favourites = 5.0 * (classes[pairs[:, 0]] == 3) + 3.0 * (pairs[:, 1] < 12)
    logits = (favourites + 0.1 * rng.standard_normal(len(pairs))).astype(np.float32)
    blind = top(pairs, logits, 300, classes=classes)
    assert set(classes[blind.pairs[:, 0]]) == {3}

    caps = even_caps(300, 300, 400, 100, RankSettings())
    assert caps == Caps(foreground=2, background=2, class_match=5, recordings=1)
    found = top(pairs, logits, 300, caps, classes)
    assert len(found.pairs) == len({tuple(pair) for pair in found.pairs.tolist()}) == 300
    assert (np.diff(found.logits) <= 0).all()
    assert found.relaxed == 0
    assert most(found.pairs[:, 0]) <= 2
    assert most(found.pairs[:, 1]) <= 2
    assert most(10 * classes[found.pairs[:, 0]] + classes[found.pairs[:, 1]]) <= 5

    even = top(pairs, logits, 300, caps, classes, weights=[1] * 10)
    assert np.bincount(classes[even.pairs[:, 0]]).tolist() == [30] * 10
    assert even.short == ()


def test_caps_that_forbid_the_budget_are_doubled_and_reported() -> None:
    # One foreground, a cap of one pair for it, a budget of three: 1 ─► 2 ─► 4.
    found = top(all_pairs(1, 5), np.arange(5, dtype=np.float32), 3, Caps(foreground=1))
    assert found.pairs[:, 1].tolist() == [4, 3, 2]
    assert found.relaxed == 2
    assert found.caps == Caps(foreground=4)
    assert found.considered == 5


def test_clips_of_one_recording_are_not_paired_twice_with_those_of_another() -> None:
    """Two clips of each recording, which score alike: without the cap they fill the choice."""
    pairs, recordings = all_pairs(4, 4), np.array([0, 0, 1, 1])
    logits = (-(recordings[pairs[:, 0]] + 2 * recordings[pairs[:, 1]])).astype(np.float32)
    world, classes = Listed(pairs, logits), np.zeros(4, np.int64)

    def chosen(caps: Caps) -> list[list[int]]:
        found = select_top(world, world, 4, SelectionLimits(classes, caps, recordings))
        return sorted(recordings[found.pairs].tolist())

    assert chosen(Caps()) == [[0, 0]] * 4
    assert chosen(Caps(recordings=1)) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert chosen(Caps(recordings=3)) == [[0, 0]] * 3 + [[1, 0]]
    # Where each clip is a recording of its own, every pair comes once anyway.
    assert top(pairs, logits, 16, Caps(recordings=1)).relaxed == 0


def test_even_caps_round_up_and_can_be_left_out() -> None:
    assert even_caps(10, 30, 40, 3, RankSettings()) == Caps(1, 1, 5, 1)
    none = RankSettings(foreground_cap=0, background_cap=0, class_cap=0, recording_cap=0)
    assert even_caps(10, 30, 40, 3, none) == Caps()
    assert top(all_pairs(2, 2), np.zeros(4, np.float32), 2, Caps()).caps is None


@pytest.mark.parametrize("capped", [True, False])
def test_two_thirds_of_the_classes_have_pairs_where_a_match_has_less_than_one(
    capped: bool,
) -> None:
    """30 classes of 22 videos, each with each: an even share of a match is 0.73 pairs, and its cap
    of 2 alone lets half of the classes take all."""
    classes = np.repeat(np.arange(30), 22)
    by_class = [np.flatnonzero(classes == label).tolist() for label in range(30)]
    pool = Pool(by_class, by_class, [ClassMatch(f, b, 0.0) for f in range(30) for b in range(30)])
    caps = even_caps(660, 660, 660, 900, RankSettings(), 30 if capped else None)
    assert (caps.class_match, caps.foreground_class) == (2, 33 if capped else None)

    class Favours:
        """The first half of the classes, in random order."""

        device = torch.device("cpu")

        def __call__(self, numbers: Any, pairs: Any) -> torch.Tensor:
            foregrounds = torch.as_tensor(pairs)[:, 0]
            draw = torch.Generator().manual_seed(int(numbers[0]))
            return 5.0 * (foregrounds < 330) + torch.rand(len(foregrounds), generator=draw)

        def memory(self) -> int:
            return 0

    limits = SelectionLimits(classes, caps, np.arange(660))
    found = select_top(pool, Favours(), 660, limits)  # type: ignore[arg-type]
    counts = np.bincount(classes[found.pairs[:, 0]], minlength=30)
    assert found.relaxed == 0 and counts.sum() == 660
    assert (counts > 0).sum() >= (20 if capped else 1)
    assert ((counts > 0).sum() < 20) != capped
    assert counts.max() <= (33 if capped else 44)


def test_a_cap_on_classes_is_doubled_with_the_others_and_gives_way_to_quotas() -> None:
    classes = np.repeat([0, 1], 4)
    pairs = np.array([[f, b] for f in range(8) for b in range(8) if f != b])
    logits = -np.arange(len(pairs), dtype=np.float32)
    for most, wanted in ((5, [5, 1]), (3, [3, 3]), (2, [4, 2])):
        found = top(pairs, logits, 6, Caps(foreground_class=most), classes)
        assert np.bincount(classes[found.pairs[:, 0]]).tolist() == wanted
    limits = SelectionLimits(classes, Caps(foreground_class=1), weights=[1, 1])
    assert limits.caps == Caps()


def test_full_foregrounds_are_not_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Foreground 0 outranks all; of a pass that keeps four, it leaves nothing for the others.
    pairs = all_pairs(3, 8)
    logits = (100 - 10 * pairs[:, 0] - pairs[:, 1]).astype(np.float32)
    monkeypatch.setattr(rank, "_most", lambda budget: 4)
    seen: list[int] = []
    world = Listed(pairs, logits, seen)
    classes = np.zeros(8, np.int64)
    found = select_top(world, world, 3, SelectionLimits(classes, Caps(foreground=1)))
    assert found.pairs.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert found.passes == 3
    assert len(seen) == 24 + 16 + 8


def test_memory_does_not_grow_with_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank, "_most", lambda budget: 2000)
    monkeypatch.setattr(candidates, "BLOCK", 2048)
    peaks = []
    for videos in (300, 1500):
        rows = [list(range(videos))]
        pool = Pool(rows, rows, [ClassMatch(0, 0, 1.0)])
        tracemalloc.start()
        found = select_random(
            pool, 500, np.random.default_rng(0),
            SelectionLimits(np.zeros(videos, np.int64), Caps(4, 4)),
        )  # fmt: skip
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.considered == videos * (videos - 1)
    assert max(peaks) < 1e6  # the pools whole would take 2 MB and 45 MB


# Shares of the budget.


def test_shares_by_hand() -> None:
    def split(budget: int, weights: list[int], capacity: list[int]) -> tuple[list[int], list[int]]:
        shares, short = split_budget(budget, weights, capacity)
        return shares.tolist(), list(short)

    assert split(9, [1, 1, 1], [99, 99, 99]) == ([3, 3, 3], [])
    assert split(8, [1, 1, 1], [99, 99, 99]) == ([3, 3, 2], [])  # equal remainders: the first
    # 10 · (5, 3, 1) / 9 = 5.56, 3.33, 1.11
    assert split(10, [5, 3, 1], [99, 99, 99]) == ([6, 3, 1], [])
    # The second has one pair; what it leaves is 9, split 5 : 1 = 7.5 : 1.5.
    assert split(10, [5, 3, 1], [99, 1, 99]) == ([8, 1, 1], [1])
    assert split(6, [1, 1, 1], [0, 2, 99]) == ([0, 2, 4], [0])
    assert split(5, [1, 0, 0], [3, 99, 99]) == ([3, 1, 1], [0])
    assert split(4, [0, 0], [2, 2]) == ([2, 2], [])


@given(
    classes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=8),
    share=st.floats(0, 1),
)
def test_shares_are_met_and_fair(classes: list[tuple[int, int]], share: float) -> None:
    weights, capacity = map(np.array, zip(*classes, strict=True))
    budget = int(share * capacity.sum())
    shares, short = split_budget(budget, weights, capacity)
    assert shares.sum() == budget
    assert (shares >= 0).all()
    assert (shares <= capacity).all()
    assert all(shares[index] == capacity[index] for index in short)
    # Whoever has room left has, within one pair, as much per weight as anybody.
    per_weight = (shares - 1) / np.maximum(weights, 1e-9)
    roomy = (shares < capacity) & (weights > 0)
    if roomy.any():
        least = ((shares[roomy] + 1) / weights[roomy]).min()
        assert (per_weight[(weights > 0) & (shares > 0)] <= least + 1e-9).all()


def test_what_a_class_has_no_pairs_for_goes_to_the_others_and_is_said() -> None:
    # Class 1 is one foreground with four partners.
    pairs = all_pairs(4, 4)
    classes = np.array([0, 0, 0, 1])
    found = top(pairs, np.arange(16, dtype=np.float32), 12, Caps(foreground=2), classes, [1, 1])
    assert np.bincount(classes[found.pairs[:, 0]]).tolist() == [8, 4]
    assert found.short == (1,)
    assert describe(found, ["jump", "run"]).endswith("too few pairs for a share of their own: run")


def test_the_line_about_a_choice_says_what_caps_did() -> None:
    logits = np.array([3, 2, 1, 0, -1, -2], np.float32)
    plain = top(all_pairs(2, 3), logits, 2)
    assert describe(plain, []) == "selected 2 of 6 pairs, ω ≥ 0.8808"
    capped = top(all_pairs(2, 3), logits, 3, Caps(foreground=1))
    assert describe(capped, []) == (
        "selected 3 of 6 pairs, ω ≥ 0.5; 1 better pairs passed over for caps or quotas; "
        "caps doubled once to meet the budget"
    )
    low = top(all_pairs(2, 3), logits - 1.5, 4, Caps(foreground=2))
    assert "ω ≥ 0.07586, 2 of them below 0.5; 1 better pairs" in describe(low, [])


# In other processes.


def paper_like(videos: int = 400) -> tuple[Pool, PairScorer, NDArray[np.int64]]:
    rows = [list(range(start, videos, 4)) for start in range(4)]
    matches = [ClassMatch(c, (c + step) % 4, 1.0) for c in range(4) for step in (0, 1, 2)]
    torch.manual_seed(0)
    features, labels = torch.randn(videos, 8), torch.eye(4)[torch.arange(videos) % 4]
    selector = new_selector(SelectorConfig(8, 4, hidden=(32, 16)), seed=0)
    pool = Pool(rows, rows, matches)
    return pool, PairScorer(selector, features, labels), np.arange(videos) % 4


def same_with(engine: Engine) -> None:
    pool, scorer, classes = paper_like()
    caps = Caps(foreground=3, background=3, class_match=60)
    limits = SelectionLimits(classes, caps, weights=[1, 2, 1, 1])
    alone = select_top(pool, scorer, 500, limits)
    found = select_top(pool, scorer, 500, limits, executor=engine)
    assert len(pool) > candidates.BLOCK  # more than one stretch
    assert np.array_equal(found.pairs, alone.pairs)
    assert np.array_equal(found.logits, alone.logits)
    assert (found.passed_over, found.passes) == (alone.passed_over, alone.passes)


def test_an_engine_may_put_a_scan_on_a_gpu() -> None:
    """The engine knows network tasks by their methods, which a rename must not lose."""
    pool, scorer, classes = paper_like(8)
    allowance = Allowance(SelectionLimits(classes))
    scan = candidates.Scan(pool, scorer, allowance, np.empty(0, np.int64), 4)
    assert as_network_task(scan) is scan


def test_other_processes_choose_the_same() -> None:
    same_with(LocalEngine(workers=2))


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_cluster_chooses_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compositing.engines.on_ray import RayEngine

    monkeypatch.chdir(tmp_path)
    same_with(RayEngine(workers=2, devices="cpu"))


# The baseline and the yardstick.


def draw(seed: int, caps: Caps | None = None, weights: list[int] | None = None) -> Selection:
    world = Listed(all_pairs(10, 10), np.zeros(100, np.float32))
    rng = np.random.default_rng(seed)
    classes = np.arange(10) % 2
    limits = SelectionLimits(classes, caps or Caps(), weights=weights)
    return select_random(world, 30, rng, limits)


def test_random_choice_is_repeatable_uniform_and_capped() -> None:
    assert np.array_equal(draw(1).pairs, draw(1).pairs)
    assert not np.array_equal(draw(1).pairs, draw(2).pairs)
    assert len({tuple(pair) for pair in draw(1).pairs.tolist()}) == 30
    assert draw(1).threshold == 0.5
    assert (draw(1).omega == 0.5).all()
    times = Counter(tuple(pair) for seed in range(400) for pair in draw(seed).pairs.tolist())
    # Each of 100 pairs comes 120 times on average, with a standard deviation of 9.
    assert len(times) == 100
    assert min(times.values()) > 70
    assert max(times.values()) < 170
    capped = draw(1, Caps(foreground=3, background=4))
    assert most(capped.pairs[:, 0]) == 3
    assert most(capped.pairs[:, 1]) <= 4 * 2**capped.relaxed
    assert np.bincount(draw(1, None, [2, 1]).pairs[:, 0] % 2).tolist() == [20, 10]
