"""Draws of pairs from pools, under the caps that every choice keeps to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selector.settings import RankSettings
from semantic_match.settings import MatchSettings
from train.advice.universe import ListedPool
from train.choosing import Chooser
from train.prepared import Matching, PreparedData, build_matching

Rows = NDArray[np.int64]


def listed_matching(
    prepared: PreparedData, match: MatchSettings, rank: RankSettings, size: int, seed: int
) -> Matching:
    """A pool of which only `size` pairs are left, drawn under the caps, or all if it has fewer.

    Args:
        prepared: the data set.
        match: which classes go together.
        rank: caps and balance.
        size: pairs that several draws are taken from.
        seed: of the draw.
    """
    matching = build_matching(prepared, match)
    count = min(size, len(matching.pool))
    listed = Chooser(prepared, matching, rank, count, seed).at_random()
    return replace(matching, pool=ListedPool(listed))


def random_draws(
    prepared: PreparedData, matching: Matching, rank: RankSettings, budget: int, draws: int
) -> list[Rows]:
    """Independent draws of `budget` pairs of a pool under the caps: int64 `[budget, 2]` each."""
    budget = min(budget, len(matching.pool))
    return [Chooser(prepared, matching, rank, budget, draw).at_random() for draw in range(draws)]
