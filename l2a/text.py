"""Names that come from data, as plain text on terminals, in lists, pictures and pages."""

from __future__ import annotations

import re
import unicodedata

# What a terminal obeys and a list breaks at: control characters, line and paragraph separators, and
# the marks that turn the direction of writing, which can show a line in another order. And what is
# no character: the halves by which Python carries bytes that are not UTF-8.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MARKDOWN = re.compile(r"[\\`*\[\]<>|&~#]|(?<!\w)_|_(?!\w)")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text for a terminal, a list or a picture: what is not a character is written `\xNN`.

    Nothing in it moves the cursor, recolours a terminal, changes the order of a line or fails to be
    encoded as UTF-8. A byte that is not UTF-8, which Python passes as a lone surrogate, is shown as
    that byte.

    Args:
        text: a name, or a message with names in it.
        lines: leave line feeds and tabs: the text is a whole message.
    """

    def escaped(found: re.Match[str]) -> str:
        code = ord(found[0])
        if lines and found[0] in "\n\t":
            return found[0]
        if 0xDC80 <= code <= 0xDCFF:
            code -= 0xDC00
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNPRINTABLE.sub(escaped, text)


def is_printable(text: str) -> bool:
    """Whether `printable` would leave the text as it is."""
    return (text.isascii() and text.isprintable()) or _UNPRINTABLE.search(text) is None


def shortened(name: str, most: int = 40) -> str:
    """A name as a picture shows it: printable, and cut with "…" after `most` characters."""
    text = printable(name)
    return text if len(text) <= most else text[: most - 1] + "…"


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which names are compared.

    Macs write `é` as two characters and lists as one: both are the same name.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def markdown_text(name: str) -> str:
    """`name` as Markdown that shows it as it is, in one line: no tag, link, emphasis or cell.

    Control characters and line ends, which no one can see, become spaces. An underscore within a
    word stays bare, because Markdown takes it for itself there.
    """
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name)
    return _MARKDOWN.sub(lambda found: "\\" + found[0], shown)
