"""What the arms of the semi-supervised setting learn by.

Learn2Augment's own arms see labelled and pseudo-labelled clips with composites beside them, and
with a teacher unlabelled clips to be distilled. Every other method sees labelled clips alone, and
unlabelled ones as its paper says. All of them draw as many real clips in as many steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from l2a.networks import VideoNetwork
from train.arms import SUPERVISED, ArmPlan
from train.batches import ClipSource
from train.learning import Learning, Supervises
from train.mix import TrainingMix
from train.objectives.parts import ObjectiveSettings, Training
from train.objectives.supervised import Supervised
from train.objectives.table import DISTILLED, Method, find_method
from train.semi_supervised.batches import SemiBatches, Unlabelled
from train.semi_supervised.pseudo_labels import PseudoLabels
from train.settings.semi import SemiSettings


@dataclass(frozen=True)
class SemiLearns:
    """As `train.learning.Learns`.

    Attributes:
        supervises: batches of labelled clips and composites.
        unlabelled: the clips without a label, and what is known of them.
        semi: of the setting.
        teacher_classes: K, outputs of the teacher; 0 without one.
    """

    supervises: Supervises
    unlabelled: Unlabelled
    semi: SemiSettings
    teacher_classes: int = 0

    def __call__(
        self, plan: ArmPlan, network: VideoNetwork, mix: TrainingMix, seed: int
    ) -> Learning:
        """See `train.learning.Learns`."""
        labelled = self.supervises.batches(mix, seed)
        method = method_of(plan, self.semi)
        if method is None:
            return Learning(Supervised(), labelled)
        batches = SemiBatches(
            labelled, self.supervises.source, self.unlabelled, self.supervises.settings.flip, seed,
            method.views,
        )  # fmt: skip
        known = self.teacher_classes if "teacher" in method.views else 0
        training = Training(network, len(batches), known, seed)
        return Learning(method.make(objective_settings(self.semi), training), batches)

    def on(self, source: ClipSource) -> SemiLearns:
        """The same with labelled clips of a source, which knows the pseudo-labels of a round."""
        return replace(self, supervises=replace(self.supervises, source=source))

    def with_targets(self, found: PseudoLabels) -> SemiLearns:
        """The same with the pseudo-labels of a round, for methods that are given them."""
        given = self.unlabelled
        targets = targets_of(found, len(self.supervises.source.labels), len(given.rows))
        return replace(self, unlabelled=replace(given, targets=targets))


def method_of(plan: ArmPlan, semi: SemiSettings) -> Method | None:
    """What an arm learns by besides cross-entropy; None where that is all."""
    if plan.method:
        return find_method(plan.method)
    distils = semi.teacher is not None and plan.name != SUPERVISED
    return DISTILLED if distils else None


def objective_settings(semi: SemiSettings) -> ObjectiveSettings:
    """What objectives take of the settings."""
    return ObjectiveSettings(
        semi.online_threshold, semi.unlabelled_weight, semi.ema, semi.distillation_weight,
        semi.distillation_temperature,
    )  # fmt: skip


def targets_of(found: PseudoLabels, count: int, drawn: int) -> Tensor:
    """Pseudo-labels as targets float32 `[N, C]`: one-hot times n / m where accepted, else zeros.

    Of the n clips that a method draws from as unlabelled, m have no label; the others can have no
    pseudo-label. With n / m a mean over clips as they are drawn is, over a pass, the mean over
    those m, and parts of a batch need not agree on how many of them each has.

    Args:
        found: the pseudo-labels, of the m clips.
        count: N, rows of the bank.
        drawn: n.
    """
    targets = np.zeros((count, found.probabilities.shape[1]), np.float32)
    weight = drawn / len(found.rows)
    targets[found.rows[found.accepted], found.labels[found.accepted]] = weight
    return torch.from_numpy(targets)
