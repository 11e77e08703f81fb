"""The engine `ray`: Ray Data with a pool of actors, on this machine or on a cluster.

Every machine of a cluster needs l2a, and must see the data set and the output folder under the same
paths (a shared file system): what travels through Ray is names and small results, not videos.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from compositing.engines.base import Item, NetworkTask, Result, as_network_task
from compositing.engines.results import network_result, packed, unpacked
from compositing.settings import EngineSettings
from l2a.errors import InputError, L2AError
from l2a.machine import usable_cores
from l2a.signals import keep_sigterm

GPU_SHARE = 0.25
"""Of a GPU, for each actor. Networks take a few GB, and while some actors decode or encode, the
others keep the GPU busy."""

_REACHABLE_SECONDS = 5.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
"""How HTTP/2 begins, which Ray speaks: a preface, and a frame of settings (type 4) with none."""

_REFUSALS = (ConnectionError, RuntimeError, ValueError, TimeoutError)

_SECONDS_TO_CLOSE = 30.0

_IN_FLIGHT = 2
"""Items given to an actor at a time: one to work on, one so that it need not wait."""

_AT_ONCE = 4096
"""Items that Ray Data knows of at a time. It keeps about 10 kB for each until all are done, and a
new pool of actors takes seconds."""


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Actors of a Ray cluster.

    Attributes:
        workers: actors; 0 means one for each core of the cluster.
        frames_at_once: frames in one pass through a network.
        devices: auto, for the cluster's GPUs where it has some; or cpu.
        address: of a running cluster; None starts Ray on this machine, unless it runs in this
            process already, and ends it with the work.
    """

    workers: int = 0
    frames_at_once: int = 8
    devices: str = "auto"
    address: str | None = None

    @classmethod
    def from_settings(cls, settings: EngineSettings) -> Self:
        """The engine of the settings.

        Raises:
            InputError: Ray is not installed, nothing answers at its address, or the devices are
                those of one machine.
        """
        if settings.devices not in ("auto", "cpu"):
            raise InputError(
                f"The devices are {settings.devices!r}, but the engine ray gives out the GPUs of"
                " its cluster itself; choose auto or cpu, or the engine local."
            )
        _import_ray()
        if settings.ray_address is not None:
            _check_reachable(settings.ray_address)
        return cls(
            settings.workers, settings.frames_at_once, settings.devices, settings.ray_address
        )

    def map(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        on_crash: Callable[[Item], Result],
        memory: int = 0,
    ) -> Iterator[Result]:
        """See `Engine.map`. Results come back as bytes, and go through Ray's object store.

        Raises:
            InputError: the cluster cannot be reached, or a machine lacks this folder.
            L2AError: the cluster failed.
        """
        if not items:
            return
        with self.session() as ray:
            networks = as_network_task(task)
            crew = self._crew(networks is not None, memory, len(items))
            job = _Job(
                pickle.dumps(task),
                str(Path.cwd()),
                None if networks is None else "cuda" if crew.gpu_share else "cpu",
                self.frames_at_once,
            )
            try:
                for start in range(0, len(items), _AT_ONCE):
                    yield from _in_order(job, items[start : start + _AT_ONCE], crew, on_crash)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0].rstrip(".")
                raise L2AError(
                    f"Ray failed: {reason}. The same command resumes where it stopped."
                ) from error

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """The module `ray`, connected, for a block of work; what the block maps uses it too.

        Raises:
            InputError: Ray is not installed, or the cluster cannot be reached.
        """
        ray = _import_ray()
        with _quiet(), self._connected():
            yield ray

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Be connected to Ray; end what was begun here."""
        ray = _import_ray()
        if ray.is_initialized():
            yield
            return
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        with keep_sigterm():
            self._init(quiet)
        try:
            yield
        finally:
            ray.shutdown()

    def _init(self, quiet: dict[str, Any]) -> None:
        ray = _import_ray()
        if self.address is None:
            cores = self.workers or usable_cores()
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
        else:
            _check_reachable(self.address)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the sentence below says it better
                    ray.init(address=self.address, **quiet)
            except _REFUSALS as error:
                raise InputError(_no_cluster(self.address, str(error))) from error
            except ray.exceptions.AuthenticationError as error:
                raise InputError(_no_cluster(self.address, str(error))) from error

    def _crew(self, networks: bool, memory: int, items: int) -> _Crew:
        """How many actors of which size this cluster can run at a time."""
        ray = _import_ray()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        size = self.workers or int(sum(node.get("CPU", 0) for node in nodes))
        share = 0.0
        gpus = sum(node.get("GPU", 0) for node in nodes)
        if networks and gpus and self.devices == "auto":
            share = GPU_SHARE
            # One share stays free, for what must be tried again.
            size = min(size, int(gpus / GPU_SHARE) - 1)
        if memory:
            room = [int(node.get("memory", 0)) for node in nodes]
            memory = min(memory, max(room))
            size = min(size, sum(some // memory for some in room)) if memory else size
        return _Crew(max(1, min(size, items)), share, memory)


@dataclass(frozen=True, slots=True)
class _Crew:
    """Actors: how many, the share of a GPU of each, and the bytes that each asks for."""

    size: int
    gpu_share: float
    memory: int


@dataclass(frozen=True, slots=True)
class _Job:
    """The task as it travels; nothing of it is opened before an actor has begun to work.

    Attributes:
        task: pickled.
        folder: where relative paths start.
        device: where its networks run; None if it has none.
        frames_at_once: frames in one pass through a network.
    """

    task: bytes
    folder: str
    device: str | None
    frames_at_once: int

    def begin(self) -> Callable[[Any], Any]:
        """Make this process ready, and the task.

        Raises:
            InputError: this machine does not see the folder.
        """
        import cv2

        cv2.setNumThreads(1)
        try:
            os.chdir(self.folder)
        except OSError:
            raise InputError(
                f"The machine {socket.gethostname()} of the Ray cluster does not see the folder"
                f" {self.folder}; work in a folder that all its machines share."
            ) from None
        task: Any = unpacked(self.task)
        if self.device is None:
            return task
        here: NetworkTask = task.on_device(self.device, self.frames_at_once)
        return here


def _in_order(
    job: _Job, items: Sequence[Item], crew: _Crew, on_crash: Callable[[Item], Result]
) -> Iterator[Result]:
    """The results of the items; those that Ray Data leaves out are tried again."""
    done = 0
    sent = [pickle.dumps(item) for item in items]
    through = _from_outside if _import_ray().util.client.ray.is_connected() else _through_ray_data
    with contextlib.closing(through(job, sent, crew)) as results:
        for number, result in results:
            for item in items[done:number]:
                yield _retry(job, item, crew, on_crash)
            yield unpacked(result).get()
            done = number + 1
    for item in items[done:]:
        yield _retry(job, item, crew, on_crash)


class _Actor:
    """What an actor of the pool runs: items in, results out, both as bytes."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._task: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        result = network_result(
            self._do, row["item"],
            device="a GPU of the cluster", frames_at_once=self._job.frames_at_once,
        )  # fmt: skip
        return {"number": row["number"], "result": packed(result)}

    def _do(self, item: bytes) -> Any:
        if self._task is None:
            self._task = self._job.begin()
        return self._task(unpacked(item))


