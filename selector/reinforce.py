"""Stage 1: the Selector learns from the classifier's validation loss, by REINFORCE.

Learn2Augment, Sec. 4.1. Read `train_selector` from top to bottom; what is paid for an action and
how it becomes a loss are pure functions in `selector.reward`, the world is behind
`selector.environment`, and whether anything was learned is for `selector.diagnosis` to say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from l2a.checkpoints import optimizer_tensors, restore_optimizer, with_prefix, without_prefix
from l2a.errors import InputError, L2AError
from selector import reward as rewards
from selector.diagnosis import IN_A_ROW, WATCHED, Probe, Verdict, Watch
from selector.environment import Environment, PairBatch
from selector.network import Selector
from selector.settings import ReinforceSettings

# With 128 pairs and the mean ω held above 0.1, an empty subset is a one-in-a-million event.
EMPTY_STEPS_IN_A_ROW = 100

Log = Callable[[int, dict[str, float]], None]
State = tuple[dict[str, Tensor], dict[str, object]]


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
    save: Callable[[dict[str, Tensor], dict[str, object]], None] | None = None,
    resume: State | None = None,
    planted: Tensor | None = None,
    trunk: Iterable[nn.Parameter] = (),
    trunk_lr: float = 0.0,
    trained_before: bool = False,
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
            omega_*, share_selected and skipped_steps; checkpoints add rank_correlation and
            probe_auroc.
        save: called at every checkpoint and after the last step with (tensors, facts): CPU copies,
            and a dictionary that fits into JSON.
        resume: what `save` was given.
        planted: bool by the environment's video numbers, which videos carry a label that was
            exchanged on purpose; None without a probe.
        trunk: parameters of the trunk, if the environment's features carry a gradient to it. Its
            weights are part of the environment's state.
        trunk_lr: Adam's learning rate for them.
        trained_before: the Selector is being fine-tuned, so that a ranking may settle where it
            began; a random one has to leave its start first.

    Raises:
        InputError: `resume` comes from other settings or another seed.
        L2AError: the validation loss, reward or policy loss is not a finite number, or the
            Selector selects nothing any more.
    """
    reward = rewards.REWARDS[settings.reward](settings)
    groups: list[dict[str, Any]] = [{"params": list(selector.parameters())}]
    if trunk := list(trunk):
        groups.append({"params": trunk, "lr": trunk_lr})
    optimiser = torch.optim.Adam(groups, lr=settings.selector_lr)
    device = selector.feature_mean.device
    progress = _Progress()
    if resume is not None:
        progress = _restore(resume, settings, seed, selector, optimiser, environment)
    watch = progress.watch
    if progress.step == 0:
        watch.look(_watched(selector, environment)[0], 0, settings.settle)

    while progress.step < settings.selector_steps and watch.still < IN_A_ROW:
        step = progress.step
        if settings.restart_every and step and step % settings.restart_every == 0:
            environment.restart()
            # A fresh classifier's loss is far above the old average: that is no pair's fault.
            progress.delta = None

        # Act: each pair is selected with probability ω.
        generator = _step_generator(seed, step)
        batch = environment.sample(settings.selector_batch, generator)
        logits = _score(selector.train(), batch, seed, step)
        omega = logits.sigmoid()
        _finite(step, "Selector's score", omega)
        chances = omega.detach().cpu().expand(reward.trajectories, -1)
        actions = torch.bernoulli(chances, generator=generator).to(device)
        figures = _policy_figures(logits.detach(), actions)

        if not actions.any(dim=1).all():
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
            outcome = environment.step(batch, actions, reward.ask)
            _finite(step, "validation loss", outcome.after)
            pay = reward.pay(outcome, progress.delta, batch).to(device)
            _finite(step, "reward", pay)
            progress.delta = rewards.update_baseline(
                progress.delta, float(outcome.after[0]), settings.baseline_window
            )

            # Learn (Eq. 5).
            loss = reward.loss(logits, actions, pay)
            penalty = rewards.exploration_penalty(
                omega, settings.explore_low, settings.explore_high, settings.explore_weight
            )
            _finite(step, "policy loss", loss)
            optimiser.zero_grad()
            (loss + penalty - settings.entropy * rewards.policy_entropy(logits)).backward()
            optimiser.step()
            figures |= {
                "reward_mean": float(pay.mean()),
                "reward_sd": float(pay.std(correction=0)),
                "validation_loss": float(outcome.after[0]),
                "baseline": progress.delta,
                "policy_loss": float(loss.detach()),
                "exploration_penalty": float(penalty.detach()),
            }
            if reward.ask.credit:
                figures["credit_correlation"] = watch.paid(logits.detach(), pay)

        progress.step += 1
        due = progress.step % settings.checkpoint_every == 0
        if due or progress.step == settings.selector_steps:
            found, rows = _watched(selector, environment)
            figures |= watch.look(found, progress.step, settings.settle, trained_before)
            if planted is not None and (probe := Probe.of(found, rows, planted)):
                figures["probe_auroc"] = probe.auroc
        log(step, figures | {"skipped_steps": float(progress.skipped)})
        if save is not None and (due or progress.step == settings.selector_steps):
            save(*_state(progress, settings, seed, selector, optimiser, environment))

    found, rows = _watched(selector, environment)
    probe = None if planted is None else Probe.of(found, rows, planted)
    verdict = Verdict(progress.step, watch.settled_at, watch.explained, probe)
    return TrainingReport(progress.step, progress.skipped, progress.delta, verdict)


@dataclass
class _Progress:
    """What the loop carries from step to step beside the networks. `step` is the next one."""

    step: int = 0
    delta: float | None = None
    skipped: int = 0
    empty_in_a_row: int = 0
    watch: Watch = field(default_factory=Watch)


def _score(selector: Selector, batch: PairBatch, seed: int, step: int) -> Tensor:
    """Logits of a batch with gradient; what dropout hides follows from (seed, step)."""
    device = selector.feature_mean.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_mixed(seed, step, 1))
        logits: Tensor = selector(*batch.to(device))
    return logits


@torch.no_grad()
def _watched(selector: Selector, environment: Environment) -> tuple[Tensor, Tensor]:
    """Logits of pairs that are the same at every call, and their foreground videos."""
    batch = environment.sample(WATCHED, torch.Generator().manual_seed(0))
    logits: Tensor = selector.eval()(*batch.to(selector.feature_mean.device))
    return logits.cpu(), batch.rows[:, 0]


def _step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator for one step."""
    return torch.Generator().manual_seed(_mixed(seed, step))


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
    del facts["selector_steps"]
    if settings.settle == 1:  # otherwise checkpoints decide where the training ends
        del facts["checkpoint_every"]
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
    watch = progress.watch
    copies |= {"watch.first": watch.first, "watch.last": watch.last}
    seen = {"still": watch.still, "settled_at": watch.settled_at, "explained": watch.explained}
    come = {
        name: getattr(progress, name) for name in ("step", "delta", "skipped", "empty_in_a_row")
    }
    facts: dict[str, object] = {"progress": come, "watch": seen, "training": _facts(settings, seed)}
    return copies, facts


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
    saved, come, seen = (facts.get(part) for part in ("training", "progress", "watch"))
    wanted = _facts(settings, seed)
    if not (isinstance(saved, dict) and isinstance(come, dict) and isinstance(seen, dict)):
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
    watch = Watch(tensors["watch.first"], tensors["watch.last"], **seen)
    return _Progress(**come, watch=watch)
