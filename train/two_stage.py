"""`l2a train`: from a data set's folder to a Selector, the chosen pairs and a trained classifier.

Each stage keeps its result in the run folder and is not done again: a run that was killed resumes
where it stopped, with the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compositing.engines import make_engine
from compositing.export import ExportReport, Material, PairList, export_pairs
from compositing.records import unfit_rows
from compositing.settings import CompositeSettings, EngineSettings, ExportSettings
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.files import atomic_write, write_json, write_text
from l2a.formats import DataSettings, read_videos, require_folder
from l2a.locks import locked_meanwhile
from l2a.networks import build_network
from l2a.pairs import read_pairs, read_spares
from l2a.progress import progress, say
from l2a.runs import Run
from l2a.videos import Video, VideoSet
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes
from semantic_match.settings import MatchSettings
from train.arms import PRETRAINED, SUPERVISED, ArmPlan, check_arms, plan_arms
from train.choosing import Chooser, resolve_budget
from train.chosen import with_classes
from train.distributed import refuse_pieces_in_sync, refuse_shared_gpus
from train.frozen.crossfit import refuse_few_recordings
from train.frozen.draws import ChosenPairs
from train.frozen.stage_two import FrozenStageTwo, check_frozen
from train.metrics import Metrics, draw_confusion
from train.mix import NO_PAIRS, TrainingMix
from train.opening import NEEDED, Opened, hold_to_data, open_data
from train.origin import Origin
from train.prepared import Matching, PreparedData, build_matching
from train.recipe import SelectorRecipe
from train.records import (
    as_chosen,
    caps_classes,
    chosen_before,
    draw_composites,
    draw_sheet,
    write_matching,
    write_random,
    write_selection,
)
from train.report import NAME, write_report
from train.scene_test.stage import SceneTest, run_scene_test
from train.semi_supervised.checks import (
    check_processes,
    check_semi,
    check_teacher,
    refuse_unlabelled,
)
from train.semi_supervised.learning import SemiLearns
from train.semi_supervised.opening import semi_learns
from train.semi_supervised.rounds import label_in_rounds
from train.settings.full import ClassifierSettings, FullSettings, StageOneSettings
from train.stage_one import run_stage_one
from train.stage_two import (
    CLASSIFIER,
    Arm,
    StageTwo,
    costs_of,
    table,
    table_of_costs,
    table_of_draws,
)
from train.trained_selector import SelectorWithTrunk
from train.transfer import NOT_REUSED, Reuse, Reused, open_selector, refuse_unused
from train.video_table import VIDEOS, dropped_videos


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
    choosing = Choosing(Origin.of(settings, data), given, recipe)
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
    choosing: Choosing,
) -> tuple[PreparedData, SemiLearns]:  # fmt: skip
    """The rounds of the semi-supervised setting, up to what stage two of the last one works on."""
    run.fix_settings()
    learns = semi_learns(run, prepared, settings, plans)
    once = replace(settings, stage_two=replace(settings.stage_two, repeats=1))
    composited = any(plan.pairs != "none" for plan in plans)

    def labeller() -> Path:
        plan = next(plan for plan in plans if plan.name == SUPERVISED)
        with run.stage("labeller"):
            _, folders = _arms(run, prepared, once, (plan,), ChosenPairs({}), learns,
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
    pairs: ChosenPairs, learns: SemiLearns | None = None, *, composited: bool,
) -> tuple[tuple[Arm, ...], dict[str, list[Path]]]:  # fmt: skip
    """Stage two, by training, or with a frozen trunk by fitting heads: what came of it, and each
    arm's folders. `composited` says whether any arm of the whole run has pairs."""
    folder, seed = run.path("stage_two"), settings.run.seed
    dropped = _dropped(run, prepared, settings.stage_two.drop_real)
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


