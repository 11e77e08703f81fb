"""Runs as tasks of a Ray cluster, with a GPU each where there are some.

Every machine needs l2a, and must see the data set and the output folder under the same paths, as
for the engine `ray` (`compositing.engines.on_ray`), which makes the connection.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from compositing.engines.on_ray import RayEngine
from compositing.engines.results import packed, result_of, unpacked
from compositing.settings import EngineSettings
from l2a.errors import InputError, L2AError


@dataclass(frozen=True)
class Size:
    """What a task asks of the cluster: cores and GPUs."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class RayTasks:
    """Tasks of a cluster, as `train.ablation.spread.Spread`.

    Attributes:
        engine: makes the connection.
        jobs: at most so many at a time; as many as there is room for if None.
        workers: cores of each; what follows from the cluster if 0.
        wants_gpu: give each a GPU, where the cluster has some.
    """

    engine: RayEngine
    jobs: int | None
    workers: int
    wants_gpu: bool
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    @classmethod
    def from_settings(cls, engine: EngineSettings, jobs: int | None, *, wants_gpu: bool) -> Self:
        """The tasks of the settings.

        Raises:
            InputError: Ray is not installed, nothing answers at its address, or the devices are
                those of one machine.
        """
        # Of a Ray that is started here, all cores: `workers` is how many a run has.
        found = replace(RayEngine.from_settings(engine), workers=0)
        return cls(found, jobs, engine.workers, wants_gpu)

    def __enter__(self) -> Self:
        """Connect, once for all that is done in the block.

        Raises:
            InputError: the cluster cannot be reached.
        """
        self._open.enter_context(self.engine.session())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __call__(self, tasks: Mapping[Any, Callable[[int], Any]]) -> Iterator[tuple[Any, Any]]:
        """See `Spread`.

        Raises:
            L2AError: the cluster went away.
        """
        with self.engine.session() as ray:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            size = size_of(nodes, self.workers, self.jobs, wants_gpu=self.wants_gpu)
            # By itself Ray would try a task that takes too much memory again and again.
            remote = ray.remote(
                num_cpus=size.cores, num_gpus=size.gpus, max_retries=0, max_calls=1
            )(_in_task)  # fmt: skip
            waiting = deque((key, 1) for key in tasks)
            at_work: dict[Any, tuple[Any, int]] = {}
            try:
                while waiting or at_work:
                    while waiting and (self.jobs is None or len(at_work) < self.jobs):
                        key, tries = waiting.popleft()
                        sent = pickle.dumps(tasks[key])
                        at_work[remote.remote(sent, str(Path.cwd()), size.cores)] = key, tries
                    (done, *_), _ = ray.wait(list(at_work), num_returns=1)
                    key, tries = at_work.pop(done)
                    found = _result(ray, done)
                    if not isinstance(found, str):
                        yield key, found.get()
                    elif tries == 1:
                        waiting.appendleft((key, 2))
                    else:
                        yield key, f"it died twice on the cluster: {found}"
            except ray.exceptions.RayError as error:
                raise L2AError(
                    f"Ray failed: {_lines(error)[0]}. The same command resumes where it stopped."
                ) from error
            finally:
                for left in at_work:
                    ray.cancel(left, force=True)


def size_of(
    nodes: Sequence[Mapping[str, float]], workers: int, jobs: int | None, *, wants_gpu: bool
) -> Size:
    """What a task asks for, so that it can be had, and nothing lies idle.

    With GPUs, one of them and its share of the cores of its machine; without, a core, or with
    `jobs` its share of all. Never more cores than a machine has: such a task would wait for ever.

    Args:
        nodes: what each machine has, "CPU" and "GPU".
        workers: cores of a task; 0 chooses them.
        jobs: tasks at a time, or None.
        wants_gpu: whether a task computes on a GPU where there is one.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1] if wants_gpu else []
    fit = with_gpus or nodes
    most = max((int(node.get("CPU", 0)) for node in fit), default=1)
    if workers:
        cores = workers
    elif with_gpus:
        cores = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
    else:
        cores = int(sum(node.get("CPU", 0) for node in nodes)) // jobs if jobs else 1
    return Size(max(1, min(cores, most)), int(bool(with_gpus)))


def _result(ray: Any, done: Any) -> Any:
    """What a task came to, as a `CallResult`; how it died, as a text.

    A machine that cannot even begin (it lacks this program) counts as one that died.
    """
    try:
        return unpacked(ray.get(done))
    except ray.exceptions.RaySystemError:
        raise
    except ray.exceptions.RayTaskError as error:
        return _lines(error)[-1]
    except ray.exceptions.RayError as error:
        return _lines(error)[0]


def _lines(error: BaseException) -> list[str]:
    """What an error says, without full stops."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    return [line for line in lines if line] or [type(error).__name__]


def _in_task(sent: bytes, folder: str, cores: int) -> bytes:
    """What a machine of the cluster does: relative paths start where the command was given."""
    return packed(result_of(_call, sent, folder, cores))


def _call(sent: bytes, folder: str, cores: int) -> Any:
    try:
        os.chdir(folder)
    except OSError:
        raise InputError(
            f"The machine {socket.gethostname()} of the Ray cluster does not see the folder"
            f" {folder}; work in a folder that all its machines share."
        ) from None
    return unpacked(sent)(cores)
