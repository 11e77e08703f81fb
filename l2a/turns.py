"""Rows in turns: the first of each class or recording, then the second of each, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def in_turns(items: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    """The first item of each key, then the second of each, and so on.

    Args:
        items: best first.
        key: what an item is one of.

    Returns:
        All of them; within a turn they stand as they stood.
    """
    met: Counter[Hashable] = Counter()
    turns: list[tuple[int, T]] = []
    for item in items:
        own = key(item)
        turns.append((met[own], item))
        met[own] += 1
    return [item for _, item in sorted(turns, key=lambda one: one[0])]
