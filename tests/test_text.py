"""Names from data as plain text in Markdown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.text import markdown_text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("jump rope", "jump rope"),
        ("shoot_ball", "shoot_ball"),
        ("走る", "走る"),
        ("<b>x</b>", r"\<b\>x\</b\>"),
        ("a|b", r"a\|b"),
        ("&amp;", r"\&amp;"),
        ("![i](u)", r"!\[i\](u)"),
        ("_a_ *b* `c` ~d~ #e", r"\_a\_ \*b\* \`c\` \~d\~ \#e"),
        ("a\nb\x1b[31m\u2028c", "a b \\[31m c"),
        ("a\\", "a\\\\"),
    ],
)
def test_it_shows_a_name_as_it_is(name: str, shown: str) -> None:
    assert markdown_text(name) == shown


@given(st.text())
def test_no_name_opens_a_tag_a_link_a_cell_or_a_line(name: str) -> None:
    shown = markdown_text(name)
    bare = re.sub(r"\\.", "", shown)
    assert not set(bare) & set("\\`*[]<>|&~#\n\r")
    assert (
        re.sub(r"\\(.)", r"\1", shown).split()
        == re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", name).split()
    )
