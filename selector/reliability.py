"""How far a reward agrees with itself: whether what pleases one half of the validation recordings
pleases the other.

A reward is measured on the few recordings that validation holds. Clips of one recording share
actor, scene and light, so what counts is how many RECORDINGS the reward has seen, not how many
clips. The credit of a pair is a sum over recordings (`reward.credit_by_recording`); measured on two
random halves of them, twice, it ranks the same pairs, and the correlation of the two rankings is
the reliability of half the validation set. Spearman and Brown (1910) say what follows for the whole
set, and how many recordings a wanted reliability takes. How far halvings differ is no error where
recordings are few: two of them have one halving, by which any noise looks certain.

Pure functions; a pair is compared with the pairs of its foreground's class alone, because which
class deserves more pairs is decided by caps and --balance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l2a.videos import counted

FEWEST = 8
"""Recordings below which nothing tells a reliable reward from noise."""
HALVINGS = 50
"""How often the recordings are halved at random."""
TARGET = 0.5
"""The reliability that `recordings_needed` aims at, where half of what a credit varies is shared
with other recordings."""
SURE = 0.2
"""From this reliability of the whole validation set on, the best pairs are picked. Ours, from no
paper, and set after the fact: on real clips best and better half differed by nothing that three
splits could show (docs/results.md), at reliabilities from 0.1 to 0.3."""
USABLE = 0.1
"""Below it a choice is little better than chance, and nothing is chosen. Ours too."""


@dataclass(frozen=True)
class Reliability:
    """How far a reward agrees with itself over other recordings.

    Attributes:
        halves: rank correlation of credit measured on two halves of the recordings, within the
            foreground's class, −1..1: the mean over random halvings.
        spread: its standard deviation over the halvings.
        recordings: how many validation recordings there were, `FEWEST` or more; what earlier
            versions stored may have fewer.
    """

    halves: float
    spread: float
    recordings: int

    @property
    def whole(self) -> float:
        """What follows for the whole validation set, −1..1 (Spearman-Brown for twice as many)."""
        return spearman_brown(self.halves, 2)

    @property
    def error(self) -> float:
        """Standard deviation of `halves` where recordings have nothing in common.

        Halves share the recordings that they are dealt from, so that of R recordings their
        agreement varies by √(R / (R − 2)) times as much as from halving to halving.
        """
        if self.recordings <= 2:
            return math.inf
        return self.spread * math.sqrt(self.recordings / (self.recordings - 2))

    @property
    def needed(self) -> int | None:
        """How many recordings `TARGET` takes; None where nothing says so, see
        `recordings_needed`."""
        return recordings_needed(self.whole, self.recordings)

    @property
    def measured(self) -> str:
        """What was measured, for a person, without a full stop."""
        return (
            f"the reward agrees with itself by {self.halves + 0.0:.2f} ± {self.spread:.2f} over "
            "other recordings"
        )

    def __str__(self) -> str:
        """That, and what choice it allows by a ranking that follows it, without a full stop."""
        worth = "this choice is little better than chance"
        if self.whole >= TARGET:
            worth = "the best pairs can be told from the rest"
        elif self.whole >= SURE:
            worth = "the best pairs are better on the whole, one by one they are uncertain"
        elif self.whole >= USABLE:
            worth = "the better half can be told from the worse, the very best cannot"
        text = f"{self.measured}: {worth}; {self.recordings} recordings"
        needed = self.needed
        if needed is None:
            return f"{text}, more will not do"
        return text if self.whole >= TARGET else f"{text}, about {_rounded(needed)} needed"


def measure_reliability(
    credit: Tensor,
    classes: Tensor,
    halvings: int = HALVINGS,
    seed: int = 0,
    fewest: int | None = None,
) -> Reliability | None:
    """Halve the recordings at random, again and again, and compare what the two halves say.

    Args:
        credit: float [B, R], each pair's credit by recording, whose sum is its credit.
        classes: int64 [B], the class of each pair's foreground.
        halvings: how often.
        seed: of the halvings.
        fewest: recordings, 2 or more, `FEWEST` if not given; what fewer than that give is for means
            over many worlds, and says nothing of one.

    Returns:
        None where there are fewer than so many recordings, or no two pairs of one class.
    """
    count = credit.shape[1]
    if count < (FEWEST if fewest is None else fewest) or int(classes.bincount().max()) < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(halvings, count, generator=generator).argsort(dim=1)
    first = torch.zeros(halvings, count, dtype=torch.float64)
    first.scatter_(1, draws[:, : count // 2], 1.0)
    values = credit.detach().cpu().double()
    found = class_rank_correlation(values @ first.T, values @ (1 - first).T, classes.cpu())
    return Reliability(float(found.mean()), float(found.std(correction=0)), count)


def class_rank_correlation(first: Tensor, second: Tensor, classes: Tensor) -> Tensor:
    """Spearman's ρ within classes: their mean, weighted by the pairs of each class less one.

    Under no agreement the variance of ρ of n pairs is 1 / (n − 1), so this weighting has the
    smallest spread; a class with a single pair says nothing.

    Args:
        first, second: float [B, H], H columns to be compared with each other.
        classes: int64 [B].

    Returns:
        float64 [H], −1..1; a class in which one side is constant counts as 0.
    """
    total = torch.zeros(first.shape[1], dtype=torch.float64)
    weights = 0
    for label in classes.unique():
        rows = classes == label
        count = int(rows.sum())
        if count < 2:
            continue
        a, b = (_centred_ranks(side[rows].T) for side in (first, second))
        norms = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
        rho = (a * b).sum(dim=1) / norms.clamp_min(1e-12)
        total += (count - 1) * rho
        weights += count - 1
    return total / max(weights, 1)


def spearman_brown(reliability: float, times: float) -> float:
    """The reliability of a measurement `times` as long (Spearman 1910, Brown 1910).

    k·r / (1 + (k − 1)·r), held in −1..1: where r is at or below 0 no length mends it.

    Args:
        reliability: r, −1..1. times: k, above 0.
    """
    below = 1 + (times - 1) * reliability
    return -1.0 if below <= 0 else max(-1.0, min(1.0, times * reliability / below))


def recordings_needed(reliability: float, recordings: int, target: float = TARGET) -> int | None:
    """How many recordings a reliability takes, by Spearman-Brown solved for the length.

    Args:
        reliability: what `recordings` gave, −1..1.
        recordings: how many that were.
        target: what is wanted, above 0 and below 1.

    Returns:
        None where the reliability is not above 0, so that none follows for any number.
    """
    if reliability <= 0:
        return None
    if reliability >= 1:
        return 1
    times = target / (1 - target) * (1 - reliability) / reliability
    return max(1, math.ceil(recordings * times - 1e-9))


def mean_reliability(found: Sequence[Reliability]) -> Reliability | None:
    """What several looks at different pairs say together; None without any, or of too few
    recordings, as earlier versions noted them."""
    if not found or found[-1].recordings < FEWEST:
        return None
    return Reliability(
        sum(one.halves for one in found) / len(found),
        sum(one.spread for one in found) / len(found),
        found[-1].recordings,
    )


def too_few(recordings: int) -> str:
    """Why there is no reliability, for a person, without a full stop."""
    return (
        f"validation holds only {counted(recordings, 'recording')}: too few to tell how reliable "
        f"the reward is, which takes {FEWEST}"
    )


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks along the rows of double [H, n], equal values sharing the mean of theirs, less their
    mean."""
    values = values.contiguous()
    in_order = values.sort(dim=1).values.contiguous()
    low = torch.searchsorted(in_order, values, right=False)
    high = torch.searchsorted(in_order, values, right=True)
    ranks = (low + high).double() / 2
    return ranks - ranks.mean(dim=1, keepdim=True)


def _rounded(count: int) -> int:
    """Two significant digits: nobody knows it better."""
    step = 10 ** max(0, len(str(count)) - 2)
    return round(count / step) * step
