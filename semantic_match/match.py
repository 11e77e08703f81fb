"""Each class's partners: Semantic Matching (Learn2Augment, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from l2a.files import write_text
from l2a.text import printable
from semantic_match.partners import parse_matches
from semantic_match.vectors import similarities
from semantic_match.weights import Weighing


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
        matches: the specification, such as "1", "above:0.5", "1+same-class" or "any"
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


def match_weights(
    vectors: NDArray[np.floating], matches: str, backgrounds: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """How a specification splits each foreground class's pairs among background classes.

    Args:
        vectors: [C, D], as given to `match_classes`.
        matches: the specification.
        backgrounds: [C], how many videos of each class can lend their backgrounds.

    Returns:
        int64 [C, C], of which only ratios within a row mean anything; None for a specification that
        leaves the split to caps and ranking.
    """
    part = parse_matches(matches)[0]  # one that weighs stands alone
    if not isinstance(part, Weighing):
        return None
    return part.weigh(similarities(vectors).round(6), backgrounds)


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


def table_of(
    classes: Sequence[str],
    matches: Sequence[ClassMatch],
    weights: NDArray[np.int64] | None = None,
) -> list[tuple[str, ...]]:
    """The rows of `match_table` below a row of heads.

    With weights (`match_weights`) there is a column more: how much of a foreground class's pairs
    each background class gets, in percent.
    """
    heads = ("foreground class", "background class", "similarity")
    rows = match_table(classes, matches)
    if weights is None:
        return [heads, *rows]
    index = {name: number for number, name in enumerate(classes)}
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)
    parts = [f"{100 * shares[index[f], index[b]]:.1f} %" if b in index else "" for f, b, _ in rows]
    return [(*heads, "share"), *((*row, part) for row, part in zip(rows, parts, strict=True))]


def write_table(
    path: Path,
    classes: Sequence[str],
    matches: Sequence[ClassMatch],
    weights: NDArray[np.int64] | None = None,
) -> None:
    """Write the rows of `table_of` with tabs between their columns, for spreadsheets."""
    rows = table_of([printable(name) for name in classes], matches, weights)
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))
