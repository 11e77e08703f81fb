"""Reads an exported folder with readers that cannot be test dependencies: webdataset and FiftyOne.

    python benchmarks/export_readers.py AUGMENTED

Needs nothing of this program, so that it can run in an environment of its own: pyarrow and av, and
webdataset or fiftyone for the faces that the folder has. Says what each reader found, and ends with
an exit code other than 0 if that is not what the manifest says.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of a clip, without suffix ─► its row."""
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    return {Path(row["file_name"]).stem: row for row in rows}


def count_frames(video: bytes) -> int:
    """How many frames a video file decodes to."""
    with av.open(io.BytesIO(video)) as file:
        return sum(1 for _ in file.decode(video=0))


def read_webdataset(folder: Path, rows: dict[str, dict[str, Any]]) -> str:
    """The shards, through `webdataset.WebDataset`: every clip once, with its label and frames."""
    import webdataset

    shards = sorted(str(path) for path in (folder / "webdataset").glob("shard-*.tar"))
    seen: Counter[str] = Counter()
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        row, told = rows[sample["__key__"]], json.loads(sample["json"])
        seen[sample["__key__"]] += 1
        check(told["soft_label"] == row["soft_label"], f"soft label of {sample['__key__']}")
        (video,) = (value for key, value in sample.items() if key in ("mp4", "avi", "mkv", "webm"))
        frames = count_frames(video)
        check(row["num_frames"] in (None, frames), f"frames of {sample['__key__']}")
    check(seen == Counter(list(rows)), "each clip once")
    return f"webdataset {webdataset.__version__}: {len(seen)} clips in {len(shards)} shards"


def read_fiftyone(folder: Path, rows: dict[str, dict[str, Any]]) -> str:
    """The class folders, through FiftyOne's importer, which needs no database for that."""
    import fiftyone
    from fiftyone.utils.data import VideoClassificationDirectoryTreeImporter

    labels: dict[str, str] = {}
    tree = VideoClassificationDirectoryTreeImporter(
        dataset_dir=str(folder / "by_class"), compute_metadata=False
    )
    with tree:
        for path, _, label, _ in tree:
            check(Path(path).stem not in labels, f"{path} once")
            labels[Path(path).stem] = label.label
    check(labels == {name: row["label"] for name, row in rows.items()}, "labels of all clips")
    classes = len(set(labels.values()))
    return f"fiftyone {fiftyone.__version__}: {len(labels)} clips of {classes} classes"


def check(right: bool, what: str) -> None:
    """End with a sentence if something is not as the manifest says."""
    if not right:
        sys.exit(f"not as in the manifest: {what}")


def main() -> None:
    """Read every face that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rows = manifest(folder)
    readers = {"webdataset": read_webdataset, "by_class": read_fiftyone}
    for face, reader in readers.items():
        if not (folder / face).is_dir():
            print(f"{face}: the folder has no such face")
            continue
        try:
            print(reader(folder, rows))
        except ModuleNotFoundError as error:
            print(f"{face}: not read, because {error.name} is not installed")


if __name__ == "__main__":
    main()
