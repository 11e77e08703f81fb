"""What tests of semi-supervised objectives share: a micro network, a batch, a teacher."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from train.batches import ClipBatch
from train.objectives.table import DISTILLED, OBJECTIVES, Method
from train.semi_supervised.batches import SemiBatch

METHODS: Mapping[str, Method] = {**OBJECTIVES, "distilled": DISTILLED}
CLASSES, TEACHER_CLASSES = 3, 5


class MicroTrunk(Trunk):
    """One convolution; with batch normalisation if wanted."""

    def __init__(self, normalised: bool) -> None:
        parts: list[nn.Module] = [nn.Conv3d(3, 4, (1, 3, 3))]
        super().__init__(nn.Sequential(*parts, *[nn.BatchNorm3d(4)] * normalised), 4)

    def _features(self, clips: Tensor) -> Tensor:
        for part in self.children():
            clips = part(clips)
        return clips.relu()


def micro(seed: int = 0, *, normalised: bool = False) -> VideoNetwork:
    """A network of some 130 weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VideoNetwork("micro", MicroTrunk(normalised), CLASSES)
        # Some of its guesses must be sure.
        nn.init.normal_(network.head.weight, std=3)
    return network.train()


def semi_batch(seed: int = 0, count: int = 6) -> SemiBatch:
    """Noise, with every view."""
    rng = torch.Generator().manual_seed(seed)

    def clips(number: int, frames: int = 4) -> Tensor:
        low = torch.randint(0, 128, (number, 1, 1, 1, 3), generator=rng)
        noise = torch.randint(0, 128, (number, frames, 5, 5, 3), generator=rng)
        return (low + noise).to(torch.uint8)

    labels = torch.eye(CLASSES)[torch.arange(4) % CLASSES]
    targets = torch.eye(CLASSES)[torch.arange(count) % CLASSES]
    targets[::3] = 0
    teacher = torch.rand((count, TEACHER_CLASSES), generator=rng)
    return SemiBatch(
        ClipBatch(clips(4), labels), clips(count), clips(count), clips(count), clips(count, 2),
        clips(count), torch.arange(count).flip(0), torch.rand(count, generator=rng), targets,
        teacher / teacher.sum(1, keepdim=True),
    )  # fmt: skip


class Codes:
    """A teacher whose outputs say which frame of which row they are of."""

    def of(self, rows: NDArray[np.int64], frames: NDArray[np.int64]) -> Tensor:
        """See `train.semi_supervised.batches.TeacherOutputs`."""
        return torch.from_numpy(np.stack([rows, frames], axis=1)).float()
