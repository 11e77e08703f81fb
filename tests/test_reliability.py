"""How far a reward agrees with itself over other recordings, against counting by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selector.diagnosis import RankingMonitor, Verdict, rank_correlation
from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.reliability import (
    Reliability,
    class_rank_correlation,
    mean_reliability,
    measure_reliability,
    recordings_needed,
    spearman_brown,
)
from selector.reward import credit_by_recording, last_layer_credit


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


# Credit by recording.


def credit_arguments(seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Of 7 validation clips and 5 composites, 3 classes, 4 features."""
    val = [drawn(7, 3, seed=seed).softmax(1), torch.eye(3)[torch.arange(7) % 3], drawn(7, 4)]
    own = [drawn(5, 3, seed=seed + 1).softmax(1), drawn(5, 3, seed=2).softmax(1), drawn(5, 4)]
    return val, own


@pytest.mark.parametrize("standardise", [True, False])
def test_the_parts_of_a_credit_sum_to_it(standardise: bool) -> None:
    val, own = credit_arguments(3)
    recordings = torch.tensor([0, 2, 1, 1, 0, 3, 2])
    parts = credit_by_recording(*val, recordings, *own, standardise)
    assert parts.shape == (5, 4)
    credit = last_layer_credit(*val, *own, standardise)
    assert torch.allclose(parts.sum(1), credit, atol=1e-6)


def test_a_part_is_the_credit_on_the_clips_of_its_recording() -> None:
    val, own = credit_arguments(5)
    parts = credit_by_recording(*val, torch.tensor([0, 1, 1, 0, 1, 0, 1]), *own, False)
    alone = [part[[0, 3, 5]] for part in val]
    expected = last_layer_credit(*alone, *own, standardise=False) * 3 / 7
    assert torch.allclose(parts[:, 0], expected, atol=1e-6)


def test_the_toy_measures_what_its_step_measures() -> None:
    from selector.environment import Measurements

    environment = GaussianEnvironment(GaussianWorld(videos=40, validation=30), seed=0)
    batch = environment.sample(20, torch.Generator().manual_seed(1))
    matrix = environment.credit_matrix(batch)
    assert matrix.shape == (20, 30)
    result = environment.step(batch, torch.ones(1, 20), Measurements(credit=True))
    assert result.credit is not None
    assert torch.allclose(matrix.sum(1), result.credit, atol=1e-5)


# Rank correlation within classes.


def test_ranks_are_compared_within_classes_alone() -> None:
    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    first = torch.tensor([[1.0], [2.0], [3.0], [20.0], [10.0], [99.0]])
    second = torch.tensor([[3.0], [5.0], [9.0], [1.0], [2.0], [-5.0]])
    # Class 0 agrees (ρ = 1, weight 2), class 1 does not (−1, weight 1), class 2 has one pair.
    assert float(class_rank_correlation(first, second, classes)) == pytest.approx(1 / 3)


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_one_class_is_spearman_with_mean_ranks_for_ties(seed: int, tied: bool) -> None:
    first, second = drawn(9, 1, seed=seed), drawn(9, 1, seed=seed + 1)
    if tied:
        first, second = first.round(), second.round()
    found = class_rank_correlation(first, second, torch.zeros(9, dtype=torch.int64))
    assert float(found) == pytest.approx(rank_correlation(first[:, 0], second[:, 0]), abs=1e-9)


def test_a_constant_side_agrees_with_nothing() -> None:
    classes = torch.zeros(4, dtype=torch.int64)
    assert float(class_rank_correlation(torch.ones(4, 1), drawn(4, 1), classes)) == 0


# Reliability.


def test_many_recordings_that_see_the_same_agree() -> None:
    truth, classes = drawn(120, 1), torch.arange(120) % 4
    few = measure_reliability(truth + 3 * drawn(120, 8, seed=1), classes)
    many = measure_reliability(truth + 3 * drawn(120, 800, seed=1), classes)
    assert few is not None
    assert many is not None
    assert many.halves > 0.95
    assert few.halves < many.halves - 0.1
    assert (many.recordings, few.recordings) == (800, 8)
    assert many.spread < few.spread


def test_the_offset_of_a_class_is_no_agreement() -> None:
    classes = torch.arange(200) % 2
    offset = 100.0 * classes[:, None]
    found = measure_reliability(offset + drawn(200, 30), classes)
    assert found is not None
    assert abs(found.halves) < 3 / math.sqrt(198)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_noise_does_not_agree_with_itself(seed: int) -> None:
    found = measure_reliability(drawn(200, 20, seed=seed), torch.zeros(200, dtype=torch.int64))
    assert found is not None
    # The sums over all recordings are one draw: halves are anticorrelated by what they share.
    assert abs(found.halves) < 4 / math.sqrt(199)


