"""Chosen pairs, opened again: what `l2a preview` and `l2a export` composite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compositing.engines import make_engine
from compositing.engines.base import Engine
from compositing.making import LayerMaker
from compositing.settings import EngineSettings, PrepareSettings
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.logs import say
from l2a.pairs import ScoredPair, read_pairs, read_spares
from l2a.runs import Run, is_run
from l2a.videos import TRAIN_SIDE, Skipped, Video
from train.opening import open_store, prepare_layers, refuse_in_data
from train.settings.full import RunSettings


@dataclass(frozen=True)
class OpenedPairs:
    """The pairs of a file, and what compositing them takes.

    Attributes:
        rows: the pairs, best first.
        meta: of the pairs file, with the seed of the settings.
        videos: id ─► training video of the data set; an unlabelled one with the class that the
            pairs give it.
        classes: all class names of the data set, also of those without a training video: an index
            is the same class here, in training and in testing.
        store: the layers that the settings name, those of the run that chose the pairs, or new
            ones.
        engine: distributes the work.
    """

    rows: tuple[ScoredPair, ...]
    meta: Mapping[str, Any]
    videos: Mapping[str, Video]
    classes: tuple[str, ...]
    store: LayerMaker
    engine: Engine

    @property
    def labelled(self) -> tuple[Video, ...]:
        """The training videos that have a class of their own: the originals of an export."""
        return tuple(video for video in self.videos.values() if video.split == "train")

    def prepare(self, rows: Sequence[ScoredPair]) -> tuple[Skipped, ...]:
        """Make the layers that some pairs lack; returns the videos that can have none."""
        used = sorted({id_ for row in rows for id_ in (row.foreground, row.background)})
        _, skipped = prepare_layers(self.store, [self.videos[id_] for id_ in used], self.engine)
        for row in skipped:
            say(f"skipped {row.id}: {row.reason}")
        return skipped


def with_classes(rows: Sequence[ScoredPair], videos: Mapping[str, Video]) -> dict[str, Video]:
    """The unlabelled videos of some pairs, each with the class that the pairs give it: the
    pseudo-label under which it was chosen.

    Args:
        rows: the pairs, with the class of each side.
        videos: id ─► video; others than unlabelled ones keep their own class, and are left out.

    Raises:
        InputError: the pairs give one video two classes.
    """
    found: dict[str, Video] = {}
    for row in rows:
        for id_, label in (
            (row.foreground, row.foreground_class), (row.background, row.background_class)
        ):  # fmt: skip
            video = videos.get(id_)
            if video is None or video.split != "unlabelled":
                continue
            if found.setdefault(id_, replace(video, label=label)).label != label:
                raise InputError(
                    f"The pairs give the unlabelled video {id_} two classes, {found[id_].label} and"
                    f" {label}; choose them again."
                )
    return found


def open_chosen(
    data: Path,
    pairs: Path,
    out: Path,
    settings: DataSettings,
    prepare: PrepareSettings,
    engine: EngineSettings,
    run: RunSettings,
) -> OpenedPairs:
    """Read a pairs file and the data set that it was chosen from, and find the layers.

    Args:
        data: the data set's folder.
        pairs: the pairs file.
        out: where the results go; layers that lie nowhere yet go next to it, to `OUT-layers`.
            Those of the run that chose the pairs are found, in its folder or where its `--layers`
            said.
        settings, prepare, engine, run: the groups that say how.

    Raises:
        InputError: a file is not there or wrong, the pairs are of another data set, or a back end
            cannot be made, or the data set itself would be written to; nothing is written.
    """
    rows, meta = read_pairs(pairs)
    found = read_videos(data, settings)
    refuse_in_data(found, out=out)
    videos = {video.id: video for video in found.of_split(*TRAIN_SIDE)}
    used = sorted({id_ for row in rows for id_ in (row.foreground, row.background)})
    if strange := [id_ for id_ in used if id_ not in videos]:
        raise InputError(
            f"{pairs} names {strange[0]}, which is not a training video of {data}; "
            f"give the data set and the split that the pairs were chosen from."
        )
    videos |= with_classes([*rows, *read_spares(pairs)], videos)
    folder, stores = _run_of(pairs)
    places = *stores, out.with_name(out.name + "-layers")
    store = open_store(found, run, prepare, engine, [videos[id_] for id_ in used], folder, *places)
    meta = {**meta, "seed": run.seed}
    return OpenedPairs(rows, meta, videos, found.classes, store, make_engine(engine))


def _run_of(pairs: Path) -> tuple[Path, list[Path]]:
    """The run folder in which a pairs file lies (in a round's folder perhaps), and where the run's
    layers can be, first the store that its settings name. A folder of none is the file's own."""
    for folder in list(pairs.parents)[:3]:
        if is_run(folder):
            run = Run(folder)
            named = run.read()["settings"].get("layers")
            return folder, [*([run.found(str(named))] if named else []), folder / "layers"]
    return pairs.parent, [pairs.parent / "layers"]
