"""`l2a train`: from a data set's folder to a Selector, the chosen pairs and a trained classifier.

Each stage keeps its result in the run folder and is not done again: a run that was killed resumes
where it stopped, with the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2a.devices import pick_device
from l2a.files import atomic_write, write_json, write_text
from l2a.formats import require_folder
from l2a.locks import locked_meanwhile
from l2a.runs import Run
from semantic_match.embed import make_embedder
from train.accuracy import Arm, table, table_of_costs
from train.arms import PRETRAINED, SUPERVISED, ArmPlan, check_arms, plan_arms
from train.distributed import refuse_pieces_in_sync, refuse_shared_gpus
from train.frozen.crossfit import refuse_few_recordings
from train.frozen.draws import ArmPairs
from train.frozen.stage_two import FrozenStageTwo, check_frozen
from train.metrics import Metrics, draw_confusion
from train.mix import NO_PAIRS, TrainingMix
from train.opening import NEEDED, Opened, hold_to_data, open_data
from train.origin import Origin
from train.prepared import PreparedData
from train.recipe import SelectorRecipe
from train.report import NAME, write_report
from train.scene_test.stage import SceneTest, run_scene_test
from train.selecting import SelectionPlan, dropped_rows
from train.semi_supervised.checks import (
    check_processes,
    check_semi,
    check_teacher,
    refuse_unlabelled,
)
from train.semi_supervised.learning import SemiLearns
from train.semi_supervised.opening import semi_learns
from train.semi_supervised.rounds import label_in_rounds
from train.settings.full import FullSettings
from train.stage_two import CLASSIFIER, StageTwo, costs_of
from train.stages import check_matches, check_networks, export_run, prepare_run
from train.transfer import NOT_REUSED, Reuse, Reused, open_selector, refuse_unused


@dataclass(frozen=True)
class Summary:
    """What a training came to.

    Attributes:
        arms: accuracy for each way of training, the one asked for first.
        text: the same as a table for the terminal.
        folder: the run's folder.
    """

    arms: tuple[Arm, ...]
    text: str
    folder: Path

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.folder / NAME


@locked_meanwhile()
def train(data: Path, out: Path, settings: FullSettings, reuse: Reuse | None = None) -> Summary:
    """Run both stages; with a Selector from before, the first only if it is to be trained further.

    Args:
        data: the data set's folder.
        out: the run folder; the same call continues the one that it made.
        settings: everything that can be set.
        reuse: a Selector to use, or to begin with, instead of a new one.

    Raises:
        InputError: the settings or the data are wrong. Only a budget that the pool cannot fill is
            found after preparation, which the mended command then reuses.
        L2AError: the work failed.
    """
    plans = plan_arms(settings.stage_two, settings.semi, frozen=settings.classifier.freeze_trunk)
    kinds = {plan.pairs for plan in plans}
    if reuse and "selector" not in kinds:
        refuse_unused(reuse, plans[0].name, out)
    # Back ends, weights, data and Selector are checked before anything is computed or written.
    opened = open_training(data, out, settings, plans)
    settings = replace(settings, prepare=opened.store.settings)
    given, facts = None, NOT_REUSED
    if reuse:
        reused = _reused(reuse, settings, opened)
        given, facts = reused.trained, reused.facts
        settings = replace(settings, selector=reused.settings)
    further = reuse is not None and reuse.finetune
    recipe = SelectorRecipe.of(settings) if given is None or further else None
    if recipe is not None and "selector" in kinds:
        refuse_few_recordings(opened.videos, recipe.stage.reward_folds)
    if kinds != {"none"}:
        check_matches(opened.videos, settings.match)
    if PRETRAINED in kinds:
        before = _reused(Reuse(str(settings.semi.pretrained_selector)), settings, opened)
        facts = {**facts, "pretrained_selector_weights": before.facts["selector_weights"]}
    run = Run.open(out, "train", settings.groups(), {"data": data, **facts})
    hold_to_data(run, opened)
    layers = kinds != {"none"} or any(plan.needs_layers for plan in plans)
    prepared = prepare_run(
        run, opened, settings.clips, settings.composite, layers=layers, sheet=layers
    )
    choosing = SelectionPlan(Origin.of(settings, data), given, recipe)
    learns = None
    if settings.semi.on:
        prepared, learns = _pseudo_labelled(run, prepared, settings, plans, choosing)
    pairs = choosing.pairs(run, prepared, settings, kinds)
    run.fix_settings()
    with run.stage("stage two"):
        arms, folders = _arms(
            run, prepared, settings, plans, pairs, learns, composited=kinds != {"none"}
        )
    if settings.stage_two.export and kinds != {"none"}:
        with run.stage("export"):
            export_run(run, prepared, settings.data, settings.composite, settings.export,
                       settings.engine)  # fmt: skip
    tested = run_scene_test(run, opened, settings, folders)
    summary = summarise(run, arms, prepared, tested, folders if settings.semi.on else None)
    with run.stage("report"):
        write_report(run.folder)
    return summary


def _reused(reuse: Reuse, settings: FullSettings, opened: Opened) -> Reused:
    """A Selector from before, which fits the data set."""
    return open_selector(reuse, SelectorRecipe.of(settings), settings.clips,
                         settings.match.embedder, opened.videos.classes)  # fmt: skip


def _pseudo_labelled(
    run: Run, prepared: PreparedData, settings: FullSettings, plans: Sequence[ArmPlan],
    choosing: SelectionPlan,
) -> tuple[PreparedData, SemiLearns]:  # fmt: skip
    """The rounds of the semi-supervised setting, up to what stage two of the last one works on."""
    run.fix_settings()
    learns = semi_learns(run, prepared, settings, plans)
    once = replace(settings, stage_two=replace(settings.stage_two, repeats=1))
    composited = any(plan.pairs != "none" for plan in plans)

    def labeller() -> Path:
        plan = next(plan for plan in plans if plan.name == SUPERVISED)
        with run.stage("labeller"):
            _, folders = _arms(run, prepared, once, (plan,), ArmPairs({}), learns,
                               composited=composited)  # fmt: skip
        return folders[plan.name][0] / CLASSIFIER

    def train_round(part: Run, material: PreparedData) -> Path:
        pairs = choosing.pairs(part, material, settings, {plans[0].pairs})
        with part.stage("stage two"):
            _, folders = _arms(part, material, once, plans[:1], pairs, learns,
                               composited=composited)  # fmt: skip
        return folders[plans[0].name][0] / CLASSIFIER

    labelled = label_in_rounds(run, prepared, settings, labeller, train_round)
    return labelled.prepared, learns.with_targets(labelled.found)


def _arms(
    run: Run, prepared: PreparedData, settings: FullSettings, plans: Sequence[ArmPlan],
    pairs: ArmPairs, learns: SemiLearns | None = None, *, composited: bool,
) -> tuple[tuple[Arm, ...], dict[str, list[Path]]]:  # fmt: skip
    """Stage two, by training, or with a frozen trunk by fitting heads: what came of it, and each
    arm's folders. `composited` says whether any arm of the whole run has pairs."""
    folder, seed = run.path("stage_two"), settings.run.seed
    dropped = dropped_rows(run, prepared, settings.stage_two.drop_real)
    learns = learns.on(prepared.source) if learns else None
    if settings.classifier.freeze_trunk:
        frozen = FrozenStageTwo(
            prepared, settings.classifier, settings.stage_two, settings.frozen, folder, seed,
            dropped, learns,
        )  # fmt: skip
        arms = frozen.run(plans, lambda kind: pairs.draws(kind, settings.frozen.draws))
        return arms, frozen.folders(plans)
    # Every arm of the semi-supervised setting draws as many clips as there are, labelled or not.
    clips = len(prepared.videos.of_split("train", "unlabelled")) if learns else 0
    stage = StageTwo(
        prepared, settings.classifier, settings.stage_two, folder, seed, settings.engine.workers,
        dropped, learns, clips, settings.stage_two.replace_real and composited,
    )  # fmt: skip
    return stage.run(plans, {"none": NO_PAIRS, **pairs.first}), stage.folders(plans)


