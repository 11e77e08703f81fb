"""Plain class folders: `<class>/<video>`, or `train|val|test/<class>/<video>`.

Videos that lie deeper, as in `<class>/<person>/<video>`, are of the class of the topmost folder.
"""

from __future__ import annotations

from l2a.errors import InputError
from l2a.formats.groups import guessed_group
from l2a.formats.listing import Claim, assemble, examples, refuse_other_split
from l2a.formats.settings import DataSettings
from l2a.formats.tree import Tree
from l2a.videos import VideoSet


def recognises(tree: Tree, settings: DataSettings) -> bool:
    """Whatever no other reader knows is read as class folders, unless lists were asked for."""
    return settings.annotations is None


def read(tree: Tree, settings: DataSettings) -> VideoSet:
    """Read class folders; without split folders every video is in train.

    Raises:
        InputError: annotations or a numbered split were given, which this layout has none of.
    """
    refuse_other_split(tree.root, settings, "class folders")
    if settings.annotations is not None:
        raise InputError(
            f"Class folders have no annotations, but {settings.annotations} was given; leave it out"
            " or choose another format."
        )
    in_splits = any(found.split for found in tree.videos)
    claims = [
        Claim(found, found.folder, found.split or "train")
        for found in tree.videos
        if found.folder and bool(found.split) == in_splits
    ]
    notes = []
    if tree.nested:
        notes.append(
            f"Videos in folders inside class folders, which take the class of the outermost:"
            f" {len(tree.nested)} ({examples(tree.nested)})."
        )
    if tree.bare:
        notes.append(
            f"Folders without a video, which are not classes: {len(tree.bare)}"
            f" ({examples(tree.bare)})."
        )
    return assemble(
        tree,
        "folder",
        claims,
        lambda found, label: guessed_group(found.stem, label),
        notes=notes,
        home="train, val or test folder with classes" if in_splits else "class folder",
    )
