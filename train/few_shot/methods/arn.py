"""ARN: an action relation network.

Zhang, Zhang, Qi, Li, Torr, Koniusz 2020, "Few-shot action recognition with permutation-invariant
attention". Attention says where or when the action is; second-order pooling makes one matrix of a
clip, whatever the order of its places; power normalisation evens its entries out; a class is the
mean matrix of its support clips, and a relation network scores (class, query) pairs.

Sizes are those that the authors published; none of their code is used. What they did not publish
(the weights and cuts of the self-supervised tasks, how two attentions go together) is ours, and the
settings say so. Differences: features with other than `arn_channels`
channels are projected first; batch normalisation keeps running statistics of about ten episodes,
where the authors keep those of the last one. In training the pairs of an episode are normalised
together; in evaluation mode no query has a part in another's score.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.errors import InputError
from l2a.folding import fold_batch_norms
from l2a.trunk import Trunk
from train.few_shot.methods.base import (
    FeatureShape,
    FewShotMethod,
    class_means,
    to_maps,
    without_absent,
)
from train.few_shot.methods.self_supervision import PARTS, TASKS, Discriminator
from train.settings.few_shot_methods import ARN_FRAMES, ARN_RECIPE, ArnSettings, Recipe

_HIDDEN = 16
"""Channels of the attention."""


_NO_PLACES = (
    "the features have one place in the picture, where ARN's spatial attention changes nothing; "
    "--arn-attention temporal attends to times"
)
"""It is then one factor for a clip's whole map, which the trace of its matrix takes out again."""


class Arn(FewShotMethod):
    """Codes are power-normalised second-order matrices, float32 `[n, C, C]`."""

    name: ClassVar[str] = "arn"
    takes: ClassVar[Literal["maps", "frames"]] = "maps"
    recipe: ClassVar[Recipe] = ARN_RECIPE

    def __init__(self, shape: FeatureShape, settings: ArnSettings) -> None:
        super().__init__()
        if shape.num_frames < ARN_FRAMES:
            raise InputError(
                f"ARN needs clips of {ARN_FRAMES} frames or more, because its attention pools over "
                f"time, and these have {shape.num_frames}; give --num-frames {ARN_FRAMES}."
            )
        self._settings = settings
        channels = settings.arn_channels
        self.project: nn.Module = nn.Identity()
        if shape.dim != channels:
            self.project = _convolution(shape.dim, channels, kernel=1)
        wanted = settings.arn_attention
        self.spatial = SpatialAttention(channels) if wanted in ("spatial", "both") else None
        if self.spatial is not None and shape.height * shape.width == 1:
            self.notes = (_NO_PLACES,)
        self.temporal = TemporalAttention(channels) if wanted in ("temporal", "both") else None
        self.relation: nn.Module = RelationNetwork(channels)
        self._tasks = {
            name: TASKS[name](settings.arn_permutations) for name in settings.arn_auxiliary
        }
        self.discriminators = nn.ModuleDict(
            {name: Discriminator(channels, shape, one.kinds) for name, one in self._tasks.items()}
        )
        if settings.arn_alignment_weight:
            _check_alignment(shape, settings)

    def encode(self, features: Tensor) -> Tensor:
        """Power-normalised second-order matrices of attended maps: float32 `[n, C, C]`."""
        maps = self.project(to_maps(features))
        attended = maps
        for attention in (self.spatial, self.temporal):
            if attention is not None:
                attended = attended * (1 + attention(maps))
        return power_norm(second_order(attended), self._settings.arn_sigma)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Relation scores 0..1, float32 `[Q, way]`."""
        prototypes, present = class_means(support, support_labels, way)
        sides = (len(query), way, *query.shape[1:])
        pairs = torch.stack(
            [prototypes[None].expand(sides), query[:, None].expand(sides)], dim=2
        )  # [Q, way, 2, C, C]
        scores = self.relation(pairs.flatten(0, 1)).unflatten(0, sides[:2])
        return without_absent(scores, present)

    def folded(self) -> Arn:
        """A copy whose relation network has no batch norms left."""
        copied = copy.deepcopy(self).eval()
        size = self._settings.arn_channels
        example = torch.linspace(0, 1, 4 * size**2).view(2, 2, size, size)
        copied.relation = fold_batch_norms(self.relation, example.to(next(self.parameters())))
        return copied

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of the scores against one-hot labels, as in relation networks."""
        wanted = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        # The score of a class without support is no score.
        return F.mse_loss(logits.masked_fill(logits.isneginf(), 0), wanted)

    def auxiliary_loss(
        self, trunk: Trunk, clips: Tensor, generator: torch.Generator
    ) -> Tensor | None:
        """Weighted losses of the discriminators, and of attention that does not follow."""
        if not self._tasks:
            return None
        aligned = self._settings.arn_alignment_weight
        plain = self._maps(trunk, clips) if aligned else None
        total = torch.zeros((), device=clips.device)
        for name, task in self._tasks.items():
            kinds = torch.randint(task.kinds, (len(clips),), generator=generator)
            maps = self._maps(trunk, task.alter(clips, kinds))
            told = F.cross_entropy(self.discriminators[name](maps), kinds.to(clips.device))
            total = total + self._settings.arn_auxiliary_weight * told
            attention = self.temporal if task.of_time else self.spatial
            if plain is not None and attention is not None:
                # [n, 1, T', H', W'] as the task takes clips: [n, T', H', W', 1].
                should = task.alter(attention(plain).movedim(1, -1), kinds).movedim(-1, 1)
                total = total + aligned * F.mse_loss(attention(maps), should)
        return total

    def _maps(self, trunk: Trunk, clips: Tensor) -> Tensor:
        maps: Tensor = self.project(trunk.forward_features(trunk.to_input(clips)))
        return maps


