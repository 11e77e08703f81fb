"""The trainer: loop, optimiser, schedule and the state to resume from, whatever is learned.

Everything that is random follows from (seed, step), so that a training that was killed and resumed
ends with the bytes of one that was not. Where several processes train together
(`train.distributed`), process 0 calls the others to the same training, and writes alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from l2a.checkpoints import (
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_tensors,
    with_prefix,
    without_prefix,
)
from l2a.errors import L2AError
from l2a.logs import say
from l2a.networks import VideoNetwork
from train.compiling import compiled
from train.distributed import (
    average,
    average_gradients,
    call_all,
    meet,
    rank,
    refuse_other_gpu,
    refuse_pieces_in_sync,
    world,
)
from train.loading import Loading, StepBatches, TensorBatch, load_steps
from train.memory import lower_rate, memory_for_training
from train.objectives import Loss, Objective
from train.parts import Part, Parts, Weights
from train.settings.full import ClassifierSettings

SECONDS_BETWEEN_STATES = 20.0
"""An interrupted training loses at most this much, and writing costs a small share of the time."""

_LAYOUT = 2
"""Version of the state file. The first, which had no such entry, counted whole epochs."""

B = TypeVar("B", bound=TensorBatch)

MakeOptimiser = Callable[[Iterable[nn.Parameter], ClassifierSettings], Optimizer]
"""What takes the steps, of the parameters and the settings."""


@dataclass(frozen=True)
class OwnOptimiser:
    """An optimiser in place of the one of every training.

    Attributes:
        make: of the parameters and the settings.
        remedy: what to give where it takes the loss out of the numbers, for a person.
    """

    make: MakeOptimiser
    remedy: str


OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, from 0, and the figures to show: the mean loss and the
objective's own figures, the learning rate of the last step, and clips a second."""


@dataclass(frozen=True)
class TrainingJob(Generic[B]):
    """One training, whole: process 0 sends it to those that train together with it.

    Attributes:
        network: on the device to train on; it is trained in place.
        objective: what is minimised.
        batches: of every step of the training.
        settings: of optimiser and schedule.
        seed: what dropout and stochastic depth hide follows from it, and from the step.
        loading: who makes the batches; a thread by default.
        state: where to keep the state while the training runs. What an earlier call left there is
            restored; the state of an earlier version only where its training was finished, else
            the training starts over and says so.
    """

    network: VideoNetwork
    objective: Objective[B]
    batches: StepBatches[B]
    settings: ClassifierSettings
    seed: int
    loading: Loading = field(default_factory=Loading)
    state: Path | None = None

    def __call__(self, device: torch.device) -> None:
        """Take part; `device` is where the tensors lie already."""
        trainer = Trainer(self)
        with memory_for_training(self.settings, device):
            trainer.train()


