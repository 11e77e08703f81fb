"""The command line: words and a settings file ─► instances of the settings dataclasses.

One field is one option: its name with dashes, its kind, its default, its line of the docstring.
argparse draws the help. The words are read here, because a message is to name the option, its
value and the remedy, and argparse and its kin give an error only as a finished text.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import typing
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from l2a.errors import InputError
from l2a.logs import LOGGER
from l2a.settings import about, flat
from l2a.values import ConversionError, Given, convert, in_words, shown

if TYPE_CHECKING:
    import yaml

    from l2a.settings_file import Line

S = TypeVar("S")

# Given by position, not by name.
POSITIONAL = frozenset({"verb", "data", "run", "cells"})


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

    def __iter__(self) -> Iterator[type]:
        return iter(self._groups)

    def replaced(self, instance: Any) -> Arguments:
        """The same with another instance of one of the dataclasses."""
        return Arguments({**self._groups, type(instance): instance})

    def groups(self) -> tuple[Any, ...]:
        """All instances: what `Run.open` takes."""
        return tuple(self._groups.values())

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, as `run.yaml` keeps them."""
        return flat(self.groups())


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
        groups: settings dataclasses; their field names are unique within a command. The class
            variable GROUP names the group that a class belongs to in a settings file.
        argv: what follows the command's name.
        known: the dataclasses of all commands. A settings file may hold settings of any of them, so
            that one file serves every command; names that no command knows are refused.
        defaults: values that replace the dataclasses' own defaults.

    Raises:
        InputError: what is wrong, over all settings at once.
        SystemExit: help was asked for and has been printed.
    """
    options = _options(groups)
    words, config = _take_config(list(argv))
    if any(word in ("-h", "--help") for word in words):
        _help_parser(command, description, groups).parse_args(["--help"])
    given = dict(_from_defaults(options, defaults or {}))
    if config is not None:
        given |= _from_file(config, options, known)
    given |= _from_words(command, words, options)
    values, problems = _converted(command, options, given)
    if problems:
        raise InputError(" ".join(problems))
    return Arguments(_instances(groups, values))


def overridden(
    arguments: Arguments,
    command: str,
    place: str,
    root: yaml.Node,
    *,
    known: Iterable[type],
    refused: Mapping[str, str],
) -> Arguments:
    """The same arguments, with what a part of a YAML file sets in their place.

    Args:
        arguments: of the command line.
        command: whose settings may be set, for messages.
        place: where they stand, for messages.
        root: the part, flat or by group.
        known: the dataclasses of all commands, as for `parse`.
        refused: settings that may not be set there ─► why, for the end of a sentence.

    Raises:
        InputError: what is wrong, over all settings at once.
    """
    from l2a.settings_file import settings_of

    groups = list(arguments)
    options = _options(groups)
    lines = settings_of(place, root, _names(known))
    given = _of_lines(lines, place, options)
    if strange := [line for line in lines if not _is_among(line, options)]:
        raise InputError(f"{place} sets {strange[0]}, which `l2a {command}` does not take.")
    if wrong := [name for name in given if name in refused]:
        raise InputError(f"{place} sets {wrong[0]}, {refused[wrong[0]]}.")
    values, problems = _converted(command, {name: options[name] for name in given}, given)
    if problems:
        raise InputError(" ".join(problems))
    return Arguments(_instances(groups, arguments.flat() | values))


@dataclass(frozen=True)
class _Option:
    """A setting that the command takes."""

    group: type
    field: dataclasses.Field[Any]
    kind: Any

    @property
    def spelled(self) -> str:
        """As the command line has it: `--out`, DATA."""
        name = self.field.name
        return name.upper() if name in POSITIONAL else f"--{_dashed(name)}"


@dataclass(frozen=True)
class _Value:
    """What a setting was given, and where: `--lr`, or `lr in FILE`."""

    given: Given
    place: str


def _options(groups: Sequence[type]) -> dict[str, _Option]:
    """Name ─► option; a setting that was renamed is also found by what it was called before."""
    found: dict[str, _Option] = {}
    for group in groups:
        kinds = typing.get_type_hints(group)
        for field in dataclasses.fields(group):
            option = _Option(group, field, kinds[field.name])
            found |= dict.fromkeys((*about(field).formerly, field.name), option)
    return found


def _from_defaults(
    options: Mapping[str, _Option], defaults: Mapping[str, Any]
) -> Iterator[tuple[str, _Value]]:
    for name, value in defaults.items():
        if name in options:
            yield options[name].field.name, _Value(_as_text(value), f"{name} of the run before")


def _as_text(value: Any) -> Given:
    """A value of a file that was written by the program, as it would be typed."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return [str(_as_text(item)) for item in value]
    return str(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"


def _from_file(
    path: Path, options: Mapping[str, _Option], known: Iterable[type]
) -> dict[str, _Value]:
    """What a settings file says of this command's settings."""
    from l2a.settings_file import read_settings  # YAML, which most command lines do without

    return _of_lines(read_settings(path, _names(known)), str(path), options)


def _names(known: Iterable[type]) -> dict[str, set[str]]:
    """Group ─► the names of its settings, and those that they had."""
    names: dict[str, set[str]] = defaultdict(set)
    for group in known:
        for field in dataclasses.fields(group):
            names[_group(group)].update((field.name, *about(field).formerly))
    return names


def _of_lines(
    lines: Iterable[Line], place: str, options: Mapping[str, _Option]
) -> dict[str, _Value]:
    """What lines say of this command's settings; those of other commands are passed over."""
    found: dict[str, _Value] = {}
    for line in lines:
        if _is_among(line, options):
            name = _current(line.name, options[line.name], f"{line} in {place}")
            if name in found:
                raise InputError(f"{place} sets {name} twice; keep one of the two lines.")
            found[name] = _Value(line.given, f"{line} in {place}")
    return found


def _is_among(line: Line, options: Mapping[str, _Option]) -> bool:
    option = options.get(line.name)
    return option is not None and line.group in (None, _group(option.group))


def _group(of: type[Any]) -> str:
    return str(of.GROUP)


def _current(name: str, option: _Option, place: str) -> str:
    """A setting's name today, with a note where it was given by an older one."""
    if name != option.field.name:
        LOGGER.info(f"note: {place} is now called {option.field.name}")
    return option.field.name


def _take_config(words: list[str]) -> tuple[list[str], Path | None]:
    rest, files = [], []
    remaining = iter(words)
    for word in remaining:
        if word.startswith("--config="):
            files.append(word.partition("=")[2])
        elif word in ("-c", "--config"):
            files.append(next(remaining, ""))
        else:
            rest.append(word)
    if len(files) > 1:
        raise InputError(f"--config is given {len(files)} times; give one file.")
    if files and not files[0]:
        raise InputError("--config is given without a file; name a YAML file after it.")
    return rest, Path(files[0]) if files else None


def _from_words(
    command: str, words: Sequence[str], options: Mapping[str, _Option]
) -> dict[str, _Value]:
    """The settings that the words name; of one that is named twice, the last counts."""
    places = [name for name in options if name in POSITIONAL]
    found: dict[str, _Value] = {}
    remaining = deque(words)
    while remaining:
        word = remaining.popleft()
        if word.startswith("-") and not _is_number(word):
            name, value = _named(command, word, remaining, options)
            found[name] = value
        elif places:
            name = places.pop(0)
            found[name] = _Value(word, name)
        else:
            raise InputError(_too_many(command, word, options, list(found.items())))
    return found


def _too_many(
    command: str, word: str, options: Mapping[str, _Option], before: Sequence[tuple[str, _Value]]
) -> str:
    name, last = before[-1] if before else (None, None)
    if last is not None and last.given in ("true", "false") and last.place.startswith("--"):
        return (
            f"{shown(word)} follows {last.place}, which takes no value; write {last.place} or "
            f"--no-{last.place.removeprefix('--')}; {_see(command)}"
        )
    if last is not None and name and tuple[str, ...] in typing.get_args(options[name].kind):
        return (
            f"{shown(word)} follows {last.place}, which takes one text; quote several, as "
            f"{last.place} {shown(f'{last.given} {word}')}; {_see(command)}"
        )
    return (
        f"{shown(word)} is one word too many; write lists with commas and without blanks, as "
        f"256,128, and quote what holds a blank; {_see(command)}"
    )


def _named(
    command: str, word: str, remaining: deque[str], options: Mapping[str, _Option]
) -> tuple[str, _Value]:
    """One option, its value taken from `remaining` if it stands in a word of its own."""
    spelled, equals, text = word.partition("=")
    name = spelled.removeprefix("--").replace("-", "_")
    negated = name.removeprefix("no_") if name not in options else name
    option = options.get(negated)
    if option is None or not word.startswith("--") or name in POSITIONAL:
        raise InputError(_no_option(command, spelled, options))
    if negated != name and (not _is_switch(option.kind) or equals):
        raise InputError(_no_option(command, spelled, options))
    current = _current(negated, option, spelled)
    if equals:
        return current, _Value(text, option.spelled)
    if _is_switch(option.kind):
        return current, _Value("true" if negated == name else "false", option.spelled)
    if not remaining or remaining[0].startswith("--"):
        raise InputError(f"{spelled} is given without a value; it must be {in_words(option.kind)}.")
    values = [remaining.popleft()]
    if tuple[int, ...] in (option.kind, *typing.get_args(option.kind)):
        while remaining and _is_number(remaining[0]):  # --hidden 256 128
            values.append(remaining.popleft())
    return current, _Value(values if len(values) > 1 else values[0], option.spelled)


def _no_option(command: str, spelled: str, options: Mapping[str, _Option]) -> str:
    known = [f"--{_dashed(name)}" for name in options if name not in POSITIONAL]
    near = difflib.get_close_matches(spelled, known, n=1)
    hint = f"perhaps {near[0]} is meant; " if near else ""
    return f"`l2a {command}` has no option {shown(spelled)}; {hint}{_see(command)}"


def _is_switch(kind: Any) -> bool:
    """Whether a setting is on or off, or, left open, follows from others."""
    return kind is bool or set(typing.get_args(kind)) == {bool, type(None)}


def _is_number(word: str) -> bool:
    """Whether a word that begins with a dash is a value, as -1 or -2e-3."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _converted(
    command: str, options: Mapping[str, _Option], given: Mapping[str, _Value]
) -> tuple[dict[str, Any], list[str]]:
    """Name ─► value of all that was given, and a sentence on each that is wrong or missing."""
    values, problems = {}, []
    for name, value in given.items():
        kind = options[name].kind
        try:
            values[name] = convert(value.given, kind)
        except ConversionError:
            if name == "verb":
                word = in_words(kind).removeprefix("one of ").split(", ")[-1]
                raise InputError(
                    f"`l2a {command}` is followed by {in_words(kind)}, and not by "
                    f"{shown(value.given)}; write `l2a {command} {word} {value.given}`; "
                    f"{_see(command)}"
                ) from None
            given_as = value.given
            if not isinstance(given_as, str) and given_as and value.place.startswith("--"):
                given_as = " ".join(given_as)  # as its words were typed
            said = f"{value.place} is {shown(given_as)}, but must be {in_words(kind)}"
            problems.append(f"{said}; {_see(command)}")
    missing = [
        option.spelled
        for name, option in options.items()
        if option.field.default is dataclasses.MISSING and name not in given
    ]
    if missing:
        problems.append(f"`l2a {command}` needs {' and '.join(missing)}; {_see(command)}")
    return values, problems


def _instances(groups: Sequence[type], values: Mapping[str, Any]) -> dict[type, Any]:
    instances: dict[type, Any] = {}
    problems = []
    for group in groups:
        names = [field.name for field in dataclasses.fields(group)]
        try:
            instances[group] = group(**{name: values[name] for name in names if name in values})
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(" ".join(problems))
    return instances


def _see(command: str) -> str:
    return f"see `l2a {command} --help`."


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _help_parser(command: str, description: str, groups: Sequence[type]) -> argparse.ArgumentParser:
    import docstring_parser

    needed = " ".join(
        option.spelled if name in POSITIONAL else f"{option.spelled} {name.upper()}"
        for name, option in _options(groups).items()
        if option.field.default is dataclasses.MISSING
    )
    usage = f"l2a {command} {needed} [--config FILE] [--SETTING VALUE ...]"
    parser = argparse.ArgumentParser(usage=usage, description=description)
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help="YAML file of settings, flat or by group; the command line overrides it.",
    )  # fmt: skip
    for short, name, text in COMMON:
        parser.add_argument(short, name, action="store_true", help=text)
    for group in groups:
        said = docstring_parser.parse_from_object(group)
        help_of = {entry.arg_name: entry.description or "" for entry in said.params}
        title = (said.short_description or group.__name__).rstrip(".")
        section = parser.add_argument_group(f"{title} (group {_group(group)})")
        for name, option in _options([group]).items():
            if name == option.field.name:
                _add_help(section, option, " ".join(help_of.get(name, "").split()))
    return parser


COMMON = (
    ("-q", "--quiet", "Show warnings and errors only, and no bars."),
    ("-v", "--verbose", "Also show what was decided and how long it took."),
)
"""Switches of every command, which no result depends on."""


def _add_help(section: argparse._ArgumentGroup, option: _Option, text: str) -> None:
    default = option.field.default
    if not (default is dataclasses.MISSING or default is None or isinstance(default, bool)):
        plain = ",".join(map(str, default)) or "none" if isinstance(default, tuple) else default
        text += f" ({in_words(option.kind)}; default: {plain})"
    text = text.replace("%", "%%")  # which argparse takes for a format
    name = option.field.name
    if name in POSITIONAL:
        section.add_argument(name, help=text)
    elif _is_switch(option.kind):
        if default is not None:
            text += f" (default: {'on' if default else 'off'})"
        section.add_argument(
            option.spelled, action=argparse.BooleanOptionalAction, default=None, help=text
        )
    else:
        section.add_argument(option.spelled, metavar=name.upper(), help=text)
