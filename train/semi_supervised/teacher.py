"""The teacher of distillation: an image network, and the table of what it says of each frame.

What ImageNet's classes are in a frame says something of its scene and things, and needs no label:
a second head of the video network learns to say the same of a clip (VideoSSL, Jing et al. 2021;
ActorCut, Zou et al. 2021, whose teacher sees one random frame of a clip, whole).

The table lies beside the bank, `teacher/IDENTITY/`, and is shared by all runs on that bank:

    index.json       what the contents depend on
    values.npy       float16 [N, T, K], log-probabilities
    state.npy        uint8 [N], 1 where a row is written

Logarithms, because at a temperature above 1 the small probabilities count, and float16 has none
below 6e-8; the large ones are as exact either way. The frames of a clip are computed together, in
one batch of T: so values depend on nothing but the clip, whatever was asked for before, and a table
that was filled in two goes has the bytes of one that was not.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from l2a.clips import ClipBank, RowState
from l2a.disks import create_array, write_rows
from l2a.errors import InputError
from l2a.files import read_json, write_json
from l2a.image_classifiers import ImageClassifier, make_image_classifier
from l2a.logs import say
from l2a.progress import progress

_LAYOUT = 1


class Teacher:
    """An image classifier on a device.

    Attributes:
        identity: the network's name and a checksum of its weights and of how it wants its input;
            the device is not part of it.
        classes: K.
    """

    def __init__(self, classifier: ImageClassifier, device: torch.device) -> None:
        self.identity = f"{classifier.name}-{classifier.checksum()}"
        self.classes = classifier.classes
        self._classifier, self._device = classifier.to(device).eval(), device

    @torch.inference_mode()
    def log_probabilities(self, frames: Tensor) -> Tensor:
        """Their natural logarithms, float32 `[B, K]`, on the CPU.

        Args:
            frames: uint8 `[B, h, w, 3]`, RGB.
        """
        logits: Tensor = self._classifier(frames.to(self._device))
        return logits.log_softmax(dim=1).cpu()

    def probabilities(self, frames: Tensor) -> Tensor:
        """float32 `[B, K]`, on the CPU, rows sum to 1, of frames uint8 `[B, h, w, 3]`, RGB."""
        return self.log_probabilities(frames).exp()


def make_teacher(spec: str, device: torch.device) -> Teacher:
    """The teacher that `--teacher` names; see `l2a.image_classifiers.make_image_classifier`.

    Raises:
        InputError: there is no such network, or its weights are missing, damaged or another's.
    """
    return Teacher(make_image_classifier(spec), device)


def rows_of_training(rows: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The bank rows that a teacher may see, ascending: of training, labelled or not.

    Args:
        rows: split ─► bank rows.

    Raises:
        ValueError: a row is of validation or test, too.
    """
    empty = np.empty(0, np.int64)
    seen = np.union1d(rows["train"], rows.get("unlabelled", empty)).astype(np.int64)
    for split in ("val", "test"):
        if len(both := np.intersect1d(seen, rows.get(split, empty))):
            raise ValueError(f"row {both[0]} is of training and of {split}")
    return seen


