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
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, rate="")

        def report(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-6)
            bar.update(task, completed=done, total=total, rate=f"{rate:.1f} {unit}/s")

        yield report


def _lines(title: str, unit: str) -> Report:
    started = last = time.monotonic()
    first: int | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        # What an earlier, interrupted run did says nothing about this one's rate.
        first = done - 1 if first is None else first
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = (done - first) / max(now - started, 1e-6)
        left = (total - done) / rate if rate > 0 else 0.0
        tail = f", {left:.0f} s left" if done < total else ""
        say(f"{title}: {done}/{total} {unit}, {rate:.1f}/s{tail}")

    return report
