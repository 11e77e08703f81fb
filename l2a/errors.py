"""The errors that a person sees. Each message names the offending value and what to do about it."""

from __future__ import annotations

from pathlib import Path


def in_one_line(error: Exception) -> str:
    """Type and message of an error, such as "ValueError: width not divisible by 2"."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    said = " ".join(str(error).split())
    if len(said) > 200:
        said = said[:200].rsplit(" ", 1)[0] + " …"
    return f"{name}: {said}" if said else name


class L2AError(Exception):
    """The work failed. The command line prints the message as one sentence and exits with 1."""

    exit_code = 1


class InputError(L2AError):
    """The command line or the data is wrong. The command line exits with 2."""

    exit_code = 2


class UnreadableVideo(L2AError):
    """One video cannot be decoded. Callers skip it, count it and list it; the run continues.

    Attributes:
        path: of the video.
        reason: why, without the path.
        passing: whether the file's content is not the cause, so that another try may succeed: the
            file is not there, or its disk failed.
    """

    def __init__(self, path: Path | str, reason: str, passing: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason
        self.passing = passing

    def __reduce__(self) -> tuple[type[UnreadableVideo], tuple[Path, str, bool]]:
        """Pickle whole: the default would hand __init__ only the message."""
        return (UnreadableVideo, (self.path, self.reason, self.passing))
