"""Which training videos are labelled: lists as others write them, shares by group, refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.check import CheckReport, _from_reading, report_json, report_lines
from l2a.errors import InputError
from l2a.files import fingerprint
from l2a.formats import DataSettings, read_any, read_videos
from l2a.formats.labelled import with_labels, wrong_classes
from l2a.settings import kept
from l2a.videos import Video, VideoSet, carve_validation, shared_groups


def touch(root: Path, *names: str) -> None:
    """Make files without a byte: readers never open videos."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def names_of(videos: VideoSet, *splits: str) -> set[str]:
    return {video.path.stem for video in videos.of_split(*splits)}


def labelled_by(root: Path, listed: Path, **settings: object) -> VideoSet:
    return read_videos(root, DataSettings(labelled=listed, **settings))  # type: ignore[arg-type]


# --- UCF101 --------------------------------------------------------------------------------------

UCF = ("Hammering", "HammerThrow", "YoYo")  # as classInd.txt counts them, which no sorting does


def ucf101(root: Path, groups: int = 4) -> Path:
    """Two clips of each of `groups` recordings a class, the last of them for test."""
    lists: dict[str, list[str]] = {"trainlist01.txt": [], "testlist01.txt": []}
    for number, label in enumerate(UCF, start=1):
        for group in range(1, groups + 1):
            for clip in (1, 2):
                file = f"{label}/v_{label}_g{group:02}_c{clip:02}.avi"
                touch(root, f"UCF-101/{file}")
                if group == groups:
                    lists["testlist01.txt"].append(file)
                else:
                    lists["trainlist01.txt"].append(f"{file} {number}")
    for name, lines in lists.items():
        write(root / "ucfTrainTestlist" / name, lines)
    write(root / "ucfTrainTestlist" / "classInd.txt", (f"{i} {n}" for i, n in enumerate(UCF, 1)))
    return root


def videossl_ucf101(path: Path, clips: Sequence[str]) -> Path:
    """Lines of VideoSSL: `Class/clip FRAMES LABEL`, counted from 0 in the order of classInd.txt."""
    label = {name: number for number, name in enumerate(UCF)}
    return write(path, (f"{c.split('_')[1]}/{c} 164 {label[c.split('_')[1]]}" for c in clips))


def test_a_videossl_list_of_ucf101_says_what_is_labelled(tmp_path: Path) -> None:
    root = ucf101(tmp_path / "data")
    clips = ["v_Hammering_g01_c01", "v_Hammering_g01_c02", "v_HammerThrow_g02_c01",
             "v_YoYo_g03_c02"]  # fmt: skip
    # It lies among the data set's own lists, and is called like one of them.
    name = "ucf101_train_20_percent_labeled_split_1_rawframes.txt"
    listed = videossl_ucf101(root / "ucfTrainTestlist" / name, clips)
    videos, before = labelled_by(root, listed), read_videos(root, DataSettings())
    assert names_of(videos, "train") == set(clips)
    assert names_of(videos, "train", "unlabelled") == names_of(before, "train")
    assert videos.of_split("test") == before.of_split("test")
    assert videos.classes == before.classes
    assert {video.label for video in videos.of_split("unlabelled")} == {""}
    told = {v.id: v.label for v in before.of_split("train") if v.path.stem not in clips}
    assert videos.truths == told
    # g01 of Hammering is labelled as a whole; of the other two classes, one clip is left of a pair.
    assert "Labelled training videos: 4, unlabelled ones: 14; 2 of these come from" in " ".join(
        videos.notes
    )
    assert any("one labelled video: 2 (HammerThrow, YoYo)" in note for note in videos.notes)
    assert not videos.disputed and not videos.unread
    assert videos.fingerprint() != before.fingerprint()
    groups = {video.id: video.group for video in before.videos}
    assert {video.id: video.group for video in videos.videos} == groups


def test_validation_comes_out_of_labelled_recordings_and_training_sees_nothing_of_them(
    tmp_path: Path,
) -> None:
    root = ucf101(tmp_path / "data")
    clips = [f"v_{label}_g{group:02}_c01" for label in UCF[:2] for group in (1, 2)]
    listed = videossl_ucf101(tmp_path / "labelled.txt", [*clips, "v_YoYo_g01_c01"])
    videos = carve_validation(labelled_by(root, listed), 0.5, 0)
    held = videos.of_split("val")
    assert Counter(video.label for video in held) == {"Hammering": 1, "HammerThrow": 1}
    seen = {video.group for video in videos.of_split("train", "unlabelled")}
    assert not seen & {video.group for video in held}
    assert len(videos.of_split("unused")) == 2  # their second clips
    assert all(not video.label for video in videos.of_split("unused"))
    assert any("validation has, which are not used: 2." in note for note in videos.notes)
    assert any("Classes without a val video" in n and "(YoYo)" in n for n in videos.notes)


