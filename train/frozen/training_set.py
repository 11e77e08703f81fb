"""What a head is fitted to: views of real clips, of composites, or of augmented batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.arms import ArmPlan
from train.frozen.features import FeatureBank
from train.frozen.head import HeadProblem
from train.learning import real_rows
from train.mix import SEED_STRIDE, MixedBatches, TrainingMix
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, StageTwoSettings


@dataclass(frozen=True)
class TrainingSet:
    """Views with their labels.

    Attributes:
        features: float32 `[n, D]`.
        labels: float32 `[n, C]`, rows sum to 1.
        weights: float64 `[n]`.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor

    def problem(self) -> HeadProblem:
        """The head's problem."""
        return HeadProblem(self.features, self.labels, self.weights)

    def joined(self, other: TrainingSet) -> TrainingSet:
        """Both as one."""
        return TrainingSet(
            torch.cat([self.features, other.features]),
            torch.cat([self.labels, other.labels]),
            torch.cat([self.weights, other.weights]),
        )


def real_set(bank: FeatureBank, prepared: PreparedData, rows: NDArray[np.int64]) -> TrainingSet:
    """Random views of real clips; all of them together weigh 1."""
    features = bank.real(rows)
    labels = prepared.source.one_hot(rows)[:, None].expand(-1, features.shape[1], -1)
    return _set(features, labels, 1.0)


def composite_set(bank: FeatureBank, pairs: NDArray[np.int64], weight: float) -> TrainingSet:
    """Views of the composites of pairs `[m, 2]`; all of them together weigh `weight`."""
    made = bank.composites(pairs)
    return _set(made.features, bank.composite_labels(pairs, made), weight)


def _set(features: Tensor, labels: Tensor, weight: float) -> TrainingSet:
    flat = features.flatten(0, 1)
    weights = torch.full((len(flat),), weight / max(1, len(flat)), dtype=torch.float64)
    return TrainingSet(flat, labels.flatten(0, 1), weights)


@dataclass(frozen=True)
class SetMaker:
    """Makes the training sets of arms, in the proportions of a training with batches.

    Attributes:
        prepared: the data set.
        bank: its features.
        classifier, stage, frozen: batch size and flips; composites beside or in place of real
            clips; views.
        seed: augmented batches follow from it.
        dropped: bank rows of real clips that arms with `ArmPlan.drops` do without, int64.
    """

    prepared: PreparedData
    bank: FeatureBank
    classifier: ClassifierSettings
    stage: StageTwoSettings
    frozen: FrozenSettings
    seed: int
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def make(self, plan: ArmPlan, pairs: NDArray[np.int64], draw: int) -> TrainingSet:
        """The set of one draw of an arm.

        A batch holds so many real clips and so many composites; here they weigh as much.

        Args:
            plan: the arm.
            pairs: drawn for it, int64 `[m, 2]`.
            draw: from 0; augmentations draw anew in each.
        """
        mix = TrainingMix(
            real_rows(self.prepared, plan, self.dropped), pairs,
            self.stage.composites_per_batch or self.classifier.batch_size,
            self.stage.replace_real, plan.augmentation,
        )  # fmt: skip
        if plan.augmentation is not None:
            return self._augmented(mix, draw)
        real = real_set(self.bank, self.prepared, mix.rows)
        if len(pairs) == 0:
            return real
        ratio = mix.composites_per_batch / mix.real_per_batch(self.classifier.batch_size)
        return real.joined(composite_set(self.bank, pairs, ratio))

    def _augmented(self, mix: TrainingMix, draw: int) -> TrainingSet:
        """The clips of all batches of `views` epochs, as a training without features sees them."""
        size, flip = self.classifier.batch_size, self.classifier.flip
        seed = self.seed + SEED_STRIDE * draw
        source = self.prepared.source
        batches = MixedBatches(source, mix, size, flip, seed, self.frozen.views)

        def make(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            batch = batches[step]
            return batch.clips, {"labels": batch.labels}

        used = [mix.rows, *mix.pairs.T]
        labels = [source.one_hot(rows).tolist() for rows in used]
        found = self.bank.batches(
            "augmented", len(batches), make, "features",
            seed, flip, size, mix.composites_per_batch, mix.replace_real, repr(mix.augmentation),
            source.settings, [self.bank.marks(rows) for rows in used], labels,
        )  # fmt: skip
        one = torch.cat([batch["features"] for batch in found])
        weights = torch.full((len(one),), 1 / len(one), dtype=torch.float64)
        return TrainingSet(one, torch.cat([batch["labels"] for batch in found]), weights)
