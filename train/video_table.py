"""`videos.parquet`: what a Selector thinks of each real training video, one row a video.

video, class, group, split             id, class name, recording and split (train) of the video
value_foreground, value_background     mean logit of pairs in which it lends its actor, or its
                                       scene; empty where it can lend none
value                                  mean of the two, or the one that there is: what
                                       `--drop-real` goes by
rank_foreground, rank_background, rank the share of its class's other videos whose value is less,
                                       0..1, equal ones half
label_agreement                        how far videos of other recordings that look like it carry
                                       its label, in standard deviations; empty where it is in
                                       no pair
unfit_foreground, unfit_background     why it can lend no actor, or no scene; "" where it can
dropped                                whether `--drop-real` leaves it out

Logits compare videos of one Selector, and nothing else. Rows stand in the order of the videos; the
file's metadata says how many partners each value is the mean over, and, where stage one had a
probe, how well values tell its mislabelled videos.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l2a.errors import InputError
from l2a.files import atomic_write

VIDEOS = "videos.parquet"
"""The file's name in a run folder."""

_KEY = b"l2a.videos"

_TEXT, _NUMBER = pa.string(), pa.float64()
_SCHEMA = pa.schema(
    [
        *(pa.field(name, _TEXT, nullable=False) for name in ("video", "class", "group", "split")),
        *(
            pa.field(name, _NUMBER)
            for name in (
                "value_foreground", "value_background", "value",
                "rank_foreground", "rank_background", "rank", "label_agreement",
            )
        ),
        pa.field("unfit_foreground", _TEXT, nullable=False),
        pa.field("unfit_background", _TEXT, nullable=False),
        pa.field("dropped", pa.bool_(), nullable=False),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A row of the table; None where there is no value. See the module for the columns."""

    video: str
    label: str
    group: str
    split: str
    value_foreground: float | None
    value_background: float | None
    value: float | None
    rank_foreground: float | None
    rank_background: float | None
    rank: float | None
    label_agreement: float | None
    unfit_foreground: str
    unfit_background: str
    dropped: bool


def write_videos(path: Path, rows: Sequence[VideoRow], meta: Mapping[str, Any]) -> None:
    """Write the table, whole or not at all. Same rows and `meta`, same bytes.

    Raises:
        InputError: a name is not valid Unicode.
    """
    columns = list(zip(*map(astuple, rows), strict=True)) or [()] * len(_SCHEMA)
    try:
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)
        ]
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name {error.object!r} is not valid Unicode; rename the file or folder."
        ) from None
    table = pa.table(arrays, schema=_SCHEMA)
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(meta), sort_keys=True)})
    with atomic_write(path) as aside:
        pq.write_table(table, aside, write_page_checksum=True)


def read_videos_table(path: Path) -> tuple[list[VideoRow], dict[str, Any]]:
    """Read the table: its rows, and its metadata.

    Raises:
        InputError: it is damaged, or not there.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        meta = json.loads((table.schema.metadata or {})[_KEY])
        columns = table.select(_SCHEMA.names).cast(_SCHEMA).to_pydict()
    except (KeyError, pa.ArrowException, OSError, ValueError, MemoryError, RecursionError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise InputError(
            f"{path} is not a table of values of videos ({reason}); give --out another folder and"
            " choose again."
        ) from None
    return [VideoRow(*row) for row in zip(*columns.values(), strict=True)], meta


def dropped_videos(path: Path) -> frozenset[str]:
    """Ids of the videos that `--drop-real` leaves out; none where there is no table."""
    if not path.is_file():
        return frozenset()
    return frozenset(row.video for row in read_videos_table(path)[0] if row.dropped)
