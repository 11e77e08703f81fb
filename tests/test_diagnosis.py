"""Whether a Selector learned anything: measures by hand, the watch, every sentence of a verdict."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.diagnosis import (
    IN_A_ROW,
    Probe,
    RankingMonitor,
    Verdict,
    auroc,
    auroc_std,
    correlation,
    per_video,
    rank_correlation,
)
from selector.reliability import Reliability

# Measures.


def test_auroc_by_hand() -> None:
    good = torch.tensor([True, True, False, False])
    assert auroc(torch.tensor([4.0, 3.0, 2.0, 1.0]), good) == 1.0
    assert auroc(torch.tensor([1.0, 2.0, 3.0, 4.0]), good) == 0.0
    assert auroc(torch.tensor([1.0, 1.0, 1.0, 1.0]), good) == 0.5
    # 3 beats both bad ones; 1 ties with one and loses to the other.
    assert auroc(torch.tensor([3.0, 1.0, 1.0, 2.0]), good) == (2 + 0.5) / 4


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_auroc_is_the_share_of_pairs_won(rows: list[tuple[int, bool]]) -> None:
    good = [score for score, is_good in rows if is_good]
    bad = [score for score, is_good in rows if not is_good]
    if not good or not bad:
        return
    won = [0.5 * (g >= b) + 0.5 * (g > b) for g, b in itertools.product(good, bad)]
    scores = torch.tensor([score for score, _ in rows])
    found = auroc(scores.float(), torch.tensor([is_good for _, is_good in rows]))
    assert found == pytest.approx(sum(won) / len(won))


def test_auroc_spread_is_that_of_shuffled_scores() -> None:
    assert auroc_std(1, 1) == 0.5  # 0 or 1, each as likely
    # Two against one: the one stands first, second or third of three: AUROC 0, ½, 1.
    assert auroc_std(2, 1) == pytest.approx(math.sqrt((0.25 + 0 + 0.25) / 3))


def test_rank_correlation_by_hand() -> None:
    first = torch.tensor([10.0, 20.0, 30.0, 40.0])
    assert rank_correlation(first, first.exp()) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    # 1 − 6 · Σd² / (n(n² − 1)), with d = 1, −1, 0, 0
    assert rank_correlation(first, torch.tensor([2.0, 1.0, 3.0, 4.0])) == pytest.approx(0.8)
    assert rank_correlation(first, torch.ones(4)) == 0.0


def test_rank_correlation_with_ties_by_hand() -> None:
    # Ranks 0, 1½, 1½, 3 and 0, 1, 2, 3: covariance 4½ of 4½ and 5.
    found = rank_correlation(torch.tensor([1.0, 2.0, 2.0, 9.0]), torch.arange(4.0))
    assert found == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    # Ranks ½, ½, 2½, 2½ and ½, 2½, ½, 2½ share nothing.
    found = rank_correlation(torch.tensor([1.0, 1, 2, 2]), torch.tensor([3.0, 4, 3, 4]))
    assert found == pytest.approx(0)


def test_correlation_by_hand() -> None:
    found = correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0]))
    assert found == pytest.approx(0.5)
    assert correlation(torch.ones(3), torch.arange(3.0)) == 0.0


def test_the_mean_of_each_video() -> None:
    scores, rows = torch.tensor([1.0, 5.0, 3.0, 8.0]), torch.tensor([7, 2, 7, 4])
    videos, means = per_video(scores, rows)
    assert videos.tolist() == [2, 4, 7]
    assert means.tolist() == [5.0, 8.0, 2.0]


# The probe.


def test_a_probe_compares_videos_by_their_mean() -> None:
    # Videos 0 and 3 are mislabelled, video 1 is in no pair. Means: 0 ─► 2, 2 ─► 5, 3 ─► 4, 4 ─► 3.
    logits = torch.tensor([1.0, 3.0, 5.0, 4.0, 3.0])
    rows = torch.tensor([0, 0, 2, 3, 4])
    mislabelled = torch.tensor([True, False, False, True, False])
    found = Probe.of(logits, rows, mislabelled)
    # 5 beats 2 and 4; 3 beats 2 alone.
    assert found == Probe(auroc=0.75, mislabelled=2, others=2, spread=auroc_std(2, 2))


def test_clips_of_one_recording_are_no_evidence_of_their_own() -> None:
    """Six mislabelled videos of two recordings, and six others: five of one, one of its own."""
    rows = torch.arange(12)
    mislabelled = rows < 6
    recordings = torch.tensor([7, 7, 7, 8, 8, 8, 3, 3, 3, 3, 3, 9])
    found = Probe.of(rows.float(), rows, mislabelled, recordings)
    assert found is not None and (found.mislabelled, found.others) == (6, 6)
    assert found.spread == pytest.approx(auroc_std(36 / 26, 2))  # (5 + 1)² / (5² + 1²)


def test_without_both_kinds_there_is_no_probe() -> None:
    logits, rows = torch.tensor([1.0, 2.0]), torch.tensor([0, 1])
    assert Probe.of(logits, rows, torch.tensor([False, False, True])) is None
    assert Probe.of(logits, rows, torch.tensor([True, True, False])) is None


# The watch.

UP = torch.arange(10.0)
DOWN = -UP


def watch_over(
    logits: list[torch.Tensor], settle: float
) -> tuple[RankingMonitor, list[dict[str, float]]]:
    watch = RankingMonitor()
    return watch, [watch.look(each, 5 * i, settle) for i, each in enumerate(logits)]


def test_a_ranking_that_never_left_its_start_is_not_settled() -> None:
    watch, figures = watch_over([UP, UP + 1, 2 * UP, UP], settle=0.9)
    assert (watch.still, watch.settled_at) == (0, None)
    assert figures[0] == {}
    assert figures[3]["rank_correlation"] == pytest.approx(1)
    assert figures[3]["rank_correlation_with_start"] == pytest.approx(1)


def test_a_ranking_settles_where_it_comes_to_rest() -> None:
    watch, figures = watch_over([UP, DOWN, 2 * DOWN, DOWN - 1], settle=0.9)
    assert [row.get("rank_correlation") for row in figures] == [
        None,
        pytest.approx(-1),
        pytest.approx(1),
        pytest.approx(1),
    ]
    assert (watch.still, watch.settled_at) == (2, 10)
    watch.look(DOWN, 20, 0.9)
    assert watch.still == IN_A_ROW == 3
    assert watch.settled_at == 10  # from where on it has held still, not when that was known
    watch.look(UP.roll(5), 25, 0.9)
    assert (watch.still, watch.settled_at) == (0, None)


def test_back_at_its_start_a_ranking_has_not_settled() -> None:
    watch, _ = watch_over([UP, DOWN, DOWN, UP, UP], settle=0.5)
    assert (watch.still, watch.settled_at) == (0, None)


def test_a_lower_bar_to_stop_is_a_lower_bar_to_count_as_settled() -> None:
    swapped = DOWN.clone()
    swapped[[0, 1]] = swapped[[1, 0]]  # 1 − 6 · 2 / 990 = 0.988 away from DOWN
    mixed = DOWN.clone()
    mixed[[0, 9]] = mixed[[9, 0]]  # 1 − 6 · 162 / 990 = 0.018
    assert watch_over([UP, DOWN, swapped], 0.99)[0].still == 0
    assert watch_over([UP, DOWN, swapped], 0.99)[0].settled_at == 10  # 0.95 is enough for that
    assert watch_over([UP, DOWN, swapped], 0.98)[0].still == 1
    assert watch_over([UP, DOWN, mixed], 0.98)[0].settled_at is None
    low, _ = watch_over([UP, DOWN, mixed], 0.01)
    assert (low.still, low.settled_at) == (1, 10)


@pytest.mark.parametrize("size", [3, 10, 1024])
def test_a_settle_of_1_never_stops_even_a_ranking_that_stands_still(size: int) -> None:
    down = -torch.arange(float(size))
    watch, _ = watch_over([-down, *[down] * 9], settle=1.0)
    assert watch.still == 0
    assert watch.settled_at == 10


# The verdict. A probe of 4 against 4 has a spread of √(9 / 192) = 0.217.


def probed(found: float) -> Probe:
    return Probe(found, mislabelled=4, others=4, spread=auroc_std(4, 4))


@pytest.mark.parametrize(
    ("verdict", "found", "sentence"),
    [
        (
            Verdict(80, 50, 0.5, None, aside=280, chance=0.1),
            True,
            "ranking settled at step 50; ω explains 25.0 % of the credit of 280 pairs that "
            "training never drew",
        ),
        (
            Verdict(80, 50, 0.1, None, aside=280, chance=0.1),  # 0.1 ± 0.1
            False,
            "no signal found: ω is no better than chance at telling credit; ranking settled at "
            "step 50; ω explains 1.0 % of the credit of 280 pairs that training never drew",
        ),
        (
            Verdict(80, 50, 0.5, None, recordings=3, aside=9),
            True,
            "ranking settled at step 50; ω explains 25.0 % of the credit of 9 pairs that "
            "training never drew; validation holds only 3 recordings: too few to tell how "
            "reliable the reward is, which takes 8",
        ),
        (
            Verdict(80, None, 0.01, None, aside=9),
            False,
            "no signal found: ω is no better than chance at telling credit; ranking still moving "
            "at step 80; ω explains 0.0 % of the credit of 9 pairs that training never drew",
        ),
        (
            Verdict(80, None, -0.5, None, aside=9),
            False,
            "no signal found: ω is no better than chance at telling credit; ranking still moving "
            "at step 80; ω explains 0.0 % of the credit of 9 pairs that training never drew",
        ),
        (
            Verdict(80, 0, None, None),
            None,
            "ranking settled at step 0; whether it means anything is not known: train with "
            "--probe 0.1",
        ),
        (
            Verdict(80, 50, None, probed(0.94)),
            True,
            "ranking settled at step 50; probe AUROC 0.94 with 4 mislabelled videos "
            "(chance 0.50 ± 0.22)",
        ),
        (
            Verdict(80, 50, 0.5, probed(0.9), aside=9),  # credit is well explained, and yet
            False,
            "no signal found: ω is no better than chance on the probe; ranking settled at step "
            "50; ω explains 25.0 % of the credit of 9 pairs that training never drew; probe AUROC "
            "0.90 with 4 mislabelled videos (chance 0.50 ± 0.22)",
        ),
        (
            Verdict(80, 50, None, probed(0.06), Reliability(0.6, 0.1, 32)),
            False,
            "the ranking is upside down: ω prefers the mislabelled videos; ranking settled at "
            "step 50; probe AUROC 0.06 with 4 mislabelled videos (chance 0.50 ± 0.22); the reward "
            "agrees with itself by 0.60 ± 0.10 over other recordings",
        ),
        (
            Verdict(80, 50, None, probed(0.06)),
            False,
            "the ranking is upside down: ω prefers the mislabelled videos; ranking settled at "
            "step 50; probe AUROC 0.06 with 4 mislabelled videos (chance 0.50 ± 0.22)",
        ),
    ],
)
def test_the_verdict_says_what_was_found(
    verdict: Verdict, found: bool | None, sentence: str
) -> None:
    assert verdict.found is found
    assert str(verdict) == sentence


def test_what_no_ranking_could_pass_is_no_judge() -> None:
    """Nine recordings and a wrong one: a spread of √(11 / 108) makes a bar of 1.14."""
    one = Probe(1.0, mislabelled=10, others=90, spread=auroc_std(9, 1))
    assert one.spread == pytest.approx(math.sqrt(11 / 108))
    assert Verdict(75, 50, None, one).found is None
    assert str(Verdict(75, 50, None, one)).endswith(
        "is not known: too few recordings are mislabelled to tell; give a larger --probe"
    )
    # Then what ω explains is asked, where it can tell.
    assert Verdict(75, 50, 0.6, one, aside=40, chance=0.2).found is True
    few = Verdict(75, 50, 1.0, None, aside=4, chance=0.58)
    assert few.found is None
    assert str(few).endswith("the pairs kept aside are of too few recordings to tell")
