"""Matches that names alone do not bear out: said before anything is composited."""

from __future__ import annotations

from collections.abc import Sequence

from l2a.text import printable
from semantic_match.match import ClassMatch
from semantic_match.partners import (
    Above,
    AnyClass,
    EveryOther,
    HandWritten,
    Nearest,
    parse_matches,
)

WEAK = 0.35
"""The similarity below which a nearest class is as far as most classes are.

By the embedder `static`, 95 % of all pairs of classes are below 0.34 (HMDB51), 0.38 (UCF101) and
0.36 (Kinetics-400); of the nearest classes 12, 9 and 3 % are, among them tai chi with bee keeping.
"""


def weak_matches(matches: Sequence[ClassMatch], specification: str) -> list[ClassMatch]:
    """The matches below `WEAK` that nobody asked for, weakest first.

    A class gets its nearest one however far that is. Who asks for every class, for a similarity or
    for classes by hand has decided about it.

    Args:
        matches: what `match.match_classes` chose.
        specification: what it was asked for.
    """
    parts = parse_matches(specification)
    if not any(isinstance(part, Nearest) for part in parts):
        return []
    if any(isinstance(part, EveryOther | AnyClass | HandWritten) for part in parts):
        return []
    asked = min((part.limit for part in parts if isinstance(part, Above)), default=WEAK)
    weak = [m for m in matches if m.foreground != m.background and m.similarity < min(WEAK, asked)]
    return sorted(weak, key=lambda match: match.similarity)


def weak_sentence(classes: Sequence[str], weak: Sequence[ClassMatch], total: int) -> str:
    """The note on weak matches out of `total`; "" if there are none."""
    if not weak:
        return ""
    shown = ", ".join(
        f"{classes[match.foreground]} with {classes[match.background]} {match.similarity:z.2f}"
        for match in weak[:3]
    )
    more = ", …" if len(weak) > 3 else ""
    # Where all are weak, `above:` would find nothing.
    apart = f"--matches above:{WEAK} leaves them out, and " if len(weak) < total else ""
    return printable(
        f"{len(weak)} of {total} matches are below a similarity of {WEAK} ({shown}{more}): by"
        f" their names, these classes have little in common; {apart}a YAML file of your own names"
        " better ones."
    )
