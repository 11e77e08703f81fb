"""Losses of the semi-supervised objectives: numbers by hand, and of public code."""

from __future__ import annotations

import math

import pytest
import torch
from semi import micro
from torch import Tensor
from torch.nn import functional as F

from train.objectives.actorcut import cut_labels
from train.objectives.confidence import masked_cross_entropy, pseudo_labels
from train.objectives.contrast import group_contrast, instance_contrast
from train.objectives.distillation import distillation_loss
from train.objectives.ema import MovingAverage, decay_at
from train.objectives.mean_teacher import consistency
from train.objectives.parts import ramp
from train.objectives.s4l import in_all_turns, turned
from train.objectives.tcl import contrasts

FAST = torch.tensor(
    [[2.0, 0.5, -1.0], [0.1, 1.2, 0.3], [-0.7, 0.2, 1.5], [1.1, 0.9, 0.4], [0.0, -0.3, 2.2]]
)
SLOW = torch.tensor(
    [[1.5, 0.2, -0.4], [0.6, 0.4, 0.1], [-0.2, 0.8, 1.0], [0.7, 1.4, 0.0], [0.3, 0.1, 1.7]]
)
"""Logits of five clips at two speeds: fast ones of the classes 0 1 2 0 2, slow ones 0 0 2 1 2."""

# What public code computes of these.
CONSISTENCY = 0.02185176
INSTANCE = 1.7757394
GROUP = 1.0803559
SLOW_GRADIENT = [
    [-0.5566642, 0.3363139, 0.2203504],
    [0.5332584, -0.7557937, 0.2225353],
    [0.3119733, 0.6193801, -0.9313533],
    [-0.1280226, -0.0114513, 0.1394740],
    [0.3037724, 0.3011028, -0.6048752],
]
"""Of 9 INSTANCE + GROUP to the slow logits."""


def logits(*rows: list[float]) -> Tensor:
    """Logits whose softmax is these probabilities."""
    return torch.tensor(rows).log()


# Confidence.


def test_only_confident_guesses_are_kept() -> None:
    found = pseudo_labels(logits([0.9, 0.1], [0.3, 0.7], [0.15, 0.85]), 0.8)
    assert found.classes.tolist() == [0, 1, 1]
    assert found.kept.tolist() == [1, 0, 1]


def test_the_threshold_itself_is_confident_and_above_1_nothing_is() -> None:
    sure = torch.tensor([[0.0, 0.0], [200.0, 0.0]])  # exactly 0.5 and 1
    assert pseudo_labels(sure, 0.5).kept.tolist() == [1, 1]
    assert pseudo_labels(sure, 1.0).kept.tolist() == [0, 1]
    assert pseudo_labels(sure, 1.01).kept.tolist() == [0, 0]


def test_what_is_not_kept_counts_in_the_mean() -> None:
    strong = logits([0.5, 0.5], [0.25, 0.75])
    loss = masked_cross_entropy(strong, torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2) / 2)


def test_where_nothing_is_kept_the_loss_is_0_and_on_the_graph() -> None:
    strong = logits([0.5, 0.5], [0.25, 0.75]).requires_grad_()
    loss = masked_cross_entropy(strong, torch.tensor([0, 1]), torch.zeros(2))
    loss.backward()
    assert loss.item() == 0
    assert strong.grad is not None
    assert not strong.grad.any()


# Mean Teacher.


def test_consistency_by_hand() -> None:
    student, teacher = logits([0.9, 0.1], [0.5, 0.5]), logits([0.5, 0.5], [0.5, 0.5])
    assert consistency(student, teacher).item() == pytest.approx(0.4**2 / 2)


def test_consistency_is_the_public_one_and_teaches_the_student_alone() -> None:
    """`softmax_mse_loss` of CuriousAI, divided by the batch, and TorchSSL's `consistency_loss`."""
    student, teacher = FAST.clone().requires_grad_(), SLOW.clone().requires_grad_()
    loss = consistency(student, teacher)
    assert loss.item() == pytest.approx(CONSISTENCY, rel=1e-6)
    loss.backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_the_ramp_by_hand() -> None:
    assert [ramp(step, 100) for step in (0, 10, 40, 99)] == [0, 0.25, 1, 1]
    assert ramp(0, 0) == 0


# ActorCut.


def test_a_cut_clips_label_by_hand() -> None:
    labels = cut_labels(
        torch.tensor([0, 2, 1]), torch.tensor([1, 0, 2]), torch.tensor([0.75, 0.5, 1.0]), 3
    )
    assert labels.tolist() == [[0.75, 0, 0.25], [0.5, 0, 0.5], [0, 1, 0]]


# Distillation.


