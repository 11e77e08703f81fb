"""Mislabelled videos: does a Selector find what is known to be wrong?

Some training videos get each other's classes, in a copy of the labels that only stage one sees. A
pair is bad when its foreground is one of them, because the label it lends is wrong. Whole
recordings are dealt, as whoever labels one wrongly labels all its clips so.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from train.batches import ClipSource
from train.prepared import PreparedData

By = Literal["recording", "clip"]
_FEWEST = 2
"""Recordings that are mislabelled at least, where half of them are as many."""


def exchange_labels(
    prepared: PreparedData, share: float, seed: int, by: By = "recording"
) -> tuple[PreparedData, NDArray[np.bool_]]:
    """Give the training videos of a share of the recordings another class.

    Args:
        prepared: left as it is.
        share: of the recordings that training has, 0..1; at least two (of two or three
            one), and never all.
        seed: which ones, and which classes they get.
        by: "clip" takes every video for a recording of its own.

    Returns:
        The data set with the copied labels, soft ones too, and bool [N]: which rows of the bank
        carry a wrong one. The clips of a recording that shared a class share the one they get.
        Every class is as likely as it is among the exchanged recordings.

    Raises:
        InputError: there is one class only, or one recording.
    """
    if len(prepared.videos.classes) < 2:
        raise InputError(
            f"probe is {share}, but the data set has one class and so no other to give a video; "
            "leave probe out."
        )
    rng = np.random.default_rng([seed, 5])
    labels, rows = prepared.source.labels.copy(), prepared.rows["train"]
    recordings = rows if by == "clip" else prepared.recordings[rows]
    dealt = np.unique(recordings)
    if len(dealt) < 2:
        raise InputError(
            f"probe is {share}, but all training videos are of one recording, and labels are "
            "exchanged between recordings; leave probe out."
        )
    # Of one alone nobody could tell whether it was found by chance.
    count = min(max(round(share * len(dealt)), min(_FEWEST, len(dealt) // 2)), len(dealt) - 1)
    place = np.argsort(rng.permutation(len(dealt)))[np.searchsorted(dealt, recordings)]
    here = place < count
    chosen = rows[here]
    # Of a recording with several classes, the clips of each get one of their own.
    parts, part = np.unique(
        np.stack([place[here], labels[chosen]], axis=1), axis=0, return_inverse=True
    )
    labels[chosen] = _deranged(parts[:, 1], len(prepared.videos.classes), rng)[part.reshape(-1)]
    wrong = np.zeros(len(labels), bool)
    wrong[chosen] = True
    soft = prepared.source.soft
    if soft is not None:
        # Probabilities go before classes: an exchanged video's must say the wrong class, too.
        soft = soft.copy()
        soft[chosen] = np.eye(prepared.source.num_classes, dtype=soft.dtype)[labels[chosen]]
    source: ClipSource = dataclasses.replace(prepared.source, labels=labels, soft=soft)
    return dataclasses.replace(prepared, source=source), wrong


def _deranged(
    labels: NDArray[np.int64], classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The same labels in another order, so that none stands where it stood, as far as that goes."""
    order = rng.permutation(len(labels))
    exchanged = labels[order]
    for place in np.flatnonzero(exchanged == labels):
        # Swap with a place where both end up with another label than their own.
        fits = (exchanged != labels[place]) & (labels != exchanged[place])
        if fits.any():
            other = rng.choice(np.flatnonzero(fits))
            exchanged[[place, other]] = exchanged[[other, place]]
        else:
            exchanged[place] = (labels[place] + rng.integers(1, classes)) % classes
    return exchanged
