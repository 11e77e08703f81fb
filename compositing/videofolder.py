"""The exported data set's folder: what lies where, under which name, and what the files say.

    OUT/videos/<Foreground>_on_<Background>-<hash>.mp4    the composites
    OUT/metadata.parquet    one row a clip (`COLUMNS`)
    OUT/classes.txt         class names, one a line: the order of `soft_label` and `label_index`
    OUT/README.md           the data card
    OUT/skipped.csv         pairs that could not be made, and why; absent when there are none
    OUT/.export/settings.json   all clips of a folder are made with the same settings
    OUT/.export/clips/*.json    one file a clip: what made it; written after the clip, so that a
                                killed export knows which clips are whole

Hugging Face's `videofolder` reads it: the column `file_name` and the card's `configs` are for it,
and `.export` is hidden because it guesses what a folder holds by its most frequent suffix.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compositing.labels import mix_labels
from l2a.errors import InputError
from l2a.files import fingerprint, read_json, write_json, write_text, written_whole
from l2a.pairs import ScoredPair

# No other column may end in `_file_name`: `videofolder` would take it for a video.
COLUMNS = pa.schema(
    {
        "file_name": pa.string(),
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

_CARD = """---
task_categories:
- video-classification
configs:
- config_name: default
  data_files:
  - split: train
    path:
    - metadata.parquet
    - videos/*.mp4
---
# Composites of {data_set}

{count} clips made by `l2a export`: the actors and objects of one video, cut out and pasted on the
background of another, from which the actors were removed (Learn2Augment, ECCV 2022).

- `videos/`: H.264, {label_rule} label rule, α = {alpha}.
- `metadata.parquet`: one row a clip. `label` is the class of the foreground, whose action is seen.
  `soft_label` is the mixed label over all of `classes.txt`: `lam` on the foreground's class and the
  rest on the background's. `omega` is the score that the Selector gave the pair, `gamma` the share
  of the clip that the foreground covers; `foreground` and `background` name the two videos;
  `placement` says, as JSON, how the foreground was moved, where it was.
- Read it with `datasets.load_dataset("videofolder", data_dir=...)`, or with any Parquet reader.
- Only training videos were used: validate and test on real videos.

Licence: the clips are derived from the videos that `foreground` and `background` name, and stay
under the licence of those; look it up, and name the source, before you share them.
"""


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What is known of one exported clip.

    Attributes:
        num_frames: frames in the file.
        height: rows of the file's frames: even, as H.264 needs it.
        width: columns of the file's frames: even, as H.264 needs it.
        fps: frames per second.
        layers: fingerprints of the foreground's and the background's layers.
        provenance: of the composite (`composite.Composite`); its `settings` is the fingerprint of
            everything in `.export/settings.json`.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    layers: tuple[str, str]
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SkippedPair:
    """A pair whose clip could not be made, and why."""

    foreground: str
    background: str
    reason: str


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
    return f"{_word(pair.foreground_class)}_on_{_word(pair.background_class)}-{digest}"


def video_path(out: Path, name: str) -> Path:
    """Where the clip of that name lies."""
    return out / "videos" / f"{name}.mp4"


def read_record(out: Path, name: str) -> ClipRecord | None:
    """What is known of a clip, or None when the clip or its record is missing or damaged."""
    path = _record_path(out, name)
    if not (path.is_file() and video_path(out, name).is_file()):
        return None
    try:
        content = read_json(path)
        record = ClipRecord(**{**content, "layers": tuple(content["layers"])})
        whole = all(key in record.provenance for key in _FROM_PROVENANCE)
    except (InputError, KeyError, TypeError):
        return None
    return record if whole else None


def write_record(out: Path, name: str, record: ClipRecord) -> None:
    """Note that a clip is whole."""
    write_json(_record_path(out, name), asdict(record))


def claim_folder(out: Path, recipe: Mapping[str, Any], names: Iterable[str]) -> None:
    """Make the folder, or check that it can take this export without mixing it with another.

    Args:
        out: the data set's folder.
        recipe: every setting that clips depend on, as JSON can hold it.
        names: of all clips that this export will hold.

    Raises:
        InputError: the folder was made with other settings, or holds other clips.
    """
    path = out / ".export" / "settings.json"
    if path.is_file():
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
    write_json(path, dict(recipe))


def write_metadata(
    out: Path, records: Sequence[tuple[str, ClipRecord]], classes: Sequence[str]
) -> None:
    """Write `metadata.parquet`, whole or not at all.

    Args:
        out: the data set's folder.
        records: of each clip its name and its record, in order.
        classes: all class names; their order is that of `soft_label`.
    """
    index = {label: i for i, label in enumerate(classes)}
    rows = [_row(name, record, index) for name, record in records]
    with written_whole(out / "metadata.parquet") as aside:
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), aside)


def write_card(out: Path, recipe: Mapping[str, Any], count: int) -> None:
    """Write `classes.txt` and the data card `README.md`."""
    write_text(out / "classes.txt", "".join(f"{label}\n" for label in recipe["classes"]))
    data_set = recipe["data_set"] or "a video data set"
    facts = {"label_rule": recipe["label_rule"], "alpha": f"{recipe['alpha']:g}"}
    write_text(out / "README.md", _CARD.format(data_set=data_set, count=count, **facts))


def write_skipped(out: Path, skipped: Sequence[SkippedPair]) -> None:
    """Write `skipped.csv`, or remove the one of an earlier try when nothing was skipped."""
    path = out / "skipped.csv"
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with written_whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("foreground", "background", "reason"))
        writer.writerows((pair.foreground, pair.background, pair.reason) for pair in skipped)


def _show(key: str, recipe: Mapping[str, Any]) -> str:
    value = recipe.get(key)
    return f"{len(value)} other {key}" if isinstance(value, list) else f"{key} = {value!r}"


def _row(name: str, record: ClipRecord, index: Mapping[str, int]) -> dict[str, Any]:
    made = record.provenance
    label, other = index[made["foreground_class"]], index[made["background_class"]]
    return {
        "file_name": f"videos/{name}.mp4",
        "label": made["foreground_class"],
        "label_index": label,
        "soft_label": mix_labels(
            _one_hot(label, len(index)), _one_hot(other, len(index)), made["lam"]
        ),
        **{key: made[key] for key in _FROM_PROVENANCE},
        "placement": made["placement"] and json.dumps(made["placement"]),
        "num_frames": record.num_frames,
        "height": record.height,
        "width": record.width,
        "fps": record.fps,
    }


def _one_hot(index: int, num_classes: int) -> NDArray[np.float32]:
    row = np.zeros(num_classes, np.float32)
    row[index] = 1
    return row


def _record_path(out: Path, name: str) -> Path:
    return out / ".export" / "clips" / f"{name}.json"


def _word(class_name: str) -> str:
    """`SoccerJuggling`, `SwingBaseball`, `TrainingDog`: ASCII letters and digits, 40 at most."""
    parts = re.findall(r"[A-Za-z]+|[0-9]+", class_name)
    return "".join(part[0].upper() + part[1:] for part in parts)[:40] or "Class"
