"""Matches written by hand: a YAML file of foreground classes and the classes that lend scenes.

    climb_stairs: walk
    kick_ball: [golf, "shoot ball"]

Nothing is constructed from the file: names are taken as they are written, so that a class called
`no` or `1` needs no quotes, and tags have no effect but to be refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml

from l2a.errors import InputError
from semantic_match.embed import clean_class_name

_STRUCTURE = "write `FOREGROUND: BACKGROUND` or `FOREGROUND: [BACKGROUND, ...]` on each line"


def read_matches(path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The foreground classes of a file, each with its background classes, in the file's order.

    Raises:
        InputError: there is no such file; it is not YAML, lists nothing or is built in another
            way; or a class stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise InputError(f"There is no file of matches {path}; check --matches.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise InputError(f"{path} is not a readable YAML file ({reason}); correct it.") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply for matches; {_STRUCTURE}.") from None
    if root is None or (isinstance(root, yaml.MappingNode) and not root.value):
        raise InputError(f"{path} lists no matches; {_STRUCTURE}.")
    if not _is(root, yaml.MappingNode, "map"):
        raise InputError(f"{path} holds no matches of classes; {_STRUCTURE}.")
    rows = []
    for key, value in root.value:
        name = _name(path, key)
        listed = value.value if _is(value, yaml.SequenceNode, "seq") else [value]
        backgrounds = tuple(_name(path, node) for node in listed)
        if not backgrounds:
            raise _no_background(path, name)
        _refuse_twice(path, backgrounds)
        rows.append((name, backgrounds))
    _refuse_twice(path, [name for name, _ in rows])
    return tuple(rows)


def find_classes(path: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The indices of the classes that a file names, as they are spelled or by their plain words.

    Args:
        path: the file, for messages.
        names: as the file writes them.
        classes: the data set's.

    Raises:
        InputError: a name is not a class, may be several, or two are the same class.
    """
    words = [clean_class_name(name) for name in classes]
    found: dict[int, str] = {}
    for name in names:
        index = _find(path, name, classes, words)
        if index in found:
            raise InputError(
                f"{path} names the class {classes[index]!r} twice, as {found[index]!r} and as "
                f"{name!r}; keep one of them."
            )
        found[index] = name
    return list(found)


def _find(path: Path, name: str, classes: Sequence[str], words: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    wanted = clean_class_name(name)
    same = [index for index, text in enumerate(words) if text == wanted]
    if len(same) == 1:
        return same[0]
    if same:
        several = ", ".join(repr(classes[index]) for index in same)
        raise InputError(f"{path} names the class {name!r}, which may be {several}; name one.")
    near = difflib.get_close_matches(wanted, words, n=1)
    hint = f"perhaps {classes[words.index(near[0])]!r} is meant" if near else _some(classes)
    raise InputError(f"{path} names the class {name!r}, which the data set does not have; {hint}.")


def _some(classes: Sequence[str]) -> str:
    more = ", ..." if len(classes) > 8 else ""
    return f"its classes are {', '.join(classes[:8])}{more}"


def _is(node: yaml.Node, kind: type[yaml.Node], *tags: str) -> bool:
    """Whether a node is of a kind, and not by a tag of somebody's own."""
    return isinstance(node, kind) and node.tag.removeprefix("tag:yaml.org,2002:") in tags


def _name(path: Path, node: yaml.Node) -> str:
    line = node.start_mark.line + 1
    if not _is(node, yaml.ScalarNode, "str", "int", "float", "bool", "null", "timestamp"):
        raise InputError(f"{path} holds no class name in line {line}; {_STRUCTURE}.")
    if not node.value.strip():
        raise InputError(
            f"{path} names no class in line {line}; {_STRUCTURE}, and leave out a class that is "
            "to lend no actors."
        )
    return str(node.value)


def _no_background(path: Path, name: str) -> InputError:
    return InputError(
        f"{path} gives the class {name!r} no background class; leave it out if it is to lend no "
        "actors."
    )


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path} names the class {name!r} twice; keep one of them.")
