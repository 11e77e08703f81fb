"""Trunk features of videos: computed once per video and trunk, and kept next to the bank.

A pair only looks its two rows up. Stage one, the choice, and a later export with the same Selector
all find them by the checksum of the trunk's weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.trunk import Trunk
from selector.agreement import label_agreement
from selector.network import SelectorConfig
from train.frozen.features import FeatureBank
from train.prepared import Matching, PreparedData, unlabelled_rows
from train.settings.frozen import FrozenSettings


def all_features(trunk: Trunk, prepared: PreparedData) -> Tensor:
    """Trunk features float32 `[N, D]` of the bank's training videos, labelled or not; zeros
    elsewhere.

    Kept with all other features of the trunk (`train.frozen.features`), and found there the next
    time; a classifier with a frozen trunk has asked for most of them before.
    """
    # Unlabelled videos may join training later.
    rows = np.union1d(prepared.rows["train"], unlabelled_rows(prepared, "rest"))
    bank = FeatureBank(trunk, prepared, FrozenSettings(), flip=False, seed=0)
    features = torch.zeros(len(prepared.bank), bank.dim)
    features[torch.from_numpy(rows)] = bank.centre(rows)
    return features


def selector_inputs(
    features: Tensor, prepared: PreparedData, matching: Matching, config: SelectorConfig
) -> Tensor:
    """What the Selector sees of videos: their features, followed by label agreement.

    Args:
        features: float32 `[N, F]`, of `all_features`.
        prepared: with the labels that agreement is about.
        matching: agreement is among the videos that may stand in a pair.
        config: of the Selector; without an agreement scale the features stay as they are.

    Returns:
        float32 `[N, config.input_dim]`; agreement is 0 for a video that stands in no pair.
    """
    if not config.agreement_scale:
        return features
    used = torch.from_numpy(matching.rows)
    column = torch.zeros(len(features), 1)
    column[used, 0] = agreement_among(matching.rows, features, prepared, config)
    return torch.cat([features, column], dim=1)


def agreement_among(
    rows: NDArray[np.int64], features: Tensor, prepared: PreparedData,
    config: SelectorConfig | None = None,
) -> Tensor:  # fmt: skip
    """Label agreement float32 `[n]` among the n bank rows `rows`.

    Args:
        rows: of training videos, int64 `[n]`.
        features: float32 `[N, F]`, of the bank.
        prepared: with labels and recordings.
        config: of a Selector that is to see it; one that an earlier version trained goes on seeing
            what it learned from.
    """
    used = torch.from_numpy(rows)
    recordings = torch.from_numpy(prepared.recordings)[used]
    if config is not None and config.agreement_across == "videos":
        recordings = torch.arange(len(used))
    return label_agreement(
        features[used], torch.from_numpy(prepared.source.labels)[used], recordings
    )


def label_vectors(matching: Matching, labels: str, num_classes: int) -> Tensor:
    """How each class enters the Selector: float32 `[C, E]`, name embeddings or one-hot rows."""
    if labels == "one-hot":
        return torch.eye(num_classes)
    return torch.from_numpy(matching.vectors)
