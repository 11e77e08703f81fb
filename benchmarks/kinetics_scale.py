"""What a data set of Kinetics-400's size takes: seconds and memory of each stage before training.

    python benchmarks/kinetics_scale.py                     # about an hour on one core
    python benchmarks/kinetics_scale.py --videos 24000 --pairs 1000000 --scored 100000

Simulated: the videos are files of a few different bytes, named as Kinetics' are, in 400 class
folders beside a table; so `check` reads and hashes all of them and tries to decode them, but
decodes none. Features are random float16 around a centre for each class, in shards as those of a
frozen trunk, and the Selector is untrained: neither changes what a pair costs. The bank has
Kinetics' shape (8 frames of 128x171 and layers), as sparse files of which `--rows` rows are
written, half before a process is killed by SIGKILL and half after; four processes read it at the
same time.

Every stage runs in a process of its own, whose peak memory (VmHWM) stands beside its seconds and
those of the processor, which other programs hardly change. Pairs are ranked with scores that are
two numbers added; what the Selector's own scores cost is measured on `--scored` pairs and
extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from listing_speed import make_data
from numpy.typing import NDArray
from selector_rank import Sums, peak_memory
from tables import print_header, print_table, run

from l2a.check import check_videos, report_json
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.formats import DataSettings, read_videos
from selector.agreement import label_agreement
from selector.caps import SelectionLimits, even_caps
from selector.network import SelectorConfig, new_selector
from selector.rank import select_top
from selector.score import PairScorer
from selector.settings import RankSettings
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes
from semantic_match.picture import draw_map
from semantic_match.pool import Pool
from train.frozen.shards import Shards

CLASSES, FEATURES, SHARDS = 400, 512, 24
_VERBS = """riding throwing catching washing painting folding carving cooking cleaning breaking
building driving pushing pulling jumping playing holding shaking kicking climbing"""
_THINGS = """horse ball bread car wall paper wood egg window glass snow bike cart rope trampoline
guitar baby hand stone tree"""

Figures = dict[str, Any]


def class_names() -> list[str]:
    """Four hundred, of two words each."""
    return [" ".join(words) for words in product(_VERBS.split(), _THINGS.split())]


def features_of(root: Path) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Features float32 `[N, 512]` from shards, and classes int64 `[N]`."""
    shards = Shards(root / "features")
    keys = np.arange(len(shards))
    return shards.take(keys, "features").float(), keys % CLASSES


def pool_of(classes: NDArray[np.int64], matches: str) -> Pool:
    """All videos are fit for both sides."""
    names = class_names()
    order = np.argsort(classes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(classes, minlength=CLASSES))[:-1])
    found = match_classes(names, embed_classes(names, make_embedder("static")), matches)
    return Pool([list(row) for row in rows], [list(row) for row in rows], found)


# Stages: each in its own process; what it returns becomes a row, "of" says what was measured.


def make_features(root: Path, options: argparse.Namespace) -> Figures:
    """Write the shards."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, FEATURES), np.float32)
    shards = root / "features"
    for part in np.array_split(np.arange(options.videos), SHARDS):
        values = rng.standard_normal((len(part), FEATURES), np.float32) + centres[part % CLASSES]
        Shards(shards / "new").add(part, {"features": torch.from_numpy(values).half()})
        for path in (shards / "new").iterdir():
            path.rename(shards / path.name)
    return {"of": f"{options.videos} x {FEATURES} float16 written in {SHARDS} shards"}


def list_videos(root: Path, options: argparse.Namespace) -> Figures:
    """As `l2a train` begins."""
    settings = DataSettings(format="kinetics", annotations=root / "kinetics")
    videos = read_videos(root / "data", settings)
    return {"of": f"{len(videos)} videos, fingerprint {videos.fingerprint()}"}


def check(root: Path, options: argparse.Namespace) -> Figures:
    """`l2a check`, report and all."""
    settings = DataSettings(format="kinetics", annotations=root / "kinetics")
    report = check_videos(root / "data", settings, workers=2)
    size = len(json.dumps(report_json(report)))
    return {"of": f"{report.broken} findings, a report of {size / 1e6:.0f} MB"}


def match(root: Path, options: argparse.Namespace) -> Figures:
    """Names to matches, their map drawn, and the pool of all pairs."""
    names = class_names()
    vectors = embed_classes(names, make_embedder("static"))
    draw_map(root / "map.png", names, vectors, match_classes(names, vectors, "1"))
    pool = pool_of(np.arange(options.videos) % CLASSES, "any")
    pool.sample(2000, np.random.default_rng(0))
    return {"of": f"{len(pool):.3g} pairs of any classes"}


def agree(root: Path, options: argparse.Namespace) -> Figures:
    """The Selector's input that is made of all features together."""
    features, classes = features_of(root)
    some = options.agreed or len(features)
    each = torch.arange(some)  # every video is its own recording
    found = label_agreement(features[:some], torch.from_numpy(classes)[:some], each)
    return {"of": f"label agreement of {len(found)} videos"}


