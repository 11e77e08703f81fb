"""Means with their standard errors, and how far their confidence intervals reach.

Clips of one recording look alike, so that errors are computed over recordings (a cluster-robust
standard error), not over clips.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SERIES = 100
"""Degrees of freedom up to which Student's t is inverted from its sum; above, an expansion by
powers of their inverse has more digits than anybody prints."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error.

    Attributes:
        mean: of shares, differences of shares, or nats; NaN where there is nothing to average.
        error: its standard error; NaN for fewer than two independent values.
        count: values that were averaged; None where that is not kept.
        freedom: degrees of freedom of the error; None for many.
    """

    mean: float
    error: float
    count: int | None = None
    freedom: int | None = None

    @classmethod
    def of(cls, values: NDArray[np.float64], recordings: NDArray[np.int64]) -> Estimate:
        """Mean of values [n] that are not NaN, and its error, clusters being recordings [n].

        With residuals summed by recording, e_g: error² = G / (G − 1) · Σ e_g² / n².
        """
        there = ~np.isnan(values)
        found, groups = values[there], recordings[there]
        if len(found) == 0:
            return cls(math.nan, math.nan, 0, 1)
        mean = float(found.mean())
        _, group = np.unique(groups, return_inverse=True)
        sums = np.bincount(group, weights=found - mean)
        if len(sums) < 2:
            return cls(mean, math.nan, len(found), 1)
        spread = float(np.sum(sums**2)) * len(sums) / (len(sums) - 1)
        return cls(mean, math.sqrt(spread) / len(found), len(found), len(sums) - 1)

    def above(self, value: float) -> Estimate:
        """The same, less a value that is known for sure."""
        return replace(self, mean=self.mean - value)

    def sure(self, comparisons: int) -> bool:
        """Whether it differs from 0 where so many figures are looked at together.

        By chance alone one of them comes out sure in 20 such tables (Bonferroni), by Student's t.
        """
        return not math.isnan(self.error) and abs(self.mean) > self.error * self.reach(comparisons)

    def reach(self, comparisons: int = 1) -> float:
        """How many standard errors a 95 % confidence interval of so many figures reaches."""
        return student(self.freedom, comparisons)

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

    def plain(self) -> str:
        """As it is, such as "-0.04 ± 0.01"."""
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.mean:+.2f}{error}"

    def to_json(self) -> dict[str, float | None]:
        """Mean and error as plain values; None for NaN."""
        return {"mean": plain(self.mean), "error": plain(self.error)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Estimate:
        """What `to_json` gave, and the count, where it was kept beside."""
        return cls(number(value["mean"]), number(value["error"]), value.get("count"))


@lru_cache(maxsize=1024)
def student(freedom: int | None, comparisons: int = 1) -> float:
    """How many standard errors a 95 % confidence interval reaches to each side.

    Two, for many values; for three it is more than four.

    Args:
        freedom: degrees of freedom, 1 or more: independent values less one; None for many.
        comparisons: figures that are looked at together, each with its share of the 5 %.
    """
    outside = 0.05 / comparisons
    z = statistics.NormalDist().inv_cdf(1 - outside / 2)
    if freedom is None:
        return z
    if freedom > _SERIES:  # Cornish and Fisher 1938
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        return z + first / freedom + second / freedom**2
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 1 - outside else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
    """P(|t| < √freedom · tan(angle)): a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for place in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (place - 1) / place
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def plain(value: float) -> float | None:
    """A number as JSON can hold it; None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def number(value: float | None) -> float:
    """What `plain` gave."""
    return math.nan if value is None else float(value)
