"""The commands of a table, one after another; finished ones are passed over, failed ones listed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from compositing.segmenters.auto import AUTO
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.logs import LOGGER, opened_run, say
from l2a.options import AblationSettings, Data, FromSelector
from l2a.runs import Run
from l2a.videos import counted
from selector.settings import SelectorSettings
from train.ablation.plan import row_settings
from train.ablation.table import read_table
from train.attempts import why_failed
from train.command_table import COMMANDS
from train.paper.cells import Group, Step
from train.paper.filling import write_table
from train.paper.given import arguments_of
from train.settings.few_shot import FewShotSettings, FewShotVerb
from train.settings.few_shot_methods import ArnSettings, PrototypeSettings, TrxSettings
from train.settings.full import FullSettings, RunSettings

SETTLED_FACTS = frozenset({
    "data", "selector", "finetune_selector", "selector_weights", "trained", "method_weights",
    "class_split_mark",
})  # fmt: skip
"""What runs keep besides settings; of these `data` alone is known before they begin."""


@dataclass(frozen=True)
class Failed:
    """A command that did not come to its end.

    Attributes:
        words: what followed `l2a`.
        reason: a sentence.
    """

    words: tuple[str, ...]
    reason: str


def run_table(groups: Sequence[Group], table: str, folder: Path) -> list[Failed]:
    """Run what is not finished and lacks nothing, and write the table anew after each command.

    Args:
        groups: of the table.
        table: its number.
        folder: of its runs, which the table is written to.

    Returns:
        The commands that failed.

    Raises:
        InputError: nothing of it can be run, or a finished run was made with other settings.
    """
    steps = [step for group in groups for step in group.steps]
    ready = [step for step in steps if not step.missing]
    if not ready:
        lacks = list(dict.fromkeys(part for step in steps for part in step.missing))
        are, them = ("is", "it") if len(lacks) == 1 else ("are", "them")
        raise InputError(
            f"Nothing of table {table} can be started: {', '.join(lacks)} {are} missing; put "
            f"{them} there."
        )
    refuse_others(groups)
    left = [step for step in ready if step.left]
    folder.mkdir(parents=True, exist_ok=True)
    if waiting := [step for step in steps if step.missing and step.left]:
        say(f"{counted(len(waiting), 'command')} of {len(steps)} must wait for what is missing")
    failed: list[Failed] = []
    for number, step in enumerate(left, 1):
        opened_run(folder)  # which keeps what is said between the commands
        say(f"── command {number} of {len(left)}: l2a {shlex.join(step.words)}")
        reason = run_step(step)
        opened_run(folder)
        if reason:
            LOGGER.error(f"command {number} of {len(left)}: {reason}")
            failed.append(Failed(step.words, reason))
        write_table(folder, groups, table)
    return failed


def run_step(step: Step) -> str:
    """Run a command; says why it failed, "" where it did not."""
    if step.after is not None and not step.after.is_file():
        return f"the run before it left no {step.after}"
    return why_failed(lambda: COMMANDS[step.words[0]].run(arguments_of(step.words)))


def refuse_others(groups: Sequence[Group]) -> None:
    """Refuse the figures of finished runs that were made with other settings: a table that showed
    them would say that they are of these.

    Raises:
        InputError: one was; the message names the first setting that differs.
    """
    for group in groups:
        for step in group.steps:
            # The words of one that lacks something, such as weights, do not name it.
            if not step.missing and (runs := [path for path in step.runs if path.is_file()]):
                _refuse_other(step, runs)


def _refuse_other(step: Step, runs: Sequence[Path]) -> None:
    """The same of a command, and those of its runs that are finished."""
    arguments = arguments_of(step.words)
    if FewShotVerb in arguments:
        name = f"{step.words[0]} {arguments[FewShotVerb].verb}"
        kinds = {type(group) for group in FullSettings.of(arguments).groups()}
        kinds |= {FewShotSettings, PrototypeSettings, ArnSettings, TrxSettings}
        own = [group for group in arguments.groups() if type(group) in kinds]
        _refuse(runs[0].parent, name, own, {})
        return
    facts = {"data": arguments[Data].data}
    if AblationSettings in arguments:
        table = read_table(arguments[AblationSettings].table)
        for path in runs:  # OUT/ROW/split-S-seed-N/table.txt
            row = row_settings(arguments, table, table.rows[path.parent.parent.name])
            _refuse(path.parent, "train", row.groups(), facts, RunSettings)
        return
    reused = (SelectorSettings,) if arguments[FromSelector].selector else ()
    own = list(FullSettings.of(arguments).groups())
    _refuse(runs[0].parent, "train", own, facts, *reused)


def _refuse(
    folder: Path, command: str, groups: Sequence[Any], facts: Mapping[str, Any], *settled: type
) -> None:
    """As `Run.refuse_other`, but for what is settled only when data and Selector are opened, or
    that the folder's name says."""
    asked = [one for one in groups if type(one) not in settled]
    left_out = {field.name for one in groups if type(one) in settled for field in fields(one)}
    if any(isinstance(one, PrepareSettings) and one.segmenter == AUTO for one in asked):
        left_out.add("segmenter")
    Run(folder).refuse_other(command, asked, facts, (left_out | SETTLED_FACTS) - set(facts))
