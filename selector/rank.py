"""From a trained Selector to the pairs that are worth compositing.

Learn2Augment, end of Sec. 4.1: the number of composites is the budget, and the threshold on ω is
whatever makes the top-ranked pairs fill it. Pairs are ranked by logit, because ω saturates, and
ties go to the pair that comes first in the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from l2a.progress import Report
from selector.allowance import Allowance
from selector.candidates import Scan, find_candidates
from selector.caps import Caps, SelectionLimits, split_budget, split_matches
from selector.keeper import EVERYTHING, Candidates
from selector.protocols import Counts, Executor, Logits, Numbers, PairPool, Pairs, Scorer
from selector.score import RandomScorer

CANDIDATES = 1 << 19
"""How many pairs a pass keeps, or four times the budget if that is more."""

_WALK = 4096


@dataclass(frozen=True)
class RankedPairs:
    """Pairs with their scores, best first.

    Attributes:
        pairs: int64 [n, 2], rows of (foreground, background).
        logits: float32 [n], descending.
        numbers: int64 [n], of the pairs in their pool.
    """

    pairs: Pairs
    logits: Logits
    numbers: Numbers

    @property
    def omega(self) -> Logits:
        """float32 [n], the sigmoids of the logits."""
        # In double precision and by tanh, which does not overflow: ω = (1 + tanh(z/2)) / 2.
        omega: Logits = (0.5 * (1 + np.tanh(self.logits.astype(np.float64) / 2))).astype(np.float32)
        return omega


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The outcome of a choice.

    Attributes:
        chosen: as many pairs as the budget. After `select_random` all logits are 0 (ω = 0.5).
        spares: the next best pairs that caps and quotas allow: for an export, where a chosen pair
            may turn out not to be makeable.
        considered: how many pairs the pool held.
        caps: the caps in force at the end; None when there were none.
        relaxed: how often the caps were doubled because the budget did not fit under them.
        short: classes whose pairs did not suffice for their share of the budget.
        passed_over: how many pairs rank above the last chosen one and were not chosen, because of
            caps and quotas.
        passed_over_more: there may be more of them than that; they were not all counted.
        passes: number of passes over the pool.
        share: 0 for the best pairs; otherwise they were drawn at random from so large a share of
            each foreground class's pairs (`selector.sharpness`), and `passed_over` counts what was
            drawn before the last one and not chosen.
    """

    chosen: RankedPairs
    spares: RankedPairs
    considered: int
    caps: Caps | None
    relaxed: int
    short: tuple[int, ...]
    passed_over: int
    passed_over_more: bool
    passes: int
    share: float = 0.0

    @property
    def pairs(self) -> Pairs:
        """int64 [budget, 2], those of `chosen`."""
        return self.chosen.pairs

    @property
    def logits(self) -> Logits:
        """float32 [budget], those of `chosen`."""
        return self.chosen.logits

    @property
    def omega(self) -> Logits:
        """float32 [budget], those of `chosen`."""
        return self.chosen.omega

    @property
    def threshold(self) -> float:
        """The smallest chosen ω."""
        return float(self.omega[-1])


