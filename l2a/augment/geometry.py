"""Crops, scales and flips: the same in every frame of a clip, drawn once for each clip."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from l2a.augment.base import Augmentation, Batch, check_positive, check_share
from l2a.errors import InputError


class Window(NamedTuple):
    """A rectangle of whole pixels in every frame of a clip."""

    top: int
    left: int
    height: int
    width: int


def crop_and_resize(batch: Batch, windows: Sequence[Window], size: tuple[int, int]) -> Batch:
    """Cut a window out of each clip and resize it, bilinear and antialiased; masks to the nearest.

    Args:
        batch: of B clips.
        windows: one for each clip, inside its frames.
        size: (height, width) of what comes out.
    """
    frames = batch.size[0]
    clips = batch.clips.new_empty((*batch.clips.shape[:3], *size))
    masks = None if batch.masks is None else batch.masks.new_empty((len(clips), frames, *size))
    for i, (top, left, height, width) in enumerate(windows):
        where = (..., slice(top, top + height), slice(left, left + width))
        clips[i] = _resized(batch.clips[i][where], size)
        if masks is not None and batch.masks is not None:
            view = batch.masks[i][where][None].float()
            masks[i] = interpolate(view, size, mode="nearest-exact")[0] > 0.5
    return Batch(clips, batch.labels, masks)


def _resized(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """A clip [3, T, h, w] at another size, of its own type."""
    if clip.shape[-2:] == size:
        return clip
    if clip.dtype == torch.uint8 and clip.device.type == "cpu":
        # Bytes as they are, in six times less time than by way of floats; the kernel needs the
        # three colours of a pixel side by side.
        pixels = clip.permute(1, 2, 3, 0).contiguous().permute(0, 3, 1, 2)
        return interpolate(pixels, size, mode="bilinear", antialias=True).transpose(0, 1)
    exact = clip.dtype in (torch.float32, torch.float64)
    view = clip if exact else clip.float()
    done = interpolate(view, size, mode="bilinear", antialias=True, align_corners=False)
    return done.add_(0.5) if clip.dtype == torch.uint8 else done


class _Cropping(Augmentation):
    """What both crops do: a window for each clip. Abstract."""

    size: tuple[int, int] | None
    probability: float

    def __post_init__(self) -> None:
        for side in self.size or ():
            check_positive("size", side)
        check_share("probability", self.probability)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        height, width = batch.size[1:]
        size = self.size or (height, width)
        usual = _centre(height, width, size)
        windows = [
            self._window(draws, (height, width), size)
            if draws.random() < self.probability
            else usual
            for _ in range(len(batch.clips))
        ]
        if size == (height, width) and set(windows) == {Window(0, 0, height, width)}:
            return batch
        return crop_and_resize(batch, windows, size)

    @abstractmethod
    def _window(self, draws: Random, frame: tuple[int, int], size: tuple[int, int]) -> Window:
        """The window of a clip with frames (height, width), to be resized to `size`."""


def _centre(height: int, width: int, size: tuple[int, int]) -> Window:
    """The largest window of the wanted shape, in the middle."""
    scale = min(height / size[0], width / size[1])
    h, w = (max(1, round(side * scale)) for side in size)
    return Window((height - h) // 2, (width - w) // 2, h, w)


def _placed(draws: Random, frame: tuple[int, int], height: float, width: float) -> Window:
    """A window of whole pixels, at least one and at most the frame, at a random place."""
    h = min(max(round(height), 1), frame[0])
    w = min(max(round(width), 1), frame[1])
    return Window(draws.randint(0, frame[0] - h), draws.randint(0, frame[1] - w), h, w)


@dataclass(frozen=True)
class RandomResizedCrop(_Cropping):
    """A random window of random area and shape, resized (VideoMix, §4.1: "random resize crop").

    Attributes:
        size: (height, width) of what comes out; None keeps the frame's.
        area: smallest and largest share of the frame's area (Szegedy et al. 2015, as is usual).
        ratio: narrowest and widest window, width / height; the logarithm is uniform.
        probability: for each clip; else the largest window in the middle is taken.
    """

    size: tuple[int, int] | None = None
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    probability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("area", self.area)
        _check_range("ratio", self.ratio)
        check_share("area", self.area[1])

    def _window(self, draws: Random, frame: tuple[int, int], size: tuple[int, int]) -> Window:
        for _ in range(10):
            area = draws.uniform(*self.area) * frame[0] * frame[1]
            ratio = math.exp(draws.uniform(*(math.log(bound) for bound in self.ratio)))
            height, width = math.sqrt(area / ratio), math.sqrt(area * ratio)
            if height <= frame[0] and width <= frame[1]:
                return _placed(draws, frame, height, width)
        return _centre(*frame, size)  # such windows hardly fit into these frames


@dataclass(frozen=True)
class ScaleJitter(_Cropping):
    """Scale jitter: frames at a random scale, then a random crop (Kim et al. 2020, §4.1).

    Attributes:
        size: (height, width) of the crop; None keeps the frame's.
        scale: smallest and largest scaled frame, as a multiple of the smallest that holds the crop:
            of the shorter side, for a square. The paper's is 160 to 200 for a crop of 160,
            ObjectMix's 224 to 320 for 224.
        probability: for each clip; else the largest window in the middle is taken.
    """

    size: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.25)
    probability: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("scale", self.scale)
        if self.scale[0] < 1:
            raise InputError(f"scale must be at least 1, or the crop does not fit: {self.scale}.")

    def _window(self, draws: Random, frame: tuple[int, int], size: tuple[int, int]) -> Window:
        fitting = max(side / whole for side, whole in zip(size, frame, strict=True))
        scale = draws.uniform(*self.scale) * fitting
        return _placed(draws, frame, size[0] / scale, size[1] / scale)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror clips left to right (Kim et al. 2020, §4.1; ObjectMix, §4.2).

    Attributes:
        probability: for each clip.
        fixed_classes: classes in which left and right matter (VideoMix, appendix C): a clip whose
            label has any part of one is never mirrored.
    """

    probability: float = 0.5
    fixed_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_share("probability", self.probability)

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        mirrored = [draws.random() < self.probability for _ in range(len(batch.clips))]
        if self.fixed_classes:
            classes = batch.labels.shape[1]
            if not all(0 <= c < classes for c in self.fixed_classes):
                raise InputError(
                    f"fixed_classes must lie in 0..{classes - 1}, not {self.fixed_classes}."
                )
            fixed = (batch.labels[:, list(self.fixed_classes)] > 0).any(1).tolist()
            mirrored = [a and not b for a, b in zip(mirrored, fixed, strict=True)]
        if not any(mirrored):
            return batch
        return Batch(
            _where(mirrored, batch.clips, _mirror),
            batch.labels,
            None if batch.masks is None else _where(mirrored, batch.masks, _mirror),
        )


def _mirror(clip: Tensor) -> Tensor:
    return clip.flip(-1)


def _where(chosen: Sequence[bool], clips: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A copy of the clips, the chosen ones changed."""
    done = torch.empty_like(clips)
    for i, change_it in enumerate(chosen):
        done[i] = change(clips[i]) if change_it else clips[i]
    return done


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    check_positive(name, bounds[0])
    if bounds[0] > bounds[1]:
        raise InputError(f"{name} must go from small to large, not {bounds}.")
