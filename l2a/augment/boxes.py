"""Boxes in space and time: how they are drawn, clamped, rounded and counted. Plain integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Literal, NamedTuple

Axes = Literal["space", "time", "cube"]
"""The axes along which a box ends inside the clip; along the others it spans all of it."""

Span = tuple[int, int]
Size = tuple[int, int, int]

_CUT: dict[Axes, tuple[int, ...]] = {"space": (1, 2), "time": (0,), "cube": (0, 1, 2)}


class Box(NamedTuple):
    """A cuboid of whole pixels: along each axis the first, and the one after the last."""

    time: Span
    rows: Span
    columns: Span

    @property
    def volume(self) -> int:
        """How many pixels (of one channel) it holds; 0 when it is empty."""
        return math.prod(max(end - start, 0) for start, end in self)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index a tensor [..., T, H, W]: `clip[:, *box.slices]`."""
        time, rows, columns = (slice(start, end) for start, end in self)
        return time, rows, columns


def whole(size: Size) -> Box:
    """The box that is all of a clip of (T, H, W)."""
    frames, height, width = size
    return Box((0, frames), (0, height), (0, width))


def span(centre: float, length: float, size: int) -> Span:
    """The pixels of `length` about `centre`, clamped to 0..size; ends go to the nearest whole one.

    VideoMix Algorithm 1, lines 8 to 20: x1, x2 = clip(x_c ∓ length / 2). Printed there is clip(x) =
    min(max(x, W), 0), which is always 0; meant is min(max(x, 0), W).
    """
    start, end = (min(max(x, 0.0), size) for x in (centre - length / 2, centre + length / 2))
    return math.floor(start + 0.5), math.floor(end + 0.5)


def box_around(
    centre: tuple[float, float, float], lengths: tuple[float, float, float], size: Size
) -> Box:
    """The box of `lengths` about `centre`, clamped to a clip of `size`; all as (t, y, x)."""
    time, rows, columns = (
        span(c, length, n) for c, length, n in zip(centre, lengths, size, strict=True)
    )
    return Box(time, rows, columns)


def box_of_share(axes: Axes, share: float, centre: tuple[float, float, float], size: Size) -> Box:
    """The box of `share` of the clip, before it is clamped: the same share λ^(1/n) of each of the n
    axes it is cut along (√λ in space, λ in time, ∛λ in both), all of the others.

    VideoMix Algorithm 1, lines 7 to 20.
    """
    cut = _CUT[axes]
    side = share ** (1 / len(cut))
    middle = tuple(centre[i] if i in cut else n / 2 for i, n in enumerate(size))
    lengths = tuple(side * n if i in cut else float(n) for i, n in enumerate(size))
    return box_around((middle[0], middle[1], middle[2]), (lengths[0], lengths[1], lengths[2]), size)


def draw_centre(draws: Random, size: Size) -> tuple[float, float, float]:
    """A place uniform over the clip, (t, y, x)."""
    frames, height, width = size
    return draws.uniform(0, frames), draws.uniform(0, height), draws.uniform(0, width)


def intersection(first: Box, second: Box) -> Box:
    """What two boxes share; may be empty."""
    time, rows, columns = (
        (max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(first, second, strict=True)
    )
    return Box(time, rows, columns)


@lru_cache(maxsize=64)  # one plan often serves every clip of a batch
def visible_volumes(boxes: tuple[Box, ...]) -> tuple[int, ...]:
    """How many pixels of each box are seen when they are pasted in this order: exact."""
    return tuple(
        box.volume - union_volume([intersection(box, later) for later in boxes[i + 1 :]])
        for i, box in enumerate(boxes)
    )


def union_volume(boxes: Sequence[Box]) -> int:
    """How many pixels at least one of the boxes holds."""
    return sum(visible_volumes(tuple(box for box in boxes if box.volume)))