def select_top(
    pool: PairPool,
    scorer: Scorer,
    budget: int,
    limits: SelectionLimits,
    *,
    spares: int = 0,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Selection:
    """The `budget` best pairs that caps and quotas allow, exactly.

    The ranking is walked from the top, and a pair is taken unless a cap or a quota forbids it. If
    the end is reached before the budget, every cap is doubled and the walk begins again with the
    pairs left over, as often as needed: the budget is always met, and `relaxed` says at what price.

    The ranking is never there as a whole. A pass over the pool keeps `CANDIDATES` pairs; they are
    walked as far as nothing is missing between them; if the budget is not met by then, another
    pass goes over the pairs that may still be taken.

    Memory: below 100 MB besides the scorer's, whatever the pool (more for budgets above 130,000).

    Args:
        pool: where the pairs come from.
        scorer: what ranks them.
        budget: how many pairs to choose.
        limits: the classes of the rows, and what one video, recording or class may take.
        spares: how many pairs to name beyond the budget, as far as the pool goes. They do not
            change which are chosen, nor the caps that are reported.
        executor: scores in parallel, such as a cluster; None: in this process. Same result.
        report: called as `report(pairs done, pairs in the pool)` in each pass.

    Raises:
        InputError: the budget is below 1 or larger than the pool.
        L2AError: a score is not a finite number.
    """
    _check_budget(budget, len(pool))
    everything = budget + min(spares, len(pool) - budget)
    search = _Search(pool, scorer, limits, everything, executor, report)
    if limits.weights is None:
        caps, relaxed = search.fill(everything, settle_at=budget)
    else:
        # Quotas are those of the budget first, so that the chosen pairs meet them exactly.
        caps, relaxed = search.fill(budget, settle_at=budget)
        if everything > budget:
            search.widen_quotas(everything)
            search.fill(everything, settle_at=everything)
    numbers, logits = _ranked(search.numbers[:budget], search.logits[:budget])
    spare_numbers, spare_logits = _ranked(search.numbers[budget:], search.logits[budget:])
    passed_over, more = search.passed_over(numbers, logits)
    return Selection(
        chosen=RankedPairs(pool.pairs(numbers), logits, numbers),
        spares=RankedPairs(pool.pairs(spare_numbers), spare_logits, spare_numbers),
        considered=len(pool),
        caps=caps if caps.any else None,
        relaxed=relaxed,
        short=search.short,
        passed_over=passed_over,
        passed_over_more=more,
        passes=search.passes,
    )


def select_random(
    pool: PairPool, budget: int, rng: np.random.Generator, limits: SelectionLimits
) -> Selection:
    """`budget` pairs drawn uniformly without replacement: what a Selector has to beat.

    A random ranking under the same caps and quotas, so that the comparison differs in the ranking
    alone. The arguments are those of `select_top`.
    """
    drawn = select_top(pool, RandomScorer(int(rng.integers(2**63))), budget, limits)
    chosen = replace(drawn.chosen, logits=np.zeros(budget, np.float32))
    return replace(drawn, chosen=chosen, share=1.0)


class _Search:
    """The walk down a ranking that is never there as a whole.

    Attributes:
        numbers: int64 [n], numbers of the pairs taken so far, in the order of the walk.
        logits: float32 [n], theirs.
        short: see `Selection`.
        passes: see `Selection`.
    """

    def __init__(
        self,
        pool: PairPool,
        scorer: Scorer,
        limits: SelectionLimits,
        everything: int,
        executor: Executor | None,
        report: Report | None,
    ) -> None:
        self.numbers: Numbers = np.empty(0, np.int64)
        self.logits: Logits = np.empty(0, np.float32)
        self.short: tuple[int, ...] = ()
        self.passes = 0
        self._pool, self._scorer = pool, scorer
        self._limits = limits
        self._allowance = Allowance(limits)
        self._most = _most(everything) if self._allowance.anything else everything
        self._executor, self._report = executor, report
        self._capacity: Counts = np.empty(0, np.int64)
        self._first: Candidates | None = None

    def fill(self, target: int, settle_at: int) -> tuple[Caps, int]:
        """Take pairs until there are `target`, relaxing the caps where they forbid that.

        Returns:
            The caps that were in force when `settle_at` pairs had been taken, and how often they
            had been doubled by then.
        """
        settled: tuple[Caps, int] | None = None
        while settled is None or len(self.numbers) < target:
            candidates = self._candidates(settle_at)
            taken, finished = self._walk(candidates, target - len(self.numbers))
            self.numbers = np.concatenate([self.numbers, candidates.numbers[taken]])
            self.logits = np.concatenate([self.logits, candidates.logits[taken]])
            del candidates  # another pass makes its own
            if settled is None and len(self.numbers) >= settle_at:
                settled = self._allowance.caps, self._allowance.relaxed
            if finished and len(self.numbers) < target:
                self._allowance.relax()
        return settled

    def widen_quotas(self, everything: int) -> None:
        """Give classes or matches the quotas of a larger budget, less what they have taken."""
        larger, _ = self._quotas(everything)
        used = self._allowance.shares(self._pool.pairs(self.numbers))
        self._allowance.set_quotas(np.maximum(larger - used, 0))

    def _quotas(self, budget: int) -> tuple[Counts, tuple[int, ...]]:
        """What of a budget each foreground class, int64 [C], or each match gets, int64 [C, C]; and
        the classes that have too few pairs for their share."""
        limits = self._limits
        assert limits.weights is not None
        if limits.background_weights is None:
            return split_budget(budget, limits.weights, self._capacity)
        return split_matches(budget, limits.weights, limits.background_weights, self._capacity)

    def passed_over(self, numbers: Numbers, logits: Logits) -> tuple[int, bool]:
        """How many pairs outrank the last chosen one without being chosen; whether that is too few.

        Args:
            numbers, logits: the chosen pairs, best first.
        """
        first, last = self._first, logits[-1]
        assert first is not None
        better = (first.logits > last) | ((first.logits == last) & (first.numbers < numbers[-1]))
        known = np.sort(first.numbers[better])
        places = np.searchsorted(known, numbers)
        chosen = known.take(places, mode="clip") == numbers if len(known) else places < 0
        return len(known) - int(chosen.sum()), len(known) >= first.overall

    def _walk(self, candidates: Candidates, missing: int) -> tuple[NDArray[np.int64], bool]:
        """Take candidates from the top; their positions, and whether nothing else can be taken."""
        allowance = self._allowance
        if not allowance.anything:
            return np.arange(missing), False
        taken: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        start, end = 0, len(candidates.numbers)
        while missing:
            # Beyond this a pair may be missing, of a stratum that still takes some.
            stop = int(candidates.complete[allowance.open_strata()].min(initial=EVERYTHING))
            if start >= min(stop, end):
                return np.concatenate(taken), stop > end
            part = slice(start, min(start + _WALK, stop))
            found = allowance.take(self._pool.pairs(candidates.numbers[part]), missing)
            taken.append(found + start)
            missing -= len(found)
            start = part.stop
        return np.concatenate(taken), False

    def _candidates(self, budget: int) -> Candidates:
        """The best pairs that may still be taken."""
        if self._first is not None and len(self._first.numbers) == len(self._pool):
            return self._first.without(self.numbers)  # all of the pool is here
        balanced = self._limits.weights is not None and self._first is None
        taken = np.sort(self.numbers)
        scan = Scan(self._pool, self._scorer, self._allowance, taken, self._most, balanced)
        candidates, by_quota = find_candidates(scan, self._executor, self._report)
        self.passes += 1
        if by_quota is not None:
            self._capacity = by_quota
            quotas, self.short = self._quotas(budget)
            self._allowance.set_quotas(quotas)
        self._first = self._first or candidates
        return candidates


def describe(selection: Selection, class_names: Sequence[str]) -> str:
    """One line about a choice, which does not hide it when caps decided more than scores."""
    text = (
        f"selected {len(selection.pairs)} of {selection.considered} pairs, "
        f"ω ≥ {selection.threshold:.4g}"
    )
    if selection.share:
        text += f", drawn from {_part(selection.share)} of each class"
    if below := int((selection.omega < 0.5).sum()):
        text += f", {below} of them below 0.5"
    if selection.passed_over:
        least = "at least " if selection.passed_over_more else ""
        kind = "drawn" if selection.share else "better"
        text += f"; {least}{selection.passed_over} {kind} pairs passed over for caps or quotas"
    if selection.relaxed:
        times = "once" if selection.relaxed == 1 else f"{selection.relaxed} times"
        text += f"; caps doubled {times} to meet the budget"
    if selection.short:
        names = ", ".join(class_names[index] for index in selection.short)
        text += f"; too few pairs for a share of their own: {names}"
    return text


def _part(share: float) -> str:
    return {0.5: "the better half", 1.0: "all pairs"}.get(share, f"the best {100 * share:.3g} %")


def _ranked(numbers: Numbers, logits: Logits) -> tuple[Numbers, Logits]:
    order = np.lexsort((numbers, -logits))
    return numbers[order], logits[order]


def _most(budget: int) -> int:
    return max(4 * budget, CANDIDATES)


def _check_budget(budget: int, available: int) -> None:
    if budget < 1:
        raise InputError(f"The budget is {budget}; give 1 or more.")
    if budget > available:
        raise InputError(
            f"The budget is {budget} pairs and the pool holds {available}; lower the budget, or "
            "match each class with more classes."
        )
