"""One mask as other programs write it ─► compressed COCO run lengths, looked at before use."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from compositing.run_lengths import run_lengths
from compositing.segmenters.mask_files.fields import brief, whole

_BYTES = re.compile(r"""b(['"])(.*)\1""")
_FAR = 10
"""A polygon may leave the frame by so many times its size: pycocotools cuts it off."""
_MAX_PERIMETER = 2**22
"""Pixels around all polygons of a mask; pycocotools takes 40 bytes for each of them."""


def run_length_text(entry: Any, height: int, width: int) -> str | None:
    """The run lengths of one frame's mask; None where the instance is not seen.

    Args:
        entry: run lengths as text, as text of Python's bytes (`b'...'`), or as a list of numbers;
            a list of polygons, each x, y, x, y, ...; or None.
        height, width: the size that the mask must have, in pixels.

    Raises:
        ValueError: it is not one of these, or does not fill a frame of that size.
    """
    if entry is None or entry == []:
        return None
    if isinstance(entry, list):
        return _filled_polygons(entry, height, width)
    if not isinstance(entry, dict) or "counts" not in entry:
        raise ValueError(f"a mask is {brief(entry)}, and neither run lengths nor polygons")
    _check_size(entry, height, width)
    counts = entry["counts"]
    if isinstance(counts, list):
        return _compressed(counts, height, width)
    if not isinstance(counts, str):
        raise ValueError(f"'counts' is {brief(counts)}, and neither text nor a list")
    if written := _BYTES.fullmatch(counts):
        # Run lengths have backslashes and no quotes, so that nothing else can be escaped.
        counts = written[2].replace("\\\\", "\\")
    run_lengths(counts, height, width)
    return counts


def _check_size(entry: dict[str, Any], height: int, width: int) -> None:
    size = entry.get("size", [height, width])
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"'size' is {brief(size)}, and not [height, width]")
    stated = tuple(whole({"size": side}, "size") for side in size)
    if stated != (height, width):
        raise ValueError(
            f"a mask has the size {stated[0]}x{stated[1]}, where the file says that the video has"
            f" {height}x{width} (height x width)"
        )


def _compressed(counts: list[Any], height: int, width: int) -> str:
    """COCO's text for a list of run lengths."""
    # Looked at one by one: a text among them would make an array of texts, of its length each.
    runs = np.array(counts) if all(type(run) is int for run in counts) else np.array("")
    pixels = height * width
    # The largest is looked at first: a sum of huge numbers wraps around.
    if (
        runs.dtype.kind != "i"  # nor what 64 bits do not hold
        or not runs.size
        or not 0 <= runs.min() <= runs.max() <= pixels
        or runs.sum() != pixels
    ):
        raise ValueError(f"run lengths {brief(counts)} do not fill {height}x{width} pixels")
    whole_mask = {"size": [height, width], "counts": runs.tolist()}
    return str(coco.frPyObjects(whole_mask, height, width)["counts"].decode("ascii"))


def _filled_polygons(entry: list[Any], height: int, width: int) -> str:
    """COCO's text for the pixels inside of any of the polygons, as pycocotools fills them."""
    rings = entry if isinstance(entry[0], list) else [entry]
    points = [_ring(ring, height, width) for ring in rings]
    around = sum(
        float(np.abs(np.diff(ring, axis=0, append=ring[:1])).max(axis=1).sum()) for ring in points
    )
    if around > min(4 * height * width, _MAX_PERIMETER):
        raise ValueError(f"polygons {around:.0f} pixels long in a frame of {height}x{width}")
    flat = [ring.ravel().tolist() for ring in points]
    merged = coco.merge(coco.frPyObjects(flat, height, width))
    return str(merged["counts"].decode("ascii"))


def _ring(ring: Any, height: int, width: int) -> NDArray[np.float64]:
    """One polygon's corners (x, y): float64 [n, 2], n >= 3."""
    numbers = isinstance(ring, list) and all(type(value) in (int, float) for value in ring)
    if not numbers or len(ring) < 6 or len(ring) % 2:
        raise ValueError(f"a polygon is {brief(ring)}, and not x, y of three points or more")
    try:
        points = np.array(ring, np.float64).reshape(-1, 2)
    except OverflowError:  # a whole number that no float can hold
        points = np.array([[np.inf, np.inf]])
    if not (np.abs(points) <= _FAR * np.array([width, height])).all():  # NaN neither
        raise ValueError(f"a polygon {brief(ring)} lies far outside of {height}x{width} pixels")
    return points
