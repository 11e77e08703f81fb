"""One pass over a pool: which pairs are worth a closer look, in memory that the pool does not set.

A pass scores every pair that may still be taken and keeps a fixed number. Half of them are the
best of all. The other half are the best of each stratum (each match of classes, where matches are
capped): without them a few matches with the best scores, which are full after some dozen pairs,
would fill all places, and it would take a pass to get past them each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l2a.errors import L2AError
from l2a.progress import Report
from selector.caps import Allowance, Counts, Pairs
from selector.score import Numbers, Scorer

Logits = NDArray[np.float32]

EVERYTHING = np.iinfo(np.int64).max
"""Where nothing is missing, however far one goes."""

BLOCK = 65_536  # pairs that are scored between two looks at what is kept
_STRETCHES = 256
_LONGEST_STRETCH = 64 * BLOCK  # its best come back whole, so it must be longer than what is kept


class PairPool(Protocol):
    """Pairs with numbers from 0 on."""

    def __len__(self) -> int: ...

    def pairs(self, indices: NDArray[np.int64], /) -> Pairs:
        """The pairs with these numbers: int64 [n] ─► int64 [n, 2], foreground first."""
        ...


class Spread(Protocol):
    """Spreads the calls of a task over processes or machines, as a `compositing` engine does."""

    def map(
        self,
        task: Callable[[tuple[int, int]], Found],
        items: Sequence[tuple[int, int]],
        *,
        on_crash: Callable[[tuple[int, int]], Found],
        memory: int = 0,
    ) -> Iterator[Found]:
        """Yield `task(item)` for each item, in order; `on_crash(item)` where it died twice."""
        ...


@dataclass(frozen=True)
class Found:
    """What one stretch of a pool has to offer.

    Attributes:
        numbers: int64 [n], ascending.
        logits: float32 [n].
        allowed: how many pairs were allowed, kept or not.
        by_class: int64 [C], how many pairs of the stretch have each class in front.
    """

    numbers: Numbers
    logits: Logits
    allowed: int
    by_class: Counts


@dataclass(frozen=True)
class Candidates:
    """The kept pairs of a pass, best first: by falling logit, ties by number.

    Attributes:
        numbers: int64 [n].
        logits: float32 [n].
        pairs: int64 [n, 2].
        complete: int64 [strata]: among so many of the first candidates nothing of the stratum is
            missing.
        overall: among so many of the first nothing is missing at all.
    """

    numbers: Numbers
    logits: Logits
    pairs: Pairs
    complete: NDArray[np.int64]
    overall: int

    def without(self, numbers: Numbers) -> Candidates:
        """All but these numbers; only of candidates of which nothing is missing."""
        rest = ~np.isin(self.numbers, numbers)
        numbers, logits, pairs = self.numbers[rest], self.logits[rest], self.pairs[rest]
        return replace(self, numbers=numbers, logits=logits, pairs=pairs)

    def without_pairs(self) -> Candidates:
        """The same for counting alone: the pairs' memory is given back."""
        return replace(self, pairs=np.empty((0, 2), np.int64))


