"""What lies in a data set's folder: every file called like a video is used, skipped or named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l2a.formats import DataSettings, read_any, read_videos
from l2a.formats.groups import plain
from l2a.formats.tree import Tree
from l2a.text import is_printable
from l2a.videos import VideoSet


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    touch(folder, *(f"{label}/{label}{number}.mp4" for label in "ab" for number in range(3)))
    return folder


def ids(videos: VideoSet) -> set[str]:
    return {video.id for video in videos.videos}


def skipped(videos: VideoSet) -> dict[str, str]:
    return {row.id: row.reason for row in videos.skipped}


SOUND = {f"{label}/{label}{number}.mp4" for label in "ab" for number in range(3)}


def test_a_layer_store_is_no_class(root: Path) -> None:
    for part in ("records", "foregrounds", "backgrounds", "masks"):
        touch(root, f"layers/{part}/a.mkv")
    videos = read_videos(root, DataSettings())
    assert ids(videos) == SOUND
    assert any("layers" in note for note in videos.notes)


# --- nested folders --------------------------------------------------------------------------


def test_videos_deeper_in_a_class_folder_are_of_its_class(root: Path) -> None:
    touch(root, "a/more/x.mp4", "a/more/deep/er/y.mp4", "c/only/deep/z.mp4")
    videos = read_videos(root, DataSettings())
    label = {video.id: video.label for video in videos.videos}
    assert label["a/more/x.mp4"] == label["a/more/deep/er/y.mp4"] == "a"
    assert label["c/only/deep/z.mp4"] == "c"
    assert videos.notes[0] == (
        "Videos in folders inside class folders, which take the class of the outermost: 3"
        " (a/more/deep/er/y.mp4, a/more/x.mp4, c/only/deep/z.mp4)."
    )


def test_a_list_means_the_file_itself_and_not_a_copy_in_a_subfolder(root: Path) -> None:
    touch(root, "a/aug/a1.mp4", "a/z/new.mp4")
    tree = Tree(root)
    found = tree.find("a", "a1.mp4")
    assert found is not None and found.id == "a/a1.mp4"
    nested = tree.find("a", "new.avi")  # converted, and nowhere else
    assert nested is not None and nested.id == "a/z/new.mp4"


@pytest.mark.parametrize("prefix", ["", "videos/"])
def test_deeper_videos_in_split_folders_keep_their_split(tmp_path: Path, prefix: str) -> None:
    names = ("train/a/1.mp4", "train/a/x/2.mp4", "train/b/y/z/3.mp4", "test/b/4.mp4")
    touch(tmp_path, *(prefix + name for name in names))
    videos = read_videos(tmp_path, DataSettings())
    assert [(v.label, v.split) for v in videos.videos] == [
        ("b", "test"), ("a", "train"), ("a", "train"), ("b", "train"),
    ]  # fmt: skip


def test_videos_beside_the_folder_of_videos_are_named(root: Path) -> None:
    root.rename(root.parent / "videos")
    touch(root.parent, "other/c/1.mp4", "loose.mp4")
    videos = read_videos(root.parent, DataSettings())
    assert videos.left_out == ("loose.mp4", "other/c/1.mp4")
    assert "left out: 2 (loose.mp4, other/c/1.mp4)" in " ".join(videos.notes)


def test_a_folder_that_a_run_was_made_in_holds_no_videos_of_the_data_set(root: Path) -> None:
    touch(root, "look/run.yaml", "look/preview/x.mp4")
    videos = read_videos(root, DataSettings())
    assert ids(videos) == SOUND and videos.classes == ("a", "b")
    assert "Folders of earlier runs, left out: 1 (look)." in videos.notes
    # The data set itself may lie in such a folder.
    touch(root, "run.yaml")
    assert ids(read_videos(root, DataSettings())) == SOUND


@pytest.mark.parametrize("layout", ["hmdb51", "ucf101", "kinetics", "lists", "folder"])
def test_no_file_is_lost_in_any_layout(root: Path, layout: str) -> None:
    touch(root, "a/x/deep.mp4", "c/c0.mp4", "loose.mp4", "videos_old/q/w/e.mp4")
    lists = {
        "hmdb51": {"a_test_split1.txt": "a0.mp4 1\na1.mp4 2\n", "b_test_split1.txt": "b0.mp4 1\n"},
        "ucf101": {"trainlist01.txt": "a/a0.mp4 1\nb/b0.mp4 2\n", "testlist01.txt": "a/a1.mp4\n"},
        "kinetics": {"train.csv": "label,youtube_id,time_start,time_end\na,k,0,1\n"},
        "lists": {"train.txt": "a/a0.mp4 0\nb/b0.mp4 1\n"},
        "folder": {},
    }[layout]
    touch(root, "a/k_000000_000001.mp4")
    for name, text in lists.items():
        (root / name).write_text(text)
    videos = read_any(root, DataSettings(format=layout))
    everything = {path.relative_to(root).as_posix() for path in root.rglob("*.mp4")}
    assert ids(videos) | set(videos.left_out) | set(skipped(videos)) == everything
    assert not ids(videos) & set(videos.left_out)
    if videos.left_out:
        assert f"left out: {len(videos.left_out)} (" in " ".join(videos.notes)


# --- links -----------------------------------------------------------------------------------


def test_links_to_files_and_folders_elsewhere_are_followed(root: Path) -> None:
    touch(root.parent, "elsewhere/c0.mp4", "one.mp4")
    (root / "c").symlink_to(root.parent / "elsewhere")
    (root / "a" / "one.mp4").symlink_to(root.parent / "one.mp4")
    videos = read_videos(root, DataSettings())
    assert ids(videos) == SOUND | {"c/c0.mp4", "a/one.mp4"}
    assert not videos.skipped


def test_links_in_circles_are_skipped_and_listed(root: Path) -> None:
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "here").symlink_to(".")
    (root / "b" / "far").symlink_to("/")
    (root / "self.mp4").symlink_to("self.mp4")
    (root / "b" / "self").symlink_to("self")
    (root / "b" / "gone").symlink_to("nowhere")
    videos = read_videos(root, DataSettings())
    assert ids(videos) == SOUND
    assert skipped(videos) == {
        "a/up": "a link to a folder that it lies in",
        "a/here": "a link to a folder that it lies in",
        "b/far": "a link to a folder that it lies in",
        "self.mp4": "a link that leads to itself",
        "b/self": "a link that leads to itself",
        "b/gone": "a link to a missing file",
    }


def test_folders_that_link_to_each_other_end(root: Path) -> None:
    (root / "a" / "other").symlink_to(root / "b")
    (root / "b" / "other").symlink_to(root / "a")
    videos = read_videos(root, DataSettings())
    assert ids(videos) > SOUND
    assert all(id.count("other") <= 1 for id in ids(videos))
    assert set(skipped(videos).values()) == {"a link to a folder that it lies in"}


def test_a_web_of_links_stays_small(tmp_path: Path) -> None:
    for index in range(8):
        touch(tmp_path, f"c{index}/{index}.mp4")
    for index in range(8):
        for other in range(8):
            (tmp_path / f"c{index}" / f"to{other}").symlink_to(tmp_path / f"c{other}")
    videos = read_videos(tmp_path, DataSettings())
    assert {f"c{i}/{i}.mp4" for i in range(8)} < ids(videos)
    assert len(videos) <= 8 + 8 * 8
    assert "a link to a folder that too many others lead to" in skipped(videos).values()


def test_very_deep_folders_need_no_deep_stack(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.mp4", "a/" + "d/" * 900 + "2.mp4")
    assert len(read_videos(tmp_path, DataSettings())) == 2


# --- what is called like a video -------------------------------------------------------------


def test_folders_pipes_and_sockets_called_like_videos_are_skipped(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(root, "a/folder.mp4/inside.mp4")
    os.mkfifo(root / "a" / "pipe.mp4")
    monkeypatch.chdir(root)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b/socket.mp4")
        videos = read_videos(root, DataSettings())
    assert skipped(videos) == {
        "a/folder.mp4": "a folder, not a video file",
        "a/pipe.mp4": "a pipe, not a video file",
        "b/socket.mp4": "a socket, not a video file",
    }
    assert ids(videos) == SOUND | {"a/folder.mp4/inside.mp4"}
    assert "Files and folders that cannot be used: 3 (a/folder.mp4: a folder, not" in " ".join(
        videos.notes
    )


def test_a_folder_that_cannot_be_listed_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("/c"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    touch(root, "c/1.mp4")
    monkeypatch.setattr(os, "scandir", closed)
    videos = read_videos(root, DataSettings())
    assert skipped(videos) == {"c": "a folder that cannot be listed: Permission denied"}


# --- names -----------------------------------------------------------------------------------

ODD = [
    b"\xe9.mp4", b"a\nb.mp4", b"a\tb.mp4", b"\x1b[31m.mp4", b"x\x7f.mp4", "a\u2028b.mp4".encode(),
       "\u202egpj.mp4".encode()]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_names_that_no_list_can_hold_are_skipped_and_shown_as_text(root: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(root / "a") + b"/" + name))).touch()
    (Path(os.fsdecode(os.fsencode(root) + b"/" + name.removesuffix(b".mp4")))).mkdir()
    videos = read_videos(root, DataSettings())
    assert ids(videos) == SOUND
    assert len(videos.skipped) == 2
    for row in videos.skipped:
        assert row.reason.startswith("its name has control characters or bytes that are not UTF-8")
        assert "\\" in row.id and is_printable(row.id)
        row.id.encode()


@pytest.mark.parametrize("name", ["$x^{$", "a b", "#1;[x]_&_(y)!", "'", "%s{}", "日本", "x" * 250])
def test_other_names_are_used(root: Path, name: str) -> None:
    touch(root, f"{name}/{name}.mp4")
    videos = read_videos(root, DataSettings())
    assert {video.label for video in videos.videos} == {"a", "b", name}
    assert not videos.skipped


def test_classes_in_two_unicode_forms_are_one_class(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    touch(tmp_path, f"train/{composed}/1.mp4", f"test/{apart}/2.mp4", "train/b/3.mp4")
    videos = read_videos(tmp_path, DataSettings())
    assert videos.classes == ("b", composed)
    # One that is always written apart stays as it is: runs made before know it so.
    touch(tmp_path / "mac", f"train/{apart}/1.mp4", f"test/{apart}/2.mp4", "train/b/3.mp4")
    assert apart in read_videos(tmp_path / "mac", DataSettings()).classes


def test_classes_that_differ_in_spelling_alone_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "train/ride bike/1.mp4", "test/Ride_Bike/2.mp4", "train/b/3.mp4")
    videos = read_videos(tmp_path, DataSettings())
    note = "Classes whose names are spelled alike: 1 ('Ride_Bike' and 'ride bike')."
    assert note in videos.notes


def test_vowel_signs_tell_names_apart() -> None:
    assert plain("कि") != plain("का")
    assert plain("cafe\u0301") == plain("Caf\u00e9")


def test_a_mark_of_direction_in_a_name_makes_it_no_less_a_video(tmp_path: Path) -> None:
    touch(tmp_path, "a/\u200eclip.mp4", "b/2.mp4", "b/\u202ecod.mp4")
    videos = read_videos(tmp_path, DataSettings())
    assert [video.id for video in videos.videos] == ["a/\u200eclip.mp4", "b/2.mp4"]
    assert [row.id for row in videos.skipped] == ["b/\\u202ecod.mp4"]


# --- what it costs ---------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Path]:
    for label in range(20):
        folder = tmp_path / f"class{label}"
        folder.mkdir()
        for number in range(100):
            (folder / f"v{number}.mp4").touch()
    yield tmp_path


def test_no_file_is_asked_for_its_properties(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to the system for each file is what made listing slow."""
    called = []
    for name in ("stat", "lstat", "open"):
        whole = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, w=whole, **k: called.append(a[0]) or w(*a, **k))
    videos = read_videos(many, DataSettings())
    assert len(videos) == 2000
    assert len(called) < 50


def test_a_tree_is_walked_once(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, called = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: called.append(str(path)) or scandir(path))
    Tree(many)
    assert len(called) == len(set(called)) == 21
