"""The batches of a training, made while the network trains: by worker processes, or by a thread.

A batch is a function of its step alone, so that it does not matter who makes it: the bytes are the
same for any number of workers, and a training resumes at any step.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Protocol, Self, TypeVar, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from l2a.errors import InputError, L2AError
from l2a.machine import usable_cores

T = TypeVar("T")

MOST_WORKERS = 8
"""Worker processes where nobody says how many: more than one GPU asks of them."""

_PREFETCHED = 2
"""Batches that wait, of each worker and of the thread."""


@dataclass(frozen=True)
class TensorBatch:
    """A batch of any objective: a frozen dataclass of tensors, and of other such batches."""

    def __len__(self) -> int:
        """Clips in it."""
        raise NotImplementedError

    def to(self, device: torch.device) -> Self:
        """The same on a device; the copy overlaps the computation where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> Self:
        """The same in memory from which a GPU can copy by itself."""
        return self._each(Tensor.pin_memory)

    @property
    def most_parts(self) -> int:
        """Into how many parts it can be divided."""
        return len(self)

    @property
    def terms(self) -> tuple[int, int]:
        """Over how many clips the loss's labelled term is a mean, and its other terms are."""
        return len(self), len(self)

    def part(self, index: int, of: int) -> Self:
        """Clips `index`, `index` + `of`, `index` + 2 `of`, …: one of `of` parts of the batch.

        For several processes and micro-batches. Only a batch of one row a clip can be divided so,
        whose loss is a mean over clips; it says so by `_divided`. Others are whole.

        Raises:
            InputError: it is divided, and cannot be.
        """
        if of == 1:
            return self
        raise InputError(
            "These batches cannot be divided among processes or into micro-batches; start one "
            "process, and leave --micro-batch out."
        )

    def _divided(self, index: int, of: int) -> Self:
        """What `part` gives where every tensor has one row a clip."""
        return self if of == 1 else self._each(lambda tensor: tensor[index::of].contiguous())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = change(value)
            elif isinstance(value, TensorBatch):
                values[name] = value._each(change)
        return type(self)(**values)


B = TypeVar("B", bound=TensorBatch)
B_co = TypeVar("B_co", bound=TensorBatch, covariant=True)


class StepBatches(Protocol[B_co]):
    """The batch of every step of a whole training, each a function of (seed, epoch, step).

    Picklable, without a copy of pixels: it goes to worker processes.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every clip is drawn once."""

    def __len__(self) -> int:
        """Steps of the whole training."""

    def __getitem__(self, step: int) -> B_co:
        """The batch of a step, counted from 0 over all epochs."""


@dataclass(frozen=True)
class Loading:
    """Who makes batches.

    Attributes:
        workers: processes; 0 for a thread of this one.
        pinned: whether batches lie in pinned memory, which only a GPU has a use for.
    """

    workers: int = 0
    pinned: bool = False

    @classmethod
    def of(cls, workers: int, device: torch.device) -> Self:
        """What `--workers` means for a training on a device.

        On a GPU, 0 is a process for each core. On a CPU, all of whose cores the network itself
        keeps busy, it is a thread. 1 works in this process, as everywhere.
        """
        gpu = device.type == "cuda"
        if workers == 0 and gpu:
            workers = min(usable_cores(), MOST_WORKERS)
        return cls(workers if workers > 1 else 0, gpu)


def load_steps(batches: StepBatches[B], loading: Loading, first: int = 0) -> Iterator[B]:
    """Yield the batches of the steps from `first` to the last, in order."""
    steps = range(first, len(batches))
    if loading.workers and steps:
        return _by_workers(batches, loading, steps)
    made = (batches[step] for step in steps)
    return prefetch(batch.pin_memory() for batch in made) if loading.pinned else prefetch(made)


def prefetch(items: Iterable[T], depth: int = _PREFETCHED) -> Iterator[T]:
    """Yield `items`, made by a thread that works at most `depth` items ahead of the consumer.

    An error is raised here, at the place of the item that it prevented.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield cast(T, item)


class _Items(Dataset["B | L2AError"]):
    """Steps as PyTorch's loader expects them; what is wrong with one comes in its place, because
    the loader makes a traceback of it."""

    def __init__(self, batches: StepBatches[B]) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> B | L2AError:
        try:
            return self._batches[step]
        except L2AError as error:
            return error


def _by_workers(batches: StepBatches[B], loading: Loading, steps: range) -> Iterator[B]:
    with warnings.catch_warnings():
        # More workers than cores are what somebody asked for, and slow at worst.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _Items(batches),
            batch_size=None,  # an item is a whole batch
            sampler=steps,
            num_workers=min(loading.workers, len(steps)),
            prefetch_factor=_PREFETCHED,
            pin_memory=loading.pinned,
            worker_init_fn=_one_thread,
            multiprocessing_context=_context(),
            generator=torch.Generator(),  # or starting it would draw from the global one
        )
        made = iter(loader)
    for batch in made:
        if isinstance(batch, L2AError):
            raise batch
        yield batch


def _context() -> multiprocessing.context.BaseContext:
    """How workers start: on Linux as copies of this process, which takes no time.

    Nothing that a copy would break is open then: banks are memory maps, and decoders live only
    while a file is read. Elsewhere they start from nothing.
    """
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _one_thread(worker: int) -> None:
    """There is a worker for each core. PyTorch has seen to its own threads already."""
    cv2.setNumThreads(0)
