"""A picture of how alike the classes are, and of what was matched with what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.files import written_whole
from semantic_match.match import ClassMatch
from semantic_match.vectors import similarities

_VALUES_UP_TO = 24  # classes; beyond it numbers in the cells would not be readable


def draw_map(
    path: Path, classes: Sequence[str], vectors: NDArray[np.floating], matches: Sequence[ClassMatch]
) -> None:
    """Draw the similarity of all classes as a PNG, similar classes side by side.

    Rows are foreground classes, columns background classes; the chosen backgrounds of each row
    are framed. The diagonal has no colour: a class is like itself whatever the vectors, and its 1
    would take the contrast from the others. The picture grows with the number of classes, so that
    labels stay readable.

    Args:
        path: where the PNG goes, written whole.
        classes: C class names.
        vectors: [C, D], as given to `match_classes`.
        matches: what `match_classes` chose.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    count = len(classes)
    similarity = similarities(vectors)
    order = leaf_order(similarity)
    place = np.argsort(order)
    shown = np.ma.masked_array(similarity, np.eye(count, dtype=bool))[np.ix_(order, order)]
    low, high = (shown.min(), shown.max()) if count > 1 else (0.0, 1.0)

    cell = min(0.6, max(0.11, 15 / count))  # inches
    font = min(11.0, max(6.0, 72 * cell * 0.75))
    side = cell * count
    figure = Figure(figsize=(side + 1.0, side), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, side / (side + 1.0), 1.0))
    axes.set_facecolor("0.9")
    image = axes.imshow(shown, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    names = [classes[i] for i in order]
    axes.set_xticks(range(count), names, rotation=90, fontsize=font)
    axes.set_yticks(range(count), names, fontsize=font)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xlabel("background class", fontsize=font + 2)
    axes.set_ylabel("foreground class", fontsize=font + 2)

    # White on black shows on every colour of the map. Frames lie inside of their cells, so that
    # chosen neighbours do not seem to enclose a cell that was not chosen.
    line = max(2 * cell / 0.6, 0.9)  # points
    half = 0.5 - 2.25 * line / 2 / (72 * cell)
    corners = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    chosen = np.array([(m.background, m.foreground) for m in matches], np.int64).reshape(-1, 2)
    frames = list(place[chosen][:, None] + corners)
    for colour, width in (("black", 2.25 * line), ("white", line)):
        axes.add_collection(
            PolyCollection(frames, facecolor="none", edgecolor=colour, linewidth=width)
        )
    if count <= _VALUES_UP_TO:
        for (row, column), value in np.ma.ndenumerate(shown):
            if row != column:
                colour = "white" if value < (low + high) / 2 else "black"
                text = f"{value:.2f}"
                axes.text(
                    column, row, text, ha="center", va="center", color=colour, fontsize=font - 1
                )

    height = min(side, 4.0)
    bar = figure.add_axes(
        ((side + 0.25) / (side + 1.0), 1 - height / side, 0.2 / (side + 1.0), height / side)
    )
    figure.colorbar(image, cax=bar)
    bar.set_ylabel("cosine similarity of the class names", fontsize=9)
    with written_whole(path) as aside:
        # Without the software's version in it, the same picture has the same bytes.
        figure.savefig(aside, bbox_inches="tight", metadata={"Software": None})


def leaf_order(similarity: NDArray[np.floating]) -> list[int]:
    """An order of the classes in which similar ones are neighbours.

    Average-linkage clustering: the two most similar clusters are joined again and again, each
    time turned so that the ends that meet are as similar as they can be.

    Args:
        similarity: [C, C], symmetric.

    Returns:
        A permutation of 0..C-1.
    """
    linkage = similarity.astype(np.float64)
    np.fill_diagonal(linkage, -np.inf)
    clusters = {i: [i] for i in range(len(similarity))}
    while len(clusters) > 1:
        a, b = divmod(int(np.argmax(linkage)), len(linkage))
        left, right = clusters[a], clusters.pop(b)
        ends = [(left, right), (left, right[::-1]), (left[::-1], right), (left[::-1], right[::-1])]
        meeting = [similarity[first[-1], second[0]] for first, second in ends]
        first, second = ends[int(np.argmax(meeting))]
        joined = (linkage[a] * len(left) + linkage[b] * len(right)) / (len(left) + len(right))
        joined[a] = -np.inf
        linkage[a] = linkage[:, a] = joined
        linkage[b] = linkage[:, b] = -np.inf
        clusters[a] = first + second
    return next(iter(clusters.values()), [])
