"""How reliable a reward is here: that of validation, and that of cross-fitting over training
recordings, which validation judges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from compositing.settings import LabelRule
from selector.reliability import (
    FEWEST,
    USABLE,
    Reliability,
    class_rank_correlation,
    measure_reliability,
    too_few,
)
from selector.reward import credit_by_recording
from train.advice.answers import Answer, cannot_say
from train.advice.arms import Bench, Drawable
from train.advice.chance import chance_of_agreement
from train.frozen.crossfit import LEAST_FOLDS, FoldedClips, crossfit_credit
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.prepared import PreparedData

_PAIRS = 600
"""Pairs that are ranked, at most."""


@dataclass(frozen=True)
class Agreement:
    """How far credit by cross-fitting ranks pairs as recordings do that it has not seen.

    Attributes:
        value: rank correlation with credit on validation, within the foreground's class, −1..1.
        chance: standard deviation of that where the two have nothing in common, for pairs that
            share videos as these do (`train.advice.chance`).
        recordings: that cross-fitting measures on.
    """

    value: float
    chance: float
    recordings: int

    @property
    def tells(self) -> bool:
        """Whether it is above what chance does."""
        return self.value > 2 * self.chance


def answer_reward(
    bench: Bench, pool: Drawable, rule: LabelRule, l2: float
) -> tuple[Answer, Reliability | None, Agreement | None]:
    """Rank the pairs of a pool by credit on two halves of the recordings, again and again.

    Args:
        bench: the data and its features.
        pool, rule: which pairs, and how they are labelled.
        l2: strength of the heads of cross-fitting.

    Returns:
        The answer; the reliability on validation, as `l2a train` measures credit, and how far that
        of cross-fitting agrees with it, as `--reward-folds` measures it; None for what cannot be
        measured.
    """
    drawn = _drawn_pairs(bench, pool, rule)
    on_validation = _on_validation(bench, drawn)
    if on_validation is None:
        return cannot_say("reward", "There are no pairs, or no validation clips."), None, None
    classes, recordings = _classes(bench, drawn), on_validation.shape[1]
    if int(classes.bincount().max()) < 2:
        return cannot_say("reward", "There are no two pairs of one class."), None, None
    reliability = measure_reliability(on_validation, classes)
    agreement = _crossfitted(bench, drawn, l2, on_validation)
    lines, figures = _of_validation(reliability, recordings)
    verdict = _verdict(reliability, recordings)
    if agreement is not None:
        lines.append(
            f"Measured by cross-fitting (--reward-folds {len(bench.folds.parts)}) on "
            f"{agreement.recordings} training recordings, the reward ranks pairs as those of "
            f"validation do by {agreement.value + 0.0:.2f}; chance is 0 ± {agreement.chance:.2f}."
        )
        figures["crossfit"] = {
            "agreement": round(agreement.value, 4), "chance": round(agreement.chance, 4),
            "recordings": agreement.recordings,
        }  # fmt: skip
    lines.append(
        f"{len(drawn.rows)} pairs of the pool {pool.name}, label rule {rule}"
        + ("." if reliability is None else "; ± of halves is the spread over random halvings.")
    )
    return Answer("reward", verdict, tuple(lines), None, figures), reliability, agreement


def tells(found: Reliability) -> bool:
    """Whether a reward says more than chance: it is measured on enough recordings, its reliability
    is of use, and halves agree beyond two standard deviations of what those of noise do."""
    return found.recordings >= FEWEST and found.whole >= USABLE and found.halves > 2 * found.error


def _verdict(found: Reliability | None, recordings: int) -> str:
    if found is None:
        return f"That is not known: {too_few(recordings)}."
    return (
        f"Two halves of {recordings} recordings agree by {found.halves + 0.0:.2f}"
        f" ± {found.spread:.2f}, so that the reliability of all of them is "
        f"{found.whole + 0.0:.2f}: "
        + ("it says something." if tells(found) else "no difference to chance.")
    )


def _of_validation(found: Reliability | None, recordings: int) -> tuple[list[str], dict[str, Any]]:
    if found is None:
        return [], {"validation": {"recordings": recordings}}
    return [f"Measured on validation, {found}."], {"validation": _plain(found)}


def _drawn_pairs(bench: Bench, pool: Drawable, rule: LabelRule) -> DrawnPairs:
    rows = pool.pairs[np.isin(pool.pairs, bench.folds.measured).all(axis=1)]
    if len(rows) > _PAIRS:
        rng = np.random.default_rng([bench.seed, 12])
        rows = rows[np.sort(rng.choice(len(rows), _PAIRS, replace=False))]
    made = bench.bank.composites(rows)
    how = replace(bench.prepared.source.settings, label_rule=rule)
    labels = bench.bank.composite_labels(rows, made, how)
    return DrawnPairs(torch.from_numpy(rows), made.features, labels)


def _measured(bench: Bench, rows: Any) -> MeasuredClips:
    prepared: PreparedData = bench.prepared
    numbers = np.unique(prepared.recordings[rows], return_inverse=True)[1]
    return MeasuredClips(
        bench.bank.centre(rows), prepared.source.one_hot(rows), torch.from_numpy(numbers)
    )


def _classes(bench: Bench, drawn: DrawnPairs) -> torch.Tensor:
    return torch.from_numpy(bench.prepared.source.labels)[drawn.rows[:, 0]]


def _on_validation(bench: Bench, drawn: DrawnPairs) -> torch.Tensor | None:
    """Credit `[M, R]` by recording, with a fresh head, as stage one begins and restarts with: all
    classes alike."""
    rows = bench.prepared.rows["val"]
    if len(rows) == 0 or len(drawn.rows) == 0:
        return None
    clips = _measured(bench, rows)
    features, labels = drawn.features.flatten(0, 1), drawn.labels.flatten(0, 1)
    even = 1 / labels.shape[1]
    credit = credit_by_recording(
        torch.full_like(clips.labels, even), clips.labels, clips.features, clips.recordings,
        torch.full_like(labels, even), labels, features,
    )  # fmt: skip
    return credit.unflatten(0, drawn.features.shape[:2]).mean(dim=1)


def _crossfitted(
    bench: Bench, drawn: DrawnPairs, l2: float, on_validation: torch.Tensor
) -> Agreement | None:
    parts = bench.folds.parts
    if len(parts) < LEAST_FOLDS or len(drawn.rows) == 0:
        return None
    fold = np.full(len(bench.prepared.bank), -1, np.int64)
    for number, part in enumerate(parts):
        fold[part] = number
    rows = bench.folds.measured
    real = FoldedClips(_measured(bench, rows), bench.bank.real(rows), torch.from_numpy(fold[rows]))
    credit = crossfit_credit(real, drawn, torch.from_numpy(fold)[drawn.rows], l2)
    classes = _classes(bench, drawn)
    own, others = (one.double().sum(dim=1, keepdim=True) for one in (credit, on_validation))
    value = float(class_rank_correlation(own, others, classes))
    recordings = bench.prepared.recordings
    chance = chance_of_agreement(
        own[:, 0], others[:, 0], recordings[drawn.rows.numpy()], classes.numpy(), bench.seed
    )
    return Agreement(value, chance, len(np.unique(recordings[rows])))


def _plain(found: Reliability) -> dict[str, float | int | None]:
    return {
        "halves": round(found.halves, 4), "spread": round(found.spread, 4),
        "whole": round(found.whole, 4), "recordings": found.recordings, "needed": found.needed,
    }  # fmt: skip
