"""`scene_test.png`: a few test clips in each form, and what a classifier says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compositing.pictures import (
    GAP,
    INK,
    PAPER,
    WARNING,
    evenly,
    font,
    plain,
    put,
    truncated,
    wrapped,
)
from l2a.files import atomic_write
from l2a.media import resize_frames
from train.scene_test.asking import Answer
from train.scene_test.cast import FOREIGN, FORMS
from train.scene_test.clips import SceneClips

Frames = NDArray[np.uint8]

_ROWS = {
    "real": "real clip",
    "mixed_same": "mixed-same: another recording's scene of its class",
    FOREIGN: "mixed-rand: a scene of another class",
    "scene_alone": "scene alone",
    "actor_alone": "actor alone",
}
_SIDE = 132
_GUTTER = 168
_TITLE = 38
_CAPTION = 26
_BETWEEN = 20
_RIGHT = (0, 120, 40)


def draw_scene_test(
    path: Path,
    clips: SceneClips,
    classes: Sequence[str],
    predict: Answer | None = None,
    *,
    count: int = 3,
    moments: int = 3,
) -> None:
    """Draw a PNG: one block of columns for each clip, one row for each form.

    Clips are shown as a network sees them: the centre crop, squeezed as the bank is. What the
    classifier says stands above each form: green where it is the actor's class, red where it is
    the scene's.

    Args:
        path: the PNG file; whole or not at all, same input, same bytes.
        clips: of the test.
        classes: names, numbered as the labels of `clips`.
        predict: the classifier, as `measure_scenes` takes it; without one only forms are shown.
        count: clips, each of another class as far as that goes.
        moments: frames of each, evenly spread.
    """
    shown = _chosen(clips, count)
    block = moments * (_SIDE + GAP) - GAP
    height = _TITLE + len(FORMS) * (_CAPTION + _SIDE + GAP) + GAP
    sheet = Image.new("RGB", (_GUTTER + len(shown) * (block + _BETWEEN), height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, form in enumerate(FORMS):
        middle = _TITLE + number * (_CAPTION + _SIDE + GAP) + _CAPTION + _SIDE // 2
        text = "\n".join(wrapped(_ROWS[form], font(16), _GUTTER - 3 * GAP))
        pen.multiline_text((GAP, middle), text, INK, font(16), anchor="lm")
    for column, actor in enumerate(shown):
        left = _GUTTER + column * (block + _BETWEEN)
        own = plain(classes[clips.labels[actor]])
        pen.text((left, _TITLE // 2), truncated(own, font(20), block), INK, font(20), anchor="lm")
        for number, form in enumerate(FORMS):
            top = _TITLE + number * (_CAPTION + _SIDE + GAP)
            text, ink, frames = _one(clips, form, actor, classes, predict)
            text = truncated(text, font(15), block)
            pen.text((left, top + _CAPTION // 2), text, ink, font(15), anchor="lm")
            cells = resize_frames(frames[evenly(moments, len(frames))], (_SIDE, _SIDE))
            for moment, cell in enumerate(cells):
                place = (left + moment * (_SIDE + GAP), top + _CAPTION)
                put(sheet, cell, place, (_SIDE, _SIDE))
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")


def _chosen(clips: SceneClips, count: int) -> list[int]:
    """Places of actors that have every form, one of a class before a second of any."""
    lists = clips.cast.lists.values()
    able = [
        actor
        for actor in range(len(clips.cast.actors))
        if all(actor in listed.actor for listed in lists)
    ]
    able = able or list(range(len(clips.cast.actors)))
    by_class: dict[int, list[int]] = {}
    for actor in able:
        by_class.setdefault(int(clips.labels[actor]), []).append(actor)
    firsts = [members[len(members) // 2] for members in by_class.values()]
    rest = [actor for actor in able if actor not in firsts]
    if len(firsts) >= count:
        return [firsts[place] for place in evenly(count, len(firsts))]
    return [*firsts, *rest][:count]


def _one(
    clips: SceneClips, form: str, actor: int, classes: Sequence[str], predict: Answer | None
) -> tuple[str, tuple[int, int, int], Frames]:
    """Caption, its colour, and frames uint8 [T, h, w, 3] of an actor's first clip in a form."""
    listed = clips.cast.lists[form]
    places = np.flatnonzero(listed.actor == actor)[:1]
    if len(places) == 0:
        size, count = clips.source.crop, clips.source.bank.settings.num_frames
        return "none", INK, np.full((count, size, size, 3), PAPER, np.uint8)
    batch = clips.batch(form, places)
    frames = batch.clips[0].numpy()
    labels = clips.source.labels[listed.pairs[places[0]]]
    on = f"on {plain(classes[labels[1]])}" if form.startswith("mixed") else ""
    if predict is None:
        return on, INK, frames
    logits = predict(batch.clips)[0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    guess = int(logits.argmax())
    says = f"says {plain(classes[guess])} {100 * shares[guess] / shares.sum():.0f} %"
    ink = _RIGHT if guess == labels[0] else WARNING if guess == labels[1] else INK
    return f"{on}: {says}" if on else says, ink, frames
