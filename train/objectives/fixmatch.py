"""FixMatch (Sohn et al. 2020): what is confident of a weak view is the label of a strong one.

    loss = H(labelled) + λ 1/U Σ_i 1[max p_i ≥ τ] H(argmax p_i, q_i)                 (Eq. 2 to 4)

p_i of weak clip i, without a gradient, and q_i of the strong clip with the same frames and crop.
Targets come from the network itself; the moving average of weights is only what is tested, as in
`fixmatch.py` of github.com/google-research/fixmatch, d4985a1.

On video as in github.com/vt-vl-lab/video-data-aug, 01667cd: labelled, weak and strong clips in one
forward pass. Other than there, the moving average is tested (that code has none), and strong clips
are those of `train.semi_supervised.strong`.
"""

from __future__ import annotations

from l2a.networks import VideoNetwork
from train.objectives import Loss
from train.objectives.confidence import masked_cross_entropy, pseudo_labels
from train.objectives.ema import Averaged, MovingAverage
from train.objectives.parts import ObjectiveSettings, Training, given, logits_of
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch


class FixMatch(Averaged):
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._settings = settings
        self._average = MovingAverage(training.network, settings.ema)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, weak, strong = logits_of(
            network, batch.labelled.clips, batch.weak, given(batch.strong)
        )
        supervised = soft_cross_entropy(labelled, batch.labelled.labels)
        classes, kept = pseudo_labels(weak, self._settings.threshold)
        unlabelled = masked_cross_entropy(strong, classes, kept)
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": unlabelled.detach(),
            "utilisation": kept.mean(),
        }
        return Loss(supervised + self._settings.unlabelled_weight * unlabelled, figures, supervised)
