"""One function over many items, in several processes; results in order, dead workers survived."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Items handed out per worker before their results are taken: bounds the memory."""


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
        workers: processes; 0 means one per core, and 1 works in this process.
        lost: the result of an item whose process died twice.
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
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
