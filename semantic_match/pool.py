"""All candidate pairs of videos, counted and addressed but never listed.

A pool of Kinetics size has 360 billion pairs when classes are not matched. Each pair has a
number, and the pair is computed from its number: memory grows with the videos and the matches,
not with the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2a.errors import InputError
from semantic_match.match import ClassMatch

Rows = Sequence[Sequence[int]]


class Pool:
    """Pairs (foreground video, background video) of matched classes (Learn2Augment, Sec. 3.2).

    Videos are whole numbers of the caller's choice, such as rows of a clip bank. A video may lend
    its actor, its background, or both. Where a class is matched with itself, no video is paired
    with itself.

    Pairs are numbered match by match, in the order of `matches`; within one, foreground by
    foreground. Of a class's videos, those that lend both come first.

    Args:
        foreground_rows: per class, the videos that can lend their actors.
        background_rows: per class, the videos that can lend their backgrounds.
        matches: which class goes with which, each (foreground, background) at most once.

    Raises:
        ValueError: a match or a video stands twice, or a video belongs to two classes.
    """

    def __init__(
        self, foreground_rows: Rows, background_rows: Rows, matches: Sequence[ClassMatch]
    ) -> None:
        if len(foreground_rows) != len(background_rows):
            raise ValueError("give foreground and background rows for the same classes")
        c1 = np.array([match.foreground for match in matches], np.int64)
        c2 = np.array([match.background for match in matches], np.int64)
        if len(set(zip(c1.tolist(), c2.tolist(), strict=True))) != len(matches):
            raise ValueError("a match stands twice")

        foregrounds = [np.asarray(rows, np.int64) for rows in foreground_rows]
        backgrounds = [np.asarray(rows, np.int64) for rows in background_rows]
        _check_rows(foregrounds, backgrounds)
        sides = [_shared_first(f, b) for f, b in zip(foregrounds, backgrounds, strict=True)]
        foregrounds, backgrounds = [side[0] for side in sides], [side[1] for side in sides]
        num_both = np.array([side[2] for side in sides], np.int64)
        self._foregrounds, foreground_starts, foreground_counts = _flatten(foregrounds)
        self._backgrounds, background_starts, background_counts = _flatten(backgrounds)
        self._foreground_start = foreground_starts[c1]
        self._background_start = background_starts[c2]
        self._width = background_counts[c2]
        # How many foregrounds of a match are among its backgrounds and so have one partner less.
        self._num_both = np.where(c1 == c2, num_both[c1], 0)
        self._counts = foreground_counts[c1] * self._width - self._num_both
        self._ends = np.cumsum(self._counts)
        self._len = int(self._ends[-1]) if len(matches) else 0

    @classmethod
    def everything(cls, foreground_rows: Rows, background_rows: Rows) -> Pool:
        """Every foreground with every background but its own, whatever the classes.

        This is the pool without Semantic Matching, which the ablation compares with.
        """
        return cls(
            [[row for rows in foreground_rows for row in rows]],
            [[row for rows in background_rows for row in rows]],
            [ClassMatch(0, 0, 1.0)],
        )

    def __len__(self) -> int:
        return self._len

    def pair(self, index: int) -> tuple[int, int]:
        """The pair with this number, 0 ≤ index < len; IndexError outside."""
        foreground, background = self.pairs([index])[0]
        return int(foreground), int(background)

    def pairs(self, indices: ArrayLike) -> NDArray[np.int64]:
        """The pairs with these numbers: int [n] ─► int64 [n, 2], foreground first.

        Raises:
            IndexError: a number is negative or not below `len(pool)`.
        """
        index = np.asarray(indices, np.int64)
        if index.size and (index.min() < 0 or index.max() >= self._len):
            raise IndexError(f"the pool has pairs 0 to {self._len - 1}")
        match = np.searchsorted(self._ends, index, side="right")
        within = index - (self._ends[match] - self._counts[match])
        width = self._width[match]
        num_both = self._num_both[match]

        # The first num_both foregrounds have width - 1 partners each, the others have width.
        short = within < num_both * (width - 1)
        first = np.where(short, 0, num_both)
        within -= np.where(short, 0, num_both * (width - 1))
        rows, columns = np.divmod(within, np.where(short, width - 1, width))
        foreground = first + rows
        # Videos that lend both have the same place on both sides: step over one's own.
        background = columns + (short & (columns >= foreground))
        return np.stack(
            [
                self._foregrounds[self._foreground_start[match] + foreground],
                self._backgrounds[self._background_start[match] + background],
            ],
            axis=-1,
        )

    def block(self, start: int, stop: int) -> NDArray[np.int64]:
        """The pairs with the numbers from `start` to below `stop`: int64 [n, 2], foreground first.

        The same as `pairs` of these numbers, in a tenth of the time: a foreground is looked up once
        for all its partners in a match. Each side lies in one piece of memory.

        Raises:
            IndexError: the pool has not all of these numbers.
        """
        if not 0 <= start <= stop <= self._len:
            raise IndexError(f"the pool has pairs 0 to {self._len - 1}")
        sides = np.empty((2, stop - start), np.int64)
        if start == stop:
            return sides.T
        match, row, begun, lengths = self._runs(start, stop)
        numbers = np.arange(start, stop)
        # A pair's place in the list of all backgrounds is its number, but for a shift in each run.
        places = numbers + np.repeat(self._background_start[match] - begun, lengths)
        own = row < self._num_both[match]
        if own.any():
            # Videos that lend both have the same place on both sides: step over one's own.
            passed = np.where(own, begun + row, stop)
            places += numbers >= np.repeat(passed, lengths)
        sides[0] = np.repeat(self._foregrounds[self._foreground_start[match] + row], lengths)
        self._backgrounds.take(places, out=sides[1], mode="clip")
        return sides.T

    def _runs(self, start: int, stop: int) -> tuple[NDArray[np.int64], ...]:
        """The runs of one foreground's pairs in a match that hold the numbers start to stop.

        Returns:
            int64 [runs] each: the match; the foreground's place in it; the number of the run's
            first pair, which may lie before `start`; how many of its pairs are among the numbers.
        """
        low, high = np.searchsorted(self._ends, (start, stop - 1), side="right")
        matches = np.arange(low, high + 1)
        first = self._ends[matches] - self._counts[matches]
        width, num_both = self._width[matches], self._num_both[matches]
        # Every foreground of the matches, but for the first match and the last one.
        until = (self._counts[matches] + num_both) // np.maximum(width, 1)
        since = np.zeros_like(until)
        since[0] = _row_of(start - first[0], width[0], num_both[0])
        until[-1] = _row_of(stop - 1 - first[-1], width[-1], num_both[-1]) + 1
        rows = until - since
        which = np.repeat(np.arange(len(matches)), rows)
        row = np.arange(len(which)) - np.repeat(np.cumsum(rows) - rows - since, rows)
        # The first num_both foregrounds have width - 1 partners each, the others have width.
        begun = first[which] + row * width[which] - np.minimum(row, num_both[which])
        ended = begun + width[which] - (row < num_both[which])
        lengths = np.minimum(ended, stop) - np.maximum(begun, start)
        held = lengths > 0
        return matches[which[held]], row[held], begun[held], lengths[held]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """All pairs in the order of their numbers, made as they are asked for."""
        for block in self.blocks(8192):
            yield from zip(block[:, 0].tolist(), block[:, 1].tolist(), strict=True)

    def blocks(self, size: int) -> Iterator[NDArray[np.int64]]:
        """All pairs in the order of their numbers, `size` at a time: int64 [≤ size, 2]."""
        for start in range(0, self._len, size):
            yield self.block(start, min(start + size, self._len))

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw pairs with replacement, every pair as likely as any other: int64 [count, 2].

        Raises:
            InputError: there is nothing to draw from.
        """
        if self._len == 0:
            raise InputError(
                "The pool has no pairs: no class with a usable actor is matched with a class with "
                "a usable background; match more classes or relax the settings of prepare."
            )
        return self.pairs(rng.integers(0, self._len, count, dtype=np.int64))


