"""Several processes, one training: on the GPUs of a machine, or of many.

`torchrun --nproc_per_node 2 -m l2a train …`, or `accelerate launch`, starts the same command
several times. Process 0 runs it as it always runs; the others wait, and are called whenever it
comes to a training (`train.trainer`). So process 0 alone holds the run's lock, prepares, selects,
logs and writes, and nothing but the trainer knows that there are others.

In a training every process draws the same global batch from (seed, epoch, step), keeps its part,
and takes the step with the mean of all gradients. Nothing is wrapped: two forward passes before one
backward pass, or a head that a step leaves out, are as they are in one process.

A process that dies is noticed by the launcher, which ends the others; the same command resumes.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from l2a.errors import InputError, L2AError
from l2a.logs import say

Job = Callable[[torch.device], None]
"""What the other processes are called for: picklable; it is given the device to work on."""

_PATIENCE = timedelta(days=7)
"""How long processes wait for process 0 to prepare. A death is noticed by the launcher at once."""

_JOINING = timedelta(minutes=10)
"""How long processes wait for each other at their start: one that was never started never comes."""

_BY_ACCELERATE = "ACCELERATE_MIXED_PRECISION"
"""What `accelerate launch` sets for every process that it starts, even for a single one."""


_ALONE = ContextVar("alone", default=False)


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """How many processes train together; 1 in a block of `alone`."""
    return dist.get_world_size() if _joined() else 1


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized() and not _ALONE.get()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """In this block process 0 trains by itself, and the others go on waiting: for trainings that
    take seconds."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def run_together(command: Callable[[], None]) -> None:
    """Run a command in process 0, and help it in all others.

    Without a launcher it is run, and nothing else happens. `accelerate launch` may start one
    process where several were asked for (with `--cpu` it always does): that is said.

    Args:
        command: what `l2a` was asked to do.

    Raises:
        InputError: a launcher's variables are incomplete, or the processes did not find each other.
    """
    if asked_for() < 2:
        if _BY_ACCELERATE in os.environ:
            say("note: accelerate launch started one process, which trains alone; where it was to "
                "be several, leave --cpu out and give --multi_gpu, or use torchrun")  # fmt: skip
        command()
        return
    _join()
    if rank():
        _help()
        return
    say(f"{world()} processes train together ({dist.get_backend()})")
    command()
    # Not after an error: the others may be in the middle of a step. Then this process ends, and the
    # launcher ends them.
    _send(None, torch.device("cpu"))
    dist.destroy_process_group()


def call_all(job: Job, device: torch.device) -> None:
    """Have all other processes do what this one is about to do on a device; for process 0."""
    if world() > 1 and rank() == 0:
        _send(job, device)


def meet() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        _sum(torch.zeros(1))


def own_device(like: torch.device) -> torch.device:
    """The device of this process where process 0 uses one of that type."""
    if like.type != "cuda":
        return like
    return torch.device("cuda", _own_gpu())


def _own_gpu() -> int:
    """Its number among those that this process sees: some launchers show each process its own."""
    return int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()


def refuse_other_gpu(device: torch.device) -> None:
    """Raise `InputError` where process 0 was told to use a GPU that is another process's."""
    if world() > 1 and device.type == "cuda" and (device.index or 0) != own_device(device).index:
        raise InputError(
            f"device is {device}, and each of the {world()} processes takes the GPU of its own "
            "number; leave --device out."
        )


def refuse_pieces_in_sync(micro_batch: int | None, device: torch.device, *, sync: bool) -> None:
    """Raise `InputError` where several GPUs are to normalise clips together of which each sees some
    after the others: with another number of passes they would wait for each other for ever."""
    if sync and micro_batch is not None and world() > 1 and device.type == "cuda":
        raise InputError(
            f"micro_batch is {micro_batch} and sync_batchnorm is on: clips that go through the "
            "network one after another cannot be normalised together; leave one of the two out."
        )


def average(tensors: Sequence[Tensor]) -> None:
    """Put the mean over all processes into each tensor, in place; float32, on one device.

    One message for all of them. With one process nothing happens.

    Raises:
        L2AError: another process died.
    """
    if world() == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    _sum(flat)
    flat /= world()
    sizes = [tensor.numel() for tensor in tensors]
    with torch.no_grad():
        for tensor, mean in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(mean.view(tensor.shape))


