"""Results of an evaluation as a table and as JSON: accuracies, and differences in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2a.class_splits import SIDES, ClassSplit
from train.few_shot.results import FORMULAS, Result, accuracy, paired_difference
from train.settings.few_shot import Choice, FewShotSettings

_TITLES = {"none": "{}", "random": "{} + L2A (random)", "selector": "{} + L2A (selected)"}
COMPARED: tuple[tuple[Choice, Choice], ...] = (
    ("random", "none"), ("selector", "none"), ("selector", "random"),
)  # fmt: skip
"""What is compared with what, where both were measured."""
RECORDINGS = {
    True: "No recording is on both sides of an episode.",
    False: "Clips of one recording can be on both sides of an episode (--group-disjoint forbids "
    "it).",
}
"""Whether recordings were kept apart ─► what to say of it."""
_BRIEF = {"none": "no composites", "random": "random", "selector": "selected"}


@dataclass(frozen=True)
class Arm:
    """The accuracy of each episode, of one choice of composites and one number of shots.

    Attributes:
        choice, shot: which.
        values: float64 `[n]`, 0..1.
    """

    choice: Choice
    shot: int
    values: NDArray[np.float64]


def title_of(choice: str, method: str) -> str:
    """Such as `trx + L2A (random)`."""
    return _TITLES[choice].format(method)


def difference_title(pair: tuple[Choice, Choice]) -> str:
    """Such as `selected − random`."""
    return f"{_BRIEF[pair[0]]} − {_BRIEF[pair[1]]}"


def results_table(few: FewShotSettings, arms: Sequence[Arm], *, apart: bool) -> str:
    """A row for each choice and each difference, a column for each number of shots, in per cent.

    Args:
        few: the settings.
        arms: what was measured.
        apart: whether no recording was on both sides of an episode. Of the episodes, not of the
            settings: a file of them may keep recordings apart without being asked to.
    """
    own, shots = _by_choice(arms), sorted({arm.shot for arm in arms})
    rows = [("", *(f"{shot} shot" + "s" * (shot > 1) for shot in shots))]
    for choice, of_shot in own.items():
        results = (accuracy(of_shot[shot], few.interval) for shot in shots)
        rows.append((title_of(choice, few.method), *map(str, results)))
    for pair, differences in _differences(few, own, shots).items():
        name = f"  {difference_title(pair)}"
        rows.append((name, *(_signed(one) for one in differences.values())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    count = len(arms[0].values)
    lines += [
        "",
        f"{few.way}-way, {few.queries} queries a class, {count} episodes, accuracy in %, ± "
        f"{FORMULAS[few.interval]}.",
        RECORDINGS[apart],
    ]
    if len(own) > 1:
        lines.append(
            "Differences are over the same episodes, in pairs; * where the interval is clear of 0."
        )
    return "\n".join(lines)


def results_json(
    few: FewShotSettings, split: ClassSplit, arms: Sequence[Arm], *, apart: bool
) -> dict[str, Any]:
    """The same with the classes, for `metrics.json`."""
    own, shots = _by_choice(arms), sorted({arm.shot for arm in arms})
    return {
        "method": few.method,
        "way": few.way,
        "queries": few.queries,
        "group_disjoint": apart,
        "classes": {side: list(split.of(side)) for side in SIDES},
        "accuracy": {
            choice: {str(shot): accuracy(of_shot[shot], few.interval).to_json() for shot in shots}
            for choice, of_shot in own.items()
        },
        "differences": {
            f"{first} - {second}": {str(shot): one.to_json() for shot, one in differences.items()}
            for (first, second), differences in _differences(few, own, shots).items()
        },
    }


def _by_choice(arms: Sequence[Arm]) -> dict[Choice, dict[int, NDArray[np.float64]]]:
    found: dict[Choice, dict[int, NDArray[np.float64]]] = {}
    for arm in arms:
        found.setdefault(arm.choice, {})[arm.shot] = arm.values
    return found


def _differences(
    few: FewShotSettings,
    own: dict[Choice, dict[int, NDArray[np.float64]]],
    shots: Sequence[int],
) -> dict[tuple[Choice, Choice], dict[int, Result]]:
    return {
        (first, second): {
            shot: paired_difference(own[first][shot], own[second][shot], few.interval)
            for shot in shots
        }
        for first, second in COMPARED
        if first in own and second in own
    }


def _signed(result: Result) -> str:
    mark = "*" if result.is_sure else ""
    return f"{100 * result.mean:+.2f} ± {100 * result.reach:.2f}{mark}"
