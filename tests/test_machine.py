"""Cores and memory that a process may use, and errors that say that there is too little."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from l2a import machine
from l2a.errors import L2AError
from l2a.machine import memory_for, ran_out_of_memory, usable_cores, usable_memory
from train.memory import memory_for_selector, memory_for_training
from train.settings.full import ClassifierSettings


def test_cores_are_those_that_the_process_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7})
    assert usable_cores() == 2


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/slurm/job/step", {"slurm/job/memory.max": "3000", "slurm/memory.max": "max"}, 3000),
        ("0::/slurm/job", {"slurm/job/memory.max": "9000", "slurm/memory.max": "2000"}, 2000),
        ("0::/of/the/host", {"memory.max": "4000"}, 4000),
        ("4:cpu,memory:/job", {"memory/job/memory.limit_in_bytes": "1000"}, 1000),
        ("4:cpu:/job", {"memory/job/memory.limit_in_bytes": "1000"}, 10**4),
        ("0::/", {"memory.max": "99999999"}, 10**4),
        ("0::/", {}, 10**4),
    ],
)
def test_memory_is_what_the_control_group_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, files: dict[str, str],
    expected: int,
) -> None:  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_physical_memory", lambda: 10**4)
    assert usable_memory() == expected


def test_errors_of_memory_are_told_from_others() -> None:
    for error in (
        MemoryError("Unable to allocate 8 TiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: out of memory"),
    ):
        assert ran_out_of_memory(error)
    for other in (RuntimeError("mat1 and mat2 shapes differ"), ValueError("out of memory")):
        assert not ran_out_of_memory(other)
    with pytest.raises(RuntimeError, match="shapes"), memory_for("this", "do that"):
        raise RuntimeError("shapes")


def test_memory_that_pytorch_really_lacks_is_recognised() -> None:
    said = r"^Out of memory: there is too little for this; do that\.$"
    with pytest.raises(L2AError, match=said), memory_for("this", "do that"):
        torch.empty(2**60, dtype=torch.uint8)


def test_precision_is_a_remedy_on_a_gpu_where_it_is_not_used_yet() -> None:
    gpu, whole = torch.device("cuda", 0), ClassifierSettings(batch_size=1)
    for settings, remedy in (
        (whole, "give a smaller --crop or --precision bfloat16, with another --out"),
        (ClassifierSettings(micro_batch=4, precision="bfloat16"),
         r"give a smaller --micro-batch \(such as 2\) or --batch-size, with another --out"),
    ):  # fmt: skip
        with pytest.raises(L2AError, match=remedy), memory_for_training(settings, gpu):
            raise MemoryError
    with (
        pytest.raises(L2AError, match=r"--selector-batch \(such as 64\) or --micro-batch, with"),
        memory_for_selector(128, whole, torch.device("cpu")),
    ):
        raise MemoryError
