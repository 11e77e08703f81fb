"""TRX: temporal-relational cross-transformers.

Perrett, Masullo, Burghardt, Mirmehdi, Damen 2021, "Temporal-relational CrossTransformers for
few-shot action recognition". A clip is all its ordered tuples of ω frames. Each tuple of a query
asks all tuples of all support clips of a class (attention, Eq. 5), and the answers make a class
prototype of its own (Eq. 6); the query's distance to the class is that of its tuples to their
prototypes (Eq. 7). Several cardinalities ω are averaged.

Checked against the authors' own code (MIT), with which it agrees for equal weights; one deviation:
a class without support clips gets -inf, where that code leaves 0, the highest of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.errors import InputError
from train.few_shot.methods.base import NEVER, FeatureShape, FewShotMethod, to_frames
from train.settings.few_shot_methods import TRX_RECIPE, Recipe, TrxSettings

_POSITION_SCALE = 0.1
_OFTEN = 2
"""Meetings of two clips from which on it pays to keep what one finds in the other."""


class Trx(FewShotMethod):
    """Codes are keys and values of every tuple: float32 `[n, U, 2·d]`, U the tuples of all
    cardinalities one after the other (28 + 56 of 8 frames)."""

    name: ClassVar[str] = "trx"
    takes: ClassVar[Literal["maps", "frames"]] = "frames"
    recipe: ClassVar[Recipe] = TRX_RECIPE

    def __init__(self, shape: FeatureShape, settings: TrxSettings) -> None:
        super().__init__()
        if shape.times < max(settings.trx_cardinalities):
            raise InputError(
                f"TRX with tuples of {max(settings.trx_cardinalities)} frames needs as many frame "
                f"features a clip, and this network gives {shape.times}; choose an image network "
                "(tsn_...), more frames, or smaller trx_cardinalities."
            )
        self._loss = settings.trx_loss
        self._dropout = nn.Dropout(settings.trx_dropout)
        self.register_buffer("_position", position_code(shape.times, shape.dim), persistent=False)
        self.transformers = nn.ModuleList(
            TupleTransformer(shape.times, shape.dim, cardinality, settings.trx_dim)
            for cardinality in settings.trx_cardinalities
        )

    def encode(self, features: Tensor) -> Tensor:
        """Keys and values float32 `[n, U, 2·d]`."""
        frames = to_frames(features) + self.get_buffer("_position")
        # A dropout for each cardinality, as in the authors' code.
        return torch.cat([one(self._dropout(frames)) for one in self.transformers], dim=1)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor, way: int) -> Tensor:
        """The negative distance, averaged over cardinalities: float32 `[Q, way]`."""
        sizes = [one.tuples.shape[0] for one in self._each()]
        scores = [
            class_scores(own, support_labels, asked, way)
            for own, asked in zip(support.split(sizes, 1), query.split(sizes, 1), strict=True)
        ]
        return torch.stack(scores).mean(0)

    def compare_all(
        self, codes: Tensor, support: Tensor, support_labels: Tensor, query: Tensor, way: int
    ) -> Tensor:
        """The same, with the attention between two clips computed once where they meet often."""
        meetings = (query[:, :, None] * len(codes) + support[:, None]).unique()
        if query.numel() * support.shape[1] < _OFTEN * len(meetings):
            return super().compare_all(codes, support, support_labels, query, way)
        sizes = [one.tuples.shape[0] for one in self._each()]
        logits = codes.new_empty(*query.shape, way)
        for clip in query.unique():
            at = (query == clip).nonzero(as_tuple=True)
            met, where = support[at[0]].unique(return_inverse=True)
            parts = zip(codes[met].split(sizes, 1), codes[clip].split(sizes), strict=True)
            scores = [class_scores_of(own, where, support_labels, one, way) for own, one in parts]
            logits[at] = torch.stack(scores).mean(0)
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, summed over the episode's queries or averaged (`trx_loss`)."""
        return F.cross_entropy(logits, labels, reduction=self._loss)

    def _each(self) -> Sequence[TupleTransformer]:
        return [one for one in self.transformers if isinstance(one, TupleTransformer)]


