"""`l2a train`: from a data set's folder to a Selector, the chosen pairs and a trained classifier.

Each stage keeps its result in the run folder and is not done again: a run that was killed goes on
where it stopped, with the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.engines import make_engine
from compositing.export import ExportReport, export_pairs
from compositing.layers import LayerStore
from compositing.records import unfit_rows
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import write_json, write_text, written_whole
from l2a.formats import read_videos
from l2a.networks import build_network
from l2a.pairs import read_pairs, read_spares
from l2a.progress import progress, say
from l2a.runs import Run
from l2a.videos import Video, VideoSet
from selector.caps import Caps, Counts, even_caps
from selector.rank import describe, select_random, select_top
from selector.score import PairScorer
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes
from semantic_match.settings import MatchSettings
from train.arms import check_arms, plan_arms
from train.metrics import Metrics, draw_confusion
from train.records import (
    Choice,
    draw_composites,
    draw_sheet,
    write_matching,
    write_random,
    write_selection,
)
from train.report import NAME, write_report
from train.settings.full import FullSettings
from train.stage_one import Scorer, all_features, described, label_vectors, run_stage_one
from train.stage_two import Arm, run_arm, table
from train.transfer import NOT_REUSED, Reuse, open_selector
from train.workspace import (
    Matching,
    Workspace,
    build_matching,
    build_workspace,
    open_videos,
    settle_segmenter,
)

_NO_PAIRS: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)

_SAMPLED = 2000
"""Pairs of the pool that are scored and kept for comparison with the chosen ones."""


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


def train(data: Path, out: Path, settings: FullSettings, reuse: Reuse | None = None) -> Summary:
    """Run both stages; with a Selector from before, the first only if it is to be trained further.

    Args:
        data: the data set's folder.
        out: the run folder; one that the same call made is gone on with.
        settings: everything that can be set.
        reuse: a Selector to use, or to begin with, instead of a new one.

    Raises:
        InputError: the settings or the data are wrong. Only a budget that the pool cannot fill is
            found after preparation, which the mended command then reuses.
        L2AError: the work failed.
    """
    plans = plan_arms(settings.stage_two)
    kinds = {plan.pairs for plan in plans}
    composites = kinds != {"none"}
    layers = composites or any(plan.needs_masks for plan in plans)
    if reuse and reuse.finetune and "selector" not in kinds:
        raise InputError(
            f"--finetune-selector trains a Selector, and --selection {plans[0].name} asks none; "
            "leave one of the two out."
        )
    # Back ends, weights, data and Selector are checked before anything is computed or written.
    pick_device(settings.classifier.device)
    check_networks(settings)
    engine = make_engine(settings.engine)
    videos = open_videos(data, settings.data, settings.run.seed)
    settings = settle_segmenter(settings, videos.of_split("train"), out)
    store = open_store(out, settings)
    check_arms(plans, len(videos.classes))
    scorer, facts = None, NOT_REUSED
    if reuse:
        reused = open_selector(reuse, settings, videos.classes)
        scorer, settings, facts = reused.scorer, reused.settings, reused.facts
    if composites:
        check_matches(videos, settings.match)
    run = Run.open(out, "train", settings.flat() | {"data": data, **facts})
    with run.stage("prepare"):
        space = build_workspace(
            run.folder, videos, store, settings.clips, settings.composite, engine,
            layers=layers,
        )  # fmt: skip
        if run.write_skipped(space.videos.skipped):
            say(f"{len(space.videos.skipped)} videos skipped; {run.path('skipped.csv')} says why")
        run.write_unfit(unfit_rows(space.records.values()))
        if layers:
            draw_sheet(run.path("contact_sheet.png"), store, space.videos, space.records)
    pairs = {"none": _NO_PAIRS}
    if composites:
        with run.stage("match"):
            matching = build_matching(space, settings.match)
            write_matching(run, space, matching)
            budget = settled_budget(settings, space, matching)
        run.fix_settings()
        if "random" in kinds:
            pairs["random"] = random_pairs(space, matching, settings, budget)
        if "selector" in kinds:
            if scorer is None or (reuse and reuse.finetune):
                scorer = trained_scorer(run, space, matching, settings, scorer)
            with run.stage("select"):
                choice = choose(scorer, space, matching, settings, budget)
                pairs["selector"] = choice.selection.pairs
                write_selection(run.path("pairs.parquet"), choice, space, settings, data)
        else:
            write_random(run.path("pairs.parquet"), pairs["random"], space, settings, data)
        draw_composites(run, space)
    run.fix_settings()
    with run.stage("stage two"):
        arms = tuple(
            run_arm(
                plan.name, pairs[plan.pairs], space, settings.classifier, settings.stage_two,
                run.path("stage_two"), settings.run.seed, plan.augmentation,
            )
            for plan in plans
        )  # fmt: skip
    if settings.stage_two.export and composites:
        with run.stage("export"):
            export_run(run, space, settings)
    summary = summarise(run, arms, space)
    with run.stage("report"):
        write_report(run.folder)
    return summary


def open_store(out: Path, settings: FullSettings) -> LayerStore:
    """The run's layer store, or the one that the settings name; its back ends can be made.

    Raises:
        InputError: a back end is unknown, or its files are not there; so is the embedder.
    """
    store = LayerStore(settings.run.layers or out / "layers", settings.prepare)
    _ = store.identities
    make_embedder(settings.match.embedder)
    return store


def check_matches(videos: VideoSet, settings: MatchSettings) -> None:
    """Fail now on matches that the classes do not allow, and not after layers were made.

    Raises:
        InputError: the specification, a name in a file of matches, or a class's vector is wrong.
    """
    vectors = embed_classes(videos.classes, make_embedder(settings.embedder))
    match_classes(videos.classes, vectors, settings.matches)


def settled_budget(settings: FullSettings, space: Workspace, matching: Matching) -> int:
    """The budget asked for, or a composite for each training clip as far as the pool goes."""
    asked, pool = settings.stage_two.budget, len(matching.pool)
    if asked is None:
        return min(len(space.rows["train"]), pool)
    if asked > pool:
        raise InputError(
            f"The budget is {asked} pairs and the pool holds {pool}; lower --budget, or match "
            "more classes with --matches."
        )
    return asked


def trained_scorer(
    run: Run, space: Workspace, matching: Matching, settings: FullSettings, start: Scorer | None
) -> Scorer:
    """Stage one in a run's folder: a new Selector, or `start` trained further."""
    with run.stage("stage one"):
        return run_stage_one(
            space, matching, settings, run.path("stage_one"), run.path("selector"), start
        )


