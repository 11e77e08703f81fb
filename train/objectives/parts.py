"""What objectives that learn from unlabelled clips share: settings, forward passes, heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from l2a.networks import VideoNetwork


@dataclass(frozen=True)
class ObjectiveSettings:
    """What can be set of any of them.

    Attributes:
        threshold: the confidence, 0..1, from which a pseudo-label counts; above 1 none does.
        unlabelled_weight: of the whole loss on unlabelled clips, times the method's own weights.
        ema: how slowly a moving average of weights follows, 0..1.
        distillation_weight: of the loss against a teacher.
        distillation_temperature: above 0.
    """

    threshold: float = 0.95
    unlabelled_weight: float = 1.0
    ema: float = 0.999
    distillation_weight: float = 1.0
    distillation_temperature: float = 1.0


@dataclass(frozen=True)
class Training:
    """The training that an objective is made for.

    Attributes:
        network: as it is before the first step, on its device.
        total_steps: of the whole training, for weights that change with time.
        teacher_classes: K, outputs of the teacher; 0 without one.
        seed: the first weights of heads follow from it.
    """

    network: VideoNetwork
    total_steps: int
    teacher_classes: int = 0
    seed: int = 0

    def make_head(self, outputs: int, stream: int) -> nn.Linear:
        """A linear head on pooled features, on the network's device.

        Args:
            outputs: its length.
            stream: a number of its own for each head of an objective.
        """
        seed = np.random.SeedSequence([self.seed, stream]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            head = nn.Linear(self.network.feature_dim, outputs)
        return head.to(self.network.device)


def features_of(network: VideoNetwork, *parts: Tensor) -> tuple[Tensor, ...]:
    """Pooled features float32 `[b, D]` of several groups of clips, by one forward pass.

    Batch normalisation then has one set of statistics for all of them, and several GPUs reduce
    gradients once.

    Args:
        network: in training mode.
        parts: clips uint8 `[b, T, h, w, 3]` each.
    """
    clips = network.to_input(torch.cat(parts))
    features = network.pool(network.forward_features(clips))
    return features.split([len(part) for part in parts])


def logits_of(network: VideoNetwork, *parts: Tensor) -> tuple[Tensor, ...]:
    """Logits float32 `[b, C]` of several groups of clips by one pass; see `features_of`."""
    logits: Tensor = network(network.to_input(torch.cat(parts)))
    return logits.split([len(part) for part in parts])


def ramp(step: int, total_steps: int, share: float = 0.4) -> float:
    """A weight that rises linearly from 0, and is 1 from `share` of the training on.

    As in `pseudo_label.py` and `mean_teacher.py` of github.com/google-research/fixmatch, d4985a1.
    """
    return min(1.0, step / max(1.0, share * total_steps))


def given(view: Tensor | None) -> Tensor:
    """A view that the objective has asked for.

    Raises:
        ValueError: the batches were made without it.
    """
    if view is None:
        raise ValueError("the batch lacks a view that the objective needs")
    return view
