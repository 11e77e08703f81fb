"""A choice only as sharp as the reward behind it is reliable.

Picking the very best of many pairs picks what pleased the few validation recordings that the reward
was measured on: on real clips the best pairs lost what pairs drawn from the better half gained. So
between "the best" and "at random" there is a share q: of each foreground class the pairs that score
among its best q are kept, and the budget is drawn at random from them, under the same caps and
quotas. At q = 1 that is `rank.select_random`; as q falls to what the budget takes, it becomes
`rank.select_top`.

A pool may have 10⁹ pairs: where a class's best q begin is read off a uniform sample, and a random
order of the kept pairs is a hash of their numbers, so that nothing is stored per pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.progress import Report
from selector.caps import SelectionLimits
from selector.protocols import Counts, Logits, Numbers, PairPool, Pairs, Scorer
from selector.rank import RankedPairs, Selection, select_top
from selector.reliability import FEWEST, SURE, USABLE, Reliability, too_few
from selector.score import RandomScorer
from selector.settings import sharpness_share

EXACTLY = 1 << 18
"""Pools up to this size are scored whole to find where a class's best share begins."""
SAMPLED = 1 << 16
"""Pairs of a larger pool that are scored for that: some 160 of each class of Kinetics-400."""


@dataclass(frozen=True)
class Sharpness:
    """How sharp a choice is, and why.

    Attributes:
        asked: the setting: auto, best, half, random, or a number.
        share: of each foreground class's pairs that is kept; 0 picks the best.
        reliability: of the whole validation set, which "auto" went by; None where it was not
            measured.
        few: the recordings of a validation set that holds too few to tell it; None for others.
        untold: why else "auto" had no reliability to go by; None where it had one, or was not
            asked.
    """

    asked: str
    share: float
    reliability: float | None = None
    few: int | None = None
    untold: str | None = None

    @property
    def used(self) -> str:
        """A word, or the share as a number."""
        return {0.0: "best", 0.5: "half", 1.0: "random"}.get(self.share, f"{self.share:g}")

    def __str__(self) -> str:
        """One line, without a full stop."""
        if self.asked != "auto":
            return f"sharpness {self.used}, as asked for"
        if self.few is not None:
            return f"sharpness {self.used}: {too_few(self.few)}"
        if self.untold is not None:
            return f"sharpness {self.used}: {self.untold}"
        if self.reliability is None:
            return f"sharpness {self.used}: how reliable the reward was is not known"
        found = f"sharpness {self.used}: the reward's reliability is {self.reliability + 0.0:.2f}"
        if self.used == "best":
            return f"{found}, {SURE:g} or more"
        if self.used == "half":
            return f"{found}, between {USABLE:g} and {SURE:g}"
        return f"{found}, below {USABLE:g}"


def resolve_sharpness(
    asked: str, reliability: Reliability | None, recordings: int | None = None,
    reward: str = "credit", *, upside_down: bool = False,
) -> Sharpness:  # fmt: skip
    """What a setting comes to with a reward of this reliability.

    Args:
        asked: "auto", or what `sharpness_share` takes.
        reliability: of the Selector's reward; None where it was not measured, and then "auto" picks
            the best, as before there was a choice.
        recordings: that validation measured the reward on; of too few "auto" draws at random. None
            where that is not known or others measured it, too.
        reward: its name. Of one for subsets there is no reliability, whatever an earlier version
            measured, and "auto" draws from the better half.
        upside_down: the ranking prefers mislabelled videos: "auto" does not go by it.
    """
    credited = reward == "credit"
    reliability = reliability if credited else None
    count = recordings if reliability is None else reliability.recordings
    few = count if count is not None and count < FEWEST else None
    whole = None if reliability is None or few else reliability.whole
    if asked != "auto":
        return Sharpness(asked, sharpness_share(asked), whole)
    if upside_down:
        return Sharpness(asked, 1.0, None, untold="the Selector's ranking is upside down")
    if few is not None:
        return Sharpness(asked, 1.0, None, few)
    if not credited:
        untold = f"the reward {reward} is of subsets, and how reliably it ranks pairs is not known"
        return Sharpness(asked, 0.5, None, untold=untold)
    if whole is None or whole >= SURE:
        return Sharpness(asked, 0.0, whole)
    return Sharpness(asked, 0.5 if whole >= USABLE else 1.0, whole)


