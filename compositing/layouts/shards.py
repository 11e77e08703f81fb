"""The layout `webdataset`: `OUT/webdataset/shard-000000.tar`, each clip a .mp4 and a .json.

The two members of a clip stand one after the other and share their name up to the first dot, which
is WebDataset's rule. Clips stand in an order that looks random and follows from their names: the
manifest's order is by ω, and readers shuffle only within a window. Originals keep their suffix.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from compositing.clipfolder import COLUMNS, one_hot
from compositing.labels import mix_labels
from compositing.layouts.base import ExportedSet, Layout
from l2a.errors import InputError
from l2a.files import atomic_write, file_sha256, read_json, write_json

_BLOCK = 512
_AT_ONCE = 512


class WebDataset(Layout):
    """Shards of tar files."""

    folder = "webdataset"

    def make(self, exported: ExportedSet) -> None:
        """Write the shards, unless they already hold this manifest; remove those left over."""
        folder = exported.out / self.folder
        index = folder / "index.json"
        mark = {
            "manifest": file_sha256(exported.out / "manifest.parquet"),
            "shard_bytes": exported.shard_bytes,
        }
        if _is_done(folder, index, mark):
            return
        index.unlink(missing_ok=True)
        sizes: dict[str, int] = {}
        for number, clips in enumerate(_shards(exported)):
            path = folder / f"shard-{number:06}.tar"
            with atomic_write(path) as aside, tarfile.open(aside, "w") as tar:
                for row in clips:
                    _add(tar, exported, row)
            sizes[path.name] = path.stat().st_size
        for path in folder.glob("shard-*.tar"):
            if path.name not in sizes:
                path.unlink()
        write_json(index, {**mark, "shards": sizes})

    def extra_bytes(self, clip_bytes: int, original_bytes: int) -> int:
        """A second copy of everything."""
        return clip_bytes + original_bytes


def _is_done(folder: Path, index: Path, mark: dict[str, Any]) -> bool:
    try:
        content = read_json(index) if index.is_file() else {}
    except InputError:
        return False
    shards = content.pop("shards", None)
    return (
        isinstance(shards, dict)
        and content == mark
        and all(
            (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in shards.items()
        )
    )


def _shards(exported: ExportedSet) -> Iterator[list[dict[str, Any]]]:
    """Rows without their soft labels, shard by shard: a new one where the next would not fit."""
    # Soft labels follow from the other columns; with hundreds of classes they are most of the rows.
    columns = [name for name in COLUMNS.names if name != "soft_label"]
    table = pq.read_table(exported.out / "manifest.parquet", columns=columns)
    keys = [_key(name) for name in table["file_name"].to_pylist()]
    order = sorted(range(len(keys)), key=lambda i: hashlib.sha256(keys[i].encode()).digest())
    clips: list[dict[str, Any]] = []
    size = 0
    for start in range(0, len(order), _AT_ONCE):
        for row in table.take(order[start : start + _AT_ONCE]).to_pylist():
            own = _padded((exported.out / row["file_name"]).stat().st_size) + 6 * _BLOCK
            if clips and size + own > exported.shard_bytes:
                yield clips
                clips, size = [], 0
            clips.append(row)
            size += own
    if clips:
        yield clips


def _add(tar: tarfile.TarFile, exported: ExportedSet, row: dict[str, Any]) -> None:
    path = exported.out / row["file_name"]
    key = _key(row["file_name"])
    with path.open("rb") as file:
        tar.addfile(_member(f"{key}{path.suffix}", path.stat().st_size), file)
    index = {label: i for i, label in enumerate(exported.classes)}
    soft = one_hot(index[row["label"]], len(index))
    if row["background_class"] is not None:
        y_f = one_hot(index[row["foreground_class"]], len(index))
        y_b = one_hot(index[row["background_class"]], len(index))
        soft = mix_labels(y_f, y_b, row["lam"])
    text = json.dumps({**row, "soft_label": soft.tolist()}, ensure_ascii=False).encode()
    tar.addfile(_member(f"{key}.json", len(text)), io.BytesIO(text))


def _member(name: str, size: int) -> tarfile.TarInfo:
    """An entry without owner and time: the same clips give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def _key(file_name: str) -> str:
    return Path(file_name).name.partition(".")[0]


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
