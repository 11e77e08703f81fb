"""A hook of MkDocs: writes tables of the commands into docs/cli.md, from their own settings."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import docstring_parser

from l2a.arguments import POSITIONAL
from l2a.cli import COMMANDS, Command

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **page: Any) -> str:
    """What MkDocs calls with the text of every page."""
    return markdown.replace(MARK, command_tables()) if MARK in markdown else markdown


def command_tables() -> str:
    """Every command with the settings that it alone takes, then the groups that several share."""
    uses = [group for command in COMMANDS.values() for group in command.groups]
    shared = [group for group in dict.fromkeys(uses) if uses.count(group) > 1]
    parts = [_command(name, command, shared) for name, command in COMMANDS.items()]
    parts.append("## Settings that several commands take\n")
    parts += [f"### {_title(group)}\n\n{_table(group)}" for group in shared]
    return "\n".join(parts)


def _command(name: str, command: Command, shared: list[type]) -> str:
    fields = [field for group in command.groups for field in dataclasses.fields(group)]
    needed = [_option(f) for f in fields if f.default is dataclasses.MISSING]
    own = [group for group in command.groups if group not in shared]
    links = [f"[{_title(group)}](#{_anchor(group)})" for group in command.groups if group in shared]
    text = (
        f"## `l2a {name}`\n\n{command.about}\n\n```sh\nl2a {' '.join([name, *needed])} ...\n```\n"
    )
    text += "".join(f"\n**{_title(group)}**\n\n{_table(group)}" for group in own)
    return text + (f"\nAlso: {'; '.join(links)}.\n" if links else "")


def _table(group: type[Any]) -> str:
    text = f"Group `{group.GROUP}` in a settings file.\n\n"
    help_of = {
        entry.arg_name: " ".join((entry.description or "").split())
        for entry in docstring_parser.parse_from_object(group).params
    }
    kinds = typing.get_type_hints(group)
    rows = [
        f"| `{_name(field.name)}` | {_default(field)} | {_text(help_of[field.name])}"
        f"{_choices(kinds[field.name])} |"
        for field in dataclasses.fields(group)
    ]
    return text + "\n".join(["| option | default | |", "| --- | --- | --- |", *rows, ""])


def _title(group: type) -> str:
    text = docstring_parser.parse_from_object(group)
    return (text.short_description or group.__name__).rstrip(".")


def _anchor(group: type) -> str:
    """As MkDocs makes it of a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", _title(group)).strip().lower())


def _name(field: str) -> str:
    return field.upper() if field in POSITIONAL else "--" + field.replace("_", "-")


def _option(field: dataclasses.Field[Any]) -> str:
    name = _name(field.name)
    return name if field.name in POSITIONAL else f"{name} {field.name.upper()}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "needed"
    value = field.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{','.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _choices(kind: Any) -> str:
    names = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return f" One of {', '.join(f'`{name}`' for name in names)}." if names else ""


def _text(help_text: str) -> str:
    """A sentence in a cell of a Markdown table."""
    return re.sub(r"(?<!`)(--[a-z][a-z-]+)", r"`\1`", help_text).replace("|", r"\|")


if __name__ == "__main__":  # a look at the tables: python docs/reference.py
    print(Path(__file__).with_name("cli.md").read_text("utf-8").replace(MARK, command_tables()))
