"""Tasks to give to processes of their own. Small, because each process imports them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Noting:
    """Leaves a note of each try in `folder`; does `how` at its first tries.

    Args:
        folder: of the notes.
        name: of this task.
        how: "" gives a result, "dies" kills its process, "fails" raises, "full" raises as a full
            disk does, "waits" never ends.
        tries: how many times it does so.
    """

    folder: Path
    name: str
    how: str = ""
    tries: int = 1

    def __call__(self, cores: int) -> str:
        before = len(list(self.folder.glob(f"{self.name}.*")))
        (self.folder / f"{self.name}.{os.getpid()}").touch()
        if self.how and before < self.tries:
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "waits":
                time.sleep(600)
            raise OSError(28, "No space left") if self.how == "full" else ZeroDivisionError("no")
        return f"{self.name} {cores} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}"


def tries_of(folder: Path, name: str) -> int:
    """How many times a task was begun."""
    return len(list(folder.glob(f"{name}.*")))
