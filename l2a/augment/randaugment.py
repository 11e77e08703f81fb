"""RandAugment on clips, in space alone or with magnitudes that change over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from l2a.augment.base import Augmentation, Batch, check_share
from l2a.augment.operations import GEOMETRIC, OPERATIONS
from l2a.errors import InputError

Variation = Literal["temporal", "temporal+", "mix"]
Course = Literal["spatial", "temporal", "temporal+"]
"""How the magnitudes of one clip run over its frames; "spatial" keeps them."""

LARGEST = 30
"""The largest magnitude."""


class Step(NamedTuple):
    """An operation with its magnitude in the first and in the last frame, -30..30."""

    operation: str
    first: float
    last: float


def run_steps(
    clip: Tensor, mask: Tensor | None, steps: Sequence[Step]
) -> tuple[Tensor, Tensor | None]:
    """Apply operations one after the other, magnitudes linear from the first frame to the last.

    Args:
        clip: [3, T, H, W], uint8, or float in 0..1.
        mask: bool [T, H, W] or None: it goes where the pixels go.

    Returns:
        A clip of the same type, new memory, and its mask.
    """
    whole_numbers = clip.dtype == torch.uint8
    frames = clip.float() if whole_numbers else clip.float() * 255
    for name, first, last in steps:
        operation = OPERATIONS[name]
        levels = _linear(first / LARGEST, last / LARGEST, clip.shape[1])
        frames = operation.run(frames, levels)
        if mask is not None and name in GEOMETRIC:
            moved = mask.float().expand(3, -1, -1, -1)
            mask = operation.run(moved, levels)[0] > 0.5
    if whole_numbers:
        return (frames + 0.5).to(torch.uint8), mask
    return (frames / 255).to(clip.dtype), mask


def _linear(first: float, last: float, frames: int) -> list[float]:
    """From `first` to `last`; in a clip of one frame the mean of both."""
    if frames == 1:
        return [(first + last) / 2]
    return [first + (last - first) * t / (frames - 1) for t in range(frames)]


def draw_steps(settings: RandAugment | RandAugmentT, course: Course, draws: Random) -> list[Step]:
    """N operations with both magnitudes: the same two for all operations, the sign drawn for each.

    Kim et al. 2020, Fig. 2 (magnitudes once a clip) and §4.2 (their ranges).
    """
    top = settings.magnitude
    first, last = top, top
    if course == "temporal":
        first = draws.uniform(min(0.1, top), top)
    elif course == "temporal+":
        spread = draws.uniform(0, settings.delta * top if isinstance(settings, RandAugmentT) else 0)
        first, last = top - spread, min(top + spread, LARGEST)
    steps = []
    for name in draws.choices(list(OPERATIONS), k=settings.operations):
        sign = -1 if OPERATIONS[name].signed and draws.random() < 0.5 else 1
        steps.append(Step(name, sign * first, sign * last))
    return steps


def _augmented(
    settings: RandAugment | RandAugmentT,
    courses: Sequence[Course],
    batch: Batch,
    draws: Random,
) -> Batch:
    """Every clip by its own draws, the course chosen among `courses`."""
    count = len(batch.clips)
    plans = [
        draw_steps(settings, draws.choice(list(courses)), draws)
        if draws.random() < settings.probability
        else None
        for _ in range(count)
    ]
    if not any(plans):
        return batch
    clips = torch.empty_like(batch.clips)
    masks = None if batch.masks is None else torch.empty_like(batch.masks)
    for i, plan in enumerate(plans):
        mask = None if batch.masks is None else batch.masks[i]
        clips[i], moved = run_steps(batch.clips[i], mask, plan) if plan else (batch.clips[i], mask)
        if masks is not None and moved is not None:
            masks[i] = moved
    return Batch(clips, batch.labels, masks)


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """RandAugment in space: the same operations, equally strong, in every frame (Cubuk et al. 2020;
    VideoMix, §3.1).

    Float clips must lie in 0..1: it stands before the normalisation. Labels stay.

    Attributes:
        operations: N, how many are drawn, with replacement, and applied one after the other.
        magnitude: M, of all of them, 0 (nothing) to 30; VideoMix's comparison has 9.
        probability: for each clip.
    """

    operations: int = 2
    magnitude: float = 9.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        return _augmented(self, ["spatial"], batch, draws)


@dataclass(frozen=True)
class RandAugmentT(Augmentation):
    """RandAugment-T: magnitudes change linearly over the frames (Kim et al. 2020, Fig. 2, §4.2).

    "temporal" goes from M1 ~ Uniform(0.1, M) to M, "temporal+" from M − δ to M + δ with
    δ ~ Uniform(0, 0.5 M), "mix" is as often RandAugment in space as "temporal+". Fig. 2 prints a
    list of N clips, one for each operation; its own comment says what is meant: one after the
    other. Identity, autocontrast and equalize have no magnitude.

    Float clips must lie in 0..1: it stands before the normalisation. Labels stay.

    Attributes:
        variation: "temporal", "temporal+" (the paper's best) or "mix".
        operations: N, how many are drawn, with replacement; the paper searched 1, 2 and 3.
        magnitude: M, 0 to 30; the paper searched 3, 5 and 10. M + δ stops at 30.
        delta: the largest δ, as a multiple of M; 0.5 in the paper.
        probability: for each clip.
    """

    variation: Variation = "temporal+"
    operations: int = 2
    magnitude: float = 5.0
    delta: float = 0.5
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check(self)
        check_share("delta", self.delta)
        if self.variation not in get_args(Variation):
            known = ", ".join(get_args(Variation))
            raise InputError(f"There is no variation {self.variation!r}; choose one of: {known}.")

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        courses: list[Course] = (
            ["spatial", "temporal+"] if self.variation == "mix" else [self.variation]
        )
        return _augmented(self, courses, batch, draws)


def _check(settings: RandAugment | RandAugmentT) -> None:
    check_share("probability", settings.probability)
    if settings.operations < 1:
        raise InputError(f"operations must be at least 1, not {settings.operations}.")
    if not 0 <= settings.magnitude <= LARGEST:
        raise InputError(f"magnitude must lie in 0..{LARGEST}, not {settings.magnitude}.")