def select_drawn(
    pool: PairPool,
    scorer: Scorer,
    budget: int,
    limits: SelectionLimits,
    share: float,
    rng: np.random.Generator,
    **options: Any,
) -> Selection:
    """`budget` pairs drawn at random from the best `share` of each foreground class.

    Where caps or quotas leave too few of those, the best of the others fill the budget.

    Args:
        pool, scorer, budget, limits: as `select_top` takes them.
        share: 0 picks the best and draws nothing.
        rng: what is drawn follows from it.
        options: spares, executor, report, as `select_top` takes them.

    Returns:
        Pairs with the scores that `scorer` gives them, best first.
    """
    if not share:
        return select_top(pool, scorer, budget, limits, **options)
    key = int(rng.integers(2**63))
    floors = np.full(int(limits.classes.max()) + 1, -np.inf, np.float32)
    if share < 1:
        floors = class_floors(pool, scorer, limits.classes, share, rng)
    drawing = DrawingScorer(scorer, limits.classes, floors, key)
    drawn = select_top(pool, drawing, budget, limits, **options)
    chosen, spares = (_scored(part, scorer) for part in (drawn.chosen, drawn.spares))
    return replace(drawn, chosen=chosen, spares=spares, share=share)


def class_floors(
    pool: PairPool, scorer: Scorer, classes: Counts, share: float, rng: np.random.Generator
) -> Logits:
    """The lowest score among the best `share` of each foreground class's pairs, float32 [C].

    Exact for pools up to `EXACTLY` pairs, else of a uniform sample; −inf for a class that has no
    pair there, which keeps all of them.

    Args:
        pool, scorer: as above.
        classes: int64 [N], of the rows.
        share: above 0, at most 1.
        rng: draws the sample.
    """
    numbers = np.arange(len(pool))
    if len(pool) > EXACTLY:
        numbers = np.sort(rng.choice(len(pool), SAMPLED, replace=False))
    logits, found = score_all(pool, scorer, numbers)
    floors = np.full(int(classes.max()) + 1, -np.inf, np.float32)
    of_pair = classes[found]
    for label in np.unique(of_pair):
        own = logits[of_pair == label]
        kept = max(1, math.ceil(share * len(own)))
        floors[label] = np.partition(own, len(own) - kept)[len(own) - kept]
    return floors


def score_all(
    pool: PairPool, scorer: Scorer, numbers: Numbers, report: Report | None = None
) -> tuple[Logits, NDArray[np.int64]]:
    """Scores float32 [n] of the pairs with these numbers, and their foregrounds, int64 [n]."""
    logits, found = np.empty(len(numbers), np.float32), np.empty(len(numbers), np.int64)
    for start in range(0, len(numbers), SAMPLED):
        part = slice(start, start + SAMPLED)
        pairs = pool.pairs(numbers[part])
        logits[part] = scorer(numbers[part], pairs).cpu().numpy()
        found[part] = pairs[:, 0]
        if report:
            report(min(part.stop, len(numbers)), len(numbers))
    return logits, found


class DrawingScorer:
    """Ranks what reaches its class's floor first, at random, and behind it the others by score.

    Args:
        scorer: what pairs are scored by.
        classes: int64 [N], of the rows.
        floors: float32 [C], see `class_floors`.
        key: of the random order, see `RandomScorer`.
    """

    def __init__(self, scorer: Scorer, classes: Counts, floors: Logits, key: int) -> None:
        self._scorer, self._classes, self._floors, self._key = scorer, classes, floors, key
        self._random = RandomScorer(key)
        self._there: tuple[Tensor, float] | None = None

    @property
    def device(self) -> torch.device:
        """See `Scorer`."""
        return self._scorer.device

    def __call__(self, numbers: Numbers, pairs: Pairs | Tensor) -> Tensor:
        """See `Scorer`; in −1..0 for what is kept, below −2 for the others."""
        logits = self._scorer(numbers, pairs)
        floor_of_row, top = self._tables()
        foregrounds = torch.as_tensor(pairs, device=self.device)[:, 0]
        kept = logits >= floor_of_row.index_select(0, foregrounds)
        random = self._random(numbers, pairs).to(self.device)
        # What is not finite must not become a number: who ranks refuses it.
        return torch.where(kept, random + 0 * logits, logits - (top + 2))

    def on(self, device: str) -> DrawingScorer:
        """See `Scorer`."""
        return DrawingScorer(self._scorer.on(device), self._classes, self._floors, self._key)

    def memory(self) -> int:
        """See `Scorer`."""
        return self._scorer.memory() + 4 * len(self._classes)

    def _tables(self) -> tuple[Tensor, float]:
        """The floor of each row's class, float32 [N] on the device, and the highest one."""
        if self._there is None:
            finite = self._floors[np.isfinite(self._floors)]
            floors = torch.from_numpy(self._floors[self._classes]).to(self.device)
            self._there = floors, float(finite.max()) if len(finite) else 0.0
        return self._there

    def __getstate__(self) -> dict[str, object]:
        """What travels to other processes: not what lies on a device of this one."""
        return self.__dict__ | {"_there": None}


def _scored(drawn: RankedPairs, scorer: Scorer) -> RankedPairs:
    """The same pairs by their own scores, best first."""
    if not len(drawn.numbers):
        return drawn
    logits = scorer(drawn.numbers, drawn.pairs).cpu().numpy()
    order = np.lexsort((drawn.numbers, -logits))
    return RankedPairs(drawn.pairs[order], logits[order], drawn.numbers[order])
