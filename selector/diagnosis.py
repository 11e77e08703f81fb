"""Whether a Selector learned anything: looks at its ranking, and one sentence at the end.

A Selector can look busy and learn nothing: ω spreads, the losses move, and the ranking is that of
chance. So the same pairs are ranked at every checkpoint; the rank correlation between checkpoints
says whether the ranking has settled, the correlation of logits and credit whether it means
anything, and the probe, a few videos whose labels were exchanged on purpose, whether it means the
right thing. How far the reward agrees with itself over other recordings (`selector.reliability`)
says how much any ranking by it can be worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from l2a.errors import InputError
from l2a.videos import counted
from selector.calibration import Calibration
from selector.reliability import (
    FEWEST,
    Reliability,
    mean_reliability,
    measure_reliability,
    too_few,
)

WATCHED = 4096
"""Pairs that are ranked at every checkpoint."""
IN_A_ROW = 3
"""Checkpoints for which a ranking has to hold still before it counts as settled."""
_SETTLED = 0.95
_MOVED = 0.9


def auroc(scores: Tensor, good: Tensor) -> float:
    """How often a good one outranks a bad one, ties counted half; 0.5 is chance.

    Args:
        scores: float [n]. good: bool [n], with at least one of each kind.
    """
    ranks = _ranks(scores)[good]
    positives, negatives = int(good.sum()), int((~good).sum())
    wins = float(ranks.sum()) - positives * (positives - 1) / 2
    return wins / (positives * negatives)


def auroc_std(positives: float, negatives: float) -> float:
    """Standard deviation of the AUROC of scores that mean nothing (Mann-Whitney U without ties)."""
    return math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's ρ of two float [n], with mean ranks for ties; 0 when one of them is constant."""
    return correlation(_ranks(first), _ranks(second))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r of two float [n]; 0 when one of them is constant."""
    a, b = (values.double() - values.double().mean() for values in (first, second))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else 0.0


def per_video(scores: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean score of each video: scores float [n], rows int64 [n] ─► (videos, means)."""
    videos, inverse, counts = rows.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(videos), dtype=torch.float64).index_add(0, inverse, scores.double())
    return videos, sums / counts


@dataclass(frozen=True)
class Probe:
    """What the mislabelled videos say of a ranking.

    Attributes:
        auroc: how often a video with its own label outranks a mislabelled one, by the mean logit of
            the pairs in which they lend their actor.
        mislabelled, others: how many of each were compared.
        spread: standard deviation of `auroc` if the ranking were chance. Clips of one recording
            are alike, and count as many as they amount to: (Σn)² / Σn² recordings of n clips.
    """

    auroc: float
    mislabelled: int
    others: int
    spread: float

    @classmethod
    def of(
        cls, logits: Tensor, rows: Tensor, mislabelled: Tensor, recordings: Tensor | None = None
    ) -> Probe | None:
        """Compare foreground videos; None when the pairs do not have both kinds.

        Args:
            logits: float [n]. rows: int64 [n], foreground videos. mislabelled: bool [N], by video.
            recordings: int64 [N], of the same videos; None where each is its own.
        """
        videos, means = per_video(logits, rows)
        good = ~mislabelled[videos]
        if good.all() or not good.any():
            return None
        cut = videos if recordings is None else recordings[videos]
        spread = auroc_std(_recordings(cut[good]), _recordings(cut[~good]))
        return cls(auroc(means, good), int((~good).sum()), int(good.sum()), spread)


@dataclass
class RankingMonitor:
    """Looks at the same pairs at every checkpoint. What it has seen belongs to a training's state.

    Attributes:
        first, last: float [n], logits at step 0 and at the last checkpoint; empty before.
        still: checkpoints in a row for which the ranking held still.
        settled_at: the step from which on it has held still; None when it does not.
        agreement: [halves, spread, recordings] of the reward's reliability at each checkpoint, of
            pairs drawn afresh each time.
    """

    first: Tensor = field(default_factory=lambda: torch.empty(0))
    last: Tensor = field(default_factory=lambda: torch.empty(0))
    still: int = 0
    settled_at: int | None = None
    agreement: list[list[float]] = field(default_factory=list)

    def note_credit(self, credit: Tensor, classes: Tensor) -> dict[str, float]:
        """Take note of how far the reward agrees with itself over other recordings.

        Args:
            credit: float [n, R], by recording, of freshly drawn pairs.
            classes: int64 [n], of their foregrounds.
        """
        found = measure_reliability(credit, classes)
        if found is None:
            return {}
        # A new list: states that were saved keep theirs.
        own = [found.halves, found.spread, float(found.recordings)]
        self.agreement = [*self.agreement, own]
        return {"reliability": found.halves, "reliability_spread": found.spread}

    @property
    def reliability(self) -> Reliability | None:
        """What all checkpoints say of it together; None where none could be measured."""
        return mean_reliability([Reliability(a, b, int(n)) for a, b, n in self.agreement])

    def look(
        self, logits: Tensor, step: int, settle: float, trained_before: bool = False
    ) -> dict[str, float]:
        """Take note of a checkpoint.

        Args:
            logits: float [n], of the watched pairs.
            step: how many steps were taken.
            settle: rank correlation with the last checkpoint from which on a ranking is still; at
                1 none ever is.
            trained_before: whether the ranking was learned already at step 0.
        """
        if not len(self.first):
            self.first = self.last = logits
            return {}
        kept, moved = rank_correlation(self.last, logits), rank_correlation(self.first, logits)
        # A ranking that has not left its random start is not settled, it has not begun.
        begun = trained_before or moved < _MOVED
        if kept >= min(settle, _SETTLED) and begun:
            self.settled_at = step if self.settled_at is None else self.settled_at
        else:
            self.settled_at = None
        # At 1 nothing counts: a ranking that no step moves at all keeps a correlation of 1.
        self.still = self.still + 1 if 1 > settle <= kept and begun else 0
        self.last = logits
        return {"rank_correlation": kept, "rank_correlation_with_start": moved}


