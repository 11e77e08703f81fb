"""The bundled embedder: a vector for each word piece, averaged; no network, no GPU, no waiting."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.files import file_sha256
from semantic_match.vectors import unit_rows


class StaticEmbedder:
    """Word-piece vectors distilled from all-MiniLM-L6-v2; see `static_embedding/NOTICE.md`.

    Embeds thousands of names in a second on a CPU. The order of words is lost on it, and a word
    outside the Latin alphabet is unknown to it.
    """

    def __init__(self) -> None:
        from model2vec import StaticModel

        folder = Path(str(importlib.resources.files("semantic_match.static_embedding")))
        self._model = StaticModel.from_pretrained(folder)
        self.identity = f"static@{file_sha256(folder / 'model.safetensors')[:16]}"
        self.dim = int(self._model.dim)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [n, dim], rows of length 1, zeros where no word is known."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with _single_thread_tokenizer():
            return unit_rows(self._model.encode(list(texts), use_multiprocessing=False))


@contextlib.contextmanager
def _single_thread_tokenizer() -> Iterator[None]:
    """Keep the tokenizer from starting threads, unless the user has decided about that.

    Once it has started some, it prints a warning in every process that is forked later, and
    data loaders fork.
    """
    key = "TOKENIZERS_PARALLELISM"
    if key in os.environ:
        yield
        return
    os.environ[key] = "false"
    try:
        yield
    finally:
        del os.environ[key]
