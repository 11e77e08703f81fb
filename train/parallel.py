"""Several trainings at a time on a machine without a GPU.

Small networks gain little from a second core: its threads wait for each other at every layer. As
many trainings side by side as there are cores, each on a thread of its own, waste nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import TypeVar

import torch

from compositing.engines.process import prepare_child
from l2a.errors import L2AError
from l2a.machine import usable_cores
from l2a.signals import defer_signals
from train.distributed import world

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainingPool:
    """How trainings share the cores.

    Attributes:
        processes: trainings at a time; 1 trains in this process.
        threads: of each. It follows from how many trainings there are in all, not from how many
            are left, so that a resumed run computes as one that was not interrupted.
    """

    processes: int
    threads: int

    @classmethod
    def of(cls, workers: int, trainings: int, device: torch.device) -> TrainingPool:
        """What `--workers` (0: one per core) means for some trainings on a device.

        A GPU takes them one by one, and so do several processes that train together.
        """
        cores = usable_cores()
        if device.type != "cpu" or world() > 1:
            return cls(1, torch.get_num_threads())
        processes = max(1, min(workers or cores, trainings))
        if processes == 1:
            return cls(1, torch.get_num_threads())
        # Of the threads that this process may use: a run of an ablation has its share of the cores.
        return cls(processes, max(1, min(cores, torch.get_num_threads()) // processes))

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Compute in this process on as many threads as a process of its own would."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield `function(item)` for each item, in the order in which they end.

        An error, or a signal to this process, ends the others at once: a training keeps its state.

        Raises:
            L2AError: a process died.
        """
        others = set(active_children())
        # Started afresh, because a fork copies the locks of the threads that are there.
        pool = ProcessPoolExecutor(
            min(self.processes, len(items)), mp_context=get_context("spawn"),
            initializer=_begin, initargs=(self.threads,),
        )  # fmt: skip
        try:
            with defer_signals():  # processes start here
                futures = [pool.submit(function, item) for item in items]
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            for child in set(active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise L2AError(
                    "A process that trained a classifier died, perhaps because the memory did not "
                    "suffice; the same command resumes, and --workers 1 trains them one by one."
                ) from None
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(threads: int) -> None:
    prepare_child()
    torch.set_num_threads(threads)
