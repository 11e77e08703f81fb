"""What a user can choose about Semantic Matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class MatchSettings:
    """How classes find their partners.

    Attributes:
        embedder: what turns class names into vectors: `static` (bundled),
            `sent2vec:PATH` (as in the paper) or `sentence-transformers:NAME_OR_PATH`.
        matches: which classes lend their backgrounds to a class: `any` for every class and its
            own, so that scenes do not give actors away; `nearest`, or 1, for the nearest other, as
            the paper; a larger number for more of them, `above:X` for every other with a
            similarity of X or more, `same-class`, `all` for every other, or FILE.yaml for a list
            of your own; parts are joined by +, as in `1+same-class`. `weighted:T` takes every other
            class, nearer ones more often (softmax of similarity / T), and `independent` every
            class, as often as makes actors and scenes independent; each stands alone. The pool
            grows in proportion.
    """

    GROUP: ClassVar[str] = "match"

    embedder: str = "static"
    matches: str = "any"

    def __post_init__(self) -> None:
        from semantic_match.partners import parse_matches  # NumPy, which help does without

        parse_matches(self.matches)
