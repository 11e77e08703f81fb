"""What a table of the paper is made of: groups of cells, and the commands that fill them.

table ─► groups ─► steps: commands, each in a folder of its own
               └─► rows ─► cells: the paper's figure, and where finished runs say their own
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2a.errors import InputError
from l2a.files import read_json
from train.paper.cost import Cost


@dataclass(frozen=True)
class Place:
    """Where a finished run says a figure.

    Attributes:
        file: JSON.
        keys: the way to the figure, 0..1, from the outermost key on.
        done: what the run writes when its figures are there; until then the figure is none.
    """

    file: Path
    keys: tuple[str, ...]
    done: Path

    def read(self) -> float | None:
        """The figure in %; None where the run is not finished.

        Raises:
            InputError: it is finished, and does not say it.
        """
        if not self.done.is_file():
            return None
        try:
            found: Any = read_json(self.file)
            for key in self.keys:
                found = found[key]
            return 100 * float(found)
        except (InputError, OSError, KeyError, TypeError, ValueError) as error:
            reason = str(error).rstrip(".") if isinstance(error, InputError) else repr(error)
            raise InputError(
                f"{self.file} does not say {' / '.join(self.keys)} ({reason}), although its run "
                "is finished; remove its folder, to have it made again."
            ) from None


@dataclass(frozen=True)
class Cell:
    """A figure of the paper, and the runs that measure the same.

    Attributes:
        paper: top-1 in %; None where the paper has none.
        places: one for each seed and split.
    """

    paper: float | None
    places: tuple[Place, ...]

    def values(self) -> list[float]:
        """What finished runs say, in %; those that do not say it are left out."""
        return [value for _, value in self._read() if isinstance(value, float)]

    def damaged(self) -> dict[Path, str]:
        """The file of each finished run that does not say it ─► a sentence."""
        return {file: str(value) for file, value in self._read() if isinstance(value, InputError)}

    def _read(self) -> Iterator[tuple[Path, float | InputError | None]]:
        for place in self.places:
            try:
                yield place.file, place.read()
            except InputError as error:
                yield place.file, error


@dataclass(frozen=True)
class Row:
    """A row of a group.

    Attributes:
        title: what the paper calls it.
        cells: column ─► its cell.
        hours: of one training, on one GPU; None where rows share theirs.
    """

    title: str
    cells: Mapping[str, Cell]
    hours: float | None = None


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        title: what it makes, in a few words; steps that differ in their seed alone share it.
        words: what follows `l2a`.
        runs: the file that each of its runs writes when its figures are there.
        last: the names of the other files that a run has beside it when it is finished.
        hours: of one run, on average, on one GPU; what runs share is not counted.
        missing: what must be brought before it can run, each in a few words.
        after: the file that a step before it leaves, without which it cannot run.
    """

    title: str
    words: tuple[str, ...]
    runs: tuple[Path, ...]
    hours: float
    missing: tuple[str, ...] = ()
    after: Path | None = None
    last: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """Runs that are not finished."""
        return sum(
            not all(path.with_name(name).is_file() for name in (path.name, *self.last))
            for path in self.runs
        )

    @property
    def left_hours(self) -> float:
        """Of the runs that are not finished."""
        return self.left * self.hours


@dataclass(frozen=True)
class Store:
    """Masks and clean backgrounds, which runs share.

    Attributes:
        place: its folder.
        videos: that get them.
        cost: of all of them.
    """

    place: Path
    videos: int
    cost: Cost

    def left(self) -> Cost:
        """The same without the hours of those that are there."""
        there = len(list((self.place / "records").glob("*.json")))
        share = max(0.0, 1 - there / max(1, self.videos))
        return Cost(self.cost.hours * share, self.cost.bytes)


@dataclass(frozen=True)
class Group:
    """Cells on one data set.

    Attributes:
        title: of the group.
        columns: in the order of the paper.
        rows, steps: in the order of the paper, and in that of the work.
        stores: that its runs share with each other, and with other groups.
        banks: bytes of clips at training size.
        note: what else a person should know; "" for nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    stores: tuple[Store, ...]
    banks: float
    note: str = ""

    @property
    def runs(self) -> int:
        """Of all steps."""
        return sum(len(step.runs) for step in self.steps)

    @property
    def left(self) -> int:
        """Runs that are not finished."""
        return sum(step.left for step in self.steps)

    def missing(self) -> list[str]:
        """What some step lacks, each once."""
        return list(dict.fromkeys(part for step in self.steps for part in step.missing))


def by_title(steps: Sequence[Step]) -> dict[str, list[Step]]:
    """Steps that differ in their seed alone, together."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.title, []).append(step)
    return found
