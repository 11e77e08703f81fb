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

from selector.agreement import label_agreement
from selector.environment import Measurements, PairBatch, StepResult
from selector.reward import credit_by_recording, last_layer_credit


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
        agreement: give the Selector each video's label agreement.
    """

    classes: int = 6
    videos: int = 240
    validation: int = 120
    feature_dim: int = 16
    separation: float = 3.0
    bad_share: float = 0.3
    learning_rate: float = 0.5
    credit_sign: float = 1.0
    agreement: bool = True


class GaussianEnvironment:
    """`selector.environment.Environment` on a `GaussianWorld` drawn from `seed`.

    Attributes:
        points: float32 [N, D], one row for each training video: all that the classifier sees.
        features: float32 [N, D] or [N, D + 1], the points, and behind them label agreement.
        classes: int64 [N], the labels the videos carry; `labels` the same one-hot, [N, C].
        bad: bool [N], whose label is wrong.
        weights: float32 [N, 1], λ of each foreground video.
    """

    def __init__(self, world: GaussianWorld, seed: int) -> None:
        self.world = world
        draw = torch.Generator().manual_seed(seed)
        means = torch.randn(world.classes, world.feature_dim, generator=draw)
        self._means = functional.normalize(means, dim=1) * world.separation
        truth = torch.randint(world.classes, (world.videos,), generator=draw)
        self.points = self._points(truth, draw)
        self.bad = torch.rand(world.videos, generator=draw) < world.bad_share
        shift = torch.randint(1, world.classes, (world.videos,), generator=draw)
        self.classes = torch.where(self.bad, (truth + shift) % world.classes, truth)
        self.labels = self._one_hot(self.classes)
        self.features = self.points
        if world.agreement:
            each = torch.arange(world.videos)  # every video is its own recording
            agreement = label_agreement(self.points, self.classes, each)
            self.features = torch.cat([self.points, agreement[:, None]], dim=1)
        # λ is a property of the foreground video: the share its actor takes.
        self.weights = 0.6 + 0.3 * torch.rand(world.videos, 1, generator=draw)
        val_truth = torch.arange(world.validation) % world.classes
        self._val_points = self._points(val_truth, draw)
        self._val_targets = self._one_hot(val_truth)
        self._weight = torch.zeros(world.classes, world.feature_dim)
        self._bias = torch.zeros(world.classes)

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """Any video on any other: pairs drawn uniformly, but for those kept aside."""
        return self._batch(self._drawn(count, generator, aside=False))

    def sample_aside(self, count: int, generator: torch.Generator) -> PairBatch:
        """Of the fifth of all pairs that is kept aside."""
        return self._batch(self._drawn(count, generator, aside=True))

    def _drawn(self, count: int, generator: torch.Generator, *, aside: bool) -> Tensor:
        """Pairs of one part, int64 [count, 2]: those aside have numbers whose sum 5 divides."""
        found = torch.empty(0, 2, dtype=torch.int64)
        while len(found) < count:
            rows = torch.randint(self.world.videos, (count, 2), generator=generator)
            found = torch.cat([found, rows[(rows.sum(dim=1) % 5 == 0) == aside]])
        return found[:count]

    def _batch(self, rows: Tensor) -> PairBatch:
        foreground, background = rows.T
        features, labels = self.features, self.labels
        classes = self.classes[rows]
        return PairBatch(
            rows,
            classes,
            features[foreground],
            features[background],
            labels[foreground],
            labels[background],
        )

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        """One gradient step of the linear classifier on the chosen mixtures, for each subset."""
        points, targets = self._mixtures(batch)
        probabilities = self._classify(points)
        credit = None
        if wanted.credit:
            credit = self.world.credit_sign * last_layer_credit(
                self._classify(self._val_points), self._val_targets, self._val_points,
                probabilities, targets, points,
            )  # fmt: skip
        before = self._validation_loss() if wanted.before else None
        errors, start = probabilities - targets, (self._weight, self._bias)
        losses, first = [], start
        for chosen in actions.bool():
            rate = self.world.learning_rate / int(chosen.sum())
            self._weight = start[0] - rate * errors[chosen].T @ points[chosen]
            self._bias = start[1] - rate * errors[chosen].sum(dim=0)
            losses.append(self._validation_loss())
            if len(losses) == 1:
                first = (self._weight, self._bias)
        self._weight, self._bias = start if wanted.roll_back else first
        return StepResult(torch.tensor(losses), before, credit)

    def credit_matrix(self, batch: PairBatch) -> Tensor:
        """Credit [B, R] where each validation point is a recording of its own."""
        points, targets = self._mixtures(batch)
        return self.world.credit_sign * credit_by_recording(
            self._classify(self._val_points), self._val_targets, self._val_points,
            torch.arange(self.world.validation), self._classify(points), targets, points,
        )  # fmt: skip

    def restart(self) -> None:
        """All-zero weights: every class equally likely."""
        self._weight = torch.zeros_like(self._weight)
        self._bias = torch.zeros_like(self._bias)

    def state_dict(self) -> dict[str, Tensor]:
        """The classifier's weights."""
        return {"weight": self._weight, "bias": self._bias}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume with these weights."""
        self._weight, self._bias = state["weight"], state["bias"]

    def _mixtures(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """The composites of a batch, [B, D], and their labels, [B, C]."""
        foreground, background = batch.rows.T
        weight = self.weights[foreground]
        points = weight * self.points[foreground] + (1 - weight) * self.points[background]
        return points, weight * self.labels[foreground] + (1 - weight) * self.labels[background]

    def _points(self, classes: Tensor, draw: torch.Generator) -> Tensor:
        noise = torch.randn(len(classes), self.world.feature_dim, generator=draw)
        return self._means[classes] + noise

    def _one_hot(self, classes: Tensor) -> Tensor:
        return functional.one_hot(classes, self.world.classes).float()

    def _classify(self, points: Tensor) -> Tensor:
        return (points @ self._weight.T + self._bias).softmax(dim=1)

    def _validation_loss(self) -> float:
        logits = self._val_points @ self._weight.T + self._bias
        return float(functional.cross_entropy(logits, self._val_targets))