def test_one_labelled_recording_a_class_leaves_none_for_validation(tmp_path: Path) -> None:
    root = ucf101(tmp_path / "data")
    listed = videossl_ucf101(tmp_path / "labelled.txt", [f"v_{label}_g01_c01" for label in UCF])
    with pytest.raises(InputError, match=r"labelled train videos of two groups.*label more"):
        carve_validation(labelled_by(root, listed), 0.2, 0)


# --- HMDB51 --------------------------------------------------------------------------------------

HMDB = {"climb": 0, "climb_stairs": 1, "kick": 2}
SHORT = "#20_Rhythm(2)_[x]_"  # what names of HMDB51 are like


def hmdb51(root: Path) -> Path:
    """Three train clips, a test clip and two unused ones of each class."""
    for label in HMDB:
        lines = []
        for number, tag in enumerate((1, 1, 1, 2, 0, 0)):
            name = f"{SHORT}{number}_{label}_f_cm_np1_fr_med_0.avi"
            touch(root, f"videos/{label}/{name}")
            lines.append(f"{name} {tag}")
        write(root / "splits" / f"{label}_test_split1.txt", lines)
    return root


def videossl_hmdb51(label: str, number: int, said: int | None = None) -> str:
    stem = f"{SHORT}{number}_{label}_f_cm_np1_fr_med_0"
    return f"{label}/{stem} 81 {HMDB[label] if said is None else said}"


def test_wrong_numbers_of_hmdb51_are_counted_and_folders_count(tmp_path: Path) -> None:
    root = hmdb51(tmp_path / "data")
    right = [videossl_hmdb51(label, number) for label in HMDB for number in (0, 1)]
    # What VideoSSL's lists have: unused clips of one class with the number of the other.
    wrong = [videossl_hmdb51("climb", 4, 1), videossl_hmdb51("climb_stairs", 5, 0)]
    listed = write(tmp_path / "hmdb51_train_40_percent_labeled_split_1_rawframes.txt",
                   [*right[:3], *wrong, *right[3:]])  # fmt: skip
    videos = labelled_by(root, listed)
    assert Counter(v.label for v in videos.of_split("train")) == {
        "climb": 3, "climb_stairs": 3, "kick": 2,
    }  # fmt: skip
    assert {row.id.split("/")[1] for row in videos.disputed} == {"climb", "climb_stairs"}
    assert len(videos.disputed) == 2
    assert any("class of another folder: 2 of 8;" in note for note in videos.notes)
    # Such a list was drawn from all but the test clips, and so are the unlabelled ones.
    assert len(videos.of_split("unlabelled")) == 3 + 4
    assert not videos.of_split("unused")
    assert any("names: 2; they are labelled, and the other 4 unused" in n for n in videos.notes)
    report = CheckReport(videos, tuple(_from_reading(videos)))
    assert report.broken == 0
    assert "another class: 2" in "\n".join(report_lines(report))
    assert report_json(report)["videos"] == {
        "train": 8, "val": 0, "test": 3, "unlabelled": 7, "unused": 0,
    }  # fmt: skip


def test_unused_clips_of_tested_recordings_stay_unused_whether_a_list_names_them_or_not(
    tmp_path: Path,
) -> None:
    root = hmdb51(tmp_path / "data")
    # Of the recording of each class's test clip, which is number 3, two more that are not used.
    others = {}
    for label in HMDB:
        names = [f"{SHORT}3_{label}_f_cm_np1_fr_med_{clip}.avi" for clip in (1, 2)]
        touch(root, *(f"videos/{label}/{name}" for name in names))
        with (root / "splits" / f"{label}_test_split1.txt").open("a") as file:
            file.writelines(f"{name} 0\n" for name in names)
        others[label] = [f"videos/{label}/{name}" for name in names]
    named = [videossl_hmdb51(label, number) for label in HMDB for number in (0, 4)]
    listed = write(tmp_path / "labelled.txt", [*named, f"{others['kick'][0]} 2"])
    videos = labelled_by(root, listed)
    assert sorted(v.id for v in videos.of_split("unused")) == sorted(
        id_ for ids in others.values() for id_ in ids
    )
    assert not shared_groups(videos)
    assert len(videos.of_split("train")) == 6 and len(videos.of_split("unlabelled")) == 3 * 2 + 3
    assert any(
        "recordings that test or validation has: 6, of which labelled.txt names 1; they stay" in n
        for n in videos.notes
    )
    assert any("names: 3; they are labelled, and the other 3 unused" in n for n in videos.notes)
    # A class of which such clips alone are named has no labelled video.
    lone = write(tmp_path / "lone.txt", [*named[:4], f"{others['kick'][0]} 2"])
    with pytest.raises(InputError, match=r"no video of 1 class .*may be trained on \(kick\)"):
        labelled_by(root, lone)


