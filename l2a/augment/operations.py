"""RandAugment's fourteen operations, on a whole clip at once, with a magnitude for every frame.

All take frames float32 [3, T, H, W] in 0..255 and give new ones. Magnitudes run from 0, which does
nothing, to 1, RandAugment's largest; a sign says which way. Three do something at 0 too: `solarize`
turns what is 255 to 0, and `autocontrast` and `equalize` have no magnitude. The ranges are those of
Cubuk et al. 2020 as torchvision has them, against which each operation is tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

Levels = Sequence[float]

_SHEAR = 0.3
_TRANSLATE = 150 / 331
_ROTATE = math.radians(30)
_ENHANCE = 0.9
_BITS = 4


def identity(clip: Tensor, levels: Levels) -> Tensor:
    """Nothing."""
    return clip


def shear_x(clip: Tensor, levels: Levels) -> Tensor:
    """Shift rows sideways, further the lower they lie: up to 0.3 of the distance to the top."""
    half = clip.shape[-2] / 2
    return _affine(clip, [(1, _SHEAR * v, 0, 1, _SHEAR * v * half, 0) for v in levels])


def shear_y(clip: Tensor, levels: Levels) -> Tensor:
    """Shift columns up or down: up to 0.3 of the distance to the left edge."""
    half = clip.shape[-1] / 2
    return _affine(clip, [(1, 0, _SHEAR * v, 1, 0, _SHEAR * v * half) for v in levels])


def translate_x(clip: Tensor, levels: Levels) -> Tensor:
    """Shift sideways by whole pixels, up to 150/331 of the width."""
    reach = _TRANSLATE * clip.shape[-1]
    return _affine(clip, [(1, 0, 0, 1, -math.trunc(reach * v), 0) for v in levels])


def translate_y(clip: Tensor, levels: Levels) -> Tensor:
    """Shift up or down by whole pixels, up to 150/331 of the height."""
    reach = _TRANSLATE * clip.shape[-2]
    return _affine(clip, [(1, 0, 0, 1, 0, -math.trunc(reach * v)) for v in levels])


def rotate(clip: Tensor, levels: Levels) -> Tensor:
    """Turn about the middle, up to 30 degrees."""
    turns = [(math.cos(_ROTATE * v), math.sin(_ROTATE * v)) for v in levels]
    return _affine(clip, [(cos, -sin, sin, cos, 0, 0) for cos, sin in turns])


def _affine(clip: Tensor, maps: Sequence[tuple[float, ...]]) -> Tensor:
    """Frame t shows at (x, y) what lay at (a x + b y + e, c x + d y + f); black where nothing did.

    Args:
        clip: [3, T, H, W].
        maps: for each frame (a, b, c, d, e, f), in pixels, from the middle of the frame.
    """
    height, width = clip.shape[-2:]
    numbers = torch.tensor(maps, device=clip.device, dtype=clip.dtype)[:, :, None, None]
    a, b, c, d, e, f = numbers.unbind(1)
    x = torch.arange(width, device=clip.device, dtype=clip.dtype) - (width - 1) / 2
    y = (torch.arange(height, device=clip.device, dtype=clip.dtype) - (height - 1) / 2)[:, None]
    # x and y each in one piece: several times as fast as side by side.
    places = torch.stack([(a * x + e + b * y) * (2 / width), (c * x + f + d * y) * (2 / height)])
    grid = places.permute(1, 2, 3, 0)
    frames = clip.transpose(0, 1)
    return grid_sample(frames, grid, mode="nearest", align_corners=False).transpose(0, 1)


def brightness(clip: Tensor, levels: Levels) -> Tensor:
    """Towards black, or away from it: factors 0.1 to 1.9."""
    return (clip * _factors(clip, levels)).clamp_(0, 255)


def color(clip: Tensor, levels: Levels) -> Tensor:
    """Towards grey, or away from it: factors 0.1 to 1.9."""
    return _away_from(_grey(clip).expand_as(clip), clip, levels)


def contrast(clip: Tensor, levels: Levels) -> Tensor:
    """Towards each frame's mean grey, or away from it: factors 0.1 to 1.9."""
    return _away_from(_grey(clip).mean((-2, -1), keepdim=True).expand_as(clip), clip, levels)