class Keeper:
    """The best of a stream whose numbers ascend, and the best of each of its strata.

    Args:
        most: how many pairs to keep, or one of each stratum; a quarter more are held.
        strata: strata are numbered below this.
    """

    def __init__(self, most: int, strata: int) -> None:
        self._most = most
        self._overall = most if strata == 1 else max(1, most // 2)
        self._each = 0
        self._floor = -np.inf
        self._floors = np.full(strata, -np.inf, np.float32)
        self._held: list[tuple[Numbers, Logits, NDArray[np.int32]]] = []
        self._count, self._full = 0, most + most // 4

    def add(self, numbers: Numbers, logits: Logits, strata: NDArray[np.int64]) -> None:
        """Take in pairs whose numbers are above those before."""
        # What only equals the floor comes later than what made it, and loses the tie.
        if len(self._floors) == 1:
            good = logits > self._floor
        else:
            good = logits > np.minimum(self._floors[strata], self._floor)
        if good.any():
            self._held.append((numbers[good], logits[good], strata[good].astype(np.int32)))
            self._count += len(self._held[-1][0])
            if self._count >= self._full:
                self._reduce()

    def kept(self) -> tuple[Numbers, Logits]:
        """What is kept, by number."""
        self._reduce()
        numbers, logits, _ = self._held[0]
        return numbers, logits

    def ranked(self, pool: PairPool, allowed: int) -> Candidates:
        """What is kept, best first.

        Args:
            allowed: how many pairs have been added, or were worse than what a keeper like this one
                kept of a part of the stream.
        """
        self._reduce()
        numbers, logits, strata = self._held[0]
        order = np.argsort(-logits, kind="stable")
        complete = np.full(len(self._floors), EVERYTHING)
        overall = EVERYTHING
        if allowed > len(order):
            overall = self._overall
            if self._each:
                places, ranks = _within(strata[order])
                last = places[ranks == self._each - 1]
                complete[strata[order][last]] = np.maximum(last + 1, overall)
            else:
                complete[:] = overall
        return Candidates(
            numbers[order], logits[order], pool.pairs(numbers[order]), complete, overall
        )

    def _reduce(self) -> None:
        """Keep what has a place, and raise the floors to the worst of it."""
        empty = (np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int32))
        numbers, logits, strata = map(np.concatenate, zip(*(self._held or [empty]), strict=True))
        self._held = []  # the memory for the sorting
        if len(numbers) > self._overall or len(self._floors) > 1:
            order = np.argsort(-logits, kind="stable")
            keep = np.zeros(len(order), np.bool_)
            keep[order[: self._overall]] = True
            if len(order) >= self._overall:
                self._floor = float(logits[order[self._overall - 1]])
            if len(self._floors) > 1:
                # Strata still to come lower the number for each, never below what was dropped.
                self._each = max(1, self._most // 2 // max(1, len(np.unique(strata))))
                places, ranks = _within(strata[order])
                keep[order[places[ranks < self._each]]] = True
                last = order[places[ranks == self._each - 1]]
                self._floors[strata[last]] = logits[last]
            numbers, logits, strata = numbers[keep], logits[keep], strata[keep]
        self._held, self._count = [(numbers, logits, strata)], len(numbers)
        # More strata than `most` keep more pairs; to be full again must still take a while.
        self._full = max(self._most, self._count) + self._most // 4


@dataclass(frozen=True)
class Scan:
    """The task of a pass: a stretch of pair numbers (start, stop) ─► what it has to offer.

    It has the methods of a task that asks a network, so that an engine which gives out GPUs places
    it on one.

    Attributes:
        pool, scorer: what is scored by what.
        allowance: full videos, matches and classes are not scored.
        taken: int64, ascending: numbers of pairs that are taken already.
        most: see `Keeper`.
    """

    pool: PairPool
    scorer: Scorer
    allowance: Allowance
    taken: Numbers
    most: int

    def __call__(self, stretch: tuple[int, int], report: Report | None = None) -> Found:
        """Go through one stretch; `report(done, total)` is told of its pairs."""
        start, stop = stretch
        keeper = Keeper(self.most, self.allowance.strata)
        by_class = self.allowance.foreground_classes(np.empty((0, 2), np.int64))
        allowed = 0
        before: tuple[Numbers, Pairs, Tensor] | None = None
        for numbers, pairs in self._blocks(start, stop):
            # A GPU goes to work on this block while the one before is looked at.
            scored = (numbers, pairs, self.scorer(numbers, pairs))
            if before:
                self._look(keeper, *before)
            before = scored
            allowed += len(numbers)
            by_class += self.allowance.foreground_classes(pairs)
            if report:
                report(int(numbers[-1]) + 1 - start, stop - start)
        if before:
            self._look(keeper, *before)
        return Found(*keeper.kept(), allowed, by_class)

    def networks(self) -> tuple[str, ...]:
        """The part that wants a GPU."""
        return ("scorer",)

    def placed(self, device: str, frames_at_once: int) -> Scan:
        """This task on `device`; it has no frames."""
        return replace(self, scorer=self.scorer.on(device))

    def hosted(self, answer: Callable[..., Any]) -> Scan:
        """This task as it is: what it would ask another process for is all of its work."""
        return self

    def answer(self, part: str, *arguments: Any) -> Any:
        """Nobody asks, see `hosted`."""
        raise NotImplementedError(part)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[Numbers, Pairs]]:
        """What may be taken, `BLOCK` pairs at a time whatever lies between."""
        held: list[tuple[Numbers, Pairs]] = []
        count = 0
        for first in range(start, stop, BLOCK):
            numbers = np.arange(first, min(first + BLOCK, stop))
            pairs = self.pool.pairs(numbers)
            free = self.allowance.free(pairs)
            low, high = np.searchsorted(self.taken, (first, first + len(numbers)))
            free[self.taken[low:high] - first] = False
            held.append((numbers, pairs) if free.all() else (numbers[free], pairs[free]))
            count += len(held[-1][0])
            if count >= BLOCK:
                numbers, pairs = (np.concatenate(part) for part in zip(*held, strict=True))
                yield numbers[:BLOCK], pairs[:BLOCK]
                held, count = [(numbers[BLOCK:], pairs[BLOCK:])], count - BLOCK
        if count:
            numbers, pairs = (np.concatenate(part) for part in zip(*held, strict=True))
            yield numbers, pairs

    def _look(self, keeper: Keeper, numbers: Numbers, pairs: Pairs, scores: Tensor) -> None:
        logits: Logits = scores.cpu().numpy()
        if not np.isfinite(logits).all():
            fore, back = pairs[int(np.flatnonzero(~np.isfinite(logits))[0])]
            raise L2AError(
                f"The score of the pair of rows ({fore}, {back}) is not a finite number; "
                "train the Selector again, or look for broken features."
            )
        keeper.add(numbers, logits, self.allowance.stratum(pairs))