def test_a_list_of_training_clips_leaves_unused_ones_unused(tmp_path: Path) -> None:
    root = hmdb51(tmp_path / "data")
    listed = write(tmp_path / "l.txt", (videossl_hmdb51(label, 0) for label in HMDB))
    videos = labelled_by(root, listed)
    assert len(videos.of_split("unused")) == 6
    assert len(videos.of_split("unlabelled")) == 6


def test_what_a_number_means_is_what_most_of_its_lines_say() -> None:
    assert wrong_classes([("0", "a"), ("0", "a"), ("1", "b"), ("1", "a")]) == [3]
    assert wrong_classes([("0", "a"), ("0", "a"), ("1", "b"), ("1", "b"), ("1", "a")]) == [4]
    # A number of its own that no other line has is as wrong.
    assert wrong_classes([("0", "a"), ("0", "a"), ("7", "a"), ("1", "b")]) == [2]
    # One number for all is a stopgap, and says nothing.
    assert wrong_classes([("0", "a"), ("0", "b"), ("0", "c")]) == []
    assert wrong_classes([]) == []


# --- Kinetics ------------------------------------------------------------------------------------


def test_a_list_of_kinetics_names_folders_in_its_own_way_and_clips_nobody_has(
    tmp_path: Path,
) -> None:
    root, classes = tmp_path / "data", ("skiing (not slalom or crosscountry)", "ski jumping")
    rows = ["label,youtube_id,time_start,time_end,split"]
    for number, label in enumerate(classes):
        for clip in range(5):
            youtube = f"{number}a-b_c{clip}efgh"
            rows.append(f'"{label}",{youtube},10,20,{"test" if clip == 4 else "train"}')
            if clip < 3 or clip == 4:
                touch(root, f"videos/{label}/{youtube}_000010_000020.mp4")
    write(root / "annotations" / "train.csv", rows)
    spelled = ("skiing_-not_slalom_or_crosscountry-", "ski_jumping")
    listed = write(
        tmp_path / "kinetics100_train_5_percent_labeled_rawframes.txt",
        [f"{spelled[n]}/{n}a-b_c{clip}efgh_000010_000020 300 {n}" for n in (0, 1)
         for clip in (0, 3)],
    )  # fmt: skip
    videos = labelled_by(root, listed)
    assert videos.format == "kinetics"
    assert names_of(videos, "train") == {f"{n}a-b_c0efgh_000010_000020" for n in (0, 1)}
    assert len(videos.of_split("unlabelled")) == 4
    assert any("name no video here: 2 of 4" in note for note in videos.notes)


# --- other forms of lists ------------------------------------------------------------------------


def folders(root: Path) -> Path:
    """Plain class folders with a test split; names with blanks, of numbers, and twice the same."""
    for label in ("jump", "long run"):
        touch(root, *(f"train/{label}/clip {i}.mp4" for i in range(4)), f"test/{label}/t 1.mp4")
    return root


