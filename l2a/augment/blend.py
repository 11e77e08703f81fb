"""Blend: two clips seen at once, in all of the frame or in a box of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from l2a.augment.base import Batch, Mixing, check_positive, drawn, mix_labels, shuffled
from l2a.augment.boxes import Axes, Box, Size, box_of_share, draw_centre


class BoxBlend(NamedTuple):
    """A blend in a box: the first clip's weight λ1 inside, and the box of share λ2."""

    weight: float
    box: Box


def crossfade(batch: Batch, partners: Sequence[int], weights: Sequence[Sequence[float]]) -> Batch:
    """x̃_t = w_t x_A,t + (1 − w_t) x_B,t, and ỹ with the mean weight.

    Args:
        batch: of B clips of T frames.
        partners: for each clip the number of its clip B.
        weights: [B, T], of the clip itself in each of its frames, in 0..1.

    Returns:
        Blended clips; in their masks the objects of both.
    """
    clips = torch.empty_like(batch.clips)
    shares = []
    for i, (j, own) in enumerate(zip(partners, weights, strict=True)):
        share = [0.0] * len(partners)
        mean = own[0] if len(set(own)) == 1 else sum(own) / len(own)
        share[j] += 1 - mean
        share[i] += mean
        shares.append(share)
        _lerp(batch.clips[j], batch.clips[i], own, out=clips[i])
    masks = None if batch.masks is None else batch.masks | batch.masks[list(partners)]
    return Batch(clips, mix_labels(batch.labels, shares), masks)


def blend_boxes(batch: Batch, partners: Sequence[int], blends: Sequence[BoxBlend | None]) -> Batch:
    """Eq. 1 of Kim et al. 2020: blend in a box; outside it, the clip that weighs more.

    x̃ = (λ1 x_A + (1 − λ1) x_B) ⊙ M + x_O ⊙ (1 − M), with O = A if λ1 < 0.5, else B. Printed for
    λ1 < 0.5 is ỹ = (λ1 λ2 + (1 − λ1)) y_A + (1 − λ1) λ2 y_B, whose weights do not sum to 1; meant
    is (λ1 λ2 + (1 − λ2)) y_A + (1 − λ1) λ2 y_B, with λ2 the share of M. Else
    ỹ = λ1 λ2 y_A + (1 − λ1 λ2) y_B, as printed.

    Args:
        batch: of B clips.
        partners: for each clip the number of its clip B.
        blends: for each clip λ1 and M; None leaves it as it is.
    """
    outside = [
        i if blend is None or blend.weight < 0.5 else partners[i] for i, blend in enumerate(blends)
    ]
    clips = torch.empty_like(batch.clips)
    masks = None if batch.masks is None else batch.masks[outside]
    total = clips[0, 0].numel()
    shares = []
    for i, blend in enumerate(blends):
        share = [0.0] * len(blends)
        share[outside[i]] = 1.0
        clips[i].copy_(batch.clips[outside[i]])
        if blend is not None and blend.box.volume:
            where, inside = blend.box.slices, blend.box.volume / total
            share[outside[i]] = (total - blend.box.volume) / total
            share[i] += blend.weight * inside
            share[partners[i]] += (1 - blend.weight) * inside
            inner = clips[i][:, *where]  # holds one of the two by now, and is in the cache
            if outside[i] == i:
                a, b = inner, batch.clips[partners[i]][:, *where]
            else:
                a, b = batch.clips[i][:, *where], inner
            _lerp(b, a, [blend.weight], out=inner)
            if masks is not None and batch.masks is not None:
                masks[i][where] = batch.masks[i][where] | batch.masks[partners[i]][where]
        shares.append(share)
    return Batch(clips, mix_labels(batch.labels, shares), masks)


def _lerp(start: Tensor, end: Tensor, weights: Sequence[float], out: Tensor) -> None:
    """Write start + w_t · (end − start) into `out` [3, T, H, W]; whole numbers are rounded.

    Either one weight for each frame or one for all.
    """
    if not out.is_floating_point():
        mixed = torch.empty_like(out, dtype=torch.float32)
        _lerp(start.float(), end.float(), weights, mixed)
        out.copy_(mixed.add_(0.5))
    elif len(set(weights)) == 1:  # plain numbers are faster
        torch.lerp(start, end, weights[0], out=out)
    else:
        by_frame = torch.tensor(weights, dtype=out.dtype, device=out.device)[:, None, None]
        torch.lerp(start, end, by_frame.expand_as(out), out=out)


def fade(weight: float, spread: float, frames: int) -> list[float]:
    """From λ − γ in the first frame to λ + γ in the last, linear; λ in a clip of one frame."""
    if frames == 1:
        return [weight]
    return [weight + spread * (2 * t / (frames - 1) - 1) for t in range(frames)]


