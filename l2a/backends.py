"""How a back end is named on the command line: `name` or `name:argument`, from a visible table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from l2a.errors import InputError

T = TypeVar("T")


def make_backend(kind: str, spec: str, table: Mapping[str, Callable[[str], T]]) -> T:
    """Call the factory that `spec` names with the text after its first colon ("" if none).

    Args:
        kind: what is chosen, for the message: "segmenter", "inpainter", "embedder".
        spec: `name` or `name:argument`, such as "motion" or "masks:/data/masks".
        table: name ─► factory; factories do their heavy imports themselves.

    Raises:
        InputError: the name is not in the table; the message lists the names.
    """
    name, _, argument = spec.partition(":")
    try:
        factory = table[name]
    except KeyError:
        known = ", ".join(sorted(table))
        raise InputError(f"There is no {kind} {name!r}; choose one of: {known}.") from None
    return factory(argument)
