"""Colour matching: the actor takes on the light of the scene (Reinhard et al., 2001)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

CHROMA = 0.3
"""How far a and b go where L goes all the way. The mean colour of a scene is that of its lawn or
sky: at full strength it makes green people, at a third it takes the edge off a wrong white."""

GAIN = (0.5, 2.0)
"""The spread is at most halved or doubled, so that a flat jersey does not become noise."""

_ENOUGH = 4096
"""Pixels that are enough to know a clip's colours by; of larger clips, so many are looked at."""


def match_colour(
    foreground: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    scene: NDArray[np.uint8],
    share: float,
    *,
    reach: int = 0,
) -> NDArray[np.uint8]:
    """Move the mean and the standard deviation of the actor's colours towards the scene's.

    Color Transfer between Images (Reinhard et al., IEEE CG&A 2001), in CIE Lab in place of their
    lαβ: x ↦ (x − μ_f)·g + μ_f + s·(μ_b − μ_f) with g = 1 + s·(σ_b/σ_f − 1), for L with s = `share`
    and for a and b with s = `share` · `CHROMA`; σ_b/σ_f is kept within `GAIN`. Statistics are over
    the whole clip, the actor's over the mask alone, so that nothing flickers.

    Args:
        foreground: uint8 [T, H, W, 3], RGB.
        mask: bool [T, H, W]: the actor.
        scene: uint8 [T, H, W, 3], RGB: what the actor is to stand in.
        share: 0 (not at all) to 1 (all the way).
        reach: pixels around the mask that are changed along with it, for blends that look there.

    Returns:
        uint8 [T, H, W, 3], RGB: a new array, changed in the mask (and `reach` around it) alone;
        `foreground` itself where nothing is to be done.
    """
    if not share or not mask.any():
        return foreground
    matched = np.array(foreground, order="C")
    pixels = matched.reshape(len(matched), -1, 3)
    actor = [np.flatnonzero(shape) for shape in mask]
    mean, spread = _statistics(pixels, actor)
    whole = np.arange(scene.shape[1] * scene.shape[2])
    mean_there, spread_there = _statistics(scene.reshape(len(scene), -1, 3), [whole] * len(scene))
    shares = share * np.array([1.0, CHROMA, CHROMA])
    gain = 1 + shares * (np.clip(spread_there / np.maximum(spread, 1e-6), *GAIN) - 1)
    offset = mean * (1 - gain) + shares * (mean_there - mean)
    change = np.column_stack([np.diag(gain), offset])

    if reach:
        square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        actor = [np.flatnonzero(cv2.dilate(shape, square)) for shape in mask.astype(np.uint8)]
    for frame, where in zip(pixels, actor, strict=True):
        if where.size:
            lab = cv2.transform(_to_lab(np.take(frame, where, axis=0)), change)
            rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB).reshape(-1, 3)
            frame[where] = (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return matched


def _statistics(
    frames: NDArray[np.uint8], where: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation in Lab of the pixels of frames (uint8 [T, H·W, 3]).

    `where` gives, per frame, the indices of the pixels that count; there is at least one.
    """
    step = max(1, sum(len(pixels) for pixels in where) // _ENOUGH)
    chosen = [
        np.take(frame, pixels[step // 2 :: step], axis=0)
        for frame, pixels in zip(frames, where, strict=True)
    ]
    mean, spread = cv2.meanStdDev(_to_lab(np.concatenate(chosen)))
    return mean.ravel(), spread.ravel()


def _to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE Lab of RGB pixels uint8 [N, 3]: float32 [N, 1, 3], L in 0..100."""
    scaled = pixels.reshape(-1, 1, 3) * np.float32(1 / 255)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2Lab), np.float32)
