"""The head on frozen features: the optimum, by hand and by autograd, whatever the way there."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from l2a.errors import L2AError
from l2a.networks import build_network
from train.frozen.head import (
    STRENGTHS,
    TOLERANCE,
    HeadProblem,
    LinearHead,
    choose_l2,
    cross_entropy,
    fit_head,
)


def problem_of(n: int = 30, dim: int = 8, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features float32 `[n, dim]` that tell something of soft labels float32 `[n, classes]`."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, classes, generator=rng).pow(3)
    labels /= labels.sum(1, keepdim=True)
    mixing = torch.randn(classes, dim, generator=rng)
    return 5 + 3 * (labels @ mixing + torch.randn(n, dim, generator=rng)), labels


def autograd(head: LinearHead, features: Tensor, labels: Tensor, weights: Tensor) -> list[Tensor]:
    """The gradient of what `train.frozen.head` says it minimises, by the rules of autograd."""
    features, labels, weights = (part.double() for part in (features, labels, weights))
    labels = labels / labels.sum(1, keepdim=True)
    mean = (weights[:, None] * features).sum(0) / weights.sum()
    squares = (features - mean).square().sum(1)
    scale = ((weights * squares).sum() / weights.sum()).sqrt()
    weight = (head.weight * scale).requires_grad_()
    bias = (head.bias + head.weight @ mean).requires_grad_()
    logits = ((features - mean) / scale) @ weight.T + bias
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    loss = (weights * losses).sum() / weights.sum() + head.l2 / 2 * weight.square().sum()
    return list(torch.autograd.grad(loss, [weight, bias]))


@pytest.mark.parametrize(("n", "dim"), [(30, 8), (12, 40)])
@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-5])
def test_autograd_finds_no_slope_at_the_optimum(n: int, dim: int, l2: float) -> None:
    features, labels = problem_of(n, dim)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1)) + 0.1
    head = fit_head(features, labels, l2, weights)
    nowhere = LinearHead(torch.zeros_like(head.weight), torch.zeros_like(head.bias), l2, 0, 0, 0)
    left, steepest = (
        math.sqrt(sum(float(part.square().sum()) for part in autograd(at, *given)))
        for at, given in (
            (head, (features, labels, weights)),
            (nowhere, (features, labels, weights)),
        )
    )
    assert head.gradient_norm == pytest.approx(left / steepest, rel=1e-3)
    assert left < TOLERANCE * steepest


def test_the_gradient_of_cross_entropy_is_that_of_autograd() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64, generator=rng).requires_grad_()
    labels = torch.rand(5, 4, dtype=torch.float64, generator=rng).softmax(1)
    shares = torch.rand(5, dtype=torch.float64, generator=rng).softmax(0)
    loss, push = cross_entropy(logits.detach(), labels, shares)
    expected = shares @ torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(push, torch.autograd.grad(expected, logits)[0])


def test_two_clips_of_two_classes_by_hand() -> None:
    """x = 3 of class a and x = 7 of class b: μ = 5, s = 2, x̃ = ∓1, and by symmetry b̃ = 0 and
    W = (−w, w) with  CE = log(1 + e^(−2w)),  l2 w² the penalty:  2 / (1 + e^(2w)) = 2 l2 w."""
    l2 = 1 / (1 + math.e)  # so that w = 1/2 is the root: 1 / (1 + e) = l2 · 2w
    head = fit_head(torch.tensor([[3.0], [7.0]]), torch.eye(2), 2 * l2)
    torch.testing.assert_close(
        head.weight, torch.tensor([[-0.25], [0.25]]).double(), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(head.bias, torch.tensor([1.25, -1.25]).double(), rtol=0, atol=1e-5)
    assert head.loss == pytest.approx(math.log(1 + 1 / math.e) + l2 / 2, abs=1e-9)


def test_a_very_strong_penalty_leaves_the_shares_of_the_classes() -> None:
    """The bias is not penalised: it tells how frequent a class is."""
    features, labels = problem_of()
    head = fit_head(features, labels, 1e6)
    torch.testing.assert_close(
        head.logits(features).softmax(1)[0], labels.double().mean(0), atol=1e-4, rtol=0
    )


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), wide=st.booleans())
def test_start_and_order_do_not_matter(seed: int, wide: bool) -> None:
    features, labels = problem_of(15, 25 if wide else 6, seed=seed)
    first = fit_head(features, labels, 1e-2)
    rng = torch.Generator().manual_seed(seed)
    far = LinearHead(
        torch.randn(3, features.shape[1], generator=rng).double(),
        torch.randn(3, generator=rng).double(), 1.0, 0, 0, 0,
    )  # fmt: skip
    order = torch.randperm(15, generator=rng)
    second = fit_head(features[order], labels[order], 1e-2, start=far)
    torch.testing.assert_close(
        first.logits(features), second.logits(features), atol=1e-4, rtol=1e-4
    )


def test_from_the_optimum_it_is_one_step() -> None:
    features, labels = problem_of()
    head = fit_head(features, labels, 1e-3)
    assert head.steps > 5
    assert fit_head(features, labels, 1e-3, start=head).steps == 1


def test_curvature_by_hand() -> None:
    """(1 − ‖p‖²) / (C − 1): 1 / C where all classes are alike, half of (1 − ½) for two of three."""
    problem = HeadProblem(torch.eye(4), torch.eye(3)[[0, 1, 2, 0]])
    alike = problem._curvature(torch.zeros(4, 3, dtype=torch.float64))
    assert alike == pytest.approx(1 / 3)
    two = torch.tensor([0.0, 0.0, -1e9], dtype=torch.float64).expand(4, 3)
    assert problem._curvature(two) == pytest.approx(0.25)
    sure = torch.tensor([0.0, -1e9, -1e9], dtype=torch.float64).expand(4, 3)
    assert problem._curvature(sure) == pytest.approx(1e-4)  # the floor


def test_a_path_of_strengths_takes_few_steps() -> None:
    """Each from the optimum before it, ten times as weak at the end: the scale follows."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(200, 300, generator=rng)
    labels = torch.eye(10)[torch.randint(10, (200,), generator=rng)]
    problem, head, steps = HeadProblem(features, labels), None, 0
    for l2 in (1.0, 0.3, 0.1, 0.03, 0.01):
        head = problem.fit(l2, head)
        steps += head.steps
    assert steps < 60


