"""Methods that learn from unlabelled clips, where the trunk stays as it is: on features alone.

The views of a few passes over the unlabelled clips (`--views`) are made as a training on clips
would see them, and become features once: they are kept beside the bank, for all methods that ask
for the same view, and for runs with other thresholds, methods or pairs. A method then trains the
last layer on them with the trainer and the objective of every other training.

Its gradient begins at the optimum of the labelled clips alone, with the same penalty and with all
labelled views in each step: a method whose loss on unlabelled clips weighed nothing would stay
there, so that what it changes is what that loss adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from train.batches import ClipBatch, ClipSource
from train.distributed import alone
from train.frozen.features import FeatureBank
from train.frozen.head import LinearHead
from train.memory import smaller_steps
from train.objectives.parts import Training
from train.objectives.table import Method
from train.semi_supervised.batches import SemiBatch, SemiBatches, Unlabelled
from train.semi_supervised.learning import objective_settings
from train.settings.full import ClassifierSettings
from train.settings.semi import SemiSettings
from train.trainer import OwnOptimiser, Trainer, TrainingJob, make_optimiser

RATE, MOMENTUM = 1.0, 0.9
"""Of gradient descent on features whose mean square norm is 1: the curvature of the loss is at most
a half (Böhning 1992), so that it is stable, and some hundred steps go far."""


class FeatureTrunk(Trunk):
    """In place of a trunk where clips are features already: it standardises them."""

    centre: Tensor
    scale: Tensor

    def __init__(self, features: Tensor) -> None:
        """
        Args:
            features: float32 `[n, D]`, whose mean becomes 0 and mean square norm 1.
        """
        super().__init__(nn.Sequential(), features.shape[1])
        centre = features.mean(0)
        scale = (features - centre).square().sum(1).mean().sqrt()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale if scale > 0 else torch.ones(()))

    def to_input(self, clips: Tensor) -> Tensor:
        """Features float32 `[B, D]`, standardised."""
        return (clips - self.centre) / self.scale

    def forward_features(self, clips: Tensor) -> Tensor:
        """The same as maps `[B, D, 1, 1, 1]`."""
        return clips[:, :, None, None, None]

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.centre.device


@dataclass
class FeatureViews:
    """Views of unlabelled clips as features, made once for all methods of a run.

    Attributes:
        bank: computes features.
        source: of the clips.
        unlabelled: which they are.
        flip, seed, passes: how views are drawn, and how often each clip is.
    """

    bank: FeatureBank
    source: ClipSource
    unlabelled: Unlabelled
    flip: bool
    seed: int
    passes: int
    _kept: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)

    @property
    def steps_per_pass(self) -> int:
        """Steps in which each clip is drawn once."""
        return math.ceil(len(self.unlabelled.rows) / self.unlabelled.per_batch)

    def steps(self, needs: frozenset[str]) -> list[SemiBatch]:
        """The batches of all passes, without labelled clips, float32 `[U, D]` each view.

        Args:
            needs: the views besides the weak one. "teacher" gives the outputs of a teacher of one
                class, who says nothing: a frozen trunk learns from none.
        """
        wanted = {"weak", *needs} - {"teacher", "targets"}
        for name in sorted(wanted - self._kept.keys()):
            self._kept[name] = self._make(name)
        found = []
        for step in range(self.passes * self.steps_per_pass):
            tensors: dict[str, Tensor] = {}
            for name in wanted:
                tensors |= self._kept[name][step]
            count = len(tensors["weak"])
            if "targets" in needs and self.unlabelled.targets is not None:
                tensors["targets"] = self.unlabelled.targets[self._kept["weak"][step]["rows"]]
            if "teacher" in needs:
                tensors["teacher"] = torch.ones(count, 1)
            tensors.pop("rows", None)
            found.append(SemiBatch(_no_clips(self.source), **tensors))
        return found

    def _make(self, name: str) -> list[dict[str, Tensor]]:
        """One view of all steps; what belongs to it is kept beside it."""
        given, needs = self.unlabelled, frozenset({name} - {"weak"})
        batches = SemiBatches(
            _Nothing(self.steps_per_pass, self.passes, _no_clips(self.source)), self.source,
            replace(given, teacher=None, targets=None), self.flip, self.seed, needs,
        )  # fmt: skip

        def make(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            batch = batches[step]
            beside = ("partners", "cut_weight") if name == "cut" else ()
            return getattr(batch, name), {one: getattr(batch, one) for one in beside}

        strong = repr(given.strong) if name in ("strong", "cut") else ""
        found = self.bank.batches(
            name.replace("_", "-"), len(batches), make,
            f"features of {name.replace('_', ' ')} views",
            self.seed, self.flip, given.per_batch, self.bank.marks(given.rows), strong,
        )  # fmt: skip
        for step, own in enumerate(found):
            own[name] = own.pop("features")
            if name == "weak":
                own["rows"] = torch.from_numpy(batches.rows(step))
        return found


@dataclass(frozen=True)
class _Nothing:
    """Steps without a labelled clip: what `SemiBatches` counts by."""

    steps_per_epoch: int
    epochs: int
    empty: ClipBatch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __getitem__(self, step: int) -> ClipBatch:
        return self.empty


@dataclass(frozen=True)
class _Cycled:
    """Stored steps, again and again, each beside all labelled views."""

    labelled: ClipBatch
    stored: list[SemiBatch]
    steps_per_epoch: int
    epochs: int

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __getitem__(self, step: int) -> SemiBatch:
        return replace(self.stored[step % len(self.stored)], labelled=self.labelled)


def train_on_features(
    method: Method, views: FeatureViews, labelled: ClipBatch, start: LinearHead,
    settings: ClassifierSettings, semi: SemiSettings,
) -> tuple[LinearHead, Mapping[str, Any]]:  # fmt: skip
    """The head that a method trains.

    Args:
        method: not one that teaches the trunk alone.
        views: of unlabelled clips.
        labelled: features float32 `[n, D]` in place of clips, and soft labels.
        start: the optimum of the labelled clips, whose penalty is kept.
        settings: of which are used epochs, passes over the unlabelled clips, the norm of gradients
            and where the learning rate begins again, with the same share of its first value.
        semi: thresholds and weights.

    Returns:
        The head, and steps, clips and seconds.
    """
    trunk = FeatureTrunk(labelled.clips)
    network = VideoNetwork("features", trunk, labelled.labels.shape[1])
    _put(network, start)
    batches = _Cycled(labelled, views.steps(method.views), views.steps_per_pass, settings.epochs)
    training = Training(network, len(batches), 1 if "teacher" in method.views else 0, views.seed)
    objective = method.make(objective_settings(semi), training)
    again = settings.lr_restart and RATE * settings.lr_restart / settings.lr
    how = replace(
        settings, lr=RATE, momentum=MOMENTUM, weight_decay=start.l2, lr_restart=again,
        micro_batch=None,
    )  # fmt: skip
    with alone():
        trainer = Trainer(
            TrainingJob(network, objective, batches, how, views.seed),
            OwnOptimiser(partial(_sparing, network.head.bias), smaller_steps(settings)),
        )
        trainer.train()
    return _head_of(objective.final(network), start.l2), trainer.cost


def _sparing(bias: Tensor, parameters: Iterable[nn.Parameter], settings: ClassifierSettings) -> SGD:
    """The optimiser of every training, whose penalty leaves the bias alone, as that of heads."""
    optimiser = make_optimiser([one for one in parameters if one is not bias], settings)
    optimiser.add_param_group({"params": [bias], "weight_decay": 0.0})
    return optimiser


@torch.no_grad()
def _put(network: VideoNetwork, head: LinearHead) -> None:
    """Begin with a head that was fitted to features as they come."""
    trunk = network.trunk
    assert isinstance(trunk, FeatureTrunk)
    network.head.weight.copy_(head.weight * trunk.scale)
    network.head.bias.copy_(head.bias + head.weight @ trunk.centre.double())


@torch.no_grad()
def _head_of(network: VideoNetwork, l2: float) -> LinearHead:
    """The last layer, for features as they come."""
    trunk = network.trunk
    assert isinstance(trunk, FeatureTrunk)
    weight = network.head.weight.double() / trunk.scale
    bias = network.head.bias.double() - weight @ trunk.centre.double()
    return LinearHead(weight.clone(), bias, l2, None, None, 0)


def _no_clips(source: ClipSource) -> ClipBatch:
    return ClipBatch(torch.empty(0, 0), torch.empty(0, source.num_classes))
