"""Memory that is freed stays with the process, to be given out again.

By default the C library gives each large array back to the system when it is freed, and asks for
new pages for the next one, which the system fills with zeros first. Networks on a CPU free and ask
for megabytes in every layer: a tenth to a third of their time went by that
(`benchmarks/frozen_speed.py`).
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""Options of mallopt(3)."""

_LARGEST = 32 * 2**20
"""Bytes of the largest array that comes from memory kept: the most that the C library allows."""

_KEPT = 256 * 2**20
"""Bytes that may lie unused before some are given back."""


def keep_freed_memory() -> bool:
    """Keep up to 256 MB of freed memory in this process; for commands, not for libraries.

    Returns:
        Whether the C library was told: glibc alone knows how.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, _LARGEST), mallopt(_TRIM_THRESHOLD, _KEPT)])
