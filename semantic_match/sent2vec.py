"""The embedder of the paper: sent2vec models, read from their `.bin` files without the library.

Models have up to 23 GB. The matrix stays on disk, and of it only the rows of the words that are
asked for are read. Of the dictionary a number and a place for each word are kept, 24 bytes: a
Python dictionary of two million words would take 300 MB.

Pagliardini, Gupta, Jaggi: Unsupervised Learning of Sentence Embeddings using Compositional
n-Gram Features (NAACL 2018); the file format is that of epfml/sent2vec, little endian.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from array import array
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
_BLOCK = 1 << 20
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
                with np.errstate(invalid="ignore"):  # infinities that cancel; refused below
                    vector[:] = self._model.matrix[rows].mean(axis=0, dtype=np.float64)
        if not np.isfinite(out).all():
            path = self._model.path
            raise InputError(f"{path} contains values that are not finite; fetch it again.")
        return out


@dataclass(frozen=True, eq=False)
class _Words:
    """The words of a dictionary, in the file where they stand; a word's number is its row.

    Attributes:
        data: the file.
        starts: int64 [n], where each word begins in the file.
        hashes: int64 [n], `hash` of each word, ascending.
        order: int64 [n], the row of each hash.
    """

    data: mmap.mmap
    starts: NDArray[np.int64]
    hashes: NDArray[np.int64]
    order: NDArray[np.int64]

    def row(self, word: bytes) -> int | None:
        """The row of a word, or None if it is unknown."""
        wanted = np.int64(hash(word))
        place = int(np.searchsorted(self.hashes, wanted))
        while place < len(self.hashes) and self.hashes[place] == wanted:
            row = int(self.order[place])
            start = int(self.starts[row])
            # Other words may have the same hash.
            if self.data[start : start + len(word) + 1] == word + b"\0":
                return row
            place += 1
        return None

    def word(self, row: int) -> bytes:
        """The word of a row."""
        start = int(self.starts[row])
        return self.data[start : self.data.find(b"\0", start)]


@dataclass(frozen=True, eq=False)
class _Model:
    path: Path
    words: _Words
    ngrams: int
    bucket: int
    matrix: NDArray[np.float32]  # [nwords + bucket, dim], memory-mapped
    digest: str

    def rows(self, text: str) -> list[int]:
        """The matrix rows of a text: its known words, then their n-grams' hash buckets."""
        found = (self.words.row(word) for word in text.encode().split())
        words = [row for row in found if row is not None]
        rows = list(words)
        for start, word in enumerate(words):
            mixed = word
            for following in words[start + 1 : start + self.ngrams]:
                mixed = (mixed * _NGRAM_FACTOR + following) & _UINT64
                rows.append(len(self.words.starts) + mixed % self.bucket)
        return rows


def _open(path: Path) -> _Model:
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(
            f"Cannot read the sent2vec model {path} ({error.strerror}); check the path."
        ) from None
    except ValueError:  # mmap refuses an empty file
        raise _cut_off(path) from None
    try:
        return _parse(path, data)
    except struct.error:  # a structure would start too near the end of the file
        raise _cut_off(path) from None


