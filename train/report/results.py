"""What the classifier came to: accuracy, confusion, and where it looks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.devices import pick_device
from l2a.errors import InputError
from train.accuracy import Arm, gains, uncertainty
from train.arms import arm_title, baseline
from train.batches import ClipSource
from train.classifier import load_classifier
from train.report.activation import activations
from train.report.charts import arms_chart
from train.report.source import Section, Source
from train.settings.full import ClassifierSettings

_MATRIX = 24
"""Classes up to which a matrix of them is readable."""
_CONFUSIONS = 30


def accuracy(source: Source) -> Section:
    """Every arm, and what each class gained."""
    metrics = source.metrics
    if metrics is None:
        return None if source.command != "train" else "Stage two has not finished yet."
    arms = [
        Arm(name, tuple(arm["repeats"]), arm.get("l2")) for name, arm in metrics["arms"].items()
    ]
    repeats = {arm.name: arm.results for arm in arms}
    top1s = [[result["top1"] for result in arm.results] for arm in arms]
    main, named = arms[0], baseline(repeats)
    compared = named if named != main.name else None
    return {
        "arms": [
            {
                "title": arm.title,
                "mean": arm.mean,
                "sd": arm.spread if len(values) > 1 else None,
                "gain": gain,
                "top1s": values,
            }
            for arm, values, gain in zip(arms, top1s, gains(arms), strict=True)
        ],
        "clips": metrics["test_clips"],
        "uncertain": uncertainty(list(repeats.values()), metrics["test_clips"]),
        "repeats": len(main.results),
        "drawn": "repeats_are" in metrics,
        "chart": arms_chart({arm.title: values for arm, values in zip(arms, top1s, strict=True)}),
        "titles": [arm.title for arm in arms],
        "classes": _by_class(metrics["classes"], repeats, main.name, compared),
        "compared": arm_title(compared) if compared else "",
    }


def _by_class(
    classes: Sequence[str], arms: Mapping[str, Sequence[Any]], main: str, base: str | None
) -> list[dict[str, Any]]:
    """Each class that has test clips, with its accuracy in every arm; what gained most first."""
    counts = np.sum(arms[main][0]["confusion"], axis=1).tolist()
    means = {
        name: {
            label: statistics.fmean(result["per_class"][label] for result in results)
            for label in results[0]["per_class"]
        }
        for name, results in arms.items()
    }
    rows = [
        {
            "name": label,
            "clips": count,
            "accuracies": [means[name][label] for name in arms],
            "change": means[main][label] - means[base][label] if base else None,
        }
        for label, count in zip(classes, counts, strict=True)
        if count
    ]
    return sorted(rows, key=lambda row: -row["change"]) if base else rows


def confusion(source: Source) -> Section:
    """What is taken for what by the run's own arm, over its repeats: a matrix, or a list."""
    metrics = source.metrics
    if metrics is None:
        return None
    classes, (main, arm) = metrics["classes"], next(iter(metrics["arms"].items()))
    counts = np.sum([result["confusion"] for result in arm["repeats"]], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    worst = [np.unravel_index(place, wrong.shape) for place in order]
    return {
        "arm": arm_title(main),
        "repeats": len(arm["repeats"]),
        "classes": classes,
        "rows": [
            (name, list(zip(row.tolist(), share.tolist(), strict=True)))
            for name, row, share in zip(classes, counts, shares, strict=True)
        ]
        if len(classes) <= _MATRIX
        else [],
        "worst": [
            (classes[row], classes[column], int(wrong[row, column]), float(shares[row, column]))
            for row, column in worst
            if wrong[row, column]
        ],
    }


def maps(source: Source) -> Section:
    """Where the classifier looks in clips of the test split that VideoMix cut together."""
    path = source.folder / "classifier.safetensors"
    folder = source.bank
    if not path.is_file() or folder is None:
        return None
    network, card = load_classifier(path)
    classes, bank = card["classes"], ClipBank.open(folder)
    if bank.settings != ClipSettings(**card["clips"]):
        return "The clips are not those that the classifier was trained on."
    written = np.isin(bank.state, (RowState.FRAMES, RowState.LAYERS))
    shown = set(np.array(bank.ids)[written].tolist())
    index_of = {name: index for index, name in enumerate(classes)}
    labels = {
        bank.row(video.id): index_of[video.label]
        for video in source.videos.of_split("test")
        if video.id in shown and video.label in index_of
    }
    if len(set(labels.values())) < 2:
        return "The run's test clips that are still there are of fewer than two classes."
    rows, of_rows = np.array(list(labels)), np.zeros(len(bank), np.int64)
    of_rows[rows] = list(labels.values())
    clips = ClipSource(bank, of_rows, len(classes), bank.settings.crop, CompositeSettings())
    settings = source.group(ClassifierSettings)
    try:
        device = pick_device(settings.device)
    except InputError:  # the run was made on another machine
        device = pick_device("auto")
    network = network.move_to(device, settings.precision).eval()
    found = activations(network, clips, rows, source.settings["seed"])
    if found is None:
        return (
            f"The classifier {network.name} does not end with an average over space and time, so "
            "that it has no class activation maps."
        )
    return {"clips": found, "classes": classes}
