"""Each class's partners: Semantic Matching (Learn2Augment, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from l2a.files import printable, write_text
from semantic_match.partners import parse_matches
from semantic_match.vectors import similarities


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Videos of one class lend the actors, videos of the other lend the scenes.

    Attributes:
        foreground: index of the class c1 whose actors are cut out.
        background: index of the class c2 whose backgrounds they are pasted on.
        similarity: cosine of the two class names' vectors, -1..1.
    """

    foreground: int
    background: int
    similarity: float


def match_classes(
    classes: Sequence[str], vectors: NDArray[np.floating], matches: str = "1"
) -> tuple[ClassMatch, ...]:
    """Match every class as a specification says; the paper takes the nearest other class.

    The relation has a direction: the nearest class of c1 need not have c1 as its nearest.

    Args:
        classes: C different class names.
        vectors: one vector per class, [C, D], of any length but zero (`embed.embed_classes`).
        matches: the specification, such as "1", "above:0.5" or "1+same-class"
            (`partners.parse_matches`).

    Returns:
        Each pair of classes once, ordered by foreground class, then by falling similarity, then
        by background class. A class may have no partner (`without_partner`).

    Raises:
        InputError: the specification is wrong or does not fit these classes, or a vector is zero
            or not finite.
    """
    parts = parse_matches(matches)
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not usable.all():
        raise InputError(
            f"The vector of the class {classes[int(np.argmin(usable))]!r} is zero or not finite, "
            "so the class has no neighbours; rename it or choose another embedder."
        )
    # What differs only by the rounding of a sum is a tie: libraries sum in different orders.
    similarity = similarities(vectors).round(6)
    chosen = np.zeros(similarity.shape, bool)
    for part in parts:
        chosen |= part.choose(classes, similarity)
    order = np.argsort(-similarity, axis=1, kind="stable")
    return tuple(
        ClassMatch(foreground, int(background), float(similarity[foreground, background]))
        for foreground in range(len(classes))
        for background in order[foreground]
        if chosen[foreground, background]
    )


def without_partner(classes: Sequence[str], matches: Sequence[ClassMatch]) -> list[str]:
    """The classes that lend no actors, because nothing was matched with them."""
    matched = {match.foreground for match in matches}
    return [name for index, name in enumerate(classes) if index not in matched]


def match_table(
    classes: Sequence[str], matches: Sequence[ClassMatch]
) -> list[tuple[str, str, str]]:
    """Rows for a terminal: foreground class, background class, similarity with 2 decimals.

    A class without a partner has one row, which says so, at its place in the order of classes.
    """
    rows: list[list[tuple[str, str, str]]] = [[] for _ in classes]
    for match in matches:
        names = classes[match.foreground], classes[match.background]
        rows[match.foreground].append((*names, f"{match.similarity:z.2f}"))
    return [
        row
        for name, own in zip(classes, rows, strict=True)
        for row in own or [(name, "(none)", "")]
    ]


def write_table(path: Path, classes: Sequence[str], matches: Sequence[ClassMatch]) -> None:
    """Write the rows of `match_table` with tabs between their columns, for spreadsheets."""
    heads = ("foreground class", "background class", "similarity")
    rows = [heads, *match_table([printable(name) for name in classes], matches)]
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))