def open_training(
    data: Path, out: Path, settings: FullSettings, plans: Sequence[ArmPlan]
) -> Opened:
    """Open all that a training works on, and check what else can be known of it now.

    Raises:
        InputError: the settings or the data are wrong.
    """
    require_folder(data)
    own = settings.classifier
    device = pick_device(own.device)
    refuse_shared_gpus(device)
    refuse_pieces_in_sync(own.micro_batch, device, sync=own.sync_batchnorm)
    check_networks(own, settings.stage_one)
    if settings.semi.on:
        check_semi(settings, plans)
    if settings.classifier.freeze_trunk:
        check_frozen(settings.classifier, settings.stage_one.trunk_lr)
    SelectorRecipe.of(settings)  # refuses what does not go together
    stage, batch_size = settings.stage_two, settings.classifier.batch_size
    if any(plan.pairs != "none" for plan in plans):
        one = np.zeros((1, 2), dtype=np.int64)
        mix = TrainingMix(
            one[:, 0], one, stage.composites_per_batch or batch_size, stage.replace_real
        )
        mix.real_per_batch(batch_size)  # refused now, and not after stage one
    make_embedder(settings.match.embedder)
    opened = open_data(data, out, settings.data, settings.prepare, settings.engine, settings.run)
    check_arms(plans, len(opened.videos.classes))
    refuse_unlabelled(opened.videos, settings.semi, data)
    counts = {len(opened.videos.of_split("train", *["unlabelled"] * settings.semi.on))}
    if any(plan.pairs == "selector" for plan in plans):  # whose warm-up draws labelled clips alone
        counts.add(len(opened.videos.of_split("train")))
    for count in counts:
        check_processes(settings, plans, count)
    check_teacher(settings, plans)
    if settings.semi.on:
        return replace(opened, needed=(*NEEDED, "unlabelled"))
    return replace(opened, layered=("train",))


