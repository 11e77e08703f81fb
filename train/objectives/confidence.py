"""Pseudo-labels that count where the network is confident, and the loss against them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class PseudoLabels(NamedTuple):
    """What a network makes of unlabelled clips; no gradient goes through it.

    Attributes:
        classes: int64 `[U]`, the likeliest.
        kept: float32 `[U]`, 1 where it is likely enough to count, else 0.
    """

    classes: Tensor
    kept: Tensor


def pseudo_labels(logits: Tensor, threshold: float) -> PseudoLabels:
    """The likeliest classes, kept where max_c softmax(z)_c ≥ threshold (FixMatch, Eq. 4).

    Args:
        logits: z, float32 `[U, C]`.
        threshold: τ in 0..1; above 1 none is kept.
    """
    confidence, classes = logits.detach().softmax(1).max(1)
    return PseudoLabels(classes, (confidence >= threshold).float())


def masked_cross_entropy(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """1/U Σ_i kept_i H(label_i, softmax(z_i)), in nats: a mean over ALL clips, not those kept.

    So its weight grows with the share that is kept, and processes that share a batch agree on it.
    Where none is kept it is 0, with a gradient of 0.

    Args:
        logits: z, float32 `[U, C]`.
        labels: classes int64 `[U]`, or soft labels float32 `[U, C]`.
        kept: float32 `[U]`.

    Returns:
        float32 [].
    """
    return (F.cross_entropy(logits, labels, reduction="none") * kept).mean()


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Classes int64 `[U]` as float32 `[U, count]`."""
    return torch.nn.functional.one_hot(classes, count).float()
