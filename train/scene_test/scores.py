"""What a classifier comes to in each form of the test clips, with its uncertainty.

Accuracies are means over actors: of an actor's scenes the share that is right counts. Errors are
computed over recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.estimates import Estimate, number, plain
from train.scene_test.asking import Answer, answers
from train.scene_test.cast import FOREIGN, FORMS
from train.scene_test.clips import SceneClips

Values = NDArray[np.float64]

SAID = "scene_said"
"""How often, in `FOREIGN`, the class of the scene is named in place of the actor's."""
GAP = "background_gap"
"""mixed_same − mixed_rand, over the actors that have both (Xiao et al. 2020, Sec. 3)."""
FIGURES = (*FORMS[:3], SAID, *FORMS[3:], GAP)
"""All that is measured, in the order of the table."""


@dataclass(frozen=True)
class SceneScores:
    """Results of one classifier, actor by actor.

    Attributes:
        values: figure ─► float64 [n], 0..1: of each actor the share of its clips that is right, or
            for `SAID` is taken for the scene's class; NaN where it has no clip in the form.
        recordings: int64 [n], of each actor.
    """

    values: Mapping[str, Values]
    recordings: NDArray[np.int64]

    def estimate(self, figure: str) -> Estimate:
        """One of `FIGURES`."""
        return Estimate.of(self._of(figure), self.recordings)

    def difference(self, base: SceneScores, figure: str) -> Estimate:
        """One of `FIGURES` less that of another classifier on the same clips, actor by actor."""
        return Estimate.of(self._of(figure) - base._of(figure), self.recordings)

    def _of(self, figure: str) -> Values:
        if figure == GAP:
            return self.values["mixed_same"] - self.values[FOREIGN]
        return self.values[figure]

    @classmethod
    def mean(cls, scores: Sequence[SceneScores]) -> SceneScores:
        """The mean of several on the same clips, such as an arm's repeats; at least one."""
        keys = scores[0].values
        values = {key: np.mean([one.values[key] for one in scores], axis=0) for key in keys}
        return cls(values, scores[0].recordings)

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Figure ─► mean, error and count of actors."""
        return {figure: with_count(self.estimate(figure)) for figure in FIGURES}

    def to_json(self) -> dict[str, Any]:
        """Plain values: the summary first, for readers; then each actor's."""
        return {
            "summary": self.summary(),
            "recordings": self.recordings.tolist(),
            "values": {key: [plain(value) for value in row] for key, row in self.values.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SceneScores:
        """What `to_json` gave."""
        values = {
            key: np.array([number(one) for one in row], np.float64)
            for key, row in value["values"].items()
        }
        return cls(values, np.array(value["recordings"], np.int64))


def measure_scenes(predict: Answer, clips: SceneClips) -> SceneScores:
    """Ask a classifier about every clip.

    Args:
        predict: from clips uint8 [b, T, h, w, 3] to logits float32 [b, C], such as
            `asking.logits_of` makes of a network.
        clips: of test videos; their labels number the classes as the logits do.
    """
    return measure_scenes_from_logits(answers(predict, clips), clips)


def measure_scenes_from_logits(
    logits: Mapping[str, NDArray[np.floating]], clips: SceneClips
) -> SceneScores:
    """The same from logits that are there: form ─► [m, C], in the order of the form's list."""
    cast, labels = clips.cast, clips.source.labels
    values = {}
    for form in FORMS:
        listed = cast.lists[form]
        guesses = logits[form].argmax(axis=1) if len(listed) else np.empty(0, np.int64)
        values[form] = _by_actor(guesses == labels[listed.pairs[:, 0]], listed.actor, clips)
        if form == FOREIGN:
            values[SAID] = _by_actor(guesses == labels[listed.pairs[:, 1]], listed.actor, clips)
    return SceneScores(values, clips.recordings)


def _by_actor(right: NDArray[np.bool_], actor: NDArray[np.int64], clips: SceneClips) -> Values:
    """Of each actor the share of its clips, float64 [n]; NaN for none."""
    count = len(clips.cast.actors)
    total = np.bincount(actor, minlength=count)
    hits = np.bincount(actor, weights=right, minlength=count)
    return np.divide(hits, total, out=np.full(count, np.nan), where=total > 0)


def with_count(estimate: Estimate) -> dict[str, float | int | None]:
    """An estimate as plain values, with its number of actors."""
    return estimate.to_json() | {"count": estimate.count}
