"""Values from JSON that another program wrote, looked at before they are used.

Everything here raises `ValueError` with the value and what it should have been.
"""

from __future__ import annotations

import itertools
import re
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_NUMBER = re.compile(r"(?<!\d)(\d{1,9})\D*$")


def brief(value: object) -> str:
    """The value as Python writes it, however large or deep it is, in a few dozen characters."""
    return reprlib.repr(value)


def shown(name: str) -> str:
    """A name for a message: as it is, or escaped where it would not print."""
    return name if name.isprintable() else repr(name)


def rows(document: Row, key: str) -> list[Row]:
    """A list of objects; a field that is missing or null is an empty one."""
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{key!r} is {brief(value)}, and not a list")
    for row in value:
        if not isinstance(row, dict):
            raise ValueError(f"{key!r} holds {brief(row)}, where an object should be")
    return value


def identifier(row: Row, key: str) -> int | str:
    """A field that tells rows apart."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{key!r} is {brief(value)}, and not a number or a name")
    return value


def whole(row: Row, key: str) -> int:
    """A whole number; 480.0 is one, "480" is none."""
    value = row.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key!r} is {brief(value)}, and not a whole number")
    return value


def score(value: object, whose: str) -> float:
    """A confidence in 0..1; absent, it is 1."""
    if value is None:
        return 1.0
    # Compared before it is converted: JSON has whole numbers that no float can hold.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{whose} has the score {brief(value)}, which must lie in 0..1")
    return float(value)  # type: ignore[arg-type]


def has_id(row: Row) -> bool:
    """Whether an annotation says who it is; results do not."""
    return isinstance(row.get("id"), int | str)


def whose(row: Row) -> str:
    """How an annotation is named in a message."""
    return f"annotation {brief(row['id'])}" if has_id(row) else "an annotation"


def text(value: object, what: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is {brief(value)}, and not a text")
    return value


def refuse_repeated(values: Iterable[Hashable], what: str) -> None:
    """Raise `ValueError` for the first value that is there twice."""
    for value, times in Counter(values).items():
        if times > 1:
            raise ValueError(f"{what} {brief(value)} is there {times} times, where one is expected")


def frame_numbers(names: Sequence[str]) -> tuple[int, ...] | None:
    """The last number in each name, where they ascend; None where they do not."""
    found = [_NUMBER.search(name.rpartition("/")[2].partition(".")[0]) for name in names]
    numbers = tuple(int(match[1]) for match in found if match)
    ascend = all(one < after for one, after in itertools.pairwise(numbers))
    return numbers if len(numbers) == len(names) and ascend else None
