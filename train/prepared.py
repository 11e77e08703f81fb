"""What both stages work on: clips at training size with their layers, and the pool of pairs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compositing.layers import LayerRecord
from compositing.making import LayerMaker
from l2a.clips import ClipBank
from l2a.errors import InputError
from l2a.logs import say
from l2a.videos import Video, VideoSet
from semantic_match.doubts import weak_matches, weak_sentence
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.listed import ListedPool
from semantic_match.match import ClassMatch, match_classes, match_weights
from semantic_match.pool import Pool
from semantic_match.scenes import (
    UnlikeMatch,
    sample_rows,
    scene_descriptor,
    unlike_matches,
    unlike_sentence,
)
from semantic_match.settings import MatchSettings
from semantic_match.tied import match_counts, scene_tie, tie_sentence
from train.batches import ClipSource

Side = Literal["foreground", "background"]


@dataclass(frozen=True)
class PreparedData:
    """A data set, prepared: what both stages work on.

    Attributes:
        videos: the data set with its validation split, without the videos that were skipped.
        bank: every video's clip; training videos, labelled or not, also with mask and background.
        source: batches of the bank's clips and composites.
        rows: split ─► bank rows of its readable videos, int64: train, val, test, unlabelled.
        records: id ─► what the layer store says of a training video, labelled or not.
    """

    videos: VideoSet
    bank: ClipBank
    source: ClipSource
    rows: dict[str, NDArray[np.int64]]
    records: dict[str, LayerRecord]
    store: LayerMaker

    def video(self, video_id: str) -> Video:
        """The video of an id."""
        return self._by_id[video_id]

    @cached_property
    def recordings(self) -> NDArray[np.int64]:
        """The recording of each row of the bank, int64 `[N]`: clips of one group share it."""
        groups = [self._by_id[id_].group if id_ in self._by_id else "" for id_ in self.bank.ids]
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _by_id(self) -> dict[str, Video]:
        return {video.id: video for video in self.videos.videos}

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Bank rows of the training videos with a label of their own, int64: all, but where some
        have a pseudo-label."""
        return self.rows.get("labelled", self.rows["train"])

    @property
    def real(self) -> NDArray[np.int64]:
        """Bank rows of the training videos that are trained on as they are, int64: all, but where
        pseudo-labelled ones are material for pairs alone."""
        return self.rows.get("real", self.rows["train"])

    @property
    def again(self) -> str:
        """The options by which a run in another folder finds these layers and clips: a run keeps
        its settings once its results depend on them."""
        places = {"layers": self.store.folder, "bank": self.bank.folder.parent}
        named = (f"--{name} {shlex.quote(str(place))}" for name, place in places.items())
        return f"another --out and {' '.join(named)}"

    def usable_rows(self, side: Side) -> NDArray[np.int64]:
        """Bank rows of the training videos that are fit for one side of a pair."""
        records = [(int(row), self.records.get(self.bank.ids[row])) for row in self.rows["train"]]
        unfit = f"{side}_unfit"
        usable = [row for row, record in records if record and not getattr(record, unfit)]
        return np.array(usable, dtype=np.int64)

    def refuse_others(self, rows: NDArray[np.int64]) -> None:
        """Refuse bank rows, of any shape, of other videos than those of training.

        Raises:
            InputError: one is of another split: it may not be composited.
        """
        strange = np.setdiff1d(rows, self.rows["train"])
        if len(strange):
            raise InputError(
                f"{self.bank.ids[strange[0]]} is not a training video, and only those may be "
                "composited; choose pairs again."
            )

    def rows_by_class(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """`rows`, apart by class, in the order of the classes."""
        labels = self.source.labels[rows]
        return [rows[labels == index] for index in range(len(self.videos.classes))]


def unlabelled_rows(prepared: PreparedData, which: Literal["all", "rest"]) -> NDArray[np.int64]:
    """Bank rows of what methods take for unlabelled videos, ascending, int64.

    Args:
        prepared: a data set; whatever of it got a pseudo-label is unlabelled still.
        which: `DataSettings.unlabelled_set`: with the labelled training videos, or without.
    """
    rest = prepared.rows.get("unlabelled", np.empty(0, dtype=np.int64))
    if which == "rest":
        return np.unique(rest)
    return np.union1d(prepared.labelled, rest)


@dataclass(frozen=True)
class Matching:
    """Classes, their embeddings and the pool that follows.

    Attributes:
        embedder: its name and a checksum of its weights.
        specification: what was asked for, such as "1" or "above:0.5+same-class".
        vectors: float32 `[C, E]`, unit rows: the embedding of each class name.
        matches: which class lends its scenes to which.
        foregrounds, backgrounds: bank rows of the fit training videos of each side, int64.
        pool: pairs of bank rows: fit foregrounds of a class with fit backgrounds of its matches.
        weights: int64 `[C, C]`, how the pairs of a foreground class are split among background
            classes; None where the specification leaves that to caps and ranking.
        left_out: bank rows that were fit for a pair and are kept out of all (`without`), int64.
    """

    embedder: str
    specification: str
    vectors: NDArray[np.float32]
    matches: tuple[ClassMatch, ...]
    foregrounds: NDArray[np.int64]
    backgrounds: NDArray[np.int64]
    pool: Pool | ListedPool = field(repr=False)
    weights: NDArray[np.int64] | None = None
    left_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def rows(self) -> NDArray[np.int64]:
        """The bank rows that are fit for a pair, ascending, int64: those that are kept out of all
        pairs too, since the Selector knows the others by their likeness to them."""
        return np.unique(np.concatenate([self.foregrounds, self.backgrounds, self.left_out]))

    def without(self, rows: NDArray[np.int64], prepared: PreparedData) -> Matching:
        """The same matches of classes with a pool that has no pair of these rows."""
        if not len(rows):
            return self
        sides = [side[~np.isin(side, rows)] for side in (self.foregrounds, self.backgrounds)]
        return replace(
            self, foregrounds=sides[0], backgrounds=sides[1],
            pool=_pool(prepared, sides[0], sides[1], self.matches),
            left_out=np.intersect1d(rows, self.rows),
        )  # fmt: skip


def build_matching(prepared: PreparedData, settings: MatchSettings) -> Matching:
    """Embed the class names, match the classes and make the pool of fit pairs."""
    embedder = make_embedder(settings.embedder)
    classes = prepared.videos.classes
    vectors = embed_classes(classes, embedder)
    matches = match_classes(classes, vectors, settings.matches)
    if doubt := weak_sentence(classes, weak_matches(matches, settings.matches), len(matches)):
        say(f"note: {doubt}")
    foregrounds = prepared.usable_rows("foreground")
    backgrounds = prepared.usable_rows("background")
    if doubt := unlike_sentence(classes, _unlike(prepared, backgrounds, matches)):
        say(f"note: {doubt}")
    pool = _pool(prepared, foregrounds, backgrounds, matches)
    counts = f"{len(foregrounds)} foregrounds and {len(backgrounds)} backgrounds"
    if len(pool) == 0:
        raise InputError(
            f"No pair can be composited from {counts} that are fit; look at the contact sheet, and "
            f"try another segmenter, wider limits or more --matches than {settings.matches}."
        )
    say(f"pool: {len(pool)} pairs of {counts}")
    sides = [
        np.bincount(prepared.source.labels[rows], minlength=len(classes))
        for rows in (foregrounds, backgrounds)
    ]
    weights = match_weights(vectors, settings.matches, sides[1])
    tie = scene_tie(match_counts(len(classes), matches, sides[0], sides[1], weights))
    if doubt := tie_sentence(tie):
        say(f"note: {doubt}")
    return Matching(
        embedder.identity, settings.matches, vectors, matches, foregrounds, backgrounds, pool,
        weights,
    )  # fmt: skip


def _unlike(
    prepared: PreparedData, backgrounds: NDArray[np.int64], matches: Sequence[ClassMatch]
) -> list[UnlikeMatch]:
    """The matches whose clean backgrounds do not bear out what their names say."""
    count, classes = len(prepared.videos.classes), prepared.source.labels
    cut = prepared.recordings
    rows = backgrounds[sample_rows(classes[backgrounds], cut[backgrounds], count)]
    if len(rows) == 0:
        return []
    scenes = [scene_descriptor(prepared.bank.backgrounds[row, 0]) for row in rows]
    return unlike_matches(np.stack(scenes), classes[rows], cut[rows], count, matches)


def rematch(matching: Matching, prepared: PreparedData) -> Matching:
    """The same matches of classes with the pool that the labels of `prepared` make."""
    pool = _pool(prepared, matching.foregrounds, matching.backgrounds, matching.matches)
    return replace(matching, pool=pool)


def _pool(
    prepared: PreparedData,
    foregrounds: NDArray[np.int64],
    backgrounds: NDArray[np.int64],
    matches: Sequence[ClassMatch],
) -> Pool:
    sides = [
        [rows.tolist() for rows in prepared.rows_by_class(side)]
        for side in (foregrounds, backgrounds)
    ]
    return Pool(sides[0], sides[1], matches)