@dataclass(frozen=True)
class Choosing:
    """How a run comes to its pairs.

    Attributes:
        origin: what the pairs file says of itself.
        given: a Selector from before.
        recipe: how a new one is trained, or `given` further; None takes `given` as it is.
    """

    origin: Origin
    given: SelectorWithTrunk | None
    recipe: SelectorRecipe | None

    def pairs(
        self, run: Run, prepared: PreparedData, settings: FullSettings, kinds: Collection[str]
    ) -> ChosenPairs:
        """The stages from matching to the chosen pairs of each of `kinds`.

        From here on the run takes no other settings.
        """
        if set(kinds) == {"none"}:
            return ChosenPairs({})
        matching = match_run(run, prepared, settings.match)
        budget = resolve_budget(settings.stage_two.budget, prepared, matching)
        run.fix_settings()
        chooser = Chooser(
            prepared, matching, settings.rank, budget, settings.run.seed,
            settings.stage_two.drop_real, caps_classes(run),
        )  # fmt: skip
        pairs = {"random": chooser.at_random()} if "random" in kinds else {}
        others: dict[str, Callable[[], SelectorWithTrunk]] = {}
        if PRETRAINED in kinds:
            before = open_selector(
                Reuse(str(settings.semi.pretrained_selector)), SelectorRecipe.of(settings),
                settings.clips, settings.match.embedder, prepared.videos.classes,
            ).trained  # fmt: skip
            choice = chooser.best(before, settings.engine)
            pairs[PRETRAINED] = choice.selection.pairs
            others[PRETRAINED] = lambda: before
            if "selector" not in kinds and "random" not in kinds:
                write_selection(run.path("pairs.parquet"), choice, prepared, self.origin)
        if "selector" not in kinds:
            if "random" in kinds:
                write_random(run.path("pairs.parquet"), pairs["random"], prepared, self.origin,
                             chooser.caps)  # fmt: skip
            if pairs:
                draw_composites(run, prepared)
            return ChosenPairs(pairs, chooser, others)
        given, recipe = self.given, self.recipe
        pairs["selector"] = choose_run(run, chooser, self.origin, settings.engine, given, recipe)
        others["selector"] = lambda: _selector(run, chooser, given, recipe)
        rank = settings.rank if PRETRAINED in kinds else as_chosen(run, settings.rank)
        return ChosenPairs(
            pairs, replace(chooser, rank=rank), others,
            lambda: _dropped(run, prepared, settings.stage_two.drop_real),
        )  # fmt: skip


def _dropped(run: Run, prepared: PreparedData, share: float) -> NDArray[np.int64]:
    """Bank rows of the real clips that the Selector's arms do without, by the run's table."""
    ids = sorted(dropped_videos(run.path(VIDEOS))) if share else []
    return np.array([prepared.bank.row(id_) for id_ in ids], dtype=np.int64)


def check_matches(videos: VideoSet, settings: MatchSettings) -> None:
    """Fail now on matches that the classes do not allow, and not after layers were made.

    Raises:
        InputError: the specification, a name in a file of matches, or a class's vector is wrong.
    """
    vectors = embed_classes(videos.classes, make_embedder(settings.embedder))
    match_classes(videos.classes, vectors, settings.matches)


def prepare_run(
    run: Run, opened: Opened, clips: ClipSettings, composite: CompositeSettings, *,
    layers: bool = True, sheet: bool = False,
) -> PreparedData:  # fmt: skip
    """The stage that makes layers and clips, and lists what was left out, with the reason.

    Args:
        run, opened: the run and its data set.
        clips, composite, layers: as `Opened.prepare` takes them.
        sheet: draw a contact sheet of the layers.
    """
    with run.stage("prepare"):
        prepared = opened.prepare(clips, composite, layers=layers, left_out=run.left_out())
        if run.write_skipped(prepared.videos.skipped):
            count = len(prepared.videos.skipped)
            say(f"{count} videos skipped; {run.path('skipped.csv')} says why")
        run.write_unfit(unfit_rows(prepared.records.values()))
        if sheet:
            path = run.path("contact_sheet.png")
            draw_sheet(path, opened.store, prepared.videos, prepared.records)
    return prepared


