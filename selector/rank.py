"""From a trained Selector to the pairs that are worth compositing.

Learn2Augment, end of Sec. 4.1: the number of composites is the budget, and the threshold on ω is
whatever makes the top-ranked pairs fill it. Pairs are ranked by logit, because ω saturates, and
ties go to the pair that comes first in the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from l2a.progress import Report
from selector.candidates import (
    EVERYTHING,
    Candidates,
    Logits,
    PairPool,
    Scan,
    Spread,
    find_candidates,
)
from selector.caps import Allowance, Caps, Counts, Pairs, split_budget
from selector.score import Numbers, RandomScorer, Scorer

CANDIDATES = 1 << 19
"""How many pairs a pass keeps, or four times the budget if that is more."""

_WALK = 4096


def _no_pairs() -> Pairs:
    return np.empty((0, 2), np.int64)


def _no_logits() -> Logits:
    return np.empty(0, np.float32)


@dataclass(frozen=True)
class Selection:
    """The chosen pairs, best first.

    Attributes:
        pairs: int64 [budget, 2], rows of (foreground, background).
        logits: float32 [budget], descending. All 0 (ω = 0.5) after `select_random`.
        omega: float32 [budget], their sigmoids.
        threshold: the smallest chosen ω.
        considered: how many pairs the pool held.
        caps: the caps in force at the end; None when there were none.
        relaxed: how often the caps were doubled because the budget did not fit under them.
        short: classes whose pairs did not suffice for their share of the budget.
        passed_over: how many pairs rank above the last chosen one and were not chosen, because of
            caps and quotas.
        passed_over_more: there may be more of them than that; they were not all counted.
        passes: how often the pool was gone through.
        spares: int64 [spares, 2], the next best pairs that caps and quotas allow, best first: for
            an export, where a chosen pair may turn out not to be makeable.
        spare_logits: float32 [spares], theirs.
    """

    pairs: Pairs
    logits: Logits
    omega: Logits
    threshold: float
    considered: int
    caps: Caps | None = None
    relaxed: int = 0
    short: tuple[int, ...] = ()
    passed_over: int = 0
    passed_over_more: bool = False
    passes: int = 1
    spares: Pairs = field(default_factory=_no_pairs)
    spare_logits: Logits = field(default_factory=_no_logits)

    @property
    def spare_omega(self) -> Logits:
        """float32 [spares], the sigmoids of `spare_logits`."""
        return _sigmoid(self.spare_logits)


def select_top(
    pool: PairPool,
    scorer: Scorer,
    budget: int,
    *,
    classes: NDArray[np.int64],
    caps: Caps | None = None,
    recordings: NDArray[np.int64] | None = None,
    weights: Sequence[int] | Counts | None = None,
    spares: int = 0,
    spread: Spread | None = None,
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
        classes: int64 [N], the class of each row.
        caps: see `even_caps`.
        recordings: int64 [N], the recording that each row was cut from; None where each is one of
            its own.
        weights: int [C], how the budget is split among the foreground classes (`split_budget`);
            None leaves it to the ranking.
        spares: how many pairs to name beyond the budget, as far as the pool goes. They do not
            change which are chosen, nor the caps that are reported.
        spread: who scores, such as a cluster; None scores in this process. The result is the same.
        report: called as `report(pairs gone through, pairs in the pool)` in each pass.

    Raises:
        InputError: the budget is below 1 or larger than the pool.
        L2AError: a score is not a finite number.
    """
    _check_budget(budget, len(pool))
    quotas_for = None if weights is None else len(weights)
    allowance = Allowance(classes, caps or Caps(), quotas_for=quotas_for, recordings=recordings)
    spares = min(spares, len(pool) - budget)
    everything = budget + spares
    most = _most(everything) if allowance.anything else everything
    # Quotas are those of the budget first, so that the chosen pairs meet them exactly.
    target = everything if weights is None else budget
    settled: tuple[Caps, int] | None = None
    capacity: Counts = np.empty(0, np.int64)
    numbers: Numbers = np.empty(0, np.int64)
    logits: Logits = np.empty(0, np.float32)
    first: Candidates | None = None
    short: tuple[int, ...] = ()
    passes = 0
    while True:
        if first is not None and len(first.numbers) == len(pool):  # all of it is here
            candidates = first.without(numbers)
        else:
            scan = Scan(pool, scorer, allowance, np.sort(numbers), most)
            candidates, by_class = find_candidates(scan, spread, report)
            passes += 1
            if weights is not None and first is None:
                capacity = by_class
                quotas, short = split_budget(budget, weights, capacity)
                allowance.set_quotas(quotas)
        taken, finished = _walk(candidates, allowance, target - len(numbers))
        numbers = np.concatenate([numbers, candidates.numbers[taken]])
        logits = np.concatenate([logits, candidates.logits[taken]])
        if first is None:
            whole = len(candidates.numbers) == len(pool)
            first = candidates if whole else candidates.without_pairs()
        del candidates  # another pass makes its own
        if settled is None and len(numbers) >= budget:
            settled = allowance.caps, allowance.relaxed
        if len(numbers) == everything:
            break
        if len(numbers) == target and weights is not None:
            target = everything
            larger, _ = split_budget(everything, weights, capacity)
            used = allowance.foreground_classes(pool.pairs(numbers))
            allowance.set_quotas(np.maximum(larger - used[: len(larger)], 0))
        elif finished:
            allowance.relax()
    assert settled is not None
    spare_numbers, spare_logits = _ranked(numbers[budget:], logits[budget:])
    numbers, logits = _ranked(numbers[:budget], logits[:budget])
    omega = _sigmoid(logits)
    passed_over, more = _passed_over(first, numbers, logits)
    return Selection(
        pool.pairs(numbers),
        logits,
        omega,
        float(omega[-1]),
        len(pool),
        settled[0] if settled[0].any else None,
        settled[1],
        short,
        passed_over,
        more,
        passes,
        pool.pairs(spare_numbers),
        spare_logits,
    )


