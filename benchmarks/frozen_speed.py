"""Training on frozen features: how fast features come, a head is fitted, and draws are compared.

    python benchmarks/frozen_speed.py [--network tiny3d] [--weights FILE|imagenet] [--clips 64]
        [--rows 800] [--width 1280] [--classes 12] [--draws 16] [--repeats 5]

Frames: clips of a batch seen at once, a few frames at a time (`in_pieces`), and these with
activations in place, in turns; with freed memory kept (`l2a.allocation`) and given back.
Features: composites a second, from a bank of noise that lies in memory, and how fast kept ones are
found again. Heads: views that a network of this width would give, correlated as features are (the
variance of the axes falls off as a power law); L-BFGS on the features as they are, beside
L-BFGS on their scaled principal axes, which `train.frozen.head` uses, in turns and to the same
gradient. Draws: so many heads at one strength. One thread; medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from batch_speed import noise
from tables import print_header, print_table, run
from torch import Tensor

from compositing.settings import CompositeSettings
from l2a import image_networks
from l2a.image_networks import PIXELS_AT_ONCE
from l2a.networks import build_network
from train.batches import ClipSource
from train.classifier import EVALUATION_BATCH
from train.frozen.features import FeatureBank
from train.frozen.head import TOLERANCE, HeadProblem, cross_entropy
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="tiny3d", help="whose trunk is frozen")
    parser.add_argument("--weights", help="of the trunk")
    parser.add_argument("--clips", type=int, default=64, help="composites to see")
    parser.add_argument("--rows", type=int, default=800, help="views that a head is fitted to")
    parser.add_argument("--width", type=int, default=1280, help="length of a feature")
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--draws", type=int, default=16, help="heads at one strength")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_header()
    frames_speed(options)
    features_speed(options)
    heads_speed(options)


def frames_speed(options: argparse.Namespace) -> None:
    """Clips a second in three ways, with freed memory kept, and in a process that returns it."""
    given = [options.network, options.weights, options.repeats]
    kept = frame_rates(*given)
    code = "import json, sys; import frozen_speed as own; "
    code += "print(json.dumps(own.frame_rates(*json.loads(sys.argv[1]))))"
    said = subprocess.run(
        [sys.executable, "-c", code, json.dumps(given)],
        cwd=Path(__file__).parent, env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    given_back = json.loads(said.splitlines()[-1])
    print_table(
        f"Clips a second, {options.network}", ["freed memory", *kept],
        [[name, *(f"{rate:.1f}" for rate in rates.values())]
         for name, rates in (("kept", kept), ("given back", given_back))],
    )  # fmt: skip


def frame_rates(network: str, weights: str | None, repeats: int) -> dict[str, float]:
    """Clips a second: all frames at once and few at a time, without and with activations in place;
    medians over turns."""
    torch.set_num_threads(1)
    trunk = build_network(network, 2, weights).trunk.eval().folded()
    able = [module for module in trunk.modules() if hasattr(module, "inplace")]
    rng = torch.Generator().manual_seed(0)
    shape = (EVALUATION_BATCH, 8, 112, 112, 3)
    clips = trunk.to_input(torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng))
    every = EVALUATION_BATCH * shape[1] * 112 * 112
    ways = {"at once": (every, False), "in pieces": (PIXELS_AT_ONCE, False),
            "in pieces, in place": (PIXELS_AT_ONCE, True)}  # fmt: skip
    rates: dict[str, list[float]] = {way: [] for way in ways}
    with torch.no_grad():
        for _ in range(repeats):
            for way, (image_networks.PIXELS_AT_ONCE, in_place) in ways.items():
                for module in able:
                    module.inplace = in_place  # type: ignore[assignment]
                start = time.perf_counter()
                trunk(clips)
                rates[way].append(len(clips) / (time.perf_counter() - start))
    image_networks.PIXELS_AT_ONCE = PIXELS_AT_ONCE
    return {way: statistics.median(found) for way, found in rates.items()}


def features_speed(options: argparse.Namespace) -> None:
    """Composites a second: made and seen by the trunk, and found again."""
    with tempfile.TemporaryDirectory() as folder:
        bank = noise(Path(folder) / "bank", 112)
        count = len(bank)
        labels = np.arange(count, dtype=np.int64) % 2
        source = ClipSource(bank, labels, 2, 112, CompositeSettings())
        rows = {"train": np.arange(count), "val": np.arange(0), "test": np.arange(0)}
        names: Any = SimpleNamespace(classes=("a", "b"))
        prepared = PreparedData(names, bank, source, rows, {}, cast(Any, None))
        torch.manual_seed(0)
        trunk = build_network(options.network, 2, options.weights).trunk
        rng = np.random.default_rng(0)
        numbers = rng.choice(count * count, options.clips, replace=False)
        pairs = np.stack(np.divmod(numbers, count), axis=1)
        rates = []
        for _ in ("computed", "found again"):
            opened = FeatureBank(trunk, prepared, FrozenSettings(), True, 0)
            start = time.perf_counter()
            opened.composites(pairs)
            rates.append(options.clips / (time.perf_counter() - start))
    print_table(
        "Composites a second", ["trunk", "computed", "found again"],
        [[options.network, f"{rates[0]:.1f}", f"{rates[1]:.0f}"]],
    )  # fmt: skip


def heads_speed(options: argparse.Namespace) -> None:
    """Milliseconds of a fit, in two ways; and of all draws at one strength."""
    rows = []
    for l2 in STRENGTHS:
        times: dict[str, list[float]] = {"plain": [], "axes": []}
        steps = {"plain": 0, "axes": 0}
        for turn in range(options.repeats):
            features, labels = views(options, turn)
            start = time.perf_counter()
            plain_steps, weight = plain(features, labels, l2)
            times["plain"].append(time.perf_counter() - start)
            start = time.perf_counter()
            head = HeadProblem(features, labels).fit(l2)
            times["axes"].append(time.perf_counter() - start)
            steps = {"plain": plain_steps, "axes": head.steps}
            apart = float((weight - head.weight).norm() / head.weight.norm())
            if apart > 1e-2:
                raise AssertionError(f"the two ways differ by {apart:.1e} at l2 {l2:g}")
        cells = [f"{1000 * statistics.median(times[way]):.0f} ({steps[way]})" for way in times]
        rows.append([f"{l2:g}", *cells])
    title = f"Milliseconds of a fit (evaluations): {options.rows} views, {options.width} wide"
    print_table(title, ["l2", "as they are", "principal axes"], rows)
    problems = [HeadProblem(*views(options, draw)) for draw in range(options.draws)]
    start = time.perf_counter()
    first = problems[0].fit(1e-3)
    for problem in problems[1:]:
        problem.fit(1e-3, first)
    seconds = time.perf_counter() - start
    print_table("Seconds for all draws", ["draws", "seconds"],
                [[str(options.draws), f"{seconds:.1f}"]])  # fmt: skip


def views(options: argparse.Namespace, seed: int) -> tuple[Tensor, Tensor]:
    """Features float32 `[n, D]` and soft labels float32 `[n, C]`."""
    rng = torch.Generator().manual_seed(seed)
    axes = min(options.rows, options.width) // 2
    spread = torch.arange(1, axes + 1).float().pow(-0.5)
    made = (torch.randn(options.rows, axes, generator=rng) * spread) @ torch.randn(
        axes, options.width, generator=rng
    )
    classes = torch.randint(0, options.classes, (2, options.rows), generator=rng)
    one, two = (torch.nn.functional.one_hot(row, options.classes).float() for row in classes)
    made += torch.randn(options.classes, options.width, generator=rng)[classes[0]]
    share = torch.rand(options.rows, 1, generator=rng)
    return made.relu(), share * one + (1 - share) * two


def plain(features: Tensor, labels: Tensor, l2: float) -> tuple[int, Tensor]:
    """L-BFGS on standardised features as they are, to the same gradient: evaluations, weights."""
    x, y = features.double(), labels.double()
    y = y / y.sum(1, keepdim=True)
    x = x - x.mean(0)
    scale = x.square().sum(1).mean().sqrt()
    x = x / scale
    shares = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    point = torch.nn.Parameter(torch.zeros(y.shape[1], x.shape[1] + 1, dtype=torch.float64))
    optimizer = torch.optim.LBFGS(
        [point], max_iter=5, tolerance_grad=0, tolerance_change=0, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def evaluate() -> Tensor:
        weight, bias = point.data[:, :-1], point.data[:, -1]
        loss, push = cross_entropy(x @ weight.T + bias, y, shares)
        point.grad = torch.cat([push.T @ x + l2 * weight, push.sum(0)[:, None]], dim=1)
        return loss + l2 / 2 * weight.square().sum()

    evaluate()
    steepest = float(cast(Tensor, point.grad).norm())
    while float(cast(Tensor, point.grad).norm()) > TOLERANCE * steepest:
        before = optimizer.state[point].get("func_evals", 0)
        optimizer.step(evaluate)
        if optimizer.state[point]["func_evals"] <= before + 1 or before > 5_000:
            break
    return int(optimizer.state[point]["func_evals"]), point.data[:, :-1] / scale


if __name__ == "__main__":
    run(main)
