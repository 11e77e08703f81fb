"""A pool that is a list: some pairs of a larger pool, whose features were worth computing.

A draw of pairs takes milliseconds, the features of a composite tens of them. So as many pairs of a
pool as several draws need are drawn once, and every draw is from these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2a.errors import InputError


@dataclass(frozen=True)
class ListedPool:
    """Pairs with their places as numbers; otherwise as `semantic_match.pool.Pool`.

    Attributes:
        listed: (foreground, background), int64 `[n, 2]`, each pair once.
    """

    listed: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.listed)

    def pairs(self, indices: ArrayLike, /) -> NDArray[np.int64]:
        """The pairs with these numbers: int `[m]` ─► int64 `[m, 2]`, foreground first."""
        return self.listed[np.asarray(indices, np.int64)]

    def block(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """The pairs with the numbers from `start` to below `stop`."""
        return self.listed[start:stop]

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw pairs with replacement, every pair as likely as any other: int64 `[count, 2]`.

        Raises:
            InputError: there is nothing to draw from.
        """
        if len(self) == 0:
            raise InputError("The pool has no pairs; match more classes with --matches.")
        return self.pairs(rng.integers(0, len(self), count, dtype=np.int64))
