"""The rounds of the semi-supervised setting (Sec. 5.2).

    labelled clips ─► labeller ─► pseudo-labels ─► material ─► pairs, Selector ─► classifier
                         ▲                                                          │
                         └──────────────────── the next round ──────────────────────┘

The labeller of the first round is the classifier of the arm on labelled clips alone, that of each
other round the classifier of the round before. What comes after the pseudo-labels of the last round
is the run itself; of those before it, only the arm that was asked for is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.devices import pick_device
from l2a.logs import say
from l2a.networks import VideoNetwork
from l2a.runs import Run
from l2a.videos import counted
from train.classifier import load_classifier, predict
from train.frozen.features import FeatureBank
from train.prepared import PreparedData
from train.semi_supervised.logged import log_pseudo_labels
from train.semi_supervised.pseudo_labels import (
    NAME,
    PseudoLabels,
    with_pseudo_labels,
    write_table,
)
from train.settings.full import FullSettings
from train.tracking import Tracker

_KEPT = "pseudo_labels.safetensors"

TrainRound = Callable[[Run, PreparedData], Path]
"""Pairs, Selector and classifier of a round before the last, in a part of the run; gives the
classifier's file."""


@dataclass(frozen=True)
class Labelled:
    """The data set with the pseudo-labels of the last round.

    Attributes:
        prepared: with the accepted clips among its training videos.
        found: what the last labeller said of every unlabelled clip.
    """

    prepared: PreparedData
    found: PseudoLabels


def label_in_rounds(
    run: Run, prepared: PreparedData, settings: FullSettings, labeller: Callable[[], Path],
    train_round: TrainRound,
) -> Labelled:  # fmt: skip
    """All rounds, up to the pseudo-labels of the last one; resumable.

    Args:
        run: its settings are fixed.
        prepared: the data set, without pseudo-labels.
        settings: of the run.
        labeller: trains the classifier of labelled clips alone; gives its file.
        train_round: trains a round's classifier.

    Raises:
        InputError: no pseudo-label is sure enough.
    """
    rounds: list[PseudoLabels] = []
    last = settings.semi.rounds
    material = prepared
    for number in range(1, last + 1):
        part, before_it = (run.within(f"rounds/{one}") for one in (number, number - 1))
        kept = part.path(_KEPT)
        if not kept.is_file():
            before = labeller() if number == 1 else train_round(before_it, material)
            with part.stage("pseudo-labels"):
                made = give_labels(before, prepared, settings)
                _log(run, number, made, prepared)
                made.save(kept, prepared.bank.fingerprint)
        found = PseudoLabels.load(kept, prepared.bank.fingerprint)
        rounds.append(found)
        write_table(run.path(NAME), rounds, prepared, prepared.videos.truths)
        found.require_some(prepared.again)
        material = with_pseudo_labels(
            prepared, found, settings.semi.pseudo_labels, trained_on=settings.semi.train_on_pseudo
        )
        say(_sentence(number, found))
    return Labelled(material, rounds[-1])


def give_labels(path: Path, prepared: PreparedData, settings: FullSettings) -> PseudoLabels:
    """What a classifier says of every unlabelled clip, of its centre crop.

    Args:
        path: of the classifier.
        prepared: the data set.
        settings: where it runs, and the threshold.
    """
    began = time.monotonic()
    network, _ = load_classifier(path)
    network.move_to(pick_device(settings.classifier.device), settings.classifier.precision)
    rows = prepared.rows["unlabelled"]
    logits = _logits(network.eval(), prepared, rows, settings).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    seconds = time.monotonic() - began
    say(f"{len(rows)} clips labelled in {seconds:.1f} s, {1e3 * seconds / len(rows):.1f} ms a clip")
    return PseudoLabels(rows, probabilities.astype(np.float32), settings.semi.pseudo_threshold)


def _logits(
    network: VideoNetwork, prepared: PreparedData, rows: NDArray[np.int64], settings: FullSettings
) -> NDArray[np.float32]:
    """Logits `[n, C]`; by features that are kept, where the trunk stays as it is."""
    if not settings.classifier.freeze_trunk:
        return predict(network, prepared.source, rows)
    flip, seed = settings.classifier.flip, settings.run.seed
    bank = FeatureBank(network.trunk, prepared, settings.frozen, flip, seed)
    features = bank.centre(rows).to(network.device)
    logits: NDArray[np.float32] = network.head(features).detach().cpu().numpy()
    return logits


def _log(run: Run, number: int, found: PseudoLabels, prepared: PreparedData) -> None:
    """The curves of a round."""
    classes, truths = prepared.videos.classes, prepared.videos.truths
    ids = [prepared.bank.ids[row] for row in found.rows]
    with Tracker(run.path("tensorboard")) as tracker:
        log_pseudo_labels(
            tracker, number, found.confidences, found.accepted,
            [classes[label] for label in found.labels], [truths.get(id_, "") for id_ in ids],
        )  # fmt: skip


def _sentence(number: int, found: PseudoLabels) -> str:
    accepted = found.accepted
    return (
        f"round {number}: {int(accepted.sum())} of {len(found.rows)} unlabelled clips have a "
        f"pseudo-label of confidence {found.threshold:g} or more, of "
        f"{counted(len(np.unique(found.labels[accepted])), 'class', 'classes')}"
    )
