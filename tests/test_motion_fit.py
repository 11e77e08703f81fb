"""The benchmark of what `motion` calls fit: its measures by hand, and its fit of the rules."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compositing.masks import NO_DOUBTS, Doubts
from compositing.segmenters.trust import Measures

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("motion_fit")
    sys.path.remove(str(BENCHMARKS))


def test_the_iou_is_the_mean_over_the_frames_with_a_given_mask(bench: Any) -> None:
    given, found = np.zeros((2, 4, 1, 4), np.bool_)
    given[0, 0, :2] = found[0, 0, 1:3] = True  # 1 of 3
    given[1, 0] = found[1, 0] = True  # all
    found[2, 0] = True  # no mask is given: the frame does not count
    assert bench.mean_iou(given, found) == pytest.approx((1 / 3 + 1) / 2)
    assert math.isnan(bench.mean_iou(given[2:], found[2:]))


def test_what_is_left_behind_is_counted_over_all_frames_together(bench: Any) -> None:
    given, hole = np.zeros((2, 2, 1, 4), np.bool_)
    given[0, 0, :3] = given[1, 0, :1] = True
    hole[0, 0, 1:] = True
    assert bench.left_behind(given, hole) == 2 / 4
    assert bench.left_behind(given & False, hole) == 0


def test_clips_of_one_recording_are_in_one_half_and_both_halves_have_some(bench: Any) -> None:
    halves = [bench.half_of(f"Rec_{i}_walk_u_nm_np1_fr_med_0.avi", "walk") for i in range(40)]
    others = [bench.half_of(f"Rec_{i}_walk_f_cm_np2_le_bad_7.avi", "walk") for i in range(40)]
    assert halves == others
    assert 10 < sum(halves) < 30


def row(bench: Any, steady: float, iou: float) -> Any:
    measures = Measures(steady, 0.9, 0.6)
    return bench.Row("run/a.avi", 0, iou, 1 - iou, 0.1, 1.0, 0.2, 0.0, measures)


def test_the_fit_finds_the_measure_that_tells_and_its_least_trust(bench: Any) -> None:
    rows = [row(bench, steady=0.9 - 0.001 * i, iou=0.95) for i in range(30)]
    rows += [row(bench, steady=0.4 + 0.001 * i, iou=0.2) for i in range(30)]
    for side in bench.SIDES:
        rule = bench.fit_rule(rows, side, wanted=0.9)
        assert rule.weights.steady > 1
        assert rule.weights.whole == 0  # the same everywhere: it tells nothing
        trusted = [r for r in rows if rule.trust(r.measures) >= rule.least]
        assert 30 <= len(trusted) <= 33  # all the good ones, and as many bad ones as are allowed
        assert all(r.good(side) for r in rows[:30])


def test_a_clip_is_fit_when_neither_its_size_nor_a_doubt_speaks_against_it(bench: Any) -> None:
    clip = row(bench, 0.8, 0.9)
    assert clip.fit("foreground", NO_DOUBTS)
    assert not clip.fit("foreground", Doubts(foreground="it flickers"))
    assert clip.fit("background", Doubts(foreground="it flickers"))
    assert not replace(clip, gamma=0.001).fit("foreground", NO_DOUBTS)
    assert not replace(clip, unseen=0.5).fit("background", NO_DOUBTS)


@pytest.mark.clips
def test_it_runs_on_real_clips_and_reads_its_rows_again(
    bench: Any,
    clips_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "clips"
    (root / "videos" / "golf").mkdir(parents=True)
    (root / "masks").symlink_to(clips_root / "jhmdb12" / "masks")
    for path in sorted((clips_root / "jhmdb12" / "videos" / "golf").glob("*.avi"))[:2]:
        (root / "videos" / "golf" / path.name).symlink_to(path)
    words = ["motion_fit.py", "--clips", str(root), "--rows", str(tmp_path / "rows.json")]
    monkeypatch.setattr(sys, "argv", [*words, "--workers", "1"])
    bench.main()
    first = capsys.readouterr().out
    monkeypatch.setattr(bench, "look", None)  # not asked again
    bench.main()
    assert capsys.readouterr().out == first
    assert "As a background" in first
