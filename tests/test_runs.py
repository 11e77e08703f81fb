"""Run folders, whole files, paths from data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l2a.errors import InputError, UnreadableVideo
from l2a.files import (
    fingerprint,
    hold_folder,
    inside,
    read_json,
    release_folders,
    write_json,
    written_whole,
)
from l2a.runs import Run
from l2a.videos import Skipped


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), written_whole(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert list(tmp_path.rglob("*.txt")) == []
    with written_whole(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with written_whole(tmp_path / "secretive") as aside:
        aside.write_text("x")
        aside.chmod(0o600)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    settings = {"lr": 0.1, "hidden": (1, 2), "layers": None, "data": Path("/d"), "workers": 1}
    Run.open(tmp_path / "run", "train", settings | {"lr": 9.9})  # nothing depends on it yet
    Run.open(tmp_path / "run", "train", settings).fix_settings()
    Run.open(tmp_path / "run", "train", settings | {"workers": 8})
    with pytest.raises(InputError, match=r"lr=0\.1 and not 0\.2"):
        Run.open(tmp_path / "run", "train", settings | {"lr": 0.2})
    with pytest.raises(InputError, match="made by `l2a train`, not by `l2a select`"):
        Run.open(tmp_path / "run", "select", settings)


def test_a_folder_with_other_things_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        Run.open(tmp_path, "train", {})
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_file_is_not_worked_in(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("precious")
    for use in (hold_folder, lambda path: Run.open(path, "train", {})):
        with pytest.raises(InputError, match="clips is a file; give --out"):
            use(tmp_path / "clips")
    assert (tmp_path / "clips").read_text() == "precious"


HOLDER = """
import os, sys, time
from pathlib import Path
from l2a.runs import Run
Run.open(Path(sys.argv[1]), "train", {})
if child := os.fork():
    print(child, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            with pytest.raises(InputError, match=f"Another command is at work in {folder}; wait"):
                Run.open(folder, "train", {})
            other.kill()
            other.wait()
            Run.open(folder, "train", {})  # a killed one leaves nothing, nor does its child
            Run.open(folder, "train", {})
        finally:
            os.kill(child, signal.SIGKILL)
            release_folders()


def test_a_stage_adds_its_time_even_when_it_fails(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", {})
    with pytest.raises(RuntimeError), run.stage("prepare"):
        raise RuntimeError
    with run.stage("prepare"):
        pass
    assert read_json(run.path("stages.json"))["prepare"] >= 0


def test_skipped_videos_are_listed_once(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", {})
    assert run.write_skipped([]) == 0
    assert not run.path("skipped.csv").exists()
    row = Skipped("a, b.avi", "zero bytes")
    assert run.write_skipped([row, row]) == 1
    assert run.path("skipped.csv").read_text().splitlines() == [
        "video,reason",
        '"a, b.avi",zero bytes',
    ]


def test_unfit_videos_are_listed_and_the_list_goes_when_none_is_left(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", {})
    assert run.write_unfit([]) == 0
    assert not run.path("unfit.csv").exists()
    rows = [("ä, b.avi", "foreground", "no mask: x"), ("c.avi", "background", "hole: 95%")]
    assert run.write_unfit([*rows, rows[0]]) == 2
    assert run.path("unfit.csv").read_text(encoding="utf-8").splitlines() == [
        "video,side,reason",
        '"ä, b.avi",foreground,no mask: x',
        "c.avi,background,hole: 95%",
    ]
    assert run.write_unfit(rows[1:]) == 1
    assert len(run.path("unfit.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert run.write_unfit([]) == 0
    assert {path.name for path in run.folder.iterdir()} == {"run.yaml"}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..\\x"])
def test_names_from_data_do_not_leave_their_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leaves"):
        inside(tmp_path, name)


def test_fingerprints_tell_settings_apart_and_ignore_order() -> None:
    assert fingerprint({"a": 1, "b": Path("x")}) == fingerprint({"b": Path("x"), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})


def test_damaged_json_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": {1}})
    assert read_json(tmp_path / "a.json") == {"x": [1]}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_an_unreadable_video_travels_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnreadableVideo("a.avi", "zero bytes")))  # noqa: S301
    assert (error.path, error.reason) == (Path("a.avi"), "zero bytes")
