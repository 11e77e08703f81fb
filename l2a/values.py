"""Text ─► a value of the kind that a setting's annotation asks for.

Both the command line and settings files give text, so that a value means the same in either: `no`
is false for a switch and the word "no" for a choice, and a version "1.10" stays what was written.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Given = str | Sequence[str] | None
"""What was written: text, a list of texts, or nothing (`null`)."""

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_LARGEST = 2**63
_LONGEST_NUMBER = 40
_SHOWN = 60


class ConversionError(ValueError):
    """The text is not a value of that kind."""


def convert(given: Given, kind: Any) -> Any:
    """The value that `given` stands for.

    Args:
        given: text, a list of texts, or None.
        kind: bool, int, float, str, Path, a `Literal` of texts, `tuple[X, ...]` of one of these, or
            a union of them and None.

    Raises:
        ConversionError: it is not of that kind.
    """
    choices = _alternatives(kind)
    if given is None or (given == "null" and type(None) in choices):
        if type(None) not in choices:
            raise ConversionError
        return None
    # Text that could be a list of one, or that one itself, is itself; brackets make it a list.
    bare = str not in choices
    for choice in choices:
        if choice is not type(None):
            try:
                return _one(given, choice, bare)
            except ConversionError:
                continue
    raise ConversionError


def in_words(kind: Any) -> str:
    """What a value must be, for a sentence: "a whole number"."""
    names = [_name(choice) for choice in _alternatives(kind) if choice is not type(None)]
    return " or ".join(dict.fromkeys(names))


def shown(given: Given) -> str:
    """What was given, short enough for a sentence."""
    if given is None:
        return "null"
    text = repr(given) if isinstance(given, str) else repr(",".join(given))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _one(given: str | Sequence[str], kind: Any, bare: bool) -> Any:
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(convert(text, item) for text in _items(given, bare))
    if not isinstance(given, str) or "\0" in given:
        raise ConversionError
    if typing.get_origin(kind) is typing.Literal:
        if given not in typing.get_args(kind):
            raise ConversionError
        return given
    return _SIMPLE[kind](given)


def _items(given: str | Sequence[str], bare: bool) -> list[str]:
    """The parts of a list: given as one, or written as `a,b` or `[a, b]`."""
    if not isinstance(given, str):
        return list(given)
    text = given.strip()
    bracketed = text[:1] + text[-1:] in ("[]", "()")
    if not (bracketed or bare):
        raise ConversionError
    inner = text[1:-1] if bracketed else text
    parts = [part.strip().strip("'\"") for part in inner.split(",")]
    return parts if inner.strip() else []


def _bool(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ConversionError


def _int(text: str) -> int:
    try:
        value = int(text) if len(text) <= _LONGEST_NUMBER else _LARGEST
    except ValueError:
        raise ConversionError from None
    if abs(value) >= _LARGEST:
        raise ConversionError
    return value


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConversionError from None
    if not math.isfinite(value):
        raise ConversionError
    return value


def _path(text: str) -> Path:
    if not text:
        raise ConversionError
    return Path(text)


_SIMPLE: dict[Any, Any] = {bool: _bool, int: _int, float: _float, str: str, Path: _path}

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "a path",
}


def _name(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    if typing.get_origin(kind) is tuple:
        example = "256,128" if typing.get_args(kind)[0] is int else "[a, b]"
        return f"a list such as {example}"
    return _NAMES[kind]
