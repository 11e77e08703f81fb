"""A table of the paper with the figures of finished runs beside its own: Markdown and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l2a.files import write_json, write_text
from train.paper.cells import Cell, Group

NAME = "table"
"""Of the files, before their endings."""


def write_table(folder: Path, groups: Sequence[Group], table: str) -> str:
    """Write `table.md` and `table.json` to a folder; gives the first as text."""
    text = markdown(groups, table)
    write_text(folder / f"{NAME}.md", text + "\n")
    write_json(folder / f"{NAME}.json", document(groups, table))
    return text


def damaged(groups: Sequence[Group]) -> list[str]:
    """A sentence for each finished run that does not say its figures; the tables are without."""
    found: dict[Path, str] = {}
    for cell in (cell for group in groups for row in group.rows for cell in row.cells.values()):
        found = cell.damaged() | found
    return list(found.values())


def markdown(groups: Sequence[Group], table: str) -> str:
    """A Markdown table for each group: each column as measured, and as in the paper."""
    parts = [f"Table {table} of the paper: measured, and as printed there"]
    for group in groups:
        head = ["", *(cell for column in group.columns for cell in (column, "paper"))]
        rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
        for row in group.rows:
            cells = [row.cells.get(column) for column in group.columns]
            rows.append([row.title, *(text for cell in cells for text in _pair(cell))])
        parts += ["", f"### {group.title}", "", *(f"| {' | '.join(row)} |" for row in rows)]
    parts += [
        "",
        "Top-1 in %: mean ± standard deviation over seeds, (n) of n runs where they are not all "
        "finished; – where none is.",
    ]
    return "\n".join(parts)


def document(groups: Sequence[Group], table: str) -> dict[str, Any]:
    """The same for programs: every figure, in %."""
    return {
        "table": table,
        "groups": [
            {
                "title": group.title,
                "cells": [
                    {"row": row.title, "column": column, "paper": cell.paper}
                    | _statistics(cell.values())
                    for row in group.rows
                    for column, cell in row.cells.items()
                ],
            }
            for group in groups
        ],
    }


def _pair(cell: Cell | None) -> tuple[str, str]:
    """A cell as measured, and the paper's figure."""
    if cell is None:
        return "–", "–"
    return _measured(cell), "–" if cell.paper is None else f"{cell.paper:.1f}"


def _measured(cell: Cell) -> str:
    values = cell.values()
    if not values:
        return "–"
    text = f"{statistics.fmean(values):.1f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.1f}"
    return text if len(values) == len(cell.places) else f"{text} ({len(values)})"


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": round(statistics.fmean(values), 4) if values else None,
        "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "values": [round(value, 4) for value in values],
    }
