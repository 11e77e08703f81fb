"""How the budget may fall on videos, on recordings, on matches of classes and on classes.

Choosing the best pairs blindly collapses: a few videos of one class take the whole budget. Caps
bound what any one video or match may take; quotas fix what each foreground class gets. Clips cut
from one recording look alike and score alike, so that without a cap on recordings the best pair
comes again with each of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selector.settings import RankSettings

Pairs = NDArray[np.int64]
Counts = NDArray[np.int64]

_AT_ONCE = 512  # pairs that are cleared of the full ones as a whole, before each is looked at


@dataclass(frozen=True)
class Caps:
    """The most pairs that a video on either side, a match of classes, or a recording in front of
    another recording may take.

    None is no cap. `even_caps` gives the defaults.
    """

    foreground: int | None = None
    background: int | None = None
    class_match: int | None = None
    recordings: int | None = None

    def doubled(self) -> Caps:
        """Every cap twice as large."""
        caps = (self.foreground, self.background, self.class_match, self.recordings)
        return Caps(*(None if cap is None else 2 * cap for cap in caps))

    @property
    def any(self) -> bool:
        """Whether anything is capped at all."""
        return self != Caps()


def even_caps(
    budget: int, foregrounds: int, backgrounds: int, matches: int, settings: RankSettings
) -> Caps:
    """Caps as multiples of the even share, rounded up; that of recordings is a plain number.

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
        settings.recording_cap or None,
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


def _largest_remainder(count: int, weights: Counts) -> Counts:
    """`count` in whole parts, in proportion to weights of which one is above 0."""
    total = int(weights.sum())
    shares, remainders = np.divmod(count * weights, total)
    order = np.argsort(-remainders, kind="stable")
    shares[order[: count - int(shares.sum())]] += 1
    return shares


class _Counted:
    """How many more pairs each of a few numbered places may take."""

    def __init__(self, left: Counts) -> None:
        self._left = left

    def widen(self, by: int) -> None:
        """Let each take so many more."""
        self._left = self._left + by

    def open(self) -> NDArray[np.bool_]:
        """Which may take another pair, bool [places]."""
        return self._left > 0

    def free(self, places: Counts) -> NDArray[np.bool_]:
        """Which of these may take another pair: int64 [n] ─► bool [n]."""
        return self.open()[places]

    def has_room(self, place: int) -> bool:
        """Whether this one may."""
        return bool(self._left[place] > 0)

    def use(self, place: int) -> None:
        """One pair fewer for this one."""
        self._left[place] -= 1


