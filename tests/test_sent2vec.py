"""The sent2vec reader against vectors of the original library, and against broken files."""

from __future__ import annotations

import json
import os
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from l2a.errors import InputError
from semantic_match.embed import make_embedder
from semantic_match.sent2vec import Sent2Vec


@pytest.fixture(scope="module")
def tiny() -> Path:
    """The small model that lies beside the project, as the clips do."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "sent2vec"
    if "L2A_CLIPS" in os.environ:
        folder = Path(os.environ["L2A_CLIPS"]).resolve().parent / "sent2vec"
    if not (folder / "tiny.bin").is_file():
        pytest.fail(f"There is no sent2vec model at {folder}; put it there.", pytrace=False)
    return folder / "tiny.bin"


def write_model(
    path: Path,
    words: list[bytes],
    matrix: np.ndarray,
    *,
    ngrams: int = 2,
    bucket: int = 3,
    kind: int = 4,
    quantised: bool = False,
    labels: tuple[bytes, ...] = (),
    pruned: int = -1,
) -> Path:
    """A model by the description of the format, with an output matrix of one row of zeros."""
    rows, columns = matrix.shape
    data = struct.pack("<2i", 793712314, 11)
    data += struct.pack("<12id", columns, 5, 5, 1, 5, ngrams, 2, kind, bucket, 3, 6, 100, 1e-4)
    data += struct.pack("<3i2q", len(words) + len(labels), len(words), len(labels), 99, pruned)
    data += b"".join(word + b"\0" + struct.pack("<qb", 1, 0) for word in words)
    data += b"".join(label + b"\0" + struct.pack("<qb", 1, 1) for label in labels)
    data += struct.pack("<2i", 1, 2) * max(pruned, 0)
    data += struct.pack("<?2q", quantised, rows, columns) + matrix.astype("<f4").tobytes()
    data += struct.pack("<?2q", False, 1, columns) + bytes(4 * columns)
    path.write_bytes(data)
    return path


def test_vectors_are_those_of_the_original_library(tiny: Path) -> None:
    golden = json.loads((tiny.parent / "golden.json").read_text())
    model = Sent2Vec(tiny)
    vectors = model.vectors(golden["sentences"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(golden["sentences"]), model.dim)
    np.testing.assert_allclose(vectors, np.array(golden["vectors"]), atol=1e-6, rtol=0)


def test_embedded_rows_are_unit_and_unknown_ones_zero(tiny: Path) -> None:
    embedder = make_embedder(f"sent2vec:{tiny}")
    rows = embedder(["soccer juggling", "zzz qqq", ""])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0], atol=1e-6)
    assert embedder.dim == 16
    assert embedder([]).shape == (0, 16)


def test_words_and_ngrams_by_hand(tmp_path: Path) -> None:
    """Row r of the matrix is [r, 1]: the mean tells which rows were taken."""
    matrix = np.stack([np.arange(2 + 3), np.ones(5)], 1)
    model = Sent2Vec(write_model(tmp_path / "m.bin", [b"kick", "Bälle".encode()], matrix))
    bigram = 2 + (0 * 116049371 + 1) % 3
    reverse = 2 + (1 * 116049371 + 0) % 3
    got = model.vectors(["kick", " kick\tBälle ", "Bälle kick", "kick unknown Bälle", "Kick"])
    expected = [0, (0 + 1 + bigram) / 3, (1 + 0 + reverse) / 3, (0 + 1 + bigram) / 3, 0]
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(got[:, 1], [1, 1, 1, 1, 0])


def test_trigrams_wrap_around_at_64_bits(tmp_path: Path) -> None:
    """h = ((9·f + 8)·f + 7)·f + 6 with f = 116049371 exceeds 64 bits, and wraps."""
    words = [f"w{i}".encode() for i in range(10)]
    bucket = 1009
    matrix = np.stack([np.arange(10 + bucket), np.ones(10 + bucket)], 1)
    path = write_model(tmp_path / "m.bin", words, matrix, ngrams=4, bucket=bucket)
    expected = [9, 8, 7, 6]
    for run in ([9, 8], [8, 7], [7, 6], [9, 8, 7], [8, 7, 6], [9, 8, 7, 6]):
        h = run[0]
        for following in run[1:]:
            h = (h * 116049371 + following) % 2**64
        expected.append(10 + h % bucket)
    got = Sent2Vec(path).vectors(["w9 w8 w7 w6"])
    assert got[0, 0] == pytest.approx(np.mean(expected), rel=1e-6)


def test_unigram_models_labels_and_pruned_pairs(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 0], [0, 1]])
    path = write_model(
        tmp_path / "m.bin",
        [b"a", b"b"],
        matrix,
        ngrams=1,
        bucket=0,
        labels=(b"__label__a",),
        pruned=2,
    )
    np.testing.assert_array_equal(
        Sent2Vec(path).vectors(["a b", "__label__a"]), [[0.5, 0.5], [0, 0]]
    )


def test_identity_follows_the_contents(tmp_path: Path, tiny: Path) -> None:
    original = Sent2Vec(tiny).identity
    copy = tmp_path / "other name.bin"
    copy.write_bytes(tiny.read_bytes())
    assert Sent2Vec(copy).identity == original
    data = bytearray(tiny.read_bytes())
    data[data.index(b"soccer\0")] = ord("S")
    copy.write_bytes(data)
    assert Sent2Vec(copy).identity != original


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, tiny: Path) -> None:
    whole = tiny.read_bytes()
    path = tmp_path / "cut.bin"
    for size in [0, 3, 40, 70, 90, 100, 1200, len(whole) // 2, len(whole) - 4, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.bin is cut off"):
            Sent2Vec(path)


def test_foreign_files_are_refused(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(InputError, match=r"not a sent2vec model; give the \.bin file"):
        Sent2Vec(path)
    matrix = np.ones((5, 2))
    with pytest.raises(InputError, match="fastText model of kind 2"):
        Sent2Vec(write_model(path, [b"a", b"b"], matrix, kind=2))
    with pytest.raises(InputError, match="quantised"):
        Sent2Vec(write_model(path, [b"a", b"b"], matrix, quantised=True))
    with pytest.raises(InputError, match="contradicts itself about its sizes"):
        Sent2Vec(write_model(path, [b"a", b"b"], matrix, bucket=4))
    with pytest.raises(InputError, match="contradicts itself about its sizes"):
        Sent2Vec(write_model(path, [b"a", b"a"], matrix))
    with pytest.raises(InputError, match="no rows for them"):
        Sent2Vec(write_model(path, [b"a", b"b"], matrix, bucket=0))
    with pytest.raises(InputError, match=r"absent\.bin \(No such file"):
        make_embedder(f"sent2vec:{tmp_path / 'absent.bin'}")
    with pytest.raises(InputError, match="holds values that are no numbers"):
        Sent2Vec(write_model(path, [b"a", b"b"], matrix * np.nan)).vectors(["a"])


def test_a_model_of_16_gigabytes_opens_in_seconds_and_stays_on_disk(tmp_path: Path) -> None:
    """300,000 words and two million n-gram rows of 700 dimensions; the file is mostly a hole."""
    count, bucket, dim = 300_000, 2_000_000, 700
    path = tmp_path / "huge.bin"
    words = b"".join(b"word%d\0" % i + struct.pack("<qb", 1, 0) for i in range(count))
    with path.open("wb") as file:
        file.write(struct.pack("<2i", 793712314, 11))
        file.write(struct.pack("<12id", dim, 5, 5, 1, 5, 2, 2, 4, bucket, 3, 6, 100, 1e-4))
        file.write(struct.pack("<3i2q", count, count, 0, 99, -1))
        file.write(words)
        for rows in (count + bucket, 3_500_000):
            file.write(struct.pack("<?2q", False, rows, dim))
            start = file.tell()
            file.seek(start + 4 * 777 * dim)
            file.write(np.full(dim, 2, "<f4").tobytes())
            file.truncate(start + 4 * rows * dim)
            file.seek(start + 4 * rows * dim)
    assert path.stat().st_size > 16e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_time = time.perf_counter()
    model = Sent2Vec(path)
    vector = model.vectors(["word777", "word1 word2 word3"])[0]
    seconds = time.perf_counter() - start_time
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    np.testing.assert_array_equal(vector, np.full(dim, 2.0))
    assert seconds < 5  # about 0.2 s on a quiet machine
    assert grown < 200e6
