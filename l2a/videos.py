"""Videos and sets of videos: files, classes, groups and splits, and carving a split by group."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

from l2a.errors import InputError
from l2a.files import fingerprint

SPLITS = ("train", "val", "test", "unlabelled", "unused")
"""What a video is for. An unlabelled one is material for training whose class nothing that trains
may know; an unused one is for nothing."""

TRAIN_SIDE = ("train", "unlabelled")
"""The splits that training sees."""

TEST_SHARE = 0.3
"""Share of the videos that become the test split of a data set that has none, as in HMDB51."""


@dataclass(frozen=True, slots=True)
class Video:
    """One file with a class, a group and a split.

    Attributes:
        id: the path relative to the data set's folder, with forward slashes; unique.
        file: the file itself; a string, because making a `Path` takes longer than listing a file.
        label: the class name, as the data set spells it; "" of an unlabelled video, whatever its
            files tell (`VideoSet.truths`).
        group: clips cut from one recording share it. A split that is carved here never divides a
            group; an official split that does is kept as it is, and noted.
        split: one of `SPLITS`.
    """

    id: str
    file: str | Path
    label: str
    group: str
    split: str

    @property
    def path(self) -> Path:
        """The file itself."""
        return Path(self.file)

    def moved_to(self, split: str) -> Video:
        """The video in another split."""
        return Video(self.id, self.file, self.label, self.group, split)

    def unlabelled(self) -> Video:
        """The video without its class."""
        return Video(self.id, self.file, "", self.group, "unlabelled")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why. Nothing is skipped without a row of this kind."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class VideoSet:
    """The videos of one data set. Immutable: every change gives a new set.

    Attributes:
        root: the data set's folder.
        format: the layout it was read as, such as "hmdb51".
        classes: class names, sorted; a class's index here is its label everywhere.
        videos: sorted by id.
        skipped: what the data set lists but does not hold.
        notes: what a person should know about these splits, one sentence each.
        repeated: ids that the data set's own lists name more than once; each is in `videos` once.
        left_out: ids of video files that no list or class folder of the layout has.
        lists: the list files that were read, or belong to another split.
        unread: files that look like lists and were not read, each with the reason.
        disputed: labelled videos to which the list that names them gives another class than their
            folder does, each with what it says.
        truths: id of an unlabelled video ─► the class that its files tell, where they tell one. For
            reports of how right pseudo-labels are, and for nothing that trains.
    """

    root: Path
    format: str
    classes: tuple[str, ...]
    videos: tuple[Video, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    repeated: tuple[str, ...] = field(default=())
    left_out: tuple[str, ...] = field(default=())
    lists: tuple[Path, ...] = field(default=())
    unread: tuple[Skipped, ...] = field(default=())
    disputed: tuple[Skipped, ...] = field(default=())
    truths: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(set(map(attrgetter("id"), self.videos))) != len(self.videos):
            twice = next(i for i, n in Counter(v.id for v in self.videos).items() if n > 1)
            raise InputError(f"The video {twice} is listed twice in {self.root}; list it once.")

    def __len__(self) -> int:
        return len(self.videos)

    def of_split(self, *splits: str) -> tuple[Video, ...]:
        """The videos of the named splits, in order of their ids."""
        return tuple(video for video in self.videos if video.split in splits)

    def only(self, *splits: str) -> VideoSet:
        """The set with the videos of the named splits alone; classes stay numbered as they are."""
        return replace(self, videos=self.of_split(*splits))

    def label_index(self, video: Video) -> int:
        """The index of the video's class in `classes`."""
        return self.classes.index(video.label)

    def without(self, skipped: Iterable[Skipped]) -> VideoSet:
        """The set without the videos named in `skipped`, which join its list of skipped ones."""
        rows = tuple(skipped)
        removed = {row.id for row in rows}
        kept = tuple(video for video in self.videos if video.id not in removed)
        return replace(self, videos=kept, skipped=self.skipped + rows)

    def noting(self, *notes: str) -> VideoSet:
        """The set with more notes."""
        return replace(self, notes=self.notes + notes)

    def fingerprint(self) -> str:
        """Changes when a video, its class, its group or its split changes, and so when other videos
        are labelled; what is told of unlabelled ones has no part in it."""
        rows = [(v.id, v.label, v.group, v.split) for v in self.videos]
        return fingerprint([list(self.classes), rows])


