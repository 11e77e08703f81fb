"""How far two rankings of pairs agree by chance, where the pairs share videos."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selector.reliability import class_rank_correlation

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

_PERMUTED = 200
"""Rankings by chance that are drawn: their spread is known to one part in twenty."""
_SWEEPS = 20


def chance_of_agreement(
    first: Tensor, second: Tensor, sides: Rows, classes: Rows, seed: int
) -> float:
    """Standard deviation of `class_rank_correlation` where two rankings have nothing in common.

    What a credit says of a recording it says of all pairs that hold it, so that many pairs of few
    recordings are few independent ones. `first` is taken apart into what it says of the recording
    of the actor, of that of the scene, and of the pair alone. Each part is dealt anew, that of
    actors and of pairs within the actor's class, that of scenes among all, and the sums are
    compared with `second`, again and again.

    Args:
        first, second: float [n], credit of the same pairs.
        sides: int64 [n, 2], recordings of actor and scene.
        classes: int64 [n], of the actors.
        seed: of the permutations.

    Returns:
        0 or more; infinite for fewer than two pairs of each class.
    """
    if len(classes) == 0 or np.bincount(classes).max() < 2:
        return float("inf")
    parts = _taken_apart(first.double().cpu().numpy(), sides, classes)
    actors = np.unique(sides[:, 0], return_inverse=True)[1].reshape(-1)
    scenes = np.unique(sides[:, 1], return_inverse=True)[1].reshape(-1)
    # A recording with clips of several classes is dealt with those of its first one.
    class_of_actor = classes[np.unique(actors, return_index=True)[1]]
    no_class = np.zeros(scenes.max() + 1, np.int64)
    rng = np.random.default_rng([seed, 13])
    drawn = [
        parts[0][_within(class_of_actor, rng)][actors]
        + parts[1][_within(no_class, rng)][scenes]
        + parts[2][_within(classes, rng)]
        for _ in range(_PERMUTED)
    ]
    by_chance = torch.from_numpy(np.stack(drawn, axis=1))
    others = second.double().cpu()[:, None].expand_as(by_chance)
    found = class_rank_correlation(by_chance, others, torch.from_numpy(classes))
    return float(found.square().mean().sqrt())


def _taken_apart(values: Values, sides: Rows, classes: Rows) -> tuple[Values, Values, Values]:
    """Least-squares parts of actors' recordings, of scenes', and of pairs, class means taken out.

    By turns each side takes the mean of what the others leave (backfitting, Breiman and Friedman
    1985).
    """
    rest = values - _means(values, classes)[classes]
    places = [np.unique(side, return_inverse=True)[1].reshape(-1) for side in sides.T]
    parts = [np.zeros(place.max() + 1) for place in places]
    for _ in range(_SWEEPS):
        for part, place in zip(parts, places, strict=True):
            rest = rest + part[place]
            part[:] = _means(rest, place)
            rest = rest - part[place]
    return parts[0], parts[1], rest


def _means(values: Values, places: Rows) -> Values:
    counts = np.bincount(places)
    return np.bincount(places, weights=values) / np.maximum(counts, 1)


def _within(groups: Rows, rng: np.random.Generator) -> Rows:
    """A permutation of the places of `groups` that leaves each in its group."""
    order = np.argsort(groups, kind="stable")
    found = np.empty(len(groups), np.int64)
    # Sorted by group alone, and within it at random.
    found[order] = np.lexsort((rng.random(len(groups)), groups))
    return found
