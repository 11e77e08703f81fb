"""Names that come from data, as plain text in pages that people open."""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN = re.compile(r"[\\`*\[\]<>|&~#]|(?<!\w)_|_(?!\w)")


def markdown_text(name: str) -> str:
    """`name` as Markdown that shows it as it is, in one line: no tag, link, emphasis or cell.

    Control characters and line ends, which no one can see, become spaces. An underscore within a
    word stays bare, because Markdown takes it for itself there.
    """
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name)
    return _MARKDOWN.sub(lambda found: "\\" + found[0], shown)
