"""What a reader of mask files gives: entries, one for each video of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from compositing.masks import VideoMasks

UNNAMED = "object"
"""Category of what a file gives none to; no person, so that `--humans-only` leaves it out."""

MAX_PIXELS = 2**26
"""No frame of masks has more pixels: 8K video has half of them."""


class Entry(Protocol):
    """One video as a mask file has it. Nothing is decoded before `masks` is called."""

    @property
    def name(self) -> str:
        """The video's name in the file, with forward slashes, with or without a suffix."""
        ...

    @property
    def count(self) -> int:
        """How many frames have a place in the file."""
        ...

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The number that the file gives each of these frames, ascending; None if it gives none.

        The first frame of a video has the number 0 or 1, for all videos of the file.
        """
        ...

    def masks(self, frames: Sequence[int]) -> VideoMasks:
        """The masks of these frames, in order, at their own size.

        Args:
            frames: 0 <= frame < count, or -1 for a frame of the video that has no masks.

        Raises:
            ValueError: something is wrong with this video's masks; the message says what.
        """
        ...


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry with which nothing can be done, and why."""

    name: str
    problem: str
    count: int = 0
    numbers: tuple[int, ...] | None = None

    def masks(self, frames: Sequence[int]) -> VideoMasks:
        """Raises the problem."""
        raise ValueError(self.problem)


def checked_size(height: int, width: int) -> tuple[int, int]:
    """Both, if a mask may have that size; `ValueError` if not."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"its masks have the impossible size {height}x{width}")
    return height, width


def picked(values: Sequence[object], frames: Sequence[int]) -> Iterator[object]:
    """`values` of these frames; None for -1."""
    return (None if frame < 0 else values[frame] for frame in frames)
