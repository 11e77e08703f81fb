"""Folders of videos without class: what becomes of them, and what may not come back by them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny_data import CLASSES, moving_square, write_tiny

from compositing.export import Material, check_pairs
from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.clips import ClipSettings, RowState
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.formats.groups import hmdb51_group, told_group, ucf101_group
from l2a.media import write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video, VideoSet
from train.batches import ClipSource
from train.chosen import with_classes
from train.opening import open_data
from train.prepared import unlabelled_rows
from train.records import draw_sheet
from train.settings.full import RunSettings


def fill(root: Path, *names: str, text: str = "") -> None:
    """Make files; readers never open videos. With `text`, each has bytes of its own."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text and f"{text}{root}{name}")


def with_folder(root: Path, folder: Path) -> VideoSet:
    return read_videos(root, DataSettings(unlabelled=folder))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Class folders with a test split, whose files differ."""
    root = tmp_path / "data"
    for label in ("jump", "run"):
        fill(root, *(f"train/{label}/{label}{i}.mp4" for i in range(3)), text="video")
        fill(root, f"test/{label}/v_{label}_g07_c01.mp4", text="video")
    return root


def test_a_folder_inside_is_no_class_and_keeps_its_ids(tmp_path: Path) -> None:
    root = tmp_path / "data"
    fill(root, *(f"{label}/{label}{i}.mp4" for label in ("jump", "run") for i in range(6)))
    before = read_videos(root, DataSettings())
    fill(root, "unknown/one.mp4", "unknown/more/two.mp4", "unknown/run/three.mp4")
    videos = with_folder(root, root / "unknown")
    assert videos.classes == ("jump", "run")
    assert [v.id for v in videos.of_split("unlabelled")] == [
        "unknown/more/two.mp4", "unknown/one.mp4", "unknown/run/three.mp4",
    ]  # fmt: skip
    assert videos.only("train", "test").videos == before.videos
    assert videos.truths == {"unknown/run/three.mp4": "run"}
    assert all(v.path.is_file() and not v.label for v in videos.of_split("unlabelled"))
    # Another spelling of the same folder, and a link from elsewhere, are the same.
    (tmp_path / "link").symlink_to(root / "unknown")
    for folder in (root / "jump" / ".." / "unknown", tmp_path / "link"):
        again = with_folder(root, folder)
        assert [v.id for v in again.videos] == [v.id for v in videos.videos]


def test_a_folder_elsewhere_has_ids_that_no_video_of_the_data_set_can_have(
    data: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "more", "jump/jump0.avi", "a/b.mp4", "v_run_g03_c02.mp4", text="other")
    fill(data, ".unlabelled/a/b.mp4", text="mine")
    videos = with_folder(data, tmp_path / "more")
    found = {v.id: v for v in videos.of_split("unlabelled")}
    # jump0 is called like a training video: it would be one clip twice.
    assert set(found) == {".unlabelled/a/b.mp4", ".unlabelled/v_run_g03_c02.mp4"}
    assert found[".unlabelled/a/b.mp4"].path == tmp_path / "more" / "a" / "b.mp4"
    assert found[".unlabelled/v_run_g03_c02.mp4"].group == "run/g03"
    row = next(row for row in videos.skipped if row.id == ".unlabelled/jump/jump0.avi")
    assert row.reason == "called like train/jump/jump0.mp4, a train video"
    assert any("more that are not used: 1 (.unlabelled/jump/jump0.avi" in n for n in videos.notes)


def test_ids_never_clash(tmp_path: Path) -> None:
    root, more = tmp_path / "data", tmp_path / "more"
    fill(root, *(f"{label}/{label}{i}.mp4" for label in "ab" for i in range(4)), text="mine")
    fill(root, ".unlabelled/a/x.mp4", text="mine")
    lines = [f"{label}/{label}{i}.mp4 {n}" for n, label in enumerate("ab") for i in range(4)]
    (root / "train.txt").write_text("\n".join([*lines[:3], *lines[4:7], ".unlabelled/a/x.mp4 0"]))
    (root / "test.txt").write_text("\n".join([lines[3], lines[7]]))
    fill(more, "b/y.mp4", text="other")
    videos = with_folder(root, more)
    assert ".unlabelled/a/x.mp4" in {v.id for v in videos.of_split("train")}
    assert [v.id for v in videos.of_split("unlabelled")] == ["..unlabelled/b/y.mp4"]


def test_nothing_of_test_comes_back_without_its_class(data: Path, tmp_path: Path) -> None:
    more, tested = tmp_path / "more", data / "test" / "jump" / "v_jump_g07_c01.mp4"
    fill(more, "new.mp4", "v_run_g07_c01.avi", "v_jump_g07_c02.mp4", text="other")
    (more / "copy.mp4").write_bytes(tested.read_bytes())
    (more / "link.mp4").symlink_to(tested)
    (more / "folder").symlink_to(data / "test")
    videos = with_folder(data, more)
    assert [v.id for v in videos.of_split("unlabelled")] == [".unlabelled/new.mp4"]
    reasons = {row.id.removeprefix(".unlabelled/"): row.reason for row in videos.skipped}
    assert (
        reasons["copy.mp4"]
        == reasons["link.mp4"]
        == ("the same file as test/jump/v_jump_g07_c01.mp4, a test video")
    )
    assert reasons["v_run_g07_c01.avi"].startswith("called like test/run/")
    assert reasons["v_jump_g07_c02.mp4"].startswith("of the recording of test/jump/")
    assert reasons["folder/run/v_run_g07_c01.mp4"].startswith("the same file as test/run/")


def test_what_lists_name_and_the_disk_lacks_is_not_unlabelled(tmp_path: Path) -> None:
    root = tmp_path / "data"
    rows = ["label,youtube_id,time_start,time_end,split"]
    for clip in range(6):
        rows.append(f"run,aaaaaaaaaa{clip},1,11,{'test' if clip > 3 else 'train'}")
        rows.append(f"jump,bbbbbbbbbb{clip},1,11,{'test' if clip > 3 else 'train'}")
    fill(root, *(f"run/aaaaaaaaaa{c}_000001_000011.mp4" for c in range(5)),
         *(f"jump/bbbbbbbbbb{c}_000001_000011.mp4" for c in range(5)))  # fmt: skip
    (root / "all.csv").write_text("\n".join(rows))
    fill(tmp_path / "more", "aaaaaaaaaa5_000001_000011.webm", "cccccccccc0_000001_000011.webm")
    videos = with_folder(root, tmp_path / "more")
    assert [v.path.name for v in videos.of_split("unlabelled")] == [
        "cccccccccc0_000001_000011.webm"
    ]
    assert any("data set's lists name" in row.reason for row in videos.skipped)


def test_labels_and_folders_together(data: Path, tmp_path: Path) -> None:
    fill(tmp_path / "more", "x.mp4", "y.mp4", text="other")
    listed = tmp_path / "l.txt"
    listed.write_text("jump/jump0\nrun/run1\n")
    videos = read_videos(data, DataSettings(labelled=listed, unlabelled=tmp_path / "more"))
    assert [v.id for v in videos.of_split("train")] == [
        "train/jump/jump0.mp4",
        "train/run/run1.mp4",
    ]
    assert len(videos.of_split("unlabelled")) == 6
    assert len(videos.truths) == 4
    assert any("videos: 2, unlabelled ones: 6; 0 of these" in note for note in videos.notes)


def test_a_wrong_folder_is_refused(data: Path, tmp_path: Path) -> None:
    fill(tmp_path / "more", "jump/jump0.mp4")
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "absent", "does not exist; check --unlabelled"),
        (data / "train" / "jump" / "jump0.mp4", "is a file; check --unlabelled"),
        (data, "holds the data set"),
        (tmp_path, "holds the data set"),
        (tmp_path / "empty", "There is no unlabelled video in"),
        (tmp_path / "more", "such as .unlabelled/jump/jump0.mp4: called like"),
    ):
        with pytest.raises(InputError, match=message):
            with_folder(data, folder)


def test_a_recording_is_called_the_same_with_and_without_a_class() -> None:
    classes = ("HandstandPushups", "climb", "climb_stairs", "shake hands")
    stem = "v_HandStandPushups_g05_c02"
    assert told_group(stem, classes) == ucf101_group(stem, "HandstandPushups")
    for label, name in (("climb", "climb"), ("climb_stairs", "climb_stairs"),
                        ("shake hands", "shake_hands")):  # fmt: skip
        stem = f"#20_Rhythm(2)_{name}_f_cm_np1_fr_med_0"
        assert told_group(stem, classes) == hmdb51_group(stem, label) == "#20_Rhythm(2)"
    assert told_group("abcdefgh-_0_000010_000020", classes) == "abcdefgh-_0"
    assert told_group("holiday", classes) is None


# --- rows, layers and labels ---------------------------------------------------------------------


def test_unlabelled_videos_have_clips_and_layers_and_no_label(tmp_path: Path) -> None:
    root = write_tiny(tmp_path / "data", train_groups=4)
    fill_with_video(tmp_path / "more" / "new.mp4")
    (tmp_path / "more" / "broken.mp4").write_text("no video")
    settings = DataSettings(labelled_share=0.5, unlabelled=tmp_path / "more")
    opened = open_data(
        root, tmp_path / "run", settings, PrepareSettings(segmenter="motion"),
        EngineSettings(workers=1), RunSettings(),
    )  # fmt: skip
    clips = ClipSettings(num_frames=4, height=32, width=40, crop=32)
    prepared = opened.prepare(clips, CompositeSettings())
    bank, rows, labels = prepared.bank, prepared.rows, prepared.source.labels
    assert [row.id for row in prepared.videos.skipped] == [".unlabelled/broken.mp4"]
    of_split = {video.id: video.split for video in opened.videos.videos}
    for split in ("train", "val", "test", "unlabelled"):
        ids = [id_ for id_ in bank.ids if of_split[id_] == split and "broken" not in id_]
        assert [bank.ids[row] for row in rows[split]] == ids
    assert len(rows["unlabelled"]) == 12 + 1
    layered = {bank.ids[row] for row in np.flatnonzero(bank.state == RowState.LAYERS)}
    assert layered == {bank.ids[row] for s in ("train", "unlabelled") for row in rows[s]}
    assert set(prepared.records) == layered
    without = [row for row, id_ in enumerate(bank.ids) if of_split[id_] == "unlabelled"]
    assert np.flatnonzero(labels == -1).tolist() == without
    for split in ("train", "val", "test"):
        assert [CLASSES[labels[row]] for row in rows[split]] == [
            prepared.video(bank.ids[row]).label for row in rows[split]
        ]
    some = rows["unlabelled"][:2]
    with pytest.raises(ValueError, match="has no label"):
        prepared.source.real(some)
    assert torch.equal(prepared.source.clips(some)[:, 0, 0, 0],
                       torch.from_numpy(bank.frames[some, 0, 0, 4]))  # fmt: skip
    with pytest.raises(ValueError, match="has no label"):
        prepared.source.one_hot(np.array([rows["train"][0], some[0]]))
    assert prepared.usable_rows("background").tolist() == [
        row for row in rows["train"] if not prepared.records[bank.ids[row]].background_unfit
    ]
    assert unlabelled_rows(prepared, "rest").tolist() == rows["unlabelled"].tolist()
    both = sorted([*rows["unlabelled"], *rows["train"]])
    assert unlabelled_rows(prepared, "all").tolist() == both


def fill_with_video(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, moving_square(1, 99), fps=12.0)


def test_what_is_unlabelled_follows_the_labelled_and_not_the_pseudo_labelled() -> None:
    labelled = np.array([0, 1])
    prepared = cast(Any, SimpleNamespace(rows={"unlabelled": np.array([5, 6])}, labelled=labelled))
    assert unlabelled_rows(prepared, "rest").tolist() == [5, 6]
    assert unlabelled_rows(prepared, "all").tolist() == [0, 1, 5, 6]
    prepared.rows = {}
    assert unlabelled_rows(prepared, "rest").tolist() == []


def test_one_hot_refuses_no_label() -> None:
    bank = cast(Any, SimpleNamespace(ids=("a", "b")))
    source = ClipSource(bank, np.array([1, -1]), 2, 8, CompositeSettings())
    assert source.one_hot(np.array([0])).tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match="b has no label"):
        source.one_hot(np.array([0, 1]))


# --- pairs ---------------------------------------------------------------------------------------


def pair(foreground: str, background: str, classes: tuple[str, str]) -> ScoredPair:
    return ScoredPair(foreground, background, 0.5, 0.0, *classes)


def test_pairs_say_the_class_of_unlabelled_videos() -> None:
    videos = {
        "t": Video("t", "/d/t", "jump", "t", "train"),
        "u": Video("u", "/d/u", "", "u", "unlabelled"),
        "v": Video("v", "/d/v", "run", "v", "test"),
    }
    rows = [pair("t", "u", ("jump", "run")), pair("u", "t", ("run", "jump"))]
    known = videos | with_classes(rows, videos)
    assert known["u"].label == "run" and known["u"].split == "unlabelled"
    assert known["t"] is videos["t"]
    material = Material(known, ("jump", "run"), cast(Any, None))
    check_pairs(rows, material)
    with pytest.raises(InputError, match="unlabelled video u two classes, run and jump"):
        with_classes([*rows, pair("u", "v", ("jump", "run"))], videos)
    with pytest.raises(InputError, match="video v of the test split"):
        check_pairs([pair("u", "v", ("run", "run"))], material)
    with pytest.raises(InputError, match="call the class of u 'fly'"):
        check_pairs([pair("u", "t", ("fly", "jump"))], material)


# --- the contact sheet ---------------------------------------------------------------------------


def test_a_contact_sheet_shows_a_few_unlabelled_videos_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Video] = []

    def draw(path: Path, videos: Any, **how: object) -> None:
        shown.extend(videos)

    monkeypatch.setattr("train.records.draw_contact_sheet", draw)
    videos = [Video(f"{c:02}{i}", "/d/x", f"c{c:02}", f"{c}{i}", "train") for c in range(14)
              for i in range(2)]  # fmt: skip
    videos += [Video(f"u{i}", "/d/x", "", f"u{i}", "unlabelled") for i in range(9)]
    made = VideoSet(Path("/d"), "folder", tuple(f"c{c:02}" for c in range(14)), tuple(videos))
    record = SimpleNamespace(foreground_unfit="", background_unfit="")
    records = cast(Any, {video.id: record for video in videos})
    store = cast(Any, SimpleNamespace(load=lambda video: video))
    draw_sheet(tmp_path / "sheet.png", store, made, records)
    assert [video.split for video in shown] == ["train"] * 9 + ["unlabelled"] * 3
    assert len({video.label for video in shown[:9]}) == 9
    shown.clear()
    draw_sheet(tmp_path / "sheet.png", store, made.only("train"), records)
    assert len(shown) == 12
