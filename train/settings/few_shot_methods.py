"""Settings of the few-shot methods, and the recipe that each is trained by. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.settings import setting

ARN_FRAMES = 16
"""Frames from which ARN's attention has something to pool over: T / 4, and that twice halved."""

AUXILIARY = ("rotation", "spatial-jigsaw", "temporal-jigsaw")
"""The self-supervised tasks of ARN, by name."""


@dataclass(frozen=True)
class Recipe:
    """How a method's authors train it.

    Attributes:
        optimiser: "adam" or "sgd" (without momentum).
        lr: learning rate.
        episodes_per_step: episodes whose gradients are added up before a step of the optimiser.
        queries: of each class in a training episode.
    """

    optimiser: Literal["adam", "sgd"]
    lr: float
    episodes_per_step: int
    queries: int


@dataclass(frozen=True)
class PrototypeSettings:
    """C3D-PN: a prototypical network on features of 3D convolutions.

    Attributes:
        prototype_features: "flatten" compares feature maps place by place, "pool" their means over
            space and time. The published tables do not say which; the choice is ours.
    """

    GROUP: ClassVar[str] = "prototype"

    prototype_features: Literal["flatten", "pool"] = setting("pool", added=True)


@dataclass(frozen=True)
class ArnSettings:
    """ARN: second-order pooling, attention and a relation network.

    Attributes:
        arn_attention: "spatial", "temporal", "both" or "none": what scales the feature maps
            before they are pooled.
        arn_channels: channels that are pooled, a multiple of 16. Features with another number are
            first projected to it (a step of ours: the authors' encoder has 64).
        arn_sigma: slope of the power normalisation.
        arn_auxiliary: self-supervised tasks that are learnt beside: rotation, spatial-jigsaw,
            temporal-jigsaw. The weights that the authors gave them are not known.
        arn_auxiliary_weight: weight of their losses; ours.
        arn_alignment_weight: weight of the loss that asks for the attention to turn or to be
            shuffled as the clip is; ours. 0 leaves it out.
        arn_permutations: shuffles that a jigsaw's answer is one of.
    """

    GROUP: ClassVar[str] = "arn"

    arn_attention: Literal["spatial", "temporal", "both", "none"] = setting("spatial", added=True)
    arn_channels: int = setting(64, added=True)
    arn_sigma: float = setting(100.0, added=True)
    arn_auxiliary: tuple[str, ...] = setting((), added=True)
    arn_auxiliary_weight: float = setting(0.1, added=True)
    arn_alignment_weight: float = setting(0.0, added=True)
    arn_permutations: int = setting(10, added=True)

    def __post_init__(self) -> None:
        if self.arn_channels < 16 or self.arn_channels % 16:
            raise InputError(
                f"arn_channels is {self.arn_channels}; give a multiple of 16, such as 64, because "
                "the relation network halves the matrix of channels four times."
            )
        for name in self.arn_auxiliary:
            if name not in AUXILIARY:
                raise InputError(
                    f"There is no self-supervised task {name!r}; choose out of: "
                    f"{', '.join(AUXILIARY)}."
                )
        for name in ("arn_sigma", "arn_auxiliary_weight", "arn_alignment_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more.")
        if not 2 <= self.arn_permutations <= 24:
            raise InputError(f"arn_permutations is {self.arn_permutations}; give 2 to 24.")


@dataclass(frozen=True)
class TrxSettings:
    """TRX: temporal cross-transformers on tuples of frames.

    Attributes:
        trx_cardinalities: frames in a tuple; several are averaged.
        trx_dim: length of a tuple's key and of its value (d_k = d_v).
        trx_dropout: share of the frames' features that is dropped in training.
        trx_loss: "sum" adds the cross-entropies of an episode's queries up, as the authors' first
            code does, "mean" averages them, as their second one does.
    """

    GROUP: ClassVar[str] = "trx"

    trx_cardinalities: tuple[int, ...] = setting((2, 3), added=True)
    trx_dim: int = setting(1152, added=True)
    trx_dropout: float = setting(0.1, added=True)
    trx_loss: Literal["sum", "mean"] = setting("sum", added=True)

    def __post_init__(self) -> None:
        given = self.trx_cardinalities
        if not given or min(given) < 1 or len(set(given)) < len(given):
            shown = ", ".join(map(str, given)) or "nothing"
            raise InputError(
                f"trx_cardinalities is {shown}; give different numbers of frames, such as 2,3."
            )
        if self.trx_dim < 1:
            raise InputError(f"trx_dim is {self.trx_dim}; it must be at least 1.")
        if not 0 <= self.trx_dropout < 1:
            raise InputError(f"trx_dropout is {self.trx_dropout}; give 0 or more, below 1.")


# How many episodes are trained is a setting, and the rate falls along a cosine: the authors' own
# numbers stand here to be compared.

PROTOTYPE_RECIPE = Recipe("adam", 1e-3, episodes_per_step=1, queries=5)
"""jakesnell/prototypical-networks, where the rate is halved every 20 epochs of 100 episodes; the
video version's own are not known."""

ARN_RECIPE = Recipe("adam", 1e-3, episodes_per_step=1, queries=5)
"""HongguangZhang/arn-eccv20-master: 100,000 episodes, the rate halved every 50,000."""

TRX_RECIPE = Recipe("sgd", 1e-3, episodes_per_step=16, queries=5)
"""tobyperrett/trx, with the summed loss divided by these 16 episodes; the rate is not halved.
Something-Something: 75,000 episodes."""
