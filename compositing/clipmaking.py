"""Making exported clips: one pair, one file; many at a time, on an engine's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositing.clipfolder import ClipRecord, SkippedPair, read_record, video_path, write_record
from compositing.composite import is_steady, make_composite, steady
from compositing.engines.base import Engine
from compositing.failures import Failure, attempt
from compositing.layers import Background, Foreground, LayerSource
from compositing.placement import placement_of_pair
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.files import source_mark
from l2a.media import UInt8, resize_frames, write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video

# Clips of one foreground that a worker makes in a row: the foreground is loaded once for them.
_CLIPS_AT_ONCE = 8

CODECS = {"h264": "libx264", "h265": "libx265"}
"""Our name ─► FFmpeg's name of the encoder."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip to make: its name, its pair, its layers, and the bytes that making it takes."""

    name: str
    pair: ScoredPair
    foreground: Video
    background: Video
    layers: tuple[str, str]
    memory: int


@dataclass(frozen=True, slots=True)
class ClipMaker:
    """What every worker process needs to make clips."""

    store: LayerSource
    out: Path
    composite: CompositeSettings
    export: ExportSettings
    settings: str
    seed: int | None


Failures = dict[str, SkippedPair]
"""Clip name ─► why it could not be made."""


def reuse_clip(maker: ClipMaker, clip: Clip) -> bool:
    """Whether an earlier try made exactly this clip; its score and seed become the current ones.

    The layers may be others today, and so may the placement, which follows from the seed. Clips of
    versions that stretched foregrounds to the background's shape note no ratio: they are others
    where it is not 1. Those of versions that cut the middle and kept uneven frames note no start:
    they are others where there was something to cut or to space evenly. A start that is noted is
    today's: it follows from the layers and the settings.
    """
    record = read_record(maker.out, clip.name)
    if record is None or record.layers != clip.layers:
        return False
    placement = placement_of_pair(
        maker.composite, maker.seed, clip.pair.foreground, clip.pair.background
    )
    if record.provenance["placement"] != placement.record():
        return False
    of_f, of_b = (maker.store.record(video.id) for video in (clip.foreground, clip.background))
    ratio = of_f.width / of_f.height / (of_b.width / of_b.height)
    if record.provenance.get("ratio", 1.0) != round(ratio, 6):
        return False
    if "start" not in record.provenance and not _always_whole(maker, clip.foreground):
        return False
    today = {
        "start": 0,
        "resampled": False,
        **record.provenance,
        "omega": clip.pair.omega,
        "seed": maker.seed,
    }
    if today != record.provenance:
        write_record(maker.out, clip.name, replace(record, provenance=today))
    return True


def _always_whole(maker: ClipMaker, foreground: Video) -> bool:
    """Whether any version makes clips of all frames of a foreground, as they are."""
    record = maker.store.record(foreground.id)
    if _cut_length(record.num_frames, record.fps, maker.export.clip_length) < record.num_frames:
        return False
    times = attempt(maker.store.load_times, foreground)
    return not isinstance(times, Failure) and is_steady(times)


def make_clips(
    maker: ClipMaker, clips: Sequence[Clip], engine: Engine
) -> Iterator[tuple[Clip, SkippedPair | None]]:
    """Make clips, those of one foreground together.

    Yields:
        Each clip when it was tried, with the reason why it could not be made, or None.
    """

    def on_crash(clips: Sequence[Clip]) -> Failures:
        return {
            clip.name: skipped_pair(
                clip.pair, "the process that made it died twice; it may have run out of memory"
            )
            for clip in clips
            if not reuse_clip(maker, clip)
        }

    groups = list(_groups(clips))
    memory = max((clip.memory for clip in clips), default=0)
    made = engine.map(partial(_make_group, maker), groups, on_crash=on_crash, memory=memory)
    for group, failed in zip(groups, made, strict=True):
        for clip in group:
            yield clip, failed.get(clip.name)


def _groups(clips: Sequence[Clip]) -> Iterator[tuple[Clip, ...]]:
    by_foreground = sorted(clips, key=lambda clip: clip.pair.foreground)
    for _, group in groupby(by_foreground, key=lambda clip: clip.pair.foreground):
        same = tuple(group)
        for start in range(0, len(same), _CLIPS_AT_ONCE):
            yield same[start : start + _CLIPS_AT_ONCE]


