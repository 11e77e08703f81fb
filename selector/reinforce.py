"""Stage 1: the Selector learns from the classifier's validation loss, by REINFORCE.

Learn2Augment, Sec. 4.1. Read `train_selector` from top to bottom; what an action is worth
and how that becomes a loss are pure functions in `selector.reward`, the world is behind
`selector.environment`, and whether anything was learned is for `selector.diagnosis` to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from l2a.checkpoints import optimizer_tensors, restore_optimizer, with_prefix, without_prefix
from l2a.errors import InputError, L2AError
from selector import reward as rewards
from selector.calibration import Calibration, calibrate
from selector.diagnosis import (
    IN_A_ROW,
    WATCHED,
    Probe,
    RankingMonitor,
    Verdict,
    correlation,
)
from selector.environment import Environment, PairBatch, StepResult
from selector.network import Selector, Side
from selector.settings import ReinforceSettings

# With 128 pairs and the mean ω held above 0.1, an empty subset is a one-in-a-million event.
EMPTY_STEPS_IN_A_ROW = 100

_COMPARED = 2
"""Batches of pairs whose credit is measured by recording at a checkpoint."""
_JUDGED = 4
"""Batches of pairs kept aside, at most, whose credit ω is compared with and fitted to at the end.
"""

Log = Callable[[int, dict[str, float]], None]
State = tuple[dict[str, Tensor], dict[str, object]]
"""What a training resumes from: tensors, and facts that fit into JSON."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a training's states go, and which of them it resumes from.

    Attributes:
        save: called at every checkpoint and after the last step with (tensors, facts): CPU copies,
            and a dictionary that fits into JSON. None saves nothing.
        resume: what `save` was given; None starts from scratch.
    """

    save: Callable[[dict[str, Tensor], dict[str, object]], None] | None = None
    resume: State | None = None


@dataclass(frozen=True)
class TrainedTrunk:
    """A trunk that learns with the Selector.

    Its weights are part of the environment's state, whose features carry a gradient to it.

    Attributes:
        parameters: of the trunk.
        lr: Adam's learning rate for them.
    """

    parameters: tuple[nn.Parameter, ...]
    lr: float


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


@dataclass(frozen=True)
class TrainingReport:
    """How the training ended.

    Attributes:
        steps: steps taken in all.
        skipped: steps without effect, because a subset was empty.
        delta: the last δ.
        verdict: whether anything was learned.
    """

    steps: int
    skipped: int
    delta: float | None
    verdict: Verdict


def train_selector(
    selector: Selector,
    environment: Environment,
    settings: ReinforceSettings,
    seed: int,
    *,
    log: Log,
    checkpoints: Checkpoints = Checkpoints(),
    trunk: TrainedTrunk | None = None,
    known: DiagnosisContext = DiagnosisContext(),
) -> TrainingReport:
    """Train `selector` in place; it is left in evaluation mode.

    Every step draws all its randomness from (seed, step), so that a training resumed from a saved
    state ends with the same bits as one that was never interrupted.

    Args:
        selector: on the device to train on, its standardiser fitted.
        environment: gives pairs, takes actions.
        settings: how to train.
        seed: of pairs, actions and what dropout hides.
        log: called after every step with its number and its figures. A skipped step has only
            omega_*, share_selected and skipped_steps; checkpoints add rank_correlation,
            reliability and probe_auroc.
        checkpoints: what to resume from, and where states are saved.
        trunk: learns with the Selector; None where the environment's features are fixed.
        known: what the ranking is judged by.

    Raises:
        InputError: the state to resume from is of other settings or another seed.
        L2AError: the validation loss, reward or policy loss is not a finite number, or the
            Selector selects nothing any more.
    """
    reward = rewards.REWARDS[settings.reward](settings)
    optimiser = _optimiser(selector, trunk, settings.selector_lr)
    learner = _TrainingState(selector, environment, optimiser, settings, seed)
    progress = _Progress()
    if checkpoints.resume is not None:
        progress = learner.restore(checkpoints.resume)
    watch = progress.watch
    if progress.step == 0:
        watch.look(_watched(selector, environment)[0], 0, settings.settle)

    while progress.step < settings.selector_steps and watch.still < IN_A_ROW:
        step = progress.step
        if settings.restart_every and step and step % settings.restart_every == 0:
            environment.restart()
            # A fresh classifier's loss is far above the old average: no pair caused that.
            progress.delta = None

        # Act: each pair is selected with probability ω.
        generator = _step_generator(seed, step)
        batch = environment.sample(settings.selector_batch, generator)
        progress.met(batch)
        logits = _score(selector.train(), batch, seed, step)
        actions = _act(logits, reward.trajectories, generator, step)
        figures = _policy_figures(logits.detach(), actions)

        # Learn from what the environment makes of it (Eq. 5).
        if actions.any(dim=1).all():
            result = environment.step(batch, actions, reward.measurements)
            _finite(step, "validation loss", result.after)
            advantage = reward.advantage(result, progress.delta, batch).to(logits.device)
            _finite(step, "reward", advantage)
            progress.learned(float(result.after[0]), settings.baseline_window)
            figures |= _descend(learner, reward.loss(logits, actions, advantage), logits, step)
            figures |= _reward_figures(advantage, result, progress.delta)
            if reward.measurements.credit:
                figures["credit_correlation"] = correlation(logits.detach(), advantage)
        else:
            # Nothing was composited, so there is nothing to learn from (DVRL resamples instead).
            progress.skip()

        # Look at the ranking, and save, from time to time.
        progress.step += 1
        last = progress.step == settings.selector_steps
        due = last or progress.step % settings.checkpoint_every == 0
        if due:
            figures |= _look(learner, progress, known, credited=reward.measurements.credit)
        log(step, figures | {"skipped_steps": float(progress.skipped)})
        if due and checkpoints.save is not None:
            checkpoints.save(*learner.state(progress))

    judged = _judge(learner, progress, reward, known) if reward.measurements.credit else _Judged()
    probe = known.probe(*_watched(selector, environment))
    verdict = Verdict(
        progress.step, watch.settled_at, judged.explained, probe, watch.reliability,
        judged.calibration, known.recordings, judged.pairs, judged.chance,
    )  # fmt: skip
    return TrainingReport(progress.step, progress.skipped, progress.delta, verdict)


@dataclass
class _Progress:
    """What the loop carries from step to step besides the networks. `step` is the next one."""

    step: int = 0
    delta: float | None = None
    skipped: int = 0
    empty_in_a_row: int = 0
    watch: RankingMonitor = field(default_factory=RankingMonitor)
    videos: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def met(self, batch: PairBatch) -> None:
        """Take note of the videos of a batch."""
        self.videos = torch.cat([self.videos, batch.rows.flatten()]).unique()

    def learned(self, loss: float, window: int) -> None:
        """A step had an effect: its validation loss moves the baseline."""
        self.empty_in_a_row = 0
        self.delta = rewards.update_baseline(self.delta, loss, window)

    def skip(self) -> None:
        """A step had none, because a subset was empty."""
        self.skipped += 1
        self.empty_in_a_row += 1
        if self.empty_in_a_row >= EMPTY_STEPS_IN_A_ROW:
            raise L2AError(
                f"The Selector selected nothing in {EMPTY_STEPS_IN_A_ROW} steps in a row "
                f"(step {self.step}); lower selector_lr or raise explore_weight."
            )


def _optimiser(selector: Selector, trunk: TrainedTrunk | None, lr: float) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": list(selector.parameters())}]
    if trunk is not None:
        groups.append({"params": list(trunk.parameters), "lr": trunk.lr})
    # Fused: one pass over 12 million weights a step, in place of five.
    return torch.optim.Adam(groups, lr=lr, fused=True)


def _score(selector: Selector, batch: PairBatch, seed: int, step: int) -> Tensor:
    """Logits of a batch with gradient; what dropout hides follows from (seed, step)."""
    device = selector.feature_mean.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_mixed(seed, step, 1))
        logits: Tensor = selector(*batch.to(device))
    return logits


def _act(logits: Tensor, trajectories: int, generator: torch.Generator, step: int) -> Tensor:
    """Subsets drawn by the policy: float32 [B] ─► float32 [M, B], 0 or 1."""
    omega = logits.detach().sigmoid()
    _finite(step, "Selector's score", omega)
    chances = omega.cpu().expand(trajectories, -1)
    return torch.bernoulli(chances, generator=generator).to(logits.device)


def _descend(
    learner: _TrainingState, policy_loss: Tensor, logits: Tensor, step: int
) -> dict[str, float]:
    """One step of the optimiser; returns its figures."""
    settings = learner.settings
    penalty = rewards.exploration_penalty(
        logits.sigmoid(), settings.explore_low, settings.explore_high, settings.explore_weight
    )
    _finite(step, "policy loss", policy_loss)
    learner.optimiser.zero_grad()
    loss = policy_loss + penalty - settings.entropy * rewards.policy_entropy(logits)
    loss.backward()
    learner.optimiser.step()
    return {
        "policy_loss": float(policy_loss.detach()),
        "exploration_penalty": float(penalty.detach()),
    }


@torch.no_grad()
def _look(
    learner: _TrainingState, progress: _Progress, known: DiagnosisContext, *, credited: bool
) -> dict[str, float]:
    """How the ranking of the watched pairs has changed, what the probe says of it, and, where
    pairs are credited, how far the reward agrees with itself: of one for subsets nothing is known,
    and credit, which taught nothing then, is no stand-in."""
    watch, step = progress.watch, progress.step
    found, rows = _watched(learner.selector, learner.environment)
    figures = watch.look(found, step, learner.settings.settle, known.trained_before)
    if probe := known.probe(found, rows):
        figures["probe_auroc"] = probe.auroc
    if not credited:
        return figures
    generator = _step_generator(learner.seed, step, 2)
    batch = learner.environment.sample(_COMPARED * learner.settings.selector_batch, generator)
    credit = learner.environment.credit_matrix(batch)
    _finite(step, "reward", credit)
    return figures | watch.note_credit(credit, batch.classes[:, 0])


@dataclass(frozen=True)
class _Judged:
    """What pairs kept aside say: see `Verdict`. Nothing where there are none."""

    explained: float | None = None
    pairs: int = 0
    chance: float = 0.0
    calibration: Calibration | None = None


@torch.no_grad()
def _judge(
    learner: _TrainingState, progress: _Progress, reward: rewards.Reward, known: DiagnosisContext
) -> _Judged:
    """Compare ω with the credit of pairs that training never drew, fit it to that, and fold the fit
    into the Selector.

    Training draws some pairs again and again and memorises them: what ω says of their credit, even
    of noise, is no finding.
    """
    most, generator = _JUDGED * learner.settings.selector_batch, _step_generator(learner.seed, 0, 4)
    batch = learner.environment.sample_aside(most, generator)
    if batch is None:
        return _Judged()
    credit = learner.environment.credit_matrix(batch).sum(dim=1).cpu()
    _finite(progress.step, "reward", credit)
    logits = score_pairs(learner.selector, batch).cpu()
    explained = explained_credit(logits, credit, batch, reward)
    # Pairs share recordings, and what ω says of one it says of all its pairs.
    of = batch.rows if known.video_recordings is None else known.video_recordings[batch.rows]
    chance = min(len(side.unique()) for side in of.T) ** -0.5
    fit = _calibrate(learner, progress, batch, logits, credit)
    return _Judged(explained, len(batch.rows), chance, fit)


def explained_credit(
    logits: Tensor, credit: Tensor, batch: PairBatch, reward: rewards.Reward
) -> float:
    """Correlation of logits, float [B], with credit, float [B], as an advantage: the part of it
    that the reward taught, such as what is left of it within classes."""
    result = StepResult(torch.zeros(1), None, credit)
    return correlation(logits, reward.advantage(result, None, batch).cpu())


def _calibrate(
    learner: _TrainingState, progress: _Progress, batch: PairBatch, logits: Tensor, credit: Tensor
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
def _watched(selector: Selector, environment: Environment) -> tuple[Tensor, Tensor]:
    """Logits of pairs that are the same at every call, and their foreground videos."""
    batch = environment.sample(WATCHED, torch.Generator().manual_seed(0))
    return score_pairs(selector, batch).cpu(), batch.rows[:, 0]


def _step_generator(seed: int, step: int, *purpose: int) -> torch.Generator:
    """A CPU generator for one step, and for another purpose at it."""
    return torch.Generator().manual_seed(_mixed(seed, step, *purpose))


def _mixed(*numbers: int) -> int:
    """A seed from several numbers; SeedSequence keeps neighbouring seeds and steps apart."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _policy_figures(logits: Tensor, actions: Tensor) -> dict[str, float]:
    """How sure the policy is, and what it chose. Entropy is in nats, log 2 at most."""
    omega = logits.sigmoid()
    return {
        "omega_mean": float(omega.mean()),
        "omega_sd": float(omega.std(correction=0)),
        "omega_entropy": float(rewards.policy_entropy(logits)),
        "share_selected": float(actions.mean()),
    }


