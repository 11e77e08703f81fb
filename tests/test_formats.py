"""Reading data sets: every layout, what their makers' names mean, and what goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.formats import READERS, DataSettings, read_videos
from l2a.formats.groups import guessed_group, hmdb51_group, plain
from l2a.formats.tree import Tree
from l2a.videos import SPLITS, VideoSet, carve_validation, shared_groups


def touch(root: Path, *names: str) -> None:
    """Make empty files: readers never open videos."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def splits_of(videos: VideoSet) -> dict[str, str]:
    return {video.id: video.split for video in videos.videos}


def groups_of(videos: VideoSet) -> dict[str, str]:
    return {video.path.name: video.group for video in videos.videos}


# --- class folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "videos/", "hmdb51_org/", "UCF-101/"])
def test_class_folders_are_found_at_the_top_and_in_known_places(
    tmp_path: Path, prefix: str
) -> None:
    names = [f"{prefix}{label}/{i}{label}.mp4" for label in ("jump", "run") for i in range(5)]
    touch(tmp_path, *names, f"{prefix}jump/notes.txt", f"{prefix}jump/._0jump.mp4", "about/x.txt")
    videos = read_videos(tmp_path, DataSettings())
    assert videos.format == "folder"
    assert videos.classes == ("jump", "run")
    assert [video.id for video in videos.videos] == sorted(names)
    assert all(video.path == tmp_path / video.id for video in videos.videos)


def test_a_bare_folder_gets_the_same_test_split_for_everybody(tmp_path: Path) -> None:
    names = [f"{label}/{label}{i}.mkv" for label in ("jump", "run") for i in range(10)]
    for copy in ("here", "there"):
        touch(tmp_path / copy, *names)
    here = read_videos(tmp_path / "here", DataSettings())
    there = read_videos(tmp_path / "there", DataSettings())
    assert splits_of(here) == splits_of(there)
    tested = Counter(video.label for video in here.of_split("test"))
    assert tested == {"jump": 3, "run": 3}
    assert "test split was carved out of train" in here.notes[0]


@pytest.mark.parametrize("val", ["val", "validation", "VAL", "videos_val"])
def test_split_folders_are_kept(tmp_path: Path, val: str) -> None:
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", f"{val}/a/3.mp4", "test/b/4.mp4", "c/5.mp4")
    videos = read_videos(tmp_path, DataSettings())
    assert splits_of(videos) == {
        "train/a/1.mp4": "train",
        "train/b/2.mp4": "train",
        f"{val}/a/3.mp4": "val",
        "test/b/4.mp4": "test",
    }
    assert videos.classes == ("a", "b")
    assert videos.notes == (
        "Video files in no train, val or test folder with classes, left out: 1 (c/5.mp4).",
    )
    assert carve_validation(videos, 0.5, 0) is videos


def test_a_val_split_without_a_test_split_becomes_the_test_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{c}/{c}{i}.mp4" for c in "ab" for i in range(5)), "val/a/x.mp4")
    videos = read_videos(tmp_path, DataSettings())
    assert splits_of(videos)["val/a/x.mp4"] == "test"
    assert not videos.of_split("val")
    assert "the official validation split is the test split" in videos.notes[0]
    assert len(carve_validation(videos, 0.2, 0).of_split("val")) == 2


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.mp4", "bus/2.mp4")
    assert read_videos(tmp_path, DataSettings()).classes == ("bus", "train")


