"""`l2a train`: from a data set's folder to a Selector, the chosen pairs and a trained classifier.

Each stage keeps its result in the run folder and is not done again: a run that was killed goes on
where it stopped, with the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compositing.composite import make_composite
from compositing.engines import make_engine
from compositing.export import ExportReport, export_videofolder
from compositing.layers import LayerRecord, LayerStore
from compositing.pictures import draw_contact_sheet, why_unfit
from compositing.preview import SHEET, VIDEOS, spread_videos
from compositing.records import unfit_rows
from compositing.settings import CompositeSettings
from compositing.strips import Made, draw_strip
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import fingerprint, write_json, write_text, written_whole
from l2a.networks import build_network
from l2a.pairs import ScoredPair, read_pairs, write_pairs
from l2a.progress import progress, say
from l2a.runs import Run
from l2a.videos import Video, VideoSet
from selector.rank import Caps, Selection, even_caps, score_pool, select_random, select_top
from semantic_match.embed import make_embedder
from semantic_match.picture import draw_map
from train.metrics import Metrics, draw_confusion
from train.settings.full import FullSettings
from train.stage_one import (
    Scorer,
    all_features,
    check_scorer,
    label_vectors,
    load_scorer,
    run_stage_one,
)
from train.stage_two import Arm, run_arm, table
from train.tracking import Tracker
from train.workspace import Matching, Workspace, build_matching, build_workspace, open_videos

_POOL_BLOCK = 65_536
_NO_PAIRS: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Summary:
    """What a training came to.

    Attributes:
        arms: accuracy for each way of choosing pairs, the one asked for first.
        text: the same as a table for the terminal.
        folder: the run's folder.
    """

    arms: tuple[Arm, ...]
    text: str
    folder: Path


def train(data: Path, out: Path, settings: FullSettings, selector: Path | None = None) -> Summary:
    """Run both stages, or with `selector` only the second.

    Args:
        data: the data set's folder.
        out: the run folder; one that the same call made is gone on with.
        settings: everything that can be set.
        selector: a Selector checkpoint to use instead of training one.

    Raises:
        InputError: the settings or the data are wrong. Only a budget that the pool cannot fill is
            found after preparation, which the mended command then reuses.
        L2AError: the work failed.
    """
    names = wanted_arms(settings)
    composites = names != ["none"]
    # Back ends, weights, data and Selector are checked before anything is computed or written.
    device = pick_device(settings.classifier.device)
    _check_networks(settings)
    store, engine = open_store(out, settings), make_engine(settings.engine)
    videos = open_videos(data, settings.data, settings.run.seed)
    scorer = None
    if selector:
        scorer = load_scorer(selector, settings.clips, device)
        check_scorer(scorer, make_embedder(settings.match.embedder), videos.classes)
    run = Run.open(out, "train", settings.flat() | {"data": data, "from_selector": selector})
    with run.stage("prepare"):
        space = build_workspace(
            run.folder, videos, store, settings.clips, settings.composite, engine,
            layers=composites,
        )  # fmt: skip
        if run.write_skipped(space.videos.skipped):
            say(f"{len(space.videos.skipped)} videos skipped; {run.path('skipped.csv')} says why")
        run.write_unfit(unfit_rows(space.records.values()))
        if composites:
            draw_sheet(run.path("contact_sheet.png"), store, space.videos, space.records)
    pairs = {"none": _NO_PAIRS}
    if composites:
        with run.stage("match"):
            matching = build_matching(space, settings.match)
            write_matching(run, space, matching)
            budget = settled_budget(settings, space, matching)
        run.fix_settings()
        if "random" in names:
            pairs["random"] = random_pairs(space, matching, settings, budget)
        if "selector" in names:
            if scorer is None:
                with run.stage("stage one"):
                    scorer = run_stage_one(
                        space, matching, settings, run.path("stage_one"), run.path("selector")
                    )
            with run.stage("select"):
                selection = choose(scorer, space, matching, settings, budget)
                pairs["selector"] = selection.pairs
                write_selection(run.path("pairs.parquet"), selection, space, settings, data)
        else:
            write_random(run.path("pairs.parquet"), pairs["random"], space, settings, data)
        draw_composites(run, space)
    run.fix_settings()
    with run.stage("stage two"):
        arms = tuple(
            run_arm(
                name, pairs[name], space, settings.classifier, settings.stage_two,
                run.path("stage_two"), settings.run.seed,
            )
            for name in names
        )  # fmt: skip
    if settings.stage_two.export and composites:
        with run.stage("export"):
            export_run(run, space, settings)
    return summarise(run, arms, space)


def open_store(out: Path, settings: FullSettings) -> LayerStore:
    """The run's layer store, or the one that the settings name; its back ends can be made.

    Raises:
        InputError: a back end is unknown, or its files are not there; so is the embedder.
    """
    store = LayerStore(settings.run.layers or out / "layers", settings.prepare)
    _ = store.identities
    make_embedder(settings.match.embedder)
    return store


def wanted_arms(settings: FullSettings) -> list[str]:
    """The ways of choosing pairs to train with: the one asked for, then what it is compared to."""
    stage = settings.stage_two
    others = ["none", "random"] if stage.compare else []
    return [stage.selection, *(name for name in others if name != stage.selection)]


def settled_budget(settings: FullSettings, space: Workspace, matching: Matching) -> int:
    """The budget asked for, or a composite for each training clip as far as the pool goes."""
    asked, pool = settings.stage_two.budget, len(matching.pool)
    if asked is None:
        return min(len(space.rows["train"]), pool)
    if asked > pool:
        raise InputError(
            f"The budget is {asked} pairs and the pool holds {pool}; lower --budget, or raise "
            f"--matches to pair each class with more classes."
        )
    return asked


def choose(
    scorer: Scorer, space: Workspace, matching: Matching, settings: FullSettings, budget: int
) -> Selection:
    """The best pairs of the pool under the budget and its caps."""
    features = all_features(scorer.trunk, space, matching.rows)
    vectors = label_vectors(matching, scorer.card.config.labels, len(space.videos.classes))
    labels = vectors[torch.from_numpy(space.source.labels)]
    scored = score_pool(scorer.selector, features, labels, matching.pool.blocks(_POOL_BLOCK))
    caps, classes = _caps(space, matching, settings, budget), space.source.labels
    selection = select_top(scored, budget, caps=caps, classes=classes)
    say(
        f"selected {budget} of {selection.considered} pairs, ω ≥ {selection.threshold:.4f}"
        + (f"; caps doubled {selection.relaxed} times" if selection.relaxed else "")
    )
    return selection


def random_pairs(
    space: Workspace, matching: Matching, settings: FullSettings, budget: int
) -> NDArray[np.int64]:
    """As many pairs of the same pool under the same caps, at random."""
    rng = np.random.default_rng([settings.run.seed, 3])
    caps = _caps(space, matching, settings, budget)
    blocks = matching.pool.blocks(_POOL_BLOCK)
    return select_random(blocks, budget, rng, caps=caps, classes=space.source.labels).pairs


def _caps(space: Workspace, matching: Matching, settings: FullSettings, budget: int) -> Caps:
    foregrounds, backgrounds = matching.foregrounds, matching.backgrounds
    able = [set(space.source.labels[side].tolist()) for side in (foregrounds, backgrounds)]
    matches = sum(m.foreground in able[0] and m.background in able[1] for m in matching.matches)
    return even_caps(budget, len(foregrounds), len(backgrounds), matches, settings.rank)


def write_selection(
    path: Path, selection: Selection, space: Workspace, settings: FullSettings, data: Path
) -> None:
    """Write chosen pairs, best first, with the settings that an export needs."""
    rows = [
        _scored(space, f, b, float(omega), float(logit))
        for (f, b), omega, logit in zip(
            selection.pairs, selection.omega, selection.logits, strict=True
        )
    ]
    extra = {"threshold": selection.threshold, "considered": selection.considered}
    write_pairs(path, rows, pairs_meta(settings, data, len(rows), "selector") | extra)


def write_random(
    path: Path, pairs: NDArray[np.int64], space: Workspace, settings: FullSettings, data: Path
) -> None:
    """Write pairs that no Selector has scored: every ω is 0.5, which says nothing."""
    rows = [_scored(space, f, b, 0.5, 0.0) for f, b in pairs]
    write_pairs(path, rows, pairs_meta(settings, data, len(rows), "random") | {"threshold": 0.5})


def _scored(space: Workspace, f: int, b: int, omega: float, logit: float) -> ScoredPair:
    ids, labels, classes = space.bank.ids, space.source.labels, space.videos.classes
    return ScoredPair(ids[f], ids[b], omega, logit, classes[labels[f]], classes[labels[b]])


def pairs_meta(settings: FullSettings, data: Path, budget: int, selection: str) -> dict[str, Any]:
    """What a pairs file says of itself: enough to composite its pairs as they were chosen."""
    groups = (settings.data, settings.prepare, settings.composite)
    kept = {name: value for group in groups for name, value in asdict(group).items()}
    kept["annotations"] = kept["annotations"] and str(kept["annotations"])
    return {
        "data_set": data.name,
        "budget": budget,
        "selection": selection,
        "seed": settings.run.seed,
        "fingerprint": fingerprint(settings.flat()),
        "settings": kept,
    }


def write_matching(run: Run, space: Workspace, matching: Matching) -> None:
    """Write the table of matched classes, and draw the map."""
    classes = space.videos.classes
    rows = [
        {
            "foreground": classes[match.foreground],
            "background": classes[match.background],
            "similarity": round(match.similarity, 6),
        }
        for match in matching.matches
    ]
    content = {"embedder": matching.embedder, "pool": len(matching.pool), "matches": rows}
    write_json(run.path("matches.json"), content)
    draw_map(run.path("matches.png"), classes, matching.vectors, matching.matches)


def draw_sheet(
    path: Path, store: LayerStore, videos: VideoSet, records: Mapping[str, LayerRecord]
) -> None:
    """Draw a contact sheet: a training video of each class, for at most 12 classes.

    The first that is fit stands for its class; where none is, an unfit one does, with its reason.
    """
    best: dict[str, Video] = {}
    prepared = [video for video in videos.of_split("train") if video.id in records]
    for video in sorted(prepared, key=lambda video: _flaws(records[video.id])):
        best.setdefault(video.label, video)
    shown = spread_videos(best.values(), VIDEOS)
    unfit = {video.id: why_unfit(records[video.id]) for video in shown}
    if shown:
        draw_contact_sheet(path, map(store.load, shown), unfit=unfit, **SHEET)


def _flaws(record: LayerRecord) -> tuple[bool, bool]:
    return bool(record.foreground_unfit), bool(record.background_unfit)


def draw_composites(run: Run, space: Workspace) -> None:
    """Show the best pairs of five foreground classes: a strip, and videos for TensorBoard."""
    pairs, meta = read_pairs(run.path("pairs.parquet"))
    best: dict[str, ScoredPair] = {}
    for pair in pairs:
        best.setdefault(pair.foreground_class, pair)
    chosen = list(best.values())[:5]
    items = (made(pair, space, space.source.settings, meta) for pair in chosen)
    draw_strip(run.path("composites.png"), items, times=2)
    with Tracker(run.path("tensorboard")) as tracker:
        for pair in chosen:
            rows = np.array([[space.bank.row(pair.foreground), space.bank.row(pair.background)]])
            clip = space.source.composites(rows).clips[0].numpy()
            tracker.video(f"composites/{pair.foreground_class} on {pair.background_class}", clip, 0)


def made(
    pair: ScoredPair, space: Workspace, settings: CompositeSettings, meta: Mapping[str, Any]
) -> Made:
    """A pair's composite at full size as an export has it, with the layers it was made of."""
    foreground = space.store.load(space.video(pair.foreground))
    background = space.store.load(space.video(pair.background))
    omega = None if meta["selection"] == "random" else pair.omega
    composite = make_composite(foreground, background, settings, omega=omega, seed=meta["seed"])
    return Made(foreground, background, composite)


def export_run(run: Run, space: Workspace, settings: FullSettings) -> ExportReport:
    """Write the run's pairs as an augmented data set to RUN/export."""
    pairs, meta = read_pairs(run.path("pairs.parquet"))
    with progress("export", "clips") as report:
        done = export_videofolder(
            pairs, {video.id: video for video in space.videos.videos}, space.videos.classes,
            space.store, run.path("export"), settings.composite, settings.export, meta=meta,
            engine=make_engine(settings.engine), progress=report,
        )  # fmt: skip
    say(f"export: {done.made} clips made, {done.reused} reused, {len(done.skipped)} skipped")
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


def _check_networks(settings: FullSettings) -> None:
    """Fail now on an unknown network, or weights that are absent, damaged or of another one."""
    classifier, stage = settings.classifier, settings.stage_one
    wanted = {(classifier.network, classifier.weights)}
    if stage.trunk != "classifier":
        wanted.add((stage.trunk, stage.trunk_weights))
    for name, weights in wanted:
        # Without weights the name is all there is to check: no memory is spent on it.
        with torch.device("cpu" if weights else "meta"):
            build_network(name, 1, weights)
