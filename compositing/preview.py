"""Previews: what preparation makes of a few videos, and what compositing makes of a few pairs.

Pictures and short clips that a person looks at before paying for thousands of either.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from compositing.composite import make_composite, steady
from compositing.engines.base import Engine
from compositing.engines.local import HERE
from compositing.layers import Layers, LayerSource, PrepareReport
from compositing.making import LayerMaker
from compositing.pictures import (
    GAP,
    INK,
    LINE,
    PAPER,
    WARNING,
    UInt8,
    draw_contact_sheet,
    evenly,
    font,
    parts_at,
    plain,
    put,
    truncated,
    why_unfit,
    wrapped,
)
from compositing.records import pair_memory
from compositing.settings import CompositeSettings
from compositing.strips import (
    Composited,
    StripBlock,
    draw_blocks,
    draw_table,
    middle_frame,
    side_by_side,
    strip_block,
)
from l2a.errors import L2AError, UnreadableVideo
from l2a.files import atomic_write
from l2a.media import write_video
from l2a.pairs import ScoredPair
from l2a.progress import in_words
from l2a.turns import in_turns
from l2a.videos import Video

Report = Callable[[int, int], None]

VIDEOS = 12
"""Videos that a preview prepares: what one sheet shows legibly, and enough to see a wrong setting.
With the slowest back ends on a CPU they take minutes, not hours."""

SHEET = {"moments": 2, "height": 108}
"""How a sheet of `VIDEOS` rows is drawn, so that it stays below 1.5 MB."""

_SECONDS = 4.0
_SLOWEST = 8.0
_HEIGHT = 240
_SMALL = 120
_CRF = 20
_ACROSS = 3


@dataclass(frozen=True, slots=True)
class LayerPreview:
    """The result of a preview of preparation.

    Attributes:
        report: of the store, on the few videos.
        seconds: that preparing them took.
        clips: the clips, in the order of the records.
        index: the picture that says which clip is which; None when no video could be read.
    """

    report: PrepareReport
    seconds: float
    clips: tuple[Path, ...]
    index: Path | None


@dataclass(frozen=True, slots=True)
class PairPreview:
    """The result of a preview of pairs.

    Attributes:
        strip: how each composite comes about.
        blends: the same pairs in every way of blending; None unless asked for.
        clips: videos of the composites next to what they were made of.
        skipped: a sentence for each pair that could not be made.
    """

    strip: Path
    blends: Path | None
    clips: tuple[Path, ...]
    skipped: tuple[str, ...]


def pick_evenly_by_class(videos: Iterable[Video], count: int) -> list[Video]:
    """At most `count` videos, as many of each class as of any other, or as there are.

    Where there are more classes than `count`, every k-th has one. Within a class they lie
    evenly in the order of ids, so that they come from different recordings. The same videos give
    the same choice.
    """
    classes: dict[str, list[Video]] = {}
    for video in sorted(videos, key=lambda video: (video.label, video.id)):
        classes.setdefault(video.label, []).append(video)
    members = list(classes.values())
    if len(members) > count:
        members = [members[i] for i in evenly(count, len(members))]
    shares = [0] * len(members)
    for _ in range(count):
        open_ = [i for i, own in enumerate(members) if shares[i] < len(own)]
        if open_:
            shares[min(open_, key=lambda i: shares[i])] += 1
    return [
        own[i] for own, share in zip(members, shares, strict=True) for i in evenly(share, len(own))
    ]


def preview_layers(
    store: LayerMaker,
    videos: Sequence[Video],
    sheet: Path,
    folder: Path,
    *,
    engine: Engine = HERE,
    progress: Report | None = None,
) -> LayerPreview:
    """Prepare a few of the videos, and draw what came out, fit or not.

    Args:
        store: makes and keeps their layers; a later preparation of all videos reuses them.
        videos: all that would be prepared.
        sheet: the contact sheet, a PNG file.
        folder: for the clips (at most 4 seconds of each video's middle: the frame with its mask
            outlined, the clean background) and `index.png`.
        engine: distributes the work.
        progress: called as progress(videos done, videos in all).

    Raises:
        InputError: a back end cannot be made, or cannot do these videos; before any work.
    """
    few = pick_evenly_by_class(videos, VIDEOS)
    started = time.monotonic()
    report = store.prepare(few, engine, progress)
    seconds = time.monotonic() - started
    by_id = {video.id: video for video in few}
    unfit = {record.id: why_unfit(record) for record in report.records}
    shown = [by_id[record.id] for record in report.records]
    clips: list[Path] = []
    cells: list[tuple[UInt8, UInt8]] = []
    for number, video in enumerate(shown, 1):
        one = store.load(video)
        clips.append(folder / f"{number:02}-{_slug(video.label or video.split)}.mp4")
        _write_layers(clips[-1], one)
        _, outlined, background = parts_at(one, np.array([len(one.frames) // 2]), _SMALL)
        cells.append((outlined[0], background[0]))
    _remove_others(folder, clips)
    index = folder / "index.png" if shown else None
    if index:
        draw_contact_sheet(sheet, map(store.load, shown), unfit=unfit, **SHEET)
        _draw_index(index, shown, [clip.name for clip in clips], cells, unfit)
    return LayerPreview(report, seconds, tuple(clips), index)


def preview_lines(preview: LayerPreview, videos: int) -> list[str]:
    """What a preview of preparation says on the terminal.

    Args:
        preview: of a few of the videos.
        videos: how many there are in all.
    """
    report = preview.report
    records, seen = report.records, len(report.records) + len(report.skipped)
    lines = [f"{row.id}: skipped: {row.reason}" for row in report.skipped]
    lines += [f"{record.id}: {why}" for record in records if (why := why_unfit(record))]
    foregrounds = sum(not record.foreground_unfit for record in records)
    backgrounds = sum(not record.background_unfit for record in records)
    lines.append(
        f"{seen} of {videos} training videos: {foregrounds} fit as foreground, "
        f"{backgrounds} as background, {len(report.skipped)} skipped"
    )
    done = report.made + len(report.skipped)
    if seen == videos:
        lines.append("these are all the training videos there are")
    elif done:
        each = preview.seconds / done
        lines.append(
            f"all {videos} would take at most about {in_words(each * videos)}, at "
            f"{each:.1f} s a video as it ran here"
        )
    else:
        lines.append("all were prepared before, so there is no time to estimate the whole from")
    return lines


def best_pairs(rows: Sequence[ScoredPair], count: int) -> list[ScoredPair]:
    """The best pair of each foreground class, best first, then their second best, and so on.

    Args:
        rows: best first, as a pairs file has them.
        count: how many at most.
    """
    return in_turns(rows, attrgetter("foreground_class"))[:count]


def every_blend(settings: CompositeSettings) -> dict[str, CompositeSettings]:
    """The ways of blending by name; all else is as in `settings`."""
    ways = {
        blend: replace(settings, blend=blend, match_colour=0.0)
        for blend in ("paste", "feather", "poisson")
    }
    matched = replace(settings, blend="feather", match_colour=settings.match_colour or 0.5)
    return {**ways, "feather, colours matched": matched}


@dataclass(frozen=True, slots=True)
class PairLook:
    """How the pairs of a preview are made.

    Attributes:
        settings: how a pair becomes a composite.
        meta: of the pairs file; `seed` is used, as in an export, and `selection`: the ω of pairs
            that were chosen at random says nothing and is left out of the pictures.
        blends: also make every pair in `every_blend`.
    """

    settings: CompositeSettings
    meta: Mapping[str, Any]
    blends: bool = False

    def ways(self) -> dict[str, CompositeSettings]:
        """The ways to make each pair by name: the settings' own, nameless if it is the only one."""
        ways = every_blend(self.settings) if self.blends else {}
        return ways if self.settings in ways.values() else {"": self.settings, **ways}


