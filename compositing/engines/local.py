"""The engine `local`: processes of this machine; results in order, dead workers survived."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Self

import cv2

from compositing.engines import Item, Result, as_network_task
from compositing.settings import EngineSettings

AHEAD = 4
"""Items handed out per worker before their results are taken: bounds the memory."""


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Worker processes on this machine.

    Attributes:
        workers: processes; 0 means one per core, and 1 works in this process.
        frames_at_once: frames in one pass through a network.
    """

    workers: int = 0
    frames_at_once: int = 8

    @classmethod
    def from_settings(cls, settings: EngineSettings) -> Self:
        """The engine of the settings."""
        return cls(settings.workers, settings.frames_at_once)

    def map(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        lost: Callable[[Item], Result],
        memory: int = 0,
    ) -> Iterator[Result]:
        """See `Engine.map`."""
        if (networks := as_network_task(task)) is not None:
            task = networks.placed("cpu", self.frames_at_once)
        workers = min(self.workers or os.cpu_count() or 1, _affordable(memory))
        yield from map_in_order(task, items, workers=workers, lost=lost)


HERE = LocalEngine(workers=1)
"""Does everything in this process."""


def _affordable(memory: int) -> int:
    """How many processes of `memory` bytes fit into half of the machine's memory, at least one."""
    if not hasattr(os, "sysconf") or not memory:
        return os.cpu_count() or 1
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, here // 2 // memory)


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    lost: Callable[[Item], Result],
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Processes are started afresh ("spawn"), because a fork copies the locks of OpenCV's and
    FFmpeg's threads. Each gets `function` once, at its start, and runs OpenCV on one thread. When
    one dies (killed for memory, a crash in a decoder), the items then under way are tried once
    more, each in a process of its own; the item that kills that one too is `lost`.

    Args:
        function: picklable, as are items and results. An exception of its goes to the caller.
        items: what to work on.
        workers: processes; 1 works in this process.
        lost: the result of an item whose process died twice.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    done = 0
    while done < len(items):
        try:
            for result in _in_pool(function, items[done:], workers):
                yield result
                done += 1
        except BrokenProcessPool:
            for item in items[done : done + AHEAD * workers]:
                yield _alone(function, item, lost)
                done += 1


def _in_pool(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(function,)
    )
    try:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(_call, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # What runs is finished, so that an interrupt leaves no half-made video behind.
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(
    function: Callable[[Item], Result], item: Item, lost: Callable[[Item], Result]
) -> Result:
    try:
        (result,) = _in_pool(function, [item], 1)
    except BrokenProcessPool:
        return lost(item)
    return result


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    """Make a fresh process ready: Ctrl-C is for the parent alone."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _call(item: Any) -> Any:
    return _function(item)