def test_distillation_by_hand() -> None:
    student, teacher = logits([0.8, 0.2]), torch.tensor([[0.5, 0.5]])
    expected = -(math.log(0.8) + math.log(0.2)) / 2
    assert distillation_loss(student, teacher).item() == pytest.approx(expected)


def test_distillation_at_a_temperature_by_hand() -> None:
    """At T = 2, 4 : 1 becomes 2 : 1 on both sides."""
    student, teacher = logits([0.8, 0.2]), torch.tensor([[0.8, 0.2]])
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert distillation_loss(student, teacher, 2.0).item() == pytest.approx(4 * entropy, rel=1e-6)


def test_a_sure_teacher_is_no_trouble_at_any_temperature() -> None:
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.isfinite(distillation_loss(FAST[:1], sure, 4.0))
    assert distillation_loss(FAST[:1], sure).item() == pytest.approx(
        F.cross_entropy(FAST[:1], torch.tensor([0])).item()
    )


# TCL.


def test_instance_contrast_by_hand() -> None:
    """Two clips at right angles: each view has its like at cosine 1 and two others at 0."""
    views = torch.eye(2)
    assert instance_contrast(views, views).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    assert instance_contrast(views[:1], views[:1]).item() == 0


def test_groups_are_means_of_what_is_guessed_alike() -> None:
    fast = torch.tensor([[0.8, 0.2, 0.0], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    slow = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.4, 0.6, 0.0]])
    means = torch.tensor([[0.7, 0.3, 0], [0.1, 0.9, 0]]), torch.tensor([[0.7, 0.3, 0], [0.3, 0.7, 0]])  # fmt: skip # noqa: E501
    assert group_contrast(fast, slow).item() == pytest.approx(instance_contrast(*means).item())


def test_without_a_common_group_the_loss_is_0_and_on_the_graph() -> None:
    slow = torch.tensor([[0.1, 0.9]], requires_grad=True)
    loss = group_contrast(torch.tensor([[0.9, 0.1]]), slow)
    loss.backward()
    assert loss.item() == 0
    assert slow.grad is not None
    assert not slow.grad.any()


def test_contrasts_are_those_of_the_public_code() -> None:
    """`simclr_loss`, and `compute_group_contrastive_loss` of `get_group`, at temperature 0.5."""
    fast, slow = FAST.clone().requires_grad_(), SLOW.clone().requires_grad_()
    instance, group = contrasts(fast, slow)
    assert instance.item() == pytest.approx(INSTANCE, rel=1e-5)
    assert group.item() == pytest.approx(GROUP, rel=1e-5)
    (9 * instance + group).backward()
    assert fast.grad is None  # gradient goes through the slow view alone
    assert slow.grad is not None
    torch.testing.assert_close(slow.grad, torch.tensor(SLOW_GRADIENT), atol=1e-6, rtol=1e-4)


# S4L.


def test_a_turn_by_hand() -> None:
    """Counter-clockwise, all frames and colours alike, and no other axis."""
    clip = torch.tensor([[[[1], [2]], [[3], [4]]], [[[5], [6]], [[7], [8]]]])[None]
    assert turned(clip, 1)[0, ..., 0].tolist() == [[[2, 4], [1, 3]], [[6, 8], [5, 7]]]


def test_turns_add_up() -> None:
    clips = torch.arange(2 * 3 * 4 * 4 * 3).reshape(2, 3, 4, 4, 3)
    assert torch.equal(turned(turned(clips, 2), 2), clips)
    assert torch.equal(turned(turned(clips, 1), 3), clips)
    assert not torch.equal(turned(clips, 1), clips)


def test_all_turns_stand_beside_their_number() -> None:
    clips = torch.arange(2 * 1 * 2 * 2 * 3).reshape(2, 1, 2, 2, 3)
    made, turns = in_all_turns(clips)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for clip, turn, source in zip(made, turns.tolist(), [0, 1] * 4, strict=True):
        assert torch.equal(clip, turned(clips, turn)[source])


# Moving averages.


def test_the_decay_by_hand() -> None:
    assert [decay_at(step, 0.999) for step in (0, 1, 9, 10**6)] == [0, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("own", [False, True])
def test_a_moving_average_by_hand(own: bool) -> None:
    network = micro(0, normalised=True)
    average = MovingAverage(micro(1, normalised=True), 0.999, own_buffers=own)
    buffers = [buffer.clone() for buffer in average.network.buffers()]
    average.update(network, 0)  # the first step forgets what it began as
    first = [parameter.detach().clone() for parameter in network.parameters()]
    assert all(map(torch.equal, first, average.network.parameters()))
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.add_(2)
    average.update(network, 1)
    for mean, value in zip(average.network.parameters(), first, strict=True):
        torch.testing.assert_close(mean, value + 1)
    expected = buffers if own else list(network.buffers())
    assert all(map(torch.equal, expected, average.network.buffers()))
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
