"""Rewards, credit and the policy's loss, against numbers worked out by hand and by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from selector.reward import (
    exploration_penalty,
    last_layer_credit,
    log_policy,
    moving_average_reward,
    policy_loss,
    standardise_credit,
    update_baseline,
)

# The baseline and the paper's reward.


def test_the_baseline_starts_at_the_first_loss_and_moves_a_fifth_of_the_way() -> None:
    delta = update_baseline(None, 2.0)
    assert delta == 2.0
    assert update_baseline(delta, 1.0) == pytest.approx(1.8)  # 4/5 · 2 + 1/5
    assert update_baseline(1.8, 1.0, window=2) == pytest.approx(1.4)
    assert update_baseline(1.8, 1.0, window=1) == 1.0


@given(loss=st.floats(0, 100), start=st.floats(0, 100), window=st.integers(1, 20))
def test_the_baseline_is_an_average(loss: float, start: float, window: int) -> None:
    """The printed Eq. 6 would go to S times the loss."""
    delta = start
    for _ in range(1000):
        delta = update_baseline(delta, loss, window)
    assert delta == pytest.approx(loss, abs=1e-9, rel=1e-9)


def test_a_falling_loss_is_rewarded() -> None:
    assert moving_average_reward(loss=1.5, delta=2.0) == 0.5
    assert moving_average_reward(loss=2.5, delta=2.0) == -0.5
    assert moving_average_reward(loss=2.5, delta=None) == 0.0


# The policy.


def test_log_policy_by_hand_and_far_out() -> None:
    logits = torch.tensor([0.0, math.log(3), math.log(3)])
    found = log_policy(logits, torch.tensor([1.0, 1.0, 0.0]))
    assert torch.allclose(found, torch.log(torch.tensor([0.5, 0.75, 0.25])))
    far = log_policy(torch.tensor([200.0, 200.0, -200.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert torch.allclose(far, torch.tensor([0.0, -200.0, -200.0]))


def gradient(logits: Tensor, actions: Tensor, reward: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(policy_loss(logits, actions, reward), logits)
    return found


def test_policy_loss_of_a_subset_reward_is_summed_as_in_dvrl() -> None:
    logits, actions = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0])
    loss = policy_loss(logits, actions, torch.tensor(2.0))
    assert loss.item() == pytest.approx(-2 * (math.log(0.5) + math.log(0.25)))
    # d log π / d logit = a − ω
    assert torch.allclose(
        gradient(logits, actions, torch.tensor(2.0)), -2 * torch.tensor([0.5, -0.75])
    )


def test_policy_loss_of_credit_per_pair() -> None:
    logits, actions = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0])
    credit = torch.tensor([1.0, -2.0])
    loss = policy_loss(logits, actions, credit)
    assert loss.item() == pytest.approx(-(math.log(0.5) + 2 * math.log(0.25)) / 2)
    with pytest.raises(ValueError, match=r"shape \[3\].*2 pairs"):
        policy_loss(logits, actions, torch.ones(3))


@pytest.mark.parametrize("action", [0.0, 1.0])
@pytest.mark.parametrize("credit", [-1.0, 1.0])
def test_good_pairs_rise_and_bad_ones_fall_whether_chosen_or_not(
    action: float, credit: float
) -> None:
    slope = gradient(torch.zeros(1), torch.tensor([action]), torch.tensor([credit]))
    assert math.copysign(1, -slope.item()) == credit


def test_exploration_penalty_by_hand() -> None:
    assert exploration_penalty(torch.tensor([0.0, 1.0])).item() == 0
    assert exploration_penalty(torch.tensor([0.9, 1.0])).item() == pytest.approx(50, rel=1e-3)
    assert exploration_penalty(torch.tensor([0.0, 0.1])).item() == pytest.approx(50, rel=1e-3)
    assert exploration_penalty(torch.tensor([0.1]), 0.3, 0.9, 10).item() == pytest.approx(2)
    low = torch.tensor([0.01, 0.02], requires_grad=True)
    (slope,) = torch.autograd.grad(exploration_penalty(low), low)
    assert (slope < 0).all()  # descent raises ω


# Credit.


class Toy:
    """A softmax layer with validation clips and soft-labelled composites."""

    def __init__(self, seed: int, offset: float = 0.0) -> None:
        draw = torch.Generator().manual_seed(seed)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=draw, dtype=torch.float64)

        self.weight, self.bias = normal(4, 6), normal(4)
        self.val_features, self.features = normal(30, 6) + offset, normal(9, 6) + offset
        self.val_targets = functional.one_hot(torch.arange(30) % 4, 4).double()
        self.targets = normal(9, 4).softmax(dim=1)

    def loss(self, features: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.cross_entropy(features @ weight.T + bias, targets)

    def gradients(self, features: Tensor, targets: Tensor) -> Tensor:
        weight = self.weight.clone().requires_grad_()
        bias = self.bias.clone().requires_grad_()
        found = torch.autograd.grad(self.loss(features, targets, weight, bias), (weight, bias))
        return torch.cat([part.flatten() for part in found])

    def credit(self, standardise: bool) -> Tensor:
        val_logits = self.val_features @ self.weight.T + self.bias
        logits = self.features @ self.weight.T + self.bias
        return last_layer_credit(
            val_logits.softmax(1), self.val_targets, self.val_features,
            logits.softmax(1), self.targets, self.features, standardise=standardise,
        )  # fmt: skip


def test_credit_equals_the_inner_product_of_autograds_gradients() -> None:
    toy = Toy(0)
    of_validation = toy.gradients(toy.val_features, toy.val_targets)
    expected = torch.stack(
        [
            of_validation @ toy.gradients(toy.features[i : i + 1], toy.targets[i : i + 1])
            for i in range(9)
        ]
    )
    assert torch.allclose(toy.credit(standardise=False), expected)


def test_credit_is_the_fall_of_the_validation_loss_per_step_size() -> None:
    toy, step = Toy(1), 1e-6
    before = toy.loss(toy.val_features, toy.val_targets, toy.weight, toy.bias)
    falls = []
    for i in range(9):
        slope = toy.gradients(toy.features[i : i + 1], toy.targets[i : i + 1])
        weight = toy.weight - step * slope[:24].view(4, 6)
        bias = toy.bias - step * slope[24:]
        falls.append((before - toy.loss(toy.val_features, toy.val_targets, weight, bias)) / step)
    credit = toy.credit(standardise=False)
    assert torch.allclose(credit, torch.stack(falls), rtol=1e-3, atol=1e-5)
    assert (credit > 0).any()
    assert (credit < 0).any()


def test_standardised_credit_is_that_of_a_layer_on_standardised_features() -> None:
    toy = Toy(2, offset=5.0)
    expected = toy.credit(standardise=True)
    mean, spread = toy.val_features.mean(0), toy.val_features.std(0, correction=0)
    # The same function of the same clips, written as a layer on standardised features.
    toy.bias = toy.bias + toy.weight @ mean
    toy.weight = toy.weight * spread
    toy.val_features = (toy.val_features - mean) / spread
    toy.features = (toy.features - mean) / spread
    assert torch.allclose(toy.credit(standardise=False), expected)
    assert torch.allclose(toy.credit(standardise=True), expected)


def test_a_feature_that_no_validation_clip_varies_leaves_credit_finite() -> None:
    toy = Toy(3)
    toy.val_features[:, 2] = 1.0
    assert toy.credit(standardise=True).isfinite().all()
    toy.val_features, toy.val_targets = toy.val_features[:1], toy.val_targets[:1]
    assert toy.credit(standardise=True).isfinite().all()


def test_standardised_credit_by_hand() -> None:
    found = standardise_credit(torch.tensor([1.0, 3.0, 1.0, 3.0]))
    assert torch.equal(found, torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert torch.equal(standardise_credit(torch.full((5,), 0.1)), torch.zeros(5))
    assert torch.equal(standardise_credit(torch.zeros(5)), torch.zeros(5))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=20),
    st.floats(1e-3, 1e3),
    st.floats(-10, 10),
)
def test_standardised_credit_does_not_depend_on_scale_and_offset(
    values: list[float], scale: float, offset: float
) -> None:
    credit = torch.tensor(values, dtype=torch.float64)
    found = standardise_credit(credit)
    assert abs(found.mean().item()) < 1e-6
    if credit.std() > 1e-2:
        assert found.square().mean().item() == pytest.approx(1)
        assert torch.allclose(standardise_credit(credit * scale + offset), found, atol=1e-5)
