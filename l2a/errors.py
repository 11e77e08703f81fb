"""The errors that a person sees. Each message names the offending value and what to do about it."""

from __future__ import annotations

from pathlib import Path


class L2AError(Exception):
    """The work failed. The command line prints the message as one sentence and exits with 1."""

    exit_code = 1


class InputError(L2AError):
    """The command line or the data is wrong. The command line exits with 2."""

    exit_code = 2


class UnreadableVideo(L2AError):
    """One video cannot be decoded. Callers skip it, count it and list it; a run goes on."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableVideo], tuple[Path, str]]:
        """Travel whole between processes: the default would hand __init__ only the message."""
        return (UnreadableVideo, (self.path, self.reason))
