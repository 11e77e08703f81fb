"""Learning from episodes: what a step is made of, and what follows from the seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from l2a.networks import VideoNetwork, build_trunk
from train.few_shot.methods import FeatureShape, make_method
from train.few_shot.training import EpisodeBatch, EpisodeObjective
from train.parts import Part
from train.settings.few_shot_methods import ArnSettings, TrxSettings
from train.trainer import weighed

WAY, SHOT, ASKED = 2, 2, 1


def network() -> VideoNetwork:
    torch.manual_seed(0)
    return VideoNetwork("tiny3d", build_trunk("tiny3d"), 1)


def gradients(
    objective: EpisodeObjective, of: VideoNetwork, batch: EpisodeBatch, most: int | None
) -> tuple[list[int], list[Tensor]]:
    """Episodes of each pass, and the method's gradients of the whole step."""
    objective.method.zero_grad()
    sizes = []
    for piece, weights in Part(batch, len(batch), batch.terms).pieces(most):
        weighed(objective.loss(of, piece, 0), weights).backward()
        sizes.append(len(piece))
    return sizes, [own.grad.clone() for own in objective.parameters() if own.grad is not None]


def test_a_micro_batch_has_so_many_episodes_and_teaches_what_all_teach() -> None:
    settings = TrxSettings(trx_dim=3, trx_cardinalities=(2,), trx_dropout=0.0)
    method = make_method("trx", FeatureShape(5, 4, 1, 1, 4), (settings,)).double()
    objective = EpisodeObjective(method, WAY, SHOT, "frames", seed=0)
    features = torch.randn(
        5, WAY * (SHOT + ASKED), 4, 5, generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    )  # fmt: skip
    batch = EpisodeBatch(features, torch.arange(5))
    assert batch.part(1, 3).numbers.tolist() == [1, 4]
    sizes, whole = gradients(objective, network(), batch, None)
    assert sizes == [5]
    for most, expected in ((1, [1] * 5), (2, [2, 2, 1]), (9, [5])):
        sizes, parts = gradients(objective, network(), batch, most)
        assert sizes == expected
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other)


def test_turns_of_self_supervision_follow_from_the_seed_and_the_episode() -> None:
    """So that a step in parts has those of a whole one, and another seed others."""
    of = network()
    clips = torch.randint(0, 256, (2, WAY * (SHOT + ASKED), 16, 32, 32, 3), dtype=torch.uint8)
    maps = of.forward_features(of.to_input(clips[0]))
    settings = ArnSettings(arn_channels=16, arn_auxiliary=("rotation",))
    method = make_method("arn", FeatureShape.of(maps, 16), (settings,))
    batch = EpisodeBatch(clips, torch.tensor([6, 7]))

    def auxiliary(given: EpisodeBatch, seed: int = 0) -> float:
        objective = EpisodeObjective(method, WAY, SHOT, "maps", seed)
        with torch.no_grad():
            return objective.loss(of, given, 0).figures["auxiliary"].item()

    both = auxiliary(batch)
    apart = [auxiliary(batch.part(index, 2)) for index in (0, 1)]
    assert both == pytest.approx(sum(apart) / 2, rel=1e-5)
    assert auxiliary(batch, seed=1) != pytest.approx(both, rel=1e-4)
    same = EpisodeBatch(clips[:1].expand(2, *clips.shape[1:]).contiguous(), batch.numbers)
    first, second = (auxiliary(same.part(index, 2)) for index in (0, 1))
    assert first != pytest.approx(second, rel=1e-4)
    again = replace(same, numbers=torch.tensor([6, 6]))
    assert auxiliary(again.part(1, 2)) == pytest.approx(first, rel=1e-5)
