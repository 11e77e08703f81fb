"""Run folders, whole files, paths from data."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from compositing.settings import EngineSettings
from l2a import files, locks
from l2a.arguments import parse
from l2a.errors import InputError, UnreadableVideo
from l2a.files import (
    atomic_write,
    final_name,
    fingerprint,
    read_json,
    read_text,
    safe_join,
    write_json,
    write_text,
)
from l2a.locks import filling, lock_folder, locked_meanwhile, unlock_folders
from l2a.runs import Run
from l2a.settings import setting, speed_only
from l2a.videos import Skipped
from train.chosen import _run_of
from train.command_table import ALL_GROUPS, COMMANDS
from train.report.source import Source
from train.settings.full import ClassifierSettings, FullSettings, RunSettings


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), atomic_write(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert list(tmp_path.rglob("*.txt")) == []
    with atomic_write(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "secretive") as aside:
        aside.write_text("x")
        aside.chmod(0o600)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@dataclass(frozen=True)
class Before:
    """The settings of an earlier version."""

    lr: float = 0.1
    hidden: tuple[int, ...] = (1, 2)
    layers: Path | None = None
    faces: str = "all"
    workers: int = 1


@dataclass(frozen=True)
class Now:
    """Those of this one: `faces` has another name, `smooth` is new, `layers` is gone."""

    lr: float = 0.1
    hidden: tuple[int, ...] = (1, 2)
    layouts: str = setting("all", formerly=("faces",))
    workers: int = setting(1, speed_only=True)
    smooth: float = 0.5


def test_a_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    folder, facts = tmp_path / "run", {"data": Path("/d")}
    Run.open(folder, "train", [Now(lr=9.9)], facts)  # nothing depends on it yet
    Run.open(folder, "train", [Now()], facts).fix_settings()
    Run.open(folder, "train", [Now(workers=8)], facts)
    for other, named in [
        (Now(lr=0.2), r"lr=0\.1 and not 0\.2"),
        (Now(hidden=(1, 2, 3)), r"hidden=\[1, 2\] and not \[1, 2, 3\]"),
    ]:
        with pytest.raises(InputError, match=named):
            Run.open(folder, "train", [other], facts)
    with pytest.raises(InputError, match="data=/d and not /e"):
        Run.open(folder, "train", [Now()], {"data": Path("/e")})
    with pytest.raises(InputError, match="made by `l2a train`, not by `l2a select`"):
        Run.open(folder, "select", [Now()], facts)


def test_a_run_goes_on_with_the_same_data_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = Run.open(folder, "train", [Now()])
    for mark in ("one", "two"):
        run.keep_data_mark(mark)  # nothing depends on it yet
    run.fix_settings()
    run.keep_data_mark("two")
    with pytest.raises(InputError, match="had other videos, classes or splits than now"):
        run.keep_data_mark("one")
    record = folder / "run.yaml"
    record.write_text(record.read_text().replace("data_mark: two\n", ""))
    run.keep_data_mark("one")  # of a run of an earlier version nothing is known
    with pytest.raises(InputError, match="put it back as it was"):
        run.keep_data_mark("two")


def test_what_a_run_named_relatively_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where its command was called; a run of before is known by the folders it lies in."""
    work, scratch, elsewhere = tmp_path / "work", tmp_path / "scratch", tmp_path / "elsewhere"
    for folder in (work / "layers" / "records", work / "tiny", scratch, elsewhere):
        folder.mkdir(parents=True)
    monkeypatch.chdir(work)
    for out in (Path("runs/near"), scratch / "far"):
        settings = RunSettings(layers=Path("layers"))
        Run.open(out, "select", [settings], {"data": Path("tiny")})
        with Run(out).stage("select"):
            pass
        assert Run(out).found("layers") == Path("layers")  # as it was typed
    monkeypatch.chdir(elsewhere)
    (elsewhere / "layers").mkdir()
    for out in (work / "runs" / "near", scratch / "far"):
        assert Run(out).found("tiny") == work / "tiny"
        assert _run_of(out / "pairs.parquet") == (out, [work / "layers", out / "layers"])
        assert Source.open(out).store.folder == work / "layers"
        assert Run(out).found("gone") == Path("gone")
        assert Run(out).found(work / "gone") == work / "gone"
    record = work / "runs" / "near" / "run.yaml"
    old = {key: value for key, value in Run(record.parent).read().items() if key != "called_in"}
    record.write_text(yaml.safe_dump(old))
    (elsewhere / "layers").rmdir()
    assert Run(record.parent).found("layers") == work / "layers"


