"""Curves, histograms and small videos for TensorBoard."""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from l2a.disks import is_full
from l2a.files import atomic_write

FIGURES: Mapping[str, tuple[str, str]] = {
    "reward_mean": (
        "reward/mean",
        "Mean reward R of the step. Above 0 the chosen pairs helped; with the reward credit it is "
        "always 0, because pairs are compared with each other.",
    ),
    "reward_sd": (
        "reward/sd",
        "Its spread; 0 where a step has one reward only, 1 with the reward credit.",
    ),
    "validation_loss": (
        "reward/validation_loss",
        "Of the classifier after the step, on the validation subset. It falls, and jumps back "
        "where the classifier is put back to its start.",
    ),
    "baseline": ("reward/baseline", "δ, the moving average of the validation loss (Eq. 6)."),
    "omega_mean": ("omega/mean", "Mean ω of the batch, held between explore_low and _high."),
    "omega_sd": ("omega/sd", "Spread of ω: 0 while all pairs look alike to the Selector."),
    "omega_entropy": (
        "omega/entropy", "Of the policy, in nats: 0.69 is undecided, 0 fully decided."
    ),
    "share_selected": ("omega/share_selected", "Share of the batch that was composited."),
    "rank_correlation": (
        "ranking/rank_correlation",
        "Spearman's ρ of ω's ranking with that of the last checkpoint; near 1 it has settled.",
    ),
    "rank_correlation_with_start": (
        "ranking/rank_correlation_with_start",
        "The same with the ranking before training; near 1 nothing has been learned yet.",
    ),
    "credit_correlation": (
        "ranking/credit_correlation",
        "Of ω with the credit of pairs it was not rewarded for yet; around 0 ω predicts nothing.",
    ),
    "reliability": (
        "ranking/reliability",
        "Rank correlation of pairs' credit between two halves of the validation recordings, within "
        "classes: how far the reward agrees with itself. Around 0 the choice is left to chance.",
    ),
    "reliability_spread": (
        "ranking/reliability_spread",
        "Its standard deviation over random halvings.",
    ),
    "probe_auroc": (
        "ranking/probe_auroc",
        "How often a video outranks one with an exchanged label; 0.5 is chance.",
    ),
    "policy_loss": ("loss/policy", "What Eq. 5 minimises; noisy, and not a measure of success."),
    "exploration_penalty": ("loss/exploration", "Above 0 where mean ω left its bounds."),
    "skipped_steps": ("loss/skipped_steps", "Steps so far that selected nothing."),
}  # fmt: skip
"""What `selector.reinforce.train_selector` logs ─► its tag in TensorBoard, and what it means."""


