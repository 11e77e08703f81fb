"""VideoSSL (Jing et al. 2021): pseudo-labels given once, and distillation from an image network.

    loss = H(labelled) + λ 1/U Σ_i H(ŷ_i, p_i) + distillation(weak clips)

ŷ_i are the pseudo-labels that a classifier of the labelled clips gave beforehand, no term where it
was not confident, and the mean is over clips without a label: where labelled ones are drawn among
them (`unlabelled_set: all`), `SemiBatch.targets` make up for those. There is no public code;
threshold, weights, temperature and that the clips that are drawn as unlabelled alone are distilled
are ours.
"""

from __future__ import annotations

from l2a.networks import VideoNetwork
from train.objectives import Loss
from train.objectives.distillation import Distillation, Distilling
from train.objectives.parts import ObjectiveSettings, Training, features_of, given
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch


class VideoSSL(Distilling):
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._weight = settings.unlabelled_weight
        self._distillation = Distillation(settings, training)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, weak = features_of(network, batch.labelled.clips, batch.weak)
        supervised = soft_cross_entropy(network.head(labelled), batch.labelled.labels)
        targets = given(batch.targets)
        unlabelled = soft_cross_entropy(network.head(weak), targets)
        distilled = self._distillation.loss(weak, batch.teacher)
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": unlabelled.detach(),
            "utilisation": targets.sum(1).mean(),
            "distillation": distilled.detach(),
        }
        return Loss(supervised + self._weight * unlabelled + distilled, figures, supervised)
