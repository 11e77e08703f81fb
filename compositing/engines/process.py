"""How an engine starts its processes, and what each of them does first."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process

import cv2

from l2a.allocation import keep_freed_memory
from l2a.logs import listen_in_worker


def prepare_child() -> None:
    """Make a fresh child process ready.

    Ctrl-C is for the parent alone, which ends its children in order; SIGTERM ends this one without
    a word. A child whose parent was killed ends too: nothing would ever ask it again. Freed memory
    is kept, as in the command itself. OpenCV computes on one thread, for there is a process for
    each core.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    listen_in_worker()
    keep_freed_memory()
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
