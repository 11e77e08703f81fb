"""Which pairs are composited: the best by a Selector, or as many at random, under the same caps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.engines import make_engine
from compositing.settings import EngineSettings
from l2a.errors import InputError
from l2a.progress import progress, say
from selector.caps import SelectionLimits, even_caps
from selector.rank import describe, select_random, select_top
from selector.settings import RankSettings
from train.prepared import Matching, PreparedData
from train.records import Choice
from train.trained_selector import SelectorWithTrunk
from train.video_values import keep_values

_SAMPLED = 2000
"""Pairs of the pool that are scored and kept for comparison with the chosen ones."""


@dataclass(frozen=True)
class Chooser:
    """Chooses pairs of one pool under one budget.

    Attributes:
        prepared, matching: the data set and its pool.
        rank: caps, balance and how pairs are scored.
        budget: how many pairs.
        seed: of what is drawn.
        drop_real: the share of the real training videos that a Selector's choice is without:
            those worth least to it.
    """

    prepared: PreparedData
    matching: Matching
    rank: RankSettings
    budget: int
    seed: int
    drop_real: float = 0.0

    def valued(self, path: Path, trained: SelectorWithTrunk, probe: float) -> Chooser:
        """Value the training videos, write the table of it to `path`, and leave out those worth
        least, if asked to.

        Args:
            path: of `videos.parquet`.
            trained: the Selector.
            probe: the share of videos that its stage one mislabelled on purpose; 0 for none.

        Returns:
            What chooses from the videos that are kept, as many pairs as their pool allows.

        Raises:
            InputError: no pair is left.
        """
        dropped = keep_values(
            path, trained, self.prepared, self.matching, self.seed, self.drop_real, probe
        )
        kept = self.matching.without(dropped, self.prepared)
        if len(kept.pool) == 0:
            raise InputError(
                f"--drop-real {self.drop_real:g} leaves no pair to composite; give a smaller share,"
                " or match more classes with --matches."
            )
        return replace(self, matching=kept, budget=min(self.budget, len(kept.pool)))

    def best(self, trained: SelectorWithTrunk, engine: EngineSettings) -> Choice:
        """The best pairs of the pool, and some to spare.

        Besides them some pairs of the whole pool, so that one sees what the chosen ones stand out
        from. The engine ray scores on its cluster; local scores here, on the Selector's device.
        """
        prepared, pool = self.prepared, self.matching.pool
        features, labels = trained.inputs(prepared, self.matching)
        with progress("select", "pairs") as report:
            selection = select_top(
                pool,
                trained.scorer(features, labels, self.rank.scoring),
                self.budget,
                self._limits(),
                spares=10 + self.budget // 20,
                # PyTorch takes all cores by itself: the engine local has nothing to add.
                executor=make_engine(engine) if engine.engine == "ray" else None,
                report=report,
            )
        say(describe(selection, prepared.videos.classes))
        sample, logits = self._sample(trained, features, labels)
        return Choice(selection, sample, logits)

    def at_random(self) -> NDArray[np.int64]:
        """As many pairs of the same pool under the same caps and balance: int64 `[budget, 2]`."""
        drawn = select_random(
            self.matching.pool,
            self.budget,
            np.random.default_rng([self.seed, 3]),
            self._limits(),
        )
        return drawn.pairs

    def _sample(
        self, trained: SelectorWithTrunk, features: Tensor, labels: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Pairs drawn uniformly from the pool, each once: int64 `[n, 2]`; their logits `[n]`."""
        pool, rng = self.matching.pool, np.random.default_rng([self.seed, 6])
        pairs = pool.pairs(rng.choice(len(pool), min(_SAMPLED, len(pool)), replace=False))
        # Their videos alone: a large pool's would be projected again, and here, not on the cluster.
        rows, within = np.unique(pairs, return_inverse=True)
        used = torch.from_numpy(rows)
        scores = trained.scorer(features[used], labels[used], self.rank.scoring)
        return pairs, scores(np.arange(len(pairs)), within.reshape(pairs.shape)).cpu()

    def _limits(self) -> SelectionLimits:
        """What bounds a choice from this pool, besides the budget."""
        foregrounds, backgrounds = self.matching.foregrounds, self.matching.backgrounds
        classes = self.prepared.source.labels
        able = [set(classes[side].tolist()) for side in (foregrounds, backgrounds)]
        matches = sum(
            match.foreground in able[0] and match.background in able[1]
            for match in self.matching.matches
        )
        caps = even_caps(self.budget, len(foregrounds), len(backgrounds), matches, self.rank)
        return SelectionLimits(
            classes, caps, self.prepared.recordings, self._weights(), self.matching.weights
        )

    def _weights(self) -> NDArray[np.int64] | None:
        """How the budget is split among the foreground classes, int64 `[C]`; None leaves it
        open."""
        count = len(self.prepared.videos.classes)
        if self.rank.balance == "none":
            if self.matching.weights is None:
                return None
            # To split what a foreground class gets, it must be known: as many as it has actors.
            actors = self.prepared.source.labels[self.matching.foregrounds]
            return np.bincount(actors, minlength=count)
        if self.rank.balance == "equal":
            return np.ones(count, dtype=np.int64)
        labels = self.prepared.source.labels[self.prepared.rows["train"]]
        return np.bincount(labels, minlength=count)


def resolve_budget(requested: int | None, prepared: PreparedData, matching: Matching) -> int:
    """The budget asked for, or a composite for each training clip as far as the pool goes.

    Raises:
        InputError: the pool holds fewer pairs than were asked for.
    """
    pool = len(matching.pool)
    if requested is None:
        return min(len(prepared.rows["train"]), pool)
    if requested > pool:
        raise InputError(
            f"The budget is {requested} pairs and the pool holds {pool}; lower --budget, or match "
            "more classes with --matches."
        )
    return requested
