"""What an export would take, estimated before anything is made: clips, hours, bytes and time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compositing.clipfolder import made_pairs
from compositing.clipmaking import CODECS, cut, scaled_down
from compositing.composite import make_composite
from compositing.export import Material
from compositing.layers import DamagedLayers, LayerStore
from compositing.layouts import layouts_named
from compositing.records import LayerRecord
from compositing.settings import CompositeSettings, ExportSettings
from l2a.errors import InputError, UnreadableVideo
from l2a.media import read_frames, write_video
from l2a.pairs import ScoredPair
from l2a.progress import in_words
from l2a.videos import Video

SAMPLES = 4
"""So many clips are made aside, in a folder that is gone afterwards, and measured."""

_BITS_PER_PIXEL = 0.15
"""Of H.264 at CRF 18, where no clip can be made to measure it; half of it for every 6 CRF more."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an export would take.

    Attributes:
        clips: composites in the folder in the end.
        there: how many of them an earlier try has made.
        hours: of video, over all composites.
        clip_bytes: of all composites on disk.
        extra_bytes: of copied originals and of shards.
        originals: original videos that are added.
        seconds: for what is still to be made, without layers; None where no clip could be made to
            measure it.
        without_layers: videos that still have to be segmented and inpainted; their time is not in
            `seconds`.
        measured: clips that were made to measure bytes and seconds.
    """

    clips: int
    there: int
    hours: float
    clip_bytes: int
    extra_bytes: int
    originals: int
    seconds: float | None
    without_layers: int
    measured: int

    def lines(self) -> list[str]:
        """For the terminal."""
        how = f"measured on {self.measured} of them" if self.measured else "by a rule of thumb"
        text = [
            f"clips: {self.clips}, of which {self.there} are there already",
            f"video: {self.hours:.2f} hours",
            f"disk: about {_size(self.clip_bytes)} of clips, {how}",
        ]
        if self.originals:
            text.append(f"originals: {self.originals}")
        if self.extra_bytes:
            text.append(f"disk: {_size(self.extra_bytes)} more for copies of originals or shards")
        text.append(
            "time: not known before there are layers"
            if self.seconds is None
            else f"time: about {in_words(self.seconds)}"
        )
        if self.without_layers:
            text.append(
                f"layers: {self.without_layers} videos are still to be segmented and inpainted, "
                "which is not in that time"
            )
        return text


def forecast_export(
    rows: Sequence[ScoredPair],
    material: Material,
    out: Path,
    composite: CompositeSettings,
    export: ExportSettings,
    *,
    count: int | None = None,
    workers: int = 1,
) -> Forecast:
    """Estimate what an export would take. Nothing that is written stays.

    Hours are those of the foregrounds' layers, or, where there are none, of a few videos that are
    decoded for it; bytes and time those of a few clips that are made and thrown away.

    Args:
        rows: the pairs, or some that stand for them.
        material: the videos, their originals, and layers as far as there are any.
        out: the data set's folder, if there is one.
        composite, export: the settings.
        count: how many clips `rows` stand for; their own number if not given.
        workers: processes that would share the work.
    """
    count = len(rows) if count is None else count
    used = dict.fromkeys(id_ for row in rows for id_ in (row.foreground, row.background))
    records = {id_: record for id_ in used if (record := _record(material, id_)) is not None}
    ready = [row for row in rows if row.foreground in records and row.background in records]
    shapes = [
        _shape(export, records[row.foreground], records[row.background]) for row in ready
    ] or _decoded_shapes(rows, material, export)
    factor = count / len(shapes) if shapes else 0.0
    hours = factor * sum(length for length, _ in shapes) / 3600
    pixels = factor * sum(number for _, number in shapes)

    there = len(made_pairs(out))
    samples = _make_samples(_evenly_spaced(ready, SAMPLES), records, material, composite, export)
    if samples.count:
        clip_bytes = int(samples.bytes * pixels / samples.pixels)
        open_share = max(0, count - there) / count if count else 0.0
        whole = samples.seconds * pixels / samples.pixels
        seconds: float | None = whole * open_share / max(1, workers)
    else:
        clip_bytes = int(_BITS_PER_PIXEL / 8 * 2 ** ((18 - export.crf) / 6) * pixels)
        seconds = None
    originals = material.originals if export.include_real != "no" else ()
    return Forecast(
        clips=count,
        there=min(there, count),
        hours=hours,
        clip_bytes=clip_bytes,
        extra_bytes=_extra_bytes(export, clip_bytes, originals),
        originals=len(originals),
        seconds=seconds,
        without_layers=len(used) - len(records),
        measured=samples.count,
    )


def _extra_bytes(export: ExportSettings, clip_bytes: int, originals: Sequence[Video]) -> int:
    """Of copied originals, and of layouts that hold the clips once more."""
    real = sum(video.path.stat().st_size for video in originals if video.path.is_file())
    layouts = layouts_named(export.layout_names)
    return (real if export.include_real == "copy" else 0) + sum(
        layout.extra_bytes(clip_bytes, real) for layout in layouts
    )


@dataclass(slots=True)
class _SampleClips:
    """Clips that were made and thrown away: what they took in all."""

    count: int = 0
    seconds: float = 0.0
    bytes: int = 0
    pixels: float = 0.0


def _make_samples(
    rows: Sequence[ScoredPair],
    records: Mapping[str, LayerRecord],
    material: Material,
    composite: CompositeSettings,
    export: ExportSettings,
) -> _SampleClips:
    samples = _SampleClips()
    for row in rows:
        try:
            made = _make_one(row, material, composite, export)
        except (DamagedLayers, UnreadableVideo):
            continue
        if made is None:
            continue
        seconds, size = made
        samples.count += 1
        samples.seconds += seconds
        samples.bytes += size
        samples.pixels += _shape(export, records[row.foreground], records[row.background])[1]
    return samples


def _record(material: Material, video_id: str) -> LayerRecord | None:
    """Of layers that an export would use as they are."""
    store = material.store
    if isinstance(store, LayerStore):
        return store.current(material.videos[video_id])
    try:
        return store.record(video_id)
    except InputError:
        return None


def _shape(
    export: ExportSettings, foreground: LayerRecord, background: LayerRecord
) -> tuple[float, float]:
    """Seconds and pixels of a clip, over all its frames."""
    return _cut(export, foreground.num_frames, foreground.fps, background.height, background.width)


def _cut(
    export: ExportSettings, frames: int, fps: float, height: int, width: int
) -> tuple[float, float]:
    if export.clip_length:
        frames = min(frames, max(1, round(export.clip_length * fps)))
    scale = 1.0
    if export.resolution:
        scale = min(1.0, export.resolution / min(height, width))
    return frames / fps, frames * height * width * scale**2


def _decoded_shapes(
    rows: Sequence[ScoredPair], material: Material, export: ExportSettings
) -> list[tuple[float, float]]:
    """Seconds and pixels of a few foregrounds that have no layers, at the size layers will have."""
    limits = material.store.settings
    shapes = []
    for row in _evenly_spaced(rows, SAMPLES):
        try:
            clip = read_frames(
                material.videos[row.foreground].path,
                max_frames=limits.max_frames,
                max_side=limits.max_side,
            )
        except (DamagedLayers, UnreadableVideo):
            continue
        frames, height, width, _ = clip.frames.shape
        shapes.append(_cut(export, frames, clip.fps, height, width))
    return shapes


def _evenly_spaced(rows: Sequence[ScoredPair], count: int) -> list[ScoredPair]:
    """At most so many rows, evenly spread."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def _make_one(
    row: ScoredPair, material: Material, composite: CompositeSettings, export: ExportSettings
) -> tuple[float, int] | None:
    """Seconds and bytes of one clip, which is made and thrown away; None where it cannot be cut."""
    began = time.perf_counter()
    store, videos = material.store, material.videos
    whole = store.load_foreground(videos[row.foreground])
    found = cut(whole, export.clip_length, store.settings)
    if found is None:
        return None
    background = store.load_background(videos[row.background])
    made = make_composite(found.foreground, background, composite)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(
            path, scaled_down(made.frames, export.resolution), made.fps, crf=export.crf,
            codec=CODECS[export.codec], preset=export.preset,
        )  # fmt: skip
        return time.perf_counter() - began, path.stat().st_size


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
