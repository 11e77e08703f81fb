"""Cut and paste: boxes of one clip in another, the label by the pixels that are really seen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from l2a.augment.base import Batch, Mixing, drawn, mix_labels, shuffled
from l2a.augment.boxes import Axes, Box, Size, box_of_share, draw_centre, visible_volumes
from l2a.errors import InputError

VideoMixMode = Literal["spatial", "temporal", "spatio-temporal", "per-frame"]

_AXES: dict[VideoMixMode, Axes] = {
    "spatial": "space",
    "temporal": "time",
    "spatio-temporal": "cube",
    "per-frame": "space",
}


class Patch(NamedTuple):
    """A box of the clip number `source`, pasted in its own place."""

    source: int
    box: Box


def paste(batch: Batch, patches: Sequence[Sequence[Patch]]) -> Batch:
    """Paste boxes of the batch's clips, and give each clip its share of the label.

    Args:
        batch: of B clips.
        patches: for each clip those that it gets, in this order; later ones cover earlier ones.

    Returns:
        Clips, labels and masks with the boxes of other clips in them. A label weighs exactly the
        share of pixels that are seen of its clip.
    """
    clips = torch.empty_like(batch.clips)
    masks = None if batch.masks is None else batch.masks.clone()
    sources, targets = batch.clips.unbind(0), clips.unbind(0)
    total = batch.clips[0, 0].numel()
    # One box often serves every clip: it is cut out of the batch once.
    views: dict[Box, tuple[Tensor, Tensor]] = {}
    shares = []
    for i, mine in enumerate(patches):
        seen = [0] * len(patches)
        seen[i] = total
        volumes = visible_volumes(tuple(patch.box for patch in mine))
        targets[i].copy_(sources[i])  # clip by clip: what is pasted is still in the cache
        for (source, box), volume in zip(mine, volumes, strict=True):
            seen[source] += volume
            seen[i] -= volume
            if volume:
                if box not in views:
                    views[box] = batch.clips[:, :, *box.slices], clips[:, :, *box.slices]
                there, here = views[box]
                here[i].copy_(there[source])
                if masks is not None and batch.masks is not None:
                    masks[i][box.slices] = batch.masks[source][box.slices]
        shares.append([pixels / total for pixels in seen])
    return Batch(clips, mix_labels(batch.labels, shares), masks)


class _CutAndPaste(Mixing):
    """What all of the family do: draw partners and boxes, then paste. Abstract."""

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        count = len(batch.clips)
        orders = [shuffled(draws, count) for _ in range(self._further())]
        plans = drawn(
            draws,
            count,
            self.probability,
            self.per_clip,
            lambda: [self._boxes(draws, batch.size) for _ in orders],
        )
        if not any(plans):
            return batch
        return paste(
            batch,
            [
                [
                    Patch(order[i], box)
                    for order, boxes in zip(orders, plan or [], strict=plan is not None)
                    for box in boxes
                ]
                for i, plan in enumerate(plans)
            ],
        )

    def _further(self) -> int:
        """From how many further clips something is pasted."""
        return 1

    @abstractmethod
    def _boxes(self, draws: Random, size: Size) -> list[Box]:
        """What is pasted from one further clip."""


def _beta_box(axes: Axes, alpha: float, draws: Random, size: Size) -> Box:
    """λ ~ Beta(α, α), the centre uniform over the clip."""
    share = draws.betavariate(alpha, alpha)
    return box_of_share(axes, share, draw_centre(draws, size), size)


@dataclass(frozen=True)
class VideoMix(_CutAndPaste):
    """VideoMix (Yun et al. 2020, Eq. 1 and 2, Algorithm 1; §3.3 for the modes, §4.1 for the rest).

    x̃ = M ⊙ x_B + (1 − M) ⊙ x_A and ỹ = λ_M y_B + (1 − λ_M) y_A, with M a random box, λ_M its share
    after clamping, and B a clip of the shuffled batch. Algorithm 1, line 24, gives the pasted clip
    the weight 1 − λ, against Eq. 1 of the same paper: here it weighs λ, as in Eq. 1. How boxes of
    more than two videos are drawn is not said: here each further clip gets a box of its own λ, one
    pasted after the other.

    Attributes:
        mode: the axes that are cut: "spatial" (the paper's choice), "temporal", "spatio-temporal",
            or "per-frame", a spatial box drawn for every frame.
        alpha: of Beta(α, α), from which λ is drawn; 1 is the uniform distribution.
        probability: of mixing at all.
        videos: how many clips one clip is made of, 2 to 4.
        per_clip: whether every clip has its own draws; the paper draws once a batch.
    """

    mode: VideoMixMode = "spatial"
    alpha: float = 1.0
    probability: float = 1.0
    videos: int = 2
    per_clip: bool = False

    def __post_init__(self) -> None:
        if self.mode not in _AXES:
            raise InputError(
                f"There is no VideoMix {self.mode!r}; choose one of: {_listed(_AXES)}."
            )
        super().__post_init__()
        if self.videos not in (2, 3, 4):
            raise InputError(f"VideoMix takes 2, 3 or 4 videos, not {self.videos}.")

    def _further(self) -> int:
        return self.videos - 1

    def _boxes(self, draws: Random, size: Size) -> list[Box]:
        axes = _AXES[self.mode]
        if self.mode != "per-frame":
            return [_beta_box(axes, self.alpha, draws, size)]
        return [
            _beta_box(axes, self.alpha, draws, size)._replace(time=(t, t + 1))
            for t in range(size[0])
        ]


class _CutMixing(_CutAndPaste):
    """What CutMix and its like do, but for the axes of the box. Abstract."""

    _axes: Axes

    def _boxes(self, draws: Random, size: Size) -> list[Box]:
        return [_beta_box(self._axes, self.alpha, draws, size)]


@dataclass(frozen=True)
class CutMix(_CutMixing):
    """CutMix over a clip, the same box in every frame (Kim et al. 2020, §3.2; Yun et al. 2019).

    ỹ = λ_M y_B + (1 − λ_M) y_A, with λ_M the share of the box after clamping.

    Attributes:
        alpha: of Beta(α, α), from which λ is drawn (Kim et al., Table 4).
        probability: of mixing at all (§4.3).
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 2.0
    probability: float = 0.5
    per_clip: bool = False
    _axes = "space"


@dataclass(frozen=True)
class FrameCutMix(_CutMixing):
    """FrameCutMix: as CutMix, but a run of whole frames is pasted (Kim et al. 2020, §3.2).

    Attributes:
        alpha: of Beta(α, α), from which λ is drawn; the better of Kim et al., Table 4.
        probability: of mixing at all (§4.3).
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 5.0
    probability: float = 0.5
    per_clip: bool = False
    _axes = "time"


@dataclass(frozen=True)
class CubeCutMix(_CutMixing):
    """CubeCutMix: as CutMix, but a box in space and time is pasted (Kim et al. 2020, §3.2).

    Attributes:
        alpha: of Beta(α, α), from which λ is drawn; the better of Kim et al., Table 4.
        probability: of mixing at all (§4.3).
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 2.0
    probability: float = 0.5
    per_clip: bool = False
    _axes = "cube"


def _listed(names: dict[VideoMixMode, Axes]) -> str:
    return ", ".join(names)
