"""The one way in: data set, layers, engine and bank are opened here, for every command.

`open_data` says what is wrong with a command before anything is computed or written;
`Opened.prepare` then gives both stages what they work on. Commands that see other videos than
training does (few shots, advice, previews, exports) read them themselves, and come here with them:
`announce` says what was found, `open_store` refuses what would be written among their files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compositing.bank import fill_bank
from compositing.engines import make_engine
from compositing.engines.base import Engine
from compositing.layers import LayerRecord
from compositing.making import LayerMaker
from compositing.records import unfit_counts
from compositing.segmenters.auto import resolve_segmenter
from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError
from l2a.files import fingerprint, read_json, source_mark, write_json
from l2a.formats import DataSettings, read_videos
from l2a.locks import filling, is_empty
from l2a.logs import LOGGER, say
from l2a.progress import announced, progress
from l2a.runs import Run
from l2a.videos import TRAIN_SIDE, Skipped, Video, VideoSet, carve_validation, counted
from train.batches import UNLABELLED, ClipSource
from train.contents import Contents
from train.prepared import PreparedData
from train.settings.full import RunSettings

NEEDED = ("train", "test")
"""The splits without which nothing can be trained and measured."""

BANKED = ("train", "val", "test", "unlabelled")
"""The splits whose videos become clips."""

BANK_RECORD = "bank.json"
"""A run's file that says where its clips lie."""


