"""A toy environment in which the truth is known: an example of the Protocol, and a yardstick.

Videos are points of Gaussian classes; a composite is a mixture of two points and of their labels;
the classifier is a linear softmax. Some videos carry a wrong label: a pair is bad when its
foreground is one of them, because then the label that weighs most is wrong. A Selector that learns
ranks the good pairs above the bad ones. The whole thing runs in seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from selector.reinforce import Outcome, PairBatch
from selector.reward import last_layer_credit


@dataclass(frozen=True)
class GaussianWorld:
    """Sizes and difficulty of the toy.

    Attributes:
        classes, videos, validation: how many of each.
        feature_dim: D.
        separation: norm of the class means; the noise around them has unit variance.
        bad_share: share of training videos with a wrong label.
        learning_rate: of the classifier's steps.
        credit_sign: 1, or −1 to see what a reversed reward does.
    """

    classes: int = 6
    videos: int = 240
    validation: int = 60
    feature_dim: int = 16
    separation: float = 3.0
    bad_share: float = 0.3
    learning_rate: float = 0.5
    credit_sign: float = 1.0


class GaussianEnvironment:
    """`selector.reinforce.Environment` on a `GaussianWorld` drawn from `seed`.

    Attributes:
        features: float32 [N, D], one row for each training video.
        labels: float32 [N, C], the labels the videos carry, one-hot.
        bad: bool [N], whose label is wrong.
    """

    def __init__(self, world: GaussianWorld, seed: int) -> None:
        self.world = world
        draw = torch.Generator().manual_seed(seed)
        means = torch.randn(world.classes, world.feature_dim, generator=draw)
        self._means = functional.normalize(means, dim=1) * world.separation
        truth = torch.randint(world.classes, (world.videos,), generator=draw)
        self.features = self._points(truth, draw)
        self.bad = torch.rand(world.videos, generator=draw) < world.bad_share
        shift = torch.randint(1, world.classes, (world.videos,), generator=draw)
        carried = torch.where(self.bad, (truth + shift) % world.classes, truth)
        self.labels = self._one_hot(carried)
        # λ is a property of the foreground video: the share its actor takes.
        self._weights = 0.6 + 0.3 * torch.rand(world.videos, 1, generator=draw)
        val_truth = torch.arange(world.validation) % world.classes
        self._val_features = self._points(val_truth, draw)
        self._val_targets = self._one_hot(val_truth)
        self._weight = torch.zeros(world.classes, world.feature_dim)
        self._bias = torch.zeros(world.classes)

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """Any video on any other: pairs drawn uniformly."""
        rows = torch.randint(self.world.videos, (count, 2), generator=generator)
        fore, back = rows.T
        features, labels = self.features, self.labels
        return PairBatch(rows, features[fore], features[back], labels[fore], labels[back])

    def step(self, batch: PairBatch, actions: Tensor, wants_credit: bool) -> Outcome:
        """One gradient step of the linear classifier on the chosen mixtures."""
        weight = self._weights[batch.rows[:, 0]]
        features = weight * batch.features_f + (1 - weight) * batch.features_b
        targets = weight * batch.labels_f + (1 - weight) * batch.labels_b
        probabilities = self._classify(features)
        credit = None
        if wants_credit:
            credit = self.world.credit_sign * last_layer_credit(
                self._classify(self._val_features), self._val_targets, self._val_features,
                probabilities, targets, features,
            )  # fmt: skip
        chosen = actions.bool()
        errors = (probabilities - targets)[chosen]
        rate = self.world.learning_rate / len(errors)
        self._weight = self._weight - rate * errors.T @ features[chosen]
        self._bias = self._bias - rate * errors.sum(dim=0)
        return Outcome(self._validation_loss(), credit)

    def restart(self) -> None:
        """All-zero weights: every class equally likely."""
        self._weight = torch.zeros_like(self._weight)
        self._bias = torch.zeros_like(self._bias)

    def state_dict(self) -> dict[str, Tensor]:
        """The classifier's weights."""
        return {"weight": self._weight, "bias": self._bias}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with these weights."""
        self._weight, self._bias = state["weight"], state["bias"]

    def _points(self, classes: Tensor, draw: torch.Generator) -> Tensor:
        noise = torch.randn(len(classes), self.world.feature_dim, generator=draw)
        return self._means[classes] + noise

    def _one_hot(self, classes: Tensor) -> Tensor:
        return functional.one_hot(classes, self.world.classes).float()

    def _classify(self, features: Tensor) -> Tensor:
        return (features @ self._weight.T + self._bias).softmax(dim=1)

    def _validation_loss(self) -> float:
        logits = self._val_features @ self._weight.T + self._bias
        return float(functional.cross_entropy(logits, self._val_targets))
