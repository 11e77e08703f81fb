"""Batches in parts: of several processes each has its own, and goes through it in pieces that fit.

The weights of the pieces make their losses sum up to that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from l2a.errors import InputError
from train.distributed import world
from train.loading import StepBatches, TensorBatch

B = TypeVar("B", bound=TensorBatch)


class Weights(NamedTuple):
    """Of the loss of a part, in the loss of the whole batch.

    Attributes:
        labelled: of its term that is a mean over labelled clips; see `train.objectives.Loss`.
        others: of all its other terms.
    """

    labelled: float
    others: float


@dataclass(frozen=True)
class Part(TensorBatch, Generic[B]):
    """A process's part of a batch.

    Attributes:
        batch: clips r, r + n, r + 2 n, … of the global batch.
        total: clips in the global batch.
        whole: the `TensorBatch.terms` of the global batch.
    """

    batch: B
    total: int
    whole: tuple[int, int]

    def __len__(self) -> int:
        return len(self.batch)

    def pieces(self, most: int | None) -> Iterator[tuple[B, Weights]]:
        """The part in pieces of at most `most` clips (all at once, if None), or in as many as it
        can be divided into.

        Yields:
            (piece, weights). The loss of a batch, where its terms are means over clips, is the mean
            over processes of the sum over pieces of weights times the piece's terms; the weights of
            a whole batch are exactly 1.
        """
        count = len(self.batch)
        pieces = 1 if most is None else min(-(-count // most), max(1, self.batch.most_parts))
        for index in range(pieces):
            piece = self.batch.part(index, pieces)
            shares = (
                own * world() / max(1, all_)
                for own, all_ in zip(piece.terms, self.whole, strict=True)
            )
            yield piece, Weights(*shares)


@dataclass(frozen=True)
class Parts(Generic[B]):
    """A process's part of every batch, as `train.loading.StepBatches`.

    Attributes:
        batches: the global ones; each is made in every process, and most of it let go.
        rank, world: of this process. Fields, because worker processes make parts too.
    """

    batches: StepBatches[B]
    rank: int
    world: int

    @property
    def steps_per_epoch(self) -> int:
        """As in one process."""
        return self.batches.steps_per_epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Part[B]:
        """The part of a step.

        Raises:
            InputError: there are fewer clips than processes.
        """
        whole = self.batches[step]
        if len(whole) < self.world:
            raise InputError(
                f"A batch has {len(whole)} clips, and {self.world} processes share it; give a "
                "larger batch_size, or start fewer processes."
            )
        return Part(whole.part(self.rank, self.world), len(whole), whole.terms)
