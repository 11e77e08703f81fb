"""What preparation costs: each stage, workers, pairs from prepared videos or not, and memory.

    python benchmarks/prepare_speed.py [--clips ../shared/clips/jhmdb12] [--quick]
        [--mask-rcnn FILE] [--lama FILE]

On real clips (`--clips`, or the default folder if it is there), else on generated ones:

1. frames per second of each stage on one core, and of the whole on 1 and on N workers, whose
   start is part of it;
2. K pairs a video, every video prepared once, against the naive way: decode both, segment both
   and inpaint one inside each pair. Both on one core, up to the composite's frames. At full size
   ours reads the layers back (a foreground once, a background for every pair); at training size
   it fills the bank once. The naive way shares nothing, so that it is measured on one pair a
   video, and counted K times;
3. peak memory of a preparation in a fresh process, by the number of videos: the same few files
   under ever more names, scaled down to go fast.

Times are medians over `--repeats`; what is compared takes turns. Two cores: about three minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tables import print_header, print_table, run

from compositing.bank import fill_bank
from compositing.blend import composite_clip
from compositing.composite import make_composite
from compositing.engines.local import LocalEngine
from compositing.inpainters import make_inpainter
from compositing.layers import Layers
from compositing.making import LayerMaker
from compositing.masks import dilate_masks
from compositing.segmenters import make_segmenter
from compositing.settings import CompositeSettings, PrepareSettings
from compositing.writing import BACKGROUND_CRF as CRF
from compositing.writing import BACKGROUND_PRESET as PRESET
from l2a.clips import ClipBank, ClipSettings
from l2a.demo.generate import generate_demo
from l2a.errors import InputError
from l2a.machine import usable_cores
from l2a.media import Frames, read_frames, resize_frames, resize_masks, sample_indices, write_video
from l2a.videos import Video

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips" / "jhmdb12"
MEMORY_SIDE = 160
"""Longer side of the frames for the memory's table."""
DIFFERENT = 8
"""Files that the memory's table repeats."""

Seconds = dict[str, float]


def list_videos(root: Path, count: int) -> list[Video]:
    """So many videos of `root/videos/CLASS/`, spread evenly over the classes, as train videos."""
    files = sorted(p for p in (root / "videos").glob("*/*") if p.suffix in (".avi", ".mp4"))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    if len(chosen) < 2:
        raise InputError(f"{root} has not two videos in videos/CLASS/; give another folder.")
    return [
        Video(p.relative_to(root).as_posix(), p, p.parent.name, p.stem, "train") for p in chosen
    ]


@contextmanager
def timed(seconds: Seconds, stage: str) -> Iterator[None]:
    """Add what the block takes to `seconds[stage]`."""
    started = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started


def read(video: Video, settings: PrepareSettings) -> Frames:
    """A video as the store decodes it."""
    return read_frames(video.path, max_frames=settings.max_frames, max_side=settings.max_side)


def run_stages(
    videos: list[Video], settings: PrepareSettings, segmenters: list[str], inpainters: list[str]
) -> tuple[Seconds, int]:
    """Seconds of each stage over all videos, and their frames. The first back ends continue."""
    seconds, frames = Seconds(), 0
    makers = {f"segment, {spec.partition(':')[0]}": make_segmenter(spec) for spec in segmenters}
    fillers = {f"inpaint, {spec.partition(':')[0]}": make_inpainter(spec) for spec in inpainters}
    with tempfile.TemporaryDirectory() as folder:
        for video in videos:
            with timed(seconds, "decode"):
                source = read(video, settings)
            frames += len(source.frames)
            found = []
            for name, segmenter in makers.items():
                with timed(seconds, name):
                    found.append(segmenter(video, source))
            with timed(seconds, "mask refinement"):
                mask = resize_masks(found[0].union(settings), source.frames.shape[1:3])
                holes = dilate_masks(mask, settings.dilate)
            cleaned = []
            for name, inpainter in fillers.items():
                with timed(seconds, name):
                    cleaned.append(inpainter(source.frames, holes))
            with timed(seconds, "encode background"):
                path = Path(folder) / "background.mkv"
                write_video(path, cleaned[0].frames, source.fps, crf=CRF, preset=PRESET)
    return seconds, frames