class Trainer(Generic[B]):
    """One training: make it, which restores its state, then `train`.

    Attributes:
        job: what is done.
        network, objective: of the job.
        step: the next one, from 0 over all epochs; above 0 where the training resumes.
    """

    def __init__(self, job: TrainingJob[B], optimiser: OwnOptimiser | None = None) -> None:
        """
        Args:
            job: what is to be done.
            optimiser: what takes the steps; `make_optimiser` if not given.

        Raises:
            InputError: pieces of a batch would have to be normalised together.
            ValueError: an optimiser is given, and several processes train together.
        """
        if optimiser is not None and world() > 1:
            # It may hold other parameters, or in another order, than those of the others would.
            raise ValueError("an optimiser of its own is not sent to other processes")
        self.job, self.network, self.objective = job, job.network, job.objective
        network, settings = job.network, job.settings
        refuse_pieces_in_sync(settings.micro_batch, network.device, sync=settings.sync_batchnorm)
        if settings.sync_batchnorm and world() > 1 and network.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self._tally = _Tally(torch.zeros((), device=network.device))
        self._seconds, self._clips = 0.0, 0  # of earlier tries, and of this one
        parameters = [*network.parameters(), *job.objective.parameters()]
        own = optimiser or OwnOptimiser(make_optimiser, lower_rate(settings))
        self._optimiser, self._remedy = own.make(parameters, settings), own.remedy
        self.step = self._restore()
        self._schedule = make_schedule(self._optimiser, settings, len(job.batches), self.step)

    @property
    def epoch(self) -> int:
        """The next epoch to be reported."""
        return self.step // max(1, self.job.batches.steps_per_epoch)

    @property
    def cost(self) -> dict[str, float]:
        """Steps taken, clips that went through the network, and seconds, over all tries."""
        return {"steps": self.step, "clips": self._clips, "seconds": round(self._seconds, 2)}

    def train(self, on_epoch: OnEpoch = lambda epoch, figures: None) -> None:
        """Train to the end.

        Raises:
            L2AError: the loss is no longer a number.
        """
        job, device = self.job, self.network.device
        per_epoch = job.batches.steps_per_epoch
        refuse_other_gpu(device)
        call_all(job, device)
        meet()  # all have read the state by now: process 0 may write another one
        parts = Parts(job.batches, rank(), world())
        self.network.train()
        saved = counted = self._tally.started = time.monotonic()
        # Dropout and stochastic depth draw from the global generators, which others use too.
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            compiled(self.network, wanted=job.settings.compile),
        ):
            for part in load_steps(parts, job.loading, self.step):
                torch.manual_seed(_mixed(job.seed, self.step, rank()))
                rate = float(self._schedule.get_last_lr()[0])
                self._tally.add(self._learn(part.to(device)), part.total)
                self.step += 1
                self._clips += part.total
                counted, before = time.monotonic(), counted
                self._seconds += counted - before
                if self.step % per_epoch == 0:
                    if rank() == 0:
                        on_epoch(self.epoch - 1, self._figures(rate))
                    self._tally = _Tally(torch.zeros((), device=device))
                done = self.step == len(job.batches)
                if done or time.monotonic() - saved > SECONDS_BETWEEN_STATES:
                    self._save()
                    saved = time.monotonic()

    def _learn(self, part: Part[B]) -> dict[str, Tensor]:
        """One step of gradient descent; returns the figures of the whole batch."""
        self._optimiser.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for piece, weights in part.pieces(self.job.settings.micro_batch):
            loss = self.objective.loss(self.network, piece, self.step)
            total = weighed(loss, weights)
            total.backward()
            weighted = {
                name: value.detach() * weights.others for name, value in loss.figures.items()
            }
            if "labelled" in weighted:
                weighted["labelled"] = loss.figures["labelled"].detach() * weights.labelled
            for name, value in {"loss": total.detach(), **weighted}.items():
                figures[name] = figures[name] + value if name in figures else value
        parameters = [p for group in self._optimiser.param_groups for p in group["params"]]
        average_gradients(parameters, *figures.values())
        if self.job.settings.clip_gradients:
            # After the mean over processes: the norm is that of the whole batch.
            nn.utils.clip_grad_norm_(parameters, self.job.settings.clip_gradients)
        self._optimiser.step()
        self._schedule.step()
        # Each process has seen its own part: with the mean, all keep the same statistics.
        buffers = (*self.network.buffers(), *self.objective.buffers())
        average([one for one in buffers if one.is_floating_point()])
        self.objective.after_step(self.network, self.step)
        return figures

    def _figures(self, rate: float) -> dict[str, float]:
        means = self._tally.means()
        if not math.isfinite(means["loss"]):
            raise L2AError(
                f"The training loss is {means['loss']} in epoch {self.epoch - 1}; {self._remedy}."
            )
        return means | {"lr": rate, "clips_per_second": self._tally.clips_per_second()}

    def _save(self) -> None:
        if self.job.state is None or rank():
            return
        tensors = (
            with_prefix("network.", self.network.state_dict())
            | with_prefix("objective.", self.objective.state_dict())
            | optimizer_tensors(self._optimiser, "optimiser.")
            | with_prefix("tally.", self._tally.sums)
        )
        values = {
            "layout": _LAYOUT, "step": self.step, "steps_in_tally": self._tally.steps,
            "seconds": self._seconds, "clips": self._clips,
        }  # fmt: skip
        save_tensors(self.job.state, tensors, values)

    def _restore(self) -> int:
        """Put back the state that `_save` kept; returns the next step."""
        if self.job.state is None or not self.job.state.is_file():
            return 0
        tensors, values = load_tensors(self.job.state)
        if values.get("layout") != _LAYOUT:
            return self._restore_first_layout(tensors, values)
        self.network.load_state_dict(without_prefix("network.", tensors))
        self.objective.load_state_dict(without_prefix("objective.", tensors))
        restore_optimizer(self._optimiser, tensors, "optimiser.")
        sums = without_prefix("tally.", tensors)
        device = self.network.device
        self._tally.sums = {name: value.to(device) for name, value in sums.items()}
        self._tally.steps = values["steps_in_tally"]
        self._seconds, self._clips = values.get("seconds", 0.0), values.get("clips", 0)
        return int(values["step"])

    def _restore_first_layout(self, tensors: Mapping[str, Tensor], values: Any) -> int:
        """A finished training of an earlier version is kept; an unfinished one starts over."""
        batches = self.job.batches
        if values.get("epochs_done", 0) * batches.steps_per_epoch < len(batches):
            say(
                f"note: {self.job.state} was left by an earlier version in the middle of a "
                "training, which starts over"
            )
            return 0
        self.network.load_state_dict(without_prefix("network.", tensors))
        return len(batches)


