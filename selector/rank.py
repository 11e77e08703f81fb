"""From a trained Selector to the pairs that are worth compositing.

Learn2Augment, end of Sec. 4.1: the number of composites is the budget, and the threshold on ω is
whatever makes the top-ranked pairs fill it. Pairs are ranked by logit, because ω saturates, and
ties go to the pair that comes first in the pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.errors import InputError, L2AError
from selector.network import Selector
from selector.settings import RankSettings

Pairs = NDArray[np.int64]
Logits = NDArray[np.float32]
Scored = Iterable[tuple[Pairs, Logits]]

CHUNK = 8192  # pairs scored at once: about 100 MB of hidden layers at the paper's sizes
_GREEDY_CHUNK = 4096


@dataclass(frozen=True)
class Caps:
    """The most pairs that a foreground video, a background video or a match of classes may take.

    None is no cap. `even_caps` gives the defaults.
    """

    foreground: int | None = None
    background: int | None = None
    class_match: int | None = None

    def doubled(self) -> Caps:
        """Every cap twice as large."""
        pairs = (self.foreground, self.background, self.class_match)
        return Caps(*(None if cap is None else 2 * cap for cap in pairs))

    @property
    def any(self) -> bool:
        """Whether anything is capped at all."""
        return self != Caps()


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
    """

    pairs: Pairs
    logits: Logits
    omega: Logits
    threshold: float
    considered: int
    caps: Caps | None
    relaxed: int


@torch.inference_mode()
def score_pool(
    selector: Selector, features: Tensor, labels: Tensor, blocks: Iterable[Pairs]
) -> Iterator[tuple[Pairs, Logits]]:
    """Logits of a pool's pairs, block by block, in the pool's order.

    Each video goes through the widest layer once per side; a pair costs a sum and the rest. The
    projections take 2 · N · hidden[0] · 4 bytes on the Selector's device (16 KB a video at the
    paper's sizes).

    Args:
        selector: trained, on the device to score on.
        features: float32 [N, D], the trunk's features of the videos.
        labels: float32 [N, E], their label vectors.
        blocks: int64 [n, 2] arrays of rows (foreground, background) below N.

    Yields:
        (the block, float32 [n] logits).

    Raises:
        L2AError: a logit is not a finite number.
    """
    device = selector.feature_mean.device
    features, labels = features.to(device), labels.to(device)
    foregrounds = selector.project(features, labels, "foreground")
    backgrounds = selector.project(features, labels, "background")
    for block in blocks:
        logits = np.empty(len(block), np.float32)
        for start in range(0, len(block), CHUNK):
            rows = torch.from_numpy(block[start : start + CHUNK]).to(device)
            scores = selector.score_projected(foregrounds[rows[:, 0]], backgrounds[rows[:, 1]])
            logits[start : start + CHUNK] = scores.float().cpu().numpy()
        if not np.isfinite(logits).all():
            fore, back = block[int(np.flatnonzero(~np.isfinite(logits))[0])]
            raise L2AError(
                f"The score of the pair of rows ({fore}, {back}) is not a finite number; "
                "train the Selector again, or look for broken features."
            )
        yield block, logits


def even_caps(
    budget: int, foregrounds: int, backgrounds: int, matches: int, settings: RankSettings
) -> Caps:
    """Caps as multiples of the even share, rounded up.

    Args:
        budget: how many pairs will be chosen.
        foregrounds, backgrounds: how many videos the pool has on each side.
        matches: how many matches of a foreground class with a background class have pairs.
        settings: the multiples; 0 is no cap.
    """

    def cap(multiple: float, among: int) -> int | None:
        return math.ceil(multiple * budget / among) if multiple else None

    return Caps(
        cap(settings.foreground_cap, foregrounds),
        cap(settings.background_cap, backgrounds),
        cap(settings.class_cap, matches),
    )


def select_top(
    scored: Scored,
    budget: int,
    *,
    caps: Caps | None = None,
    classes: NDArray[np.int64] | None = None,
) -> Selection:
    """The `budget` best pairs, exactly; the best that the caps allow, when there are any.

    With caps the ranking is walked from the top, and a pair is taken unless a cap forbids it. If
    the end is reached before the budget, every cap is doubled and the walk goes on with the pairs
    left over, as often as needed: the budget is always met, and `relaxed` says at what price.

    Memory: without caps the budget and one block. With caps the whole pool at 20 bytes a pair
    (2.9 GB for the 144 million pairs of Kinetics-400 matched with one class each).

    Args:
        scored: what `score_pool` yields.
        budget: how many pairs to choose.
        caps: see `even_caps`.
        classes: int64 [N], the class of each row; needed for a cap on classes.

    Raises:
        InputError: the budget is below 1 or larger than the pool.
    """
    if budget < 1:
        raise InputError(f"The budget is {budget}; give 1 or more.")
    if caps is None or not caps.any:
        pairs, logits, considered = _best(scored, budget)
        return _selection(pairs, logits, considered, None, 0)
    if caps.class_match is not None and classes is None:
        raise ValueError("A cap on classes needs the class of every row.")
    ranked, logits = _ranked(scored)
    _check_budget(budget, len(ranked))
    taken, caps, relaxed = _under_caps(ranked, budget, caps, classes)
    return _selection(ranked[taken], logits[taken], len(ranked), caps, relaxed)


