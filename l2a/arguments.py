"""The command line's options, made from the settings dataclasses, and YAML files of settings.

One field is one option: its name with dashes, its type, its default, its line of the docstring.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import docstring_parser
import yaml
from jsonargparse import ActionYesNo, ArgumentParser

from l2a.errors import InputError

S = TypeVar("S")

# Given by position, not by name.
POSITIONAL = frozenset({"data", "run"})


class Arguments:
    """The parsed command line: one instance of each settings dataclass."""

    def __init__(self, groups: Mapping[type, Any]) -> None:
        self._groups = groups

    def __getitem__(self, group: type[S]) -> S:
        """The instance of one settings dataclass."""
        found: S = self._groups[group]
        return found

    def __contains__(self, group: type) -> bool:
        return group in self._groups

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, as `run.yaml` keeps them."""
        return {
            field.name: getattr(instance, field.name)
            for group, instance in self._groups.items()
            for field in dataclasses.fields(group)
        }


def parse(
    command: str,
    description: str,
    groups: Sequence[type],
    argv: Sequence[str],
    *,
    known: Iterable[type],
    defaults: Mapping[str, Any] | None = None,
) -> Arguments:
    """Parse a command's arguments.

    Args:
        command: its name, for messages.
        description: the first line of its help.
        groups: settings dataclasses; their field names are unique over all commands.
        argv: what follows the command's name.
        known: the dataclasses of all commands. A YAML file may hold settings of any of them, so
            that one file serves every command; names that no command knows are refused.
        defaults: values that replace the dataclasses' own defaults.

    Raises:
        InputError: one sentence on what is wrong, over all settings at once.
    """
    parser = _parser(command, description, groups, defaults or {})
    own = {field.name for group in groups for field in dataclasses.fields(group)}
    everything = {field.name for group in known for field in dataclasses.fields(group)}
    words, config = _take_config(list(argv))
    if config is not None:
        settings = _read_config(config, everything)
        words = [_word(key, value) for key, value in settings.items() if key in own] + words
    try:
        values = vars(parser.parse_args([_dashed(word) for word in words]))
    except ArgumentError as error:
        raise InputError(_one_sentence(command, str(error), own)) from None
    instances: dict[type, Any] = {}
    problems = []
    for group in groups:
        try:
            instances[group] = group(**{f.name: values[f.name] for f in dataclasses.fields(group)})
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(" ".join(problems))
    return Arguments(instances)


def _parser(
    command: str, description: str, groups: Sequence[type], defaults: Mapping[str, Any]
) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"l2a {command}", description=description, exit_on_error=False, print_config=None
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of settings; the command line overrides it."
    )
    for group in groups:
        text = docstring_parser.parse_from_object(group)
        help_of = {entry.arg_name: entry.description or "" for entry in text.params}
        hints = typing.get_type_hints(group)
        title = (text.short_description or group.__name__).rstrip(".")
        section = parser.add_argument_group(title)
        for field in dataclasses.fields(group):
            # argparse takes % in help for a format.
            shown = " ".join(help_of.get(field.name, "").split()).replace("%", "%%")
            required = field.default is dataclasses.MISSING
            default = defaults.get(field.name, None if required else field.default)
            name, kind = "--" + field.name.replace("_", "-"), hints[field.name]
            if field.name in POSITIONAL:
                section.add_argument(field.name, type=kind, help=shown)
            elif kind is bool:
                yes_no = ActionYesNo(no_prefix="no-")
                section.add_argument(name, action=yes_no, default=default, help=shown)
            else:
                section.add_argument(
                    name, type=kind, default=default, required=required, help=shown
                )
    return parser


def _dashed(word: str) -> str:
    """Let `--score_threshold`, as a setting is spelled in YAML, stand for `--score-threshold`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _take_config(words: list[str]) -> tuple[list[str], Path | None]:
    for index, word in enumerate(words):
        if word.startswith("--config="):
            return words[:index] + words[index + 1 :], Path(word.partition("=")[2])
        if word == "--config":
            if index + 1 == len(words):
                raise InputError("--config is given without a file; name a YAML file after it.")
            return words[:index] + words[index + 2 :], Path(words[index + 1])
    return words, None


def _read_config(path: Path, everything: set[str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
    except FileNotFoundError:
        raise InputError(f"There is no settings file {path}; check --config.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable YAML file ({reason}); mend it.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no settings; write one `name: value` a line.")
    top = yaml.compose(text, yaml.SafeLoader)  # a dictionary would hold the last of two alone
    written = [key.value for key, _ in top.value] if isinstance(top, yaml.MappingNode) else []
    if twice := [key for key in written if written.count(key) > 1]:
        raise InputError(f"{path} sets {twice[0]} twice; keep one of the two lines.")
    for key in content:
        if key not in everything:
            near = difflib.get_close_matches(str(key), everything, n=1)
            hint = f"perhaps {near[0]!r} is meant." if near else "`l2a COMMAND --help` lists them."
            raise InputError(f"{path} sets {key!r}, which no command knows; {hint}")
    return content


def _word(key: str, value: Any) -> str:
    """A setting of a YAML file as a word of the command line, so that both are checked alike."""
    option = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option}={value if isinstance(value, str) else json.dumps(value)}"


_KINDS = {"int": "a whole number", "float": "a finite number", "tuple": "a list such as 256,128"}
"""What the parser calls a type ─► what people call it."""


def _one_sentence(command: str, message: str, options: Iterable[str]) -> str:
    """The parser's message as one sentence with the value and what it must be."""
    text = " ".join(message.split())
    see = f"see `l2a {command} --help`."
    if found := re.search(r'[Pp]arser key "(\w+)": .*Given value: (.*)$', text):
        # Of a union, which is a type or nothing: one message for each of its parts.
        expected = list(dict.fromkeys(re.findall(r"Expected a <class '(\w+)'>", text)))
        kinds = " or ".join(_KINDS.get(name, name) for name in expected if name != "NoneType")
        return f"{_option(found[1])} is {found[2]!r}, but must be {kinds}; {see}"
    if found := re.search(r'[Pp]arser key "(\w+)": (.*?)\.? Got value: (.*)$', text):
        key, expected_text, value = found.groups()
        kind = re.sub(r"<class '(\w+)'>", r"\1", expected_text)
        kind = kind.replace("typing.", "").removeprefix("Expected a ")
        if choices := re.fullmatch(r"Literal\[(.*)\]", kind):
            kind = "one of " + choices[1].replace("'", "")
        return f"{_option(key)} is {value!r}, but must be {_KINDS.get(kind, kind)}; {see}"
    if found := re.fullmatch(r"[Aa]rgument --([\w-]+)/.*: ignored explicit argument '(.*)'", text):
        key = found[1].replace("-", "_")
        return f"{key} is {found[2]!r}, but must be true or false, without quotes; {see}"
    if found := re.match(r"[Uu]nrecognized arguments: --([\w-]+)", text):
        known = [name.replace("_", "-") for name in options]
        if near := difflib.get_close_matches(found[1], known, n=1):
            return f"There is no option --{found[1]}; perhaps --{near[0]} is meant; {see}"
    return f"{text[0].upper()}{text[1:].rstrip('.')}; {see}"


def _option(key: str) -> str:
    return key if key in POSITIONAL else "--" + key.replace("_", "-")