def prepare(videos: list[Video], settings: PrepareSettings, workers: int) -> None:
    """Prepare all into a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        report = LayerMaker(Path(folder), settings).prepare(videos, LocalEngine(workers=workers))
        if report.skipped:
            raise InputError(f"{report.skipped[0].id} cannot be read: {report.skipped[0].reason}")


def pairs_of(videos: list[Video], per_video: int) -> dict[Video, list[Video]]:
    """Every video with its backgrounds: the next ones, round and round, never itself."""
    count = len(videos)
    return {
        video: [videos[(i + 1 + k % (count - 1)) % count] for k in range(per_video)]
        for i, video in enumerate(videos)
    }


def our_way(videos: list[Video], settings: PrepareSettings, per_video: int) -> Seconds:
    """Seconds of all pairs with every video prepared once: full size, and training size."""
    seconds: Seconds = {}
    pairs = pairs_of(videos, per_video)
    ids = [video.id for video in videos]
    with tempfile.TemporaryDirectory() as folder:
        store = LayerMaker(Path(folder) / "layers", settings)
        with timed(seconds, "prepare"):
            store.prepare(videos, LocalEngine(workers=1))
        with timed(seconds, "full size"):
            for video, backgrounds in pairs.items():
                foreground = store.load(video)
                for other in backgrounds:
                    background = store.load_background(other)
                    make_composite(foreground, background, CompositeSettings())
        with timed(seconds, "training size"):
            bank = ClipBank.create_or_resume(Path(folder) / "bank", ids, ClipSettings(), "none")
            fill_bank(bank, videos, store, ids, LocalEngine(workers=1))
            for video, backgrounds in pairs.items():
                row_f = bank.row(video.id)
                for other in backgrounds:
                    background = bank.backgrounds[bank.row(other.id)]
                    composite_clip(bank.frames[row_f], bank.masks[row_f], background)
    return {size: seconds["prepare"] + seconds[size] for size in ("full size", "training size")}


def naive_way(videos: list[Video], settings: PrepareSettings, per_video: int) -> Seconds:
    """The same pairs with everything inside each pair; one pair a video is made, and scaled."""
    seconds, size = Seconds(), ClipSettings()
    shape = (size.height, size.width)
    for video, (other,) in pairs_of(videos, 1).items():
        with timed(seconds, "shared"):
            foreground = take_apart(video, settings, empty=False)
            background = take_apart(other, settings, empty=True)
        with timed(seconds, "full size"):
            make_composite(foreground, background, CompositeSettings())
        with timed(seconds, "training size"):
            fg_frames, bg_frames = (
                sample_indices(side.times, size.num_frames) for side in (foreground, background)
            )
            composite_clip(
                resize_frames(foreground.frames[fg_frames], shape),
                resize_masks(foreground.mask[fg_frames], shape),
                resize_frames(background.background[bg_frames], shape),
            )
    return {
        name: per_video * (seconds["shared"] + seconds[name])
        for name in ("full size", "training size")
    }


def take_apart(video: Video, settings: PrepareSettings, *, empty: bool) -> Layers:
    """One video's layers, made and not stored; its background is emptied when it is `empty`."""
    source = read(video, settings)
    masks = make_segmenter(settings.segmenter)(video, source)
    mask = resize_masks(masks.union(settings), source.frames.shape[1:3])
    background = source.frames
    if empty:
        holes = dilate_masks(mask, settings.dilate)
        background = make_inpainter(settings.inpainter)(source.frames, holes).frames
    return Layers(video, source.frames, mask, background, source.times, source.fps)


