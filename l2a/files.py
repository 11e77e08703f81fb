"""Files that appear whole, fingerprints of settings, and paths that stay under their root."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from l2a.errors import InputError

_END_BYTES = 65_536
"""How much of a source file is read at either end to notice another file."""


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` only if the block succeeds.

    The temporary name keeps the suffix, because encoders choose their container by it. A killed
    process leaves at most a hidden `.part-…` file, which nothing reads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        # Some writers (safetensors) give files to their owner alone: results are to be shared.
        aside.chmod(mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def placed_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Rename what `make` creates beside `path` to `path`: for links, which no writer can open.

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


_HELD: dict[Path, int] = {}


def hold_folder(folder: Path) -> None:
    """Keep other processes out of a folder, which is made if need be, until `release_folders` is
    called or this one ends.

    Nothing is left behind, even by a killed process. On file systems that know no locks, and on
    Windows, nobody is kept out.

    Raises:
        InputError: another process holds it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give --out a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    if place in _HELD or sys.platform == "win32":
        return
    import fcntl

    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(
            f"Another command is at work in {folder}; wait for it, or give --out another folder."
        ) from None
    except OSError:
        os.close(handle)
    else:
        _HELD[place] = handle


def release_folders() -> None:
    """Let other processes into the folders that this one holds."""
    while _HELD:
        os.close(_HELD.popitem()[1])


if hasattr(os, "register_at_fork"):  # a forked process would keep them when this one is gone
    os.register_at_fork(after_in_child=release_folders)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all; dataclasses and paths are allowed."""
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or raise `InputError` naming the file and the place where it breaks."""
    if not path.is_file():
        what = f"{path} is no file" if path.exists() else f"There is no file {path}"
        raise InputError(f"{what}; check the path.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
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


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, or `InputError` when a name from a data file would leave `root`.

    Checked on the name and not on the resolved file, because users do link videos in from
    other disks.
    """
    name = PurePosixPath(relative.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"The path {relative!r} leaves {root}; give paths relative to it.")
    return root / name


def final_name(path: Path) -> Path:
    """The path that a file written aside is renamed to; any other path as it is."""
    return path.with_name(re.sub(r"^\.part-\d+-", "", path.name))


def _aside(path: Path) -> Path:
    return path.with_name(f".part-{os.getpid()}-{path.name}")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
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


# Control characters, halves of characters (bytes that are not UTF-8), line and paragraph
# separators, and what turns the direction of writing: a terminal obeys them, a list breaks at them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text for a terminal, a list or a picture: what is no character is written `\\xNN`.

    A byte that is not UTF-8, which Python passes as a lone surrogate, is shown as that byte.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def shortened(name: str, most: int = 40) -> str:
    """A name as a picture shows it: printable, and cut with "…" after `most` characters."""
    text = printable(name)
    return text if len(text) <= most else text[: most - 1] + "…"


def is_printable(text: str) -> bool:
    """Whether `printable` would leave the text as it is."""
    return (text.isascii() and text.isprintable()) or _UNPRINTABLE.search(text) is None


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which names are compared.

    Macs write `é` as two characters and lists as one: both are the same name.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)
