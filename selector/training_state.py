"""What a training of the Selector carries from step to step, and resumes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from l2a.checkpoints import optimizer_tensors, restore_optimizer, with_prefix, without_prefix
from l2a.errors import InputError, L2AError
from selector import reward as rewards
from selector.diagnosis import RankingMonitor
from selector.environment import Environment, PairBatch
from selector.network import Selector
from selector.settings import ReinforceSettings

# With 128 pairs and the mean ω held above 0.1, an empty subset is a one-in-a-million event.
EMPTY_STEPS_IN_A_ROW = 100

State = tuple[dict[str, Tensor], dict[str, object]]
"""What a training resumes from: tensors, and facts that fit into JSON."""

_COUNTED = ("step", "delta", "skipped", "empty_in_a_row")
_OBSERVED = ("still", "settled_at", "agreement")
"""Attributes of `Progress` and of its `watch` that fit into JSON."""


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


NOT_SAVED = Checkpoints()


@dataclass
class Progress:
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


@dataclass(frozen=True)
class TrainingState:
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

    def state(self, progress: Progress) -> State:
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

    def restore(self, state: State) -> Progress:
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
            return Progress(**counted, watch=watch, videos=tensors["progress.videos"])
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise InputError(damaged) from None


def step_generator(seed: int, step: int, *purpose: int) -> torch.Generator:
    """A CPU generator for one step, and for another purpose at it."""
    return torch.Generator().manual_seed(mixed_seed(seed, step, *purpose))


def mixed_seed(*numbers: int) -> int:
    """A seed from several numbers; SeedSequence keeps neighbouring seeds and steps apart."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def check_finite(step: int, name: str, value: Tensor) -> None:
    """Stop before a NaN reaches the Selector's weights, from which it would never go away."""
    if not bool(value.isfinite().all()):
        raise L2AError(
            f"The {name} is not a finite number at step {step}; lower the learning rate of the "
            "classifier or of the Selector, or look for broken features."
        )
