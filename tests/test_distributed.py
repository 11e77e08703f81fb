"""Several processes, one training: parts of batches, weights, and two processes against one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source
from hypothesis import given
from hypothesis import strategies as st
from together import plain_network, train_features, train_plain

from l2a.checkpoints import load_tensors
from l2a.errors import InputError
from train import distributed
from train.arms import plan_arms
from train.batches import ClipBatch
from train.distributed import (
    average,
    average_gradients,
    own_device,
    rank,
    refuse_pieces_in_sync,
    refuse_shared_gpus,
    run_together,
    world,
)  # fmt: skip
from train.mix import MixedBatches, TrainingMix
from train.objectives.supervised import Supervised
from train.parts import Part, Parts
from train.semi_supervised.checks import check_processes
from train.settings.full import ClassifierSettings, FullSettings
from train.settings.semi import SemiSettings
from train.trainer import OwnOptimiser, Trainer, TrainingJob, make_optimiser, weighed

FIVE = (5, 5)
NO_PAIRS = np.empty((0, 2), np.int64)


def batch_of(count: int) -> ClipBatch:
    return ClipBatch(torch.arange(count), torch.eye(max(count, 1))[:count])


def test_clips_in_pieces_are_not_normalised_over_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    refuse_pieces_in_sync(4, gpu, sync=True)  # one process: there is nothing to be in step with
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for micro_batch, device, sync in ((None, gpu, True), (4, gpu, False), (4, cpu, True)):
        refuse_pieces_in_sync(micro_batch, device, sync=sync)
    with pytest.raises(InputError, match="micro_batch is 4 and sync_batchnorm is on"):
        refuse_pieces_in_sync(4, gpu, sync=True)


def test_two_processes_on_one_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def gather(others: list[str], own: str) -> None:
        others[:] = [own, seen[-1][0] if seen[-1] else own]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="GPU-7")
    )
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(distributed, "_GPUS", [])
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    refuse_shared_gpus(gpu)
    seen.append(["other GPU-7"])
    distributed._meet_gpus()
    refuse_shared_gpus(gpu)
    seen.append([])
    distributed._meet_gpus()
    refuse_shared_gpus(cpu)  # of which there may be fewer than processes
    with pytest.raises(InputError, match=r"2 of the 2 processes have the same GPU \(.* GPU-7\)"):
        refuse_shared_gpus(gpu)


# Parts of a batch.


def test_a_part_is_every_nth_clip() -> None:
    assert batch_of(7).part(0, 3).clips.tolist() == [0, 3, 6]
    assert batch_of(7).part(2, 3).clips.tolist() == [2, 5]
    whole = batch_of(7)
    assert whole.part(0, 1) is whole


@given(count=st.integers(1, 40), world=st.integers(1, 8), most=st.integers(1, 9) | st.none())
def test_parts_hold_every_clip_once_and_pieces_are_small(
    count: int, world: int, most: int | None
) -> None:
    if count < world:
        return
    seen: list[int] = []
    for number in range(world):
        part = Part(batch_of(count).part(number, world), count, (count, count))
        pieces = [piece for piece, _ in part.pieces(most)]
        assert all(1 <= len(piece) <= (most or count) for piece in pieces)
        seen += [clip for piece in pieces for clip in piece.clips.tolist()]
    assert sorted(seen) == list(range(count))


def test_weights_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 clips, 2 processes: 3 and 2 clips, whose mean losses weigh 3/5 and 2/5 of the sum."""
    assert [w for _, w in Part(batch_of(5), 5, FIVE).pieces(None)] == [(1.0, 1.0)]
    assert [w.others for _, w in Part(batch_of(5), 5, FIVE).pieces(2)] == [2 / 5, 2 / 5, 1 / 5]
    monkeypatch.setattr("train.parts.world", lambda: 2)
    parts = [Part(batch_of(5).part(number, 2), 5, FIVE) for number in (0, 1)]
    weights = [[w.others for _, w in part.pieces(None)] for part in parts]
    assert weights == [[6 / 5], [4 / 5]]  # of which the mean is taken


