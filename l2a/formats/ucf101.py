"""UCF101: class folders, `trainlist0N.txt` with lines `Class/v_Class_gXX_cYY.avi label` and
`testlist0N.txt` with lines `Class/v_Class_gXX_cYY.avi`. A `vallist0N.txt`, which UCF101 itself does
not have, names a validation split that is then not carved out of train.

The class is read from the path, not from the number, which only `classInd.txt` explains.
"""

from __future__ import annotations

import re
from pathlib import Path

from l2a.errors import InputError
from l2a.formats.groups import plain, ucf101_group
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

_LIST = re.compile(r"(train|val|test)list(\d+)\.txt")
_LABEL = re.compile(r"\s+\d+$")


def recognises(tree: Tree, settings: DataSettings) -> bool:
    """Whether there are both `trainlist0N.txt` and `testlist0N.txt`."""
    return {file.name for file in split_files(tree.root, settings, _LIST)} >= {"train", "test"}


def read(tree: Tree, settings: DataSettings) -> VideoSet:
    """Read the split `settings.split`; files of a listed class that it does not name are "unused".

    Raises:
        InputError: there are no lists, none of this number, or a line without `Class/file`.
    """
    files = split_files(tree.root, settings, _LIST)
    if not files:
        raise InputError(
            f"There is no trainlist01.txt for {tree.root}; put UCF101's lists into its folder"
            " ucfTrainTestlist/ or name their folder by --annotations."
        )
    chosen = of_split(files, settings)
    index = chosen[0].path.parent / "classInd.txt"
    # classInd.txt, the lists and the folders can spell a class differently: the folders decide,
    # unless classInd.txt says what the class is called.
    names = tree.folders() | {plain(name): name for name in _class_names(index)}
    claims: list[Claim] = []
    missing: list[Skipped] = []
    for each in chosen:
        for number, text in lines_of(each.path):
            listed = _LABEL.sub("", text).replace("\\", "/")
            folder, slash, file = listed.rpartition("/")
            folder = folder.rpartition("/")[2]
            if not slash or not folder:
                raise bad_line(each.path, number, text, "a path Class/file")
            found = tree.find(folder, file)
            if found is None:
                missing.append(Skipped(f"{tree.prefix}{folder}/{file}", MISSING))
            else:
                claims.append(Claim(found, names.get(plain(folder), folder), each.name))
    return assemble(
        tree,
        "ucf101",
        [*claims, *unused_claims(claims, tree)],
        lambda found, label: ucf101_group(found.stem, label),
        lists=[*(file.path for file in files), index],
        missing=missing,
    )


def _class_names(path: Path) -> list[str]:
    """The names in `classInd.txt`, lines `number Name`; none when there is no such file."""
    if not path.is_file():
        return []
    return [text.split(maxsplit=1)[-1] for _, text in lines_of(path)]
