"""From a data set's folder to what both stages work on: layers, clips at training size, a pool."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compositing.bank import fill_bank
from compositing.engines import Engine
from compositing.layers import LayerRecord, LayerStore
from compositing.records import unfit_counts
from compositing.segmenters.auto import resolve_segmenter
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError
from l2a.files import fingerprint
from l2a.formats import DataSettings, read_videos
from l2a.progress import progress, say
from l2a.videos import Skipped, Video, VideoSet, carve_validation
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import ClassMatch, match_classes
from semantic_match.pool import Pool
from semantic_match.settings import MatchSettings
from train.batches import ClipSource
from train.settings.full import FullSettings


@dataclass(frozen=True)
class Workspace:
    """What both stages work on.

    Attributes:
        videos: the data set with its validation split, without the videos that were skipped.
        bank: every video's clip; training videos also with mask and background.
        source: batches of the bank's clips and composites.
        rows: split ─► bank rows of its readable videos, int64.
        records: id ─► what the layer store says of a training video.
    """

    videos: VideoSet
    bank: ClipBank
    source: ClipSource
    rows: dict[str, NDArray[np.int64]]
    records: dict[str, LayerRecord]
    store: LayerStore

    def video(self, video_id: str) -> Video:
        """The video of an id."""
        return self._by_id[video_id]

    @cached_property
    def recordings(self) -> NDArray[np.int64]:
        """The recording of each row of the bank, int64 `[N]`: clips of one group share it."""
        groups = [self._by_id[id_].group if id_ in self._by_id else "" for id_ in self.bank.ids]
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _by_id(self) -> dict[str, Video]:
        return {video.id: video for video in self.videos.videos}

    def fit_rows(self, unfit: str) -> NDArray[np.int64]:
        """Bank rows of the training videos whose record leaves the field `unfit` empty."""
        records = [(int(row), self.records.get(self.bank.ids[row])) for row in self.rows["train"]]
        fit = [row for row, record in records if record and not getattr(record, unfit)]
        return np.array(fit, dtype=np.int64)

    def rows_by_class(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """`rows`, apart by class, in the order of the classes."""
        labels = self.source.labels[rows]
        return [rows[labels == index] for index in range(len(self.videos.classes))]


@dataclass(frozen=True)
class Matching:
    """Classes, their embeddings and the pool that follows.

    Attributes:
        embedder: its name and a checksum of its weights.
        specification: what was asked for, such as "1" or "above:0.5+same-class".
        vectors: float32 `[C, E]`, unit rows: the embedding of each class name.
        matches: which class lends its scenes to which.
        foregrounds, backgrounds: bank rows of the fit training videos of each side, int64.
        pool: pairs of bank rows: fit foregrounds of a class with fit backgrounds of its matches.
    """

    embedder: str
    specification: str
    vectors: NDArray[np.float32]
    matches: tuple[ClassMatch, ...]
    foregrounds: NDArray[np.int64]
    backgrounds: NDArray[np.int64]
    pool: Pool = field(repr=False)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The bank rows that may stand in a pair, ascending, int64."""
        return np.union1d(self.foregrounds, self.backgrounds)


NEEDED = ("train", "test")
"""The splits without which nothing can be trained and measured."""


def open_videos(
    data: Path, settings: DataSettings, seed: int, needed: Sequence[str] = NEEDED
) -> VideoSet:
    """Read a data set, carve validation out of train by group, and say what was found.

    Raises:
        InputError: it is no data set, or has no video of a split that is needed.
    """
    videos = carve_validation(read_videos(data, settings), settings.val_share, seed)
    counts = ", ".join(f"{len(videos.of_split(s))} {s}" for s in ("train", "val", "test"))
    say(f"{data}: {videos.format}, {len(videos.classes)} classes, {counts}")
    for note in videos.notes:
        say(f"note: {note}")
    for split in needed:
        if not videos.of_split(split):
            raise InputError(f"{data} has no {split} videos; check --split and --annotations.")
    return videos


def settle_segmenter(
    settings: FullSettings, videos: Sequence[Video], out: Path, layers: Path | None = None
) -> FullSettings:
    """The settings with a name in place of the segmenter `auto`; says which, and what it costs.

    Args:
        settings: as the user gave them.
        videos: those that shall get layers.
        out: the run folder, whose `run.yaml` decides where there is one.
        layers: the layer store, where it is not `out` / "layers".
    """
    store = settings.run.layers or layers or out / "layers"
    resolved = resolve_segmenter(settings.prepare, videos, settings.engine, (out, store))
    if resolved.sentence:
        say(resolved.sentence)
    return replace(settings, prepare=resolved.settings)


