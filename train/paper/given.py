"""What a user has, for the plans of all tables: data, presets, lists, layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from l2a.arguments import Arguments, parse
from l2a.options import PaperSettings
from train.command_table import ALL_GROUPS, COMMANDS

PRESETS = Path(__file__).with_name("presets")
"""Settings files, which configs/paper/ of the repository shows too."""


def arguments_of(words: Sequence[str]) -> Arguments:
    """The arguments of the command that words are, `l2a` left out."""
    name, *rest = words
    return parse(name, "", COMMANDS[name].groups, rest, known=ALL_GROUPS)


def preset(name: str, wanted: PaperSettings) -> Path:
    """A preset's file: the user's own, where there is one."""
    own = wanted.presets / f"{name}.yaml" if wanted.presets else None
    return own if own is not None and own.is_file() else PRESETS / f"{name}.yaml"


def missing_data(data: Path) -> tuple[str, ...]:
    """A data set's folder, where it is not there."""
    return () if data.is_dir() else (f"the folder {data}",)


def shared_layers(data: str, wanted: PaperSettings) -> Path:
    """Where the masks and backgrounds of a data set's training videos lie, for all tables."""
    return wanted.out / "layers" / data


def lists_folder(wanted: PaperSettings) -> Path:
    """Where lists of labelled clips and of classes are looked for."""
    return wanted.lists or wanted.data_root / "lists"


def find_list(folder: Path, *names: str) -> Path | None:
    """A file of one of these names, in a folder or anywhere below it; None where there is none.

    Args:
        folder: need not be there.
        names: the better first; each may have folders before it.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
        for path in sorted(folder.rglob(name)):
            if path.is_file():
                return path
    return None
