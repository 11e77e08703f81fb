"""An exported data set's folder: what lies where, under which name, and its manifest.

    OUT/videos/<Foreground>_on_<Background>-<hash>.mp4    the composites
    OUT/real/Real_<Class>-<hash>.<suffix>   with `include_real`, the original training videos
    OUT/manifest.parquet    one row a clip (`COLUMNS`): what every layout is made of
    OUT/classes.txt         class names, one a line: the order of `soft_label` and `label_index`
    OUT/README.md           the data card
    OUT/skipped.csv         pairs and originals that could not be made, and why; absent if none
    OUT/.export/settings.json   all clips of a folder are made with the same settings
    OUT/.export/budget.json     how many there are to be, who chose them, and in which layouts
    OUT/.export/clips/*.json    one file a clip: what made it; written after the clip, so that a
                                killed export knows which clips are whole
    OUT/.export/fallen/*.json   one file a pair that could not be made: why

What the layouts add is said in `compositing/layouts`. `.export` is hidden because Hugging Face's
`videofolder` guesses what a folder holds by its most frequent suffix.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compositing.labels import mix_labels
from l2a.errors import InputError
from l2a.files import atomic_write, fingerprint, read_json, write_json
from l2a.locks import lock_folder
from l2a.pairs import ScoredPair

# No other column may end in `_file_name`: `videofolder` would take it for a video.
COLUMNS = pa.schema(
    {
        "file_name": pa.string(),
        "kind": pa.string(),
        "label": pa.string(),
        "label_index": pa.int64(),
        "soft_label": pa.list_(pa.float32()),
        "foreground": pa.string(),
        "background": pa.string(),
        "foreground_class": pa.string(),
        "background_class": pa.string(),
        "omega": pa.float64(),
        "lam": pa.float64(),
        "gamma": pa.float64(),
        "seed": pa.int64(),
        "placement": pa.string(),
        "settings": pa.string(),
        "foreground_source": pa.string(),
        "background_source": pa.string(),
        "num_frames": pa.int64(),
        "height": pa.int64(),
        "width": pa.int64(),
        "fps": pa.float64(),
    }
)

_FROM_PROVENANCE = (
    "foreground",
    "background",
    "foreground_class",
    "background_class",
    "omega",
    "lam",
    "gamma",
    "seed",
    "placement",
    "settings",
)

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What is known of one exported clip.

    Attributes:
        num_frames: frames in the file.
        height: rows of the file's frames: even, as the codecs need it.
        width: columns of the file's frames: even, as the codecs need it.
        fps: frames per second.
        layers: fingerprints of the foreground's and the background's layers.
        sources: of the two videos' files (`l2a.files.source_mark`).
        provenance: of the composite (`composite.Composite`); its `settings` is the fingerprint of
            everything in `.export/settings.json`. Also `start` and `resampled`, of its foreground
            (`clipmaking.Cut`).
    """

    num_frames: int
    height: int
    width: int
    fps: float
    layers: tuple[str, str]
    sources: tuple[str, str]
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SkippedPair:
    """A pair whose clip could not be made, and why; an original has no background."""

    foreground: str
    background: str
    reason: str


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """What a folder is to hold, besides the settings of its clips.

    Attributes:
        budget: how many composites.
        chosen_by: fingerprint of the Selector and the settings of the choice; "" where unknown.
        layouts: names of all layouts.
        include_real: as in `ExportSettings`.
    """

    budget: int
    chosen_by: str
    layouts: tuple[str, ...]
    include_real: str


def clip_name(pair: ScoredPair, settings: str) -> str:
    """A file name, without suffix, that follows from the pair and the settings alone.

    It does not depend on where the pair stands in a list: a larger budget finds the clips of a
    smaller one. Each word of a class name begins with a capital, and no space or sign is left:
    "training dog" as `training_dog` would make `datasets` take this one file for the train split
    and pass over all others.

    Args:
        pair: the pair.
        settings: the fingerprint of all settings.
    """
    digest = fingerprint([pair.foreground, pair.background, settings])
    return f"{word(pair.foreground_class)}_on_{word(pair.background_class)}-{digest}"


def word(class_name: str) -> str:
    """`SoccerJuggling`, `SwingBaseball`, `TrainingDog`: ASCII letters and digits, 40 at most."""
    parts = re.findall(r"[A-Za-z]+|[0-9]+", class_name)
    return "".join(part[0].upper() + part[1:] for part in parts)[:40] or "Class"


_OWN = re.compile(r"([A-Za-z0-9]+_on_[A-Za-z0-9]+|Real_[A-Za-z0-9]+)-[0-9a-f]{16}\.\w+")