def test_a_dangling_link_is_skipped_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4", "elsewhere.mp4")
    (tmp_path / "a" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "b" / "linked.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    videos = read_videos(tmp_path, DataSettings())
    assert [(row.id, row.reason) for row in videos.skipped] == [
        ("a/gone.mp4", "a link to a missing file")
    ]
    assert "b/linked.mp4" in splits_of(videos)


def test_groups_are_guessed_from_known_names() -> None:
    assert guessed_group("v_PlayingGuitar_g07_c02", "PlayingGuitar") == "PlayingGuitar/g07"
    assert guessed_group("A_kick_ball_x_kick_ball_f_cm_np1_le_bad_2", "kick_ball") == (
        "A_kick_ball_x"
    )
    assert guessed_group("-3B32lo_o2M_000059_000069", "abseiling") == "-3B32lo_o2M"
    assert guessed_group("my.video_01", "a") == "my.video_01"


def test_other_spellings_of_a_class_are_the_same_name() -> None:
    spellings = ["playing 'rock' (fast)", "playing_rock_fast", 'Playing "rock" (Fast)']
    assert len({plain(name) for name in spellings}) == 1


def test_the_group_pattern_overrides_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/day{d}_{i}.mp4" for c in "ab" for d in range(4) for i in range(2)))
    touch(tmp_path, "a/other.mp4")
    videos = read_videos(tmp_path, DataSettings(group_pattern=r"/(day\d)_"))
    assert groups_of(videos)["day1_0.mp4"] == groups_of(videos)["day1_1.mp4"] == "day1"
    assert groups_of(videos)["other.mp4"] == "other"
    assert not shared_groups(videos)
    assert videos.notes[0].startswith("The group pattern matches 16 of 17 videos")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        ("day", "has 0 groups in parentheses"),
        ("(a)(b)", "has 2 groups in parentheses"),
        ("(nothing like this)", "matches no video of"),
    ],
)
def test_a_wrong_group_pattern_is_explained(tmp_path: Path, pattern: str, message: str) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(tmp_path, DataSettings(group_pattern=pattern))


# --- HMDB51 ----------------------------------------------------------------------------------

TAGS = "f_nm_np1_ri_med_0.avi"


def hmdb51(root: Path) -> None:
    """Two classes, odd names, a recording in both classes, an unlisted and a missing file."""
    catch = ["#1;[x]_&_(y)!_catch", "Film+@~_catch", "Film+@~_throw_catch", "left_catch"]
    throw = ["Film+@~_throw", "b_throw"]
    touch(root, *(f"hmdb51_org/catch/{name}_{TAGS}" for name in catch))
    touch(root, *(f"hmdb51_org/throw/{name}_{TAGS}" for name in throw), "hmdb51_org/new/n.avi")
    splits = root / "testTrainMulti_7030_splits"
    write(
        splits / "catch_test_split1.txt",
        [f"{name}_{TAGS} {tag} " for name, tag in zip(catch[:3], [1, 2, 0], strict=True)],
    )
    write(
        splits / "throw_test_split1.txt",
        [f"{throw[0]}_{TAGS} 1 ", f"{throw[1]}_{TAGS} 2 ", f"gone_throw_{TAGS} 1 "],
    )
    write(splits / "catch_test_split2.txt", [f"{catch[1]}_{TAGS} 1"])
    write(splits / "throw_test_split2.txt", [f"{throw[1]}_{TAGS} 1"])


def test_hmdb51_tags_groups_and_what_is_missing(tmp_path: Path) -> None:
    hmdb51(tmp_path)
    videos = read_videos(tmp_path, DataSettings())
    assert videos.format == "hmdb51"
    assert videos.classes == ("catch", "throw")
    said = {v.path.name.removesuffix(f"_{TAGS}"): (v.split, v.group) for v in videos.videos}
    assert said == {
        "#1;[x]_&_(y)!_catch": ("train", "#1;[x]_&_(y)!"),
        "Film+@~_catch": ("test", "Film+@~"),
        "Film+@~_throw_catch": ("unused", "Film+@~_throw"),
        "left_catch": ("unused", "left"),
        "Film+@~_throw": ("train", "Film+@~"),
        "b_throw": ("test", "b"),
    }
    assert [row.id for row in videos.skipped] == [f"hmdb51_org/throw/gone_throw_{TAGS}"]
    assert videos.notes == (
        "Video files in no list, left out: 1 (hmdb51_org/new/n.avi).",
        "Groups with videos on two sides of the official split, which is kept as it is: 1"
        " (Film+@~).",
    )


def test_hmdb51_has_numbered_splits(tmp_path: Path) -> None:
    hmdb51(tmp_path)
    second = read_videos(tmp_path, DataSettings(split="2"))
    assert {video.group for video in second.of_split("train", "test")} == {"Film+@~", "b"}
    with pytest.raises(InputError, match=r"There is no split 4 in .*; choose one of: 1, 2\."):
        read_videos(tmp_path, DataSettings(split="4"))
    with pytest.raises(InputError, match="The split 'first' is not a number"):
        read_videos(tmp_path, DataSettings(split="first"))