@given(st.integers(0, 10_000), st.floats(0.1, 100), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_neither_scale_nor_names_of_classes_matter(seed: int, scale: float, by: int) -> None:
    credit, classes = drawn(30, 9, seed=seed), torch.arange(30) % 3
    one = measure_reliability(credit, classes)
    assert one == measure_reliability(2.0 ** round(math.log2(scale)) * credit, classes + by)


def test_few_recordings_or_pairs_have_no_reliability() -> None:
    one_class = torch.zeros(5, dtype=torch.int64)
    for count in (1, 2, 7):
        assert measure_reliability(drawn(5, count), one_class) is None
    assert measure_reliability(drawn(5, 8), one_class) is not None
    assert measure_reliability(drawn(5, 8), torch.arange(5)) is None


@pytest.mark.parametrize("recordings", [8, 9, 30])
def test_the_error_is_what_noise_spreads_by(recordings: int) -> None:
    """Pairs share 6 videos of a class, so that noise agrees by far more than 1 / √n of them."""
    halves, errors = [], []
    videos = torch.arange(96) % 24
    for seed in range(120):
        credit = drawn(24, recordings, seed=seed)[videos] + 0.5 * drawn(96, recordings, seed=seed)
        found = measure_reliability(credit, videos % 4, seed=seed)
        assert found is not None
        halves.append(found.halves)
        errors.append(found.error)
    spread = torch.tensor(halves).square().mean().sqrt()
    assert float(spread) == pytest.approx(sum(errors) / len(errors), rel=0.2)
    sure = sum(one > 2 * error for one, error in zip(halves, errors, strict=True))
    assert sure < 0.1 * len(halves)


def test_what_earlier_versions_noted_of_few_recordings_is_none() -> None:
    assert mean_reliability([Reliability(0.9, 0.0, 2)] * 3) is None
    assert Reliability(0.9, 0.0, 2).error == math.inf
    watch = RankingMonitor(agreement=[[0.9, 0.1, 7.0]])  # of a state that was saved
    assert watch.reliability is None


def test_the_planted_world_agrees_where_validation_is_large() -> None:
    found = []
    for world in (
        GaussianWorld(validation=2000, bad_share=0.3),
        GaussianWorld(validation=12, bad_share=0.3),
        GaussianWorld(validation=40, separation=0.0),
    ):
        environment = GaussianEnvironment(world, seed=0)
        batch = environment.sample(400, torch.Generator().manual_seed(1))
        one = measure_reliability(environment.credit_matrix(batch), batch.classes[:, 0])
        assert one is not None
        found.append(one)
    assert found[0].halves > 0.9
    assert found[1].halves < found[0].halves - 0.1
    assert abs(found[2].halves) < 3 * found[2].spread + 0.1


# What follows from it.


def test_spearman_brown_by_hand() -> None:
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    assert spearman_brown(0.1, 2) == pytest.approx(0.2 / 1.1)
    assert spearman_brown(0.0, 5) == 0
    assert spearman_brown(1.0, 7) == 1
    assert spearman_brown(-0.9, 2) == -1
    assert spearman_brown(0.25, 1) == 0.25


@given(st.floats(0.01, 0.99), st.integers(2, 500), st.floats(0.05, 0.95))
def test_the_recordings_needed_are_enough_and_one_less_is_not(
    reliability: float, recordings: int, target: float
) -> None:
    needed = recordings_needed(reliability, recordings, target)
    assert needed is not None
    assert spearman_brown(reliability, needed / recordings) >= target - 1e-6
    if needed > 1:
        assert spearman_brown(reliability, (needed - 1) / recordings) < target


def test_without_any_agreement_no_number_is_enough() -> None:
    assert recordings_needed(0.0, 32) is None
    assert recordings_needed(-0.3, 32) is None
    assert recordings_needed(0.2, 32) == 128
    assert recordings_needed(1.0, 32) == 1


@pytest.mark.parametrize(
    ("halves", "sentence"),
    [
        (0.04, "the reward agrees with itself by 0.04 ± 0.03 over other recordings: this choice "
               "is little better than chance; 32 recordings, about 380 needed"),
        (0.07, "the reward agrees with itself by 0.07 ± 0.03 over other recordings: the better "
               "half can be told from the worse, the very best cannot; 32 recordings, about 210 "
               "needed"),
        (0.2, "the reward agrees with itself by 0.20 ± 0.03 over other recordings: the best pairs "
              "are better on the whole, one by one they are uncertain; 32 recordings, about 64 "
              "needed"),
        (0.5, "the reward agrees with itself by 0.50 ± 0.03 over other recordings: the best pairs "
              "can be told from the rest; 32 recordings"),
        (-0.02, "the reward agrees with itself by -0.02 ± 0.03 over other recordings: this choice "
                "is little better than chance; 32 recordings, more will not do"),
    ],
)  # fmt: skip
def test_the_sentence(halves: float, sentence: str) -> None:
    found = Reliability(halves, 0.03, 32)
    assert str(found) == sentence
    assert sentence in str(Verdict(75, 50, 0.5, None, found))


def test_a_monitor_means_over_its_checkpoints() -> None:
    assert mean_reliability([]) is None
    watch = RankingMonitor()
    assert watch.reliability is None
    classes = torch.arange(40) % 2
    figures = [watch.note_credit(drawn(40, 9, seed=seed), classes) for seed in (1, 2)]
    assert watch.note_credit(drawn(40, 1), classes) == {}
    assert watch.reliability is not None
    assert watch.reliability.recordings == 9
    mean = (figures[0]["reliability"] + figures[1]["reliability"]) / 2
    assert watch.reliability.halves == pytest.approx(mean)