def test_more_processes_than_clips_are_refused(tmp_path: Path) -> None:
    mix = TrainingMix(np.arange(9), NO_PAIRS, 0)
    batches = MixedBatches(make_source(tmp_path / "bank"), mix, 2, True, 7, 1)
    parts = Parts(batches, 1, 2)
    assert (len(parts), parts.steps_per_epoch) == (5, 5)
    with pytest.raises(InputError, match="A batch has 1 clips, and 2 processes share it"):
        [parts[step] for step in range(5)]


@pytest.mark.parametrize(
    ("processes", "changed", "labelled", "said"),
    [
        (4, {}, 9, None),  # batches of 8 clips: of 9 two, of 4 and 5
        (5, {}, 9, "A batch can have 4 real clips, and 5 processes share it"),
        (4, {"methods": "fixmatch", "unlabelled_per_batch": 4}, 80, None),
        (5, {"methods": "fixmatch", "unlabelled_per_batch": 4}, 80, "have 4 unlabelled clips"),
        (4, {"methods": "actorcut", "unlabelled_per_batch": 7}, 80, None),
        (4, {"methods": "actorcut", "unlabelled_per_batch": 6}, 80, "3 pairs of unlabelled clips"),
    ],
)
def test_batches_too_small_for_the_processes_are_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, processes: int, changed: dict[str, Any], labelled: int,
    said: str | None,
) -> None:  # fmt: skip
    settings = FullSettings(semi=SemiSettings(setting="semi-supervised", **changed))
    plans = plan_arms(settings.stage_two, settings.semi, frozen=False)
    check_processes(settings, plans, 1)
    monkeypatch.setattr("train.semi_supervised.checks.world", lambda: processes)
    with nullcontext() if said is None else pytest.raises(InputError, match=said):
        check_processes(settings, plans, labelled)


# One process.


def test_alone_nothing_is_averaged_and_nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ran: list[int] = []
    run_together(lambda: ran.append(world()))
    assert (ran, rank()) == ([1], 0)
    value = torch.nn.Parameter(torch.ones(2))
    average([value])
    average_gradients([value])
    assert value.tolist() == [1, 1]
    assert value.grad is None


def test_a_launcher_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="start them with torchrun or accelerate launch"):
        run_together(lambda: None)


def test_a_process_whose_partner_never_comes_does_not_wait_for_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.distributed._JOINING", timedelta(seconds=1))
    around = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="WORLD_SIZE is 2, and the processes do not find each"):
        run_together(lambda: pytest.fail("it trained alone"))


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE is 'two', which a launcher sets to a number"):
        run_together(lambda: None)


def test_a_single_process_of_accelerate_says_that_it_is_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with caplog.at_level("INFO", "l2a"):
        run_together(lambda: None)
        assert not caplog.messages
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        run_together(lambda: None)
    assert [text.partition(",")[0] for text in caplog.messages] == [
        "note: accelerate launch started one process"
    ]


@pytest.mark.parametrize("most", [1, 2, 4, 5])
def test_micro_batches_give_the_gradient_of_the_batch(tmp_path: Path, most: int) -> None:
    """Without batch normalisation: up to rounding."""
    source = make_source(tmp_path / "bank")
    batch, gradients = source.real(np.arange(5)), []
    for given_most in (None, most):
        network = plain_network()
        for piece, weights in Part(batch, 5, FIVE).pieces(given_most):
            weighed(Supervised().loss(network, piece), weights).backward()
        gradients.append([p.grad for p in network.parameters()])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, atol=1e-6, rtol=1e-5)


def test_a_training_by_micro_batches_ends_where_one_without_ends(tmp_path: Path) -> None:
    ends = []
    for name, most in (("whole", None), ("micro", 2)):
        train_plain(tmp_path / name, micro_batch=most)
        ends.append(ended(tmp_path / name))
    assert_same(*ends)


def test_a_micro_batch_of_no_clip_is_refused() -> None:
    with pytest.raises(InputError, match="micro_batch is 0; it must be at least 1"):
        ClassifierSettings(micro_batch=0)


# Two processes.