def test_annotations_elsewhere_are_found_by_folder_and_by_file(tmp_path: Path) -> None:
    hmdb51(tmp_path / "data")
    (tmp_path / "data" / "testTrainMulti_7030_splits").rename(tmp_path / "other")
    assert read_videos(tmp_path / "data", DataSettings()).format == "folder"
    for given_path in (tmp_path / "other", tmp_path / "other" / "catch_test_split1.txt"):
        videos = read_videos(tmp_path / "data", DataSettings(annotations=given_path))
        assert (videos.format, len(videos)) == ("hmdb51", 6)


def test_a_bad_hmdb51_tag_is_named(tmp_path: Path) -> None:
    hmdb51(tmp_path)
    write(tmp_path / "testTrainMulti_7030_splits" / "throw_test_split1.txt", ["b.avi 1", "c.avi 7"])
    with pytest.raises(InputError, match=r"Line 2 of .*throw_test_split1\.txt is 'c\.avi 7'"):
        read_videos(tmp_path, DataSettings())


def test_converted_videos_are_found_under_their_listed_names(tmp_path: Path) -> None:
    hmdb51(tmp_path)
    for path in list((tmp_path / "hmdb51_org").rglob("*.avi")):
        path.rename(path.with_suffix(".mp4"))
    videos = read_videos(tmp_path, DataSettings())
    assert len(videos.of_split("train", "test")) == 4


@given(st.text("ab_ #&;[]()!+@~", min_size=1, max_size=20))
def test_an_hmdb51_group_is_the_name_up_to_the_last_class(recording: str) -> None:
    assert hmdb51_group(f"{recording}_kick_ball_f_cm_np1_le_bad_2", "kick_ball") == recording
    assert hmdb51_group(f"{recording}_kick_ball_u_kick_ball_f_cm_np1_le_bad_2", "kick_ball") == (
        f"{recording}_kick_ball_u"
    )


# --- UCF101 ----------------------------------------------------------------------------------


def ucf101(root: Path) -> None:
    """Two classes; the folder is HandstandPushups, its files v_HandStandPushups_*."""
    names = {
        group: [
            f"YoYo/v_YoYo_g{group:02}_c01.avi",
            f"HandstandPushups/v_HandStandPushups_g{group:02}_c01.avi",
        ]
        for group in range(1, 5)
    }
    for listed in names.values():
        touch(root, *(f"UCF-101/{name}" for name in listed))
    lists = root / "ucfTrainTestlist"
    write(lists / "classInd.txt", ["1 HandstandPushups", "2 YoYo"])
    spelled = [name.replace("HandstandPushups/", "HandStandPushups/") for name in names[1]]
    write(lists / "testlist01.txt", spelled)
    write(lists / "trainlist01.txt", [f"{name} 1" for group in (2, 3) for name in names[group]])
    write(lists / "testlist02.txt", names[2])
    write(lists / "trainlist02.txt", [f"{name} 1" for group in (1, 3) for name in names[group]])


def test_ucf101_lists_groups_and_spellings(tmp_path: Path) -> None:
    ucf101(tmp_path)
    videos = read_videos(tmp_path, DataSettings())
    assert videos.format == "ucf101"
    assert videos.classes == ("HandstandPushups", "YoYo")
    assert not videos.skipped
    assert Counter(video.split for video in videos.videos) == {"train": 4, "test": 2, "unused": 2}
    assert groups_of(videos)["v_HandStandPushups_g01_c01.avi"] == "HandstandPushups/g01"
    assert groups_of(videos)["v_YoYo_g01_c01.avi"] == "YoYo/g01"
    assert {v.group for v in videos.of_split("test")} == {"YoYo/g01", "HandstandPushups/g01"}
    second = read_videos(tmp_path, DataSettings(split="02"))
    assert {v.group for v in second.of_split("test")} == {"YoYo/g02", "HandstandPushups/g02"}


def test_ucf101_without_its_lists_is_read_as_folders_in_the_same_groups(tmp_path: Path) -> None:
    ucf101(tmp_path)
    listed = read_videos(tmp_path, DataSettings())
    folders = read_videos(tmp_path, DataSettings(format="folder"))
    assert groups_of(folders) == groups_of(listed)


