"""How many recordings must validation hold, for choosing pairs to gain on drawing them?

    OMP_NUM_THREADS=1 python benchmarks/reward_scaling.py --jobs 2 [--out runs/reward-scaling]

In a generated world (`reward_world.py` says what is planted: scenes that lie in part, and wrong
labels) the credit of listed pairs is measured on validation sets of `--sizes` recordings, and a
quarter of the pairs is chosen by it: the best, drawn from the better half of each class, or by a
Selector that was trained on that validation. Choices are equal over the classes. A head on frozen
features is fitted to the real training clips with the chosen composites beside them, at one
strength for all choices of a seed, and measured on a large test set.

Validation sets of one size are apart from each other, up to `--draws` of them; random choices are
drawn `--random` times. A seed's figure is the mean over those; tables have means over seeds, each a
world of its own, and the standard error of the gain on random choices, paired by seed.

- halves: how far credit on one half of the recordings ranks pairs as that on the other does
  (Spearman, within the foreground's class); whole: what follows for all of them; needed: the
  recordings that a reliability of 0.5 takes, as foretold from this size (Spearman-Brown);
- test: the rank correlation with credit on the test recordings;
- gains in accuracy (points) and test loss (nats) over random choices;
- wrong, home: the share of the best pairs whose foreground carries a wrong label, and of those
  whose scene is the one that training shows the foreground's class in.

Yardsticks: no composites; the best by credit on the test clips themselves (overfitted, no method);
random pairs without those whose foreground's label is wrong. Features and finished seeds are kept
in `--out`, where the curves are drawn too, unless `--plot` names a file.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from choices import Rows, beside_real, choose, credit_on, rank_agreement
from heads import independent
from reward_world import CLASSES, Seen, World, see
from tables import print_header, print_table, run
from torch import Tensor

from l2a.errors import InputError
from l2a.files import fingerprint, read_json, write_json
from l2a.networks import build_network
from selector.agreement import label_agreement
from selector.network import SelectorConfig, new_selector
from selector.reinforce import train_selector
from selector.reliability import TARGET, measure_reliability
from selector.settings import ReinforceSettings, SelectorSettings
from semantic_match.embed import embed_classes, make_embedder
from train.environment import FrozenFeatures
from train.estimates import Estimate
from train.frozen.environment import DrawnPairs, FrozenEnvironment, MeasuredClips
from train.frozen.head import HeadProblem, LinearHead, choose_l2

SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000)
CHOICES = ("best", "half", "Selector")
SHARES = {"best": 0.0, "half": 0.5, "Selector": 0.0, "random": 1.0}

Figures = dict[str, float]


@dataclass(frozen=True)
class Options:
    """What a seed's figures depend on besides its world."""

    network: str
    weights: str | None
    sizes: tuple[int, ...]
    draws: int
    random: int
    selectors: int


class Lab:
    """One world, and what choices of its pairs are worth."""

    def __init__(self, seen: Seen, seed: int, random: int) -> None:
        self.seen, self._seed, self._random = seen, seed, random
        self.budget = len(seen.labels)
        self.drawn = DrawnPairs(
            torch.from_numpy(seen.pairs), seen.composites, seen.composite_labels
        )
        self.classes = seen.labels[self.drawn.rows[:, 0]]
        self.wrong = seen.wrong[self.drawn.rows[:, 0]]
        views = seen.real.shape[1]
        self._real = seen.real.flatten(0, 1)
        self._labels = _one_hot(seen.labels).repeat_interleave(views, dim=0)
        lots = self.at_random(torch.ones(len(seen.pairs), dtype=torch.bool))
        problems = [self._problem(lot) for lot in lots[:3]]
        self._tune = seen.validation, _one_hot(seen.validation_labels)
        self._l2 = choose_l2(problems, *self._tune).l2
        self.random = self.worth(lots)

    def at_random(self, allowed: Tensor) -> list[Rows]:
        """Random choices among the pairs that are `allowed`, bool `[m]`."""
        places = np.flatnonzero(allowed.numpy())
        scores = torch.zeros(len(places))
        return [
            places[self.choose(scores, "random", draw, self.seen.pairs[places])]
            for draw in range(self._random)
        ]

    def choose(self, scores: Tensor, how: str, draw: int, pairs: Rows | None = None) -> Rows:
        """A choice among all pairs, or these; see `choices.choose`."""
        listed = self.seen.pairs if pairs is None else pairs
        budget = min(self.budget, len(listed))
        classes = self.seen.labels.numpy()
        return choose(listed, scores, classes, budget, SHARES[how], 1000 * self._seed + draw)

    def worth(self, lots: Sequence[Rows]) -> Figures:
        """Mean accuracy and loss on the test set, after training with each choice of pairs."""
        found = [self._measure(self._problem(lot).fit(self._l2)) for lot in lots]
        return {name: statistics.fmean(one[name] for one in found) for name in found[0]}

    def none(self) -> Figures:
        """The same without composites, at a strength of its own."""
        problem = HeadProblem(self._real, self._labels)
        return self._measure(choose_l2([problem], *self._tune).heads[0])

    def _measure(self, head: LinearHead) -> Figures:
        logits = head.logits(self.seen.test)
        right = (logits.argmax(1) == self.seen.test_labels).double().mean()
        loss = torch.nn.functional.cross_entropy(logits, self.seen.test_labels)
        return {"top1": float(right), "loss": float(loss)}

    def credit(self, clips: MeasuredClips) -> Tensor:
        """Credit `[m, R]` by recording, as stage one measures it from a fresh head on."""
        return credit_on(clips, self.drawn, None)

    def _problem(self, lot: Rows) -> HeadProblem:
        features = self.seen.composites[lot].flatten(0, 1)
        labels = self.seen.composite_labels[lot].flatten(0, 1)
        return beside_real(self._real, self._labels, features, labels)


