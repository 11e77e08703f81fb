"""Features of real clips and of composites by a trunk that stays as it is: computed once, and kept.

View v of a clip, or of a composite, is drawn from a generator of its own, which follows from the
seed, the ids of its videos and v. So a feature depends neither on the order in which they are asked
for nor on what else is asked for, and an arm that uses a pair finds what another has computed.

They are kept beside the bank, in `features/TRUNK/KIND-SETTINGS/`, where TRUNK is the checksum of
`l2a.trunk.trunk_checksum` and SETTINGS a fingerprint of all else that the views depend on. The
label rule and its α are no part of it: how much is seen of the foreground and how much was taken
out of the background is kept with each view, and labels are made of that. Where banks lie beside
each other, their features do too, known by what each row was made of (`train.contents`): another
draw of labelled videos finds those of the same clips. Which of them a run may ask for is its own
bank's and rows' to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compositing.labels import LABEL_RULES, mix_labels
from compositing.settings import CompositeSettings
from l2a.clips import RowState
from l2a.files import fingerprint
from l2a.progress import Report, progress
from l2a.trunk import Trunk, trunk_checksum
from train.batches import Augment
from train.classifier import EVALUATION_BATCH, ask
from train.contents import Clips, Contents, mixed, number_of
from train.frozen.shards import Shards
from train.loading import prefetch
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

_REAL, _COMPOSITE = 1, 2
"""Streams of random numbers."""

_WORTH_A_BAR = 8 * EVALUATION_BATCH
"""Clips that take long enough to show how far their features are."""

_WRITTEN_AT_ONCE = 16 * EVALUATION_BATCH
"""Features after which a file is written: what a killed process loses at most."""

_MOST_IN_BATCH = 1 << 20
"""Clips of one batch of a training."""

_Columns = dict[str, Tensor]

MakeBatch = Callable[[int], tuple[Tensor, _Columns]]
"""Step ─► clips uint8 `[B, T, h, w, 3]` and what is kept beside their features, `[B, ...]` each."""


@dataclass(frozen=True)
class CompositeFeatures:
    """Views of composites.

    Attributes:
        features: float32 `[n, V, D]`.
        visible: float64 `[n, V]`, γ of the foreground where it was placed, as the view shows it.
        removed: float64 `[n, V]`, the share of the view that was taken out of the background.
    """

    features: Tensor
    visible: Tensor
    removed: Tensor


class FeatureBank:
    """Features of one frozen trunk for one data set."""

    def __init__(
        self, trunk: Trunk, prepared: PreparedData, settings: FrozenSettings, flip: bool, seed: int
    ) -> None:
        """
        Args:
            trunk: on its device; it is put to evaluation and not changed.
            prepared: the data set.
            settings: how many views.
            flip: mirror views at random.
            seed: views follow from it.
        """
        self._trunk = trunk.eval().folded()
        self._prepared, self._settings = prepared, settings
        self._source, self._flip, self._seed = prepared.source, flip, seed
        bank, contents = prepared.bank, Contents.beside(prepared.bank)
        shared = bank.folder if contents is None else bank.folder.parent
        self._place = shared / "features" / trunk_checksum(trunk)
        self._clips = Clips.of(bank, contents)
        self._train = np.zeros(len(prepared.bank), dtype=np.bool_)
        self._train[prepared.rows["train"]] = True

    @property
    def folder(self) -> Path:
        """Where features of this trunk are kept."""
        return self._place

    @property
    def dim(self) -> int:
        """D, the length of a feature."""
        return self._trunk.feature_dim

    @torch.no_grad()
    def of(self, clips: Tensor) -> Tensor:
        """Features float32 `[B, D]` of any clips uint8 `[B, T, h, w, 3]`; they are not kept."""
        return ask(self._trunk, clips).float().cpu()

    def centre(self, rows: NDArray[np.int64]) -> Tensor:
        """Features float32 `[n, D]` of real clips `[n]`, of the centre: what evaluation sees."""
        keys = mixed(self._clips.frames[rows])

        def compute(chosen: NDArray[np.int64]) -> tuple[Tensor, _Columns]:
            return self._source.clips(rows[chosen]), {}

        self._fill(self._centre, keys, compute)
        return self._centre.take(keys, "features") if len(keys) else torch.empty(0, self.dim)

    def real(self, rows: NDArray[np.int64]) -> Tensor:
        """Features float32 `[n, V, D]` of `views` random views of real clips `[n]`."""
        count = self._settings.views
        keys = mixed(self._clips.frames[rows][:, None], np.arange(count))

        def compute(chosen: NDArray[np.int64]) -> tuple[Tensor, _Columns]:
            clips = [
                self._source.clips(np.array([row]), self._draws(_REAL, row, view=view))
                for row, view in zip(rows[chosen // count].tolist(), chosen % count, strict=True)
            ]
            return torch.cat(clips), {}

        self._fill(self._real, keys, compute)
        return self._take(self._real, keys, "features", (self.dim,))

    def composites(self, pairs: NDArray[np.int64]) -> CompositeFeatures:
        """Features of `composite_views` random views of the composites of pairs `[n, 2]`.

        What is missing is computed and kept.

        Args:
            pairs: bank rows (foreground, background) of training videos with layers.

        Raises:
            ValueError: a row is not of training, or has no layers: nothing made of it may ever
                stand in a training set.
        """
        used = np.unique(pairs)
        if not self._train[used].all():
            raise ValueError("a pair holds a video that is not of training")
        if (self._prepared.bank.state[used] != RowState.LAYERS).any():
            raise ValueError("a pair holds a video without layers")
        count, sides = self._settings.composite_views, self._clips.layers[pairs]
        keys = mixed(sides[:, :1], sides[:, 1:], np.arange(count))

        def compute(chosen: NDArray[np.int64]) -> tuple[Tensor, _Columns]:
            drawn = pairs[chosen // count]
            made = self._source.views(
                drawn,
                [
                    self._draws(_COMPOSITE, f, b, view=view)
                    for (f, b), view in zip(drawn.tolist(), chosen % count, strict=True)
                ],
            )
            shares = torch.from_numpy(made.visible), torch.from_numpy(made.removed)
            return made.clips, {"visible": shares[0], "removed": shares[1]}

        self._fill(self._composites, keys, compute)
        return CompositeFeatures(
            self._take(self._composites, keys, "features", (self.dim,)),
            self._take(self._composites, keys, "visible", ()),
            self._take(self._composites, keys, "removed", ()),
        )

    def batches(
        self, kind: str, steps: int, make: MakeBatch, title: str, *depends: object
    ) -> list[_Columns]:
        """The batches of a training as features, each computed once and kept.

        Args:
            kind: a name for such batches.
            steps: of the training; a longer one of the same kind finds those of a shorter one.
            make: gives the batch of a step, which follows from the step and `depends` alone.
            title: of the bar, while some are made.
            depends: all that the batches depend on, besides the trunk and how clips are made; of
                the clips themselves `marks`.

        Returns:
            For each step "features", float32 `[B, D]`, and what `make` gave beside the clips.
        """
        shards = self.shards(kind, *depends)
        first = np.arange(steps) * _MOST_IN_BATCH
        missing = shards.missing(first) // _MOST_IN_BATCH
        keys: list[NDArray[np.int64]] = []
        parts: list[_Columns] = []
        if len(missing):
            with progress(title, "batches") as report:
                made = prefetch(make(int(step)) for step in missing)
                for done, (step, (clips, columns)) in enumerate(zip(missing, made, strict=True), 1):
                    keys.append(int(step) * _MOST_IN_BATCH + np.arange(len(clips)))
                    parts.append({"features": self.of(clips), **columns})
                    report(done, len(missing))
                    if done == len(missing) or sum(map(len, keys)) >= _WRITTEN_AT_ONCE:
                        shards.add(np.concatenate(keys), _joined(parts))
                        keys, parts = [], []
        found = [shards.between(int(one), int(one) + _MOST_IN_BATCH) for one in first]
        return [{name: shards.take(own, name) for name in shards.names} for own in found]

    def marks(self, rows: NDArray[np.int64]) -> list[int]:
        """What the clips and layers of some rows are known by, wherever they lie."""
        return [int(mark) for mark in self._clips.layers[rows]]

    def composite_labels(
        self,
        pairs: NDArray[np.int64],
        made: CompositeFeatures,
        settings: CompositeSettings | None = None,
    ) -> Tensor:
        """Soft labels float32 `[n, V, C]` of the views of composites (Eq. 7 and 8).

        Args:
            pairs: `[n, 2]`.
            made: theirs.
            settings: of these, the label rule and α; the data set's own if not given.
        """
        settings = settings or self._source.settings
        rule = LABEL_RULES[settings.label_rule]
        lam = rule.formula(made.visible.numpy(), made.removed.numpy(), settings.alpha)
        sides = [self._source.one_hot(pairs[:, side]).numpy()[:, None] for side in (0, 1)]
        return torch.from_numpy(mix_labels(sides[0], sides[1], lam))

    @cached_property
    def _centre(self) -> Shards:
        return self.shards("centre")

    @cached_property
    def _real(self) -> Shards:
        return self.shards("real", self._seed, self._flip)

    @cached_property
    def _composites(self) -> Shards:
        # The label rule changes no pixel: one set of features serves every rule.
        plain = CompositeSettings()
        shown = replace(self._source.settings, label_rule=plain.label_rule, alpha=plain.alpha)
        return self.shards("composites", self._seed, self._flip, shown)

    def shards(self, kind: str, *depends: object) -> Shards:
        """What is kept of one kind, of clips that depend on all of `depends`."""
        bank = self._prepared.bank
        mark = fingerprint([self._clips.how, bank.settings, self._source.crop, *depends])
        return Shards(self._place / f"{kind}-{mark}")

    def _draws(self, stream: int, *rows: int, view: int) -> Augment:
        """What a view draws from."""
        numbers = [number_of(self._prepared.bank.ids[row]) for row in rows]
        return Augment(np.random.default_rng([self._seed, stream, *numbers, view]), self._flip)

    def _take(
        self, shards: Shards, keys: NDArray[np.int64], name: str, shape: tuple[int, ...]
    ) -> Tensor:
        """The column `name` for keys `[n, V]`: `[n, V, ...]`."""
        if not keys.size:
            kind = torch.float32 if name == "features" else torch.float64
            return torch.empty(*keys.shape, *shape, dtype=kind)
        return shards.take(keys.ravel(), name).unflatten(0, keys.shape)

    def _fill(
        self,
        shards: Shards,
        keys: NDArray[np.int64],
        compute: Callable[[NDArray[np.int64]], tuple[Tensor, _Columns]],
    ) -> None:
        """Compute and keep the rows of `keys` that are not there.

        Args:
            shards: where.
            keys: of what is asked for, of any shape.
            compute: gives those at some places in the flattened `keys`.
        """
        flat = keys.ravel()
        unique, first = np.unique(flat, return_index=True)
        places = np.sort(first[np.isin(unique, shards.missing(flat))])
        if len(places) < _WORTH_A_BAR:
            self._compute(shards, flat, places, compute, lambda done, total: None)
            return
        with progress("features", "clips") as report:
            self._compute(shards, flat, places, compute, report)

    def _compute(
        self,
        shards: Shards,
        keys: NDArray[np.int64],
        missing: NDArray[np.int64],
        compute: Callable[[NDArray[np.int64]], tuple[Tensor, _Columns]],
        report: Report,
    ) -> None:
        total = len(missing)
        for start in range(0, total, _WRITTEN_AT_ONCE):
            places = missing[start : start + _WRITTEN_AT_ONCE]
            parts: list[_Columns] = []
            done = start
            for columns in self._batches(places, compute):
                parts.append(columns)
                done += len(columns["features"])
                report(done, total)
            shards.add(keys[places], _joined(parts))

    def _batches(
        self,
        places: NDArray[np.int64],
        compute: Callable[[NDArray[np.int64]], tuple[Tensor, _Columns]],
    ) -> Iterator[_Columns]:
        """The columns of places, a batch at a time; the next one's clips are made meanwhile."""
        size = EVALUATION_BATCH
        parts = (places[i : i + size] for i in range(0, len(places), size))
        for clips, columns in prefetch(compute(part) for part in parts):
            yield {"features": self.of(clips), **columns}


def _joined(parts: list[Mapping[str, Tensor]] | list[_Columns]) -> _Columns:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
