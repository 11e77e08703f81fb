"""What it costs to choose pairs: a pair's score, and the choice from a whole pool.

    python benchmarks/selector_rank.py [--markdown]
    python benchmarks/selector_rank.py --pairs 1000000 --hidden 64 32     # in seconds

Four tables, each measured side by side: pairs per second of the network as one would call it on
gathered rows against the split first layer; the share of the machine's matrix products that this
reaches, counting the products after the first layer alone (5.2 million operations a pair at the
paper's sizes); time and memory of choosing the best pairs from pools of `--pairs` under the default
caps, each in a fresh process; and what the choice costs besides the scoring, with scores that are
two numbers added, against a pass over the pool that does nothing but add them. Features are random
around a centre for each class, and the Selector is untrained: neither changes what a pair costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tables import print_header, print_table, run

from l2a.devices import pick_device
from selector.candidates import BLOCK
from selector.caps import SelectionLimits, even_caps
from selector.network import Selector, SelectorConfig, new_selector
from selector.rank import select_top
from selector.score import PairScorer
from selector.settings import Precision, RankSettings
from semantic_match.embed import make_embedder
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool

CLASSES = 20
VIDEOS = 4000  # as long as they make pairs enough; each costs 16 KB on either side
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SQUARES = (2048, 4096)


class World:
    """Videos of some classes, a Selector for them, and a pool of about so many pairs."""

    def __init__(self, options: argparse.Namespace, pairs: int) -> None:
        self.device = pick_device(options.device)
        each = max(VIDEOS // CLASSES, int(np.ceil(pairs**0.5 / CLASSES)))
        rng = torch.Generator().manual_seed(0)
        self.classes = np.repeat(np.arange(CLASSES), each)
        kind = torch.from_numpy(self.classes)
        label_dim = make_embedder("static").dim
        self.features = torch.randn(len(kind), options.features, generator=rng)
        self.features += torch.randn(CLASSES, options.features, generator=rng)[kind]
        self.labels = torch.randn(CLASSES, label_dim, generator=rng)[kind]
        config = SelectorConfig(options.features, label_dim, hidden=tuple(options.hidden))
        self.selector: Selector = new_selector(config, seed=0)
        self.selector.fit_standardiser(self.features)
        self.selector.to(self.device).eval()
        rows = np.arange(len(kind)).reshape(CLASSES, each).tolist()
        wanted = min(CLASSES**2, -(-pairs // each**2))
        # By distance, so that every class takes part.
        everyone = [(c, (c + step) % CLASSES) for step in range(CLASSES) for c in range(CLASSES)]
        self.matches = [ClassMatch(one, other, 1.0) for one, other in everyone[-wanted:]]
        self.pool = Pool(rows, rows, self.matches)

    def random_pairs(self, count: int) -> NDArray[np.int64]:
        """Pairs of anything with anything."""
        return np.random.default_rng(0).integers(0, len(self.classes), (count, 2))

    def scorer(self, precision: Precision) -> PairScorer:
        """The split first layer."""
        return PairScorer(self.selector, self.features, self.labels, precision)

    def plain(self, pairs: NDArray[np.int64], chunk: int) -> torch.Tensor:
        """The network called as its users would, on the rows of `chunk` pairs at a time."""
        features, labels = self.features.to(self.device), self.labels.to(self.device)
        rows = torch.from_numpy(pairs).to(self.device)
        with torch.inference_mode():
            found = [
                self.selector(features[f], features[b], labels[f], labels[b])
                for f, b in (part.T for part in rows.split(chunk))
            ]
        return torch.cat(found)


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, until a GPU has done it."""
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def medians(
    calls: dict[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, float]:
    """The median seconds of each call, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            taken = timed(call, device)
            if turn:  # the first warms up
                seconds[name].append(taken)
    return {name: statistics.median(some) for name, some in seconds.items()}


def share_of_best(exact: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Which share of the best 1 % is the same."""
    count = max(1, len(exact) // 100)
    best = [np.argsort(-logits, kind="stable")[:count] for logits in (exact, other)]
    return len(np.intersect1d(*best)) / count


def show_scoring(options: argparse.Namespace) -> None:
    """The first two tables, measured together."""
    world = World(options, 1)
    scorers = {precision: world.scorer(precision) for precision in PRECISIONS}
    chunk = scorers["float32"].chunk
    count = -(-options.scored // chunk) * chunk
    pairs = world.random_pairs(count)
    numbers = np.arange(count)
    calls: dict[str, Callable[[], Any]] = {"plain": lambda: world.plain(pairs, chunk)}
    for precision, scorer in scorers.items():
        calls[precision] = lambda scorer=scorer: scorer(numbers, pairs)
    for size in SQUARES:
        for precision in PRECISIONS:
            square = torch.randn(size, size, device=world.device).to(getattr(torch, precision))
            calls[f"{precision} {size}"] = lambda square=square: torch.mm(square, square)
    seconds = medians(calls, options.repeats, world.device)
    exact = world.plain(pairs, chunk).cpu().numpy()
    found = {name: scorer(numbers, pairs).cpu().numpy() for name, scorer in scorers.items()}
    rows = [
        ["network on gathered rows, float32", f"{count / seconds['plain']:.0f}", "1.00", "0", "1"]
    ]
    for name in PRECISIONS:
        rows.append([
            f"split first layer, {name}", f"{count / seconds[name]:.0f}",
            f"{seconds['plain'] / seconds[name]:.2f}", f"{abs(found[name] - exact).max():.1e}",
            f"{share_of_best(exact, found[name]):.4f}",
        ])  # fmt: skip
    title = f"{count} pairs, {chunk} at a time; medians of {options.repeats}"
    header = ["scoring", "pairs/s", "ratio", "largest difference", "same best 1 %"]
    print_table(title, header, rows, markdown=options.markdown)

    a_pair = 2 * sum(one * other for one, other in pairwise((*options.hidden, 1)))
    rows = []
    for name in PRECISIONS:
        peak = max(2 * size**3 / seconds[f"{name} {size}"] for size in SQUARES) / 1e9
        ours = count * a_pair / seconds[name] / 1e9
        rows.append([name, f"{peak:.0f}", f"{ours:.0f}", f"{ours / peak:.0%}"])
    header = ["precision", "torch.mm, GFLOP/s", "scoring, GFLOP/s", "share"]
    title = f"Matrix products: the better of squares of {' and '.join(map(str, SQUARES))}"
    print_table(title, header, rows, markdown=options.markdown)


def report_choice(options: argparse.Namespace, pairs: int) -> None:
    """What the fresh process does: choose, and print the figures as JSON."""
    world = World(options, pairs)
    caps = even_caps(
        options.budget, len(world.classes), len(world.classes), len(world.matches), RankSettings()
    )
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # what a first product loads is not ours
    before = peak_memory()
    begun = time.perf_counter()
    found = select_top(
        world.pool, world.scorer(options.scoring), options.budget,
        SelectionLimits(world.classes, caps),
    )  # fmt: skip
    figures = {
        "pairs": len(world.pool),
        "seconds": time.perf_counter() - begun,
        "memory": peak_memory() - before,
        "passes": found.passes,
        "relaxed": found.relaxed,
        "passed over": found.passed_over,
        "more": found.passed_over_more,
    }
    print(json.dumps(figures))


class Sums:
    """Scores at next to no cost: a number for each video on either side, added up."""

    def __init__(self, videos: int) -> None:
        rng = torch.Generator().manual_seed(0)
        self._sides = torch.randn(2, videos, generator=rng)
        self.device = torch.device("cpu")
        self.seconds = 0.0

    def __call__(self, numbers: NDArray[np.int64], pairs: Any) -> torch.Tensor:
        begun = time.perf_counter()
        foreground, background = torch.as_tensor(pairs).T
        scores = self._sides[0].index_select(0, foreground)
        scores += self._sides[1].index_select(0, background)
        self.seconds += time.perf_counter() - begun
        return scores

    def on(self, device: str) -> Sums:
        return self

    def memory(self) -> int:
        return 0


def report_beside(options: argparse.Namespace, pairs: int) -> None:
    """What another fresh process does: time the choice without the scoring."""
    torch.set_num_threads(1)
    world = World(options, pairs)
    caps = even_caps(
        options.budget, len(world.classes), len(world.classes), len(world.matches), RankSettings()
    )
    recordings = np.arange(len(world.classes)) // 5
    limits = SelectionLimits(world.classes, caps, recordings)
    alone, whole, scored = [], [], []
    for _ in range(options.repeats if pairs <= 10**7 else 1):
        scorer, begun = Sums(len(world.classes)), time.perf_counter()
        for start in range(0, len(world.pool), BLOCK):
            block = world.pool.block(start, min(start + BLOCK, len(world.pool)))
            scorer(np.arange(len(block)), block)
        alone.append(time.perf_counter() - begun)
        scorer, begun = Sums(len(world.classes)), time.perf_counter()
        found = select_top(world.pool, scorer, options.budget, limits)
        whole.append(time.perf_counter() - begun)
        scored.append(scorer.seconds)
    middle = statistics.median
    figures = {
        "pairs": len(world.pool), "alone": middle(alone), "whole": middle(whole),
        "beside": middle(np.subtract(whole, scored).tolist()), "passes": found.passes,
    }  # fmt: skip
    print(json.dumps(figures))


def peak_memory() -> float:
    """The most that this process has had at a time, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss begins at what the parent process had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(what: str, pairs: int) -> dict[str, Any]:
    """The figures that a fresh process of this program prints."""
    command = [sys.executable, __file__, *sys.argv[1:], "--own-process", what, str(pairs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def show_beside(options: argparse.Namespace) -> None:
    """The fourth table."""
    rows = []
    for pairs in options.beside:
        figures = in_own_process("beside", pairs)
        each = {name: figures[name] / figures["pairs"] * 1e9 for name in ("alone", "whole")}
        beside = figures["beside"] / figures["pairs"] * 1e9
        rows.append([
            f"{figures['pairs']}", f"{each['alone']:.1f}", f"{each['whole']:.1f}",
            f"{each['whole'] / each['alone']:.1f}", f"{beside:.1f}", f"{figures['passes']}",
        ])  # fmt: skip
    header = [
        "pairs", "one pass that scores, ns a pair", "the choice, ns a pair", "ratio",
        "of it besides the scoring", "passes",
    ]  # fmt: skip
    title = f"Choosing {options.budget} pairs with scores that cost nothing, one thread"
    print_table(title, header, rows, markdown=options.markdown)


def show_choice(options: argparse.Namespace) -> None:
    """The third table."""
    rows = []
    for pairs in options.pairs:
        figures = in_own_process("choice", pairs)
        over = f"{'≥ ' if figures['more'] else ''}{figures['passed over']}"
        rows.append([
            f"{figures['pairs']}", f"{figures['seconds']:.1f}",
            f"{figures['pairs'] / figures['seconds']:.0f}",
            f"{figures['memory']:.0f}", f"{figures['passes']}", over, f"{figures['relaxed']}",
        ])  # fmt: skip
    header = ["pairs", "s", "pairs/s", "MB above features", "passes", "passed over", "doubled"]
    title = f"Choosing {options.budget} pairs under the default caps, {options.scoring}"
    print_table(title, header, rows, markdown=options.markdown)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="*", default=[10**6, 10**7], help="pool sizes")
    parser.add_argument(
        "--beside", type=int, nargs="*", default=[10**6, 10**7], help="pool sizes of the last table"
    )
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--hidden", type=int, nargs="+", default=[2048, 1024, 512])
    parser.add_argument(
        "--scored", type=int, default=16_384, help="pairs of the first table; 0: none"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scoring", choices=PRECISIONS, default="float32", help="of the choice")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--own-process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own_process:
        what, pairs = options.own_process
        {"choice": report_choice, "beside": report_beside}[what](options, int(pairs))
        return
    print_header()
    if options.scored:
        show_scoring(options)
    if options.pairs:
        show_choice(options)
    if options.beside:
        show_beside(options)


if __name__ == "__main__":
    run(main)