def ended(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The figures of each epoch, and the network, that a training left."""
    figures = json.loads((folder / "figures.json").read_text())
    for found in figures:
        del found["clips_per_second"]
    return figures, dict(load_tensors(folder / "network.safetensors")[0])


def assert_same(first: Any, second: Any, tolerance: float = 1e-5) -> None:
    """Losses and weights are the same up to rounding."""
    assert len(first[0]) == len(second[0]) == 3
    for one, other in zip(first[0], second[0], strict=True):
        assert one == pytest.approx(other, abs=tolerance)
    for name, value in first[1].items():
        torch.testing.assert_close(second[1][name], value, atol=tolerance, rtol=0)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start_two(folder: Path, *more: str) -> list[int]:
    """Run `together.py` in two processes, as a launcher does; returns their exit codes."""
    script = Path(__file__).with_name("together.py")
    around = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
        "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    command: Sequence[str] = (sys.executable, str(script), str(folder), *more)
    processes = [
        subprocess.Popen(command, env=around | {"RANK": str(number), "LOCAL_RANK": str(number)})
        for number in (0, 1)
    ]
    try:
        return [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_processes_train_as_one_and_a_death_costs_nothing(tmp_path: Path) -> None:
    """Batches of 5 clips: unequal parts. Process 1 dies at step 4 of 9; both are started again."""
    train_plain(tmp_path / "one")
    assert start_two(tmp_path / "two") == [0, 0]
    one, two = ended(tmp_path / "one"), ended(tmp_path / "two")
    assert_same(one, two)
    codes = start_two(tmp_path / "killed", "4")
    assert codes[0] != 0
    assert codes[1] == 9
    assert load_tensors(tmp_path / "killed" / "state.safetensors")[1]["step"] == 4
    assert start_two(tmp_path / "killed") == [0, 0]
    again = ended(tmp_path / "killed")
    assert again[0][-1] == two[0][-1]
    assert all(torch.equal(again[1][name], value) for name, value in two[1].items())


@pytest.mark.slow
def test_a_method_on_features_is_trained_by_one_of_two_processes(tmp_path: Path) -> None:
    """It takes seconds; and its optimiser has other groups of parameters than the usual one."""
    train_features(tmp_path / "one")
    assert start_two(tmp_path / "two", "features") == [0, 0]
    one, two = (load_tensors(tmp_path / name / "head.safetensors")[0] for name in ("one", "two"))
    assert torch.equal(one["weight"], two["weight"])
    assert torch.equal(one["bias"], two["bias"])


def test_an_optimiser_of_its_own_is_not_for_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mix = make_source(tmp_path / "bank"), TrainingMix(np.arange(9), NO_PAIRS, 0)
    batches = MixedBatches(source, mix, 3, True, 7, 1)
    monkeypatch.setattr("train.trainer.world", lambda: 2)
    with pytest.raises(ValueError, match="an optimiser of its own is not sent"):
        Trainer(
            TrainingJob(plain_network(), Supervised(), batches, ClassifierSettings(), 7),
            OwnOptimiser(make_optimiser, ""),
        )


@pytest.mark.slow
def test_accelerate_starts_two_processes_and_with_cpu_one(tmp_path: Path) -> None:
    """Without a GPU `--cpu` starts one process, and `--multi_gpu` as many as are asked for."""
    pytest.importorskip("accelerate")
    train_plain(tmp_path / "one")
    for flag, processes in (("--multi_gpu", 2), ("--cpu", 1)):
        folder = tmp_path / flag
        folder.mkdir()
        start_by_accelerate(folder, flag)
        assert load_tensors(folder / "network.safetensors")[1]["world"] == processes
        assert_same(ended(tmp_path / "one"), ended(folder))


def start_by_accelerate(folder: Path, flag: str) -> None:
    """Run `together.py` by `accelerate launch`, which is asked for two processes."""
    around = os.environ | {
        "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "accelerate.commands.launch", flag, "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", free_port(),
        str(Path(__file__).with_name("together.py")), str(folder),
    ]  # fmt: skip
    subprocess.run(command, env=around, check=True, timeout=600)


def test_a_process_that_sees_one_gpu_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some launchers show each process its own, whatever its number is."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device(torch.device("cuda")) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert own_device(torch.device("cpu")) == torch.device("cpu")
