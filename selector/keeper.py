"""The best of a stream of scored pairs, in memory that the stream does not set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selector.protocols import Logits, Numbers

Strata = NDArray[np.int32]

EVERYTHING = np.iinfo(np.int64).max
"""Where nothing is missing, however far one goes."""


@dataclass(frozen=True)
class Candidates:
    """The kept pairs of a pass, best first: by falling logit, ties by number.

    Attributes:
        numbers: int64 [n].
        logits: float32 [n].
        complete: int64 [strata]: among so many of the first candidates nothing of the stratum is
            missing.
        overall: among so many of the first nothing is missing at all.
    """

    numbers: Numbers
    logits: Logits
    complete: NDArray[np.int64]
    overall: int

    def without(self, numbers: Numbers) -> Candidates:
        """All but these numbers; only of candidates of which nothing is missing."""
        rest = ~np.isin(self.numbers, numbers)
        return replace(self, numbers=self.numbers[rest], logits=self.logits[rest])


class Keeper:
    """The best of a stream whose numbers ascend, and the best of each of its strata.

    A pair costs one comparison with what is worst among the kept; only what passes is held, and
    what is held is thinned out when it has doubled.

    Args:
        most: how many pairs to keep, or one of each stratum; twice as many are held.
        strata: strata are numbered below this.
        device: where `passing` compares.
    """

    def __init__(self, most: int, strata: int, device: torch.device | None = None) -> None:
        self._most = most
        self._overall = most if strata == 1 else max(1, most // 2)
        self._each = 0
        nothing = np.empty(0, np.int64)
        self._last: tuple[NDArray[Any], NDArray[np.int64]] = nothing, nothing
        self._seen = np.zeros(strata, np.bool_)
        self._floor = -np.inf
        self._floors = np.full(strata, -np.inf, np.float32)
        self._device = device or torch.device("cpu")
        self._compare_with(self._floors)
        self._held: list[tuple[Numbers, Logits, Strata]] = []
        self._count, self._full = 0, 2 * most

    def passing(self, logits: Tensor, strata: Tensor | None) -> Tensor:
        """Which pairs may have a place: float32 [n] ─► int64 [k], ascending places.

        Args:
            logits: of pairs whose numbers are above all that were added.
            strata: int32 [n], on the same device; None when there is one stratum.
        """
        # What only equals a floor has a higher number than what made it, and loses the tie.
        if strata is None:
            return (logits > self._floor).nonzero().squeeze(1)
        return (logits > self._thresholds.index_select(0, strata)).nonzero().squeeze(1)

    def add(self, numbers: Numbers, logits: Logits, strata: Strata) -> None:
        """Take in pairs that passed, with numbers above those before."""
        if len(self._floors) > 1:
            keep = self._thinned(logits, strata)
            if keep is not None:
                numbers, logits, strata = numbers.take(keep), logits.take(keep), strata.take(keep)
        if len(numbers):
            self._held.append((numbers, logits, strata))
            self._count += len(numbers)
            if self._count >= self._full:
                self._reduce()

    def kept(self) -> tuple[Numbers, Logits, Strata]:
        """What is kept, by number."""
        self._reduce()
        return self._held[0]

    def ranked(self, allowed: int) -> Candidates:
        """What is kept, best first.

        Args:
            allowed: how many pairs have been added, or were worse than what a keeper like this one
                kept of a part of the stream.
        """
        order = self._reduce()
        numbers, logits, _ = self._held[0]
        complete = np.full(len(self._floors), EVERYTHING)
        overall = EVERYTHING
        if allowed > len(order):
            overall = self._overall
            if self._each:
                full, last = self._last
                complete[full] = np.maximum(last + 1, overall)
            else:
                complete[:] = overall
        return Candidates(numbers[order], logits[order], complete, overall)

    def _reduce(self) -> NDArray[np.int64]:
        """Keep what has a place, raise the floors to the worst of it, and give its ranking."""
        empty = (np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int32))
        numbers, logits, strata = map(np.concatenate, zip(*(self._held or [empty]), strict=True))
        self._held = []  # the memory for the sorting
        order = best_first(logits)
        if len(numbers) > self._overall or len(self._floors) > 1:
            keep = self._worth_keeping(logits, strata, order)
            places = np.flatnonzero(keep)
            numbers, logits, strata = (
                numbers.take(places), logits.take(places), strata.take(places)
            )  # fmt: skip
            in_order = keep.take(order)
            order = (np.cumsum(keep, dtype=np.int64) - 1).take(order[in_order])
            full, last = self._last
            self._last = full, np.cumsum(in_order, dtype=np.int64).take(last) - 1
        self._held, self._count = [(numbers, logits, strata)], len(numbers)
        # More strata than `most` keep more pairs; to be full again must still take a while.
        self._full = max(self._most, self._count) + self._most
        return order

    def _thinned(self, logits: Logits, strata: Strata) -> NDArray[np.int64] | None:
        """Which of some pairs are kept together; None where it is too early to tell.

        A pool lists its pairs match by match, so that a new stratum brings many at a time, all of
        which pass: without this they would be held, and sorted, all of them.
        """
        counts = np.bincount(strata, minlength=len(self._floors))
        self._seen |= counts > 0
        each = max(1, self._most // 2 // max(1, int(np.count_nonzero(self._seen))))
        crowded = np.flatnonzero(counts > each)
        if self._floor == -np.inf or not len(crowded):
            return None
        for stratum in crowded.tolist():
            own = logits[strata == stratum]
            worst = np.partition(own, len(own) - each)[len(own) - each]
            self._floors[stratum] = max(self._floors[stratum], worst)
        low = np.minimum(self._floors, np.float32(self._floor))
        self._compare_with(low)
        # What equals a floor may be what made it.
        return np.flatnonzero(logits >= low.take(strata))

    def _compare_with(self, floors: Logits) -> None:
        self._thresholds = torch.from_numpy(floors).to(self._device)

    def _worth_keeping(
        self, logits: Logits, strata: Strata, order: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """What of the held pairs has a place, bool [n]; the floors rise to the worst of it."""
        keep = np.zeros(len(order), np.bool_)
        keep[order[: self._overall]] = True
        if len(order) >= self._overall:
            self._floor = float(logits[order[self._overall - 1]])
        if len(self._floors) > 1:
            # Strata that are yet to appear lower the number for each, never below what was dropped.
            present = int(np.count_nonzero(np.bincount(strata)))
            self._each = max(1, self._most // 2 // max(1, present))
            places, ranks = _within(strata.take(order))
            keep[order[places[ranks < self._each]]] = True
            in_order = places[ranks == self._each - 1]
            last = order[in_order]
            full = strata[last]
            self._floors[full] = np.maximum(self._floors[full], logits[last])
            self._last = full, in_order
            self._compare_with(np.minimum(self._floors, np.float32(self._floor)))
        return keep


def best_first(logits: Logits) -> NDArray[np.int64]:
    """The order of falling logits, equal ones in the order in which they stand: int64 [n].

    As a stable sort of the negated logits would give it, in a tenth of the time: logit and place
    together are one 64-bit number each, all of them different, and such numbers sort fast.

    Args:
        logits: float32 [n], finite; n below 2³².
    """
    bits = (logits + np.float32(0)).view(np.int32)  # adding 0 makes -0 and 0 one number
    # The bits of floats ascend as the floats do, but for the negative ones, which descend.
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (~ascending).astype(np.int64)
    keys <<= 32
    keys |= np.arange(len(keys))
    keys.sort()
    keys &= 0xFFFFFFFF
    return keys


def _within(groups: Strata) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places sorted by group, and each one's rank in its group; within a group, order is kept."""
    # Stable sorts of 16-bit numbers take a tenth of the time.
    lengths = np.bincount(groups)
    small = groups.astype(np.uint16) if len(lengths) <= 2**16 else groups
    places = np.argsort(small, kind="stable")
    ranks = np.arange(len(groups))
    ranks -= np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places, ranks
