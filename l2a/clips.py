"""ClipBank: clips, masks and backgrounds at training resolution, memory-mapped, one row a video.

A bank is a folder:

    index.json       ids, settings, fingerprint
    frames.npy       uint8 [N, T, H, W, 3]
    masks.npy        bool  [N, T, H, W]
    backgrounds.npy  uint8 [N, T, H, W, 3]
    aspects.npy      float64 [N], of the videos
    state.npy        uint8 [N], of `RowState`
    skipped/         one small file for each unreadable video, with the reason

The arrays are sparse files: what was never written takes no room on the disk. A row's state is
written after its data, and both outlive a killed process, so that filling resumes with the rows
that were not done. Several processes may read, and write different rows, at the same time.

All clips have one size, whatever the shape of their videos: like torchvision's references, a video
is squeezed to it. Its aspect ratio is kept next to it, so that what is composited of two videos can
have the right shape (`compositing.pair`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from l2a.disks import create_array, write_rows
from l2a.errors import InputError
from l2a.files import read_json, write_json, write_text
from l2a.settings import ClipSettings, kept
from l2a.videos import Skipped

__all__ = ["ClipBank", "ClipSettings", "RowState"]

_LAYOUT = 2
"""Version of the folder's layout; a bank of another version is filled again, never misread."""


class RowState(IntEnum):
    """What a row of the bank holds."""

    PENDING = 0
    FRAMES = 1
    LAYERS = 2
    UNREADABLE = 3


