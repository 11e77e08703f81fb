"""The command line: dispatches to `train.command_table`, says what went wrong, ends cleanly.

This is the only file of the ground floor that imports the rooms above.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from l2a import __version__
from l2a.allocation import keep_freed_memory
from l2a.arguments import COMMON, parse
from l2a.disks import is_full
from l2a.errors import InputError, L2AError
from l2a.files import final_name
from l2a.locks import unlock_folders
from l2a.logs import LOGGER, listening
from l2a.machine import ran_out_of_memory
from l2a.signals import Terminated, exit_code, raise_on_sigterm
from train.command_table import ALL_GROUPS, COMMANDS, Command

__all__ = ["COMMANDS", "Command", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the work failed, 2 wrong input.

    130 and 143 are the shell's codes for what Ctrl-C and SIGTERM have ended.
    """
    # OpenMP's threads spin while they wait: where other programs use the cores too, two threads
    # took nine times as long as one. It is read when PyTorch is imported, which comes later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    words, level = _level(sys.argv[1:] if argv is None else argv)
    with listening(level):
        try:
            with raise_on_sigterm():
                return _run(words)
        except L2AError as error:
            LOGGER.error(str(error))
            return error.exit_code
        except KeyboardInterrupt as stop:
            by = " by SIGTERM" if isinstance(stop, Terminated) else ""
            LOGGER.error(f"stopped{by}; the same command resumes from here.")
            return exit_code(stop)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return 1
            LOGGER.error(_explained(error))
            return 1
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0].rstrip(". ")[:200]
            LOGGER.error(
                f"Out of memory: {reason or 'MemoryError'}; fewer --workers, and a smaller "
                "--micro-batch or --batch-size where the command has them, take less."
            )
            return 1
        finally:
            unlock_folders()


def _level(words: Sequence[str]) -> tuple[list[str], int]:
    """The words without the switches that say how much is shown, and that level."""
    (quiet, verbose) = ({short, name} for short, name, _ in COMMON)
    rest = [word for word in words if word not in quiet | verbose]
    if verbose & set(words):
        return rest, logging.DEBUG
    return rest, logging.WARNING if quiet & set(words) else logging.INFO


def _nobody_reads() -> bool:
    """Whether stdout leads nowhere, as in `l2a match ... | head`, whose reader has seen enough."""
    try:
        print(flush=True)  # a flush alone does not fail twice
    except BrokenPipeError:
        # Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _explained(error: OSError) -> str:
    """What failed, the file as the user knows it (it is written aside under another name), and
    what to do."""
    name = final_name(Path(error.filename)) if isinstance(error.filename, str) else ""
    what = str(error) if error.strerror is None else error.strerror
    what += f" ({name})" if name and error.strerror else ""
    if is_full(error):
        return f"The disk is full: {what}; make room, and the same command goes on from here."
    return f"{what}; check the disk and the permissions."


def _run(words: list[str]) -> int:
    if words[:1] == ["help"] and words[1:]:
        words = [*words[1:], "--help"]  # l2a help train
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"l2a {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise InputError(f"There is no command {name!r}; choose one of: {known}.")
    command, began = COMMANDS[name], time.monotonic()
    LOGGER.debug(f"l2a {shlex.join(words)} (version {__version__})")
    parsed = partial(parse, name, command.about, command.groups, rest, known=ALL_GROUPS)
    arguments = parsed()
    if defaults := command.defaults(arguments):
        arguments = parsed(defaults=defaults)
    command.run(arguments)
    LOGGER.debug(f"{name} took {time.monotonic() - began:.1f} s")
    return 0


def _overview() -> str:
    rows = [f"  {name:<10}{command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Learn2Augment: learned video compositing for data augmentation.",
            "",
            "usage: l2a COMMAND ...        l2a COMMAND --help lists its settings",
            "",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