class TupleTransformer(nn.Module):
    """Keys and values of the tuples of one cardinality ω.

    Attributes:
        tuples: int64 `[U, ω]`, frames of each tuple, in their order.
    """

    tuples: Tensor

    def __init__(self, frames: int, dim: int, cardinality: int, width: int) -> None:
        super().__init__()
        found = torch.tensor(list(combinations(range(frames), cardinality)))
        self.register_buffer("tuples", found, persistent=False)
        self.k_linear = nn.Linear(dim * cardinality, width)
        self.v_linear = nn.Linear(dim * cardinality, width)
        self.norm_k = nn.LayerNorm(width)

    def forward(self, frames: Tensor) -> Tensor:
        """float32 `[n, U, 2·d]`, keys before values, of frame features `[n, T, D]`."""
        tuples = frames[:, self.tuples].flatten(2)  # [n, U, ω·D]
        return torch.cat([self.norm_k(self.k_linear(tuples)), self.v_linear(tuples)], dim=2)


def class_scores(support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
    """Negative distances between queries and their own prototypes of each class (Eqs. 5 to 7).

    Args:
        support: float32 `[S, U, 2·d]`, keys and values.
        labels: int64 `[S]`.
        query: float32 `[Q, U, 2·d]`.
        way: the number of classes.

    Returns:
        float32 `[Q, way]`: -‖values - prototypes‖² / U; -inf for a class without support.
    """
    query_keys, query_values = query.chunk(2, dim=2)
    count, tuples, _ = query_keys.shape
    asking = query_keys.flatten(0, 1)  # [Q·U, d]
    scores = []
    for label in range(way):
        own = support[labels == label]
        if len(own) == 0:
            scores.append(torch.full_like(query_keys[:, 0, 0], NEVER))
            continue
        keys, values = own.flatten(0, 1).chunk(2, dim=1)  # [s·U, d]: of all shots alike
        prototypes = F.scaled_dot_product_attention(asking[None], keys[None], values[None])[0]
        distance = (query_values.flatten(0, 1) - prototypes).square().sum(1)
        scores.append(-distance.unflatten(0, (count, tuples)).sum(1) / tuples)
    return torch.stack(scores, dim=1)


def class_scores_of(
    support: Tensor, episodes: Tensor, labels: Tensor, query: Tensor, way: int
) -> Tensor:
    """`class_scores` of one query in many episodes, by what it finds in each support clip alone.

    A softmax over the tuples of several clips is the sum of those over the tuples of one, each
    weighted by its share of the exponentials.

    Args:
        support: float32 `[M, U, 2·d]`, keys and values of every clip that it meets.
        episodes: int64 `[E, S]`, which of them are the support of each episode.
        labels: int64 `[S]`.
        query: float32 `[U, 2·d]`.
        way: the number of classes.

    Returns:
        float32 `[E, way]`.
    """
    (keys, values), (own_keys, own_values) = support.chunk(2, dim=2), query.chunk(2, dim=1)
    logits = (keys @ own_keys.T).transpose(1, 2) / math.sqrt(own_keys.shape[1])  # [M, U, U]
    largest = logits.amax(2)
    exponentials = (logits - largest[..., None]).exp()
    sums, answers = exponentials.sum(2), exponentials @ values  # [M, U], [M, U, d]
    scores = query.new_full((len(episodes), way), NEVER)
    for label in range(way):
        members = episodes[:, labels == label]
        if members.shape[1] == 0:
            continue
        shift = largest[members].transpose(1, 2)  # [E, U, s]
        weights = (shift - shift.amax(2, keepdim=True)).exp()
        total = (weights * sums[members].transpose(1, 2)).sum(2)
        rows = (
            members[:, None] * len(query) + torch.arange(len(query), device=query.device)[:, None]
        )
        prototypes = F.embedding_bag(
            rows.flatten(0, 1), answers.flatten(0, 1), mode="sum",
            per_sample_weights=weights.flatten(0, 1),
        ).unflatten(0, rows.shape[:2]) / total[..., None]  # fmt: skip
        scores[:, label] = -(own_values - prototypes).square().sum((1, 2)) / len(query)
    return scores


def position_code(frames: int, dim: int) -> Tensor:
    """0.1 x the sinusoidal code of Vaswani et al. 2017, float32 `[T, D]`."""
    position = torch.arange(frames)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
    code = torch.zeros(frames, dim)
    code[:, 0::2] = torch.sin(position * rate)
    code[:, 1::2] = torch.cos(position * rate)[:, : dim // 2]
    return _POSITION_SCALE * code
