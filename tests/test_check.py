"""`l2a check`: every kind of broken thing is found, and a sound data set has none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from l2a.check import KINDS, CheckReport, Finding, check_videos, report_lines
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import read_json
from l2a.formats import DataSettings
from l2a.media import write_video
from l2a.text import is_printable
from l2a.videos import Video


def make_video(path: Path, seed: int) -> None:
    """A noisy second of 48x32 pixels: noise keeps the files large enough to be cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (25, 32, 48, 3), np.uint8)
    write_video(path, pixels, 25.0, preset="ultrafast")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of three videos each in train and test, with lists."""
    root = tmp_path / "data"
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(6):
        label, split = number % 2, "test" if number > 3 else "train"
        name = f"{'ab'[label]}/{number}.mkv"
        make_video(root / name, number)
        rows[split].append(f"{name} {label}\n")
    for split, lines in rows.items():
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def found(report: CheckReport) -> dict[str, list[str]]:
    """Kind ─► what it is about."""
    kinds: dict[str, list[str]] = {}
    for finding in report.findings:
        kinds.setdefault(finding.kind, []).append(finding.subject)
    return kinds


def add_line(data: Path, name: str, line: str) -> None:
    with (data / name).open("a") as file:
        file.write(f"{line}\n")


def test_a_sound_data_set_has_no_findings(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_videos(data, DataSettings(), report=lambda *step: seen.append(step))
    assert report.findings == ()
    assert seen == [(done, 6) for done in range(1, 7)]
    assert report_lines(report) == [
        f"{data}: lists, 2 classes, 6 videos (4 train, 2 test)",
        "nothing is broken",
    ]


def test_files_that_cannot_be_decoded_are_told_apart(data: Path) -> None:
    whole = (data / "a/0.mkv").read_bytes()
    (data / "a/0.mkv").write_bytes(whole[: len(whole) // 2])
    (data / "b/1.mkv").write_bytes(b"")
    (data / "a/2.mkv").write_bytes(b"no video at all" * 50)
    (data / "b/3.mkv").unlink()
    assert found(check_videos(data, DataSettings())) == {
        "missing": ["b/3.mkv"],
        "empty": ["b/1.mkv"],
        "truncated": ["a/0.mkv"],
        "unreadable": ["a/2.mkv"],
    }


def test_whatever_decoding_a_video_raises_is_a_finding(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, max_side: int) -> None:
        if path.name == "0.mkv":
            raise AttributeError("no attribute 'thread_count'")

    monkeypatch.setattr("l2a.check.read_frames", read)
    assert check_videos(data, DataSettings()).findings == (
        Finding("unreadable", "a/0.mkv", "AttributeError: no attribute 'thread_count'"),
    )


def test_lists_are_checked_too(data: Path) -> None:
    make_video(data / "a/unlisted.mkv", 9)
    add_line(data, "train.txt", "a/0.mkv 0")
    add_line(data, "test.txt", "b/1.mkv 1")
    (data / "classes.txt").write_text("a\nb\n")
    add_line(data, "train.txt", "a/2.mkv 1")
    report = check_videos(data, DataSettings())
    assert found(report) == {
        "left out": ["a/2.mkv"],
        "listed twice": ["a/0.mkv", "b/1.mkv"],
        "in no list": ["a/unlisted.mkv"],
    }
    place = list(KINDS).index
    assert [place(f.kind) for f in report.findings] == sorted(
        place(f.kind) for f in report.findings
    )
    details = {finding.subject: finding.detail for finding in report.findings}
    assert details["b/1.mkv"] == "kept once, in test"


def test_copies_are_found_by_their_bytes(data: Path) -> None:
    shutil.copy(data / "a/0.mkv", data / "a/4.mkv")
    report = check_videos(data, DataSettings())
    assert [(f.kind, f.subject, f.detail) for f in report.findings] == [
        ("copy", "a/4.mkv", "in test, the same as a/0.mkv in train")
    ]


def test_groups_on_two_sides_and_classes_without_a_split_are_found(data: Path) -> None:
    report = check_videos(data, DataSettings(group_pattern=r"(a)/"))
    assert found(report) == {"two sides": ["a"]}
    assert report.findings[0].detail == "2 in train (a/0.mkv), 1 in test (a/4.mkv)"
    (data / "test.txt").write_text("a/4.mkv 0\n")
    report = check_videos(data, DataSettings())
    assert found(report)["incomplete class"] == ["b"]


def test_one_class_only_is_a_finding_here(data: Path) -> None:
    shutil.rmtree(data / "b")
    report = check_videos(data, DataSettings(format="folder"))
    assert found(report)["one class"] == ["a"]


def test_what_is_no_data_set_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        check_videos(tmp_path / "nowhere", DataSettings())


def test_the_report_shows_a_few_of_each_kind(data: Path) -> None:
    for number in range(4):
        (data / f"{'ab'[number % 2]}/{number}.mkv").write_bytes(b"")
    lines = report_lines(check_videos(data, DataSettings()), most=3)
    assert lines[1:] == [
        f"empty: 4 ({KINDS['empty']})",
        "  a/0.mkv: the file is empty",
        "  a/2.mkv: the file is empty",
        "  b/1.mkv: the file is empty",
        "  … and 1 more",
    ]


def test_lists_that_were_not_read_and_files_of_no_use_are_found(data: Path) -> None:
    (data / "more").mkdir()
    (data / "more/val.json").write_text('["a/0.mkv"]')
    (data / "a/pipe.mkv").touch()
    (data / "a/pipe.mkv").unlink()
    os.mkfifo(data / "a/pipe.mkv")
    (data / "b/loop.mkv").symlink_to("loop.mkv")
    (data / "a/folder.mkv").mkdir()
    (data / "a/\x1b[31mred.mkv").touch()
    report = check_videos(data, DataSettings())
    assert found(report) == {
        "list not read": ["more/val.json"],
        "no video": ["a/\\x1b[31mred.mkv", "a/folder.mkv", "a/pipe.mkv", "b/loop.mkv"],
    }
    assert all(is_printable(line) for line in report_lines(report))


def test_unused_videos_and_lines_that_stand_twice_are_said_and_break_nothing(data: Path) -> None:
    splits = data / "splits"
    for label in "ab":
        rows = [f"{name} {tag}" for tag, name in zip((1, 2, 0), listed(data, label), strict=True)]
        (splits / f"{label}_test_split1.txt").parent.mkdir(exist_ok=True)
        (splits / f"{label}_test_split1.txt").write_text("\n".join([*rows, rows[0]]))
        (data / "train.txt").unlink(missing_ok=True)
        (data / "test.txt").unlink(missing_ok=True)
    report = check_videos(data, DataSettings())
    assert set(found(report)) == {"in no split", "listed twice"}
    assert report.broken == 0
    assert report_lines(report)[-1] == "nothing is broken"


def listed(data: Path, label: str) -> list[str]:
    return sorted(path.name for path in (data / label).iterdir())


def test_strict_and_json_are_for_programs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", str(data), "--strict", "--json", str(tmp_path / "new" / "found.json")]
    assert main(words) == 0
    content = read_json(tmp_path / "new" / "found.json")
    assert content == {
        "data": str(data),
        "format": "lists",
        "classes": ["a", "b"],
        "videos": {"train": 4, "val": 0, "test": 2, "unused": 0},
        "notes": [],
        "broken": 0,
        "findings": [],
    }
    (data / "a/0.mkv").write_bytes(b"")
    (data / "a/new.mkv").write_bytes(b"")
    assert main(words) == 1
    assert capsys.readouterr().err.endswith(f"l2a: {data} has 2 faults.\n")
    assert read_json(tmp_path / "new" / "found.json")["findings"] == [
        {"kind": "empty", "subject": "a/0.mkv", "detail": "the file is empty", "broken": True},
        {"kind": "in no list", "subject": "a/new.mkv", "broken": True,
         "detail": "not used in the layout lists"},
    ]  # fmt: skip
    assert main(words[:2]) == 0


@pytest.mark.clips
def test_a_real_clip_that_was_cut_short_is_found(clips_root: Path, tmp_path: Path) -> None:
    clips = clips_root / "jhmdb12" / "videos"
    for label in ("golf", "wave"):
        for path in sorted((clips / label).iterdir())[:4]:
            (tmp_path / label).mkdir(exist_ok=True)
            shutil.copyfile(path, tmp_path / label / path.name)
    victim = sorted((tmp_path / "golf").iterdir())[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) * 2 // 3])
    report = check_videos(tmp_path, DataSettings())
    assert found(report) == {"truncated": [f"golf/{victim.name}"]}


def test_videos_are_not_handed_out_all_at_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yet every one is, and in their order."""
    handed: list[str] = []
    most = 0

    def decoded(video: Video) -> Finding:
        handed.append(video.id)
        return Finding("unreadable", video.id, "made up")

    def report(done: int, total: int) -> None:
        nonlocal most
        most = max(most, len(handed) - done)

    monkeypatch.setattr("l2a.check._decoded", decoded)
    monkeypatch.setattr("l2a.check._AHEAD", 2)
    result = check_videos(data, DataSettings(), workers=1, report=report)
    assert found(result)["unreadable"] == sorted(handed)
    assert len(handed) == 6
    assert most <= 2
