"""The errors that a person sees. Each message names the offending value and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

# Control characters but for tab and line feed, marks that turn the direction of writing, and the
# halves of characters by which Python carries bytes that are no UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def for_terminal(text: str) -> str:
    r"""A message or a result as it may be shown: names of files and classes can hold anything.

    Returns:
        The same with `\x1b` in place of an escape character, and so on: nothing in it moves
        the cursor, recolours a terminal or fails to be encoded as UTF-8. A byte that is not UTF-8,
        which Python carries as a lone surrogate, is shown as that byte.
    """
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


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
