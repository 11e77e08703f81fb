"""Disks that are full: what a library raises on one becomes an error that says so, and rows of
memory-mapped arrays are written in a way that can fail.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from l2a.errors import L2AError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_TEXT = re.compile(r"os error (\d+)|\[[Ee]rrno (\d+)\]")
_NOTHING = 65_536
"""With fewer bytes left than this, a disk is taken to be the reason why a write failed."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or its owner's share of it."""
    return isinstance(error, OSError) and error.errno in _FULL


def as_full(error: Exception, path: Path) -> OSError | None:
    """The error that says that the disk is full, where another one means it.

    Writers have their own ways to fail: safetensors and FFmpeg raise what is no `OSError`, Pillow
    one without a number, and a file object one without the file's name.

    Args:
        error: what writing raised.
        path: the file, or the part of it that there is.

    Returns:
        An `OSError` with number, reason and the file's name; None where something else went wrong.
    """
    if isinstance(error, L2AError):
        return None
    number = getattr(error, "errno", None) or _number_in(str(error))
    if number not in _FULL:
        if number or not _nothing_left(path.parent):
            return None
        number = errno.ENOSPC
    return OSError(number, os.strerror(number), str(path))


def _number_in(text: str) -> int | None:
    found = _IN_TEXT.search(text)
    return int(found[1] or found[2]) if found else None


def _nothing_left(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _NOTHING
    except OSError:
        return False


def create_array(path: Path, shape: tuple[int, ...], dtype: type, *, whole: bool = False) -> None:
    """Make an `.npy` file of zeros.

    Args:
        path: of the file; what lies there is replaced.
        shape, dtype: of the array.
        whole: take its room on the disk now. Otherwise the file is sparse: what is never written
            takes none.
    """
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if whole:
        write_rows(array, 0, np.zeros(shape, dtype))


def write_rows(array: np.memmap, row: int, values: NDArray[Any]) -> None:
    """Write rows of a memory-mapped array, of `create_array`, in the file below the map.

    A write to the map itself of a sparse file on a full disk cannot fail: the system kills the
    process (SIGBUS). Readers' maps, of any process on this machine, show what is written here.

    Args:
        array: `[N, ...]`, C order.
        row: the first one.
        values: `[n, ...]` of the array's dtype.

    Raises:
        OSError: it cannot be written; the rows then hold anything.
    """
    if values.dtype != array.dtype or values.shape[1:] != array.shape[1:]:
        raise ValueError(f"rows are {array.dtype} {array.shape[1:]}, not {values.dtype}")
    if not array.flags.writeable:
        raise ValueError(f"{array.filename} is open read-only")
    place = array.offset + row * array.strides[0]
    path = Path(str(array.filename))
    try:
        with path.open("r+b", buffering=0) as file:
            file.seek(place)
            left = np.ascontiguousarray(values).data.cast("B")
            while len(left):
                left = left[file.write(left) or 0 :]
    except OSError as error:
        raise (as_full(error, path) or error) from None
