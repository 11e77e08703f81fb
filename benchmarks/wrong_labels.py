"""Wrong labels: does a Selector find them, and does it pay to leave out what it values least?

    python benchmarks/wrong_labels.py ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --out runs/pools

On features of a frozen image network, the training clips of a share of the recordings exchange
their labels, as whoever labels a recording wrongly labels all its clips so (`--by clip`: clips one
by one, whose siblings in the recording then give them away); the validation and test clips keep
theirs. A Selector is trained on the wrong labels, and then:

1. how often a rightly labelled video outranks a wrongly labelled one (AUROC, 0.5 is chance) by
   what the Selector values it, by label agreement, and by chance;
2. top-1 on test of the head of real clips alone: all of them, without the quarter that is valued
   least (`--drop-real 0.25`), without the quarter that agrees least, without a quarter at random,
   and without exactly the wrong ones.

Differences are paired over splits and seeds; a seed draws the wrong labels and trains the Selector.
`--out` may be that of `benchmarks/pools.py`, whose features are then found.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from draws import among
from heads import MeasuredStudy, independent
from numpy.typing import NDArray
from pools import Bench, open_split
from tables import print_header, print_table, run

from l2a.files import read_json, write_json
from selector.diagnosis import auroc
from semantic_match.settings import MatchSettings
from train.advice.study import Sides
from train.prepared import PreparedData
from train.probe import By, exchange_labels
from train.recipe import SelectorRecipe
from train.stage_one import run_stage_one
from train.video_values import VideoValues, least_valued, value_videos

ARMS = ("value", "agreement", "random", "wrong")


def one_seed(bench: Bench, seed: int, by: By, given: argparse.Namespace) -> dict[str, Any]:
    """AUROCs, and top-1 of each arm."""
    prepared, wrong = exchange_labels(bench.prepared, given.share, seed, by)
    place = bench.folder / f"wrong-by-{by}-{seed}"
    matching = among(prepared, MatchSettings(matches="any"), bench.pairs("any"))
    recipe = replace(SelectorRecipe.of(bench.settings), seed=seed)
    trained = run_stage_one(prepared, matching, recipe, place, place / "selector")
    values = value_videos(trained, prepared, matching, seed)
    right = ~wrong[values.rows]
    found: dict[str, Any] = {}
    for name, column in (("value", values.value), ("agreement", values.agreement)):
        known = np.isfinite(column)
        found[f"auroc of {name}"] = auroc(
            torch.from_numpy(column[known]), torch.from_numpy(right[known])
        )
    rows = prepared.rows["train"]
    dropped = {
        "value": least_valued(values, given.drop),
        "agreement": least_valued(_by(values, values.agreement), given.drop),
        "random": least_valued(
            _by(values, np.random.default_rng([seed, 77]).random(len(rows))), given.drop
        ),
        "wrong": ~right,
    }
    found["none"] = _top1(bench, prepared, rows)
    for name, taken in dropped.items():
        found[name] = _top1(bench, prepared, values.rows[~taken])
        found[f"wrong among {name}"] = float((~right)[taken].mean())
    return found


def _by(values: VideoValues, column: NDArray[np.float64]) -> VideoValues:
    """The same videos, valued by something else."""
    return replace(values, foreground=column, background=column)


def _top1(bench: Bench, prepared: PreparedData, rows: NDArray[np.int64]) -> float:
    sides = Sides(rows, prepared.rows["val"], prepared.rows["test"])
    study = MeasuredStudy(prepared, bench.bank, sides)
    return study.scores(study.real_alone())[0].top1


def main() -> None:
    """Measure what is not there yet, and print both tables of each way to exchange labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="as for l2a prepare")
    parser.add_argument("--splits", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--share", type=float, default=0.3, help="of wrong labels")
    parser.add_argument(
        "--by", nargs="+", choices=get_args(By), default=["recording"], help="what is exchanged"
    )
    parser.add_argument("--drop", type=float, default=0.25, help="share that is left out")
    parser.add_argument("--network", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--universe", type=int, default=828, help="pairs of the Selector's pool")
    parser.add_argument("--out", type=Path, default=Path("runs/pools"))
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    given.draws = 1
    results: dict[str, list[dict[str, Any]]] = {by: [] for by in given.by}
    for split in given.splits:
        bench = None
        for by in given.by:
            path = given.out / f"split-{split}" / f"wrong-by-{by}.json"
            done: dict[str, Any] = read_json(path) if path.is_file() else {}
            for seed in (seed for seed in given.seeds if str(seed) not in done):
                bench = bench or open_split(split, given, scenes=False)
                done[str(seed)] = one_seed(bench, seed, by, given)
                write_json(path, done)
                print(f"split {split} by {by} seed {seed} {done[str(seed)]}", flush=True)
            results[by] += [done[str(seed)] for seed in given.seeds]
    print_header()
    for by in given.by:
        print_results(results[by], by, given)


def print_results(results: list[dict[str, Any]], by: By, given: argparse.Namespace) -> None:
    """Both tables of one way to exchange labels, over splits and seeds."""
    rows = []
    for name in ("value", "agreement"):
        each = [one[f"auroc of {name}"] for one in results]
        spread = statistics.stdev(each) if len(each) > 1 else float("nan")
        rows.append([name, f"{statistics.fmean(each):.2f}", f"{spread:.2f}"])
    title = f"AUROC, {given.share:.0%} wrong by {by}, {len(results)} splits x seeds"
    print_table(title, ["by", "mean", "sd"], rows, markdown=given.markdown)
    rows = [["nothing", f"{100 * statistics.fmean(one['none'] for one in results):.1f}", "", ""]]
    for name in ARMS:
        gain = independent([one[name] - one["none"] for one in results])
        hit = statistics.fmean(one[f"wrong among {name}"] for one in results)
        mean = 100 * statistics.fmean(one[name] for one in results)
        rows.append([name, f"{mean:.1f}", gain.points(), f"{hit:.0%}"])
    header = ["left out by", "top-1", "gain (1 s.e.)", "wrong among them"]
    print_table(
        f"Real clips alone, {given.share:.0%} wrong by {by}", header, rows, markdown=given.markdown
    )


if __name__ == "__main__":
    run(main)