@dataclass(frozen=True)
class Opened:
    """A data set, and what its videos are prepared with; nothing is computed yet.

    Attributes:
        folder: the run's, which need not be there yet.
        videos: with their validation split.
        store: of layers; its back ends can be made.
        engine: distributes the work.
        shared_banks: where clips are looked for and kept for other runs too; None keeps them in
            the run.
        needed: the splits of which at least one video must be readable.
        layered: the splits whose videos get layers: those of training, or in the scene test, whose
            store and bank lie apart, those of test.
    """

    folder: Path
    videos: VideoSet
    store: LayerMaker
    engine: Engine
    shared_banks: Path | None = None
    needed: Sequence[str] = NEEDED
    layered: tuple[str, ...] = TRAIN_SIDE

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """Id ─► what tells the file of a video from others, of all that become clips."""
        return sources_of(self.videos)

    @property
    def data_mark(self) -> str:
        """See `data_mark`."""
        return data_mark([self.videos], self.sources)

    def prepare(
        self, clips: ClipSettings, composite: CompositeSettings, *, layers: bool = True,
        left_out: Sequence[Skipped] = (),
    ) -> PreparedData:  # fmt: skip
        """Make layers of the training videos, and fill a bank with the clips of all; resumable.

        Only videos of `layered` get layers: to train, those of training, labelled or not, so that
        no composite can ever use a video of validation or test.
        A bank is found by the fingerprint of all that its contents depend on, and never removed:
        other runs may read it.

        Args:
            clips: geometry of the clips.
            composite: how pairs are composited.
            layers: False leaves segmentation and inpainting out; nothing can be composited then.
            left_out: what a run with results went without: it goes on without them, also where
                they can be read now.

        Raises:
            InputError: of a split that is needed no video can be read.
        """
        used = self.videos.of_split(*BANKED)
        records: dict[str, LayerRecord] = {}
        skipped: tuple[Skipped, ...] = ()
        if layers:
            layered = self.videos.of_split(*self.layered)
            records, skipped = prepare_layers(self.store, layered, self.engine)
        with (
            self._bank(used, clips, records) as bank,
            progress("clips", "videos") as report,
        ):
            skipped += fill_bank(bank, used, self.store, set(records), self.engine, report)
        skipped += _still_left_out(left_out, skipped, self.videos)
        videos = self.videos.without(dict.fromkeys(skipped))
        rows = {
            split: np.array([bank.row(v.id) for v in videos.of_split(split)], dtype=np.int64)
            for split in BANKED
        }
        for split in self.needed:
            if len(rows[split]) == 0:
                self.refuse_unreadable(split, videos)
        labels = _labels(bank, videos, self.videos.of_split("unlabelled"))
        source = ClipSource(bank, labels, len(videos.classes), clips.crop, composite)
        return PreparedData(videos, bank, source, rows, records, self.store)

    @contextlib.contextmanager
    def _bank(
        self, used: Sequence[Video], clips: ClipSettings, records: Mapping[str, LayerRecord]
    ) -> Iterator[ClipBank]:
        """The bank of these clips, new or as an earlier filling left it, to be filled in the block:
        a shared one by this process alone, after others that do."""
        # Videos without layers, when there are none at all, depend on how they are read alone.
        how = self.store.settings
        prepare = how if records else {"max_frames": how.max_frames, "max_side": how.max_side}
        made_by = self.store.identities if records else None
        parts = [self.videos.fingerprint(), clips, prepare, made_by, sorted(records)]
        # Another file may come to carry the same name.
        made_from = dict(self.sources)
        made_from |= {id_: record.fingerprint for id_, record in records.items()}
        mark = fingerprint([*parts, made_from])
        before = fingerprint(parts)  # as versions marked a run's own bank that knew no files
        if self.shared_banks is None and (self.folder / "bank" / before / "index.json").is_file():
            mark = before
        contents = None
        if self.shared_banks is not None:
            contents = Contents.of(
                fingerprint([clips, prepare, made_by]), self.sources, records
            )  # fmt: skip
        # A run that is moved takes its own bank with it.
        named = self.shared_banks.resolve() / mark if self.shared_banks else Path("bank", mark)
        place = self.folder / named
        ids = [video.id for video in used]
        with contextlib.ExitStack() as held:
            if contents is not None and _is_to_fill(place):
                held.enter_context(filling(place, partial(_waits_for, place)))
            bank = ClipBank.create_or_resume(place, ids, clips, mark)
            if contents is not None:
                if bank.pending() and (found := contents.fill_from_others(bank)):
                    say(f"clips: {found} of {len(bank)} taken from other banks of the same folder")
                contents.write(bank)
            write_json(self.folder / BANK_RECORD, {"folder": str(named)})
            yield bank

    def refuse_unreadable(self, split: str, videos: VideoSet) -> None:
        """Raise `InputError`: of a split no video can be read; `videos` tells why."""
        wanted = {video.id for video in self.videos.of_split(split)}
        first = next(row for row in videos.skipped if row.id in wanted)
        raise InputError(
            f"No {split} video of {videos.root} could be read, such as {first.id} "
            f"({first.reason}); `l2a check {videos.root}` lists them all."
        )


def _still_left_out(
    left_out: Sequence[Skipped], skipped: Sequence[Skipped], videos: VideoSet
) -> tuple[Skipped, ...]:
    """Those that a run went without and that can be read now."""
    known = {row.id for row in (*skipped, *videos.skipped)}
    found = tuple(row for row in left_out if row.id not in known)
    if found:
        say(
            f"note: {counted(len(found), 'video')} that could not be read when this run began, "
            f"such as {found[0].id}, {'stays' if len(found) == 1 else 'stay'} left out of it"
        )
    return found


def open_data(
    data: Path,
    out: Path,
    settings: DataSettings,
    prepare: PrepareSettings,
    engine: EngineSettings,
    run: RunSettings,
    needed: Sequence[str] = NEEDED,
) -> Opened:
    """Open all that a command works on; nothing is computed or written.

    Args:
        data: the data set's folder.
        out: the run's folder.
        settings, prepare, engine, run: the groups that say how.
        needed: the splits without which the command can do nothing.

    Raises:
        InputError: it is not a data set, has no video of a split that is needed, a back end is
            unknown, or its files are not there, or the data set itself would be written to.
    """
    worker = make_engine(engine)
    videos = open_videos(data, settings, run.seed, needed)
    refuse_in_data(videos, out=out)
    store = open_store(videos, run, prepare, engine, videos.of_split(*TRAIN_SIDE), out)
    return Opened(out, videos, store, worker, run.bank, needed)