class _Crossfading(Mixing):
    """What MixUp and FadeMixUp do, but for the fading. Abstract."""

    _fades: bool

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        count, frames = len(batch.clips), batch.size[0]
        partners = shuffled(draws, count)

        def weights() -> list[float]:
            weight = draws.betavariate(self.alpha, self.alpha)
            spread = draws.uniform(0, min(weight, 1 - weight)) if self._fades else 0.0
            return fade(weight, spread, frames)

        plans = drawn(draws, count, self.probability, self.per_clip, weights)
        if not any(plans):
            return batch
        # A clip that is left alone is its own partner: its mask, too, stays as it is.
        partners = [partners[i] if plan else i for i, plan in enumerate(plans)]
        return crossfade(batch, partners, [plan or [1.0] * frames for plan in plans])


@dataclass(frozen=True)
class MixUp(_Crossfading):
    """MixUp: x̃ = λ x_A + (1 − λ) x_B, ỹ = λ y_A + (1 − λ) y_B (Kim et al. 2020, §3.2; Zhang 2017).

    Attributes:
        alpha: of Beta(α, α), from which λ is drawn (VideoMix, §3.1).
        probability: of mixing at all.
        per_clip: whether every clip has its own λ, or one serves the batch.
    """

    alpha: float = 1.0
    probability: float = 1.0
    per_clip: bool = False
    _fades = False


@dataclass(frozen=True)
class FadeMixUp(_Crossfading):
    """FadeMixUp: MixUp whose λ changes over the frames (Kim et al. 2020, Eq. 2).

    λ̃_t goes from λ − γ to λ + γ, γ ~ Uniform(0, min(λ, 1 − λ)); their mean is λ, and so
    ỹ = λ y_A + (1 − λ) y_B.

    Attributes:
        alpha: of Beta(α, α), from which λ is drawn (VideoMix, §3.1; Kim et al. do not say).
        probability: of mixing at all.
        per_clip: whether every clip has its own λ and γ, or one draw serves the batch.
    """

    alpha: float = 1.0
    probability: float = 1.0
    per_clip: bool = False
    _fades = True


class _CutAndBlend(Mixing):
    """What CutMixUp and its like do, but for the axes of the box. Abstract."""

    box_alpha: float
    _axes: Axes

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("box_alpha", self.box_alpha)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        partners = shuffled(draws, len(batch.clips))
        plans = drawn(
            draws,
            len(partners),
            self.probability,
            self.per_clip,
            lambda: self._blend(draws, batch.size),
        )
        return blend_boxes(batch, partners, plans) if any(plans) else batch

    def _blend(self, draws: Random, size: Size) -> BoxBlend:
        weight = draws.betavariate(self.alpha, self.alpha)
        share = draws.betavariate(self.box_alpha, self.box_alpha)
        return BoxBlend(weight, box_of_share(self._axes, share, draw_centre(draws, size), size))


@dataclass(frozen=True)
class CutMixUp(_CutAndBlend):
    """CutMixUp: MixUp in a box of the frame, one of the two clips around it (Kim et al. 2020,
    Eq. 1; Yoo et al. 2020). The printed label for λ1 < 0.5 does not sum to 1: see `blend_boxes`.

    Attributes:
        alpha: of Beta(α, α), from which λ1, the weight in the box, is drawn.
        box_alpha: of Beta(α, α), from which λ2, the share of the box, is drawn (§3.2).
        probability: of mixing at all.
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 1.0
    box_alpha: float = 2.0
    probability: float = 1.0
    per_clip: bool = False
    _axes = "space"


@dataclass(frozen=True)
class FrameCutMixUp(_CutAndBlend):
    """FrameCutMixUp: MixUp in a run of frames, one of the two clips before and after (Kim et al.
    2020, Eq. 1). The printed label for λ1 < 0.5 does not sum to 1: see `blend_boxes`.

    Attributes:
        alpha: of Beta(α, α), from which λ1, the weight in those frames, is drawn.
        box_alpha: of Beta(α, α), from which λ2, the share of the frames, is drawn (§3.2).
        probability: of mixing at all.
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 1.0
    box_alpha: float = 2.0
    probability: float = 1.0
    per_clip: bool = False
    _axes = "time"


@dataclass(frozen=True)
class CubeCutMixUp(_CutAndBlend):
    """CubeCutMixUp: MixUp in a box in space and time, one of the two clips around it (Kim et al.
    2020, Eq. 1). The printed label for λ1 < 0.5 does not sum to 1: see `blend_boxes`.

    Attributes:
        alpha: of Beta(α, α), from which λ1, the weight in the box, is drawn.
        box_alpha: of Beta(α, α), from which λ2, the share of the box, is drawn (§3.2).
        probability: of mixing at all.
        per_clip: whether every clip has its own draws, or one serves the batch.
    """

    alpha: float = 1.0
    box_alpha: float = 2.0
    probability: float = 1.0
    per_clip: bool = False
    _axes = "cube"
