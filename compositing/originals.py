"""The original training videos next to the composites, so that a folder is a whole training set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compositing.clipfolder import COLUMNS, SkippedPair, is_own, one_hot, word
from compositing.engines.base import Engine
from compositing.failures import Failure, attempt
from l2a.files import atomic_write, fingerprint, replace_atomically, source_mark
from l2a.media import read_frames
from l2a.videos import Video


def original_name(video: Video) -> str:
    """The file name of an original in `OUT/real`: plain, unique, with the suffix that it has."""
    return f"Real_{word(video.label)}-{fingerprint([video.id])}{video.path.suffix.lower()}"


@dataclass(frozen=True, slots=True)
class _Original:
    video: Video
    target: Path


@dataclass(frozen=True, slots=True)
class _Add:
    """Puts an original in its place, once it has been decoded from end to end."""

    how: str

    def __call__(self, item: _Original) -> str:
        """The reason why it was left out; "" when it was not."""
        source, target = item.video.path, item.target
        if _is_there(target, source, self.how):
            return ""
        target.unlink(missing_ok=True)
        failed = attempt(_decode, source)
        if isinstance(failed, Failure):
            failed.log(item.video.id)
            return failed.reason
        if self.how == "copy":
            with atomic_write(target) as aside:
                shutil.copyfile(source, aside)
        else:
            replace_atomically(target, lambda aside: aside.symlink_to(source.resolve()))
        return ""


def _decode(path: Path) -> None:
    """Read a video from end to end, of which a few small frames are in memory at most."""
    read_frames(path, max_frames=4, max_side=64)


def add_originals(
    out: Path,
    videos: Sequence[Video],
    how: str,
    engine: Engine,
    report: Callable[[int, int], None],
) -> tuple[list[Video], tuple[SkippedPair, ...]]:
    """Link or copy the videos into `OUT/real`; what is there already is left as it is.

    Args:
        out: the data set's folder.
        videos: the training videos.
        how: "link" (symbolic) or "copy".
        engine: distributes the work.
        report: called as `report(videos done, videos in all)`.

    Returns:
        The videos that are there now, and those that cannot be decoded, with reasons.
    """
    items = [_Original(video, out / "real" / original_name(video)) for video in videos]
    kept: list[Video] = []
    skipped: list[SkippedPair] = []
    (out / "real").mkdir(parents=True, exist_ok=True)
    reasons = engine.map(_Add(how), items, on_crash=_crashed)
    for done, (video, reason) in enumerate(zip(videos, reasons, strict=True), 1):
        if reason:
            skipped.append(SkippedPair(video.id, "", f"{video.id}: {reason}"))
        else:
            kept.append(video)
        report(done, len(videos))
    names = {original_name(video) for video in kept}
    for path in (out / "real").glob("Real_*"):
        if path.name not in names and is_own(path):
            path.unlink()
    return kept, tuple(skipped)


def original_rows(videos: Sequence[Video], index: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The manifest's rows of originals: λ = 1, a one-hot soft label, no background.

    Args:
        videos: those that were added.
        index: class name ─► its index.
    """
    for video in videos:
        label = index[video.label]
        yield dict.fromkeys(COLUMNS.names) | {
            "file_name": f"real/{original_name(video)}",
            "kind": "real",
            "label": video.label,
            "label_index": label,
            "soft_label": one_hot(label, len(index)),
            "foreground": video.id,
            "foreground_class": video.label,
            "lam": 1.0,
            "foreground_source": source_mark(video.path),
        }


def _is_there(target: Path, source: Path, how: str) -> bool:
    if how == "link":
        return target.is_symlink() and target.resolve() == source.resolve() and source.is_file()
    return (
        target.is_file()
        and not target.is_symlink()
        and source_mark(target) == source_mark(source) != ""
    )


def _crashed(_: _Original) -> str:
    return "the process that decoded it died twice"
