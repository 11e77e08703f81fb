"""The engine `local`: processes of this machine; results in order, dead processes survived."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Any, Self

from compositing.engines.base import HostDied, Item, Result, as_network_task
from compositing.engines.hosts import Hosts
from compositing.engines.process import prepare_child
from compositing.settings import EngineSettings
from l2a.logs import LOGGER
from l2a.machine import usable_cores, usable_memory
from l2a.signals import defer_signals

ITEMS_PER_WORKER = 4
"""Items handed out per worker before their results are taken: bounds the memory."""

_DEATHS = (BrokenProcessPool, HostDied)


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Worker processes on this machine, and next to them one host of networks for each GPU.

    Attributes:
        workers: processes; 0 means one per core, and 1 works in this process.
        frames_at_once: frames in one pass through a network.
        devices: where networks run: auto, cpu or a list of GPUs, as in `EngineSettings`; where
            that is no GPU, they run in the workers. A tuple names the device of each host.
    """

    workers: int = 0
    frames_at_once: int = 8
    devices: str | tuple[str, ...] = "cpu"

    @classmethod
    def from_settings(cls, settings: EngineSettings) -> Self:
        """The engine of the settings.

        Raises:
            InputError: a device that they name is not there.
        """
        engine = cls(settings.workers, settings.frames_at_once, settings.devices)
        if settings.devices != "auto":
            engine._gpus()
        return engine

    def map(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        on_crash: Callable[[Item], Result],
        memory: int = 0,
    ) -> Iterator[Result]:
        """See `Engine.map`. A host that dies costs what a dead worker costs."""
        workers = min(self.workers or usable_cores(), _affordable(memory), max(1, len(items)))
        if self.workers == 1:
            workers = 0  # else a single item gets a process, too: it may be what killed another
        networks = as_network_task(task) if items else None
        if networks is None:
            yield from map_in_order(task, items, workers=workers, on_crash=on_crash)
        elif gpus := self._gpus()[: max(1, workers)]:
            with Hosts(networks, gpus, self.frames_at_once) as hosts:
                task = networks.hosted(hosts.client)
                yield from map_in_order(
                    task, items, workers=workers, on_crash=on_crash, restart=hosts.restart
                )
        else:
            task = networks.on_device("cpu", self.frames_at_once)
            yield from map_in_order(task, items, workers=workers, on_crash=on_crash)

    def _gpus(self) -> tuple[str, ...]:
        """The device of each host; () for none. Loads torch only where it may be needed."""
        if isinstance(self.devices, tuple):
            return self.devices
        if self.devices == "cpu":
            return ()
        from l2a.devices import list_gpus

        return list_gpus(self.devices)


HERE = LocalEngine(workers=1)
"""Does everything in this process."""


def _affordable(memory: int) -> int:
    """How many processes of `memory` bytes fit into half of the memory that there is for this one,
    at least one."""
    here = usable_memory()
    if here is None:
        return usable_cores()
    return max(1, here // 2 // max(1, memory))


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    on_crash: Callable[[Item], Result],
    restart: Callable[[BaseException], None] = lambda death: None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Processes are started afresh ("spawn"), because a fork copies the locks of OpenCV's and
    FFmpeg's threads. Each gets `function` once, at its start, and runs OpenCV on one thread. When
    one dies (killed for memory, a crash in a decoder), the items then under way are tried once
    more, each in a process of its own; one that kills that one too gives `on_crash(item)`. The
    death of a host of networks is treated alike.

    Args:
        function: picklable, as are items and results. An exception of its goes to the caller.
        items: what to work on.
        workers: processes; 0 works in this process.
        on_crash: the result of an item whose process died twice.
        restart: called after a death, before anything is tried again.
    """
    done = 0
    while done < len(items):
        try:
            for result in _calls(function, items[done:], workers):
                yield result
                done += 1
        except _DEATHS as death:
            restart(death)
            for item in items[done : done + max(1, ITEMS_PER_WORKER * workers)]:
                yield _retry(function, item, workers, on_crash, restart)
                done += 1


def _calls(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """`function(item)` for each, by so many processes; by this one if there are none."""
    return _in_pool(function, items, workers) if workers else map(function, items)


def _retry(
    function: Callable[[Item], Result],
    item: Item,
    workers: int,
    on_crash: Callable[[Item], Result],
    restart: Callable[[BaseException], None],
) -> Result:
    """The second try of an item, alone."""
    try:
        (result,) = _calls(function, [item], min(workers, 1))
    except _DEATHS as death:
        restart(death)
        return on_crash(item)
    return result


def _in_pool(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(function,)
    )
    try:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            with defer_signals():  # processes start here
                waiting.append(pool.submit(_call, item))
            if len(waiting) >= ITEMS_PER_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except KeyboardInterrupt:
        _end(pool)
        raise
    finally:
        # What runs is finished, so that an interrupt leaves no half-made video behind.
        pool.shutdown(wait=True, cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    """Let the workers finish their current items; a second Ctrl-C ends them at once."""
    LOGGER.warning("stopping when the videos in progress are done; Ctrl-C again stops at once")
    try:
        pool.shutdown(wait=True, cancel_futures=True)
    except KeyboardInterrupt:
        for child in active_children():
            child.kill()
        raise


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    prepare_child()


def _call(item: Any) -> Any:
    return _function(item)
