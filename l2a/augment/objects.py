"""Objects: what a mask covers of one clip, on another clip. These need masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from l2a.augment.base import (
    Augmentation,
    Batch,
    Mixing,
    check_fill,
    check_finite,
    check_positive,
    check_share,
    drawn,
    mix_labels,
    shuffled,
)
from l2a.augment.boxes import Box, box_of_share, draw_centre
from l2a.errors import InputError


def paste_objects(
    batch: Batch,
    partners: Sequence[int],
    regions: Tensor,
    alpha: float = 1.0,
    fill: float | None = None,
) -> Batch:
    """x̃_i = x_i ⊙ M_i + x_j ⊙ (1 − M_i), and ỹ_i = w_i y_i + (1 − w_i) y_j.

    Args:
        batch: of B clips, with masks or without.
        partners: for each clip i the number j of the clip that it is pasted on; j = i leaves it.
        regions: M, bool [B, T, H, W].
        alpha: w = 1 − (1 − share of M)^α; 1 gives the label exactly the share of its pixels.
        fill: what is written where M_j lies outside of M_i, so that nothing acts in the partner;
            None leaves the partner as it is.
    """
    counts = _covered(regions)
    total = regions[0].numel()
    clips = torch.empty_like(batch.clips)
    masks = None if batch.masks is None else torch.empty_like(batch.masks)
    shares = []
    for i, (j, count) in enumerate(zip(partners, counts, strict=True)):
        # Powers of whole shares round; with α = 1 none is taken.
        rest = (total - count) / total if alpha == 1 else (1 - count / total) ** alpha
        share = [0.0] * len(partners)
        share[j] += rest
        share[i] += count / total if alpha == 1 else 1 - rest
        shares.append(share)
        emptied = fill is not None and j != i
        if j == i:
            clips[i] = batch.clips[i]
        else:
            scene = batch.clips[j]
            if fill is not None:
                scene = _emptied(scene, regions[j], fill)
            select_by_mask(regions[i], batch.clips[i], scene, clips[i])
        if masks is not None and batch.masks is not None:
            rest_of_j = batch.masks[j] & ~regions[j] if emptied else batch.masks[j]
            torch.where(regions[i], batch.masks[i], rest_of_j, out=masks[i])
    return Batch(clips, mix_labels(batch.labels, shares), masks)


def _emptied(clip: Tensor, region: Tensor, fill: float) -> Tensor:
    """The clip [3, T, H, W] with `fill` written where the region is."""
    if clip.dtype != torch.uint8:
        return clip.masked_fill(region, fill)
    covered = _bytes(region)
    return torch.bitwise_and(clip, ~covered).bitwise_or_(covered & int(fill))


def select_by_mask(region: Tensor, inside: Tensor, outside: Tensor, out: Tensor) -> None:
    """Write `inside` where the region is, `outside` elsewhere, into `out` [3, T, H, W]."""
    if out.dtype != torch.uint8:
        torch.where(region, inside, outside, out=out)
        return
    # (a ^ b) & m ^ b works on whole registers of bytes: a quarter of the time of `where`.
    torch.bitwise_xor(inside, outside, out=out)
    out.bitwise_and_(_bytes(region)).bitwise_xor_(outside)


def _bytes(region: Tensor) -> Tensor:
    """255 where the region is, 0 elsewhere, uint8."""
    return region.view(torch.uint8).neg() if region.is_contiguous() else region.byte().neg()


def over_time(masks: Tensor) -> Tensor:
    """Eq. 2 of ObjectMix: every frame gets the union of all frames' masks. Bool [B, T, H, W]."""
    return masks.any(1, keepdim=True).expand_as(masks)


def bounding_boxes(masks: Tensor) -> Tensor:
    """In every frame the smallest box about its mask, filled; bool [B, T, H, W]."""
    # The largest byte: three times as fast as `any`.
    rows, columns = (masks.view(torch.uint8).amax(axis).bool() for axis in (3, 2))
    return _between(rows)[..., :, None] & _between(columns)[..., None, :]


def _between(hit: Tensor) -> Tensor:
    """True from the first to the last True of the last axis."""
    before = hit.cummax(-1).values
    after = hit.flip(-1).cummax(-1).values.flip(-1)
    return before & after


