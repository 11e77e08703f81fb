"""`l2a check`: read a data set, decode every video, and list what is broken."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from l2a.errors import UnreadableVideo, in_one_line
from l2a.files import file_sha256
from l2a.formats import DataSettings, read_any
from l2a.formats.tree import DANGLING, LISTED, MISSING
from l2a.machine import usable_cores
from l2a.media import read_frames
from l2a.text import printable
from l2a.videos import SPLITS, Video, VideoSet, counted, shared_groups

KINDS = {
    "list not read": "files that look like lists of videos",
    "missing": "listed, but not there",
    "left out": "listed, but of no use",
    "no video": "named like a video or a class, but unusable",
    "empty": "files without a byte",
    "truncated": "files that end too early",
    "unreadable": "files that cannot be decoded",
    "listed twice": "videos that the lists name more than once",
    "copy": "files that are copies of another",
    "in no list": "videos that no list or class folder of the data set has",
    "in no split": "videos that the split does not use",
    "one class": "nothing to tell apart",
    "another class": "lines of the list of labelled videos whose class is not their folder's",
    "incomplete class": "classes without train or test videos",
    "two sides": "groups with videos on two sides of the split",
}
"""Kind of finding ─► its heading, in the order of the report."""

SOUND = frozenset({"in no split", "listed twice", "another class"})
"""Kinds that are worth knowing and break nothing: the data set's own lists say so, or
its folders are right where a list is not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: its kind (a key of `KINDS`), what it is about, and details."""

    kind: str
    subject: str
    detail: str

    @property
    def broken(self) -> bool:
        """Whether it is a fault of the data set."""
        return self.kind not in SOUND


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check_videos` found.

    Attributes:
        videos: the set as it was read.
        findings: by kind, in the order of `KINDS`, and by subject.
    """

    videos: VideoSet
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> int:
        """How many findings are faults of the data set."""
        return sum(finding.broken for finding in self.findings)


