"""Batches for the classifier, straight from the memory-mapped clips; composites are made here.

A composite is made again each time it is drawn: a masked copy costs far less than a training step
and less than reading a stored clip, and it is placed, cropped and mirrored afresh each time. Only
what the network will see is composited, and its label says what is really seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.labels import mix_labels
from compositing.pair import PairClip, Side, composite_pair
from compositing.placement import IDENTITY, Window, draw_placement
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, RowState
from l2a.errors import InputError
from train.loading import TensorBatch

Scalar = TypeVar("Scalar", np.uint8, np.bool_)

Frames = NDArray[np.uint8]

UNLABELLED = -1
"""In place of the class index of a row whose video has no label."""


@dataclass(frozen=True, slots=True)
class ClipBatch(TensorBatch):
    """Clips uint8 `[B, T, h, w, 3]` RGB and soft labels float32 `[B, num_classes]`; where they are
    asked for, masks bool `[B, T, h, w]` of what acts in each clip."""

    clips: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Augment:
    """Crops, flips and placements drawn from `rng`; without a generator centre crops, no flip, and
    every foreground in its own place."""

    rng: np.random.Generator | None = None
    flip: bool = True


CENTRE = Augment()


@dataclass(frozen=True)
class CompositeViews:
    """Composites whose labels are made later, by any rule.

    Attributes:
        clips: uint8 `[B, T, h, w, 3]`, RGB.
        visible: float64 `[B]`, γ of the foreground as it is seen.
        removed: float64 `[B]`, the share that was taken out of the background.
    """

    clips: Tensor
    visible: NDArray[np.float64]
    removed: NDArray[np.float64]


@dataclass(frozen=True)
class UnlabelledViews:
    """Views of real clips whose labels nobody asks for.

    Attributes:
        clips: uint8 `[B, T, h, w, 3]`, RGB.
        masks: bool `[B, T, h, w]` of what acts in each clip, if asked for; of a row without layers
            empty.
        scenes: uint8 `[B, T, h, w, 3]`, RGB: the clean backgrounds behind the same views, if asked
            for; of a row without layers black.
    """

    clips: Tensor
    masks: Tensor | None = None
    scenes: Tensor | None = None


@dataclass(frozen=True)
class ClipSource:
    """Real and composited clips of one bank.

    Attributes:
        bank: clips, masks and backgrounds at training size.
        labels: int64 `[N]`, the class index of each row of the bank; `UNLABELLED` where its video
            has none.
        num_classes: length of a soft label.
        crop: side of the square that a network sees, in pixels.
        settings: label rule and its α, the blend, and how far placements go.
        soft: float32 `[N, num_classes]`, rows sum to 1: labels in place of one-hot ones, where
            pseudo-labels are probabilities; None for one-hot ones.
    """

    bank: ClipBank
    labels: NDArray[np.int64]
    num_classes: int
    crop: int
    settings: CompositeSettings
    soft: NDArray[np.float32] | None = None

    def real(
        self, rows: NDArray[np.int64], augment: Augment = CENTRE, *, masks: bool = False
    ) -> ClipBatch:
        """Real clips of rows `[B]`, with one-hot labels and, if asked for, their masks.

        Raises:
            ValueError: one has no label; `clips` and `unlabelled` do without.
        """
        labels = self.one_hot(rows)
        views = self.unlabelled(rows, augment, masks=masks)
        return ClipBatch(views.clips, labels, views.masks)

    def clips(self, rows: NDArray[np.int64], augment: Augment = CENTRE) -> Tensor:
        """Clips of rows `[B]` as `real` draws them, without their labels: uint8 `[B, T, h, w, 3]`,
        RGB, of any videos."""
        return self.unlabelled(rows, augment).clips

    def unlabelled(
        self, rows: NDArray[np.int64], augment: Augment = CENTRE, *, masks: bool = False,
        scenes: bool = False, every: int = 1,
    ) -> UnlabelledViews:  # fmt: skip
        """Views of real clips of rows `[B]`, whatever their labels are.

        Args:
            rows: of any split.
            augment: the same draws give the same crops and flips, whatever else is asked for.
            masks, scenes: whether to give them too.
            every: frames 0, `every`, 2 `every` … alone.
        """
        arrays = [self.bank.frames, *[self.bank.backgrounds] * scenes]
        shape = (len(rows), -(-self.bank.settings.num_frames // every), self.crop, self.crop)
        made = [np.empty((*shape, 3), np.uint8) for _ in arrays]
        found = np.empty(shape, np.bool_) if masks else None
        for i, row in enumerate(rows):
            window, mirrored = self._view(augment)
            for array, views in zip(arrays, made, strict=True):
                views[i] = _row(array, row)[::every, *window]
                _mirror(views[i], mirrored)
            if found is not None:
                found[i] = _row(self.bank.masks, row)[::every, *window]
                _mirror(found[i].view(np.uint8), mirrored)
        clips, *behind = map(torch.from_numpy, made)
        return UnlabelledViews(clips, _tensor(found), behind[0] if scenes else None)

    def composites(
        self, pairs: NDArray[np.int64], augment: Augment = CENTRE, *, masks: bool = False
    ) -> ClipBatch:
        """Composites of pairs of rows `[B, 2]` (foreground, background), with mixed labels.

        γ and λ are of the view, after placing and cropping: what the network does not see has no
        part in the label. Masks, if asked for, are of the pasted foregrounds.

        Raises:
            InputError: a row has no layers, as all but those of training videos.
        """
        self._refuse_bare(pairs)
        clips, found = self._empty(len(pairs)), self._empty_masks(len(pairs)) if masks else None
        lams = np.empty(len(pairs))
        for i, (foreground, background) in enumerate(pairs):
            window, mirrored = self._view(augment)
            made = self._composite(clips[i], foreground, background, window, augment)
            lams[i] = made.lam
            _mirror(clips[i], mirrored)
            if found is not None:
                found[i] = made.mask
                _mirror(found[i].view(np.uint8), mirrored)
        y_f, y_b = self.one_hot(pairs[:, 0]).numpy(), self.one_hot(pairs[:, 1]).numpy()
        labels = torch.from_numpy(mix_labels(y_f, y_b, lams))
        return ClipBatch(torch.from_numpy(clips), labels, _tensor(found))

    def views(self, pairs: NDArray[np.int64], augments: Sequence[Augment]) -> CompositeViews:
        """Composites of pairs of rows `[B, 2]`, each drawn from what stands beside it."""
        self._refuse_bare(pairs)
        clips = self._empty(len(pairs))
        shares = np.empty((2, len(pairs)))
        for i, ((foreground, background), augment) in enumerate(zip(pairs, augments, strict=True)):
            window, mirrored = self._view(augment)
            made = self._composite(clips[i], foreground, background, window, augment, measure=True)
            shares[:, i] = made.visible, made.removed
            _mirror(clips[i], mirrored)
        return CompositeViews(torch.from_numpy(clips), shares[0], shares[1])

    def _refuse_bare(self, pairs: NDArray[np.int64]) -> None:
        bare = pairs[np.asarray(self.bank.state)[pairs] != RowState.LAYERS]
        if len(bare):
            raise InputError(
                f"{self.bank.ids[bare[0]]} has no layers in {self.bank.folder}: only training "
                "videos may be composited; choose pairs of those."
            )

    def _composite(
        self,
        canvas: Frames,
        foreground: np.int64,
        background: np.int64,
        window: Window,
        augment: Augment,
        *,
        measure: bool = False,
    ) -> PairClip:
        """Write a pair's composite, cut to `window`, into `canvas`."""
        bank, settings = self.bank, self.settings
        rng, f, b = augment.rng, foreground, background
        placement = IDENTITY if rng is None else draw_placement(settings, rng)
        side_f, side_b = (
            Side(_row(frames, row), _row(bank.masks, row), float(bank.aspects[row]))
            for frames, row in ((bank.frames, f), (bank.backgrounds, b))
        )
        return composite_pair(
            side_f, side_b, settings, placement=placement, window=window, out=canvas,
            measure=measure,
        )  # fmt: skip

    def one_hot(self, rows: NDArray[np.int64]) -> Tensor:
        """Labels of rows `[B]` as float32 `[B, num_classes]`: one-hot, but for `soft` ones.

        Raises:
            ValueError: one has no label.
        """
        found = self.labels[rows]
        if (found == UNLABELLED).any():
            unlabelled = self.bank.ids[np.asarray(rows)[found == UNLABELLED][0]]
            raise ValueError(f"{unlabelled} has no label, so nothing may learn or measure by one.")
        if self.soft is not None:
            return torch.from_numpy(self.soft[rows])
        classes = torch.from_numpy(found)
        return torch.nn.functional.one_hot(classes, self.num_classes).float()

    def _view(self, augment: Augment) -> tuple[Window, bool]:
        """A square of a stored frame, the same in every frame of a clip, and whether to mirror."""
        rng = augment.rng
        spare = np.array([self.bank.settings.height, self.bank.settings.width]) - self.crop
        top, left = (spare // 2 if rng is None else rng.integers(0, spare + 1)).tolist()
        mirrored = rng is not None and augment.flip and rng.random() < 0.5
        return (slice(top, top + self.crop), slice(left, left + self.crop)), mirrored

    def _empty(self, count: int) -> Frames:
        """Room for clips `[count, T, crop, crop, 3]`."""
        shape = (count, self.bank.settings.num_frames, self.crop, self.crop, 3)
        return np.empty(shape, np.uint8)

    def _empty_masks(self, count: int) -> NDArray[np.bool_]:
        """Room for masks `[count, T, crop, crop]`."""
        return np.empty((count, self.bank.settings.num_frames, self.crop, self.crop), np.bool_)


def _row(array: NDArray[Scalar], row: np.int64) -> NDArray[Scalar]:
    """A row of a bank's array as a plain array: a memory map is slow to slice."""
    return np.asarray(array)[row]


def _tensor(masks: NDArray[np.bool_] | None) -> Tensor | None:
    return None if masks is None else torch.from_numpy(masks)


def _mirror(clip: Frames, mirrored: bool) -> None:
    """Mirror a clip or its mask `[T, h, w, ...]` in place, left to right: far faster by OpenCV than
    as a reversed copy."""
    if mirrored:
        rows = clip.reshape(-1, *clip.shape[2:])
        cv2.flip(rows, 1, dst=rows)


def join(first: ClipBatch, second: ClipBatch) -> ClipBatch:
    """Two batches as one, with masks where both have them."""
    masks = None
    if first.masks is not None and second.masks is not None:
        masks = torch.cat([first.masks, second.masks])
    clips = torch.cat([first.clips, second.clips])
    return ClipBatch(clips, torch.cat([first.labels, second.labels]), masks)