def test_a_missing_ucf101_file_is_skipped(tmp_path: Path) -> None:
    ucf101(tmp_path)
    (tmp_path / "UCF-101/YoYo/v_YoYo_g02_c01.avi").unlink()
    videos = read_videos(tmp_path, DataSettings())
    assert [(r.id, r.reason) for r in videos.skipped] == [
        ("UCF-101/YoYo/v_YoYo_g02_c01.avi", "no such file")
    ]


# --- Kinetics --------------------------------------------------------------------------------

HEADER = "label,youtube_id,time_start,time_end,split"
IDS = ["aaaaaaaaaa-", "_bbbbbbbbb_", "ccccccccccc", "ddddddddddd"]


def test_kinetics_is_known_by_file_names_in_any_folder_and_container(tmp_path: Path) -> None:
    touch(
        tmp_path,
        f"train/javelin throw/{IDS[0]}_000003_000013.mp4",
        f"train/massaging_persons_head/{IDS[1]}_000100_000110.mkv",
        f"val/{IDS[2]}_000000_000010.webm",
        "val/unknown_file.mp4",
    )
    write(
        tmp_path / "kinetics.csv",
        [
            HEADER,
            f"javelin throw,{IDS[0]},3,13,train",
            f"massaging person's head,{IDS[1]},100,110,train",
            f'"javelin throw",{IDS[2]},0,10,validate',
            f"javelin throw,{IDS[3]},5,15,train",
            f"never downloaded,{IDS[3]},15,25,train",
            f",{IDS[3]},25,35,test",
            f"javelin throw,{IDS[3]},,,train",
        ],
    )
    videos = read_videos(tmp_path, DataSettings())
    assert videos.format == "kinetics"
    assert videos.classes == ("javelin throw", "massaging person's head")
    assert {v.group: (v.label, v.split) for v in videos.videos} == {
        IDS[0]: ("javelin throw", "train"),
        IDS[1]: ("massaging person's head", "train"),
        IDS[2]: ("javelin throw", "test"),
    }
    assert {row.id: row.reason for row in videos.skipped} == {
        f"javelin throw/{IDS[3]}_000005_000015": "no such file",
        f"never downloaded/{IDS[3]}_000015_000025": "no such file",
        f"/{IDS[3]}_000025_000035": "listed with no class",
        f"javelin throw/{IDS[3]}": "listed with no times, '' to ''",
    }
    notes = " ".join(videos.notes)
    assert "Video files in no list, left out: 1 (val/unknown_file.mp4)" in notes
    assert "Listed classes without a file here: 1 (never downloaded)" in notes
    assert "the official validation split is the test split" in notes


def test_kinetics_tables_of_each_split_and_of_everything_agree(tmp_path: Path) -> None:
    touch(tmp_path, *(f"videos/c{i % 2}/{IDS[i]}_000000_000010.mp4" for i in range(4)))
    rows = [f"c{i % 2},{IDS[i]},0,10" for i in range(4)]
    annotations = tmp_path / "annotations"
    write(annotations / "train.csv", [HEADER.removesuffix(",split"), *rows[:2]])
    write(annotations / "kinetics_val.csv", [HEADER.removesuffix(",split"), rows[2]])
    write(annotations / "test.csv", [HEADER, f"{rows[3]},test"])
    apart = read_videos(tmp_path, DataSettings())
    assert [v.split for v in sorted(apart.videos, key=lambda v: IDS.index(v.group))] == [
        "train",
        "train",
        "val",
        "test",
    ]
    every = [
        f"{row},{split}" for row, split in zip(rows, ["train", "train", "val", "test"], strict=True)
    ]
    write(annotations / "all.csv", [HEADER, *every])
    both = read_videos(tmp_path, DataSettings())
    assert splits_of(both) == splits_of(apart)
    assert both.repeated == ()


