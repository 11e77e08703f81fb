"""What a user can choose about Semantic Matching."""

from __future__ import annotations

from dataclasses import dataclass

from l2a.errors import InputError


@dataclass(frozen=True)
class MatchSettings:
    """How classes find their partners.

    Attributes:
        embedder: what turns class names into vectors: `static` (bundled),
            `sent2vec:PATH` (as in the paper) or `sentence-transformers:NAME_OR_PATH`.
        matches: how many nearest other classes lend their backgrounds to a class; the paper
            takes 1, and the pool grows in proportion.
    """

    embedder: str = "static"
    matches: int = 1

    def __post_init__(self) -> None:
        if self.matches < 1:
            raise InputError(f"matches is {self.matches}; give at least 1 class to match with.")
