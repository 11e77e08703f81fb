"""ω as a chance: fitted to what new pairs were worth, with the ranking as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from selector.calibration import above_median, calibrate
from selector.diagnosis import Verdict
from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.network import SelectorConfig, new_selector
from selector.reinforce import train_selector
from selector.settings import ReinforceSettings


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_above_the_median_of_the_own_class() -> None:
    credit = torch.tensor([1.0, 2.0, 3.0, 70.0, 90.0, 5.0])
    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    assert above_median(credit, classes).tolist() == [0, 0.5, 1, 0, 1, 0.5]


@given(st.integers(0, 999), st.floats(0.05, 2), st.floats(-2, 2), st.floats(1e-3, 10))
@settings(max_examples=10, deadline=None)
def test_a_known_chance_is_found_whatever_the_logits_scale(
    seed: int, slope: float, shift: float, scale: float
) -> None:
    z = drawn(8_000, seed=seed)
    above = (
        torch.rand(8_000, generator=torch.Generator().manual_seed(seed + 1)) < (slope * z).sigmoid()
    )
    # Credit is above the median where it should be, in one class: half of all pairs are.
    credit = above.float() + 1e-3 * drawn(8_000, seed=seed + 2)
    found = calibrate(scale * z + shift, credit, torch.zeros(8_000, dtype=torch.int64))
    assert found is not None
    assert found.scale * scale == pytest.approx(slope, abs=0.2)
    assert found.scale * shift + found.shift == pytest.approx(0, abs=0.2)
    chances = (found.scale * (scale * z + shift) + found.shift).sigmoid()
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 1.0)):
        inside = (chances >= low) & (chances < high)
        if inside.sum() > 1000:
            share = float(above[inside].float().mean())
            assert share == pytest.approx(float(chances[inside].mean()), abs=0.06)


@given(st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_the_fit_is_the_best_and_never_turns_the_ranking(seed: int) -> None:
    z, credit = drawn(60, seed=seed), drawn(60, seed=seed + 1)
    classes = torch.arange(60) % 3
    found = calibrate(z, credit, classes)
    assert found is not None
    assert found.scale > 0
    above = above_median(credit, classes) * (1 - 1 / 60) + 0.5 / 60

    def loss(scale: float, shift: float) -> float:
        logits = scale * z.double() + shift
        spread = scale * float(z.double().std(correction=0))
        return (
            float(functional.binary_cross_entropy_with_logits(logits, above, reduction="sum"))
            + 0.5 * spread**2
        )

    best = loss(found.scale, found.shift)
    for step in (0.01, -0.01):
        assert loss(found.scale, found.shift + step) >= best - 1e-9
        if found.scale + step > 0.02:
            assert loss(found.scale + step, found.shift) >= best - 1e-9


def test_a_ranking_that_is_upside_down_is_kept_and_says_nothing() -> None:
    z = drawn(500)
    found = calibrate(z, -z, torch.zeros(500, dtype=torch.int64))
    assert found is not None
    assert 0 < found.scale < 0.02
    assert found.spread_after < 0.005


def test_what_cannot_be_fitted_is_left() -> None:
    classes = torch.zeros(9, dtype=torch.int64)
    assert calibrate(torch.ones(9), drawn(9), classes) is None
    assert calibrate(drawn(9), torch.ones(9), classes) is None
    assert calibrate(drawn(9), drawn(9), torch.arange(9)) is None


def test_a_perfect_ranking_stays_finite() -> None:
    z = drawn(50)
    found = calibrate(z, z, torch.zeros(50, dtype=torch.int64))
    assert found is not None
    assert 1 < found.scale < 50


def test_folding_it_in_scales_every_logit() -> None:
    selector = new_selector(SelectorConfig(4, 3, "one-hot", (8, 5)), 0).eval()
    batch = [drawn(9, 4), drawn(9, 4, seed=1), torch.eye(3)[torch.arange(9) % 3], torch.ones(9, 3)]
    with torch.no_grad():
        before = selector(*batch)
        selector.scale_logits(25.0, -0.5)
        assert torch.allclose(selector(*batch), 25 * before - 0.5, atol=1e-5)


@pytest.mark.parametrize("reward", ["credit", "counterfactual"])
def test_after_training_omega_is_the_chance_to_beat_the_median(reward: str) -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=120), seed=0)
    config = SelectorConfig(16, 6, "one-hot", (64,), 3.0, agreement_scale=4.0, dropout=0.5)
    selector = new_selector(config, 0)
    selector.fit_standardiser(environment.features)
    steps = ReinforceSettings(
        reward=reward,
        selector_steps=100,
        selector_batch=64,
        selector_lr=1e-3,  # type: ignore[arg-type]
    )
    report = train_selector(selector, environment, steps, 0, log=lambda step, figures: None)
    found = report.verdict.calibration
    if reward != "credit":
        assert found is None
        return
    assert found is not None
    assert (found.pairs, found.new_videos) == (256, False)
    assert str(found) in str(report.verdict)
    batch = environment.sample(4000, torch.Generator().manual_seed(5))
    with torch.no_grad():
        omega = selector.omega(*batch.to(torch.device("cpu")))
    above = above_median(environment.credit_matrix(batch).sum(1), batch.classes[:, 0])
    for low, high in ((0.0, 0.35), (0.35, 0.65), (0.65, 1.0)):
        inside = (omega >= low) & (omega < high)
        if inside.sum() > 300:
            assert float(above[inside].mean()) == pytest.approx(
                float(omega[inside].mean()), abs=0.12
            )
    assert float(omega.std()) > 0.1


def test_videos_that_training_never_met_judge_it_where_there_are_enough() -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=4000, agreement=False), seed=0)
    selector = new_selector(SelectorConfig(16, 6, "one-hot", (16,)), 0)
    steps = ReinforceSettings(selector_steps=3, selector_batch=64, settle=1.0)
    report = train_selector(selector, environment, steps, 0, log=lambda step, figures: None)
    found = report.verdict.calibration
    assert found is not None
    assert found.new_videos
    assert 64 <= found.pairs < 256
    assert "pairs of new videos" in str(report.verdict)
    assert "pairs of new videos" not in str(Verdict(3, None, None, None))
