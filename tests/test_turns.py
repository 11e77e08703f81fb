"""Rows in turns."""

from __future__ import annotations

from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from l2a.turns import in_turns


def test_the_first_of_each_comes_first_then_the_second_as_they_stood() -> None:
    rows = ["ax", "bx", "cy", "dx", "ey", "fz"]
    assert in_turns(rows, itemgetter(1)) == ["ax", "cy", "fz", "bx", "ey", "dx"]
    assert in_turns([], itemgetter(0)) == []


@given(st.lists(st.integers(0, 3)))
def test_nothing_is_lost_and_each_keeps_its_own_order(keys: list[int]) -> None:
    made = in_turns(enumerate(keys), itemgetter(1))
    assert sorted(made) == list(enumerate(keys))
    for key in set(keys):
        own = [place for place, other in made if other == key]
        assert own == sorted(own)
