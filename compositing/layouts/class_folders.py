"""The layout of class folders: `OUT/by_class/CLASS/NAME.mp4`, for torchvision, FiftyOne and others.

Clips are hard links to those in `OUT/videos`, which take no room; copies where the disk has none.
Every class has a folder, even an empty one: torchvision numbers classes by the folders that it
finds, so a missing one would silently shift all numbers after it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from compositing.clipfolder import is_own
from compositing.layouts.base import ExportedSet, Layout
from l2a.errors import InputError
from l2a.files import replace_atomically


class ClassFolders(Layout):
    """A folder of hard links for each class."""

    folder = "by_class"

    def make(self, exported: ExportedSet) -> None:
        """Link every clip into the folder of its class, and remove clips that are not listed any
        more; what else lies there is left alone."""
        root = exported.out / self.folder
        folders = class_folders(exported.classes)
        wanted: dict[str, set[str]] = {folder: set() for folder in folders.values()}
        for folder in wanted:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for row in exported.rows("file_name", "label"):
            source = exported.out / row["file_name"]
            folder = folders[row["label"]]
            wanted[folder].add(source.name)
            _link(source, root / folder / source.name)
        for folder, names in wanted.items():
            for path in (root / folder).iterdir():
                if path.name not in names and is_own(path):
                    path.unlink()

    def check(self, classes: Sequence[str]) -> None:
        """Refuse classes that would share a folder."""
        class_folders(classes)


def class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Class name ─► folder name: the same, but for characters that no folder may have.

    Raises:
        InputError: two classes would share a folder, on a disk that ignores case too; or folders
            would stand in another order than classes, by which torchvision numbers them.
    """
    folders: dict[str, str] = {}
    owners: dict[str, str] = {}
    for label in classes:
        name = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in label)
        name = name.strip(". ") or "_"
        if name.casefold() in owners:
            raise InputError(
                f"The classes {owners[name.casefold()]!r} and {label!r} would share the folder "
                f"{name}; rename one, or export without class folders."
            )
        owners[name.casefold()] = label
        folders[label] = name
    for (one, first), (other, second) in pairwise(folders.items()):
        if one < other and first > second:
            raise InputError(
                f"The folders {first} and {second}, of the classes {one!r} and {other!r}, would "
                "stand in another order than the classes, and so be numbered otherwise; rename "
                "one, or export without class folders."
            )
    return folders


def _link(source: Path, target: Path) -> None:
    if source.is_symlink():
        real = source.resolve()
        if target.is_symlink() and target.resolve() == real:
            return
        replace_atomically(target, lambda aside: aside.symlink_to(real))
        return
    if target.is_file() and not target.is_symlink():
        if target.samefile(source):
            return
        ours, theirs = target.stat(), source.stat()
        if (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns):
            return  # a copy of the same file
    replace_atomically(target, lambda aside: _hard_link(source, aside))


def _hard_link(source: Path, aside: Path) -> None:
    try:
        os.link(source, aside)
    except OSError:
        shutil.copy2(source, aside)
