"""Delete: a box of the clip is wiped out; the label stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch

from l2a.augment.base import Augmentation, Batch, check_fill, check_finite, check_share, drawn
from l2a.augment.boxes import Box, Size, box_around, draw_centre


def delete(batch: Batch, boxes: Sequence[Box | None], fill: float) -> Batch:
    """Write `fill` into a box of each clip, and take what it covers out of the masks."""
    clips = torch.empty_like(batch.clips)
    masks = None if batch.masks is None else batch.masks.clone()
    for i, box in enumerate(boxes):
        clips[i] = batch.clips[i]
        if box is not None:
            clips[i][:, *box.slices] = fill
            if masks is not None:
                masks[i][box.slices] = False
    return Batch(clips, batch.labels, masks)


class _Deleting(Augmentation):
    """What all of the family do: a box about a random centre for each clip. Abstract.

    Attributes:
        patch: the square's side, as a share of the frame's shorter side; 1 takes whole frames.
        frames: as a share of the clip's.
    """

    patch: float = 1.0
    frames: float = 1.0
    fill: float
    probability: float

    def __post_init__(self) -> None:
        for name in ("patch", "frames", "probability"):
            check_share(name, getattr(self, name))
        check_finite("fill", self.fill)

    def check_type(self, dtype: torch.dtype) -> None:
        """See `Augmentation.check_type`."""
        check_fill(self.fill, dtype)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        boxes = drawn(
            draws, len(batch.clips), self.probability, True, lambda: self._box(draws, batch.size)
        )
        return delete(batch, boxes, self.fill) if any(boxes) else batch

    def _box(self, draws: Random, size: Size) -> Box:
        """A square patch over a run of frames, clamped to the clip."""
        frames, height, width = size
        t, y, x = draw_centre(draws, size)
        rows = columns = self.patch * min(height, width)
        if self.patch == 1:  # whole frames, also when they are no squares
            y, x, rows, columns = height / 2, width / 2, height, width
        if self.frames == 1:
            t = frames / 2
        return box_around((t, y, x), (self.frames * frames, rows, columns), size)


@dataclass(frozen=True)
class CutOut(_Deleting):
    """CutOut: a square is wiped out, the same in every frame (Kim et al. 2020, §3.2; DeVries 2017).

    Attributes:
        patch: the square's side, as a share of the frame's shorter side; the paper deletes 80 x 80
            of 160 x 160 (§4.3), VideoMix's comparison 112 x 112 of 224 x 224.
        fill: what is written; 0 is the mean where clips are normalised, black where they are not.
            A whole number in 0..255 for clips in uint8.
        probability: of deleting anything, for each clip.
    """

    patch: float = 0.5
    fill: float = 0.0
    probability: float = 1.0


@dataclass(frozen=True)
class FrameCutOut(_Deleting):
    """FrameCutOut: a run of frames is wiped out (Kim et al. 2020, §3.2).

    Attributes:
        frames: as a share of the clip's; the paper deletes 16 of 64 (§4.3).
        fill: what is written; 0 is the mean where clips are normalised, black where they are not.
            A whole number in 0..255 for clips in uint8.
        probability: of deleting anything, for each clip.
    """

    frames: float = 0.25
    fill: float = 0.0
    probability: float = 1.0


@dataclass(frozen=True)
class CubeCutOut(_Deleting):
    """CubeCutOut: a square is wiped out of a run of frames (Kim et al. 2020, §3.2).

    Attributes:
        patch: the square's side, as a share of the frame's shorter side; 80 of 160 (§4.3).
        frames: as a share of the clip's; 16 of 64 (§4.3).
        fill: what is written; 0 is the mean where clips are normalised, black where they are not.
            A whole number in 0..255 for clips in uint8.
        probability: of deleting anything, for each clip.
    """

    patch: float = 0.5
    frames: float = 0.25
    fill: float = 0.0
    probability: float = 1.0
