"""Faces: the same clips, laid out for a framework. One visible table, `FACES`.

A face is made of the manifest alone, so that all faces of a folder say the same. Making it again
changes nothing unless the manifest has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compositing.clipfolder import read_manifest


@dataclass(frozen=True, slots=True)
class ExportedSet:
    """A folder of clips with its manifest, as faces see it.

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


Face = Callable[[ExportedSet], None]


def make_faces(exported: ExportedSet, names: Sequence[str]) -> None:
    """Make the faces of these names; `torchvision` and `fiftyone` are the same one."""
    for face in dict.fromkeys(FACES[name] for name in names):
        face(exported)


def _videofolder(exported: ExportedSet) -> None:
    from compositing.faces.videofolder import make_videofolder

    make_videofolder(exported)


def _mmaction2(exported: ExportedSet) -> None:
    from compositing.faces.lists import make_mmaction2

    make_mmaction2(exported)


def _pytorchvideo(exported: ExportedSet) -> None:
    from compositing.faces.lists import make_pytorchvideo

    make_pytorchvideo(exported)


def _by_class(exported: ExportedSet) -> None:
    from compositing.faces.folders import make_by_class

    make_by_class(exported)


def _webdataset(exported: ExportedSet) -> None:
    from compositing.faces.shards import make_webdataset

    make_webdataset(exported)


FACES: Mapping[str, Face] = MappingProxyType(
    {
        "videofolder": _videofolder,
        "mmaction2": _mmaction2,
        "pytorchvideo": _pytorchvideo,
        "torchvision": _by_class,
        "fiftyone": _by_class,
        "webdataset": _webdataset,
    }
)