def _row_of(within: int, width: int, num_both: int) -> int:
    """The foreground's place in a match that the pair with this number in it has."""
    short = num_both * (width - 1)
    return within // (width - 1) if within < short else num_both + (within - short) // width


def _shared_first(
    foreground: NDArray[np.int64], background: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Both lists with what they share in front, in the same order, and how much that is."""
    mask = np.isin(foreground, background)
    shared = foreground[mask]
    rest = background[~np.isin(background, foreground)]
    return (
        np.concatenate([shared, foreground[~mask]]),
        np.concatenate([shared, rest]),
        len(shared),
    )


def _flatten(
    groups: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All rows in one array, and where each group starts in it and how many it has."""
    counts = np.array([len(group) for group in groups], np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *groups])
    return flat, np.cumsum(counts) - counts, counts


def _check_rows(
    foregrounds: Sequence[NDArray[np.int64]], backgrounds: Sequence[NDArray[np.int64]]
) -> None:
    owners = []
    for groups in (foregrounds, backgrounds):
        rows, _, counts = _flatten(groups)
        if len(np.unique(rows)) != len(rows):
            raise ValueError("a video stands twice among the foregrounds or the backgrounds")
        owners.append(np.stack([rows, np.repeat(np.arange(len(groups)), counts)], axis=1))
    owner = np.unique(np.concatenate(owners), axis=0)
    if len(np.unique(owner[:, 0])) != len(owner):
        raise ValueError("a video belongs to two classes")
