"""Embedders from the sentence-transformers package, for those who have it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from l2a.errors import InputError
from semantic_match.vectors import unit_rows


class SentenceEmbedder:
    """Any sentence-transformers model, by its name on the hub or the path of its folder.

    The identity has the last part of the name and a checksum of all weights: a model that was
    moved to another folder stays the same.

    Args:
        name: such as "all-MiniLM-L6-v2" (fetched at first use) or "/models/all-MiniLM-L6-v2".

    Raises:
        InputError: the package is not installed or cannot be imported, or there is no such model.
    """

    def __init__(self, name: str) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise InputError(
                f"The embedder sentence-transformers:{name} needs a package that is not "
                "installed; install it with: pip install sentence-transformers"
            )
        try:
            package = importlib.import_module("sentence_transformers")
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"The embedder sentence-transformers:{name} cannot be imported ({reason}); "
                "repair the package with: pip install --upgrade sentence-transformers"
            ) from None
        try:
            self._model = package.SentenceTransformer(name, device="cpu")
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(
                f"Cannot load the sentence-transformers model {name!r} ({reason}); "
                "check the name, or give the path of a folder that holds it."
            ) from None
        digest = hashlib.sha256()
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        self.identity = f"sentence-transformers:{Path(name).name}@{digest.hexdigest()[:16]}"
        self.dim = int(self._model.encode(["a"], show_progress_bar=False).shape[1])

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [n, dim], rows of length 1."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        return unit_rows(np.asarray(self._model.encode(list(texts), show_progress_bar=False)))