def average_gradients(parameters: Sequence[nn.Parameter], *others: Tensor) -> None:
    """Put the mean over all processes into each gradient, and into `others`.

    A parameter without a gradient here that has one elsewhere counts as zero here. One that has
    none anywhere keeps none, so that an optimiser leaves it alone, as it does in one process.

    Raises:
        L2AError: another process died.
    """
    if world() == 1:
        return
    has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
    has = has.to(parameters[0].device)
    _sum(has)
    used = [p for p, count in zip(parameters, has.tolist(), strict=True) if count]
    gradients = []
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    average([*gradients, *others])


def asked_for() -> int:
    """How many processes the launcher says there are.

    Raises:
        InputError: it says nothing of use.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal():
        raise InputError(f"WORLD_SIZE is {said!r}, which a launcher sets to a number; unset it.")
    return int(said)


def refuse_launcher(command: str) -> None:
    """Raise `InputError` where a launcher started a command in several processes that works in
    one."""
    if (count := asked_for()) > 1:
        raise InputError(
            f"`l2a {command}` was started in {count} processes, and it works in one; start it "
            "without a launcher."
        )


def _join() -> None:
    """Join the group that the launcher's variables name; assert that it is one.

    Raises:
        InputError: it is not.
    """
    expected = asked_for()
    gpus = torch.cuda.device_count()
    backend = "gloo"
    if gpus and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(_own_gpu())
    try:
        store, number, _ = next(rendezvous("env://", timeout=_JOINING))
        dist.init_process_group(
            backend, store=store, rank=number, world_size=expected, timeout=_PATIENCE
        )
        store.set_timeout(_PATIENCE)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise InputError(
            f"WORLD_SIZE is {expected}, and the processes do not find each other ({reason}); start "
            "them with torchrun or accelerate launch."
        ) from error
    if gpus:
        _meet_gpus()
    # Processes that each believe to be the only one would train apart, and nobody would see it.
    seen = torch.tensor([1, dist.get_rank()])
    _sum(seen)
    if seen.tolist() != [expected, expected * (expected - 1) // 2] or world() != expected:
        raise InputError(
            f"The launcher speaks of {expected} processes, and {int(seen[0])} answer; start them "
            "with torchrun or accelerate launch."
        )


_GPUS: list[str] = []
"""That of each process, where there are GPUs."""


def _meet_gpus() -> None:
    """Tell each other which GPU each process has."""
    own = f"{socket.gethostname()} {torch.cuda.get_device_properties(_own_gpu()).uuid}"
    others: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(others, own)
    _GPUS[:] = others


def refuse_shared_gpus(device: torch.device) -> None:
    """Raise `InputError` where two processes have the same GPU and train on it: NCCL would fail at
    the first step, hours later."""
    twice = [gpu for gpu in _GPUS if _GPUS.count(gpu) > 1]
    if twice and device.type == "cuda":
        raise InputError(
            f"{twice.count(twice[0])} of the {len(_GPUS)} processes have the same GPU "
            f"({twice[0]}); start as many on each machine as it has GPUs, or give --device cpu."
        )


def _sum(tensor: Tensor) -> None:
    """Put the sum over all processes into a tensor.

    Raises:
        L2AError: another process died.
    """
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise L2AError(
            f"One of the {world()} processes that train together died, or cannot reach the others "
            f"({str(error).partition(chr(10))[0][:200]}); the same command resumes."
        ) from error


def _help() -> None:
    """Do what process 0 calls for, until it says that it is done."""
    # The launcher ends helpers; they hold nothing that must be put away, and say nothing.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (called := _receive()) is not None:
        job, device = called
        job(device)
    dist.destroy_process_group()


def _send(job: Job | None, device: torch.device) -> None:
    kept = io.BytesIO()
    torch.save(job, kept)
    said = [device.type, kept.getvalue()]
    dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))


def _receive() -> tuple[Job, torch.device] | None:
    said: list[Any] = [None, None]
    try:
        dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    except RuntimeError:
        raise SystemExit(1) from None  # process 0 ended, and has said why
    device = own_device(torch.device(said[0]))
    # Of this very command, in this very moment, and from no file: nobody else's objects are loaded.
    # What lay on the GPU of process 0 comes to this one's; what lay in memory stays there.
    places = {"cuda:0": str(device)}
    job = torch.load(io.BytesIO(said[1]), map_location=places, weights_only=False)
    return None if job is None else (job, device)
