"""Who acts on whose scene: a fixed list, in which nothing that is trained has a part.

A scene is drawn by the order of hashes of the two videos' ids. So the list depends on no seed, is
the same for every arm, run and machine, and a video that joins or leaves the data changes nothing
for actors that did not stand on its scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.files import fingerprint

FOREIGN = "mixed_rand"
"""The form that everything is judged by: an actor on a scene of another class."""

FORMS = ("real", "mixed_same", FOREIGN, "scene_alone", "actor_alone")
"""The forms of a test clip: as it is; its actor on another recording's scene of the same class, and
of another class; its clean background; its actor on grey."""

SCENES = 4
"""Scenes that an actor stands on in each of the two mixed forms."""


@dataclass(frozen=True)
class Listed:
    """The clips of one form.

    Attributes:
        pairs: int64 [m, 2], bank rows of actor and scene; in the forms of one video both are it.
        actor: int64 [m], ascending: the place of each clip's actor among the actors of the test.
    """

    pairs: NDArray[np.int64]
    actor: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actor)


@dataclass(frozen=True)
class Cast:
    """All clips of a scene test.

    Attributes:
        actors: int64 [n], bank rows of the videos that are tested: those fit as foreground.
        lists: form ─► its clips, each of `FORMS`.
        ids: of the bank's videos.
    """

    actors: NDArray[np.int64]
    lists: dict[str, Listed]
    ids: Sequence[str]

    @property
    def left_out(self) -> int:
        """Actors without another recording of their class: they have no clip in `mixed_same`."""
        return len(self.actors) - len(np.unique(self.lists["mixed_same"].actor))

    def to_json(self) -> dict[str, list[list[str]]]:
        """Form ─► (actor's id, scene's id) of each clip."""
        return {
            form: [[self.ids[actor], self.ids[scene]] for actor, scene in listed.pairs.tolist()]
            for form, listed in self.lists.items()
        }

    @property
    def mark(self) -> str:
        """A fingerprint of the list."""
        return fingerprint(self.to_json())


@dataclass(frozen=True)
class Company:
    """What drawing asks of the videos of a bank.

    Attributes:
        ids: of its N videos.
        labels: int64 [N], their classes.
        recordings: int64 [N]: clips of one recording share a number.
    """

    ids: Sequence[str]
    labels: NDArray[np.int64]
    recordings: NDArray[np.int64]


def draw_cast(
    company: Company,
    foregrounds: NDArray[np.int64],
    backgrounds: NDArray[np.int64],
    scenes: int = SCENES,
) -> Cast:
    """Draw the scenes that each actor stands on.

    An actor stands on `scenes` scenes of its class and on as many of other classes, never on one of
    its own recording: fewer where there are not so many. Other classes are drawn before their
    scenes, so that a class with many videos is not seen more often; one gives a second scene only
    when each has given one.

    Args:
        company: the bank's videos.
        foregrounds: int64 [n], ascending: rows fit as foreground, the actors.
        backgrounds: int64 [b], rows fit as background, the scenes.
        scenes: scenes for each actor in each mixed form.
    """
    by_class = {
        int(label): backgrounds[company.labels[backgrounds] == label]
        for label in np.unique(company.labels[backgrounds])
    }
    fit = set(backgrounds.tolist())
    found: dict[str, list[tuple[int, int, int]]] = {form: [] for form in FORMS}
    for place, actor in enumerate(foregrounds.tolist()):
        found["real"].append((place, actor, actor))
        found["actor_alone"].append((place, actor, actor))
        if actor in fit:
            found["scene_alone"].append((place, actor, actor))
        own = int(company.labels[actor])
        same = _in_turn(company, actor, {own: by_class.get(own, backgrounds[:0])}, scenes)
        others = {label: rows for label, rows in by_class.items() if label != own}
        other = _in_turn(company, actor, others, scenes)
        found["mixed_same"] += [(place, actor, scene) for scene in same]
        found[FOREIGN] += [(place, actor, scene) for scene in other]
    return Cast(foregrounds, {form: _listed(rows) for form, rows in found.items()}, company.ids)


def _in_turn(
    company: Company, actor: int, by_class: dict[int, NDArray[np.int64]], count: int
) -> list[int]:
    """Up to `count` scenes of other recordings than the actor's, from the classes in turn."""
    name = company.ids[actor]
    order = sorted(by_class, key=lambda label: _hash(name, f"class {label}"))
    waiting = [_scenes(company, actor, by_class[label]) for label in order]
    drawn: list[int] = []
    while waiting and len(drawn) < count:
        for scenes in tuple(waiting):
            scene = next(scenes, None)
            if scene is None:
                waiting.remove(scenes)
            elif len(drawn) < count:
                drawn.append(scene)
    return drawn


def _scenes(company: Company, actor: int, rows: NDArray[np.int64]) -> Iterator[int]:
    """The rows of other recordings, in the actor's own order; sorted only once they are asked."""
    others = rows[company.recordings[rows] != company.recordings[actor]].tolist()
    name = company.ids[actor]
    yield from sorted(others, key=lambda row: _hash(name, company.ids[row]))


def _hash(actor: str, other: str) -> bytes:
    text = f"{actor}\0{other}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=8).digest()


def _listed(rows: list[tuple[int, int, int]]) -> Listed:
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Listed(table[:, 1:], table[:, 0])
