"""What is done with what `l2a train` left: a Selector on other data, a classifier measured."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from compositing.engines import make_engine
from compositing.layers import LayerStore
from compositing.records import unfit_rows
from compositing.settings import CompositeSettings, PrepareSettings
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import write_json, written_whole
from l2a.progress import say
from l2a.runs import Run
from train.classifier import predict
from train.metrics import Metrics, draw_confusion, measure
from train.records import draw_composites, is_chosen, write_matching, write_selection
from train.settings.full import FullSettings
from train.stage_two import load_classifier
from train.transfer import Reuse, open_selector
from train.two_stage import (
    check_matches,
    check_networks,
    choose,
    open_store,
    settled_budget,
    trained_scorer,
)
from train.workspace import build_matching, build_workspace, open_videos, settle_segmenter


def select(data: Path, out: Path, reuse: Reuse, settings: FullSettings) -> Path:
    """Choose the best pairs of a data set with a Selector that was trained before.

    The data set may have other classes, and another number of them. What an earlier call with the
    same settings has chosen is not chosen again.

    Args:
        data: the data set's folder.
        out: the run folder; it gets pairs.parquet and pictures, and with fine-tuning selector/.
        reuse: the Selector, and whether to train it further before it chooses.
        settings: clip geometry and embedder must be the Selector's.

    Returns:
        The path of pairs.parquet.

    Raises:
        InputError: the settings, the data or the Selector are wrong, or do not go together.
        L2AError: the work failed.
    """
    pick_device(settings.classifier.device)
    if reuse.finetune:
        check_networks(settings)
    engine = make_engine(settings.engine)
    videos = open_videos(data, settings.data, settings.run.seed)
    settings = settle_segmenter(settings, videos.of_split("train"), out)
    store = open_store(out, settings)
    reused = open_selector(reuse, settings, videos.classes)
    scorer, settings = reused.scorer, reused.settings
    check_matches(videos, settings.match)
    run = Run.open(out, "select", settings.flat() | {"data": data, **reused.facts})
    with run.stage("prepare"):
        space = build_workspace(
            run.folder, videos, store, settings.clips, settings.composite, engine
        )
        run.write_skipped(space.videos.skipped)
        run.write_unfit(unfit_rows(space.records.values()))
    with run.stage("match"):
        matching = build_matching(space, settings.match)
        write_matching(run, space, matching)
        budget = settled_budget(settings, space, matching)
    run.fix_settings()
    path = run.path("pairs.parquet")
    if is_chosen(run, space):
        say(f"{path} was chosen before from these videos, with these settings")
        return path
    if reuse.finetune:
        scorer = trained_scorer(run, space, matching, settings, scorer)
    with run.stage("select"):
        selection = choose(scorer, space, matching, settings, budget)
        write_selection(path, selection, space, settings, data)
        draw_composites(run, space)
    return path


def evaluate(
    data: Path, out: Path, classifier: Path, subset: str, settings: FullSettings
) -> Metrics:
    """Measure a classifier on one split of a data set.

    Args:
        data: the data set's folder. Its classes must be among the classifier's.
        out: the run folder; it gets metrics.json, predictions.csv and confusion.png.
        classifier: a `classifier.safetensors` that `l2a train` wrote.
        subset: "test", "val" or "train"; only its videos are decoded.

    Raises:
        InputError: the classifier or the data are wrong, or do not go together.
    """
    network, card = load_classifier(classifier)
    classes = tuple(card["classes"])
    videos = open_videos(data, settings.data, settings.run.seed, (subset,)).only(subset)
    if strange := sorted(set(videos.classes) - set(classes)):
        raise InputError(
            f"{data} has the class {strange[0]}, which {classifier} was not trained on; "
            f"train a classifier on this data set."
        )
    run = Run.open(
        out, "evaluate",
        settings.flat() | {"data": data, "classifier": classifier, "subset": subset},
    )  # fmt: skip
    engine = make_engine(settings.engine)
    store = LayerStore(run.path("layers"), PrepareSettings())
    space = build_workspace(
        run.folder, videos, store, ClipSettings(**card["clips"]), CompositeSettings(),
        engine, layers=False, needed=(subset,),
    )  # fmt: skip
    run.write_skipped(space.videos.skipped)
    rows = space.rows[subset]
    logits = predict(network.to(pick_device(settings.classifier.device)), space.source, rows)
    here = np.array([classes.index(name) for name in space.videos.classes], dtype=np.int64)
    labels = here[space.source.labels[rows]]
    metrics = measure(logits, labels, classes)
    write_json(run.path("metrics.json"), metrics.to_json())
    draw_confusion(run.path("confusion.png"), metrics, classes)
    with written_whole(run.path("predictions.csv")) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "class", "predicted"))
        for row, label, guess in zip(rows, labels, logits.argmax(axis=1), strict=True):
            writer.writerow((space.bank.ids[row], classes[label], classes[guess]))
    return metrics
