"""ActorCut (Zou et al. 2021): FixMatch whose strong clip has its actors on another's scene.

    loss = H(labelled) + λ 1/U Σ_i 1[max p_i ≥ τ] H(w_i e(y_i) + (1 − w_i) e(y_j), q_i)

p_i and y_i = argmax p_i of weak clip i, q_i of its cut clip, j = `SemiBatch.partners[i]`, w_i =
1 − (1 − ρ_i)^4 with ρ_i the share of the actors' boxes in the clip. Half of the steps are cut; in
the others, and where nothing can be cut, j = i and the strong clip is FixMatch's. With distillation
it is the "ActorCut + ID" of the tables.

As in `mmaction/models/recognizers/` of github.com/vt-vl-lab/video-data-aug, 01667cd: the partner is
the batch reversed, cut clips are made of weak ones and have no other augmentation, the partner's
pseudo-label has no threshold of its own, and there is no moving average. Other than there:

- the scene is the partner's clean background, where that code sets the partner's own actors to 0;
- boxes are cropped and mirrored with the frames that they are laid on (there, with the strong
  clip's: RandAugment's geometry and changes in time move them, and not the frames);
- a clip that stays whole does not make its partner's scene empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from l2a.networks import VideoNetwork
from train.objectives import Loss, Stateless
from train.objectives.confidence import masked_cross_entropy, one_hot, pseudo_labels
from train.objectives.distillation import Distillation
from train.objectives.parts import ObjectiveSettings, Training, features_of, given
from train.objectives.supervised import soft_cross_entropy
from train.semi_supervised.batches import SemiBatch


def cut_labels(classes: Tensor, partners: Tensor, weight: Tensor, num_classes: int) -> Tensor:
    """w_i e(y_i) + (1 − w_i) e(y_partner(i)), float32 `[U, C]`.

    Args:
        classes: y, int64 `[U]`.
        partners: int64 `[U]`.
        weight: w, float32 `[U]`, in 0..1.
        num_classes: C.
    """
    own, share = one_hot(classes, num_classes), weight[:, None]
    return share * own + (1 - share) * own[partners]


class ActorCut(Stateless):
    """See above; as a `train.objectives.Objective`."""

    def __init__(
        self,
        settings: ObjectiveSettings,
        training: Training,
        distillation: Distillation | None = None,
    ) -> None:
        self._settings, self._distillation = settings, distillation

    def loss(self, network: VideoNetwork, batch: SemiBatch, step: int) -> Loss:
        """See `train.objectives.Objective.loss`."""
        features = features_of(network, batch.labelled.clips, batch.weak, given(batch.cut))
        labelled, weak, cut = (network.head(part) for part in features)
        supervised = soft_cross_entropy(labelled, batch.labelled.labels)
        classes, kept = pseudo_labels(weak, self._settings.threshold)
        partners = given(batch.partners)
        labels = cut_labels(classes, partners, given(batch.cut_weight), weak.shape[1])
        unlabelled = masked_cross_entropy(cut, labels, kept)
        own = partners.new_tensor(range(len(partners)))
        figures = {
            "labelled": supervised.detach(),
            "unlabelled": unlabelled.detach(),
            "utilisation": kept.mean(),
            "cut": (partners != own).float().mean(),
        }
        total = supervised + self._settings.unlabelled_weight * unlabelled
        if self._distillation is not None:
            distilled = self._distillation.loss(features[1], batch.teacher)
            total, figures["distillation"] = total + distilled, distilled.detach()
        return Loss(total, figures, supervised)

    def parameters(self) -> Iterable[nn.Parameter]:
        """Those of distillation."""
        return () if self._distillation is None else self._distillation.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """That of distillation."""
        return {} if self._distillation is None else self._distillation.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `train.objectives.Objective.load_state_dict`."""
        if self._distillation is not None:
            self._distillation.load_state_dict(state)