def validation_sets(seen: Seen, size: int, draws: int) -> list[MeasuredClips]:
    """Sets of `size` recordings, no recording in two of them: at most `draws`, and 1 at least."""
    count = max(1, min(draws, len(seen.validation) // size))
    return [
        measured(seen.validation[part], seen.validation_labels[part])
        for part in (slice(draw * size, (draw + 1) * size) for draw in range(count))
    ]


def measured(features: Tensor, labels: Tensor) -> MeasuredClips:
    """Clips of as many recordings."""
    return MeasuredClips(features, _one_hot(labels), torch.arange(len(labels)))


def one_size(lab: Lab, size: int, options: Options, seed: int, truth: Tensor) -> Figures:
    """All figures of validation sets of one size, as means over the sets; "needed" is their median,
    0 where no number follows."""
    found: list[Figures] = []
    lots: dict[str, list[Rows]] = {how: [] for how in CHOICES}
    for draw, clips in enumerate(validation_sets(lab.seen, size, options.draws)):
        credit = lab.credit(clips)
        scores = credit.sum(1)
        reliability = measure_reliability(credit, lab.classes, seed=draw, fewest=2)
        assert reliability is not None  # two recordings or more, and pairs of every class
        lots["best"].append(lab.choose(scores, "best", draw))
        lots["half"].append(lab.choose(scores, "half", draw))
        if draw < options.selectors:
            learned = selector_scores(lab, clips, 100 * seed + draw)
            lots["Selector"].append(lab.choose(learned, "Selector", draw))
        best = lots["best"][-1]
        found.append({
            "halves": reliability.halves, "whole": reliability.whole,
            "needed": float(reliability.needed or math.inf),
            "test": rank_agreement(scores, truth, lab.classes),
            "wrong": float(lab.wrong[best].double().mean()),
            "home": float(lab.seen.at_home[best].double().mean()),
        })  # fmt: skip
    figures = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
    needed = statistics.median(one["needed"] for one in found)
    figures["needed"] = needed if math.isfinite(needed) else 0.0
    for how in (how for how in CHOICES if lots[how]):
        worth = lab.worth(lots[how])
        figures |= {f"{how} {name}": worth[name] - lab.random[name] for name in worth}
    return figures


def selector_scores(lab: Lab, clips: MeasuredClips, seed: int) -> Tensor:
    """What a Selector thinks of all pairs, trained on these validation clips as `l2a train` does
    with a frozen trunk: float32 `[m]`."""
    seen = lab.seen
    vectors = torch.from_numpy(embed_classes(CLASSES, make_embedder("static")))[seen.labels]
    videos = seen.real[:, 0]
    agreement = label_agreement(videos, seen.labels, torch.arange(len(videos)))
    inputs = torch.cat([videos, agreement[:, None]], dim=1)
    config = SelectorConfig.from_settings(SelectorSettings(), videos.shape[1], vectors.shape[1])
    selector = new_selector(config, seed)
    selector.fit_standardiser(inputs)
    environment = FrozenEnvironment(
        lab.drawn, clips, FrozenFeatures(inputs), vectors, seen.labels, lr=0.01
    )
    train_selector(selector, environment, ReinforceSettings(), seed, log=lambda step, figures: None)
    sides = lab.drawn.rows[:, 0], lab.drawn.rows[:, 1]
    with torch.inference_mode():
        scores: Tensor = selector.eval()(
            inputs[sides[0]], inputs[sides[1]], vectors[sides[0]], vectors[sides[1]]
        )
    return scores.clone()


def one_seed(seed: int, world: World, options: Options, out: Path) -> dict[str, Any]:
    """The figures of one world, by size; read where they are kept."""
    path = out / f"seed-{seed}-{fingerprint([world, options])}.json"
    if path.is_file():
        return dict(read_json(path))
    torch.set_num_threads(1)
    begun = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = build_network(options.network, 1, options.weights).trunk
    lab = Lab(see(world, seed, trunk, out), seed, options.random)
    seconds = time.monotonic() - begun
    truth = lab.credit(measured(lab.seen.test, lab.seen.test_labels)).sum(1)
    yardsticks = {
        "no composites": lab.none(),
        "test clips": lab.worth([lab.choose(truth, "best", 0)]),
        "right labels": lab.worth(lab.at_random(~lab.wrong)),
    }
    found = {
        "random": lab.random,
        "yardsticks": {
            name: {figure: worth[figure] - lab.random[figure] for figure in worth}
            for name, worth in yardsticks.items()
        },
        "sizes": {
            str(size): one_size(lab, size, options, seed, truth) for size in options.sizes
        },
        "seconds": {"features": seconds, "all": time.monotonic() - begun},
    }  # fmt: skip
    write_json(path, found)
    print(f"seed {seed}: {found['seconds']['all']:.0f} s", flush=True)
    return found


def crossing(sizes: Sequence[int], values: Sequence[float], level: float) -> float | None:
    """Where a curve first reaches a level, straight between sizes on a logarithmic axis; None
    where it never does."""
    last: tuple[float, float] | None = None
    for size, value in zip(sizes, values, strict=True):
        if value >= level:
            if last is None:
                return float(size)
            part = (level - last[1]) / (value - last[1])
            return math.exp(math.log(last[0]) + part * math.log(size / last[0]))
        last = float(size), value
    return None


def clear_from(sizes: Sequence[int], gains: Sequence[Estimate]) -> int | None:
    """The smallest size from which on every gain is above two standard errors; None: never."""
    found = None
    for size, gain in zip(sizes, gains, strict=True):
        above = gain.mean > 0 and gain.clear
        found = (found or size) if above else None
    return found


def estimates(results: Sequence[Mapping[str, Any]], figure: str) -> list[Estimate]:
    """A figure at each size, over seeds."""
    sizes = list(results[0]["sizes"])
    return [independent([one["sizes"][size][figure] for one in results]) for size in sizes]


def sentences(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many recordings the method needs."""
    sizes = [int(size) for size in results[0]["sizes"]]
    whole = crossing(sizes, [one.mean for one in estimates(results, "whole")], TARGET)
    at = "not reached" if whole is None else f"reached with {whole:.0f} recordings"
    lines = [f"A reliability of {TARGET:g} of the whole validation set is {at}."]
    for how in shown(results):
        first = clear_from(sizes, estimates(results, f"{how} top1"))
        gains = "nowhere" if first is None else f"from {first} recordings on"
        lines.append(f"{how}: accuracy above random choices by more than 2 s.e. {gains}.")
    return lines


def shown(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The choices that were measured."""
    first = next(iter(results[0]["sizes"].values()))
    return [how for how in CHOICES if f"{how} top1" in first]


def show(results: Sequence[Mapping[str, Any]], *, markdown: bool) -> None:
    """Tables over seeds, and what they say."""
    sizes, choices = list(results[0]["sizes"]), shown(results)
    halves, whole, test = (estimates(results, name) for name in ("halves", "whole", "test"))
    wrong, home = (estimates(results, name) for name in ("wrong", "home"))
    rows = []
    gains = {how: estimates(results, f"{how} top1") for how in choices}
    losses = {how: estimates(results, f"{how} loss") for how in choices}
    for place, size in enumerate(sizes):
        needed = statistics.median(one["sizes"][size]["needed"] or math.inf for one in results)
        rows.append([
            size, f"{halves[place].mean:.2f}", f"{whole[place].mean:.2f}",
            f"{needed:.0f}" if math.isfinite(needed) else "-", f"{test[place].mean:.2f}",
            *(gains[how][place].points() for how in choices),
            *(losses[how][place].plain() for how in choices),
            f"{100 * wrong[place].mean:.0f} %", f"{100 * home[place].mean:.0f} %",
        ])  # fmt: skip
    header = ["recordings", "halves", "whole", "needed", "test",
              *(f"{how}, points" for how in choices), *(f"{how}, nats" for how in choices),
              "wrong", "home"]  # fmt: skip
    random = independent([one["random"]["top1"] for one in results])
    title = (
        f"{len(results)} worlds; gains over random choices (top-1 {100 * random.mean:.1f} %), "
        "paired by world, with 1 s.e."
    )
    print_table(title, header, rows, markdown=markdown)
    yardsticks = [
        [name, independent([one["yardsticks"][name]["top1"] for one in results]).points(),
         independent([one["yardsticks"][name]["loss"] for one in results]).plain()]
        for name in results[0]["yardsticks"]
    ]  # fmt: skip
    print_table("Yardsticks", ["choice by", "points", "nats"], yardsticks, markdown=markdown)
    print("", *sentences(results), sep="\n")


def draw(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Reliability and gain over the number of recordings, with one standard error."""
    from matplotlib.figure import Figure

    sizes = [int(size) for size in results[0]["sizes"]]
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = {"halves": "between halves of the recordings", "whole": "of all (Spearman-Brown)",
             "test": "with credit on the test recordings"}  # fmt: skip
    for name, label in names.items():
        _line(left, sizes, estimates(results, name), label, 1)
    left.axhline(TARGET, color="grey", ls=":", lw=1)
    left.set(ylabel="rank correlation of pairs' credit", title="How reliable the reward is")
    for how in shown(results):
        _line(right, sizes, estimates(results, f"{how} top1"), how, 100)
    for name, style in (("right labels", "--"), ("test clips", ":")):
        value = statistics.fmean(one["yardsticks"][name]["top1"] for one in results)
        right.axhline(100 * value, color="grey", ls=style, lw=1, label=f"yardstick: {name}")
    right.axhline(0, color="black", lw=0.8)
    right.set(ylabel="accuracy over random choices, points", title="What choosing gains")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="validation recordings", xticks=sizes)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _line(
    axes: Any, sizes: Sequence[int], values: Sequence[Estimate], label: str, times: float
) -> None:
    means = np.array([times * value.mean for value in values])
    errors = np.nan_to_num([times * value.error for value in values])
    line = axes.plot(sizes, means, marker="o", ms=3, label=label)[0]
    axes.fill_between(sizes, means - errors, means + errors, color=line.get_color(), alpha=0.15)


def _one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, len(CLASSES)).float()


def main() -> None:
    """Measure what is not there yet; print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--draws", type=int, default=8, help="validation sets of one size")
    parser.add_argument("--random", type=int, default=16, help="random choices")
    parser.add_argument("--selectors", type=int, default=1, help="sets that train a Selector")
    parser.add_argument("--network", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet", help="none for a network from scratch")
    for part in fields(World):
        parser.add_argument(f"--{part.name}", type=type(part.default), default=part.default)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each on one core")
    parser.add_argument("--out", type=Path, default=Path("runs/reward-scaling"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    print_header()
    world = World(**{part.name: getattr(given, part.name) for part in fields(World)})
    if not 2 <= min(given.sizes) <= max(given.sizes) <= world.validation:
        raise InputError(
            f"--sizes {given.sizes} must lie between 2 and --validation {world.validation}."
        )
    weights = None if given.weights == "none" else given.weights
    options = Options(
        given.network, weights, tuple(given.sizes), given.draws, given.random, given.selectors
    )
    work = partial(one_seed, world=world, options=options, out=given.out)
    if given.jobs > 1:
        with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
            results = list(pool.map(work, given.seeds))
    else:
        results = [work(seed) for seed in given.seeds]
    show(results, markdown=given.markdown)
    draw(given.plot or given.out / "reward-scaling.png", results)


if __name__ == "__main__":
    run(main)
