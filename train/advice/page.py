"""The page of an advice: whole in itself, in the looks of `l2a report`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from compositing.pictures import plain
from l2a.errors import L2AError
from l2a.files import write_text
from l2a.runs import Run
from train import report
from train.advice.answers import Answer
from train.advice.doubts import Doubt, Doubts
from train.advice.recommend import Setting
from train.prepared import PreparedData
from train.report.films import picture_uri, real_film

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
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    style = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    shown = page.render(
        style=style,
        name="/".join(run.folder.resolve().parts[-2:]),
        data=str(prepared.videos.root),
        notes=prepared.videos.notes,
        answers=answers,
        settings=settings,
        yaml=text,
        films=list(films_of(doubts.found if doubts else (), prepared)),
        sheet=picture_uri(np.asarray(Image.open(sheet).convert("RGB"))) if sheet.is_file() else "",
        plain=plain,
    )
    write_text(path, shown)


def films_of(doubts: Iterable[Doubt], prepared: PreparedData) -> Iterable[Film]:
    """The first doubtful videos that can be read."""
    names, made = prepared.videos.classes, 0
    for one in doubts:
        if made == _FILMS:
            return
        id_ = prepared.bank.ids[one.row]
        try:
            uri, height, width = real_film(prepared.video(id_).path)
        except L2AError:
            continue
        yield Film(
            id_, names[one.label], names[one.looks_like], one.own, one.other, uri, height, width
        )
        made += 1
