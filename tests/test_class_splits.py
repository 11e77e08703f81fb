"""Class splits in the forms that others publish them in, and drawn ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2a.class_splits import (
    ClassSplit,
    check_counts,
    random_class_split,
    read_class_split,
    write_class_split,
)
from l2a.errors import InputError
from l2a.videos import Video

UCF = ("ApplyEyeMakeup", "Basketball", "HandstandPushups", "MoppingFloor", "SalsaSpin", "YoYo")
HMDB = ("brush_hair", "climb_stairs", "kick", "kick_ball", "swing_baseball", "wave")
KINETICS = ("air drumming", "arm wrestling", "hurling (sport)", "side kick", "unboxing")

TRUZE = """UCF101

Training (3 classes): Apply Eye Makeup, Basketball Shooting,  Salsa Spins,{blank}
Mopping Floor.

Validation (1 classes): Handstand Pushups.

Testing (2 classes): YoYo, Basketball Dunk.

##HMDB51

Training (2 classes): Brush Hair, Swing
Basketball.

Validation(1 classes): Climb Stairs.

Testing (3 classes): Kick,  Wave, Kick Ball.
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def sides(split: ClassSplit) -> tuple[tuple[str, ...], ...]:
    return split.base, split.validation, split.novel


ARN_CLIPS = {
    "trainlist03.txt": "kick/kick_a_f_cm_np1_ba_bad_8\nwave/(Rad)_wave_1\nkick/b\n",
    "vallist03.txt": "brush hair/c\n",
    "testlist03.txt": "climb_stairs/d!_e\nkick_ball/f\n",
}


def test_lists_of_class_and_clip_are_read_from_their_folder(tmp_path: Path) -> None:
    split = read_class_split(write(tmp_path / "hmdb_ARN", ARN_CLIPS), HMDB)
    assert sides(split) == (("kick", "wave"), ("brush_hair",), ("climb_stairs", "kick_ball"))
    assert split.clips["kick"] == {"kick_a_f_cm_np1_ba_bad_8", "b"}
    assert "leaves out: 1 (swing_baseball)" in split.notes[0]


def test_one_list_brings_those_that_go_with_it_and_no_others(tmp_path: Path) -> None:
    other = {"trainlist07.txt": "kick/a\n", "testlist07.txt": "wave/b\nkick_ball/c\n"}
    folder = write(tmp_path / "lists", {**ARN_CLIPS, **other})
    split = read_class_split(folder / "testlist03.txt", HMDB)
    assert split.novel == ("climb_stairs", "kick_ball")
    with pytest.raises(InputError, match="lists of 2 class splits"):
        read_class_split(folder, HMDB)


def test_lists_of_class_names_with_the_spellings_of_arn(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "ucf",
        {
            "train.txt": "ApplyEyeMakeUp\nMop-pingFloow\n",
            "val.txt": "HandstandPushups\n",
            "test.txt": "YoYo\nSalsa-Spin\n",
        },
    )
    split = read_class_split(folder, UCF)
    assert sides(split) == (
        ("ApplyEyeMakeup", "MoppingFloor"), ("HandstandPushups",), ("SalsaSpin", "YoYo"),
    )  # fmt: skip
    assert split.clips == {}
    assert "'Mop-pingFloow' for 'MoppingFloor'" in split.notes[0]


def test_hyrsm_lists_have_a_folder_before_the_class_and_a_suffix_behind_the_clip(
    tmp_path: Path,
) -> None:
    folder = write(
        tmp_path / "hyrsm",
        {
            "train_few_shot.txt": "train0//videos/kick/a_1.avi\ntrain1//videos/wave/b.avi\n",
            "val_few_shot.txt": "val0//videos/brush_hair/x.y.avi\n",
            "test_few_shot.txt": "test0//videos/kick_ball/c.avi\n"
            "test1//videos/climb_stairs/d.avi\n",
        },
    )
    split = read_class_split(folder, HMDB)
    assert split.novel == ("climb_stairs", "kick_ball")
    assert split.clips["brush_hair"] == {"x.y"}


def test_cmn_lists_name_classes_in_words_and_clips_that_begin_with_a_dash(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "kinetics-100",
        {
            "train.list": "air drumming/-VtLx-mcPds_000012_000022\narm wrestling/a_000001_000011\n",
            "val.list": "side kick/b_000001_000011\n",
            "test.list": "hurling (sport)/c_000001_000011\nunboxing/d_000001_000011\n",
        },
    )
    split = read_class_split(folder, KINETICS)
    assert split.novel == ("hurling (sport)", "unboxing")
    assert split.clips["air drumming"] == {"-VtLx-mcPds_000012_000022"}
    # As Kinetics' folders are called on many disks.
    underscored = [name.replace(" ", "_").replace("(", "-").replace(")", "-") for name in KINETICS]
    assert read_class_split(folder, underscored).novel == ("hurling_-sport-", "unboxing")


def test_something_something_classes_are_sentences(tmp_path: Path) -> None:
    names = (
        "Twisting [something] wet until water comes out",
        "Opening [something]",
        "Pretending to pour [something] out, but [something] is empty",
        "Poking [it]",
    )
    folder = write(
        tmp_path / "smsm-100",
        {
            "train.list": "Opening something/1\nPoking it/2\n",
            "test.list": "Twisting something wet until water comes out/88644\n"
            "Pretending to pour something out, but something is empty/7\n",
        },
    )
    split = read_class_split(folder, names)
    assert split.novel == tuple(sorted((names[0], names[2])))
    assert split.validation == ()
    assert "no validation classes" in split.notes[0]


