"""C3D-PN: a prototypical network on features of 3D convolutions.

Snell, Swersky, Zemel 2017, "Prototypical networks for few-shot learning", on clips, as the ARN
paper's baseline (Zhang et al. 2020). A class is the mean of its support clips' embeddings (Eq. 1),
and a query is scored by the negative squared Euclidean distance to it (Eq. 2).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from train.few_shot.methods.base import (
    FeatureShape,
    FewShotMethod,
    class_means,
    to_maps,
    without_absent,
)
from train.settings.few_shot_methods import PROTOTYPE_RECIPE, PrototypeSettings, Recipe


class Prototype(FewShotMethod):
    """The method has no parameter: all that is learnt is in the trunk.

    How C3D-PN makes one vector of a clip's feature maps is not published; both ways are here.
    """

    name: ClassVar[str] = "prototype"
    takes: ClassVar[Literal["maps", "frames"]] = "maps"
    recipe: ClassVar[Recipe] = PROTOTYPE_RECIPE

    def __init__(self, shape: FeatureShape, settings: PrototypeSettings) -> None:
        super().__init__()
        self._pooled = settings.prototype_features == "pool"

    def encode(self, features: Tensor) -> Tensor:
        """Embeddings float32 `[n, D]` (pooled) or `[n, D·T'·H'·W']`."""
        maps = to_maps(features)
        return maps.mean((2, 3, 4)) if self._pooled else maps.flatten(1)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor, way: int) -> Tensor:
        """-‖q - c_k‖² (Eq. 2's exponent) with c_k of Eq. 1: float32 `[Q, way]`."""
        prototypes, present = class_means(support, support_labels, way)
        return without_absent(-squared_distances(query, prototypes), present)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean negative log-probability of the true class."""
        return F.cross_entropy(logits, labels)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """‖x - c‖² of points float32 `[Q, F]` and centres `[C, F]`: float32 `[Q, C]`.

    By differences: ‖x‖² - 2xc + ‖c‖² would lose what distances between near points are.
    """
    return torch.stack([(points - centre).square().sum(1) for centre in centres], dim=1)
