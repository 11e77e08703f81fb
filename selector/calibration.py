"""ω that means something: the chance that a pair is worth more than the median of its class.

Training finds a ranking, and ω, whose logit moves by a learning rate, ends within a hundredth of
0.5 whatever was found. So when training ends, credit is measured on pairs that it has not seen, and
ω = σ(a·z + b) is fitted to which of them lie above the median of their foreground's class (Platt
1999, "Probabilistic outputs for support vector machines"). a and b are folded into the Selector's
last layer: the ranking stays, and a ω of 0.7 is a pair that is better than the median of its class
in seven cases of ten, by the reward that taught it. Where the ranking means nothing, a is next to 0
and so is the spread of ω.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 0.01
"""The least spread of the fitted logits, so that a ranking that means nothing is kept too."""
_RIDGE = 1.0
"""Weight of the penalty on the spread of the fitted logits, in pairs: perfect rankings stay finite.
"""
_STEPS = 100


@dataclass(frozen=True)
class Calibration:
    """How logits became the chance that a pair is better than the median of its class.

    Attributes:
        scale, shift: a > 0 and b of ω = σ(a·z + b).
        spread_before, spread_after: standard deviation of ω over the pairs it was fitted to.
        pairs: how many those were.
        new_videos: whether training had met neither of their videos.
    """

    scale: float
    shift: float
    spread_before: float
    spread_after: float
    pairs: int
    new_videos: bool

    def __str__(self) -> str:
        """For a person, without a full stop."""
        of = "pairs of new videos" if self.new_videos else "new pairs"
        return (
            f"ω, fitted to the credit of {self.pairs} {of}, spreads by {self.spread_after:.2g} "
            f"(before: {self.spread_before:.2g})"
        )


def calibrate(
    logits: Tensor, credit: Tensor, classes: Tensor, new_videos: bool = False
) -> Calibration | None:
    """Fit ω = σ(a·z + b), a > 0, to which pairs are better than the median of their class.

    Args:
        logits: float [n], z, of pairs that training did not see.
        credit: float [n], theirs.
        classes: int64 [n], of their foregrounds.
        new_videos: see `Calibration`.

    Returns:
        None where all logits are the same, or no class has pairs that differ.
    """
    z, above = logits.detach().cpu().double(), above_median(credit.cpu(), classes.cpu())
    mean, spread = z.mean(), z.std(correction=0)
    if not spread > 1e-9 * z.abs().max() or not (above != 0.5).any():
        return None
    slope, offset = _logistic((z - mean) / spread, above)
    scale = slope / float(spread)
    shift = offset - scale * float(mean)
    before, after = z.sigmoid(), (scale * z + shift).sigmoid()
    return Calibration(
        scale, shift, float(before.std(correction=0)), float(after.std(correction=0)), len(z),
        new_videos,
    )  # fmt: skip


def above_median(credit: Tensor, classes: Tensor) -> Tensor:
    """Which pairs are worth more than the median of their class: double [n], 1, 0, or ½ at it."""
    above = torch.full((len(credit),), 0.5, dtype=torch.float64)
    for label in classes.unique():
        own = classes == label
        values = credit[own].double()
        middle = values.quantile(0.5)  # between the two in the middle
        above[own] = ((values > middle).double() - (values < middle).double() + 1) / 2
    return above


def _logistic(inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Slope, `FLOOR` or more, and offset of the logistic regression of targets in 0..1.

    Newton's method on Σ cross-entropy + `_RIDGE`/2 · slope², which is convex.

    Args:
        inputs: double [n], with mean 0 and spread 1. targets: double [n].
    """
    design = torch.stack([inputs, torch.ones_like(inputs)], dim=1)
    penalty = torch.tensor([_RIDGE, 0.0], dtype=torch.float64)
    # Never with all weight on one side, where the best offset would be infinite.
    targets = targets * (1 - 1 / len(targets)) + 0.5 / len(targets)
    point = torch.zeros(2, dtype=torch.float64)
    free = torch.tensor([True, True])
    for _ in range(_STEPS):
        chances = (design @ point).sigmoid()
        gradient = design.T @ (chances - targets) + penalty * point
        weighted = design * (chances * (1 - chances))[:, None]
        curvature = weighted.T @ design + torch.diag(penalty)
        step = torch.zeros(2, dtype=torch.float64)
        step[free] = torch.linalg.solve(curvature[free][:, free], gradient[free])
        point = point - step.clamp(-4, 4)
        if point[0] < FLOOR and free[0] and step.abs().max() < 1e-6:
            point[0], free[0] = FLOOR, False
        elif step.abs().max() < 1e-10:
            break
    return float(point[0]), float(point[1])