class Tracker:
    """A TensorBoard log in one folder; use as a context manager."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        """
        Args:
            folder: where the event files go.
            purge_step: when a run resumes, the first step it will write: what an interrupted
                run wrote from there on is hidden.
        """
        from torch.utils.tensorboard import SummaryWriter

        # Two minutes, the default, is longer than some trainings last.
        self._hook = threading.excepthook
        threading.excepthook = self._say
        try:
            self._writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)
        except BaseException:
            threading.excepthook = self._hook
            raise

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """Write each value as the curve `group/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def begin_selector(self, settings: Mapping[str, object]) -> None:
        """Write what a Selector is trained with, how to read its curves, and the layout of
        TensorBoard's custom scalars: the charts of `draw_curves`."""
        shown = [(name, value) for name, value in settings.items() if value is not None]
        self.text("selector/settings", _markdown(("setting", "value"), shown), 0)
        self.text("selector/curves", _markdown(("curve", "what it means"), FIGURES.values()), 0)
        # TensorBoard takes tags for regular expressions, and one is the beginning of another.
        charts = {
            title: ["Multiline", [f"^{FIGURES[key][0]}$" for key in keys]] for title, keys in CURVES
        }
        self._writer.add_custom_scalars({"Selector": charts})

    def selector_step(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of one step of a Selector's training, under the tags of `FIGURES`."""
        for name, value in figures.items():
            tag = FIGURES[name][0] if name in FIGURES else f"other/{name}"
            self._writer.add_scalar(tag, value, step)

    def histogram(self, name: str, values: Tensor | NDArray[np.float64], step: int) -> None:
        """Write a histogram of `values`, of any shape."""
        # The default's bins grow with the distance from 0: too coarse for scores around a half.
        self._writer.add_histogram(name, values, step, bins="auto")

    def text(self, name: str, words: str, step: int) -> None:
        """Write a sentence."""
        self._writer.add_text(name, words, step)

    def video(self, name: str, frames: NDArray[np.uint8], step: int, fps: float = 8) -> None:
        """Write uint8 `[T, H, W, 3]` RGB frames as an animated picture.

        `SummaryWriter.add_video` needs moviepy; the event format itself only needs a GIF.
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
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._hook

    def _say(self, arguments: threading.ExceptHookArgs) -> None:
        """Say why a thread has ended. TensorBoard's, on a full disk, raises the same again in the
        thread that writes next, or closes."""
        if arguments.exc_value is None or not is_full(arguments.exc_value):
            self._hook(arguments)


def _markdown(header: tuple[str, str], rows: Iterable[tuple[object, object]]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in [header, ("---", "---"), *rows])


CURVES = (
    ("validation loss, δ", ("validation_loss", "baseline")),
    ("reward, mean and spread", ("reward_mean", "reward_sd")),
    ("ω: mean, spread, entropy", ("omega_mean", "omega_sd", "omega_entropy", "share_selected")),
    ("ranking", ("rank_correlation", "credit_correlation", "reliability", "probe_auroc")),
)
"""What is drawn of a Selector's training: title and figures of each chart."""


_STILL = 1e-5


def moving_charts(
    curves: Sequence[Mapping[str, float]],
) -> Iterator[tuple[str, Mapping[str, list[tuple[int, float]]]]]:
    """The charts that show something: title, and figure ─► points (step, value).

    A chart whose figures all stand still is left out, as mean and spread of the reward credit do.

    Args:
        curves: figures of each step, as `selector.reinforce.train_selector` logs them.
    """
    for title, keys in CURVES:
        lines = {key: points for key in keys if (points := points_of(curves, key))}
        values = [[value for _, value in points] for points in lines.values()]
        if any(len(line) == 1 or max(line) - min(line) > _STILL for line in values):
            yield title, lines


def points_of(curves: Sequence[Mapping[str, float]], key: str) -> list[tuple[int, float]]:
    """(step, value) of one figure, of the steps that have it."""
    return [(step, row[key]) for step, row in enumerate(curves) if key in row]


def draw_curves(path: Path, curves: Sequence[Mapping[str, float]], title: object) -> None:
    """Draw how a Selector was trained: losses, reward, ω, and whether its ranking means anything.

    Args:
        path: the PNG.
        curves: figures of each step, as `selector.reinforce.train_selector` logs them.
        title: what it came to.
    """
    from matplotlib.figure import Figure

    charts = list(moving_charts(curves))
    wide = 2 if len(charts) == len(CURVES) else max(1, len(charts))
    figure = Figure(figsize=(5.5 * wide, 6.5 if wide == 2 else 4), layout="constrained")
    for place, (name, lines) in enumerate(charts, 1):
        axes = figure.add_subplot(-(-len(charts) // wide), wide, place)
        for key, points in lines.items():
            steps, values = zip(*points, strict=True)
            few = len(points) < len(curves) / 4
            axes.plot(steps, values, marker="o" if few else None, ms=3, lw=1,
                      label=key.replace("_", " "))  # fmt: skip
        axes.set(title=name, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small",
                    frameon=False)  # fmt: skip
    figure.suptitle("\n".join(textwrap.wrap(str(title), 110)), fontsize="medium", parse_math=False)
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
