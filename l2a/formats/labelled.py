"""Which training videos are labelled: by a list, or by a share that is drawn group by group.

The lists of VideoSSL (`Class/clip FRAMES LABEL`), of MMAction2 and PyTorchVideo (`path label`) and
plain lists of paths are read as they are found. A video's class is the data set's own, told by its
folder or by the data set's lists. The number that a list of labelled videos gives it is compared
and never used: 132 lines of VideoSSL's HMDB51 lists carry the number of another class, because
climb, kick and sword were taken for climb_stairs, kick_ball and sword_exercise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from l2a.errors import InputError
from l2a.formats.listing import examples
from l2a.formats.named import Line, Names, key_of, lines_named
from l2a.formats.settings import DataSettings
from l2a.formats.tree import MISSING
from l2a.text import printable
from l2a.videos import Skipped, Video, VideoSet, choose_groups, counted

_ENOUGH = 0.5
"""Share of a list's lines that must name videos of the data set: with fewer it is another's."""

_SAID = 10  # names of classes in a sentence


def with_labels(videos: VideoSet, settings: DataSettings) -> VideoSet:
    """The set in which those train videos are unlabelled that the settings do not call labelled.

    Args:
        videos: with their test split, and without validation that is carved out of train.
        settings: a list, a share, or neither: then nothing changes.

    Raises:
        InputError: the list is not there, names no videos, videos of another data set, or videos
            of test or validation; a class has no labelled video; no video can be unlabelled.
    """
    if settings.labelled is not None:
        videos = _by_list(videos, settings.labelled, settings.missing_classes)
    elif settings.labelled_share is not None:
        videos = _by_share(videos, settings.labelled_share, settings.labelled_seed)
    return _noted(videos) if videos.of_split("unlabelled") else videos


# --- by a share ----------------------------------------------------------------------------------


def _by_share(videos: VideoSet, share: float, seed: int) -> VideoSet:
    """Whole groups are unlabelled, so that each class's labelled share is the nearest to `share`
    that keeps one of its videos labelled."""
    if share == 1:
        return videos
    train = videos.of_split("train")
    hidden = choose_groups(train, 1 - share, f"labelled {seed}", of_every_class=False)
    if not hidden:
        raise InputError(
            f"With a labelled share of {share}, no group of {videos.root} becomes unlabelled; give"
            " a smaller --labelled-share, or say by --group-pattern which videos belong together."
        )
    labelled = {video.id for video in train if video.group not in hidden}
    return _labelling(videos, labelled, {video.id for video in train})


def _labelling(videos: VideoSet, labelled: set[str], used: set[str]) -> VideoSet:
    """The set in which `labelled` videos train, and the others of `used` are unlabelled."""
    truths = {v.id: v.label for v in videos.videos if v.id in used and v.id not in labelled}
    made = tuple(
        v.unlabelled() if v.id in truths else v.moved_to("train") if v.id in labelled else v
        for v in videos.videos
    )
    return replace(videos, videos=made, truths={**videos.truths, **truths})


# --- by a list -----------------------------------------------------------------------------------


@dataclass
class _Listed:
    """What a list says of a data set.

    Attributes:
        lines: how many name a video of some data set.
        videos: id ─► the video that is named.
        classes: (class as the list writes it, video, line) of each line that writes one.
        absent: paths that the data set's own lists have too, and the disk lacks.
        strange: lines that name nothing here.
    """

    lines: int = 0
    videos: dict[str, Video] = field(default_factory=dict)
    classes: list[tuple[str, Video, str]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


def _by_list(videos: VideoSet, path: Path, missing_classes: str) -> VideoSet:
    listed = _read(videos, path)
    _refuse_strange(videos, path, listed)
    train = {video.id for video in videos.of_split("train")}
    unused = {video.id for video in videos.of_split("unused")}
    labelled, used = set(listed.videos), set(train)
    wrong = _disputed(path, listed)
    notes = list(_about_lines(path, listed, wrong))
    if labelled & unused:
        # Such a list was drawn from all videos but those of test, as VideoSSL's for HMDB51: also
        # from other clips of the recordings that are tested on.
        tested = _of_tested_recordings(videos) & unused
        if tested:
            notes.append(
                "Videos that the split does not use, of recordings that test or validation has:"
                f" {len(tested)}, of which {path.name} names {len(tested & labelled)}; they stay"
                " unused, so that no recording is on both sides."
            )
        labelled, unused = labelled - tested, unused - tested
        used |= unused
        notes.append(
            f"Videos that the split does not use and {path.name} names: {len(labelled & unused)};"
            f" they are labelled, and the other {len(unused - labelled)} unused ones are"
            " unlabelled."
        )
    classes = {video.label for video in videos.videos if video.id in used}
    without = sorted(classes - {listed.videos[id_].label for id_ in labelled})
    if without:
        kind = counted(len(without), "class", "classes")
        if missing_classes == "refuse":
            raise InputError(
                f"{path} names no video of {kind} of {videos.root} that may be trained on"
                f" ({examples(without, _SAID)}); label one of each, or go on without by"
                " --missing-classes allow."
            )
        notes.append(f"Without a labelled video: {kind} ({examples(without, _SAID)}).")
    made = _labelling(videos, labelled, used)
    return replace(made, lists=(*made.lists, path), disputed=wrong).noting(*notes)


def _of_tested_recordings(videos: VideoSet) -> set[str]:
    """Ids of the videos whose recording test or validation has."""
    held = {video.group for video in videos.of_split("test", "val")}
    return {video.id for video in videos.videos if video.group in held}


def _read(videos: VideoSet, path: Path) -> _Listed:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputError(f"The list of labelled videos {path} {what}; check --labelled.")
    names = Names(videos.videos, videos.root, path)
    lacking = {key_of(row.id) for row in videos.skipped if row.reason == MISSING}
    listed = _Listed()
    for line in lines_named(path):
        video, label = _meant(line, names)
        if video is None and line.may_be_none:
            continue
        listed.lines += 1
        if video is not None:
            listed.videos[video.id] = video
            if label:
                listed.classes.append((label, video, line.text))
        elif any(key_of(written) in lacking for written, _ in line.readings):
            listed.absent.append(line.text)
        else:
            listed.strange.append(line.text)
    return listed


def _meant(line: Line, names: Names) -> tuple[Video | None, str]:
    """The video that a line names, and the class that it writes."""
    for written, label in line.readings:
        if video := names.find(written):
            return video, label
    return None, ""


def _refuse_strange(videos: VideoSet, path: Path, listed: _Listed) -> None:
    """Refuse a list of nothing, of another data set, or of videos that may not be trained on."""
    if not listed.lines:
        raise InputError(f"{path} names no video; write one path a line.")
    # Videos that nobody could download are no sign of another data set.
    asked = listed.lines - len(listed.absent)
    found = asked - len(listed.strange)
    if found < _ENOUGH * asked or not listed.videos:
        shown = (listed.strange or listed.absent)[0]
        raise InputError(
            f"Of {counted(listed.lines, 'line')} of {path}, {found} name videos of {videos.root},"
            f" and others do not, such as {printable(shown[:200])!r}; give the list that was made"
            " for this data set."
        )
    held = [video for video in listed.videos.values() if video.split in ("test", "val")]
    if held:
        carved = any(note.startswith("The test split was carved") for note in videos.notes)
        remedy = (
            "leave them out, or give the data set a test split of its own"
            if carved
            else "give a list of training videos, or by --split the split that it was made for"
        )
        raise InputError(
            f"{path} names {counted(len(held), 'video')} of the {held[0].split} split, such as"
            f" {held[0].id}; {remedy}."
        )


def _disputed(path: Path, listed: _Listed) -> tuple[Skipped, ...]:
    """The videos to which the list gives the class of another folder."""
    wrong = wrong_classes([(label, video.label) for label, video, _ in listed.classes])
    return tuple(
        Skipped(
            video.id,
            f"{path.name} has {printable(text[:200])!r}, where {printable(label)} is not what most"
            f" lines of {video.label} have",
        )
        for label, video, text in (listed.classes[place] for place in wrong)
    )


def _about_lines(path: Path, listed: _Listed, wrong: Sequence[Skipped]) -> Iterable[str]:
    """Notes on lines that say something else than the data set."""
    if wrong:
        yield (
            f"Lines of {path.name} with the class of another folder: {len(wrong)} of"
            f" {listed.lines}; the folder counts. {wrong[0].id}: {wrong[0].reason}."
        )
    named = listed.lines - len(listed.absent) - len(listed.strange)
    if named > len(listed.videos):
        yield f"Lines of {path.name} that name a video again: {named - len(listed.videos)}."
    lacking = listed.absent + listed.strange
    if lacking:
        yield (
            f"Lines of {path.name} that name no video here: {len(lacking)} of {listed.lines}"
            f" ({examples(lacking, 1)})."
        )


def wrong_classes(pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Places of lines whose written class, a number or a name, is not that of their folder.

    What a number means is what most of its lines say; each number means one class, and each class
    has one number. A list that gives all lines one number says nothing of classes.

    Args:
        pairs: (class as written, class of the folder) of each line.
    """
    counts = Counter(pairs)
    if len({written for written, _ in counts}) < 2:
        return []
    right: set[tuple[str, str]] = set()
    numbered, told = set[str](), set[str]()
    for written, label in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        if written not in told and label not in numbered:
            right.add((written, label))
            told.add(written)
            numbered.add(label)
    return [place for place, pair in enumerate(pairs) if pair not in right]


# --- what a person should know -------------------------------------------------------------------


def _noted(videos: VideoSet) -> VideoSet:
    """The set with notes on what is labelled."""
    labelled, unlabelled = videos.of_split("train"), videos.of_split("unlabelled")
    groups = {video.group for video in labelled}
    shared = sum(video.group in groups for video in unlabelled)
    per_class = Counter(video.label for video in labelled)
    single = [label for label, count in sorted(per_class.items()) if count == 1]
    notes = [
        f"Labelled training videos: {len(labelled)}, unlabelled ones: {len(unlabelled)}; {shared}"
        " of these come from a labelled one's recording."
    ]
    if single:
        notes.append(
            f"Classes with one labelled video: {len(single)} ({examples(single, _SAID)}); they can"
            " give none for validation."
        )
    return videos.noting(*notes)
