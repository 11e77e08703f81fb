"""Nearest classes, and the picture of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from l2a.errors import InputError
from semantic_match.match import ClassMatch, match_classes, match_table
from semantic_match.picture import draw_map, leaf_order
from semantic_match.vectors import similarities

# Directions in a plane, at 0, 10, 30 and 180 degrees, of different lengths.
ANGLES = np.radians([0, 10, 30, 180])
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * np.array([[1], [5], [0.1], [3]])


def test_the_nearest_other_class_by_hand() -> None:
    pairs = [(m.foreground, m.background) for m in match_classes(PLANE, 1)]
    assert pairs == [(0, 1), (1, 0), (2, 1), (3, 2)]


def test_more_matches_come_by_falling_similarity() -> None:
    rows = match_classes(PLANE, 2)
    assert [(m.foreground, m.background) for m in rows] == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (2, 0), (3, 2), (3, 1),
    ]  # fmt: skip
    assert rows[0].similarity == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert rows[6].similarity == pytest.approx(np.cos(np.radians(150)), abs=1e-6)


def test_ties_go_to_the_lower_index() -> None:
    # Three directions taken in turns: sorts that are not stable mix up this many equal values.
    turns = np.tile(np.array([[1.0, 0, 0], [0.9, 0.5, 0], [0, 0, 1]]), (40, 1))
    rows = match_classes(turns, 3)
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
    rows = match_classes(vectors, k)
    np.testing.assert_array_equal(vectors, before)
    cosine = similarities(vectors)
    assert len(rows) == count * k
    for c in range(count):
        chosen = [m.background for m in rows if m.foreground == c]
        assert c not in chosen
        assert len(set(chosen)) == k
        others = [o for o in range(count) if o != c and o not in chosen]
        assert not others or min(cosine[c, chosen]) >= max(cosine[c, others]) - 1e-6


@pytest.mark.parametrize(
    ("count", "k", "message"),
    [
        (4, 4, "each of 4 classes with its 4 nearest others; choose 1 to 3"),
        (4, 0, "choose 1 to 3"),
        (1, 1, "each of 1 classes .* give at least 2 classes"),
    ],
)
def test_too_few_classes_are_refused(count: int, k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        match_classes(PLANE[:count], k)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_class_without_a_direction_is_refused(value: float) -> None:
    vectors = PLANE.copy()
    vectors[2] = value
    with pytest.raises(InputError, match=r"class number 2 .*rename it or choose another embedder"):
        match_classes(vectors, 1)


def test_table_rows_are_plain_text() -> None:
    rows = match_table(["a", "b"], [ClassMatch(0, 1, 0.456), ClassMatch(1, 0, -0.1)])
    assert rows == [("a", "b", "0.46"), ("b", "a", "-0.10")]


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
    classes = ["east", "north of east", "north-east", "west"]
    matches = match_classes(PLANE, 1)
    first, again, without = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    draw_map(first, classes, PLANE, matches)
    draw_map(again, classes, PLANE, matches)
    draw_map(without, classes, PLANE, [])
    assert first.read_bytes() == again.read_bytes()
    pixels, bare = (np.asarray(Image.open(path).convert("RGB")) for path in (first, without))
    assert pixels.shape == bare.shape
    assert min(pixels.shape[:2]) > 200
    changed = (pixels != bare).any(axis=2)
    # Four frames of 60 x 60 pixels, each about 4 x 60 long and 4 wide or a little more.
    assert 2500 < changed.sum() < 8000


def test_map_of_many_classes_grows_and_stays_readable(tmp_path: Path) -> None:
    count = 60
    vectors = np.random.default_rng(0).normal(size=(count, 8))
    path = tmp_path / "new" / "map.png"
    draw_map(path, [f"class {i}" for i in range(count)], vectors, match_classes(vectors, 1))
    width, height = Image.open(path).size
    assert min(width, height) > count * 12  # at least 12 pixels for a label
