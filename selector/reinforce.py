"""Stage 1: the Selector learns from the classifier's validation loss, by REINFORCE.

Learn2Augment, Sec. 4.1. Read `train_selector` from top to bottom; what an action is worth
and how that becomes a loss are pure functions in `selector.reward`, the world is behind
`selector.environment`, and whether anything was learned is for `selector.diagnosis` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from selector import reward as rewards
from selector.diagnosis import IN_A_ROW, Verdict, correlation
from selector.environment import Environment, PairBatch, StepResult
from selector.judging import (
    NOTHING_KNOWN,
    DiagnosisContext,
    Judged,
    judge_aside,
    look_at_ranking,
    watched_pairs,
)
from selector.network import Selector
from selector.settings import ReinforceSettings
from selector.training_state import (
    NOT_SAVED,
    Checkpoints,
    Progress,
    TrainingState,
    check_finite,
    mixed_seed,
    step_generator,
)

Log = Callable[[int, dict[str, float]], None]


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
    checkpoints: Checkpoints = NOT_SAVED,
    trunk: TrainedTrunk | None = None,
    known: DiagnosisContext = NOTHING_KNOWN,
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
    credited = reward.measurements.credit
    optimiser = _optimiser(selector, trunk, settings.selector_lr)
    learner = TrainingState(selector, environment, optimiser, settings, seed)
    progress = Progress()
    if checkpoints.resume is not None:
        progress = learner.restore(checkpoints.resume)
    watch = progress.watch
    if progress.step == 0:
        watch.look(watched_pairs(selector, environment)[0], 0, settings.settle)

    while progress.step < settings.selector_steps and watch.still < IN_A_ROW:
        step = progress.step
        if settings.restart_every and step and step % settings.restart_every == 0:
            environment.restart()
            # A fresh classifier's loss is far above the old average: no pair caused that.
            progress.delta = None

        # Act: each pair is selected with probability ω.
        generator = step_generator(seed, step)
        batch = environment.sample(settings.selector_batch, generator)
        progress.met(batch)
        logits = _score(selector.train(), batch, seed, step)
        actions = _act(logits, reward.trajectories, generator, step)
        figures = _policy_figures(logits.detach(), actions)

        # Learn from what the environment makes of it (Eq. 5).
        if actions.any(dim=1).all():
            result = environment.step(batch, actions, reward.measurements)
            check_finite(step, "validation loss", result.after)
            advantage = reward.advantage(result, progress.delta, batch).to(logits.device)
            check_finite(step, "reward", advantage)
            progress.learned(float(result.after[0]), settings.baseline_window)
            figures |= _descend(learner, reward.loss(logits, actions, advantage), logits, step)
            figures |= _reward_figures(advantage, result, progress.delta)
            if credited:
                figures["credit_correlation"] = correlation(logits.detach(), advantage)
        else:
            # Nothing was composited, so there is nothing to learn from (DVRL resamples instead).
            progress.skip()

        # Look at the ranking, and save, from time to time.
        progress.step += 1
        last = progress.step == settings.selector_steps
        due = last or progress.step % settings.checkpoint_every == 0
        if due:
            figures |= look_at_ranking(learner, progress, known, credited=credited)
        log(step, figures | {"skipped_steps": float(progress.skipped)})
        if due and checkpoints.save is not None:
            checkpoints.save(*learner.state(progress))

    judged = judge_aside(learner, progress, reward, known) if credited else Judged()
    probe = known.probe(*watched_pairs(selector, environment))
    verdict = Verdict(
        progress.step, watch.settled_at, judged.explained, probe, watch.reliability,
        judged.calibration, known.recordings, judged.pairs, judged.chance,
    )  # fmt: skip
    return TrainingReport(progress.step, progress.skipped, progress.delta, verdict)


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
        torch.manual_seed(mixed_seed(seed, step, 1))
        logits: Tensor = selector(*batch.to(device))
    return logits


def _act(logits: Tensor, trajectories: int, generator: torch.Generator, step: int) -> Tensor:
    """Subsets drawn by the policy: float32 [B] ─► float32 [M, B], 0 or 1."""
    omega = logits.detach().sigmoid()
    check_finite(step, "Selector's score", omega)
    chances = omega.cpu().expand(trajectories, -1)
    return torch.bernoulli(chances, generator=generator).to(logits.device)


def _descend(
    learner: TrainingState, policy_loss: Tensor, logits: Tensor, step: int
) -> dict[str, float]:
    """One step of the optimiser; returns its figures."""
    settings = learner.settings
    penalty = rewards.exploration_penalty(
        logits.sigmoid(), settings.explore_low, settings.explore_high, settings.explore_weight
    )
    check_finite(step, "policy loss", policy_loss)
    learner.optimiser.zero_grad()
    loss = policy_loss + penalty - settings.entropy * rewards.policy_entropy(logits)
    loss.backward()
    learner.optimiser.step()
    return {
        "policy_loss": float(policy_loss.detach()),
        "exploration_penalty": float(penalty.detach()),
    }


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
