"""JSON files of masks: which kind a document is, and its entries. One table, `KINDS`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compositing.segmenters.mask_files.coco_images import read_coco_images
from compositing.segmenters.mask_files.entry import Entry
from compositing.segmenters.mask_files.fields import Row, brief
from compositing.segmenters.mask_files.youtube_vis import read_youtube_vis
from l2a.errors import InputError

KINDS: Mapping[str, Callable[[Row], list[Entry]]] = MappingProxyType(
    # Of a document with both fields, `_kind` looks at the annotations.
    {"images": read_coco_images, "videos": read_youtube_vis}
)

_RESULTS = {"image_id": "images", "video_id": "videos"}
"""What a row of a list of results refers to."""


def read_document(path: Path) -> Any:
    """A JSON file's value; in UTF-8, UTF-16 or UTF-32.

    Raises:
        InputError: there is no such file, or it cannot be read as JSON.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file that masks can be read from; check the path.")
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check it.") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be masks; write it again.") from None
    except ValueError as error:  # also of encodings, and of numbers with thousands of digits
        raise InputError(f"{path} is not valid JSON ({error}); write it again.") from None


def read_entries(path: Path, others: Sequence[Path]) -> list[Entry]:
    """The entries of a file; a list of results has its videos' names from one of the `others`.

    Raises:
        InputError: the file is wrong as a whole.
    """
    document = read_document(path)
    if isinstance(document, list):
        document = _with_names(path, document, others)
    elif _only_names(document) and any(isinstance(read_document(o), list) for o in others):
        return []  # they come with the results
    kind = _kind(document)
    if not kind:
        raise InputError(
            f"{path} is not a file of masks: it has neither 'videos' (YouTube-VIS) nor 'images'"
            " (COCO), nor is it a list of results; give another file."
        )
    try:
        return KINDS[kind](document)
    except ValueError as error:
        raise InputError(f"{path} cannot be used as masks: {error}; write it again.") from None


def _kind(document: Any) -> str:
    """The field by which a document's kind is known; "" if it is of none."""
    if not isinstance(document, dict):
        return ""
    annotations = document.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if isinstance(first, dict) and "segmentations" in first and "videos" in document:
        return "videos"
    full = [field for field in KINDS if document.get(field)]
    return next((field for field in (*full, *KINDS) if field in document), "")


def _only_names(document: Any) -> bool:
    return isinstance(document, dict) and not document.get("annotations")


def _with_names(path: Path, results: list[Any], others: Sequence[Path]) -> Row:
    """Results as a document, with the videos or images of the one file that lists them."""
    first = results[0] if results else None
    field = next(
        (f for key, f in _RESULTS.items() if isinstance(first, dict) and key in first), None
    )
    if field is None:
        raise InputError(
            f"{path} is a list of {brief(first)}, and not of results with a video_id or image_id;"
            " give another file."
        )
    listing = [
        (other, document)
        for other in others
        if isinstance(document := read_document(other), dict) and document.get(field)
    ]
    if len(listing) != 1:
        found = " and ".join(other.name for other, _ in listing) or "no file"
        raise InputError(
            f"{path} is a list of results, which do not name their {field}: put it into a folder"
            f" with the one file that has {field!r} (there is {found}), and give that folder."
        )
    other, document = listing[0]
    if document.get("annotations"):
        raise InputError(
            f"{path} and {other.name} both have masks; leave the 'annotations' of one out."
        )
    return {**document, "annotations": results}
