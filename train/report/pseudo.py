"""Pseudo-labels: how many and how right they are, and what the Selector did with the wrong ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l2a.errors import InputError, L2AError
from train.arms import arm_title
from train.report.charts import Chart, lines_chart, stacked_chart
from train.report.films import readable_films
from train.report.source import Section, Source
from train.semi_supervised.judged import (
    Auroc,
    RoundFigures,
    at_thresholds,
    auroc,
    compare,
    judge_classes,
    judge_rounds,
)
from train.video_table import VIDEOS, read_videos_table

PSEUDO_LABELS = "pseudo_labels.parquet"
"""The file's name in a run folder."""

_FILMS = 6
_THRESHOLDS = tuple(np.linspace(0, 1, 41).tolist())
_NO_LOSS = frozenset({"lr", "clips_per_second"})
"""Curves of a training that say nothing of its losses."""


@dataclass(frozen=True)
class _Table:
    """Columns of the file, one entry for each video and round; a truth not known is ""."""

    videos: Sequence[str]
    labels: Sequence[str]
    truths: Sequence[str]
    confidence: NDArray[np.float64]
    rounds: NDArray[np.int64]
    accepted: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> _Table:
        try:
            table = pq.read_table(path)
            videos, labels = (_texts(table, name) for name in ("video", "label"))
            told = "truth" in table.schema.names
            truths = _texts(table, "truth") if told else [""] * len(videos)
            confidence, rounds, accepted = (
                table[name].cast(kind).to_numpy(zero_copy_only=False)
                for name, kind in (
                    ("confidence", pa.float64()), ("round", pa.int64()), ("accepted", pa.bool_())
                )
            )  # fmt: skip
        except (KeyError, pa.ArrowException, OSError, ValueError, TypeError) as error:
            reason = (str(error).splitlines() or ["damaged"])[0]
            raise InputError(
                f"{path} is not a table of pseudo-labels ({reason}); train again."
            ) from None
        return cls(videos, labels, truths, confidence, rounds, accepted)

    def last_round(self) -> _Table:
        """The rows of the last round."""
        own = np.flatnonzero(self.rounds == self.rounds.max())
        places = own.tolist()
        texts = [[column[i] for i in places] for column in (self.videos, self.labels, self.truths)]
        numbers = self.confidence[own], self.rounds[own], self.accepted[own]
        return _Table(texts[0], texts[1], texts[2], *numbers)


def _texts(table: pa.Table, name: str) -> list[str]:
    return [value or "" for value in table[name].cast(pa.string()).to_pylist()]


def pseudo_labels(source: Source) -> Section:
    """All of it; None in runs without pseudo-labels."""
    path = source.folder / PSEUDO_LABELS
    if not path.is_file():
        return None
    table = _Table.read(path)
    if not len(table.videos):
        return "There was no unlabelled video."
    rounds = judge_rounds(table.rounds, table.accepted, table.labels, table.truths)
    last = table.last_round()
    threshold = source.settings.get("pseudo_threshold")
    films, missing = _wrong_ones(source, last)
    return {
        "known": any(table.truths),
        "threshold": threshold,
        "rounds": rounds,
        "charts": list(_charts(rounds, last, threshold)),
        "classes": judge_classes(last.accepted, last.labels, last.truths),
        "selector": _selector(source, last),
        "used": list(_used(source)),
        "clips": films,
        "missing": missing,
    }


def _charts(
    rounds: Sequence[RoundFigures], last: _Table, threshold: float | None
) -> Iterator[Chart]:
    known, right = compare(last.labels, last.truths)
    if len(rounds) > 1:
        lines: dict[str, list[float | None]] = {"coverage": [row.coverage for row in rounds]}
        if any(row.known for row in rounds):
            lines["precision"] = [row.precision for row in rounds]
        numbers = [row.number for row in rounds]
        yield lines_chart(f"{' and '.join(lines)} over rounds", "round", numbers, lines)
    if known.any():
        kinds = {
            "accepted, right": last.accepted & right,
            "accepted, wrong": last.accepted & known & ~right,
            "not accepted": ~last.accepted,
        }
        if (rest := last.accepted & ~known).any():
            kinds["accepted, not known"] = rest
    else:
        kinds = {"accepted": last.accepted, "not accepted": ~last.accepted}
    parts = {name: last.confidence[kind] for name, kind in kinds.items()}
    yield stacked_chart("confidence in the last round", "confidence", parts, threshold)
    if known.any():
        found = at_thresholds(last.confidence, last.labels, last.truths, _THRESHOLDS)
        columns: dict[str, Sequence[float | None]] = {
            "coverage": [share for share, _ in found], "precision": [share for _, share in found]
        }  # fmt: skip
        title = "had the threshold of the last round been another"
        yield lines_chart(title, "threshold", _THRESHOLDS, columns)


