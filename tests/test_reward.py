"""Rewards, credit and the policy's loss, against numbers worked out by hand and by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from selector import reward
from selector.environment import Measurements, PairBatch, StepResult
from selector.reward import (
    PRIOR_PAIRS,
    REWARDS,
    counterfactual_reward,
    exploration_penalty,
    last_layer_credit,
    log_policy,
    moving_average_reward,
    pair_policy_loss,
    policy_entropy,
    standardise_credit,
    subset_policy_loss,
    update_baseline,
)
from selector.settings import ReinforceSettings, RewardName

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


# The counterfactual reward.


def test_one_subset_is_compared_with_the_loss_before_it() -> None:
    assert counterfactual_reward(2.0, torch.tensor([1.5])).tolist() == [0.5]
    assert counterfactual_reward(2.0, torch.tensor([2.25])).tolist() == [-0.25]


def test_several_subsets_are_each_compared_with_the_mean_of_the_others() -> None:
    # Gains 1, 2 and 0; the others' means are (2 + 0)/2, (1 + 0)/2 and (1 + 2)/2.
    found = counterfactual_reward(4.0, torch.tensor([3.0, 2.0, 4.0]))
    assert found.tolist() == pytest.approx([0.0, 1.5, -1.5])
    pair = counterfactual_reward(4.0, torch.tensor([3.0, 2.5]))
    assert pair.tolist() == pytest.approx([-0.5, 0.5])


@given(
    st.floats(-9, 9),
    st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=6),
)
def test_leave_one_out_sums_to_zero_and_does_not_ask_the_loss_before(
    before: float, after: list[float]
) -> None:
    losses = torch.tensor(after, dtype=torch.float64)
    found = counterfactual_reward(before, losses)
    expected = [
        (sum(after) - loss) / (len(after) - 1) - loss  # the others' mean loss, less one's own
        for loss in after
    ]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9)
    assert abs(float(found.sum())) < 1e-9


# The policy.


def test_log_policy_by_hand_and_far_out() -> None:
    logits = torch.tensor([0.0, math.log(3), math.log(3)])
    found = log_policy(logits, torch.tensor([1.0, 1.0, 0.0]))
    assert torch.allclose(found, torch.log(torch.tensor([0.5, 0.75, 0.25])))
    far = log_policy(torch.tensor([200.0, 200.0, -200.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert torch.allclose(far, torch.tensor([0.0, -200.0, -200.0]))


def slope_of(function: Callable[..., Tensor], logits: Tensor, *others: Tensor) -> Tensor:
    """The gradient of a loss in the logits."""
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(logits, *others), logits)
    return found


def test_policy_loss_of_a_subset_reward_is_summed_as_in_dvrl() -> None:
    logits, actions = torch.tensor([0.0, math.log(3)]), torch.tensor([[1.0, 0.0]])
    loss = subset_policy_loss(logits, actions, torch.tensor([2.0]))
    assert loss.item() == pytest.approx(-2 * (math.log(0.5) + math.log(0.25)))
    # d log π / d logit = a − ω
    slope = slope_of(subset_policy_loss, logits, actions, torch.tensor([2.0]))
    assert torch.allclose(slope, -2 * torch.tensor([0.5, -0.75]))


def test_policy_loss_of_several_subsets_is_their_mean() -> None:
    logits = torch.tensor([0.0, math.log(3)])
    actions, rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([2.0, -1.0])
    loss = subset_policy_loss(logits, actions, rewards)
    # −½ · (2 · log(½ · ¼) − 1 · log(½ · ¾))
    assert loss.item() == pytest.approx(-(2 * math.log(1 / 8) - math.log(3 / 8)) / 2)
    slope = slope_of(subset_policy_loss, logits, actions, rewards)
    # −½ · (2 · (½, −¾) − 1 · (½, ¼))
    assert torch.allclose(slope, torch.tensor([-0.25, 0.875]))


def test_policy_loss_of_credit_per_pair() -> None:
    logits, actions = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0])
    credit = torch.tensor([1.0, -2.0])
    loss = pair_policy_loss(logits, actions, credit)
    assert loss.item() == pytest.approx(-(math.log(0.5) + 2 * math.log(0.25)) / 2)
    # −½ · credit · (2a − 1) · (a − ω) = −½ · (1 · 1 · ½, −2 · −1 · −¾)
    slope = slope_of(pair_policy_loss, logits, actions, credit)
    assert torch.allclose(slope, torch.tensor([-0.25, 0.75]))


@pytest.mark.parametrize("action", [0.0, 1.0])
@pytest.mark.parametrize("credit", [-1.0, 1.0])
def test_good_pairs_rise_and_bad_ones_fall_whether_chosen_or_not(
    action: float, credit: float
) -> None:
    slope = slope_of(
        pair_policy_loss, torch.zeros(1), torch.tensor([action]), torch.tensor([credit])
    )
    assert slope.item() == -0.5 * credit


@given(logit=st.floats(-5, 5), credit=st.floats(-3, 3))
def test_the_expected_slope_of_a_pair_is_that_of_twice_its_credit(
    logit: float, credit: float
) -> None:
    """−2 · credit · ω(1 − ω): over both actions, weighted with their probability."""
    at = torch.tensor([logit], dtype=torch.float64)
    omega = float(at.sigmoid())
    slopes = [
        float(slope_of(pair_policy_loss, at, torch.full_like(at, a), torch.full_like(at, credit)))
        for a in (0.0, 1.0)
    ]
    expected = -2 * credit * omega * (1 - omega)
    assert (1 - omega) * slopes[0] + omega * slopes[1] == pytest.approx(expected, abs=1e-9)


def test_entropy_by_hand() -> None:
    assert policy_entropy(torch.zeros(3)).item() == pytest.approx(math.log(2))
    # ω = ¾: −¾ log ¾ − ¼ log ¼; ω = ½ beside it: the mean of both.
    three = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert policy_entropy(torch.tensor([math.log(3)])).item() == pytest.approx(three)
    both = policy_entropy(torch.tensor([-math.log(3), 0.0]))
    assert both.item() == pytest.approx((three + math.log(2)) / 2)
    assert policy_entropy(torch.tensor([300.0, -300.0])).item() == 0
    # dH/d logit = −logit · ω(1 − ω)
    slope = slope_of(policy_entropy, torch.tensor([math.log(3)]))
    assert slope.item() == pytest.approx(-math.log(3) * 3 / 16)


@pytest.mark.parametrize(("credit", "tau"), [(0.3, 0.2), (-0.5, 1.0), (0.0, 0.1)])
def test_entropy_gives_the_logit_a_place_to_rest(credit: float, tau: float) -> None:
    """The slope −2 · credit · ω(1 − ω) + τ · logit · ω(1 − ω) is zero at 2 · credit / τ."""
    logit = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    pay = torch.tensor([credit], dtype=torch.float64)
    optimiser = torch.optim.Adam([logit], lr=0.05)
    for _ in range(600):
        chance = logit.detach().sigmoid()
        loss = sum(
            weight * pair_policy_loss(logit, torch.full_like(pay, action), pay)
            for action, weight in ((0.0, 1 - chance), (1.0, chance))
        ) - tau * policy_entropy(logit)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    assert logit.item() == pytest.approx(2 * credit / tau, abs=1e-3)


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


def test_standardised_credit_is_the_fall_for_a_step_of_the_standardised_layer() -> None:
    """ΔW = −η G diag(1/s²) and Δb = −η g − ΔW m, by finite differences; no step on W and b."""
    toy, step = Toy(4, offset=3.0), 1e-6
    toy.val_features[:, 0] *= 20  # of another size than the others
    toy.features[:, 0] *= 20
    toy.weight[:, 0] /= 20
    mean, spread = toy.val_features.mean(0), toy.val_features.std(0, correction=0)
    before = toy.loss(toy.val_features, toy.val_targets, toy.weight, toy.bias)
    of_standardised, of_plain = [], []
    for h, target in zip(toy.features, toy.targets, strict=True):
        error = (toy.weight @ h + toy.bias).softmax(0) - target
        change = -step * torch.outer(error, h - mean) / spread.square()
        weight, bias = toy.weight + change, toy.bias - step * error - change @ mean
        of_standardised.append(
            (before - toy.loss(toy.val_features, toy.val_targets, weight, bias)) / step
        )
        weight, bias = toy.weight - step * torch.outer(error, h), toy.bias - step * error
        of_plain.append((before - toy.loss(toy.val_features, toy.val_targets, weight, bias)) / step)
    credit = toy.credit(standardise=True)
    assert torch.allclose(credit, torch.stack(of_standardised), rtol=1e-3, atol=1e-5)
    # What the docstring denies: the credit of the step that the classifier takes is another one.
    assert not torch.allclose(credit, torch.stack(of_plain), rtol=0.1, atol=0.1)
    assert (credit.argsort() != torch.stack(of_plain).argsort()).any()
    assert torch.allclose(toy.credit(standardise=False), torch.stack(of_plain), rtol=2e-2)


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


# The baseline of a class.


def test_the_baseline_of_a_class_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes 0, 0, 0, 1 with credit 4, 2, 0, −6: their mean is 0, so nothing moves at first."""
    monkeypatch.setattr(reward, "PRIOR_PAIRS", 4.0)
    found = standardise_credit(torch.tensor([4.0, 2.0, 0.0, -6.0]), torch.tensor([0, 0, 0, 1]))
    # Baselines: (4 + 2 + 0) / (3 + 4) = 6/7 and −6 / (1 + 4) = −6/5; times 35:
    # 110, 40, −30, −168; their mean is −12, so 122, 52, −18, −156.
    centred = torch.tensor([122.0, 52.0, -18.0, -156.0])
    assert torch.allclose(found, centred / centred.square().mean().sqrt())


