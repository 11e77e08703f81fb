"""The strong augmentation of FixMatch on video: RandAugment-T, then one change in time.

It works on a weak clip, so that both show the same frames in the same crop. As in ActorCut's code
(`mmaction/datasets/pipelines/` of github.com/vt-vl-lab/video-data-aug, 01667cd): two operations of
magnitude 10 of 30, then nothing, half, reverse or frame cut-out, as often. Other than there,
magnitudes change over time (RandAugment-T, Kim et al. 2020, which this project has), their signs
are drawn for each operation, and there is no operation that cuts a square out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import torch
from torch import Tensor

from l2a.augment import Augmentation, Batch, Compose, RandAugmentT
from l2a.augment.base import check_share

Change = Literal["none", "first half", "second half", "reverse", "frame cut-out"]

_CHANGES: Sequence[Sequence[Change]] = (
    ("none",), ("first half", "second half"), ("reverse",), ("frame cut-out",),
)  # fmt: skip
"""Four changes that are as likely; half is either half."""


def frame_order(change: Change, frames: int, dropped: Sequence[bool] = ()) -> list[int]:
    """Which frame each frame of a changed clip shows.

    Args:
        change: "first half" shows the first half twice, "second half" the second; the middle one of
            an odd number of frames stays. "frame cut-out" shows in place of each dropped frame what
            stands before it.
        frames: T.
        dropped: T times, for "frame cut-out"; the first frame always stays.

    Returns:
        T indices in 0..T − 1.
    """
    order, half = list(range(frames)), frames // 2
    if change == "first half":
        order[frames - half :] = order[:half]
    elif change == "second half":
        order[:half] = order[frames - half :]
    elif change == "reverse":
        order.reverse()
    elif change == "frame cut-out":
        for t in range(1, frames):
            order[t] = order[t - 1] if dropped[t] else t
    return order


@dataclass(frozen=True)
class TemporalChange(Augmentation):
    """One of nothing, half, reverse and frame cut-out for each clip; labels stay.

    Attributes:
        dropped: of frame cut-out, how likely a frame is replaced by the one before it.
        probability: for each clip.
    """

    dropped: float = 0.5
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_share("dropped", self.dropped)
        check_share("probability", self.probability)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        frames = batch.size[0]
        orders = []
        for _ in range(len(batch.clips)):
            change = draws.choice(draws.choice(_CHANGES))
            if draws.random() >= self.probability:
                change = "none"
            dropped = [draws.random() < self.dropped for _ in range(frames)]
            orders.append(frame_order(change, frames, dropped))
        order = torch.tensor(orders, device=batch.clips.device)
        clips = _in_order(batch.clips.transpose(1, 2), order).transpose(1, 2)
        masks = None if batch.masks is None else _in_order(batch.masks, order)
        return Batch(clips, batch.labels, masks)


def _in_order(frames: Tensor, order: Tensor) -> Tensor:
    """Frames `[B, T, ...]` in the order int64 `[B, T]`."""
    return torch.stack([clip[places] for clip, places in zip(frames, order, strict=True)])


def strong_augmentation() -> Augmentation:
    """What makes a weak clip a strong one."""
    return Compose((RandAugmentT(operations=2, magnitude=10.0), TemporalChange()))
