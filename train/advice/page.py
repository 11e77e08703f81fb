"""The page of an advice: self-contained, styled like that of `l2a report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from compositing.pictures import plain
from l2a.files import write_text
from l2a.runs import Run
from train.advice.answers import Answer
from train.advice.doubts import Doubts
from train.advice.recommend import Setting
from train.prepared import PreparedData
from train.report.films import picture_uri, readable_films
from train.report.rendering import render

SHEET = "contact_sheet.png"

_FILMS = 12


@dataclass(frozen=True)
class Film:
    """A video whose label looks wrong, playing.

    Attributes:
        video: its id.
        label, looks_like: classes.
        own, other: how likely the two are held, 0..1.
        uri: H.264 in an mp4, as a data URI.
        height, width: in pixels.
    """

    video: str
    label: str
    looks_like: str
    own: float
    other: float
    uri: str
    height: int
    width: int


def write_page(
    path: Path,
    run: Run,
    prepared: PreparedData,
    answers: Sequence[Answer],
    settings: Sequence[Setting],
    text: str,
    doubts: Doubts | None,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        run: its contact sheet is shown, if it has one.
        prepared: the data set.
        answers: in their order.
        settings: what is advised.
        text: the settings file.
        doubts: whose videos play; None for none.
    """
    sheet = run.path(SHEET)
    found, classes = doubts.found if doubts else (), prepared.videos.classes
    in_question = ((one, prepared.video(prepared.bank.ids[one.row]).path) for one in found)
    films = [
        Film(prepared.bank.ids[one.row], classes[one.label], classes[one.looks_like], one.own,
             one.other, *film)
        for one, film in readable_films(in_question, _FILMS)
    ]  # fmt: skip
    shown = render(
        Path(__file__).with_name("page.html"),
        name="/".join(run.folder.resolve().parts[-2:]),
        data=str(prepared.videos.root),
        notes=prepared.videos.notes,
        answers=answers,
        settings=settings,
        yaml=text,
        films=films,
        sheet=picture_uri(np.asarray(Image.open(sheet).convert("RGB"))) if sheet.is_file() else "",
        plain=plain,
    )
    write_text(path, shown)
