"""Reading data sets: one module per layout, one table of them, and what all layouts share.

A reader says what its data set's own files say. Here groups are overridden, a missing test split is
made, and what a person should know is noted.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from l2a.errors import InputError
from l2a.formats import folder as folders
from l2a.formats import hmdb51, kinetics, lists, ucf101
from l2a.formats.groups import plain
from l2a.formats.labelled import with_labels
from l2a.formats.listing import examples
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING, Tree
from l2a.formats.unlabelled import check_folder, with_unlabelled
from l2a.formats.unread import sentence, unread_lists
from l2a.videos import VideoSet, carve_test, shared_groups

__all__ = ["READERS", "DataSettings", "Reader", "read_any", "read_videos", "require_folder"]


@dataclass(frozen=True, slots=True)
class Reader:
    """One layout: whether a folder has it, and reading it."""

    recognises: Callable[[Tree, DataSettings], bool]
    read: Callable[[Tree, DataSettings], VideoSet]


READERS: Mapping[str, Reader] = {
    "hmdb51": Reader(hmdb51.recognises, hmdb51.read),
    "ucf101": Reader(ucf101.recognises, ucf101.read),
    "kinetics": Reader(kinetics.recognises, kinetics.read),
    "lists": Reader(lists.recognises, lists.read),
    "folder": Reader(folders.recognises, folders.read),
}
"""Format ─► reader. `auto` takes the first that recognises the folder."""


def read_videos(folder: Path, settings: DataSettings) -> VideoSet:
    """Read a data set: its videos with their classes, groups and splits.

    Official splits are kept as they are; groups on both sides of one are counted in the notes. A
    set with a val split but no test split (Kinetics, most lists) is reported on its val split, as
    everybody does: that becomes the test split. A set with neither gets a test split by group
    (`l2a.videos.carve_test`). Validation is not carved here (`l2a.videos.carve_validation`).
    Where settings say which training videos are labelled, the others are unlabelled.

    Args:
        folder: the data set's folder, as its makers unpack it.
        settings: layout, official split, annotations, groups; what is labelled.

    Raises:
        InputError: no such folder, an unknown format, annotations or a split that do not exist,
            lists that cannot be read, no video at all, or one class only; what is labelled is said
            wrongly.
    """
    videos = read_any(folder, settings)
    if len(videos.classes) == 1:
        raise InputError(
            f"All videos of {folder} are of the one class {videos.classes[0]!r}; give the folder"
            " that holds the class folders, with two classes or more."
        )
    return videos


def read_any(folder: Path, settings: DataSettings) -> VideoSet:
    """`read_videos`, but a set of one class passes: `l2a check` reports on it."""
    require_folder(folder)
    if settings.annotations is not None and not settings.annotations.exists():
        raise InputError(f"The annotations {settings.annotations} do not exist; check the path.")
    with _no_collector():
        return _read(folder, settings)


def require_folder(folder: Path) -> None:
    """Refuse what is no folder, before anything that takes long, such as fetching weights.

    Raises:
        InputError: it is not there, or a file.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"The data set's folder {folder} {what}; give the folder of the videos.")


def _read(folder: Path, settings: DataSettings) -> VideoSet:
    if settings.unlabelled is not None:
        check_folder(folder, settings.unlabelled)
    tree = Tree(folder, settings.unlabelled)
    videos = _reader(tree, settings).read(tree, settings)
    of_labels = () if settings.labelled is None else (settings.labelled,)
    unread = unread_lists(tree, replace(videos, lists=(*videos.lists, *of_labels)))
    if not videos.videos:
        raise InputError(_nothing_found(folder, videos))
    if unread:
        videos = replace(videos, unread=unread).noting(sentence(unread))
    videos = _alike(_with_test(_regrouped(videos, settings.group_pattern)))
    if settings.unlabelled is not None:
        videos = with_unlabelled(videos, settings.unlabelled, settings.group_pattern)
    videos = with_labels(videos, settings)
    shared = shared_groups(videos)
    if shared:
        videos = videos.noting(
            "Groups with videos on two sides of the official split, which is kept as it is:"
            f" {len(shared)} ({examples(list(shared))})."
        )
    return videos


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Without cyclic garbage collection: there is none among so many small things, and
    looking again and again takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _reader(tree: Tree, settings: DataSettings) -> Reader:
    if settings.format == "auto":
        for reader in READERS.values():
            if reader.recognises(tree, settings):
                return reader
        raise InputError(
            f"{settings.annotations} holds no split files, lists or tables of a known layout;"
            f" choose a format out of: {', '.join(READERS)}."
        )
    if settings.format not in READERS:
        raise InputError(
            f"There is no format {settings.format!r}; choose auto or one of: {', '.join(READERS)}."
        )
    return READERS[settings.format]


def _nothing_found(folder: Path, videos: VideoSet) -> str:
    listed = [row for row in videos.skipped if row.reason == MISSING]
    if listed:
        return (
            f"None of the {len(listed)} videos that are listed for {folder} is there, such as"
            f" {listed[0].id}; give the folder that the lists were made for."
        )
    if videos.skipped:
        first = videos.skipped[0]
        return (
            f"No video of {folder} can be used, such as {first.id} ({first.reason}); mend the lists"
            " or the files."
        )
    if videos.left_out:
        return (
            f"The videos of {folder}, such as {videos.left_out[0]}, lie in no class folder; if it"
            " is a class itself, give the folder above it, else sort the videos into class folders,"
            " or give a table of files and classes by --annotations TABLE.csv."
        )
    return (
        f"There is no video in {folder}; it should hold class folders, at the top or under videos/,"
        " such as videos/jump/clip.mp4."
    )


def _regrouped(videos: VideoSet, pattern: str | None) -> VideoSet:
    """The set with groups by `pattern`, searched in each id; where it does not match, unchanged."""
    if pattern is None:
        return videos
    matches = {video.id: re.search(pattern, video.id) for video in videos.videos}
    groups = {id: match[1] for id, match in matches.items() if match and match[1] is not None}
    if not groups:
        raise InputError(
            f"The group pattern {pattern!r} matches no video of {videos.root}, such as"
            f" {videos.videos[0].id!r}; write one that does."
        )
    regrouped = replace(
        videos,
        videos=tuple(replace(v, group=groups.get(v.id, v.group)) for v in videos.videos),
    )
    if len(groups) < len(videos):
        return regrouped.noting(
            f"The group pattern matches {len(groups)} of {len(videos)} videos; the others keep the"
            " group of their names."
        )
    return regrouped


def _alike(videos: VideoSet) -> VideoSet:
    """The set with a note on classes whose names differ in spelling alone."""
    spellings: dict[str, list[str]] = {}
    for name in videos.classes:
        spellings.setdefault(plain(name), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if not alike:
        return videos
    return videos.noting(
        f"Classes whose names are spelled alike: {len(alike)} ({examples(alike)})."
    )


def _with_test(videos: VideoSet) -> VideoSet:
    if videos.of_split("test"):
        return videos
    if not videos.of_split("val"):
        return carve_test(videos)
    tested = tuple(replace(v, split="test") if v.split == "val" else v for v in videos.videos)
    return replace(videos, videos=tested).noting(
        "There is no test video: the official validation split is the test split, and validation"
        " is carved out of train."
    )
