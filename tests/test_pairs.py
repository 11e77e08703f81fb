"""The pairs file: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import InputError
from l2a.pairs import ScoredPair, read_pairs, read_spares, write_pairs

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


@given(st.lists(scored, max_size=6), st.dictionaries(names, st.integers() | st.none() | names))
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
    write_pairs(path, ROWS * 50, META)
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


def ours(**columns):
    """A table with our metadata, and some columns changed (None takes one away)."""
    plain = {name: ["x"] for name in ScoredPair.__dataclass_fields__} | {
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
    assert read_pairs(path) == ((ScoredPair("x", "x", 0.5, 0.0, "x", "x"),), {})
    assert read_spares(path) == ()