def preview_pairs(
    rows: Sequence[ScoredPair],
    videos: Mapping[str, Video],
    store: LayerSource,
    out: Path,
    look: PairLook,
    *,
    engine: Engine = HERE,
    progress: Report | None = None,
) -> PairPreview:
    """Make the composites of a few pairs as an export has them, and draw how they come about.

    Args:
        rows: the pairs, in the order of the pictures.
        videos: id ─► video; all that `rows` name.
        store: holds the layers of all these videos.
        out: gets `strip.png`, `clips/` and, with every blend, `blends.png`.
        look: how the pairs are made.
        engine: distributes the work; it changes no byte of the result.
        progress: called as progress(pairs done, pairs in all).

    Raises:
        L2AError: no pair could be made.
    """
    if not rows:
        raise L2AError("No pair could be made: their videos cannot be read.")
    ways = look.ways()
    work = _MakePair(videos, store, out / "clips", look)
    numbered = list(enumerate(rows, 1))
    sizes = [
        pair_memory(store.record(row.foreground), store.record(row.background)) for row in rows
    ]
    made = engine.map(work, numbered, on_crash=_crashed, memory=max(sizes))
    shown: list[_Shown] = []
    skipped: list[str] = []
    for (number, row), result in zip(numbered, made, strict=True):
        if isinstance(result, _Shown):
            shown.append(result)
        else:
            skipped.append(f"{row.foreground} on {row.background}: {result}")
        if progress:
            progress(number, len(rows))
    if not shown:
        raise L2AError(f"No pair could be made; the first: {skipped[0]}.")
    clips = [clip for each in shown for clip in each.clips]
    _remove_others(out / "clips", clips)
    draw_blocks(out / "strip.png", [each.block for each in shown])
    table = out / "blends.png" if look.blends else None
    if table:
        titles = [(each.row.foreground_class, each.row.background_class) for each in shown]
        draw_table(table, [way for way in ways if way], titles, [each.cells for each in shown])
    else:
        (out / "blends.png").unlink(missing_ok=True)  # of an earlier preview, of other pairs
    return PairPreview(out / "strip.png", table, tuple(clips), tuple(skipped))


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the pictures need of one pair."""

    row: ScoredPair
    block: StripBlock
    cells: tuple[UInt8, ...]
    clips: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _MakePair:
    """Makes one pair: the task that engines distribute. An answer in words is why it cannot be.

    The nameless way is shown in the strip alone.
    """

    videos: Mapping[str, Video]
    store: LayerSource
    clips: Path
    look: PairLook

    def __call__(self, item: tuple[int, ScoredPair]) -> _Shown | str:
        number, row = item
        try:
            foreground, background = (
                self.store.load(self.videos[id_]) for id_ in (row.foreground, row.background)
            )
        except UnreadableVideo as error:
            return str(error)
        name = f"{number:02}-{_slug(row.foreground_class)}-on-{_slug(row.background_class)}"
        clips, cells, block = [], [], None
        for way, settings in self.look.ways().items():
            made = self._make(row, foreground, background, settings)
            clips.append(self.clips / (f"{name}.{_slug(way)}.mp4" if way else f"{name}.mp4"))
            _write_clip(clips[-1], side_by_side(made, height=_HEIGHT), made.composite.fps)
            if settings == self.look.settings:
                block = strip_block(made, times=2, height=110)
            if way:
                cells.append(middle_frame(made))
            del made
        assert block is not None, "the settings' own way is among the ways"
        return _Shown(row, block, tuple(cells), tuple(clips))

    def _make(
        self, row: ScoredPair, foreground: Layers, background: Layers, settings: CompositeSettings
    ) -> Composited:
        meta = self.look.meta
        omega = None if meta.get("selection") == "random" else row.omega
        composite = make_composite(
            foreground, background, settings, omega=omega, seed=meta.get("seed")
        )
        return Composited(foreground, background, composite)


def _crashed(item: tuple[int, ScoredPair]) -> _Shown | str:
    return "the process that made it died twice; it may have run out of memory"


def _write_layers(path: Path, one: Layers) -> None:
    """Write a video's clip: the middle of it, outlined, next to its background."""
    one = steady(one)
    # A long video was thinned: its few frames a second are played faster, or one sees no motion.
    fps = max(one.fps, _SLOWEST)
    count = min(len(one.frames), int(_SECONDS * fps))
    start = (len(one.frames) - count) // 2
    _, outlined, background = parts_at(one, np.arange(start, start + count), _HEIGHT)
    paper = np.full((count, _HEIGHT, GAP, 3), PAPER, np.uint8)
    _write_clip(path, np.concatenate([outlined, paper, background], axis=2), fps)


