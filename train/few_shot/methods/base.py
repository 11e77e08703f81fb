"""What every few-shot method is: clips' features to codes, codes of an episode to logits.

features ─ encode ─► codes ─┐
                            ├─ compare(support, labels, query, way) ─► logits [Q, way]
a clip's code depends on that clip alone, so that codes are made once and serve every episode
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.trunk import Trunk
from train.settings.few_shot_methods import Recipe

NEVER = float("-inf")
"""The logit of a class that has no clip in the support: it cannot win."""

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """What a trunk gives for one clip.

    Attributes:
        dim: D, channels.
        times, height, width: T', H', W' of the feature maps.
        num_frames: T, frames of the clip that went in.
    """

    dim: int
    times: int
    height: int
    width: int
    num_frames: int

    @classmethod
    def of(cls, maps: Tensor, num_frames: int) -> FeatureShape:
        """The shape of feature maps `[n, D, T', H', W']` or of frame features `[n, T', D]`."""
        dim, times, height, width = to_maps(maps).shape[1:]
        return cls(dim, times, height, width, num_frames)


class FewShotMethod(nn.Module, ABC):
    """A few-shot method on the features of any trunk.

    Every parameter of the method is in here, and none of the trunk's. A forward pass tells one
    query nothing of another; where a method has batch normalisation, that holds in evaluation mode.

    Attributes:
        name: its name in `METHODS`.
        takes: "frames" for a method that looks at frames in their order and has no use for where in
            the picture something is: `encode` pools feature maps over space. "maps" for one that
            sees maps as they are.
        recipe: how its authors train it.
        notes: what whoever uses it on these features should know, a sentence each.
    """

    name: ClassVar[str]
    takes: ClassVar[Literal["maps", "frames"]]
    recipe: ClassVar[Recipe]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """What the method keeps of each clip.

        Args:
            features: float32 `[n, D, T', H', W']` of a trunk, or `[n, T, D]` of single frames.

        Returns:
            float32 `[n, ...]`; row i depends on clip i alone (in evaluation mode).
        """

    @abstractmethod
    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor, way: int) -> Tensor:
        """How well each query fits each class.

        Args:
            support: float32 `[S, ...]`, codes of the support clips in any order; classes may have
                different numbers of them.
            support_labels: int64 `[S]`, 0 to way - 1.
            query: float32 `[Q, ...]`, codes.
            way: the number of classes.

        Returns:
            float32 `[Q, way]`, the higher the better; -inf for a class without support.
        """

    def compare_all(
        self, codes: Tensor, support: Tensor, support_labels: Tensor, query: Tensor, way: int
    ) -> Tensor:
        """`compare` for many episodes whose clips are rows of one table of codes.

        A method that compares clip with clip may do that once for every two clips that meet, in
        however many of the episodes they do.

        Args:
            codes: float32 `[N, ...]`.
            support: int64 `[E, S]`, rows.
            support_labels: int64 `[S]`, the same in each episode.
            query: int64 `[E, Q]`, rows.
            way: the number of classes.

        Returns:
            float32 `[E, Q, way]`.
        """
        pairs = zip(support, query, strict=True)
        return torch.stack(
            [
                self.compare(codes[shown], support_labels, codes[asked], way)
                for shown, asked in pairs
            ]
        )

    def folded(self) -> FewShotMethod:
        """What answers the same but for rounding, and is faster where the method has batch norms;
        in evaluation mode, never to be trained."""
        return self.eval()

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What training lowers, float32 []: of logits `[Q, way]` and query labels int64 `[Q]`.

        The gradient step takes the mean over an update's episodes (`Recipe.episodes_per_step`).
        """

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Logits float32 `[Q, way]` of features: `encode`, once for all clips, and `compare`."""
        codes = self.encode(torch.cat([support, query]))
        return self.compare(codes[: len(support)], support_labels, codes[len(support) :], way)

    def auxiliary_loss(
        self, trunk: Trunk, clips: Tensor, generator: torch.Generator
    ) -> Tensor | None:
        """The weighted loss of self-supervised tasks on clips, float32 []; None without any.

        Args:
            trunk: in training mode.
            clips: uint8 `[n, T, h, h, 3]`, RGB, on the trunk's device.
            generator: of the CPU, for how each clip is turned or shuffled.
        """
        return None


def to_frames(features: Tensor) -> Tensor:
    """Frame features float32 `[n, T', D]`: maps `[n, D, T', H', W']` averaged over space."""
    return features if features.ndim == 3 else features.mean((3, 4)).transpose(1, 2)


def to_maps(features: Tensor) -> Tensor:
    """Feature maps float32 `[n, D, T', H', W']`: frame features `[n, T', D]` as maps of 1 x 1."""
    return features if features.ndim == 5 else features.transpose(1, 2)[..., None, None]


def class_means(values: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Prototypes (Snell et al. 2017, Eq. 1).

    Args:
        values: float32 `[S, ...]`.
        labels: int64 `[S]`, 0 to way - 1.
        way: the number of classes.

    Returns:
        The mean of each class, float32 `[way, ...]`, zeros where it has no clip; and whether it
        has one, bool `[way]`.
    """
    # A sum over sorted rows would be no surer; one product keeps it a single pass.
    member = F.one_hot(labels, way).to(values.dtype)  # [S, way]
    counts = member.sum(0)
    means = (member / counts.clamp(min=1)).T @ values.flatten(1)
    return means.unflatten(1, values.shape[1:]), counts > 0


def without_absent(logits: Tensor, present: Tensor) -> Tensor:
    """Logits `[Q, way]` with -inf for the classes that are not `present`, bool `[way]`."""
    return logits.masked_fill(~present, NEVER)
