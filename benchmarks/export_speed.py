"""What an export costs next to the bare encoding of the same frames, and how it grows.

    l2a prepare DATA --out PREPARED
    python benchmarks/export_speed.py DATA --layers PREPARED/layers [--sizes 200 2000]

First table: random pairs are exported in one process, some at a time, and in turns with that the
same frames, already composited and in memory, are only encoded. The ratio is what layers, masks,
blending, records and the manifest add. Second table: a fresh process exports ever more pairs with
all cores; time should grow with the pairs, and memory not at all.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import print_header, print_table, run

from compositing.clipmaking import CODECS
from compositing.composite import make_composite
from compositing.engines import make_engine
from compositing.engines.base import Engine
from compositing.engines.local import HERE
from compositing.export import Material, PairList, export_pairs
from compositing.making import LayerMaker
from compositing.settings import CompositeSettings, EngineSettings, ExportSettings, PrepareSettings
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.media import write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video, carve_validation


@dataclass(frozen=True)
class World:
    """Training videos whose layers are there.

    Attributes:
        pairs: random ones of different classes, each once; best first.
    """

    videos: dict[str, Video]
    classes: tuple[str, ...]
    store: LayerMaker
    pairs: list[ScoredPair]

    @classmethod
    def open(cls, options: argparse.Namespace, pairs: int) -> World:
        """Read the data set and draw pairs."""
        store = LayerMaker(options.layers, PrepareSettings(segmenter=options.segmenter))
        data = DataSettings(split="1")
        found = carve_validation(read_videos(options.data, data), data.val_share, seed=0)
        train = found.of_split("train")
        videos = {video.id: video for video in train}
        records = {id_: store.record(id_) for id_ in videos}
        foregrounds = [id_ for id_ in videos if not records[id_].foreground_unfit]
        backgrounds = [id_ for id_ in videos if not records[id_].background_unfit]
        both = [
            (f, b) for f in foregrounds for b in backgrounds if videos[f].label != videos[b].label
        ]
        if len(both) < pairs:
            raise InputError(f"There are only {len(both)} pairs; give smaller --sizes.")
        drawn = np.random.default_rng(0).permutation(len(both))[:pairs]
        rows = [
            ScoredPair(f, b, 1 - n / len(drawn), 0.0, videos[f].label, videos[b].label)
            for n, (f, b) in enumerate(both[i] for i in drawn)
        ]
        classes = tuple(sorted({video.label for video in videos.values()}))
        return cls(videos, classes, store, rows)

    def export(self, pairs: list[ScoredPair], out: Path, engine: Engine) -> float:
        """Seconds that it took."""
        begun = time.perf_counter()
        export_pairs(
            PairList(pairs, {"seed": 0}), Material(self.videos, self.classes, self.store), out,
            CompositeSettings(), ExportSettings(), engine=engine,
        )  # fmt: skip
        return time.perf_counter() - begun

    def encode(self, pairs: list[ScoredPair], out: Path) -> tuple[float, int]:
        """Seconds that only the encoding took, and how many frames it were."""
        seconds, frames, export = 0.0, 0, ExportSettings()
        for number, pair in enumerate(pairs):
            composite = make_composite(
                self.store.load_foreground(self.videos[pair.foreground]),
                self.store.load_background(self.videos[pair.background]),
                CompositeSettings(), omega=pair.omega, seed=0,
            )  # fmt: skip
            begun = time.perf_counter()
            write_video(
                out / f"{number}.mp4", composite.frames, composite.fps,
                crf=export.crf, codec=CODECS[export.codec], preset=export.preset,
            )  # fmt: skip
            seconds += time.perf_counter() - begun
            frames += len(composite.frames)
        return seconds, frames


def show_ratio(options: argparse.Namespace, scratch: Path) -> None:
    """The first table."""
    world = World.open(options, options.repeats * options.at_once)
    rows, ratios = [], []
    for turn in range(options.repeats):
        pairs = world.pairs[turn * options.at_once : (turn + 1) * options.at_once]
        ours = world.export(pairs, scratch / f"whole-{turn}", HERE)
        bare, frames = world.encode(pairs, scratch / f"bare-{turn}")
        ratios.append(ours / bare)
        rows.append([f"{turn + 1}", f"{frames}", f"{frames / ours:.0f}", f"{frames / bare:.0f}",
                     f"{ratios[-1]:.2f}"])  # fmt: skip
    rows.append(["median", "", "", "", f"{statistics.median(ratios):.2f}"])
    header = ["turn", "frames", "exported a second", "encoded a second", "ratio"]
    title = f"{options.at_once} pairs a turn, one process"
    print_table(title, header, rows, markdown=options.markdown)


def show_growth(options: argparse.Namespace) -> None:
    """The second table; each size in a process of its own."""
    rows = []
    for size in options.sizes:
        command = [sys.executable, __file__, *sys.argv[1:], "--own-process", str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds, main, worker, megabytes = json.loads(done.stdout.splitlines()[-1])
        rows.append([f"{size}", f"{seconds:.1f}", f"{1000 * seconds / size:.0f}", f"{main:.0f}",
                     f"{worker:.0f}", f"{megabytes:.0f}"])  # fmt: skip
    header = ["pairs", "s", "ms/pair", "MB, main process", "MB, largest worker", "MB written"]
    print_table("All cores", header, rows, markdown=options.markdown)


def report_growth(options: argparse.Namespace, scratch: Path) -> None:
    """What the fresh process does: export, and print the figures as JSON."""
    world, out = World.open(options, options.own_process), scratch / "out"
    seconds = world.export(world.pairs, out, make_engine(EngineSettings()))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peaks = [
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    written = sum(path.stat().st_size for path in (out / "videos").iterdir()) / 1e6
    print(json.dumps([seconds, *peaks, written]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--layers", type=Path, required=True, help="made by `l2a prepare`")
    parser.add_argument("--segmenter", default="motion", help="as they were made with")
    parser.add_argument("--sizes", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--at-once", type=int, default=16, help="pairs in a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--own-process", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.own_process:
            report_growth(options, Path(scratch))
            return
        print_header()
        show_ratio(options, Path(scratch))
    show_growth(options)


if __name__ == "__main__":
    run(main)
