"""The table of an ablation: its rows, read from YAML, and what they set.

title: Which pools give the scene away
baseline: none
paper: Learn2Augment, Table 1          # optional: what the figures below are of
rows:
  none:
    settings: {selection: none}
  any:
    about: pairs of any two classes    # optional
    paper: 48.6                        # optional, in %
    settings: {selection: random, matches: all}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from l2a.errors import InputError
from l2a.settings_file import key_of, read_tree

TABLES = Path(__file__).with_name("tables")
"""The tables that come with the program; their names are those of their files."""

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")
"""A row's name is the name of its folder too."""

_TEXT = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float"))

_RESERVED = ("layers", "bank")
"""Folders that lie next to those of the rows."""


@dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
        name: also of its folder.
        about: what it is, in a few words; "" where its settings say it.
        paper: top-1 that the paper gives for it, in %; None where it gives none.
        settings: what it sets, as the file has it; None where it sets nothing.
    """

    name: str
    about: str
    paper: float | None
    settings: yaml.MappingNode | None


@dataclass(frozen=True)
class Table:
    """Rows to compare.

    Attributes:
        source: the file, for messages.
        title: of the table.
        baseline: the row that the others are compared with.
        paper: what the paper's figures are of; "" without any.
        rows: name ─► row, in the order of the file.
    """

    source: Path
    title: str
    baseline: str
    paper: str
    rows: Mapping[str, Row]


def shipped() -> list[str]:
    """The names of the tables that come with the program."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_table(given: str) -> Table:
    """A table by its name, or from a file of one's own.

    Raises:
        InputError: there is none, or the file is wrong; the message names what.
    """
    if given in shipped():
        path = TABLES / f"{given}.yaml"
    elif given.endswith((".yaml", ".yml")):
        path = Path(given)
    else:
        raise InputError(
            f"There is no table {given!r}; choose one of {', '.join(shipped())}, or give a file "
            "FILE.yaml."
        )
    entries = _entries(path, read_tree(path), ("title", "baseline", "paper", "rows"))
    rows = _rows(path, entries.get("rows"))
    baseline = _text(path, "baseline", entries.get("baseline"))
    if baseline not in rows:
        raise InputError(
            f"{path} has no row {baseline!r} to be its baseline; name one of {', '.join(rows)}."
        )
    title = _text(path, "title", entries["title"]) if "title" in entries else path.stem
    paper = _text(path, "paper", entries["paper"]) if "paper" in entries else ""
    return Table(path, title, baseline, paper, rows)


def _rows(path: Path, node: yaml.Node | None) -> dict[str, Row]:
    if not isinstance(node, yaml.MappingNode) or len(node.value) < 2:
        raise InputError(f"{path} compares nothing; give at least two rows below `rows:`.")
    rows: dict[str, Row] = {}
    for key, value in node.value:
        name = key_of(path, key)
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise InputError(
                f"{path} calls a row {name[:60]!r}, which is to be a folder's name; take letters, "
                "digits and . + - _, and neither layers nor bank."
            )
        # Some file systems do not tell capitals from small letters.
        if name.lower() in map(str.lower, rows):
            raise InputError(f"{path} has two rows {name}; rename or remove one of them.")
        rows[name] = _row(path, name, value)
    return rows


def _row(path: Path, name: str, node: yaml.Node) -> Row:
    entries = _entries(path, node, ("about", "paper", "settings"), f"the row {name}")
    about = _text(path, "about", entries["about"]) if "about" in entries else ""
    settings = entries.get("settings")
    if isinstance(settings, yaml.ScalarNode) and settings.tag.endswith(":null"):
        settings = None
    if settings is not None and not isinstance(settings, yaml.MappingNode):
        raise InputError(f"{path}: the settings of {name} must be `name: value` lines.")
    return Row(name, about, _paper(path, name, entries.get("paper")), settings)


def _paper(path: Path, name: str, node: yaml.Node | None) -> float | None:
    if node is None:
        return None
    try:
        value = float(_text(path, "paper", node))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise InputError(f"{path}: paper of the row {name} must be an accuracy in %, such as 58.9.")
    return value


def _entries(
    path: Path, node: yaml.Node | None, known: tuple[str, ...], what: str = "a table"
) -> dict[str, yaml.Node]:
    """The entries of a mapping, by name, each at most once and none that is not `known`."""
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}: {what} is a mapping of {', '.join(known)}; see docs/ablate.md.")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key_of(path, key)
        if name not in known:
            raise InputError(f"{path} has {name[:60]!r} in {what}, which has {', '.join(known)}.")
        if name in found:
            raise InputError(f"{path} has {name} twice in {what}; keep one of the two.")
        found[name] = value
    return found


def _text(path: Path, name: str, node: yaml.Node | None) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value or node.tag not in _TEXT:
        raise InputError(f"{path}: {name} must be given, as a text.")
    return " ".join(str(node.value).split())
