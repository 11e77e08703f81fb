"""What the rows of a bank were made of: what banks of the same clips share, whoever is labelled.

A bank's fingerprint holds every video's split and class, so that another draw of labelled videos
has another bank, in which other videos stand without layers: nothing composites what validation
measures on, whatever asks. The clips in both are the same all the same. So a bank that lies beside
others notes what each row was made of; a new one copies rows that another has, layers only of its
own training videos, and features of a frozen trunk are kept for all of them, by these notes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositing.layers import LayerRecord
from l2a.clips import ClipBank, RowState
from l2a.errors import L2AError
from l2a.files import read_json, write_json

_FILE = "contents.json"


@dataclass(frozen=True)
class Contents:
    """The notes of a bank.

    Attributes:
        how: a fingerprint of the clips' geometry and of all that layers are made with.
        sources: id ─► what tells its file from others, `l2a.files.source_mark`.
        layers: id ─► fingerprint of its layers; "" where it has none.
    """

    how: str
    sources: Mapping[str, str]
    layers: Mapping[str, str]

    @classmethod
    def of(
        cls, how: str, sources: Mapping[str, str], records: Mapping[str, LayerRecord]
    ) -> Contents:
        """Those of a bank of these files, of which some have layers."""
        made = {id_: records[id_].fingerprint if id_ in records else "" for id_ in sources}
        return cls(how, sources, made)

    @classmethod
    def beside(cls, bank: ClipBank) -> Contents | None:
        """The notes of a bank; None where it has none, as one that lies in a run."""
        return _read(bank.folder)

    def write(self, bank: ClipBank) -> None:
        """Note them beside their bank."""
        write_json(bank.folder / _FILE, vars(self))

    def fill_from_others(self, bank: ClipBank) -> int:
        """Copy pending rows from the banks that lie beside this one; returns how many.

        A row is copied with its layers where this bank is to have them, and else without: they are
        of the same file, read in the same way.
        """
        before = len(bank.pending())
        for path in sorted(bank.folder.parent.glob(f"*/{_FILE}")):
            pending = [bank.ids[row] for row in bank.pending()]
            if not pending:
                break
            notes = None if path.parent == bank.folder else _read(path.parent)
            if notes is not None and notes.how == self.how:
                self._copy(bank, pending, path.parent, notes)
        return before - len(bank.pending())

    def _copy(self, bank: ClipBank, ids: Sequence[str], folder: Path, notes: Contents) -> None:
        try:
            other = ClipBank.open(folder)
        except L2AError:
            return  # damaged, or of another version
        if other.settings != bank.settings:
            return
        known = set(other.ids)
        for id_ in (one for one in ids if one in known):
            mark, layers = self.sources[id_], self.layers[id_]
            if not mark or notes.sources.get(id_) != mark:
                continue
            theirs, state = other.row(id_), RowState(int(other.state[other.row(id_)]))
            wanted = (RowState.LAYERS,) if layers else (RowState.FRAMES, RowState.LAYERS)
            if state not in wanted or (layers and notes.layers.get(id_) != layers):
                continue
            bank.write(
                bank.row(id_), np.array(other.frames[theirs]),
                np.array(other.masks[theirs]) if layers else None,
                np.array(other.backgrounds[theirs]) if layers else None,
                aspect=float(other.aspects[theirs]),
            )  # fmt: skip


@dataclass(frozen=True)
class Clips:
    """What the rows of a bank are known by, the same in every bank that has them.

    Attributes:
        how: a fingerprint of how all of them were made.
        frames: uint64 `[N]`, a number for the frames of each row.
        layers: uint64 `[N]`, one for its frames and layers.
    """

    how: str
    frames: NDArray[np.uint64]
    layers: NDArray[np.uint64]

    @classmethod
    def of(cls, bank: ClipBank, contents: Contents | None) -> Clips:
        """Those of a bank; one without notes is known by itself alone."""
        if contents is None:
            own = np.array([number_of(id_) for id_ in bank.ids], np.uint64)
            return cls(bank.fingerprint, own, own)
        files = [f"{id_}\n{contents.sources[id_]}" for id_ in bank.ids]
        layers = [f"{file}\n{contents.layers[id_]}"
                  for file, id_ in zip(files, bank.ids, strict=True)]  # fmt: skip
        numbers = [np.array([number_of(one) for one in texts], np.uint64)
                   for texts in (files, layers)]  # fmt: skip
        return cls(contents.how, numbers[0], numbers[1])


def mixed(*parts: NDArray[Any]) -> NDArray[np.int64]:
    """One number, 0 or more, for whole numbers side by side: of 63 bits, so that among a million
    two are the same with a chance of one in ten million.

    Args:
        parts: arrays of whole numbers, whose shapes go together.
    """
    total: NDArray[Any] = np.zeros((), np.uint64)
    for part in parts:
        # The finaliser of SplitMix64 (Steele et al. 2014); unsigned products wrap around.
        total = (total ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        total = (total ^ (total >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        total = (total ^ (total >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total = total ^ (total >> np.uint64(31))
    found: NDArray[np.int64] = (total >> np.uint64(1)).astype(np.int64)
    return found


def number_of(text: str) -> int:
    """A number of 64 bits for a text, the same on every machine."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)


def _read(folder: Path) -> Contents | None:
    """The notes in a folder; damaged ones are none, and cost the work of making rows anew."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return Contents(content["how"], dict(content["sources"]), dict(content["layers"]))
    except (L2AError, KeyError, TypeError, ValueError):
        return None
