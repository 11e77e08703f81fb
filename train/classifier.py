"""The classifier: made, kept, and asked; `train.trainer` trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.errors import InputError
from l2a.networks import VideoNetwork, build_network
from l2a.trunk import Trunk
from train.batches import ClipSource
from train.loading import prefetch
from train.settings.full import ClassifierSettings

EVALUATION_BATCH = 32
"""Clips in one pass through a network when nothing is learned from them."""


def make_classifier(
    settings: ClassifierSettings, num_classes: int, seed: int, device: torch.device
) -> VideoNetwork:
    """A classifier on `device` whose first weights follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(settings.network, num_classes, settings.weights)
    return network.move_to(device, settings.precision)


@torch.inference_mode()
def predict(
    network: VideoNetwork, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits float32 `[n, num_classes]` of real clips, one centre crop a clip."""
    network.eval()
    parts = [rows[i : i + EVALUATION_BATCH] for i in range(0, len(rows), EVALUATION_BATCH)]
    outputs = [
        ask(network, clips).cpu().numpy()
        for clips in prefetch(source.clips(part) for part in parts)
    ]
    return np.concatenate(outputs)


def ask(model: Trunk | VideoNetwork, clips: Tensor) -> Tensor:
    """What a network in evaluation mode says of clips.

    Args:
        model: a classifier, or its trunk.
        clips: uint8 `[B, T, h, w, 3]`, RGB, B ≥ 1, on any device.

    Returns:
        Logits or features float32 `[B, ...]` on the model's device.
    """
    forward: Callable[[Tensor], Tensor] = model
    return forward(model.to_input(clips.to(model.device)))


def save_classifier(
    path: Path, network: VideoNetwork, classes: Sequence[str], clips: ClipSettings
) -> None:
    """Write a classifier with its classes and clip geometry: safetensors with a JSON header."""
    card = {"network": network.name, "classes": list(classes), "clips": vars(clips)}
    save_tensors(path, network.state_dict(), card)


def load_classifier(path: Path) -> tuple[VideoNetwork, Mapping[str, Any]]:
    """Read what `save_classifier` wrote: the network, and its card (network, classes, clips).

    Raises:
        InputError: the file is absent, damaged, or no classifier of ours.
    """
    tensors, card = load_tensors(path)
    if not isinstance(card, dict) or not {"network", "classes", "clips"} <= card.keys():
        raise InputError(f"{path} is not a classifier that `l2a train` saved; name another file.")
    network = build_network(card["network"], len(card["classes"]))
    network.load_state_dict(tensors)
    return network, card