def test_without_classes_all_pairs_are_the_baseline() -> None:
    credit = torch.tensor([4.0, 2.0, 0.0, -6.0])
    assert torch.allclose(standardise_credit(credit), credit / credit.square().mean().sqrt())
    one_class = standardise_credit(credit, torch.full((4,), 7))
    assert torch.allclose(one_class, standardise_credit(credit))


def test_what_a_class_is_worth_weighs_less_the_more_pairs_show_it() -> None:
    """Two classes whose pairs differ in nothing else: their gap shrinks to P / (n + P)."""
    noise = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50)
    for count in (4, 100):
        credit = torch.cat([10 + noise[:count], -10 + noise[:count]])
        classes = torch.arange(2).repeat_interleave(count)
        found = standardise_credit(credit, classes)
        within = found[:count].std(correction=0)
        gap = (found[:count].mean() - found[count:].mean()) / within
        assert gap.item() == pytest.approx(20 * PRIOR_PAIRS / (count + PRIOR_PAIRS))


def test_equal_credit_within_classes_is_no_noise() -> None:
    classes = torch.tensor([0, 0, 1, 1])
    assert torch.equal(standardise_credit(torch.full((4,), 0.1), classes), torch.zeros(4))


# The rewards by name.


def batch_of(classes: list[int]) -> PairBatch:
    """Pairs of which only the foregrounds' classes matter."""
    count = len(classes)
    sides = torch.stack([torch.tensor(classes), torch.arange(count) % 2], dim=1)
    nothing = torch.zeros(count, 1)
    return PairBatch(sides, sides, nothing, nothing, nothing, nothing)