@pytest.mark.parametrize(
    "lines",
    [
        ["train/jump/clip 1.mp4 0", "train/long run/clip 2.mp4 1"],
        ["jump/clip 1.mp4 0", "long run/clip 2.mp4 1"],
        ["/home/them/data/jump/clip 1.avi 12 0", "/home/them/data/long_run/clip 2.avi 12 1"],
        ["jump/clip 1", "long run/clip 2"],
        ["jump/clip 1 7 0", "long run/clip 2 7 1"],
        ["path,label", "jump/clip 1.mp4,0", "long run/clip 2.mp4,1"],
        ["path,label", '"jump/clip 1.mp4","jump"', '"long run/clip 2.mp4","long run"'],
        ["jump/clip 1.mp4,jump", "long run/clip 2.mp4,long run"],
        ["jump/clip 1.mp4\tjump", "long run/clip 2.mp4\tlong run"],
        ["# what is labelled", "jump\\clip 1.mp4;0", "", "long run\\clip 2.mp4;1.0"],
        ["./jump/clip 1.mp4", "train/../train/long run/clip 2.mp4"],
        ["\ufeffjump/clip 1.mp4 0", "long run/clip 2.mp4 1\r"],
    ],
)
def test_lists_are_read_as_they_are_found(tmp_path: Path, lines: list[str]) -> None:
    root = folders(tmp_path / "data")
    listed = write(tmp_path / "list.csv", lines)
    videos = labelled_by(root, listed)
    assert [v.id for v in videos.of_split("train")] == [
        "train/jump/clip 1.mp4", "train/long run/clip 2.mp4",
    ]  # fmt: skip
    assert len(videos.of_split("unlabelled")) == 6
    assert not videos.disputed
    assert videos.lists[-1] == listed


def test_a_name_without_folder_counts_where_one_video_has_it(tmp_path: Path) -> None:
    touch(tmp_path / "data", "train/a/one.mp4", "train/a/two.mp4", "train/b/three.mp4",
          "train/b/two.mp4", "test/a/t.mp4")  # fmt: skip
    listed = write(tmp_path / "l.txt", ["one.mp4", "three", "two.mp4"])
    videos = labelled_by(tmp_path / "data", listed)
    assert names_of(videos, "train") == {"one", "three"}
    assert any("name no video here: 1 of 3 (two.mp4)" in note for note in videos.notes)


def test_a_list_may_say_a_video_again(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    listed = write(tmp_path / "l.txt", ["jump/clip 1", "jump/clip 1.mp4", "long run/clip 1"])
    assert any("name a video again: 1." in note for note in labelled_by(root, listed).notes)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["jump/clip 1", "long run/clip 1", "jump/t 1.mp4 0"],
         r"names 1 video of the test split, such as test/jump/t 1\.mp4; give a list of training"),
        (["Archery/v_Archery_g01_c01 117 2", "Bowling/v_Bowling_g01_c01 20 3"],
         r"Of 2 lines of .*, 0 name videos of .*, such as 'Archery/v_Archery_g01_c01 117 2'"),
        (["jump/clip 1", "a/b", "a/c"], r"Of 3 lines of .*, 1 name videos of"),
        (["jump/clip 1", "jump/clip 2"],
         r"names no video of 1 class of .* \(long run\); label one of each, or .*missing-classes"),
        ([], "names no video; write one path a line"),
        (["../../jump/clip 1.mp4", "long run/clip 1"], r"leaves"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    root = folders(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        labelled_by(root, write(tmp_path / "list.txt", lines))


def test_a_list_that_names_a_validation_video_is_refused(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    touch(root, "val/jump/v.mp4")
    with pytest.raises(InputError, match="1 video of the val split"):
        labelled_by(root, write(tmp_path / "l.txt", ["jump/clip 1", "jump/v", "long run/clip 1"]))


def test_a_list_that_names_a_video_of_a_carved_test_split_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "data", *(f"{label}/{label}{i}.mp4" for label in "ab" for i in range(9)))
    held = read_videos(tmp_path / "data", DataSettings()).of_split("test")[0]
    listed = write(tmp_path / "l.txt", [held.id])
    with pytest.raises(InputError, match="give the data set a test split of its own"):
        labelled_by(tmp_path / "data", listed)


def test_a_class_may_be_left_without_a_labelled_video(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    listed = write(tmp_path / "l.txt", ["jump/clip 1"])
    videos = labelled_by(root, listed, missing_classes="allow")
    assert videos.classes == ("jump", "long run")
    assert any("Without a labelled video: 1 class (long run)." in note for note in videos.notes)
    assert set(videos.truths.values()) == {"jump", "long run"}


def test_what_is_labelled_is_said_once_and_rightly(tmp_path: Path) -> None:
    for share in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(InputError, match=f"labelled share is {share}; choose one above 0"):
            DataSettings(labelled_share=share)
    with pytest.raises(InputError, match="one of --labelled and --labelled-share"):
        DataSettings(labelled=tmp_path, labelled_share=0.2)
    root = folders(tmp_path / "data")
    with pytest.raises(InputError, match="does not exist; check --labelled"):
        labelled_by(root, tmp_path / "absent.txt")
    with pytest.raises(InputError, match="is not a file; check --labelled"):
        labelled_by(root, tmp_path)


# --- shares --------------------------------------------------------------------------------------


@st.composite
def train_sets(draw: st.DrawFn) -> VideoSet:
    rows = draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), min_size=2,
                 max_size=40)
    )  # fmt: skip
    videos = tuple(
        Video(f"{i:03}", f"/data/{i:03}.avi", label, group, "test" if group == "z" else "train")
        for i, (label, group) in enumerate(rows)
    )
    return VideoSet(Path("/data"), "folder", tuple(sorted({v.label for v in videos})), videos)