def _draw_index(
    path: Path,
    videos: Sequence[Video],
    names: Sequence[str],
    cells: Sequence[tuple[UInt8, UInt8]],
    unfit: Mapping[str, str],
) -> None:
    """Draw which clip is which: its name, a moment of it, and why its video is unfit."""
    height, face = _SMALL, font(LINE - 4)
    width = max(half.shape[1] for pair in cells for half in pair)
    inner = 2 * width + GAP
    reasons = [wrapped(unfit[video.id], face, inner) for video in videos]
    shelves = [range(i, min(i + _ACROSS, len(videos))) for i in range(0, len(videos), _ACROSS)]
    lines = [2 + max(len(reasons[i]) for i in shelf) for shelf in shelves]
    step = inner + 3 * GAP
    size = (
        max(map(len, shelves)) * step - GAP,
        GAP + sum(height + count * LINE + 2 * GAP for count in lines),
    )
    sheet = Image.new("RGB", size, PAPER)
    pen, top = ImageDraw.Draw(sheet), GAP
    for shelf, count in zip(shelves, lines, strict=True):
        for column, i in enumerate(shelf):
            left = GAP + column * step
            title = f"{names[i]}    {plain(videos[i].label or videos[i].split)}"
            pen.text((left, top), truncated(title, face, inner), INK, face)
            pen.text((left, top + LINE), truncated(Path(videos[i].id).name, face, inner), INK, face)
            for half, picture in enumerate(cells[i]):
                place = (left + half * (width + GAP), top + 2 * LINE)
                put(sheet, picture, place, (height, width))
            for line, reason in enumerate(reasons[i]):
                at = top + 2 * LINE + height + 1 + line * LINE
                pen.text((left, at), reason, WARNING, face)
        top += height + count * LINE + 2 * GAP
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")


def _write_clip(path: Path, frames: UInt8, fps: float) -> None:
    write_video(path, frames, fps, crf=_CRF)


def _remove_others(folder: Path, clips: Sequence[Path]) -> None:
    """Remove the clips of an earlier preview, which the pictures do not show any more."""
    for old in folder.glob("[0-9][0-9]*-*.mp4"):
        if old not in clips:
            old.unlink()


def _slug(name: str) -> str:
    """A class name as part of a file name."""
    return re.sub(r"[^\w]+", "_", name)[:40]
