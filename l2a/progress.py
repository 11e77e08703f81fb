"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from l2a.logs import console, is_quiet, say

Report = Callable[[int, int], None]
"""Called as `report(done, total)`."""

_SECONDS_BETWEEN_LINES = 15.0


@contextlib.contextmanager
def progress(title: str, unit: str) -> Iterator[Report]:
    """Show how far a piece of work is.

    Args:
        title: what is done, such as "prepare".
        unit: what is counted, such as "videos".
    """
    if sys.stderr.isatty() and not is_quiet():
        with _bar(title, unit) as report:
            yield report
    else:
        yield _lines(title, unit)


@contextlib.contextmanager
def _bar(title: str, unit: str) -> Iterator[Report]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    pace = _Pace()
    with Progress(*columns, console=console()) as bar:
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
            line += (
                f", {_in_units((total - done) / rate, 'h', 'min', 's')} left"
                if done < total
                else ""
            )
        say(line)

    return report


_SECONDS_TO_MEASURE = 20.0
_SECONDS_WORTH_SAYING = 60.0


def announced(report: Report, what: Callable[[int, int], str]) -> Report:
    """Also say at the first report what is about to be done, and once how long it will take.

    Args:
        report: shows how far the work is.
        what: (how many are left to do, how many there are) ─► a sentence; called if any are left.

    Returns:
        What to report to in its place.
    """
    pace = _Pace()
    begun = said = False
    started = time.monotonic()

    def both(done: int, total: int) -> None:
        nonlocal begun, said
        if not begun and done < total:
            say(what(total - done, total))
        begun = True
        rate = pace.rate(done)
        if rate and not said and time.monotonic() - started > _SECONDS_TO_MEASURE:
            said = True
            left = (total - done) / rate
            if left > _SECONDS_WORTH_SAYING:
                say(f"the other {total - done} take about {in_words(left)} more")
        report(done, total)

    return both


class _Pace:
    """How many a second, measured from the first report on.

    What came before it may be an earlier, interrupted run's work, or one step that did many.
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def rate(self, done: int) -> float | None:
        """Units a second; None until there is something to measure."""
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        count, seconds = done - self._first[0], now - self._first[1]
        return count / seconds if count > 0 and seconds > 0 else None


def in_words(seconds: float) -> str:
    """About how long, for a sentence: `90 seconds`, `20 minutes`, `33 hours`."""
    return "1 second" if seconds < 1.5 else _in_units(seconds, "hours", "minutes", "seconds")


def _spoken(rate: float) -> str:
    """`12.0/s`, or the seconds for each where one takes longer than a second."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


def _in_units(seconds: float, hours: str, minutes: str, under: str) -> str:
    """The number in the largest unit of which there are two, and that unit."""
    for unit, length in ((hours, 3600.0), (minutes, 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} {under}"
