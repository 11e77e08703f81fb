"""Export: the chosen pairs as an augmented data set of video files, for any other framework.

Each clip appears whole or not at all, and the same call again makes only what is missing. What
lies where in the folder is said in `compositing/videofolder.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from compositing.composite import make_composite
from compositing.engines import Engine
from compositing.engines.local import HERE
from compositing.layers import Background, LayerRecord, Layers, LayerStore
from compositing.placement import placement_of_pair
from compositing.records import pair_memory
from compositing.settings import CompositeSettings, ExportSettings
from compositing.videofolder import (
    ClipRecord,
    SkippedPair,
    claim_folder,
    clip_name,
    read_record,
    video_path,
    write_card,
    write_metadata,
    write_record,
    write_skipped,
)
from l2a.errors import InputError, L2AError, UnreadableVideo
from l2a.files import fingerprint
from l2a.media import write_video
from l2a.pairs import ScoredPair
from l2a.progress import Report
from l2a.videos import Video

# Clips of one foreground that a worker makes in a row: the foreground is loaded once for them.
_CLIPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        folder: the data set's folder.
        made: clips made now.
        reused: clips that an earlier try had made.
        skipped: pairs that could not be made, with the reason; also in `skipped.csv`.
    """

    folder: Path
    made: int
    reused: int
    skipped: tuple[SkippedPair, ...]


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip to be: its name, its pair, its layers, and the bytes that making it takes."""

    name: str
    pair: ScoredPair
    foreground: Video
    background: Video
    layers: tuple[str, str]
    memory: int


@dataclass(frozen=True, slots=True)
class _Workshop:
    """What every worker process needs to make clips."""

    store: LayerStore
    out: Path
    composite: CompositeSettings
    export: ExportSettings
    settings: str
    seed: int | None


Failures = dict[str, SkippedPair]
"""Clip name ─► why it could not be made."""


def export_videofolder(
    rows: Sequence[ScoredPair],
    videos: Mapping[str, Video],
    classes: Sequence[str],
    store: LayerStore,
    out: Path,
    composite: CompositeSettings,
    export: ExportSettings,
    *,
    meta: Mapping[str, Any],
    engine: Engine = HERE,
    progress: Report | None = None,
) -> ExportReport:
    """Write the composites of `rows` as a Hugging Face `videofolder` data set.

    `label` is the foreground's class even where λ < ½: it is the action that is seen; `soft_label`
    is the mixed label of Eq. 7. A video that cannot be read costs its pairs, not the export. The
    engine changes no byte of the result.

    Args:
        rows: the pairs, each once; `metadata.parquet` keeps their order.
        videos: id ─► video; all that `rows` name.
        classes: all class names of the data set, in the order of their indices.
        store: holds the layers of all these videos.
        out: the data set's folder; new, or left by an earlier call with the same settings.
        composite: the label rule and α, the blend, and how far placements go.
        export: the encoder's settings.
        meta: of the pairs file; `seed` and `data_set` are used.
        engine: spreads the work.
        progress: called as `progress(clips done, clips in all)`.

    Raises:
        InputError: `rows` is empty or names a pair twice, a video or class that is not there, or
            a video that is not of the train split; or `out` holds clips of other settings or pairs.
        L2AError: no clip could be made.
    """
    _check_rows(rows, videos, classes)
    segmenter, inpainter = store.identities
    recipe = {
        "data_set": meta.get("data_set"),
        "classes": list(classes),
        **asdict(store.settings),
        # Identities say more than the names in the settings: weights and files by their checksum.
        "segmenter": segmenter,
        "inpainter": inpainter,
        **asdict(composite),
        **asdict(export),
    }
    shop = _Workshop(store, out, composite, export, fingerprint(recipe), meta.get("seed"))
    named = dict.fromkeys(video_id for row in rows for video_id in (row.foreground, row.background))
    layers = {video_id: store.record(video_id) for video_id in named}
    clips = [_plan(row, videos, layers, shop.settings) for row in rows]
    claim_folder(out, recipe, [clip.name for clip in clips])

    missing = [clip for clip in clips if not _reuse(shop, clip)]
    skipped = _make_all(shop, missing, engine, len(clips), progress)
    found = [(clip.name, read_record(out, clip.name)) for clip in clips]
    records = [(name, record) for name, record in found if record and name not in skipped]
    in_order = tuple(skipped[clip.name] for clip in clips if clip.name in skipped)
    write_skipped(out, in_order)
    if not records:
        raise L2AError(
            f"None of the {len(clips)} clips could be made; the first reason: {in_order[0].reason}."
        )
    write_metadata(out, records, classes)
    write_card(out, recipe, len(records))
    return ExportReport(out, len(missing) - len(skipped), len(clips) - len(missing), in_order)


def _check_rows(
    rows: Sequence[ScoredPair], videos: Mapping[str, Video], classes: Sequence[str]
) -> None:
    if not rows:
        raise InputError("There are no pairs to export; select some with a larger budget.")
    known = set(classes)
    seen: set[tuple[str, str]] = set()
    for row in rows:
        pair = (row.foreground, row.background)
        if pair in seen:
            raise InputError(f"The pair {pair[0]} on {pair[1]} is listed twice; list it once.")
        seen.add(pair)
        for video_id, label in zip(pair, (row.foreground_class, row.background_class), strict=True):
            video = videos.get(video_id)
            if video is None:
                raise InputError(
                    f"The pairs name the video {video_id}, which the data set lacks; "
                    f"give the data set they were selected from."
                )
            if video.split != "train":
                raise InputError(
                    f"The pairs name the video {video_id} of the {video.split} split; only "
                    f"training videos may be composited, so select again with this split."
                )
            if label != video.label or label not in known:
                raise InputError(
                    f"The pairs call the class of {video_id} {label!r}, and the data set "
                    f"{video.label!r}; give the data set they were selected from."
                )


def _plan(
    row: ScoredPair,
    videos: Mapping[str, Video],
    records: Mapping[str, LayerRecord],
    settings: str,
) -> _Clip:
    front, behind = records[row.foreground], records[row.background]
    return _Clip(
        name=clip_name(row, settings),
        pair=row,
        foreground=videos[row.foreground],
        background=videos[row.background],
        layers=(front.fingerprint, behind.fingerprint),
        memory=pair_memory(front, behind),
    )


def _reuse(shop: _Workshop, clip: _Clip) -> bool:
    """Whether an earlier try made this very clip; its score and seed become today's.

    The layers may be others today, and so may the placement, which follows from the seed.
    """
    record = read_record(shop.out, clip.name)
    if record is None or record.layers != clip.layers:
        return False
    placement = placement_of_pair(
        shop.composite, shop.seed, clip.pair.foreground, clip.pair.background
    )
    if record.provenance["placement"] != placement.record():
        return False
    today = {**record.provenance, "omega": clip.pair.omega, "seed": shop.seed}
    if today != record.provenance:
        write_record(shop.out, clip.name, replace(record, provenance=today))
    return True


def _make_all(
    shop: _Workshop, missing: Sequence[_Clip], engine: Engine, total: int, progress: Report | None
) -> Failures:
    """Make the clips that are missing of `total`; those of one foreground together."""

    def lost(clips: Sequence[_Clip]) -> Failures:
        return {
            clip.name: _skipped(clip, "the process that made it died twice, for want of memory?")
            for clip in clips
            if not _reuse(shop, clip)
        }

    report = progress or (lambda done, total: None)
    groups = list(_groups(missing))
    done = total - len(missing)
    report(done, total)
    failures: Failures = {}
    memory = max((clip.memory for clip in missing), default=0)
    made = engine.map(partial(_make_group, shop), groups, lost=lost, memory=memory)
    for group, failed in zip(groups, made, strict=True):
        failures |= failed
        done += len(group)
        report(done, total)
    return failures


def _groups(clips: Sequence[_Clip]) -> Iterator[tuple[_Clip, ...]]:
    by_foreground = sorted(clips, key=lambda clip: clip.pair.foreground)
    for _, group in groupby(by_foreground, key=lambda clip: clip.pair.foreground):
        same = tuple(group)
        for start in range(0, len(same), _CLIPS_AT_ONCE):
            yield same[start : start + _CLIPS_AT_ONCE]


def _make_group(shop: _Workshop, clips: Sequence[_Clip]) -> Failures:
    """Make clips that share a foreground, which is loaded once; give back the failures."""
    try:
        foreground = shop.store.load(clips[0].foreground)
    except UnreadableVideo as error:
        reason = f"{clips[0].foreground.id}: {error.reason}"
        return {clip.name: _skipped(clip, reason) for clip in clips}
    failures: Failures = {}
    for clip in clips:
        try:
            background = shop.store.load_background(clip.background)
        except UnreadableVideo as error:
            failures[clip.name] = _skipped(clip, f"{clip.background.id}: {error.reason}")
        else:
            _make_clip(shop, clip, foreground, background)
    return failures


def _make_clip(shop: _Workshop, clip: _Clip, foreground: Layers, background: Background) -> None:
    composite = make_composite(
        foreground, background, shop.composite, omega=clip.pair.omega, seed=shop.seed
    )
    write_video(
        video_path(shop.out, clip.name),
        composite.frames,
        composite.fps,
        crf=shop.export.crf,
        preset=shop.export.preset,
    )
    num_frames, height, width, _ = composite.frames.shape
    record = ClipRecord(
        num_frames=num_frames,
        height=height + height % 2,  # the encoder pads odd sizes
        width=width + width % 2,
        fps=composite.fps,
        layers=clip.layers,
        provenance={**composite.provenance, "settings": shop.settings},
    )
    write_record(shop.out, clip.name, record)


def _skipped(clip: _Clip, reason: str) -> SkippedPair:
    return SkippedPair(clip.pair.foreground, clip.pair.background, reason)
