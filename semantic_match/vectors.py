"""Vectors of equal length, and how near they are to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each row of [n, D] to length 1; a row of zeros stays a row of zeros."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def similarities(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine similarity of all pairs of rows of [n, D]: [n, n] in -1..1, exactly symmetric."""
    rows = unit_rows(vectors).astype(np.float64)
    products = rows @ rows.T
    return np.clip((products + products.T) / 2, -1.0, 1.0)