def prepare_layers(
    store: LayerStore, videos: Sequence[Video], engine: Engine
) -> tuple[dict[str, LayerRecord], tuple[Skipped, ...]]:
    """Segment and inpaint each video once; returns the records by id, and what was skipped.

    Says how many videos are fit, and how many are not, by kind of reason.
    """
    with progress("prepare", "videos") as report:
        done = store.prepare(videos, engine, report)
    fit_f = sum(not record.foreground_unfit for record in done.records)
    fit_b = sum(not record.background_unfit for record in done.records)
    say(
        f"layers: {done.made} made, {done.reused} reused, {len(done.skipped)} skipped; "
        f"{fit_f} fit as foreground, {fit_b} as background"
    )
    if unfit := unfit_counts(done.records):
        say(f"unfit: {unfit}")
    return {record.id: record for record in done.records}, done.skipped


def build_workspace(
    folder: Path,
    videos: VideoSet,
    store: LayerStore,
    clips: ClipSettings,
    composite: CompositeSettings,
    engine: Engine,
    *,
    layers: bool = True,
    needed: Sequence[str] = NEEDED,
) -> Workspace:
    """Prepare the training videos and fill a bank under `folder` / "bank"; resumable.

    Only training videos get layers, so that no composite can ever use another split's video.

    Args:
        layers: False leaves segmentation and inpainting out; nothing can be composited then.
        needed: the splits of which at least one video must be readable.

    Raises:
        InputError: of a split that is needed no video can be read.
    """
    used = videos.of_split("train", "val", "test")
    records: dict[str, LayerRecord] = {}
    skipped: tuple[Skipped, ...] = ()
    if layers:
        records, skipped = prepare_layers(store, videos.of_split("train"), engine)
    mark = fingerprint(
        [videos.fingerprint(), clips, store.settings if layers else None, sorted(records)]
    )
    place = folder / "bank" / mark
    for other in place.parent.iterdir() if place.parent.is_dir() else ():
        if other != place:
            shutil.rmtree(other)  # clips of settings that the run no longer has
    bank = ClipBank.create_or_resume(place, [v.id for v in used], clips, mark)
    with progress("clips", "videos") as report:
        skipped += fill_bank(bank, used, store, set(records), engine, report)
    videos = videos.without(dict.fromkeys(skipped))
    row = {id_: index for index, id_ in enumerate(bank.ids)}
    labels = np.zeros(len(bank.ids), dtype=np.int64)
    index_of = {name: index for index, name in enumerate(videos.classes)}
    for video in videos.videos:
        if video.id in row:
            labels[row[video.id]] = index_of[video.label]
    rows = {
        split: np.array([row[v.id] for v in videos.of_split(split)], dtype=np.int64)
        for split in ("train", "val", "test")
    }
    for split in needed:
        if len(rows[split]) == 0:
            wanted = {video.id for video in used if video.split == split}
            first = next(row for row in videos.skipped if row.id in wanted)
            raise InputError(
                f"Not one {split} video of {videos.root} could be read, such as {first.id} "
                f"({first.reason}); `l2a check {videos.root}` lists them all."
            )
    source = ClipSource(bank, labels, len(videos.classes), clips.crop, composite)
    return Workspace(videos, bank, source, rows, records, store)


def build_matching(space: Workspace, settings: MatchSettings) -> Matching:
    """Embed the class names, match the classes and make the pool of fit pairs."""
    embedder = make_embedder(settings.embedder)
    classes = space.videos.classes
    vectors = embed_classes(classes, embedder)
    matches = match_classes(classes, vectors, settings.matches)
    foregrounds = space.fit_rows("foreground_unfit")
    backgrounds = space.fit_rows("background_unfit")
    pool = _pool(space, foregrounds, backgrounds, matches)
    fit = f"{len(foregrounds)} foregrounds and {len(backgrounds)} backgrounds"
    if len(pool) == 0:
        raise InputError(
            f"No pair can be composited from {fit} that are fit; look at the contact sheet, and "
            f"try another segmenter, wider limits or more --matches than {settings.matches}."
        )
    say(f"pool: {len(pool)} pairs of {fit}")
    return Matching(
        embedder.identity, settings.matches, vectors, matches, foregrounds, backgrounds, pool
    )


def rematch(matching: Matching, space: Workspace) -> Matching:
    """The same matches of classes with the pool that the labels of `space` make."""
    pool = _pool(space, matching.foregrounds, matching.backgrounds, matching.matches)
    return replace(matching, pool=pool)


def _pool(
    space: Workspace,
    foregrounds: NDArray[np.int64],
    backgrounds: NDArray[np.int64],
    matches: Sequence[ClassMatch],
) -> Pool:
    sides = [
        [rows.tolist() for rows in space.rows_by_class(side)] for side in (foregrounds, backgrounds)
    ]
    return Pool(sides[0], sides[1], matches)
