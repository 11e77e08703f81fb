"""What the benchmark of kills takes for the same: everything but times, and rows in any files."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l2a.checkpoints import save_tensors
from train.frozen.shards import Shards

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def kill() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("kill")
    sys.path.remove(str(BENCHMARKS))


def write(folder: Path, seconds: float, cuts: list[int], weight: float = 1.0) -> None:
    folder.mkdir()
    rows = np.arange(6)
    values = torch.arange(6.0)[:, None]
    for part in np.split(rows, cuts):
        shards = Shards(folder / "features")
        shards.add(part, {"features": values[torch.from_numpy(part)]})
    save_tensors(folder / "state.safetensors", {"w": torch.tensor([weight])}, {"seconds": seconds})
    arms = {"none": {"top1": 0.5, "cost": {"seconds": seconds}}}
    (folder / "metrics.json").write_text(json.dumps({"arms": arms, "list": [{"hours": seconds}]}))
    (folder / "run.log").write_text(f"{seconds}")


def test_times_and_where_a_try_began_make_no_difference(kill: Any, tmp_path: Path) -> None:
    write(tmp_path / "a", 1.0, [2, 4])
    write(tmp_path / "b", 2.0, [3])
    one, other = (kill.contents(tmp_path / name) for name in "ab")
    assert sorted(one) == ["features/*.safetensors", "metrics.json", "state.safetensors"]
    assert kill.differing(one, other) == []


def test_anything_else_does(kill: Any, tmp_path: Path) -> None:
    write(tmp_path / "a", 1.0, [2])
    write(tmp_path / "b", 1.0, [2], weight=2.0)
    (tmp_path / "b" / "metrics.json").write_text("{}")
    (tmp_path / "b" / ".part-1@00000000-x").write_text("")
    found = kill.differing(*(kill.contents(tmp_path / name) for name in "ab"))
    assert found == [".part-1@00000000-x", "metrics.json", "state.safetensors"]
