"""One pass over a pool: which pairs are worth a closer look, in memory that the pool does not set.

A pass scores every pair that may still be taken and keeps a fixed number. Half of them are the
best of all. The other half are the best of each stratum (each match of classes, where matches are
capped): without them a few matches with the best scores, which are full after some dozen pairs,
would fill all places, and it would take a pass to get past them each time.

What a pass does with every pair is little: the pair is made from its number, scored, and compared
with the worst that is kept. Everything else is done with the few that are better than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2a.errors import L2AError
from l2a.progress import Report
from selector.allowance import Allowance
from selector.keeper import Candidates, Keeper, Strata
from selector.protocols import (
    Counts,
    Executor,
    Logits,
    Numbers,
    PairPool,
    Pairs,
    Scorer,
    Stretch,
)

BLOCK = 65_536  # pairs that are scored between two looks at what is kept
_STRETCHES = 256
_LONGEST_STRETCH = 64 * BLOCK  # its best come back whole, so it must be longer than what is kept


@dataclass(frozen=True)
class ScanResult:
    """What one stretch of a pool has to offer.

    Attributes:
        numbers: int64 [n], ascending.
        logits: float32 [n].
        strata: int32 [n], see `Allowance.stratum`.
        allowed: how many pairs were allowed, kept or not.
        by_quota: how many pairs of the stretch count for each quota, see `Allowance.shares`; None
            where not requested.
    """

    numbers: Numbers
    logits: Logits
    strata: Strata
    allowed: int
    by_quota: Counts | None


@dataclass(frozen=True)
class Block:
    """Some pairs on their way: numbered, and on the device that scores them.

    Attributes:
        numbers: int64 [n].
        pairs: int64 [n, 2], in this process.
        there: the same, int64 [n, 2], where they are scored.
        scores: float32 [n], there; a GPU may still be working on them.
    """

    numbers: Numbers
    pairs: Pairs
    there: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Scan:
    """The task of a pass: a stretch of pair numbers (start, stop) ─► what it has to offer.

    It has the methods of `compositing.engines.base.NetworkTask`, so that an engine that assigns
    GPUs puts it on one.

    Attributes:
        pool, scorer: what is scored by what.
        allowance: full videos, matches and classes are not scored; full recordings are not kept.
        taken: int64, ascending: numbers of pairs that are taken already.
        most: see `Keeper`.
        count_quotas: count the pairs that each quota could take.
    """

    pool: PairPool
    scorer: Scorer
    allowance: Allowance
    taken: Numbers
    most: int
    count_quotas: bool = False

    def __call__(self, stretch: Stretch) -> ScanResult:
        """Go through one stretch."""
        keeper, allowed, by_quota = self.keep(stretch)
        return ScanResult(*keeper.kept(), allowed, by_quota)

    def keep(
        self, stretch: Stretch, report: Report | None = None
    ) -> tuple[Keeper, int, Counts | None]:
        """The same, with what is kept still in its keeper.

        Args:
            stretch: numbers of pairs.
            report: called as `report(pairs done, pairs in the stretch)`.

        Returns:
            The best pairs, and `allowed` and `by_quota` of a `ScanResult`.
        """
        start, stop = stretch
        keeper = Keeper(self.most, self.allowance.strata, self.scorer.device)
        by_quota = self.allowance.no_shares() if self.count_quotas else None
        allowed = 0
        before: Block | None = None
        for numbers, pairs in self._blocks(start, stop):
            # A GPU goes to work on this block while the one before is looked at.
            block = self._scored(numbers, pairs)
            if before:
                allowed += self._look(keeper, before)
            before = block
            if by_quota is not None:
                by_quota += self.allowance.shares(pairs)
            if report:
                report(int(numbers[-1]) + 1 - start, stop - start)
        if before:
            allowed += self._look(keeper, before)
        return keeper, allowed, by_quota

    def networks(self) -> tuple[str, ...]:
        """The part that needs a GPU."""
        return ("scorer",)

    def on_device(self, device: str, frames_at_once: int) -> Scan:
        """This task on `device`; it has no frames."""
        return replace(self, scorer=self.scorer.on(device))

    def hosted(self, infer: Callable[..., Any]) -> Scan:
        """This task unchanged: the scoring is all of its work, so no other process can do it."""
        return self

    def infer(self, part: str, *arguments: Any) -> Any:
        """Never called, see `hosted`."""
        raise NotImplementedError(part)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[Numbers, Pairs]]:
        """What may be taken, `BLOCK` pairs at a time whatever lies between."""
        held: list[tuple[Numbers, Pairs]] = []
        count = 0
        for first in range(start, stop, BLOCK):
            numbers, pairs = self._allowed(first, min(first + BLOCK, stop))
            if len(numbers) == BLOCK and not held:
                yield numbers, pairs
                continue
            held.append((numbers, pairs))
            count += len(numbers)
            if count >= BLOCK:
                numbers, pairs = _joined(held)
                yield numbers[:BLOCK], pairs[:BLOCK]
                held, count = [(numbers[BLOCK:], pairs[BLOCK:])], count - BLOCK
                held = held if count else []
        if count:
            yield _joined(held)

    def _allowed(self, first: int, stop: int) -> tuple[Numbers, Pairs]:
        """The pairs with the numbers from `first` to below `stop` that may still be scored."""
        numbers, pairs = np.arange(first, stop), self.pool.block(first, stop)
        free = self.allowance.free(pairs)
        low, high = np.searchsorted(self.taken, (first, stop))
        if high > low:
            free = np.ones(len(numbers), np.bool_) if free is None else free
            free[self.taken[low:high] - first] = False
        if free is None or free.all():
            return numbers, pairs
        places = np.flatnonzero(free)
        return numbers.take(places), pairs.T.take(places, axis=1).T

    def _scored(self, numbers: Numbers, pairs: Pairs) -> Block:
        there = torch.from_numpy(pairs).to(self.scorer.device)
        return Block(numbers, pairs, there, self.scorer(numbers, there))

    def _look(self, keeper: Keeper, block: Block) -> int:
        """Keep what deserves it; how many pairs of the block were allowed."""
        if not bool(block.scores.sum().isfinite()):  # the sum of finite ones may be too large too
            _refuse_broken(block)
        strata = self.allowance.stratum(block.there)
        there = keeper.passing(block.scores, strata)
        places = there.cpu().numpy()
        fits = self.allowance.free_recordings(block.pairs.T.take(places, axis=1).T)
        refused = len(places) - int(np.count_nonzero(fits))
        if refused:
            places = places[fits]
            there = torch.from_numpy(places).to(there.device)
        logits = block.scores.index_select(0, there).cpu().numpy()
        if strata is None:
            of_stratum = np.zeros(len(places), np.int32)
        else:
            of_stratum = strata.index_select(0, there).cpu().numpy()
        keeper.add(block.numbers.take(places), logits, of_stratum)
        return len(block.numbers) - refused


def find_candidates(
    scan: Scan, executor: Executor | None, report: Report | None
) -> tuple[Candidates, Counts | None]:
    """One pass: the candidates, and the pairs for each quota if `scan` counts them.

    Args:
        executor: runs the scans in parallel; None: in this process.
        report: called as `report(pairs done, pairs in the pool)`.
    """
    total = len(scan.pool)
    if executor is None:
        keeper, allowed, by_quota = scan.keep((0, total), report)
        return keeper.ranked(allowed), by_quota
    size = min(_LONGEST_STRETCH, BLOCK * max(1, -(-total // (BLOCK * _STRETCHES))))
    stretches = [(start, min(start + size, total)) for start in range(0, total, size)]
    results = executor.map(scan, stretches, on_crash=scan, memory=scan.scorer.memory())
    keeper = Keeper(scan.most, scan.allowance.strata)
    by_quota = scan.allowance.no_shares() if scan.count_quotas else None
    allowed = 0
    for (_, stop), found in zip(stretches, results, strict=True):
        places = keeper.passing(
            torch.from_numpy(found.logits), torch.from_numpy(found.strata)
        ).numpy()
        keeper.add(found.numbers[places], found.logits[places], found.strata[places])
        allowed += found.allowed
        if by_quota is not None and found.by_quota is not None:
            by_quota += found.by_quota
        del found
        if report:
            report(stop, total)
    return keeper.ranked(allowed), by_quota


def _joined(held: list[tuple[Numbers, Pairs]]) -> tuple[Numbers, Pairs]:
    numbers = np.concatenate([one for one, _ in held])
    return numbers, np.concatenate([pairs.T for _, pairs in held], axis=1).T


def _refuse_broken(block: Block) -> None:
    """Raise for the first score that is not a finite number, if there is one."""
    broken = (~block.scores.isfinite()).nonzero()
    if len(broken):
        foreground, background = block.pairs[int(broken[0])]
        raise L2AError(
            f"The score of the pair of rows ({foreground}, {background}) is not a finite number; "
            "train the Selector again, or look for broken features."
        )
