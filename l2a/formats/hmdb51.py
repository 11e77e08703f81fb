"""HMDB51: class folders, and for every class and split a file of names and tags.

`<class>_test_split{1,2,3}.txt` has lines `file.avi tag`: 1 is train, 2 is test, 0 is unused.
"""

from __future__ import annotations

import re

from l2a.errors import InputError
from l2a.formats.groups import hmdb51_group, plain
from l2a.formats.listing import (
    Claim,
    assemble,
    bad_line,
    lines_of,
    of_split,
    split_files,
    unused_claims,
)
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING, Tree
from l2a.videos import Skipped, VideoSet

_SPLIT_FILE = re.compile(r"(.+)_test_split(\d+)\.txt")
_TAGS = {"0": "unused", "1": "train", "2": "test"}


def recognises(tree: Tree, settings: DataSettings) -> bool:
    """Whether there are files named `<class>_test_split<number>.txt`."""
    return bool(split_files(tree.root, settings, _SPLIT_FILE))


def read(tree: Tree, settings: DataSettings) -> VideoSet:
    """Read the split `settings.split`; files of a listed class that it does not name are "unused".

    Raises:
        InputError: there is no split file, none of this number, or a line without a tag.
    """
    files = split_files(tree.root, settings, _SPLIT_FILE)
    if not files:
        raise InputError(
            f"There is no file <class>_test_split1.txt for {tree.root}; put HMDB51's split files"
            " into its folder splits/ or name their folder by --annotations."
        )
    folders = tree.folders()
    claims: list[Claim] = []
    missing: list[Skipped] = []
    for listed in of_split(files, settings):
        label = folders.get(plain(listed.name), listed.name)
        for number, text in lines_of(listed.path):
            file, *rest = text.rsplit(maxsplit=1)
            if len(rest) != 1 or rest[0] not in _TAGS:
                raise bad_line(listed.path, number, text, "a file name and a tag 0, 1 or 2")
            found = tree.find(listed.name, file)
            if found is None:
                missing.append(Skipped(f"{tree.prefix}{label}/{file}", MISSING))
            else:
                claims.append(Claim(found, label, _TAGS[rest[0]]))
    return assemble(
        tree,
        "hmdb51",
        [*claims, *unused_claims(claims, tree)],
        lambda found, label: hmdb51_group(found.stem, label),
        lists=[file.path for file in files],
        missing=missing,
    )