def _selector(source: Source, last: _Table) -> list[tuple[str, Auroc]] | str | None:
    """Whether the Selector's values tell wrong pseudo-labels; None where it cannot be known."""
    path = source.folder / VIDEOS
    known, right = compare(last.labels, last.truths)
    if not path.is_file() or not known.any():
        return None
    values = {row.video: row for row in read_videos_table(path)[0]}
    judged = [
        i for i in np.flatnonzero(last.accepted & known).tolist()
        if last.videos[i] in values and values[last.videos[i]].value is not None
    ]  # fmt: skip
    rows, good = [values[last.videos[i]] for i in judged], right[judged]
    confidence = last.confidence[judged]
    if good.all() or not good.any():
        what = "right" if len(good) and good.all() else "wrong"
        return (
            f"The Selector values {len(rows)} accepted videos whose class is known"
            + (f", and all their pseudo-labels are {what}" if rows else "")
            + ": nothing can be told apart."
        )
    columns = {
        "mean ω, on either side": [row.value for row in rows],
        "mean ω as foreground": [row.value_foreground for row in rows],
        "mean ω as background": [row.value_background for row in rows],
        "label agreement of features": [row.label_agreement for row in rows],
        "the mere confidence": confidence.tolist(),
    }
    found = [(name, _told(column, good)) for name, column in columns.items()]
    return [(name, area) for name, area in found if area is not None]


def _told(column: Sequence[float | None], good: NDArray[np.bool_]) -> Auroc | None:
    there = np.array([value is not None for value in column])
    scores = np.array([value for value in column if value is not None], np.float64)
    return auroc(scores, good[there])


def _used(source: Source) -> Iterator[tuple[str, str, float, float, float]]:
    """(arm, figure, first, mean, last) of losses that are more than one cross-entropy, of the first
    repeat of each arm."""
    folder = source.folder
    names = {name.replace(":", "_"): name for name in (source.metrics or {}).get("arms", {})}
    for place in sorted({*folder.glob("stage_two*/*-0"), *folder.glob("*/stage_two*/*-0")}):
        curves = _curves(place / "tensorboard")
        if len(curves) < 2:
            continue
        inside = place.parent.parent
        where = "" if inside == folder else f", {inside.name}"
        for name, values in curves.items():
            arm = place.name.removesuffix("-0")
            title = arm_title(names.get(arm, arm))
            yield title + where, name, values[0], statistics.fmean(values), values[-1]


def _curves(folder: Path) -> dict[str, list[float]]:
    """Figures of a training's losses ─► their value in each epoch."""
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        group, _, name = tag.partition("/")
        if group == "classifier" and name not in _NO_LOSS:
            found[name.replace("_", " ")] = [float(event.value) for event in events.Scalars(tag)]
    return found


@dataclass(frozen=True)
class Wrong:
    """A wrongly labelled video, playing.

    Attributes:
        video: its id.
        label, truth: class names.
        confidence: of the label, 0..1.
        accepted: whether the label counted.
        uri: H.264 in an mp4, as a data URI.
        height, width: in pixels.
    """

    video: str
    label: str
    truth: str
    confidence: float
    accepted: bool
    uri: str
    height: int
    width: int


def _wrong_ones(source: Source, last: _Table) -> tuple[list[Wrong], str]:
    """Films of the most confident wrong labels; and why there are none."""
    known, right = compare(last.labels, last.truths)
    wrong = np.flatnonzero(known & ~right).tolist()
    order = sorted(wrong, key=lambda i: (-last.confidence[i], last.videos[i]))
    if not order:
        return [], ""
    try:
        paths = {video.id: video.path for video in source.videos.videos}
    except L2AError as error:
        return [], str(error)
    in_question = ((i, paths[last.videos[i]]) for i in order if last.videos[i] in paths)
    films = [
        Wrong(
            last.videos[i], last.labels[i], last.truths[i], float(last.confidence[i]),
            bool(last.accepted[i]), *film,
        )
        for i, film in readable_films(in_question, _FILMS)
    ]  # fmt: skip
    return films, ""
