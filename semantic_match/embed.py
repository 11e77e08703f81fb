"""Embedders: what turns class names into vectors whose cosine says how alike two actions are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2a.backends import make_backend
from l2a.errors import InputError


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def identity(self) -> str:
        """The name and a checksum of the weights; runs record it, caches are keyed by it."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as they are: float32 [n, dim], rows of length 1, zeros if unknown."""


def _static(argument: str) -> Embedder:
    from semantic_match.static import StaticEmbedder

    if argument:
        raise InputError(f"The embedder static takes no argument, not {argument!r}; drop it.")
    return StaticEmbedder()


def _sent2vec(argument: str) -> Embedder:
    from semantic_match.sent2vec import Sent2Vec

    if not argument:
        raise InputError("The embedder sent2vec needs its model file; give sent2vec:PATH.")
    return Sent2Vec(argument)


def _sentence_transformers(argument: str) -> Embedder:
    from semantic_match.sentences import SentenceEmbedder

    if not argument:
        raise InputError(
            "The embedder sentence-transformers needs a model; "
            "give sentence-transformers:NAME_OR_PATH."
        )
    return SentenceEmbedder(argument)


EMBEDDERS: Mapping[str, Callable[[str], Embedder]] = {
    "static": _static,
    "sent2vec": _sent2vec,
    "sentence-transformers": _sentence_transformers,
}


def make_embedder(spec: str) -> Embedder:
    """The embedder that `spec` names, such as "static" or "sent2vec:/models/wiki.bin".

    Raises:
        InputError: the name is unknown, its argument is missing or wrong, or its package is absent.
    """
    return make_backend("embedder", spec, EMBEDDERS)


# fooBar | foo2Bar | HTTPServer -> HTTP Server (but 3D, 100m and YMCA stay whole)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Models that know "person" need not know "person's".
_POSSESSIVE = re.compile(r"['’]s?\b")
_NOT_A_WORD = re.compile(r"[\W_]+")


def clean_class_name(name: str) -> str:
    """The plain words of a class name, in lower case and with single spaces.

    Each data set spells its classes in its own way, and embedders know words:
    'SoccerJuggling' ─► 'soccer juggling', 'swing_baseball' ─► 'swing baseball',
    'shooting goal (soccer)' ─► 'shooting goal soccer',
    "massaging person's head" ─► 'massaging person head'. Digits are kept.
    """
    words = _HUMP.sub(" ", _POSSESSIVE.sub(" ", name))
    return " ".join(_NOT_A_WORD.sub(" ", words).lower().split())


def embed_classes(classes: Sequence[str], embedder: Embedder) -> NDArray[np.float32]:
    """Embed class names, cleaned: float32 [C, dim], every row of length 1.

    Raises:
        InputError: the embedder knows no word of some class names, which therefore can be
            compared with nothing; the message names all of them.
    """
    texts = [clean_class_name(name) for name in classes]
    vectors = embedder(texts)
    unknown = [
        repr(name)
        for name, text, row in zip(classes, texts, vectors, strict=True)
        if not text or not row.any()
    ]
    if unknown:
        raise InputError(
            f"The embedder {embedder.identity} knows no word of the class names "
            f"{', '.join(unknown)}; rename these classes or choose another embedder."
        )
    return vectors
