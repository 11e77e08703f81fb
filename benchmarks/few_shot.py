"""Three few-shot methods with and without composites, on the frozen features of an image network.

    python benchmarks/few_shot.py CLIPS/jhmdb12 --out RUNS

Six base, two validation and four novel classes; 4-way, one to five shots. Prototypes need no
training, TRX and ARN learn their heads from episodes of the base classes; then each is measured
without composites, with random and with selected ones on the same episodes. A small network is
trained end to end besides. Everything can be stopped and goes on; the results are Markdown on
stdout. Two run side by side, on one thread each: prototypes and TRX, which takes their Selector,
beside ARN and then the small network. `--methods` leaves methods out, `--more "--seed 1"` draws
other classes, and `--more=--group-disjoint` keeps recordings apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

IMAGES = ("--network", "tsn_efficientnet_lite0", "--weights", "imagenet", "--freeze-trunk")
METHODS: dict[str, tuple[str, ...]] = {
    "prototype": (*IMAGES, "--num-frames", "8"),
    "trx": (*IMAGES, "--num-frames", "8", "--trx-dim", "64", "--train-queries", "2"),
    # ARN needs 16 frames; a relation network on 64 channels is too slow for so many episodes here.
    "arn": (*IMAGES, "--num-frames", "16", "--arn-channels", "16"),
    "tiny3d": (
        "--network", "tiny3d", "--num-frames", "8", "--height", "64", "--width", "86", "--crop",
        "56",
    ),
}  # fmt: skip
"""Name ─► its settings; `tiny3d` is the prototype method, trained end to end."""
TITLES = {
    "none": "real clips alone", "random": "+ L2A (random)", "selector": "+ L2A (selected)",
    "random - none": "random − real alone", "selector - none": "selected − real alone",
    "selector - random": "selected − random",
}  # fmt: skip


def main() -> None:
    """Run everything that is not done, and print the tables."""
    options = parsed()
    began = time.monotonic()
    lanes = [[name for name in options.methods if (name in ("prototype", "trx")) == first]
             for first in (True, False)]  # fmt: skip
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda names: all(run(options, name) for name in names), lanes))
    if not all(done):
        sys.exit("A method failed; what it said stands above, and the same command goes on.")
    show(options, time.monotonic() - began)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=Path)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--train-episodes", type=int, default=800)
    parser.add_argument("--shots", default="1,2,3,4,5")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--more", default="", help="further settings of l2a, in quotes")
    options = parser.parse_args()
    if options.one:
        learn_and_evaluate(options, options.one)
        sys.exit(0)
    return options


def run(options: argparse.Namespace, name: str) -> bool:
    """Another process for one method; whether it came to its end."""
    words = [sys.executable, __file__, *sys.argv[1:], "--one", name]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    return done.returncode == 0


def learn_and_evaluate(options: argparse.Namespace, name: str) -> None:
    """Train a method, if it learns, and measure it."""
    if name == "prototype":
        evaluate(options, name)
        return
    trained = options.out / name
    if not (trained / "method.safetensors").is_file():
        l2a("train", options.data, "--out", trained, *shared(options, name),
            "--method", method(name), "--train-episodes", options.train_episodes,
            "--validate-every", max(1, options.train_episodes // 4),
            "--episodes-per-step", 4, "--validation-episodes", 200)  # fmt: skip
    evaluate(options, name, trained)


def evaluate(options: argparse.Namespace, name: str, trained: Path | None = None) -> None:
    """Measure a method on the novel classes."""
    selector = options.out / "prototype-evaluated" / "selector"
    given = ("--selector", selector) if name == "trx" and selector.is_dir() else ()
    l2a("evaluate", trained or options.data, "--out", options.out / f"{name}-evaluated",
        *(() if trained else (*shared(options, name), "--method", method(name))),
        "--episodes", options.episodes, "--compare", *given)  # fmt: skip


def method(name: str) -> str:
    """The method of an entry of `METHODS`."""
    return "prototype" if name == "tiny3d" else name


def shared(options: argparse.Namespace, name: str) -> tuple[object, ...]:
    """Settings of both commands."""
    masks = options.data / "masks"
    segmenter = f"masks:{masks}" if masks.is_dir() else "auto"
    return (
        *METHODS[name], "--way", 4, "--shots", options.shots, "--novel-classes", 4,
        "--validation-classes", 2, "--segmenter", segmenter, "--layers",
        options.layers or options.out / "layers", "--bank", options.out / "bank", "--workers", 1,
        *options.more.split(),
    )  # fmt: skip


def l2a(*words: object) -> None:
    """Run a few-shot command to its end."""
    command = [sys.executable, "-m", "l2a", "few-shot", *map(str, words)]
    print(" ".join(command[2:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def show(options: argparse.Namespace, seconds: float) -> None:
    """Print what was measured as Markdown."""
    shots = options.shots.split(",")
    for name in options.methods:
        folder = options.out / f"{name}-evaluated"
        found = json.loads((folder / "metrics.json").read_text())
        print(f"\n**{name}**, {found['way']}-way, {options.episodes} episodes, accuracy in %\n")
        row("", [f"{shot} shot" for shot in shots])
        row("---", ["---"] * len(shots))
        for choice, of_shot in found["accuracy"].items():
            row(TITLES[choice], [cell(of_shot[shot]) for shot in shots])
        for pair, of_shot in found["differences"].items():
            row(TITLES[pair], [cell(of_shot[shot], sign="+") for shot in shots])
        speeds = json.loads((folder / "speed.json").read_text())
        for choice in found["accuracy"]:
            told = [f"{speeds.get(f'{choice}-{shot}', 0):.0f}" for shot in shots]
            row(f"episodes/s, {TITLES[choice]}", told)
    print(f"\n{seconds:.0f} s in this call; classes: {found['classes']}")


def row(head: str, cells: Sequence[str]) -> None:
    """Print a row of a Markdown table."""
    print(f"| {head} | {' | '.join(cells)} |")


def cell(result: dict[str, Any], sign: str = "") -> str:
    """A mean and its interval, in per cent; `*` marks a difference that is clear of 0."""
    mean, reach = 100 * result["mean"], 100 * (result["interval_95"] or 0)
    clear = "*" if sign and abs(mean) > reach else ""
    return f"{mean:{sign}.2f} ± {reach:.2f}{clear}"


if __name__ == "__main__":
    main()