def weighed(loss: Loss, weights: Weights) -> Tensor:
    """The loss of a part of a batch, with the weights of its terms."""
    if loss.labelled is None or weights.labelled == weights.others:
        return loss.total if weights.others == 1 else loss.total * weights.others
    return loss.total * weights.others + loss.labelled * (weights.labelled - weights.others)


def make_optimiser(parameters: Iterable[nn.Parameter], settings: ClassifierSettings) -> SGD:
    """Stochastic gradient descent with momentum and weight decay (Sec. 5.1)."""
    return SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def make_schedule(
    optimiser: Optimizer, settings: ClassifierSettings, steps: int, first: int = 0
) -> LambdaLR:
    """The learning rate falls to 0 along half a cosine over ALL steps of a training (Sec. 5.1).

    Args:
        optimiser: with the rate to begin with in its groups.
        settings: say whether it begins again.
        steps: of the whole training.
        first: the next step, where a training resumes.
    """
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return LambdaLR(optimiser, lambda step: rate_at(step, steps, settings), last_epoch=first - 1)


def rate_at(step: int, steps: int, settings: ClassifierSettings) -> float:
    """The share of `lr` that step `step` of `steps` is taken with.

    With `lr_restart` the cosine begins again with that rate, and is as long as the first one: so
    does `adjust_learning_rate` in `main.py` of github.com/CVIR/TCL, 661076c, for its last part.
    """
    begins = math.ceil(settings.restart_at * steps)
    if settings.lr_restart is None or step < begins:
        return cosine(step, steps)
    return settings.lr_restart / settings.lr * cosine(step - begins, steps)


def cosine(step: int, steps: int) -> float:
    """The share of the learning rate at `step` of `steps`: from 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


@dataclass
class _Tally:
    """Sums over the steps of an epoch; they stay on the device, which need not be waited for."""

    zero: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    clips: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, figures: Mapping[str, Tensor], clips: int) -> None:
        """Add a step's figures."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, self.zero) + value
        self.steps += 1
        self.clips += clips

    def means(self) -> dict[str, float]:
        """Mean figures over the steps."""
        return {name: float(value) / self.steps for name, value in self.sums.items()}

    def clips_per_second(self) -> float:
        """Since this process began or went on with the epoch."""
        return self.clips / max(time.monotonic() - self.started, 1e-9)


def _mixed(seed: int, step: int, rank: int = 0) -> int:
    """A seed of the global generator; SeedSequence keeps neighbouring seeds and steps apart. Of
    several processes each has its own, and the first that of a single one."""
    numbers = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
