"""Tasks to try engines with. Small, because every process of an engine imports them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compositing.engines.base import Infer
from l2a.errors import InputError, UnreadableVideo


def on_crash(item: int) -> int:
    return -item


@dataclass(frozen=True)
class Square:
    """Squares. Notes in `folder` what it does; dies or fails where it is told to.

    Args:
        folder: where it leaves one file for each call.
        dies: the item at which its process is killed.
        once: it is killed there only the first time.
        fails: the item that raises what `error_of` makes of `how`.
        seconds: how long it takes.
    """

    folder: Path
    dies: int = -1
    once: bool = False
    fails: int = -1
    how: str = ""
    seconds: float = 0.0

    def __call__(self, item: int) -> int:
        note(self.folder, f"call-{item}")
        return self.work(item)

    def work(self, item: int) -> int:
        time.sleep(self.seconds)
        if item == self.fails and self.how == "unpackable":
            return lambda: item
        if item == self.fails:
            raise error_of(self.how)
        if item == self.dies and not (self.once and (self.folder / "died").exists()):
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


@dataclass(frozen=True)
class NetworkSquare(Square):
    """Lets a network do it; `worker_dies` is the item at which the worker is killed instead."""

    device: str = ""
    asked: Infer | None = None
    worker_dies: int = -1

    def __call__(self, item: int) -> int:
        note(self.folder, f"call-{item}")
        if item == self.worker_dies and not (self.folder / "worker-died").exists():
            (self.folder / "worker-died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        result: int = (self.asked or self.infer)("square", item)
        return result

    def networks(self) -> tuple[str, ...]:
        return ("square",)

    def on_device(self, device: str, frames_at_once: int) -> NetworkSquare:
        if device == "no device":
            raise InputError("There is no such device.")
        if device == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, device=f"{device} {frames_at_once}")

    def infer(self, part: str, *arguments: Any) -> int:
        assert part == "square"
        (item,) = arguments
        note(self.folder, f"answer-{item}", self.device)
        result = self.work(item)
        note(self.folder, f"answered-{item}", self.device)
        return result

    def hosted(self, infer: Infer) -> NetworkSquare:
        return replace(self, asked=infer)


class SlowToStart(Square):
    """Takes a second to reach a worker, whose process is not ready meanwhile."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (arrive_slowly, (self.folder,))


def arrive_slowly(folder: Path) -> Square:
    note(folder, "arrive")
    time.sleep(1)
    return Square(folder, seconds=0.1)


class OddError(Exception):
    """Cannot be made again from what it was made of, as some libraries' errors."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


def error_of(how: str) -> Exception:
    if how == "odd":
        return OddError("strange", "thing")
    if how == "memory":
        import torch

        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    errors = {
        "input": InputError("The weights are not there; put them there."),
        "video": UnreadableVideo("/there/a.mp4", "it is torn"),
    }
    return errors.get(how, ZeroDivisionError("division by zero"))


def note(folder: Path, what: str, device: str = "") -> None:
    """Leave a file that tells when, who and where: <time>.<process>.<what>, holding the device."""
    (folder / f"{time.monotonic_ns()}.{os.getpid()}.{what}").write_text(device)


def notes(folder: Path, what: str) -> list[tuple[int, int, str]]:
    """(time, process, device) of all that was noted of `what`, a prefix."""
    found = [path for path in sorted(folder.iterdir()) if f".{what}" in path.name]
    return [(*map(int, path.name.split(".")[:2]), path.read_text()) for path in found]


def is_running(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
