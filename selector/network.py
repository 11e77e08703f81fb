"""The Selector: an MLP that scores a pair of videos without compositing them.

Learn2Augment, Sec. 3.1: the trunk's features of both videos and their labels are concatenated and
go through hidden layers of 2048, 1024 and 512 to one logit, whose sigmoid is the score ω.

Added, because without them it does not learn on real clips: features are standardised by the
statistics of the training videos; label vectors are scaled to a norm that the features do not
drown; each video comes with its label agreement (`selector.agreement`); in training, features and
label vectors are hidden at random, so that the Selector does not memorise each video.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from l2a.errors import InputError
from selector.settings import LabelMode, SelectorSettings

Side = Literal["foreground", "background"]
Across = Literal["recordings", "videos"]

_SIDE_SCALE = 2.0
"""Weight of a side's own label agreement among the inputs: as much as two features."""


@dataclass(frozen=True)
class SelectorConfig:
    """The sizes of a Selector, as its checkpoint keeps them.

    Attributes:
        feature_dim: length of the trunk's feature vector.
        label_dim: E, the length of a label vector: the embedder's, or the number of classes.
        labels, hidden, label_scale, agreement_scale, dropout: as in `SelectorSettings`.
        agreement_across: what a video's label agreement leaves out: the clips of its own recording,
            or, as Selectors of earlier versions learned it, the video alone.
    """

    feature_dim: int
    label_dim: int
    labels: LabelMode = "embedding"
    hidden: tuple[int, ...] = (2048, 1024, 512)
    label_scale: float = 3.0
    agreement_scale: float = 0.0
    dropout: float = 0.0
    agreement_across: Across = "recordings"

    def __post_init__(self) -> None:
        for name in ("feature_dim", "label_dim"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give 1 or more.")
        if self.agreement_across not in get_args(Across):
            raise InputError(
                f"agreement_across is {self.agreement_across!r}: choose recordings or videos."
            )
        _ = self.settings  # the same checks

    @property
    def settings(self) -> SelectorSettings:
        """The sizes that a person sets."""
        chosen = {part.name: getattr(self, part.name) for part in fields(SelectorSettings)}
        return SelectorSettings(**chosen)

    @property
    def input_dim(self) -> int:
        """D, how many numbers describe a video: the feature, and behind it its label agreement."""
        return self.feature_dim + (self.agreement_scale > 0)

    @classmethod
    def from_settings(
        cls, settings: SelectorSettings, feature_dim: int, label_dim: int
    ) -> SelectorConfig:
        """The settings with the two sizes that only the data knows."""
        return cls(feature_dim, label_dim, **asdict(settings))


class Selector(nn.Module):
    """Scores pairs by their features and labels. Build it with `new_selector` or `load_selector`.

    Attributes:
        config: the sizes.
        feature_mean, feature_scale: float32 [D] buffers, set by `fit_standardiser`; 0 and 1 for
            the label agreement, which is standardised where it is computed.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: SelectorConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 2 * (config.input_dim + config.label_dim)
        self.first = nn.Linear(inputs, config.hidden[0])
        self.agreement: nn.Parameter | None = None
        if config.agreement_scale:
            # One weight for both sides, besides those of each: a doubtful label is doubtful on
            # both, and what backgrounds teach, which carry most of a mixed label, helps
            # foregrounds.
            bound = inputs**-0.5
            self.agreement = nn.Parameter(torch.empty(config.hidden[0]).uniform_(-bound, bound))
        self.rest = nn.Sequential()
        for size, following in pairwise((*config.hidden, 1)):
            self.rest.extend([nn.ReLU(), nn.Linear(size, following)])
        self.register_buffer("feature_mean", torch.zeros(config.input_dim))
        self.register_buffer("feature_scale", torch.ones(config.input_dim))

    def forward(
        self, features_f: Tensor, features_b: Tensor, labels_f: Tensor, labels_b: Tensor
    ) -> Tensor:
        """Logits of B pairs.

        Args:
            features_f: float32 [B, D], the trunk's features of the foreground videos, and where
                `config.agreement_scale` is not 0 their label agreement as the last column.
            features_b: float32 [B, D], of the background videos.
            labels_f: float32 [B, E], label vectors of the foreground videos, at any scale.
            labels_b: float32 [B, E], of the background videos.

        Returns:
            float32 [B]; the sigmoid of a logit is the score ω.

        Raises:
            ValueError: a shape does not fit; the message names both sizes.
        """
        features_f, labels_f, agreement_f = self._standardised(features_f, labels_f)
        features_b, labels_b, agreement_b = self._standardised(features_b, labels_b)
        if len(features_f) != len(features_b):
            raise ValueError(
                f"There are {len(features_f)} foregrounds and {len(features_b)} backgrounds; "
                "a pair needs one of each."
            )
        inputs = torch.cat([features_f, features_b, labels_f, labels_b], dim=1)
        logits: Tensor = self.rest(self.first(inputs) + (agreement_f + agreement_b))
        return logits.squeeze(1)

    def omega(
        self, features_f: Tensor, features_b: Tensor, labels_f: Tensor, labels_b: Tensor
    ) -> Tensor:
        """The scores ω of B pairs: float32 [B] in 0..1. Rank by logits, since ω saturates."""
        return self(features_f, features_b, labels_f, labels_b).sigmoid()

    def project(self, features: Tensor, labels: Tensor, side: Side) -> Tensor:
        """A video's share of the first layer, computed once and used in all of its pairs.

        The first layer is linear in its concatenated input, so that it splits into a foreground
        half (which takes the bias) and a background half: with N videos, N rows of the widest
        input instead of up to N².

        Args:
            features: float32 [N, D]. labels: float32 [N, E]. side: where the videos stand.

        Returns:
            float32 [N, hidden[0]], for `score_projected`.
        """
        features, labels, agreement = self._standardised(features, labels)
        size, label_size = self.config.input_dim, self.config.label_dim
        blocks = self.first.weight.split((size, size, label_size, label_size), dim=1)
        features_f, features_b, labels_f, labels_b = blocks
        if side == "foreground":
            biased = functional.linear(features, features_f, self.first.bias)
            return biased + functional.linear(labels, labels_f) + agreement
        plain = functional.linear(features, features_b) + functional.linear(labels, labels_b)
        return plain + agreement

    def score_projected(self, foreground: Tensor, background: Tensor) -> Tensor:
        """Logits float32 [B] of pairs from their halves of the first layer, each [B, hidden[0]].

        Equal to `forward` up to the rounding of a sum taken in another order.
        """
        logits: Tensor = self.rest(foreground + background)
        return logits.squeeze(1)

    @torch.no_grad()
    def fit_standardiser(self, features: Tensor) -> None:
        """Take mean and spread from the training videos' features, float32 [N, D].

        A feature that hardly varies is divided by a hundredth of the mean spread instead of its
        own, so that a video in which it does vary cannot swamp the input.
        """
        self._check("features", features, self.config.input_dim)
        if len(features) == 0:
            raise ValueError("There are no features to standardise by; give at least one row.")
        mean = features.mean(dim=0)
        spread = features.std(dim=0, correction=0)
        floor = 0.01 * spread.mean()
        scale = spread.clamp_min(floor) if floor > 0 else torch.ones_like(spread)
        if self.config.agreement_scale:
            mean[-1], scale[-1] = 0, 1
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(scale)

    @torch.no_grad()
    def scale_logits(self, scale: float, shift: float) -> None:
        """Fold z ─► scale · z + shift into the last layer; above 0, `scale` keeps the ranking."""
        last = self.rest[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(shift)

    def _standardised(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What goes through the first layer, [N, D] and [N, E], and what agreement adds behind it.

        The last is [N, hidden[0]], or [N, 1] of zeros without label agreement.
        """
        self._check("features", features, self.config.input_dim)
        self._check("labels", labels, self.config.label_dim)
        if len(features) != len(labels):
            raise ValueError(
                f"There are {len(features)} rows of features and {len(labels)} of labels; "
                "give one of each for every video."
            )
        config = self.config
        scaled = functional.normalize(labels, dim=1) * config.label_scale  # a zero row stays zero
        standard = (features - self.feature_mean) / self.feature_scale
        own, agreement = standard[:, : config.feature_dim], standard[:, config.feature_dim :]
        if self.training and config.dropout:
            scaled = functional.dropout(scaled, config.dropout)
            own = functional.dropout(own, config.dropout)
        if self.agreement is None:
            return own, scaled, own.new_zeros(len(own), 1)
        inputs = torch.cat([own, _SIDE_SCALE * agreement], dim=1)
        return inputs, scaled, config.agreement_scale * agreement * self.agreement

    @staticmethod
    def _check(name: str, rows: Tensor, size: int) -> None:
        if rows.ndim != 2 or rows.shape[1] != size:
            raise ValueError(
                f"The {name} have shape {list(rows.shape)}; this Selector takes [rows, {size}]."
            )


def new_selector(config: SelectorConfig, seed: int) -> Selector:
    """An untrained Selector whose weights depend on `seed` alone; PyTorch's own seed is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Selector(config)
