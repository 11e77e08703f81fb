"""Videos of a folder without classes, inside the data set's folder or elsewhere: all unlabelled.

None of them is a video that the data set has already, by whatever way: a link to it, a copy, a file
of its name. So nothing of test or validation comes back as training video.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from l2a.errors import InputError
from l2a.files import source_mark
from l2a.formats.groups import kinetics_key, plain, told_group
from l2a.formats.listing import examples
from l2a.formats.named import key_of
from l2a.formats.tree import MISSING, Found, Tree
from l2a.videos import Skipped, Video, VideoSet

OUTSIDE = ".unlabelled/"
"""How ids begin of videos that lie outside of the data set's folder: like a hidden folder, whose
videos are no data. Where a list names videos of such a folder all the same, with more dots."""


def check_folder(root: Path, folder: Path) -> None:
    """Refuse a folder that cannot be one of unlabelled videos.

    Raises:
        InputError: it is not there, or it is or holds the data set's folder.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"The folder of unlabelled videos {folder} {what}; check --unlabelled.")
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"The folder of unlabelled videos {folder} holds the data set {root} itself; give one"
            " below it, or elsewhere."
        )


def with_unlabelled(videos: VideoSet, folder: Path, pattern: str | None) -> VideoSet:
    """The set with the videos of a folder, all unlabelled.

    What the data set has already, in whichever split, is left out, and so is a clip of a recording
    of its test or validation videos, as far as names tell.

    Args:
        videos: with their test split, read without this folder.
        folder: as `check_folder` lets it pass.
        pattern: `DataSettings.group_pattern`, searched in their ids too.

    Raises:
        InputError: no video is left.
    """
    tree = Tree(folder)
    known = _Known.of(videos)
    before = _before(videos, folder)
    classes = {plain(label): label for label in videos.classes}
    added: list[Video] = []
    truths: dict[str, str] = {}
    skipped = [Skipped(before + row.id, row.reason) for row in tree.skipped]
    for found in tree.videos:
        video = _video(found, folder, before, videos, pattern)
        if reason := known.reason(video):
            skipped.append(Skipped(video.id, reason))
            continue
        added.append(video)
        if told := classes.get(plain(found.folder)) if found.folder else None:
            truths[video.id] = told
    if not added:
        shown = f", such as {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"There is no unlabelled video in {folder} that the data set does not have{shown}; "
            "check --unlabelled."
        )
    made = replace(
        videos,
        videos=tuple(sorted((*videos.videos, *added), key=attrgetter("id"))),
        skipped=tuple(sorted((*videos.skipped, *skipped), key=attrgetter("id"))),
        truths={**videos.truths, **truths},
    )
    if skipped:
        rows = [f"{row.id}: {row.reason}" for row in skipped]
        made = made.noting(
            f"Videos of {folder.name} that are not used: {len(rows)} ({examples(rows, 1)})."
        )
    return made


def _before(videos: VideoSet, folder: Path) -> str:
    """How ids of the folder's videos begin: its path below the root, or `OUTSIDE`."""
    root = videos.root
    ways = [(os.path.abspath(root), os.path.abspath(folder)),  # noqa: PTH100 (takes .. off)
            (os.path.realpath(root), os.path.realpath(folder))]  # fmt: skip
    for ours, theirs in ways:
        if Path(theirs).is_relative_to(ours):
            return f"{Path(theirs).relative_to(ours).as_posix()}/"
    outside = OUTSIDE
    while any(video.id.startswith(outside) for video in videos.videos):
        outside = f".{outside}"
    return outside


def below_folder(video_id: str) -> str:
    """The path below the folder of unlabelled videos where an id begins with `OUTSIDE`, else the
    id as it is: the path below the data set."""
    return re.sub(rf"^\.*{re.escape(OUTSIDE)}", "", video_id)


def _video(found: Found, folder: Path, before: str, videos: VideoSet, pattern: str | None) -> Video:
    id = before + found.id
    match = re.search(pattern, id) if pattern else None
    group = match[1] if match else told_group(found.stem, videos.classes)
    if group is None and videos.format == "kinetics" and (key := kinetics_key(found.stem)):
        group = key[0]
    # A name that tells no recording is one by itself: elsewhere it can name something else.
    return Video(id, f"{str(folder).rstrip('/')}/{found.id}", "", group or id, "unlabelled")


@dataclass(frozen=True)
class _Known:
    """What tells that a file is a video that the data set has already.

    Attributes:
        real: real path ─► video.
        names: (class folder, name) ─► video, as names are compared.
        tellings: names that tell a recording ─► video.
        absent: names of videos that the data set's own lists have and the disk lacks: which split
            they are of is not known any more.
        sizes: bytes ─► videos.
        held: recordings of test and validation ─► a video of it.
    """

    real: Mapping[str, Video]
    names: Mapping[tuple[str, str], Video]
    tellings: Mapping[str, Video]
    absent: frozenset[tuple[str, str]]
    sizes: Mapping[int, list[Video]]
    held: Mapping[str, Video]

    @classmethod
    def of(cls, videos: VideoSet) -> _Known:
        names = {key_of(video.id): video for video in videos.videos}
        sizes: dict[int, list[Video]] = {}
        for video in videos.videos:
            sizes.setdefault(_size(video), []).append(video)
        return cls(
            real={os.path.realpath(video.file): video for video in videos.videos},
            names=names,
            tellings={key[1]: v for key, v in names.items() if told_group(v.path.stem, ())},
            absent=frozenset(
                key for row in videos.skipped if row.reason == MISSING for key in _keys(row.id)
            ),
            sizes={size: those for size, those in sizes.items() if size},
            held={v.group: v for v in videos.of_split("test", "val")},
        )

    def reason(self, video: Video) -> str:
        """Why a video cannot be an unlabelled one; "" where it can."""
        if same := self.real.get(os.path.realpath(video.file)) or self._copy(video):
            return f"the same file as {same.id}, a {same.split} video"
        key = key_of(video.id)
        if same := self.names.get(key) or self.tellings.get(key[1]):
            return f"called like {same.id}, a {same.split} video"
        if any(key in self.absent for key in _keys(video.id)):
            return "called like a video that the data set's lists name"
        if same := self.held.get(video.group):
            return f"of the recording of {same.id}, a {same.split} video"
        return ""

    def _copy(self, video: Video) -> Video | None:
        alike = self.sizes.get(_size(video))
        mark = source_mark(video.path) if alike else ""
        return next((one for one in alike or () if source_mark(one.path) == mark != ""), None)


def _keys(id: str) -> Iterator[tuple[str, str]]:
    """What a name is known by: its folder and name; the name alone where it tells a recording."""
    key = key_of(id)
    yield key
    if told_group(Path(id).stem, ()) or kinetics_key(Path(id).stem):
        yield "", key[1]


def _size(video: Video) -> int:
    """Bytes of a file; 0 if it was removed since it was listed."""
    try:
        return os.stat(video.file).st_size  # noqa: PTH116 (a Path takes longer)
    except OSError:
        return 0