def choose(
    scorer: Scorer, space: Workspace, matching: Matching, settings: FullSettings, budget: int
) -> Choice:
    """The best pairs of the pool under the budget, its caps and its balance, and some to spare.

    Beside them some pairs of the whole pool, so that one sees what the chosen ones stand out from.
    The engine ray scores on its cluster; local scores here, on the Selector's device.
    """
    plain = all_features(scorer.trunk, space, matching.rows)
    features = described(plain, space, matching.rows, scorer.card.config)
    vectors = label_vectors(matching, scorer.card.config.labels, len(space.videos.classes))
    labels = vectors[torch.from_numpy(space.source.labels)]
    with progress("select", "pairs") as report:
        selection = select_top(
            matching.pool,
            PairScorer(scorer.selector, features, labels, settings.rank.scoring),
            budget,
            classes=space.source.labels,
            caps=_caps(space, matching, settings, budget),
            recordings=space.recordings,
            weights=_weights(space, settings),
            spares=10 + budget // 20,
            # PyTorch takes all cores by itself: the engine local has nothing to add.
            spread=make_engine(settings.engine) if settings.engine.engine == "ray" else None,
            report=report,
        )
    say(describe(selection, space.videos.classes))
    sample, logits = _sample(scorer, features, labels, matching, settings)
    return Choice(selection, sample, logits)


