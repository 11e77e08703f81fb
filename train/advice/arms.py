"""The arms of an advice: pools of pairs and label rules, on folds of training recordings.

Every clip is measured by heads that have not seen its recording, and every pair of a fold holds
only videos that its heads may see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.settings import LabelRule
from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError
from l2a.progress import progress
from l2a.videos import counted
from selector.settings import RankSettings
from semantic_match.listed import ListedPool
from semantic_match.settings import MatchSettings
from train.advice.looking import Folds
from train.advice.scenes import HeldOutScenes
from train.advice.study import Fitted, Study
from train.choosing import PairChooser
from train.frozen.features import FeatureBank
from train.prepared import Matching, PreparedData, build_matching

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

RULES: tuple[LabelRule, ...] = ("actor", "mixed")
NONE = "none"
"""The arm that has seen real clips alone."""

_MOST = 300
"""Real clips that the number of composites goes by: of larger data sets a sample is enough."""
_SHARED = 3
"""Pairs of any classes, which several pools draw from, for each real clip."""
_OWN = 2
"""The same for a pool with pairs of its own."""
_SPARED = 2 / 3
"""A draw takes at most this share of what there is, or all draws would be the same."""
_FEWEST = 10
"""Pairs in a fold below which a pool is not measured."""
_DRAWN = 2
"""Counts how pairs are drawn: heads of an earlier way are fitted again. The first had no cap on
foreground classes."""
_START = 10**-2.5
"""Where the search for the first strength begins."""


@dataclass(frozen=True)
class Drawable:
    """A pool of which some pairs were drawn once; every draw is from these.

    Attributes:
        name: the pool, as --matches takes it.
        matching: its matches of classes.
        pairs: int64 `[n, 2]`, bank rows, each pair once.
    """

    name: str
    matching: Matching
    pairs: Rows

    def within(self, rows: Rows) -> Matching:
        """The pool of those pairs both of whose videos are among `rows`."""
        own = self.matching
        return replace(
            own,
            foregrounds=own.foregrounds[np.isin(own.foregrounds, rows)],
            backgrounds=own.backgrounds[np.isin(own.backgrounds, rows)],
            pool=ListedPool(self.pairs[np.isin(self.pairs, rows).all(axis=1)]),
        )


def drawable_pools(
    prepared: PreparedData, names: Sequence[str], seed: int
) -> tuple[list[Drawable], dict[str, str]]:
    """Draw the pairs whose composites are worth making.

    Pools of any classes share theirs, as far as their matches allow.

    Returns:
        The pools, and for those that cannot be: name ─► why.
    """
    found, refused = [], {}
    shared: Rows | None = None
    clips = min(_MOST, len(prepared.rows["train"]))
    for name in names:
        try:
            matching = build_matching(prepared, MatchSettings(matches=name))
        except InputError as error:
            refused[name] = str(error)
            continue
        if not _of_any_classes(name):
            pairs = _drawn(prepared, matching, _OWN * clips, seed)
        else:
            if shared is None:
                every = matching
                if name != "any":
                    every = build_matching(prepared, MatchSettings(matches="any"))
                shared = _drawn(prepared, every, _SHARED * clips, seed)
            pairs = _allowed(prepared, matching, shared)
        found.append(Drawable(name, matching, np.unique(pairs, axis=0)))
    return found, refused


def _of_any_classes(name: str) -> bool:
    return name in ("any", "all", "independent") or name.startswith("weighted")


def _drawn(prepared: PreparedData, matching: Matching, size: int, seed: int) -> Rows:
    count = min(size, len(matching.pool))
    return PairChooser(prepared, matching, RankSettings(), count, seed).at_random()


def _allowed(prepared: PreparedData, matching: Matching, pairs: Rows) -> Rows:
    allowed = {(match.foreground, match.background) for match in matching.matches}
    classes = prepared.source.labels[pairs].tolist()
    return pairs[np.array([tuple(sides) in allowed for sides in classes], dtype=np.bool_)]


@dataclass(frozen=True)
class Arm:
    """What a head may be fitted to besides real clips.

    Attributes:
        pool: of pairs; None for real clips alone.
        rule: the label rule.
    """

    pool: Drawable | None = None
    rule: LabelRule = "actor"

    @property
    def name(self) -> str:
        """Such as "any | actor"."""
        return NONE if self.pool is None else f"{self.pool.name} | {self.rule}"


@dataclass(frozen=True)
class HeldOut:
    """What the heads of an arm say of clips whose recording they have not seen.

    Attributes:
        arm: which.
        probabilities: float64 `[n, C]`, means over draws, of the rows of `Folds.measured`.
        right: float64 `[n]`, the share of draws that is right.
        losses: float64 `[n]`, mean cross-entropy, in nats.
        scenes: figure ─► float64 `[m]` by clip of the scene test; see `HeldOutScenes`.
        strengths: that of each fold.
    """

    arm: Arm
    probabilities: Values
    right: Values
    losses: Values
    scenes: Mapping[str, Values]
    strengths: tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """All that arms share.

    Attributes:
        prepared, bank, folds: the data, its features, its folds.
        scenes: held-out actors on other scenes; None where there are none.
        draws: of pairs.
        seed: of draws.
        folder: where what was measured is kept.
    """

    prepared: PreparedData
    bank: FeatureBank
    folds: Folds
    scenes: HeldOutScenes | None
    draws: int
    seed: int
    folder: Path

    def measure(self, pools: Sequence[Drawable]) -> tuple[dict[str, HeldOut], dict[str, str]]:
        """Fit and measure every arm in every fold; what was measured before is read.

        Returns:
            Name of the arm ─► what it says, real clips alone first; and pool ─► why it was not
            measured.
        """
        refused = {}
        able = []
        for pool in pools:
            fewest = min(
                len(pool.within(self.folds.sides(fold).fit).pool)
                for fold in range(len(self.folds.parts))
            )
            if fewest < _FEWEST:
                refused[pool.name] = (
                    f"a fold has {counted(fewest, 'pair')} of it, and {_FEWEST} are needed"
                )
            else:
                able.append(pool)
        arms = [Arm(), *(Arm(pool, rule) for pool in able for rule in RULES)]
        kept: dict[str, list[dict[str, Tensor]]] = {arm.name: [] for arm in arms}
        with progress("advice", "heads") as report:
            total, done = len(arms) * len(self.folds.parts), 0
            for fold in range(len(self.folds.parts)):
                near = _START
                for number, arm in enumerate(arms):
                    found = self._kept(fold, number, arm, near)
                    near = float(found["l2"]) if arm.pool is None else near
                    kept[arm.name].append(found)
                    done += 1
                    report(done, total)
        return {arm.name: self._joined(arm, kept[arm.name]) for arm in arms}, refused

    def _kept(self, fold: int, number: int, arm: Arm, near: float) -> dict[str, Tensor]:
        path = self.folder / f"fold-{fold}-arm-{number}.safetensors"
        mark = arm.name if arm.pool is None else f"{arm.name}, {_DRAWN}"
        if path.is_file():
            found, made = load_tensors(path)
            if made == mark:
                return found
        sides = self.folds.sides(fold)
        study = Study(self.prepared, self.bank, sides, near=near, tried=1)
        fitted = self._fit(study, arm, sides.fit)
        found = self._measured(fitted, fold)
        save_tensors(path, found, mark)
        return found

    def _fit(self, study: Study, arm: Arm, fit: Rows) -> Fitted:
        if arm.pool is None:
            return study.real_alone()
        matching = arm.pool.within(fit)
        budget = min(len(fit), _MOST, math.ceil(_SPARED * len(matching.pool)))
        chooser = PairChooser(self.prepared, matching, RankSettings(), budget, self.seed)
        return study.with_pairs(chooser.draws(self.draws), arm.rule)

    def _measured(self, fitted: Fitted, fold: int) -> dict[str, Tensor]:
        rows = self.folds.parts[fold]
        features = self.bank.centre(rows)
        truth = torch.from_numpy(self.prepared.source.labels[rows])
        logs = torch.stack([head.logits(features).log_softmax(1) for head in fitted.heads])
        own = truth[None, :, None].expand(len(logs), -1, 1)
        found = {
            "probabilities": logs.exp().mean(0),
            "right": (logs.argmax(2) == truth).double().mean(0),
            "losses": -logs.gather(2, own).squeeze(2).mean(0),
            "l2": torch.tensor(fitted.l2, dtype=torch.float64),
        }
        if self.scenes is not None:
            found |= self.scenes.measure(fitted.heads, fold)
        return found

    def _joined(self, arm: Arm, parts: list[dict[str, Tensor]]) -> HeldOut:
        scenes = {} if self.scenes is None else self.scenes.joined(parts)
        whole = {
            name: torch.cat([part[name] for part in parts]).numpy()
            for name in ("probabilities", "right", "losses")
        }
        strengths = tuple(float(part["l2"]) for part in parts)
        return HeldOut(arm, **whole, scenes=scenes, strengths=strengths)
