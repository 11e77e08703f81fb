"""The layout `videofolder`: OUT itself, as Hugging Face's `datasets` reads it.

`metadata.parquet` is the manifest under the name that the reader looks for, and the data card's
`configs` say which files belong to it, so that other layouts in the same folder do no harm.
"""

from __future__ import annotations

import shutil

from compositing.layouts.base import ExportedSet, Layout
from l2a.files import atomic_write


class VideoFolder(Layout):
    """The manifest under the name that `datasets` looks for."""

    folder = "."

    configs = """configs:
- config_name: default
  data_files:
  - split: train
    path:
    - metadata.parquet
    - videos/*.mp4
"""

    # By the suffixes that `datasets` knows as videos, or it would take others for audio; originals
    # of other kinds are read all the same, as metadata names them.
    real_configs = "".join(f"    - real/*.{end}\n" for end in ("mp4", "avi", "mkv", "mov", "mpeg"))

    def make(self, exported: ExportedSet) -> None:
        """Copy the manifest."""
        with atomic_write(exported.out / "metadata.parquet") as aside:
            shutil.copyfile(exported.out / "manifest.parquet", aside)
