"""Which classes lend their scenes to which: the specification that `--matches` gives."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from semantic_match.handwritten import find_classes, read_matches
from semantic_match.weights import Independent, Weighing, Weighted, at_least_two

_KINDS = (
    "a number of nearest classes, above:SIMILARITY, nearest, same-class, all, any, "
    "weighted:TEMPERATURE, independent, or FILE.yaml"
)
_WORDS = ("nearest", "same-class", "all", "any", "independent", "above:0.5", "weighted:0.1")


class Part(Protocol):
    """One part of a specification: it chooses background classes for each foreground class."""

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which background classes (columns) each foreground class (row) is matched with.

        Args:
            classes: C class names.
            similarity: [C, C], cosines in -1..1, rounded so that ties are ties.

        Returns:
            bool [C, C].

        Raises:
            InputError: these classes do not allow the choice, or it would match nothing.
        """


@dataclass(frozen=True)
class Nearest:
    """The `count` nearest other classes of each class, as in the paper with `count` 1."""

    count: int

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`; ties go to the class that comes first."""
        others = at_least_two(classes) - 1
        if self.count > others:
            raise InputError(
                f"Cannot match each of {len(classes)} classes with its {self.count} nearest "
                f"others; choose 1 to {others} matches."
            )
        candidates = similarity.copy()
        np.fill_diagonal(candidates, -np.inf)
        order = np.argsort(-candidates, axis=1, kind="stable")[:, : self.count]
        chosen = np.zeros(similarity.shape, bool)
        np.put_along_axis(chosen, order, True, axis=1)
        return chosen


@dataclass(frozen=True)
class Above:
    """Every other class whose similarity is `limit` or more, -1..1; for some classes none."""

    limit: float

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`."""
        at_least_two(classes)
        candidates = similarity.copy()
        np.fill_diagonal(candidates, -np.inf)
        chosen = candidates >= self.limit
        if not chosen.any():
            first, second = divmod(int(np.argmax(candidates)), len(classes))
            raise InputError(
                f"No two classes are as near as above:{self.limit:g} asks; the nearest are "
                f"{classes[first]!r} and {classes[second]!r} with {candidates.max():.6g}: "
                "give a lower similarity."
            )
        return chosen


@dataclass(frozen=True)
class SameClass:
    """Each class with itself; the pool pairs no video with itself."""

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`."""
        return np.eye(len(classes), dtype=bool)


@dataclass(frozen=True)
class EveryOther:
    """Each class with every other."""

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`."""
        return ~np.eye(at_least_two(classes), dtype=bool)


@dataclass(frozen=True)
class AnyClass:
    """Each class with every class, its own included."""

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`."""
        return np.ones(similarity.shape, bool)


@dataclass(frozen=True)
class HandWritten:
    """What a file lists: `names` holds its foreground classes and their background classes."""

    path: Path
    names: tuple[tuple[str, tuple[str, ...]], ...]

    def choose(self, classes: Sequence[str], similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Part.choose`."""
        chosen = np.zeros(similarity.shape, bool)
        foregrounds = find_classes(self.path, [name for name, _ in self.names], classes)
        for row, (_, backgrounds) in zip(foregrounds, self.names, strict=True):
            chosen[row, find_classes(self.path, backgrounds, classes)] = True
        return chosen


def parse_matches(spec: str) -> tuple[Part, ...]:
    """Read a specification: parts joined by `+`, each adding its matches to the others'.

    - `N`: the N nearest other classes; `nearest` is `1`, the paper's rule;
    - `above:X`: every other class with a similarity of X or more;
    - `same-class`: each class with itself;
    - `all`: every other class;
    - `any`: every class, its own included: `all+same-class`;
    - `weighted:T`: every other class, nearer ones more often (`weights.Weighted`);
    - `independent`: every class, as often as makes actor and scene independent
      (`weights.Independent`);
    - `FILE.yaml`, `FILE.yml`: a file written by hand, which is read here (`read_matches`).

    A path begins at the first part that is nothing else, and reaches over every `+` to the first
    `.yaml` or `.yml` before a `+` or the end: `same-class+my+own.yaml+1` has three parts. One that
    begins like another part is written with `./` in front. `weighted:T` and `independent` split
    the whole budget, and so stand alone.

    Raises:
        InputError: a part is unknown or its number is out of range, the file cannot be used, or a
            part that splits the budget is joined with another.
    """
    words = spec.split("+")
    parts: list[Part] = []
    while words:
        word = words.pop(0)
        part = _simple(spec, word.strip())
        if part is None:
            path = word
            while words and not _is_file(path):
                path += "+" + words.pop(0)
            if not _is_file(path):
                raise _unknown(spec, word.strip())
            file = Path(path.strip())
            part = HandWritten(file, read_matches(file))
        parts.append(part)
    if len(parts) > 1 and any(isinstance(part, Weighing) for part in parts):
        raise InputError(
            f"matches is {spec!r}, but weighted: and independent split the whole budget among "
            "classes; give one of them alone."
        )
    return tuple(parts)


def is_handwritten(spec: str) -> bool:
    """Whether a specification names a file, alone or with other parts.

    Raises:
        InputError: as `parse_matches`.
    """
    return any(isinstance(part, HandWritten) for part in parse_matches(spec))


def _simple(spec: str, word: str) -> Part | None:
    """The part that `word` names, or None where it can only be the beginning of a path."""
    if word in _PLAIN:
        return _PLAIN[word]
    if re.fullmatch(r"-?[0-9]+", word):
        if int(word) < 1:
            raise InputError(f"matches is {spec!r}; give at least 1 nearest class to match with.")
        return Nearest(int(word))
    if word.startswith("above:"):
        limit = _number(word)
        if not -1 <= limit <= 1:
            raise InputError(
                f"matches is {spec!r}, and {word!r} gives no similarity; give a number from -1 to "
                "1 after the colon, such as above:0.5."
            )
        return Above(limit)
    if word.startswith("weighted:"):
        temperature = _number(word)
        if not 0 < temperature < math.inf:
            raise InputError(
                f"matches is {spec!r}, and {word!r} gives no temperature; give a number above 0 "
                "after the colon, such as weighted:0.1."
            )
        return Weighted(temperature)
    return None


_PLAIN: Mapping[str, Part] = {
    "nearest": Nearest(1),
    "same-class": SameClass(),
    "all": EveryOther(),
    "any": AnyClass(),
    "independent": Independent(),
}


def _number(word: str) -> float:
    """What stands behind the colon; NaN where it is no number."""
    try:
        return float(word.partition(":")[2])
    except ValueError:
        return math.nan


def _is_file(word: str) -> bool:
    return word.strip().lower().endswith((".yaml", ".yml"))


def _unknown(spec: str, word: str) -> InputError:
    near = difflib.get_close_matches(word.lower(), _WORDS, n=1)
    hint = f"; perhaps {near[0]!r} is meant" if near else ""
    return InputError(
        f"matches is {spec!r}, and {word!r} is not one of its parts: give {_KINDS}, "
        f"joined by +{hint}."
    )
