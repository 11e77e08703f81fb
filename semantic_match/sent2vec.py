"""The embedder of the paper: sent2vec models, read from their `.bin` files without the library.

Models have up to 23 GB. Only the dictionary is read into memory; the matrix stays on disk, and
of it only the rows of the words that are asked for.

Pagliardini, Gupta, Jaggi: Unsupervised Learning of Sentence Embeddings using Compositional
n-Gram Features (NAACL 2018); the file format is that of epfml/sent2vec, little endian.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError
from semantic_match.vectors import unit_rows

MAGIC = 793712314
SENT2VEC = 4
"""The value of the field `model`; fastText's own models share the format and have 1, 2 or 3."""

# magic, version; dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn,
# lrUpdateRate; t
_ARGUMENTS = struct.Struct("<2i12id")
# size, nwords, nlabels; ntokens, pruneidx_size
_DICTIONARY = struct.Struct("<3i2q")
# quantised; rows, columns
_MATRIX = struct.Struct("<?2q")
_COUNT_AND_TYPE = 9  # bytes after a word's zero: int64 count, int8 type (0 = word, 1 = label)
_NGRAM_FACTOR = 116049371
_UINT64 = (1 << 64) - 1


class Sent2Vec:
    """A sent2vec model on disk.

    Args:
        path: the model's `.bin` file.

    Raises:
        InputError: there is no such file, it is cut off, or it is not a sent2vec model.
    """

    def __init__(self, path: Path | str) -> None:
        model = _open(Path(path))
        self._model = model
        self.dim = model.matrix.shape[1]
        self.identity = f"sent2vec@{model.digest[:16]}"

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [n, dim], rows of length 1, zeros where no word is known."""
        return unit_rows(self.vectors(texts))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as the original library does: float32 [n, dim], rows of any length.

        A vector is the mean of the rows of the text's words and word n-grams. Words are what
        white space separates, letters keep their case, unknown words are skipped.
        """
        out = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(out, texts, strict=True):
            rows = self._model.rows(text)
            if rows:
                vector[:] = self._model.matrix[rows].mean(axis=0, dtype=np.float64)
        if not np.isfinite(out).all():
            raise InputError(f"{self._model.path} holds values that are no numbers; fetch it anew.")
        return out


@dataclass(frozen=True, eq=False)
class _Model:
    path: Path
    words: dict[bytes, int]
    ngrams: int
    bucket: int
    matrix: NDArray[np.float32]  # [nwords + bucket, dim], memory-mapped
    digest: str

    def rows(self, text: str) -> list[int]:
        """The matrix rows of a text: its known words, then their n-grams' hash buckets."""
        words = [self.words[w] for w in text.encode().split() if w in self.words]
        rows = list(words)
        for start, word in enumerate(words):
            mixed = word
            for following in words[start + 1 : start + self.ngrams]:
                mixed = (mixed * _NGRAM_FACTOR + following) & _UINT64
                rows.append(len(self.words) + mixed % self.bucket)
        return rows


def _open(path: Path) -> _Model:
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"Cannot read the sent2vec model {path} ({error.strerror}).") from None
    except ValueError:  # mmap refuses an empty file
        raise _cut_off(path) from None
    try:
        return _parse(path, data)
    except struct.error:  # a structure would start too near the end of the file
        raise _cut_off(path) from None


def _parse(path: Path, data: mmap.mmap) -> _Model:
    magic, _, dim, _, _, _, _, ngrams, _, kind, bucket, *_ = _ARGUMENTS.unpack_from(data)
    if magic != MAGIC:
        raise InputError(f"{path} is not a sent2vec model; give the .bin file of one.")
    if kind != SENT2VEC:
        raise InputError(
            f"{path} is a fastText model of kind {kind}, not a sent2vec model (kind {SENT2VEC}); "
            "give the .bin file that sent2vec wrote."
        )
    offset = _ARGUMENTS.size
    size, num_words, _, _, num_pruned = _DICTIONARY.unpack_from(data, offset)
    words, offset = _read_words(path, data, offset + _DICTIONARY.size, size)
    offset += 8 * max(num_pruned, 0)  # pairs of int32

    quantised, rows, columns = _MATRIX.unpack_from(data, offset)
    if quantised:
        raise InputError(f"{path} is a quantised model; give the one it was made from.")
    needed = num_words + (bucket if ngrams > 1 else 0)
    if len(words) != num_words or columns != dim or dim < 1 or bucket < 0 or rows < needed:
        raise InputError(f"{path} contradicts itself about its sizes; fetch it anew.")
    if ngrams > 1 and bucket == 0:
        raise InputError(f"{path} has word n-grams but no rows for them; fetch it anew.")
    start = offset + _MATRIX.size
    end = start + 4 * rows * columns
    if end > len(data) or _end_of_output(data, end) > len(data):
        raise _cut_off(path)
    matrix = np.frombuffer(data, np.dtype("<f4"), rows * columns, start).reshape(rows, columns)
    return _Model(path, words, ngrams, bucket, matrix, _digest(data, start, end))


def _read_words(
    path: Path, data: mmap.mmap, offset: int, size: int
) -> tuple[dict[bytes, int], int]:
    """The words and their rows, and where the dictionary ends; labels have no rows."""
    words: dict[bytes, int] = {}
    find = data.find
    for row in range(size):
        zero = find(b"\0", offset)
        if zero < 0 or zero + _COUNT_AND_TYPE >= len(data):
            raise _cut_off(path)
        if data[zero + _COUNT_AND_TYPE] == 0:
            words[data[offset:zero]] = row
        offset = zero + 1 + _COUNT_AND_TYPE
    return words, offset


def _end_of_output(data: mmap.mmap, offset: int) -> int:
    """Where the output matrix ends: we do not need it, but a broken download ends inside it."""
    quantised, rows, columns = _MATRIX.unpack_from(data, offset)
    return offset if quantised else offset + _MATRIX.size + 4 * int(rows) * int(columns)


def _digest(data: mmap.mmap, start: int, end: int) -> str:
    """SHA-256 of the size, of everything before the matrix, and of 64 blocks spread over it.

    The whole of a 23 GB file would take minutes at every start.
    """
    digest = hashlib.sha256(f"{len(data)}".encode())
    digest.update(data[:start])
    for block in range(64):
        at = start + (end - start) * block // 64
        digest.update(data[at : min(at + 4096, end)])
    return digest.hexdigest()


def _cut_off(path: Path) -> InputError:
    return InputError(f"{path} is cut off: it is no whole sent2vec model; fetch it anew.")
