"""Rows of tensors that several processes compute once, keep in one folder and find again.

Each call of `Shards.add` writes one file of its own, whole or not at all, so that a killed process
leaves what it had finished, and two that work side by side do not meet. Files are read when the
folder is opened, and those of other processes whenever something is not found; many small ones
become one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError

_MOST_FILES = 32
"""More than so many files become one."""


class Shards:
    """Named tensors with a row for each key; a key is a whole number, 0 or more."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: need not be there.
        """
        self.folder = folder
        self._read: set[str] = set()
        self._keys: NDArray[np.int64] = np.empty(0, np.int64)
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        self._tensors: dict[str, Tensor] = {}
        self.refresh()

    def __len__(self) -> int:
        """Rows that were found."""
        return len(self._keys)

    def missing(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `keys` that are not there, each once, ascending; looks for new files first."""
        absent = self._absent(keys)
        if len(absent) and self.refresh():
            absent = self._absent(absent)
        return absent

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tensors."""
        return tuple(self._tensors)

    def between(self, low: int, high: int) -> NDArray[np.int64]:
        """The keys from `low` on and below `high` that were found, ascending, int64."""
        first, last = np.searchsorted(self._keys, [low, high], sorter=self._order)
        return self._keys[self._order[first:last]]

    def take(self, keys: NDArray[np.int64], name: str) -> Tensor:
        """The rows `[n, ...]` of the tensor `name` for keys `[n]`, all of which are there."""
        return self._tensors[name][torch.from_numpy(self._positions(keys))]

    def add(self, keys: NDArray[np.int64], tensors: Mapping[str, Tensor]) -> None:
        """Keep rows of keys `[n]`, each once and none of which was there, in a new file."""
        name = self._write(keys, tensors)
        self._read.add(name)
        self._take_in([(keys, dict(tensors))])
        self._merge()

    def refresh(self) -> bool:
        """Read the files that other processes have written since; returns whether there were any.

        Another process may merge files meanwhile; what it took away is in the file that it wrote
        before, so the folder is looked through again.
        """
        found: list[tuple[NDArray[np.int64], dict[str, Tensor]]] = []
        while new := [path for path in self._files() if path.name not in self._read]:
            for path in new:
                try:
                    tensors = load_tensors(path)[0]
                except InputError:
                    if path.is_file():
                        raise
                    continue  # merged by another process
                if "keys" not in tensors:
                    raise InputError(
                        f"{path} holds no features of ours; delete it to have them made again."
                    )
                found.append((tensors.pop("keys").numpy(), tensors))
                self._read.add(path.name)
        if found:
            self._take_in(found)
            self._merge()
        return bool(found)

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(
            path for path in self.folder.glob("*.safetensors") if not path.name.startswith(".")
        )

    def _write(self, keys: NDArray[np.int64], tensors: Mapping[str, Tensor]) -> str:
        name = f"{uuid.uuid4().hex}.safetensors"
        save_tensors(self.folder / name, {"keys": torch.from_numpy(keys), **tensors})
        return name

    def _take_in(self, parts: list[tuple[NDArray[np.int64], dict[str, Tensor]]]) -> None:
        """Add rows to those in memory; of a key that comes twice the first row stays."""
        keys = np.concatenate([self._keys, *(part[0] for part in parts)])
        _, first = np.unique(keys, return_index=True)
        kept = np.sort(first)
        old = [self._tensors] if self._tensors else []
        for name in parts[0][1]:
            whole = torch.cat([part[name] for part in (*old, *(part[1] for part in parts))])
            self._tensors[name] = whole if len(kept) == len(keys) else whole[kept]
        self._keys = keys[kept]
        self._order = np.argsort(self._keys, kind="stable")

    def _merge(self) -> None:
        """Write one file in place of many."""
        files = self._files()
        if len(files) <= _MOST_FILES:
            return
        merged = [path for path in files if path.name in self._read]
        self._read.add(self._write(self._keys, self._tensors))
        for path in merged:
            path.unlink(missing_ok=True)

    def _positions(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._order[np.searchsorted(self._keys, keys, sorter=self._order)]

    def _absent(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.setdiff1d(keys, self._keys)
