"""Labels that look wrong: where a head that has not seen the recording and the videos that look
like it both contradict the label.

Eyes err, too. What tells their errors from wrong labels is how sure they are: an eye that is sure
is seldom wrong, while a wrong label is as likely where it is sure as anywhere. So held-out labels
are explained by the head's probabilities s at a temperature T, and a share ε of labels that are
any other class,

    P(y) = (1 − ε) · s_T(y) + ε · (1 − s_T(y)) / (C − 1),

whose T and ε have the highest likelihood. The temperature is that of Guo et al. 2017 ("On
Calibration of Modern Neural Networks"), the share that of uniform label noise (Angluin and Laird
1988, "Learning From Noisy Examples"); the spread of ε is over bootstrap samples of recordings.
What an eye takes for another class however sure it is cannot be told from a wrong label, by nobody
but a person who looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selector.agreement import neighbour_shares
from train.advice.answers import Answer, Table
from train.advice.arms import Bench, HeldOut
from train.prepared import PreparedData

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

_TIMES = 10.0
"""How much likelier another class must be than the label."""
_LISTED = 50
_TEMPERATURES = np.geomspace(0.2, 8.0, 33)
_SHARES = np.concatenate([np.arange(0, 0.1, 0.005), np.arange(0.1, 0.505, 0.02)])
_SAMPLES = 400


@dataclass(frozen=True)
class Noise:
    """How labels follow from what a held-out head says.

    Attributes:
        temperature: T.
        share: ε, of labels that are wrong.
        spread: the standard deviation of ε over bootstrap samples of recordings.
    """

    temperature: float
    share: float
    spread: float

    @property
    def clear(self) -> bool:
        """Whether there are wrong labels beyond two standard deviations."""
        return self.share > 2 * max(self.spread, 1e-9)


@dataclass(frozen=True)
class Doubt:
    """A label that looks wrong.

    Attributes:
        row: of the bank.
        label: class number.
        looks_like: the class that it looks like.
        own, other: probability of the label and of that class, 0..1, of a head that has not seen
            the recording.
        wrong: how likely the label is wrong, 0..1: the part of ε in P(y).
        neighbours: how much more often than by chance videos of other recordings that look alike
            carry the label, and the other class.
    """

    row: int
    label: int
    looks_like: int
    own: float
    other: float
    wrong: float
    neighbours: tuple[float, float]


@dataclass(frozen=True)
class Doubts:
    """All of them, the most doubtful first.

    Attributes:
        found: the doubts.
        noise: of all labels.
        clips: how many labels were looked at.
    """

    found: tuple[Doubt, ...]
    noise: Noise
    clips: int

    @property
    def by_chance(self) -> float:
        """How many of them are right all the same, to be expected."""
        return sum(1 - one.wrong for one in self.found)

    @property
    def clear(self) -> bool:
        """Whether labels are wrong beyond chance."""
        return self.noise.clear and bool(self.found)


def fit_noise(logs: Values, labels: Rows, recordings: Rows, seed: int = 0) -> Noise:
    """T and ε of highest likelihood, on a grid, and the spread of ε.

    Args:
        logs: float64 `[n, C]`, log-probabilities of heads that have not seen the recording.
        labels, recordings: int64 `[n]`.
        seed: of the bootstrap.
    """
    classes = logs.shape[1]
    own = np.stack([
        (torch.from_numpy(logs) / t).softmax(1).numpy()[np.arange(len(labels)), labels]
        for t in _TEMPERATURES
    ])[:, None]  # fmt: skip
    shares = _SHARES[None, :, None]
    found = np.log(np.maximum((1 - shares) * own + shares * (1 - own) / (classes - 1), 1e-300))
    _, group = np.unique(recordings, return_inverse=True)
    count = int(group.max()) + 1
    flat = found.reshape(-1, len(labels))
    summed = np.stack([np.bincount(group, weights=one, minlength=count) for one in flat])
    best = int(summed.sum(axis=1).argmax())
    drawn = np.random.default_rng([seed, 13]).multinomial(count, [1 / count] * count, _SAMPLES)
    samples = _SHARES[(summed @ drawn.T).argmax(axis=0) % len(_SHARES)]
    temperature, share = divmod(best, len(_SHARES))
    return Noise(float(_TEMPERATURES[temperature]), float(_SHARES[share]), float(samples.std()))


def find_doubts(logs: Values, lifts: Values, labels: Rows, recordings: Rows, rows: Rows) -> Doubts:
    """Find the labels that head and neighbours contradict.

    A label y is doubted where the head holds another class j for ten times as likely, and videos
    that look alike carry j more often than y, and y less often than by chance.

    Args:
        logs: float64 `[n, C]`, log-probabilities of heads that have not seen the recording.
        lifts: float64 `[n, C]`, see `neighbour_lifts`.
        labels: int64 `[n]`.
        recordings: int64 `[n]`.
        rows: int64 `[n]`, of the bank.
    """
    noise = fit_noise(logs, labels, recordings)
    probabilities = (torch.from_numpy(logs) / noise.temperature).softmax(1).numpy()
    everything = np.arange(len(labels))
    likeliest = probabilities.argmax(axis=1)
    own, other = probabilities[everything, labels], probabilities[everything, likeliest]
    near, far = lifts[everything, likeliest], lifts[everything, labels]
    floor = noise.share * (1 - own) / (logs.shape[1] - 1)
    wrong = floor / np.maximum((1 - noise.share) * own + floor, 1e-300)
    found = [
        Doubt(
            int(rows[i]), int(labels[i]), int(likeliest[i]), float(own[i]), float(other[i]),
            float(wrong[i]), (float(far[i]), float(near[i])),
        )
        for i in np.flatnonzero((own * _TIMES <= other) & (far < near) & (far < 1))
    ]  # fmt: skip
    found.sort(key=lambda one: (math.log(max(one.own, 1e-300) / one.other), one.row))
    return Doubts(tuple(found), noise, len(labels))


def neighbour_lifts(features: Tensor, labels: Tensor, recordings: Tensor, classes: int) -> Values:
    """How much more often than by chance each class is carried by the videos that look alike.

    By the shares that `selector.agreement.label_agreement` is made of: of other recordings alone,
    as clips of one look alike whatever they show.

    Args:
        features: float32 `[n, D]`.
        labels: int64 `[n]`.
        recordings: int64 `[n]`.
        classes: C.

    Returns:
        float64 `[n, C]`: 1 is chance; 1 for a class that no other recording has.
    """
    lifts = np.ones((len(labels), classes))
    for rows, near, plain in neighbour_shares(features, labels, recordings, classes):
        known = (plain > 0).numpy()
        np.divide(near.numpy(), plain.numpy(), out=lifts[rows], where=known)
    return lifts


def doubts_of(bench: Bench, held: HeldOut) -> Doubts:
    """The doubts in the labels of the training videos of all folds."""
    prepared, folds = bench.prepared, bench.folds
    rows = folds.measured
    labels = prepared.source.labels
    known = np.concatenate([rows, folds.tune[~np.isin(folds.tune, rows)]])
    lifts = neighbour_lifts(
        bench.bank.centre(known), torch.from_numpy(labels[known]),
        torch.from_numpy(prepared.recordings[known]), prepared.source.num_classes,
    )[: len(rows)]  # fmt: skip
    logs = np.log(np.maximum(held.probabilities, 1e-300))
    return find_doubts(logs, lifts, labels[rows], prepared.recordings[rows], rows)


def answer_labels(prepared: PreparedData, doubts: Doubts) -> Answer:
    """The answer for a person, with the list."""
    names, ids = prepared.videos.classes, prepared.bank.ids
    count = len(doubts.found)
    noise = doubts.noise
    verdict = (
        f"{count} of {doubts.clips} labels are contradicted by both the held-out head and the "
        f"videos that look alike; {doubts.by_chance:.1f} of these are expected by chance. Of all "
        f"labels {100 * noise.share:.1f} ± {100 * noise.spread:.1f} % are wrong, as far as this "
        "network can tell" + ("." if doubts.clear else ": no difference to none.")
    )
    rows = tuple(
        (ids[one.row], names[one.label], names[one.looks_like], f"{100 * one.own:.1f}",
         f"{100 * one.other:.1f}", f"{100 * one.wrong:.0f}", f"{one.neighbours[0]:.2f}",
         f"{one.neighbours[1]:.2f}")
        for one in doubts.found[:_LISTED]
    )  # fmt: skip
    head = (
        "video", "label", "looks like", "label, %", "that class, %", "label wrong, %",
        "neighbours with the label", "with that class",
    )  # fmt: skip
    table = Table(
        head, rows, "The most doubtful first. What a head that has not seen the recording holds "
        "for likely, and how much more often than by chance similar videos of other recordings "
        "carry the class",
    ) if rows else None  # fmt: skip
    return Answer(
        "labels", verdict, ("Look at them before you change anything: a rare view of an action "
                            "is no wrong label.",) if rows else (), table,
        {
            "doubted": count, "by_chance": round(doubts.by_chance, 3), "clips": doubts.clips,
            "wrong": {"mean": round(noise.share, 4), "error": round(noise.spread, 4)},
            "videos": [
                {"video": ids[one.row], "label": names[one.label],
                 "looks_like": names[one.looks_like], "label_probability": round(one.own, 5),
                 "other_probability": round(one.other, 5), "wrong": round(one.wrong, 4)}
                for one in doubts.found
            ],
        },
    )  # fmt: skip
