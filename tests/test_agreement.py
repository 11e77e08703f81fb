"""Label agreement: by hand on a few videos, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector import agreement
from selector.agreement import LIMIT, SHARPNESS, label_agreement


def agree(features: Tensor, classes: Tensor) -> Tensor:
    """Label agreement of videos that are recordings of their own."""
    return label_agreement(features, classes, torch.arange(len(features)))


def test_four_videos_by_hand() -> None:
    """Two places, −1 and 1 on each axis; the last video carries the label of the other place."""
    features = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    classes = torch.tensor([0, 0, 1, 0])
    # Cosines are 1 within a place and −1 across, so that weights are 1 and e^−20 of it.
    far = math.exp(-2 * SHARPNESS)
    total = 1 + 2 * far
    share = [(1 + far) / total, (1 + far) / total, 0.0, 2 * far / total]
    plain = [2 / 3, 2 / 3, 0.0, 2 / 3]

    def logit(p: float) -> float:
        p = min(max(p, 1e-6), 1 - 1e-6)
        return math.log(p / (1 - p))

    raw = torch.tensor([logit(p) - logit(q) for p, q in zip(share, plain, strict=True)])
    judged = raw[[0, 1, 3]]  # a class of one video cannot be judged
    expected = (raw - judged.mean()) / judged.std(correction=0)
    found = agree(features, classes)
    assert torch.allclose(found[[0, 1, 3]], expected[[0, 1, 3]], atol=1e-4)
    assert found[2] == 0


def test_a_class_of_one_recording_is_not_taken_for_a_wrong_label() -> None:
    """Five classes of four recordings with five clips each, and one of twenty clips of one."""
    recordings = torch.arange(120) // 5
    recordings[100:] = 20
    classes = torch.arange(120) // 20
    draw = torch.Generator().manual_seed(0)
    features = 4 * torch.eye(6, 16)[classes] + torch.randn(120, 16, generator=draw)
    classes[:5] = 1
    found = label_agreement(features, classes, recordings)
    assert torch.equal(found[100:], torch.zeros(20))
    assert found[:5].mean() < -2 < found[5:100].mean()


def test_three_videos_at_right_angles_by_hand() -> None:
    """Features whose standardised rows lie 120° apart: every cosine is −½, all weights equal."""
    features = torch.eye(3)
    # Each of the two of class 0 has one of the two others with it, by weight as by count.
    assert torch.equal(agree(features, torch.tensor([0, 0, 1])), torch.zeros(3))


def test_five_videos_of_soft_neighbourhoods_against_the_formula_in_numbers() -> None:
    features = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
    classes = torch.tensor([0, 0, 1, 1, 0])
    # Mean 3; on one axis a unit vector is a sign: −, −, −, none, +. Weights are e^(10·(cos − 1)):
    # 1 for the same sign, e^−10 for none, e^−20 for the other.
    same, none, other = 1.0, math.exp(-10), math.exp(-20)
    share = [
        same / (2 * same + none + other) + other / (2 * same + none + other),
        same / (2 * same + none + other) + other / (2 * same + none + other),
        none / (2 * same + none + other),
        1 / 4,
        2 * other / (3 * other + none),
    ]
    plain = [1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 2]
    logits = torch.tensor([share, plain], dtype=torch.float64).logit(eps=1e-6)
    raw = logits[0] - logits[1]
    expected = ((raw - raw.mean()) / raw.std(correction=0)).float()
    assert torch.allclose(agree(features, classes), expected, atol=1e-5)


def clusters(seed: int = 0, count: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Points of three classes, their labels of which some are wrong, and which ones."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % 3
    points = 4 * torch.eye(3, 8)[truth] + torch.randn(count, 8, generator=draw)
    wrong = torch.rand(count, generator=draw) < 0.2
    return points, torch.where(wrong, (truth + 1) % 3, truth), wrong


def test_wrong_labels_agree_least() -> None:
    points, classes, wrong = clusters()
    found = agree(points, classes)
    assert found[wrong].max() < found[~wrong].median()
    assert found[wrong].mean() < -1


def test_it_is_standardised_and_clamped() -> None:
    points, classes, _ = clusters(count=300)
    found = agree(points, classes)
    assert found.shape == (300,)
    assert found.dtype == torch.float32
    assert found.abs().max() <= LIMIT
    assert abs(float(found.mean())) < 0.1  # clamping moves it a little
    odd = torch.zeros(200, dtype=torch.int64)
    odd[0] = 1
    odd[199] = 1
    features = torch.cat([torch.randn(100, 4) + 9, torch.randn(100, 4) - 9])
    assert agree(features, odd).min() == -LIMIT


@given(
    seed=st.integers(0, 99),
    column=st.integers(0, 7),
    scale=st.floats(0.1, 10),
    shift=st.floats(-10, 10),
)
def test_it_does_not_depend_on_a_features_unit(
    seed: int, column: int, scale: float, shift: float
) -> None:
    points, classes, _ = clusters(seed, count=20)
    moved = points.clone()
    moved[:, column] = scale * moved[:, column] + shift
    found = agree(moved, classes)
    assert torch.allclose(found, agree(points, classes), atol=1e-3)


@given(seed=st.integers(0, 99))
def test_order_and_class_numbers_do_not_matter(seed: int) -> None:
    points, classes, _ = clusters(seed, count=20)
    found = agree(points, classes)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(agree(points[order], classes[order]), found[order], atol=1e-3)
    renamed = torch.tensor([5, 0, 2])[classes]
    assert torch.allclose(agree(points, renamed), found, atol=1e-3)


def test_the_same_bits_every_time_and_no_gradient() -> None:
    points, classes, _ = clusters()
    before = points.clone()
    found = agree(points.requires_grad_(), classes)
    assert torch.equal(found, agree(points, classes))
    assert not found.requires_grad
    assert torch.equal(points, before)


def test_what_does_not_vary_is_zero() -> None:
    points, _, _ = clusters()
    assert torch.equal(agree(points, torch.zeros(60, dtype=torch.int64)), torch.zeros(60))
    each = torch.arange(60)
    assert torch.equal(agree(points, each), torch.zeros(60))  # classes of one video each
    for count in (0, 1):
        assert torch.equal(agree(points[:count], each[:count]), torch.zeros(count))
    assert agree(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])).abs().max() == 0


def test_a_feature_that_never_varies_changes_nothing() -> None:
    points, classes, _ = clusters()
    more = torch.cat([points, torch.full((60, 1), 0.1)], dim=1)
    found = agree(more, classes)
    assert torch.allclose(found, agree(points, classes), atol=1e-3)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points, classes, _ = clusters()
    whole = agree(points, classes)
    monkeypatch.setattr(agreement, "_ROWS", 7)
    assert torch.allclose(agree(points, classes), whole, atol=1e-5)


def test_of_many_videos_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    points, classes, wrong = clusters(count=300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    points, classes, wrong = points[order], classes[order], wrong[order]
    whole = agree(points, classes)
    monkeypatch.setattr(agreement, "REFERENCES", 100)
    found = agree(points, classes)
    assert found.shape == (300,)
    assert not torch.equal(found, whole)
    assert torch.corrcoef(torch.stack([found, whole]))[0, 1] > 0.8
    assert found[wrong].max() < found[~wrong].median()


def test_videos_that_stand_for_others_are_not_compared_with_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Videos 0 and 3 stand for all four; what is left for them is the other one."""
    features = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    classes = torch.tensor([0, 0, 1, 0])
    monkeypatch.setattr(agreement, "REFERENCES", 2)
    # Of class 0 is all that 0, 1 and 3 are compared with, of class 1 nothing: no one stands out.
    assert torch.equal(agree(features, classes), torch.zeros(4))
    classes = torch.tensor([0, 0, 1, 1])
    # 0 and 3 see only each other, of the other class, and cannot be judged; 1 and 2 see their twin
    # beside them, and agree with it as much.
    assert torch.equal(agree(features, classes), torch.zeros(4))


