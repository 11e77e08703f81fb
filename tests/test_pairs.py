"""The pairs file: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.formats import DataSettings
from l2a.pairs import (
    _META,
    ScoredPair,
    first_evenly,
    read_pairs,
    read_spares,
    smaller_choice,
    write_pairs,
)
from train.origin import Origin
from train.settings.full import FullSettings

META = {"budget": 2, "threshold": 0.7, "seed": 3, "fingerprint": "0123abcd", "data_set": "hmdb51"}
ROWS = (
    ScoredPair("run/a #1;[x].avi", "walk/ü.avi", 0.9, math.log(9), "run", "walk"),
    ScoredPair("run/a #1;[x].avi", "wave/c.avi", 1.0, 55.5, "run", "wave"),
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scored = st.builds(
    ScoredPair,
    foreground=names,
    background=names,
    omega=st.floats(0, 1),
    logit=st.floats(allow_nan=False),
    foreground_class=names,
    background_class=names,
)


def test_what_is_written_comes_back(tmp_path):
    write_pairs(tmp_path / "new" / "pairs.parquet", ROWS, META)
    assert read_pairs(tmp_path / "new" / "pairs.parquet") == (ROWS, META)


some = st.lists(
    scored.filter(lambda row: row.foreground != row.background),
    max_size=6,
    unique_by=lambda row: (row.foreground, row.background),
)


# Names of our own carry values of their own kind; hypothesis draws words of our source, too.
others = names.filter(lambda name: name not in _META)


@given(some, st.dictionaries(others, st.integers() | st.none() | names))
def test_any_rows_and_meta_come_back_in_their_order(tmp_path, rows, meta):
    write_pairs(tmp_path / "pairs.parquet", rows, meta)
    assert read_pairs(tmp_path / "pairs.parquet") == (tuple(rows), meta)


def test_spare_pairs_are_never_among_the_chosen(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(path, ROWS[:1], META, ROWS[1:])
    assert read_pairs(path) == (ROWS[:1], META)
    assert read_spares(path) == ROWS[1:] != ()
    write_pairs(path, ROWS, META)
    assert read_spares(path) == ()


def test_same_rows_same_bytes(tmp_path):
    write_pairs(tmp_path / "a.parquet", ROWS, META)
    write_pairs(tmp_path / "b.parquet", ROWS, dict(reversed(META.items())))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_other_tools_find_plain_columns(tmp_path):
    write_pairs(tmp_path / "pairs.parquet", ROWS, META)
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table["foreground"].to_pylist() == [row.foreground for row in ROWS]
    assert table["omega"].type == pa.float64()


@pytest.mark.parametrize(
    ("omega", "logit"), [(-0.1, 0.0), (1.5, 0.0), (math.nan, 0.0), (0.5, math.nan)]
)
def test_a_score_that_is_none_is_not_written(tmp_path, omega, logit):
    row = ScoredPair("a", "b", omega, logit, "c", "d")
    with pytest.raises(InputError, match=f"a on b has the score {omega}"):
        write_pairs(tmp_path / "pairs.parquet", [row], META)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "spares", "message"),
    [
        ([replace(ROWS[0], background=ROWS[0].foreground)], [], "same video on both sides"),
        ([*ROWS, ROWS[0]], [], r"walk/ü\.avi stands twice"),
        (ROWS, ROWS[:1], r"walk/ü\.avi stands twice"),
    ],
)
def test_a_pair_that_cannot_be_is_not_written(tmp_path, rows, spares, message):
    with pytest.raises(InputError, match=f"^The pair .*{message}; train the Selector again"):
        write_pairs(tmp_path / "pairs.parquet", rows, META, spares)
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_not_unicode_is_named(tmp_path):
    row = ScoredPair("caf\udce9.avi", "b", 0.5, 0.0, "c", "d")
    with pytest.raises(InputError, match=r"caf\\udce9\.avi.*rename"):
        write_pairs(tmp_path / "pairs.parquet", [row], META)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"no pairs file .*absent\.parquet"):
        read_pairs(tmp_path / "absent.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"x" * 99])
def test_a_file_that_is_no_parquet(tmp_path, content):
    path = tmp_path / "pairs.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [replace(ROWS[0], background=f"walk/{i}") for i in range(100)], META)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(path)


def test_a_flipped_bit_in_the_data_is_noticed(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(path, ROWS, META)
    content = bytearray(path.read_bytes())
    content[content.index(b"walk/")] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(path)


X = ScoredPair("foreground", "background", 0.5, 0.0, "foreground_class", "background_class")


def ours(**columns):
    """A table with our metadata, and some columns changed (None takes one away)."""
    plain = {name: [name] for name in ScoredPair.__dataclass_fields__} | {
        "omega": [0.5],
        "logit": [0.0],
    }
    kept = {name: values for name, values in (plain | columns).items() if values is not None}
    return pa.table(kept).replace_schema_metadata({"l2a.pairs": "{}"})


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"label": ["run"]}),
        ours(omega=None),
        ours(omega=["high"]),
        ours(foreground=pa.array([None], pa.string())),
        ours().replace_schema_metadata(None),
        ours().replace_schema_metadata({"l2a.pairs": "{"}),
        ours().replace_schema_metadata({"l2a.pairs": "[]"}),
    ],
)
def test_another_kind_of_parquet(tmp_path, table):
    pq.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not a pairs file"):
        read_pairs(tmp_path / "other.parquet")


def test_a_table_that_other_tools_wrote_again_is_still_read(tmp_path):
    """Readers such as pandas add columns and widen types; what we need is still there."""
    path = tmp_path / "pairs.parquet"
    pq.write_table(ours(omega=pa.array([0.5], pa.float32()), note=["mine"]), path)
    assert read_pairs(path) == ((X,), {})
    assert read_spares(path) == ()


# A smaller choice out of a larger one.


def ranked(classes: str) -> list[ScoredPair]:
    """Pairs of foreground classes of one letter each, best first."""
    return [
        ScoredPair(f"{name}/{place}", "b", 0.5, -float(place), name, "b")
        for place, name in enumerate(classes)
    ]


@pytest.mark.parametrize(
    ("classes", "budget", "expected"),
    [
        ("aaaabbbb", 4, [0, 1, 4, 5]),  # the best four alone would be all of a
        ("aaaabbbb", 3, [0, 1, 4]),  # equal remainders: a, whose best pair ranks higher
        ("aabbbb", 3, [0, 2, 3]),  # 2 : 4 ─► 1 : 2
        ("abcabcabc", 2, [0, 1]),  # 3·2/9 each: the two whose best pairs rank highest
        ("aaabaaab", 1, [0]),
        ("aaabaaab", 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("ab", 0, []),
        ("", 0, []),
    ],
)
def test_a_smaller_choice_by_hand(classes, budget, expected):
    assert list(first_evenly(ranked(classes), budget)) == expected


@given(st.text("abcd", max_size=40), st.floats(0, 1))
def test_a_smaller_choice_keeps_the_shares_of_the_classes(classes, share):
    pairs = ranked(classes)
    budget = int(share * len(pairs))
    found = first_evenly(pairs, budget)
    assert len(found) == budget
    assert list(found) == sorted(set(found))
    for name in set(classes):
        own = [place for place, pair in enumerate(pairs) if pair.foreground_class == name]
        taken = [place for place in found if place in own]
        assert taken == own[: len(taken)]  # the best of the class
        assert abs(len(taken) - len(own) * budget / len(pairs)) < 1


def test_a_smaller_choice_than_none_or_a_larger_than_all_is_refused():
    for budget in (-1, 3):
        with pytest.raises(ValueError, match=f"budget is {budget} and there are 2 pairs"):
            first_evenly(ranked("ab"), budget)


def test_what_a_smaller_choice_leaves_is_to_spare():
    rows, spares = ranked("aabb"), ranked("c")
    taken, left = smaller_choice(rows, spares, 2)
    assert taken == [rows[0], rows[2]]
    assert left == [rows[1], rows[3], *spares]
    assert smaller_choice(rows, spares, 9) == (rows, spares)


def test_the_lists_that_a_choice_depends_on_stand_in_its_file(tmp_path):
    data = DataSettings(annotations=Path("a"), labelled=Path("b"), unlabelled=Path("c"))
    origin = Origin.of(FullSettings(data=data), Path("videos"))
    write_pairs(tmp_path / "pairs.parquet", ROWS, origin.meta(2, "random") | META)
    settings = read_pairs(tmp_path / "pairs.parquet")[1]["settings"]
    assert [settings[name] for name in ("annotations", "labelled", "unlabelled")] == ["a", "b", "c"]
