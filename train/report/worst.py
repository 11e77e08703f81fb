"""The real videos that a Selector values least, as playing clips: so that a person can mend labels.

A video that is worth little has a wrong label, shows little of its action, or is simply unlike what
validation holds: which of them, only a look can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from l2a.errors import L2AError
from l2a.turns import in_turns
from l2a.videos import TRAIN_SIDE
from train.report.films import readable_films
from train.report.source import Section, Source
from train.video_table import VIDEOS, VideoRow, read_videos_table

_FILMS = 12
_LISTED = 50


@dataclass(frozen=True)
class Clip:
    """A real video, playing.

    Attributes:
        row: what is known of it.
        uri: H.264 in an mp4, as a data URI.
        height, width: in pixels.
    """

    row: VideoRow
    uri: str
    height: int
    width: int


def worst_videos(source: Source) -> Section:
    """The videos that are worth least, the worst of each class first; None without a Selector."""
    path = source.folder / VIDEOS
    if not path.is_file():
        return None
    rows, meta = read_videos_table(path)
    valued = sorted(
        (row for row in rows if row.value is not None), key=lambda row: (row.value, row.video)
    )
    if not valued:
        return "No training video is fit for a pair, so none has a value."
    shown: dict[str, Any] = {
        "rows": valued[:_LISTED],
        "valued": len(valued),
        "videos": len(rows),
        "dropped": sum(row.dropped for row in rows),
        "partners": meta.get("partners"),
        "probe": meta.get("probe"),
        "clips": [],
    }
    try:
        videos = {video.id: video for video in source.videos.of_split(*TRAIN_SIDE)}
    except L2AError as error:
        return shown | {"missing": str(error)}
    in_question = (
        (row, videos[row.video].path)
        for row in in_turns(valued, attrgetter("label"))
        if row.video in videos
    )
    clips = [Clip(row, *film) for row, film in readable_films(in_question, _FILMS)]
    return shown | {"clips": clips, "missing": ""}
