"""S4L-rotation (Zhai et al. 2019): which way up a clip is says something without a label.

    loss = H(labelled, in all 4 rotations) + λ (H_rot(unlabelled) + H_rot(labelled)) / 2

Every clip is seen in all four rotations by multiples of 90°, and a second linear head on the same
feature tells which one it is; classes are asked for in all four too. As in
`semi_supervised/rotation.py` of github.com/google-research/s4l, where weights are 1. On video all
frames of a clip are turned alike, as 3D-RotNet does (Jing et al. 2018); nobody has said how the S4L
of the tables is made for video. Four times as many clips go through the network in a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.networks import VideoNetwork
from train.objectives import Loss
from train.objectives.parts import ObjectiveSettings, Training, features_of
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch

TURNS = 4

_HEAD = 2  # stream of the head's first weights


def turned(clips: Tensor, turns: int) -> Tensor:
    """Clips with every frame turned by `turns` times 90°, counter-clockwise.

    Args:
        clips: any type, `[B, T, h, h, 3]`.
        turns: any whole number.
    """
    return torch.rot90(clips, turns, dims=(2, 3))


def in_all_turns(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Clips `[4 B, T, h, h, 3]`, all turned by 0° first, and the turns of each, int64 `[4 B]`."""
    turns = torch.arange(TURNS, device=clips.device).repeat_interleave(len(clips))
    return torch.cat([turned(clips, k) for k in range(TURNS)]), turns


class S4L:
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._weight = settings.unlabelled_weight
        self._head = training.make_head(TURNS, _HEAD)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, turns = in_all_turns(batch.labelled.clips)
        unlabelled, unlabelled_turns = in_all_turns(batch.weak)
        features, unlabelled_features = features_of(network, labelled, unlabelled)
        labels = batch.labelled.labels.repeat(TURNS, 1)
        supervised = soft_cross_entropy(network.head(features), labels)
        guesses = self._head(unlabelled_features)
        own = F.cross_entropy(self._head(features), turns)
        rotation = (F.cross_entropy(guesses, unlabelled_turns) + own) / 2
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": rotation.detach(),
            "utilisation": torch.ones_like(rotation),
            "turns_told": (guesses.argmax(1) == unlabelled_turns).float().mean(),
        }
        labelled_part = supervised + self._weight * own / 2
        return Loss(supervised + self._weight * rotation, figures, labelled_part)

    def after_step(self, network: VideoNetwork, step: int) -> None:
        """Nothing follows."""

    def final(self, network: VideoNetwork) -> VideoNetwork:
        """The network itself."""
        return network

    def parameters(self) -> Iterable[nn.Parameter]:
        """The second head's."""
        return self._head.parameters()

    def buffers(self) -> Iterable[Tensor]:
        """None."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """The second head."""
        return dict(self._head.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `train.objectives.Objective.load_state_dict`."""
        self._head.load_state_dict(state)