class SpatialAttention(nn.Module):
    """Maps float32 `[n, C, T', H', W']` ─► 0..1, `[n, 1, 1, H', W']`: where the action is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, _HIDDEN)
        self.second = _convolution(_HIDDEN, _HIDDEN)
        self.last = nn.Conv3d(_HIDDEN, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """One map a clip."""
        for layer in (self.first, self.second):
            maps = layer(maps)
            maps = F.max_pool3d(maps, (min(2, maps.shape[2]), 1, 1))
        # One map is left of 16 frames; the mean of those that are left of more.
        return torch.sigmoid(self.last(maps).mean(2, keepdim=True))


class TemporalAttention(nn.Module):
    """Maps float32 `[n, C, T', H', W']` ─► 0..1, `[n, 1, T', 1, 1]`: when the action is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, _HIDDEN)
        self.second = _convolution(_HIDDEN, _HIDDEN)
        self.last = nn.Conv3d(_HIDDEN, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """One number a time."""
        for layer, by in ((self.first, 4), (self.second, 8)):
            maps = layer(maps)
            maps = F.max_pool3d(maps, (1, min(by, maps.shape[3]), min(by, maps.shape[4])))
        return torch.sigmoid(self.last(maps).mean((3, 4), keepdim=True))


class RelationNetwork(nn.Module):
    """Pairs of matrices float32 `[n, 2, C, C]` ─► scores 0..1, `[n]`: four convolutions, the last
    three with a path around them, and two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _plane(2, 64)
        self.others = nn.ModuleList(_plane(64, 64) for _ in range(3))
        self.hidden = nn.Linear(64 * (channels // 16) ** 2, 8)
        self.score = nn.Linear(8, 1)
        # Small maps of many channels: on a CPU half the time of channels first.
        self.to(memory_format=torch.channels_last)

    def forward(self, pairs: Tensor) -> Tensor:
        """How alike the two of each pair are."""
        maps = F.max_pool2d(self.first(pairs), 2)
        for layer in self.others:
            maps = F.max_pool2d(maps + layer(maps), 2)
        hidden = F.relu(self.hidden(maps.flatten(1)))
        return torch.sigmoid(self.score(hidden)).squeeze(1)


def second_order(maps: Tensor) -> Tensor:
    """F Fᵀ / N of each clip, divided by its trace.

    Args:
        maps: float32 `[n, C, T', H', W']`; F is C x N with N = T'·H'·W'.

    Returns:
        float32 `[n, C, C]`, symmetric, of trace 1; zeros for maps of zeros.
    """
    places = maps.flatten(2)
    products = places @ places.transpose(1, 2) / places.shape[2]
    trace = products.diagonal(dim1=1, dim2=2).sum(1)
    return products / trace.clamp(min=torch.finfo(maps.dtype).tiny)[:, None, None]


def power_norm(matrices: Tensor, sigma: float) -> Tensor:
    """2 / (1 + exp(-σx)) - 1, entry by entry: large entries count once, however large."""
    return 2 * torch.sigmoid(sigma * matrices) - 1


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )


def _plane(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _check_alignment(shape: FeatureShape, settings: ArnSettings) -> None:
    """Attention can be cut as the clip is only where its sides divide."""
    if "temporal-jigsaw" in settings.arn_auxiliary and shape.times % PARTS:
        raise InputError(
            f"The network's features have {shape.times} times, which cannot be shuffled in {PARTS} "
            "spans as the clip is; set arn_alignment_weight to 0, or choose another num_frames."
        )
    if "spatial-jigsaw" in settings.arn_auxiliary and (shape.height % 2 or shape.width % 2):
        raise InputError(
            f"The network's features are {shape.height} x {shape.width}, which cannot be cut in "
            "quarters as the clip is; set arn_alignment_weight to 0, or choose another crop."
        )
