"""What the runs of an ablation came to, and how the rows compare with the baseline, in pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l2a.errors import InputError
from l2a.files import read_json
from l2a.pairs import read_pairs
from train.ablation.plan import PlannedRun, row_arm
from train.ablation.table import Row, Table
from train.estimates import student
from train.scene_test.cast import FOREIGN


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        figures: "top1" (0..1) and "loss" (nats) on the test split, means over the run's repeats;
            with a scene test, `FOREIGN` (0..1) too; empty where it failed.
        facts: "pairs" that were composited, "pool" of pairs to choose from, "seconds" it took.
        failed: why it failed; "" where it did not.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    failed: str = ""


@dataclass(frozen=True)
class Difference:
    """A row's figure against the baseline's on the same splits and seeds.

    Attributes:
        n: pairs of runs.
        mean: of the row minus the baseline; nan without a pair.
        error: standard error of that mean, sd / √n; nan for fewer than two pairs.
    """

    n: int
    mean: float
    error: float

    @property
    def is_sure(self) -> bool:
        """Whether its 95 % confidence interval, by Student's t, leaves out 0. Never for two pairs:
        on few test clips two differences are easily the same, and seem to have no error."""
        return self.n > 2 and abs(self.mean) > student(self.n - 1) * self.error


@dataclass(frozen=True)
class Line:
    """A row of the table of results.

    Attributes:
        row: its name, and what the paper says.
        n: runs that it has.
        means: figure ─► mean over them.
        differences: figure ─► against the baseline; empty for the baseline itself.
        facts: fact ─► mean over them.
        paper_difference: in points, to the paper's baseline; None where the paper has none.
    """

    row: Row
    n: int
    means: Mapping[str, float]
    differences: Mapping[str, Difference]
    facts: Mapping[str, float]
    paper_difference: float | None


@dataclass(frozen=True)
class Results:
    """All that is known so far.

    Attributes:
        table: the rows.
        outcomes: of the runs that were tried.
    """

    table: Table
    outcomes: Mapping[PlannedRun, Outcome]

    @property
    def failed(self) -> list[tuple[PlannedRun, str]]:
        """The runs that failed, with the reason."""
        return [(run, found.failed) for run, found in self.outcomes.items() if found.failed]

    def lines(self) -> list[Line]:
        """The rows of the table, in its order."""
        figures = {name: self._of(name) for name in self.table.rows}
        base = figures[self.table.baseline]
        runs = [run for of in figures.values() for run in of.values()]
        names = list(dict.fromkeys(name for run in runs for name in run))
        lines = []
        for name, row in self.table.rows.items():
            own = figures[name]
            means = {f: mean(found.values()) for f in names if (found := values(own, f))}
            differences = {} if name == self.table.baseline else {
                figure: paired(values(own, figure), values(base, figure)) for figure in names
            }  # fmt: skip
            lines.append(
                Line(
                    row, len(own), means, differences, self._facts(name),
                    self._paper_difference(row),
                )
            )  # fmt: skip
        return lines

    def _of(self, row: str) -> dict[tuple[str, int], Mapping[str, float]]:
        """(split, seed) ─► figures of a row's runs that did not fail."""
        return {
            (run.split, run.seed): found.figures
            for run, found in self.outcomes.items()
            if run.row == row and not found.failed
        }

    def _facts(self, row: str) -> dict[str, float]:
        own = [f.facts for run, f in self.outcomes.items() if run.row == row and not f.failed]
        names = dict.fromkeys(name for facts in own for name in facts)
        return {name: mean(facts[name] for facts in own if name in facts) for name in names}

    def _paper_difference(self, row: Row) -> float | None:
        base = self.table.rows[self.table.baseline].paper
        if base is None or row.paper is None or row.name == self.table.baseline:
            return None
        return row.paper - base


def values(
    runs: Mapping[tuple[str, int], Mapping[str, float]], figure: str
) -> dict[tuple[str, int], float]:
    """One figure of a row's runs, by split and seed."""
    return {place: figures[figure] for place, figures in runs.items() if figure in figures}


def paired(
    own: Mapping[tuple[str, int], float], base: Mapping[tuple[str, int], float]
) -> Difference:
    """The mean difference over splits and seeds that both have, and its standard error."""
    found = [value - base[place] for place, value in own.items() if place in base]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return Difference(len(found), mean(found), error)


def mean(numbers: Any) -> float:
    """The mean of some numbers; nan of none."""
    several: Sequence[float] = list(numbers)
    return statistics.fmean(several) if several else math.nan


def read_outcome(run: PlannedRun) -> Outcome:
    """What a finished run came to.

    Raises:
        InputError: its files are not those of a finished run.
    """
    folder = run.folder
    try:
        arm = read_json(folder / "metrics.json")["arms"][row_arm(run.settings)]
        figures = {
            "top1": float(arm["top1_mean"]),
            "loss": mean(float(repeat["loss"]) for repeat in arm["repeats"]),
        }
        if "scene_test" in arm and (found := arm["scene_test"]["mean"][FOREIGN])["count"]:
            figures[FOREIGN] = float(found["mean"])
        seconds = read_json(folder / "stages.json")
        facts = {"seconds": float(sum(seconds.values()))}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder} holds no results that can be read ({error}); remove it, to have them made "
            "again."
        ) from None
    if (folder / "matches.json").is_file():
        facts["pool"] = float(read_json(folder / "matches.json")["pool"])
    if (folder / "pairs.parquet").is_file():
        facts["pairs"] = float(len(read_pairs(folder / "pairs.parquet")[0]))
    return Outcome(figures, facts)
