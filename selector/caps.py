"""How the budget may fall on videos, on recordings, on matches of classes and on classes.

Choosing the best pairs blindly collapses: a few videos of one class take the whole budget. Caps
bound what any one video or match may take; quotas fix what each foreground class gets. Clips cut
from one recording look alike and score alike, so that without a cap on recordings the best pair
is followed by its likes, one with each of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selector.protocols import Counts
from selector.settings import RankSettings


@dataclass(frozen=True)
class Caps:
    """The most pairs that a video on either side, a match of classes, a recording on another
    recording as background, or a foreground class may take.

    None means no cap. `even_caps` gives the defaults.
    """

    foreground: int | None = None
    background: int | None = None
    class_match: int | None = None
    recordings: int | None = None
    foreground_class: int | None = None

    def doubled(self) -> Caps:
        """Every cap twice as large."""
        caps = asdict(self)
        return Caps(**{name: None if cap is None else 2 * cap for name, cap in caps.items()})

    @property
    def any(self) -> bool:
        """Whether anything is capped at all."""
        return self != Caps()


@dataclass(frozen=True)
class SelectionLimits:
    """Whatever bounds a choice, besides the budget.

    Attributes:
        classes: int64 [N], the class of each row.
        caps: what one video, match or recording may take; see `even_caps`.
        recordings: int64 [N], the recording that each row was cut from; None where each is one of
            its own, so that their cap forbids nothing.
        weights: int [C], how the budget is split among the foreground classes (`split_budget`);
            None leaves it to the ranking. These quotas take the place of the cap on classes.
        background_weights: int [C, C], how what a foreground class (row) gets is split among
            background classes (`split_matches`); only with `weights`. These quotas take the place
            of the cap on matches.
    """

    classes: NDArray[np.int64]
    caps: Caps = Caps()
    recordings: NDArray[np.int64] | None = None
    weights: Sequence[int] | Counts | None = None
    background_weights: Counts | None = None

    def __post_init__(self) -> None:
        if self.background_weights is not None:
            if self.weights is None:
                raise ValueError("Without weights there is nothing to split among backgrounds.")
            object.__setattr__(self, "caps", replace(self.caps, class_match=None))
        if self.weights is not None:
            object.__setattr__(self, "caps", replace(self.caps, foreground_class=None))
        if self.recordings is None and self.caps.recordings is not None:
            object.__setattr__(self, "caps", replace(self.caps, recordings=None))


def even_caps(
    budget: int, foregrounds: int, backgrounds: int, matches: int, settings: RankSettings,
    classes: int | None = None,
) -> Caps:  # fmt: skip
    """Caps as multiples of the even share, rounded up; that of recordings is a plain number.

    Args:
        budget: how many pairs will be chosen.
        foregrounds, backgrounds: how many videos the pool has on each side.
        matches: how many matches of a foreground class with a background class have pairs.
        settings: the multiples; 0 means no cap.
        classes: how many foreground classes have pairs; None caps matches alone.
    """

    def cap(multiple: float, among: int) -> int | None:
        return math.ceil(multiple * budget / among) if multiple else None

    return Caps(
        cap(settings.foreground_cap, foregrounds),
        cap(settings.background_cap, backgrounds),
        cap(settings.class_cap, matches),
        settings.recording_cap or None,
        cap(settings.class_cap, classes) if classes else None,
    )


def split_budget(
    budget: int, weights: Sequence[int] | Counts, capacity: Sequence[int] | Counts
) -> tuple[Counts, tuple[int, ...]]:
    """Whole shares of the budget in proportion to weights, by the largest remainder.

    What a class's pool cannot fill goes to the others, again in proportion. Equal remainders go to
    the class that comes first. Classes without weight get something only when the others are full.

    Args:
        budget: at most the sum of `capacity`.
        weights: int [C], 0 or more.
        capacity: int [C], how many pairs the pool has of each class.

    Returns:
        (int64 [C] shares that sum to the budget, the classes that got less than their share).
    """
    capacity = np.asarray(capacity, np.int64)
    weights = np.asarray(weights, np.int64)
    shares = np.zeros(len(capacity), np.int64)
    full = capacity == 0
    while (missing := budget - int(shares.sum())) > 0:
        weighing = np.where(full, 0, weights)
        if not weighing.any():  # those with a weight are full
            weighing = np.where(full, 0, 1)
        share = _largest_remainder(missing, weighing)
        over = ~full & (share >= capacity)
        if not over.any():
            shares += share
            break
        shares[over] = capacity[over]
        full |= over
    wanted = _largest_remainder(budget, weights) if weights.any() else shares
    return shares, tuple(np.flatnonzero(shares < wanted).tolist())


def split_matches(
    budget: int, weights: Sequence[int] | Counts, background_weights: Counts, capacity: Counts
) -> tuple[Counts, tuple[int, ...]]:
    """Whole shares of the budget for each match of a foreground class with a background class.

    The foreground classes have theirs by `split_budget`. Each of these is split in proportion to
    its row of weights; what a match cannot fill goes to others of its foreground class, in
    proportion again, and to those without a weight only when the others are full. Rounding carries
    over from row to row what a background class was denied or given too much, so that both margins
    hold: rows exactly, and columns to less than one pair.

    Args:
        budget: at most the sum of `capacity`.
        weights: int [C], of the foreground classes, 0 or more.
        background_weights: int [C, C], 0 or more; only ratios within a row mean anything.
        capacity: int [C, C], how many pairs the pool has of each match.

    Returns:
        (int64 [C, C] shares that sum to the budget and exceed no capacity, the foreground classes
        that got less than their share).
    """
    capacity = np.asarray(capacity, np.int64)
    rows, short = split_budget(budget, weights, capacity.sum(axis=1))
    wanted = np.zeros(capacity.shape)
    shares = np.zeros_like(capacity)
    owed = np.zeros(len(capacity))
    for row, total in enumerate(rows.tolist()):
        wanted[row] = _filled(total, background_weights[row], capacity[row])
        carried = wanted[row] + np.where(wanted[row] > 0, owed, 0.0)
        shares[row] = _whole(carried, total, np.where(wanted[row] > 0, capacity[row], 0))
        owed += wanted[row] - shares[row]
    _even_columns(shares, wanted, capacity)
    return shares, short


def _filled(total: int, weights: Counts, capacity: Counts) -> NDArray[np.float64]:
    """`total` in proportion to weights up to the capacities, float64 [C]; not yet whole."""
    filled = np.zeros(len(capacity))
    left = capacity.astype(np.float64)
    for weighing in (np.asarray(weights, np.float64), np.ones(len(capacity))):
        open_ = (left > 0) & (weighing > 0)
        while open_.any() and total - filled.sum() > 1e-9:
            share = np.where(open_, weighing, 0.0)
            share *= (total - filled.sum()) / share.sum()
            over = open_ & (share >= left)
            added = np.where(over, left, 0.0) if over.any() else share
            filled, left, open_ = filled + added, left - added, open_ & ~over
            if not over.any():
                break
    return filled


def _whole(wanted: NDArray[np.float64], total: int, capacity: Counts) -> Counts:
    """Whole numbers near `wanted` that sum to `total`, from 0 to `capacity`, whose sum suffices."""
    wanted = wanted.round(9)  # what differs by the rounding of a sum only is a tie
    shares = np.clip(np.floor(wanted).astype(np.int64), 0, capacity)
    while missing := total - int(shares.sum()):
        step = 1 if missing > 0 else -1
        order = np.argsort(-step * (wanted - shares), kind="stable")
        able = order[(shares < capacity if step > 0 else shares > 0)[order]]
        shares[able[: abs(missing)]] += step
    return shares


def _even_columns(shares: Counts, wanted: NDArray[np.float64], capacity: Counts) -> None:
    """Move pairs within rows until every column is less than one from its sum in `wanted`."""
    for _ in range(len(shares)):
        beyond = (shares - wanted).sum(axis=0).round(9)
        most, least = int(beyond.argmax()), int(beyond.argmin())
        able = (shares[:, most] > 0) & (shares[:, least] < capacity[:, least])
        able &= wanted[:, least] > 0
        if max(beyond[most], -beyond[least]) < 1 or not able.any():
            return
        gain = (shares - wanted)[:, most] - (shares - wanted)[:, least]
        row = int(np.where(able, gain, -np.inf).argmax())
        shares[row, most] -= 1
        shares[row, least] += 1


def _largest_remainder(count: int, weights: Counts) -> Counts:
    """`count` in whole parts, in proportion to weights of which one is above 0."""
    total = int(weights.sum())
    shares, remainders = np.divmod(count * weights, total)
    order = np.argsort(-remainders, kind="stable")
    shares[order[: count - int(shares.sum())]] += 1
    return shares
