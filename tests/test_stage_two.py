"""Stage two's arms: seeds, resuming, the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from train import stage_two
from train.metrics import measure
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.stage_two import Arm, run_arm, table
from train.workspace import Workspace


def test_repeats_have_seeds_of_their_own_and_are_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def train_once(*given: Any) -> Any:
        seeds.append(given[-1])
        return measure(np.eye(2, dtype=np.float32), np.array([0, len(seeds) % 2]), ["a", "b"])

    monkeypatch.setattr(stage_two, "_train_once", train_once)
    stage, nothing = StageTwoSettings(repeats=3), cast(Workspace, None)
    for _ in range(2):
        arm = run_arm("none", np.empty((0, 2), np.int64), nothing, ClassifierSettings(), stage,
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
