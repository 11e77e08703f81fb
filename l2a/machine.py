"""What this process may use of its machine, and how it ends where it runs out of memory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from l2a.errors import L2AError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")

_IN_TEXT = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
"""How PyTorch's errors say it, in small letters: on a GPU, and on a CPU."""


def usable_cores() -> int:
    """How many cores this process may use: Slurm, `taskset` and containers leave it some of all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int | None:
    """Bytes of memory that this process and its children may use: the machine's, or what its
    control group is limited to; None where the system does not say."""
    known = [limit for limit in (_physical_memory(), _group_limit()) if limit is not None]
    return min(known, default=None)


def _physical_memory() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_limit() -> int | None:
    """The smallest limit of the control group and those above it, of version 2 or 1."""
    try:
        rows = _OWN_GROUP.read_text().splitlines()
    except OSError:
        return None
    found: list[int] = []
    for row in rows:
        _, kinds, own = row.split(":", 2)
        if kinds == "":
            top, name = _CGROUPS, "memory.max"
        elif "memory" in kinds.split(","):
            top, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, and the group itself lies at the top.
        place = top / own.lstrip("/")
        for folder in (place, *place.parents):
            if not folder.is_relative_to(top):
                break
            with contextlib.suppress(OSError, ValueError):  # "max" is none
                found.append(int((folder / name).read_text()))
    return min(found, default=None)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of the machine did not suffice."""
    torch = sys.modules.get("torch")  # what is not loaded has raised nothing
    if isinstance(error, MemoryError):
        return True
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(text in said for text in _IN_TEXT)


@contextlib.contextmanager
def memory_for(what: str, remedy: str) -> Iterator[None]:
    """Work in this block; where it runs out of memory, say so, and what to do.

    Args:
        what: the work and its size: "a training in batches of 8 clips (batch_size)".
        remedy: what to do: "give a smaller --batch-size".

    Raises:
        L2AError: there is too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        raise L2AError(f"Out of memory: there is too little for {what}; {remedy}.") from error