def _make_group(maker: ClipMaker, clips: Sequence[Clip]) -> Failures:
    """Make clips that share a foreground, which is loaded once; give back the failures."""
    loaded = attempt(maker.store.load_foreground, clips[0].foreground)
    if isinstance(loaded, Failure):
        reason = f"{clips[0].foreground.id}: {loaded.reason}"
        return {clip.name: skipped_pair(clip.pair, reason) for clip in clips}
    found = cut(loaded, maker.export.clip_length, maker.store.settings)
    del loaded  # the cut can be a copy
    if found is None:
        reason = f"{clips[0].foreground.id}: {_no_cut(maker)}"
        return {clip.name: skipped_pair(clip.pair, reason) for clip in clips}
    failures: Failures = {}
    for clip in clips:
        background = attempt(maker.store.load_background, clip.background)
        if isinstance(background, Failure):
            reason = f"{clip.background.id}: {background.reason}"
            failures[clip.name] = skipped_pair(clip.pair, reason)
        elif failed := attempt(_make_clip, maker, clip, found, background):
            failures[clip.name] = skipped_pair(clip.pair, failed.reason)
    return failures


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a foreground, at a constant rate.

    Attributes:
        foreground: the part.
        start: the number of its first frame in the whole.
        resampled: whether the whole was brought to a constant rate before (`composite.steady`).
    """

    foreground: Foreground
    start: int
    resampled: bool


def cut(foreground: Foreground, seconds: float, limits: PrepareSettings) -> Cut | None:
    """A part of a foreground of at most so many seconds, at a constant rate; 0 gives the whole.

    It is the part nearest to the middle that is fit as a foreground by itself: a clip that keeps
    the actor's class must show the actor. The earlier one is taken of two as near.

    Args:
        foreground: a whole one, fit by `limits`.
        seconds: how long the part is at most, > 0, or 0.
        limits: `min_mask_share`, `min_gamma` and `max_gamma`.

    Returns:
        None where no part of that length is fit.
    """
    resampled = not is_steady(foreground.times)
    foreground = steady(foreground)
    total = len(foreground.frames)
    count = _cut_length(total, foreground.fps, seconds)
    if count == total:
        return Cut(foreground, 0, resampled)
    seen = _means(np.asarray(foreground.mask.any(axis=(1, 2))), count)
    gamma = _means(foreground.mask.mean(axis=(1, 2)), count)
    of_size = (gamma >= limits.min_gamma) & (gamma <= limits.max_gamma)
    starts = np.flatnonzero(of_size & (seen >= limits.min_mask_share))
    if not starts.size:
        return None
    start = int(starts[np.abs(starts - (total - count) // 2).argmin()])
    part = slice(start, start + count)
    shorter = replace(
        foreground,
        frames=foreground.frames[part],
        mask=foreground.mask[part],
        times=foreground.times[part] - foreground.times[start],
    )
    return Cut(shorter, start, resampled)


def _cut_length(num_frames: int, fps: float, seconds: float) -> int:
    """How many of the frames so many seconds are, 1 at least; 0 seconds are all."""
    return min(num_frames, max(1, round(seconds * fps))) if seconds else num_frames


def _means(values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """The means of each `count` of the values [T] in a row: float64 [T - count + 1]."""
    return np.lib.stride_tricks.sliding_window_view(values, count).mean(axis=1)


def _no_cut(maker: ClipMaker) -> str:
    limits = maker.store.settings
    return (
        f"no {maker.export.clip_length:g} seconds of it show its actor as --min-mask-share "
        f"{limits.min_mask_share:g}, --min-gamma {limits.min_gamma:g} and --max-gamma "
        f"{limits.max_gamma:g} ask"
    )


def scaled_down(frames: UInt8, resolution: int) -> UInt8:
    """Frames whose shorter side is at most `resolution` pixels (0: any), with even sides then."""
    height, width = frames.shape[1:3]
    scale = resolution / min(height, width)
    if not 0 < scale < 1:
        return frames
    return resize_frames(frames, (2 * round(height * scale / 2), 2 * round(width * scale / 2)))


def _make_clip(maker: ClipMaker, clip: Clip, found: Cut, background: Background) -> None:
    composite = make_composite(
        found.foreground, background, maker.composite, omega=clip.pair.omega, seed=maker.seed
    )
    frames = scaled_down(composite.frames, maker.export.resolution)
    write_video(
        video_path(maker.out, clip.name),
        frames,
        composite.fps,
        crf=maker.export.crf,
        codec=CODECS[maker.export.codec],
        preset=maker.export.preset,
    )
    num_frames, height, width, _ = frames.shape
    record = ClipRecord(
        num_frames=num_frames,
        height=height + height % 2,  # the encoder pads odd sizes
        width=width + width % 2,
        fps=composite.fps,
        layers=clip.layers,
        sources=(source_mark(clip.foreground.path), source_mark(clip.background.path)),
        provenance={
            **composite.provenance,
            "start": found.start,
            "resampled": found.resampled,
            "settings": maker.settings,
        },
    )
    write_record(maker.out, clip.name, record)


def skipped_pair(pair: ScoredPair, reason: str) -> SkippedPair:
    return SkippedPair(pair.foreground, pair.background, reason)
