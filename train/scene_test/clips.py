"""The clips of the scene test: layers and a bank apart from those of training, and batches.

Nothing is stored in these forms: a batch is composited when it is asked for, by the one function
that composites for training and export, in the centre crop that every evaluation sees. No placement
is drawn: an actor stands where it stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compositing.engines.base import Engine
from compositing.making import LayerMaker
from compositing.pair import Side, composite_pair
from compositing.placement import Window
from compositing.settings import CompositeSettings, PrepareSettings
from l2a.clips import ClipSettings
from l2a.errors import L2AError
from l2a.logs import say
from l2a.videos import VideoSet
from train.batches import ClipBatch, ClipSource
from train.classifier import EVALUATION_BATCH
from train.opening import Opened
from train.prepared import PreparedData
from train.scene_test.cast import FOREIGN, FORMS, Cast, Company, draw_cast
from train.settings.full import RunSettings

FOLDER = "scene_test"
"""Where a run keeps the layers and clips of its scene test."""

GREY = (124, 116, 104)
"""What an actor alone stands on, RGB: the mean of ImageNet (0.485, 0.456, 0.406), which networks
with that normalisation see as zeros, and others as a grey."""

FEWEST = 10
"""Actors below which nothing is measured: the standard error would be above 15 points."""

APART = "-scene-test"


class NoSceneTest(L2AError):
    """These test videos allow no scene test; the message says why."""


@dataclass(frozen=True)
class SceneClips:
    """The clips of a scene test, made when they are asked for.

    Attributes:
        source: of the bank that holds the test videos alone; labels number the classes as the
            classifier that is asked has them.
        cast: which clips there are.
        recordings: int64 [n], the recording of each actor.
        videos: how many test videos could be read, fit or not.
    """

    source: ClipSource
    cast: Cast
    recordings: NDArray[np.int64]
    videos: int

    @classmethod
    def build(
        cls,
        apart: Opened,
        clips: ClipSettings,
        composite: CompositeSettings,
        classes: tuple[str, ...] = (),
    ) -> SceneClips:
        """Make the layers and the bank, as far as they are not there, and draw the list of clips.

        Args:
            apart: of `open_apart`.
            clips: geometry of the clips.
            composite: how the mixed forms are composited.
            classes: the classifier's, where they are not the data set's.

        Raises:
            NoSceneTest: there are too few test videos, or no masks of them.
        """
        count = len(apart.videos)
        if count < FEWEST:
            raise NoSceneTest(f"there are {count} test videos, and {FEWEST} are needed")
        say(f"scene test: {count} test videos, for evaluation alone, in {apart.store.folder}")
        try:
            prepared = apart.prepare(clips, composite)
        except L2AError as error:  # what is an extra must not cost a run its results
            raise NoSceneTest(str(error)) from error
        return cls.of(prepared, classes or prepared.videos.classes)

    @classmethod
    def of(cls, prepared: PreparedData, classes: tuple[str, ...]) -> SceneClips:
        """The clips of data that was prepared apart; see `build`.

        Raises:
            NoSceneTest: too few test videos are fit.
        """
        bank, labels = prepared.bank, prepared.source.labels
        sides = [_fit(prepared, side) for side in ("foreground", "background")]
        if len(sides[0]) < FEWEST or len(np.unique(labels[sides[1]])) < 2:
            raise NoSceneTest(
                f"of {len(prepared.rows['test'])} test videos {len(sides[0])} are fit as "
                f"foreground and {len(sides[1])} as background; {FEWEST} actors and scenes of two "
                "classes are needed"
            )
        cast = draw_cast(Company(bank.ids, labels, prepared.recordings), sides[0], sides[1])
        number = np.array([classes.index(name) for name in prepared.videos.classes], np.int64)
        source = replace(prepared.source, labels=number[labels], num_classes=len(classes))
        return cls(source, cast, prepared.recordings[cast.actors], len(prepared.rows["test"]))

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [n], the class of each actor."""
        return self.source.labels[self.cast.actors]

    def forms(
        self, size: int = EVALUATION_BATCH
    ) -> Iterator[tuple[str, ClipBatch, NDArray[np.int64]]]:
        """Every clip of every form, `size` at a time.

        Yields:
            The form; clips uint8 [b, T, h, w, 3] with the actor's class as label; and where they
            stand in the form's list, int64 [b].
        """
        for form in FORMS:
            for start in range(0, len(self.cast.lists[form]), size):
                chosen = np.arange(start, min(start + size, len(self.cast.lists[form])))
                yield form, self.batch(form, chosen), chosen

    def batch(self, form: str, chosen: NDArray[np.int64]) -> ClipBatch:
        """Some clips of a form: those at `chosen`, int64 [b], of its list."""
        pairs = self.cast.lists[form].pairs[chosen]
        labels = self.source.one_hot(pairs[:, 0])
        if form == "real":
            return self.source.real(pairs[:, 0])
        if form in ("mixed_same", FOREIGN):
            return ClipBatch(self.source.composites(pairs).clips, labels)
        make = self._scene if form == "scene_alone" else self._actor
        made = np.stack([make(int(row)) for row in pairs[:, 0]])
        return ClipBatch(torch.from_numpy(made), labels)

    def _scene(self, row: int) -> NDArray[np.uint8]:
        """A clean background, uint8 [T, h, w, 3]."""
        rows, columns = self._window()
        return np.asarray(self.source.bank.backgrounds[row])[:, rows, columns]

    def _actor(self, row: int) -> NDArray[np.uint8]:
        """An actor on grey, uint8 [T, h, w, 3]; as it is, for grey is no light to take on."""
        bank = self.source.bank
        frames, mask = np.asarray(bank.frames[row]), np.asarray(bank.masks[row])
        aspect = float(bank.aspects[row])
        grey = Side(np.full_like(frames, GREY), np.zeros_like(mask), aspect)
        plain = replace(self.source.settings, blend="paste", match_colour=0.0)
        actor = Side(frames, mask, aspect)
        return composite_pair(actor, grey, plain, window=self._window()).frames

    def _window(self) -> Window:
        """The centre crop, as evaluation cuts it."""
        settings, crop = self.source.bank.settings, self.source.crop
        top, left = (settings.height - crop) // 2, (settings.width - crop) // 2
        return slice(top, top + crop), slice(left, left + crop)


def open_apart(
    videos: VideoSet, prepare: PrepareSettings, engine: Engine, folder: Path, run: RunSettings
) -> Opened:
    """A data set's test videos, opened for the scene test: apart from all that trains.

    Layers and clips lie in `folder`/scene_test; where a run shares layers or banks with others, in
    a folder next to those, by the same name with "-scene-test" after it.

    Args:
        videos: the data set.
        prepare: how videos become layers, as those of training did.
        engine: distributes the work.
        folder: the run's.
        run: may name a store of layers and a folder of banks.

    Raises:
        InputError: a back end is unknown, or its files are not there.
    """
    own = folder / FOLDER
    store = LayerMaker(_beside(run.layers) or own / "layers", prepare)
    return Opened(
        own, videos.only("test"), store, engine, _beside(run.bank), ("test",), layered=("test",)
    )


def _beside(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    place = folder.resolve()
    return place.with_name(place.name + APART)


def _fit(prepared: PreparedData, side: str) -> NDArray[np.int64]:
    """Rows of the test videos that are fit for one side, int64, ascending."""
    ids, records = prepared.bank.ids, prepared.records
    rows = [
        row
        for row in prepared.rows["test"].tolist()
        if ids[row] in records and not getattr(records[ids[row]], f"{side}_unfit")
    ]
    return np.array(sorted(rows), dtype=np.int64)
