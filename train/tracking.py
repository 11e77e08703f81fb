"""Curves, histograms and small videos for TensorBoard."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from l2a.files import written_whole


class Tracker:
    """A TensorBoard log in one folder; use as a context manager."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        """
        Args:
            folder: where the event files go.
            purge_step: when a run goes on, the first step it will write: what an interrupted
                run wrote from there on is hidden.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """Write each value as the curve `group/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def histogram(self, name: str, values: Tensor | NDArray[np.float64], step: int) -> None:
        """Write a histogram of `values`, of any shape."""
        self._writer.add_histogram(name, values, step)

    def text(self, name: str, words: str, step: int) -> None:
        """Write a sentence."""
        self._writer.add_text(name, words, step)

    def video(self, name: str, frames: NDArray[np.uint8], step: int, fps: float = 8) -> None:
        """Write uint8 `[T, H, W, 3]` RGB frames as an animated picture.

        `SummaryWriter.add_video` wants moviepy; the event format itself only wants a GIF.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        pictures = [Image.fromarray(frame) for frame in frames]
        buffer = io.BytesIO()
        pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:],
                         duration=int(1000 / fps), loop=0)  # fmt: skip
        height, width = frames.shape[1:3]
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue()
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._writer._get_file_writer().add_summary(summary, step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()


_CURVES = (
    ("validation loss, δ", ("validation_loss", "baseline")),
    ("reward, mean and spread", ("reward_mean", "reward_sd")),
    ("ω: mean, spread, entropy", ("omega_mean", "omega_sd", "omega_entropy", "share_selected")),
    ("ranking", ("rank_correlation", "credit_correlation", "probe_auroc")),
)


def draw_curves(path: Path, curves: Sequence[Mapping[str, float]], title: object) -> None:
    """Draw how a Selector was trained: losses, reward, ω, and whether its ranking means anything.

    Args:
        path: the PNG.
        curves: figures of each step, as `selector.reinforce.train_selector` logs them.
        title: what it came to.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, (name, keys) in zip(figure.subplots(2, 2).flat, _CURVES, strict=True):
        for key in keys:
            points = [(step, row[key]) for step, row in enumerate(curves) if key in row]
            if points:
                steps, values = zip(*points, strict=True)
                few = len(points) < len(curves) / 4
                axes.plot(steps, values, marker="o" if few else None, ms=3, lw=1,
                          label=key.replace("_", " "))  # fmt: skip
        axes.set(title=name, xlabel="step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small", frameon=False)
    figure.suptitle("\n".join(textwrap.wrap(str(title), 110)), fontsize="medium")
    with written_whole(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
