"""A picture of how alike the classes are, and of what was matched with what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from l2a.files import atomic_write
from l2a.text import shortened
from semantic_match.match import ClassMatch
from semantic_match.vectors import similarities

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MaskedMap: TypeAlias = "np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]"
"""Similarities in the order of the map, [C, C], without the diagonal."""

_VALUES_UP_TO = 24  # classes; beyond it numbers in the cells would not be readable
_NAMES_UP_TO = 120  # classes; beyond it not every one can be named on a screen
_MAP_PIXELS = 1500  # for the map of many classes
_DPI = 100


def draw_map(
    path: Path, classes: Sequence[str], vectors: NDArray[np.floating], matches: Sequence[ClassMatch]
) -> None:
    """Draw the similarity of all classes as a PNG, similar classes side by side.

    Rows are foreground classes, columns background classes; the chosen backgrounds of each row
    are framed. The diagonal has no colour: a class is like itself whatever the vectors, and its 1
    would take the contrast from the others. Up to 120 classes the picture grows so that all labels
    can be read; of more it is an overview, in which every so many classes are named, cells are
    means where there are more of them than pixels, and what was chosen is a white dot.

    Args:
        path: where the PNG goes, written whole; at most about 2,000 pixels wide and high.
        classes: C class names, drawn as plain text.
        vectors: [C, D], as given to `match_classes`.
        matches: what `match_classes` chose.
    """
    similarity = similarities(vectors)
    order = leaf_order(similarity)
    place = np.argsort(order)
    names = [shortened(classes[i]) for i in order]
    chosen = np.array([(m.background, m.foreground) for m in matches], np.int64).reshape(-1, 2)
    shown = np.ma.masked_array(similarity, np.eye(len(classes), dtype=bool))[np.ix_(order, order)]
    few = len(classes) <= _NAMES_UP_TO
    figure = _map_of_few(shown, names, place[chosen]) if few else _overview(
        shown, names, place[chosen]
    )  # fmt: skip
    with atomic_write(path) as aside:
        # Without the software's version in it, the same picture has the same bytes.
        figure.savefig(aside, bbox_inches="tight", metadata={"Software": None})


def _map_of_few(shown: MaskedMap, names: Sequence[str], chosen: NDArray[np.int64]) -> Figure:
    """Every class named, every chosen cell framed; `chosen` are (column, row) on the map."""
    from matplotlib.collections import PolyCollection

    count = len(names)
    low, high = (shown.min(), shown.max()) if count > 1 else (0.0, 1.0)
    cell = min(0.6, max(0.11, 15 / count))  # inches
    font = min(11.0, max(6.0, 72 * cell * 0.75))
    figure, axes = _axes(cell * count, range(count), names, font)
    image = axes.imshow(shown, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")

    # White on black shows on every colour of the map. Frames lie inside of their cells, so that
    # chosen neighbours do not seem to enclose a cell that was not chosen.
    line = max(2 * cell / 0.6, 0.9)  # points
    half = 0.5 - 2.25 * line / 2 / (72 * cell)
    corners = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    frames = list(chosen[:, None] + corners)
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
    _add_bar(figure, image, cell * count)
    return figure


def _overview(shown: MaskedMap, names: Sequence[str], chosen: NDArray[np.int64]) -> Figure:
    """The whole map in a picture of fixed size; `chosen` are (column, row) on the map."""
    count, side = len(names), _MAP_PIXELS / _DPI
    block = -(-count // _MAP_PIXELS)  # classes to a pixel
    ticks = range(0, count, -(-count // _NAMES_UP_TO))
    figure, axes = _axes(side, ticks, [names[tick] for tick in ticks], 7.5)
    image = axes.imshow(
        _block_means(shown, block), cmap="viridis", interpolation="nearest",
        extent=(-0.5, count - 0.5, count - 0.5, -0.5),
    )  # fmt: skip
    # As an image, since a drawn mark for each of a million matches would fill the memory.
    bins = -(-count // max(block, -(-count // (_MAP_PIXELS // 3))))
    marks = np.zeros((bins, bins, 4))
    where = chosen * bins // count
    marks[where[:, 1], where[:, 0]] = (1, 1, 1, min(1.0, 0.25 + 2 * count / max(len(chosen), 1)))
    axes.imshow(marks, interpolation="nearest", extent=(-0.5, count - 0.5, count - 0.5, -0.5))
    _add_bar(figure, image, side)
    return figure


def _axes(
    side: float, ticks: Sequence[int], names: Sequence[str], font: float
) -> tuple[Figure, Axes]:
    """A square of `side` inches with named rows and columns, and room for a bar next to it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side + 1.0, side), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, side / (side + 1.0), 1.0))
    axes.set_facecolor("0.9")
    # A `$` in a name is not a formula.
    axes.set_xticks(ticks, names, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=font, parse_math=False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xlabel("background class", fontsize=font + 2)
    axes.set_ylabel("foreground class", fontsize=font + 2)
    return figure, axes


def _add_bar(figure: Figure, image: AxesImage, side: float) -> None:
    height = min(side, 4.0)
    bar = figure.add_axes(
        ((side + 0.25) / (side + 1.0), 1 - height / side, 0.2 / (side + 1.0), height / side)
    )
    figure.colorbar(image, cax=bar)
    bar.set_ylabel("cosine similarity of the class names", fontsize=9)


def _block_means(shown: MaskedMap, block: int) -> MaskedMap:
    """Means of `block` x `block` cells; those at the far edges may be of fewer."""
    if block == 1:
        return shown
    starts = np.arange(0, len(shown), block)
    sums, counts = shown.filled(0.0), (~np.ma.getmaskarray(shown)).astype(np.float64)
    for axis in (0, 1):
        sums, counts = (np.add.reduceat(each, starts, axis=axis) for each in (sums, counts))
    return np.ma.masked_array(sums / np.maximum(counts, 1.0), counts == 0)


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
    # The best partner of each cluster is kept, so that a step looks at few rows and not at all.
    nearest = linkage.argmax(axis=1) if len(linkage) else np.zeros(0, np.int64)
    best = linkage[np.arange(len(linkage)), nearest]
    while len(clusters) > 1:
        a = int(np.argmax(best))
        b = int(nearest[a])
        left, right = clusters[a], clusters.pop(b)
        ends = [(left, right), (left, right[::-1]), (left[::-1], right), (left[::-1], right[::-1])]
        meeting = [similarity[first[-1], second[0]] for first, second in ends]
        first, second = ends[int(np.argmax(meeting))]
        joined = (linkage[a] * len(left) + linkage[b] * len(right)) / (len(left) + len(right))
        joined[a] = -np.inf
        linkage[a] = linkage[:, a] = joined
        linkage[b] = linkage[:, b] = -np.inf
        clusters[a] = first + second
        stale = np.flatnonzero((nearest == a) | (nearest == b) | (linkage[:, a] >= best))
        stale = np.union1d(stale, (a, b))
        nearest[stale] = linkage[stale].argmax(axis=1)
        best[stale] = linkage[stale, nearest[stale]]
    return next(iter(clusters.values()), [])
