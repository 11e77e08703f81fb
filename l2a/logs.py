"""What the program says while it works: one logger, `l2a`, which the command line renders.

Library code says things by `say` or by `LOGGER`, and nothing is shown until somebody listens, as
with any logger. The command line listens with `listening`: on stderr, as text that a terminal can
show, and in `run.log` of the run folder at work, with the time of day.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2a.text import printable

if TYPE_CHECKING:
    from rich.console import Console

LOGGER = logging.getLogger("l2a")

_LEVEL = "L2A_LOG_LEVEL"
"""Environment variable by which worker processes know how much is to be shown."""

_RUN = "l2a_run"
"""Attribute of the record that says that a run folder was opened."""


def say(text: str) -> None:
    """One line on how the work goes; results are printed by the commands, to stdout."""
    LOGGER.info(text)


def opened_run(folder: Path) -> None:
    """Say that a run folder is open: from now on it keeps what is said."""
    LOGGER.debug(f"run folder {folder}", extra={_RUN: folder})


def is_quiet() -> bool:
    """Whether nothing is to be shown but warnings and errors, or less."""
    return int(os.environ.get(_LEVEL, logging.INFO)) >= logging.WARNING


@functools.cache
def console() -> Console:
    """Stderr, shared by bars and messages, so that a message does not break a bar."""
    from rich.console import Console

    return Console(stderr=True)


@contextlib.contextmanager
def listening(level: int) -> Iterator[None]:
    """Show what is said from `level` on, and keep all of it in the run folders that are opened."""
    handlers: list[logging.Handler] = [_OnStderr(level), _InRun()]
    before, set_before = LOGGER.level, os.environ.get(_LEVEL)
    os.environ[_LEVEL] = str(level)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False  # libraries that set up the root logger would show it twice
    for handler in handlers:
        LOGGER.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()
        LOGGER.setLevel(before)
        LOGGER.propagate = True
        if set_before is None:
            del os.environ[_LEVEL]
        else:
            os.environ[_LEVEL] = set_before


def listen_in_worker() -> None:
    """In a fresh worker process: show what the command line that started it would show."""
    if level := os.environ.get(_LEVEL):
        LOGGER.setLevel(int(level))
        LOGGER.propagate = False
        LOGGER.addHandler(_OnStderr(int(level)))


class _OnStderr(logging.Handler):
    """Lines on stderr: through rich on a terminal, where a bar may be drawn, else plain."""

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage(), lines=True)
        if record.levelno >= logging.ERROR:
            text = f"l2a: {text}"
        if not sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)
            return
        from rich.text import Text

        style = {logging.ERROR: "bold red", logging.WARNING: "yellow", logging.DEBUG: "dim"}
        console().print(Text(text, style.get(record.levelno, "")), soft_wrap=True)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


class _LogFile(logging.FileHandler):
    """A log that ends where its disk is full: what fails is the work, which says so."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of what could not be written before
            super().close()


class _InRun(logging.Handler):
    """`run.log` in the run folder at work; what was said before it was opened comes first."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._waiting: deque[logging.LogRecord] = deque(maxlen=1000)
        self._file: logging.FileHandler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        folder: Any = getattr(record, _RUN, None)
        if folder is not None:
            self._open(folder / "run.log")
        if self._file is None:
            self._waiting.append(record)
        else:
            self._file.emit(record)

    def _open(self, path: Path) -> None:
        self.close()
        self._file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(_Printable("%(asctime)s %(levelname)-7s %(message)s"))
        for record in self._waiting:
            self._file.emit(record)
        self._waiting.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()
