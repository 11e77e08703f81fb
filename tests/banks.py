"""A small bank of generated clips, for tests of the train room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings
from l2a.networks import VideoNetwork
from train.batches import ClipBatch, ClipSource
from train.loading import Loading
from train.mix import MixedBatches, TrainingMix
from train.objectives.supervised import Supervised
from train.settings.full import ClassifierSettings
from train.trainer import Trainer, TrainingJob

GEOMETRY = ClipSettings(num_frames=4, height=24, width=30, crop=20)


def make_bank(folder: Path, rows: int = 12, seed: int = 0) -> ClipBank:
    """Noise, brighter with row mod 3; every row has layers, and masks of several widths."""
    rng = np.random.default_rng(seed)
    bank = ClipBank.create_or_resume(folder, [f"v{i}" for i in range(rows)], GEOMETRY, "test")
    shape = (GEOMETRY.num_frames, GEOMETRY.height, GEOMETRY.width)
    for row in range(rows):
        masks = np.zeros(shape, dtype=bool)
        for t in range(shape[0]):
            masks[t, 2 + t : 12 + t, row % 8 : row % 8 + 5 + row % 7] = True
        low = 60 * (row % 3)
        frames = rng.integers(low, low + 120, (*shape, 3), dtype=np.uint8)
        background = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        bank.write(row, frames, masks, background)
    return bank


def make_source(
    folder: Path, classes: int = 3, settings: CompositeSettings | None = None
) -> ClipSource:
    """A source over `make_bank`, with classes in turn."""
    bank = make_bank(folder)
    labels = np.arange(len(bank), dtype=np.int64) % classes
    return ClipSource(bank, labels, classes, GEOMETRY.crop, settings or CompositeSettings())


def epoch_of(
    source: ClipSource, mix: TrainingMix, batch_size: int, flip: bool, seed: int, epoch: int
) -> list[ClipBatch]:
    """The batches of one epoch."""
    batches = MixedBatches(source, mix, batch_size, flip, seed, epochs=epoch + 1)
    steps = batches.steps_per_epoch
    return [batches[epoch * steps + step] for step in range(steps)]


def trainer_of(
    network: VideoNetwork, source: ClipSource, mix: TrainingMix, settings: ClassifierSettings,
    epochs: int, *, seed: int, state: Path | None = None, workers: int = 0,
) -> Trainer[ClipBatch]:  # fmt: skip
    """A supervised training on a mix."""
    batches = MixedBatches(source, mix, settings.batch_size, settings.flip, seed, epochs)
    return Trainer(
        TrainingJob(network, Supervised(), batches, settings, seed, Loading(workers), state)
    )
