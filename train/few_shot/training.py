"""Learning from episodes of the base classes: a method's weights, and with them the trunk's.

With a frozen trunk an episode is a few rows of features that were computed once. Without, it is
clips, which are cropped and mirrored at random, and the trunk learns too. Either way the trainer,
its schedule and its state are those of `train.trainer`.

The stop rule: every `validate_every` episodes, and after the last one, the same episodes of the
validation classes are measured, and what did best there is kept (the first of equals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from l2a.checkpoints import load_tensors, save_tensors, with_prefix, without_prefix
from l2a.files import read_json, write_json
from l2a.networks import VideoNetwork
from l2a.progress import progress
from train.batches import Augment, ClipSource
from train.few_shot.episodes import Episode, Episodes
from train.few_shot.frames import Kind, features_of
from train.few_shot.methods import FewShotMethod
from train.loading import Loading, TensorBatch
from train.memory import lower_episode_rate, memory_for_episodes
from train.objectives import Loss
from train.settings.few_shot import FewShotSettings
from train.settings.full import ClassifierSettings
from train.trainer import OwnOptimiser, Trainer, TrainingJob

_VIEWS, _TURNS = 3, 4
"""Streams of random numbers: crops and flips of training episodes, and how self-supervised tasks
turn and shuffle their clips."""


@dataclass(frozen=True, slots=True)
class EpisodeBatch(TensorBatch):
    """Some episodes. A part of a batch (`--micro-batch`) has whole ones.

    Attributes:
        clips: of each the support first: uint8 `[E, way·(n + q), T, h, w, 3]` RGB, or in place of
            clips float32 features `[E, way·(n + q), ...]` of a frozen trunk.
        numbers: int64 `[E]`.
    """

    clips: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        """Episodes."""
        return len(self.clips)

    def part(self, index: int, of: int) -> EpisodeBatch:
        """Episodes `index`, `index` + `of`, …: the loss is a mean over episodes."""
        return self._divided(index, of)


@dataclass(frozen=True)
class EpisodeBatches:
    """Episodes of training, `per_step` in each step, as `train.loading.StepBatches`.

    Attributes:
        episodes: by number, as many as steps ask for.
        count: episodes of the whole training.
        per_step: episodes in a step.
        per_epoch: episodes between two measurements.
        source: where clips come from.
        features: float32 `[N, ...]` by row of the bank, of a frozen trunk; None gives clips.
        flip: mirror clips at random.
        seed: of crops and flips.
    """

    episodes: Episodes
    count: int
    per_step: int
    per_epoch: int
    source: ClipSource
    features: Tensor | None
    flip: bool
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps between two measurements."""
        return max(1, self.per_epoch // self.per_step)

    def __len__(self) -> int:
        return max(1, self.count // self.per_step)

    def __getitem__(self, step: int) -> EpisodeBatch:
        numbers = range(step * self.per_step, (step + 1) * self.per_step)
        made = [self._clips(self.episodes[number]) for number in numbers]
        return EpisodeBatch(torch.stack(made), torch.tensor(numbers))

    def _clips(self, episode: Episode) -> Tensor:
        rows = np.concatenate([episode.support.ravel(), episode.query.ravel()])
        if self.features is not None:
            return self.features[torch.from_numpy(rows)]
        rng = np.random.default_rng([self.seed, _VIEWS, episode.number])
        return self.source.real(rows, Augment(rng, self.flip)).clips


class EpisodeObjective:
    """A method's loss on episodes, as a `train.objectives.Objective`."""

    def __init__(
        self, method: FewShotMethod, way: int, shot: int, kind: Kind, seed: int
    ) -> None:  # fmt: skip
        """
        Args:
            method: on the network's device; it is trained in place.
            way, shot: of the episodes.
            kind: what the method is given of a trunk's maps.
            seed: of how self-supervised tasks alter clips.
        """
        self.method, self._way, self._shot, self._kind = method.train(), way, shot, kind
        self._seed = seed

    def loss(self, network: VideoNetwork, batch: EpisodeBatch, step: int) -> Loss:
        """The mean over the batch's episodes of the method's loss, with that of its self-supervised
        tasks on the clips; `right` is the share of queries that is named right."""
        given = batch.clips
        if given.dtype == torch.uint8:
            maps = network.forward_features(network.to_input(given.flatten(0, 1)))
            features = features_of(maps, self._kind)
        else:
            features = given.flatten(0, 1)
        self.method.train()
        codes = self.method.encode(features).unflatten(0, given.shape[:2])
        support = self._way * self._shot
        asked = given.shape[1] - support
        places = torch.arange(self._way, device=given.device)
        known = places.repeat_interleave(self._shot)
        truth = places.repeat_interleave(asked // self._way)
        losses, right = [], []
        for episode in codes:
            logits = self.method.compare(episode[:support], known, episode[support:], self._way)
            losses.append(self.method.loss(logits, truth))
            right.append((logits.argmax(dim=1) == truth).float().mean())
        total = torch.stack(losses).mean()
        figures = {"right": torch.stack(right).mean().detach()}
        if given.dtype == torch.uint8:
            beside = self._auxiliary(network, batch)
            if beside is not None:
                total, figures["auxiliary"] = total + beside, beside.detach()
        return Loss(total, figures)

    def _auxiliary(self, network: VideoNetwork, batch: EpisodeBatch) -> Tensor | None:
        """The mean over episodes of the self-supervised tasks' loss, float32 []; None without any.

        Each episode has draws and a pass of its own, so that parts of a batch see what all see.
        """
        losses = []
        for number, clips in zip(batch.numbers.tolist(), batch.clips, strict=True):
            draws = np.random.SeedSequence([self._seed, _TURNS, number])
            generator = torch.Generator().manual_seed(int(draws.generate_state(1, np.uint64)[0]))
            found = self.method.auxiliary_loss(network.trunk, clips, generator)
            if found is None:
                return None
            losses.append(found)
        return torch.stack(losses).mean()

    def after_step(self, network: VideoNetwork, step: int) -> None:
        """Nothing follows."""

    def final(self, network: VideoNetwork) -> VideoNetwork:
        """The network itself."""
        return network

    def parameters(self) -> Iterable[nn.Parameter]:
        """The method's."""
        return self.method.parameters()

    def buffers(self) -> Iterable[Tensor]:
        """The method's."""
        return self.method.buffers()

    def state_dict(self) -> dict[str, Tensor]:
        """The method's weights."""
        return self.method.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Objective`."""
        self.method.load_state_dict(state)


@dataclass(frozen=True)
class EpisodeTraining:
    """One training on episodes.

    Attributes:
        network: whose trunk gives the features; it learns unless `batches.features` are given.
        method: what learns.
        batches: of the base classes.
        kind: what the method is given.
        settings: of episodes.
        classifier: of passes and precision, of the norm of gradients and of where the learning
            rate begins again; the optimiser and its rate are the method's own.
        validate: network ─► mean accuracy on the validation episodes; None where there are no
            validation classes.
        folder: of the state, the best weights so far and `validation.json`.
        seed: of dropout, and of how self-supervised tasks alter clips.
    """

    network: VideoNetwork
    method: FewShotMethod
    batches: EpisodeBatches
    kind: Kind
    settings: FewShotSettings
    classifier: ClassifierSettings
    validate: Callable[[], float] | None
    folder: Path
    seed: int

    def run(self, loading: Loading) -> Mapping[int, float]:
        """Train to the end and put the best weights back; resumes where an earlier call stopped.

        Returns:
            Number of episodes ─► accuracy on the validation episodes after so many.
        """
        own = self.batches.features is not None
        self.network.requires_grad_(not own)
        self.network.head.requires_grad_(False)  # a method takes its place
        self.method.requires_grad_(True)
        objective = EpisodeObjective(
            self.method, self.settings.way, max(self.settings.shots), self.kind, self.seed
        )
        learned = [*self._learned()]
        if not learned:
            return {}
        how = self._optimiser_settings()
        trainer = Trainer(
            TrainingJob(
                self.network, objective, self.batches, how, self.seed, loading,
                self.folder / "training.safetensors",
            ),
            OwnOptimiser(
                lambda parameters, settings: self._optimiser(learned, settings),
                lower_episode_rate(how.lr),
            ),
        )  # fmt: skip
        steps, stretch = len(self.batches), self.batches.steps_per_epoch
        measurements = -(-steps // stretch)
        asked, device = self.batches.episodes.settings, self.network.device
        with (
            progress("episodes", "measurements") as report,
            memory_for_episodes(asked, self.batches.per_step, self.classifier, device),
        ):

            def after(epoch: int, figures: dict[str, float]) -> None:
                self._measure((epoch + 1) * stretch)
                report(epoch + 1, measurements)

            trainer.train(after)
            if steps % stretch:
                self._measure(steps)
                report(measurements, measurements)
        return self._put_best_back()

    def _learned(self) -> Iterable[nn.Parameter]:
        parameters = (*self.network.parameters(), *self.method.parameters())
        return (one for one in parameters if one.requires_grad)

    def _optimiser_settings(self) -> ClassifierSettings:
        return replace(self.classifier, lr=self.settings.episode_lr or self.method.recipe.lr)

    def _optimiser(
        self, parameters: Sequence[nn.Parameter], settings: ClassifierSettings
    ) -> Optimizer:
        if self.method.recipe.optimiser == "adam":
            return Adam(parameters, lr=settings.lr)
        return SGD(parameters, lr=settings.lr)

    def _measure(self, steps: int) -> None:
        """Measure on the validation episodes after so many steps, and keep the weights if they are
        the best so far."""
        if self.validate is None:
            return
        modes = self.network.training
        found = self.validate()
        self.network.train(modes)
        episodes = steps * self.batches.per_step
        before = {n: value for n, value in history_of(self.folder).items() if n < episodes}
        write_json(self.folder / "validation.json", {**before, episodes: found})
        if found > max(before.values(), default=-1.0):
            save_tensors(self._best, self.weights(), episodes)

    def _put_best_back(self) -> Mapping[int, float]:
        history = history_of(self.folder)
        if history:
            tensors = load_tensors(self._best)[0]
            self.network.load_state_dict(without_prefix("network.", tensors), strict=False)
            self.method.load_state_dict(without_prefix("method.", tensors))
        return history

    def weights(self) -> dict[str, Tensor]:
        """All that was learned, by name."""
        found = with_prefix("method.", self.method.state_dict())
        if self.batches.features is None:
            found |= with_prefix("network.", self.network.state_dict())
        return found

    @property
    def _best(self) -> Path:
        return self.folder / "best.safetensors"


def history_of(folder: Path) -> dict[int, float]:
    """What was measured in a training's folder: number of episodes ─► accuracy after so many."""
    path = folder / "validation.json"
    content = read_json(path) if path.is_file() else {}
    return {int(key): float(value) for key, value in content.items()}
