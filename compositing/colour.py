"""Colour matching: the actor takes on the light of the scene (Reinhard et al., 2001).

Pixels are taken to CIE Lab and back by tables and small matrices: sRGB ─► linear light ─► XYZ of
D65 ─► the cube roots of which L, a and b are sums. It is an eighth of the time of OpenCV's
conversions, to within a grey level.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Entry = TypeVar("Entry", np.uint8, np.float32)

CHROMA = 0.3
"""How far a and b go where L goes all the way. The mean colour of a scene is that of its lawn or
sky: at full strength it makes green people, at a third it takes the edge off a wrong white."""

GAIN = (0.5, 2.0)
"""The spread is at most halved or doubled, so that a flat jersey does not become noise."""

_ENOUGH = 4096
"""Pixels that are enough to know a clip's colours by; of larger clips, so many are looked at."""

_AT_ONCE = 1 << 14
"""Pixels that are converted in one go: few enough for the processor's cache."""

_STEPS = 1 << 14
"""Steps of the tables over linear light: next to black, one is a fifth of a grey level."""

_WHITE = np.array([0.950456, 1.0, 1.088754])
_TO_XYZ = (
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / _WHITE[:, None]
)
"""Linear light of R, G, B ─► X, Y, Z, each over its white (ITU-R BT.709, D65)."""

# Maps of 0..1 to steps of the tables, with half a step added for the rounding.
_TO_XYZ_STEPS = np.column_stack([_TO_XYZ * _STEPS, np.full(3, 0.5)])
_TO_RGB_STEPS = np.column_stack([np.linalg.inv(_TO_XYZ) * _STEPS, np.full(3, 0.5)])

_TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float64)
"""The cube roots of X, Y, Z ─► L in 0..100, a, b, with the offsets in the last column."""

_KINK = 6 / 29
"""Below this, the cube root of CIE Lab is a straight line."""


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
        scene: uint8 [T, h, w, 3], RGB, of any size: what the actor is to stand in.
        share: 0 (not at all) to 1 (all the way).
        reach: pixels around the mask that are changed along with it, for blends that look there.

    Returns:
        uint8 [T, H, W, 3], RGB: a new array, changed in the mask (and `reach` around it) alone;
        `foreground` itself where nothing is to be done.
    """
    if not share or not mask.any():
        return foreground
    matched = np.array(foreground, order="C")
    pixels = matched.reshape(-1, 3)
    actor = np.flatnonzero(mask)
    mean, spread = _statistics(pixels, actor)
    mean_there, spread_there = _statistics(scene.reshape(-1, 3))
    shares = share * np.array([1.0, CHROMA, CHROMA])
    gain = 1 + shares * (np.clip(spread_there / np.maximum(spread, 1e-6), *GAIN) - 1)
    offset = mean * (1 - gain) + shares * (mean_there - mean)

    if reach:
        square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        wide = np.stack([cv2.dilate(shape, square) for shape in mask.astype(np.uint8)])
        actor = np.flatnonzero(wide)
    change = _change_of_roots(gain, offset)
    whole = pixels.view("V3").ravel()  # a pixel as one value: copied at once
    for start in range(0, len(actor), _AT_ONCE):
        where = actor[start : start + _AT_ONCE]
        roots = _to_roots(pixels.take(where, axis=0))
        np.put(whole, where, _from_roots(cv2.transform(roots, change)).view("V3"))
    return matched


def _change_of_roots(gain: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """x ↦ gain · x + offset in Lab (float64 [3] each) as a map of the cube roots: [3, 4]."""
    sums, constant = _TO_LAB[:, :3], _TO_LAB[:, 3]
    back = np.linalg.inv(sums)
    return np.column_stack(
        [back @ np.diag(gain) @ sums, back @ (gain * constant + offset - constant)]
    )


def _statistics(
    pixels: NDArray[np.uint8], where: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation in Lab, float64 [3] each, of pixels uint8 [N, 3].

    `where` holds the indices of those that count, at least one; without it all do. Of many, every
    k-th is looked at.
    """
    step = max(1, (len(pixels) if where is None else len(where)) // _ENOUGH)
    every = slice(step // 2, None, step)
    chosen = pixels[every] if where is None else pixels.take(where[every], axis=0)
    mean, spread = cv2.meanStdDev(cv2.transform(_to_roots(chosen), _TO_LAB))
    return mean.ravel(), spread.ravel()


@dataclass(frozen=True, slots=True)
class _Tables:
    """The curves of sRGB and of CIE Lab.

    Attributes:
        linear: float32 [256], grey level ─► linear light in 0..1.
        roots: float32 [_STEPS + 1], X, Y or Z in steps ─► Lab's cube root of it.
        levels: uint8 [_STEPS + 1], linear light in steps ─► grey level.
    """

    linear: NDArray[np.float32]
    roots: NDArray[np.float32]
    levels: NDArray[np.uint8]


@functools.cache
def _tables() -> _Tables:
    levels, light = np.arange(256) / 255, np.arange(_STEPS + 1) / _STEPS
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    roots = np.where(light > _KINK**3, np.cbrt(light), light / (3 * _KINK**2) + 4 / 29)
    display = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return _Tables(
        linear.astype(np.float32),
        roots.astype(np.float32),
        (255 * display + 0.5).astype(np.uint8),
    )


def _to_roots(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB uint8 [N, 3] ─► Lab's cube roots of X, Y and Z: float32 [N, 1, 3]."""
    tables = _tables()
    light = cv2.LUT(np.ascontiguousarray(pixels).reshape(-1, 1, 3), tables.linear)
    return _looked_up(tables.roots, cv2.transform(light, _TO_XYZ_STEPS))


def _from_roots(roots: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Back to RGB uint8 [N, 1, 3]; colours that no screen shows are clipped."""
    xyz = roots * roots
    xyz *= roots
    low = roots < _KINK
    xyz[low] = (roots[low] - np.float32(4 / 29)) * np.float32(3 * _KINK**2)
    return _looked_up(_tables().levels, cv2.transform(xyz, _TO_RGB_STEPS))


def _looked_up(table: NDArray[Entry], steps: NDArray[np.float32]) -> NDArray[Entry]:
    """The entries at these steps, of the first or the last where they lie outside."""
    return table.take(steps.astype(np.intp), mode="clip")
