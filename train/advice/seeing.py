"""What frozen eyes see of actors, and what of scenes, on held-out recordings."""

from __future__ import annotations

import math

import numpy as np

from train.advice.answers import Answer, Table, cannot_say
from train.advice.arms import HeldOut
from train.advice.looking import Folds
from train.advice.scenes import HeldOutScenes
from train.estimates import Estimate
from train.prepared import PreparedData
from train.scene_test.cast import FOREIGN
from train.scene_test.scores import SAID


def answer_eyes(prepared: PreparedData, folds: Folds, held: HeldOut) -> Answer:
    """The accuracy of heads on real clips alone, against chance."""
    rows = folds.measured
    labels, recordings = prepared.source.labels[rows], prepared.recordings[rows]
    top1 = Estimate.of(held.right, recordings)
    loss = Estimate.of(held.losses, recordings)
    counts = np.bincount(labels)
    chance, largest = 1 / len(folds.classes), float(counts.max() / len(labels))
    above = top1.above(max(chance, largest))
    verdict = (
        f"They name {top1.share()} of the clips of held-out recordings right; chance is "
        f"{100 * chance:.1f} %, the largest class alone {100 * largest:.1f} %"
    )
    if not above.sure(1) or above.mean < 0:
        verdict += ": no difference to chance, so that nothing below says much"
    names = prepared.videos.classes
    by_class = [
        (names[label], Estimate.of(held.right[labels == label],
                                          recordings[labels == label]), int(counts[label]))
        for label in folds.classes
    ]  # fmt: skip
    by_class.sort(key=lambda one: -one[1].mean)
    table = Table(
        ("class", "right, %", "clips"),
        tuple((name, found.share(), str(count)) for name, found, count in by_class),
        "Clips of held-out recordings that are named right, by class",
    )
    return Answer(
        "eyes", f"{verdict}.", (
            f"Their loss is {loss.mean:.2f} ± {loss.error:.2f} nats; who knows nothing has "
            f"{math.log(len(folds.classes)):.2f}.",
            f"{len(rows)} clips of {folds.recordings} training recordings in {len(folds.parts)} "
            "folds; errors are over recordings.",
            *_alone(folds),
        ), table,
        {
            "top1": top1.to_json(), "loss": loss.to_json(), "chance": chance,
            "largest_class": largest, "clips": len(rows), "recordings": folds.recordings,
            "by_class": {name: found.to_json() for name, found, _ in by_class},
        },
    )  # fmt: skip


def _alone(folds: Folds) -> tuple[str, ...]:
    if not folds.alone:
        return ()
    return (f"Not measured, for their training videos are of one recording: "
            f"{', '.join(folds.alone)}.",)  # fmt: skip


def answer_scenes(folds: Folds, held: HeldOut, scenes: HeldOutScenes | None) -> Answer:
    """What heads on real clips alone say of clean scenes, and of actors on other scenes."""
    if scenes is None or not held.scenes:
        return cannot_say(
            "scenes", "No held-out video is fit as foreground and no other as background: look "
            "at the masks.",
        )  # fmt: skip
    found = {
        name: Estimate.of(values, scenes.recordings(name)) for name, values in held.scenes.items()
    }
    chances = {name: _chance(folds, scenes, name) for name in found}
    lines, verdict = [], "No video has both a fit actor and a fit scene."
    if alone := found.get("scene_alone"):
        chance = chances["scene_alone"]
        verdict = f"The clean scene alone gives the class of {alone.share()} of the clips away"
        verdict += (
            f"; chance is {100 * chance:.1f} %."
            if alone.above(chance).sure(1)
            else f": no difference to chance, {100 * chance:.1f} %."
        )
    if (foreign := found.get(FOREIGN)) and (said := found.get(SAID)):
        lines.append(
            f"On a scene of another class {foreign.share()} of the actors are known (chance "
            f"{100 * chances[FOREIGN]:.1f} %), and in {said.share()} the scene's class is "
            f"named instead (chance {100 * chances[SAID]:.1f} %)."
        )
        if same := found.get("mixed_same"):
            lines.append(
                f"On another scene of their class {same.share()} of the actors are known (chance "
                f"{100 * chances['mixed_same']:.1f} %)."
            )
    return Answer(
        "scenes", verdict, tuple(lines), None,
        {
            name: one.to_json() | {"chance": round(chances[name], 6)}
            for name, one in found.items()
        },
    )  # fmt: skip


def _chance(folds: Folds, scenes: HeldOutScenes, figure: str) -> float:
    """What a head comes to that knows nothing: it names any class, or the largest one always."""
    form = FOREIGN if figure == SAID else figure
    pairs = scenes.clips.cast.lists[form].pairs
    labels = scenes.clips.source.labels[pairs[:, 1 if figure == SAID else 0]]
    largest = float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0
    return max(1 / len(folds.classes), largest)
