"""How well a classifier does: top-1, top-5, per class, confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2a.files import atomic_write
from l2a.text import shortened
from train.estimates import Estimate


@dataclass(frozen=True)
class Metrics:
    """Results over `n` clips, one clip a video.

    Attributes:
        n: number of clips.
        loss: mean cross-entropy, in nats.
        top1, top5: share of clips whose class is the highest, or among the five highest, logit;
            0..1. top5 is 1.0 when there are at most five classes.
        per_class: class name ─► share of its clips that are right; classes without clips are
            left out.
        confusion: int64 `[C, C]`, clips of class (row) taken for class (column).
        top1_error: standard error of top1 over recordings, clips of one being alike; None for fewer
            than two recordings, and in what earlier versions measured.
    """

    n: int
    loss: float
    top1: float
    top5: float
    per_class: dict[str, float]
    confusion: NDArray[np.int64]
    top1_error: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Metrics:
        """What `to_json` gave."""
        return cls(**{**value, "confusion": np.array(value["confusion"], dtype=np.int64)})

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "n": self.n,
            "loss": round(self.loss, 6),
            "top1": round(self.top1, 6),
            "top5": round(self.top5, 6),
            "per_class": {name: round(value, 6) for name, value in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "top1_error": None if self.top1_error is None else round(self.top1_error, 6),
        }


def measure(
    logits: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str],
    recordings: NDArray[np.int64] | None = None,
) -> Metrics:  # fmt: skip
    """Metrics of logits `[n, C]` against class indices `[n]`; `n` must be at least 1.

    Args:
        logits, labels: of the clips.
        classes: their names, by index.
        recordings: int64 `[n]`, the recording of each clip; None gives no `top1_error`.
    """
    count = len(classes)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # A stable sort, so that equal logits rank by class index on every machine.
    ranking = np.argsort(-logits, axis=1, kind="stable")
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels, ranking[:, 0]), 1)
    totals = confusion.sum(axis=1)
    right = (ranking[:, 0] == labels).astype(np.float64)
    error = np.nan if recordings is None else Estimate.of(right, recordings).error
    return Metrics(
        n=len(labels),
        loss=float(-log_probs[np.arange(len(labels)), labels].mean()),
        top1=float(right.mean()),
        top5=float((ranking[:, :5] == labels[:, None]).any(axis=1).mean()),
        per_class={
            name: float(confusion[i, i] / totals[i]) for i, name in enumerate(classes) if totals[i]
        },
        confusion=confusion,
        top1_error=None if np.isnan(error) else float(error),
    )


def draw_confusion(path: Path, metrics: Metrics, classes: Sequence[str]) -> None:
    """Draw the confusion matrix, each row as shares of its class, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(classes)
    side = float(np.clip(1.5 + 0.42 * count, 4, 24))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    totals = np.maximum(metrics.confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(metrics.confusion / totals, vmin=0, vmax=1, cmap="viridis")
    if count <= 120:
        size = 8 if count <= 30 else 4
        names = [shortened(name) for name in classes]  # and a `$` in one is not a formula
        axes.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    if count <= 20:
        for row, column in np.argwhere(metrics.confusion > 0):
            value = int(metrics.confusion[row, column])
            dark = value / totals[row, 0] < 0.6
            axes.text(column, row, str(value), ha="center", va="center",
                      fontsize=7, color="white" if dark else "black")  # fmt: skip
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.set_title(f"top-1 {metrics.top1:.3f} on {metrics.n} clips")
    figure.colorbar(image, ax=axes, fraction=0.04, label="share of the class")
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=110, metadata={"Software": None})
