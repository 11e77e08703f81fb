"""What the arms of a run came to: accuracy, spread, gain, their uncertainty, and the tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from train.arms import arm_title, baseline


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier, and what came of it.

    Attributes:
        name: as in `train.arms.ArmPlan`.
        results: metrics on the test split, one a repeat, or with a frozen trunk one a draw of
            pairs, as `Metrics.to_json` gives them.
        l2: with a frozen trunk, the strength of the head's penalty; else None.
    """

    name: str
    results: tuple[dict[str, Any], ...]
    l2: float | None = None

    @property
    def title(self) -> str:
        """What it is called, for a person."""
        return arm_title(self.name)

    @property
    def mean(self) -> float:
        """Mean top-1 over the repeats, 0..1."""
        return statistics.fmean(result["top1"] for result in self.results)

    @property
    def spread(self) -> float:
        """Standard deviation of top-1 over the repeats; 0 for one."""
        top1 = [result["top1"] for result in self.results]
        return statistics.stdev(top1) if len(top1) > 1 else 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean top-1 over the repeats; 0 for one."""
        return float(self.spread / len(self.results) ** 0.5)

    @property
    def loss(self) -> float:
        """Mean cross-entropy on the test split over the repeats, in nats."""
        return statistics.fmean(result["loss"] for result in self.results)


@dataclass(frozen=True)
class Uncertainty:
    """How uncertain one accuracy is.

    Attributes:
        clips: of the test split.
        error: its standard error, 0..1; 0 where all clips are right, or all wrong.
        over: what that takes for independent, for a person.
    """

    clips: int
    error: float
    over: str

    @property
    def sentence(self) -> str:
        """For a person, without a full stop."""
        if self.error == 0:
            return f"{self.clips} test clips, all of them right or all wrong"
        return (
            f"{self.clips} test clips: one accuracy is uncertain by ±{100 * self.error:.1f} points "
            f"(1 s.e. {self.over})"
        )


def uncertainty(arms: Sequence[Sequence[Mapping[str, Any]]], clips: int) -> Uncertainty:
    """How uncertain one accuracy on `clips` test clips is, on average over arms.

    Clips of one recording are right or wrong together, so that the error is over recordings; what
    earlier versions measured does not hold it, and only that of independent clips can be given. So
    it is where every recording is equally right: from a few of them no spread can be told.

    Args:
        arms: the results of each, as `Metrics.to_json` gives them.
        clips: of the test split.
    """
    results = [result for arm in arms for result in arm]
    if all(result["top1"] in (0, 1) for result in results):  # there is no spread to tell it from
        return Uncertainty(clips, 0.0, "")
    if any(result.get("top1_error") is None for result in results):
        mean = statistics.fmean(statistics.fmean(one["top1"] for one in arm) for arm in arms)
        return Uncertainty(clips, _if_independent(mean, clips), "if clips were independent")
    alike = [result["top1_error"] == 0 and 0 < result["top1"] < 1 for result in results]
    errors = [
        _if_independent(result["top1"], clips) if same else float(result["top1_error"])
        for result, same in zip(results, alike, strict=True)
    ]
    over = "over recordings"
    if any(alike):
        over = "if clips were independent, as recordings are equally right"
        if not all(alike):
            over = "over recordings, or if clips were independent where these are equally right"
    return Uncertainty(clips, statistics.fmean(errors), over)


def _if_independent(share: float, clips: int) -> float:
    """The standard error of a share of independent clips."""
    return math.sqrt(share * (1 - share) / clips)


def gains(arms: Sequence[Arm]) -> list[float | None]:
    """How far each arm's mean top-1 lies above that of the arm that all are compared to; None for
    that one, and where there is none."""
    named = baseline(arm.name for arm in arms)
    base = next((arm.mean for arm in arms if arm.name == named), None)
    return [None if base is None or arm.name == named else arm.mean - base for arm in arms]


@dataclass(frozen=True)
class _Column:
    """Of a table: its heading, what it says of an arm and its gain, and its width in characters."""

    head: str
    cell: Callable[[Arm, float | None], str]
    width: int = 8


def _over_draws(value: float, arm: Arm) -> str:
    return f"{100 * value:.1f}" if len(arm.results) > 1 else "-"


_TOP1 = _Column("top-1", lambda arm, gain: f"{100 * arm.mean:.1f}%")
_GAIN = _Column("gain", lambda arm, gain: "" if gain is None else f"{100 * gain:+.1f}")
_TRAINED = (
    _TOP1,
    _Column("sd", lambda arm, gain: f"{100 * arm.spread:.1f}"),
    _GAIN,
    _Column("   seeds", lambda arm, gain: "   " + " ".join(
        f"{100 * result['top1']:.1f}" for result in arm.results
    ), 0),
)  # fmt: skip
_DRAWN = (
    _TOP1,
    _Column("sd", lambda arm, gain: _over_draws(arm.spread, arm)),
    _Column("se", lambda arm, gain: _over_draws(arm.error, arm)),
    _GAIN,
    _Column("loss", lambda arm, gain: f"{arm.loss:.3f}"),
    _Column("draws", lambda arm, gain: str(len(arm.results))),
)


def table(arms: Sequence[Arm], clips: int) -> str:
    """Arms as a table for the terminal: top-1 on the test split, and the gain over no composites.

    With a frozen trunk spread and standard error are over draws of pairs.

    Args:
        arms: one or more, trained alike.
        clips: test clips, on which each accuracy was measured.
    """
    frozen = arms[0].l2 is not None
    columns = _DRAWN if frozen else _TRAINED
    rows = [
        (arm.title, [column.cell(arm, gain) for column in columns])
        for arm, gain in zip(arms, gains(arms), strict=True)
    ]
    lines = _lines("", [(column.head, column.width) for column in columns], rows)
    if frozen:
        lines.append(
            "frozen trunk: a head has one optimum; sd and se (of the mean) are over draws of pairs"
        )
    lines.append(uncertainty([arm.results for arm in arms], clips).sentence)
    return "\n".join(lines)


def table_of_costs(costs: Mapping[str, Mapping[str, float]]) -> str:
    """What one training of each arm took, for the terminal."""
    rows = [
        (arm_title(name), [str(cost["steps"]), str(cost["clips"]), f"{cost['seconds']:.1f}"])
        for name, cost in costs.items()
    ]
    return "\n".join(_lines("one training", [("steps", 8), ("clips", 10), ("seconds", 10)], rows))


def _lines(
    corner: str, columns: Sequence[tuple[str, int]], rows: Sequence[tuple[str, Sequence[str]]]
) -> list[str]:
    """A heading and rows, each with its title; a column is flush right in its width."""
    first = max(16, *(len(title) + 2 for title, _ in rows))
    heads = [head for head, _ in columns]
    return [
        f"{title:<{first}}"
        + "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, columns, strict=True))
        for title, cells in ((corner, heads), *rows)
    ]
