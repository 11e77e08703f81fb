"""The pairs file: which pairs to composite, best first, and where the choice came from.

The Selector's room writes it, the compositing room and people's own tools read it: a Parquet table
with one row per pair, and everything about the choice as a whole in the table's metadata. After the
chosen pairs it may hold spare ones, marked in the column `spare`: the next best, which an export
uses in place of pairs that cannot be made, and nothing else does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from l2a.errors import InputError
from l2a.files import written_whole

_KEY = b"l2a.pairs"

_SCHEMA = pa.schema(
    [
        pa.field("foreground", pa.string(), nullable=False),
        pa.field("background", pa.string(), nullable=False),
        pa.field("omega", pa.float64(), nullable=False),
        pa.field("logit", pa.float64(), nullable=False),
        pa.field("foreground_class", pa.string(), nullable=False),
        pa.field("background_class", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair and the score that the Selector gave it.

    Attributes:
        foreground: id of the video whose actors and objects are cut out, V_f.
        background: id of the video whose emptied background they are pasted on, V_b.
        omega: ω, the score, in 0..1.
        logit: the score before the sigmoid; pairs are ranked by it, because ω saturates.
        foreground_class: class name of the foreground video.
        background_class: class name of the background video.
    """

    foreground: str
    background: str
    omega: float
    logit: float
    foreground_class: str
    background_class: str


_SPARE = pa.field("spare", pa.bool_(), nullable=False)


def write_pairs(
    path: Path,
    rows: Sequence[ScoredPair],
    meta: Mapping[str, Any],
    spares: Sequence[ScoredPair] = (),
) -> None:
    """Write a pairs file, whole or not at all. Same rows, spares and `meta`, same bytes.

    Args:
        path: the Parquet file.
        rows: the pairs, in the order that readers shall see.
        meta: about the choice as a whole, as JSON can hold it: budget, threshold (on ω), seed,
            fingerprint (of the settings), data_set (its name).
        spares: the next best pairs, in the order in which they stand in for chosen ones.

    Raises:
        InputError: a score is not a number in 0..1, or a name is not valid Unicode.
        TypeError: `meta` holds what JSON cannot.
    """
    everything = [*rows, *spares]
    for row in everything:
        if not 0.0 <= row.omega <= 1.0 or math.isnan(row.logit):
            raise InputError(
                f"The pair {row.foreground} on {row.background} has the score {row.omega} (logit "
                f"{row.logit}), not a number in 0..1; train the Selector again."
            )
    columns = {name: [getattr(row, name) for row in everything] for name in _SCHEMA.names}
    columns[_SPARE.name] = [False] * len(rows) + [True] * len(spares)
    try:
        table = pa.table(columns, schema=_SCHEMA.append(_SPARE))
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name {error.object!r} is not valid Unicode; rename the file or folder."
        ) from None
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(meta), sort_keys=True)})
    with written_whole(path) as aside:
        pq.write_table(table, aside, write_page_checksum=True)


def read_pairs(path: Path) -> tuple[tuple[ScoredPair, ...], dict[str, Any]]:
    """Read a pairs file: the chosen pairs, in their order, and its `meta`. No spare pair.

    Raises:
        InputError: there is no such file, it is damaged, or it is another kind of Parquet file.
    """
    table, meta = _read(path)
    return _rows(table, spare=False), meta


def read_spares(path: Path) -> tuple[ScoredPair, ...]:
    """The spare pairs of a pairs file, in the order in which they stand in for chosen ones.

    Raises:
        InputError: as `read_pairs`.
    """
    return _rows(_read(path)[0], spare=True)


def _rows(table: pa.Table, *, spare: bool) -> tuple[ScoredPair, ...]:
    if _SPARE.name in table.column_names:
        marked = table[_SPARE.name].combine_chunks()
        table = table.filter(marked if spare else pc.invert(marked))
    elif spare:
        return ()
    return tuple(map(ScoredPair, *(table[name].to_pylist() for name in _SCHEMA.names)))


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"There is no pairs file {path}; write one with `l2a select`.")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); write it again.") from None
    try:
        meta = json.loads((table.schema.metadata or {})[_KEY])
        schema = _SCHEMA.append(_SPARE) if _SPARE.name in table.column_names else _SCHEMA
        table = table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowException):
        columns = ", ".join(_SCHEMA.names)
        raise InputError(
            f"{path} is not a pairs file of this program; give one that `l2a select` wrote, with "
            f"the columns {columns}."
        ) from None
    if not isinstance(meta, dict):
        raise InputError(f"{path} is not a pairs file of this program: its metadata is no table.")
    return table, meta