def _reward_figures(advantage: Tensor, result: StepResult, delta: float | None) -> dict[str, float]:
    assert delta is not None
    return {
        "reward_mean": float(advantage.mean()),
        "reward_sd": float(advantage.std(correction=0)),
        "validation_loss": float(result.after[0]),
        "baseline": delta,
    }


def _finite(step: int, name: str, value: Tensor) -> None:
    """Stop before a NaN reaches the Selector's weights, from which it would never go away."""
    if not bool(value.isfinite().all()):
        raise L2AError(
            f"The {name} is not a finite number at step {step}; lower the learning rate of the "
            "classifier or of the Selector, or look for broken features."
        )


@dataclass(frozen=True)
class _TrainingState:
    """What a training changes, and what it must be trained with to resume."""

    selector: Selector
    environment: Environment
    optimiser: torch.optim.Optimizer
    settings: ReinforceSettings
    seed: int

    def facts(self) -> dict[str, object]:
        """What must be the same to resume. More steps may be asked for, or other saving."""
        facts = dataclasses.asdict(self.settings)
        del facts["selector_steps"]
        if self.settings.settle == 1:  # otherwise checkpoints decide where the training ends
            del facts["checkpoint_every"]
        return {"seed": self.seed, **facts}

    def state(self, progress: _Progress) -> State:
        """All of the training's state as flat tensors and JSON-able facts."""
        tensors = (
            with_prefix("selector.", self.selector.state_dict())
            | optimizer_tensors(self.optimiser, "optimiser.")
            | with_prefix("environment.", self.environment.state_dict())
        )
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        watch = progress.watch
        copies |= {"watch.first": watch.first, "watch.last": watch.last}
        copies["progress.videos"] = progress.videos
        facts: dict[str, object] = {
            "progress": {name: getattr(progress, name) for name in _COUNTED},
            "watch": {name: getattr(watch, name) for name in _OBSERVED},
            "training": self.facts(),
        }
        return copies, facts

    def restore(self, state: State) -> _Progress:
        """Bring the networks back to a saved state and return how far the training was."""
        tensors, facts = state
        saved, counted, observed = (facts.get(part) for part in ("training", "progress", "watch"))
        damaged = "The saved training of the Selector is damaged; remove it to start again."
        if not (
            isinstance(saved, dict) and isinstance(counted, dict) and isinstance(observed, dict)
        ):
            raise InputError(damaged)
        for name, value in self.facts().items():
            if saved.get(name) != value:
                raise InputError(
                    f"The saved training of the Selector has {name} {saved.get(name)!r} and this "
                    f"one {value!r}; use the same settings, or another run folder."
                )
        try:
            self.selector.load_state_dict(without_prefix("selector.", tensors))
            restore_optimizer(self.optimiser, tensors, "optimiser.")
            self.environment.load_state_dict(without_prefix("environment.", tensors))
            watch = RankingMonitor(tensors["watch.first"], tensors["watch.last"], **observed)
            return _Progress(**counted, watch=watch, videos=tensors["progress.videos"])
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise InputError(damaged) from None


_COUNTED = ("step", "delta", "skipped", "empty_in_a_row")
_OBSERVED = ("still", "settled_at", "agreement")
