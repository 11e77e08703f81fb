"""Held-out training actors on other held-out scenes: the scene test without a test split.

In each fold actors and scenes are of the recordings that its heads have not seen, as in
`train.scene_test`, whose list, clips and forms these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.advice.looking import Folds
from train.frozen.head import LinearHead
from train.prepared import PreparedData
from train.scene_test.asking import ByForm
from train.scene_test.cast import FOREIGN, Cast, Company, Listed, draw_cast
from train.scene_test.clips import SceneClips
from train.scene_test.scores import SAID

Values = NDArray[np.float64]

ASKED = ("mixed_same", FOREIGN, "scene_alone")
"""The forms of the scene test that are asked about."""
FIGURES = (*ASKED, SAID)

_SCENES = 2
"""Scenes that an actor stands on in each mixed form."""
_ACTORS = 400
"""Actors that are asked about, at most, spread evenly over the folds' rows."""


def held_out_clips(prepared: PreparedData, folds: Folds) -> SceneClips | None:
    """The clips of all folds as one list; None where there are no actors or no scenes."""
    labels, recordings = prepared.source.labels, prepared.recordings
    company = Company(prepared.bank.ids, labels, recordings)
    sides = [prepared.usable_rows("foreground"), prepared.usable_rows("background")]
    measured = np.intersect1d(folds.measured, sides[0])
    if len(measured) > _ACTORS:
        measured = measured[np.linspace(0, len(measured) - 1, _ACTORS).astype(np.int64)]
    casts = [
        draw_cast(company, np.intersect1d(part, measured), np.intersect1d(part, sides[1]), _SCENES)
        for part in folds.parts
    ]
    actors = np.concatenate([cast.actors for cast in casts])
    before = np.cumsum([0, *(len(cast.actors) for cast in casts)])
    lists = {}
    for form in casts[0].lists:
        own = [cast.lists[form] for cast in casts] if form in ASKED else []
        places = [one.actor + start for one, start in zip(own, before, strict=False)]
        lists[form] = Listed(
            np.concatenate([np.empty((0, 2), np.int64), *(one.pairs for one in own)]),
            np.concatenate([np.empty(0, np.int64), *places]),
        )
    if not any(len(one) for one in lists.values()):
        return None
    cast = Cast(actors, lists, prepared.bank.ids)
    return SceneClips(prepared.source, cast, recordings[actors], len(folds.measured))


@dataclass(frozen=True)
class HeldOutScenes:
    """Features of the clips, and which heads may be asked about them.

    Attributes:
        clips: all of them.
        features: form ─► float32 `[m, D]`.
        folds: form ─► int64 `[m]`, the fold of each clip's actor and scene.
    """

    clips: SceneClips
    features: ByForm
    folds: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, clips: SceneClips, features: ByForm, folds: Folds, rows: int) -> HeldOutScenes:
        """Of clips and their features; `rows` is the number of rows of the bank."""
        fold = np.full(rows, -1, np.int64)
        for number, part in enumerate(folds.parts):
            fold[part] = number
        lists = clips.cast.lists
        return cls(clips, features, {form: fold[lists[form].pairs[:, 0]] for form in features})

    def measure(self, heads: Sequence[LinearHead], fold: int) -> dict[str, Tensor]:
        """Figure ─► float64 `[m]`: of the fold's clips the share of heads that is right; in
        `scene_said` that names the scene's class in place of the actor's."""
        labels, found = torch.from_numpy(self.clips.source.labels), {}
        for form, features in self.features.items():
            own = self.folds[form] == fold
            pairs = torch.from_numpy(self.clips.cast.lists[form].pairs[own])
            seen = torch.from_numpy(features)[torch.from_numpy(own)]
            said = torch.stack([head.logits(seen).argmax(1) for head in heads])
            found[form] = (said == labels[pairs[:, 0]]).double().mean(0)
            if form == FOREIGN:
                found[SAID] = (said == labels[pairs[:, 1]]).double().mean(0)
        return found

    def joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Values]:
        """Figure ─► float64 `[m]` of the clips of all folds, fold by fold, as the lists stand."""
        names = [name for name in FIGURES if all(name in part for part in parts)]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in names}

    def recordings(self, figure: str) -> NDArray[np.int64]:
        """int64 `[m]`, the recording of each clip's actor."""
        form = FOREIGN if figure == SAID else figure
        return self.clips.recordings[self.clips.cast.lists[form].actor]
