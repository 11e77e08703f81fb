"""Composites of an episode: which actor on which scene, and that nothing leaks.

Each of the k composites of a class takes one of the episode's own support clips of that class as
foreground, in turn; the label is the foreground's. Its scene is that of a clip of a base class, or
of another support clip of the same episode. A query is never in a composite, nor is any clip of a
validation class, nor a novel clip beyond the support (`refuse_leaks` holds every episode to it).

Base scenes are drawn once for each clip (`draw_candidates`), so that ten thousand episodes need few
composites: as many as there are clips, times candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.settings.few_shot import Choice

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

ScorePairs = Callable[[Rows], Scores]
"""Pairs of bank rows int64 `[n, 2]` (foreground, background) ─► a score for each, float32 `[n]`,
higher is better."""

_CANDIDATES, _EPISODE = 1, 2
"""Streams of random numbers."""


@dataclass(frozen=True)
class Candidates:
    """Scenes that may stand behind each actor.

    Attributes:
        scenes: bank row of a clip that is fit as foreground ─► rows of its scenes, int64 `[m]`,
            in the order that they were drawn in.
        ranked: the same scenes, the best first; None where nothing ranks them.
    """

    scenes: dict[int, Rows]
    ranked: dict[int, Rows] | None = None

    @property
    def pairs(self) -> Rows:
        """Every pair, int64 `[n, 2]`, once."""
        return pairs_of(self.scenes)

    def rank(self, score: ScorePairs) -> Candidates:
        """The same, ranked; ties keep the order that they were drawn in."""
        scores, start, ranked = score(self.pairs), 0, {}
        for actor, scenes in self.scenes.items():
            own = scores[start : start + len(scenes)]
            ranked[actor] = scenes[np.argsort(-own, kind="stable")]
            start += len(scenes)
        return Candidates(self.scenes, ranked)


def pairs_of(scenes: dict[int, Rows]) -> Rows:
    """Actor ─► scenes, as pairs int64 `[n, 2]`."""
    parts = [np.stack([np.full_like(rows, actor), rows], axis=1) for actor, rows in scenes.items()]
    return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)


def draw_candidates(
    actors: Rows, scenes_of: Callable[[int], Rows], ids: tuple[str, ...], count: int, seed: int
) -> Candidates:
    """Draw scenes for each actor, uniformly and each once.

    Args:
        actors: bank rows int64 `[n]`.
        scenes_of: an actor's row ─► the rows of all scenes that it may get.
        ids: the video id of every row; what an actor gets follows from its own id and the seed,
            whatever other clips there are.
        count: of scenes for each, at most.
        seed: of the draw.
    """
    drawn: dict[int, Rows] = {}
    for actor in actors.tolist():
        possible = scenes_of(actor)
        rng = np.random.default_rng([seed, _CANDIDATES, _number(ids[actor])])
        drawn[actor] = rng.permutation(possible)[:count]
    return Candidates({actor: scenes for actor, scenes in drawn.items() if len(scenes)})


class KnownScores:
    """A `ScorePairs` that asks another one about each pair once: for many pairs at a time where
    they are named beforehand, since a Selector takes as long for one as for a thousand."""

    def __init__(self, score: ScorePairs) -> None:
        self._score = score
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, pairs: Rows) -> Scores:
        """See `ScorePairs`."""
        keys = [(int(actor), int(scene)) for actor, scene in pairs]
        missing = sorted({key for key in keys if key not in self._known})
        if missing:
            found = self._score(np.array(missing, np.int64))
            self._known |= dict(zip(missing, found.tolist(), strict=True))
        return np.array([self._known[key] for key in keys], np.float32)


@dataclass(frozen=True)
class Compositor:
    """Which composites an episode gets.

    Attributes:
        choice: "random" or "selector".
        count: k, composites of each class.
        seed: of what is drawn at random, with the episode's number.
        candidates: of base scenes; None takes scenes from the episode's support.
        score: ranks scenes of the support for the choice "selector".
        actors, scenes: rows that are fit as foreground, and as background.
    """

    choice: Choice
    count: int
    seed: int
    candidates: Candidates | None
    score: ScorePairs | None
    actors: frozenset[int]
    scenes: frozenset[int]

    def expect(self, supports: Rows) -> None:
        """Score what some episodes will ask for at once.

        Args:
            supports: bank rows int64 `[E, way, n]`.
        """
        if self.choice != "selector" or self.candidates is not None or self.score is None:
            return
        asked: set[tuple[int, int]] = set()
        for clips in supports.reshape(len(supports), -1).tolist():
            actors, scenes = self.actors.intersection(clips), self.scenes.intersection(clips)
            asked |= {(a, s) for a in actors for s in scenes if a != s}
        if asked:
            self.score(np.array(sorted(asked), np.int64))

    def pairs(self, support: Rows, number: int) -> Rows:
        """The composites of an episode.

        Args:
            support: bank rows int64 `[way, n]`.
            number: of the episode.

        Returns:
            int64 `[way, k, 2]`, (foreground, background); where no support clip of a class is fit
            as foreground, or has a scene, pairs of a clip with itself: the clip as it is.
        """
        rng = np.random.default_rng([self.seed, _EPISODE, number])
        scenes = self._scenes(support, rng)
        made = np.empty((*support.shape[:1], self.count, 2), np.int64)
        for label, clips in enumerate(support.tolist()):
            fit = [clip for clip in clips if clip in scenes]
            for turn in range(self.count):
                actor = (fit or clips)[turn % len(fit or clips)]
                own = scenes.get(actor)
                scene = actor if own is None else own[turn // len(fit) % len(own)]
                made[label, turn] = actor, scene
        return made

    def _scenes(self, support: Rows, rng: np.random.Generator) -> dict[int, Rows]:
        """Actor ─► its scenes in the order that they are used, for the actors that have any."""
        clips = support.ravel().tolist()
        if self.candidates is None:
            return self._of_support(clips, rng)
        if self.choice == "selector":
            ranked = self.candidates.ranked
            if ranked is None:
                raise ValueError("candidates are not ranked")
            return {clip: ranked[clip] for clip in clips if clip in ranked}
        own = self.candidates.scenes
        return {clip: rng.permutation(own[clip]) for clip in clips if clip in own}

    def _of_support(self, clips: list[int], rng: np.random.Generator) -> dict[int, Rows]:
        able = np.array([clip for clip in clips if clip in self.scenes], np.int64)
        possible = {clip: able[able != clip] for clip in clips if clip in self.actors}
        possible = {clip: rows for clip, rows in possible.items() if len(rows)}
        shuffled = {clip: rng.permutation(rows) for clip, rows in possible.items()}
        if self.choice != "selector" or not shuffled:
            return shuffled
        if self.score is None:
            raise ValueError("nothing ranks the scenes of the support")
        ranked = Candidates(shuffled).rank(self.score).ranked
        return ranked or {}


def refuse_leaks(support: Rows, queries: Rows, pairs: Rows, base: Rows) -> None:
    """Hold composites to what an episode may use.

    Args:
        support: bank rows int64 `[E, way, n]`.
        queries: int64 `[E, way, q]`.
        pairs: int64 `[E, way, k, 2]`.
        base: rows of base classes, whose scenes may be used.

    Raises:
        ValueError: a foreground is no support clip of its own class and episode, a background is
            neither a clip of a base class nor of the episode's support, or a query is in one.
    """
    actors, scenes = pairs[..., 0], pairs[..., 1]
    if not (actors[..., None] == support[:, :, None, :]).any(-1).all():
        raise ValueError("an actor is not of the support of its class")
    episodes = len(support)
    every = support.reshape(episodes, 1, 1, -1)
    known = (scenes[..., None] == every).any(-1) | np.isin(scenes, base)
    if not known.all():
        raise ValueError("a scene is neither of a base class nor of the support")
    asked = queries.reshape(episodes, 1, 1, 1, -1)
    if (pairs[..., None] == asked).any():
        raise ValueError("a query is in a composite")


def _number(video_id: str) -> int:
    return int(hashlib.sha256(video_id.encode("utf-8", "surrogateescape")).hexdigest()[:16], 16)