def _sample(
    scorer: Scorer, features: Tensor, labels: Tensor, matching: Matching, settings: FullSettings
) -> tuple[NDArray[np.int64], Tensor]:
    """Pairs drawn uniformly from the pool, each once: int64 `[n, 2]`, and their logits `[n]`."""
    pool, rng = matching.pool, np.random.default_rng([settings.run.seed, 6])
    pairs = pool.pairs(rng.choice(len(pool), min(_SAMPLED, len(pool)), replace=False))
    # Their videos alone: a large pool's would be projected again, and here, not on the cluster.
    rows, within = np.unique(pairs, return_inverse=True)
    used = torch.from_numpy(rows)
    scores = PairScorer(scorer.selector, features[used], labels[used], settings.rank.scoring)
    return pairs, scores(np.arange(len(pairs)), within.reshape(pairs.shape)).cpu()


def random_pairs(
    space: Workspace, matching: Matching, settings: FullSettings, budget: int
) -> NDArray[np.int64]:
    """As many pairs of the same pool under the same caps and balance, at random."""
    drawn = select_random(
        matching.pool,
        budget,
        np.random.default_rng([settings.run.seed, 3]),
        classes=space.source.labels,
        caps=_caps(space, matching, settings, budget),
        recordings=space.recordings,
        weights=_weights(space, settings),
    )
    return drawn.pairs


def _caps(space: Workspace, matching: Matching, settings: FullSettings, budget: int) -> Caps:
    foregrounds, backgrounds = matching.foregrounds, matching.backgrounds
    able = [set(space.source.labels[side].tolist()) for side in (foregrounds, backgrounds)]
    matches = sum(m.foreground in able[0] and m.background in able[1] for m in matching.matches)
    return even_caps(budget, len(foregrounds), len(backgrounds), matches, settings.rank)


def _weights(space: Workspace, settings: FullSettings) -> Counts | None:
    """How the budget is split among the foreground classes, int64 `[C]`; None leaves it open."""
    count = len(space.videos.classes)
    if settings.rank.balance == "none":
        return None
    if settings.rank.balance == "equal":
        return np.ones(count, dtype=np.int64)
    return np.bincount(space.source.labels[space.rows["train"]], minlength=count)


def export_run(run: Run, space: Workspace, settings: FullSettings) -> ExportReport:
    """Write the run's pairs as an augmented data set to RUN/export."""
    path = run.path("pairs.parquet")
    pairs, meta = read_pairs(path)
    originals: tuple[Video, ...] = ()
    if settings.export.include_real != "no":
        # Validation that was carved out for the Selector is training video to everybody else.
        originals = read_videos(space.videos.root, settings.data).of_split("train")
    with progress("export", "clips") as report:
        done = export_pairs(
            pairs, {video.id: video for video in space.videos.videos}, space.videos.classes,
            space.store, run.path("export"), settings.composite, settings.export, meta=meta,
            spares=read_spares(path), originals=originals, engine=make_engine(settings.engine),
            progress=report,
        )  # fmt: skip
    say(f"export: {done}")
    return done


def summarise(run: Run, arms: Sequence[Arm], space: Workspace) -> Summary:
    """Write metrics.json, the classifier, the confusion matrix; make the table."""
    main = run.path("stage_two", f"{arms[0].name}-0")
    with written_whole(run.path("classifier.safetensors")) as aside:
        shutil.copyfile(main / "classifier.safetensors", aside)
    first = Metrics.from_json(arms[0].results[0])
    draw_confusion(run.path("confusion.png"), first, space.videos.classes)
    content = {
        "classes": list(space.videos.classes),
        "test_clips": first.n,
        "arms": {
            arm.name: {"top1_mean": arm.mean, "top1_sd": arm.spread, "repeats": list(arm.results)}
            for arm in arms
        },
    }
    write_json(run.path("metrics.json"), content)
    text = table(list(arms), first.n)
    write_text(run.path("table.txt"), text + "\n")
    return Summary(tuple(arms), text, run.folder)


def check_networks(settings: FullSettings) -> None:
    """Fail now on an unknown network, or weights that are absent, damaged or of another one."""
    classifier, stage = settings.classifier, settings.stage_one
    wanted = {(classifier.network, classifier.weights)}
    if stage.trunk != "classifier":
        wanted.add((stage.trunk, stage.trunk_weights))
    for name, weights in wanted:
        # Without weights the name is all there is to check: no memory is spent on it.
        with torch.device("cpu" if weights else "meta"):
            build_network(name, 1, weights)
