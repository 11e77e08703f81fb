"""What an advice says: a question, its answer in a sentence, and the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUESTIONS: Mapping[str, str] = {
    "eyes": "How well does a frozen network tell your classes apart?",
    "pays": "Does it pay to composite here?",
    "scenes": "How much do scenes give away?",
    "reward": "How reliable is a reward?",
    "labels": "Which labels look wrong?",
    "masks": "Which masks are bad?",
}
"""The questions, in the order of the page."""


@dataclass(frozen=True)
class Table:
    """Rows for the page.

    Attributes:
        head: of the columns; the first names the row.
        rows: cells, as they are shown.
        caption: what they are.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        key: of `QUESTIONS`.
        verdict: one sentence, with its figure and spread.
        lines: further sentences.
        table: figures.
        figures: plain values, for `advice.json`; empty where the question has no answer.
    """

    key: str
    verdict: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """In words."""
        return QUESTIONS[self.key]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "question": self.question, "answer": self.verdict, "more": list(self.lines),
            **self.figures,
        }  # fmt: skip


def cannot_say(key: str, why: object) -> Answer:
    """The answer where there is none."""
    return Answer(key, f"That cannot be said. {why}")
