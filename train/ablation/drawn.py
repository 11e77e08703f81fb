"""The results of an ablation, for a person and for programs: Markdown, CSV, JSON, a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l2a.files import atomic_write, write_json, write_text
from l2a.videos import counted
from train.ablation.results import Difference, Line, Results
from train.estimates import student
from train.scene_test.cast import FOREIGN

NAME = "ablation"
"""Of the files, before their endings."""

Show = Callable[[float], str]


def write_tables(folder: Path, results: Results) -> None:
    """Write `ablation.md`, `.csv`, `.json` and `.png`: what is known so far."""
    lines = results.lines()
    write_text(folder / f"{NAME}.md", markdown(results, lines) + "\n")
    write_text(folder / f"{NAME}.csv", table_csv(results, lines))
    write_json(folder / f"{NAME}.json", document(results, lines))
    draw(folder / f"{NAME}.png", results, lines)


def markdown(results: Results, lines: list[Line]) -> str:
    """The table, with what it takes to read it."""
    table = results.table
    shown = _shown(lines)
    header = ["row", ""]
    header += [cell for name in shown for cell in (_FIGURES[name][0], "difference")]
    header += ["pool", "runs"]
    header += ["paper %", "difference"] if table.paper else []
    rows = [header, ["---"] * len(header), *(_cells(results, line, shown) for line in lines)]
    text = [f"### {table.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    text += [
        f"Differences are to the row {table.baseline}, over the same splits and seeds, ± one "
        "standard error of their mean; bold where its 95 % confidence interval (Student's t) "
        "leaves out 0. Seeds of one split share its test clips: over few splits the error is "
        "rather too small. Pool: pairs to choose from.",
    ]
    if (
        len(composited := {round(line.facts["pairs"]) for line in lines if "pairs" in line.facts})
        > 1
    ):
        counts = ", ".join(map(str, sorted(composited)))
        text += ["", f"The rows did not all have as many different pairs: {counts}; see the CSV."]
    if table.paper:
        text += ["", f"Paper: {table.paper}."]
    if results.failed:
        text += ["", f"{counted(len(results.failed), 'run')} failed:", ""]
        text += [f"- {run.title}: {reason}" for run, reason in results.failed]
    return "\n".join(text)


def _shown(lines: list[Line]) -> list[str]:
    """The figures that the table has: the scene test's only where some run has one."""
    there = {name for line in lines for name in line.means}
    return [name for name in _FIGURES if name in there or name in ("top1", "loss")]


def _cells(results: Results, line: Line, shown: list[str]) -> list[str]:
    is_base = line.row.name == results.table.baseline
    cells = [line.row.name, line.row.about]
    for figure in shown:
        show = _FIGURES[figure][1]
        cells.append(show(line.means[figure]) if figure in line.means else "–")
        cells.append("baseline" if is_base else _difference(line.differences.get(figure), show))
    cells += [_count(line.facts.get("pool")), str(line.n)]
    if results.table.paper:
        paper, away = line.row.paper, line.paper_difference
        cells.append("–" if paper is None else f"{paper:.1f}")
        cells.append("baseline" if is_base else "–" if away is None else f"{away:+.1f}")
    return cells


def _difference(found: Difference | None, show: Show) -> str:
    if found is None or not found.n:
        return "–"
    text = ("+" if found.mean >= 0 else "−") + show(abs(found.mean))
    if math.isfinite(found.error):
        text += f" ± {show(found.error)}"
    return f"**{text}**" if found.is_sure else text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _nats(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{round(value):,}"


_FIGURES: Mapping[str, tuple[str, Show]] = {
    "top1": ("top-1 %", _percent),
    "loss": ("test loss", _nats),
    FOREIGN: ("mixed-rand %", _percent),
}
"""What is compared: its title, and how a value of it is shown."""


def table_csv(results: Results, lines: list[Line]) -> str:
    """The same for programs: accuracies in 0..1, nothing where nothing is known."""
    out = io.StringIO()
    rows = [_flat(results, line) for line in lines]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(results: Results, line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {"row": line.row.name, "about": line.row.about, "runs": line.n}
    for figure in _FIGURES:
        found = line.differences.get(figure)
        row |= {
            figure: _known(line.means.get(figure)),
            f"{figure}_difference": _known(found.mean if found else None),
            f"{figure}_error": _known(found.error if found else None),
            f"{figure}_pairs": found.n if found else None,
        }
    row |= {name: _known(line.facts.get(name)) for name in ("pool", "pairs", "seconds")}
    failed = sum(run.row == line.row.name for run, _ in results.failed)
    return row | {
        "failed": failed, "paper": line.row.paper, "paper_difference": line.paper_difference
    }  # fmt: skip


def _known(value: float | None) -> float | None:
    """A number rounded for a file; None where there is none, which JSON can hold."""
    return None if value is None or not math.isfinite(value) else round(value, 6)


def document(results: Results, lines: list[Line]) -> dict[str, Any]:
    """Every run, and the table."""
    table = results.table
    return {
        "title": table.title,
        "baseline": table.baseline,
        "paper": table.paper,
        "rows": [_flat(results, line) for line in lines],
        "runs": [
            {"row": run.row, "split": run.split, "seed": run.seed, "folder": str(run.folder)}
            | asdict(found)
            for run, found in results.outcomes.items()
        ],
    }


def draw(path: Path, results: Results, lines: list[Line]) -> None:
    """Draw the differences of top-1 with their confidence intervals, and the paper's beside them.

    Points of single runs are not drawn; a row without a pair has no point.
    """
    from matplotlib.figure import Figure

    rows = [line for line in lines if line.row.name != results.table.baseline]
    figure = Figure(figsize=(7.5, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color="0.5", lw=1)
    for place, line in enumerate(rows):
        found = line.differences.get("top1")
        if found is not None and found.n:
            value, reach = 100 * found.mean, None
            if math.isfinite(found.error):
                reach = 100 * student(found.n - 1) * found.error
            axes.errorbar(value, place, xerr=reach, color="C0", lw=1.5, capsize=3, fmt="o", ms=6,
                          label="measured, with its 95 % interval")  # fmt: skip
        if line.paper_difference is not None:
            axes.plot(line.paper_difference, place, "D", mfc="none", color="C1", ms=7,
                      label="the paper")  # fmt: skip
    names = [f"{line.row.name} ({line.n})" for line in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"top-1, points against {results.table.baseline}", parse_math=False)
    axes.set_title(results.table.title, parse_math=False, fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    if known:
        figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=2,
                      frameon=False, fontsize="small")  # fmt: skip
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", dpi=110, metadata={"Software": None})
