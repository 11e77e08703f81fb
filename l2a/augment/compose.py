"""Several augmentations as one, and one as the `collate_fn` of a DataLoader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from l2a.augment.base import Augmentation, Batch
from l2a.errors import InputError


@dataclass(frozen=True)
class Compose(Augmentation):
    """One after the other, masks going along; each keeps its own probability.

    After several mixings the label is no longer the share of pixels: the second counts the first's
    clip as one, wherever what was pasted lies in it. Over many draws the two agree.

    Attributes:
        steps: from first to last.
    """

    steps: tuple[Augmentation, ...]

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        for step in self.steps:
            batch = step.apply(batch, draws)
        return batch

    @property
    def needs_masks(self) -> bool:
        """See `Augmentation.needs_masks`."""
        return any(step.needs_masks for step in self.steps)

    def check_type(self, dtype: torch.dtype) -> None:
        """See `Augmentation.check_type`."""
        for step in self.steps:
            step.check_type(dtype)

    def always(self) -> Augmentation:
        """See `Augmentation.always`."""
        return Compose(tuple(step.always() for step in self.steps))


@dataclass(frozen=True)
class OneOf(Augmentation):
    """One of several, drawn for each batch.

    Attributes:
        choices: what is drawn from; at least one.
        weights: how often each, relative to the others; () for all equally.
    """

    choices: tuple[Augmentation, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError("OneOf needs at least one augmentation to choose from.")
        if self.weights and len(self.weights) != len(self.choices):
            raise InputError(
                f"OneOf has {len(self.choices)} choices but {len(self.weights)} weights."
            )
        if self.weights and not (min(self.weights) >= 0 and sum(self.weights) > 0):
            raise InputError(f"Weights must not be below 0 nor all 0: {self.weights}.")

    def apply(self, batch: Batch, draws: Random) -> Batch:
        """See `Augmentation.apply`."""
        (chosen,) = draws.choices(self.choices, weights=self.weights or None)
        return chosen.apply(batch, draws)

    @property
    def needs_masks(self) -> bool:
        """See `Augmentation.needs_masks`."""
        return any(choice.needs_masks for choice in self.choices)

    def check_type(self, dtype: torch.dtype) -> None:
        """See `Augmentation.check_type`."""
        for choice in self.choices:
            choice.check_type(dtype)

    def always(self) -> Augmentation:
        """See `Augmentation.always`; one of the choices is drawn as before."""
        return OneOf(tuple(choice.always() for choice in self.choices), self.weights)


@dataclass(frozen=True)
class Collate:
    """A `collate_fn`: stacks samples to a batch and augments it.

    In a worker it draws from torch's global generator, which a DataLoader seeds in each worker
    and epoch from its own. Without workers nothing is seeded: then it draws from `generator`, which
    may be the DataLoader's. `DataLoader(..., collate_fn=Collate(VideoMix(), 51, g), generator=g)`
    repeats itself for the same state of `g` and the same number of workers, 0 among them.

    Attributes:
        augmentation: what is done to each batch.
        num_classes: for samples whose labels are class indices.
        generator: the source of randomness where there are no workers; None for torch's global one.
    """

    augmentation: Augmentation
    num_classes: int | None = None
    generator: torch.Generator | None = None

    def __call__(self, samples: Sequence[tuple[Any, ...]]) -> tuple[Tensor, Tensor]:
        """Samples (clip [3, T, H, W], label) or (clip, label, mask bool [T, H, W]) as a batch.

        A label is a class index or a soft label [C].

        Returns:
            Clips [B, 3, T, H, W] and soft labels [B, C].
        """
        clips, labels, *masks = zip(*samples, strict=True)
        in_worker = torch.utils.data.get_worker_info() is not None
        return self.augmentation(
            torch.stack(clips),
            torch.stack([torch.as_tensor(label) for label in labels]),
            torch.stack(masks[0]) if masks else None,
            None if in_worker else self.generator,
            num_classes=self.num_classes,
        )
