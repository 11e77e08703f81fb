"""Curves, histograms and small videos for TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


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
