"""Episodes: a few classes, a few clips of each to learn from, and others to ask about.

Episode number i follows from (seed, i) and the clips alone: any can be drawn without those before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeSettings:
    """What an episode is.

    Attributes:
        way: classes of an episode.
        shot: support clips of each class.
        queries: query clips of each class.
        group_disjoint: no recording gives clips to both support and query of a class.
        seed: of the draw.
    """

    way: int = 5
    shot: int = 5
    queries: int = 1
    group_disjoint: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One episode. Within it a class is called by its place, 0 to way - 1.

    Attributes:
        number: its number.
        classes: int64 `[way]`, indices into `EpisodeClips.classes`.
        support: int64 `[way, shot]`, rows of the bank.
        query: int64 `[way, queries]`, rows of the bank.
    """

    number: int
    classes: Rows
    support: Rows
    query: Rows

    def with_shots(self, shot: int) -> Episode:
        """The same with the first `shot` support clips of each class: the same queries."""
        return Episode(self.number, self.classes, self.support[:, :shot], self.query)


@dataclass(frozen=True)
class EpisodeClips:
    """The clips that episodes are drawn from.

    Attributes:
        classes: names of the classes.
        ids: ids of the videos.
        groups: their recordings.
        labels: int64 `[n]`, indices into `classes`.
        rows: int64 `[n]`, their rows in the bank.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Rows
    rows: Rows


class Episodes(Protocol):
    """Episodes by number: `DrawnEpisodes`, or `SavedEpisodes` of a file."""

    settings: EpisodeSettings
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, from 0."""


def labels_of(rows: Rows) -> Rows:
    """int64 `[way · k]`: the place of the class of each of `rows.ravel()`, rows `[way, k]`."""
    return np.repeat(np.arange(rows.shape[0]), rows.shape[1])
