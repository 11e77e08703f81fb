"""How heads compare: a score for each draw of pairs, and paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.scene_test.scores import Estimate as OverRecordings


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
    """A mean with its standard error.

    Attributes:
        mean: of shares, differences of shares, or nats.
        error: its standard error; NaN where one value is all there is.
        freedom: degrees of freedom of the error.
    """

    mean: float
    error: float
    freedom: int = 10_000

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of independent values."""
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        error = spread / math.sqrt(len(values))
        return cls(statistics.fmean(values), error, max(1, len(values) - 1))

    @classmethod
    def clustered(cls, values: NDArray[np.float64], recordings: NDArray[np.int64]) -> Estimate:
        """Of clips, whose recordings are independent and not they: a cluster-robust error.

        Args:
            values: float64 [n]; NaN where a clip has none.
            recordings: int64 [n].
        """
        found = OverRecordings.of(values, recordings)
        count = len(np.unique(recordings[~np.isnan(values)]))
        return cls(found.mean, found.error, max(1, count - 1))

    def sure(self, comparisons: int) -> bool:
        """Whether it differs from 0 where so many figures are looked at together.

        By chance alone one of them comes out sure in 20 such tables (Bonferroni), by Student's t.
        """
        return not math.isnan(self.error) and abs(self.mean) > self.error * self.reach(comparisons)

    def reach(self, comparisons: int = 1) -> float:
        """How many standard errors a 95 % confidence interval of so many figures reaches."""
        z = statistics.NormalDist().inv_cdf(1 - 0.025 / comparisons)
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        return z + first / self.freedom + second / self.freedom**2  # Cornish and Fisher 1938

    @property
    def clear(self) -> bool:
        """Whether it differs from 0 by more than two standard errors."""
        return abs(self.mean) > 2 * self.error

    def points(self) -> str:
        """In percentage points, such as "+1.3 ± 0.6"."""
        error = "" if math.isnan(self.error) else f" ± {100 * self.error:.1f}"
        return f"{100 * self.mean:+.1f}{error}"

    def share(self) -> str:
        """A share in percent, such as "35.0 ± 2.1 %"."""
        error = "" if math.isnan(self.error) else f" ± {100 * self.error:.1f}"
        return f"{100 * self.mean:.1f}{error} %"

    def to_json(self) -> dict[str, float | None]:
        """Plain values; None for NaN."""
        return {
            name: None if math.isnan(value) else round(value, 6)
            for name, value in (("mean", self.mean), ("error", self.error))
        }

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
