"""`l2a evaluate`: a classifier that `l2a train` left, measured on one split of a data set."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from compositing.settings import CompositeSettings
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import atomic_write, write_json
from l2a.networks import VideoNetwork
from l2a.options import FromClassifier
from l2a.progress import progress
from l2a.runs import Run
from train.classifier import load_classifier, predict
from train.metrics import Metrics, draw_confusion, measure
from train.opening import Opened, open_data
from train.scene_test.stage import open_tested, refuse_other_split, scene_test_of_one
from train.settings.full import FullSettings
from train.views import ReadViews, Viewed, Views, predict_views


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` found.

    Attributes:
        metrics: on the split.
        scenes: the table of the scene test; "" where there is none.
    """

    metrics: Metrics
    scenes: str = ""


def evaluate(data: Path, out: Path, source: FromClassifier, settings: FullSettings) -> Evaluated:
    """Measure a classifier on one split of a data set.

    Args:
        data: the data set's folder. Its classes must be among the classifier's.
        out: the run folder; it gets metrics.json, predictions.csv and confusion.png, and with a
            scene test scene_test.json and scene_test.png.
        source: the classifier, the split, of which alone videos are decoded, and whether scenes are
            tested.
        settings: of data, engine, run, of where the classifier runs, and for the scene test of
            preparation and compositing.

    Raises:
        InputError: the classifier or the data are wrong, or do not go together.
    """
    classifier, subset, views = source.classifier, source.subset, Views.parse(source.views)
    if source.scene_test:
        refuse_other_split(subset)
    network, card = load_classifier(classifier)
    classes = tuple(card["classes"])
    # No layers are made: back ends that are there on every machine stand for those of none.
    prepare = replace(settings.prepare, segmenter="motion", inpainter="temporal")
    opened = open_data(data, out, settings.data, prepare, settings.engine, settings.run, (subset,))
    opened = replace(opened, videos=opened.videos.only(subset))
    if strange := sorted(set(opened.videos.classes) - set(classes)):
        raise InputError(
            f"{data} has the class {strange[0]}, which {classifier} was not trained on; "
            f"train a classifier on this data set."
        )
    device = pick_device(settings.classifier.device)
    apart = open_tested(opened, out, settings) if source.scene_test else None
    if apart is not None:
        settings = replace(settings, prepare=apart.store.settings)
    run = Run.open(
        out, "evaluate",
        settings.groups(),
        {"data": data, "classifier": classifier, "subset": subset, "views": source.views},
    )  # fmt: skip
    network.move_to(device, settings.classifier.precision)
    geometry = ClipSettings(**card["clips"])
    asked = _one_view if views.count == 1 else partial(_many_views, views=views)
    viewed = asked(network, opened, geometry)
    run.write_skipped((*opened.videos.skipped, *viewed.skipped))
    logits = viewed.scores
    labels = np.array([classes.index(video.label) for video in viewed.videos], dtype=np.int64)
    groups = [video.group for video in viewed.videos]
    recordings = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    metrics = measure(logits, labels, classes, recordings)
    write_json(run.path("metrics.json"), metrics.to_json())
    draw_confusion(run.path("confusion.png"), metrics, classes)
    with atomic_write(run.path("predictions.csv")) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "class", "predicted"))
        for video, label, guess in zip(viewed.videos, labels, logits.argmax(axis=1), strict=True):
            writer.writerow((video.id, classes[label], classes[guess]))
    scenes = (
        "" if apart is None else scene_test_of_one(run, apart, settings.composite, network, card)
    )
    return Evaluated(metrics, scenes)


def _one_view(network: VideoNetwork, opened: Opened, geometry: ClipSettings) -> Viewed:
    """One centre crop of one clip of each video, by way of a bank."""
    prepared = opened.prepare(geometry, CompositeSettings(), layers=False)
    videos = prepared.videos.videos
    rows = np.array([prepared.bank.row(video.id) for video in videos], dtype=np.int64)
    return Viewed(
        videos,
        predict(network, prepared.source, rows),
        prepared.videos.skipped[len(opened.videos.skipped) :],
    )


def _many_views(
    network: VideoNetwork, opened: Opened, geometry: ClipSettings, views: Views
) -> Viewed:
    """Several views of each video, decoded once and kept nowhere."""
    how = opened.store.settings
    read = ReadViews(views, geometry, how.max_frames, how.max_side)
    with progress("views", "videos") as report:
        viewed = predict_views(network, opened.videos.videos, read, opened.engine, report)
    if not viewed.videos:
        opened.refuse_unreadable(opened.needed[0], opened.videos.without(viewed.skipped))
    return viewed