def select_random(
    pool: PairPool,
    budget: int,
    rng: np.random.Generator,
    *,
    classes: NDArray[np.int64],
    caps: Caps | None = None,
    recordings: NDArray[np.int64] | None = None,
    weights: Sequence[int] | Counts | None = None,
) -> Selection:
    """`budget` pairs drawn uniformly without replacement: what a Selector has to beat.

    A random ranking under the same caps and quotas, so that the comparison differs in the ranking
    alone. The arguments are those of `select_top`.
    """
    scorer = RandomScorer(int(rng.integers(2**63)))
    drawn = select_top(
        pool, scorer, budget, classes=classes, caps=caps, recordings=recordings, weights=weights
    )
    even = np.zeros(budget, np.float32)
    return replace(drawn, logits=even, omega=_sigmoid(even), threshold=0.5)


def describe(selection: Selection, class_names: Sequence[str]) -> str:
    """One line about a choice, which does not hide it when caps decided more than scores."""
    text = (
        f"selected {len(selection.pairs)} of {selection.considered} pairs, "
        f"ω ≥ {selection.threshold:.4g}"
    )
    if below := int((selection.omega < 0.5).sum()):
        text += f", {below} of them below 0.5"
    if selection.passed_over:
        least = "at least " if selection.passed_over_more else ""
        text += f"; {least}{selection.passed_over} better pairs passed over for caps or quotas"
    if selection.relaxed:
        times = "once" if selection.relaxed == 1 else f"{selection.relaxed} times"
        text += f"; caps doubled {times} to meet the budget"
    if selection.short:
        names = ", ".join(class_names[index] for index in selection.short)
        text += f"; too few pairs for an own share of: {names}"
    return text


def _ranked(numbers: Numbers, logits: Logits) -> tuple[Numbers, Logits]:
    order = np.lexsort((numbers, -logits))
    return numbers[order], logits[order]


def _most(budget: int) -> int:
    return max(4 * budget, CANDIDATES)


def _walk(
    candidates: Candidates, allowance: Allowance, missing: int
) -> tuple[NDArray[np.int64], bool]:
    """Take candidates from the top; their positions, and whether nothing else can be taken."""
    if not allowance.anything:
        return np.arange(missing), False
    taken: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    start, end = 0, len(candidates.numbers)
    while missing:
        # Beyond this, a pair that was not kept may come, of a stratum that still takes some.
        stop = int(candidates.complete[allowance.open_strata()].min(initial=EVERYTHING))
        if start >= min(stop, end):
            return np.concatenate(taken), stop > end
        part = slice(start, min(start + _WALK, stop))
        found = allowance.take(candidates.pairs[part], missing)
        taken.append(found + start)
        missing -= len(found)
        start = part.stop
    return np.concatenate(taken), False


def _passed_over(first: Candidates, numbers: Numbers, logits: Logits) -> tuple[int, bool]:
    """How many pairs outrank the last chosen one without being chosen; whether that is too few.

    Args:
        first: what the first pass kept.
        numbers, logits: the chosen pairs, best first.
    """
    last = logits[-1]
    better = (first.logits > last) | ((first.logits == last) & (first.numbers < numbers[-1]))
    known = first.numbers[better]
    return int((~np.isin(known, numbers)).sum()), len(known) >= first.overall


def _check_budget(budget: int, available: int) -> None:
    if budget < 1:
        raise InputError(f"The budget is {budget}; give 1 or more.")
    if budget > available:
        raise InputError(
            f"The budget is {budget} pairs and the pool holds {available}; lower the budget, or "
            "match each class with more classes."
        )


def _sigmoid(logits: Logits) -> Logits:
    # In double precision and by tanh, which does not overflow: ω = (1 + tanh(z/2)) / 2.
    omega: Logits = (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).astype(np.float32)
    return omega