class Judge(NamedTuple):
    """A figure that says whether ω means something: where, the figure, and what is beyond chance
    (two standard deviations)."""

    where: str
    figure: float
    bar: float


@dataclass(frozen=True)
class Verdict:
    """How a training of a Selector ended.

    Attributes:
        steps: steps taken.
        settled_at: the step from which on ω's ranking held still; None when it did not.
        explained: correlation of the logits with the credit of pairs that training never drew, as
            it was taught; None when rewards were of subsets, or no pairs were kept aside.
        probe: AUROC of the mislabelled videos; None without any.
        reliability: how far the reward agrees with itself over other recordings; None where that
            could not be measured, as of rewards of subsets.
        calibration: how ω was fitted to the credit of new pairs; None where rewards are of subsets,
            or nothing told pairs apart.
        recordings: that validation measured the reward on; None where others measured it, too.
        aside: how many pairs that was measured on.
        chance: standard deviation of it where ω has nothing to do with credit; 0 if not measured.
    """

    steps: int
    settled_at: int | None
    explained: float | None
    probe: Probe | None
    reliability: Reliability | None = None
    calibration: Calibration | None = None
    recordings: int | None = None
    aside: int = 0
    chance: float = 0.0

    @property
    def upside_down(self) -> bool:
        """Whether ω prefers the mislabelled videos, beyond chance."""
        return self.probe is not None and self.probe.auroc < 0.5 - 2 * self.probe.spread

    @property
    def judge(self) -> Judge | None:
        """What tells whether ω means something; None where nothing can: what no ranking could
        pass, however good, is no judge."""
        if self.probe is not None and (bar := 0.5 + 2 * self.probe.spread) < 1:
            return Judge("on the probe", self.probe.auroc, bar)
        if self.explained is not None and (bar := max(0.05, 2 * self.chance)) < 1:
            return Judge("at telling credit", self.explained, bar)
        return None

    @property
    def found(self) -> bool | None:
        """Whether ω means something; None when nothing that was measured shows it."""
        return None if self.judge is None else self.judge.figure > self.judge.bar

    def __str__(self) -> str:
        """One sentence for a person."""
        text = "; ".join(self._findings())
        if self.upside_down:
            return f"the ranking is upside down: ω prefers the mislabelled videos; {text}"
        if self.judge is None:
            return f"{text}; whether it means anything is not known: {self._missing}"
        if not self.found:
            return f"no signal found: ω is no better than chance {self.judge.where}; {text}"
        return text

    @property
    def _missing(self) -> str:
        """What would tell."""
        if self.probe is not None:
            return "too few recordings are mislabelled to tell; give a larger --probe"
        if self.explained is not None:
            return "the pairs kept aside are of too few recordings to tell"
        return "train with --probe 0.1"

    def _findings(self) -> list[str]:
        parts = [f"ranking still moving at step {self.steps}"]
        if self.settled_at is not None:
            parts = [f"ranking settled at step {self.settled_at}"]
        if self.explained is not None:
            share = 100 * max(self.explained, 0.0) ** 2
            of = f"{counted(self.aside, 'pair')} that training never drew"
            parts.append(f"ω explains {share:.1f} % of the credit of {of}")
        if self.probe is not None:
            parts.append(
                f"probe AUROC {self.probe.auroc:.2f} with {self.probe.mislabelled} mislabelled "
                f"videos (chance 0.50 ± {self.probe.spread:.2f})"
            )
        if self.reliability is not None:
            # That the reward tells the best pairs is no praise of a ranking that turns it over.
            said = self.reliability.measured if self.upside_down else str(self.reliability)
            parts.append(said)
        elif self.recordings is not None and self.recordings < FEWEST:
            parts.append(too_few(self.recordings))
        if self.calibration is not None:
            parts.append(str(self.calibration))
        return parts


def _recordings(of: Tensor) -> float:
    """How many recordings videos amount to: as many as there are where all have as many clips."""
    counts = of.unique(return_counts=True)[1].double()
    return float(counts.sum() ** 2 / counts.square().sum())


def verdict_text(document: Any, source: Path) -> str:
    """The sentence of a verdict that was stored as JSON, in `verdict.json`.

    Args:
        document: what the file holds. source: the file, for messages.

    Raises:
        InputError: it holds no verdict.
    """
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{source} holds no verdict; train the Selector again.")
    return text


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, double [n]; equal values share the mean of theirs."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(0).double() - (counts + 1).double() / 2)[inverse]
    return ranks
