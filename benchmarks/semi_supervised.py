"""Few labels: every method beside Learn2Augment, over splits and seeds, on the same clips.

    python benchmarks/semi_supervised.py ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --out runs/semi

`--share` of the training clips, by group, keep their labels; the seed draws them. Each split and
seed is a run of `l2a train --setting semi-supervised --compare`, and a second one for random pairs
of the nearest class alone (`matched`). Settings after `--` are passed to both. Finished runs are
read.

Three tables: accuracy, test loss and the scene test of every arm, with differences to labelled
clips alone paired over runs and their standard errors; Learn2Augment's arms against each other; and
how well the Selector's values, label agreement and mere confidence tell rightly from wrongly
pseudo-labelled videos (AUROC, 0.5 is chance).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from heads import independent
from tables import print_header, print_table, run

from l2a.cli import main as l2a
from l2a.errors import InputError
from l2a.files import read_json
from train.arms import arm_title
from train.semi_supervised.judged import auroc
from train.video_table import read_videos_table

FIGURES = ("top1", "loss", "mixed_rand")
PAIRS = (
    ("selector", "random"), ("selector", "matched"), ("random", "none"), ("matched", "none"),
    ("selector", "none"), ("pretrained", "random"),
)  # fmt: skip
SIGNS = ("value", "foreground", "background", "label agreement", "confidence")

Arms = dict[str, dict[str, float]]


def train(given: argparse.Namespace, split: str, seed: int) -> tuple[Path, Path]:
    """Make the two runs of a split and seed, if they are not there."""
    place = given.out / f"split-{split}-seed-{seed}"
    words = [
        "train", str(given.data), "--split", split, "--seed", str(seed), "--segmenter",
        given.segmenter, "--setting", "semi-supervised", "--labelled-share", str(given.share),
        "--labelled-seed", str(seed), "--layers", str(given.layers or given.out / "layers"),
        "--bank", str(given.out / "bank"), *given.settings,
    ]  # fmt: skip
    both = place / "compared", place / "matched"
    more = (
        ["--compare"],
        ["--matches", "nearest", "--selection", "random", "--methods", "none", "--scene-test"],
    )
    for out, own in zip(both, more, strict=True):
        if not (out / "report.html").is_file() and l2a([*words, *own, "--out", str(out)]):
            raise InputError(f"{out} failed; its run.log says why.")
    return both


def read_arms(both: tuple[Path, Path]) -> Arms:
    """Arm ─► its figures, of both runs."""
    arms: Arms = {}
    for folder, names in zip(both, (None, {"random": "matched"}), strict=True):
        metrics = read_json(folder / "metrics.json")
        for name, arm in metrics["arms"].items():
            if names is not None and name not in names:
                continue
            figures = {
                "top1": 100 * arm["top1_mean"],
                "loss": statistics.fmean(one["loss"] for one in arm["repeats"]),
            }
            if "scene_test" in arm:
                figures["mixed_rand"] = 100 * arm["scene_test"]["mean"]["mixed_rand"]["mean"]
            arms[names[name] if names else name] = figures
    return arms


def read_signs(folder: Path) -> dict[str, float]:
    """What tells rightly from wrongly pseudo-labelled videos, as AUROCs; and how many are right."""
    table = pq.read_table(folder / "pseudo_labels.parquet").to_pylist()
    last = max(row["round"] for row in table)
    given = {row["video"]: row for row in table if row["round"] == last and row["accepted"]}
    found: dict[str, float] = {
        "coverage": 100 * len(given) / sum(row["round"] == last for row in table),
        "precision": 100 * statistics.fmean(r["label"] == r["truth"] for r in given.values()),
    }
    values = {row.video: row for row in read_videos_table(folder / "videos.parquet")[0]}
    columns = {
        "value": lambda id_: values[id_].value,
        "foreground": lambda id_: values[id_].value_foreground,
        "background": lambda id_: values[id_].value_background,
        "label agreement": lambda id_: values[id_].label_agreement,
        "confidence": lambda id_: given[id_]["confidence"],
    }
    for name, column in columns.items():
        known = [id_ for id_ in given if id_ in values and column(id_) is not None]
        right = np.array([given[id_]["label"] == given[id_]["truth"] for id_ in known])
        area = auroc(np.array([float(column(id_)) for id_ in known]), right)
        if area is not None:
            found[name] = area.value
    return found


def differences(runs: list[Arms], first: str, second: str) -> dict[str, str]:
    """Figure ─► mean difference with its standard error, paired over the runs."""
    both = [arms for arms in runs if first in arms and second in arms]
    found = {}
    for figure in FIGURES:
        each = [arms[first][figure] - arms[second][figure] for arms in both
                if figure in arms[first] and figure in arms[second]]  # fmt: skip
        if each:
            found[figure] = written(each, signed=True, digits=2 if figure == "loss" else 1)
    return found


def written(values: list[float], *, signed: bool = False, digits: int = 1) -> str:
    """Mean and standard error of it."""
    one = independent(values)
    sign = "+" if signed else ""
    return f"{one.mean:{sign}.{digits}f} ± {one.error:.{digits}f}"


def print_arms(runs: list[Arms], markdown: bool) -> None:
    """Every arm, with its difference to labelled clips alone."""
    names = dict.fromkeys(name for arms in runs for name in arms)
    rows = []
    for name in names:
        own = [arms[name] for arms in runs if name in arms]
        change = differences(runs, name, "supervised") if name != "supervised" else {}
        mean = written([arm["top1"] for arm in own])
        title = "random pairs of the nearest class" if name == "matched" else arm_title(name)
        rows.append([title, mean, *(change.get(figure, "") for figure in FIGURES), str(len(own))])
    header = ["arm", "top-1", "difference", "loss", "mixed-rand", "runs"]
    title = "Every arm; differences to labelled clips alone, paired, with 1 s.e."
    print_table(title, header, rows, markdown=markdown)


def print_pairs(runs: list[Arms], markdown: bool) -> None:
    """Learn2Augment's arms against each other."""
    rows = []
    for first, second in PAIRS:
        change = differences(runs, first, second)
        if change:
            each = " ".join(
                f"{arms[first]['top1'] - arms[second]['top1']:+.1f}"
                for arms in runs if first in arms and second in arms
            )  # fmt: skip
            rows.append(
                [f"{first} − {second}", *(change.get(figure, "") for figure in FIGURES), each]
            )
    header = ["pairs", "top-1", "loss", "mixed-rand", "each run"]
    print_table("Which pairs, paired over runs, with 1 s.e.", header, rows, markdown=markdown)


