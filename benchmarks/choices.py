"""Credit of listed pairs on any clips, and choices by it, for the benchmarks of the reward.

Run by itself, this file does nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selector.caps import SelectionLimits
from selector.reliability import class_rank_correlation
from selector.reward import credit_by_recording
from selector.score import StoredScorer
from selector.sharpness import select_drawn
from semantic_match.listed import ListedPool
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.frozen.head import HeadProblem, LinearHead

Rows = NDArray[np.int64]


def credit_on(clips: MeasuredClips, drawn: DrawnPairs, head: LinearHead | None) -> Tensor:
    """What stage one would reward pairs with on these clips: float32 `[M, R]`, by recording.

    Args:
        clips: R recordings, which measure.
        drawn: M pairs; the credit of each is the mean over its views.
        head: whose steps are asked about; None for the one of zeros that stage one begins with.
    """
    flat = drawn.features.flatten(0, 1)
    found = credit_by_recording(
        _softmax(clips.features, clips.labels, head), clips.labels, clips.features,
        clips.recordings, _softmax(flat, clips.labels, head), drawn.labels.flatten(0, 1), flat,
    )  # fmt: skip
    return found.unflatten(0, (-1, drawn.features.shape[1])).mean(dim=1)


def choose(
    pairs: Rows, scores: Tensor, classes: Rows, budget: int, share: float, seed: int
) -> Rows:
    """A budget of listed pairs, equal over the classes of their foregrounds, under no other cap.

    Args:
        pairs: int64 `[M, 2]`, rows (foreground, background).
        scores: float `[M]`.
        classes: int64 `[N]`, the class of each row.
        budget: how many are chosen.
        share: drawn from the best share of each class's pairs; 0 takes the best, 1 draws from all.
        seed: of what is drawn.

    Returns:
        int64 `[budget]`, places in `pairs`, ascending.
    """
    limits = SelectionLimits(classes, weights=np.ones(int(classes.max()) + 1, np.int64))
    scorer = StoredScorer(scores.float().numpy())
    rng = np.random.default_rng([seed, 12])
    chosen = select_drawn(ListedPool(pairs), scorer, budget, limits, share, rng)
    return np.sort(chosen.chosen.numbers)


def rank_agreement(first: Tensor, second: Tensor, classes: Tensor) -> float:
    """Spearman's ρ of two scores `[M]` of the same pairs, within the foreground's class `[M]`."""
    sides = (side.double()[:, None] for side in (first, second))
    return float(class_rank_correlation(*sides, classes))


def beside_real(real: Tensor, real_labels: Tensor, features: Tensor, labels: Tensor) -> HeadProblem:
    """The head of real clips and composites, which weigh the same in all.

    Args:
        real, real_labels: `[n, D]` and `[n, C]`.
        features, labels: of composites, `[m, D]` and `[m, C]`.
    """
    weights = torch.cat([torch.full((len(x),), 1 / len(x)) for x in (real, features)])
    return HeadProblem(torch.cat([real, features]), torch.cat([real_labels, labels]), weights)


def _softmax(features: Tensor, labels: Tensor, head: LinearHead | None) -> Tensor:
    """float32 `[n, C]`, what the head says."""
    if head is None:
        return torch.full((len(features), labels.shape[1]), 1 / labels.shape[1])
    return head.logits(features).softmax(1).float()
