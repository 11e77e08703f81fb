"""The training mix: which real clips and which composites a classifier sees, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from l2a.augment import Augmentation
from l2a.errors import InputError
from train.batches import Augment, ClipBatch, ClipSource, join

NO_PAIRS: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)

SEED_STRIDE = 1_000
"""Between the seeds of a training's repeats: far apart, so that those of neighbouring seeds share
no stream of random numbers."""

_PAIRS, _REAL = 3, 4  # streams of random numbers for endless passes


@dataclass(frozen=True)
class TrainingMix:
    """What a classifier is trained on.

    Attributes:
        rows: bank rows of the real clips, int64 `[n]`.
        pairs: bank rows of the pairs to composite, int64 `[m, 2]`; `m` may be 0.
        composites_per_batch: composites next to the real clips of each batch.
        replace_real: composites take the place of real clips, so that a batch keeps its size.
        augmentation: what is done to each batch in the end; None for nothing.
        clips_per_epoch: real clips that an epoch draws, where that is more than there are: some
            are drawn again, so that fewer clips do not make fewer steps.
    """

    rows: NDArray[np.int64]
    pairs: NDArray[np.int64]
    composites_per_batch: int
    replace_real: bool = False
    augmentation: Augmentation | None = None
    clips_per_epoch: int = 0

    @property
    def drawn(self) -> int:
        """Real clips that an epoch draws."""
        return max(len(self.rows), self.clips_per_epoch)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps in which an epoch's real clips are drawn: each once, or more often."""
        return math.ceil(self.drawn / self.real_per_batch(batch_size))

    def real_per_batch(self, batch_size: int) -> int:
        """Real clips in a batch."""
        if not self.replace_real or len(self.pairs) == 0:
            return batch_size
        if self.composites_per_batch >= batch_size:
            raise InputError(
                f"composites_per_batch is {self.composites_per_batch} and takes the whole batch "
                f"of {batch_size}; with replace_real it must be smaller."
            )
        return batch_size - self.composites_per_batch


class MixedBatches:
    """The batches of a training on a mix, as `train.loading.StepBatches`.

    Each follows from (seed, epoch, step) alone. Real clips and composites draw from generators of
    their own, so that a training without composites sees the very same real batches as one with
    them.
    """

    def __init__(
        self, source: ClipSource, mix: TrainingMix, batch_size: int, flip: bool, seed: int,
        epochs: int,
    ) -> None:  # fmt: skip
        """
        Args:
            source: real clips and composites.
            mix: which of them.
            batch_size: real clips in a batch, or clips where composites replace real ones.
            flip: mirror clips at random.
            seed: order, crops, flips and placements follow from it.
            epochs: passes over the real clips.
        """
        self._source, self._mix, self._flip = source, mix, flip
        self._seed, self._epochs = seed, epochs
        self.steps_per_epoch = mix.steps_per_epoch(batch_size)
        self._order: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def __len__(self) -> int:
        """Steps of the whole training."""
        return self._epochs * self.steps_per_epoch

    def __getitem__(self, index: int) -> ClipBatch:
        """The batch of a step, counted from 0 over all epochs."""
        mix, source = self._mix, self._source
        epoch, step = divmod(index, self.steps_per_epoch)
        masks = mix.augmentation is not None and mix.augmentation.needs_masks
        batch = source.real(self._rows(epoch)[step], self._draws(epoch, step, 0), masks=masks)
        if len(mix.pairs) and mix.composites_per_batch:
            count = mix.composites_per_batch
            chosen = mix.pairs[cycle(index * count, count, len(mix.pairs), self._seed)]
            made = source.composites(chosen, self._draws(epoch, step, 1), masks=masks)
            batch = join(batch, made)
        if mix.augmentation is not None:
            batch = augmented(batch, mix.augmentation, [self._seed, epoch, step, 2])
        return batch

    def _draws(self, epoch: int, step: int, stream: int) -> Augment:
        return Augment(np.random.default_rng([self._seed, epoch, step, stream]), self._flip)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        """The real clips of each step of an epoch; an epoch is shuffled once, not once a step."""
        if self._order[0] != epoch:
            rows, drawn = self._mix.rows, self._mix.drawn
            if drawn > len(rows):
                order = rows[cycle(epoch * drawn, drawn, len(rows), self._seed, _REAL)]
            else:
                order = np.random.default_rng([self._seed, epoch]).permutation(rows)
            # Even parts: a last batch of one clip would upset batch normalisation.
            self._order = epoch, np.array_split(order, self.steps_per_epoch)
        return self._order[1]


def augmented(batch: ClipBatch, augmentation: Augmentation, seed: Sequence[int]) -> ClipBatch:
    """A batch as an augmentation makes it; `seed` alone decides what it draws."""
    number = int(np.random.default_rng(seed).integers(2**63))
    clips, labels = augmentation(
        batch.clips.permute(0, 4, 1, 2, 3), batch.labels, batch.masks,
        torch.Generator().manual_seed(number),
    )  # fmt: skip
    return ClipBatch(clips.permute(0, 2, 3, 4, 1), labels)


def cycle(start: int, count: int, total: int, seed: int, stream: int = _PAIRS) -> NDArray[np.int64]:
    """Indices `start … start + count` of an endless sequence of shuffled passes over `total`.

    Any stretch can be asked for without what came before, so a resumed run draws the same.
    """
    wanted = np.arange(start, start + count)
    # A stream of its own: [seed, pass] orders the real clips of that epoch, and where there are as
    # many pairs as clips, each clip would stand next to the same composite in every epoch.
    passes = {
        int(p): np.random.default_rng([seed, int(p), 0, stream]) for p in np.unique(wanted // total)
    }
    orders = {p: rng.permutation(total) for p, rng in passes.items()}
    return np.array([orders[int(i // total)][i % total] for i in wanted], dtype=np.int64)
