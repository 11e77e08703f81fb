"""A Selector that knows the base classes, and ranks the scenes of novel clips.

It learns from base classes alone: their clips, their validation part, their pairs. What it is then
asked about are an actor of a class that it has never seen, by its feature and the name of its
class, and scenes of base clips. How far look-alikes carry a novel clip's label is left out (0, the
mean): it would be known from clips that no episode may use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.class_splits import ClassSplit
from l2a.errors import InputError
from l2a.formats.groups import plain
from l2a.formats.listing import examples
from l2a.logs import say
from l2a.videos import VideoSet, carve_validation, counted
from selector.card import SelectorCard
from selector.network import SelectorConfig
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes
from semantic_match.partners import is_handwritten
from semantic_match.settings import MatchSettings
from train.batches import UNLABELLED
from train.features import agreement_among, all_features
from train.few_shot.composites import ScorePairs
from train.few_shot.opening import FewShotData
from train.prepared import PreparedData, build_matching
from train.recipe import SelectorRecipe
from train.settings.full import FullSettings
from train.stage_one import run_stage_one
from train.trained_selector import SelectorWithTrunk
from train.transfer import Reuse, Reused, open_selector

Rows = NDArray[np.int64]


def base_view(data: FewShotData, val_share: float, seed: int) -> PreparedData:
    """The base classes alone, as `l2a train` would see them: numbered from 0, with a validation
    part of their own, and no test split.

    Args:
        data: all classes.
        val_share: of each base class's clips, by recording.
        seed: of that choice.

    Raises:
        InputError: every base class is one recording.
    """
    prepared, classes = data.prepared, data.split.base
    names = tuple(sorted(classes))
    own = tuple(v for v in prepared.videos.videos if v.label in set(names))
    videos = VideoSet(prepared.videos.root, prepared.videos.format, names, own)
    videos = carve_validation(videos, val_share, seed)
    rows = {
        split: np.array([prepared.bank.row(v.id) for v in videos.of_split(split)], np.int64)
        for split in ("train", "val", "test")
    }
    rows["unlabelled"] = np.empty(0, np.int64)
    numbers = {number: names.index(name) for number, name in enumerate(prepared.videos.classes)
               if name in names}  # fmt: skip
    labels = np.array([numbers.get(label, UNLABELLED) for label in prepared.source.labels.tolist()])
    source = replace(prepared.source, labels=labels, num_classes=len(names))
    train = {video.id for video in videos.of_split("train")}
    records = {id_: record for id_, record in prepared.records.items() if id_ in train}
    return replace(prepared, videos=videos, source=source, rows=rows, records=records)


def given_selector(reuse: str, settings: FullSettings) -> Reused:
    """A Selector from before.

    Raises:
        InputError: it cannot be had, does not fit, or knows its own classes alone.
    """
    recipe = SelectorRecipe.of(settings)
    # The classes that it is asked about are new to it: those of embeddings may be any.
    return open_selector(Reuse(reuse), recipe, settings.clips, settings.match.embedder, ())


def check_new_to(card: SelectorCard, split: ClassSplit, videos: VideoSet, *, begun: bool) -> None:
    """Whether the novel classes are new to a Selector from before.

    A Selector of this data set must not have seen them: its choice of scenes would know their
    clips. That of another one, such as Kinetics, may know classes of the same names, and a note
    says which. It is of this data set where that has most of its classes.

    Args:
        card: of the Selector.
        split: of the classes.
        videos: the data set.
        begun: the run is one that began before: an earlier version did not look, and its runs go
            on.

    Raises:
        InputError: it has learned from novel classes of this data set.
    """
    here = {plain(name) for name in videos.classes}
    for names, data in ((card.classes, card.data), (card.finetuned_from, "")):
        own = {plain(name) for name in names}
        known = [name for name in split.novel if plain(name) in own]
        if not known:
            continue
        shown = f"{counted(len(known), 'novel class', 'novel classes')} ({examples(known)})"
        same = 2 * len(own & here) > len(own)
        if not same:
            say(
                f"note: the Selector was trained on {data or 'a data set'} that has {shown}, too: "
                "they are new to it only as far as its videos are others"
            )
        elif begun:
            say(f"note: the Selector was trained on {shown}: nothing new to it")
        else:
            raise InputError(
                f"The Selector was trained on {shown} of this data set, and novel ones must be "
                "new to it; leave --selector out, and one is trained on the base classes, or give "
                "the --class-split that it was trained with."
            )


def train_base_selector(base: PreparedData, settings: FullSettings, out: Path) -> SelectorWithTrunk:
    """Train a Selector on the base classes; one that an earlier call has finished is read.

    Args:
        base: of `base_view`.
        settings: of matching, stage one and the Selector.
        out: gets `stage_one/` and `selector/`.

    Raises:
        InputError: its labels are one-hot: they say nothing of novel classes.
    """
    if settings.selector.labels == "one-hot":
        raise InputError(
            "labels is one-hot, and a Selector that knows classes by number cannot rank scenes of "
            "novel ones; give --labels embedding."
        )
    recipe, match = SelectorRecipe.of(settings), settings.match
    if is_handwritten(match.matches):
        match = replace(match, matches="any")  # the file is about novel classes
    matching = build_matching(base, match)
    return run_stage_one(base, matching, recipe, out / "stage_one", out / "selector")


def pair_scores(
    trained: SelectorWithTrunk, data: FewShotData, base: PreparedData, settings: FullSettings
) -> ScorePairs:
    """What ranks pairs of any rows of base and novel classes: the Selector's ω, as a logit.

    Args:
        trained: the Selector.
        data: all classes.
        base: those that it learned from, or of the same split.
        settings: of matching.
    """
    embedder = make_embedder(settings.match.embedder)
    classes = data.prepared.videos.classes
    trained.check(embedder, classes)
    vectors = torch.from_numpy(embed_classes(classes, embedder))
    labels = vectors[torch.from_numpy(data.source.labels)]
    features = all_features(trained.trunk, data.prepared)
    if trained.card.config.agreement_scale:
        column = _agreement(features, base, trained.card.config)
        features = torch.cat([features, column[:, None]], dim=1)
    scorer = trained.scorer(features, labels, settings.rank.scoring)

    def score(pairs: Rows) -> NDArray[np.float32]:
        found: NDArray[np.float32] = scorer(np.arange(len(pairs)), pairs).cpu().float().numpy()
        return found

    return score


def _agreement(features: Tensor, base: PreparedData, config: SelectorConfig) -> Tensor:
    """Label agreement float32 `[N]` among the fit base clips; 0 of all others."""
    fit = np.union1d(base.usable_rows("foreground"), base.usable_rows("background"))
    column = torch.zeros(len(features))
    column[torch.from_numpy(fit)] = agreement_among(fit, features, base, config)
    return column


def partners(
    novel: Sequence[str], base: Sequence[str], settings: MatchSettings
) -> dict[str, tuple[str, ...]]:
    """Novel class ─► the base classes that lend it their scenes (Semantic Matching, Sec. 3.2).

    Each novel class is matched with the base classes as if it were one of them; a file, which names
    several of them, is read for all at once.

    Raises:
        InputError: the specification is wrong, or leaves a class without a partner.
    """
    embedder = make_embedder(settings.embedder)
    vectors = embed_classes((*base, *novel), embedder)
    if is_handwritten(settings.matches):
        names = (*base, *novel)
        written = match_classes(names, vectors, settings.matches)
        return {
            name: tuple(
                base[m.background]
                for m in written
                if names[m.foreground] == name and m.background < len(base)
            )
            for name in novel
        }
    found = {}
    for number, name in enumerate(novel):
        own = np.concatenate([vectors[: len(base)], vectors[len(base) + number][None]])
        matches = match_classes((*base, name), own, settings.matches)
        found[name] = tuple(
            base[m.background]
            for m in matches
            if m.foreground == len(base) and m.background < len(base)
        )
    return found
