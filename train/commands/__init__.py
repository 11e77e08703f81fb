"""The commands, one module each; `train.command_table` lists them.

The function `run(arguments)` of each does the work, prints the results to stdout and lets errors
rise to `l2a.cli`.
"""

from __future__ import annotations

import sys

from l2a.text import printable


def show(*lines: str) -> None:
    """Print results to stdout: whatever names hold, as text that a terminal can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(printable(line, lines=True).encode(encoding, "backslashreplace").decode(encoding))
