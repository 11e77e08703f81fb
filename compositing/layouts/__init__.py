"""Layouts: the same clips, arranged for a framework. One visible table, `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from compositing.layouts.base import ExportedSet, Layout
from compositing.layouts.class_folders import ClassFolders
from compositing.layouts.lists import MMAction2, PyTorchVideo
from compositing.layouts.shards import WebDataset
from compositing.layouts.videofolder import VideoFolder

__all__ = ["LAYOUTS", "ExportedSet", "Layout", "layouts_named"]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "videofolder": VideoFolder(),
        "mmaction2": MMAction2(),
        "pytorchvideo": PyTorchVideo(),
        "torchvision": ClassFolders(),
        "fiftyone": ClassFolders(),
        "webdataset": WebDataset(),
    }
)


def layouts_named(names: Iterable[str]) -> tuple[Layout, ...]:
    """The layouts of these names, each once; `torchvision` and `fiftyone` are the same one."""
    return tuple({LAYOUTS[name].folder: LAYOUTS[name] for name in names}.values())
