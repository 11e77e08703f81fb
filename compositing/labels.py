"""The composite's label: Learn2Augment's Eq. 7 and 8, and the rules that lead to λ.

Everything works on one clip and on whole batches alike: leading dimensions are free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compositing.settings import LabelRule

Share = NDArray[np.float64]
LabelRuleFunction = Callable[[ArrayLike, ArrayLike, float], Share]


def foreground_ratio(mask: NDArray[np.bool_]) -> Share:
    """γ = Σ M_f / (T·H·W): the share of each clip that the foreground covers.

    Args:
        mask: bool [..., T, H, W].

    Returns:
        float64 [...], in 0..1; of shape () for one clip.
    """
    *batch, frames, height, width = mask.shape
    # The leading dimensions alone are merged: a crop of a larger array is not copied.
    covered = [np.count_nonzero(clip) for clip in mask.reshape(-1, frames, height, width)]
    return np.reshape(np.asarray(covered, np.float64) / (frames * height * width), batch)


def mixing_weight(gamma: ArrayLike, alpha: float = 4.0) -> Share:
    """λ = 1 − (1 − γ)^α: the foreground's share of the label (Eq. 8).

    Printed in the paper as −(γ − 1)^α + 1, which is the same for even α and nonsense for others.
    α > 1 gives the foreground more weight than its pixels have.

    Args:
        gamma: γ, in 0..1, of any shape.
        alpha: α, above 0; the paper's is 4.

    Returns:
        float64, of `gamma`'s shape, in 0..1.

    Raises:
        ValueError: a γ lies outside 0..1.
    """
    share = np.asarray(gamma, np.float64)
    if not np.all((share >= 0) & (share <= 1)):
        raise ValueError(f"γ must lie in 0..1, not {gamma!r}")
    return np.asarray(1.0 - (1.0 - share) ** alpha)


def mix_labels(
    foreground: NDArray[np.floating], background: NDArray[np.floating], lam: ArrayLike
) -> NDArray[np.float32]:
    """ỹ = λ·y_f + (1 − λ)·y_b (Eq. 7).

    Args:
        foreground: y_f, [..., C], rows sum to 1.
        background: y_b, [..., C], rows sum to 1.
        lam: λ, [...], in 0..1.

    Returns:
        float32 [..., C], rows sum to 1.
    """
    weight = np.asarray(lam, np.float64)[..., None]
    return (weight * foreground + (1.0 - weight) * background).astype(np.float32)


def _mixed(visible: ArrayLike, removed: ArrayLike, alpha: float) -> Share:
    return mixing_weight(visible, alpha)


def _foreground(visible: ArrayLike, removed: ArrayLike, alpha: float) -> Share:
    return np.ones_like(visible, np.float64)


def _actor(visible: ArrayLike, removed: ArrayLike, alpha: float) -> Share:
    pasted = np.asarray(visible, np.float64)
    both = pasted + np.asarray(removed, np.float64)
    return mixing_weight(np.divide(pasted, both, out=np.zeros_like(both), where=both > 0), alpha)


@dataclass(frozen=True, slots=True)
class MixingRule:
    """How λ follows from what is seen.

    Attributes:
        name: as the settings have it.
        formula: λ from (γ of the visible foreground, γ of what was removed from the background,
            α); takes and gives arrays of any one shape, or plain numbers.
        needs_removed: whether the second number counts; where it does not, it need not be known.
    """

    name: LabelRule
    formula: LabelRuleFunction
    needs_removed: bool = False


LABEL_RULES: Mapping[str, MixingRule] = {
    rule.name: rule
    for rule in (
        MixingRule("mixed", _mixed),
        MixingRule("foreground", _foreground),
        MixingRule("actor", _actor, needs_removed=True),
    )
}
"""Name ─► label rule.

- mixed: Eq. 8 on the visible foreground, as in the paper's main setting.
- foreground: λ = 1, as in the paper's few-shot setting.
- actor: Eq. 8 on the visible foreground's share of all that acts: visible / (visible + removed).
  The scene alone carries no action, so what was removed is what the background's label lost. No
  foreground at all gives λ = 0.
"""