@pytest.mark.parametrize(
    ("classes", "novel", "alias"),
    [
        (("BasketballDunk", *UCF), ("BasketballDunk", "YoYo"), "'Salsa Spins' for 'SalsaSpin'"),
        (HMDB, ("kick", "kick_ball", "wave"), "'Swing Basketball' for 'swing_baseball'"),
    ],
)
def test_truze_names_are_prose_of_several_data_sets(
    tmp_path: Path, classes: tuple[str, ...], novel: tuple[str, ...], alias: str
) -> None:
    path = tmp_path / "FSL.txt"
    path.write_text(TRUZE.format(blank=" ").replace("(3 classes): Apply", "(4 classes): Apply"))
    split = read_class_split(path, classes)
    assert split.novel == novel
    assert alias in split.notes[0]
    assert split.source.endswith(("FSL.txt (UCF101)", "FSL.txt (HMDB51)"))


def test_truze_with_another_number_of_classes_than_it_announces(tmp_path: Path) -> None:
    path = tmp_path / "FSL.txt"
    path.write_text(TRUZE.format(blank=""))
    with pytest.raises(InputError, match="announces 3 base classes of UCF101 and names 4"):
        read_class_split(path, UCF)


def test_our_own_form_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text("base: [kick, brush-hair]\nvalidation: []\nnovel:\n  - Wave\n  - kick ball\n")
    split = read_class_split(path, HMDB)
    assert sides(split) == (("brush_hair", "kick"), (), ("kick_ball", "wave"))
    write_class_split(tmp_path / "again.yaml", split)
    again = read_class_split(tmp_path / "again.yaml", HMDB)
    assert sides(again) == sides(split)
    assert again.fingerprint() == split.fingerprint()


def test_names_of_yaml_are_text_and_nothing_is_built(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text("base: [1, 2]\nnovel: [no, !!python/name:os.system x]\n")
    split = read_class_split(path, ("1", "2", "no", "x"))
    assert split.novel == ("no", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: [kick, wave]\nnovel: [wave, kick_ball]\n", "on two sides, such as 'wave'"),
        ("base: [kick, waev]\nnovel: [brush_hair, kick_ball]\n", r"'waev' \(nearest: 'wave'"),
        ("base: [kick]\nnovel: [wave, kick_ball]\n", "has 1 base class;"),
        ("base: [kick, wave]\n", "has 0 novel classes;"),
        ("train: [kick]\n", "names the side 'train'"),
        ("base: {kick: 1}\n", "no plain list"),
        ("- kick\n", "holds no class split"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_split(path, HMDB)


def test_files_that_are_no_class_split(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kick\n")
    with pytest.raises(InputError, match="no class split that l2a reads"):
        read_class_split(tmp_path / "notes.txt", HMDB)
    with pytest.raises(InputError, match="There is no class split"):
        read_class_split(tmp_path / "nothing.txt", HMDB)
    with pytest.raises(InputError, match="no train and test lists"):
        read_class_split(tmp_path, HMDB)
    (tmp_path / "test.txt").write_text("kick\n")
    with pytest.raises(InputError, match="There is no train list beside"):
        read_class_split(tmp_path / "test.txt", HMDB)


def test_only_listed_clips_belong_to_a_side(tmp_path: Path) -> None:
    split = read_class_split(write(tmp_path / "hmdb", ARN_CLIPS), HMDB)
    ids = ("kick/b.avi", "kick/other.avi", "wave/(Rad)_wave_1.avi", "kick_ball/f.avi")
    videos = [Video(id, id, id.split("/")[0], id, "test") for id in ids]
    assert [v.id for v in split.videos_of("base", videos)] == [ids[0], ids[2]]
    assert [v.id for v in split.videos_of("novel", videos)] == [ids[3]]
    assert split.missing(videos) == [
        "brush_hair/c", "climb_stairs/d!_e", "kick/kick_a_f_cm_np1_ba_bad_8",
    ]  # fmt: skip


def test_a_drawn_split_has_the_counts_and_repeats_itself() -> None:
    classes = [f"class {number}" for number in range(12)]
    split = random_class_split(classes, 2, 4, seed=3)
    assert tuple(map(len, sides(split))) == (6, 2, 4)
    assert set().union(*map(set, sides(split))) == set(classes)
    assert sides(split) == sides(random_class_split(classes[::-1], 2, 4, seed=3))
    assert sides(split) != sides(random_class_split(classes, 2, 4, seed=4))
    assert tuple(map(len, sides(random_class_split(classes, 0, 0.25, seed=0)))) == (9, 0, 3)
    with pytest.raises(InputError, match="leave 1 base classes"):
        random_class_split(classes, 5, 6, seed=0)
    with pytest.raises(InputError, match=r"novel classes are 1\.5"):
        random_class_split(classes, 0, 1.5, seed=0)


def test_a_class_with_too_few_clips_is_named_with_its_number() -> None:
    check_counts({"kick": 6, "wave": 9}, shots=5, queries=1)
    with pytest.raises(InputError, match="'kick' has 5 clips, too few for 5 shots and 1 query;"):
        check_counts({"kick": 5, "wave": 9}, shots=5, queries=1)
