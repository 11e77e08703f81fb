"""Pseudo-Label (Lee 2013): a network's own confident guesses are its labels.

    loss = H(labelled) + λ w(t) 1/U Σ_i 1[max p_i > τ] H(argmax p_i, p_i),  p_i of weak clip i

w rises linearly from 0 to 1 over the first 40 % of the training, and the moving average of weights
is what is tested, as in `pseudo_label.py` of github.com/google-research/fixmatch, d4985a1; Lee's
own has no threshold, and a ramp in epochs. Other than there, τ itself counts as confident, and
batch normalisation sees labelled and unlabelled clips together (there the labelled alone).
"""

from __future__ import annotations

from l2a.networks import VideoNetwork
from train.objectives import Loss
from train.objectives.confidence import masked_cross_entropy, pseudo_labels
from train.objectives.ema import Averaged, MovingAverage
from train.objectives.parts import ObjectiveSettings, Training, logits_of, ramp
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch


class PseudoLabel(Averaged):
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._settings, self._steps = settings, training.total_steps
        self._average = MovingAverage(training.network, settings.ema)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, weak = logits_of(network, batch.labelled.clips, batch.weak)
        supervised = soft_cross_entropy(labelled, batch.labelled.labels)
        classes, kept = pseudo_labels(weak, self._settings.threshold)
        unlabelled = masked_cross_entropy(weak, classes, kept)
        weight = self._settings.unlabelled_weight * ramp(step, self._steps)
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": unlabelled.detach(),
            "utilisation": kept.mean(),
        }
        return Loss(supervised + weight * unlabelled, figures, supervised)