def counted(number: int, one: str, more: str = "") -> str:
    """`1 group`, `2 groups`; `more` is the plural where an s does not make it."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def shared_groups(videos: VideoSet) -> Mapping[str, tuple[str, ...]]:
    """Groups with videos in more than one of train, val and test ─► those splits, by group name.

    Unlabelled videos are on the side of train.
    """
    first: dict[str, str] = {}
    splits: dict[str, set[str]] = {}
    unlabelled: set[str] = set()
    for video in videos.videos:
        if video.split != "unused":
            side = video.split
            if side == "unlabelled":
                unlabelled.add(video.group)
                side = "train"
            split = first.setdefault(video.group, side)
            if split != side:
                splits.setdefault(video.group, {split}).add(side)
    for group in unlabelled & splits.keys():
        splits[group].add("unlabelled")
    return {
        group: tuple(split for split in SPLITS if split in splits[group])
        for group in sorted(splits)
    }


def carve_validation(videos: VideoSet, share: float, seed: int) -> VideoSet:
    """Set aside part of the train videos for validation, group by group.

    Whole groups of labelled videos move, so that no recording is on both sides; groups that reach
    over several classes move whole, too, and what is unlabelled of these groups is not used then.
    Every class comes as close to the share as its groups allow, every class that
    can gives at least one video, and every class keeps at least one. The choice depends on `seed`
    and on the train videos alone. A set that has validation videos already is returned unchanged.

    Args:
        videos: the set, with videos in train.
        share: of each class's train videos, 0 < share < 1.
        seed: another seed, another choice of groups.

    Raises:
        InputError: the share is not between 0 and 1, there is no train video, or every class is
            one single group.
    """
    if not 0 < share < 1:
        raise InputError(f"The validation share is {share}; choose one between 0 and 1.")
    if videos.of_split("val"):
        return videos
    train = videos.of_split("train")
    if not train:
        raise InputError(f"There is no train video in {videos.root}; check its split files.")
    moved = choose_groups(train, share, f"validation {seed}")
    if not moved:
        labelled = "labelled " if videos.of_split("unlabelled") else ""
        more = "label more of them" if labelled else "add videos"
        raise InputError(
            f"No class of {videos.root} has {labelled}train videos of two groups, so none can be"
            f" set aside for validation; {more}, or say by group_pattern which belong together."
        )
    return _without_recordings(_move(videos, moved, "val"), moved)


def carve_test(videos: VideoSet) -> VideoSet:
    """Give a set without test videos a test split: `TEST_SHARE` of each class's train videos.

    The rule is that of `carve_validation`, with one fixed order of the groups (by the SHA-256 of
    their names), so that everybody who reads the same files tests on the same videos. Where no
    class has two groups the set stays without a test split, and a note says so.
    """
    moved = choose_groups(videos.of_split("train"), TEST_SHARE, "test")
    if not moved:
        return videos.noting("There is no test split, and no class has two groups to carve one.")
    return _move(videos, moved, "test")


def _move(videos: VideoSet, groups: frozenset[str], split: str) -> VideoSet:
    """The set with the train videos of `groups` in `split`, and notes on what that did."""
    before = videos.of_split("train")
    after = tuple(
        v.moved_to(split) if v.split == "train" and v.group in groups else v for v in videos.videos
    )
    carved = replace(videos, videos=after)
    moved = carved.of_split(split)
    notes = [
        f"The {split} split was carved out of train by group:"
        f" {len(moved)} of {len(before)} videos, {counted(len(groups), 'group')}."
    ]
    if len({video.group for video in before}) == len(before):
        notes.append(
            "Every training video counts as a recording of its own; where several were cut from"
            " one, say by --group-pattern which, or it stands on both sides."
        )
    without = sorted({video.label for video in before} - {video.label for video in moved})
    if without:
        notes.append(
            f"Classes without a {split} video, because their groups are single or hold a class's"
            f" last train video: {len(without)} ({', '.join(without)})."
        )
    return carved.noting(*notes)


def _without_recordings(videos: VideoSet, groups: frozenset[str]) -> VideoSet:
    """The set without unlabelled videos of `groups`: validation measures nothing if training has
    seen its recordings."""
    seen = [v for v in videos.of_split("unlabelled") if v.group in groups]
    if not seen:
        return videos
    ids = {video.id for video in seen}
    kept = tuple(v.moved_to("unused") if v.id in ids else v for v in videos.videos)
    return replace(videos, videos=kept).noting(
        f"Unlabelled videos of recordings that validation has, which are not used: {len(seen)}."
    )


def choose_groups(
    videos: Sequence[Video], share: float, key: str, *, of_every_class: bool = True
) -> frozenset[str]:
    """The groups to move so that each class gives nearest to `share` and keeps at least one video.

    Args:
        videos: to choose from.
        share: of each class's videos, 0..1.
        key: another text, another choice.
        of_every_class: let each class that can give at least one video, even where none is nearer.

    Groups of one class can be chosen class by class and exactly, as a subset sum. Those that reach
    over several classes tie the classes together; they come first, give their own share, and leave
    the classes to even out what they did.
    """
    choice = _Choice(videos, key)
    choice.from_spanning(share)
    choice.from_own(share)
    if of_every_class:
        choice.at_least_one(share)
    return frozenset(choice.chosen)


class _Choice:
    """Groups that are being chosen to move.

    Attributes:
        sizes: group ─► its videos by class, in the order that `key` names.
        total: videos of each class.
        moved: of those, the videos of the chosen groups.
        chosen: the groups that move.
    """

    def __init__(self, videos: Sequence[Video], key: str) -> None:
        sizes: dict[str, Counter[str]] = {}
        for video in videos:
            size = sizes.get(video.group)
            if size is None:
                sizes[video.group] = size = Counter()
            size[video.label] += 1
        self.sizes = {
            group: sizes[group] for group in sorted(sizes, key=lambda g: _hash_order(key, g))
        }
        self.total = Counter(video.label for video in videos)
        self.moved: Counter[str] = Counter()
        self.chosen: set[str] = set()

    def from_spanning(self, share: float) -> None:
        """Of the groups of several classes, those that bring the classes nearer to the share."""
        spanning = [group for group, size in self.sizes.items() if len(size) > 1]
        within: Counter[str] = Counter()
        for group in spanning:
            within.update(self.sizes[group])
        goal = {label: share * n for label, n in within.items()}
        for group in spanning:
            if self._leaves_train(group) and self._gain(group, goal) > 0:
                self._take(group)

    def from_own(self, share: float) -> None:
        """Of each class's own groups those whose sum comes nearest to what is missing."""
        own: dict[str, list[str]] = {}
        for group, size in self.sizes.items():
            if len(size) == 1:
                own.setdefault(next(iter(size)), []).append(group)
        for label, groups in own.items():
            most = self.total[label] - self.moved[label] - 1
            counts = [self.sizes[group][label] for group in groups]
            wanted = share * self.total[label] - self.moved[label]
            for index in _nearest_sum(counts, wanted, most):
                self._take(groups[index])

    def at_least_one(self, share: float) -> None:
        """A group for each class that gave none, for the nearest to a small share can be nothing;
        a class without one video is worse than that."""
        goal = {label: share * n for label, n in self.total.items()}
        waiting: dict[str, list[str]] = {
            label: [] for label in sorted(self.total) if not self.moved[label]
        }
        for group in self.sizes if waiting else ():
            if group not in self.chosen:
                for label in waiting.keys() & self.sizes[group].keys():
                    waiting[label].append(group)
        for label, groups in waiting.items():
            possible = [group for group in groups if self._leaves_train(group)]
            if not self.moved[label] and possible:
                self._take(max(possible, key=lambda group: self._gain(group, goal)))

    def _take(self, group: str) -> None:
        self.chosen.add(group)
        for label, n in self.sizes[group].items():
            self.moved[label] += n

    def _leaves_train(self, group: str) -> bool:
        return all(
            self.moved[label] + n < self.total[label] for label, n in self.sizes[group].items()
        )

    def _gain(self, group: str, goal: Mapping[str, float]) -> float:
        """How much nearer to the goal the classes come, in videos; negative if farther."""
        return sum(
            abs(goal[label] - self.moved[label]) - abs(goal[label] - self.moved[label] - n)
            for label, n in self.sizes[group].items()
        )


