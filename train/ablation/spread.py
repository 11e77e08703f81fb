"""Runs side by side: each in a process of its own, on this machine or on a Ray cluster.

A task that is given out is called once, in a process that does nothing else and ends with it. One
whose process dies is given out once more; what it is a part of is resumable, so that it goes on
from where it was.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, Self, TypeVar

from compositing.engines.process import prepare_child
from compositing.engines.results import packed, result_of, unpacked
from compositing.settings import EngineSettings
from l2a.errors import InputError
from l2a.machine import usable_cores
from l2a.signals import defer_signals
from train.ablation.ray_tasks import RayTasks

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

DIED = "its process died twice, perhaps because the memory did not suffice"
"""Why a task has no result."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Task(Protocol[Result_co]):
    """What a process is given: picklable, as is its result. It is told how many cores it has."""

    def __call__(self, cores: int, /) -> Result_co: ...


class Spread(Protocol):
    """Calls tasks side by side; a context manager, within which engines may be used too."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, tasks: Mapping[Key, Task[Result]]) -> Iterator[tuple[Key, Result | str]]:
        """The results, in the order in which they come; tasks begin in the order given.

        An error of a task goes to the caller, and ends the others.

        Yields:
            (key, result), or (key, reason) for a task whose process died twice.
        """
        ...


def make_spread(jobs: int | None, engine: EngineSettings, device: str) -> Spread | None:
    """What the settings ask for; None for one run after another.

    Args:
        jobs: runs at a time; what there is room for, or one, if None.
        engine: of the command; ray makes tasks of a cluster.
        device: of the classifiers.

    Raises:
        InputError: Ray is not installed, or nothing answers at its address; or a GPU is named
            where each run is given one.
    """
    if engine.engine == "ray":
        if device.startswith("cuda:"):
            raise InputError(
                f"device is {device}, but with the engine ray each run is given a GPU of the "
                "cluster; leave --device out."
            )
        return RayTasks.from_settings(engine, jobs, wants_gpu=device != "cpu")
    if jobs is None or jobs == 1:
        return None
    gpus = () if device == "cpu" or device.startswith("cuda:") else visible_gpus()
    return Processes(jobs, engine.workers or max(1, usable_cores() // jobs), gpus)


def in_words(jobs: int | None, engine: EngineSettings) -> str:
    """How runs follow each other."""
    if engine.engine == "ray":
        return "as tasks of Ray" + (f", {jobs} at a time" if jobs else "")
    return f"{jobs} side by side" if jobs and jobs > 1 else "one after another"


def visible_gpus() -> tuple[str, ...]:
    """The GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # processes that are started here import this module

    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return tuple(given[:count] if len(given) >= count else map(str, range(count)))


@dataclass(frozen=True)
class Processes:
    """Processes of this machine.

    Attributes:
        jobs: at a time.
        cores: of each.
        gpus: dealt out one by one: with more processes than GPUs, some share one.
    """

    jobs: int
    cores: int
    gpus: Sequence[str] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, tasks: Mapping[Key, Task[Result]]) -> Iterator[tuple[Key, Result | str]]:
        """See `Spread`."""
        waiting = deque((key, 1) for key in tasks)
        at_work: dict[Connection[Any, Any], _AtWork] = {}
        places = list(range(self.jobs))
        try:
            while waiting or at_work:
                while waiting and places:
                    key, tries = waiting.popleft()
                    begun = self._begin(tasks[key], key, tries, places.pop(0))
                    at_work[begun.answer] = begun
                for answer in wait(list(at_work)):
                    done = at_work.pop(answer)  # type: ignore[call-overload]
                    places.append(done.place)
                    found = done.result()
                    if found is not None:
                        yield done.key, found.get()
                    elif done.tries == 1:
                        waiting.appendleft((done.key, 2))
                    else:
                        yield done.key, DIED
        finally:
            for left in at_work.values():
                left.process.terminate()
            for left in at_work.values():
                left.process.join()

    def _begin(self, task: Task[Any], key: Any, tries: int, place: int) -> _AtWork:
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        spawn = get_context("spawn")
        answer, tell = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_in_child, args=(tell, task, self.cores, gpu))
        with tell, defer_signals():
            process.start()
        return _AtWork(key, tries, place, process, answer)


@dataclass(frozen=True)
class _AtWork:
    """A process, and what it was given."""

    key: Any
    tries: int
    place: int
    process: SpawnProcess
    answer: Connection[Any, Any] = field(repr=False)

    def result(self) -> Any | None:
        """What it came to, as a `CallResult`; None where it died."""
        with self.answer:
            try:
                found = unpacked(self.answer.recv_bytes())
            except (EOFError, OSError):
                found = None
        self.process.join()
        return found


def _in_child(tell: Connection[Any, Any], task: Task[Any], cores: int, gpu: str | None) -> None:
    """What a process does. CUDA looks at the variable when it is first used."""
    prepare_child()
    if gpu is not None:
        os.environ[_VISIBLE] = gpu
    with tell:
        tell.send_bytes(packed(result_of(task, cores)))