def match_run(run: Run, prepared: PreparedData, settings: MatchSettings) -> Matching:
    """The stage that matches classes and makes the pool."""
    with run.stage("match"):
        matching = build_matching(prepared, settings)
        write_matching(run, prepared, matching)
    return matching


def choose_run(
    run: Run,
    chooser: Chooser,
    origin: Origin,
    engine: EngineSettings,
    given: SelectorWithTrunk | None,
    recipe: SelectorRecipe | None,
) -> NDArray[np.int64]:
    """The stages from a Selector to its pairs; what an earlier call has chosen is read.

    Args:
        run: its settings are fixed.
        chooser: of the pool.
        origin: what the pairs file says of itself.
        engine: spreads the scoring.
        given: a Selector from before.
        recipe: how a new one is trained, or `given` further; None takes `given` as it is.

    Returns:
        Bank rows of the chosen pairs, int64 `[n, 2]`, best first.
    """
    before = chosen_before(run, chooser.prepared)
    if before is not None:
        return before
    trained = _selector(run, chooser, given, recipe)
    with run.stage("select"):
        probe = recipe.stage.probe if recipe else 0.0
        choice = chooser.valued(run.path(VIDEOS), trained, probe).best(trained, engine)
        write_selection(run.path("pairs.parquet"), choice, chooser.prepared, origin)
        draw_composites(run, chooser.prepared)
    return choice.selection.pairs


def _selector(
    run: Run, chooser: Chooser, given: SelectorWithTrunk | None, recipe: SelectorRecipe | None
) -> SelectorWithTrunk:
    """The run's Selector: the one from before, or one that is trained now, or was before."""
    if recipe is not None:
        with run.stage("stage one"):
            return run_stage_one(
                chooser.prepared, chooser.matching, recipe, run.path("stage_one"),
                run.path("selector"), given,
            )  # fmt: skip
    if given is None:
        raise ValueError("Give a Selector, or a recipe to train one.")
    return given


def export_run(
    run: Run, prepared: PreparedData, data: DataSettings, composite: CompositeSettings,
    export: ExportSettings, engine: EngineSettings,
) -> ExportReport:  # fmt: skip
    """Write the run's pairs as an augmented data set to RUN/export."""
    path = run.path("pairs.parquet")
    (pairs, meta), spares = read_pairs(path), read_spares(path)
    by_id = {video.id: video for video in prepared.videos.videos}
    originals: tuple[Video, ...] = ()
    if export.include_real != "no":
        # Validation that was carved out for the Selector is training video to everybody else.
        dropped = dropped_videos(run.path(VIDEOS))
        videos = read_videos(prepared.videos.root, data).of_split("train")
        originals = tuple(video for video in videos if video.id not in dropped)
    with progress("export", "clips") as report:
        done = export_pairs(
            PairList(pairs, meta, spares),
            Material(
                by_id | with_classes([*pairs, *spares], by_id), prepared.videos.classes,
                prepared.store, originals,
            ),
            run.path("export"), composite, export, engine=make_engine(engine), progress=report,
        )  # fmt: skip
    say(f"export: {done}")
    return done


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
    frozen = arms[0].l2 is not None
    content: dict[str, Any] = {
        "classes": list(prepared.videos.classes),
        "test_clips": first.n,
        "arms": {arm.name: _figures(arm) for arm in arms},
    }
    if frozen:
        content["repeats_are"] = "draws of pairs"
    text = table_of_draws(arms, first.n) if frozen else table(list(arms), first.n)
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


def check_networks(classifier: ClassifierSettings, stage: StageOneSettings) -> None:
    """Fail now on an unknown network, or weights that are absent, damaged or of another one."""
    wanted = {(classifier.network, classifier.weights)}
    if stage.trunk != "classifier":
        wanted.add((stage.trunk, stage.trunk_weights))
    for name, weights in wanted:
        # Without weights the name is all there is to check: no memory is spent on it.
        with torch.device("cpu" if weights else "meta"):
            build_network(name, 1, weights)
