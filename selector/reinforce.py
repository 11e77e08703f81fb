"""Stage 1: the Selector learns from the classifier's validation loss, by REINFORCE.

Learn2Augment, Sec. 4.1. Read `train_selector` from top to bottom; what is paid for an action and
how it becomes a loss are pure functions in `selector.reward`. The classifier, the videos and the
compositing are behind the Protocol `Environment`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from l2a.checkpoints import optimizer_tensors, restore_optimizer, with_prefix, without_prefix
from l2a.errors import InputError, L2AError
from selector import reward as rewards
from selector.network import Selector
from selector.settings import ReinforceSettings, RewardName

# With 64 pairs and the mean ω held above 0.1, an empty subset is a one-in-a-thousand event.
EMPTY_STEPS_IN_A_ROW = 100

Log = Callable[[int, dict[str, float]], None]
State = tuple[dict[str, Tensor], dict[str, object]]


@dataclass(frozen=True)
class PairBatch:
    """The state s_t: a batch of B candidate pairs.

    Attributes:
        rows: int64 [B, 2], the environment's own numbers of foreground and background video.
        features_f, features_b: float32 [B, D], the trunk's features of both.
        labels_f, labels_b: float32 [B, E], their label vectors.
        seed: drawn by the environment in `sample` for whatever else is random when it composites
            these pairs; the loop does not look at it.
    """

    rows: Tensor
    features_f: Tensor
    features_b: Tensor
    labels_f: Tensor
    labels_b: Tensor
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What an action led to.

    Attributes:
        validation_loss: mean cross-entropy of the validation clips after the classifier's step.
        credit: float [B], one number for EVERY pair of the batch, chosen or not (see
            `reward.last_layer_credit`); None when it was not asked for.
    """

    validation_loss: float
    credit: Tensor | None = None


class Environment(Protocol):
    """The classification network and the validation process (Sec. 4.1), as the loop sees them."""

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """`count` pairs of the pool. All randomness comes from `generator`."""

    def step(self, batch: PairBatch, actions: Tensor, wants_credit: bool) -> Outcome:
        """Composite the pairs with action 1, take one classifier step on them, validate.

        Args:
            batch: as `sample` gave it.
            actions: float32 [B], 0 or 1, at least one 1.
            wants_credit: whether `Outcome.credit` is needed; it takes all pairs' composites.
                Credit is that of the classifier BEFORE its step.
        """

    def restart(self) -> None:
        """Put the classifier and its optimiser back to their start."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that `sample` and `step` depend on and that changes: weights, momentum, counters."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that `state_dict` gave."""


@dataclass(frozen=True)
class RewardRule:
    """How an outcome is paid.

    Attributes:
        wants_credit: whether the environment must give credit per pair.
        pay: (outcome, δ before the step or None) ─► float [] for the subset or [B] per pair.
    """

    wants_credit: bool
    pay: Callable[[Outcome, float | None], Tensor]


def _pay_credit(outcome: Outcome, delta: float | None) -> Tensor:
    if outcome.credit is None:
        raise ValueError("The environment gave no credit; it must when wants_credit is set.")
    return rewards.standardise_credit(outcome.credit.detach())


def _pay_moving_average(outcome: Outcome, delta: float | None) -> Tensor:
    return torch.tensor(rewards.moving_average_reward(outcome.validation_loss, delta))


REWARDS: dict[RewardName, RewardRule] = {
    "credit": RewardRule(wants_credit=True, pay=_pay_credit),
    "moving-average": RewardRule(wants_credit=False, pay=_pay_moving_average),
}


@dataclass(frozen=True)
class TrainingReport:
    """How the training ended: steps taken in all, steps skipped for an empty subset, the last δ."""

    steps: int
    skipped: int
    delta: float | None


