"""What is asked of a Selector's ranking while it learns, and at the end.

The figures themselves are in `selector.diagnosis`, `selector.reliability` and
`selector.calibration`; here pairs are drawn for them and scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selector import reward as rewards
from selector.calibration import Calibration, calibrate
from selector.diagnosis import WATCHED, Probe, correlation
from selector.environment import Environment, PairBatch, StepResult
from selector.network import Selector, Side
from selector.training_state import Progress, TrainingState, check_finite, step_generator

_COMPARED = 2
"""Batches of pairs whose credit is measured by recording at a checkpoint."""
_JUDGED = 4
"""Batches of pairs kept aside, at most, whose credit ω is compared with and fitted to at the end.
"""


@dataclass(frozen=True)
class DiagnosisContext:
    """What the caller knows, by which the diagnosis judges a ranking.

    Attributes:
        mislabelled: bool by the environment's video numbers, which videos carry a label that was
            exchanged on purpose; None without a probe.
        trained_before: the Selector is being fine-tuned, so that a ranking may settle where it
            began; a random one has to leave its start first.
        recordings: of validation, by which alone credit is measured; None where by others, too.
        video_recordings: int64 by the environment's video numbers, what each was cut from; None
            where each is its own.
    """

    mislabelled: Tensor | None = None
    trained_before: bool = False
    recordings: int | None = None
    video_recordings: Tensor | None = None

    def probe(self, logits: Tensor, rows: Tensor) -> Probe | None:
        """What the mislabelled videos say of a ranking, see `Probe.of`."""
        if self.mislabelled is None:
            return None
        return Probe.of(logits, rows, self.mislabelled, self.video_recordings)


NOTHING_KNOWN = DiagnosisContext()


@torch.no_grad()
def look_at_ranking(
    learner: TrainingState, progress: Progress, known: DiagnosisContext, *, credited: bool
) -> dict[str, float]:
    """How the ranking of the watched pairs has changed, what the probe says of it, and, where
    pairs are credited, how far the reward agrees with itself: of one for subsets nothing is known,
    and credit, which taught nothing then, is no stand-in."""
    watch, step = progress.watch, progress.step
    found, rows = watched_pairs(learner.selector, learner.environment)
    figures = watch.look(found, step, learner.settings.settle, known.trained_before)
    if probe := known.probe(found, rows):
        figures["probe_auroc"] = probe.auroc
    if not credited:
        return figures
    generator = step_generator(learner.seed, step, 2)
    batch = learner.environment.sample(_COMPARED * learner.settings.selector_batch, generator)
    credit = learner.environment.credit_matrix(batch)
    check_finite(step, "reward", credit)
    return figures | watch.note_credit(credit, batch.classes[:, 0])


@dataclass(frozen=True)
class Judged:
    """What pairs kept aside say: see `Verdict`. Nothing where there are none."""

    explained: float | None = None
    pairs: int = 0
    chance: float = 0.0
    calibration: Calibration | None = None


@torch.no_grad()
def judge_aside(
    learner: TrainingState, progress: Progress, reward: rewards.Reward, known: DiagnosisContext
) -> Judged:
    """Compare ω with the credit of pairs that training never drew, fit it to that, and fold the fit
    into the Selector.

    Training draws some pairs again and again and memorises them: what ω says of their credit, even
    of noise, is no finding.
    """
    most, generator = _JUDGED * learner.settings.selector_batch, step_generator(learner.seed, 0, 4)
    batch = learner.environment.sample_aside(most, generator)
    if batch is None:
        return Judged()
    credit = learner.environment.credit_matrix(batch).sum(dim=1).cpu()
    check_finite(progress.step, "reward", credit)
    logits = score_pairs(learner.selector, batch).cpu()
    explained = explained_credit(logits, credit, batch, reward)
    # Pairs share recordings, and what ω says of one it says of all its pairs.
    of = batch.rows if known.video_recordings is None else known.video_recordings[batch.rows]
    chance = min(len(side.unique()) for side in of.T) ** -0.5
    fit = _calibrate(learner, progress, batch, logits, credit)
    return Judged(explained, len(batch.rows), chance, fit)


def explained_credit(
    logits: Tensor, credit: Tensor, batch: PairBatch, reward: rewards.Reward
) -> float:
    """Correlation of logits, float [B], with credit, float [B], as an advantage: the part of it
    that the reward taught, such as what is left of it within classes."""
    result = StepResult(torch.zeros(1), None, credit)
    return correlation(logits, reward.advantage(result, None, batch).cpu())


def _calibrate(
    learner: TrainingState, progress: Progress, batch: PairBatch, logits: Tensor, credit: Tensor
) -> Calibration | None:
    """Fit ω to the credit of pairs that training has not drawn, and fold it into the Selector.

    Where there are enough of them, those whose videos it has not met either: what it has memorised
    of a video must not look like something that it knows.
    """
    new = ~torch.isin(batch.rows, progress.videos).any(dim=1)
    of_new_videos = int(new.sum()) >= learner.settings.selector_batch
    held = new if of_new_videos else torch.ones_like(new)
    found = calibrate(logits[held], credit[held], batch.classes[held, 0], of_new_videos)
    if found is not None:
        learner.selector.scale_logits(found.scale, found.shift)
    return found


@torch.no_grad()
def score_pairs(selector: Selector, batch: PairBatch) -> Tensor:
    """Logits float32 `[B]` of a batch as the Selector is now.

    Equal to a forward pass up to rounding, but every video goes through the first layer once,
    which is most of the work.
    """
    features_f, features_b, labels_f, labels_b = batch.to(selector.eval().feature_mean.device)

    def half(rows: Tensor, features: Tensor, labels: Tensor, side: Side) -> Tensor:
        videos, where = rows.unique(return_inverse=True)
        places = torch.empty(len(videos), dtype=torch.int64)
        places[where] = torch.arange(len(where))  # of any of a video's pairs
        own = selector.project(features[places], labels[places], side)
        return own[where.to(own.device)]

    return selector.score_projected(
        half(batch.rows[:, 0], features_f, labels_f, "foreground"),
        half(batch.rows[:, 1], features_b, labels_b, "background"),
    )


@torch.no_grad()
def watched_pairs(selector: Selector, environment: Environment) -> tuple[Tensor, Tensor]:
    """Logits of pairs that are the same at every call, and their foreground videos."""
    batch = environment.sample(WATCHED, torch.Generator().manual_seed(0))
    return score_pairs(selector, batch).cpu(), batch.rows[:, 0]
