"""Planted features: actors and scenes that are known, in place of a network's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.settings import CompositeSettings
from l2a.videos import Video, VideoSet
from train.batches import ClipSource
from train.frozen.features import CompositeFeatures
from train.prepared import PreparedData

CLASSES = ("climb stairs", "jump rope", "ride bike", "wave hand")
ACTOR, SCENE = 8, 24
"""Dimensions of the two halves of a feature."""

Rows = NDArray[np.int64]


@dataclass
class PlantedBank:
    """A stand-in for `FeatureBank`: the actor's half of a feature tells the class, weakly; the
    scene's half is of the recording. A composite has the one of its foreground and the other of
    its background.

    Attributes:
        prepared: whose rows there are.
        strength: of the actor's half; 0 for eyes that see scenes alone.
        swap: whether a composite has another scene; without it it is its foreground again.
        asked: every row that was asked about.
    """

    prepared: PreparedData
    strength: float = 1.0
    swap: bool = True

    def __post_init__(self) -> None:
        rng = np.random.default_rng(5)
        count = len(self.prepared.bank.ids)
        truth = cast(Any, self.prepared.bank).truth
        actors = rng.normal(size=(len(CLASSES), ACTOR))
        self._actors = self.strength * actors[truth] + 0.5 * rng.normal(size=(count, ACTOR))
        scenes = rng.normal(size=(count, SCENE))
        self._scenes = 2 * scenes[self.prepared.recordings]
        self.asked: set[int] = set()

    def _of(self, foregrounds: Rows, backgrounds: Rows) -> Tensor:
        self.asked |= {*foregrounds.tolist(), *backgrounds.tolist()}
        joined = np.concatenate([self._actors[foregrounds], self._scenes[backgrounds]], axis=1)
        return torch.from_numpy(joined).float()

    def centre(self, rows: Rows) -> Tensor:
        return self._of(rows, rows)

    def real(self, rows: Rows) -> Tensor:
        return self._of(rows, rows)[:, None]

    def composites(self, pairs: Rows) -> CompositeFeatures:
        half = torch.full((len(pairs), 1), 0.5, dtype=torch.float64)
        seen = self._of(pairs[:, 0], pairs[:, 1 if self.swap else 0])
        return CompositeFeatures(seen[:, None], half, half)

    def composite_labels(
        self, pairs: Rows, made: CompositeFeatures, settings: CompositeSettings
    ) -> Tensor:
        first, second = (self.prepared.source.one_hot(pairs[:, side]) for side in (0, 1))
        share = 1.0 if settings.label_rule == "actor" else 0.5
        return (share * first + (1 - share) * second)[:, None]


def planted_data(
    train: int = 5, val: int = 2, test: int = 1, clips: int = 2, wrong: float = 0.0,
    fit: bool = True,
) -> PreparedData:  # fmt: skip
    """Four classes with so many recordings in each split.

    Args:
        train, val, test: recordings of each class.
        clips: of a recording.
        wrong: the share of training videos that carry another class's label.
        fit: whether masks are.
    """
    videos, truth = [], []
    for split, recordings in (("train", train), ("val", val), ("test", test)):
        for number, name in enumerate(CLASSES):
            for recording in range(recordings):
                for clip in range(clips):
                    id_ = f"{name}/{split}-{recording}-{clip}.mp4"
                    videos.append(Video(id_, id_, name, f"{name} {split} {recording}", split))
                    truth.append(number)
    truth_of = dict(zip((video.id for video in videos), truth, strict=True))
    made = VideoSet(Path("planted"), "folder", CLASSES,
                    tuple(sorted(videos, key=lambda video: video.id)))  # fmt: skip
    ids = [video.id for video in made.videos]
    rows = {
        split: np.array([i for i, v in enumerate(made.videos) if v.split == split], dtype=np.int64)
        for split in ("train", "val", "test")
    }
    labels = np.array([truth_of[id_] for id_ in ids], dtype=np.int64)
    frames = np.zeros((len(ids), 1, 16, 16, 3), np.uint8)
    bank = _Bank(ids=ids, truth=labels.copy(), backgrounds=frames)
    rng = np.random.default_rng(3)
    chosen = rng.permutation(rows["train"])[: round(wrong * len(rows["train"]))]
    labels[chosen] = (labels[chosen] + rng.integers(1, len(CLASSES), len(chosen))) % len(CLASSES)
    source = ClipSource(cast(Any, bank), labels, len(CLASSES), 8, CompositeSettings())
    unfit = "" if fit else "mask too small: the mask covers only 0.1% of the clip"
    records = {
        ids[row]: SimpleNamespace(id=ids[row], foreground_unfit=unfit, background_unfit="")
        for row in rows["train"].tolist()
    }
    return PreparedData(made, cast(Any, bank), source, rows, cast(Any, records), cast(Any, None))


class _Bank(SimpleNamespace):
    """As far as pools ask of a bank of clips."""

    def __len__(self) -> int:
        return len(self.ids)
