"""How reliable a reward is here: by validation, and by cross-fitting over all recordings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from compositing.settings import LabelRule
from selector.reliability import USABLE, Reliability, measure_reliability
from selector.reward import credit_by_recording
from train.advice.answers import Answer, cannot_say
from train.advice.arms import Bench, Drawable
from train.frozen.crossfit import LEAST_FOLDS, FoldedClips, crossfit_credit
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.prepared import PreparedData

_PAIRS = 600
"""Pairs that are ranked, at most."""


def answer_reward(
    bench: Bench, pool: Drawable, rule: LabelRule, l2: float
) -> tuple[Answer, Reliability | None, Reliability | None]:
    """Rank the pairs of a pool by credit on two halves of the recordings, again and again.

    Args:
        bench: the data and its features.
        pool, rule: which pairs, and how they are labelled.
        l2: strength of the heads of cross-fitting.

    Returns:
        The answer; the reliability on validation, as `l2a train` measures credit, and that of
        cross-fitting, as `--reward-folds` does; None for what cannot be measured.
    """
    drawn = _drawn_pairs(bench, pool, rule)
    by_validation = _on_validation(bench, drawn)
    by_folds = _crossfitted(bench, drawn, l2)
    if by_validation is None and by_folds is None:
        return (
            cannot_say("reward", "There are not two recordings to compare what they say, or no "
                       "two pairs of one class."), None, None,
        )  # fmt: skip
    lines, figures = [], {}
    if by_validation is not None:
        lines.append(f"Measured on validation, {by_validation}.")
        figures["validation"] = _plain(by_validation)
    if by_folds is not None:
        lines.append(
            f"Measured by cross-fitting (--reward-folds {len(bench.folds.parts)}), {by_folds}."
        )
        figures["crossfit"] = _plain(by_folds)
    best = max((one for one in (by_validation, by_folds) if one), key=lambda one: one.whole)
    verdict = (
        f"Two halves of {best.recordings} recordings agree by {best.halves + 0.0:.2f} ± "
        f"{best.spread:.2f}, so that the reliability of all of them is {best.whole + 0.0:.2f}: "
        + ("it says something." if tells(best) else "no difference to chance.")
    )
    lines.append(
        f"{len(drawn.rows)} pairs of the pool {pool.name}, label rule {rule}; ± is the spread over "
        "random halvings."
    )
    return Answer("reward", verdict, tuple(lines), None, figures), by_validation, by_folds


def tells(found: Reliability) -> bool:
    """Whether a reward says more than chance: its reliability is of use, and halves agree by more
    than they differ from halving to halving."""
    return found.whole >= USABLE and found.halves > found.spread


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


def _on_validation(bench: Bench, drawn: DrawnPairs) -> Reliability | None:
    """With a fresh head, as stage one begins and restarts with: all classes alike."""
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
    views = credit.unflatten(0, drawn.features.shape[:2]).mean(dim=1)
    return measure_reliability(views, _classes(bench, drawn))


def _crossfitted(bench: Bench, drawn: DrawnPairs, l2: float) -> Reliability | None:
    parts = bench.folds.parts
    if len(parts) < LEAST_FOLDS or len(drawn.rows) == 0:
        return None
    fold = np.full(len(bench.prepared.bank), -1, np.int64)
    for number, part in enumerate(parts):
        fold[part] = number
    rows = bench.folds.measured
    real = FoldedClips(_measured(bench, rows), bench.bank.real(rows), torch.from_numpy(fold[rows]))
    credit = crossfit_credit(real, drawn, torch.from_numpy(fold)[drawn.rows], l2)
    return measure_reliability(credit, _classes(bench, drawn))


def _plain(found: Reliability) -> dict[str, float | int | None]:
    return {
        "halves": round(found.halves, 4), "spread": round(found.spread, 4),
        "whole": round(found.whole, 4), "recordings": found.recordings, "needed": found.needed,
    }  # fmt: skip
