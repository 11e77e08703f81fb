"""Progress lines: how far, how fast, how long still, from what this process did itself."""

from __future__ import annotations

import logging

import pytest

from l2a import progress
from l2a.logs import listening


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines_of(
    clock: Clock, capsys: pytest.CaptureFixture[str], reports: list[tuple[float, int]], total: int
) -> list[str]:
    """What is printed when `reports` = (seconds, done) come in."""
    with listening(logging.INFO), progress.progress("look", "clips") as report:
        for clock.now, done in reports:
            report(done, total)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("reports", "total", "line"),
    [
        ([(9, 5304)], 5304, "look: 5304/5304 clips"),  # one report tells no rate
        ([(1, 1), (20, 39)], 100, "look: 39/100 clips, 2.0/s, 30 s left"),
        ([(5, 101), (25, 121)], 301, "look: 121/301 clips, 1.0/s, 3 min left"),  # 100 from before
        ([(0, 1), (30, 4), (60, 7)], 10, "look: 7/10 clips, 10.0 s each, 30 s left"),
        ([(0, 1), (40, 2)], 501, "look: 2/501 clips, 40.0 s each, 6 h left"),
        ([(0, 0), (50, 100)], 100, "look: 100/100 clips, 2.0/s"),
    ],
)
def test_the_rate_is_that_of_this_process(
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    reports: list[tuple[float, int]],
    total: int,
    line: str,
) -> None:
    clock.now = 0.0
    assert lines_of(clock, capsys, reports, total)[-1] == line


def test_lines_are_fifteen_seconds_apart_and_the_last_one_always_comes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.now = 0.0
    shown = lines_of(clock, capsys, [(second, second) for second in range(1, 35)], 34)
    assert [line.split()[1] for line in shown] == ["15/34", "30/34", "34/34"]


def test_what_is_about_to_be_done_is_said_first_and_once_how_long_it_takes(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now, reports = 0.0, []
    with caplog.at_level("INFO", "l2a"):
        report = progress.announced(
            lambda done, total: reports.append((done, total)),
            lambda left, total: f"{left} of {total} to make in /layers",
        )
        for clock.now, done in [(0, 400), (10, 401), (25, 402), (50, 405), (60, 406)]:
            report(done, 1000)
    assert reports == [(400, 1000), (401, 1000), (402, 1000), (405, 1000), (406, 1000)]
    assert caplog.messages == [
        "600 of 1000 to make in /layers",
        "the other 598 take about 2 hours more",  # two in 25 seconds
    ]


def test_nothing_is_announced_where_nothing_is_left(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 0.0
    with caplog.at_level("INFO", "l2a"):
        report = progress.announced(lambda done, total: None, lambda left, total: "x")
        report(5, 5)
        clock.now = 100.0
        report(5, 5)
    assert caplog.messages == []
