"""The clips of few-shot learning: every class is base, validation or novel, with all its videos.

The official split of the videos plays no part here: what a method may see is decided by class, and
within a novel class by the episode. So a novel video is asked about in one episode and is support
in another, where its composites may be used; `train.few_shot.composites` keeps the two apart.

In `PreparedData` the base and the novel classes together are the split "train", the videos that get
layers, and the validation classes are "val".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compositing.engines import make_engine
from l2a.class_splits import SIDES, ClassSplit
from l2a.formats import DataSettings, read_videos
from l2a.videos import Video, VideoSet
from train.batches import ClipSource
from train.few_shot.episodes import EpisodeClips
from train.opening import Opened, announce, open_store, refuse_in_data
from train.prepared import PreparedData
from train.settings.full import FullSettings

Rows = NDArray[np.int64]

_SPLIT_OF = {"base": "train", "validation": "val", "novel": "train"}
"""Side ─► the split of `PreparedData` that its videos stand in."""


def read_every_video(data: Path, settings: DataSettings) -> VideoSet:
    """All videos of a data set that have a class, whatever split they are of.

    Raises:
        InputError: it is not a data set.
    """
    videos = read_videos(data, settings)
    labelled = tuple(video for video in videos.videos if video.label)
    return replace(videos, videos=labelled)


def open_few_shot(videos: VideoSet, split: ClassSplit, out: Path, settings: FullSettings) -> Opened:
    """Open what the few-shot commands work on; nothing is computed or written.

    Args:
        videos: of `read_every_video`.
        split: which classes are on which side; classes that it does not name are left out.
        out: the folder of the run whose layers and clips are used.
        settings: of preparation, engine and run.

    Raises:
        InputError: a back end is unknown, or its files are not there, or the data set itself would
            be written to.
    """
    moved = tuple(
        video.moved_to(_SPLIT_OF[side])
        for side in SIDES
        for video in split.videos_of(side, videos.videos)
    )
    used = replace(videos, videos=tuple(sorted(moved, key=lambda video: video.id)))
    counts = ", ".join(
        f"{len(split.of(side))} {side} ({_count(moved, split.of(side))} clips)" for side in SIDES
    )
    announce(videos, f"classes: {counts}; {split.source}", split.notes)
    refuse_in_data(videos, out=out)
    store = open_store(
        videos, settings.run, settings.prepare, settings.engine, used.of_split("train"), out
    )
    return Opened(out, used, store, make_engine(settings.engine), settings.run.bank, ("train",))


def _count(videos: tuple[Video, ...], names: tuple[str, ...]) -> int:
    wanted = set(names)
    return sum(video.label in wanted for video in videos)


@dataclass(frozen=True)
class FewShotData:
    """A data set, prepared, with the side of each class.

    Attributes:
        prepared: see the module.
        split: of the classes.
    """

    prepared: PreparedData
    split: ClassSplit

    @property
    def source(self) -> ClipSource:
        """Real clips and composites of the bank."""
        return self.prepared.source

    @cached_property
    def rows(self) -> Mapping[str, Rows]:
        """Side ─► the bank rows of its readable clips, int64, ascending."""
        prepared = self.prepared
        every = np.sort(np.concatenate([prepared.rows["train"], prepared.rows["val"]]))
        labels = prepared.source.labels[every]
        return {side: every[np.isin(labels, self.class_numbers(side))] for side in SIDES}

    def class_numbers(self, side: str) -> Rows:
        """The numbers of a side's classes, int64, ascending."""
        classes = self.prepared.videos.classes
        return np.sort(np.array([classes.index(n) for n in self.split.of(side)], np.int64))

    def clips(self, side: str) -> EpisodeClips:
        """What episodes of a side are drawn from."""
        rows = self.rows[side]
        videos = [self.prepared.video(self.prepared.bank.ids[row]) for row in rows.tolist()]
        return EpisodeClips.from_videos(videos, rows.tolist(), self.split.of(side))

    def usable(self, side: str, role: str) -> Rows:
        """Bank rows of a side that are fit as "foreground" or as "background"."""
        fit = self.prepared.usable_rows("foreground" if role == "foreground" else "background")
        return np.intersect1d(fit, self.rows[side])