def check_videos(
    folder: Path,
    settings: DataSettings,
    *,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read a data set and decode each of its videos once, from the first frame to the last.

    Args:
        folder: the data set's folder.
        settings: how it is read.
        workers: how many videos are decoded at a time; one for each core by default.
        report: called as `report(done, total)` after each video.

    Raises:
        InputError: as `l2a.formats.read_videos`, but a set of one class is reported on.
    """
    videos = read_any(folder, settings)
    findings = [
        *_from_reading(videos),
        *_on_two_sides(videos),
        *_classes(videos),
        *_copies(videos),
        *_undecodable(videos.videos, workers, report),
    ]
    place = {kind: index for index, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: (place[finding.kind], finding.subject))
    return CheckReport(videos, tuple(findings))


def report_json(report: CheckReport) -> dict[str, object]:
    """The whole report for programs: every finding, and what the data set was read as."""
    videos = report.videos
    return {
        "data": str(videos.root),
        "format": videos.format,
        "classes": list(videos.classes),
        "videos": {
            split: len(videos.of_split(split))
            for split in SPLITS
            if split != "unlabelled" or videos.of_split(split)
        },
        "notes": list(videos.notes),
        "broken": report.broken,
        "findings": [
            {"kind": each.kind, "subject": each.subject, "detail": each.detail,
             "broken": each.broken}
            for each in report.findings
        ],
    }  # fmt: skip


def report_lines(report: CheckReport, most: int = 20) -> list[str]:
    """The report as lines of text, with at most `most` findings of each kind.

    Names are shown with their control characters written out: a terminal obeys none of them.
    """
    videos = report.videos
    counts = ", ".join(f"{len(videos.of_split(s))} {s}" for s in SPLITS if videos.of_split(s))
    lines = [
        f"{videos.root}: {videos.format}, {counted(len(videos.classes), 'class', 'classes')},"
        f" {counted(len(videos), 'video')} ({counts})"
    ]
    lines += [f"note: {note}" for note in videos.notes]
    for kind, heading in KINDS.items():
        rows = [finding for finding in report.findings if finding.kind == kind]
        if rows:
            lines.append(f"{kind}: {len(rows)} ({heading})")
            lines += [f"  {row.subject}: {row.detail}" for row in rows[:most]]
        if len(rows) > most:
            lines.append(f"  … and {len(rows) - most} more")
    if not report.broken:
        lines.append("nothing is broken")
    return [printable(line) for line in lines]


def _from_reading(videos: VideoSet) -> Iterator[Finding]:
    """What the reader itself left out, met twice or did not understand."""
    for row in videos.unread:
        yield Finding("list not read", row.id, row.reason)
    for row in videos.skipped:
        yield Finding(_kind_of_skipped(row.reason), row.id, row.reason)
    kept = {video.id: video.split for video in videos.videos}
    for id in videos.repeated:
        if id in kept:
            yield Finding("listed twice", id, f"kept once, in {kept[id]}")
    for id in videos.left_out:
        if id not in kept:
            yield Finding("in no list", id, f"not used in the layout {videos.format}")
    for row in videos.disputed:
        yield Finding("another class", row.id, row.reason)
    for video in videos.of_split("unused"):
        yield Finding("in no split", video.id, f"a video of {video.label}")


def _kind_of_skipped(reason: str) -> str:
    if reason in (MISSING, DANGLING):
        return "missing"
    return "left out" if reason.startswith(LISTED) else "no video"


def _on_two_sides(videos: VideoSet) -> Iterator[Finding]:
    members: dict[str, list[Video]] = defaultdict(list)
    for video in videos.videos:
        members[video.group].append(video)
    for group, splits in shared_groups(videos).items():
        sides = [
            f"{len(ids)} in {split} ({ids[0]})"
            for split in splits
            if (ids := [video.id for video in members[group] if video.split == split])
        ]
        yield Finding("two sides", group, ", ".join(sides))


def _classes(videos: VideoSet) -> Iterator[Finding]:
    if len(videos.classes) == 1:
        yield Finding("one class", videos.classes[0], "all videos are of this class")
    unlabelled = bool(videos.of_split("unlabelled"))
    for split in ("train", "test"):
        present = {video.label for video in videos.of_split(split)}
        kind = "labelled train" if split == "train" and unlabelled else split
        for label in videos.classes:
            if label not in present:
                yield Finding("incomplete class", label, f"no {kind} video")


def _copies(videos: VideoSet) -> Iterator[Finding]:
    """Files that are byte for byte another one's; only files of equal size are read for it."""
    by_size: dict[int, list[Video]] = defaultdict(list)
    for video in videos.videos:
        size = _size(video.path)
        if size:
            by_size[size].append(video)
    for alike in by_size.values():
        if len(alike) < 2:
            continue
        by_bytes: dict[str, Video] = {}
        for video in alike:
            try:
                digest = file_sha256(video.path)
            except OSError:
                continue  # decoding says what is wrong with it
            first = by_bytes.setdefault(digest, video)
            if first is not video:
                detail = f"in {video.split}, the same as {first.id} in {first.split}"
                yield Finding("copy", video.id, detail)


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it was removed since it was listed."""
    return path.stat().st_size if path.is_file() else 0


_AHEAD = 256
"""Videos that are handed out for decoding before their turn."""


def _undecodable(
    videos: Sequence[Video], workers: int | None, report: Callable[[int, int], None] | None
) -> Iterator[Finding]:
    """Decode all videos, several at a time: FFmpeg releases Python's lock while it works."""
    pool = ThreadPoolExecutor(workers or usable_cores())
    left, waiting = iter(videos), deque[Future[Finding | None]]()
    try:
        for done in range(1, len(videos) + 1):
            # Not all at once: what waits for its turn takes memory.
            waiting += [pool.submit(_decoded, v) for v in islice(left, _AHEAD - len(waiting))]
            finding = waiting.popleft().result()
            if report is not None:
                report(done, len(videos))
            if finding is not None:
                yield finding
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the videos at hand, not for all


def _decoded(video: Video) -> Finding | None:
    """What is wrong with a file, or None; the frames are shrunk to nothing as they come."""
    try:
        read_frames(video.path, max_side=8)
    except UnreadableVideo as error:
        if not video.path.is_file():
            kind = "missing"
        elif not _size(video.path):
            kind = "empty"
        else:
            kind = "truncated" if "truncated" in error.reason else "unreadable"
        return Finding(kind, video.id, error.reason)
    except OSError as error:
        return Finding("unreadable", video.id, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - it hides no other video's
        return Finding("unreadable", video.id, in_one_line(error))
    return None
