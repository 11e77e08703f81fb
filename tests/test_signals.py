"""Ctrl-C and SIGTERM at any moment: one sentence, no process left, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_data import write_tiny

from l2a.cli import main
from l2a.signals import Terminated, defer_signals, exit_code, raise_on_sigterm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is heard also where a shell started the tests in the background, which ignores it, and
    so would every process that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data", train_groups=2)


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, own = place.joinpath("stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(own) == group and state != "Z":
            found.append(int(place.name))
    return found


def interrupted(
    words: list[str], ready: Callable[[int], bool], number: int, everybody: bool
) -> tuple[int, list[str], list[int]]:
    """Start a command, send it a signal as soon as it is `ready`.

    Returns:
        Its exit code, its stderr, and the processes that are left of it.
    """
    command = [sys.executable, "-m", "l2a", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        until = time.monotonic() + 60
        while not ready(process.pid) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        (os.killpg if everybody else os.kill)(process.pid, number)
        try:
            _, shown = process.communicate(timeout=60)
            # Python's own resource tracker ends just after its parent.
            until = time.monotonic() + 5
            while members(process.pid) and time.monotonic() < until:
                time.sleep(0.02)
            return process.returncode, shown.splitlines(), members(process.pid)
        finally:
            if left := members(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
                assert not left


STOPPED = "stopped; the same command resumes from here."
TERMINATED = "stopped by SIGTERM; the same command resumes from here."


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("moment", "number", "everybody", "code", "sentence"),
    [
        # A terminal sends Ctrl-C to all processes, a batch system SIGTERM to one or to all.
        ("run opened", signal.SIGTERM, True, 143, TERMINATED),
        ("workers start", signal.SIGINT, True, 130, STOPPED),
        ("workers start", signal.SIGTERM, False, 143, TERMINATED),
        ("at work", signal.SIGINT, True, 130, STOPPED),
        ("at work", signal.SIGTERM, True, 143, TERMINATED),
    ],
)
def test_a_signal_ends_a_preparation_in_order(
    moment: str, number: int, everybody: bool, code: int, sentence: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ready: dict[str, Callable[[int], bool]] = {
        "run opened": lambda pid: (out / "run.log").exists(),
        # Something else may be asked in a process of its own before the run is opened.
        "workers start": lambda pid: (out / "run.log").exists() and len(members(pid)) > 1,
        "at work": lambda pid: any((out / "layers").rglob("*.json")),
    }
    words = ["prepare", str(data), "--out", str(out), "--workers", "2", "--min-gamma", "0.005"]
    returned, shown, left = interrupted(words, ready[moment], number, everybody)
    assert (returned, shown[-1:], left) == (code, [f"l2a: {sentence}"], []), shown
    assert not any("Traceback" in line for line in shown)
    assert sentence in (out / "run.log").read_text(encoding="utf-8")
    if moment == "at work":
        assert main(words) == 0
        assert not list(out.rglob(".part-*"))


def test_the_codes_are_those_that_a_shell_expects() -> None:
    assert exit_code(KeyboardInterrupt()) == 128 + signal.SIGINT
    assert exit_code(Terminated()) == 128 + signal.SIGTERM


def test_sigterm_is_an_error_in_the_block_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), raise_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_processes_are_started(number: signal.Signals) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), raise_on_sigterm():
        with defer_signals():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            done.append("started")
        done.append("never")
    assert done == ["started"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_processes_that_are_started_never_see_ctrl_c() -> None:
    """Not even while they still import, and the first of them no less than the others."""
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with defer_signals():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"True"
    starter = (
        "import multiprocessing, sys, signal\n"
        "from l2a.signals import defer_signals\n"
        "def blocked():\n"
        "    sys.exit(7 if signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []) else 8)\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=blocked)\n"
        "    with defer_signals():\n"
        "        child.start()\n"
        "    child.join()\n"
        "    sys.exit(child.exitcode)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "starter.py"
        script.write_text(starter)
        assert subprocess.run([sys.executable, script], check=False).returncode == 7
