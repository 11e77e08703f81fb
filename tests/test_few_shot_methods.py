"""Few-shot methods: hand-computed parts, and what must not change their answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from l2a.errors import InputError
from l2a.networks import build_trunk
from train.few_shot.methods import METHODS, FeatureShape, FewShotMethod, make_method, trx
from train.few_shot.methods.arn import Arn, power_norm, second_order
from train.few_shot.methods.base import class_means, to_frames, to_maps
from train.few_shot.methods.prototype import squared_distances
from train.few_shot.methods.self_supervision import (
    rotated,
    spatial_jigsaw,
    temporal_jigsaw,
    unlike_permutations,
)
from train.settings.few_shot_methods import ArnSettings, PrototypeSettings, TrxSettings

SHAPE = FeatureShape(dim=6, times=4, height=3, width=2, num_frames=16)
SMALL = (ArnSettings(arn_attention="both", arn_channels=16), TrxSettings(trx_dim=5))
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 0])
WAY = 4  # class 3 is absent


def features(count: int, seed: int) -> Tensor:
    """float64 `[count, 6, 4, 3, 2]`."""
    return torch.randn(
        count, 6, 4, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def method(name: str) -> FewShotMethod:
    """A method in evaluation mode, whose batch normalisation has seen something."""
    torch.manual_seed(1)
    made = make_method(name, SHAPE, SMALL).double()
    made(features(7, 3), LABELS, features(5, 4), 3)
    return made.eval()


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", METHODS)
def test_order_permutes_answers_and_changes_none(name: str) -> None:
    of = method(name)
    support, query = features(7, 1), features(5, 2)
    logits = of(support, LABELS, query, WAY)
    assert logits.shape == (5, WAY)

    order = torch.tensor([4, 2, 6, 0, 5, 1, 3])
    close(of(support[order], LABELS[order], query, WAY), logits)
    called = torch.tensor([2, 0, 3, 1])  # class 0 is called 2 now
    close(of(support, called[LABELS], query, WAY)[:, called], logits)
    turned = torch.tensor([3, 0, 4, 1, 2])
    close(of(support, LABELS, query[turned], WAY), logits[turned])


@pytest.mark.parametrize("name", METHODS)
def test_a_query_has_no_part_in_anothers_answer(name: str) -> None:
    of = method(name)
    support, query = features(7, 1), features(5, 2)
    logits = of(support, LABELS, query, WAY)
    close(of(support, LABELS, query[2:3], WAY), logits[2:3])
    others = torch.cat([query[:1], 50 * features(4, 8)])
    close(of(support, LABELS, others, WAY)[0], logits[0])
    # Codes are of one clip alone, so that they can be made once.
    close(of.encode(support)[3:4], of.encode(support[3:4]))
    close(of.compare(of.encode(support), LABELS, of.encode(query), WAY), logits)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("often", [0, 100])
def test_many_episodes_at_once_are_each_by_itself(
    name: str, often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trx, "_OFTEN", often)
    of = method(name)
    table = of.encode(features(12, 1))
    draw = torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.randperm(12, generator=draw)[:9] for _ in range(6)])
    support, query = drawn[:, :7], drawn[:, 7:]
    logits = of.compare_all(table, support, LABELS, query, WAY)
    assert logits.shape == (6, 2, WAY)
    for own, shown, asked in zip(logits, support, query, strict=True):
        close(own, of.compare(table[shown], LABELS, table[asked], WAY))


@pytest.mark.parametrize("name", METHODS)
def test_a_folded_method_answers_the_same(name: str) -> None:
    of = method(name)
    before = {key: value.clone() for key, value in of.state_dict().items()}
    support, query = features(7, 1), features(5, 2)
    fast = of.folded()
    close(fast(support, LABELS, query, WAY), of(support, LABELS, query, WAY))
    assert not fast.training
    assert all(torch.equal(value, before[key]) for key, value in of.state_dict().items())
    if isinstance(fast, Arn):
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.relation.modules())


@pytest.mark.parametrize("name", METHODS)
def test_copies_of_support_clips_change_nothing(name: str) -> None:
    of = method(name)
    support, query = features(3, 1), features(5, 2)
    logits = of(support, torch.tensor([0, 1, 2]), query, 3)
    copies = torch.tensor([0, 1, 1, 1, 2, 1])  # three more of the one clip of class 1
    close(of(support[copies], copies, query, 3), logits)


@pytest.mark.parametrize("name", METHODS)
def test_an_absent_class_cannot_win_and_gradients_stay_finite(name: str) -> None:
    of = method(name)
    support = features(7, 1).requires_grad_()
    logits = of(support, LABELS, features(5, 2), WAY)
    assert (logits[:, 3] == -math.inf).all()
    assert logits[:, :3].isfinite().all()
    assert (logits.argmax(1) < 3).all()
    of.loss(logits, torch.tensor([0, 1, 2, 0, 1])).backward()
    assert support.grad is not None
    assert support.grad.isfinite().all()
    assert support.grad.abs().sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_frame_features_do_as_well_as_maps(name: str) -> None:
    frames = features(12, 1)[..., 0, 0].transpose(1, 2)  # [12, T, D]
    torch.manual_seed(1)
    of = make_method(name, FeatureShape.of(frames, 16), SMALL).double().eval()
    found = of(frames[:7], LABELS, frames[7:], 3)
    close(of(to_maps(frames[:7]), LABELS, to_maps(frames[7:]), 3), found)
    close(to_frames(to_maps(frames)), frames)


def test_maps_become_frames_by_their_mean_over_space() -> None:
    maps = torch.arange(16.0).reshape(1, 2, 2, 2, 2)
    assert to_frames(maps).tolist() == [[[1.5, 9.5], [5.5, 13.5]]]
    assert FeatureShape.of(maps, 8) == FeatureShape(2, 2, 2, 2, 8)


def test_prototypes_are_means_and_scores_squared_distances() -> None:
    support = torch.tensor([[0.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
    means, present = class_means(support, torch.tensor([0, 1, 0]), 3)
    assert means.tolist() == [[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]]
    assert present.tolist() == [True, True, False]
    of = make_method("prototype", FeatureShape(2, 1, 1, 1, 1))
    logits = of(support[:, None], torch.tensor([0, 1, 0]), torch.tensor([[[1.0, 1.0]]]), 2)
    assert logits.tolist() == [[-1.0, -5.0]]
    # log(1 + e^-4): the mean negative log-probability.
    assert of.loss(logits, torch.tensor([0])).item() == pytest.approx(
        math.log1p(math.exp(-4)), rel=1e-5
    )


def test_distances_of_near_points_far_from_the_origin() -> None:
    points = torch.tensor([[10_000.0, 1.0]])
    assert squared_distances(points, torch.tensor([[10_000.0, 1.5]])).item() == 0.25


def test_flattened_maps_see_where_pooled_ones_do_not() -> None:
    one = torch.zeros(1, 1, 1, 2, 2)
    one[..., 0, 0] = 1
    other = torch.zeros(1, 1, 1, 2, 2)
    other[..., 1, 1] = 1
    support, labels = torch.cat([one, other]), torch.tensor([0, 1])
    shape = FeatureShape.of(one, 8)
    pooled = make_method("prototype", shape, (PrototypeSettings("pool"),))
    flat = make_method("prototype", shape, (PrototypeSettings("flatten"),))
    assert pooled(support, labels, one, 2).tolist() == [[0.0, 0.0]]
    assert flat(support, labels, one, 2).tolist() == [[0.0, -2.0]]


def test_second_order_pooling_by_hand_and_by_its_formula() -> None:
    maps = torch.tensor([[1.0, 2, 3, 4], [0, 1, 0, 1]]).reshape(1, 2, 1, 2, 2)
    # F Fᵀ / 4 = [[30, 6], [6, 2]] / 4, of trace 8.
    assert second_order(maps).tolist() == [[[30 / 32, 6 / 32], [6 / 32, 2 / 32]]]
    some = features(2, 5)
    direct = torch.zeros(2, 6, 6, dtype=torch.float64)
    for n in range(2):
        for place in range(4 * 3 * 2):
            column = some[n].reshape(6, -1)[:, place]
            direct[n] += torch.outer(column, column) / 24
        direct[n] /= direct[n].trace()
    close(second_order(some), direct)
    assert second_order(torch.zeros(1, 2, 1, 1, 1)).abs().sum() == 0


def test_second_order_pooling_does_not_ask_for_the_order_of_places() -> None:
    some = features(2, 5).flatten(2)
    shuffled = some[:, :, torch.randperm(24, generator=torch.Generator().manual_seed(0))]
    close(second_order(shuffled.reshape(2, 6, 4, 3, 2)), second_order(some.reshape(2, 6, 4, 3, 2)))


def test_power_normalisation_by_hand() -> None:
    found = power_norm(torch.tensor([0.0, 0.01, 1.0, -0.01], dtype=torch.float64), 100.0)
    assert found.tolist() == pytest.approx([0, math.tanh(0.5), 1, -math.tanh(0.5)], abs=1e-12)


def test_arn_attends_pools_and_normalises() -> None:
    of = method("arn")
    assert isinstance(of, Arn)
    assert of.spatial is not None
    assert of.temporal is not None
    maps = of.project(features(2, 5))
    where, when = of.spatial(maps), of.temporal(maps)
    assert where.shape == (2, 1, 1, 3, 2)
    assert when.shape == (2, 1, 4, 1, 1)
    scaled = torch.zeros_like(maps)
    for t in range(4):
        for y in range(3):
            for x in range(2):
                by = (1 + where[:, 0, 0, y, x]) * (1 + when[:, 0, t, 0, 0])
                scaled[:, :, t, y, x] = maps[:, :, t, y, x] * by[:, None]
    close(of.encode(features(2, 5)), power_norm(second_order(scaled), 100.0))


def test_spatial_attention_says_where_it_can_change_nothing() -> None:
    """Features of frames have one place: one factor for a clip, which the trace takes out."""
    flat = FeatureShape(64, 16, 1, 1, 16)
    torch.manual_seed(0)
    attending = make_method("arn", flat).double().eval()
    plain = make_method("arn", flat, (ArnSettings(arn_attention="none"),)).double().eval()
    frames = torch.rand(5, 16, 64, dtype=torch.float64)
    close(attending.encode(frames), plain.encode(frames))
    assert "spatial attention changes nothing" in attending.notes[0]
    temporal = make_method("arn", flat, (ArnSettings(arn_attention="temporal"),)).double().eval()
    assert not torch.allclose(temporal.encode(frames), plain.encode(frames))
    assert plain.notes == temporal.notes == method("arn").notes == ()


def test_the_relation_network_by_hand() -> None:
    of = method("arn")
    assert isinstance(of, Arn)
    net = of.relation
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, 0.5)
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    for linear, weight, bias in ((net.hidden, 0.01, 0.0), (net.score, 0.1, -1.0)):
        nn.init.constant_(linear.weight, weight)
        nn.init.constant_(linear.bias, bias)
    # Every convolution gives 0.5 (but for the 1e-5 in its normalisation), three are added to their
    # input: 2.0 in each of 64 channels; 8 hidden ones of 1.28.
    found = net(torch.ones(1, 2, 16, 16, dtype=torch.float64))
    assert found.item() == pytest.approx(1 / (1 + math.exp(1 - 0.8 * 1.28)), rel=1e-5)


def test_arn_learns_scores_by_their_squared_error() -> None:
    of = method("arn")
    scores = torch.tensor([[0.9, 0.2], [0.4, 0.6]])
    assert of.loss(scores, torch.tensor([0, 0])).item() == pytest.approx(0.77 / 4)


def test_arn_says_at_once_that_it_needs_16_frames() -> None:
    with pytest.raises(InputError, match=r"16 frames or more.* these have 8"):
        make_method("arn", FeatureShape(6, 8, 3, 2, num_frames=8))


def test_methods_and_settings_that_are_not() -> None:
    with pytest.raises(InputError, match="no few-shot method 'otam'; choose one of: prototype"):
        make_method("otam", SHAPE)
    with pytest.raises(InputError, match="tuples of 3 frames needs as many"):
        make_method("trx", FeatureShape(6, 2, 3, 2, 16))
    for group, values, message in (
        (ArnSettings, {"arn_channels": 40}, "multiple of 16"),
        (ArnSettings, {"arn_auxiliary": ("colour",)}, "no self-supervised task 'colour'"),
        (ArnSettings, {"arn_permutations": 25}, "give 2 to 24"),
        (TrxSettings, {"trx_cardinalities": (2, 2)}, "different numbers"),
        (TrxSettings, {"trx_dropout": 1.0}, "below 1"),
    ):
        with pytest.raises(InputError, match=message):
            group(**values)


def test_rotations_and_jigsaws_alter_as_their_kind_says() -> None:
    clip = torch.arange(4 * 2 * 2).reshape(1, 4, 2, 2, 1)
    turned = rotated(clip.expand(2, -1, -1, -1, -1), torch.tensor([0, 1]))
    assert turned[0].equal(clip[0])
    assert turned[1, 0, :, :, 0].tolist() == [[1, 3], [0, 2]]  # a quarter to the left
    orders = unlike_permutations(10)
    assert orders[:2] == [(0, 1, 2, 3), (1, 0, 3, 2)]
    assert len(set(orders)) == 10
    kind = torch.tensor([1])
    in_time = temporal_jigsaw(10)(clip, kind)
    assert in_time[0].equal(clip[0, [1, 0, 3, 2]])
    in_space = spatial_jigsaw(10)(clip, kind)
    assert in_space[0, 0, :, :, 0].tolist() == [[1, 0], [3, 2]]


def test_self_supervision_teaches_the_trunk_and_follows_the_generator() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("tiny3d")
    clips = torch.randint(
        0, 256, (2, 16, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    maps = trunk.forward_features(trunk.to_input(clips))
    asked = ArnSettings(
        arn_attention="both", arn_channels=16, arn_alignment_weight=0.1,
        arn_auxiliary=("rotation", "temporal-jigsaw"),
    )  # fmt: skip
    of = make_method("arn", FeatureShape.of(maps, 16), (asked,))

    def lost(seed: int) -> Tensor:
        loss = of.auxiliary_loss(trunk, clips, torch.Generator().manual_seed(seed))
        assert loss is not None
        return loss

    first = lost(0)
    first.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trunk.parameters())
    assert lost(0).item() == pytest.approx(first.item(), rel=1e-5)
    assert lost(1).item() != pytest.approx(first.item(), rel=1e-3)
    plain = make_method("arn", FeatureShape.of(maps, 16))
    assert plain.auxiliary_loss(trunk, clips, torch.Generator()) is None
