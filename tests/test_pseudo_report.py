"""The report on pseudo-labels, of a run folder that was written by hand; and their curves."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_report import Page
from tiny_data import write_tiny

from l2a.files import write_json
from train.report import write_report
from train.report.charts import lines_chart, stacked_chart
from train.report.pseudo import PSEUDO_LABELS
from train.report.source import Source
from train.semi_supervised.logged import log_pseudo_labels
from train.tracking import Tracker
from train.video_table import VIDEOS, VideoRow, write_videos

CLASSES = ("JumpRope", "WaveHand")
CONFIDENCE = (0.99, 0.97, 0.9, 0.6)
LABELS = ("JumpRope", "WaveHand", "JumpRope", "WaveHand")
ACCEPTED = (True, True, True, False)


def write_run(folder: Path) -> Path:
    """A run with four unlabelled videos, in two rounds, as far as its report looks."""
    write_tiny(folder / "data", CLASSES, train_groups=2)
    run = folder / "run"
    run.mkdir()
    settings = {"data": str(folder / "data"), "pseudo_threshold": 0.8, "val_share": 0.5}
    content = {"command": "train", "fixed": True, "settings": settings, "versions": {}}
    (run / "run.yaml").write_text(yaml.safe_dump(content))
    return run


def names() -> list[str]:
    return [f"{name}/v_{name}_g01_c{clip:02}.mp4" for name in CLASSES for clip in (1, 2)]


def write_labels(run: Path, truth: bool = True, videos: list[str] | None = None) -> None:
    """Two rounds of the same labels; the third is wrong, and the second round takes it out."""
    videos = videos or names()
    columns = {
        "video": videos * 2,
        "label": list(LABELS) * 2,
        "confidence": list(CONFIDENCE) * 2,
        "round": [0] * 4 + [1] * 4,
        "accepted": [*ACCEPTED, True, True, False, False],
    }
    if truth:
        columns["truth"] = [*("JumpRope", "WaveHand", "WaveHand", None)] * 2
    pq.write_table(pa.table(columns), run / PSEUDO_LABELS)


def row(video: str, foreground: float | None, background: float | None) -> VideoRow:
    known = [value for value in (foreground, background) if value is not None]
    value = sum(known) / len(known) if known else None
    return VideoRow(
        video, "JumpRope", "g", "unlabelled", foreground, background, value,
        0.5, 0.5, 0.5, None, "", "", False,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_a_run_without_pseudo_labels_says_nothing_of_them(run: Path) -> None:
    page = Page(write_report(run))
    assert "pseudo-labels" not in page.sections
    assert 'href="#pseudo-labels"' not in page.source


def test_coverage_and_precision(run: Path) -> None:
    write_labels(run)
    page = Page(write_report(run))
    text = page.sections["pseudo-labels"]
    # Round 0: three of four accepted, all of known class, one wrong; of all known, one is wrong.
    assert page.row("0") == ["4", "3", "75.0 %", "1", "66.7 %", "66.7 %"]
    assert page.row("1") == ["4", "2", "50.0 %", "0", "100.0 %", "66.7 %"]
    assert page.row("JumpRope") == ["2", "1", "100.0 %", "1", "100.0 %"]
    assert page.row("WaveHand") == ["2", "1", "100.0 %", "2", "50.0 %"]
    assert "from a confidence of 0.8 on" in text
    assert "What the Selector did" not in text
    assert "Utilisation" not in text
    assert "coverage and precision over rounds" in text
    said = [svg["aria-label"] for svg in page.attributes("svg")]
    assert "accepted, right 2, mean 0.98; accepted, wrong none; not accepted 2" in "".join(
        label or "" for label in said
    )


def test_the_most_confident_wrong_ones_play(run: Path) -> None:
    videos = [video for video in Source.open(run).videos.videos if video.split != "test"]
    write_labels(run, videos=[video.id for video in videos[:4]])
    page = Page(write_report(run))
    (film,) = page.attributes("video")
    assert (film["aria-label"] or "").startswith("WaveHand, taken for JumpRope")
    assert "not accepted" in page.sections["pseudo-labels"]


def test_what_nobody_knows_is_not_said(run: Path) -> None:
    write_labels(run, truth=False)
    page = Page(write_report(run))
    assert page.row("1") == ["4", "2", "50.0 %"]
    assert "precision" not in page.sections["pseudo-labels"]


def test_the_selector_and_the_losses(run: Path) -> None:
    videos = names()
    table = pa.table(
        {
            "video": videos,
            "label": ["JumpRope", "JumpRope", "WaveHand", "WaveHand"],
            "truth": ["JumpRope", "WaveHand", "WaveHand", "JumpRope"],
            "confidence": [0.9, 0.99, 0.95, 0.85],
            "round": [0] * 4,
            "accepted": [True] * 4,
        }
    )
    pq.write_table(table, run / PSEUDO_LABELS)
    # Right: 0 and 2. As foregrounds both outrank the wrong ones, as backgrounds one of one does.
    values = [row(videos[0], 2.0, None), row(videos[1], 0.0, 1.0),
              row(videos[2], 1.0, 0.5), row(videos[3], -1.0, None)]  # fmt: skip
    write_videos(run / VIDEOS, values, {})
    write_json(run / "metrics.json", {"other": 1})
    with Tracker(run / "stage_two" / "fixmatch-0" / "tensorboard") as tracker:
        for epoch, used in enumerate((0.25, 0.75)):
            figures = {"loss": 2.0, "used share": used, "lr": 0.1, "clips_per_second": 3.0}
            tracker.scalars("classifier", figures, epoch)
    page = Page(write_report(run))
    assert page.row("mean ω, on either side") == ["1.000", "0.000", "2", "2"]
    assert page.row("mean ω as foreground") == ["1.000", "0.000", "2", "2"]
    assert page.row("mean ω as background") == ["0.000", "0.000", "1", "1"]
    # 0.9 and 0.95 against 0.99 and 0.85.
    assert page.row("the mere confidence")[0] == "0.500"
    rows = [cells for cells in page.rows if cells[0] == "fixmatch"]
    assert rows == [["fixmatch", "loss", "2.000", "2.000", "2.000"],
                    ["fixmatch", "used share", "0.250", "0.500", "0.750"]]  # fmt: skip


def test_a_damaged_table_is_said(run: Path) -> None:
    (run / PSEUDO_LABELS).write_bytes(b"no table")
    page = Page(write_report(run))
    assert "pseudo_labels.parquet is not a table of pseudo-labels" in page.sections["pseudo-labels"]
    pq.write_table(pa.table({"video": ["a"]}), run / PSEUDO_LABELS)
    assert "cannot be shown" in Page(write_report(run)).sections["pseudo-labels"]


def test_charts_are_coloured_by_the_page() -> None:
    import numpy as np

    charts = [
        lines_chart("a <b>", "x", [0, 1], {"c": [0.5, None], "d": [None, None]}),
        stacked_chart("e", "x", {"f": np.array([0.5, 1.0]), "g": np.empty(0)}, 0.9),
    ]
    for chart in charts:
        assert not re.search(r":\s*#[0-9a-f]{6}\b", chart.svg)
        assert "var(--c1)" in chart.svg
        assert "<b>" not in chart.svg
    assert "c from 50.0 to 50.0 %; d unknown" in charts[0].svg


def test_the_curves_of_a_round(tmp_path: Path) -> None:
    import numpy as np
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    confidence, accepted = np.array(CONFIDENCE), np.array(ACCEPTED)
    truths = ("JumpRope", "WaveHand", "WaveHand", "")
    with Tracker(tmp_path) as tracker:
        log_pseudo_labels(tracker, 0, confidence, accepted, LABELS)
        log_pseudo_labels(tracker, 1, confidence, accepted, LABELS, truths)
    events = EventAccumulator(str(tmp_path), {"scalars": 0, "histograms": 0}).Reload()
    found = {
        tag.removeprefix("pseudo_labels/"): [(e.step, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    assert found["coverage"] == [(0, 0.75), (1, 0.75)]
    assert found["accepted"] == [(0, 3.0), (1, 3.0)]
    assert found["precision"] == found["accuracy"] == [(1, pytest.approx(2 / 3))]
    assert found["confidence_mean"][0][1] == pytest.approx(0.865)
    histograms = events.Tags()["histograms"]
    assert sorted(histograms) == [f"pseudo_labels/confidence{part}"
                                  for part in ("", "_right", "_wrong")]  # fmt: skip
