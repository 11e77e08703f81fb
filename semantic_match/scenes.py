"""Whether the scenes of matched classes look alike: a cheap check of what names alone decided.

Names can be near and mean different places: a `swing` is hit at a ball or sat on. Clean backgrounds
tell, and they are there once the videos are prepared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2a.text import printable
from l2a.turns import in_turns
from l2a.videos import counted
from semantic_match.match import ClassMatch

NEAR = 0.5
"""The similarity of names from which two classes are taken to be of one kind of place."""

APART = 0.9
"""The share of all pairs of classes whose scenes are more alike than those of an unlike match."""

_BANDS = 3  # of a picture's height: sky, walls, ground
_LEVELS = 4  # of each colour
_DIRECTIONS = 8
_FEWEST = 4  # recordings of a class, below which nothing is said of its scenes
_FEWEST_CLASSES = 5
_OF_CLASS, _IN_ALL = 20, 4000


@dataclass(frozen=True, slots=True)
class UnlikeMatch:
    """A match whose names are near and whose scenes are not.

    Attributes:
        match: the classes, and how near their names are.
        distance: how far their scenes are apart, in within-class spreads: 1 is no farther than
            two recordings of one class.
        rank: the share of all pairs of classes whose scenes are more alike, 0..1.
    """

    match: ClassMatch
    distance: float
    rank: float


def scene_descriptor(background: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What colours a scene has, and which directions its edges, at three heights.

    Args:
        background: uint8 [H, W, 3], RGB: a clean background, or the mean of several.

    Returns:
        float32 [216], of length 1: square roots of the shares of 64 colours and 8 directions of
        edges in each third of the height (216 = 3 x 72), so that the Euclidean distance of two is
        √2 times their Hellinger distance.
    """
    grey = background.astype(np.float32).mean(axis=2)
    down, right = np.gradient(grey)
    strength = np.hypot(down, right)
    turn = np.mod(np.arctan2(down, right), np.pi) / np.pi  # 0..1, without a sign
    direction = np.minimum((turn * _DIRECTIONS).astype(np.int64), _DIRECTIONS - 1)
    level = background.astype(np.int64) * _LEVELS // 256
    colour = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    parts = []
    for rows in np.array_split(np.arange(len(grey)), _BANDS):
        colours = np.bincount(colour[rows].ravel(), minlength=_LEVELS**3).astype(np.float64)
        edges = np.bincount(direction[rows].ravel(), strength[rows].ravel(), minlength=_DIRECTIONS)
        parts += [each / max(each.sum(), 1e-9) for each in (colours, edges)]
    roots = np.sqrt(np.concatenate(parts))
    return (roots / max(np.linalg.norm(roots), 1e-9)).astype(np.float32)


def sample_rows(
    labels: NDArray[np.integer], recordings: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Which videos to compare: a few of each class, one of each recording before a second one of
    any, int64, ascending.

    At most 20 of a class and about 4,000 in all, so that their distances fit into the memory.
    """
    each = min(_OF_CLASS, max(_FEWEST, _IN_ALL // max(classes, 1)))
    chosen = []
    for index in range(classes):
        own = np.flatnonzero(labels == index)
        turns = in_turns(own.tolist(), lambda row: int(recordings[row]))
        chosen.append(np.array(turns[:each], dtype=np.int64))
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def scene_distances(
    descriptors: NDArray[np.floating], labels: NDArray[np.integer],
    recordings: NDArray[np.int64], classes: int,
) -> NDArray[np.float64]:  # fmt: skip
    """How far the scenes of each two classes are apart, against the spread within them.

    Args:
        descriptors: [N, D], `scene_descriptor` of each video.
        labels: [N], the class index of each video, 0 ≤ label < classes.
        recordings: [N], what each was cut from: clips of one show one scene.
        classes: C.

    Returns:
        [C, C], symmetric: the mean distance between videos of the two classes, divided by the mean
        of their mean distances within, between videos of different recordings; NaN where a class
        has fewer than four recordings, and on the diagonal.
    """
    points = descriptors.astype(np.float64)
    squares = (points**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0))
    member = np.eye(classes)[labels]  # [N, C]
    count = member.sum(axis=0)
    sums = member.T @ apart @ member
    sums = (sums + sums.T) / 2  # to the last bit
    between = sums / np.maximum(np.outer(count, count), 1)
    own = [np.flatnonzero(labels == index) for index in range(classes)]
    within = np.array([_within(apart[np.ix_(rows, rows)], recordings[rows]) for rows in own])
    spread = (within[:, None] + within) / 2
    result = between / np.maximum(spread, 1e-9)
    few = np.array([len(np.unique(recordings[rows])) < _FEWEST for rows in own])
    result[few] = result[:, few] = np.nan
    np.fill_diagonal(result, np.nan)
    return result


def _within(apart: NDArray[np.float64], recordings: NDArray[np.int64]) -> float:
    """The mean distance between videos of different recordings; 0 where there is one."""
    different = recordings[:, None] != recordings
    return float(apart[different].mean()) if different.any() else 0.0


def unlike_matches(
    descriptors: NDArray[np.floating],
    labels: NDArray[np.integer],
    recordings: NDArray[np.int64],
    classes: int,
    matches: Sequence[ClassMatch],
) -> list[UnlikeMatch]:
    """Matches whose names are near (`NEAR`) and whose scenes are among the most unlike (`APART`).

    Args:
        descriptors, labels, recordings, classes: as `scene_distances` takes them.
        matches: what `match.match_classes` chose.

    Returns:
        The most unlike first; none where fewer than five classes can be compared.
    """
    distances = scene_distances(descriptors, labels, recordings, classes)
    known = np.sort(distances[np.triu_indices(classes, 1)])
    known = known[np.isfinite(known)]
    if len(known) < _FEWEST_CLASSES * (_FEWEST_CLASSES - 1) // 2:
        return []
    found = []
    for match in matches:
        distance = float(distances[match.foreground, match.background])
        rank = float(np.searchsorted(known, distance) / len(known))
        if match.similarity >= NEAR and np.isfinite(distance) and rank >= APART:
            found.append(UnlikeMatch(match, distance, rank))
    return sorted(found, key=lambda each: -each.distance)


def unlike_sentence(classes: Sequence[str], unlike: Sequence[UnlikeMatch]) -> str:
    """The note on matches whose scenes do not bear out their names; "" if there are none."""
    if not unlike:
        return ""
    shown = ", ".join(
        f"{classes[each.match.foreground]} with {classes[each.match.background]}"
        for each in unlike[:3]
    )
    more = ", …" if len(unlike) > 3 else ""
    return printable(
        f"{counted(len(unlike), 'match', 'matches')} of near names and unlike scenes"
        f" ({shown}{more}); look at matches.png and the contact sheet, and leave out what means"
        " something else by a YAML file of your own."
    )
