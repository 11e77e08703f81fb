"""Fills the disk at every stage of commands, and compares what comes out in the end.

    python benchmarks/full_disk.py                   # as root, on Linux: it mounts a tmpfs
    python benchmarks/full_disk.py --of few-shot --step 20 100

The jobs of `kill.py` are run on a file system in memory that is too small, again and again, each
time with some kilobytes more, until they get through. A command on a full disk must end with exit
code 1 and one sentence that says so; never by a signal, with a traceback, or with 0. What there is
in the end must have the same bytes as that of a job that had room from the start. The table counts
the stages that were struck. Ends with 1 where something is otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from kill import JOBS, Job, contents, differing, last_stage, make_job, undisturbed
from tables import print_header, print_table, run

from l2a.cli import main as l2a

_SENTENCE = re.compile(r"l2a: The disk is full: [^\n]*; make room, and the same command goes on")
_ELSE = re.compile(r"Traceback|Exception|Error\b")


def mount(place: Path, kilobytes: int, *, again: bool = False) -> None:
    """A file system of so many kilobytes at `place`, or the one there made so large."""
    options = f"{'remount,' * again}size={kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)


def call(words: list[str], said: Path) -> int:
    """Run `l2a` in a child of this process, in which PyTorch is loaded; its exit code, or minus the
    signal that ended it."""
    child = os.fork()
    if child == 0:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = 70
        try:
            code = l2a(words)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def starve(job: Job, place: Path, said: Path, steps: tuple[int, int]) -> tuple[Counter[str], str]:
    """Run a job on a disk that grows by a random step whenever it is full.

    Args:
        job: of `kill.make_job`.
        place: where the disk is mounted; the job's folder.
        said: a file for what a command says.
        steps: the smallest and the largest step, kilobytes.

    Returns:
        How often each stage was struck; what went wrong, or "".
    """
    struck: Counter[str] = Counter()
    size, rng = steps[0], random.Random(0)
    mount(place, size)
    for words in job.commands(place):
        while code := call(words, said):
            text = said.read_text(errors="replace")
            if code != 1 or len(_SENTENCE.findall(text)) != 1 or _ELSE.search(text):
                return struck, f"l2a {words[0]} at {last_stage(place)}: exit code {code}\n{text}"
            struck[last_stage(place)] += 1
            print(f"{size} kB: {last_stage(place)}: {text.splitlines()[-1]}", flush=True)
            size += rng.randint(*steps)
            mount(place, size, again=True)
    return struck, ""


def main() -> None:
    """Starve every job, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--step", type=int, nargs=2, default=(50, 800), help="kilobytes")
    given = parser.parse_args()
    import train.two_stage  # noqa: F401 - once, for all children

    # Threads of PyTorch that a parent had are missing in its fork, which then waits for them.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

    root, rows, wrong = Path(tempfile.mkdtemp(prefix="full-")), [], False
    for name in given.of:
        job, place = make_job(name, root), root / name
        place.mkdir()
        undisturbed(job, place)
        expected = contents(place / job.out)
        shutil.rmtree(place)
        place.mkdir()
        try:
            struck, error = starve(job, place, root / "said", tuple(given.step))
            other = [] if error else differing(expected, contents(place / job.out))
        finally:
            subprocess.run(["umount", str(place)], check=False)
        print(error or f"{name}: {dict(struck)}", flush=True)
        wrong |= bool(error or other)
        verdict = "see above" if error else f"differ: {', '.join(other)}" if other else "same"
        rows.append([name, str(struck.total()), str(len(struck)), str(len(expected)), verdict])
    print_header()
    print_table("Full disks", ["job", "times full", "stages", "files", "files' bytes"], rows)
    shutil.rmtree(root)
    sys.exit(int(wrong))


if __name__ == "__main__":
    run(main)
