"""Whether a mask of `motion` is to be trusted, judged without knowing the truth.

A few measures of a video's masks, each of which says something that goes wrong, are weighed by a
logistic rule: the trust is an estimate of how likely the mask is good. There is a rule for each
side of a pair, because a mask that is too large is a bad foreground, and yet leaves nothing of
the actor in the background. The weights were fitted on real clips with given masks; how, and how
well they do on clips that they were not fitted on, is said in docs/compositing.md and measured by
`benchmarks/motion_fit.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.masks import NO_DOUBTS, Doubts

Bool = NDArray[np.bool_]

LOOKS = 12
"""Frames, spread over the video, that are measured, at most."""
LAG = 2
"""Frames between two masks whose areas are compared."""


@dataclass(frozen=True, slots=True)
class Moving:
    """What `motion` found in a video, bool [T, H, W] each.

    Attributes:
        masks: the moving regions.
        sure: the same by a stricter threshold.
    """

    masks: Bool
    sure: Bool


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured of a video's masks; means over its frames that have one.

    Attributes:
        steady: the smaller area of a mask and the one `LAG` frames later, as a share of the larger:
            what walks or bends keeps its area, what flickers does not.
        whole: share of the mask that lies in its largest part.
        agreed: IoU of the mask and the one of the stricter threshold.
    """

    steady: float
    whole: float
    agreed: float


@dataclass(frozen=True, slots=True)
class TrustRule:
    """A logistic rule: trust = 1 / (1 + exp(−(bias + Σ weight · (measure − typical)))).

    Attributes:
        bias: for a video whose measures are all typical.
        typical: the means over the videos that the rule was fitted on.
        weights: what one unit of each measure adds.
        least: a mask that is trusted less than this is unfit.
    """

    bias: float
    typical: Measures
    weights: Measures
    least: float

    def shares(self, measures: Measures) -> dict[str, float]:
        """What each measure adds to the rule's sum, by its name."""
        values, typical, weights = (asdict(each) for each in (measures, self.typical, self.weights))
        return {name: weights[name] * (values[name] - typical[name]) for name in values}

    def trust(self, measures: Measures) -> float:
        """How likely the mask is good, 0..1."""
        return 1 / (1 + math.exp(-self.bias - sum(self.shares(measures).values())))


RULES: Mapping[str, TrustRule] = MappingProxyType(
    {
        "foreground": TrustRule(
            bias=-0.79,
            typical=Measures(steady=0.883, whole=0.912, agreed=0.618),
            weights=Measures(steady=7.65, whole=13.03, agreed=1.53),
            least=0.65,
        ),
        "background": TrustRule(
            bias=-0.41,
            typical=Measures(steady=0.883, whole=0.915, agreed=0.621),
            weights=Measures(steady=13.47, whole=3.48, agreed=4.17),
            least=0.65,
        ),
    }
)
"""The rule of each side: a good foreground is above all one thing; a background is emptied where
the mask does not flicker, nor hang on the threshold."""
IDENTITY = "trust 1"
"""What `motion`'s identity says about this file."""

_FAULTS = {
    "steady": "it flickers",
    "whole": "what moves is scattered",
    "agreed": "it is hardly set off from what is around it",
}
"""What is wrong where a measure speaks most against a mask."""


def judge(found: Moving) -> Doubts:
    """Why a video's masks are not to be trusted, for each side of a pair."""
    return doubts_of(measure(found))


def doubts_of(measures: Measures | None, rules: Mapping[str, TrustRule] = RULES) -> Doubts:
    """The doubts that follow from the measures; none where there is no mask to doubt.

    Each is what speaks most against the mask, and how far it is trusted.
    """
    if measures is None:
        return NO_DOUBTS
    doubts = {}
    for side, rule in rules.items():
        trust = rule.trust(measures)
        if trust < rule.least:
            shares = rule.shares(measures)
            worst = min(shares, key=lambda name: shares[name])
            doubts[side] = f"{_FAULTS[worst]} (trust {trust:.2f}, below {rule.least:.2f})"
    return Doubts(**doubts)


def measure(found: Moving) -> Measures | None:
    """The measures of a video; None where no frame has a mask."""
    frames = np.flatnonzero(found.masks.any(axis=(1, 2)))
    if not frames.size:
        return None
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, LOOKS).round().astype(int))]
    rows = [_measure_frame(found, int(t)) for t in chosen]
    areas = found.masks.sum(axis=(1, 2)).astype(np.float64)
    pairs = np.stack([areas[:-LAG], areas[LAG:]])[:, (areas[:-LAG] > 0) & (areas[LAG:] > 0)]
    steady = pairs.min(axis=0) / pairs.max(axis=0)
    whole, agreed = np.mean(rows, axis=0).tolist()
    return Measures(
        steady=float(steady.mean()) if steady.size else 0.0,
        whole=whole,
        agreed=agreed,
    )


def _measure_frame(found: Moving, t: int) -> tuple[float, ...]:
    """Of one frame that has a mask: whole and agreed."""
    mask = found.masks[t]
    pixels = mask.astype(np.uint8)
    area = int(pixels.sum())
    _, _, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    largest = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    return (
        float(largest[cv2.CC_STAT_AREA]) / area,
        _iou(mask, found.sure[t]),
    )


def _iou(one: Bool, other: Bool) -> float:
    return float((one & other).sum()) / max(1, int((one | other).sum()))
