"""Supervised learning from real clips and composites (Learn2Augment, Sec. 4.2).

The label of a composite is mixed, ỹ = λ y_f + (1 − λ) y_b (Eq. 7), and a real clip's is one-hot:
both are rows that sum to 1, and the loss is the cross-entropy against them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from l2a.networks import VideoNetwork
from train.batches import ClipBatch
from train.objectives import Loss, Stateless


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−mean_i Σ_c y_ic log softmax(z_i)_c, in nats.

    Args:
        logits: z, float32 `[B, C]`.
        labels: y, float32 `[B, C]`, rows sum to 1, or to the weight of their clip.

    Returns:
        float32 [].
    """
    return F.cross_entropy(logits, labels)


class Supervised(Stateless):
    """Cross-entropy against soft labels, as a `train.objectives.Objective`."""

    def loss(self, network: VideoNetwork, batch: ClipBatch, step: int = 0) -> Loss:
        """See `soft_cross_entropy`."""
        logits = network(network.to_input(batch.clips))
        return Loss(soft_cross_entropy(logits, batch.labels))
