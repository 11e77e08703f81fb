"""Each class's nearest other classes: Semantic Matching (Learn2Augment, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
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


def match_classes(vectors: NDArray[np.floating], matches: int) -> tuple[ClassMatch, ...]:
    """Match every class with the `matches` other classes nearest to it.

    A class is never matched with itself. The relation has a direction: the nearest class of c1
    need not have c1 as its nearest.

    Args:
        vectors: one vector per class, [C, D], of any length but zero (`embed.embed_classes`).
        matches: how many, 1 ≤ matches < C.

    Returns:
        C x matches rows, ordered by foreground class, then by falling similarity, then by
        background class.

    Raises:
        InputError: there are too few classes, or a vector is zero or not finite.
    """
    count = len(vectors)
    if not 1 <= matches < count:
        raise InputError(
            f"Cannot match each of {count} classes with its {matches} nearest others; "
            + (f"choose 1 to {count - 1} matches." if count > 1 else "give at least 2 classes.")
        )
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not usable.all():
        raise InputError(
            f"The vector of class number {int(np.argmin(usable))} (counted from 0) is zero or "
            "not finite, so the class has no neighbours; rename it or choose another embedder."
        )
    # What differs only by the rounding of a sum is a tie: libraries sum in different orders.
    similarity = similarities(vectors).round(6)
    candidates = similarity.copy()
    np.fill_diagonal(candidates, -np.inf)
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :matches]
    return tuple(
        ClassMatch(foreground, int(background), float(similarity[foreground, background]))
        for foreground in range(count)
        for background in order[foreground]
    )


def match_table(
    classes: Sequence[str], matches: Sequence[ClassMatch]
) -> list[tuple[str, str, str]]:
    """Rows for a terminal: foreground class, background class, similarity with 2 decimals."""
    return [(classes[m.foreground], classes[m.background], f"{m.similarity:.2f}") for m in matches]