def test_a_new_a_renamed_and_a_dropped_setting_orphan_no_finished_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    Run.open(folder, "train", [Before(faces="some")], {"data": "d"}).fix_settings()
    record = (folder / "run.yaml").read_bytes()
    with caplog.at_level("INFO", "l2a"):
        Run.open(folder, "train", [Now(layouts="some", workers=7)], {"data": "d", "card": "new"})
    assert [r.message for r in caplog.records if "note" in r.message] == [
        f"note: {folder} was made with layers=None; this version has no such setting and ignores it"
    ]
    assert (folder / "run.yaml").read_bytes() == record
    # What the run did not have, it had at its default: that alone goes on.
    with pytest.raises(InputError, match=r"smooth=0\.5 and not 0\.6"):
        Run.open(folder, "train", [Now(layouts="some", smooth=0.6)])
    with pytest.raises(InputError, match="layouts=some and not all"):
        Run.open(folder, "train", [Now()])


def test_a_run_that_could_not_be_compiled_goes_on_without_it(tmp_path: Path) -> None:
    """As its message says; and a run of a version that knew no compiling goes on with it."""
    for number, (before, after) in enumerate([(True, False), (False, True)]):
        folder = tmp_path / str(number)
        groups = [
            FullSettings(classifier=ClassifierSettings(compile=how)).groups()
            for how in (before, after)
        ]
        Run.open(folder, "train", groups[0]).fix_settings()
        if not before:
            content = yaml.safe_load((folder / "run.yaml").read_text())
            del content["settings"]["compile"]
            (folder / "run.yaml").write_text(yaml.safe_dump(content))
        Run.open(folder, "train", groups[1])


def test_every_setting_of_train_is_compared_or_says_that_it_need_not_be(tmp_path: Path) -> None:
    free = {"engine", "workers", "devices", "frames_at_once", "ray_address", "layers"}
    assert speed_only(FullSettings().groups()) >= free
    folder = tmp_path / "run"
    Run.open(folder, "train", FullSettings().groups()).fix_settings()
    for name in ("budget", "seed", "alpha", "num_frames", "crf", "matches", "format", "probe"):
        content = Run(folder).read()
        (folder / "run.yaml").write_text(
            yaml.safe_dump(content | {"settings": content["settings"] | {name: "other"}})
        )
        with pytest.raises(InputError, match=f"{name}=other and not"):
            Run.open(folder, "train", FullSettings().groups())
        (folder / "run.yaml").write_text(yaml.safe_dump(content))
    Run.open(folder, "train", FullSettings(engine=EngineSettings(workers=3)).groups())


FIRST_VERSION = Path(__file__).with_name("first_version") / "train.yaml"
"""The record of a finished `l2a train` of the first version."""


def test_a_finished_run_of_the_first_version_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(FIRST_VERSION.read_bytes())
    old = Run(tmp_path).read()["settings"]
    facts = {"data": Path("data"), "selector": None, "finetune_selector": False}
    given = {name: value for name, value in old.items() if name not in facts}
    train = COMMANDS["train"]

    def settings(**changed: object) -> tuple[Any, ...]:
        return FullSettings.of(
            parse("train", "", train.groups, ["data", "--out", "o"], known=ALL_GROUPS,
                  defaults=given | changed)
        ).groups()  # fmt: skip

    Run.open(tmp_path, "train", settings(workers=5), facts)
    assert (tmp_path / "run.yaml").read_bytes() == FIRST_VERSION.read_bytes()
    with pytest.raises(InputError, match=r"lr=0\.01 and not 0\.3"):
        Run.open(tmp_path, "train", settings(lr=0.3), facts)


def test_a_new_setting_at_its_default_leaves_fingerprints_as_they_were() -> None:
    @dataclass(frozen=True)
    class Old:
        lr: float = 0.1

    @dataclass(frozen=True)
    class New:
        lr: float = 0.1
        smooth: float = setting(0.5, added=True)

    assert fingerprint([New()]) == fingerprint([Old()])
    assert fingerprint([New(smooth=0.6)]) != fingerprint([Old()])
    assert fingerprint([New(lr=0.2)]) == fingerprint([Old(lr=0.2)])