def train_selector(
    selector: Selector,
    environment: Environment,
    settings: ReinforceSettings,
    seed: int,
    *,
    log: Log,
    save: Callable[[dict[str, Tensor], dict[str, object]], None] | None = None,
    resume: State | None = None,
) -> TrainingReport:
    """Train `selector` in place.

    Every step draws all its randomness from (seed, step), so that a training resumed from a saved
    state ends with the same bits as one that was never interrupted.

    Args:
        selector: on the device to train on, its standardiser fitted.
        environment: gives pairs, takes actions.
        settings: how to train.
        seed: of pairs and actions.
        log: called after every step with its number and its figures. A skipped step has only
            omega_*, share_selected and skipped_steps.
        save: called every `checkpoint_every` steps and after the last with (tensors, facts):
            CPU copies, and a dictionary that fits into JSON.
        resume: what `save` was given.

    Raises:
        InputError: `resume` comes from other settings or another seed.
        L2AError: the validation loss, reward or policy loss is not a finite number, or the
            Selector selects nothing any more.
    """
    rule = REWARDS[settings.reward]
    optimiser = torch.optim.Adam(selector.parameters(), lr=settings.selector_lr)
    device = selector.feature_mean.device
    progress = _Progress()
    if resume is not None:
        progress = _restore(resume, settings, seed, selector, optimiser, environment)

    while progress.step < settings.selector_steps:
        step = progress.step
        if settings.restart_every and step and step % settings.restart_every == 0:
            environment.restart()
            # A fresh classifier's loss is far above the old average: that is no pair's fault.
            progress.delta = None

        # Act: each pair is selected with probability ω.
        generator = _step_generator(seed, step)
        batch = environment.sample(settings.selector_batch, generator)
        inputs = (batch.features_f, batch.features_b, batch.labels_f, batch.labels_b)
        logits = selector(*(part.to(device) for part in inputs))
        omega = logits.sigmoid()
        _finite(step, "Selector's score", omega)
        actions = torch.bernoulli(omega.detach().cpu(), generator=generator).to(device)
        figures = _policy_figures(logits.detach(), actions)

        if not actions.any():
            # Nothing was composited, so there is nothing to learn from (DVRL resamples instead).
            progress.skipped += 1
            progress.empty_in_a_row += 1
            if progress.empty_in_a_row >= EMPTY_STEPS_IN_A_ROW:
                raise L2AError(
                    f"The Selector selected nothing in {EMPTY_STEPS_IN_A_ROW} steps in a row "
                    f"(step {step}); lower selector_lr or raise explore_weight."
                )
        else:
            progress.empty_in_a_row = 0
            # What the environment makes of it.
            outcome = environment.step(batch, actions, rule.wants_credit)
            _finite(step, "validation loss", outcome.validation_loss)
            reward = rule.pay(outcome, progress.delta).to(device)
            _finite(step, "reward", reward)
            progress.delta = rewards.update_baseline(
                progress.delta, outcome.validation_loss, settings.baseline_window
            )

            # Learn (Eq. 5).
            loss = rewards.policy_loss(logits, actions, reward)
            penalty = rewards.exploration_penalty(
                omega, settings.explore_low, settings.explore_high, settings.explore_weight
            )
            _finite(step, "policy loss", loss)
            optimiser.zero_grad()
            (loss + penalty).backward()
            optimiser.step()
            figures |= {
                "reward_mean": float(reward.mean()),
                "reward_sd": float(reward.std(correction=0)),
                "validation_loss": outcome.validation_loss,
                "baseline": progress.delta,
                "policy_loss": float(loss.detach()),
                "exploration_penalty": float(penalty.detach()),
            }

        log(step, figures | {"skipped_steps": float(progress.skipped)})
        progress.step += 1
        due = progress.step % settings.checkpoint_every == 0
        if save is not None and (due or progress.step == settings.selector_steps):
            save(*_state(progress, settings, seed, selector, optimiser, environment))

    return TrainingReport(progress.step, progress.skipped, progress.delta)


@dataclass
class _Progress:
    """What the loop carries from step to step beside the networks. `step` is the next one."""

    step: int = 0
    delta: float | None = None
    skipped: int = 0
    empty_in_a_row: int = 0


def _step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator for one step; SeedSequence keeps neighbouring seeds and steps apart."""
    mixed = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))


def _policy_figures(logits: Tensor, actions: Tensor) -> dict[str, float]:
    """How sure the policy is, and what it chose. Entropy is in nats, log 2 at most."""
    omega = logits.sigmoid()
    return {
        "omega_mean": float(omega.mean()),
        "omega_sd": float(omega.std(correction=0)),
        "omega_entropy": float(functional.binary_cross_entropy_with_logits(logits, omega)),
        "share_selected": float(actions.mean()),
    }


def _finite(step: int, name: str, value: Tensor | float) -> None:
    """Stop before a NaN reaches the Selector's weights, from which it would never go away."""
    bad = not (bool(value.isfinite().all()) if isinstance(value, Tensor) else math.isfinite(value))
    if bad:
        raise L2AError(
            f"The {name} is not a finite number at step {step}; lower the learning rate of the "
            "classifier or of the Selector, or look for broken features."
        )


def _facts(settings: ReinforceSettings, seed: int) -> dict[str, object]:
    """What must be the same to go on. More steps may be asked for, or other saving."""
    facts = dataclasses.asdict(settings)
    del facts["selector_steps"], facts["checkpoint_every"]
    return {"seed": seed, **facts}


def _state(
    progress: _Progress,
    settings: ReinforceSettings,
    seed: int,
    selector: Selector,
    optimiser: torch.optim.Optimizer,
    environment: Environment,
) -> State:
    """All of the training's state as flat tensors and JSON-able facts."""
    tensors = (
        with_prefix("selector.", selector.state_dict())
        | optimizer_tensors(optimiser, "optimiser.")
        | with_prefix("environment.", environment.state_dict())
    )
    copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
    return copies, {"progress": dataclasses.asdict(progress), "training": _facts(settings, seed)}


def _restore(
    resume: State,
    settings: ReinforceSettings,
    seed: int,
    selector: Selector,
    optimiser: torch.optim.Optimizer,
    environment: Environment,
) -> _Progress:
    """Bring the networks back to a saved state and return how far it had come."""
    tensors, facts = resume
    saved, come, wanted = facts.get("training"), facts.get("progress"), _facts(settings, seed)
    if not isinstance(saved, dict) or not isinstance(come, dict):
        raise InputError("The saved training of the Selector is damaged; remove it to start again.")
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise InputError(
                f"The saved training of the Selector has {name} {saved.get(name)!r} and this one "
                f"{value!r}; use the same settings, or another run folder."
            )
    selector.load_state_dict(without_prefix("selector.", tensors))
    restore_optimizer(optimiser, tensors, "optimiser.")
    environment.load_state_dict(without_prefix("environment.", tensors))
    return _Progress(**come)
