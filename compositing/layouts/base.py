"""What a layout is, and the exported clips that it lays out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compositing.clipfolder import read_manifest


@dataclass(frozen=True, slots=True)
class ExportedSet:
    """A folder of clips with its manifest, as layouts see it.

    Attributes:
        out: the folder.
        classes: all class names, in the order of their indices.
        recipe: the settings of the clips.
        budget: how many composites were asked for.
        shard_bytes: how large a shard may grow.
    """

    out: Path
    classes: tuple[str, ...]
    recipe: Mapping[str, Any]
    budget: int
    shard_bytes: int

    def rows(self, *columns: str) -> Iterator[dict[str, Any]]:
        """The manifest's rows, in their order, a few at a time in memory."""
        return read_manifest(self.out, columns or None)


class Layout(ABC):
    """The clips of an export, arranged as one framework reads them.

    A layout is made of the manifest alone, so that all layouts of a folder say the same. Making it
    again changes nothing unless the manifest has changed.
    """

    folder: str
    """Where it lies under the export's folder; layouts of one folder are the same, made once."""

    configs = ""
    """What it adds to the front matter of the data card, for readers that look there."""

    real_configs = ""
    """What it adds there when original videos are in the folder."""

    @abstractmethod
    def make(self, exported: ExportedSet) -> None:
        """Write it, and remove what an earlier manifest left of it."""

    def check(self, classes: Sequence[str]) -> None:
        """Refuse classes that it cannot hold, before anything is made.

        Raises:
            InputError: two classes would be the same in it.
        """
        return

    def extra_bytes(self, clip_bytes: int, original_bytes: int) -> int:
        """Bytes on disk besides clips and originals: 0 for lists and links."""
        return 0