@given(train_sets(), st.floats(0.01, 0.99), st.integers(0, 3))
def test_a_share_divides_no_group_and_leaves_every_class_a_labelled_video(
    videos: VideoSet, share: float, seed: int
) -> None:
    settings = DataSettings(labelled_share=share, labelled_seed=seed)
    try:
        made = with_labels(videos, settings)
    except InputError as error:
        assert "no group of /data becomes unlabelled" in str(error)
        return
    labelled, unlabelled = made.of_split("train"), made.of_split("unlabelled")
    assert not {v.group for v in labelled} & {v.group for v in unlabelled}
    assert {v.label for v in labelled} == {v.label for v in videos.of_split("train")}
    assert [v.id for v in made.videos] == [v.id for v in videos.videos]
    assert made.of_split("test") == videos.of_split("test")
    assert made.truths == {v.id: v.label for v in videos.videos
                           if v.id in {u.id for u in unlabelled}}  # fmt: skip
    assert all(v.label == "" for v in unlabelled)
    assert made == with_labels(videos, settings)


def test_a_share_is_met_as_nearly_as_groups_allow(tmp_path: Path) -> None:
    root = ucf101(tmp_path / "data", groups=11)  # 20 clips a class in 10 groups for training
    for share, clips in ((0.2, 4), (0.05, 2), (0.5, 10), (1.0, 20)):
        videos = read_videos(root, DataSettings(labelled_share=share))
        assert Counter(v.label for v in videos.of_split("train")) == dict.fromkeys(UCF, clips)
    one, other = (
        names_of(read_videos(root, DataSettings(labelled_share=0.2, labelled_seed=seed)), "train")
        for seed in (0, 1)
    )
    assert one != other


# --- nothing changes without unlabelled videos ---------------------------------------------------


def test_sets_and_settings_without_unlabelled_videos_are_what_they_were(tmp_path: Path) -> None:
    videos = read_videos(ucf101(tmp_path / "data"), DataSettings())
    rows = [(v.id, v.label, v.group, v.split) for v in videos.videos]
    assert videos.fingerprint() == fingerprint([list(videos.classes), rows])
    assert kept(DataSettings()) == {
        "format": "auto", "split": "1", "annotations": None, "group_pattern": None,
        "val_share": 0.2,
    }  # fmt: skip
    assert replace(videos, truths={videos.videos[0].id: "x"}).fingerprint() == videos.fingerprint()
    assert not videos.truths and not videos.disputed
    hash(videos)


def test_an_unlabelled_clip_is_on_the_side_of_training() -> None:
    rows = [("a", "g", "unlabelled"), ("a", "g", "train"), ("a", "h", "unlabelled"),
            ("a", "h", "test")]  # fmt: skip
    videos = tuple(Video(f"{i}", f"/d/{i}", *row) for i, row in enumerate(rows))
    found = shared_groups(VideoSet(Path("/d"), "folder", ("a",), videos))
    assert list(found) == ["h"]
    assert set(found["h"]) >= {"test", "unlabelled"}


# --- real clips ----------------------------------------------------------------------------------


@pytest.mark.clips
def test_a_share_of_the_real_clips(clips_root: Path) -> None:
    root = clips_root / "jhmdb12"
    for split in "123":
        before = read_any(root, DataSettings(split=split))
        videos = read_any(root, DataSettings(split=split, labelled_share=0.2))
        carved = carve_validation(videos, 0.2, 0)
        assert {v.label for v in carved.of_split("train")} == set(videos.classes)
        held = {v.group for v in carved.of_split("val")}
        assert not held & {v.group for v in carved.of_split("train", "unlabelled")}
        tested = {v.id for v in before.of_split("test")}
        assert tested == {v.id for v in carved.of_split("test")}
        assert not tested & carved.truths.keys()
        share = len(videos.of_split("train")) / len(before.of_split("train"))
        assert 0.15 < share < 0.25
