"""YAML files of settings: flat (`epochs: 3`), by group (`classifier: {epochs: 3}`), or mixed.

A file is read as a tree of texts, which the kind of each setting gives a meaning (`l2a.values`).
Nothing in it is built: no objects, no dates, no huge numbers, and aliases are never multiplied out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from l2a.errors import InputError
from l2a.files import read_text
from l2a.values import Given

_MOST_BYTES = 100_000
"""A settings file is a page or two; more than this is another file, and slow to take apart."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset(
    _TAG + name
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
)


@dataclass(frozen=True)
class Line:
    """One setting of a file.

    Attributes:
        group: the group that it stands in; None where it stands alone.
        name: as it is written.
        given: what it is set to.
    """

    group: str | None
    name: str
    given: Given

    def __str__(self) -> str:
        return f"{self.group}.{self.name}" if self.group else self.name


def read_settings(path: Path, known: Mapping[str, Iterable[str]]) -> list[Line]:
    """The settings of a file, in its order.

    Args:
        path: the file.
        known: group ─► the names of its settings, of all commands: one file serves all of them.

    Raises:
        InputError: it is not there or no such file, it names what no command knows, or a setting
            twice.
    """
    root = read_tree(path)
    return [] if root is None else settings_of(str(path), root, known)


def settings_of(place: str, root: yaml.Node, known: Mapping[str, Iterable[str]]) -> list[Line]:
    """The settings of a file, or of a part of one, in their order.

    Args:
        place: where they stand, for messages: the file, or what of it.
        root: the part.
        known: as for `read_settings`.

    Raises:
        InputError: as `read_settings`.
    """
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{place} holds no settings; write one `name: value` a line.")
    names = {name: set(of) for name, of in known.items()}
    lines = [
        line for key, node in root.value for line in _lines(place, key_of(place, key), node, names)
    ]
    _refuse_twice(place, lines)
    return lines


def _lines(path: str, name: str, node: yaml.Node, known: Mapping[str, set[str]]) -> Iterable[Line]:
    """What one entry of the file sets. A mapping is a group, whatever else has that name."""
    everything = set().union(*known.values())
    if not isinstance(node, yaml.MappingNode):
        if name in everything:
            return [Line(None, name, _given(path, name, node))]
        if name in known:
            example = min(known[name])
            raise InputError(
                f"{path} gives the group {name} a value; write its settings below it, such as "
                f"`{name}: {{{example}: ...}}`."
            )
        raise InputError(
            f"{path} sets {_quoted(name)}, which no command knows; "
            f"{_hint(name, [*everything, *known])}"
        )
    if name not in known:
        if name in everything:
            raise InputError(f"{path} takes {name} for a group; write `{name}: VALUE`.")
        raise InputError(
            f"{path} has the group {_quoted(name)}, which no command knows; {_hint(name, known)}"
        )
    inside = [(key_of(path, key), value) for key, value in node.value]
    if strange := [key for key, _ in inside if key not in known[name]]:
        raise InputError(
            f"{path} sets {_quoted(strange[0])} in the group {name}, which has no such setting; "
            f"{_elsewhere(strange[0], name, known)}"
        )
    return [Line(name, key, _given(path, key, value)) for key, value in inside]


def _elsewhere(name: str, group: str, known: Mapping[str, set[str]]) -> str:
    """Where a setting that stands in the wrong group belongs."""
    owners = [other for other, names in known.items() if name in names]
    if owners:
        return f"it belongs to the group {owners[0]}."
    return _hint(name, known[group])


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"perhaps {near[0]!r} is meant." if near else "`l2a COMMAND --help` lists them."


def _refuse_twice(path: str, lines: Sequence[Line]) -> None:
    """Two groups may have a setting of one name; what stands alone is that of all of them."""
    alone = {line.name for line in lines if line.group is None}
    seen: set[tuple[str | None, str]] = set()
    for line in lines:
        place = (line.group, line.name)
        if place in seen or (line.group is not None and line.name in alone):
            raise InputError(f"{path} sets {line.name} twice; keep one of the two lines.")
        seen.add(place)


def read_tree(path: Path) -> yaml.Node | None:
    """The tree of a YAML file, of which nothing is built; None where the file is empty.

    Raises:
        InputError: it is not there, too large or no YAML.
    """
    text = read_text(path, _MOST_BYTES, "settings file")
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except RecursionError:
        reason = "it is nested too deeply"
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
    raise InputError(f"{path} is not a readable YAML file ({reason}); correct it.")


def key_of(path: Path | str, node: yaml.Node) -> str:
    """A name of a mapping, as it is written.

    Raises:
        InputError: it is not text.
    """
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN:
        raise InputError(f"{path} has a name that is not text; write one `name: value` a line.")
    return str(node.value)


def _given(path: str, name: str, node: yaml.Node) -> Given:
    """Text, a list of texts, or None, of what stands behind a name."""
    several = isinstance(node, yaml.SequenceNode)
    items = node.value if several else [node]
    for one in (node, *items):
        if one.tag not in _PLAIN:
            raise InputError(
                f"{path} is not a readable YAML file of settings ({name} has the tag {one.tag}); "
                "write plain text, numbers and lists."
            )
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise InputError(f"{path} sets {name} to a nested value; write plain text or a plain list.")
    texts = [_text(item) for item in items]
    if several:
        return ["null" if text is None else text for text in texts]
    return texts[0]


def _text(node: Any) -> str | None:
    """What a scalar says; None where nothing, `~` or `null` stands without quotes."""
    empty = node.tag == f"{_TAG}null" and node.style is None
    return None if empty else str(node.value)


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}…")
