"""What the training of the Selector asks of the world: a Protocol, and what the
two exchange.

The classifier, the videos and the compositing lie behind `Environment`. `train.environment` fulfils
it with real clips, `selector.gaussian` with points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """The state s_t: a batch of B candidate pairs.

    Attributes:
        rows: int64 [B, 2], the environment's own numbers of foreground and background video.
        classes: int64 [B, 2], their classes, from 0.
        features_f, features_b: float32 [B, D], what `Selector.forward` takes; with a gradient where
            the trunk is trained with the Selector.
        labels_f, labels_b: float32 [B, E], their label vectors.
        seed: drawn by the environment in `sample` for whatever else is random when it composites
            these pairs; the loop does not look at it.
    """

    rows: Tensor
    classes: Tensor
    features_f: Tensor
    features_b: Tensor
    labels_f: Tensor
    labels_b: Tensor
    seed: int = 0

    def to(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the Selector takes, on its device."""
        return (
            self.features_f.to(device),
            self.features_b.to(device),
            self.labels_f.to(device),
            self.labels_b.to(device),
        )


@dataclass(frozen=True)
class Measurements:
    """What a reward needs to know besides the loss after the step; measuring it takes time.

    Attributes:
        before: the validation loss before the step.
        credit: one number for each pair, which takes the composites of all of them.
        roll_back: leave the classifier as it was before the step.
    """

    before: bool = False
    credit: bool = False
    roll_back: bool = False


@dataclass(frozen=True)
class StepResult:
    """What an action led to.

    Attributes:
        after: float32 [M], mean cross-entropy of the validation clips after the classifier's step
            on each of the M subsets, all from the same classifier.
        before: the same before the step; None when it was not asked for.
        credit: float32 [B], one number for EVERY pair of the batch, chosen or not (see
            `reward.last_layer_credit`), under the classifier BEFORE its step; None when it was not
            asked for.
    """

    after: Tensor
    before: float | None = None
    credit: Tensor | None = None


class Environment(Protocol):
    """The classification network and the validation process (Sec. 4.1), as the loop sees them."""

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """`count` pairs of the pool, with replacement, but for those that are kept aside. All
        randomness comes from `generator`."""

    def sample_aside(self, count: int, generator: torch.Generator) -> PairBatch | None:
        """At most `count` pairs to judge a Selector by, none of which `sample` ever gives; None
        where a pool is too small to keep some aside."""

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        """Composite the chosen pairs, take one classifier step on them, validate.

        Args:
            batch: as `sample` gave it.
            actions: float32 [M, B], 0 or 1, at least one 1 in each row. Each of the M subsets is
                tried from the same classifier, which is then left where the first one brought it.
            wanted: what to measure.
        """

    def credit_matrix(self, batch: PairBatch) -> Tensor:
        """Credit of each pair by validation recording, under the classifier as it is.

        Args:
            batch: as `sample` gave it.

        Returns:
            float32 [B, R], R the validation recordings; its sum over them is the credit that `step`
            measures (`reward.credit_by_recording`).
        """

    def restart(self) -> None:
        """Put the classifier and its optimiser back to their start."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that `sample` and `step` depend on and that changes: weights, momentum, counters."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state that `state_dict` gave."""
