"""The composite of one pair: its pixels and its label, for training and export alike.

Both sides are brought to one scale, the foreground is placed, Eq. 1 or a softer blend puts it on
the clean background, and the label follows from what is then seen. Training calls it with rows of
the bank and a crop, export and previews with whole layers; nothing else composites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compositing.blend import blend
from compositing.fitting import fit_foreground
from compositing.labels import LABEL_RULES, foreground_ratio
from compositing.placement import IDENTITY, Placement, Window, place_foreground
from compositing.settings import CompositeSettings


@dataclass(frozen=True, slots=True)
class Side:
    """One video of a pair.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB: V_f of a foreground, the clean V'_b of a background.
        mask: bool [T, H, W]: M_f; of a background, what was taken out of it.
        aspect: width over height of the picture as people see it; that of the frames if not given.
            Frames of a bank are squeezed to one size, and only their videos know.
    """

    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    aspect: float | None = None

    @property
    def shape(self) -> float:
        """Width over height as people see it."""
        return self.aspect or self.frames.shape[2] / self.frames.shape[1]


@dataclass(frozen=True, slots=True)
class PairClip:
    """What became of a pair.

    Attributes:
        frames: Ṽ, uint8 [T, h, w, 3], RGB.
        mask: bool [T, h, w], the foreground where it was placed.
        visible: γ, the share of the clip in which the foreground is seen, in 0..1, soft edges
            counted by their weight.
        removed: the share that was taken out of the background, in 0..1; 0 where the label rule
            has no use for it and nobody asked.
        lam: λ, the foreground class's share of the label, in 0..1.
    """

    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    visible: float
    removed: float
    lam: float


def composite_pair(
    foreground: Side,
    background: Side,
    settings: CompositeSettings,
    *,
    placement: Placement = IDENTITY,
    window: Window | None = None,
    out: NDArray[np.uint8] | None = None,
    measure: bool = False,
) -> PairClip:
    """Composite a pair in the background's frame.

    Args:
        foreground: of any size.
        background: as many frames.
        settings: the blend, colours, the label rule and its α.
        placement: what happens to the foreground, once it is fitted to the scene.
        window: the part of the scene that is wanted, h x w pixels; all of it when not given. γ and
            λ are of this part: what is not seen has no part in the label.
        out: uint8 [T, h, w, 3], contiguous, is written to; `background.frames` itself may stand
            here. A new array when not given.
        measure: know how much was removed whatever the label rule, for who makes labels later.

    Returns:
        The composite, with `out` as its frames.
    """
    size = background.frames.shape[1], background.frames.shape[2]
    ratio = foreground.shape / background.shape
    fitted = fit_foreground(foreground.frames, foreground.mask, size, ratio)
    frames, mask = place_foreground(fitted, placement, window)
    rows, columns = window or (slice(None), slice(None))
    scene = background.frames[:, rows, columns]
    canvas = np.empty(scene.shape, np.uint8) if out is None else out
    if canvas is not background.frames:
        canvas[:] = scene
    visible = blend(frames, mask, canvas, settings, height=size[0])
    rule, removed = LABEL_RULES[settings.label_rule], 0.0
    if rule.needs_removed or measure:
        removed = float(foreground_ratio(background.mask[:, rows, columns]))
    lam = float(rule.formula(visible, removed, settings.alpha))
    return PairClip(canvas, mask, visible, removed, lam)