def sharpness(clip: Tensor, levels: Levels) -> Tensor:
    """Towards a smoothed clip, or away from it: factors 0.1 to 1.9; the outermost pixels stay."""
    if min(clip.shape[-2:]) < 3:
        return clip
    rows = clip[..., :-2, :] + clip[..., 1:-1, :] + clip[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1]
    total += rows[..., 2:]
    inner = clip[..., 1:-1, 1:-1]
    total.add_(inner, alpha=4).div_(13)
    done = clip.clone()
    torch.lerp(
        total, inner, _factors(clip, levels).expand_as(inner), out=done[..., 1:-1, 1:-1]
    ).clamp_(0, 255)
    return done


def posterize(clip: Tensor, levels: Levels) -> Tensor:
    """Keep the highest bits: from all 8 down to 4."""
    steps = [2.0 ** (8 - round(8 - _BITS * v)) for v in levels]
    step = _per_frame(clip, steps)
    return (clip / step).floor_().mul_(step)


def solarize(clip: Tensor, levels: Levels) -> Tensor:
    """Invert what is as bright as a threshold, from 255 down to 0."""
    threshold = _per_frame(clip, [255 * (1 - v) for v in levels])
    return torch.where(clip >= threshold, 255 - clip, clip)


def autocontrast(clip: Tensor, levels: Levels) -> Tensor:
    """Stretch each frame's channels to 0..255."""
    low, high = (end[..., None, None] for end in clip.flatten(2).aminmax(dim=-1))
    flat = high <= low
    scale = torch.where(flat, 1.0, 255 / (high - low).masked_fill(flat, 1.0))
    return (clip - low.masked_fill(flat, 0.0)).mul_(scale).clamp_(0, 255)


def equalize(clip: Tensor, levels: Levels) -> Tensor:
    """Make each frame's channels use all brightnesses equally, by their histogram."""
    planes = clip.flatten(2).flatten(0, 1).int().clamp_(0, 255)
    count = len(planes)
    planes += 256 * torch.arange(count, device=clip.device, dtype=planes.dtype)[:, None]
    tally = torch.bincount(planes.flatten(), minlength=256 * count).view(count, 256)
    # As PIL has it: the last brightness in use is left out of the step's width.
    last = 255 - (tally > 0).long().flip(1).argmax(1, keepdim=True)
    step = (planes.shape[1] - tally.gather(1, last)) // 255
    table = (tally.cumsum(1) - tally + step // 2) // step.clamp(min=1)
    table = torch.where(step == 0, torch.arange(256, device=clip.device), table.clamp_(0, 255))
    return table.to(clip.dtype).flatten().index_select(0, planes.flatten()).view(clip.shape)


def _grey(clip: Tensor) -> Tensor:
    """[1, T, H, W], by the weights of ITU-R 601."""
    red, green, blue = clip.unbind(0)
    return torch.add(0.2989 * red, green, alpha=0.587).add_(blue, alpha=0.114)[None]


def _away_from(base: Tensor, clip: Tensor, levels: Levels) -> Tensor:
    """base + factor · (clip − base), in 0..255."""
    return torch.lerp(base, clip, _factors(clip, levels).expand_as(clip)).clamp_(0, 255)


def _factors(clip: Tensor, levels: Levels) -> Tensor:
    return _per_frame(clip, [1 + _ENHANCE * v for v in levels])


def _per_frame(clip: Tensor, values: Levels) -> Tensor:
    """[T, 1, 1]."""
    return torch.tensor(values, device=clip.device, dtype=clip.dtype)[:, None, None]


class Operation(NamedTuple):
    """An operation, and whether its magnitude may be negative."""

    run: Callable[[Tensor, Levels], Tensor]
    signed: bool = False


OPERATIONS: Mapping[str, Operation] = {
    "identity": Operation(identity),
    "shear-x": Operation(shear_x, signed=True),
    "shear-y": Operation(shear_y, signed=True),
    "translate-x": Operation(translate_x, signed=True),
    "translate-y": Operation(translate_y, signed=True),
    "rotate": Operation(rotate, signed=True),
    "brightness": Operation(brightness, signed=True),
    "color": Operation(color, signed=True),
    "contrast": Operation(contrast, signed=True),
    "sharpness": Operation(sharpness, signed=True),
    "posterize": Operation(posterize),
    "solarize": Operation(solarize),
    "autocontrast": Operation(autocontrast),
    "equalize": Operation(equalize),
}
"""Name ─► operation: the fourteen of RandAugment (Cubuk et al. 2020) and RandAugment-T."""

GEOMETRIC = frozenset({"shear-x", "shear-y", "translate-x", "translate-y", "rotate"})
"""The operations that move pixels: masks go with them."""
