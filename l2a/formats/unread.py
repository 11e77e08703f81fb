"""Files that look like lists of videos and were not read: each is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from l2a.errors import InputError
from l2a.formats import kinetics, lists
from l2a.formats.listing import lines_of
from l2a.formats.rows import MEANT, holds_rows
from l2a.formats.tree import SUFFIXES, Tree, strip_suffix
from l2a.videos import Skipped, VideoSet

_LARGEST_JSON = 2**24
_LINES = 20
_FILES = 200  # are looked into
_BINARY = (".xlsx", ".xls", ".parquet")
_WORDS = ("train", "test", "valid", "annot", "label", "list", "split", "meta")


def unread_lists(tree: Tree, videos: VideoSet) -> tuple[Skipped, ...]:
    """Files named after a split or a list that name videos and are none of `videos.lists`."""
    read = {path.absolute() for path in videos.lists}
    named = [id for id in tree.texts if _is_named(id) and (tree.root / id).absolute() not in read]
    stems = {found.stem for found in tree.videos} if named else set()
    rows = []
    for id in named[:_FILES]:
        reason = _reason(tree.root / id, videos.format, stems)
        if reason:
            rows.append(Skipped(id, reason))
    return tuple(rows)


def _is_named(id: str) -> bool:
    stem = Path(id).stem.lower()
    return bool(lists.SPLIT_IN_NAME.search(stem)) or any(word in stem for word in _WORDS)


def _reason(path: Path, format: str, stems: set[str]) -> str:
    """Why a list was not read; "" for a file that is none."""
    if path.suffix.lower() in _BINARY:
        return "lists are read as text; save it as CSV"
    try:
        if path.suffix.lower() in (".json", ".jsonl") and path.stat().st_size > _LARGEST_JSON:
            return ""  # masks are so large, and no list is
        texts = [text for _, text in zip(range(_LINES), _texts(path), strict=False)]
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not any(_names_video(text, stems) for text in texts):
        return ""
    if path.suffix.lower() in (".json", ".jsonl"):
        masks = any('"segmentations"' in text or '"annotations"' in text for text in texts)
        return "" if masks else f"lists are read as text with lines of {MEANT}"
    if kinetics.is_table(path) or holds_rows(path):
        return f"the data set is read as {format}, by other files; --annotations {path} reads it"
    return f"no layout has lines such as {texts[0][:100]!r}; lists have {MEANT}"


def _texts(path: Path) -> Iterator[str]:
    return (text for _, text in lines_of(path))


def _names_video(text: str, stems: set[str]) -> bool:
    """Whether a line names a video: by its suffix, or by the name of one that is here."""
    for mark in "\"'|:=()[]{}":
        text = text.replace(mark, " ")
    for word in text.replace("\\", "/").replace(",", " ").replace(";", " ").split():
        name = word.rpartition("/")[2]
        if name.rpartition(".")[2].lower() in SUFFIXES and "." in name:
            return True
        if len(name) > 3 and strip_suffix(name) in stems:
            return True
    return False


def sentence(rows: Sequence[Skipped]) -> str:
    """The note on lists that were not read."""
    return (
        f"Files that look like lists and were not read: {len(rows)} ({rows[0].id}: {rows[0].reason}"
        f"{', …' if len(rows) > 1 else ''})."
    )
