"""Plain class folders: `<class>/<video>`, or `train|val|test/<class>/<video>`."""

from __future__ import annotations

from pathlib import Path

from l2a.errors import InputError
from l2a.formats.groups import guessed_group
from l2a.formats.listing import Claim, assemble, examples
from l2a.formats.settings import DataSettings
from l2a.formats.tree import Tree
from l2a.videos import VideoSet


def recognises(root: Path, settings: DataSettings) -> bool:
    """Whatever no other reader knows is read as class folders, unless lists were asked for."""
    return settings.annotations is None


def read(root: Path, settings: DataSettings) -> VideoSet:
    """Read class folders; without split folders every video is in train.

    Raises:
        InputError: annotations were given, which this layout has none of.
    """
    if settings.annotations is not None:
        raise InputError(
            f"Class folders have no annotations, but {settings.annotations} was given; leave it out"
            " or choose another format."
        )
    tree = Tree(root)
    in_splits = any(found.split for found in tree.videos)
    claims = []
    outside = []
    for found in tree.videos:
        if found.folder and bool(found.split) == in_splits:
            claims.append(Claim(found, found.folder, found.split or "train"))
        else:
            outside.append(found.id)
    notes = []
    if outside:
        where = "train, val or test folder with classes" if in_splits else "class folder"
        notes.append(f"Video files in no {where}, left out: {len(outside)} ({examples(outside)}).")
    if tree.bare:
        notes.append(
            f"Folders without a video, which are no classes: {len(tree.bare)}"
            f" ({examples(tree.bare)})."
        )
    return assemble(
        root,
        "folder",
        claims,
        lambda found, label: guessed_group(found.stem, label),
        tree.dangling,
        notes,
    )
