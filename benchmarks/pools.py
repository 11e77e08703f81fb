"""Which pairs help: pools of matched classes, label rules and ways to choose, on frozen features.

    python benchmarks/pools.py ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --out runs/pools

The head of a frozen image network is fitted to real clips alone, and to real clips with as many
composites, which weigh the same in all. A head is the optimum of a convex problem, its strength
chosen on validation clips, so that only the draw of pairs is left to chance: figures are means over
`--draws` draws, and differences to real clips alone are paired over `--splits`, with their standard
error. For each pool and label rule pairs are

- random: drawn under the caps;
- half: drawn from the better half of each class, by a Selector trained for this pool and rule;
- selected: the best by that Selector.

With `--reward-folds K` the credit that Selectors learn from is measured by cross-fitting on the
recordings of training and validation together; "half, K folds" stands beside "half".

Of each pool `--universe` pairs are drawn once and every draw is from these, because features of
composites are what takes the time. The scene test is made on test videos alone. Layers and clips
are made by all cores; then every split is a process of its own, and they share the cores. What is
measured is kept in `--out`, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draws import among, listed_pairs, random_draws
from heads import MeasuredStudy, Scenes, differences, mean_score
from numpy.typing import NDArray
from tables import print_header, print_table, run
from torch import Tensor

from compositing.settings import CompositeSettings, LabelRule, PrepareSettings
from l2a.clips import ClipSettings
from l2a.files import read_json, write_json
from l2a.formats import DataSettings
from l2a.machine import usable_cores
from l2a.networks import build_network
from l2a.signals import raise_on_sigterm
from semantic_match.settings import MatchSettings
from train.advice.study import Fitted, Sides
from train.choosing import PairChooser
from train.estimates import Estimate
from train.frozen.features import FeatureBank
from train.opening import open_data
from train.prepared import Matching, PreparedData
from train.recipe import SelectorRecipe
from train.scene_test.asking import SceneFeatures
from train.scene_test.clips import NoSceneTest, SceneClips, open_apart
from train.scene_test.scores import GAP, SAID, measure_scenes_from_logits
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, FullSettings, RunSettings, StageOneSettings
from train.stage_one import run_stage_one

POOLS = (
    "1", "1+same-class", "3", "3+same-class", "5", "all", "any", "weighted:0.1", "independent",
)  # fmt: skip
RULES: tuple[LabelRule, ...] = ("actor", "mixed")
UNIVERSES = ("1", "3", "5", "same-class")
"""Parts of a pool that pairs are drawn for by themselves; other pools draw from those of any
classes."""
CHOICES = ("random", "half", "selected")
SHOWN = ("top1", "loss", "mixed_rand", SAID, "scene_alone", "actor_alone", GAP)


@dataclass(frozen=True)
class Bench:
    """What all arms of a split share."""

    prepared: PreparedData
    settings: FullSettings
    study: MeasuredStudy
    bank: FeatureBank
    folder: Path
    universe: int
    draws: int

    def arms(self, pool: str, rules: tuple[LabelRule, ...], choices: tuple[str, ...]) -> Any:
        """(name, what became of it) of every arm of a pool."""
        rank = self.settings.rank
        matching = among(self.prepared, MatchSettings(matches=pool), self.pairs(pool))
        budget = len(self.prepared.rows["train"])
        drawn = random_draws(self.prepared, matching, rank, budget, self.draws)
        for rule in rules:
            if "random" in choices:
                yield arm_name(pool, rule, "random", 0), self.study.with_pairs(drawn, rule)
            if len(choices) > ("random" in choices):
                yield from self._chosen(pool, matching, rule, choices)

    def pairs(self, pool: str) -> NDArray[np.int64]:
        """The pairs that all draws of a pool are taken from; those of any classes are shared."""
        parts = [part for part in UNIVERSES if part in pool.split("+")] or ["any"]
        return np.concatenate([
            listed_pairs(
                self.prepared, MatchSettings(matches=part), self.settings.rank,
                self.universe // (2 if part == "same-class" else 1), seed=0,
            )
            for part in parts
        ])  # fmt: skip

    def _chosen(
        self, pool: str, matching: Matching, rule: LabelRule, choices: tuple[str, ...]
    ) -> Any:
        composite = CompositeSettings(label_rule=rule)
        settings = replace(self.settings, composite=composite)
        source = replace(self.prepared.source, settings=composite)
        prepared = replace(self.prepared, source=source)
        folds = settings.stage_one.reward_folds
        place = self.folder / f"{pool.replace(':', '_')}-{rule}{f'-{folds}-folds' * bool(folds)}"
        trained = run_stage_one(
            prepared, matching, SelectorRecipe.of(settings), place, place / "selector"
        )
        for choice, sharpness, draws in (("half", "half", self.draws), ("selected", "best", 1)):
            if choice in choices:
                rank = replace(settings.rank, sharpness=sharpness)
                chooser = PairChooser(prepared, matching, rank, len(prepared.rows["train"]), 0)
                pairs = chooser.draws(draws, trained)
                yield arm_name(pool, rule, choice, folds), self.study.with_pairs(pairs, rule)


def arm_name(pool: str, rule: str, choice: str, folds: int) -> str:
    """Such as "any | actor | half, 6 folds"; random pairs need no reward."""
    return f"{pool} | {rule} | {choice}" + (
        f", {folds} folds" if folds and choice != "random" else ""
    )


def settings_of(split: str, given: argparse.Namespace) -> FullSettings:
    """What clips and features depend on: benchmarks that agree in it share them."""
    return FullSettings(
        data=DataSettings(split=split),
        clips=ClipSettings(num_frames=8, height=120, width=160, crop=112),
        prepare=PrepareSettings(segmenter=given.segmenter),
        classifier=ClassifierSettings(
            network=given.network, weights=given.weights, freeze_trunk=True, device="auto"
        ),
        stage_one=StageOneSettings(validation_clips=1000),
        run=RunSettings(seed=0, layers=given.out / "layers", bank=given.out / "bank"),
    )


def prepare_split(
    split: str, given: argparse.Namespace, *, scenes: bool = True
) -> tuple[PreparedData, SceneClips | None, FullSettings]:
    """Layers and clips of a split, of its scene test, too; what is there is opened."""
    folder, settings = given.out / f"split-{split}", settings_of(split, given)
    opened = open_data(
        given.data, folder, settings.data, settings.prepare, settings.engine, settings.run
    )
    prepared = opened.prepare(settings.clips, settings.composite)
    if not scenes:
        return prepared, None, settings
    apart = open_apart(opened.videos, opened.store.settings, opened.engine, folder, settings.run)
    try:
        return prepared, SceneClips.build(apart, settings.clips, settings.composite), settings
    except NoSceneTest as why:
        print(f"no scene test: {why}")
        return prepared, None, settings


def open_split(split: str, given: argparse.Namespace, *, scenes: bool = True) -> Bench:
    """Prepare a split, and open the features of its clips."""
    prepared, clips, settings = prepare_split(split, given, scenes=scenes)
    trunk = build_network(given.network, 1, given.weights).trunk.eval()
    bank = FeatureBank(trunk, prepared, FrozenSettings(), flip=True, seed=0)
    measured = None if clips is None else _scenes(clips, trunk)
    rows = prepared.rows
    sides = Sides(rows["train"], rows["val"], rows["test"])
    near = MeasuredStudy(prepared, bank, sides).real_alone().l2
    study = MeasuredStudy(prepared, bank, sides, measured, near)
    folder = given.out / f"split-{split}"
    return Bench(prepared, settings, study, bank, folder, given.universe, given.draws)


def arms_of(given: argparse.Namespace) -> dict[str, list[str]]:
    """Pool ─► names of the arms that are asked for."""
    return {
        pool: [
            arm_name(pool, rule, choice, given.reward_folds)
            for rule in given.rules
            for choice in given.choices
        ]
        for pool in given.pools
    }


def lacking(split: str, given: argparse.Namespace) -> bool:
    """Whether an arm of a split is not measured yet."""
    path = given.out / f"split-{split}" / "arms.json"
    wanted = {"none", *(name for names in arms_of(given).values() for name in names)}
    return not (path.is_file() and wanted <= set(read_json(path)))


def one_split(split: str, given: argparse.Namespace) -> dict[str, Any]:
    """Arm ─► mean figures over draws, their spread, strength and seconds."""
    path, wanted = given.out / f"split-{split}" / "arms.json", arms_of(given)
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    if not lacking(split, given):
        return found
    begun = time.monotonic()
    bench = open_split(split, given)
    stage = replace(bench.settings.stage_one, reward_folds=given.reward_folds)
    bench = replace(bench, settings=replace(bench.settings, stage_one=stage))

    def keep(name: str, fitted: Fitted) -> None:
        nonlocal begun
        scores = bench.study.scores(fitted)
        top1 = [score.top1 for score in scores]
        found[name] = {
            **mean_score(scores), "l2": fitted.l2, "draws": len(top1),
            "spread": statistics.stdev(top1) if len(top1) > 1 else 0.0,
            "seconds": time.monotonic() - begun,
        }  # fmt: skip
        write_json(path, found)
        print(f"split {split}  {name:<36} {found[name]['top1']:.3f} {found[name]['loss']:.3f} "
              f"{found[name]['seconds']:.0f} s", flush=True)  # fmt: skip
        begun = time.monotonic()

    if "none" not in found:
        keep("none", bench.study.real_alone())
    for pool, names in wanted.items():
        if not all(name in found for name in names):
            for name, fitted in bench.arms(pool, tuple(given.rules), tuple(given.choices)):
                keep(name, fitted)
    return found


def side_by_side(splits: list[str], given: argparse.Namespace) -> None:
    """Measure each of several splits in a process of its own."""
    for split in splits:
        prepare_split(split, given)
    threads = max(1, usable_cores() // len(splits))
    words, alone = [sys.executable, *sys.argv], {"OMP_NUM_THREADS": str(threads)}
    running = [
        subprocess.Popen([*words, "--one", split], env={**os.environ, **alone}) for split in splits
    ]
    try:
        with raise_on_sigterm():
            codes = [process.wait() for process in running]
    finally:
        for process in running:
            process.terminate()
    if any(codes):
        sys.exit("A split failed; what it said stands above, and the same command goes on.")


def _scenes(clips: SceneClips, trunk: Any) -> Scenes:
    asked = SceneFeatures(clips)
    asked.of(trunk)
    found = asked.of(trunk)  # what is asked for again is kept for later calls
    features = {form: torch.from_numpy(one) for form, one in found.items()}

    def measured(logits: Callable[[Tensor], Tensor]) -> Mapping[str, float]:
        scores = measure_scenes_from_logits(
            {form: logits(one).numpy() for form, one in features.items()}, clips
        )
        return {figure: scores.estimate(figure).mean for figure in SHOWN[2:]}

    return measured


def show(results: list[dict[str, Any]], *, markdown: bool) -> None:
    """One row an arm: none as it is, and paired differences to real clips alone over the splits."""
    rows = []
    figures = [name for name in SHOWN if name in results[0]["none"]]
    base = [one["none"] for one in results]
    for arm in (arm for arm in results[0] if all(arm in one for one in results)):
        own = [one[arm] for one in results]
        cells = [arm]
        gains = differences(
            *([{name: one[name] for name in figures} for one in side] for side in (own, base))
        )
        for name in figures:
            mean = statistics.fmean(one[name] for one in own)
            alone = f"{mean:.2f}" if name == "loss" else f"{100 * mean:.1f}"
            cells.append(alone if arm == "none" else _cell(name, gains[name]))
        rows.append([*cells, f"{100 * statistics.fmean(one['spread'] for one in own):.1f}"])
    title = f"{len(results)} splits; differences to none, paired over splits, with 1 s.e."
    print_table(title, ["arm", *figures, "sd of a draw"], rows, markdown=markdown)


def _cell(name: str, value: Estimate) -> str:
    return value.plain() if name == "loss" else value.points()


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="as for l2a prepare")
    parser.add_argument("--splits", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--pools", nargs="+", default=POOLS, help="as --matches takes them")
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=CHOICES)
    parser.add_argument("--reward-folds", type=int, default=0, help="as for l2a train")
    parser.add_argument("--network", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--universe", type=int, default=828, help="pairs of a pool to draw from")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("runs/pools"))
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_split(given.one, given)
        return
    print_header()
    begun = time.monotonic()
    if len(left := [split for split in given.splits if lacking(split, given)]) > 1:
        side_by_side(left, given)
    results = [one_split(split, given) for split in given.splits]
    show(results, markdown=given.markdown)
    print(f"\n{time.monotonic() - begun:.0f} s in this call")
    print(json.dumps({"draws": given.draws, "universe": given.universe}))


if __name__ == "__main__":
    run(main)
