"""Files that appear whole, fingerprints of settings, and paths that stay under their root."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from l2a.disks import as_full
from l2a.errors import InputError
from l2a.settings import kept

_MOST_JSON = 2**28
"""Bytes of a JSON file that is still read: some millions of annotations."""

_END_BYTES = 65_536
"""How much of a source file is read at either end to notice another file."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path next to `path` to write to; rename it to `path` only if the block succeeds.

    The temporary name keeps the suffix, because encoders choose their container by it. A killed
    process leaves at most a hidden `.part-…` file, which nothing reads, and which the next process
    that writes into the folder removes.

    Raises:
        OSError: among others, that the disk is full, whatever the block raised because of that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    aside = _aside(path)
    try:
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        # Some writers (safetensors) give files to their owner alone: results are to be shared.
        aside.chmod(mode)
        aside.replace(path)
    except Exception as error:
        full = as_full(error, aside)  # before the part is removed, which makes room
        if full is None:
            raise
        raise full from error
    finally:
        aside.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written in a folder, not below it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.match(entry.name)
            if found and found["where"] == _here() and not _is_alive(int(found["process"])):
                Path(entry.path).unlink(missing_ok=True)


_SWEPT: set[Path] = set()


def _sweep_once(folder: Path) -> None:
    """`sweep`, at the first file that this process writes there: a folder can hold very many."""
    if folder not in _SWEPT:
        _SWEPT.add(folder)
        sweep(folder)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is there and another user's
        return True
    return True


@functools.cache
def _here() -> str:
    """What tells this machine (and container) from others that may share its disks."""
    with contextlib.suppress(OSError):
        return _short_hash(f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}")
    return _short_hash(platform.node())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def replace_atomically(path: Path, make: Callable[[Path], None]) -> None:
    """Rename what `make` creates next to `path` to `path`: for links, which no writer can open.

    Args:
        path: where it is to be; what lies there is replaced.
        make: called with a path at which there is nothing.
    """
    aside = _aside(path)
    aside.unlink(missing_ok=True)
    try:
        make(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all; dataclasses and paths are allowed."""
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def check_target(path: Path, option: str, suffixes: tuple[str, ...]) -> None:
    """Whether a file can be written there, before the work that it will show.

    Args:
        path: the file; what stands there already is replaced.
        option: as it is spelled, for the sentence.
        suffixes: what its name may end with, such as ".png"; () for whatever it is.

    Raises:
        InputError: it is a folder, or its name ends otherwise.
    """
    if path.is_dir():
        raise InputError(f"{option} is {path}, which is a folder; name a file in it.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{option} is {path}; name a file that ends with {' or '.join(suffixes)}.")


def read_text(path: Path, most: int, what: str) -> str:
    """The text of a file that a person or a program wrote; no more of it is read than `most` bytes.

    Args:
        path: the file.
        most: the most bytes that such a file can have.
        what: what it is, for the message: "settings file".

    Raises:
        InputError: it is not there, no file (a folder, a pipe), too large, or not UTF-8.
    """
    try:
        if not path.is_file():
            if path.exists():
                raise InputError(f"{path} is not a file; check the path.")
            raise InputError(f"There is no {what} {path}; check the path.")
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise InputError(
                f"{path} has more than {most:,} bytes, too many for a {what}; check the path."
            )
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from None


def read_json(path: Path, most: int = _MOST_JSON) -> Any:
    """Read JSON, or raise `InputError` naming the file and what is wrong with it."""
    text = read_text(path, most, "file")
    try:
        return json.loads(text)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # damaged, or a number of more digits than Python reads
        reason = str(error)
    raise InputError(f"{path} is not valid JSON ({reason}); write it again.")


def fingerprint(value: object) -> str:
    """Sixteen hexadecimal digits that change when any part of `value` changes (SHA-256)."""
    text = json.dumps(value, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_join(root: Path, relative: str) -> Path:
    """`root / relative`, or `InputError` when a name from a data file would leave `root`.

    Checked on the name and not on the resolved file, because users do link videos in from
    other disks.
    """
    name = PurePosixPath(relative.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"The path {relative!r} leaves {root}; give paths relative to it.")
    return root / name


_PART = re.compile(r"^\.part-(?P<process>\d+)@(?P<where>[0-9a-f]{8})-")


def final_name(path: Path) -> Path:
    """The path that a file written aside is renamed to; any other path as it is."""
    return path.with_name(_PART.sub("", path.name))


def _aside(path: Path) -> Path:
    return path.with_name(f".part-{os.getpid()}@{_here()}-{path.name}")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return kept(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def source_mark(path: Path) -> str:
    """What tells a source file from another one: its size, and a checksum of its two ends.

    The time of its last change is left out, so that a data set may be copied; the middle of large
    files is left out, so that looking costs about as much as opening the file.

    Returns:
        `BYTES bytes, ends HEX`, with 16 digits of the SHA-256 of the first and the last 64 KiB;
        "" when the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(file.read(_END_BYTES))
            file.seek(max(_END_BYTES, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    except OSError:
        return ""
    return f"{size} bytes, ends {digest.hexdigest()[:16]}"


def safe_name(video_id: str) -> str:
    """A file name for any id: readable, short, unique, and never a path."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(video_id).stem)[:40]
    return f"{stem}-{hashlib.sha256(video_id.encode()).hexdigest()[:16]}"
