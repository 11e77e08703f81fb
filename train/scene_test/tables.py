"""The scene test as a table for the terminal, and as what `metrics.json` keeps of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from train.arms import baseline
from train.estimates import Estimate
from train.scene_test.cast import FOREIGN, SCENES
from train.scene_test.clips import SceneClips
from train.scene_test.scores import FIGURES, GAP, SAID, SceneScores, with_count

TITLES: Mapping[str, str] = {
    "real": "real", "mixed_same": "mixed-same", FOREIGN: "mixed-rand",
    SAID: "scene said", "scene_alone": "scene alone", "actor_alone": "actor alone",
    GAP: "gap",
}  # fmt: skip
"""What tables and pages call a figure."""

_CELL = 13


@dataclass(frozen=True)
class Sample:
    """What a scene test was measured on.

    Attributes:
        videos: test videos that could be read.
        actors: those of them that were fit as foreground.
        recordings: of the actors.
        left_out: actors without another recording of their class: not in mixed-same, nor in the
            gap.
        scenes: scenes of each actor in a mixed form, at most.
    """

    videos: int
    actors: int
    recordings: int
    left_out: int
    scenes: int = SCENES

    @classmethod
    def of(cls, clips: SceneClips) -> Sample:
        """What these clips are."""
        recordings = len(np.unique(clips.recordings))
        return cls(clips.videos, len(clips.cast.actors), recordings, clips.cast.left_out)

    def sentences(self) -> str:
        """For below a table."""
        text = (
            f"{self.actors} of {self.videos} test videos have an actor that can be cut out "
            f"({self.recordings} recordings); in the mixed forms each stands on up to "
            f"{self.scenes} scenes. Shares in %, ± 1 s.e. over recordings."
        )
        if self.left_out:
            text += (
                f" {self.left_out} of them have no other recording of their class and are left "
                "out of mixed-same and of the gap."
            )
        return text


def arm_rows(
    scores: Mapping[str, Sequence[SceneScores]],
) -> list[tuple[str, dict[str, Estimate], bool]]:
    """Each arm's mean over its repeats, followed by its difference to the one that others are
    compared to, where that is there (`train.arms.baseline`).

    Args:
        scores: arm ─► its repeats.

    Returns:
        (arm, figure ─► estimate, whether it is a difference), in the order of the arms.
    """
    means = {name: SceneScores.mean(repeats) for name, repeats in scores.items()}
    named, rows = baseline(means), []
    base = None if named is None else means[named]
    for name, mean in means.items():
        rows.append((name, {figure: mean.estimate(figure) for figure in FIGURES}, False))
        if base is not None and name != named:
            change = {figure: mean.difference(base, figure) for figure in FIGURES}
            rows.append((name, change, True))
    return rows


def scene_table(rows: Sequence[tuple[str, Mapping[str, Estimate]]], on: Sample) -> str:
    """A table for the terminal.

    Args:
        rows: title and figures of each line; a title that begins with "−" is of a difference.
        on: what it was measured on.
    """
    width = max(16, *(len(title) + 2 for title, _ in rows))
    head = "".join(f"{TITLES[figure]:>{_CELL}}" for figure in FIGURES)
    lines = [f"{'scene test':<{width}}{head}"]
    for title, figures in rows:
        signed = title.lstrip().startswith("−")
        cells = [in_percent(figures[f], signed or f == FIGURES[-1]) for f in FIGURES]
        lines.append(f"{title:<{width}}" + "".join(f"{cell:>{_CELL}}" for cell in cells))
    return "\n".join([*lines, on.sentences()])


def in_percent(estimate: Estimate, signed: bool = False) -> str:
    """An estimate as "35.0 ±3.8", or "+4.1 ±1.2" where a sign says something."""
    if math.isnan(estimate.mean):
        return "—"
    text = f"{100 * estimate.mean:{'+' if signed else ''}.1f}"
    return text if math.isnan(estimate.error) else f"{text} ±{100 * estimate.error:.1f}"


def metrics_of(scores: Mapping[str, Sequence[SceneScores]]) -> dict[str, dict[str, Any]]:
    """What `metrics.json` keeps of each arm: figures of its mean, of each repeat, and of its
    difference to the one that others are compared to."""
    kept: dict[str, dict[str, Any]] = {}
    for name, figures, is_change in arm_rows(scores):
        plain = {figure: with_count(estimate) for figure, estimate in figures.items()}
        if is_change:
            kept[name]["change"] = plain
        else:
            kept[name] = {"mean": plain, "repeats": [one.summary() for one in scores[name]]}
    return kept