def is_own(path: Path) -> bool:
    """Whether a file or link is called as an export calls its clips and originals: nothing else is
    ever removed, since it can be a person's own."""
    return bool(_OWN.fullmatch(path.name)) and (path.is_file() or path.is_symlink())


def video_path(out: Path, name: str) -> Path:
    """Where the clip of that name lies."""
    return out / "videos" / f"{name}.mp4"


def read_record(out: Path, name: str) -> ClipRecord | None:
    """What is known of a clip, or None when the clip or its record is missing or damaged."""
    return _read_record(_record_path(out, name)) if video_path(out, name).is_file() else None


def write_record(out: Path, name: str, record: ClipRecord) -> None:
    """Note that a clip is whole."""
    write_json(_record_path(out, name), asdict(record))


def made_pairs(out: Path) -> list[ScoredPair]:
    """The pairs whose clips the folder holds, best first; their logits are not kept."""
    pairs = []
    for path in sorted((out / ".export" / "clips").glob("[!.]*.json")):
        record = read_record(out, path.stem)
        if record is not None:
            made = record.provenance
            omega = made["omega"]
            pairs.append(
                ScoredPair(
                    made["foreground"], made["background"], 0.5 if omega is None else omega, 0.0,
                    made["foreground_class"], made["background_class"],
                )
            )  # fmt: skip
    return sorted(pairs, key=lambda pair: -pair.omega)


def read_failure(out: Path, name: str) -> SkippedPair | None:
    """Why the clip of that name could not be made at the last try, if that is so."""
    path = _failure_path(out, name)
    try:
        return SkippedPair(**read_json(path)) if path.is_file() else None
    except (InputError, TypeError):
        return None


def write_failure(out: Path, name: str, failure: SkippedPair | None) -> None:
    """Note why a clip could not be made; None takes the note away."""
    if failure is None:
        _failure_path(out, name).unlink(missing_ok=True)
    else:
        write_json(_failure_path(out, name), asdict(failure))


def read_plan(out: Path) -> FolderPlan | None:
    """What an earlier call wanted the folder to hold; None for a new folder."""
    path = out / ".export" / "budget.json"
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        layouts = content.pop("faces", None) or content.pop("layouts")  # "faces" up to version 0.1
        return FolderPlan(**content, layouts=tuple(layouts))
    except (AttributeError, KeyError, TypeError):
        raise InputError(
            f"{path} is not what an export of this version writes; export into another folder."
        ) from None


def refuse_less(out: Path, budget: int) -> FolderPlan | None:
    """What an earlier call wanted, as `read_plan`, if the budget is not less than it.

    Raises:
        InputError: it is less.
    """
    before = read_plan(out)
    if before is not None and budget < before.budget:
        raise InputError(
            f"{out} was exported with a budget of {before.budget}, and {budget} is less; give "
            f"{before.budget} or more, or export into another folder."
        )
    return before


def check_plan(out: Path, plan: FolderPlan) -> FolderPlan:
    """The plan that the folder will have: layouts of earlier calls stay.

    Raises:
        InputError: the folder holds more than the budget, was chosen by another Selector, or holds
            the originals in another way.
    """
    before = refuse_less(out, plan.budget)
    if before is None:
        return plan
    if before.chosen_by and plan.chosen_by and before.chosen_by != plan.chosen_by:
        raise InputError(
            f"The pairs in {out} were chosen by another Selector or with other settings; export "
            "into another folder."
        )
    if before.include_real not in ("no", plan.include_real):
        raise InputError(
            f"{out} was exported with include_real = {before.include_real!r} and not "
            f"{plan.include_real!r}; export into another folder, or with the same setting."
        )
    layouts = tuple(dict.fromkeys((*before.layouts, *plan.layouts)))
    return FolderPlan(plan.budget, plan.chosen_by or before.chosen_by, layouts, plan.include_real)


