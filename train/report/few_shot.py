"""What `l2a few-shot evaluate` measured: accuracies on episodes, and differences in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from train.few_shot.results import FORMULAS
from train.few_shot.table import COMPARED, RECORDINGS, difference_title, title_of
from train.report.source import Section, Source


def few_shot(source: Source) -> Section:
    """The table of the run's episodes; None for the run of another command."""
    if source.command != "few-shot evaluate":
        return None
    found = source.json("metrics.json")
    if not found:
        return "Not all episodes are measured yet."
    accuracies, differences = found["accuracy"], found["differences"]
    shots = list(next(iter(accuracies.values())))
    rows = [
        (title_of(choice, found["method"]), [_cell(of_shot[shot]) for shot in shots])
        for choice, of_shot in accuracies.items()
    ]
    for pair in COMPARED:
        if of_shot := differences.get(" - ".join(pair)):
            cells = [_cell(of_shot[shot], signed=True) for shot in shots]
            rows.append((difference_title(pair), cells))
    first = next(iter(accuracies.values()))[shots[0]]
    interval = source.settings.get("interval", "normal")
    return {
        "method": found["method"], "way": found["way"], "queries": found["queries"],
        "shots": shots, "rows": rows, "episodes": first["episodes"],
        "formula": FORMULAS.get(interval, ""), "classes": found["classes"],
        # A run of an earlier version does not say.
        "recordings": RECORDINGS.get(found.get("group_disjoint"), ""),
    }  # fmt: skip


def _cell(result: Mapping[str, Any], *, signed: bool = False) -> str:
    """`61.25 ± 0.21`, in per cent; `*` where a difference is clear of 0."""
    mean = 100 * result["mean"]
    reach = result["interval_95"]
    reach = math.nan if reach is None else 100 * reach
    if not signed:
        return f"{mean:.2f} ± {reach:.2f}"
    return f"{mean:+.2f} ± {reach:.2f}{'*' if abs(mean) > reach else ''}".replace("-", "−")
