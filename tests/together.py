"""A training by one process or several, as a script: `python together.py FOLDER [DIES_AT]`.

`python together.py FOLDER features` trains a method on features of a frozen trunk instead.

The network has no batch normalisation, so that the number of processes changes rounding alone.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import cast

import numpy as np
import torch
from banks import make_source
from torch import Tensor, nn

import train.trainer
from l2a.checkpoints import save_tensors
from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from train.batches import ClipBatch
from train.distributed import rank, run_together, world
from train.frozen.features import FeatureBank
from train.frozen.head import fit_head
from train.mix import MixedBatches, TrainingMix
from train.objectives import Loss
from train.objectives.supervised import Supervised
from train.objectives.table import find_method
from train.semi_supervised.batches import Unlabelled
from train.semi_supervised.on_features import FeatureViews, train_on_features
from train.settings.full import ClassifierSettings
from train.settings.semi import SemiSettings
from train.trainer import Trainer, TrainingJob


class PlainTrunk(Trunk):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Conv3d(3, 6, 3, stride=2), nn.ReLU()), 6)

    def _features(self, clips: Tensor) -> Tensor:
        for part in self.children():
            clips = part(clips)
        return clips


class Mortal(Supervised):
    """Process 1 dies at a step."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at = dies_at

    def loss(self, network: VideoNetwork, batch: ClipBatch, step: int = 0) -> Loss:
        if rank() == 1 and step == self.dies_at:
            os._exit(9)
        found = super().loss(network, batch, step)
        return found._replace(figures={"twice": 2 * found.total.detach()})


def plain_network() -> VideoNetwork:
    """From scratch, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VideoNetwork("plain", PlainTrunk(), 3)


def train_plain(
    folder: Path, micro_batch: int | None = None, dies_at: int = -1, *, compile: bool = False
) -> None:
    """Train for 3 epochs of 3 steps of 5 clips; leaves losses.json and network.safetensors."""
    settings = ClassifierSettings(batch_size=3, lr=0.05, micro_batch=micro_batch, compile=compile)
    mix = TrainingMix(np.arange(9), np.array([[0, 1], [3, 4], [6, 2]]), 2)
    batches = MixedBatches(make_source(folder / "bank"), mix, 3, True, 7, 3)
    network = plain_network()
    state = folder / "state.safetensors"
    trainer = Trainer(TrainingJob(network, Mortal(dies_at), batches, settings, 7, state=state))
    figures: list[dict[str, float]] = []
    trainer.train(lambda epoch, found: figures.append(found))
    (folder / "figures.json").write_text(json.dumps(figures))
    save_tensors(folder / "network.safetensors", network.state_dict(), {"world": world()})


def train_features(folder: Path) -> None:
    """Train FixMatch on features that are made up, as a frozen trunk's; leaves head.safetensors."""
    source, rows = make_source(folder / "bank"), np.array([0, 1, 2, 3, 6])
    unlabelled, rng = np.array([4, 5, 7, 8]), torch.Generator().manual_seed(0)
    steps = [
        {"weak": torch.randn(2, 6, generator=rng), "rows": torch.from_numpy(unlabelled[:2])}
        for _ in range(4)
    ]
    strong = [{"strong": one["weak"] + 0.1 * torch.randn(2, 6, generator=rng)} for one in steps]
    views = FeatureViews(
        cast(FeatureBank, None), source, Unlabelled(unlabelled, 2), True, 3, 2,
        {"weak": steps, "strong": strong},
    )  # fmt: skip
    labelled = ClipBatch(torch.randn(5, 6, generator=rng), source.one_hot(rows))
    start = fit_head(labelled.clips, labelled.labels, 0.1)
    head, _ = train_on_features(
        find_method("fixmatch"), views, labelled, start, ClassifierSettings(epochs=3),
        SemiSettings(pseudo_threshold=0.0),
    )  # fmt: skip
    save_tensors(folder / "head.safetensors", {"weight": head.weight, "bias": head.bias}, {})


if __name__ == "__main__":
    torch.set_num_threads(1)
    train.trainer.SECONDS_BETWEEN_STATES = 0.0
    place, more = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "-1"
    if more == "features":
        run_together(lambda: train_features(place))
    else:
        run_together(lambda: train_plain(place, dies_at=int(more)))
