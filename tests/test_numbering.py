"""Class numbers: every combination of a file of names with lists, none shifted silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.formats import DataSettings, read_any
from l2a.formats.numbering import NameFile, class_names, read_names, uses_of
from l2a.videos import VideoSet

ABC = ("golf", "jump", "run")


def file(*names: str, start: int = 0) -> NameFile:
    return NameFile(Path("classes.txt"), dict(enumerate(names, start)))


def named(
    names: NameFile | None, rows: list[tuple[int | str, str]]
) -> tuple[dict[int | str, str], list[str]]:
    return class_names(names, uses_of((label, folder, f"{folder}/x") for label, folder in rows))


def listed(*numbers: int, folders: str = "unrelated") -> list[tuple[int | str, str]]:
    """Videos with these numbers, in a folder that says nothing."""
    return [(number, folders) for number in numbers]


def true_rows(first: int, *numbers: int) -> list[tuple[int | str, str]]:
    """Videos with these numbers, each in the folder of its class when `first` is golf's number."""
    return [(number, ABC[number - first]) for number in numbers]


# Names from / lists from / what the lists use / whether folders are called like classes ─► name of
# the smallest listed number, and whether the reading is said. None: refused.
TABLE: list[tuple[str, NameFile, list[tuple[int | str, str]], str | None, bool]] = [
    ("0, 0, all", file(*ABC), listed(0, 1, 2), "golf", False),
    ("0, 0, all, folders", file(*ABC), true_rows(0, 0, 1, 2), "golf", False),
    ("0, 0, a gap", file(*ABC), listed(0, 2), "golf", False),
    ("0, 0, without the first", file(*ABC), listed(1, 2), "jump", False),
    ("0, 0, without the first, folders", file(*ABC), true_rows(0, 1, 2), "jump", False),
    ("1, 1, all", file(*ABC, start=1), listed(1, 2, 3), "golf", False),
    ("1, 1, all, folders", file(*ABC, start=1), true_rows(1, 1, 2, 3), "golf", False),
    ("1, 1, without the last", file(*ABC, start=1), listed(1, 2), "golf", False),
    ("1, 1, without the first", file(*ABC, start=1), listed(2, 3), "jump", False),
    ("1, 0, all", file(*ABC, start=1), listed(0, 1, 2), "golf", True),
    ("1, 0, all, folders", file(*ABC, start=1), true_rows(0, 0, 1, 2), "golf", True),
    ("1, 0, a gap", file(*ABC, start=1), listed(0, 2), "golf", True),
    ("1, 0, folders against", file(*ABC, start=1), [*true_rows(1, 1, 2), (0, "run")], None, False),
    ("1, 0, without the first", file(*ABC, start=1), listed(1, 2), "golf", False),
    ("1, 0, without the first, folders", file(*ABC, start=1), true_rows(0, 1, 2), None, False),
    ("0, 1, all", file(*ABC), listed(1, 2, 3), None, False),
    ("0, 1, all, folders", file(*ABC), true_rows(1, 1, 2, 3), "golf", True),
    ("0, 1, without the last", file(*ABC), listed(1, 2), "jump", False),
    ("0, 1, without the last, folders", file(*ABC), true_rows(1, 1, 2), None, False),
    ("0, too many", file(*ABC), listed(0, 1, 2, 3), None, False),
    ("1, 0, too many", file(*ABC, start=1), listed(0, 1, 2, 3), None, False),
    ("5, 5", file(*ABC, start=5), listed(5, 6, 7), "golf", False),
    ("5, 0", file(*ABC, start=5), listed(0, 1, 2), None, False),
    ("5, 4, folders", file(*ABC, start=5), true_rows(4, 4, 5, 6), "golf", True),
    ("5, 4", file(*ABC, start=5), listed(4, 5, 6), None, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "rows", "first", "said"),
    [case[1:] for case in TABLE],
    ids=[case[0] for case in TABLE],
)
def test_numbers_are_literal_or_the_other_reading_is_said(
    names: NameFile, rows: list[tuple[int | str, str]], first: str | None, said: bool
) -> None:
    if first is None:
        with pytest.raises(InputError, match=r"classes\.txt.* the number|which"):
            named(names, rows)
        return
    result, notes = named(names, rows)
    smallest = min(int(label) for label, _ in rows)
    assert result[smallest] == first
    assert [ABC.index(result[n]) - n for n in result] == [ABC.index(first) - smallest] * len(result)
    assert bool(notes) == said
    if said:
        assert f"number {smallest} of the lists is {first!r}" in notes[0]


