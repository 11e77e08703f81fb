"""Distillation of what an image network makes of one frame (VideoSSL, Jing et al. 2021, Sec. 3.3).

A second linear head on a clip's feature guesses the ImageNet probabilities that a teacher gave one
random frame of the clip, so that the trunk learns what things look like. It is a part that
objectives include, and with supervised learning alone it is what Learn2Augment's own arms have in
the semi-supervised setting.

As in ActorCut's code (`mmaction/models/recognizers/recognizer3d_semi.py` of
github.com/vt-vl-lab/video-data-aug, 01667cd): on weak unlabelled clips alone, weight 1, temperature
1, and the head is not used in tests. That code draws its head's weights with a standard deviation
of 0.01 and has dropout before it; here it is a plain linear layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.checkpoints import with_prefix, without_prefix
from l2a.networks import VideoNetwork
from train.objectives import Loss, Stateless
from train.objectives.parts import ObjectiveSettings, Training, features_of
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch

_HEAD = 1  # stream of the head's first weights


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """−T² mean_i Σ_k q_ik log softmax(z_i / T)_k with q = p^(1/T) / Σ p^(1/T), in nats.

    T² keeps gradients at their size (Hinton et al. 2015, Sec. 2). With T = 1 it is the
    cross-entropy against the teacher.

    Args:
        logits: z, float32 `[U, K]`.
        teacher: p, float32 `[U, K]`, rows sum to 1.
        temperature: T, above 0.

    Returns:
        float32 [].
    """
    if temperature != 1:
        # Half precision knows no smaller probabilities, and log 0 would be −∞.
        teacher = torch.softmax(teacher.clamp_min(1e-8).log() / temperature, 1)
    return temperature**2 * F.cross_entropy(logits / temperature, teacher)


class Distillation:
    """The second head with its loss: a part of an objective."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        """
        Raises:
            ValueError: the training has no teacher.
        """
        if training.teacher_classes < 1:
            raise ValueError("distillation needs a teacher")
        self._head = training.make_head(training.teacher_classes, _HEAD)
        self._weight = settings.distillation_weight
        self._temperature = settings.distillation_temperature

    def loss(self, features: Tensor, teacher: Tensor | None) -> Tensor:
        """The weighted loss of features float32 `[U, D]` against probabilities `[U, K]`.

        Raises:
            ValueError: there are no probabilities.
        """
        if teacher is None:
            raise ValueError("distillation needs the view 'teacher'")
        found = distillation_loss(self._head(features), teacher, self._temperature)
        return self._weight * found

    def parameters(self) -> Iterable[nn.Parameter]:
        """The head's."""
        return self._head.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """The head."""
        return with_prefix("distillation.", self._head.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave; what else is there is left alone."""
        self._head.load_state_dict(without_prefix("distillation.", state))


class Distilling(Stateless):
    """The rest of an objective whose only state is a distillation."""

    _distillation: Distillation

    def parameters(self) -> Iterable[nn.Parameter]:
        """Those of distillation."""
        return self._distillation.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """That of distillation."""
        return self._distillation.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `train.objectives.Objective.load_state_dict`."""
        self._distillation.load_state_dict(state)


class Distilled(Distilling):
    """Cross-entropy on labelled clips and composites, distillation on unlabelled ones."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._distillation = Distillation(settings, training)

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        labelled, weak = features_of(network, batch.labelled.clips, batch.weak)
        supervised = soft_cross_entropy(network.head(labelled), batch.labelled.labels)
        distilled = self._distillation.loss(weak, batch.teacher)
        figures = {"labelled": supervised.detach(), "distillation": distilled.detach()}
        return Loss(supervised + distilled, figures, supervised)
