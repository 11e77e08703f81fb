"""The environment of stage one on features of a trunk that stays as it is.

Where the trunk never changes, a composite is its feature, and the classifier its last layer. So the
composites of some pairs are made once, and from then on a step is a product of small matrices: the
gradient of softmax(W h + b) is (p − y) ⊗ [h; 1], and the credit of a pair comes in closed form from
it (`selector.reward`). It is `train.environment.CompositingEnvironment` with a frozen trunk, to the
rounding, but for where the pairs come from: that one composites each pair afresh, this one draws
again and again from the same ones, each with the same few views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import with_prefix, without_prefix
from selector.environment import Measurements, PairBatch, StepResult
from selector.reward import credit_by_recording, last_layer_credit, standardised
from train.environment import Features, fifth_aside
from train.frozen.head import LinearHead


class PairNumbers(Protocol):
    """A pool, as far as pairs are drawn from it; `semantic_match.pool.Pool` fulfils it."""

    def __len__(self) -> int: ...

    def pairs(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]:
        """The pairs with these numbers: int64 [n] ─► int64 [n, 2], foreground first."""


@dataclass(frozen=True)
class MeasuredClips:
    """Real clips that losses and credit are measured on, as the frozen trunk sees them.

    Attributes:
        features: float32 `[n, D]`, of the centre crops.
        labels: float32 `[n, C]`, one-hot.
        recordings: int64 `[n]`, the recording of each, numbered from 0 without gaps.
    """

    features: Tensor
    labels: Tensor
    recordings: Tensor


@dataclass(frozen=True)
class DrawnPairs:
    """Pairs whose composites were made once.

    Attributes:
        rows: int64 `[M, 2]`, bank rows of foreground and background, each pair once.
        features: float32 `[M, V, D]`, of V views of each composite.
        labels: float32 `[M, V, C]`, theirs; rows sum to 1.
    """

    rows: Tensor
    features: Tensor
    labels: Tensor


def draw_pairs(pool: PairNumbers, count: int, seed: int) -> NDArray[np.int64]:
    """Pairs drawn uniformly from a pool, each once: int64 `[min(count, pool), 2]`, by number."""
    rng = np.random.default_rng([seed, 8])
    return pool.pairs(np.sort(rng.choice(len(pool), min(count, len(pool)), replace=False)))


class FrozenEnvironment:
    """`selector.environment.Environment` on features that were computed once.

    A step takes the mean over the chosen pairs and all their views, and the credit of a pair is the
    mean over its views: more views, less noise, at no cost.

    Args:
        drawn: the pairs that batches are drawn from, with replacement.
        validation: what losses are measured on, and credit where none is given.
        features: what the Selector sees of the bank's rows.
        vectors: float32 `[N, E]`, the label vector of every row of the bank.
        classes: int64 `[N]`, the class of every row.
        lr: learning rate of the head's step.
        start: the head to begin with, and to put back at a restart; None for zeros.
        credit: float32 `[M, R]`, the credit of each drawn pair by recording, where it was measured
            beforehand (`crossfit`); None measures it with the head as it is.
    """

    def __init__(
        self,
        drawn: DrawnPairs,
        validation: MeasuredClips,
        features: Features,
        vectors: Tensor,
        classes: Tensor,
        lr: float,
        start: LinearHead | None = None,
        credit: Tensor | None = None,
    ) -> None:
        self._drawn, self._validation, self._credit = drawn, validation, credit
        self._features, self._vectors, self._classes = features, vectors, classes
        self._lr = lr
        count, width = validation.labels.shape[1], validation.features.shape[1]
        self._start = torch.zeros(count, width), torch.zeros(count)
        if start is not None:
            self._start = start.weight.float(), start.bias.float()
        self._weight, self._bias = self._start
        # Standardised once: both sides of a credit are, by the clips it is measured on.
        flat = drawn.features.flatten(0, 1)
        val, own = standardised(validation.features, flat)
        self._val_standard, self._standard = val, own.view_as(drawn.features)
        keys = drawn.rows[:, 0] * len(classes) + drawn.rows[:, 1]
        self._keys, self._order = keys.sort()
        self._seen: Tensor | None = None
        # Not by their place: pools stand in order, and whole backgrounds would be kept aside.
        aside = torch.from_numpy(fifth_aside(drawn.rows.numpy()))
        self._aside, self._used = aside.nonzero().flatten(), (~aside).nonzero().flatten()

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """`count` of the drawn pairs, uniformly; see `Environment.sample`."""
        places = torch.randint(len(self._used), (count,), generator=generator)
        return self._batch(self._used[places])

    def sample_aside(self, count: int, generator: torch.Generator) -> PairBatch | None:
        """Pairs set aside from the start, at most `count`, each once; None where there
        are none."""
        if not len(self._aside):
            return None
        order = torch.randperm(len(self._aside), generator=generator)
        return self._batch(self._aside[order[:count]])

    def _batch(self, places: Tensor) -> PairBatch:
        rows = self._drawn.rows[places]
        features = self._features(rows.flatten()).unflatten(0, rows.shape)
        vectors = self._vectors[rows]
        return PairBatch(
            rows, self._classes[rows], features[:, 0], features[:, 1], vectors[:, 0], vectors[:, 1]
        )

    @torch.no_grad()
    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        """One gradient step of the head on each subset; see `Environment.step`."""
        places = self._places(batch)
        chosen = actions.bool().cpu()
        inputs, targets = self._drawn.features[places], self._drawn.labels[places]
        probabilities = self._probabilities(inputs)
        credit = self._batch_credit(places, probabilities, targets) if wanted.credit else None
        before = self._validation_loss() if wanted.before else None
        errors, start = probabilities - targets, (self._weight, self._bias)
        losses, first = [], start
        for subset in chosen:
            push, seen = errors[subset].flatten(0, 1), inputs[subset].flatten(0, 1)
            rate = self._lr / len(push)
            self._put((start[0] - rate * push.T @ seen, start[1] - rate * push.sum(dim=0)))
            losses.append(self._validation_loss())
            if len(losses) == 1:
                first = self._weight, self._bias
        if wanted.roll_back or len(chosen) > 1:
            self._put(start if wanted.roll_back else first)
        return StepResult(torch.tensor(losses), before, credit)

    @torch.no_grad()
    def credit_matrix(self, batch: PairBatch) -> Tensor:
        """Credit by recording, `[B, R]`; see `Environment.credit_matrix`."""
        places = self._places(batch)
        if self._credit is not None:
            # Heads of cross-fitting have learned from each other's recordings: what one half of
            # them says is no judge of the other (`train.frozen.crossfit`).
            return self._credit[places].sum(dim=1, keepdim=True)
        probabilities = self._probabilities(self._drawn.features[places])
        targets, features = self._drawn.labels[places], self._standard[places]
        found = credit_by_recording(
            self._on_validation(), self._validation.labels, self._val_standard,
            self._validation.recordings, *_flat(probabilities, targets, features),
            standardise=False,
        )  # fmt: skip
        return found.unflatten(0, features.shape[:2]).mean(dim=1)

    def restart(self) -> None:
        """Put the head back to its start."""
        self._put(self._start)

    def state_dict(self) -> dict[str, Tensor]:
        """The head, and the weights of a trunk that learns with the Selector."""
        own = {"head.weight": self._weight, "head.bias": self._bias}
        return own | with_prefix("features.", self._features.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state_dict`."""
        self._put((state["head.weight"], state["head.bias"]))
        self._features.load_state_dict(without_prefix("features.", state))

    def _put(self, head: tuple[Tensor, Tensor]) -> None:
        self._weight, self._bias = head
        self._seen = None

    def _places(self, batch: PairBatch) -> Tensor:
        """Where the pairs of a batch stand among the drawn ones, int64 [B]."""
        keys = batch.rows[:, 0] * len(self._classes) + batch.rows[:, 1]
        return self._order[torch.searchsorted(self._keys, keys)]

    def _probabilities(self, features: Tensor) -> Tensor:
        """The head's softmax, `[..., C]`, of features `[..., D]`."""
        return torch.nn.functional.linear(features, self._weight, self._bias).softmax(dim=-1)

    def _batch_credit(self, places: Tensor, probabilities: Tensor, targets: Tensor) -> Tensor:
        """Credit [B] of the pairs at these places."""
        if self._credit is not None:
            return self._credit[places].sum(dim=1)
        features = self._standard[places]
        found = last_layer_credit(
            self._on_validation(), self._validation.labels, self._val_standard,
            *_flat(probabilities, targets, features), standardise=False,
        )  # fmt: skip
        return found.unflatten(0, features.shape[:2]).mean(dim=1)

    def _on_validation(self) -> Tensor:
        """The softmax on the validation clips, once for each state of the head."""
        if self._seen is None:
            self._seen = self._probabilities(self._validation.features)
        return self._seen

    def _validation_loss(self) -> float:
        likelihood = (self._on_validation() * self._validation.labels).sum(dim=1)
        return float(-likelihood.clamp_min(1e-12).log().mean())


def _flat(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs and their views in one row: each [B, V, n] ─► [B · V, n]."""
    return first.flatten(0, 1), second.flatten(0, 1), third.flatten(0, 1)