@given(
    st.integers(0, 3),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2),
)
def test_no_class_is_ever_shifted_without_a_word(
    start: int, numbers: set[int], count: int, tell: bool, true_start: int
) -> None:
    """Whatever the file and the lists: literal, said, or refused; and folders always agree."""
    all_names = [f"name{index}" for index in range(count)]
    names = file(*all_names, start=start)
    rows: list[tuple[int | str, str]] = [
        (n, f"name{n - true_start}" if tell else "") for n in numbers
    ]
    try:
        result, notes = named(names, rows)
    except InputError:
        return
    literal = all(names.names.get(int(n)) == name for n, name in result.items())
    assert literal or notes
    wrong = [n for n, folder in rows if folder in all_names and result[n] != folder]
    evident = [n for n, folder in rows if folder in all_names]
    if wrong:
        assert len(wrong) < 0.9 * len(evident)
        assert f"{len(wrong)} of {len(evident)}" in notes[-1]


def test_a_few_videos_in_other_folders_are_counted_with_an_example() -> None:
    rows: list[tuple[int | str, str]] = [(0, "golf")] * 8 + [(1, "golf"), (1, "jump")]
    result, notes = named(file(*ABC), rows)
    assert result == {0: "golf", 1: "jump"}
    assert notes == [
        "Videos in the folder of another class than classes.txt gives them: 1 of 10 (golf/x with"
        " number 1, 'jump')."
    ]


def test_names_in_lists_are_compared_with_folders_too() -> None:
    result, notes = named(None, [("golf", "golf"), ("jump", "golf"), ("jump", "jump")])
    assert result == {"golf": "golf", "jump": "jump"}
    assert "1 of 3 (golf/x, 'jump')" in notes[0]


def test_without_a_file_folders_name_the_numbers_or_nothing_does() -> None:
    assert named(None, [(1, "golf"), (2, "jump")]) == ({1: "golf", 2: "jump"}, [])
    result, notes = named(None, [(1, "a"), (1, "b"), (12, "c")])
    assert result == {1: "class_001", 12: "class_012"}
    assert "classes.txt" in notes[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("golf\njump\n", {0: "golf", 1: "jump"}),
        ("1 golf\n2 jump\n", {1: "golf", 2: "jump"}),
        ("2 jump\n1 golf\n", {1: "golf", 2: "jump"}),
        ("7: golf\n9: jump\n", {7: "golf", 9: "jump"}),
        ("id,name\n0,golf\n1,jump\n", {0: "golf", 1: "jump"}),
        ("golf,1\njump,2\n", {1: "golf", 2: "jump"}),
        ("name,id\ngolf,0\njump,1\n", {0: "golf", 1: "jump"}),
        ("class\ngolf\njump\n", {0: "golf", 1: "jump"}),
        ("100 m sprint\n400 m hurdles\njump\n", {0: "100 m sprint", 1: "400 m hurdles", 2: "jump"}),
        ("walk 1\nwalk 2\n", {0: "walk 1", 1: "walk 2"}),
        ("take,5\njump,7\n", {0: "take,5", 1: "jump,7"}),
    ],
)
def test_files_of_names(tmp_path: Path, text: str, names: dict[int, str]) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    assert read_names(path).names == names


def read(root: Path, first: int, names: str, *, folder: bool = True) -> VideoSet:
    rows = []
    for number, label in enumerate(ABC, start=first):
        place = f"videos/{label if folder else 'all'}"
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            (root / place / f"{label}{index}.mp4").touch()
            rows.append(f"{place}/{label}{index}.mp4 {number}\n")
    (root / "train.txt").write_text("".join(rows))
    (root / "label_map.txt").write_text(names)
    return read_any(root, DataSettings())


@pytest.mark.parametrize(
    ("first", "names"),
    [
        (1, "1 golf\n2 jump\n3 run\n"),
        (1, "1 golf\n2 jump\n3 run\n4 swim\n"),
        (0, "0 golf\n1 jump\n2 run\n"),
        (0, "golf\njump\nrun\n"),
        (0, "1 golf\n2 jump\n3 run\n"),
        (1, "golf\njump\nrun\n"),
    ],
)
def test_whole_data_sets_are_never_shifted(tmp_path: Path, first: int, names: str) -> None:
    videos = read(tmp_path, first, names)
    assert videos.classes == ABC
    assert all(video.id.split("/")[1] == video.label for video in videos.videos)
    assert any("count classes from" in note for note in videos.notes) == (
        (first, names[0]) in ((0, "1"), (1, "g"))
    )


def test_a_map_of_more_classes_and_lists_that_lack_the_last_are_refused_by_folders(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=r"6 of 6 videos .* with number 1, 'jump'; write in front"):
        read(tmp_path, 1, "golf\njump\nrun\nswim\n")
    # The remedy works.
    assert read(tmp_path, 1, "1 golf\n2 jump\n3 run\n4 swim\n").classes == ABC


def test_several_files_of_names_are_said(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("golf\njump\nrun\n")
    videos = read(tmp_path, 0, "a\nb\nc\n")
    assert videos.classes == ABC
    assert "Class names are read from classes.txt, and not from label_map.txt." in videos.notes