class ClipBank:
    """Clips of N videos in a folder. Get one from `create_or_resume` or `open`.

    A bank that is sent to another process is opened again there: no pixels travel.

    Attributes:
        folder: where it lies.
        ids: N video ids; the position of an id is its row.
        settings: the clips' geometry: T = num_frames, H = height, W = width.
        fingerprint: of all that the contents depend on, as its maker gave it.
        frames: uint8 [N, T, H, W, 3], RGB; zeros where not written.
        masks: bool [N, T, H, W], the foreground; zeros without layers.
        backgrounds: uint8 [N, T, H, W, 3], RGB; zeros without layers.
        aspects: float64 [N], width over height of each video as people see it; 0 where not written.
        state: uint8 [N], of `RowState`.
    """

    def __init__(self, folder: Path, mode: Literal["r", "r+"]) -> None:
        index = read_json(folder / "index.json")
        if index.get("layout") != _LAYOUT:
            raise InputError(f"{folder} was made by another version; remove it and fill it again.")
        self._mode = mode
        self.folder = folder
        self.ids: tuple[str, ...] = tuple(index["ids"])
        self.settings = ClipSettings(**index["settings"])
        self.fingerprint: str = index["fingerprint"]
        self._row_of = {video_id: row for row, video_id in enumerate(self.ids)}
        arrays = [
            _open_array(folder / f"{name}.npy", mode, shape, dtype)
            for name, (shape, dtype) in _layout(len(self.ids), self.settings).items()
        ]
        self.frames, self.masks, self.backgrounds, self.aspects, self.state = arrays

    @classmethod
    def create_or_resume(
        cls, folder: Path, ids: Sequence[str], settings: ClipSettings, fingerprint: str
    ) -> ClipBank:
        """Open a bank for writing: a new one, or the one that an earlier filling left.

        A bank of another version of the layout is emptied and filled again.

        Args:
            folder: where it lies, or will lie.
            ids: video ids, each once; their order is the order of the rows.
            settings: the clips' geometry.
            fingerprint: of all that the contents depend on, such as `l2a.files.fingerprint` of
                the videos and the settings of preparation.

        Raises:
            InputError: no ids, an id twice, or the folder holds a bank of other ids or settings.
        """
        if not ids or len(set(ids)) != len(ids):
            raise InputError(f"A bank needs at least one video and each once; got {len(ids)} ids.")
        index = {
            "layout": _LAYOUT,
            "fingerprint": fingerprint,
            "settings": kept(settings),
            "ids": list(ids),
        }
        path = folder / "index.json"
        if path.exists() and read_json(path).get("layout") != _LAYOUT:
            path.unlink()  # first: without an index, what else is there counts as nothing
            shutil.rmtree(folder / "skipped", ignore_errors=True)
        if path.exists():
            if read_json(path) != index:
                raise InputError(
                    f"{folder} holds clips of other videos or settings;"
                    " remove it, or choose another folder."
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for name, (shape, dtype) in _layout(len(ids), settings).items():
                # Small, and of every row: a full disk is noticed now and not in the middle.
                create_array(folder / f"{name}.npy", shape, dtype, whole=len(shape) == 1)
            write_json(path, index)  # last: a folder with an index holds whole arrays
        return cls(folder, "r+")

    @classmethod
    def open(cls, folder: Path) -> ClipBank:
        """Open a bank for reading.

        Raises:
            InputError: there is none, or its files do not belong together.
        """
        return cls(folder, "r")

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[ClipBank], tuple[Path, Literal["r", "r+"]]]:
        return ClipBank, (self.folder, self._mode)

    def row(self, video_id: str) -> int:
        """The row of a video; `InputError` when the bank does not know it."""
        try:
            return self._row_of[video_id]
        except KeyError:
            raise InputError(
                f"{self.folder} holds no clip of {video_id}; fill it again with this video."
            ) from None

    def pending(self) -> list[int]:
        """The rows that are still to be written, ascending."""
        return np.flatnonzero(self.state == RowState.PENDING).tolist()

    @property
    def skipped(self) -> list[Skipped]:
        """The unreadable videos and why, in order of their rows."""
        rows = np.flatnonzero(self.state == RowState.UNREADABLE).tolist()
        return [Skipped(self.ids[row], self._reason(row).read_text("utf-8")) for row in rows]

    def write(
        self,
        row: int,
        frames: npt.NDArray[np.uint8],
        masks: npt.NDArray[np.bool_] | None,
        background: npt.NDArray[np.uint8] | None,
        *,
        aspect: float | None = None,
    ) -> None:
        """Store a video's clip, with its layers or without.

        Args:
            row: where.
            frames: uint8 [T, H, W, 3], RGB.
            masks: bool [T, H, W], or None.
            background: uint8 [T, H, W, 3], RGB; None exactly when `masks` is.
            aspect: width over height of the video; W / H if not given: nothing was squeezed.
        """
        if (masks is None) != (background is None):
            raise ValueError("layers are masks and a background: give both or neither")
        written: list[tuple[np.memmap, npt.NDArray[Any]]] = [(self.frames, frames)]
        if masks is not None and background is not None:
            written += [(self.masks, masks), (self.backgrounds, background)]
        for array, values in written:
            if values.shape != array.shape[1:] or values.dtype != array.dtype:
                raise ValueError(
                    f"row {row} takes {array.dtype} {array.shape[1:]},"
                    f" not {values.dtype} {values.shape}"
                )
        seen_as = aspect or self.settings.width / self.settings.height
        written.append((self.aspects, np.array(seen_as, np.float64)))
        for array, values in written:
            write_rows(array, row, values[None])
        self._set_state(row, RowState.FRAMES if masks is None else RowState.LAYERS)

    def mark_unreadable(self, row: int, reason: str) -> None:
        """Note that a video has no clip, and why."""
        write_text(self._reason(row), reason)
        self._set_state(row, RowState.UNREADABLE)

    def _set_state(self, row: int, state: RowState) -> None:
        write_rows(self.state, row, np.full(1, state, np.uint8))

    def _reason(self, row: int) -> Path:
        return self.folder / "skipped" / f"{row:08d}.txt"


def _layout(n: int, settings: ClipSettings) -> dict[str, tuple[tuple[int, ...], type]]:
    """File name ─► shape and dtype, in the order of `ClipBank.__init__`."""
    clip = (n, settings.num_frames, settings.height, settings.width)
    return {
        "frames": ((*clip, 3), np.uint8),
        "masks": (clip, np.bool_),
        "backgrounds": ((*clip, 3), np.uint8),
        "aspects": ((n,), np.float64),
        "state": ((n,), np.uint8),
    }


def _open_array(
    path: Path, mode: Literal["r", "r+"], shape: tuple[int, ...], dtype: type
) -> np.memmap:
    try:
        array = open_memmap(path, mode=mode)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened ({error}); fill the bank again.") from None
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{path} holds {array.dtype} {array.shape} and not what index.json says;"
            " remove the folder and fill it again."
        )
    return array
