"""Turning and shuffling clips so that how it was done can be asked for: ARN's auxiliary tasks.

A task alters a clip in one of a few ways; a discriminator tells which from the clip's features
(Zhang et al. 2020). How blocks are cut and how permutations were chosen is not published: here
clips are cut in four, and the permutations are as unlike each other as can be, the first being none
(Noroozi, Favaro 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from train.few_shot.methods.base import FeatureShape

PARTS = 4
"""Blocks of a picture (2 x 2), or spans of a clip, that a jigsaw shuffles."""


@dataclass(frozen=True)
class Task:
    """A self-supervised task.

    Attributes:
        kinds: in how many ways a clip is altered.
        alter: (values `[n, T, h, w, ...]`, kinds int64 `[n]` of 0 to kinds - 1) ─► the same
            altered, as a copy. Kind 0 alters nothing.
        of_time: it shuffles time, so that the temporal attention must follow; else the spatial one.
    """

    kinds: int
    alter: Callable[[Tensor, Tensor], Tensor]
    of_time: bool = False


def rotated(clips: Tensor, kinds: Tensor) -> Tensor:
    """All frames of clip i turned by kinds[i] x 90 degrees, of square clips `[n, T, h, h, ...]`."""
    return torch.stack(
        [torch.rot90(clip, int(kind), (1, 2)) for clip, kind in zip(clips, kinds, strict=True)]
    )


def temporal_jigsaw(count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Spans of a clip in another order, one of `count`."""
    orders = unlike_permutations(count)

    def alter(clips: Tensor, kinds: Tensor) -> Tensor:
        shuffled = []
        for clip, kind in zip(clips, kinds, strict=True):
            spans = clip.tensor_split(PARTS)
            shuffled.append(torch.cat([spans[place] for place in orders[int(kind)]]))
        return torch.stack(shuffled)

    return alter


def spatial_jigsaw(count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The four quarters of all frames in another order, one of `count`. Sides must be even."""
    orders = unlike_permutations(count)

    def alter(clips: Tensor, kinds: Tensor) -> Tensor:
        shuffled = []
        for clip, kind in zip(clips, kinds, strict=True):
            quarters = [part for half in clip.chunk(2, 1) for part in half.chunk(2, 2)]
            a, b, c, d = (quarters[place] for place in orders[int(kind)])
            shuffled.append(torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1))
        return torch.stack(shuffled)

    return alter


def unlike_permutations(count: int) -> list[tuple[int, ...]]:
    """`count` orders of `PARTS` parts, the first as they are, each next one as far from those
    before it as can be (the least Hamming distance; the first in lexical order wins a tie)."""
    left = list(permutations(range(PARTS)))
    chosen = [left.pop(0)]
    while len(chosen) < count:
        best = max(left, key=lambda order: min(_unlike(order, other) for other in chosen))
        chosen.append(best)
        left.remove(best)
    return chosen


def _unlike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


TASKS: Mapping[str, Callable[[int], Task]] = {
    "rotation": lambda _: Task(4, rotated),
    "spatial-jigsaw": lambda count: Task(count, spatial_jigsaw(count)),
    "temporal-jigsaw": lambda count: Task(count, temporal_jigsaw(count), of_time=True),
}
"""Name ─► the task, of how many permutations a jigsaw has."""


class Discriminator(nn.Module):
    """Feature maps float32 `[n, C, T', H', W']` ─► logits `[n, kinds]`: two convolutions and two
    linear layers, each convolution halving what can be halved."""

    def __init__(self, channels: int, shape: FeatureShape, kinds: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        sizes: tuple[int, ...] = (shape.times, shape.height, shape.width)
        for _ in range(2):
            halving = tuple(min(2, size) for size in sizes)
            sizes = tuple(size // by for size, by in zip(sizes, halving, strict=True))
            parts += [
                nn.Conv3d(channels, channels, 3, padding=1),
                nn.BatchNorm3d(channels),
                nn.ReLU(),
                nn.MaxPool3d(halving),
            ]
        places = math.prod(sizes)
        self.layers = nn.Sequential(
            *parts, nn.Flatten(), nn.Linear(channels * places, 1024), nn.ReLU(),
            nn.Linear(1024, kinds),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """Logits float32 `[n, kinds]`."""
        logits: Tensor = self.layers(maps)
        return logits
