"""How fast Eq. 1 is, against a plain copy of the clip: the least that a composite can cost.

    python benchmarks/composite_speed.py [--repeats 300]

Prints the median time of each way and its ratio to `np.copy`, for one training clip, for a batch,
and for a full-size clip. All ways are checked to give the same pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from compositing.blend import composite_clip, paste

Clip = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SHAPES = ((8, 112, 112), (16, 8, 112, 112), (32, 240, 320))


def by_where(foreground: Clip, mask: Mask, background: Clip) -> Clip:
    """Eq. 1 as one would write it first."""
    return np.where(mask[..., None], foreground, background)


def by_index(foreground: Clip, mask: Mask, background: Clip) -> Clip:
    """Eq. 1 by boolean indexing."""
    canvas = background.copy()
    canvas[mask] = foreground[mask]
    return canvas


def by_product(foreground: Clip, mask: Mask, background: Clip) -> Clip:
    """Eq. 1 to the letter: a sum of products."""
    weight = mask[..., None]
    return weight * foreground + ~weight * background


def make_clips(shape: tuple[int, ...], seed: int) -> tuple[Clip, Mask, Clip]:
    """Noise, and an ellipse over a seventh of each frame, about as large as a real actor."""
    rng = np.random.default_rng(seed)
    foreground, background = (rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    *_, height, width = shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    ellipse = (x / 0.3) ** 2 + (y / 0.6) ** 2 < 1
    return foreground, np.broadcast_to(ellipse, shape).copy(), background


def median_times(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way. The ways take turns, so that a slow moment hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    print(f"{'clip':>18}  {'way':<16} {'ms':>9} {'x copy':>8}")
    for shape in SHAPES:
        foreground, mask, background = make_clips(shape, arguments.seed)
        expected = composite_clip(foreground, mask, background)
        for way in (by_where, by_index, by_product):
            np.testing.assert_array_equal(way(foreground, mask, background), expected)
        clips = (foreground, mask, background)
        times = median_times(
            {
                "np.copy": background.copy,
                "composite_clip": partial(composite_clip, *clips),
                "paste": partial(paste, foreground, mask, background.copy()),
                "np.where": partial(by_where, *clips),
                "boolean index": partial(by_index, *clips),
                "sum of products": partial(by_product, *clips),
            },
            max(3, arguments.repeats * 8 * 112 * 112 // mask.size),
        )
        for name, seconds in times.items():
            size = "x".join(map(str, shape))
            print(f"{size:>18}  {name:<16} {seconds * 1e3:9.3f} {seconds / times['np.copy']:8.1f}")


if __name__ == "__main__":
    main()
