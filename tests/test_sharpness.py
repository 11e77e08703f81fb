"""Choices between the best pairs and random ones: what is kept, what is drawn, what is stored."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from l2a.errors import InputError, L2AError
from selector import sharpness
from selector.caps import Caps, SelectionLimits
from selector.rank import Selection, describe, select_random, select_top
from selector.reliability import Reliability
from selector.score import StoredScorer
from selector.settings import RankSettings, sharpness_share
from selector.sharpness import (
    DrawingScorer,
    class_floors,
    resolve_sharpness,
    select_drawn,
)

CLASSES = np.arange(24) % 3


@dataclass(frozen=True)
class Grid:
    """Every of the first 12 rows as foreground with each of the other 12 as background."""

    def __len__(self) -> int:
        return 144

    def pairs(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]:
        return np.stack([indices // 12, 12 + indices % 12], axis=1)

    def block(self, start: int, stop: int, /) -> NDArray[np.int64]:
        return self.pairs(np.arange(start, stop))


POOL = Grid()


def scores(seed: int) -> NDArray[np.float32]:
    """Of all pairs of `POOL`; classes differ by far more than pairs do."""
    normal = np.random.default_rng(seed).standard_normal(144).astype(np.float32)
    return normal + 100 * CLASSES[POOL.pairs(np.arange(144))[:, 0]].astype(np.float32)


def drawn(
    share: float, budget: int = 20, seed: int = 0, scored: int = 1, caps: Caps | None = None,
    weights: list[int] | None = None, spares: int = 0,
) -> Selection:  # fmt: skip
    limits = SelectionLimits(CLASSES, caps or Caps(), None, weights)
    rng = np.random.default_rng(seed)
    scorer = StoredScorer(scores(scored))
    return select_drawn(POOL, scorer, budget, limits, share, rng, spares=spares)


def foreground_classes(selection: Selection) -> NDArray[np.int64]:
    return CLASSES[selection.pairs[:, 0]]


# The two ends.


@pytest.mark.parametrize("caps", [Caps(), Caps(foreground=3, class_match=4)])
def test_best_is_the_choice_of_the_best(caps: Caps) -> None:
    limits = SelectionLimits(CLASSES, caps)
    best = select_top(POOL, StoredScorer(scores(1)), 20, limits, spares=5)
    found = drawn(0.0, caps=caps, spares=5)
    for part in ("chosen", "spares"):
        one, other = getattr(best, part), getattr(found, part)
        assert one.pairs.tobytes() == other.pairs.tobytes()
        assert one.logits.tobytes() == other.logits.tobytes()
    assert describe(best, "abc") == describe(found, "abc")


@pytest.mark.parametrize("caps", [Caps(), Caps(background=2)])
@pytest.mark.parametrize("weights", [None, [1, 1, 1]])
def test_the_share_of_everything_is_a_random_choice(caps: Caps, weights: list[int] | None) -> None:
    limits = SelectionLimits(CLASSES, caps, None, weights)
    random = select_random(POOL, 24, np.random.default_rng(5), limits)
    found = drawn(1.0, 24, seed=5, caps=caps, weights=weights)
    assert {tuple(pair) for pair in found.pairs} == {tuple(pair) for pair in random.pairs}


def test_a_share_that_the_budget_takes_whole_is_the_best() -> None:
    # 48 pairs of each class; a quarter of each is 12, and 36 pairs fill the budget.
    best = drawn(0.0, 36, weights=[1, 1, 1])
    found = drawn(0.25, 36, weights=[1, 1, 1])
    assert found.pairs.tobytes() == best.pairs.tobytes()
    assert found.logits.tobytes() == best.logits.tobytes()


# Between them.


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_half_takes_no_pair_below_its_classs_median(scored: int, seed: int, budget: int) -> None:
    found, logits = drawn(0.5, budget, seed, scored), scores(scored)
    of_pair = CLASSES[POOL.pairs(np.arange(144))[:, 0]]
    medians = np.array([np.median(logits[of_pair == label]) for label in range(3)])
    assert len(found.pairs) == budget
    assert (found.logits >= medians[foreground_classes(found)]).all()


@given(
    st.floats(0.02, 1.0), st.integers(0, 99), st.integers(1, 144),
    st.sampled_from([None, 1, 2]), st.sampled_from([None, 2, 5]), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_budget_caps_and_scores_hold_at_any_share(
    share: float, seed: int, budget: int, of_foreground: int | None, of_match: int | None,
    balanced: bool,
) -> None:  # fmt: skip
    caps = Caps(foreground=of_foreground, class_match=of_match)
    found = drawn(share, budget, seed, caps=caps, weights=[1, 1, 1] if balanced else None, spares=4)
    assert len({tuple(pair) for pair in found.pairs}) == budget
    if found.caps and found.caps.foreground is not None:
        assert np.bincount(found.pairs[:, 0]).max() <= found.caps.foreground
    for part in (found.chosen, found.spares):
        assert np.array_equal(POOL.pairs(part.numbers), part.pairs)
        assert np.array_equal(scores(1)[part.numbers], part.logits)
        assert (np.diff(part.logits) <= 0).all()
    if balanced:
        assert np.ptp(np.bincount(foreground_classes(found), minlength=3)) <= 1


def test_where_the_kept_do_not_suffice_the_best_of_the_others_follow() -> None:
    found, logits = drawn(1 / 48, 20), scores(1)
    of_pair = CLASSES[POOL.pairs(np.arange(144))[:, 0]]
    firsts = [int(np.flatnonzero(of_pair == c)[logits[of_pair == c].argmax()]) for c in range(3)]
    others = [number for number in np.argsort(-logits) if number not in firsts]
    assert set(found.chosen.numbers.tolist()) == {*firsts, *others[:17]}


def test_another_seed_draws_other_pairs_and_each_as_often() -> None:
    counts = np.zeros(144, np.int64)
    for seed in range(300):
        counts[drawn(0.5, 18, seed).chosen.numbers] += 1
    kept = counts > 0
    assert kept.sum() == 72
    # 18 of 72 in each of 300 draws: 75 ± √(300 · ¼ · ¾) = 75 ± 7.5.
    assert abs(counts[kept] - 75).max() < 5 * 7.5
    assert np.array_equal(drawn(0.5, 18, 3).pairs, drawn(0.5, 18, 3).pairs)


def test_a_large_pool_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharpness, "EXACTLY", 10)
    monkeypatch.setattr(sharpness, "SAMPLED", 60)
    found = class_floors(POOL, StoredScorer(scores(1)), CLASSES, 0.5, np.random.default_rng(0))
    assert np.abs(found - 100 * np.arange(3)).max() < 1
    none = class_floors(
        POOL, StoredScorer(scores(1)), np.where(CLASSES == 2, 7, CLASSES), 0.5,
        np.random.default_rng(0),
    )  # fmt: skip
    assert np.isneginf(none[[2, 3, 4, 5, 6]]).all()


def test_a_score_that_is_no_number_is_refused_kept_or_not() -> None:
    for broken in (np.nan, np.inf, -np.inf):
        logits = scores(1)
        logits[17] = broken
        with pytest.raises(L2AError, match="not a finite number"):
            select_drawn(
                POOL, StoredScorer(logits), 5, SelectionLimits(CLASSES), 0.5,
                np.random.default_rng(0),
            )  # fmt: skip


def test_it_travels() -> None:
    scorer = DrawingScorer(StoredScorer(scores(1)), CLASSES, np.zeros(3, np.float32), 4)
    numbers = np.arange(144)
    here = scorer(numbers, POOL.pairs(numbers))
    there = pickle.loads(pickle.dumps(scorer))  # noqa: S301
    assert torch.equal(there.on("cpu")(numbers, POOL.pairs(numbers)), here)
    assert scorer.memory() == 144 * 4 + 24 * 4


# What a setting comes to.


@pytest.mark.parametrize(
    ("asked", "halves", "used", "line"),
    [
        ("auto", None, "best", "sharpness best: how reliable the reward was is not known"),
        ("auto", 0.5, "best", "sharpness best: the reward's reliability is 0.67, 0.2 or more"),
        ("auto", 0.08, "half", "sharpness half: the reward's reliability is 0.15, between 0.1 and "
                               "0.2"),
        ("auto", 0.03, "random", "sharpness random: the reward's reliability is 0.06, below 0.1"),
        ("auto", -0.1, "random", "sharpness random: the reward's reliability is -0.22, below 0.1"),
        ("best", 0.05, "best", "sharpness best, as asked for"),
        ("half", None, "half", "sharpness half, as asked for"),
        ("0.25", None, "0.25", "sharpness 0.25, as asked for"),
    ],
)  # fmt: skip
def test_what_a_sharpness_comes_to(asked: str, halves: float | None, used: str, line: str) -> None:
    reliability = None if halves is None else Reliability(halves, 0.02, 32)
    found = resolve_sharpness(asked, reliability)
    assert (found.used, str(found)) == (used, line)


def test_few_recordings_draw_at_random() -> None:
    line = (
        "sharpness random: validation holds only 7 recordings: too few to tell how reliable the "
        "reward is, which takes 8"
    )
    for found in (
        resolve_sharpness("auto", None, 7),
        resolve_sharpness("auto", Reliability(0.9, 0.0, 7)),  # of an earlier version
    ):
        assert (found.used, found.reliability, str(found)) == ("random", None, line)
    assert resolve_sharpness("auto", None, 8).used == "best"
    assert resolve_sharpness("auto", Reliability(0.9, 0.0, 8)).used == "best"
    assert str(resolve_sharpness("best", None, 2)) == "sharpness best, as asked for"


def test_a_ranking_of_unknown_worth_is_not_taken_at_its_best() -> None:
    sure = Reliability(0.9, 0.0, 32)
    turned = resolve_sharpness("auto", sure, upside_down=True)
    assert (turned.used, str(turned)) == (
        "random", "sharpness random: the Selector's ranking is upside down"
    )  # fmt: skip
    # Of subsets: earlier versions measured the reliability of credit, which had taught nothing.
    of_subsets = resolve_sharpness("auto", sure, 32, "moving-average")
    assert (of_subsets.used, of_subsets.reliability, str(of_subsets)) == (
        "half", None, "sharpness half: the reward moving-average is of subsets, and how reliably "
        "it ranks pairs is not known",
    )  # fmt: skip
    assert resolve_sharpness("auto", None, 7, "counterfactual").used == "random"
    asked = resolve_sharpness("best", sure, 32, "moving-average", upside_down=True)
    assert str(asked) == "sharpness best, as asked for"


def test_shares_of_words_and_numbers() -> None:
    assert [sharpness_share(word) for word in ("best", "half", "random", "0.3")] == [0, 0.5, 1, 0.3]
    for wrong in ("sharp", "0", "1.5", "-1", "nan", ""):
        with pytest.raises(InputError, match="sharpness"):
            RankSettings(sharpness=wrong)
    for right in ("auto", "0.3", "1"):
        assert RankSettings(sharpness=right).sharpness == right


def test_the_line_says_what_was_drawn_from() -> None:
    assert ", drawn from the better half of each class" in describe(drawn(0.5), "abc")
    assert ", drawn from the best 30 % of each class" in describe(drawn(0.3), "abc")
    capped = drawn(0.5, 20, caps=Caps(foreground=2))
    assert f"{capped.passed_over} drawn pairs passed over" in describe(capped, "abc")
