"""ClipBank: what is written comes back, from this process and from others, after a kill too."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.errors import InputError
from l2a.videos import Skipped

SETTINGS = ClipSettings(num_frames=4, height=9, width=11, crop=7)
IDS = ("a/1.avi", "a/2.avi", "b/3.avi", "b/4.avi")


def clip(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (4, 9, 11, 3), np.uint8)
    return frames, rng.random((4, 9, 11)) < 0.3, 255 - frames


def make(folder: Path, fingerprint: str = "f1") -> ClipBank:
    return ClipBank.create_or_resume(folder, IDS, SETTINGS, fingerprint)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    bank = make(tmp_path / "bank")
    frames, masks, background = clip(0)
    bank.write(2, frames, masks, background)
    bank.write(0, frames[::-1], None, None)
    bank.mark_unreadable(1, "the file is empty")

    read = ClipBank.open(tmp_path / "bank")
    assert (read.ids, read.settings, read.fingerprint, len(read)) == (IDS, SETTINGS, "f1", 4)
    assert (read.frames[2] == frames).all()
    assert (read.masks[2] == masks).all()
    assert (read.backgrounds[2] == background).all()
    assert (read.frames[0] == frames[::-1]).all()
    assert not read.masks[0].any()
    assert read.state.tolist() == [1, 3, 2, 0]
    assert read.pending() == [3]
    assert read.skipped == [Skipped("a/2.avi", "the file is empty")]
    assert (read.frames.dtype, read.masks.dtype, read.state.dtype) == (np.uint8, np.bool_, np.uint8)


def test_a_filling_is_resumed_with_the_rows_that_are_left(tmp_path: Path) -> None:
    make(tmp_path).write(1, *clip(1))
    again = make(tmp_path)
    assert again.pending() == [0, 2, 3]
    assert (again.frames[1] == clip(1)[0]).all()


def test_a_row_can_gain_its_layers_later(tmp_path: Path) -> None:
    bank = make(tmp_path)
    frames, masks, background = clip(3)
    bank.write(0, frames, None, None)
    bank.write(0, frames, masks, background)
    assert bank.state[0] == RowState.LAYERS


@pytest.mark.parametrize("changed", ["fingerprint", "ids", "settings"])
def test_a_folder_of_other_content_is_refused(tmp_path: Path, changed: str) -> None:
    make(tmp_path)
    ids = IDS[::-1] if changed == "ids" else IDS
    settings = ClipSettings(4, 9, 11, 8) if changed == "settings" else SETTINGS
    fingerprint = "f2" if changed == "fingerprint" else "f1"
    with pytest.raises(InputError, match=f"{tmp_path} holds clips of other videos or settings"):
        ClipBank.create_or_resume(tmp_path, ids, settings, fingerprint)


def test_the_shape_of_a_video_is_kept_beside_its_clip(tmp_path: Path) -> None:
    bank = make(tmp_path)
    bank.write(1, *clip(1), aspect=9 / 16)
    bank.write(2, *clip(2))
    assert ClipBank.open(tmp_path).aspects.tolist() == [0, 9 / 16, 11 / 9, 0]


def test_a_bank_of_an_earlier_layout_is_filled_anew(tmp_path: Path) -> None:
    """It knew no shapes: its rows would be composited as if all had the bank's own."""
    bank = make(tmp_path)
    bank.write(0, *clip(0))
    bank.mark_unreadable(1, "the file is empty")
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"layout": 1}))
    (tmp_path / "aspects.npy").unlink()
    with pytest.raises(InputError, match="another version"):
        ClipBank.open(tmp_path)
    again = make(tmp_path)
    assert again.pending() == [0, 1, 2, 3]
    assert not again.frames.any() and not again.skipped
    assert not list((tmp_path / "skipped").glob("*"))


@pytest.mark.parametrize("ids", [(), ("a", "b", "a")])
def test_every_video_has_one_row(tmp_path: Path, ids: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"got {len(ids)} ids"):
        ClipBank.create_or_resume(tmp_path, ids, SETTINGS, "f1")


def test_a_creation_that_was_killed_starts_anew(tmp_path: Path) -> None:
    make(tmp_path).write(0, *clip(0))
    (tmp_path / "index.json").unlink()
    (tmp_path / "masks.npy").write_bytes(b"half")
    assert make(tmp_path).pending() == [0, 1, 2, 3]


def test_rows_that_were_not_written_cost_no_disk(tmp_path: Path) -> None:
    settings = ClipSettings(8, 128, 171, 112)
    bank = ClipBank.create_or_resume(tmp_path, [str(i) for i in range(400)], settings, "f")
    bank.write(7, np.ones((8, 128, 171, 3), np.uint8), None, None)
    apparent = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    used = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.npy"))
    assert apparent > 400e6
    assert used < 2e6


def test_values_of_another_shape_or_kind_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    bank = make(tmp_path)
    frames, masks, background = clip(0)
    with pytest.raises(ValueError, match=r"row 0 takes bool \(4, 9, 11\), not bool \(4, 9, 10\)"):
        bank.write(0, frames, masks[:, :, :10], background)
    with pytest.raises(ValueError, match="not uint8"):
        bank.write(0, frames, masks.astype(np.uint8), background)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both or neither"):
        bank.write(0, frames, masks, None)
    assert not bank.frames.any()
    assert bank.pending() == [0, 1, 2, 3]


def test_an_open_bank_is_read_only(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        ClipBank.open(tmp_path).write(0, *clip(0))


def test_rows_are_found_by_id(tmp_path: Path) -> None:
    bank = make(tmp_path)
    assert [bank.row(video_id) for video_id in IDS] == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"no clip of c/9\.avi"):
        bank.row("c/9.avi")


def test_a_missing_or_damaged_bank_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*index\.json"):
        ClipBank.open(tmp_path / "nowhere")
    make(tmp_path)
    np.save(tmp_path / "masks.npy", np.zeros((2, 2), bool))
    with pytest.raises(InputError, match=r"masks\.npy holds bool \(2, 2\)"):
        ClipBank.open(tmp_path)
    (tmp_path / "masks.npy").unlink()
    with pytest.raises(InputError, match=r"masks\.npy cannot be opened"):
        ClipBank.open(tmp_path)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    make(tmp_path)
    np.save(tmp_path / "state.npy", np.array([print] * 4, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"state\.npy cannot be opened"):
        ClipBank.open(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_frames": 0}, "num_frames is 0"),
        ({"height": -1}, "height is -1"),
        ({"height": 100}, "crop of 112 pixels does not fit into frames of 100x171"),
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClipSettings(**wrong)


def fill(folder: Path, rows: list[int], kill: bool) -> None:
    bank = make(folder)
    for row in rows:
        bank.write(row, *clip(row))
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


def sums(bank: ClipBank, row: int) -> tuple[int, int]:
    return int(bank.frames[row].sum()), int(bank.masks[row].sum())


def test_a_killed_process_leaves_its_finished_rows(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=fill, args=(tmp_path, [0, 3], True)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    bank = make(tmp_path)
    assert bank.pending() == [1, 2]
    assert (bank.frames[3] == clip(3)[0]).all()


def test_several_processes_write_and_read_at_once(tmp_path: Path) -> None:
    make(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        pool.starmap(fill, [(tmp_path, [0, 2], False), (tmp_path, [1, 3], False)])
        bank = ClipBank.open(tmp_path)
        assert len(pickle.dumps(bank)) < 300  # the folder's name travels, not the pixels
        read = pool.starmap(sums, [(bank, row) for row in range(4)])
    assert read == [(int(clip(row)[0].sum()), int(clip(row)[1].sum())) for row in range(4)]