def score(root: Path, options: argparse.Namespace) -> Figures:
    """The Selector's scores of pairs, by its halves of all videos."""
    features, classes = features_of(root)
    features = torch.cat([features, torch.zeros(len(features), 1)], dim=1)
    embedder = make_embedder("static")
    labels = torch.from_numpy(embed_classes(class_names(), embedder))[torch.from_numpy(classes)]
    selector = new_selector(SelectorConfig(FEATURES + 1, embedder.dim), seed=0).eval()
    scorer, pool = PairScorer(selector, features, labels), pool_of(classes, "1")
    scorer(np.arange(2), pool.block(0, 2))  # makes the halves
    began = time.process_time()
    for start in range(0, options.scored, 65_536):
        stop = min(start + 65_536, options.scored)
        scorer(np.arange(start, stop), pool.block(start, stop))
    each = (time.process_time() - began) / options.scored
    return {"of": f"{options.scored} pairs scored, {each * 1e6:.1f} µs each", "each": each}


def rank(root: Path, options: argparse.Namespace) -> Figures:
    """The choice, with scores that cost nothing."""
    torch.set_num_threads(1)
    classes = np.arange(options.videos) % CLASSES
    matches = max(1, round(options.pairs / (options.videos / CLASSES) ** 2))
    whole = pool_of(classes, str(-(-matches // CLASSES)))
    pool = _First(whole, options.pairs)
    caps = even_caps(options.budget, len(classes), len(classes), matches, RankSettings())
    limits = SelectionLimits(classes, caps, np.arange(len(classes)) // 2)
    began = time.process_time()
    found = select_top(pool, Sums(len(classes)), options.budget, limits)
    each = (time.process_time() - began) / len(pool)
    of = f"{options.budget} of {len(pool):.3g} pairs, {found.passes} passes, caps doubled"
    return {"of": f"{of} {found.relaxed} times", "each": each, "passes": found.passes}


class _First:
    """The first pairs of a pool."""

    def __init__(self, pool: Pool, count: int) -> None:
        self._pool, self._count = pool, min(count, len(pool))

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def bank(root: Path, options: argparse.Namespace) -> Figures:
    """A bank of Kinetics' shape: filled, killed, filled, read by four processes."""
    ids = [f"v_{index:010}.mp4" for index in range(options.videos)]
    folder, settings = root / "bank", ClipSettings(num_frames=8, height=128, width=171)
    began = time.perf_counter()
    ClipBank.create_or_resume(folder, ids, settings, "made up")
    made = time.perf_counter() - began
    rows = np.linspace(0, options.videos - 1, options.rows).astype(int)
    for some, kill in ((rows[::2], True), (rows, False)):
        child = os.fork()
        if child == 0:
            _fill(folder, ids, settings, some, kill)
        os.waitpid(child, 0)
    began = time.perf_counter()
    readers: list[int] = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            _read(root, folder, rows, number)
        readers.append(child)
    for child in readers:
        os.waitpid(child, 0)
    took = time.perf_counter() - began
    files = [path for path in folder.rglob("*") if path.is_file()]
    long = sum(path.stat().st_size for path in files) / 1e9
    there = sum(path.stat().st_blocks for path in files) * 512 / 1e9
    memory = max(float((root / f"reader-{number}").read_text()) for number in range(4))
    return {
        "of": f"{long:.0f} GB of which {there:.1f} GB are on the disk, made in {made:.1f} s; four "
        f"readers {4 * len(rows) / took:.0f} clips/s, at most {memory:.0f} MB more of its own each"
    }


def _fill(
    folder: Path, ids: list[str], settings: ClipSettings, rows: NDArray[np.int64], kill: bool
) -> None:
    """In a child: write what is pending of `rows`, each with its number; then end, or be killed."""
    made = ClipBank.create_or_resume(folder, ids, settings, "made up")
    for row in rows:
        if made.state[row] == RowState.PENDING:
            clip = np.full((8, 128, 171, 3), row % 251, np.uint8)
            made.write(int(row), clip, clip[..., 0] > 99, clip)
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _read(root: Path, folder: Path, rows: NDArray[np.int64], number: int) -> None:
    """In a child: read all rows in an order of its own, and note its own memory, MB."""
    code, before = 1, _own_memory()
    try:
        opened = ClipBank.open(folder)
        for row in np.random.default_rng(number).permutation(rows):
            clip = opened.frames[row], opened.backgrounds[row]
            if not all((part == row % 251).all() for part in clip):
                raise AssertionError(f"row {row} holds something else")
        (root / f"reader-{number}").write_text(str(_own_memory() - before))
        code = 0
    finally:
        os._exit(code)


def _own_memory() -> float:
    """What this process has besides maps of files, MB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


STAGES: dict[str, Callable[[Path, argparse.Namespace], Figures]] = {
    "features": make_features, "list": list_videos, "check": check, "match": match,
    "agreement": agree, "score": score, "rank": rank, "bank": bank,
}  # fmt: skip


def in_own_process(stage: str, root: Path, words: Sequence[str]) -> Figures:
    """What a stage found, its seconds and its peak memory in MB."""
    command = [sys.executable, __file__, *words, "--own-process", stage, str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Run the stages, print a table and what follows from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--pairs", type=int, default=100_000_000, help="ranked")
    parser.add_argument("--scored", type=int, default=1_000_000, help="pairs")
    parser.add_argument("--agreed", type=int, help="videos of label agreement; all by default")
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=2000, help="of the bank")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--own-process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own_process:
        stage, place = options.own_process
        before, began, processor = peak_memory(), time.perf_counter(), time.process_time()
        figures = STAGES[stage](Path(place), options)
        figures["seconds"] = time.perf_counter() - began
        figures["processor"] = time.process_time() - processor
        print(json.dumps(figures | {"before": before, "peak": peak_memory()}))
        return
    print_header()
    rows: list[list[str]] = []
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if {"list", "check"} & set(options.stages):
            make_data(root, options.videos, CLASSES)
            for number, path in enumerate(sorted((root / "data/videos").glob("*/*"))):
                path.write_text(str(number))
        for stage in options.stages:
            figures = found[stage] = in_own_process(stage, root, sys.argv[1:])
            rows.append([
                stage, f"{figures['seconds']:.1f}", f"{figures['processor']:.1f}",
                f"{figures['before']:.0f}", f"{figures['peak']:.0f}", figures["of"],
            ])  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    title = f"{options.videos} videos of {CLASSES} classes"
    print_table(title, ["stage", "s", "s of the processor", "MB before", "MB peak", "of"], rows)
    if "score" in found and "rank" in found:
        for pairs in (10**8, 10**9):
            hours = pairs * found["score"]["each"] / 3600
            minutes = pairs * found["rank"]["each"] / 60
            print(f"{pairs:.0e} pairs on a core, extrapolated: {hours:.1f} h of scores in each of "
                  f"{found['rank']['passes']} passes, {minutes:.0f} min for all else")  # fmt: skip


if __name__ == "__main__":
    run(main)