def test_kinetics_rows_and_tables_for_evaluation_are_not_trained_on(tmp_path: Path) -> None:
    touch(tmp_path, *(f"videos/c{i % 2}/{IDS[i]}_000000_000010.mp4" for i in range(4)))
    annotations = tmp_path / "annotations"
    rows = [f"c{i % 2},{IDS[i]},0,10" for i in range(4)]
    write(annotations / "all.csv", [HEADER, f"{rows[0]},", f"{rows[1]},eval", f"{rows[2]},test"])
    write(annotations / "dev.csv", [HEADER.removesuffix(",split"), rows[3]])
    videos = read_videos(tmp_path, DataSettings())
    expected = ["train", "val", "test", "val"]
    assert [v.split for v in sorted(videos.videos, key=lambda v: IDS.index(v.group))] == expected
    other = HEADER.replace("split", "subset")
    write(annotations / "all.csv", [other, f"{rows[0]},", f"{rows[1]},eval", f"{rows[2]},testing"])
    assert splits_of(read_videos(tmp_path, DataSettings())) == splits_of(videos)


def test_of_two_kinetics_copies_the_one_in_its_class_folder_is_read(tmp_path: Path) -> None:
    name = f"{IDS[0]}_000000_000010.mp4"
    touch(tmp_path, f"all/{name}", f"riding_a_bike/{name}", f"zz/{IDS[1]}_000000_000010.mp4")
    write(
        tmp_path / "train.csv",
        [HEADER, f"riding a bike,{IDS[0]},0,10,train", f"zz,{IDS[1]},0,10,train"],
    )
    videos = read_videos(tmp_path, DataSettings())
    assert [v.id for v in videos.videos] == [
        f"riding_a_bike/{name}",
        f"zz/{IDS[1]}_000000_000010.mp4",
    ]


def test_a_kinetics_table_without_a_column_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["label,youtube_id,time_start", "a,b,1"])
    with pytest.raises(InputError, match="has no column time_end"):
        read_videos(tmp_path, DataSettings())


# --- lists -----------------------------------------------------------------------------------


def test_lists_split_at_the_right_most_white_space(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a b/x 1.mp4", "videos/c/y.mp4", "videos/c/z.mp4")
    write(tmp_path / "train.txt", ["a b/x 1.mp4 0", "", "c/y.mp4\t1"])
    write(tmp_path / "test.csv", ["path,label", '"c/z.mp4",1'])
    videos = read_videos(tmp_path, DataSettings())
    assert (videos.format, videos.classes) == ("lists", ("a b", "c"))
    assert splits_of(videos) == {
        "videos/a b/x 1.mp4": "train",
        "videos/c/y.mp4": "train",
        "videos/c/z.mp4": "test",
    }


def test_lists_from_another_machine_find_the_files_here(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "val/b/2.mp4")
    write(tmp_path / "train.csv", ["/home/x/k400/train/a/1.mp4 0", "/home/x/k400/train/b/2.mp4 1"])
    write(tmp_path / "val.csv", ["data/k400/val/b/2.mp4 1", "/home/x/k400/val/a/gone.mp4 0"])
    videos = read_videos(tmp_path, DataSettings())
    assert splits_of(videos) == {
        "train/a/1.mp4": "train",
        "train/b/2.mp4": "train",
        "val/b/2.mp4": "test",
    }
    assert [row.id for row in videos.skipped] == ["/home/x/k400/val/a/gone.mp4"]


def test_lists_made_on_windows_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfa\\1.mp4 0\r\nC:\\data\\b\\2.mp4 1\r\n")
    videos = read_videos(tmp_path, DataSettings())
    assert {v.id: v.label for v in videos.videos} == {"a/1.mp4": "a", "b/2.mp4": "b"}


def test_a_file_of_the_same_name_beside_the_class_folders_is_not_the_listed_one(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4", "3.mp4")
    write(tmp_path / "train.txt", ["a/1.mp4 0", "b/2.mp4 1", "b/3.mp4 1"])
    videos = read_videos(tmp_path, DataSettings())
    assert [row.id for row in videos.skipped] == ["b/3.mp4"]


@pytest.mark.parametrize("path", ["../out.mp4", "/../out.mp4", "a/../../out.mp4", "..\\out.mp4"])
def test_no_listed_path_leaves_the_folder(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "out.mp4", "data/a/1.mp4", "data/b/1.mp4")
    write(tmp_path / "data" / "train.txt", ["a/1.mp4 0", "b/1.mp4 1", f"{path} 1"])
    with pytest.raises(InputError, match="leaves"):
        read_videos(tmp_path / "data", DataSettings())


def test_numbered_lists_are_chosen_by_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"videos/{c}/{c}{i}.avi" for c in "ab" for i in range(3)))
    lists = tmp_path / "annotations"
    for split in (1, 2):
        write(lists / f"hmdb51_train_split_{split}_videos.txt", ["a/a0.avi 0", f"b/b{split}.avi 1"])
        write(lists / f"hmdb51_val_split_{split}_videos.txt", ["a/a1.avi 0"])
        write(lists / f"hmdb51_train_split_{split}_rawframes.txt", ["a/a0 12 0"])
    videos = read_videos(tmp_path, DataSettings(split="2"))
    assert set(splits_of(videos)) == {"videos/a/a0.avi", "videos/a/a1.avi", "videos/b/b2.avi"}
    assert not videos.skipped  # the lists of extracted frames are no lists of videos
    with pytest.raises(InputError, match=r"There is no split 3 .*; choose one of: 1, 2"):
        read_videos(tmp_path, DataSettings(split="3"))


