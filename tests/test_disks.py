"""Full disks: every writer says so in one sentence, nothing is half-written, and work goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from safetensors import SafetensorError

from l2a.checkpoints import save_tensors
from l2a.cli import main
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.disks import as_full, create_array, is_full, write_rows
from l2a.errors import UnreadableVideo
from l2a.files import atomic_write, write_json, write_text
from l2a.logs import listening, say
from l2a.media import write_video
from l2a.runs import Run
from train.tracking import Tracker

FULL = OSError(errno.ENOSPC, "No space left on device")


class OfALibrary(Exception):
    errno = errno.ENOSPC


@pytest.mark.parametrize(
    ("error", "left", "number"),
    [
        (FULL, 2**30, errno.ENOSPC),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2**30, errno.EDQUOT),
        (OfALibrary("write failed"), 2**30, errno.ENOSPC),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 2**30, 28),
        (OSError("[Errno 28] Error writing bytes to file"), 2**30, errno.ENOSPC),
        (OSError("encoder error -2 when writing image file"), 0, errno.ENOSPC),
        (ValueError("cannot write"), 0, errno.ENOSPC),
        (ValueError("cannot write"), 2**30, None),
        (PermissionError(errno.EACCES, "Permission denied"), 0, None),
        (UnreadableVideo("a.mp4", "it is damaged"), 0, None),
    ],
)
def test_what_means_a_full_disk(
    error: Exception, left: int, number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=left))
    path = tmp_path / "a"
    found = as_full(error, path)
    assert (found and found.errno) == number
    assert found is None or (is_full(found) and found.filename == str(path))
    path.write_text("before")
    with pytest.raises(type(error) if number is None else OSError) as raised, atomic_write(path):
        raise error
    assert is_full(raised.value) == (number is not None)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_command_says_it_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(words: list[str]) -> int:
        with atomic_write(tmp_path / "metrics.json"):
            raise FULL

    monkeypatch.setattr("l2a.cli._run", fails)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == (
        f"l2a: The disk is full: No space left on device ({tmp_path}/metrics.json); make room, and "
        "the same command goes on from here.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_log_on_a_full_disk_is_no_second_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    Run.open(folder, "train", [])
    (folder / "run.log").symlink_to("/dev/full")
    with listening(20):
        Run.open(folder, "train", [])
        say("line")
    assert capsys.readouterr().err == "line\n"


def test_curves_on_a_full_disk_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard writes in a thread, whose end would be told beside."""
    from tensorboard.compat import tf

    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(tf.io.gfile.GFile, "write", full)
    told: list[threading.ExceptHookArgs] = []
    hook = told.append
    monkeypatch.setattr(threading, "excepthook", hook)
    with pytest.raises(OSError, match="No space") as raised, Tracker(tmp_path) as tracker:
        tracker.scalars("a", {"b": 1.0}, 0)
    assert is_full(raised.value)
    assert told == []
    assert threading.excepthook is hook


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float16, np.float64])
def test_rows_are_written_where_other_maps_see_them(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    create_array(path, (4, 2, 3), dtype)
    writer, reader = open_memmap(path, mode="r+"), open_memmap(path, mode="r")
    values = np.arange(12).reshape(2, 2, 3).astype(dtype)
    write_rows(writer, 1, values)
    expected = np.zeros((4, 2, 3), dtype)
    expected[1:3] = values
    for array in (writer, reader, np.load(path)):
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(ValueError, match="read-only"):
        write_rows(reader, 0, values)
    with pytest.raises(ValueError, match="not int64"):
        write_rows(writer, 0, values.astype(np.int64))


def test_an_array_takes_its_room_when_it_is_made_whole(tmp_path: Path) -> None:
    for whole in (False, True):
        create_array(tmp_path / f"{whole}.npy", (2**20,), np.uint8, whole=whole)
    sparse, there = ((tmp_path / f"{whole}.npy").stat().st_blocks * 512 for whole in (False, True))
    assert there >= 2**20
    assert sparse < 2**17


def test_a_write_that_stops_half_way_goes_on_or_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    create_array(path, (2, 5), np.uint8)
    array, true = open_memmap(path, mode="r+"), Path.open
    left = [5]

    class Slow:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def seek(self, place: int) -> None:
            self.file.seek(place)

        def write(self, data: memoryview) -> int:
            if not left[0]:
                raise FULL
            part = min(2, left[0])
            left[0] -= part
            return self.file.write(data[:part])

    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Slow(true(self, *a, **k)))
    row = np.arange(1, 6, dtype=np.uint8)[None]
    write_rows(array, 1, row)
    assert array.tolist() == [[0] * 5, [1, 2, 3, 4, 5]]
    with pytest.raises(OSError, match="No space") as raised:
        write_rows(array, 0, row)
    assert raised.value.filename == str(path)


