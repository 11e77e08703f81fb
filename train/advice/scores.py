"""How heads compare: a score for each draw of pairs, and paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One head on held-out clips.

    Attributes:
        top1: accuracy, 0..1.
        loss: mean cross-entropy, in nats.
        scenes: form of the scene test ─► accuracy, 0..1; empty where it was not made.
    """

    top1: float
    loss: float
    scenes: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """All of them by name."""
        return {"top1": self.top1, "loss": self.loss, **self.scenes}


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; the error is NaN where one value is all there is."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of independent values."""
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), spread / math.sqrt(len(values)))

    @property
    def clear(self) -> bool:
        """Whether it differs from 0 by more than two standard errors."""
        return abs(self.mean) > 2 * self.error

    def points(self) -> str:
        """In percentage points, such as "+1.3 ± 0.6"."""
        error = "" if math.isnan(self.error) else f" ± {100 * self.error:.1f}"
        return f"{100 * self.mean:+.1f}{error}"

    def plain(self) -> str:
        """As it is, such as "-0.04 ± 0.01"."""
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.mean:+.2f}{error}"


def mean_score(draws: Sequence[Score]) -> dict[str, float]:
    """Mean figures over draws of pairs."""
    names = draws[0].figures()
    return {name: statistics.fmean(draw.figures()[name] for draw in draws) for name in names}


def differences(
    arm: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]
) -> dict[str, Estimate]:
    """Paired differences of an arm to another, over folds or splits.

    Args:
        arm, base: the figures on each fold, in the same order.
    """
    pairs = list(zip(arm, base, strict=True))
    names = [name for name in arm[0] if all(name in one and name in other for one, other in pairs)]
    return {name: Estimate.of([one[name] - other[name] for one, other in pairs]) for name in names}
