"""How many more pairs each video, recording, match of classes and foreground class may take."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selector.caps import Caps, SelectionLimits
from selector.protocols import Counts, Pairs

_AT_ONCE = 512  # pairs that are cleared of the full ones as a whole, before each is looked at


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

    def left(self) -> memoryview:
        """How many more each may take, to be read and counted down one by one."""
        # A fifth of the time that NumPy takes for one number.
        return memoryview(cast(Any, self._left))


class _LeftSparsely(dict[int, int]):
    """The same for places of which only those that were used are written down."""

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.cap = cap

    def __missing__(self, place: int) -> int:
        return self.cap

    def __reduce__(self) -> tuple[type[_LeftSparsely], tuple[int], None, None, object]:
        return (_LeftSparsely, (self.cap,), None, None, iter(self.items()))


class _CountedSparsely:
    """The same for more places than can be counted one by one: those that were used are."""

    def __init__(self, cap: int) -> None:
        self._left = _LeftSparsely(cap)

    def widen(self, by: int) -> None:
        """Let each take so many more."""
        self._left.cap += by
        for place in self._left:
            self._left[place] += by

    def full(self) -> Counts:
        """The places that may take no other pair, int64, ascending."""
        full = (place for place, left in self._left.items() if left <= 0)
        return np.sort(np.fromiter(full, np.int64))

    def left(self) -> _LeftSparsely:
        """How many more each may take, to be read and counted down one by one."""
        return self._left


class _FullPlaces:
    """Some places of many more, which are found among others fast.

    Attributes:
        places: int64 [n], ascending.
    """

    def __init__(self, places: Counts) -> None:
        self.places = places
        # Nearly all others differ from them in the last bits already.
        self._last = (1 << max(16, (64 * len(places)).bit_length())) - 1
        self._marked = np.zeros(self._last + 1, np.bool_)
        self._marked[places & self._last] = True

    def among(self, places: Counts) -> NDArray[np.bool_]:
        """Which of these are among them: int64 [n] ─► bool [n]."""
        found = self._marked.take(places & self._last)
        marked = np.flatnonzero(found)
        nearest = np.searchsorted(self.places, places[marked]).clip(max=len(self.places) - 1)
        found[marked] = self.places[nearest] == places[marked]
        return found


class Allowance:
    """How many more pairs each video, recording, match of classes and foreground class may take.

    Matches are numbered C · foreground class + background class, and recordings likewise.

    Args:
        limits: of the choice; of its weights the caller makes quotas, and calls `set_quotas`.

    Attributes:
        caps: the caps in force.
        relaxed: how often they were doubled.
    """

    def __init__(self, limits: SelectionLimits) -> None:
        classes, weights = limits.classes, limits.weights
        self.caps = limits.caps
        self.relaxed = 0
        self._classes = classes
        self._recordings = limits.recordings
        named = 0 if weights is None else len(weights)
        self._count = max(int(classes.max()) + 1 if len(classes) else 0, named)
        self._balanced = weights is not None
        self._by_match = limits.background_weights is not None
        self._counted: dict[str, _Counted] = {}
        self._shots: _CountedSparsely | None = None
        self._full_shots: _FullPlaces | None = None
        self._keys: tuple[Tensor, Tensor] | None = None
        self._widen(self.caps)

    def __getstate__(self) -> dict[str, object]:
        """What travels to other processes: not what lies on a device of this one."""
        return self.__dict__ | {"_keys": None}

    def set_quotas(self, quotas: Counts) -> None:
        """Let the foreground classes take so many pairs, int64 [C], or the matches of classes,
        int64 [C, C]; caps do not change that."""
        kind = "class" if quotas.ndim == 1 else "quota"
        self._counted[kind] = _Counted(quotas.ravel().copy())

    @property
    def anything(self) -> bool:
        """Whether any pair can be refused at all."""
        return self.caps.any or self._balanced

    @property
    def strata(self) -> int:
        """How many strata `stratum` tells apart at most."""
        if self._strata_are_matches:
            return self._count**2
        return self._count if self._balanced or self.caps.foreground_class is not None else 1

    @property
    def _strata_are_matches(self) -> bool:
        return self.caps.class_match is not None or self._by_match

    def stratum(self, pairs: Tensor) -> Tensor | None:
        """What fills up as a whole and has pairs enough to crowd out the others.

        That is the match of a pair where matches have a cap or quotas, or its foreground class
        where classes have.

        Args:
            pairs: int64 [n, 2], on any device.

        Returns:
            int32 [n], on that device; None where there is one stratum.
        """
        if self.strata == 1:
            return None
        if self._keys is None or self._keys[0].device != pairs.device:
            classes = torch.from_numpy(self._classes.astype(np.int32)).to(pairs.device)
            self._keys = classes * (self.strata // self._count), classes
        of_foreground, of_background = self._keys
        strata = of_foreground.index_select(0, pairs[:, 0])
        if self._strata_are_matches:
            strata += of_background.index_select(0, pairs[:, 1])
        return strata

    def open_strata(self) -> NDArray[np.bool_]:
        """Which strata may still take a pair, bool [strata]."""
        opened = np.ones(self.strata, np.bool_)
        for kind in ("match", "quota"):
            if kind in self._counted:
                opened &= self._counted[kind].open()
        for kind in ("class", "foreground class"):
            if kind in self._counted:
                opened &= np.repeat(self._counted[kind].open(), self.strata // self._count)
        return opened

    def no_shares(self) -> Counts:
        """Zeros to add `shares` to: int64 [C], or [C, C] where the quotas are those of matches."""
        return np.zeros((self._count,) * (2 if self._by_match else 1), np.int64)

    def shares(self, pairs: Pairs) -> Counts:
        """How many of the pairs count for each quota: int64 [C] by foreground class, or [C, C] by
        match."""
        empty = self.no_shares()
        kind = "quota" if self._by_match else "class"
        counts = np.bincount(self._groups(kind, pairs), minlength=empty.size)
        return counts.reshape(empty.shape)

    def free(self, pairs: Pairs) -> NDArray[np.bool_] | None:
        """Which pairs may still be taken, each by itself, but for their recordings.

        Only what is full costs anything.

        Args:
            pairs: int64 [n, 2].

        Returns:
            bool [n]; None when all may.
        """
        mask: NDArray[np.bool_] | None = None
        for kind, counted in self._counted.items():
            opened = counted.open()
            if not opened.all():
                of_kind = opened.take(self._groups(kind, pairs))
                mask = of_kind if mask is None else mask & of_kind
        return mask

    def free_recordings(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs are of recordings that may take another one: int64 [n, 2] ─► bool [n]."""
        if self._shots is None:
            return np.ones(len(pairs), np.bool_)
        if self._full_shots is None:
            self._full_shots = _FullPlaces(self._shots.full())
        if not len(self._full_shots.places):
            return np.ones(len(pairs), np.bool_)
        return ~self._full_shots.among(self._groups("recordings", pairs))

    def take(self, pairs: Pairs, most: int) -> NDArray[np.int64]:
        """Go through pairs in their order, and take each that is still allowed.

        Args:
            pairs: int64 [n, 2]. most: how many to take at the most.

        Returns:
            int64, the positions of those taken, ascending.
        """
        self._full_shots = None
        lefts: list[memoryview | _LeftSparsely] = [one.left() for one in self._counted.values()]
        groups = [self._groups(kind, pairs) for kind in self._counted]
        if self._shots is not None:
            lefts.append(self._shots.left())
            groups.append(self._groups("recordings", pairs))
        taken: list[int] = []
        for start in range(0, len(pairs), _AT_ONCE):
            part = pairs[start : start + _AT_ONCE]
            free = self.free(part)
            places = np.arange(len(part)) if free is None else np.flatnonzero(free)
            places += start
            columns = [group[places].tolist() for group in groups]
            _take_each(places.tolist(), columns, lefts, taken, most)
            if len(taken) == most:
                break
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
            "foreground class": (by.foreground_class, self._count),
        }
        for kind, (more, size) in sizes.items():
            if more is not None:
                self._counted.setdefault(kind, _Counted(np.zeros(size, np.int64))).widen(more)
        if by.recordings is not None:
            self._shots = self._shots or _CountedSparsely(0)
            self._shots.widen(by.recordings)
            self._full_shots = None

    def _groups(self, kind: str, pairs: Pairs) -> Counts:
        """What counts the pairs of a kind: int64 [n, 2] ─► int64 [n]."""
        foreground, background = pairs[:, 0], pairs[:, 1]
        if kind == "foreground":
            return foreground
        if kind == "background":
            return background
        if kind == "recordings" and self._recordings is not None:
            recordings = self._recordings
            groups: Counts = recordings.take(foreground) * (int(recordings.max()) + 1)
            return groups + recordings.take(background)
        of_foreground: Counts = self._classes.take(foreground)
        if kind in ("class", "foreground class"):
            return of_foreground
        return of_foreground * self._count + self._classes.take(background)


def _take_each(
    positions: list[int],
    columns: list[list[int]],
    lefts: list[memoryview | _LeftSparsely],
    taken: list[int],
    most: int,
) -> None:
    """Take pairs one by one until `taken` holds `most`; `lefts` are counted down.

    Args:
        positions: of the pairs.
        columns: for each kind of place, those of the pairs.
        lefts: for each kind of place, how many more each may take.
    """
    for position, *places in zip(positions, *columns, strict=True):
        for left, place in zip(lefts, places, strict=True):
            if left[place] <= 0:
                break
        else:
            for left, place in zip(lefts, places, strict=True):
                left[place] -= 1
            taken.append(position)
            if len(taken) == most:
                return
