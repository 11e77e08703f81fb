"""One process at a time in a folder, of this machine or of others that share its disk.

lock_folder(OUT)                    whoever comes second is refused
with filling(SHARED, say_so): …     whoever comes second waits
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from l2a.errors import InputError
from l2a.files import sweep

_LOCK, _FILLING = ".lock", ".filling"
LOCKS = frozenset({_LOCK, _FILLING})
"""Files that are locked while a process works in a folder, or fills it; empty, and gone after it.
A killed process leaves one, which locks nothing, for the next one to remove."""

_TRIES = 100
"""So often another process can remove a file between its opening and its locking. Then it is taken
as it is: on some file systems the same file has several numbers."""

_HELD: dict[Path, int] = {}
"""File that is locked ─► its handle."""


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing, but for what a killed process may leave of its lock."""
    return all(path.name in LOCKS for path in folder.iterdir())


def lock_folder(folder: Path) -> None:
    """Keep other processes out of a folder, which is made if need be, until `unlock_folders` is
    called or this one ends.

    Processes of other machines are kept out, too, where the file system has locks of files that
    hold between machines (NFS has). One that is killed in the very moment in which it forks keeps
    the folder until its child runs and releases it; so a folder that is held is asked for again for
    a few seconds. On file systems without locks, and on Windows, nobody is kept out.

    Raises:
        InputError: another process holds it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give --out a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.resolve() / _LOCK
    if file in _HELD:
        return
    until = time.monotonic() + _PATIENCE
    while not _locked(file):
        if time.monotonic() > until:
            raise InputError(
                f"Another command is running in {folder}; wait for it, or give --out another "
                "folder."
            )
        time.sleep(0.02)
    sweep(file.parent)


_PATIENCE = 2.0
"""Seconds in which a dead holder's child must have let go of a folder."""


@contextlib.contextmanager
def filling(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Be the only process that fills a folder in this block; wait for another one that does.

    What is missing is to be looked for in the block: another process may just have made it. The
    folder is made if need be; see `lock_folder` for what locks are worth.

    Args:
        folder: that several commands share, such as a layer store.
        waits: called once if there is another process to be waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.resolve() / _FILLING
    if file in _HELD:
        yield
        return
    if not _locked(file):
        waits()
        while not _locked(file):
            time.sleep(0.5)
    try:
        yield
    finally:
        _release(file)


def sweep_filling(folder: Path) -> None:
    """Remove what a killed process left in a folder that it filled, if none is at work there."""
    file = folder.resolve() / _FILLING
    if file.exists() and file not in _HELD and _locked(file):
        _release(file)


def _locked(file: Path) -> bool:
    """Lock a file, which is made if need be; False where another process holds it."""
    if sys.platform == "win32":
        return True
    import fcntl

    # A regular file that is open for writing: NFS knows no exclusive locks of others.
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError:
            os.close(handle)
            return True
        if _is_at(handle, file) or not tries_left:
            with contextlib.suppress(OSError):
                os.fchmod(handle, 0o666)  # another user of a shared folder may lock it next
            _HELD[file] = handle
            return True
        os.close(handle)  # of one that its holder has removed since
    return True


def _is_at(handle: int, file: Path) -> bool:
    """Whether a file that is open still is the one at its path."""
    try:
        own = os.fstat(handle)
        return own.st_nlink > 0 and os.path.samestat(own, file.stat())
    except OSError:  # it is gone
        return False


def _release(file: Path) -> None:
    """Remove a file that is locked, and then let go of it: who has opened it looks for it again."""
    handle = _HELD.pop(file, None)
    if handle is None:
        return
    if _is_at(handle, file):
        with contextlib.suppress(OSError):
            file.unlink()
    os.close(handle)


def unlock_folders() -> None:
    """Let other processes into the folders that this one holds."""
    for file in list(_HELD):
        _release(file)


@contextlib.contextmanager
def locked_meanwhile() -> Iterator[None]:
    """Let other processes, at the end of the block, into the folders that were locked in it."""
    before = set(_HELD)
    try:
        yield
    finally:
        for file in set(_HELD) - before:
            _release(file)


def _let_go() -> None:
    """Close what is locked, and leave it to the process that this one was forked from."""
    while _HELD:
        os.close(_HELD.popitem()[1])


if hasattr(os, "register_at_fork"):  # a forked process would keep them when this one is gone
    os.register_at_fork(after_in_child=_let_go)

atexit.register(unlock_folders)
