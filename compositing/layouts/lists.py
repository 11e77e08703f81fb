"""Layouts that are lists: a video and its class in a line.

    OUT/mmaction2/list.txt            `videos/NAME.mp4 INDEX`, for MMAction2's `VideoDataset`
    OUT/mmaction2/soft_labels.json    {"classes": [...], "soft_labels": {FILE: [[INDEX, SHARE]]}}
    OUT/pytorchvideo/list.csv         `videos/NAME.mp4 INDEX`, for `labeled_video_dataset`

Paths are relative to OUT, and hold no space: both readers split lines at white space.
"""

from __future__ import annotations

import json
from pathlib import Path

from compositing.layouts.base import ExportedSet, Layout
from l2a.files import atomic_write


class MMAction2(Layout):
    """The list of MMAction2, and the soft labels next to it."""

    folder = "mmaction2"

    def make(self, exported: ExportedSet) -> None:
        """Write both files."""
        folder = exported.out / self.folder
        _write_list(folder / "list.txt", exported)
        with (
            atomic_write(folder / "soft_labels.json") as aside,
            aside.open("w", encoding="utf-8") as file,
        ):
            file.write('{"classes": ' + json.dumps(list(exported.classes)) + ',\n"soft_labels": {')
            between = "\n"
            for row in exported.rows("file_name", "soft_label"):
                shares = [[i, share] for i, share in enumerate(row["soft_label"]) if share]
                file.write(f"{between}{json.dumps(row['file_name'])}: {json.dumps(shares)}")
                between = ",\n"
            file.write("\n}}\n")


class PyTorchVideo(Layout):
    """The list of PyTorchVideo."""

    folder = "pytorchvideo"

    def make(self, exported: ExportedSet) -> None:
        """Write the list."""
        _write_list(exported.out / self.folder / "list.csv", exported)


def _write_list(path: Path, exported: ExportedSet) -> None:
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
        for row in exported.rows("file_name", "label_index"):
            file.write(f"{row['file_name']} {row['label_index']}\n")
