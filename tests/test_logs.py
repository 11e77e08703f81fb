"""What is said: on stderr, in the run's own log, and never as raw control characters."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from l2a.cli import main
from l2a.logs import LOGGER, listening, say
from l2a.progress import progress
from l2a.runs import Run


def test_nothing_is_shown_until_somebody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (logging.DEBUG, "detail\nline\ncareful\nl2a: wrong\n"),
        (logging.INFO, "line\ncareful\nl2a: wrong\n"),
        (logging.WARNING, "careful\nl2a: wrong\n"),
    ],
)
def test_a_level_shows_itself_and_what_is_graver(
    level: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(level):
        LOGGER.debug("detail")
        say("line")
        LOGGER.warning("careful")
        LOGGER.error("wrong")
    assert capsys.readouterr() == ("", shown)


def test_a_run_keeps_all_that_was_said_since_the_command_began(tmp_path: Path) -> None:
    for first in ("one", "two"):
        with listening(logging.WARNING):
            say(f"{first} \x1b[31mred")
            Run.open(tmp_path / "run", "train", [])
            LOGGER.debug("later")
    lines = (tmp_path / "run" / "run.log").read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|DEBUG) +"
    assert [re.sub(stamp, "", line) for line in lines] == [
        r"one \x1b[31mred", f"run folder {tmp_path}/run", "later",
        r"two \x1b[31mred", f"run folder {tmp_path}/run", "later",
    ]  # fmt: skip
    say("after the command")
    assert len((tmp_path / "run" / "run.log").read_text().splitlines()) == 6


def test_a_second_run_of_one_command_has_its_own_log(tmp_path: Path) -> None:
    with listening(logging.INFO):
        for name in ("a", "b"):
            Run.open(tmp_path / name, "train", [])
            say(f"in {name}")
    for name, other in (("a", "b"), ("b", "a")):
        text = (tmp_path / name / "run.log").read_text()
        assert f"in {name}" in text
        assert f"in {other}" not in text


def test_names_are_shown_on_a_terminal_without_their_control_characters(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["match", f"{tmp_path}/\x1b[2Jgone\x07"]) == 2
    shown = capsys.readouterr().err
    assert r"\x1b[2Jgone\x07" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_name_can_be_printed_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    code = "from train.commands import show; show('größe \\udcff 走 \\x1b')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert b"\\xff" in done.stdout and b"\x1b" not in done.stdout


@pytest.mark.parametrize("switches", [["-q"], ["--quiet"], ["-v"], ["--verbose"], []])
def test_switches_say_how_much_is_shown_and_are_no_settings(
    switches: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import train.commands.report

    def work(arguments: object) -> None:
        Run.open(tmp_path / "run", "report", [])
        say("a line")

    monkeypatch.setattr(train.commands.report, "run", work)
    assert main([*switches, "report", str(tmp_path)] if switches == ["-q"] else
                ["report", *switches, str(tmp_path)]) == 0  # fmt: skip
    shown = capsys.readouterr().err
    quiet = {"-q", "--quiet"} & set(switches)
    assert ("a line" in shown) == (not quiet)
    assert ("run folder" in shown) == bool({"-v", "--verbose"} & set(switches))
    assert Run(tmp_path / "run").read()["settings"] == {}
    assert "a line" in (tmp_path / "run" / "run.log").read_text()


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_messages_without_control_characters_of_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with listening(logging.INFO), progress("look", "clips") as report:
        report(1, 2)
        say("[red]a \x1b]0;title\x07 name[/red]")
        LOGGER.error("wrong")
        report(2, 2)
    assert r"[red]a \x1b]0;title\x07 name[/red]" in shown.getvalue()
    assert "l2a: wrong" in shown.getvalue()
    assert "2/2" in shown.getvalue()
    assert "\x1b]0;" not in shown.getvalue()


def test_quiet_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with listening(logging.WARNING), progress("look", "clips") as report:
        report(2, 2)
    assert shown.getvalue() == ""


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    code = (
        "import sys, train.commands.report as report; from l2a.cli import main\n"
        "from train.commands import show\n"
        "report.run = lambda arguments: [show('x' * 1000) for _ in range(1000)]\n"
        "sys.exit(main(['report', 'run']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "l2a", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "l2a")
