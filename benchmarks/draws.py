"""Draws of pairs from pools, under the caps that every choice keeps to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selector.settings import RankSettings
from semantic_match.listed import ListedPool
from semantic_match.settings import MatchSettings
from train.choosing import PairChooser
from train.prepared import Matching, PreparedData, build_matching

Rows = NDArray[np.int64]


def listed_pairs(
    prepared: PreparedData, match: MatchSettings, rank: RankSettings, size: int, seed: int
) -> Rows:
    """At most `size` pairs of a pool, drawn under the caps: int64 `[n, 2]`."""
    matching = build_matching(prepared, match)
    count = min(size, len(matching.pool))
    return PairChooser(prepared, matching, rank, count, seed).at_random()


def among(prepared: PreparedData, match: MatchSettings, pairs: Rows) -> Matching:
    """A matching whose pool is those of some pairs that it allows, each once.

    So pools that share pairs share the features of their composites.
    """
    matching = build_matching(prepared, match)
    allowed = {(one.foreground, one.background) for one in matching.matches}
    classes = prepared.source.labels[pairs].tolist()
    fits = np.array([tuple(sides) in allowed for sides in classes], dtype=np.bool_)
    return replace(matching, pool=ListedPool(np.unique(pairs[fits], axis=0)))


def random_draws(
    prepared: PreparedData, matching: Matching, rank: RankSettings, budget: int, draws: int
) -> list[Rows]:
    """Independent draws of `budget` pairs of a pool under the caps: int64 `[budget, 2]` each."""
    budget = min(budget, len(matching.pool))
    return [
        PairChooser(prepared, matching, rank, budget, draw).at_random() for draw in range(draws)
    ]