def test_nothing_else_writes_files() -> None:
    """What is not written aside, or by `write_rows`, is half there when the disk is full."""
    writes = re.compile(r"\.write_(text|bytes)\(|[.( ]open\([^)]*[\"'][wx]b?[\"']|mode=[\"']w")
    for room in ("l2a", "semantic_match", "compositing", "selector", "train"):
        for path in (Path(__file__).parents[1] / room).rglob("*.py"):
            if path.name != "disks.py":
                for line in path.read_text(encoding="utf-8").splitlines():
                    assert not writes.search(line) or "aside" in line, f"{path}: {line}"


# On a disk that is full indeed


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many kilobytes, or changes its size, and gives its folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kilobytes: int) -> Path:
        again = "remount," if os.path.ismount(place) else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{again}size={kilobytes}k", "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("only root may mount")
        return place

    yield sized
    if os.path.ismount(place):
        subprocess.run(["umount", "-l", str(place)], check=True)


def picture(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    with atomic_write(path) as aside:
        Image.fromarray(noise).save(aside, format="PNG")


def film(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 96, 128, 3), np.uint8)
    write_video(path, noise, 8.0)


def table(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as aside:
        pq.write_table(pa.table({"a": np.random.default_rng(0).random(20_000)}), aside)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.safetensors", lambda path: save_tensors(path, {"a": torch.rand(40_000)})),
        ("a.json", lambda path: write_json(path, list(range(40_000)))),
        ("a.png", picture), ("a.mp4", film), ("a.mkv", film), ("a.parquet", table),
    ],
)  # fmt: skip
def test_every_writer_says_that_the_disk_is_full(
    name: str, write: Callable[[Path], None], disk: Callable[[int], Path]
) -> None:
    place = disk(32)
    with pytest.raises(OSError, match="No space left") as raised:
        write(place / name)
    assert is_full(raised.value)
    assert raised.value.filename.endswith(name)
    assert not list(place.iterdir())
    disk(2000)
    write(place / name)
    assert [entry.name for entry in place.iterdir()] == [name]


def test_a_bank_on_a_full_disk_is_an_error_and_goes_on(disk: Callable[[int], Path]) -> None:
    """The process would be killed if rows were written by the map."""
    settings, ids = ClipSettings(num_frames=4, height=32, width=40, crop=32), ["a", "b", "c"]
    place = disk(80)
    bank = ClipBank.create_or_resume(place / "bank", ids, settings, "x")
    clip = np.full((4, 32, 40, 3), 7, np.uint8)
    bank.write(0, clip, clip[..., 0] > 0, clip)
    with pytest.raises(OSError, match="No space left") as raised:
        bank.write(1, clip, clip[..., 0] > 0, clip)
    assert raised.value.filename.endswith(("masks.npy", "backgrounds.npy"))
    assert bank.state.tolist() == [RowState.LAYERS, RowState.PENDING, RowState.PENDING]
    with pytest.raises(OSError, match="No space left"):
        write_text(place / "bank" / "more", "a" * 50_000)
    disk(400)
    bank = ClipBank.create_or_resume(place / "bank", ids, settings, "x")
    for row in bank.pending():
        bank.write(row, clip, clip[..., 0] > 0, clip)
    assert (bank.backgrounds == 7).all()
    assert bank.masks.all()