# Clips of one recording.


def test_how_many_clips_a_recording_has_is_no_agreement() -> None:
    """Three equal clips each, every recording as far from every other: no label stands out."""
    recordings = torch.arange(12).repeat_interleave(3)
    features = torch.eye(12)[recordings]
    assert torch.equal(label_agreement(features, recordings % 4, recordings), torch.zeros(36))


def test_a_wrongly_labelled_recording_is_told_by_the_others() -> None:
    """Two places with two recordings each; all three clips of the last carry the other label."""
    recordings = torch.tensor([0, 1, 2, 3]).repeat_interleave(3)
    features = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])[recordings]
    classes = torch.tensor([0, 0, 1, 0])[recordings]
    # By weights 1 within a place and e^−20 across, over three other recordings of three clips each:
    far = math.exp(-2 * SHARPNESS)
    share = [(1 + far) / (1 + 2 * far), (1 + far) / (1 + 2 * far), 0.0, 2 * far / (1 + 2 * far)]
    plain = [2 / 3, 2 / 3, 0.0, 2 / 3]
    logits = torch.tensor([share, plain], dtype=torch.float64).logit(eps=1e-6)
    raw = (logits[0] - logits[1])[recordings]
    judged = recordings != 2  # no other recording has its class
    expected = ((raw - raw[judged].mean()) / raw[judged].std(correction=0)).float()
    found = label_agreement(features, classes, recordings)
    assert torch.allclose(found[judged], expected[judged], atol=1e-4)
    assert torch.equal(found[~judged], torch.zeros(3))


def test_the_numbers_of_recordings_and_blocks_of_rows_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, classes, _ = clusters()
    recordings = torch.arange(60) // 4
    found = label_agreement(points, classes, recordings)
    other = torch.randperm(99, generator=torch.Generator().manual_seed(0))[recordings]
    monkeypatch.setattr(agreement, "_ROWS", 7)
    assert torch.allclose(label_agreement(points, classes, other), found, atol=1e-5)


def test_one_recording_alone_says_nothing() -> None:
    points, classes, _ = clusters()
    found = label_agreement(points, classes, torch.zeros(60, dtype=torch.int64))
    assert torch.equal(found, torch.zeros(60))
