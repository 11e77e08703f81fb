"""What helps on real clips: random, matched and selected pairs, or other augmentations.

    python benchmarks/what_helps.py ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --jobs 2

Every arm of a seed trains the same network from the same weights on the same real clips in the same
order for the same number of steps; composites are added to a batch and replace nothing. Arms:

- none: real clips alone;
- random: pairs of any two classes, drawn at random under the caps;
- matched: pairs of matched classes (`--matches 1`), drawn at random under the same caps;
- selected: of that pool under the same caps, what a Selector chose that was trained on this seed's
  videos, with the label rule mixed.

The last three with each label rule; `--choices` and `--rules` take fewer of them, or none.
`--augment videomix cutmixup` adds an arm for each of these augmentations, of real clips alone; as
in `l2a train`, `random+videomix` and `selector+videomix` have the matched or the selected
composites next to them and augment both, with the label rule actor. A seed draws the validation
split, the network's first weights and all else. Resumes where it stopped, with the same settings;
prints a table of top-1 on the test split.
"""

from __future__ import annotations

import argparse
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tables import run

from compositing.settings import CompositeSettings, PrepareSettings
from l2a.augment import Augmentation, make_augmentation
from l2a.clips import ClipSettings
from l2a.formats import DataSettings
from l2a.runs import Run
from semantic_match.settings import MatchSettings
from train.arms import ArmPlan, split_entry
from train.choosing import PairChooser
from train.opening import open_data, open_videos
from train.prepared import PreparedData, build_matching
from train.recipe import SelectorRecipe
from train.settings.full import (
    ClassifierSettings,
    FullSettings,
    RunSettings,
    StageOneSettings,
    StageTwoSettings,
)
from train.stage_one import run_stage_one
from train.stage_two import StageTwo

RULES = ("mixed", "foreground", "actor")
AUGMENTED_RULE = "actor"
CHOICES = ("random", "matched", "selected")


def one_seed(seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Top-1 of every arm: name ─► 0..1."""
    torch.set_num_threads(1)
    folder = arguments.out / f"seed-{seed}"
    settings = FullSettings(
        data=DataSettings(split="1"),
        clips=ClipSettings(num_frames=8, height=64, width=86, crop=56),
        prepare=PrepareSettings(segmenter=arguments.segmenter),
        classifier=ClassifierSettings(
            network="tiny3d", epochs=arguments.epochs, lr=0.05, device="cpu"
        ),
        stage_one=StageOneSettings(warmup_epochs=20, validation_clips=128),
        stage_two=StageTwoSettings(
            budget=arguments.budget, composites_per_batch=arguments.composites
        ),
        run=RunSettings(seed=seed, layers=arguments.layers or arguments.out / "layers"),
    )
    # What an earlier call finished counts for the same settings alone.
    Run.open(folder, "what_helps", settings.groups(), {"data": arguments.data}).fix_settings()
    opened = open_data(
        arguments.data, folder, settings.data, settings.prepare, settings.engine, settings.run
    )
    augmented = [(name, *split_entry(name)) for name in arguments.augment]
    augmentations = {spec: make_augmentation(spec) for _, _, spec in augmented}
    wanted = bool(arguments.choices) or any(choice != "none" for _, choice, _ in augmented)
    prepared = opened.prepare(
        settings.clips, settings.composite,
        layers=wanted or any(a.needs_masks for a in augmentations.values()),
    )  # fmt: skip

    def trained(
        name: str, pairs: np.ndarray, rule: str = "mixed", augment: Augmentation | None = None
    ) -> float:
        source = replace(prepared.source, settings=CompositeSettings(label_rule=rule))
        stage = StageTwo(
            replace(prepared, source=source), settings.classifier, settings.stage_two,
            folder / "two", seed,
        )  # fmt: skip
        (arm,) = stage.run([ArmPlan(name, name, augment)], {name: pairs})
        return arm.mean

    nothing = np.empty((0, 2), np.int64)
    found = {"none": trained("none", nothing)}
    pairs = chosen_pairs(folder, prepared, settings) if wanted else {}
    for choice in arguments.choices:
        for rule in arguments.rules:
            found[f"{choice}, {rule}"] = trained(f"{choice}-{rule}", pairs[choice], rule)
    pairs |= {"none": nothing}
    for name, choice, spec in augmented:
        of = {"selector": "selected", "random": "matched"}.get(choice, choice)
        found[name] = trained(name, pairs[of], AUGMENTED_RULE, augmentations[spec])
    return found


def chosen_pairs(
    folder: Path, prepared: PreparedData, settings: FullSettings
) -> dict[str, np.ndarray]:
    """The pairs of the arms with composites, the Selector trained where it is not yet."""
    budget, seed = settings.stage_two.budget or len(prepared.rows["train"]), settings.run.seed
    matched, anything = (
        PairChooser(prepared, build_matching(prepared, match), settings.rank, budget, seed)
        for match in (settings.match, MatchSettings(matches="all"))
    )
    trained = run_stage_one(
        prepared, matched.matching, SelectorRecipe.of(settings), folder / "one",
        folder / "selector",
    )  # fmt: skip
    return {
        "random": anything.at_random(),
        "matched": matched.at_random(),
        "selected": matched.best(trained, settings.engine).selection.pairs,
    }


def table(results: list[dict[str, float]], clips: int) -> str:
    """Markdown: mean, spread, what was gained over none seed by seed, and every seed."""
    lines = ["| arm | top-1 | sd | gain over none | seeds |", "| --- " * 5 + "|"]
    for name in results[0]:
        values = [100 * result[name] for result in results]
        gains = [100 * (result[name] - result["none"]) for result in results]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        gain = "" if name == "none" else f"{statistics.fmean(gains):+.1f} ± {error:.1f} (1 s.e.)"
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        seeds = " ".join(f"{value:.1f}" for value in values)
        lines.append(
            f"| {name} | {statistics.fmean(values):.1f} % | {spread:.1f} | {gain} | {seeds} |"
        )
    mean = statistics.fmean(result["none"] for result in results)
    own = 100 * (mean * (1 - mean) / clips) ** 0.5
    return "\n".join(lines) + f"\n\nOne accuracy is uncertain by ±{own:.1f} ({clips} test clips)."


def main() -> None:
    """Train every arm of every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="as for l2a prepare")
    parser.add_argument("--choices", choices=CHOICES, nargs="*", default=CHOICES)
    parser.add_argument("--rules", choices=RULES, nargs="+", default=RULES)
    parser.add_argument("--augment", nargs="*", default=[], help="names as in docs/augment.md")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--composites", type=int, default=4, help="beside 8 real clips")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each on one core")
    parser.add_argument("--layers", type=Path, help="a layer store to use and extend")
    parser.add_argument("--out", type=Path, default=Path("runs/what-helps"))
    arguments = parser.parse_args()
    work = partial(one_seed, arguments=arguments)
    if arguments.jobs == 1:
        results = [work(seed) for seed in arguments.seeds]
    else:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(work, arguments.seeds))
    clips = len(open_videos(arguments.data, DataSettings(split="1"), 0).of_split("test"))
    print(table(results, clips))


if __name__ == "__main__":
    run(main)
