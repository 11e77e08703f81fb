"""How an engine starts its processes, and what each of them does first."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.resource_tracker import ensure_running

import cv2

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Start child processes in this block: a signal cannot strike them before they are `settled`.

    A terminal sends Ctrl-C to the children too, and one that still imports would print a traceback.
    What is blocked here they inherit as blocked; it is kept for this process until the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It is started with the first child, and takes the signals out of the mask when it is.
    ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle() -> None:
    """Make a fresh child process ready.

    Ctrl-C is for the parent alone, which ends its children in order; SIGTERM ends this one without
    a word. A child whose parent was killed ends too: nothing would ever ask it again. OpenCV
    computes on one thread, for there is a process for each core.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
