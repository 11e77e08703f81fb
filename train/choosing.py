"""Which pairs are composited: the best by a Selector, or as many at random, under the same caps."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.engines import make_engine
from compositing.settings import EngineSettings
from l2a.errors import InputError
from l2a.logs import say
from l2a.progress import progress
from selector.caps import Caps, SelectionLimits, even_caps
from selector.protocols import Scorer
from selector.rank import describe, select_random
from selector.score import StoredScorer
from selector.settings import RankSettings
from selector.sharpness import Sharpness, resolve_sharpness, score_all, select_drawn
from train.prepared import Matching, PreparedData
from train.records import ScoredChoice
from train.trained_selector import SelectorWithTrunk
from train.video_values import keep_values

_SAMPLED = 2000
"""Pairs of the pool that are scored and kept for comparison with the chosen ones."""
_STORED = 1 << 24
"""Scores of so many pairs are held in memory when they are asked for again."""
_AT_RANDOM, _OF_SELECTOR = 3, 7
"""Numbers that keep what is drawn for one purpose apart from the others."""


@dataclass(frozen=True)
class PairChooser:
    """Chooses pairs of one pool under one budget.

    Attributes:
        prepared, matching: the data set and its pool.
        rank: caps, balance and how pairs are scored.
        budget: how many pairs.
        seed: of what is drawn.
        drop_real: the share of the real training videos with a value that a Selector's choice is
            without: those worth least to it.
        caps_classes: whether foreground classes are capped, not their matches alone.

    Raises:
        InputError: the pool holds a video that is not of training.
    """

    prepared: PreparedData
    matching: Matching
    rank: RankSettings
    budget: int
    seed: int
    drop_real: float = 0.0
    caps_classes: bool = True

    def __post_init__(self) -> None:
        self.prepared.refuse_others(self.matching.rows)

    def valued(self, path: Path, trained: SelectorWithTrunk, probe: float) -> PairChooser:
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
        return self.without(dropped, path.with_name("selector"))

    def without(self, dropped: NDArray[np.int64], selector: Path | None = None) -> PairChooser:
        """What chooses from the other videos, as many pairs as their pool allows.

        Args:
            dropped: bank rows, int64.
            selector: where the run keeps the Selector that it trained, if it did.

        Raises:
            InputError: no pair is left.
        """
        kept = self.matching.without(dropped, self.prepared)
        if len(kept.pool) == 0:
            again = self.prepared.again
            if selector is not None and selector.is_dir():
                again += f" --selector {shlex.quote(str(selector))}"
            raise InputError(
                f"--drop-real {self.drop_real:g} leaves no pair to composite; as this run keeps "
                "its settings, give a smaller share, or match more classes with --matches, with "
                f"{again}, so that nothing is made again."
            )
        return replace(self, matching=kept, budget=min(self.budget, len(kept.pool)))

    def best(self, trained: SelectorWithTrunk, engine: EngineSettings) -> ScoredChoice:
        """The best pairs of the pool, or some drawn from the better ones, and some to spare.

        Besides them some pairs of the whole pool, so that one sees what the chosen ones stand out
        from. The engine ray scores on its cluster; local scores here, on the Selector's device.
        """
        sharpness = self.sharpness(trained)
        say(f"{sharpness}")
        features, labels = trained.inputs(self.prepared, self.matching)
        with progress("select", "pairs") as report:
            selection = select_drawn(
                self.matching.pool,
                trained.scorer(features, labels, self.rank.scoring),
                self.budget,
                self._limits(),
                sharpness.share,
                self._generator(_OF_SELECTOR, 0),
                spares=10 + self.budget // 20,
                # PyTorch takes all cores by itself: the engine local has nothing to add.
                executor=make_engine(engine) if engine.engine == "ray" else None,
                report=report,
            )
        say(describe(selection, self.prepared.videos.classes))
        sample, logits = self._sample(trained, features, labels)
        return ScoredChoice(selection, sample, logits, sharpness)

    def sharpness(self, trained: SelectorWithTrunk) -> Sharpness:
        """How sharp a choice by this Selector is."""
        card = trained.card
        return resolve_sharpness(
            self.rank.sharpness, card.reliability, card.recordings, card.reward,
            upside_down=card.upside_down,
        )  # fmt: skip

    def at_random(self) -> NDArray[np.int64]:
        """As many pairs of the same pool under the same caps and balance: int64 `[budget, 2]`."""
        return self.draws(1)[0]

    def draws(
        self, count: int, trained: SelectorWithTrunk | None = None
    ) -> list[NDArray[np.int64]]:
        """Independent choices under the budget, for an evaluation that must not hang on one.

        Args:
            count: how many. The first is that of `best`, or of `at_random`; each follows from the
                seed and its place.
            trained: chooses, as sharply as `sharpness` says; with the sharpness best all draws are
                the same pairs. None draws from the whole pool.

        Returns:
            int64 `[budget, 2]` each, rows (foreground, background).
        """
        pool, limits = self.matching.pool, self._limits()
        if trained is None:
            generators = (self._generator(_AT_RANDOM, draw) for draw in range(count))
            return [select_random(pool, self.budget, rng, limits).pairs for rng in generators]
        share = self.sharpness(trained).share
        scorer = self._stored(trained)
        drawn: list[NDArray[np.int64]] = []
        for draw in range(count):
            if drawn and not share:
                drawn.append(drawn[0])
                continue
            rng = self._generator(_OF_SELECTOR, draw)
            drawn.append(select_drawn(pool, scorer, self.budget, limits, share, rng).pairs)
        return drawn

    def _stored(self, trained: SelectorWithTrunk) -> Scorer:
        """What scores the pool, again and again: from memory where it fits."""
        pool = self.matching.pool
        scorer = trained.scorer(*trained.inputs(self.prepared, self.matching), self.rank.scoring)
        if len(pool) > _STORED:
            return scorer
        return StoredScorer(score_all(pool, scorer, np.arange(len(pool)))[0])

    def _generator(self, purpose: int, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, draw] if draw else [self.seed, purpose])

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

    @property
    def caps(self) -> Caps:
        """What one video, recording, class or match may take before a cap is doubled."""
        return self._limits().caps

    def _limits(self) -> SelectionLimits:
        """What bounds a choice from this pool, besides the budget."""
        foregrounds, backgrounds = self.matching.foregrounds, self.matching.backgrounds
        classes = self.prepared.source.labels
        able = [set(classes[side].tolist()) for side in (foregrounds, backgrounds)]
        able_matches = [
            match.foreground for match in self.matching.matches
            if match.foreground in able[0] and match.background in able[1]
        ]  # fmt: skip
        caps = even_caps(
            self.budget, len(foregrounds), len(backgrounds), len(able_matches), self.rank,
            len(set(able_matches)) if self.caps_classes else None,
        )  # fmt: skip
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
        clips = len(prepared.rows["train"])
        if pool < clips:
            say(
                f"warning: the pool holds {pool} pairs only, fewer than the {clips} training "
                "clips, because few videos are fit for it (unfit.csv says why) or few classes "
                "match; --segmenter mask-rcnn or masks:PATH finds more actors than motion does"
            )
        return min(clips, pool)
    if requested > pool:
        raise InputError(
            f"The budget is {requested} pairs and the pool holds {pool}; lower --budget, or match "
            "more classes with --matches."
        )
    return requested