def test_a_split_that_is_not_there_is_refused_in_every_layout(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root, *(f"{c}/{c}{i}.avi" for c in "ab" for i in range(2)))
    wrong = r"no split 7 in .*, which is read as class folders and has no .*; give --split 1"
    with pytest.raises(InputError, match=wrong):
        read_videos(root, DataSettings(split="7"))
    with pytest.raises(InputError, match=r"The split 'x' is not a number"):
        read_videos(root, DataSettings(split="x"))
    write(root / "test.txt", ["a/a1.avi 0", "b/b1.avi 1"])
    write(root / "train.txt", ["a/a0.avi 0", "b/b0.avi 1"])
    assert len(read_videos(root, DataSettings(split="01"))) == 4
    with pytest.raises(InputError, match=r"no split 7 in .*, which is read as lists without numb"):
        read_videos(root, DataSettings(split="7"))
    # Lists of another split alone are not read in its place, but where none is asked for.
    second = (root / "train.txt").rename(root / "train_split2.txt")
    for split in ("1", "2"):
        assert len(read_videos(root, DataSettings(split=split))) == 4
    with pytest.raises(InputError, match=r"There is no split 7 in .*choose one of: 2\."):
        read_videos(root, DataSettings(split="7"))
    # Whoever gives a file by name need not say its number.
    for split in ("1", "2"):
        assert len(read_videos(root, DataSettings(annotations=second, split=split))) == 2
    with pytest.raises(InputError, match=r"There is no split 7 in .*choose one of: 2\."):
        read_videos(root, DataSettings(annotations=second, split="7"))
    table = ["label,youtube_id,time_start,time_end,split", "a,a0,0,10,train", "b,b0,0,10,test"]
    write(tmp_path / "kinetics" / "train.csv", table)
    with pytest.raises(InputError, match=r"no split 7 in .*, which is read as Kinetics and has no"):
        read_videos(tmp_path / "kinetics", DataSettings(split="7"))


def test_a_list_without_a_number_holds_for_every_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{c}{i}.avi" for c in "ab" for i in range(4)))
    for split in (1, 2):
        write(tmp_path / f"train_split{split}.txt", [f"a/a{split}.avi 0", f"b/b{split}.avi 1"])
    write(tmp_path / "test.txt", ["a/a3.avi 0", "b/b3.avi 1"])
    write(tmp_path / "train.txt", ["a/a0.avi 0", "b/b0.avi 1"])  # of which side there are others
    write(tmp_path / "val_notes.txt", ["nothing but words"])
    found = splits_of(read_videos(tmp_path, DataSettings(split="2")))
    assert found == {"a/a2.avi": "train", "b/b2.avi": "train",
                     "a/a3.avi": "test", "b/b3.avi": "test"}  # fmt: skip


