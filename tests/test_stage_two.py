"""Stage two's arms: seeds, resuming, the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from train import stage_two
from train.metrics import measure
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.stage_two import Arm, run_arm, table
from train.workspace import Workspace

NO_PAIRS = np.empty((0, 2), np.int64)


def test_repeats_have_seeds_of_their_own_and_are_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def train_once(*given: Any) -> Any:
        seeds.append(given[-1])
        return measure(np.eye(2, dtype=np.float32), np.array([0, len(seeds) % 2]), ["a", "b"])

    monkeypatch.setattr(stage_two, "_train_once", train_once)
    stage, space = StageTwoSettings(repeats=3), SimpleNamespace(rows={"train": np.arange(4)})
    for _ in range(2):
        arm = run_arm("none", NO_PAIRS, cast(Workspace, space), ClassifierSettings(), stage,
                      tmp_path, 7)  # fmt: skip
    assert seeds == [7, 1007, 2007]
    assert [result["top1"] for result in arm.results] == [1.0, 0.5, 1.0]


def test_the_table_gives_gain_and_spread_by_hand() -> None:
    arms = [
        Arm("selector", ({"top1": 0.5}, {"top1": 0.7})),
        Arm("none", ({"top1": 0.4}, {"top1": 0.4})),
    ]
    lines = table(arms, clips=100).splitlines()
    assert lines[1].split() == ["selected", "pairs", "60.0%", "14.1", "+20.0", "50.0", "70.0"]
    assert lines[2].split() == ["no", "composites", "40.0%", "0.0", "40.0", "40.0"]
    assert "±5.0" in lines[3]  # sqrt(0.5 x 0.5 / 100)


def test_an_augmentation_has_a_row_of_its_own_and_names_of_any_length() -> None:
    arms = [
        Arm("none", ({"top1": 0.4},)),
        Arm("selector+videomix:per-frame", ({"top1": 0.5},)),
        Arm("objectmix+or", ({"top1": 0.3},)),
    ]
    lines = table(arms, clips=100).splitlines()
    assert lines[2].startswith("selected pairs + videomix:per-frame  ")
    assert lines[3].split() == ["objectmix+or", "30.0%", "0.0", "-10.0", "30.0"]
    assert len({line.index("%") for line in lines[1:4]}) == 1
