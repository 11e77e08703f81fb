"""What an arm learns by: its objective, and the batches of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from l2a.networks import VideoNetwork
from train.arms import ArmPlan
from train.batches import ClipSource
from train.loading import StepBatches
from train.mix import MixedBatches, TrainingMix
from train.objectives import Objective
from train.objectives.supervised import Supervised
from train.prepared import PreparedData
from train.settings.full import ClassifierSettings


class Learning(NamedTuple):
    """The objective of a training, and its batches, which are of the kind that it takes."""

    objective: Objective[Any]
    batches: StepBatches[Any]


class Learns(Protocol):
    """Makes what the arms of a run learn by. Picklable: trainings may run in other processes."""

    def __call__(
        self, plan: ArmPlan, network: VideoNetwork, mix: TrainingMix, seed: int
    ) -> Learning:
        """For one training.

        Args:
            plan: the arm.
            network: on its device; heads that an objective has besides are put there.
            mix: its real clips and composites.
            seed: batches follow from it.
        """


@dataclass(frozen=True)
class Supervises:
    """Cross-entropy on real clips and composites, whatever the arm.

    Attributes:
        source: of the clips.
        settings: batch size, flips and epochs.
    """

    source: ClipSource
    settings: ClassifierSettings

    def __call__(
        self, plan: ArmPlan, network: VideoNetwork, mix: TrainingMix, seed: int
    ) -> Learning:
        """See `Learns`."""
        return Learning(Supervised(), self.batches(mix, seed))

    def batches(self, mix: TrainingMix, seed: int) -> MixedBatches:
        """The batches of a mix."""
        how = self.settings
        return MixedBatches(self.source, mix, how.batch_size, how.flip, seed, how.epochs)


def real_rows(
    prepared: PreparedData, plan: ArmPlan, dropped: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Bank rows of the real clips that an arm is trained on, int64.

    Args:
        prepared: the data set.
        plan: the arm.
        dropped: rows that arms with `ArmPlan.drops` do without.
    """
    rows = prepared.real if plan.pseudo else prepared.labelled
    return rows[~np.isin(rows, dropped)] if plan.drops else rows