DAMAGED = {
    "empty": "",
    "a list": "[1, 2]",
    "deep": "a: " + "[" * 5000,
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\ncommand: train\nfixed: true\nsettings: {lr: *b}",
    "itself": "command: train\nfixed: true\nsettings: &s {lr: *s}",
    "a set": "command: train\nfixed: true\nsettings: !!set {lr}",
    "a date": "command: train\nfixed: true\nsettings: {lr: 2020-01-01}",
    "a huge number": "command: train\nfixed: true\nsettings: {lr: " + "9" * 5000 + "}",
    "no settings": "command: train\nfixed: true\nsettings: 3",
    "an object": "command: !!python/object/apply:os.getcwd []",
    "large": "#" * 100_001,
    "not text": b"\xff\xfec\x00",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_of_a_run_is_one_sentence(tmp_path: Path, name: str) -> None:
    content = DAMAGED[name]
    (tmp_path / "run.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"run\.yaml is damaged; give --out another folder\.$"):
        Run.open(tmp_path, "train", [Now()])


@pytest.mark.parametrize(
    "content", ["[1]", '{"a": "x"}', '{"a": NaN}', '{"a": -1}', "[" * 50_000, "9" * 5000, "{"]
)
def test_damaged_times_of_stages_are_noticed_before_the_work(tmp_path: Path, content: str) -> None:
    Run.open(tmp_path, "train", [Now()])
    (tmp_path / "stages.json").write_text(content)
    with pytest.raises(InputError, match=r"stages\.json (holds no seconds|is not valid JSON)"):
        Run.open(tmp_path, "train", [Now()])


def test_a_folder_with_other_things_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        Run.open(tmp_path, "train", [])
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_file_is_not_worked_in(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("precious")
    for use in (lock_folder, lambda path: Run.open(path, "train", [])):
        with pytest.raises(InputError, match="clips is a file; give --out"):
            use(tmp_path / "clips")
    assert (tmp_path / "clips").read_text() == "precious"


HOLDER = """
import os, sys, time
from pathlib import Path
from l2a.runs import Run
Run.open(Path(sys.argv[1]), "train", [])
if os.fork():
    time.sleep(600)
print(os.getpid(), flush=True)  # the child's first act: it has let go of the folder by now
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_two_processes_cannot_work_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2a.locks._PATIENCE", 0.1)
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            with pytest.raises(InputError, match=f"Another command is running in {folder}; wait"):
                Run.open(folder, "train", [])
            other.kill()
            other.wait()
            Run.open(folder, "train", [])  # a killed one leaves nothing, nor does its child
            Run.open(folder, "train", [])
        finally:
            os.kill(child, signal.SIGKILL)
            unlock_folders()


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_a_folder_is_held_by_a_file_that_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS knows no exclusive lock of another file. It is gone when the folder is let go of."""
    import fcntl

    flock, locked = fcntl.flock, []

    def as_on_nfs(handle: int, how: int) -> None:
        writes = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        if not (writes and stat.S_ISREG(os.fstat(handle).st_mode)):
            raise OSError(errno.EBADF, "Bad file descriptor")
        locked.append(handle)
        flock(handle, how)

    monkeypatch.setattr("fcntl.flock", as_on_nfs)
    lock_folder(tmp_path)
    assert len(locked) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    unlock_folders()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_a_lock_of_a_file_that_its_holder_has_just_removed_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have opened the file before, and lock it when it is let go of."""
    import fcntl

    flock, file = fcntl.flock, tmp_path / ".lock"

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr("fcntl.flock", flock)
        file.unlink()
        flock(handle, how)

    monkeypatch.setattr("fcntl.flock", late)
    lock_folder(tmp_path)
    try:
        assert os.path.samestat(os.fstat(locks._HELD[file.resolve()]), file.stat())
    finally:
        unlock_folders()
    assert not file.exists()


def test_what_a_killed_process_leaves_of_its_lock_is_no_content(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    Run.open(tmp_path, "train", [])
    unlock_folders()
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml"}


FILLER = """
import sys, time
from pathlib import Path
from l2a.locks import filling
with filling(Path(sys.argv[1]), lambda: None):
    print("fills", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_who_fills_a_folder_waits_for_another_who_does(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    command = [sys.executable, "-c", FILLER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with filling(folder, other.kill):  # it waits, and a killed one is waited for no longer
            assert other.wait() == -signal.SIGKILL
            with filling(folder, lambda: pytest.fail("it waits for itself")):
                pass
            assert [path.name for path in folder.iterdir()] == [".filling"]
    assert not list(folder.iterdir())


def test_folders_locked_in_a_block_are_free_after_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from l2a import locks; locks._PATIENCE = 0.1\n"
        "for name in sys.argv[1:]:\n"
        "    try: locks.lock_folder(Path(name)); print('free')\n"
        "    except locks.InputError: print('held')"
    )
    places = [tmp_path / "kept", tmp_path / "run"]

    def seen() -> list[str]:
        command = [sys.executable, "-c", code, *map(str, places)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    try:
        lock_folder(places[0])
        with locked_meanwhile():
            lock_folder(places[0])
            lock_folder(places[1])
            if sys.platform != "win32":
                assert seen() == ["held", "held"]
        assert seen() == (["held", "free"] if sys.platform != "win32" else ["free", "free"])
    finally:
        unlock_folders()


SLOW_CHILD = """
import os, sys, time
from pathlib import Path
os.register_at_fork(after_in_child=lambda: time.sleep(0.7))  # before the child lets go
from l2a.locks import lock_folder
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
os.fork()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not held on Windows")
def test_a_folder_whose_holder_was_killed_while_it_forked_is_free_soon(tmp_path: Path) -> None:
    """On a busy machine the child runs, and lets go, a while after its parent's death."""
    command = [sys.executable, "-c", SLOW_CHILD, str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        time.sleep(0.2)
        other.kill()
        try:
            lock_folder(tmp_path / "run")
        finally:
            unlock_folders()
            os.killpg(other.pid, signal.SIGKILL)


def test_half_written_files_of_dead_processes_are_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from l2a.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1]) / 'layer.mp4') as aside:\n"
        "    print(aside, flush=True)\n"
        "    sys.stdin.read() if len(sys.argv) > 2 else os._exit(9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    dead = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    elsewhere = tmp_path / ".part-999999@00000000-of-another-machine"
    elsewhere.touch()
    with subprocess.Popen(
        [*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        living = Path(other.stdout.readline().strip())
        dead.touch()
        lock_folder(tmp_path)
        unlock_folders()
        assert {path.name for path in tmp_path.iterdir()} == {living.name, elsewhere.name}
        dead.touch()
        files._SWEPT.clear()
        write_text(tmp_path / "another", "")
        assert {path.name for path in tmp_path.iterdir()} == {
            living.name, elsewhere.name, "another",
        }  # fmt: skip
        other.kill()
    assert final_name(living) == tmp_path / "layer.mp4"


def test_a_stage_adds_its_time_even_when_it_fails(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", [])
    with pytest.raises(RuntimeError), run.stage("prepare"):
        raise RuntimeError
    with run.stage("prepare"):
        pass
    assert read_json(run.path("stages.json"))["prepare"] >= 0


def test_skipped_videos_are_listed_once(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", [])
    assert run.write_skipped([]) == 0
    assert not run.path("skipped.csv").exists()
    row = Skipped("a, b.avi", "zero bytes")
    assert run.write_skipped([row, row]) == 1
    assert run.path("skipped.csv").read_text().splitlines() == [
        "video,reason",
        '"a, b.avi",zero bytes',
    ]


def test_a_list_of_skipped_videos_goes_when_none_is_left(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", [])
    assert run.write_skipped([Skipped("a", "torn")]) == 1
    assert (run.folder / "skipped.csv").is_file()
    assert run.write_skipped([]) == 0
    assert not (run.folder / "skipped.csv").exists()


def test_unfit_videos_are_listed_and_the_list_goes_when_none_is_left(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", [])
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
    unlock_folders()
    assert {path.name for path in run.folder.iterdir()} == {"run.yaml"}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..\\x"])
def test_names_from_data_do_not_leave_their_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leaves"):
        safe_join(tmp_path, name)


def test_fingerprints_tell_settings_apart_and_ignore_order() -> None:
    assert fingerprint({"a": 1, "b": Path("x")}) == fingerprint({"b": Path("x"), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})


def test_damaged_json_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": {1}})
    assert read_json(tmp_path / "a.json") == {"x": [1]}
    for damaged in ("{", "[" * 100_000, "9" * 5000, '{"a": ' * 3000, ""):
        (tmp_path / "a.json").write_text(damaged)
        with pytest.raises(InputError, match=r"a\.json is not valid JSON .*; write it again"):
            read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"a\.json is not UTF-8"):
        read_json(tmp_path / "a.json")


def test_what_is_no_file_of_a_sensible_size_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file; check the path"):
        read_text(tmp_path, 10, "recipe")
    with pytest.raises(InputError, match=r"There is no recipe .*none; check the path"):
        read_text(tmp_path / "none", 10, "recipe")
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(InputError, match="has more than 10 bytes, too many for a recipe"):
        read_text(tmp_path / "zeros", 10, "recipe")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="pipe is not a file"):
            read_json(tmp_path / "pipe")


def test_an_unreadable_video_travels_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnreadableVideo("a.avi", "zero bytes")))  # noqa: S301
    assert (error.path, error.reason) == (Path("a.avi"), "zero bytes")


def test_what_was_left_out_counts_once_results_depend_on_it(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "train", [ClassifierSettings()], {})
    lost = Skipped("a, b/ü.avi", 'it said "no", twice')
    run.write_skipped([lost])
    assert run.left_out() == ()
    run.fix_settings()
    assert run.left_out() == (lost,)
    run.write_skipped([])
    assert run.left_out() == ()


def test_what_a_killed_process_left_goes_where_nobody_fills(tmp_path: Path) -> None:
    (tmp_path / ".filling").touch()
    locks.sweep_filling(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with filling(tmp_path, lambda: None):
        locks.sweep_filling(tmp_path)
        assert (tmp_path / ".filling").exists()


def test_a_function_of_the_library_leaves_no_lock_behind(tmp_path: Path) -> None:
    @locked_meanwhile()
    def work() -> None:
        lock_folder(tmp_path)
        assert (tmp_path / ".lock").exists()

    work()
    work()
    assert list(tmp_path.iterdir()) == []
