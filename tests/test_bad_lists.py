"""Lists as people write them: each is read rightly, or answered with one clear sentence.

Every case is a small data set of the classes golf, jump and run with the videos
`videos/<class>/<class>0.mp4` to `2`, and whatever lists the case writes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from l2a.errors import InputError
from l2a.formats import DataSettings, read_any
from l2a.videos import VideoSet

CLASSES = ("golf", "jump", "run")
G0, J0, R0 = (f"videos/{label}/{label}0.mp4" for label in CLASSES)
G1, J1, R1 = (f"videos/{label}/{label}1.mp4" for label in CLASSES)
RIGHT = {G0: "golf", J0: "jump", R0: "run"}

Files = dict[str, str | bytes]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for label in CLASSES:
        (tmp_path / "videos" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "videos" / label / f"{label}{number}.mp4").touch()
    return tmp_path


def write(root: Path, files: Files) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def read(root: Path, files: Files, **settings: str) -> VideoSet:
    write(root, files)
    return read_any(root, DataSettings(**settings))  # type: ignore[arg-type]


def labels(videos: VideoSet) -> dict[str, str]:
    return {video.id: video.label for video in videos.videos}


ROWS = f"{G0} 0\n{J0} 1\n{R0} 2\n"
NAMES = "golf\njump\nrun\n"

READ_RIGHTLY: dict[str, Files] = {
    "plain": {"train.txt": ROWS},
    "no line break at the end": {"train.txt": ROWS.rstrip("\n")},
    "tabs": {"train.txt": ROWS.replace(" ", "\t")},
    "commas": {"train.csv": ROWS.replace(" ", ",")},
    "comma and space": {"train.csv": ROWS.replace(" ", ", ")},
    "semicolons": {"train.csv": ROWS.replace(" ", ";")},
    "semicolons in a .txt": {"train.txt": ROWS.replace(" ", ";")},
    "several spaces": {"train.txt": ROWS.replace(" ", "    ")},
    "spaces at both ends": {"train.txt": ROWS.replace("\n", "   \n").replace("videos", "  videos")},
    "CRLF": {"train.txt": ROWS.replace("\n", "\r\n")},
    "CR alone": {"train.txt": ROWS.replace("\n", "\r")},
    "UTF-8 mark": {"train.txt": b"\xef\xbb\xbf" + ROWS.encode()},
    "UTF-16": {"train.txt": ROWS.encode("utf-16")},
    "UTF-16 big-endian": {"train.txt": b"\xfe\xff" + ROWS.encode("utf-16-be")},
    "empty lines": {"train.txt": "\n\n" + ROWS.replace("\n", "\n\n")},
    "comments": {"train.txt": f"# made by hand\n{ROWS}# the end\n"},
    "other comments": {"train.txt": f"// made by hand\n{ROWS}"},
    "double quotes": {"train.csv": f'"{G0}",0\n"{J0}",1\n"{R0}",2\n'},
    "quotes around all": {"train.csv": f'"{G0}","0"\n"{J0}","1"\n"{R0}","2"\n'},
    "single quotes": {"train.txt": f"'{G0}' 0\n'{J0}' 1\n'{R0}' 2\n"},
    "header": {"train.csv": "path,label\n" + ROWS.replace(" ", ",")},
    "header, semicolons": {"train.csv": "path;label\n" + ROWS.replace(" ", ";")},
    "header, tabs": {"train.tsv": "path\tlabel\n" + ROWS.replace(" ", "\t")},
    "header in capitals": {"train.csv": "Path,Label\n" + ROWS.replace(" ", ",")},
    "header in quotes": {"train.csv": '"path","label"\n' + ROWS.replace(" ", ",")},
    "header after empty lines": {"train.csv": "\n\npath,label\n" + ROWS.replace(" ", ",")},
    "header of a .txt": {"train.txt": "path label\n" + ROWS},
    "header of unknown words": {"train.csv": "wo,was\n" + ROWS.replace(" ", ",")},
    "class before path": {"train.csv": f"label,path\n0,{G0}\n1,{J0}\n2,{R0}\n"},
    "more columns": {"train.csv": f"id,path,fps,label\n1,{G0},25,0\n2,{J0},25,1\n3,{R0},25,2\n"},
    "names": {"train.csv": f"{G0},golf\n{J0},jump\n{R0},run\n"},
    "names, header": {"train.csv": f"path,label\n{G0},golf\n{J0},jump\n{R0},run\n"},
    "names, semicolons": {"train.csv": f"path;label\n{G0};golf\n{J0};jump\n{R0};run\n"},
    "names behind spaces": {"train.txt": f"{G0} golf\n{J0} jump\n{R0} run\n"},
    "names in quotes": {"train.csv": f'{G0},"golf"\n{J0},"jump"\n{R0},"run"\n'},
    "names and a file of names": {"train.csv": f"{G0},Golf\n{J0},JUMP\n{R0},run\n",
                                  "classes.txt": NAMES},
    "floats": {"train.csv": f"{G0},0.0\n{J0},1.0\n{R0},2.0\n"},
    "leading zeros": {"train.txt": f"{G0} 000\n{J0} 001\n{R0} 002\n"},
    "plus signs": {"train.txt": f"{G0} +0\n{J0} +1\n{R0} +2\n"},
    "the same line again": {"train.txt": ROWS + ROWS},
    "Windows separators": {"train.txt": ROWS.replace("/", "\\")},
    "a Windows drive": {"train.txt": ROWS.replace("videos/", "D:\\data\\")},
    "another machine's root": {"train.txt": ROWS.replace("videos/", "/mnt/x/videos/")},
    "a URL's look": {"train.txt": ROWS.replace("videos/", "s3://bucket/videos/")},
    "a dot in front": {"train.txt": ROWS.replace("videos/", "./videos/")},
    "double slashes": {"train.txt": ROWS.replace("videos/", "videos//")},
    "without videos/": {"train.txt": ROWS.replace("videos/", "")},
    "relative to the list": {"lists/train.txt": ROWS.replace("videos/", "../videos/")},
    "there and back": {"train.txt": ROWS.replace("videos/", "videos/golf/../")},
    "in lists/": {"lists/train.txt": ROWS},
    "in annotations/": {"annotations/train_list.txt": ROWS},
    "another suffix": {"train.lst": ROWS},
    "a split column": {
        "train_test.csv": f"path,label,split\n{G0},0,train\n{J0},1,train\n{R0},2,test\n"
    },
    "names file, numbered from 0": {"train.txt": ROWS, "classes.txt": "0 golf\n1 jump\n2 run\n"},
    "names file, commas": {"train.txt": ROWS, "labels.csv": "0,golf\n1,jump\n2,run\n"},
    "names file, header": {"train.txt": ROWS, "label_map.txt": "id,name\n0,golf\n1,jump\n2,run\n"},
    "names file, number last": {"train.txt": ROWS, "classes.txt": "golf,0\njump,1\nrun,2\n"},
    "names file, a word on top": {"train.txt": ROWS, "classes.txt": f"name\n{NAMES}"},
    "names file, CRLF": {"train.txt": ROWS, "classes.txt": NAMES.replace("\n", "\r\n")},
    "names file, a line twice": {
        "train.txt": ROWS, "classes.txt": "0 golf\n0 golf\n1 jump\n2 run\n"
    },
    "Kinetics, semicolons": {
        "train.csv": "label;youtube_id;time_start;time_end\n"
        "golf;golf;0;1\njump;jump;0;1\nrun;run;0;1\n",
        **{f"videos/{c}/{c}_000000_000001.mp4": "" for c in CLASSES},
    },
    "Kinetics, tabs": {
        "train.tsv": "label\tyoutube_id\ttime_start\ttime_end\n"
        "golf\tgolf\t0\t1\njump\tjump\t0\t1\nrun\trun\t0\t1\n",
        **{f"videos/{c}/{c}_000000_000001.mp4": "" for c in CLASSES},
    },
    "Kinetics, float times": {
        "train.csv": "label,youtube_id,time_start,time_end\n"
        "golf,golf,0.0,1.0\njump,jump,0.0,1.0\nrun,run,0.0,1.0\n",
        **{f"videos/{c}/{c}_000000_000001.mp4": "" for c in CLASSES},
    },
}  # fmt: skip


@pytest.mark.parametrize("case", READ_RIGHTLY)
def test_lists_as_people_write_them_are_read(root: Path, case: str) -> None:
    videos = read(root, READ_RIGHTLY[case])
    found = {
        f"videos/{video.label}/{video.label}0.mp4": video.label
        for video in videos.videos
        if "000001" in video.id or video.id in RIGHT
    }
    assert found == RIGHT
    assert len(videos) == 3
    assert {row.id for row in videos.skipped} == set()
    assert videos.unread == ()
    # Nothing is lost: what is not used is named.
    everything = {path.relative_to(root).as_posix() for path in root.rglob("*.mp4")}
    assert set(labels(videos)) | set(videos.left_out) == everything


REFUSED: dict[str, tuple[Files, str]] = {
    "a number below zero": ({"train.txt": ROWS + f"{G1} -1\n"}, "Line 4 of .* is 'videos/golf"),
    "a broken number": ({"train.txt": ROWS + f"{G1} 1.5\n"}, "Line 4 of"),
    "a huge number": ({"train.txt": ROWS + f"{G1} {'9' * 5000}\n"}, "Line 4 of"),
    "a number of ten digits": ({"train.txt": ROWS + f"{G1} 9999999999\n"}, "Line 4 of"),
    "two numbers": ({"train.txt": ROWS + f"{G1} 1 2\n"}, "Line 4 of .* a path and a class"),
    "frames and a number": ({"train.txt": ROWS + f"{G1} 12 0\n"}, "Line 4 of"),
    "a name among numbers": ({"train.txt": ROWS + f"{G1} golf\n"}, "class number, as line 1"),
    "a number among names": ({"train.csv": f"{G0},golf\n{J0},1\n"}, "class name, as line 1"),
    "no class": ({"train.txt": ROWS + f"{G1}\n"}, "Line 4 of .*golf1"),
    "no path": ({"train.csv": "path,label\n,0\n"}, "Line 2 of .* a path and a class in the col"),
    "an empty class": ({"train.csv": f"path,label\n{G0},\n"}, "a class, its number or its name"),
    "a column less": ({"train.csv": f"path,fps,label\n{G0},25\n"}, "in the columns of line 1"),
    "a half class in a table": ({"train.csv": f"path,label\n{G0},0.5\n"}, "a row with a class"),
    "NUL bytes": ({"train.txt": ROWS.encode() + b"\0\0\0"}, "holds NUL bytes and is not text"),
    "a path that leaves": ({"train.txt": ROWS + "../x.mp4 0\n"}, r"'\.\./x\.mp4' leaves"),
    "a deep path that leaves": ({"lists/train.txt": ROWS + "../../x.mp4 0\n"}, "leaves"),
    "an absolute path that leaves": ({"train.txt": ROWS + "/a/../../x.mp4 0\n"}, "leaves"),
    "Windows dots that leave": ({"train.txt": ROWS + "..\\x.mp4 0\n"}, "leaves"),
    "nothing is there": ({"train.txt": "a/1.mp4 0\nb/2.mp4 1\n"}, "None of the 2 videos"),
    "a number without a name": ({"train.txt": ROWS, "classes.txt": "golf\njump\n"},
                                "names 2 classes, but not number 2 of the lists"),
    "two names of one number": ({"train.txt": ROWS, "classes.txt": "0 golf\n0 jump\n1 run\n"},
                                "has two names for class 0, 'golf' and 'jump'"),
    "a name twice": ({"train.txt": ROWS, "classes.txt": "golf\ngolf\nrun\n"},
                     "names two classes 'golf', numbers 0 and 1"),
    "a line without its number": ({"train.txt": ROWS, "classes.txt": "0 golf\njump\n2 run\n"},
                                  "Line 2 of .*classes.txt is 'jump'"),
    "an empty file of names": ({"train.txt": ROWS, "classes.txt": ""},
                               "names 0 classes, but not number 0"),
    "a name that is no class": ({"train.csv": f"{G0},golf\n{J0},jmup\n", "classes.txt": NAMES},
                                "does not name the class 'jmup'"),
    "folders against numbers": ({"train.txt": f"{G0} 1\n{G1} 1\n{J0} 2\n{R0} 0\n",
                                 "classes.txt": NAMES},
                                r"By .*classes.txt, 4 of 4 videos lie in the folder of another"),
    "Kinetics without a column": ({"train.csv": "label,youtube_id,time_start\ngolf,a,1\n"},
                                  "has no column time_end"),
    "Kinetics without numbers": ({"train.csv": "label,youtube_id,time_start,time_end\n"
                                               "golf,golf0,1e400,2\nrun,run0,x,2\n"},
                                 r"No video of .* \(listed with no times, '1e400' to '2'\)"),
    "Kinetics with an endless field": ({"train.csv": "label,youtube_id,time_start,time_end\n"
                                                     f'golf,"{"x" * 200_000}",1,2\n'},
                                       "is not a readable table"),
    "an unknown split": ({"labels_test.csv": f"path,label,split\n{G0},0,train\n{J0},1,holdout\n"},
                         "Line 3 of .*labels_test.csv has the split 'holdout', but should have"),
    "a number as split": ({"labels_test.csv": f"path,label,split\n{G0},0,1\n{J0},1,2\n"},
                          "Line 2 of .* has the split '1', but .* test or unused; correct it"),
    "Kinetics with an unknown split": (
        {"all.csv": f"label,youtube_id,time_start,time_end,split\ngolf,{'g' * 11},1,11,exclude\n"},
        "Line 2 of .*all.csv has the split 'exclude'",
    ),
    "a bad HMDB51 tag": ({"splits/golf_test_split1.txt": "golf0.mp4 3\n"}, "a tag 0, 1 or 2"),
    "HMDB51 without a tag": ({"splits/golf_test_split1.txt": "golf0.mp4\n"}, "a tag 0, 1 or 2"),
    "a UCF101 line without a class": ({"trainlist01.txt": "golf0.mp4 1\n", "testlist01.txt": ""},
                                      "a path Class/file"),
    "UCF101 with NUL bytes": ({"trainlist01.txt": b"\0", "testlist01.txt": ""}, "NUL bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_answered_with_a_sentence(root: Path, case: str) -> None:
    files, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        read(root, files)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 600


SKIPPED: dict[str, tuple[str, str, str]] = {
    "not there": ("videos/golf/gone.mp4 0", "videos/golf/gone.mp4", "no such file"),
    "another class folder": ("videos/run/golf0.mp4 2", "videos/run/golf0.mp4", "no such file"),
    "of two classes": (f"{G0} 1", G0, "listed with two classes, golf and jump"),
    "a control character": ("videos/golf/\x1b[31m.mp4 0", r"videos/golf/\x1b[31m.mp4", "no such"),
    "a folder": ("videos/golf/deep.mp4 0", "videos/golf/deep.mp4", "a folder, not a video file"),
    "a very long name": (f"videos/golf/{'x' * 5000}.mp4 0", f"videos/golf/{'x' * 5000}.mp4", "no "),
    "another case of letters": ("videos/golf/GOLF1.MP4 0", "videos/golf/GOLF1.MP4", "no such file"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_single_wrong_videos_are_skipped_with_a_reason(root: Path, case: str) -> None:
    line, id, reason = SKIPPED[case]
    (root / "videos/golf/deep.mp4").mkdir()
    videos = read(root, {"train.txt": f"{ROWS}{line}\n", "classes.txt": NAMES})
    rows = {row.id: row.reason for row in videos.skipped}
    assert rows[id].startswith(reason)
    assert set(labels(videos)) == set(RIGHT) - {id}


UNREAD: dict[str, tuple[str, str | bytes]] = {
    "paths alone": ("train.txt", f"{G0}\n{J0}\n"),
    "names of several words behind a space": ("train.txt", f"{G0} to swing a club\n{J0} a jump\n"),
    "several numbers": ("train.txt", f"{G0} 0 1\n{J0} 1 2\n"),
    "JSON": ("train.json", json.dumps([{"path": G0, "label": 0}])),
    "JSON lines": ("annotations.jsonl", json.dumps({"video": "golf0.mp4", "label": 0})),
    "XML in a .txt": ("labels/split.txt", f"<video path='{G0}' class='golf'/>"),
    "bars": ("train.txt", f"{G0}|0\n{J0}|1\n"),
    "a deep list": ("own/lists/train.txt", ROWS),
    "a table of another tool": ("annotations.csv", f"id,url,what\n1,{G0},golf\n"),
    "a split that has no name here": ("trainval.csv", ROWS.replace(" ", ",")),
    "Parquet": ("train.parquet", b"PAR1\0\0PAR1"),
    "Excel": ("train.xlsx", b"PK\x03\x04\0\0"),
    "names without suffixes": ("train_list.txt", "golf0 | golf\njump0 | jump\n"),
}


@pytest.mark.parametrize("case", UNREAD)
def test_a_list_that_is_not_understood_is_named(root: Path, case: str) -> None:
    name, text = UNREAD[case]
    videos = read(root, {name: text})
    assert (videos.format, len(videos)) == ("folder", 9)
    assert [row.id for row in videos.unread] == [name]
    assert f"look like lists and were not read: 1 ({name}: " in " ".join(videos.notes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.txt", "videos of golf, jump and run; see train/test"),
        ("test notes.txt", "nothing was tested"),
        ("list of things.txt", "a club\na rope\n"),
        ("train_log.json", '{"epoch": 3}'),
        ("annotations.json", '{"videos": [{"file_name": "golf/golf0.mp4"}], "annotations": []}'),
    ],
)
def test_other_files_are_no_lists(root: Path, name: str, text: str) -> None:
    videos = read(root, {name: text})
    assert (videos.format, videos.unread) == ("folder", ())


def test_the_same_video_in_train_and_test_is_a_test_video(root: Path) -> None:
    videos = read(root, {"train.txt": ROWS + f"{G1} 0\n", "test.txt": f"{G1} 0\n{J1} 1\n"})
    splits = {video.id: video.split for video in videos.videos}
    assert (splits[G0], splits[G1], splits[J1]) == ("train", "test", "test")
    assert videos.repeated == (G1,)


@pytest.mark.parametrize("word", ["eval", "Evaluation", "dev", "development", "validate"])
@pytest.mark.parametrize("third", ["test", ""])
def test_rows_for_evaluation_are_not_trained_on(root: Path, word: str, third: str) -> None:
    rows = f"path,label,split\n{G0},golf,train\n{J0},jump,{word}\n{R0},run,{third}\n"
    rows += f"{G1},golf,Unused\n"
    videos = read(root, {"train_test.csv": rows})
    # Where nothing else is tested on, what is validated on is the test split, as everywhere.
    expected = ("val", "test") if third else ("test", "train")
    assert {v.id: v.split for v in videos.videos} == {
        G0: "train",
        J0: expected[0],
        R0: expected[1],
        G1: "unused",
    }


def test_a_row_that_ends_before_its_split_is_of_the_lists_own(root: Path) -> None:
    rows = f"path,label,split\n{G0},golf,train\n{R0},run,train\n{J0},jump\n"
    videos = read(root, {"labels_test.csv": rows})
    assert {v.id: v.split for v in videos.videos} == {G0: "train", R0: "train", J0: "test"}


def test_upper_case_suffixes_and_spaces_are_names_like_others(root: Path) -> None:
    write(root, {"videos/golf/my swing.MP4": "", "videos/golf/a, b; c.mp4": ""})
    rows = "videos/golf/my swing.MP4 0\nvideos/golf/a, b; c.mp4 0\n"
    videos = read(root, {"train.txt": ROWS + rows})
    assert set(labels(videos)) == {*RIGHT, "videos/golf/my swing.MP4", "videos/golf/a, b; c.mp4"}


def test_a_file_that_is_listed_and_not_called_like_a_video_is_used(root: Path) -> None:
    write(root, {"videos/golf/swing.bin": "", ".hidden/run/x.mp4": ""})
    videos = read(root, {"train.txt": ROWS + "videos/golf/swing.bin 0\n.hidden/run/x.mp4 2\n"})
    assert {"videos/golf/swing.bin", ".hidden/run/x.mp4"} < set(labels(videos))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("folder_form", ["NFC", "NFD"])
@pytest.mark.parametrize("list_form", ["NFC", "NFD"])
def test_names_are_compared_in_unicodes_composed_form(
    tmp_path: Path, encoding: str, folder_form: str, list_form: str
) -> None:
    from unicodedata import normalize

    if encoding == "cp1252" and list_form == "NFD":
        list_form = "NFC"  # which that alphabet cannot write
    name = normalize(folder_form, "café/é1.mp4")
    write(tmp_path, {name: "", "run/2.mp4": ""})
    rows = normalize(list_form, "café/é1.mp4 0\nrun/2.mp4 1\n").encode(encoding)
    videos = read(tmp_path, {"train.txt": rows})
    assert [video.id for video in videos.videos] == [name, "run/2.mp4"]
    assert not videos.skipped and not videos.left_out
    assert all(video.path.exists() for video in videos.videos)


def test_at_least_a_hundred_inputs_are_tried() -> None:
    assert len(READ_RIGHTLY) + len(REFUSED) + len(SKIPPED) + len(UNREAD) >= 100
