"""The composite's pixels and its label: Learn2Augment's Eq. 1, 7 and 8.

Everything works on one clip and on whole batches alike: leading dimensions are free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from compositing.settings import LabelRule

Share = NDArray[np.float64]
LabelRuleFunction = Callable[[ArrayLike, ArrayLike, float], Share]


def composite_clip(
    foreground: NDArray[np.uint8], mask: NDArray[np.bool_], background: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Paste the foreground's masked pixels on the clean background (Eq. 1).

    Ṽ^t = M_f^t ⊙ V_f^t + (1 − M_f^t) ⊙ V'_b^t, with Ṽ the result, V_f `foreground`, M_f `mask`
    and V'_b `background`. The mask is binary, so no pixel is ever a mixture of both.

    Args:
        foreground: uint8 [..., H, W, 3], RGB.
        mask: bool [..., H, W], true where the foreground is seen.
        background: uint8 [..., H, W, 3], RGB.

    Returns:
        uint8 [..., H, W, 3], RGB, a new array.

    Raises:
        ValueError: the shapes or types do not fit each other.
    """
    canvas = np.array(background, order="C")
    paste(foreground, mask, canvas)
    return canvas


def paste(
    foreground: NDArray[np.uint8], mask: NDArray[np.bool_], canvas: NDArray[np.uint8]
) -> None:
    """Eq. 1 on a `canvas` that holds the background and is the caller's own: it is written to.

    For callers that gathered the backgrounds into a fresh array anyway, and can spare the copy.

    Args:
        foreground: uint8 [..., H, W, 3], RGB.
        mask: bool [..., H, W].
        canvas: uint8 [..., H, W, 3], RGB, contiguous.

    Raises:
        ValueError: the shapes or types do not fit each other, or `canvas` is not contiguous.
    """
    if not foreground.shape == (*mask.shape, 3) == canvas.shape:
        raise ValueError(
            f"foreground {foreground.shape}, mask {mask.shape} and background {canvas.shape} "
            f"do not fit: [..., H, W, 3], [..., H, W] and [..., H, W, 3] are needed"
        )
    if foreground.dtype != np.uint8 or mask.dtype != np.bool_ or canvas.dtype != np.uint8:
        raise ValueError(
            f"uint8, bool and uint8 are needed, not {foreground.dtype}, {mask.dtype}, "
            f"{canvas.dtype}"
        )
    if not canvas.flags.c_contiguous:
        raise ValueError("the canvas must be contiguous")
    if not mask.size:
        return
    # One masked copy over all frames stacked on top of each other. OpenCV's copies rows at memory
    # speed; np.where and boolean indexing visit pixels one by one (benchmarks/composite_speed.py).
    width = mask.shape[-1]
    cv2.copyTo(
        np.ascontiguousarray(foreground).reshape(-1, width, 3),
        np.ascontiguousarray(mask).view(np.uint8).reshape(-1, width),
        canvas.reshape(-1, width, 3),
    )


def foreground_ratio(mask: NDArray[np.bool_]) -> Share:
    """γ = Σ M_f / (T·H·W): the share of each clip that the foreground covers.

    Args:
        mask: bool [..., T, H, W].

    Returns:
        float64 [...], in 0..1; of shape () for one clip.
    """
    *batch, frames, height, width = mask.shape
    pixels = frames * height * width
    covered = [np.count_nonzero(clip) for clip in mask.reshape(-1, pixels)]
    return np.reshape(np.asarray(covered, np.float64) / pixels, batch)


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


LABEL_RULES: Mapping[LabelRule, LabelRuleFunction] = {
    "mixed": _mixed,
    "foreground": _foreground,
    "actor": _actor,
}
"""Label rule ─► λ from (γ of the visible foreground, γ of what was removed from the background, α).

- mixed: Eq. 8 on the visible foreground, as in the paper's main setting.
- foreground: λ = 1, as in the paper's few-shot setting.
- actor: Eq. 8 on the visible foreground's share of all that acts: visible / (visible + removed).
  The scene alone carries no action, so what was removed is what the background's label lost. No
  foreground at all gives λ = 0.

All take and give arrays of any one shape, or plain numbers.
"""