def test_a_list_may_leave_out_the_folder_of_its_split(tmp_path: Path) -> None:
    """MMAction2 names it elsewhere; the same path below two of them is two videos."""
    touch(tmp_path, "videos_train/a/1.mp4", "videos_train/b/1.mp4", "videos_val/a/1.mp4",
          "videos_val/b/2.mp4")  # fmt: skip
    write(tmp_path / "kinetics400_train_list_videos.txt", ["a/1.mp4 0", "b/1.mp4 1"])
    write(tmp_path / "kinetics400_val_list_videos.txt", ["a/1.mp4 0", "b/2.mp4 1"])
    found = splits_of(read_videos(tmp_path, DataSettings()))
    assert set(found) == {"videos_train/a/1.mp4", "videos_train/b/1.mp4", "videos_val/a/1.mp4",
                          "videos_val/b/2.mp4"}  # fmt: skip
    assert {found[name] for name in found if "val/" in name} <= {"val", "test"}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("classes.txt", ["running fast", "jumping"]),
        ("classInd.txt", ["2 jumping", "1 running fast"]),
        ("label_map_k400.txt", ["0 running fast", "1 jumping"]),
    ],
)
def test_class_names_come_from_a_file(tmp_path: Path, name: str, lines: list[str]) -> None:
    touch(tmp_path, "x/1.mp4", "x/2.mp4")
    write(tmp_path / "train.txt", ["x/1.mp4 0", "x/2.mp4 1"])
    write(tmp_path / name, lines)
    videos = read_videos(tmp_path, DataSettings())
    assert {v.id: v.label for v in videos.videos} == {
        "x/1.mp4": "running fast",
        "x/2.mp4": "jumping",
    }
    write(tmp_path / "train.txt", ["x/1.mp4 0", "x/2.mp4 7"])
    with pytest.raises(InputError, match=r"names 2 classes, but not number 7"):
        read_videos(tmp_path, DataSettings())


