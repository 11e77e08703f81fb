"""Labels that look wrong: where a head that has not seen the recording and the videos that look
like it both contradict the label.

Eyes err, too. How many labels they would doubt if all were right follows from the heads themselves:
their probabilities are brought to validation's scale (Guo et al. 2017, "On Calibration of Modern
Neural Networks"), and a label that is drawn from them is doubted as often as it falls on a class
that they think so little of. The idea of counting doubts against what a calibrated classifier
expects is that of confident learning (Northcutt et al. 2021); the rule is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from selector.agreement import SHARPNESS
from train.advice.answers import Answer, Table
from train.advice.arms import Bench, HeldOut
from train.prepared import PreparedData

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

_TIMES = 10.0
"""How much likelier another class must be than the label."""
_LISTED = 50
_TEMPERATURES = np.geomspace(0.25, 8.0, 61)


@dataclass(frozen=True)
class Doubt:
    """A label that looks wrong.

    Attributes:
        row: of the bank.
        label: class number.
        looks_like: the class that it looks like.
        own, other: probability of the label and of that class, 0..1, of a head that has not seen
            the recording.
        neighbours: how much more often than by chance videos of other recordings that look alike
            carry the label, and the other class.
    """

    row: int
    label: int
    looks_like: int
    own: float
    other: float
    neighbours: tuple[float, float]


@dataclass(frozen=True)
class Doubts:
    """All of them, the most doubtful first, and how many there would be if every label were right.

    Attributes:
        found: the doubts.
        expected: how many the eyes' own uncertainty gives.
        spread: its standard deviation, as if clips of a recording were doubted together.
        clips: how many labels were looked at.
    """

    found: tuple[Doubt, ...]
    expected: float
    spread: float
    clips: int

    @property
    def more(self) -> float:
        """How many there are beyond what is expected."""
        return len(self.found) - self.expected

    @property
    def clear(self) -> bool:
        """Whether that is more than two standard deviations."""
        return self.more > 2 * max(self.spread, 0.5)


def find_doubts(
    probabilities: Values, lifts: Values, labels: Rows, recordings: Rows, rows: Rows
) -> Doubts:
    """Find the labels that head and neighbours contradict.

    A label y is doubted where the head holds another class j for ten times as likely, and videos
    that look alike carry j more often than y, and y less often than by chance.

    Args:
        probabilities: float64 `[n, C]`, calibrated, of heads that have not seen the recording.
        lifts: float64 `[n, C]`, see `neighbour_lifts`.
        labels: int64 `[n]`.
        recordings: int64 `[n]`.
        rows: int64 `[n]`, of the bank.
    """
    everything = np.arange(len(labels))
    likeliest = probabilities.argmax(axis=1)
    best = probabilities[everything, likeliest]
    near = lifts[everything, likeliest]
    doubted = (
        (probabilities * _TIMES <= best[:, None]) & (lifts < near[:, None]) & (lifts < 1)
    )  # fmt: skip
    chance = (probabilities * doubted).sum(axis=1)
    _, group = np.unique(recordings, return_inverse=True)
    together = np.bincount(group, weights=np.sqrt(chance * (1 - chance)))
    found = [
        Doubt(
            int(rows[i]), int(labels[i]), int(likeliest[i]), float(probabilities[i, labels[i]]),
            float(best[i]), (float(lifts[i, labels[i]]), float(near[i])),
        )
        for i in np.flatnonzero(doubted[everything, labels])
    ]  # fmt: skip
    found.sort(key=lambda one: (math.log(max(one.own, 1e-12) / one.other), one.row))
    return Doubts(
        tuple(found), float(chance.sum()), float(np.sqrt((together**2).sum())), len(labels)
    )


def neighbour_lifts(features: Tensor, labels: Tensor, recordings: Tensor, classes: int) -> Values:
    """How much more often than by chance each class is carried by the videos that look alike.

    As `selector.agreement.label_agreement` weighs them, exp(SHARPNESS · cosine) of standardised
    features, but over other recordings alone: clips of one look alike whatever they show.

    Args:
        features: float32 `[n, D]`.
        labels: int64 `[n]`.
        recordings: int64 `[n]`.
        classes: C.

    Returns:
        float64 `[n, C]`: 1 is chance; 1 for a class that no other recording has.
    """
    spread = features.std(dim=0, correction=0)
    standard = (features - features.mean(dim=0)) / spread.clamp_min(1e-6 * spread.max() + 1e-12)
    units = functional.normalize(standard, dim=1).double()
    other = recordings[:, None] != recordings[None]
    weights = (SHARPNESS * (units @ units.T - 1)).exp() * other
    carried = functional.one_hot(labels, classes).double()
    shares = weights @ carried / weights.sum(1, keepdim=True).clamp_min(1e-300)
    plain = other.double() @ carried / other.sum(1, keepdim=True).clamp_min(1)
    lifts = torch.where(plain > 0, shares / plain.clamp_min(1e-300), torch.ones_like(shares))
    found: Values = lifts.numpy()
    return found


def calibrated(logits: Values, labels: Rows, others: Values) -> Values:
    """Probabilities of `others` at the temperature that gives `logits` the lowest loss.

    Args:
        logits: float64 `[v, C]`, of validation clips.
        labels: int64 `[v]`, theirs; with none the temperature is 1.
        others: float64 `[n, C]`, log-probabilities or logits.
    """
    best = 1.0
    if len(labels):
        known = torch.from_numpy(logits), torch.from_numpy(labels)
        losses = [float(functional.cross_entropy(known[0] / t, known[1])) for t in _TEMPERATURES]
        best = float(_TEMPERATURES[int(np.argmin(losses))])
    found: Values = (torch.from_numpy(others) / best).softmax(1).numpy()
    return found


def doubts_of(bench: Bench, held: HeldOut) -> Doubts:
    """The doubts in the labels of the training videos of all folds."""
    prepared, folds = bench.prepared, bench.folds
    rows = folds.measured
    labels = prepared.source.labels
    logits, tuned = held.tuned
    probabilities = calibrated(logits, tuned, np.log(np.maximum(held.probabilities, 1e-12)))
    known = np.concatenate([rows, folds.tune[~np.isin(folds.tune, rows)]])
    lifts = neighbour_lifts(
        bench.bank.centre(known), torch.from_numpy(labels[known]),
        torch.from_numpy(prepared.recordings[known]), prepared.source.num_classes,
    )[: len(rows)]  # fmt: skip
    return find_doubts(probabilities, lifts, labels[rows], prepared.recordings[rows], rows)


def answer_labels(prepared: PreparedData, doubts: Doubts) -> Answer:
    """The answer for a person, with the list."""
    names, ids = prepared.videos.classes, prepared.bank.ids
    count = len(doubts.found)
    expected = f"{doubts.expected:.1f} ± {doubts.spread:.1f}"
    verdict = (
        f"{count} of {doubts.clips} labels are contradicted by both the held-out head and the "
        f"videos that look alike; {expected} would be if all labels were right: "
        + (f"about {doubts.more:.0f} are likely wrong." if doubts.clear else "no difference.")
    )
    rows = tuple(
        (ids[one.row], names[one.label], names[one.looks_like], f"{100 * one.own:.1f}",
         f"{100 * one.other:.1f}", f"{one.neighbours[0]:.2f}", f"{one.neighbours[1]:.2f}")
        for one in doubts.found[:_LISTED]
    )  # fmt: skip
    head = ("video", "label", "looks like", "label, %", "that class, %", "neighbours with the "
            "label", "with that class")  # fmt: skip
    table = Table(
        head, rows, "The most doubtful first. What a head that has not seen the recording holds "
        "for likely, and how much more often than by chance similar videos of other recordings "
        "carry the class",
    ) if rows else None  # fmt: skip
    return Answer(
        "labels", verdict, ("Look at them before you change anything: a rare view of an action "
                            "is no wrong label.",) if rows else (), table,
        {
            "doubted": count, "expected": round(doubts.expected, 3),
            "spread": round(doubts.spread, 3), "clips": doubts.clips,
            "videos": [
                {"video": ids[one.row], "label": names[one.label],
                 "looks_like": names[one.looks_like], "label_probability": round(one.own, 5),
                 "other_probability": round(one.other, 5)}
                for one in doubts.found
            ],
        },
    )  # fmt: skip