def refuse_in_data(videos: VideoSet, **folders: Path | None) -> None:
    """Refuse folders in which a command's files would lie among those of the data set.

    A folder of its own inside the data set is let pass: what reads data sets knows the folders that
    commands write, and leaves them out. For the same reason a folder that holds videos may not
    become one: they would be left out too.

    Args:
        videos: the data set.
        folders: name of the option ─► the folder that it names; None is none.

    Raises:
        InputError: one is the data set's folder, or lies in it and holds videos of it.
    """
    root = videos.root.resolve()
    for option, folder in folders.items():
        if folder is None or not (place := folder.resolve()).is_relative_to(root):
            continue
        if place == root:
            what = "the data set itself"
        elif place.is_dir() and _holds_videos(f"{place.relative_to(root).as_posix()}/", videos):
            what = f"a folder of the data set {videos.root} that holds videos"
        else:
            continue
        raise InputError(
            f"--{option} is {folder}, {what}, whose files it would be among; name another folder."
        )


def _holds_videos(prefix: str, videos: VideoSet) -> bool:
    return any(video.id.startswith(prefix) for video in videos.videos)


def open_store(
    data: VideoSet,
    run: RunSettings,
    prepare: PrepareSettings,
    engine: EngineSettings,
    videos: Sequence[Video],
    out: Path,
    *places: Path,
) -> LayerMaker:
    """A layer store and its back ends; says what the segmenter `auto` became, and what it costs.

    Args:
        data: the data set, among whose files nothing may be written.
        run: may name the store and a bank.
        prepare: how videos become layers; the store's own settings name a segmenter.
        engine: how the work is spread, on which the choice of a segmenter depends.
        videos: those that are to get layers.
        out: the command's folder: what its `run.yaml` settled before holds.
        places: without a named store, the first of these that is there is taken, or the last of
            them, to be made; by default `out` / "layers".

    Raises:
        InputError: a back end is unknown, or its files are not there, or layers or clips would lie
            among the data set's files.
    """
    places = places or (out / "layers",)
    there = (place for place in places if place.is_dir())
    place = run.layers or next(there, places[-1])
    refuse_in_data(data, layers=place, bank=run.bank)
    _warn_of_new_layers(run.layers)
    resolved = resolve_segmenter(prepare, videos, engine, (out, place))
    if resolved.sentence:
        say(resolved.sentence)
    return LayerMaker(place, resolved.settings)


def _warn_of_new_layers(layers: Path | None) -> None:
    """Say plainly that a named store holds nothing yet: with a typo, hours are computed again."""
    if layers is not None and not (layers.is_dir() and not is_empty(layers)):
        LOGGER.warning(
            f"{layers} holds no layers yet, so all will be made there; if there should be some, "
            "stop and check --layers"
        )


def sources_of(*sets: VideoSet) -> dict[str, str]:
    """Id ─► `l2a.files.source_mark` of every video that becomes a clip in one of these splits."""
    paths = {video.id: video.path for videos in sets for video in videos.of_split(*BANKED)}
    return {id_: source_mark(path) for id_, path in paths.items()}


def data_mark(sets: Sequence[VideoSet], sources: Mapping[str, str]) -> str:
    """What tells a data set from what it was before: its videos with their classes, recordings and
    splits, and their files.

    Args:
        sets: it in one or more of its splits.
        sources: of all of these.
    """
    return fingerprint([[videos.fingerprint() for videos in sets], sources])


def hold_to_data(run: Run, opened: Opened) -> None:
    """Refuse to mix a run's results with those of a data set that has changed since, or with layers
    that another version of its segmenter makes.

    Raises:
        InputError: results depend on the data and the run's own layers as they were.
    """
    refuse_other_layers(run, opened.store)
    run.keep_data_mark(opened.data_mark)


