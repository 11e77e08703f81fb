"""What a table of the paper takes: its groups, and the plan of them for a person."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from l2a.errors import InputError
from l2a.options import PaperSettings
from l2a.videos import counted
from train.paper.ablated import ABLATED, ablated_groups
from train.paper.cells import Cell, Group, Row, Step, by_title
from train.paper.cost import Cost
from train.paper.few_shot import few_shot_groups
from train.paper.semi import semi_groups

TABLES: Mapping[str, Callable[[PaperSettings], list[Group]]] = MappingProxyType({
    **dict.fromkeys(ABLATED, ablated_groups), "3": semi_groups, "4": few_shot_groups,
})  # fmt: skip
"""Table of the paper ─► what makes its groups."""

_WIDTH = 22  # of the titles of rows


def plan_table(wanted: PaperSettings) -> list[Group]:
    """The groups of a table.

    Raises:
        InputError: there is no such table, a folder that is named is not there, or a preset of the
            user's cannot be read.
    """
    for name, folder in (("presets", wanted.presets), ("lists", wanted.lists)):
        if folder is not None and not folder.is_dir():
            raise InputError(f"There is no folder {folder}; give --{name} one that is there.")
    if wanted.cells not in TABLES:
        raise InputError(
            f"There are no presets of table {wanted.cells!r}; choose one of "
            f"{', '.join(sorted(TABLES))}."
        )
    return TABLES[wanted.cells](wanted)


def describe(groups: Sequence[Group], wanted: PaperSettings) -> list[str]:
    """The plan for a person, a line each."""
    count = counted(len(groups), "group")
    plan = _Described(wanted.dollars_per_hour)
    lines = [f"Table {wanted.cells} of the paper: {count} of cells"]
    for group in groups:
        lines += ["", *plan.group(group)]
    lines += [
        "",
        f"in all {plan.cost(plan.total)}: the hours of what is not there yet, by what one H200 did "
        "with an earlier state of the code; docs/scale.md has the arithmetic",
    ]
    return lines


@dataclass
class _Described:
    """The groups in words, and what they take together.

    Attributes:
        dollars: for a GPU hour; None for none.
        total: of what was described.
        seen: layer stores of the groups before.
    """

    dollars: float | None
    total: Cost = field(default_factory=Cost)
    seen: set[Path] = field(default_factory=set)

    def group(self, group: Group) -> list[str]:
        """What a group takes, its rows, its commands."""
        new = [store for store in group.stores if store.place not in self.seen]
        self.seen.update(store.place for store in new)
        stores = sum((store.left() for store in new), Cost())
        runs = sum(step.left_hours for step in group.steps)
        own = stores + Cost(runs, group.banks)
        self.total += own
        shared = self.cost(stores) if new else "as above"
        lines = [
            f"{group.title}: {counted(group.runs, 'run')}, {group.left} to do, {self.cost(own)}",
            f"  masks and backgrounds {shared}; clips {_size(group.banks)}",
            self._header(group),
            *(self._row(group, row) for row in group.rows),
        ]
        if group.note:
            lines.append(f"  {group.note}")
        if missing := group.missing():
            lines.append(f"  missing: {', '.join(missing)}")
        for title, steps in by_title(group.steps).items():
            lines += self._steps(title, steps)
        return lines

    def _steps(self, title: str, steps: Sequence[Step]) -> list[str]:
        """A command, its runs and hours: that of the first seed stands for all."""
        runs = sum(len(step.runs) for step in steps)
        left, hours = sum(step.left for step in steps), steps[0].hours
        cost = self._dollars(left * hours)
        said = f"  {title}: {left} of {runs} to do x {_count(hours)} hours{cost and f', {cost}'}"
        waits = " (waits for what is missing)" if left and steps[0].missing else ""
        more = f"   # and {counted(len(steps) - 1, 'seed')} more" if len(steps) > 1 else ""
        return [said + waits, f"    l2a {shlex.join(steps[0].words)}{more}"]

    def cost(self, cost: Cost) -> str:
        """Such as "about 50 GPU hours, $100 and 20 GB"."""
        dollars = self._dollars(cost.hours)
        return f"about {_count(cost.hours)} GPU hours{dollars and f', {dollars}'} and " + _size(
            cost.bytes
        )

    def _header(self, group: Group) -> str:
        columns = "".join(f"{column:>9}" for column in group.columns)
        if any(row.hours is not None for row in group.rows):
            columns += "   hours of a training" + ("        $" if self.dollars is not None else "")
        return f"  {'the paper, %':<{_WIDTH}}{columns}"

    def _row(self, group: Group, row: Row) -> str:
        text = "".join(f"{_paper(row.cells.get(column)):>9}" for column in group.columns)
        if row.hours is not None:
            text += f"{row.hours:>10.1f}"
            text += "" if self.dollars is None else f"{row.hours * self.dollars:>21,.2f}"
        return f"  {row.title:<{_WIDTH}}{text}"

    def _dollars(self, hours: float) -> str:
        return "" if self.dollars is None else f"${hours * self.dollars:,.0f}"


def _paper(cell: Cell | None) -> str:
    return "–" if cell is None or cell.paper is None else f"{cell.paper:.1f}"


def _count(hours: float) -> str:
    return f"{hours:,.1f}" if hours < 10 else f"{hours:,.0f}"


def _size(size: float) -> str:
    return f"{size / 1e9:,.0f} GB"
