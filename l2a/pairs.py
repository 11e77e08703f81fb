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
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l2a.errors import InputError
from l2a.files import atomic_write

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
        rows: the pairs, in the order that readers are to see.
        meta: about the choice as a whole, as JSON can hold it: budget, threshold (on ω), seed,
            fingerprint (of the settings), data_set (its name).
        spares: the next best pairs, in the order in which they stand in for chosen ones.

    Raises:
        InputError: a score is not a number in 0..1, a pair stands twice or is of one video alone,
            or a name is not valid Unicode.
        TypeError: `meta` holds what JSON cannot.
    """
    everything = [*rows, *spares]
    if wrong := _wrong_pair(everything):
        raise InputError(f"{wrong[0].upper()}{wrong[1:]}; train the Selector again.")
    columns = {name: [getattr(row, name) for row in everything] for name in _SCHEMA.names}
    columns[_SPARE.name] = [False] * len(rows) + [True] * len(spares)
    try:
        table = pa.table(columns, schema=_SCHEMA.append(_SPARE))
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name {error.object!r} is not valid Unicode; rename the file or folder."
        ) from None
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(meta), sort_keys=True)})
    with atomic_write(path) as aside:
        pq.write_table(table, aside, write_page_checksum=True)


def read_pairs(path: Path) -> tuple[tuple[ScoredPair, ...], dict[str, Any]]:
    """Read a pairs file: the chosen pairs, in their order, and its `meta`. No spare pair.

    Raises:
        InputError: there is no such file, it is damaged, it is another kind of Parquet file, or it
            holds what `write_pairs` refuses.
    """
    rows, meta = _read(path)
    return tuple(row for row, spare in rows if not spare), meta


def read_spares(path: Path) -> tuple[ScoredPair, ...]:
    """The spare pairs of a pairs file, in the order in which they stand in for chosen ones.

    Raises:
        InputError: as `read_pairs`.
    """
    return tuple(row for row, spare in _read(path)[0] if spare)


def first_evenly(pairs: Sequence[ScoredPair], budget: int) -> tuple[int, ...]:
    """Which pairs of a larger choice make a smaller one with the classes as even as they were.

    The best ones alone would not: caps and balance hold for the choice as a whole, and its best
    tenth may be all of one class. So each foreground class gives its best pairs, as many as its
    share of the choice, in whole numbers by the largest remainder (equal ones in favour of the
    class whose best pair ranks higher).

    Args:
        pairs: the choice, best first.
        budget: how many to take; at most all of them.

    Returns:
        Their positions, ascending; all of them for the whole budget.

    Raises:
        ValueError: the budget is negative, or larger than the choice.
    """
    if not 0 <= budget <= len(pairs):
        raise ValueError(f"The budget is {budget} and there are {len(pairs)} pairs.")
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.foreground_class, []).append(place)
    # Whole numbers alone: len(own) · budget = share · len(pairs) + remainder.
    shares = {name: divmod(len(own) * budget, len(pairs)) for name, own in places.items()}
    missing = budget - sum(share for share, _ in shares.values())
    by_remainder = sorted(shares, key=lambda name: -shares[name][1])  # stable: by the best pair
    counts = {name: share for name, (share, _) in shares.items()}
    for name in by_remainder[:missing]:
        counts[name] += 1
    return tuple(sorted(place for name, own in places.items() for place in own[: counts[name]]))


def smaller_choice(
    rows: Sequence[ScoredPair], spares: Sequence[ScoredPair], budget: int
) -> tuple[list[ScoredPair], list[ScoredPair]]:
    """Fewer pairs of a choice, with its classes kept even, and all others as spare ones.

    Args:
        rows: the choice, best first. spares: its spare pairs, in their order.
        budget: how many to take; the whole choice if it has no more.

    Returns:
        The pairs to take and the spare ones, both best first, as `first_evenly` says.
    """
    taken = set(first_evenly(rows, min(budget, len(rows))))
    left = [row for place, row in enumerate(rows) if place not in taken]
    return [rows[place] for place in sorted(taken)], [*left, *spares]


def _read(path: Path) -> tuple[list[tuple[ScoredPair, bool]], dict[str, Any]]:
    """All rows, each with whether it is a spare one, and the metadata."""
    if not path.is_file():
        there = f"{path} is not a file" if path.exists() else f"There is no pairs file {path}"
        raise InputError(f"{there}; write one with `l2a select`.")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise InputError(
            f"{path} cannot be read as a pairs file ({reason}); give one that `l2a train` or "
            "`l2a select` wrote."
        ) from None
    try:
        meta = json.loads((table.schema.metadata or {})[_KEY])
        schema = _SCHEMA.append(_SPARE) if _SPARE.name in table.column_names else _SCHEMA
        columns = table.select(schema.names).cast(schema).to_pydict()
    except (KeyError, ValueError, RecursionError, pa.ArrowException):
        names = ", ".join(_SCHEMA.names)
        raise InputError(
            f"{path} is not a pairs file of this program; give one that `l2a select` wrote, with "
            f"the columns {names}."
        ) from None
    _check_meta(path, meta)
    spare = columns.pop(_SPARE.name, [False] * table.num_rows)
    rows = list(map(ScoredPair, *columns.values()))
    if wrong := _wrong_pair(rows):
        raise InputError(f"{path} is not usable: {wrong}; write it again with `l2a select`.")
    return list(zip(rows, spare, strict=True)), meta


_NUMBER = (int, float)
_META: Mapping[str, tuple[type, ...]] = {
    "balance": (str,), "budget": (int,), "caps": (dict, NoneType), "caps_doubled": (int,),
    "clips": (str,), "considered": (int,), "data_set": (str,), "fingerprint": (str,),
    "passed_over": (int,), "passed_over_more": (bool,), "scoring": (str,), "seed": (int, NoneType),
    "selection": (str,), "settings": (dict,), "sharpness": (dict,), "threshold": _NUMBER,
}  # fmt: skip
"""What is known of the metadata; all of it may be missing where other tools wrote the file."""


def _check_meta(path: Path, meta: object) -> None:
    if not isinstance(meta, dict):
        raise InputError(
            f"{path} is not a pairs file of this program, because its metadata is not a table; "
            "write one with `l2a select`."
        )
    for name, kinds in _META.items():
        value = meta.get(name)
        fits = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
        if name in meta and not fits:
            raise InputError(
                f"{path} is not usable: its metadata has {name} {str(value)[:60]!r}, which is no "
                f"{kinds[0].__name__}; write it again with `l2a select`."
            )


def _wrong_pair(rows: Sequence[ScoredPair]) -> str:
    """What is wrong with the first pair that cannot be; "" where all can."""
    known: set[tuple[str, str]] = set()
    for row in rows:
        pair = f"the pair {row.foreground} on {row.background}"
        if not 0.0 <= row.omega <= 1.0 or math.isnan(row.logit):
            return f"{pair} has the score {row.omega} (logit {row.logit}), not a number in 0..1"
        if row.foreground == row.background:
            return f"{pair} has the same video on both sides"
        if (row.foreground, row.background) in known:
            return f"{pair} stands twice"
        known.add((row.foreground, row.background))
    return ""