def test_classes_without_names_or_own_folders_are_numbered(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.mp4", "x/2.mp4")
    write(tmp_path / "train.txt", ["x/1.mp4 0", "x/2.mp4 12"])
    assert read_videos(tmp_path, DataSettings()).classes == ("class_000", "class_012")


def test_a_video_in_several_lists_is_kept_for_the_test(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{c}{i}.mp4" for c in "ab" for i in range(3)))
    write(tmp_path / "train.txt", ["a/a0.mp4 0", "a/a0.mp4 0", "b/b0.mp4 1", "a/a1.mp4 0"])
    write(tmp_path / "val.txt", ["a/a1.mp4 0", "b/b1.mp4 1", "b/b2.mp4 1"])
    write(tmp_path / "test.txt", ["b/b2.mp4 1", "a/a2.mp4 0"])
    videos = read_videos(tmp_path, DataSettings())
    assert splits_of(videos) == {
        "a/a0.mp4": "train",
        "a/a1.mp4": "val",
        "a/a2.mp4": "test",
        "b/b0.mp4": "train",
        "b/b1.mp4": "val",
        "b/b2.mp4": "test",
    }
    assert videos.repeated == ("a/a0.mp4", "a/a1.mp4", "b/b2.mp4")
    assert videos.notes[0].startswith("Videos listed more than once: 3 (a/a0.mp4, ")


def test_a_video_with_two_classes_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "a/2.mp4", "b/3.mp4")
    write(tmp_path / "classes.txt", ["a", "b"])
    write(tmp_path / "train.txt", ["a/1.mp4 0", "a/2.mp4 0", "a/2.mp4 1", "b/3.mp4 1"])
    videos = read_videos(tmp_path, DataSettings())
    assert set(splits_of(videos)) == {"a/1.mp4", "b/3.mp4"}
    assert [(r.id, r.reason) for r in videos.skipped] == [
        ("a/2.mp4", "listed with two classes, a and b")
    ]


def test_a_line_without_a_class_number_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    write(tmp_path / "train.txt", ["a/1.mp4 0", "b/2.mp4 one"])
    with pytest.raises(InputError, match=r"Line 2 of .*train\.txt is 'b/2\.mp4 one'"):
        read_videos(tmp_path, DataSettings())


def test_tables_with_words_for_classes_are_lists(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.mp4", "x/2.mp4")
    write(tmp_path / "train.csv", ["clip_path,label", "x/1.mp4,a", "x/2.mp4,b b"])
    videos = read_videos(tmp_path, DataSettings())
    assert (videos.format, videos.classes) == ("lists", ("a", "b b"))


# --- all layouts -----------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist"):
        read_videos(tmp_path / "nowhere", DataSettings())
    touch(tmp_path, "file.mp4")
    with pytest.raises(InputError, match=r"folder .*file\.mp4 is a file"):
        read_videos(tmp_path / "file.mp4", DataSettings())


def test_a_folder_without_videos_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no video in .*; it should hold class folders"):
        read_videos(tmp_path, DataSettings())


def test_videos_outside_of_class_folders_are_not_called_absent(tmp_path: Path) -> None:
    touch(tmp_path, "jump/2.mp4", "jump/1.mp4")
    sentence = r"videos of .*jump, such as 1\.mp4, lie in no class folder; .* the folder above it"
    with pytest.raises(InputError, match=sentence):
        read_videos(tmp_path / "jump", DataSettings())


def test_a_class_folder_that_stayed_empty_is_noted(tmp_path: Path) -> None:
    touch(tmp_path, "jump/1.mp4", "jump/2.mp4", "run/1.mp4", "swim/notes.txt")
    videos = read_videos(tmp_path, DataSettings())
    assert videos.classes == ("jump", "run")
    assert "Folders without a video, which are not classes: 1 (swim)." in videos.notes


def test_lists_of_which_nothing_is_there_name_an_example(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", ["a/1.mp4 0", "b/2.mp4 1"])
    with pytest.raises(InputError, match=r"None of the 2 videos .* is there, such as a/1\.mp4"):
        read_videos(tmp_path, DataSettings())


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    touch(tmp_path, "jump/1.mp4", "jump/2.mp4")
    with pytest.raises(InputError, match="are of the one class 'jump'"):
        read_videos(tmp_path, DataSettings())


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no format 'ucf'; choose auto or one of: hmdb51, ucf101"):
        read_videos(tmp_path, DataSettings(format="ucf"))


@pytest.mark.parametrize("name", ["hmdb51", "ucf101", "kinetics", "lists"])
def test_a_format_without_its_files_says_where_to_put_them(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    with pytest.raises(InputError, match=r"There is no .*--annotations"):
        read_videos(tmp_path, DataSettings(format=name))


def test_annotations_that_do_not_exist_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    with pytest.raises(InputError, match=r"The annotations .*nowhere do not exist"):
        read_videos(tmp_path, DataSettings(annotations=tmp_path / "nowhere"))


def test_annotations_of_no_known_layout_are_not_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4", "notes/readme.txt")
    for name, message in (("auto", "holds no split files"), ("folder", "have no annotations")):
        with pytest.raises(InputError, match=message):
            read_videos(tmp_path, DataSettings(format=name, annotations=tmp_path / "notes"))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_validation_share_outside_of_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="choose one between 0 and 1"):
        DataSettings(val_share=share)


def test_every_reader_is_tried_in_an_order_that_ends_with_folders() -> None:
    assert list(READERS)[-1] == "folder"


def test_a_tree_lists_only_videos_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.AVI", "a/2.jpg", "a/avi", "a/.hidden.avi", ".git/x.avi", "top.mp4")
    assert [found.id for found in Tree(tmp_path).videos] == ["a/1.AVI", "top.mp4"]


@pytest.mark.clips
def test_the_real_clips_read_as_hmdb51(clips_root: Path) -> None:
    root = clips_root / "jhmdb12"
    for split in "123":
        videos = read_videos(root, DataSettings(split=split))
        assert (videos.format, len(videos.classes), len(videos)) == ("hmdb51", 12, 512)
        assert not videos.skipped
        assert not videos.notes
        assert not shared_groups(videos)
        assert {video.split for video in videos.videos} == {"train", "test"} <= set(SPLITS)
        assert all(video.path.is_file() for video in videos.videos)
        assert 0.25 < len(videos.of_split("test")) / len(videos) < 0.35


@pytest.mark.clips
def test_the_real_clips_without_splits_read_as_folders_in_the_same_groups(clips_root: Path) -> None:
    listed = read_videos(clips_root / "jhmdb12", DataSettings())
    bare = read_videos(clips_root / "jhmdb12" / "videos", DataSettings())
    assert (bare.format, bare.classes, len(bare)) == ("folder", listed.classes, 512)
    assert groups_of(bare) == groups_of(listed)
    assert not shared_groups(bare)
    assert 0.25 < len(bare.of_split("test")) / len(bare) < 0.35