def _through_ray_data(
    job: _Job, items: Sequence[bytes], crew: _Crew
) -> Generator[tuple[int, bytes], None, None]:
    """Numbers of items with their results, in order; those whose actor died are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CPU and GPU in one actor: "experimental"
        data = _data_set(job, items, crew)
    for row in data.iter_rows():
        yield row["number"], row["result"]


def _data_set(job: _Job, items: Sequence[bytes], crew: _Crew) -> Any:
    """What Ray Data is to do: nothing is done before its rows are asked for."""
    ray = _import_ray()
    with _own_context():
        rows = [{"number": number, "item": item} for number, item in enumerate(items)]
        # A block for each item: a block is what an actor is given, and what dies with it.
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Actor,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(
                size=crew.size, max_tasks_in_flight_per_actor=_IN_FLIGHT
            ),
            num_cpus=1,
            num_gpus=crew.gpu_share or None,
            memory=crew.memory or None,
            ray_remote_args_fn=_restarted_but_not_retried,
        )


def _restarted_but_not_retried() -> dict[str, Any]:
    """By itself Ray would give an item that kills its actor to one after the other, forever."""
    return {"max_restarts": -1, "max_task_retries": 0}


@contextlib.contextmanager
def _own_context() -> Iterator[None]:
    """What Ray Data must keep to, in data sets that are made meanwhile."""
    ray = _import_ray()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.max_errored_blocks = -1  # they are noticed by their absence
    context.execution_no_progress_timeout_s = -1  # a long video takes its time
    with ray.data.DataContext.current(context):
        yield


def _from_outside(
    job: _Job, items: Sequence[bytes], crew: _Crew
) -> Generator[tuple[int, bytes], None, None]:
    """As `_through_ray_data`, for a caller outside the cluster (ray://), where that cannot run."""
    ray = _import_ray()
    inside = ray.remote(num_cpus=0)(_Inside).remote(job, items, crew)
    try:
        while (found := ray.get(inside.take.remote())) is not None:
            yield found
    finally:
        # Killed before it has ended its pool, it can leave an actor of it behind, whose core no
        # other work of this connection would get.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(inside.close.remote(), timeout=_SECONDS_TO_CLOSE)
        ray.kill(inside)


class _Inside:
    """An actor that stands in the cluster for a caller outside."""

    def __init__(self, job: _Job, items: Sequence[bytes], crew: _Crew) -> None:
        self._results = _through_ray_data(job, items, crew)

    def take(self) -> tuple[int, bytes] | None:
        """The next result; None at the end."""
        return next(self._results, None)

    def close(self) -> None:
        """End the pool of actors, whether or not there are results left."""
        self._results.close()
        gc.collect()  # Ray Data ends its pool with the iterator over its rows, which has circles


def _retry(job: _Job, item: Item, crew: _Crew, on_crash: Callable[[Item], Result]) -> Result:
    """The second try of an item, alone in a process of its own."""
    ray = _import_ray()
    # No core and no memory are asked for: the pool may have taken them all.
    alone = ray.remote(num_cpus=0, num_gpus=crew.gpu_share, max_retries=0, max_calls=1)(_alone)
    try:
        row = ray.get(alone.remote(job, pickle.dumps(item)))
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError:
        return on_crash(item)
    result: Result = unpacked(row["result"]).get()
    return result


def _alone(job: _Job, item: bytes) -> dict[str, Any]:
    return _Actor(job)({"number": 0, "item": item})


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"The engine ray is not installed ({error}); run: pip install 'l2a[ray]'"
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Look whether Ray may be there: Ray itself would try for minutes.

    Raises:
        InputError: none does, or it is not an address.
    """
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise InputError(
            f"The ray address is {address!r}; give auto, HOST:PORT or ray://HOST:PORT."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _REACHABLE_SECONDS) as line:
            line.sendall(_HELLO)
            if line.recv(4)[3:] != b"\x04" and os.environ.get("RAY_USE_TLS", "0") == "0":
                raise ConnectionError("what listens there is not Ray")
    except OSError as error:
        raise InputError(_no_cluster(address, error.strerror or str(error))) from error


def _no_cluster(address: str, reason: str) -> str:
    reason = reason.strip().partition("\n")[0].rstrip(".")
    return (
        f"No Ray cluster answers at {address} ({reason}); start one with `ray start --head`, set"
        " RAY_AUTH_MODE=token if it needs one, or leave --ray-address out to use this machine."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray prints nothing by default, and sends no usage statistics."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    before = {name: os.environ.get(name) for name in wanted}
    logger = logging.getLogger("ray.data")
    level = logger.level
    os.environ |= wanted
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