def find_candidates(
    scan: Scan, spread: Spread | None, report: Report | None
) -> tuple[Candidates, Counts]:
    """One pass: the candidates, and int64 [C], how many allowed pairs have each class in front.

    Args:
        spread: who works; None is this process.
        report: called as `report(pairs gone through, pairs in the pool)`.
    """
    total = len(scan.pool)
    size = total
    results: Iterator[Found]
    if spread is None:
        results = iter([scan((0, total), report)])
    else:
        size = min(_LONGEST_STRETCH, BLOCK * max(1, -(-total // (BLOCK * _STRETCHES))))
        stretches = [(start, min(start + size, total)) for start in range(0, total, size)]
        results = spread.map(scan, stretches, on_crash=scan, memory=scan.scorer.memory())
    keeper = Keeper(scan.most, scan.allowance.strata)
    by_class = scan.allowance.foreground_classes(np.empty((0, 2), np.int64))
    allowed = 0
    for done, found in enumerate(results, start=1):
        pairs = scan.pool.pairs(found.numbers)
        keeper.add(found.numbers, found.logits, scan.allowance.stratum(pairs))
        allowed += found.allowed
        by_class += found.by_class
        del pairs, found
        if report and spread is not None:
            report(min(done * size, total), total)
    return keeper.ranked(scan.pool, allowed), by_class


def _within(groups: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places sorted by group, and each one's rank in its group; within a group, order is kept."""
    # Stable sorts of 16-bit numbers take a tenth of the time.
    small = groups.astype(np.uint16) if len(groups) and groups.max() < 2**16 else groups
    places = np.argsort(small, kind="stable")
    ordered = groups[places]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    return places, np.arange(len(ordered)) - np.repeat(starts, lengths)