@dataclass(frozen=True)
class ObjectMix(Mixing):
    """ObjectMix (Kimata et al. 2022, Eq. 1, 3, 5), ObjectMix+or (Eq. 2), and both with VideoMix.

    The objects of a clip are pasted on a clip of the shuffled batch: v12 = v1 ⊙ M1 + v2 ⊙ (1 − M1),
    y12 = λ1 y1 + (1 − λ1) y2, λ1 = |M1| / THW. A clip without objects becomes its partner (λ = 0).

    With VideoMix (§4.5, Table 3) the two regions are one, as the paper says: a spatial box of the
    clip is pasted with its objects, and λ is the share of both together. Eq. 12 and 13 clamp only
    the box's first corner, so that it leaves the frame; here all corners are clamped.

    Attributes:
        over_time: ObjectMix+or: every frame gets the union of the masks of all frames.
        probability: p, of pasting objects, once a batch; 0.6 is the paper's choice (Table 4).
        videomix: paste a box of VideoMix too, in every batch.
        alpha: of Beta(α, α), from which the box's share is drawn (Eq. 9).
        per_clip: whether every clip has its own draws; the paper draws once a batch.
    """

    over_time: bool = False
    probability: float = 0.6
    videomix: bool = False
    alpha: float = 1.0
    per_clip: bool = False

    @property
    def needs_masks(self) -> bool:
        """See `Augmentation.needs_masks`."""
        return True

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        masks = _masks_of(batch, "ObjectMix")
        count, size = len(masks), batch.size
        order = shuffled(draws, count)
        objects = drawn(draws, count, self.probability, self.per_clip, lambda: True)

        def box() -> Box:
            share = draws.betavariate(self.alpha, self.alpha)
            return box_of_share("space", share, draw_centre(draws, size), size)

        boxes = drawn(draws, count, float(self.videomix), self.per_clip, box)
        used = [bool(a or b) for a, b in zip(objects, boxes, strict=True)]
        if not any(used):
            return batch
        regions = (over_time(masks) if self.over_time else masks).clone()
        for i, (pasted, window) in enumerate(zip(objects, boxes, strict=True)):
            if not pasted:
                regions[i] = False
            if window is not None:
                regions[i][window.slices] = True
        partners = [order[i] if used[i] else i for i in range(count)]
        return paste_objects(batch, partners, regions)


@dataclass(frozen=True)
class ActorCut(Augmentation):
    """ActorCut (Zou et al. 2021): the boxes of a clip's actors on another clip.

    With ρ the share of the boxes, the actors' label weighs 1 − (1 − ρ)^α and the scene's the rest:
    the one augmentation whose weights are not the shares of pixels; `alpha=1` makes them so. The
    partner is the batch in reverse order, its own actors' boxes emptied. A clip without a box, or
    full of it, stays as it is.

    As in the authors' code (`mmaction/models/recognizers/base_semi.py` of
    github.com/vt-vl-lab/video-data-aug, 01667cd), which writes 0 into the partner's boxes of
    normalised clips: the mean. Other than there, each clip has its own draw; there, one is drawn
    for the whole batch, and a clip that stays as it is makes its partner's scene empty.

    Attributes:
        alpha: exponent of the label's weight.
        empty_partner: whether the partner's boxes are emptied; without it, its actors stay in the
            scene, under a label that gives them the rest.
        fill: what is written there; None for the mean: 0 in clips of a float type, which are taken
            for normalised, and 110, about that of Kinetics, in uint8, which holds whole numbers in
            0..255 alone.
        boxes: whether to paste the box about each frame's mask, as the paper does; without it the
            masks themselves, which may be boxes already (the paper's are of score above 0.4).
        probability: of pasting, for each clip.
    """

    alpha: float = 4.0
    boxes: bool = True
    probability: float = 0.5
    empty_partner: bool = True
    fill: float | None = None

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)
        check_share("probability", self.probability)
        if self.fill is not None:
            check_finite("fill", self.fill)

    def check_type(self, dtype: torch.dtype) -> None:
        """See `Augmentation.check_type`."""
        if self.fill is not None:
            check_fill(self.fill, dtype)

    @property
    def needs_masks(self) -> bool:
        """See `Augmentation.needs_masks`."""
        return True

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        masks = _masks_of(batch, "ActorCut")
        count = len(masks)
        pasted = drawn(draws, count, self.probability, True, lambda: True)
        if not any(pasted):
            return batch
        regions = bounding_boxes(masks) if self.boxes else masks
        covered, total = _covered(regions), regions[0].numel()
        partners = list(range(count))
        for i, j in enumerate(reversed(range(count))):
            # A partner full of boxes has no scene to give.
            scene = covered[j] < total or not self.empty_partner
            if pasted[i] and 0 < covered[i] < total and scene:
                partners[i] = j
        mean = 110.0 if batch.clips.dtype == torch.uint8 else 0.0
        fill = (mean if self.fill is None else self.fill) if self.empty_partner else None
        return paste_objects(batch, partners, regions, self.alpha, fill)


def _covered(regions: Tensor) -> list[int]:
    """How many pixels the region of each clip has."""
    return [int(n) for n in torch.stack([one.count_nonzero() for one in regions]).tolist()]


def _masks_of(batch: Batch, name: str) -> Tensor:
    if batch.masks is None:
        raise InputError(f"{name} needs masks: give it bool masks [B, T, H, W] with the clips.")
    return batch.masks