def test_a_weight_of_two_is_two_clips_and_of_zero_none() -> None:
    features, labels = problem_of(12)
    weights = torch.tensor([2.0, 0.0] + [1.0] * 10)
    rows = torch.tensor([0, 0, *range(2, 12)])
    weighted = fit_head(features, labels, 1e-2, weights)
    repeated = fit_head(features[rows], labels[rows], 1e-2)
    torch.testing.assert_close(weighted.weight, repeated.weight, atol=1e-5, rtol=1e-4)
    assert weighted.loss == pytest.approx(repeated.loss, abs=1e-9)


def test_a_strength_means_the_same_whatever_the_scale_and_place_of_features() -> None:
    features, labels = problem_of()
    head = fit_head(features, labels, 1e-2)
    moved = 1000 * features - 7
    other = fit_head(moved, labels, 1e-2)
    torch.testing.assert_close(head.logits(features), other.logits(moved), atol=1e-3, rtol=1e-3)


def test_features_that_say_nothing_give_the_shares() -> None:
    labels = problem_of()[1]
    head = fit_head(torch.full((30, 4), 2.0), labels, 1e-3)
    torch.testing.assert_close(head.bias.softmax(0), labels.double().mean(0), atol=1e-5, rtol=0)
    assert head.weight.abs().max() == 0


def test_what_cannot_be_fitted_is_said() -> None:
    features, labels = problem_of()
    with pytest.raises(L2AError, match="not finite"):
        fit_head(features.log(), labels, 1.0)
    with pytest.raises(L2AError, match="no clips"):
        fit_head(features, labels, 1.0, torch.zeros(30))
    with pytest.raises(ValueError, match="above 0"):
        fit_head(features, labels, 0.0)


def test_the_strength_is_the_one_with_the_lowest_loss_on_validation() -> None:
    features, labels = problem_of(60, 20)
    problems = [
        HeadProblem(features[:20], labels[:20]),
        HeadProblem(features[20:40], labels[20:40]),
    ]
    grid = [1.0, 1e-5, 1e-2]
    chosen = choose_l2(problems, features[40:], labels[40:], grid)
    expected = {}
    for l2 in grid:
        logits = [problem.fit(l2).logits(features[40:]) for problem in problems]
        each = [torch.nn.functional.cross_entropy(one, labels[40:].double()) for one in logits]
        expected[l2] = float(sum(each) / 2)
    assert chosen.losses == pytest.approx(expected, abs=1e-4)
    assert chosen.l2 == min(expected, key=lambda l2: expected[l2]) == 1e-2
    assert len(chosen.heads) == 2
    assert all(head.l2 == chosen.l2 for head in chosen.heads)


def test_strengths_beyond_the_valley_are_not_tried() -> None:
    features, labels = problem_of(60, 20)
    problem = HeadProblem(features[:30], labels[:30])
    every = {
        l2: choose_l2([problem], features[30:], labels[30:], [l2]).losses[l2] for l2 in STRENGTHS
    }
    chosen = choose_l2([problem], features[30:], labels[30:])
    tried = list(chosen.losses)
    assert chosen.l2 == min(every, key=lambda l2: every[l2])
    assert tried == list(STRENGTHS[: len(tried)])
    assert tried.index(chosen.l2) == len(tried) - 3 and len(tried) < len(STRENGTHS)


def test_a_network_takes_the_head() -> None:
    network = build_network("tiny3d", 3).eval()
    features, labels = problem_of(20, network.feature_dim)
    head = fit_head(features, labels, 1e-2)
    head.put_into(network)
    torch.testing.assert_close(
        network.head(features).double(), head.logits(features), atol=1e-4, rtol=1e-4
    )