def select_random(
    blocks: Iterable[Pairs],
    budget: int,
    rng: np.random.Generator,
    *,
    caps: Caps | None = None,
    classes: NDArray[np.int64] | None = None,
) -> Selection:
    """`budget` pairs drawn uniformly without replacement: what a Selector has to beat.

    A random ranking under the same caps, so that the comparison differs in the ranking alone.
    """
    keys = ((block, rng.random(len(block), np.float32)) for block in blocks)
    drawn = select_top(keys, budget, caps=caps, classes=classes)
    even = np.zeros(budget, np.float32)
    return _selection(drawn.pairs, even, drawn.considered, drawn.caps, drawn.relaxed)


def auroc(scores: Tensor, good: Tensor) -> float:
    """How often a good pair outranks a bad one, ties counted half; 0.5 is chance.

    Args:
        scores: float [n]. good: bool [n], with at least one of each kind.
    """
    values, inverse, counts = scores.unique(return_inverse=True, return_counts=True)
    del values
    # The mean rank of each distinct score: the ranks below it, and the middle of its own.
    ranks = (counts.cumsum(0).double() - (counts - 1).double() / 2)[inverse]
    positives, negatives = int(good.sum()), int((~good).sum())
    wins = float(ranks[good].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def _best(scored: Scored, budget: int) -> tuple[Pairs, Logits, int]:
    """The top of a stream, holding no more than the budget and one block."""
    pairs, logits = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    considered = 0
    for block, scores in scored:
        considered += len(block)
        if len(logits) == budget:
            # A newcomer that only equals the worst comes later in the pool, and loses the tie.
            better = scores > logits[-1]
            block, scores = block[better], scores[better]
        pairs, logits = np.concatenate([pairs, block]), np.concatenate([logits, scores])
        order = np.argsort(-logits, kind="stable")[:budget]
        pairs, logits = pairs[order], logits[order]
    _check_budget(budget, considered)
    return pairs, logits, considered


def _ranked(scored: Scored) -> tuple[NDArray[np.int32], Logits]:
    """The whole pool, best first; rows as int32 to halve its size."""
    blocks = [(block.astype(np.int32), scores) for block, scores in scored]
    if not blocks:
        return np.empty((0, 2), np.int32), np.empty(0, np.float32)
    pairs = np.concatenate([block for block, _ in blocks])
    logits = np.concatenate([scores for _, scores in blocks])
    order = np.argsort(-logits, kind="stable")
    return pairs[order], logits[order]


def _under_caps(
    pairs: NDArray[np.int32], budget: int, caps: Caps, classes: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], Caps, int]:
    """Positions of the chosen pairs in a ranking, ascending; the final caps; how often doubled.

    Each chunk is first cleared of full videos and classes as a whole, so that Python looks one by
    one only at pairs that may still be taken.
    """
    kinds = (pairs[:, 0], pairs[:, 1], None if classes is None else _matches(pairs, classes))
    sizes = [0 if kind is None else int(kind.max()) + 1 for kind in kinds]
    counts = [np.zeros(size, np.int64) for size in sizes]
    taken = np.zeros(len(pairs), bool)
    missing, relaxed = budget, 0
    while True:
        limits = (caps.foreground, caps.background, caps.class_match)
        active = [
            (kind, count, limit)
            for kind, count, limit in zip(kinds, counts, limits, strict=True)
            if kind is not None and limit is not None
        ]
        for start in range(0, len(pairs), _GREEDY_CHUNK):
            chunk = slice(start, start + _GREEDY_CHUNK)
            free = ~taken[chunk]
            for kind, count, limit in active:
                free &= count[kind[chunk]] < limit
            for position in start + np.flatnonzero(free):
                groups = [(count, kind[position], limit) for kind, count, limit in active]
                if any(count[group] >= limit for count, group, limit in groups):
                    continue
                for count, group, _ in groups:
                    count[group] += 1
                taken[position] = True
                missing -= 1
                if not missing:
                    return np.flatnonzero(taken), caps, relaxed
        caps, relaxed = caps.doubled(), relaxed + 1


def _matches(pairs: NDArray[np.int32], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The match of classes that each pair belongs to, as one number, int64 [n]."""
    matched = classes[pairs]
    numbers: NDArray[np.int64] = matched[:, 0] * (int(classes.max()) + 1) + matched[:, 1]
    return numbers


def _check_budget(budget: int, available: int) -> None:
    if budget > available:
        raise InputError(
            f"The budget is {budget} pairs and the pool holds {available}; lower the budget, or "
            "match each class with more classes."
        )


def _selection(
    pairs: NDArray[Any], logits: Logits, considered: int, caps: Caps | None, relaxed: int
) -> Selection:
    # In double precision and by tanh, which does not overflow: ω = (1 + tanh(z/2)) / 2.
    omega = (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).astype(np.float32)
    threshold = float(omega[-1])
    return Selection(pairs.astype(np.int64), logits, omega, threshold, considered, caps, relaxed)
