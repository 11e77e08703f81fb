"""One form for all augmentations: `(clips, labels, masks, generator) -> (clips, labels)`.

An augmentation is a frozen dataclass, its fields its settings. It first draws what it will do, as
plain numbers, then does it; what it does is a pure function of the batch and those numbers, so the
same generator gives the same result on any device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor

from l2a.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """What augmentations hand to each other; none of them writes into it.

    Attributes:
        clips: [B, 3, T, H, W], uint8 in 0..255 or any float type.
        labels: soft labels, float [B, C]; rows sum to 1.
        masks: bool [B, T, H, W], where the objects are; None where unknown. They follow the
            pixels through every augmentation, so that one that needs them can stand anywhere.
    """

    clips: Tensor
    labels: Tensor
    masks: Tensor | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        frames, height, width = self.clips.shape[2:]
        return frames, height, width


class Augmentation(ABC):
    """A batch transform. Those that inherit from it are final."""

    def __call__(
        self,
        clips: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        num_classes: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch; what goes in is never written to, nor does what comes out share memory
        with it.

        Args:
            clips: [B, 3, T, H, W], B at least 1; uint8 in 0..255 or any float type.
            labels: soft labels, float [B, C], rows summing to 1; or class indices, integer [B],
                with `num_classes`.
            masks: bool [B, T, H, W], where the objects are. Only augmentations of objects need it.
            generator: the source of all randomness, one draw a call; None for torch's global one.
                One on the CPU saves waiting for the GPU.
            num_classes: C, for labels that are class indices.

        Returns:
            (clips, labels): of the clips' type and device; the labels soft, float32 unless they
            came as another float type.

        Raises:
            InputError: a shape or type is another, clips or labels require gradients, masks are
                missing where they are needed, or a setting is not for clips of this type.
        """
        self.check_type(clips.dtype)
        batch = as_batch(clips, labels, masks, num_classes)
        done = self.apply(batch, draws_of(generator))
        untouched = done.clips.data_ptr() == clips.data_ptr()
        same = done.labels.data_ptr() == labels.data_ptr()
        return (
            done.clips.clone() if untouched else done.clips,
            done.labels.clone() if same else done.labels,
        )

    @abstractmethod
    def apply(self, batch: Batch, draws: Random) -> Batch:
        """The batch augmented, its masks with it; parts that nothing changes may be the same."""

    @property
    def needs_masks(self) -> bool:
        """Whether it cannot work without masks."""
        return False

    def check_type(self, dtype: torch.dtype) -> None:  # noqa: B027 (most need no more)
        """Say, before the first batch, whether clips of a type can be augmented.

        Raises:
            InputError: a setting is not for such clips.
        """

    def always(self) -> Augmentation:
        """The same with every probability at 1, for pictures and timings."""
        settings: Any = self  # a dataclass with a probability, or it says otherwise itself
        return replace(settings, probability=1.0)


class Mixing(Augmentation):
    """An augmentation that mixes clips by draws from Beta(α, α). Abstract."""

    alpha: float
    probability: float
    per_clip: bool

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)
        check_share("probability", self.probability)


def draws_of(generator: torch.Generator | None) -> Random:
    """Plain random numbers that follow from one draw of `generator`, whatever its device."""
    device = "cpu" if generator is None else generator.device
    return Random(int(torch.randint(2**62, (), generator=generator, device=device)))


def as_batch(
    clips: Tensor, labels: Tensor, masks: Tensor | None = None, num_classes: int | None = None
) -> Batch:
    """Check the shapes and types, and make class indices soft labels.

    Raises:
        InputError: as `Augmentation.__call__` says.
    """
    if clips.requires_grad or labels.requires_grad:
        name = "Clips" if clips.requires_grad else "Labels"
        raise InputError(
            f"{name} require gradients, which augmentations do not pass on; give {name.lower()}"
            ".detach()."
        )
    if clips.ndim != 5 or not clips.numel():
        raise InputError(f"Clips must have the shape [B, 3, T, H, W], not {_shape(clips)}.")
    if clips.dtype != torch.uint8 and not clips.is_floating_point():
        raise InputError(f"Clips must be uint8 or of a float type, not {clips.dtype}.")
    wanted = (len(clips), *clips.shape[2:])
    if masks is not None and (masks.dtype != torch.bool or tuple(masks.shape) != wanted):
        raise InputError(
            f"Masks must be bool {list(wanted)} for these clips, not {masks.dtype} {_shape(masks)}."
        )
    if not labels.is_floating_point():
        labels = _one_hot(labels, num_classes)
    if labels.ndim != 2 or len(labels) != len(clips):
        raise InputError(
            f"Labels of {len(clips)} clips must be soft, [{len(clips)}, C], or class indices"
            f" [{len(clips)}], not {_shape(labels)}."
        )
    return Batch(clips, labels, masks)


def _one_hot(classes: Tensor, num_classes: int | None) -> Tensor:
    """Class indices [B] as float32 [B, C]."""
    if num_classes is None:
        raise InputError("Labels that are class indices need num_classes; or give soft labels.")
    if classes.ndim != 1 or classes.dtype == torch.bool:
        raise InputError(
            f"Class indices must be integers [B], not {classes.dtype} {_shape(classes)}."
        )
    # On a GPU torch itself stops at a wrong index; asking here would wait for the GPU.
    if classes.device.type == "cpu" and not 0 <= int(classes.min()) <= int(classes.max()) < (
        num_classes
    ):
        raise InputError(f"Class indices must lie in 0..{num_classes - 1}: {classes.tolist()}.")
    return torch.nn.functional.one_hot(classes.long(), num_classes).float()


def mix_labels(labels: Tensor, shares: Sequence[Sequence[float]]) -> Tensor:
    """ỹ_i = Σ_j `shares[i][j]` · y_j, in float64, then in the labels' type.

    Args:
        labels: soft, float [B, C].
        shares: [B, B], rows sum to 1: how much of clip i now comes from clip j.
    """
    weights = torch.tensor(shares, dtype=torch.float64, device=labels.device)
    return (weights @ labels.double()).to(labels.dtype)


def shuffled(draws: Random, count: int) -> list[int]:
    """A random order of `count` clips: the partner of each."""
    order = list(range(count))
    draws.shuffle(order)
    return order


def drawn(
    draws: Random, count: int, probability: float, per_clip: bool, make: Callable[[], T]
) -> list[T | None]:
    """What each of `count` clips gets: one draw for the whole batch, or one for each clip.

    Returns:
        With `probability` what `make` draws, else None.
    """
    times = count if per_clip else 1
    made = [make() if draws.random() < probability else None for _ in range(times)]
    return made if per_clip else made * count


def check_share(name: str, value: float) -> None:
    """Refuse a setting that must lie in 0..1."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie in 0..1, not {value}.")


def check_positive(name: str, value: float) -> None:
    """Refuse a setting that must be above 0, and finite."""
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be above 0, and finite, not {value}.")


def check_finite(name: str, value: float) -> None:
    """Refuse a setting that must be a finite number."""
    if not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, not {value}.")


def check_fill(value: float, dtype: torch.dtype) -> None:
    """Refuse a colour that clips of a type cannot hold."""
    if dtype == torch.uint8 and not (0 <= value <= 255 and value == int(value)):
        raise InputError(
            f"fill is {value}, and clips of bytes (uint8) hold whole numbers in 0..255; give one "
            "of these."
        )


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