def refuse_foreign(out: Path) -> None:
    """Refuse a folder that holds other things than an export, whose files could be overwritten.

    Raises:
        InputError: it does, or is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out a new or an empty folder.")
    if not out.is_dir() or (out / ".export").is_dir():
        return
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if others:
        raise InputError(
            f"{out} holds other things than an export, such as {others[0]}, which could be "
            "overwritten; give --out a new or an empty folder."
        )


def check_folder(out: Path, recipe: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that the folder can take this export without mixing it with another.

    Args:
        out: the data set's folder.
        recipe: every setting that clips depend on, as JSON can hold it.
        names: of all clips that this export may hold.

    Raises:
        InputError: the folder was made with other settings, or holds other clips, or no export but
            something else.
    """
    path = out / ".export" / "settings.json"
    if not path.is_file():
        refuse_foreign(out)
    else:
        before = read_json(path)
        for key in sorted(set(before) | set(recipe)):
            if before.get(key) != recipe.get(key):
                raise InputError(
                    f"{out} was exported with {_show(key, before)} and not {_show(key, recipe)}; "
                    f"export into another folder, or with the same settings."
                )
    known = set(names)
    found = sorted(p.stem for p in (out / "videos").glob("[!.]*"))
    strangers = [name for name in found if name not in known]
    if strangers:
        raise InputError(
            f"{out / 'videos'} holds {len(strangers)} clips that these pairs do not make, such as "
            f"{strangers[0]}; export into another folder, or remove them."
        )


def claim_folder(out: Path, recipe: Mapping[str, Any], plan: FolderPlan) -> None:
    """Write down what the folder is to hold, before anything is made.

    Raises:
        InputError: another process is at work in it.
    """
    lock_folder(out)
    write_json(out / ".export" / "settings.json", dict(recipe))
    write_json(out / ".export" / "budget.json", asdict(plan))


def sweep(out: Path, names: Iterable[str] | None = None) -> None:
    """Remove what killed processes left half-written, and clips that are not among `names`."""
    for path in out.rglob(".part-*"):
        path.unlink(missing_ok=True)
    if names is not None:
        kept = set(names)
        for place in (out / "videos", out / ".export" / "clips"):
            for path in place.glob("[!.]*"):
                if path.stem not in kept:
                    path.unlink(missing_ok=True)


def write_manifest(out: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `manifest.parquet`, whole or not at all, a few rows at a time; returns how many."""
    count, source = 0, iter(rows)
    with (
        atomic_write(out / "manifest.parquet") as aside,
        pq.ParquetWriter(aside, COLUMNS) as writer,
    ):
        while some := [dict(row) for row in islice(source, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(some, schema=COLUMNS))
            count += len(some)
    return count


def read_manifest(out: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of `manifest.parquet` in their order, without having all of them in memory."""
    with pq.ParquetFile(out / "manifest.parquet") as file:
        wanted = list(columns) if columns is not None else None
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted):
            yield from batch.to_pylist()


def composite_row(name: str, record: ClipRecord, index: Mapping[str, int]) -> dict[str, Any]:
    """The manifest's row of a composite.

    Args:
        name: of the clip.
        record: what is known of it.
        index: class name ─► its index.
    """
    made = record.provenance
    label, other = index[made["foreground_class"]], index[made["background_class"]]
    return {
        "file_name": f"videos/{name}.mp4",
        "kind": "composite",
        "label": made["foreground_class"],
        "label_index": label,
        "soft_label": mix_labels(
            one_hot(label, len(index)), one_hot(other, len(index)), made["lam"]
        ),
        **{key: made[key] for key in _FROM_PROVENANCE},
        "placement": made["placement"] and json.dumps(made["placement"]),
        "foreground_source": record.sources[0],
        "background_source": record.sources[1],
        "num_frames": record.num_frames,
        "height": record.height,
        "width": record.width,
        "fps": record.fps,
    }


def one_hot(index: int, num_classes: int) -> NDArray[np.float32]:
    """float32 [num_classes], 1 at `index`."""
    row = np.zeros(num_classes, np.float32)
    row[index] = 1
    return row


def write_skipped(out: Path, skipped: Sequence[SkippedPair]) -> None:
    """Write `skipped.csv`, or remove the one of an earlier try when nothing was skipped."""
    path = out / "skipped.csv"
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("foreground", "background", "reason"))
        writer.writerows((pair.foreground, pair.background, pair.reason) for pair in skipped)


def _read_record(path: Path) -> ClipRecord | None:
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        pairs = {key: tuple(content[key]) for key in ("layers", "sources")}
        record = ClipRecord(**{**content, **pairs})
        whole = all(key in record.provenance for key in _FROM_PROVENANCE)
    except (InputError, KeyError, TypeError):
        return None
    return record if whole else None


def _show(key: str, recipe: Mapping[str, Any]) -> str:
    value = recipe.get(key)
    return f"{len(value)} other {key}" if isinstance(value, list) else f"{key} = {value!r}"


def _record_path(out: Path, name: str) -> Path:
    return out / ".export" / "clips" / f"{name}.json"


def _failure_path(out: Path, name: str) -> Path:
    return out / ".export" / "fallen" / f"{name}.json"