def reward_of(name: RewardName, **changes: object):
    return REWARDS[name](ReinforceSettings(reward=name, **changes))


def test_every_reward_that_can_be_set_is_there() -> None:
    assert set(REWARDS) == set(get_args(RewardName))


def test_each_reward_asks_for_what_it_needs_and_no_more() -> None:
    assert reward_of("credit", within_class=True).measurements == Measurements(credit=True)
    assert reward_of("moving-average").measurements == Measurements()
    several = reward_of("counterfactual", trajectories=3, roll_back=True)
    assert several.measurements == Measurements(before=True, roll_back=True)
    assert several.trajectories == 3
    assert reward_of("counterfactual", roll_back=False).measurements == Measurements(before=True)
    assert [reward_of(name).trajectories for name in get_args(RewardName)] == [1, 1, 1]


def test_each_reward_pays_by_its_formula() -> None:
    batch = batch_of([0, 0, 0, 1])
    credit = torch.tensor([4.0, 2.0, 0.0, -6.0])
    outcome = StepResult(torch.tensor([3.0, 2.0, 4.0]), before=4.0, credit=credit)
    paid = reward_of("counterfactual", trajectories=3).advantage(outcome, 9.0, batch)
    assert paid.tolist() == pytest.approx([0.0, 1.5, -1.5])
    assert reward_of("moving-average").advantage(outcome, 3.5, batch).tolist() == [0.5]
    assert reward_of("moving-average").advantage(outcome, None, batch).tolist() == [0.0]
    within = reward_of("credit", within_class=True).advantage(outcome, 9.0, batch)
    assert torch.equal(within, standardise_credit(credit, torch.tensor([0, 0, 0, 1])))
    among_all = reward_of("credit", within_class=False).advantage(outcome, 9.0, batch)
    assert torch.equal(among_all, standardise_credit(credit))


def test_what_was_not_measured_cannot_be_paid() -> None:
    empty = StepResult(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="gave no credit"):
        reward_of("credit").advantage(empty, None, batch_of([0]))
    with pytest.raises(ValueError, match="no loss before"):
        reward_of("counterfactual").advantage(empty, None, batch_of([0]))


def test_each_reward_has_the_loss_of_its_kind() -> None:
    logits, actions = torch.tensor([0.0, math.log(3)]), torch.tensor([[1.0, 0.0]])
    per_pair, per_subset = torch.tensor([1.0, -2.0]), torch.tensor([2.0])
    loss = reward_of("credit").loss(logits, actions, per_pair)
    assert loss == pair_policy_loss(logits, actions[0], per_pair)
    for name in ("counterfactual", "moving-average"):
        loss = reward_of(name).loss(logits, actions, per_subset)
        assert loss == subset_policy_loss(logits, actions, per_subset)
