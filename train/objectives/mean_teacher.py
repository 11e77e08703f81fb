"""Mean Teacher (Tarvainen and Valpola 2017): agree with the moving average of oneself.

    loss = H(labelled) + λ w(t) 1/(U C) Σ_i Σ_c (p_ic − p'_ic)²

p_i of weak clip i by the network, p'_i of another crop and flip of the same clip by the average, in
training mode with its own batch statistics and without a gradient (Sec. 2). The average is tested.

Weight 50, which rises linearly over the first 40 % of the training, and the mean over unlabelled
clips alone are those of `mean_teacher.py` of github.com/google-research/fixmatch, d4985a1; the
authors' own (github.com/CuriousAI/mean-teacher, 546348f) have 100, a ramp of 5 epochs along a
Gaussian, labelled clips in the mean, and two output layers in one of the experiments. The squared
error is theirs, as TorchSSL's is; USB's has no gradient, because its student's logits are the
teacher's (`semilearn/algorithms/meanteacher/meanteacher.py`, line 55, at 1ef4cbe).
"""

from __future__ import annotations

import torch
from torch import Tensor

from l2a.networks import VideoNetwork
from train.objectives import Loss
from train.objectives.ema import Averaged, MovingAverage
from train.objectives.parts import ObjectiveSettings, Training, given, logits_of, ramp
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch

WEIGHT = 50.0
"""Of the consistency at its height; `ObjectiveSettings.unlabelled_weight` multiplies it."""


def consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of probabilities, over clips and classes.

    Args:
        student, teacher: logits float32 `[U, C]`; the teacher's get no gradient.

    Returns:
        float32 [].
    """
    return (student.softmax(1) - teacher.detach().softmax(1)).square().mean()


class MeanTeacher(Averaged):
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._weight, self._steps = WEIGHT * settings.unlabelled_weight, training.total_steps
        self._average = MovingAverage(training.network, settings.ema, own_buffers=True)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, student = logits_of(network, batch.labelled.clips, batch.weak)
        with torch.no_grad():
            (teacher,) = logits_of(self._average.network.train(), given(batch.weak_again))
        supervised = soft_cross_entropy(labelled, batch.labelled.labels)
        unlabelled = consistency(student, teacher)
        weight = self._weight * ramp(step, self._steps)
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": unlabelled.detach(),
            "utilisation": torch.ones_like(unlabelled),
        }
        return Loss(supervised + weight * unlabelled, figures, supervised)