def refuse_other_layers(run: Run, store: LayerMaker) -> None:
    """Refuse to mix a run's results with layers that another version of its segmenter makes.

    Raises:
        InputError: results depend on the run's own layers, and this version makes others.
    """
    if not run.read()["fixed"] or store.folder != run.path("layers"):
        return
    for path in sorted((store.folder / "records").glob("*.json"))[:1]:
        row = read_json(path)
        made = row.get("segmenter", "") if isinstance(row, dict) else ""
        if made and made != store.identities[0]:
            raise InputError(
                f"{run.folder} was made with the segmenter {made!r}, and this version has "
                f"{store.identities[0]!r}; give --out another folder."
            )


def open_videos(
    data: Path, settings: DataSettings, seed: int, needed: Sequence[str] = NEEDED
) -> VideoSet:
    """Read a data set, carve validation out of train by group, and say what was found.

    Raises:
        InputError: it is not a data set, or has no video of a split that is needed.
    """
    videos = read_videos(data, settings)
    if {"train", "val"} & set(needed):
        videos = carve_validation(videos, settings.val_share, seed)
    found = {split: len(videos.of_split(split)) for split in BANKED}
    counts = ", ".join(f"{n} {split}" for split, n in found.items() if n or split != "unlabelled")
    announce(videos, f"{len(videos.classes)} classes, {counts}", videos.notes)
    require_splits(videos, needed)
    return videos


def announce(videos: VideoSet, found: str, notes: Iterable[str]) -> None:
    """Say what a data set was found to be, and what there is to note about it.

    Args:
        videos: the data set.
        found: its classes and counts, as the command uses them.
        notes: a sentence each.
    """
    say(f"{videos.root}: {videos.format}, {found}")
    for note in notes:
        say(f"note: {note}")


def require_splits(videos: VideoSet, needed: Iterable[str]) -> None:
    """Refuse a data set that lacks videos of a split.

    Raises:
        InputError: of one of these splits it has none.
    """
    for split in needed:
        if not videos.of_split(split):
            raise InputError(
                f"{videos.root} has no {split} videos; check --split and --annotations."
            )


def prepare_layers(
    store: LayerMaker, videos: Sequence[Video], engine: Engine
) -> tuple[dict[str, LayerRecord], tuple[Skipped, ...]]:
    """Segment and inpaint each video once; returns the records by id, and what was skipped.

    Says how many videos are fit, and how many are not, by kind of reason.
    """

    def to_make(left: int, total: int) -> str:
        how = f"segmenter {store.settings.segmenter}, inpainter {store.settings.inpainter}"
        return f"layers: {left} of {total} videos to make in {store.folder}, {how}"

    with progress("prepare", "videos") as report:
        done = store.prepare(videos, engine, announced(report, to_make))
    fit_f = sum(not record.foreground_unfit for record in done.records)
    fit_b = sum(not record.background_unfit for record in done.records)
    say(
        f"layers: {done.made} made, {done.reused} reused, {len(done.skipped)} skipped; "
        f"{fit_f} fit as foreground, {fit_b} as background"
    )
    if unfit := unfit_counts(done.records):
        say(f"unfit: {unfit}")
    return {record.id: record for record in done.records}, done.skipped


def _is_to_fill(place: Path) -> bool:
    """Whether a bank is not there yet, or not full; nothing of it is changed."""
    try:
        return bool(ClipBank.open(place).pending())
    except InputError:  # it is not there, or of another version
        return True


def _waits_for(place: Path) -> None:
    say(f"waiting for another command that fills {place}")


def _labels(bank: ClipBank, videos: VideoSet, unlabelled: Sequence[Video]) -> NDArray[np.int64]:
    """The class index of each row of the bank; `UNLABELLED` where its video has no class, 0 where
    another was skipped."""
    index_of = {name: index for index, name in enumerate(videos.classes)}
    labels = np.zeros(len(bank), dtype=np.int64)
    for video in videos.of_split("train", "val", "test"):
        labels[bank.row(video.id)] = index_of[video.label]
    for video in unlabelled:
        labels[bank.row(video.id)] = UNLABELLED
    return labels