def _parse(path: Path, data: mmap.mmap) -> _Model:
    magic = struct.pack("<i", MAGIC)
    if data[: len(magic)] != magic[: len(data)]:
        raise InputError(f"{path} is not a sent2vec model; give the .bin file of one.")
    _, _, dim, _, _, _, _, ngrams, _, kind, bucket, *_ = _ARGUMENTS.unpack_from(data)
    if kind != SENT2VEC:
        raise InputError(
            f"{path} is a fastText model of kind {kind}, not a sent2vec model (kind {SENT2VEC}); "
            "give the .bin file that sent2vec wrote."
        )
    offset = _ARGUMENTS.size
    size, num_words, num_labels, _, num_pruned = _DICTIONARY.unpack_from(data, offset)
    sizes = (dim, num_words, ngrams)
    if min(sizes) < 1 or min(num_labels, bucket) < 0 or size != num_words + num_labels:
        raise _contradiction(path)
    if ngrams > 1 and bucket == 0:
        raise InputError(f"{path} has word n-grams but no rows for them; fetch it again.")
    words, offset = _read_words(path, data, offset + _DICTIONARY.size, num_words, num_labels)
    offset += 8 * max(num_pruned, 0)  # pairs of int32

    quantised, rows, columns = _matrix_sizes(path, data, offset)
    if quantised:
        raise InputError(f"{path} is a quantised model; give the one it was made from.")
    if columns != dim or rows < num_words + (bucket if ngrams > 1 else 0):
        raise _contradiction(path)
    start = offset + _MATRIX.size
    end = start + 4 * rows * columns
    if end > len(data) or _end_of_output(path, data, end, dim) > len(data):
        raise _cut_off(path)
    matrix = np.frombuffer(data, np.dtype("<f4"), rows * columns, start).reshape(rows, columns)
    return _Model(path, words, ngrams, bucket, matrix, _digest(data, start, end))


def _read_words(
    path: Path, data: mmap.mmap, offset: int, num_words: int, num_labels: int
) -> tuple[_Words, int]:
    """The words, and where the dictionary ends; labels stand after them and have no rows."""
    if num_words + num_labels > (len(data) - offset) // (1 + _COUNT_AND_TYPE):
        raise _cut_off(path)
    starts, hashes = array("q"), array("q")
    find, add_start, add_hash = data.find, starts.append, hashes.append
    for index in range(num_words + num_labels):
        zero = find(b"\0", offset)
        kind_at = zero + _COUNT_AND_TYPE
        if zero < 0 or kind_at >= len(data):
            raise _cut_off(path)
        if zero == offset or data[kind_at] != (index >= num_words):
            raise _contradiction(path)
        if index < num_words:
            add_start(offset)
            add_hash(hash(data[offset:zero]))
        offset = kind_at + 1
    order = np.argsort(np.frombuffer(hashes, np.int64), kind="stable")
    ascending = np.frombuffer(hashes, np.int64)[order]
    words = _Words(data, np.frombuffer(starts, np.int64), ascending, order)
    for place in np.flatnonzero(ascending[1:] == ascending[:-1]):
        if words.word(order[place]) == words.word(order[place + 1]):
            raise _contradiction(path)
    return words, offset


def _matrix_sizes(path: Path, data: mmap.mmap, offset: int) -> tuple[bool, int, int]:
    """Whether a matrix is quantised, its rows and its columns."""
    # Asked for first: a place beyond 64 bits is another error to `struct` than one beyond the end.
    if offset + _MATRIX.size > len(data):
        raise _cut_off(path)
    quantised, rows, columns = _MATRIX.unpack_from(data, offset)
    if not quantised and min(rows, columns) < 0:
        raise _contradiction(path)
    return quantised, rows, columns


def _end_of_output(path: Path, data: mmap.mmap, offset: int, dim: int) -> int:
    """Where the output matrix ends: we do not need it, but a broken download ends inside it."""
    quantised, rows, columns = _matrix_sizes(path, data, offset)
    if quantised:
        return offset
    if columns != dim:
        raise _contradiction(path)
    return offset + _MATRIX.size + 4 * rows * columns


def _digest(data: mmap.mmap, start: int, end: int) -> str:
    """SHA-256 of the size, of everything before the matrix, and of 64 blocks spread over it.

    The whole of a 23 GB file would take minutes at every start.
    """
    digest = hashlib.sha256(f"{len(data)}".encode())
    for at in range(0, start, _BLOCK):
        digest.update(data[at : min(at + _BLOCK, start)])
    for block in range(64):
        at = start + (end - start) * block // 64
        digest.update(data[at : min(at + 4096, end)])
    return digest.hexdigest()


def _contradiction(path: Path) -> InputError:
    return InputError(f"{path} contradicts itself about its sizes; fetch it again.")


def _cut_off(path: Path) -> InputError:
    return InputError(f"{path} is cut off: it is not a whole sent2vec model; fetch it again.")
