"""What the choice of pairs asks of a pool, of what scores its pairs, and of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]
"""int64 [n], numbers of pairs in their pool."""
Pairs = NDArray[np.int64]
"""int64 [n, 2], rows (foreground, background)."""
Counts = NDArray[np.int64]
Logits = NDArray[np.float32]

Stretch = tuple[int, int]
"""Numbers of pairs: the first, and the one after the last."""


class PairPool(Protocol):
    """Pairs with numbers from 0 on."""

    def __len__(self) -> int: ...

    def pairs(self, indices: Numbers, /) -> Pairs:
        """The pairs with these numbers: int64 [n] ─► int64 [n, 2], foreground first."""
        ...

    def block(self, start: int, stop: int, /) -> Pairs:
        """The pairs with the numbers from `start` to below `stop`, as `pairs` would give them."""
        ...


class Scorer(Protocol):
    """What pairs are ranked by. Picklable; a pair's score depends on the pair alone."""

    @property
    def device(self) -> torch.device:
        """Where it works, and its scores lie."""
        ...

    def __call__(self, numbers: Numbers, pairs: Pairs | Tensor) -> Tensor:
        """Scores float32 [n] of pairs, which a GPU may still be working on.

        Args:
            numbers: int64 [n], the numbers of the pairs in their pool.
            pairs: int64 [n, 2], rows (foreground, background); a tensor may lie on any device.
        """
        ...

    def on(self, device: str) -> Scorer:
        """The same, working on another device."""
        ...

    def memory(self) -> int:
        """Bytes that it takes where it works, about."""
        ...


class Executor(Protocol):
    """Distributes the calls of a task over processes or machines, as the engines of
    `compositing.engines.base.Engine` do."""

    def map(
        self,
        task: Callable[[Stretch], Any],
        items: Sequence[Stretch],
        *,
        on_crash: Callable[[Stretch], Any],
        memory: int = 0,
    ) -> Iterator[Any]:
        """Yield `task(item)` for each item, in order; `on_crash(item)` where it died twice."""
        ...
