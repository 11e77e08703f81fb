"""Episodes: a few classes, a few clips of each to learn from, and others to ask about.

Episode number i follows from (seed, i) and the clips' ids alone: any can be drawn without those
before it, and where clips lie in a bank does not matter. `saved.py` keeps them in a file.

Support and query of a class are drawn without regard to recordings, as TRX and ARN do: clips of one
recording can be on both sides, which makes a test easier than it looks. `group_disjoint` keeps them
apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2a.class_splits import asked_for, check_counts
from l2a.errors import InputError
from l2a.videos import Video, counted

Rows = NDArray[np.int64]

_STREAM = 16
"""Of the random numbers of episodes, among those that follow from a seed."""


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

    def __post_init__(self) -> None:
        for name, least in (("way", 2), ("shot", 1), ("queries", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")


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


def labels_of(rows: Rows) -> Rows:
    """int64 `[way · k]`: the place of the class of each of `rows.ravel()`, rows `[way, k]`."""
    return np.repeat(np.arange(rows.shape[0], dtype=np.int64), rows.shape[1])


@dataclass(frozen=True, eq=False)
class EpisodeClips:
    """The clips that episodes are drawn from: those of one side of a class split.

    Attributes:
        classes: names of the classes.
        ids: ids of the videos, in any order.
        groups: their recordings.
        labels: int64 `[n]`, indices into `classes`.
        rows: int64 `[n]`, their rows in the bank.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Rows
    rows: Rows

    @classmethod
    def from_videos(
        cls, videos: Sequence[Video], rows: Sequence[int], classes: Sequence[str]
    ) -> EpisodeClips:
        """Those of the videos that are of the classes.

        Args:
            videos: of any classes.
            rows: the row of each in the bank.
            classes: the classes that episodes are made of.
        """
        place = {name: index for index, name in enumerate(classes)}
        own = [(v, row) for v, row in zip(videos, rows, strict=True) if v.label in place]
        return cls(
            tuple(classes),
            tuple(video.id for video, _ in own),
            tuple(video.group for video, _ in own),
            np.array([place[video.label] for video, _ in own], dtype=np.int64),
            np.array([row for _, row in own], dtype=np.int64),
        )

    @cached_property
    def of_class(self) -> tuple[Rows, ...]:
        """For each class the places of its clips in `ids`, in order of the ids."""
        found: list[list[int]] = [[] for _ in self.classes]
        for place in sorted(range(len(self.ids)), key=self.ids.__getitem__):
            found[self.labels[place]].append(place)
        return tuple(np.array(places, dtype=np.int64) for places in found)

    @cached_property
    def in_order(self) -> Rows:
        """Indices of the classes in order of their names."""
        return np.array(sorted(range(len(self.classes)), key=self.classes.__getitem__))


class Episodes(Protocol):
    """Episodes by number: `DrawnEpisodes`, or `train.few_shot.saved.SavedEpisodes` of a file."""

    @property
    def settings(self) -> EpisodeSettings:
        """What each of them is."""

    @property
    def clips(self) -> EpisodeClips:
        """What they are drawn from."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, from 0; IndexError from the last on."""


class DrawnEpisodes:
    """Episodes that are drawn when they are asked for; none is kept."""

    def __init__(self, clips: EpisodeClips, settings: EpisodeSettings, count: int) -> None:
        """
        Args:
            clips: to draw from.
            settings: what an episode is.
            count: how many there are.

        Raises:
            InputError: there are fewer classes than `way`, or a class has too few clips, or
                recordings that cannot be told apart into support and query.
        """
        check_enough(clips, settings)
        self.clips = clips
        self.settings = settings
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, from 0."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        return draw_episode(self.clips, self.settings, number)


def draw_episode(clips: EpisodeClips, settings: EpisodeSettings, number: int) -> Episode:
    """An episode, of (seed, number) and the clips alone. The clips must be enough (`check_enough`).

    With more shots the first ones, and the queries, are the same (but for `group_disjoint`).
    """
    rng = np.random.default_rng((settings.seed, _STREAM, number))
    classes = clips.in_order[rng.permutation(len(clips.classes))[: settings.way]]
    support, query = [], []
    for label in classes:
        places = clips.of_class[label]
        if settings.group_disjoint:
            asked, shown = _disjoint(clips, places, settings, rng)
        else:
            drawn = places[rng.permutation(len(places))]
            asked, shown = drawn[: settings.queries], drawn[settings.queries :]
        query.append(clips.rows[asked[: settings.queries]])
        support.append(clips.rows[shown[: settings.shot]])
    return Episode(number, classes, np.stack(support), np.stack(query))


def check_enough(clips: EpisodeClips, settings: EpisodeSettings) -> None:
    """Whether episodes can be drawn.

    Raises:
        InputError: as `DrawnEpisodes` says.
    """
    if len(clips.classes) < settings.way:
        raise InputError(
            f"Episodes of {settings.way} classes cannot be drawn from "
            f"{counted(len(clips.classes), 'class', 'classes')}; give --way {len(clips.classes)} "
            "or less, or more such classes."
        )
    sizes = map(len, clips.of_class)
    check_counts(dict(zip(clips.classes, sizes, strict=True)), settings.shot, settings.queries)
    asked = asked_for(settings.shot, settings.queries)
    for name, places in zip(clips.classes, clips.of_class, strict=True):
        if settings.group_disjoint and not _possible(_sizes(clips, places), settings):
            raise InputError(
                f"The {len(places)} clips of the class {name!r} come from "
                f"{counted(len(_sizes(clips, places)), 'recording')}, which cannot be parted into "
                f"{asked}; give fewer, or set group_disjoint to false."
            )


def _disjoint(
    clips: EpisodeClips, places: Rows, settings: EpisodeSettings, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """(places for queries, places for support) of clips of different recordings, in random order.

    Each recording falls on a side by a coin, as long as both sides can still have enough.
    """
    sizes = _sizes(clips, places)
    by_name = sorted(sizes)
    groups = [by_name[at] for at in rng.permutation(len(by_name))]
    reachable = [1]  # bit s: s clips can be had from the recordings behind
    for group in reversed(groups):
        reachable.append(reachable[-1] | reachable[-1] << sizes[group])
    window = _window(len(places), settings)
    lean = settings.queries / (settings.queries + settings.shot)
    asked: set[str] = set()
    total = 0
    for left, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True):
        may = bool((reachable[left] << (total + sizes[group])) & window)
        must = not (reachable[left] << total) & window
        coin = rng.random() < lean
        if must or (may and coin):
            asked.add(group)
            total += sizes[group]
    drawn = places[rng.permutation(len(places))]
    chosen = np.array([clips.groups[place] in asked for place in drawn])
    return drawn[chosen], drawn[~chosen]


def _sizes(clips: EpisodeClips, places: Rows) -> Counter[str]:
    """Recording ─► how many of the clips are from it."""
    return Counter(clips.groups[place] for place in places)


def _window(clips: int, settings: EpisodeSettings) -> int:
    """Bit s: with s clips for queries, both sides have enough."""
    most = clips - settings.shot
    return max(0, (1 << (most + 1)) - (1 << settings.queries)) if most >= 0 else 0


def _possible(sizes: Counter[str], settings: EpisodeSettings) -> bool:
    """Whether recordings can be parted so that both sides have enough clips."""
    sums = 1
    for size in sizes.values():
        sums |= sums << size
    return bool(sums & _window(sizes.total(), settings))
