"""What few-shot methods compare, by a trunk that stays as it is: computed once, and kept.

It is not one vector of a clip, but what is in it over time. So "frames" keeps the mean over space
of the trunk's maps, `[T', D]` for each clip, and "maps" the maps themselves, `[D, T', H', W']`,
where `train.frozen.features` keeps the mean over all.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.trunk import Trunk
from train.batches import CENTRE, Augment
from train.frozen.features import FeatureBank
from train.frozen.shards import Shards
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

Kind = Literal["frames", "maps"]


class FrameBank(FeatureBank):
    """Features of clips and composites, in the view that evaluation has of them.

    A composite is seen in the middle of the frame and not mirrored, as the real clip that it is
    made of is. Where settings move, scale or mirror its actor, each composite has one crop, flip
    and placement of its own instead, which follow from the seed and the two videos.
    """

    def __init__(
        self, trunk: Trunk, prepared: PreparedData, kind: Kind, flip: bool, seed: int
    ) -> None:
        """See `FeatureBank`; of each composite there is one view."""
        super().__init__(trunk, prepared, FrozenSettings(composite_views=1), flip, seed)
        shown = prepared.source.settings
        self._kind: Kind = kind
        self._placed = bool(shown.shift or shown.scale != 1 or shown.flip_foreground)

    @property
    def device(self) -> torch.device:
        """Where features are computed."""
        return self._trunk.device

    @torch.no_grad()
    def of(self, clips: Tensor) -> Tensor:
        """Features float32 `[B, ...]` of clips uint8 `[B, T, h, w, 3]`; they are not kept."""
        trunk = self._trunk
        maps = trunk.forward_features(trunk.to_input(clips.to(trunk.device)))
        return features_of(maps, self._kind).cpu()

    def pairs(self, pairs: NDArray[np.int64]) -> Tensor:
        """Features float32 `[n, ...]` of the composites of pairs `[n, 2]`."""
        return self.composites(pairs).features.squeeze(1)

    def unkept(self, rows: NDArray[np.int64]) -> Tensor:
        """Features float32 `[n, ...]` of real clips, as `centre` gives them, but not kept."""
        return self.of(self._source.clips(rows))

    def _draws(self, stream: int, *rows: int, view: int) -> Augment:
        return super()._draws(stream, *rows, view=view) if self._placed else CENTRE

    def shards(self, kind: str, *depends: object) -> Shards:
        """See `FeatureBank.shards`."""
        return super().shards(f"{self._kind}-{kind}", self._placed, *depends)


def features_of(maps: Tensor, kind: Kind) -> Tensor:
    """Maps float32 `[B, D, T', H', W']` as they are, or as frames: float32 `[B, T', D]`."""
    return maps if kind == "maps" else maps.mean(dim=(3, 4)).transpose(1, 2)
