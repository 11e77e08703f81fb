"""What a table of the paper takes: words of `l2a ablate`, hours and bytes, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2a.arguments import Arguments, parse
from l2a.options import PaperSettings
from l2a.videos import counted
from train.ablation.plan import row_settings
from train.ablation.running import DONE
from train.ablation.table import Row, Table, read_table
from train.commands import ALL_GROUPS, COMMANDS
from train.paper.cells import Group, groups_of
from train.paper.cost import Cost, bank_cost, layers_cost, training_cost
from train.settings.full import FullSettings


@dataclass(frozen=True)
class PlannedGroup:
    """A group, and how it is run.

    Attributes:
        group: which.
        words: what `l2a ablate` is given.
        table: the cells.
        settings: row ─► what it trains with.
        left: runs that are not finished, of `runs`.
        runs: in all.
        missing: what must be brought before it can run; "" where nothing is.
    """

    group: Group
    words: tuple[str, ...]
    table: Table
    settings: dict[str, FullSettings]
    left: int
    runs: int
    missing: str

    @property
    def each(self) -> int:
        """Runs of one row."""
        return self.runs // len(self.settings)

    def cost(self) -> Cost:
        """Of all its runs, and of the layers and clips that they share.

        Masks are found once for all rows; rows that differ in how they are used have layers of
        their own.
        """
        extent, total = self.group.extent, Cost()
        stores = {repr(row.prepare): row for row in self.settings.values() if _composited(row)}
        for number, row in enumerate(stores.values()):
            made = layers_cost(extent, row)
            total += made if number == 0 else Cost(0.0, made.bytes)
        for row in self.settings.values():
            total += training_cost(extent, row).times(self.each)
        return total + bank_cost(extent, next(iter(self.settings.values())))


def plan_table(wanted: PaperSettings) -> list[PlannedGroup]:
    """The groups of a table, in the paper's order.

    Raises:
        InputError: there is no such table.
    """
    return [_planned(group, wanted) for group in groups_of(wanted.cells)]


def describe(plans: Sequence[PlannedGroup], wanted: PaperSettings) -> list[str]:
    """The plan for a person, a line each."""
    lines = [f"Table {wanted.cells} of the paper: {counted(len(plans), 'group')} of cells"]
    total = Cost()
    for plan in plans:
        cost = plan.cost()
        total += cost
        lines += [
            "",
            f"{plan.table.title}: {counted(plan.runs, 'run')}, {plan.left} to do, about "
            f"{cost.hours:.0f} GPU hours and {cost.bytes / 1e9:.0f} GB",
        ]
        for name, row in plan.table.rows.items():
            hours = training_cost(plan.group.extent, plan.settings[name]).hours
            lines.append(f"  {name:<20}{_paper(row)}   {plan.each} x {hours:.1f} h of training")
        if plan.missing:
            lines.append(f"  missing: {plan.missing}")
        lines.append(f"  l2a ablate {' '.join(plan.words)}")
    lines += [
        "",
        f"in all about {total.hours:.0f} GPU hours and {total.bytes / 1e9:.0f} GB, as measured on "
        "one H200 with an earlier state of the code; docs/scale.md has the arithmetic",
    ]
    return lines


def _planned(group: Group, wanted: PaperSettings) -> PlannedGroup:
    data, out = wanted.data_root / group.data, wanted.out / f"table-{wanted.cells}" / group.name
    words = [
        str(data), "--config", str(group.preset), "--table", str(group.table),
        "--splits", *map(str, group.splits), "--seeds", *map(str, wanted.seeds), "--out", str(out),
    ]  # fmt: skip
    if group.pretrained and wanted.sports1m:
        words += ["--weights", str(wanted.sports1m)]
    arguments = ablate_arguments(words)
    table = read_table(str(group.table))
    settings = {name: row_settings(arguments, table, row) for name, row in table.rows.items()}
    folders = [
        out / name / f"split-{split}-seed-{seed}"
        for name in settings for split in group.splits for seed in wanted.seeds
    ]  # fmt: skip
    left = sum(not (folder / DONE).is_file() for folder in folders)
    missing = _missing(group, data, wanted.sports1m)
    return PlannedGroup(group, tuple(words), table, settings, left, len(folders), missing)


def ablate_arguments(words: Sequence[str]) -> Arguments:
    """The arguments of `l2a ablate` that words are."""
    return parse("ablate", "", COMMANDS["ablate"].groups, list(words), known=ALL_GROUPS)


def _missing(group: Group, data: Path, sports1m: Path | None) -> str:
    parts = [] if data.is_dir() else [f"the folder {data}"]
    if group.pretrained and not (sports1m and sports1m.is_file()):
        parts.append("weights of r2plus1d_18 from Sports-1M (--sports1m FILE)")
    return ", ".join(parts)


def _composited(row: FullSettings) -> bool:
    return row.stage_two.selection != "none"


def _paper(row: Row) -> str:
    return "     " if row.paper is None else f"{row.paper:4.1f}%"
