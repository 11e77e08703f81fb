"""The classifier: made, kept, and asked; `train.trainer` trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.errors import InputError
from l2a.networks import Trunk, VideoNetwork, build_network
from train.batches import ClipSource
from train.loading import prefetch
from train.settings.full import ClassifierSettings

EVALUATION_BATCH = 32
"""Clips that are made and asked about together when nothing is learned from them."""

_CPU_PIXELS = 1 << 19
"""Pixels in one pass through a network on a CPU, at least one clip: the maps of more are given back
to the system after every layer, and taking them anew costs as much as computing them."""


def make_classifier(
    settings: ClassifierSettings, num_classes: int, seed: int, device: torch.device
) -> VideoNetwork:
    """A classifier on `device` whose first weights follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(settings.network, num_classes, settings.weights)
    return network.move_to(device, settings.precision)


def predict(
    network: VideoNetwork, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits float32 `[n, num_classes]` of real clips, one centre crop a clip."""
    return _over_clips(network, source, rows)


def trunk_features(
    trunk: Trunk, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Trunk features float32 `[n, feature_dim]` of real clips, one centre crop a clip."""
    return _over_clips(trunk, source, rows)


@torch.inference_mode()
def _over_clips(
    model: Trunk | VideoNetwork, source: ClipSource, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    model.eval()
    parts = [rows[i : i + EVALUATION_BATCH] for i in range(0, len(rows), EVALUATION_BATCH)]
    outputs = [
        ask(model, clips).cpu().numpy() for clips in prefetch(source.clips(part) for part in parts)
    ]
    return np.concatenate(outputs)


def ask(model: Trunk | VideoNetwork, clips: Tensor) -> Tensor:
    """What a network in evaluation mode says of clips, in passes of a size that its device likes.

    Args:
        model: says of each clip the same, whatever others are in a pass, up to rounding.
        clips: uint8 `[B, T, h, w, 3]`, RGB, B ≥ 1, on any device.

    Returns:
        Logits or features float32 `[B, ...]` on the model's device.
    """
    forward: Callable[[Tensor], Tensor] = model
    return torch.cat([forward(model.to_input(part)) for part in passes(clips, model.device)])


def passes(clips: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Clips `[B, T, h, w, 3]`, B ≥ 1, on a device, as many at a time as are fast there: all but on
    a CPU, and there a power of two, so that full batches are divided alike."""
    size = len(clips)
    if device.type == "cpu":
        pixels = max(1, clips[:1, ..., 0].numel())
        size = min(size, 1 << max(0, (_CPU_PIXELS // pixels).bit_length() - 1))
    for part in clips.split(size):
        yield part.to(device)


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
