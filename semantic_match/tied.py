"""How far a pool of pairs ties scenes to actions: what a scene alone says of the actor's class.

A classifier takes the shortest way. Where every scene of a class comes with the actors of one other
class, the scene is enough to name them, and that is what it learns. With the nearest class alone
this is so for many scenes; with any classes, or independent ones, scenes say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.text import printable
from semantic_match.match import ClassMatch


@dataclass(frozen=True)
class SceneTie:
    """What scenes say of actors in some pairs.

    Attributes:
        largest: float64 [C], for each scene class the largest share of its pairs that the actors of
            one class have, 0..1; NaN where it is in no pair.
        information: I(actor class; scene class) in bits.
        share: the same, as a share of the smaller of the two entropies, 0..1: 0 where actors and
            scenes are independent, 1 where one gives the other away. 0 where there is one class.
        accuracy: how many actors' classes a classifier names right that sees the scene alone and
            has learned from these pairs: Σ_b p(b) max_f p(f | b), 0..1.
        chance: the same without the scene, max_f p(f): what independent pairs of these actors
            would give.
    """

    largest: NDArray[np.float64]
    information: float
    share: float
    accuracy: float
    chance: float

    @property
    def scenes(self) -> int:
        """How many scene classes are in any pair."""
        return int(np.isfinite(self.largest).sum())

    @property
    def tied(self) -> int:
        """How many scene classes come with the actors of one class only."""
        return int((self.largest == 1).sum())


def scene_tie(counts: NDArray[np.integer] | NDArray[np.floating]) -> SceneTie:
    """Measure what scenes say of actors.

    Args:
        counts: [C, C], 0 or more: pairs of each foreground class (row) with each background class
            (column), or what is expected of them in any unit.

    Returns:
        All zeros, without any scene class, where there is no pair.
    """
    counts = np.asarray(counts, np.float64)
    scenes, total = counts.sum(axis=0), float(counts.sum())
    best = counts.max(axis=0, initial=0.0)
    largest = np.where(scenes > 0, best / np.where(scenes > 0, scenes, 1.0), np.nan)
    if not total:
        return SceneTie(largest, 0.0, 0.0, 0.0, 0.0)
    shares = counts / total
    of_actors, of_scenes = shares.sum(axis=1), shares.sum(axis=0)
    entropies = _entropy(of_actors), _entropy(of_scenes)
    information = max(0.0, sum(entropies) - _entropy(shares.ravel()))
    return SceneTie(
        largest,
        information,
        min(1.0, information / min(entropies)) if min(entropies) > 1e-12 else 0.0,
        float(best.sum()) / total,
        float(of_actors.max()),
    )


def match_counts(
    classes: int,
    matches: Sequence[ClassMatch],
    foregrounds: NDArray[np.integer],
    backgrounds: NDArray[np.integer],
    weights: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """What of a budget each match can expect, before any pair is chosen.

    Without weights every match that has pairs counts the same: the cap on matches holds them to
    about an even share. With weights, a foreground class counts as much as it has videos.

    Args:
        classes: C.
        matches: which class goes with which.
        foregrounds, backgrounds: [C], how many videos of a class can lend their actors, and their
            backgrounds.
        weights: of `match.match_weights`.

    Returns:
        [C, C], of any sum.
    """
    expected = np.zeros((classes, classes))
    for match in matches:
        if foregrounds[match.foreground] and backgrounds[match.background]:
            expected[match.foreground, match.background] = 1.0
    if weights is None:
        return expected
    expected *= weights
    sums = np.maximum(expected.sum(axis=1, keepdims=True), 1e-300)
    result: NDArray[np.float64] = expected / sums * np.asarray(foregrounds)[:, None]
    return result


def tie_sentence(tie: SceneTie) -> str:
    """The note on scenes that give actors away; "" where no scene class is tied to one of several
    actor classes."""
    if not tie.tied or tie.chance >= 1:
        return ""
    verb = "comes" if tie.scenes == 1 else "come"
    return printable(
        f"{tie.tied} of {tie.scenes} scene classes {verb} with the actors of one class only: scenes"
        f" give {100 * tie.accuracy:.0f} % of the actors' classes away, independent pairs"
        f" {100 * tie.chance:.0f} %; --matches any ties none."
    )


def _entropy(shares: NDArray[np.float64]) -> float:
    """In bits."""
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())
