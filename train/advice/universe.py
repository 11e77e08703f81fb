"""Pairs of a pool whose features are worth computing: many enough to draw from again and again.

A draw of pairs takes milliseconds, the features of a composite tens of them. So as many pairs of a
pool as several draws need are drawn once, and every draw is from these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selector.protocols import Numbers, Pairs


@dataclass(frozen=True)
class ListedPool:
    """A pool that is a list, as a `selector.protocols.PairPool`.

    Attributes:
        listed: bank rows (foreground, background), int64 `[n, 2]`.
    """

    listed: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.listed)

    def pairs(self, indices: Numbers, /) -> Pairs:
        """See `PairPool`."""
        return self.listed[indices]

    def block(self, start: int, stop: int, /) -> Pairs:
        """See `PairPool`."""
        return self.listed[start:stop]

    def without(self, rows: NDArray[np.int64]) -> ListedPool:
        """The pairs in which none of some videos stands."""
        return ListedPool(self.listed[~np.isin(self.listed, rows).any(axis=1)])
