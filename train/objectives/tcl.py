"""TCL (Singh et al. 2021): a clip played at two speeds shows the same action.

    first 1/8    loss = H(labelled)
    then         loss = H(labelled) + λ (9 L_instance + L_group)
    last 1/8     loss = H(labelled) + λ 1/U Σ_i 1[max p_i ≥ τ] H(argmax p_i, p_i)

p_i of the fast clip, all frames; the slow one has every other frame, cropped independently. The
contrasts are of their class probabilities (`train.objectives.contrast`), the fast ones without a
gradient.

The weights, and 50, 300 and 50 of 400 epochs, are those of the README of github.com/CVIR/TCL,
661076c, as is the learning rate, which starts again for the last part, where `lr_restart` says so
(0.002 there). An epoch there ends with the labelled list, and with the shorter of both lists while
it contrasts; here it draws as many labelled clips as there are clips in all. With s the labelled
share, up to 1/4, E epochs there are as many steps as s E here.

Other than there: the network is any (there a TSM with dropout 0.5), labelled and fast clips share
one forward pass, slow clips are every other frame of the fast (there drawn on their own), and
labelled clips are among the unlabelled ones unless `unlabelled_set` is "rest" (there its own
disjoint lists, drawn by class).
"""

from __future__ import annotations

import torch
from torch import Tensor

from l2a.networks import VideoNetwork
from train.objectives import Loss, Stateless
from train.objectives.confidence import masked_cross_entropy, pseudo_labels
from train.objectives.contrast import group_contrast, instance_contrast
from train.objectives.parts import ObjectiveSettings, Training, given, logits_of
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch

INSTANCE_WEIGHT = 9.0
"""γ; that of the groups is 1."""

CONTRAST_FROM, CONTRAST_TO = 1 / 8, 7 / 8
"""Shares of the training between which views are contrasted."""


class TCL(Stateless):
    """See above; as a `train.objectives.Objective`."""

    def __init__(self, settings: ObjectiveSettings, training: Training) -> None:
        self._settings, self._steps = settings, training.total_steps

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        clips, labels = batch.labelled.clips, batch.labelled.labels
        if step < CONTRAST_FROM * self._steps:
            (labelled,) = logits_of(network, clips)
            supervised = soft_cross_entropy(labelled, labels)
            return Loss(supervised, _figures(supervised), supervised)
        labelled, fast = logits_of(network, clips, batch.weak)
        supervised = soft_cross_entropy(labelled, labels)
        if step < CONTRAST_TO * self._steps:
            (slow,) = logits_of(network, given(batch.slow))
            instance, group = contrasts(fast, slow)
            unlabelled = INSTANCE_WEIGHT * instance + group
            # No threshold, but labelled all the same: every clip is used.
            figures = _figures(supervised, instance=instance, group=group, utilisation=_one(fast))
        else:
            classes, kept = pseudo_labels(fast, self._settings.threshold)
            unlabelled = masked_cross_entropy(fast, classes, kept)
            figures = _figures(supervised, pseudo=unlabelled, utilisation=kept.mean())
        total = supervised + self._settings.unlabelled_weight * unlabelled
        return Loss(total, figures, supervised)


def contrasts(fast: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
    """L_instance and L_group of logits float32 `[U, C]`; the fast ones get no gradient."""
    views = fast.detach().softmax(1), slow.softmax(1)
    return instance_contrast(*views), group_contrast(*views)


def _figures(supervised: Tensor, **parts: Tensor) -> dict[str, Tensor]:
    """All of them in every step, 0 where a part has none: an epoch's mean needs them."""
    zero = torch.zeros_like(supervised.detach())
    names = ("instance", "group", "pseudo", "utilisation")
    found = {name: parts.get(name, zero).detach() for name in names}
    return {"labelled": supervised.detach(), **found}


def _one(like: Tensor) -> Tensor:
    return torch.ones((), device=like.device)