def _nearest_sum(counts: Sequence[int], wanted: float, most: int) -> list[int]:
    """Indices of the `counts` whose sum is nearest to `wanted` and at most `most`.

    The smaller sum wins a tie. Among equal sums the subset that reaches least far into the sequence
    is taken, so that its order decides which groups go.
    """
    # Sum ─► the last index that made it; the rest is under the sum without that count. The sums
    # that can be reached are the bits of one number, so that a count is added to all at once.
    last: dict[int, int] = {0: -1}
    reached = 1
    limit = min(most, int(max(2 * wanted, 0)))  # beyond twice the wanted, nothing is nearer
    ideal = min(most, max(0, math.ceil(wanted - 0.5)))
    within = (1 << (limit + 1)) - 1 if limit >= 0 else 0
    for index, count in enumerate(counts):
        if ideal in last:
            break
        new = (reached << count) & within & ~reached
        reached |= new
        while new:
            highest = new.bit_length() - 1
            last[highest] = index
            new ^= 1 << highest
    best = min(last, key=lambda reached: (abs(reached - wanted), reached))
    subset = []
    while best:
        subset.append(last[best])
        best -= counts[last[best]]
    return subset


def _hash_order(key: str, group: str) -> bytes:
    """A group's place in the order that `key` names: as good as random, the same everywhere.

    A hash and no shuffle, so that a group that is added leaves the order of the others alone.
    """
    return hashlib.sha256(f"{key}\0{group}".encode(errors="surrogateescape")).digest()


def recordings_first(recordings: Iterable[int]) -> list[int]:
    """An order in which one clip of each recording comes before a second one of any.

    Args:
        recordings: what each of n clips was cut from.

    Returns:
        Their places, 0 to n − 1: the first clip of each recording in the order given, then the
        second ones, and so on.
    """
    seen: Counter[int] = Counter()
    turns = []
    for recording in recordings:
        turns.append(seen[recording])
        seen[recording] += 1
    return sorted(range(len(turns)), key=turns.__getitem__)
