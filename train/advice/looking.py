"""What advice looks at: training and validation videos, never the test split, in folds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compositing.engines import make_engine
from compositing.settings import EngineSettings, PrepareSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.networks import build_network
from l2a.turns import in_turns
from l2a.videos import Video, VideoSet, carve_validation, counted
from train.advice.study import Sides
from train.frozen.crossfit import deal_folds
from train.frozen.features import FeatureBank
from train.opening import Opened, announce, open_store, refuse_in_data, require_splits
from train.prepared import PreparedData
from train.settings.advice import LEAST_FOLDS, EyesSettings
from train.settings.frozen import FrozenSettings
from train.settings.full import RunSettings

Rows = NDArray[np.int64]

LOOKED_AT = ("train", "val")
"""The splits that advice may read."""


class CannotSay(Exception):
    """A question has no answer with these data; the message says why, in one sentence."""


def open_for_advice(
    data: Path,
    out: Path,
    settings: DataSettings,
    prepare: PrepareSettings,
    engine: EngineSettings,
    run: RunSettings,
    most: int,
) -> tuple[Opened, int]:
    """Open a data set without its test split; nothing is computed or written.

    Args:
        data: the data set's folder.
        out: the run's folder.
        settings, prepare, engine, run: as `train.opening.open_data` takes them.
        most: videos that are looked at.

    Returns:
        It, and the validation videos of the whole, of which a sample may be looked at.

    Raises:
        InputError: it is no data set, has no training videos, or would be written to, or a back end
            cannot be made.
    """
    worker = make_engine(engine)
    videos = read_videos(data, settings)
    require_splits(videos, ["train"])
    refuse_in_data(videos, out=out)
    everything = videos
    try:
        videos = carve_validation(videos, settings.val_share, run.seed)
    except InputError as error:  # what can be said without is said all the same
        videos = videos.noting(str(error))
    validation = len(videos.of_split("val"))
    videos = sampled(videos.only(*LOOKED_AT), most)
    counts = " and ".join(f"{len(videos.of_split(split))} {split}" for split in LOOKED_AT)
    announce(videos, f"{len(videos.classes)} classes, {counts} videos are looked at", videos.notes)
    store = open_store(everything, run, prepare, engine, videos.of_split("train"), out)
    return Opened(out, videos, store, worker, run.bank, ("train",)), validation


def sampled(videos: VideoSet, most: int) -> VideoSet:
    """At most about `most` videos, with a note where some are left out.

    Each split keeps its share, each class as many as the others as far as it has them, at least
    two. Of a class one video of each recording comes first, then a second one of each: what counts
    is how many recordings are seen. The choice follows from the videos' names alone.
    """
    if len(videos) <= most:
        return videos
    kept: list[Video] = []
    for split in LOOKED_AT:
        own = videos.of_split(split)
        by_class: dict[str, list[Video]] = {}
        for video in own:
            by_class.setdefault(video.label, []).append(video)
        quota = max(2, most * len(own) // len(videos) // max(1, len(by_class)))
        for those in by_class.values():
            kept += in_turns(sorted(those, key=_hash), attrgetter("group"))[:quota]
    made = replace(videos, videos=tuple(sorted(kept, key=lambda video: video.id)))
    return made.noting(
        f"Of {len(videos)} videos {len(kept)} are looked at, as many of each class; --videos "
        "takes more."
    )


def _hash(video: Video) -> bytes:
    name = f"advice\0{video.id}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(name, digest_size=8).digest()


@dataclass(frozen=True)
class Folds:
    """Training videos, dealt into folds by recording.

    Attributes:
        parts: bank rows of each fold, int64, ascending; no recording lies in two.
        tune: bank rows of validation; where there are none, each fold's heads are tuned on the
            next one, which they are then not fitted to.
        classes: those that are measured: with two or more training recordings.
        alone: the names of the other classes: a held-out video of theirs would be the first that
            a head sees.
        recordings: how many training recordings are measured on.
    """

    parts: tuple[Rows, ...]
    tune: Rows
    classes: tuple[int, ...]
    alone: tuple[str, ...]
    recordings: int

    @classmethod
    def deal(cls, prepared: PreparedData, count: int, seed: int) -> Folds:
        """Deal the training videos.

        Raises:
            CannotSay: no two classes have two recordings each.
        """
        rows, names = prepared.rows["train"], prepared.videos.classes
        labels, recordings = prepared.source.labels, prepared.recordings
        several = {
            label: len(np.unique(recordings[rows[labels[rows] == label]]))
            for label in np.unique(labels[rows]).tolist()
        }
        classes = tuple(label for label, number in several.items() if number > 1)
        alone = tuple(names[label] for label, number in several.items() if number < 2)
        if len(classes) < 2:
            raise CannotSay(
                f"{counted(len(classes), 'class has', 'classes have')} training videos of two "
                "recordings, and two classes are needed: nothing can be measured on recordings "
                "that are new to a head. Add recordings, or say by --group-pattern which videos "
                "belong to one."
            )
        own = rows[np.isin(labels[rows], classes)]
        there = len(np.unique(recordings[own]))
        parts = min(count, there)
        tune = prepared.rows["val"]
        tune = tune[np.isin(labels[tune], classes)]
        if len(tune) == 0 and parts < LEAST_FOLDS:
            raise CannotSay(
                f"There are {there} training recordings and no validation videos, too few to fit "
                "a head, to choose its strength, and to measure it; add recordings."
            )
        fold = deal_folds(recordings[own], labels[own], parts, seed)
        dealt = tuple(np.sort(own[fold == part]) for part in range(parts))
        return cls(dealt, np.sort(tune), classes, alone, there)

    @property
    def measured(self) -> Rows:
        """The bank rows of all folds, fold by fold."""
        return np.concatenate(self.parts)

    def sides(self, fold: int) -> Sides:
        """Which clips the heads of a fold are fitted to, tuned and measured on."""
        away = {fold}
        tune = self.tune
        if len(tune) == 0:
            after = (fold + 1) % len(self.parts)
            tune, away = self.parts[after], {fold, after}
        fit = [rows for number, rows in enumerate(self.parts) if number not in away]
        return Sides(np.sort(np.concatenate(fit)), tune, self.parts[fold])


def check_eyes(settings: EyesSettings) -> None:
    """Fail now, and not after layers were made, on a network that was asked for by name.

    Raises:
        InputError: it is unknown, or its package or its weights are not there.
    """
    pick_device(settings.device)
    if not _by_default(settings):
        with torch.device("cpu" if settings.weights else "meta"):
            build_network(settings.network, 1, settings.weights)


def open_eyes(settings: EyesSettings, prepared: PreparedData, seed: int) -> FeatureBank:
    """The frozen network, and what it has seen so far.

    Raises:
        CannotSay: the default network's package is not installed.
        InputError: another network was asked for and cannot be made.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # what has no weights is the same in every try
            trunk = build_network(settings.network, 1, settings.weights).trunk
    except InputError as error:
        if not _by_default(settings):
            raise
        raise CannotSay(
            f"There is no network to look with: {error} Or name another network with --network and "
            "--weights."
        ) from None
    trunk.move_to(pick_device(settings.device), "float32")
    return FeatureBank(trunk, prepared, FrozenSettings(), settings.flip, seed)


def _by_default(settings: EyesSettings) -> bool:
    return (settings.network, settings.weights) == (EyesSettings.network, EyesSettings.weights)
