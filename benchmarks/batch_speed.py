"""Clips a second that reach a training: by a thread, and by 1, 2 and 4 worker processes.

    python benchmarks/batch_speed.py [--steps 24] [--repeats 3] [--side 112]

Batches as stage two draws them, of 8 real clips and 8 composites of 8 frames, cropped, mirrored and
composited again, from a bank of noise that lies in memory after its first pass. Every blend and
number of workers in one run; a worker's start is left out, as a training starts them once. Medians
over the repeats, and next to them the ratio to the thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tables import print_header, print_table, run

from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings
from train.batches import ClipSource
from train.loading import Loading, load_steps
from train.mix import MixedBatches, TrainingMix

VIDEOS, BATCH = 64, 8
BLENDS = {
    "paste": CompositeSettings(),
    "feather, colour 0.5": CompositeSettings(blend="feather", match_colour=0.5),
    "poisson": CompositeSettings(blend="poisson"),
}
WORKERS = (0, 1, 2, 4)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=24, help="batches in one measurement")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each")
    parser.add_argument("--side", type=int, default=112, help="side of a crop, in pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_header()
    with tempfile.TemporaryDirectory() as folder:
        bank = noise(Path(folder) / "bank", arguments.side)
        rows = []
        for name, settings in BLENDS.items():
            rates = {workers: list[float]() for workers in WORKERS}
            for _ in range(arguments.repeats):  # in turns, so that a slow minute meets them all
                for workers in WORKERS:
                    rates[workers].append(speed(bank, settings, workers, arguments.steps))
            medians = [statistics.median(rates[workers]) for workers in WORKERS]
            cells = [f"{rate:.0f} ({rate / medians[0]:.2f})" for rate in medians]
            rows.append([name, *cells])
    header = ["blend", "thread", *(f"{count} workers" for count in WORKERS[1:])]
    print_table("Clips a second (ratio to the thread)", header, rows)


def speed(bank: ClipBank, settings: CompositeSettings, workers: int, steps: int) -> float:
    """Clips a second from the first batch on."""
    labels = np.arange(len(bank), dtype=np.int64) % 8
    source = ClipSource(bank, labels, 8, bank.settings.crop, settings)
    rows = np.arange(len(bank), dtype=np.int64)
    mix = TrainingMix(rows, np.stack([rows, rows[::-1]], axis=1), BATCH)
    batches = MixedBatches(source, mix, BATCH, True, 0, epochs=-(-steps * BATCH // VIDEOS))
    stream, clips = load_steps(batches, Loading(workers)), 0
    next(stream)
    begun = time.perf_counter()
    for batch in stream:
        clips += len(batch)
    return clips / (time.perf_counter() - begun)


def noise(folder: Path, side: int) -> ClipBank:
    """Clips of noise with a figure that covers a tenth of the frame."""
    geometry = ClipSettings(num_frames=8, height=side * 8 // 7, width=side * 32 // 21, crop=side)
    bank = ClipBank.create_or_resume(folder, [f"v{i}" for i in range(VIDEOS)], geometry, "noise")
    rng = np.random.default_rng(0)
    shape = (geometry.num_frames, geometry.height, geometry.width)
    mask = np.zeros(shape, bool)
    height, width = geometry.height, geometry.width
    mask[:, height // 5 : height * 4 // 5, width // 3 : width // 2] = True
    for row in range(VIDEOS):
        frames, background = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
        bank.write(row, frames, mask, background)
    return bank


if __name__ == "__main__":
    run(main)
