"""Fixed-width tables and facts about the machine, for the benchmarks. Run by itself: nothing."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from l2a.allocation import keep_freed_memory
from l2a.errors import InputError
from l2a.machine import usable_cores
from l2a.runs import versions


def run(main: Callable[[], None]) -> None:
    """Run a benchmark, with memory as commands have it; what is wrong with its arguments is said in
    one sentence, exit code 2."""
    keep_freed_memory()
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def print_header() -> None:
    """Print what a result depends on besides the code: command, machine, versions."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    print(f"command:  python benchmarks/{command}")
    print(f"machine:  {usable_cores()} cores, {_model()}, {platform.system()} {platform.machine()}")
    print(f"versions: {', '.join(f'{name} {version}' for name, version in versions().items())}")


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False
) -> None:
    """Print a table; the first column is text, the others are numbers and lie to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())
    if markdown:
        rest = "".join(f" {'-' * (width - 1)}: |" for width in widths[1:])
        lines.insert(1, f"| {'-' * widths[0]} |{rest}")
    print(f"\n{title}\n", *lines, sep="\n", flush=True)


def _model() -> str:
    """The processor's name, where the system tells."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
