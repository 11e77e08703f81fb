"""Batches for the classifier, straight from the memory-mapped clips; composites are made here.

A composite is made anew each time it is drawn: a masked copy costs far less than a training step
and less than reading a stored clip, and it is cropped and mirrored afresh each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.blend import LABEL_RULES, composite_clip, mix_labels
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, RowState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips uint8 `[B, T, h, w, 3]` RGB and soft labels float32 `[B, num_classes]`."""

    clips: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Augment:
    """Random crops and flips drawn from `rng`; without a generator, centre crops and no flip."""

    rng: np.random.Generator | None = None
    flip: bool = True


CENTRE = Augment()


@dataclass(frozen=True)
class ClipSource:
    """Real and composited clips of one bank.

    Attributes:
        bank: clips, masks and backgrounds at training size.
        labels: int64 `[N]`, the class index of each row of the bank.
        num_classes: length of a soft label.
        crop: side of the square that a network sees, in pixels.
        settings: label rule and its α.
        gammas: float64 `[N]`, share of foreground in each row's masks; 0 for rows without layers.
    """

    bank: ClipBank
    labels: NDArray[np.int64]
    num_classes: int
    crop: int
    settings: CompositeSettings
    gammas: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        gammas = np.zeros(len(self.bank.ids))
        for row in np.flatnonzero(self.bank.state == RowState.LAYERS):
            gammas[row] = self.bank.masks[row].mean()
        object.__setattr__(self, "gammas", gammas)

    def real(self, rows: NDArray[np.int64], augment: Augment = CENTRE) -> Batch:
        """Real clips of the given rows `[B]`, with one-hot labels."""
        clips = [self._view(self.bank.frames[row], augment) for row in rows]
        return Batch(_stack(clips), self.one_hot(rows))

    def composites(self, pairs: NDArray[np.int64], augment: Augment = CENTRE) -> Batch:
        """Composites of pairs of rows `[B, 2]` (foreground, background), with mixed labels."""
        bank = self.bank
        clips = [
            self._view(composite_clip(bank.frames[f], bank.masks[f], bank.backgrounds[b]), augment)
            for f, b in pairs
        ]
        return Batch(_stack(clips), self.mixed_labels(pairs))

    def mixing_weights(self, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """λ `[B]` of pairs `[B, 2]`, by the label rule."""
        rule = LABEL_RULES[self.settings.label_rule]
        visible, removed = self.gammas[pairs[:, 0]], self.gammas[pairs[:, 1]]
        return np.asarray(rule(visible, removed, self.settings.alpha), dtype=np.float64)

    def mixed_labels(self, pairs: NDArray[np.int64]) -> Tensor:
        """Soft labels float32 `[B, num_classes]` of pairs `[B, 2]`: Eq. 7."""
        y_f, y_b = self.one_hot(pairs[:, 0]).numpy(), self.one_hot(pairs[:, 1]).numpy()
        return torch.from_numpy(mix_labels(y_f, y_b, self.mixing_weights(pairs)))

    def one_hot(self, rows: NDArray[np.int64]) -> Tensor:
        """Labels of rows `[B]` as float32 `[B, num_classes]`."""
        classes = torch.from_numpy(self.labels[rows])
        return torch.nn.functional.one_hot(classes, self.num_classes).float()

    def _view(self, clip: NDArray[np.uint8], augment: Augment) -> NDArray[np.uint8]:
        """A square of a clip `[T, H, W, 3]`, the same in every frame, possibly mirrored."""
        height, width = clip.shape[1:3]
        spare = np.array([height - self.crop, width - self.crop])
        top, left = spare // 2 if augment.rng is None else augment.rng.integers(0, spare + 1)
        view = clip[:, top : top + self.crop, left : left + self.crop]
        if augment.rng is not None and augment.flip and augment.rng.random() < 0.5:
            view = view[:, :, ::-1]
        return view


def _stack(clips: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(clips))


def join(first: Batch, second: Batch) -> Batch:
    """Two batches as one."""
    return Batch(torch.cat([first.clips, second.clips]), torch.cat([first.labels, second.labels]))


def cycle(start: int, count: int, total: int, seed: int) -> NDArray[np.int64]:
    """Indices `start … start + count` of an endless sequence of shuffled passes over `total`.

    Any stretch can be asked for without what came before, so a resumed run draws the same.
    """
    wanted = np.arange(start, start + count)
    passes = {int(p): np.random.default_rng([seed, int(p)]) for p in np.unique(wanted // total)}
    orders = {p: rng.permutation(total) for p, rng in passes.items()}
    return np.array([orders[int(i // total)][i % total] for i in wanted], dtype=np.int64)


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items`, made by a thread that works at most `depth` items ahead of the consumer.

    An error is raised here, at the place of the item that it prevented.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield cast(T, item)