def print_signs(signs: list[Mapping[str, float]], markdown: bool) -> None:
    """What tells rightly from wrongly pseudo-labelled videos."""
    rows = []
    for name in ("coverage", "precision", *SIGNS):
        each = [one[name] for one in signs if name in one]
        if each:
            digits = 1 if name in ("coverage", "precision") else 2
            rows.append([name, written(each, digits=digits), " ".join(f"{v:.2f}" for v in each)])
    title = "Pseudo-labels: share accepted and right (%), and AUROC of right against wrong ones"
    print_table(title, ["", "mean", "each run"], rows, markdown=markdown)


def main() -> None:
    """Train what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="as for l2a prepare")
    parser.add_argument("--splits", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--share", type=float, default=0.2, help="of training clips with a label")
    parser.add_argument("--layers", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/semi"))
    parser.add_argument("--markdown", action="store_true")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:cut])
    given.settings = words[cut + 1 :]
    runs: list[Arms] = []
    signs: list[Mapping[str, Any]] = []
    for split in given.splits:
        for seed in given.seeds:
            both = train(given, split, seed)
            runs.append(read_arms(both))
            signs.append(read_signs(both[0]))
    print_header()
    print_arms(runs, given.markdown)
    print_pairs(runs, given.markdown)
    print_signs(signs, given.markdown)


if __name__ == "__main__":
    run(main)
