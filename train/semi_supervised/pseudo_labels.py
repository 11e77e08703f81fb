"""Pseudo-labels: what a classifier says of clips without a label, where it is sure (Sec. 5.2).

    labeller + unlabelled clips ─► probabilities ─► confidence = the highest ─► above the threshold:
    the clip joins the labelled ones, as material for pairs and, if wanted, as it is

The class that the files tell of an unlabelled video, if they do, is used nowhere here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError
from l2a.files import atomic_write
from train.prepared import PreparedData

NAME = "pseudo_labels.parquet"
"""A run's table of all rounds."""

_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("truth", pa.string()),
    ]
)


@dataclass(frozen=True)
class PseudoLabels:
    """What a labeller says of unlabelled clips.

    Attributes:
        rows: their bank rows, int64 `[n]`.
        probabilities: float32 `[n, C]`, rows sum to 1.
        threshold: the confidence, 0..1, from which one counts.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    threshold: float

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of highest probability of each, int64 `[n]`; the first of equal ones."""
        return self.probabilities.argmax(axis=1).astype(np.int64)

    @property
    def confidences(self) -> NDArray[np.float64]:
        """That probability, float64 `[n]`."""
        return self.probabilities.max(axis=1).astype(np.float64)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which count, bool `[n]`."""
        found: NDArray[np.bool_] = self.confidences >= self.threshold
        return found

    def require_some(self, again: str) -> None:
        """Raise `InputError` where none counts; it says how far the surest one is.

        Args:
            again: how another run finds what this one has made, `PreparedData.again`.
        """
        if not self.accepted.any():
            raise InputError(
                f"No pseudo-label reaches pseudo_threshold {self.threshold:g}: the surest of "
                f"{len(self.rows)} unlabelled clips has {self.confidences.max():.3f}; as this "
                f"run keeps its settings, give a lower --pseudo-threshold with {again}, so that no "
                "mask or clip is made again, or label more clips."
            )

    def save(self, path: Path, clips: str) -> None:
        """Keep them exactly, for a run that goes on.

        Args:
            path: of the file.
            clips: the fingerprint of the bank that the rows are of.
        """
        tensors = {
            "rows": torch.from_numpy(self.rows),
            "probabilities": torch.from_numpy(self.probabilities),
        }
        save_tensors(path, tensors, {"threshold": self.threshold, "clips": clips})

    @classmethod
    def load(cls, path: Path, clips: str) -> PseudoLabels:
        """Read what `save` kept.

        Raises:
            InputError: it is damaged, another kind of file, or of clips that are not these.
        """
        tensors, values = load_tensors(path)
        known = isinstance(values, dict) and {"threshold", "clips"} <= values.keys()
        if not known or not {"rows", "probabilities"} <= tensors.keys():
            raise InputError(f"{path} holds no pseudo-labels of ours; give --out another folder.")
        if values["clips"] != clips:
            raise InputError(
                f"{path} is of other videos than there are now; restore them, or give --out "
                "another folder."
            )
        return cls(
            tensors["rows"].numpy(), tensors["probabilities"].numpy(), float(values["threshold"])
        )


def with_pseudo_labels(
    prepared: PreparedData, found: PseudoLabels, kind: Literal["hard", "soft"] = "hard", *,
    trained_on: bool = True,
) -> PreparedData:  # fmt: skip
    """The data set with the accepted clips among its training videos.

    They carry their pseudo-label wherever a class is asked for: in the pool, in quotas, in Eq. 7.
    `rows["labelled"]` are the training videos with a label of their own, and `rows["unlabelled"]`
    stay those without.

    Args:
        prepared: without pseudo-labels.
        found: of its unlabelled rows.
        kind: "soft" puts the probabilities in place of a one-hot row.
        trained_on: whether the accepted clips are trained on as they are, too; without it they are
            material for pairs alone.

    Raises:
        ValueError: a row is not an unlabelled one.
    """
    if len(np.setdiff1d(found.rows, prepared.rows["unlabelled"])):
        raise ValueError("pseudo-labels are for unlabelled videos alone")
    rows, own = found.rows[found.accepted], found.labels[found.accepted]
    labels = prepared.source.labels.copy()
    labels[rows] = own
    soft = None
    if kind == "soft":
        soft = np.zeros((len(labels), prepared.source.num_classes), np.float32)
        known = np.concatenate([prepared.rows[split] for split in ("train", "val", "test")])
        soft[known, labels[known]] = 1
        soft[rows] = found.probabilities[found.accepted]
    labelled, classes, ids = prepared.rows["train"], prepared.videos.classes, prepared.bank.ids
    material = np.sort(np.concatenate([labelled, rows]))
    given = {ids[row]: classes[label] for row, label in zip(rows, own, strict=True)}
    videos = tuple(
        replace(video, label=given[video.id], split="train") if video.id in given else video
        for video in prepared.videos.videos
    )
    return replace(
        prepared,
        videos=replace(prepared.videos, videos=videos),
        source=replace(prepared.source, labels=labels, soft=soft),
        rows=prepared.rows | {
            "train": material, "labelled": labelled, "real": material if trained_on else labelled,
        },
    )  # fmt: skip


def write_table(
    path: Path, rounds: Sequence[PseudoLabels], prepared: PreparedData, truths: Mapping[str, str]
) -> None:
    """Write what every round said of every unlabelled video.

    Args:
        path: of the table: video, label, confidence, round from 1, accepted, and truth.
        rounds: in order.
        prepared: whose ids and class names they are of.
        truths: id ─► class, where the files tell it; null elsewhere. For reports alone.

    Raises:
        InputError: a name is not valid Unicode.
    """
    ids, classes = prepared.bank.ids, prepared.videos.classes
    columns: dict[str, list[object]] = {name: [] for name in _SCHEMA.names}
    for number, found in enumerate(rounds, 1):
        names = [ids[row] for row in found.rows]
        columns["video"] += names
        columns["label"] += [classes[label] for label in found.labels]
        columns["confidence"] += found.confidences.tolist()
        columns["round"] += [number] * len(names)
        columns["accepted"] += found.accepted.tolist()
        columns["truth"] += [truths.get(name) for name in names]
    try:
        table = pa.table(columns, schema=_SCHEMA)
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name {error.object!r} is not valid Unicode; rename the file or folder."
        ) from None
    with atomic_write(path) as aside:
        pq.write_table(table, aside, write_page_checksum=True)