def peak_memory(root: Path, count: int, workers: int) -> tuple[float, float]:
    """MiB at their peak of a preparation of `count` videos: its process, and its largest worker."""
    command = [sys.executable, __file__, "--clips", str(root), "--workers", str(workers)]
    command += ["--memory-of", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    own, largest = json.loads(done.stdout)
    return own, largest


def report_own_memory(root: Path, count: int, workers: int) -> None:
    """What the fresh process of `peak_memory` does."""
    import resource  # not on Windows

    some = list_videos(root, DIFFERENT)
    again = [some[i % len(some)] for i in range(count)]
    videos = [replace(video, id=f"{i}/{video.id}") for i, video in enumerate(again)]
    prepare(videos, PrepareSettings(max_side=MEMORY_SIDE), workers)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(json.dumps([resource.getrusage(one).ru_maxrss / unit for one in who]))


def show_stages(root: Path, settings: PrepareSettings, options: argparse.Namespace) -> None:
    """The first table."""
    videos = list_videos(root, options.videos)
    segmenters, inpainters = [settings.segmenter], [settings.inpainter, "opencv"]
    segmenters += [f"masks:{root / 'masks'}"] if (root / "masks").is_dir() else []
    segmenters += [f"mask-rcnn:{options.mask_rcnn}"] if options.mask_rcnn else []
    inpainters += [f"lama:{options.lama}"] if options.lama else []
    runs: list[Seconds] = []
    for _ in range(options.repeats):
        seconds, frames = run_stages(videos, settings, segmenters, inpainters)
        for workers in (1, options.workers):
            with timed(seconds, f"whole, workers: {workers}"):
                prepare(videos, settings, workers)
        runs.append(seconds)
    rows = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    print_table(
        f"Stages: {len(videos)} videos, {frames} frames, median of {options.repeats}",
        ["stage", "frames/s", "ms/frame"],
        [[name, f"{frames / s:.1f}", f"{1e3 * s / frames:.2f}"] for name, s in rows.items()],
    )


def show_pairs(root: Path, settings: PrepareSettings, options: argparse.Namespace) -> None:
    """The second table."""
    videos = list_videos(root, options.pair_videos)
    runs = [
        (our_way(videos, settings, options.pairs), naive_way(videos, settings, options.pairs))
        for _ in range(options.repeats)
    ]
    rows = []
    for size in runs[0][0]:
        ours, naive = (float(np.median([run[i][size] for run in runs])) for i in range(2))
        ratio = float(np.median([run[1][size] / run[0][size] for run in runs]))
        total = len(videos) * options.pairs
        rows.append([size, f"{ours / total:.3f}", f"{naive / total:.3f}", f"{ratio:.1f}"])
    print_table(
        f"{options.pairs} pairs a video, {len(videos)} videos, median of {options.repeats}",
        ["composites", "prepared once, s/pair", "naive, s/pair", "naive / ours"],
        rows,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help=f"folder with videos/ (default: {CLIPS})")
    parser.add_argument("--videos", type=int, default=8, help="for the stages")
    parser.add_argument("--pair-videos", type=int, default=4, help="for the pairs")
    parser.add_argument("--pairs", type=int, default=10, help="K, pairs a video")
    parser.add_argument("--memory", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--workers", type=int, default=max(2, usable_cores()), help="N")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--mask-rcnn", type=Path, help="weights of the segmenter mask-rcnn")
    parser.add_argument("--lama", type=Path, help="weights of the inpainter lama")
    parser.add_argument("--quick", action="store_true", help="does it run at all")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.videos, options.pair_videos, options.memory, options.repeats = 2, 2, [2, 4], 1
    cv2.setNumThreads(1)  # as in a worker

    with tempfile.TemporaryDirectory() as folder:
        root = options.clips or CLIPS
        if not options.clips and not root.is_dir():
            root = Path(folder)
            generate_demo(root, per_class_train=2, per_class_test=1, size=(240, 320), num_frames=36)
        if options.memory_of:
            report_own_memory(root, options.memory_of, options.workers)
            return
        print_header()
        settings = PrepareSettings(segmenter="motion")
        show_stages(root, settings, options)
        show_pairs(root, settings, options)
        peaks = [(n, *peak_memory(root, n, options.workers)) for n in options.memory]
        print_table(
            f"Peak memory, {options.workers} workers, frames of {MEMORY_SIDE} pixels",
            ["videos", "main process, MiB", "largest worker, MiB"],
            [[str(n), f"{own:.0f}", f"{worker:.0f}"] for n, own, worker in peaks],
        )


if __name__ == "__main__":
    run(main)
