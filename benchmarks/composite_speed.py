"""What a composite costs, against a plain copy of the clip: the least that it can cost.

    python benchmarks/composite_speed.py [--repeats 300]

Prints the median time of each way and its ratio to `np.copy`, in seconds of one core: of Eq. 1 done
in several ways, for one training clip, for a batch and for a full-size clip; of every blend, with
colours matched, and of a placement; and of whole batches drawn from a bank as training draws them.
Time is the thread's own, so that a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.blend import blend, composite_clip, paste
from compositing.fitting import Fitted, fit_foreground
from compositing.placement import Placement, place_foreground
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings
from train.batches import Augment, ClipSource

Clip = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SHAPES = ((8, 112, 112), (16, 8, 112, 112), (32, 240, 320))
BLENDS_SHOWN = {
    "paste": CompositeSettings(),
    "feather": CompositeSettings(blend="feather"),
    "poisson": CompositeSettings(blend="poisson"),
    "paste, colours": CompositeSettings(match_colour=0.5),
    "feather, colours": CompositeSettings(blend="feather", match_colour=0.5),
}


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


def by_xor(foreground: Clip, mask: Mask, background: Clip) -> Clip:
    """Eq. 1 by exclusive ors of all bytes: (f ⊕ b) ∧ m ⊕ b."""
    changed = foreground ^ background
    changed &= -mask.view(np.uint8)[..., None]
    changed ^= background
    return changed


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
            started = time.thread_time()
            way()
            taken[name].append(time.thread_time() - started)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def eq_1(repeats: int, seed: int) -> None:
    """Ways to do Eq. 1, all checked to give the same pixels, at three sizes."""
    print(f"{'clip':>18}  {'Eq. 1':<22} {'ms':>9} {'x copy':>8}")
    for shape in SHAPES:
        foreground, mask, background = clips = make_clips(shape, seed)
        expected = composite_clip(*clips)
        for way in (by_where, by_index, by_product, by_xor):
            np.testing.assert_array_equal(way(*clips), expected)
        ways: dict[str, Callable[[], object]] = {
            "np.copy": background.copy,
            "composite_clip": partial(composite_clip, *clips),
            "paste": partial(paste, foreground, mask, background.copy()),
            "np.where": partial(by_where, *clips),
            "boolean index": partial(by_index, *clips),
            "sum of products": partial(by_product, *clips),
            "exclusive ors": partial(by_xor, *clips),
        }
        show(shape, median_times(ways, max(3, repeats * 8 * 112 * 112 // mask.size)))


def blends(repeats: int, seed: int) -> None:
    """Every blend on a canvas, colours matched, a placement, and another shape, at two sizes."""
    print(f"\n{'clip':>18}  {'blend':<22} {'ms':>9} {'x copy':>8}")
    for shape in (SHAPES[0], SHAPES[2]):
        foreground, mask, background = make_clips(shape, seed)
        canvas = background.copy()
        placement = Placement(0.1, -0.1, 1.2, flip=True)
        ways: dict[str, Callable[[], object]] = {"np.copy": background.copy}
        for name, settings in BLENDS_SHOWN.items():
            ways[name] = partial(blend, foreground, mask, canvas, settings)
        size = (shape[1], shape[2])
        fitted = Fitted(foreground, mask, 0, shape[2])
        ways["a placement alone"] = partial(place_foreground, fitted, placement)
        ways["another shape alone"] = partial(fit_foreground, foreground, mask, size, 9 / 16)
        show(shape, median_times(ways, max(3, repeats * 8 * 112 * 112 // mask.size // 3)))


def from_a_bank(repeats: int, seed: int) -> None:
    """Whole batches as training draws them: read, placed, cropped, mirrored, composited, labelled.

    For comparison, plain NumPy copies out of the same bank: of as many clips, cropped, and of all
    the bytes that a composite reads (foreground, mask and background); and the batch of real clips.
    """
    settings = ClipSettings()
    shape = (settings.num_frames, settings.height, settings.width)
    print(f"\n{'batch of 16 from a bank':<42} {'ms a clip':>9} {'clips/s':>9} {'x copy':>8}")
    with tempfile.TemporaryDirectory() as folder:
        bank = ClipBank.create_or_resume(Path(folder), [f"v{i}" for i in range(40)], settings, "")
        for row in range(len(bank)):
            portrait = 9 / 16 if row >= 32 else None
            bank.write(row, *make_clips(shape, seed + row), aspect=portrait)
        rng = np.random.default_rng(seed)
        pairs = rng.integers(0, 32, (16, 2))
        shapes = np.column_stack([pairs[:, 0], 32 + pairs[:, 1] % 8])  # on the eight portraits
        labels = np.arange(len(bank)) % 4
        side = settings.crop
        middle = [slice((whole - side) // 2, (whole + side) // 2) for whole in shape[1:]]
        crop = (slice(None), *middle)
        real = ClipSource(bank, labels, 4, side, CompositeSettings()).real
        ways: dict[str, Callable[[], object]] = {
            "copy of the clips": lambda: np.stack([bank.frames[f][crop] for f, _ in pairs]),
            "copy of all that is read": lambda: (
                np.stack([bank.frames[f][crop] for f, _ in pairs]),
                np.stack([bank.masks[f][crop] for f, _ in pairs]),
                np.stack([bank.backgrounds[b][crop] for _, b in pairs]),
            ),
            "real": partial(real, pairs[:, 0], Augment(rng)),
        }
        moved = CompositeSettings(shift=0.1, scale=1.2, flip_foreground=0.5)
        for name, how in {**BLENDS_SHOWN, "paste, placements": moved}.items():
            source = ClipSource(bank, labels, 4, side, how)
            ways[name] = partial(source.composites, pairs, Augment(rng))
        source = ClipSource(bank, labels, 4, side, CompositeSettings())
        ways["paste, another shape"] = partial(source.composites, shapes, Augment(rng))
        times = median_times(ways, max(3, repeats // 10))
    for name, seconds in times.items():
        each = seconds / len(pairs)
        ratio = seconds / times["copy of the clips"]
        print(f"{name:<42} {each * 1e3:9.3f} {1 / each:9.0f} {ratio:8.1f}")


def show(shape: tuple[int, ...], times: dict[str, float]) -> None:
    """One row for each way."""
    size = "x".join(map(str, shape))
    for name, seconds in times.items():
        print(f"{size:>18}  {name:<22} {seconds * 1e3:9.3f} {seconds / times['np.copy']:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for part in (eq_1, blends, from_a_bank):
        part(arguments.repeats, arguments.seed)


if __name__ == "__main__":
    main()
