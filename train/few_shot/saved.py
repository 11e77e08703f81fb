"""Episodes in a file, so that several methods, runs and people see the same ones.

JSON lines. The first is the header: what an episode is, the names of the classes and the ids of the
videos. Each other line is an episode, `[classes, support, query]`: places in these two lists,
`[way]`, `[way, shot]` and `[way, queries]`. Rows of a bank are in no file: a bank is one machine's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from l2a.errors import InputError
from l2a.files import atomic_write, fingerprint, read_json, write_json
from l2a.logs import say
from train.few_shot.episodes import Episode, EpisodeClips, Episodes, EpisodeSettings, Rows

_KIND = "l2a episodes"
_VERSION = 1
_COMPARED = 100
"""Episodes by which two files of them, or two draws, are told apart."""

_PLURAL = {"class": "classes", "video": "videos"}


def write_episodes(path: Path, episodes: Episodes) -> None:
    """Write all episodes, one after the other; the file appears whole or not at all."""
    clips, settings = episodes.clips, episodes.settings
    place_of = dict(zip(clips.rows.tolist(), range(len(clips.rows)), strict=True))

    def places(rows: Rows) -> list[list[int]]:
        return [[place_of[row] for row in of_class] for of_class in rows.tolist()]

    header = {
        "kind": _KIND,
        "version": _VERSION,
        "episodes": len(episodes),
        "way": settings.way,
        "shot": settings.shot,
        "queries": settings.queries,
        "group_disjoint": settings.group_disjoint,
        "seed": settings.seed,
        "classes": list(clips.classes),
        "videos": list(clips.ids),
    }
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_line(header))
        for number in range(len(episodes)):
            one = episodes[number]
            file.write(_line([one.classes.tolist(), places(one.support), places(one.query)]))


def refuse_other_episodes(path: Path, episodes: Episodes) -> None:
    """Refuse to go on with accuracies of other episodes.

    Args:
        path: what accuracies that are there already were measured on; written where it is not.
        episodes: those at hand.

    Raises:
        InputError: they are others.
    """
    clips = episodes.clips
    id_of = dict(zip(clips.rows.tolist(), clips.ids, strict=True))
    first = [episodes[number] for number in range(min(_COMPARED, len(episodes)))]
    sides = [[one.support.ravel().tolist(), one.query.ravel().tolist()] for one in first]
    mark = fingerprint([[[id_of[row] for row in side] for side in one] for one in sides])
    if not path.is_file():
        write_json(path, {"episodes": mark})
    elif read_json(path) != {"episodes": mark}:
        raise InputError(
            f"{path.parent} holds accuracies of other episodes, because the file of episodes or "
            "the videos that can be read have changed; give --out another folder."
        )


def check_episode_file(path: Path, wanted: EpisodeSettings, count: int, *, begun: bool) -> None:
    """Say that a file's episodes are not what is asked for, before anything is made for them.

    Args:
        path: what `write_episodes` wrote.
        wanted: what an episode shall be; with fewer shots it has the first ones of the file's.
        count: episodes that are asked for.
        begun: the run is one that began before. An earlier version did not look whether recordings
            are kept apart, and its runs go on.

    Raises:
        InputError: it is no such file, has too few episodes, or others.
    """
    header, starts = _indexed(path)
    own = _settings(path, header)
    if (own.way, own.queries) != (wanted.way, wanted.queries) or own.shot < wanted.shot:
        raise InputError(
            f"{path} holds episodes of {own.way} classes, {own.shot} shots and {own.queries} "
            f"queries, and {wanted.way}, {wanted.shot} and {wanted.queries} are asked for; "
            "give the same, or another --episode-file."
        )
    if len(starts) < count:
        raise InputError(
            f"{path} holds {len(starts)} episodes and {count} are asked for; give "
            f"--episodes {len(starts)}."
        )
    if wanted.group_disjoint and not own.group_disjoint:
        what = (
            f"{path} was drawn without --group-disjoint, so that recordings can be on both sides "
            "of its episodes"
        )
        if not begun:
            raise InputError(f"{what}; leave that option out, or give another --episode-file.")
        say(f"note: {what}")


class SavedEpisodes:
    """The episodes of a file, read when they are asked for: in memory there is one number for each.

    Attributes:
        settings: of the draw that made them.
        clips: what the rows of episodes are of.
    """

    def __init__(self, path: Path, clips: EpisodeClips) -> None:
        """
        Args:
            path: what `write_episodes` wrote.
            clips: the clips here, with all that the file names among them.

        Raises:
            InputError: it is no such file, or names videos or classes that are not here.
        """
        self.clips = clips
        self._path = path
        header, self._starts = _indexed(path)
        self.settings = _settings(path, header)
        if len(self._starts) != header.get("episodes"):
            raise InputError(
                f"{path} holds {len(self._starts)} of {header.get('episodes')} episodes; copy it "
                "again, or write it again."
            )
        self._classes = _places(path, "class", header.get("classes"), clips.classes)
        self._videos = _places(path, "video", header.get("videos"), clips.ids)
        self._groups = np.unique(clips.groups, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Episode:
        """Episode `number`, from 0.

        Raises:
            InputError: its line is damaged, or recordings are not apart though the file says so.
        """
        if not 0 <= number < len(self._starts):
            raise IndexError(number)
        with self._path.open("rb") as file:
            file.seek(self._starts[number])
            line = file.readline()
        try:
            classes, support, query = (np.array(part) for part in json.loads(line))
            found = self._checked(number, classes, support, query)
        except (ValueError, TypeError, IndexError, RecursionError):
            found = None
        if found is None:
            raise InputError(
                f"Episode {number} of {self._path} (line {number + 2}) is damaged; write the file "
                "again."
            )
        return found

    def _checked(self, number: int, classes: Rows, support: Rows, query: Rows) -> Episode | None:
        """The episode of its places in the header; None where it is none."""
        said, way = self.settings, self.settings.way
        shapes = ((way,), (way, said.shot), (way, said.queries))
        parts = (classes, support, query)
        if any(part.dtype != np.int64 or part.min() < 0 for part in parts):
            return None
        if tuple(part.shape for part in parts) != shapes:
            return None
        both = np.concatenate([self._videos[support], self._videos[query]], axis=1)
        labels = self._classes[classes]
        if len(np.unique(both)) < both.size or len(np.unique(labels)) < way:
            return None
        if (self.clips.labels[both] != labels[:, None]).any():
            return None
        if said.group_disjoint:
            self._check_apart(number, both)
        rows = self.clips.rows[both]
        return Episode(number, labels, rows[:, : said.shot], rows[:, said.shot :])

    def _check_apart(self, number: int, places: Rows) -> None:
        """Whether the recordings, as they are told here, are on one side of each class.

        Args:
            number: of the episode.
            places: of its clips in `clips`, `[way, shot + queries]`.

        Raises:
            InputError: one is on both.
        """
        groups, shot = self._groups[places], self.settings.shot
        twice = groups[:, :shot, None] == groups[:, None, shot:]
        if twice.any():
            place = places[:, :shot][twice.any(2)][0]
            raise InputError(
                f"{self._path} says that it keeps recordings apart, and here the recording "
                f"{self.clips.groups[place]!r} is on both sides of its episode {number}; tell "
                "recordings as where it was written (--group-pattern), or give another "
                "--episode-file."
            )


def _indexed(path: Path) -> tuple[dict[str, Any], Rows]:
    """The header, and where each episode's line starts, in bytes."""
    if not path.is_file():
        raise InputError(f"There is no file of episodes {path}; check the path.")
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
            starts = [file.tell()]
            starts += [file.tell() for _ in iter(file.readline, b"")]
    except (ValueError, RecursionError, OSError):
        header = None
    if not isinstance(header, dict) or header.get("kind") != _KIND:
        raise InputError(f"{path} is no file of episodes; give one that l2a has written.")
    if header.get("version") != _VERSION:
        raise InputError(
            f"{path} is of version {header.get('version')}, and this l2a reads version {_VERSION}; "
            "write it again."
        )
    return header, np.array(starts[:-1], dtype=np.int64)


def _settings(path: Path, header: dict[str, Any]) -> EpisodeSettings:
    numbers = [header.get(name) for name in ("way", "shot", "queries", "seed")]
    if not all(type(number) is int for number in numbers):
        raise InputError(f"{path} does not say what its episodes are; write it again.")
    way, shot, queries, seed = (int(str(number)) for number in numbers)
    return EpisodeSettings(way, shot, queries, bool(header.get("group_disjoint")), seed)


def _places(path: Path, what: str, named: Any, here: tuple[str, ...]) -> Rows:
    """For each name of the header its place here.

    Raises:
        InputError: it is not here.
    """
    place_of = {name: place for place, name in enumerate(here)}
    if not isinstance(named, list):
        raise InputError(f"{path} names no {what}; write it again.")
    missing = [name for name in named if not isinstance(name, str) or name not in place_of]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(named)} {_PLURAL[what]} that {path} names are not among "
            f"the clips here, such as {missing[0]!r}; use the data and the class split that it was "
            "drawn from, or draw others."
        )
    return np.array([place_of[name] for name in named], dtype=np.int64)


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