def summarise(
    run: Run, arms: Sequence[Arm], prepared: PreparedData, tested: SceneTest | None = None,
    folders: Mapping[str, Sequence[Path]] | None = None,
) -> Summary:  # fmt: skip
    """Write metrics.json, the classifier, the confusion matrix; make the tables.

    Args:
        run, arms, prepared, tested: of the run.
        folders: arm ─► the folders of its trainings, where a table shall say what each took.
    """
    main = run.path("stage_two", f"{arms[0].name}-0")
    with atomic_write(run.path("classifier.safetensors")) as aside:
        shutil.copyfile(main / "classifier.safetensors", aside)
    first = Metrics.from_json(arms[0].results[0])
    draw_confusion(run.path("confusion.png"), first, prepared.videos.classes)
    content: dict[str, Any] = {
        "classes": list(prepared.videos.classes),
        "test_clips": first.n,
        "arms": {arm.name: _figures(arm) for arm in arms},
    }
    if arms[0].l2 is not None:
        content["repeats_are"] = "draws of pairs"
    text = table(arms, first.n)
    if folders is not None and (costs := costs_of(folders)):
        for name, cost in costs.items():
            content["arms"][name]["cost"] = cost
        text += f"\n\n{table_of_costs(costs)}"
    if tested is not None:
        tested.add_to(content)
        text += f"\n\n{tested.text}"
    write_json(run.path("metrics.json"), content)
    write_text(run.path("table.txt"), text + "\n")
    return Summary(tuple(arms), text, run.folder)


def _figures(arm: Arm) -> dict[str, Any]:
    """What metrics.json says of an arm."""
    figures = {"top1_mean": arm.mean, "top1_sd": arm.spread, "repeats": list(arm.results)}
    if arm.l2 is not None:
        figures |= {"top1_se": arm.error, "loss_mean": arm.loss, "l2": arm.l2}
    return figures
