"""Which classes are matched, by every kind of specification, and the picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_data import write_tiny

from l2a.arguments import parse
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import read_json
from l2a.runs import Run
from semantic_match.doubts import weak_matches, weak_sentence
from semantic_match.match import (
    ClassMatch,
    match_classes,
    match_table,
    without_partner,
    write_table,
)
from semantic_match.partners import Above, EveryOther, Nearest, SameClass, parse_matches
from semantic_match.picture import _block_means, draw_map, leaf_order
from semantic_match.pool import Pool
from semantic_match.settings import MatchSettings
from semantic_match.vectors import similarities
from train.metrics import draw_confusion, measure
from train.prepared import Matching
from train.records import write_matching

# Directions in a plane, at 0, 10, 30 and 180 degrees, of different lengths.
ANGLES = np.radians([0, 10, 30, 180])
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * np.array([[1], [5], [0.1], [3]])
NAMES = ("east", "near_east", "north-east", "west")


def chosen(matches: str, count: int = 4) -> list[tuple[int, int]]:
    """The pairs of indices that a specification chooses among the first `count` directions."""
    found = match_classes(NAMES[:count], PLANE[:count], matches)
    return [(m.foreground, m.background) for m in found]


def names(count: int) -> list[str]:
    return [f"class {index}" for index in range(count)]


def test_the_nearest_other_class_by_hand() -> None:
    assert chosen("1") == [(0, 1), (1, 0), (2, 1), (3, 2)]
    assert match_classes(NAMES, PLANE) == match_classes(NAMES, PLANE, "1")


def test_more_matches_come_by_falling_similarity() -> None:
    rows = match_classes(NAMES, PLANE, "2")
    assert [(m.foreground, m.background) for m in rows] == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (2, 0), (3, 2), (3, 1),
    ]  # fmt: skip
    assert rows[0].similarity == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert rows[6].similarity == pytest.approx(np.cos(np.radians(150)), abs=1e-6)


def test_above_takes_every_class_that_is_near_enough_and_for_some_none() -> None:
    # Between 0 and 10 degrees .985, 10 and 30 .940, 0 and 30 .866.
    assert chosen("above:0.9") == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert chosen(f"above:{np.cos(np.radians(20)):.6f}") == chosen("above:0.9")
    assert chosen("above:0.97") == [(0, 1), (1, 0)]
    assert chosen("above:-1") == chosen("all")
    assert without_partner(NAMES, match_classes(NAMES, PLANE, "above:0.9")) == ["west"]


def test_above_what_there_is_is_refused_with_the_largest_there_is() -> None:
    with pytest.raises(
        InputError, match=r"above:0\.99 asks; the nearest are 'east' and 'near_east' with 0\.984808"
    ):
        chosen("above:0.99")
    # What the message names can be given.
    assert chosen("above:0.984808") == [(0, 1), (1, 0)]
    with pytest.raises(InputError, match="give a lower similarity"):
        chosen("above:0.99+same-class")


def test_same_class_and_all_by_hand() -> None:
    assert chosen("same-class") == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert all(m.similarity == 1 for m in match_classes(NAMES, PLANE, "same-class"))
    assert chosen("all") == [
        (0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3),
        (2, 1), (2, 0), (2, 3), (3, 2), (3, 1), (3, 0),
    ]  # fmt: skip
    assert chosen("all") == chosen("3")
    assert chosen("same-class", 1) == [(0, 0)]


def test_parts_are_united_without_duplicates() -> None:
    assert chosen("1+same-class") == [
        (0, 0), (0, 1), (1, 1), (1, 0), (2, 2), (2, 1), (3, 3), (3, 2),
    ]  # fmt: skip
    assert chosen(" same-class + 1 ") == chosen("1+same-class")
    assert chosen("1+2+1") == chosen("2")
    assert chosen("above:0.97+1") == chosen("1")


SPECS = st.lists(
    st.sampled_from(["1", "2", "above:-1", "above:-0.3", "same-class", "all"]),
    min_size=1,
    max_size=4,
)


@given(st.integers(3, 9), st.integers(0, 2**32 - 1), SPECS)
def test_a_union_is_what_its_parts_choose_in_order(count: int, seed: int, parts: list[str]) -> None:
    # Two directions are opposite, two the same: ties, and something above every limit.
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    vectors[1] = vectors[0]
    rows = match_classes(names(count), vectors, "+".join(parts))
    alone = {row for part in parts for row in match_classes(names(count), vectors, part)}
    assert len(rows) == len(set(rows))
    assert set(rows) == alone
    keys = [(m.foreground, -m.similarity, m.background) for m in rows]
    assert keys == sorted(keys)
    cosine = similarities(vectors)
    assert all(abs(cosine[m.foreground, m.background] - m.similarity) < 1e-6 for m in rows)


def test_ties_go_to_the_lower_index() -> None:
    # Three directions taken in turns: sorts that are not stable mix up this many equal values.
    turns = np.tile(np.array([[1.0, 0, 0], [0.9, 0.5, 0], [0, 0, 1]]), (40, 1))
    rows = match_classes(names(120), turns, "3")
    assert [m.background for m in rows if m.foreground == 0] == [3, 6, 9]
    assert [m.background for m in rows if m.foreground == 4] == [1, 7, 10]
    assert [m.background for m in rows if m.foreground == 119] == [2, 5, 8]


@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.data())
def test_never_itself_and_none_nearer_is_left_out(
    count: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, count - 1))
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    before = vectors.copy()
    rows = match_classes(names(count), vectors, str(k))
    np.testing.assert_array_equal(vectors, before)
    cosine = similarities(vectors)
    assert len(rows) == count * k
    for c in range(count):
        nearest = [m.background for m in rows if m.foreground == c]
        assert c not in nearest
        assert len(set(nearest)) == k
        others = [o for o in range(count) if o != c and o not in nearest]
        assert not others or min(cosine[c, nearest]) >= max(cosine[c, others]) - 1e-6


@pytest.mark.parametrize(
    ("count", "matches", "message"),
    [
        (4, "4", "each of 4 classes with its 4 nearest others; choose 1 to 3"),
        (1, "1", "no other class .* the classes are 'east'; give at least 2 classes, or .*same-cl"),
        (1, "all", "no other class to match with"),
        (1, "above:0", "no other class to match with"),
    ],
)
def test_too_few_classes_are_refused(count: int, matches: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(matches, count)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_class_without_a_direction_is_refused(value: float) -> None:
    vectors = PLANE.copy()
    vectors[2] = value
    with pytest.raises(InputError, match=r"class 'north-east' .*rename it or choose another emb"):
        match_classes(NAMES, vectors, "1")


def test_table_rows_are_plain_text() -> None:
    rows = match_table(["a", "b"], [ClassMatch(0, 1, 0.456), ClassMatch(1, 0, -0.1)])
    assert rows == [("a", "b", "0.46"), ("b", "a", "-0.10")]
    rows = match_table(["a", "b", "c"], [ClassMatch(0, 0, 1.0), ClassMatch(2, 0, -0.001)])
    assert rows == [("a", "a", "1.00"), ("b", "(none)", ""), ("c", "a", "0.00")]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("5", (Nearest(5),)),
        ("above:0.5", (Above(0.5),)),
        ("above:-.25 + 1", (Above(-0.25), Nearest(1))),
        ("1+same-class", (Nearest(1), SameClass())),
        ("all+same-class", (EveryOther(), SameClass())),
    ],
)
def test_a_specification_is_read_part_by_part(spec: str, parts: tuple[object, ...]) -> None:
    assert parse_matches(spec) == parts


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("0", "matches is '0'; give at least 1 nearest class"),
        ("-1", "matches is '-1'; give at least 1"),
        ("1+0", r"matches is '1\+0'; give at least 1"),
        ("1.5", "'1.5' is not one of its parts: give a number of nearest classes, above:"),
        ("", "matches is '', and '' is not one of its parts"),
        ("1+", "and '' is not one of its parts"),
        ("above:", "'above:' gives no similarity; give a number from -1 to 1 after the colon"),
        ("above:x", "'above:x' gives no similarity"),
        ("above:nan", "'above:nan' gives no similarity"),
        ("above:1.01", "'above:1.01' gives no similarity"),
        ("above:-2", "'above:-2' gives no similarity"),
        ("same_class", "'same_class' is not one of .*; perhaps 'same-class' is meant"),
        ("1+al", "'al' is not one of its parts.*; perhaps 'all' is meant"),
        ("x+1", "and 'x' is not one of its parts"),
        ("own.json", "'own.json' is not one of its parts"),
        ("gone.yaml", "There is no file of matches gone.yaml; check --matches"),
        ("1+gone.YML", "There is no file of matches gone.YML"),
    ],
)
def test_a_wrong_specification_is_refused_before_any_data(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        MatchSettings(matches=spec)
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def hand_written(folder: Path, text: str | bytes, name: str = "own.yaml") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_matches_written_by_hand(tmp_path: Path) -> None:
    """One or several backgrounds; exact names and plain words; itself too; some left out."""
    text = "north-east: [west, EAST]\neast: east\nNearEast: 'north east'\n"
    own = hand_written(tmp_path, text)
    assert chosen(own) == [(0, 0), (1, 2), (2, 0), (2, 3)]
    assert without_partner(NAMES, match_classes(NAMES, PLANE, own)) == ["west"]
    assert chosen(f"same-class+{own}") == [(0, 0), (1, 1), (1, 2), (2, 2), (2, 0), (2, 3), (3, 3)]


def test_a_path_reaches_over_plus_signs_to_its_suffix(tmp_path: Path) -> None:
    first = hand_written(tmp_path, "east: west\n", "1+all/a+b.yaml")
    second = hand_written(tmp_path, "west: east\n", "c.yml")
    assert chosen(first) == [(0, 3)]
    assert chosen(f"{first}+{second}+same-class") == [
        (0, 0), (0, 3), (1, 1), (2, 2), (3, 3), (3, 0),
    ]  # fmt: skip


def test_a_path_that_begins_like_another_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hand_written(tmp_path, "east: west\n", "1+2.yaml")
    with pytest.raises(InputError, match=r"no file of matches 2\.yaml"):
        chosen("1+2.yaml")
    assert chosen("./1+2.yaml") == [(0, 3)]


def test_names_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    own = hand_written(tmp_path, "no: [1, 2.50]\n1: ~\n")
    found = match_classes(["no", "1", "2.50", "~"], PLANE, own)
    assert {(m.foreground, m.background) for m in found} == {(0, 1), (0, 2), (1, 3)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no matches; write `FOREGROUND: BACKGROUND`"),
        ("# nothing\n", "lists no matches"),
        ("{}", "lists no matches"),
        ("- east\n- west\n", "holds no matches of classes; write"),
        ("east", "holds no matches of classes"),
        ("east: {west: 1}", "no class name in line 1"),
        ("west: east\neast: [[west]]", "no class name in line 2"),
        ("[east, west]: west", "no class name in line 1"),
        ("east:\n", "names no class in line 1; .* leave out a class that is to lend no actors"),
        ("east: []", "gives the class 'east' no background class; leave it out"),
        ("east: west\neast: east\n", "names the class 'east' twice; keep one"),
        ("east: [west, west]", "names the class 'west' twice"),
        ("east: !!python/object/apply:os.mkdir ['made']", "no class name in line 1"),
        ("east: !!python/name:os.mkdir made", "no class name in line 1"),
        ("east: !own west", "no class name in line 1"),
        ("!!set {east, west}", "holds no matches of classes"),
        ("east: [west", "is not a readable YAML file"),
        ("a: b\n---\nc: d\n", "is not a readable YAML file"),
        (b"\xff\xfe\x00", "is not a readable YAML file"),
        (b"PK\x03\x04\x00\x00", "is not a readable YAML file"),
        ("[" * 5_000, "is nested too deeply"),
    ],
)
def test_a_file_of_another_structure_is_refused_before_any_data(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    own = hand_written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        MatchSettings(matches=own)
    assert own in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_no_file_of_matches(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match=r"not a readable YAML file .*directory"):
        MatchSettings(matches=str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "eastt: west",
            "names the class 'eastt', which the data set does not have; perhaps 'east'",
        ),
        ("east: Near-Eats", "'Near-Eats', which .* perhaps 'near_east' is meant"),
        ("jump: west", "'jump', which .*; its classes are east, near_east, north-east, west"),
        ("east: west\nEAST: east", "the class 'east' twice, as 'east' and as 'EAST'"),
        ("east: [near_east, NearEast]", "the class 'near_east' twice, as 'near_east' and as"),
    ],
)
def test_names_that_are_no_classes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    own = hand_written(tmp_path, text)
    MatchSettings(matches=own)
    with pytest.raises(InputError, match=message):
        chosen(own)


def test_a_name_that_may_be_two_classes_is_refused(tmp_path: Path) -> None:
    own = hand_written(tmp_path, "near east: west")
    with pytest.raises(InputError, match="'near east', which may be 'near_east', 'NearEast'; name"):
        match_classes(["near_east", "NearEast", "north", "west"], PLANE, own)
    own = hand_written(tmp_path, "NearEast: west")
    found = match_classes(["near_east", "NearEast", "north", "west"], PLANE, own)
    assert [(m.foreground, m.background) for m in found] == [(1, 3)]


@dataclass(frozen=True)
class Epochs:
    """A setting of another command, which a config may hold beside ours."""

    GROUP: ClassVar[str] = "classifier"

    epochs: int = 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data", train_groups=1)


@pytest.mark.parametrize(
    ("line", "stored", "matches"),
    [
        ("matches: 2", "2", 6),
        ("matches: '1'", "1", 3),
        ("matches: all+same-class", "all+same-class", 9),
        ("matches: above:-1", "above:-1", 6),
        ("epochs: 3", "any", 9),
    ],
)
def test_a_config_may_hold_a_number_or_a_specification(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    line: str,
    stored: str,
    matches: int,
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(line + "\n")
    arguments = parse(
        "match", "", [MatchSettings], ["--config", str(config)], known=[MatchSettings, Epochs]
    )
    run = Run.open(tmp_path / "run", "match", arguments.groups())
    assert yaml.safe_load(run.path("run.yaml").read_text())["settings"]["matches"] == stored
    words = ["match", str(data), "--config", str(config), "--map", str(tmp_path / "m.png")]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["foreground", "class", "background", "class", "similarity"]
    assert shown[matches + 1] == f"{matches} matches of 3 classes: --matches {stored}"
    assert shown[matches + 2].startswith("embedder: static@")


def test_the_command_line_says_who_has_no_partner_and_what_is_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = hand_written(tmp_path, "jump rope: WaveHand")
    words = ["match", str(data), "--map", str(tmp_path / "m.png"), "--matches"]
    assert main([*words, own]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows[0] == ["ClimbStairs", "(none)"] and rows[2] == ["WaveHand", "(none)"]
    assert rows[1][:2] == ["JumpRope", "WaveHand"]
    for matches, message in [("1.5", "'1.5' is not one of its parts"), ("3", "choose 1 to 2")]:
        assert main([*words, matches]) == 2
        assert message in capsys.readouterr().err


def test_a_run_keeps_its_table_and_notices_another_one(tmp_path: Path) -> None:
    """The settings name a file; what it says may change behind the name."""

    def write(backgrounds: str) -> dict[str, Any]:
        own = hand_written(tmp_path, f"east: {backgrounds}")
        found = match_classes(NAMES, PLANE, own)
        rows = np.zeros(0, np.int64)
        matching = Matching(
            "static@12", own, PLANE.astype(np.float32), found, rows, rows, Pool([[]], [[]], [])
        )
        space: Any = SimpleNamespace(videos=SimpleNamespace(classes=NAMES))
        write_matching(run, space, matching)
        return dict(read_json(run.path("matches.json")))

    run = Run.open(tmp_path / "run", "train", {})
    content = write("[west, near_east]")
    assert content == {
        "embedder": "static@12",
        "specification": str(tmp_path / "own.yaml"),
        "pool": 0,
        "matches": [
            {"foreground": "east", "background": "near_east", "similarity": 0.984808},
            {"foreground": "east", "background": "west", "similarity": -1.0},
        ],
        "without_partner": ["near_east", "north-east", "west"],
    }
    assert run.path("matches.png").is_file()
    # Nothing depends on it yet.
    assert write("west")["matches"] == content["matches"][1:]
    run.path("stage_one").mkdir()
    write("west")
    with pytest.raises(InputError, match=r"other matches of classes than .*own\.yaml gives now"):
        write("near_east")
    assert read_json(run.path("matches.json"))["matches"] == content["matches"][1:]


def test_leaf_order_puts_a_shuffled_line_back_in_order() -> None:
    """Points on a line, in groups: the only order without a jump is along the line."""
    places = np.array([0.0, 1, 2.1, 10, 11.2, 20, 21])
    shuffle = np.random.default_rng(0).permutation(len(places))
    distance = np.abs(places[shuffle][:, None] - places[shuffle])
    order = leaf_order(-distance)
    along = places[shuffle][order]
    assert sorted(order) == list(range(len(places)))
    assert (np.diff(along) > 0).all() or (np.diff(along) < 0).all()


def test_map_is_a_png_that_stays_the_same_and_shows_the_matches(tmp_path: Path) -> None:
    matches = match_classes(NAMES, PLANE, "1")
    first, again, without = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    draw_map(first, NAMES, PLANE, matches)
    draw_map(again, NAMES, PLANE, matches)
    draw_map(without, NAMES, PLANE, [])
    assert first.read_bytes() == again.read_bytes()
    pixels, bare = (np.asarray(Image.open(path).convert("RGB")) for path in (first, without))
    assert pixels.shape == bare.shape
    assert min(pixels.shape[:2]) > 200
    changed = (pixels != bare).any(axis=2)
    # Four frames of 60 x 60 pixels, each about 4 x 60 long and 4 wide or a little more.
    assert 2500 < changed.sum() < 8000


def test_map_of_very_many_classes_fits_a_screen_and_names_some(tmp_path: Path) -> None:
    """1,700 classes are more than the map has pixels: cells are means, and no mark is lost."""
    count = 1700
    angles = np.linspace(0, 3, count)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    matches = match_classes(names(count), vectors, "1")
    path = tmp_path / "map.png"
    draw_map(path, names(count), vectors, matches)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert 1500 < max(picture.size) < 2400
    draw_map(path, names(count), vectors, [])
    with Image.open(path) as picture:
        bare = np.asarray(picture.convert("RGB")).astype(int)
    lighter = (pixels - bare).sum(axis=2) > 0
    # The nearest class of each lies beside it: a line from corner to corner.
    rows, columns = np.nonzero(lighter)
    assert len(np.unique(rows)) > 1480 and len(np.unique(columns)) > 1480
    assert np.ptp(columns - rows) < 20


def test_means_of_blocks_leave_out_what_is_masked() -> None:
    shown = np.ma.masked_array(np.arange(9.0).reshape(3, 3), np.eye(3, dtype=bool))
    means = _block_means(shown, 2)
    # 0, 4 and 8 lie on the diagonal: (1 + 3) / 2, (2 + 5) / 2, (6 + 7) / 2, and nothing.
    np.testing.assert_array_equal(means.filled(-1), [[2, 3.5], [6.5, -1]])


@pytest.mark.parametrize(
    "name", ["golf $x^{$ _", "$$", "\\frac{", "a\nb\x1b[31m", "x" * 255, "a\udcff", "{}%s"]
)
@pytest.mark.filterwarnings("error")
def test_class_names_are_drawn_as_plain_text(tmp_path: Path, name: str) -> None:
    draw_map(tmp_path / "map.png", [name, "b", "c", "d"], PLANE, [])
    metrics = measure(np.eye(2, dtype=np.float32), np.array([0, 1]), [name, "b"])
    draw_confusion(tmp_path / "confusion.png", metrics, [name, "b"])
    for picture in ("map.png", "confusion.png"):
        with Image.open(tmp_path / picture) as drawn:
            assert max(drawn.size) < 2000


def test_the_table_is_written_for_spreadsheets(tmp_path: Path) -> None:
    write_table(tmp_path / "t.tsv", ["a\tb", "c"], [ClassMatch(0, 1, 0.456)])
    assert (tmp_path / "t.tsv").read_text() == (
        "foreground class\tbackground class\tsimilarity\na\\x09b\tc\t0.46\nc\t(none)\t\n"
    )


WEAK_ROWS = [ClassMatch(0, 1, 0.2), ClassMatch(1, 0, 0.36), ClassMatch(2, 1, 0.1)]


@pytest.mark.parametrize(
    ("specification", "weak"),
    [("1", [2, 0]), ("1+same-class", [2, 0]), ("2+above:0.2", [2]), ("above:0.1", []), ("all", []),
     ("1+all", []), ("same-class", [])],
)  # fmt: skip
def test_weak_matches_are_those_that_nobody_asked_for(specification: str, weak: list[int]) -> None:
    rows = [*WEAK_ROWS, ClassMatch(3, 3, 1.0)]
    assert weak_matches(rows, specification) == [rows[index] for index in weak]


def test_weak_matches_are_said_with_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = weak_sentence(NAMES, weak_matches(WEAK_ROWS, "1"), 3)
    assert sentence.startswith(
        "2 of 3 matches are below a similarity of 0.35 (north-east with near_east 0.10, east with"
        " near_east 0.20): "
    )
    assert "--matches above:0.35 leaves them out" in sentence
    # What is proposed works; where it would find nothing, it is not proposed.
    assert "above:" not in weak_sentence(NAMES, WEAK_ROWS, 3)
    assert weak_sentence(NAMES, [], 3) == ""
    words = ["match", str(data), "--map", str(tmp_path / "m.png"), "--matches", "nearest"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "note: 1 of 3 matches are below a similarity of 0.35 (WaveHand with JumpRope " in shown
    assert (tmp_path / "m.tsv").read_text().count("\n") == 4
    words = ["match", str(data), "--map", str(tmp_path / "m.png"), "--matches", "above:0.35"]
    assert main(words) == 0


def test_map_of_many_classes_grows_and_stays_readable(tmp_path: Path) -> None:
    count = 60
    vectors = np.random.default_rng(0).normal(size=(count, 8))
    path = tmp_path / "new" / "map.png"
    draw_map(path, names(count), vectors, match_classes(names(count), vectors, "1"))
    width, height = Image.open(path).size
    assert min(width, height) > count * 12  # at least 12 pixels for a label


@pytest.mark.parametrize(
    ("count", "pairs"),
    [
        (4, [(c1, c2) for c1 in range(4) for c2 in range(4) if c1 != c2]),
        (4, [(c, c) for c in range(4)]),
        (4, [(0, 3), (1, 0)]),
        (2, [(0, 1)]),
        (1, [(0, 0)]),
    ],
    ids=["all", "same-class", "one way", "two classes", "one class"],
)
@pytest.mark.filterwarnings("error")
def test_map_frames_exactly_the_cells_that_were_chosen(
    tmp_path: Path, count: int, pairs: list[tuple[int, int]]
) -> None:
    """Each frame lies inside its own cell: neighbours of chosen cells keep all their pixels."""

    def drawn(matches: list[tuple[int, int]]) -> np.ndarray:
        rows = [ClassMatch(c1, c2, 0.5) for c1, c2 in matches]
        draw_map(tmp_path / "map.png", NAMES[:count], PLANE[:count], rows)
        with Image.open(tmp_path / "map.png") as picture:
            return np.asarray(picture.convert("RGB")).astype(int)

    bare = drawn([])
    whole = (drawn([(a, b) for a in range(count) for b in range(count)]) != bare).any(axis=2)
    top, left = int(whole.any(axis=1).argmax()), int(whole.any(axis=0).argmax())
    changed = (drawn(pairs) != bare).any(axis=2)[top:, left:]
    # A cell has 60 x 60 pixels.
    framed = {
        (row, column)
        for row in range(count)
        for column in range(count)
        if changed[60 * row + 4 : 60 * row + 56, 60 * column + 4 : 60 * column + 56].any()
    }
    place = np.argsort(leaf_order(similarities(PLANE[:count])))
    assert framed == {(place[c1], place[c2]) for c1, c2 in pairs}
