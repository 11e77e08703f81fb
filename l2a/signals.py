"""Ctrl-C and SIGTERM: both end a command cleanly, with one sentence."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems send it. Whatever ends cleanly on Ctrl-C does so on this."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What the shell expects of a process that such a signal ended."""
    return 143 if isinstance(stop, Terminated) else 130


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """In the block, SIGTERM raises `Terminated` in the main thread, as Ctrl-C raises its error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def keep_sigterm() -> Iterator[None]:
    """For a block in which a library puts its own answer to SIGTERM in place: ours comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """For a block that starts processes: signals wait until its end, so no process is lost.

    A terminal sends Ctrl-C to all processes at once. Those that were started here do not see it,
    not even while they still import; their parent ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: waiting.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _hidden_from_children():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def _hidden_from_children() -> Iterator[None]:
    """Block Ctrl-C in this thread: what is blocked here stays so in the processes it starts."""
    if sys.platform == "win32":
        yield
        return
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # which unblocks it: it must not be first called within
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
