"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, int], None]
"""Called as `report(done, total)`."""

_SECONDS_BETWEEN_LINES = 15.0


def say(text: str) -> None:
    """Print one line of plain text at once; progress goes to stderr, results to stdout."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(title: str, unit: str) -> Iterator[Report]:
    """Show how far a piece of work is.

    Args:
        title: what is done, such as "prepare".
        unit: what is counted, such as "videos".
    """
    if sys.stderr.isatty():
        with _bar(title, unit) as report:
            yield report
    else:
        yield _lines(title, unit)


@contextlib.contextmanager
def _bar(title: str, unit: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    pace = _Pace()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, rate="")

        def report(done: int, total: int) -> None:
            rate = pace.rate(done)
            shown = f"{unit}, {_spoken(rate)}" if rate else unit
            bar.update(task, completed=done, total=total, rate=shown)

        yield report


def _lines(title: str, unit: str) -> Report:
    last = time.monotonic()
    pace = _Pace()

    def report(done: int, total: int) -> None:
        nonlocal last
        rate, now = pace.rate(done), time.monotonic()
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        line = f"{title}: {done}/{total} {unit}"
        if rate:
            line += f", {_spoken(rate)}"
            line += f", {_duration((total - done) / rate)} left" if done < total else ""
        say(line)

    return report


class _Pace:
    """How many a second, measured from the first report on.

    What came before it may be an earlier, interrupted run's work, or one step that did many.
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def rate(self, done: int) -> float | None:
        """Units a second; None as long as there is nothing to tell it by."""
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        count, seconds = done - self._first[0], now - self._first[1]
        return count / seconds if count > 0 and seconds > 0 else None


def in_words(seconds: float) -> str:
    """About how long, for a sentence: `90 seconds`, `20 minutes`, `33 hours`."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"


def _spoken(rate: float) -> str:
    """`12.0/s`, or the seconds for each where one takes longer than a second."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
