"""What episodes came to: accuracy with its 95 % interval, and differences over the same episodes.

An episode's accuracy is the share of its queries that are right; a result is the mean over
episodes. How sure it is depends on how many episodes were drawn, and only on that: the interval
says nothing of another class split or another training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from train.estimates import student

Interval = Literal["normal", "student-t"]

FORMULAS: Mapping[Interval, str] = {
    "normal": "1.96 · σ / √n, σ the population standard deviation over episodes",
    "student-t": "t(97.5 %, n − 1) · s / √n, s the sample standard deviation over episodes",
}
"""How far a 95 % interval reaches to each side: as TRX and those after it, and as ARN."""

_NORMAL = 1.96


@dataclass(frozen=True)
class Result:
    """A mean over episodes, with its 95 % interval.

    Attributes:
        n: episodes.
        mean: of accuracies 0..1, or of their differences, -1..1.
        reach: how far the interval goes to each side; nan where one episode says nothing of it.
        interval: by which formula of `FORMULAS`.
    """

    n: int
    mean: float
    reach: float
    interval: Interval = "normal"

    @property
    def low(self) -> float:
        """Where the interval begins."""
        return self.mean - self.reach

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.mean + self.reach

    @property
    def is_sure(self) -> bool:
        """Of a difference: whether the interval leaves out 0."""
        return abs(self.mean) > self.reach

    def __str__(self) -> str:
        """`61.25 ± 0.21`, in per cent."""
        return f"{100 * self.mean:.2f} ± {100 * self.reach:.2f}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, the formula in words among them."""
        return {
            "episodes": self.n,
            "mean": round(self.mean, 6),
            "interval_95": None if math.isnan(self.reach) else round(self.reach, 6),
            "formula": FORMULAS[self.interval],
        }


def accuracy(values: Sequence[float] | NDArray[Any], interval: Interval = "normal") -> Result:
    """The mean over episodes of accuracies, or of differences, with its 95 % interval.

    Args:
        values: one for each episode, `[n]`; n at least 1.
        interval: "normal" for 1.96 · σ / √n with the population's σ; "student-t" for ARN's.

    Raises:
        InputError: there is no such formula, or no episode.
    """
    if interval not in FORMULAS:
        raise InputError(f"There is no interval {interval!r}; choose {' or '.join(FORMULAS)}.")
    of_each = np.asarray(values, dtype=np.float64)
    n = len(of_each)
    if n == 0:
        raise InputError("No episode was scored; give one or more.")
    if n == 1:
        reach = math.nan
    elif interval == "normal":
        reach = _NORMAL * float(of_each.std()) / math.sqrt(n)
    else:
        reach = student(n - 1) * float(of_each.std(ddof=1)) / math.sqrt(n)
    return Result(n, float(of_each.mean()), reach, interval)


def paired_difference(
    own: Sequence[float] | NDArray[Any],
    base: Sequence[float] | NDArray[Any],
    interval: Interval = "normal",
) -> Result:
    """The mean of `own` minus `base` over the same episodes, with its 95 % interval.

    Far narrower than the intervals of the two apart, for hard episodes are hard for both.

    Args:
        own, base: accuracies of the same episodes in the same order, `[n]`.
        interval: as for `accuracy`.

    Raises:
        ValueError: they are not as many.
    """
    one, other = np.asarray(own, dtype=np.float64), np.asarray(base, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} accuracies against {other.shape}: not the same episodes")
    return accuracy(one - other, interval)


def score(logits: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each episode's queries that are right, 0..1, float64 `[...]`.

    Args:
        logits: `[..., Q, way]`. Where several are the highest, the share of the right one among
            them counts: a method that tells nothing apart is as good as chance, wherever classes
            stand.
        labels: int64 `[Q]`.
    """
    highest = logits == logits.max(axis=-1, keepdims=True)
    right = highest[..., np.arange(len(labels)), labels] / highest.sum(axis=-1)
    found: NDArray[np.float64] = right.mean(axis=-1)
    return found