class _CountedSparsely:
    """The same for more places than can be counted one by one: those that were used are."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._used: dict[int, int] = {}
        self._full: Counts | None = None

    def widen(self, by: int) -> None:
        """Let each take so many more."""
        self._cap += by
        self._full = None

    def free(self, places: Counts) -> NDArray[np.bool_]:
        """Which of these may take another pair: int64 [n] ─► bool [n]."""
        if self._full is None:
            full = (place for place, used in self._used.items() if used >= self._cap)
            self._full = np.sort(np.fromiter(full, np.int64))
        if not len(self._full):
            return np.ones(len(places), np.bool_)
        nearest = np.searchsorted(self._full, places).clip(max=len(self._full) - 1)
        return self._full[nearest] != places

    def has_room(self, place: int) -> bool:
        """Whether this one may."""
        return self._used.get(place, 0) < self._cap

    def use(self, place: int) -> None:
        """One pair fewer for this one."""
        self._used[place] = self._used.get(place, 0) + 1
        self._full = None


class Allowance:
    """How many more pairs each video, recording, match of classes and foreground class may take.

    Matches are numbered C · foreground class + background class, and recordings likewise.

    Args:
        classes: int64 [N], the class of each row.
        caps: what videos, matches and recordings may take at first.
        quotas_for: C, the number of foreground classes that `set_quotas` will be told of; None when
            it will not be called.
        recordings: int64 [N], the recording of each row; None where each is one of its own, so that
            their cap forbids nothing.

    Attributes:
        caps: the caps in force.
        relaxed: how often they were doubled.
    """

    def __init__(
        self,
        classes: NDArray[np.int64],
        caps: Caps,
        *,
        quotas_for: int | None = None,
        recordings: NDArray[np.int64] | None = None,
    ) -> None:
        self.caps = caps if recordings is not None else replace(caps, recordings=None)
        self.relaxed = 0
        self._classes = classes
        self._recordings = recordings
        self._count = max(int(classes.max()) + 1 if len(classes) else 0, quotas_for or 0)
        self._balanced = quotas_for is not None
        self._left: dict[str, _Counted | _CountedSparsely] = {}
        self._widen(self.caps)

    def set_quotas(self, quotas: Counts) -> None:
        """Let the foreground classes take so many pairs, int64 [C]; caps do not change that."""
        self._left["class"] = _Counted(quotas.copy())

    @property
    def anything(self) -> bool:
        """Whether any pair can be refused at all."""
        return self.caps.any or self._balanced

    @property
    def strata(self) -> int:
        """How many strata `stratum` tells apart at most."""
        if self.caps.class_match is not None:
            return self._count**2
        return self._count if self._balanced else 1

    def stratum(self, pairs: Pairs) -> NDArray[np.int64]:
        """What fills up as a whole and has pairs enough to crowd out the others: int64 [n].

        That is the match of a pair where matches are capped, or its foreground class.
        """
        if self.caps.class_match is not None:
            return self._groups("match", pairs)
        return self._groups("class", pairs) if self._balanced else np.zeros(len(pairs), np.int64)

    def open_strata(self) -> NDArray[np.bool_]:
        """Which strata may still take a pair, bool [strata]."""
        opened = np.ones(self.strata, np.bool_)
        match, by_class = self._left.get("match"), self._left.get("class")
        if isinstance(match, _Counted):
            opened &= match.open()
        if isinstance(by_class, _Counted):
            opened &= np.repeat(by_class.open(), self.strata // self._count)
        return opened

    def foreground_classes(self, pairs: Pairs) -> Counts:
        """How many of the pairs have each class in front, int64 [C]."""
        return np.bincount(self._classes[pairs[:, 0]], minlength=self._count)

    def free(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs may still be taken, each by itself: int64 [n, 2] ─► bool [n]."""
        mask = np.ones(len(pairs), np.bool_)
        for kind, left in self._left.items():
            mask &= left.free(self._groups(kind, pairs))
        return mask

    def take(self, pairs: Pairs, most: int) -> NDArray[np.int64]:
        """Go through pairs in their order, and take each that is still allowed.

        Args:
            pairs: int64 [n, 2]. most: how many to take at the most.

        Returns:
            int64, the positions of those taken, ascending.
        """
        lefts = list(self._left.values())
        groups = [self._groups(kind, pairs) for kind in self._left]
        taken: list[int] = []
        for start in range(0, len(pairs), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            free = np.ones(len(pairs[part]), np.bool_)
            for left, group in zip(lefts, groups, strict=True):
                if isinstance(left, _Counted):  # the other way is no faster for many at a time
                    free &= left.free(group[part])
            for position in (start + np.flatnonzero(free)).tolist():
                places = [
                    (left, int(group[position])) for left, group in zip(lefts, groups, strict=True)
                ]
                if all(left.has_room(place) for left, place in places):
                    for left, place in places:
                        left.use(place)
                    taken.append(position)
                    if len(taken) == most:
                        return np.array(taken, np.int64)
        return np.array(taken, np.int64)

    def relax(self) -> None:
        """Double every cap; quotas stay."""
        self._widen(self.caps)
        self.caps, self.relaxed = self.caps.doubled(), self.relaxed + 1

    def _widen(self, by: Caps) -> None:
        sizes = {
            "foreground": (by.foreground, len(self._classes)),
            "background": (by.background, len(self._classes)),
            "match": (by.class_match, self._count**2),
        }
        for kind, (more, size) in sizes.items():
            if more is not None:
                self._left.setdefault(kind, _Counted(np.zeros(size, np.int64))).widen(more)
        if by.recordings is not None:
            self._left.setdefault("recordings", _CountedSparsely(0)).widen(by.recordings)

    def _groups(self, kind: str, pairs: Pairs) -> NDArray[np.int64]:
        if kind == "foreground":
            return pairs[:, 0]
        if kind == "background":
            return pairs[:, 1]
        if kind == "recordings" and self._recordings is not None:
            front, behind = self._recordings[pairs].T
            return front * (int(self._recordings.max()) + 1) + behind
        fore: NDArray[np.int64] = self._classes[pairs[:, 0]]
        return fore if kind == "class" else fore * self._count + self._classes[pairs[:, 1]]
