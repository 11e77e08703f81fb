"""Names from data as plain text: on a terminal, in lists and pictures, in Markdown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2a.text import is_printable, markdown_text, nfc, printable, shortened


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


@given(st.text())
def test_printable_text_has_no_control_characters_and_is_utf8(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert is_printable(shown) and printable(shown) == shown
    assert is_printable(text) == (shown == text)
    assert len(shortened(text, 10)) <= 10


def test_printable_by_hand() -> None:
    assert printable("a\x1b[31mé\n\udce9\u2028") == "a\\x1b[31mé\\x0a\\xe9\\u2028"
    assert shortened("x" * 41) == "x" * 39 + "…"
    assert nfc("e\u0301") == "\u00e9"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Bögen → 走\u200d", "Bögen → 走\u200d"),  # the joiner belongs to scripts and emoji
        ("a\x1b[2Jb\rc\x00\x9b", r"a\x1b[2Jb\x0dc\x00\x9b"),
        ("gro\udcdf.avi \ud800", r"gro\xdf.avi \ud800"),
        # What turns the direction of writing shows the rest of a line in another order.
        ("\u200ea\u200fb\u061cc", r"\u200ea\u200fb\u061cc"),
        ("\u202e4pm.exe\u202c \u2066x\u2069", r"\u202e4pm.exe\u202c \u2066x\u2069"),
    ],
)
def test_what_is_shown_moves_no_cursor_and_stays_in_order(name: str, shown: str) -> None:
    assert printable(name) == printable(name, lines=True) == shown


def test_a_whole_message_keeps_its_lines_and_a_name_is_one_line() -> None:
    assert printable("a\tb\n\u2028", lines=True) == "a\tb\n\\u2028"
    assert printable("a\tb\n") == r"a\x09b\x0a"