class TeacherTable:
    """What a teacher says of the clips of a bank. One that is sent to another process is opened
    again there, to be read: the network does not travel.

    Attributes:
        folder: where it lies.
        identity: of the teacher.
        classes: K.
        computed: frames that this object has asked the teacher about.
        seconds: that this took.
    """

    def __init__(
        self,
        bank: ClipBank,
        rows: NDArray[np.int64],
        identity: str,
        classes: int,
        teacher: Teacher | None = None,
    ) -> None:
        """Open the table, or begin it. `beside` is shorter where there is a teacher.

        Args:
            bank: of the clips.
            rows: that may be asked for, int64: `rows_of_training`.
            identity: of the teacher.
            classes: K.
            teacher: computes what is not there yet; without one, such rows are refused.

        Raises:
            InputError: the files are damaged.
        """
        self._bank, self._rows, self._teacher = bank, rows, teacher
        self.identity, self.classes = identity, classes
        self.folder = bank.folder / "teacher" / identity
        self.computed, self.seconds = 0, 0.0
        self._allowed = np.zeros(len(bank), bool)
        self._allowed[rows] = True
        values = (len(bank), bank.settings.num_frames, classes)
        with _alone_in(self.folder):
            _begin(self.folder, bank, identity, values)
        self._values = _open(self.folder / "values.npy", values, np.float16)
        self._state = _open(self.folder / "state.npy", values[:1], np.uint8)

    @classmethod
    def beside(cls, bank: ClipBank, rows: NDArray[np.int64], teacher: Teacher) -> TeacherTable:
        """The teacher's table beside a bank; see `__init__`."""
        return cls(bank, rows, teacher.identity, teacher.classes, teacher)

    def __reduce__(self) -> tuple[type[TeacherTable], tuple[Any, ...]]:
        return TeacherTable, (self._bank, self._rows, self.identity, self.classes)

    def fill(self, rows: NDArray[np.int64]) -> None:
        """Compute what is not there yet of bank rows int64 `[n]`, and say how fast that went.

        Raises:
            ValueError: a row is of a validation or test video, or has no clip.
        """
        left = self._missing(rows)
        if not left:
            return
        computed, seconds = self.computed, self.seconds
        with progress("teacher", "clips") as report:
            for done, row in enumerate(left, 1):
                self._compute(row)
                report(done, len(left))
        computed, seconds = self.computed - computed, self.seconds - seconds
        if computed:
            say(
                f"teacher {self.identity}: {computed} frames of {len(left)} clips in "
                f"{seconds:.1f} s, {computed / max(seconds, 1e-9):.1f} frames/s"
            )

    def of(self, rows: NDArray[np.int64], frames: NDArray[np.int64]) -> Tensor:
        """The teacher's probabilities of single frames; what is not there yet is computed.

        Args:
            rows: bank rows, int64 `[B]`.
            frames: which frame of each clip, int64 `[B]`, 0..T − 1.

        Returns:
            float32 `[B, K]`, rows sum to 1.

        Raises:
            ValueError: a row is of a validation or test video, or has no clip; or it is not there
                yet and this process has no teacher.
        """
        for row in self._missing(rows):
            self._compute(row)
        logs = np.asarray(self._values)[rows, frames].astype(np.float32)
        return torch.from_numpy(logs).softmax(dim=1)  # float16 cost the sum its last digits

    def _missing(self, rows: NDArray[np.int64]) -> list[int]:
        """Those rows that are not there yet, each once."""
        if not self._allowed[rows].all():
            row = rows[~self._allowed[rows]][0]
            raise ValueError(
                f"{self._bank.ids[row]} is no video to train on: a teacher sees no others"
            )
        asked = np.unique(rows)
        left = asked[np.asarray(self._state)[asked] == 0]
        states = np.asarray(self._bank.state)[left]
        bare = left[(states == RowState.PENDING) | (states == RowState.UNREADABLE)]
        if len(bare):
            raise ValueError(f"{self._bank.ids[bare[0]]} has no clip in {self._bank.folder}")
        return [int(row) for row in left]

    def _compute(self, row: int) -> None:
        """Compute a row, unless another process has done so meanwhile."""
        if self._teacher is None:
            raise ValueError(
                f"{self._bank.ids[row]} is not in {self.folder}; fill the table before it is "
                "sent to another process"
            )
        with _alone_in(self.folder):
            if self._state[row]:
                return
            started = time.monotonic()
            frames = torch.from_numpy(np.array(self._bank.frames[row]))
            logs = self._teacher.log_probabilities(frames).numpy()
            write_rows(self._values, row, logs[None].astype(np.float16))
            write_rows(
                self._state, row, np.ones(1, np.uint8)
            )  # last: a killed process leaves whole rows, or none
            self.computed += len(frames)
            self.seconds += time.monotonic() - started


def _begin(folder: Path, bank: ClipBank, identity: str, values: tuple[int, ...]) -> None:
    """Make the files of an empty table where there is none of this bank and teacher."""
    index = {
        "layout": _LAYOUT,
        "bank": bank.fingerprint,
        "teacher": identity,
        "shape": list(values),
    }
    path = folder / "index.json"
    if path.is_file() and read_json(path) == index:
        return
    path.unlink(missing_ok=True)  # first: without an index, what else is there counts as nothing
    # Sparse files: what is never written takes no room on the disk.
    create_array(folder / "values.npy", values, np.float16)
    create_array(folder / "state.npy", values[:1], np.uint8, whole=True)
    write_json(path, index)


def _open(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    reason = "it is another table's"
    try:
        array = open_memmap(path, mode="r+")
        if array.shape == shape and array.dtype == dtype:
            return array
    except (OSError, ValueError) as error:
        reason = str(error)
    raise InputError(f"{path} cannot be used ({reason}); remove {path.parent} to fill it again.")


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for this folder. On file systems without
    locks, and on Windows, there is no waiting: both write the same."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / "lock").open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)  # which a forked process does not inherit
        yield
