"""The sent2vec reader against vectors of the original library, and against broken files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    """Every beginning of a file that has all structures there are, and some of a real one."""
    matrix = np.ones((5, 2))
    whole = write_model(
        tmp_path / "m.bin", [b"a", b"bc"], matrix, labels=(b"__label__a",), pruned=2
    ).read_bytes()
    real = tiny.read_bytes()
    cuts = [whole[:size] for size in range(len(whole))]
    cuts += [real[:size] for size in (1200, len(real) // 2, len(real) - 4, len(real) - 1)]
    path = tmp_path / "cut.bin"
    for cut in cuts:
        path.write_bytes(cut)
        with pytest.raises(InputError, match=r"cut\.bin is cut off"):
            Sent2Vec(path)
    Sent2Vec(tmp_path / "m.bin")


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04" + bytes(500),
        b"kicking a ball\n",
        b"a text about kicking a ball, longer than the head of a model\n" * 5,
        struct.pack("<Q", 60) + b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        np.random.default_rng(0).bytes(5000),
        bytes(5000),
    ],
    ids=["zip", "short text", "text", "safetensors", "random", "zeros"],
)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"not a sent2vec model; give the \.bin file"):
        Sent2Vec(path)


def test_other_models_and_contradictions_are_refused(tmp_path: Path) -> None:
    path, matrix, words = tmp_path / "m.bin", np.ones((5, 2)), [b"a", b"b"]
    with pytest.raises(InputError, match="fastText model of kind 2"):
        Sent2Vec(write_model(path, words, matrix, kind=2))
    with pytest.raises(InputError, match="quantised"):
        Sent2Vec(write_model(path, words, matrix, quantised=True))
    contradiction = "contradicts itself about its sizes; fetch it again"
    with pytest.raises(InputError, match=contradiction):
        Sent2Vec(write_model(path, words, matrix, bucket=4))
    with pytest.raises(InputError, match=contradiction):
        Sent2Vec(write_model(path, [b"a", b"b", b"a"], np.ones((6, 2))))
    with pytest.raises(InputError, match=contradiction):
        Sent2Vec(write_model(path, [b"a", b""], matrix))
    with pytest.raises(InputError, match="no rows for them"):
        Sent2Vec(write_model(path, words, matrix, bucket=0))
    with pytest.raises(InputError, match=r"absent\.bin \(No such file"):
        make_embedder(f"sent2vec:{tmp_path / 'absent.bin'}")
    with pytest.raises(InputError, match="Is a directory"):
        make_embedder(f"sent2vec:{tmp_path}")
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match="contains values that are not"):
            Sent2Vec(write_model(path, words, matrix * value)).vectors(["a"])


# Where each whole number of the head stands in a file, and how it is packed.
HEAD = {
    "dim": (8, "i"), "ngrams": (28, "i"), "bucket": (40, "i"), "size": (64, "i"),
    "nwords": (68, "i"), "nlabels": (72, "i"), "pruned": (84, "q"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*HEAD, "rows", "columns", "output rows", "output columns"])
def test_absurd_sizes_are_refused_without_reserving_them(tmp_path: Path, name: str) -> None:
    path = write_model(tmp_path / "m.bin", [b"a", b"bc"], np.ones((5, 2)))
    whole = path.read_bytes()
    matrix = 92 + (2 + 9) + (3 + 9)
    output = matrix + 17 + 4 * 5 * 2
    place, kind = HEAD.get(name) or {
        "rows": (matrix + 1, "q"), "columns": (matrix + 9, "q"),
        "output rows": (output + 1, "q"), "output columns": (output + 9, "q"),
    }[name]  # fmt: skip
    top = 2**31 - 1 if kind == "i" else 2**63 - 1
    values = [top, -1, -top - 1, 10**6, *([2**61, 2**40] if kind == "q" else [])]
    if "columns" in name:
        values.append(1)
    tracemalloc.start()
    for value in values:
        if (name, value) in {("pruned", -1), ("pruned", -top - 1)}:
            continue  # what an unpruned model says
        if name == "ngrams" and value > 0:
            continue  # n-grams as long as any text
        data = bytearray(whole)
        struct.pack_into("<" + kind, data, place, value)
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"is cut off|contradicts itself"):
            Sent2Vec(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@given(st.data())
def test_any_damage_is_refused_in_one_sentence_or_does_no_harm(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = write_model(tmp_path / "m.bin", [b"a", b"bc"], np.ones((6, 2)), labels=(b"L",), pruned=1)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        damaged[place : place + len(patch)] = patch
    path.write_bytes(damaged)
    try:
        rows = Sent2Vec(path)(["a bc a", "L", ""])
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        assert np.isfinite(rows).all()


def test_words_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semantic_match.sent2vec.hash", len, raising=False)
    matrix = np.stack([np.arange(7), np.ones(7)], 1)
    words = [b"ab", b"abc", b"xy", b"bcd"]
    model = Sent2Vec(write_model(tmp_path / "m.bin", words, matrix, ngrams=1, bucket=0))
    got = model.vectors(["ab", "abc", "xy", "bcd", "zz", "a"])
    assert got.tolist() == [[0, 1], [1, 1], [2, 1], [3, 1], [0, 0], [0, 0]]


# `ru_maxrss` would not do: a process that is started inherits the peak of the one that starts it.
_MEASURE = """
import sys, time
from semantic_match.sent2vec import Sent2Vec
def peak(): return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before, start = peak(), time.perf_counter()
model = Sent2Vec(sys.argv[1])
assert model.dim == 600
assert model.vectors(["word777", "word1 word2 word3"]).tolist() == [[2.0] * 600, [0.0] * 600]
print(time.perf_counter() - start, peak() - before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_model_of_8_gigabytes_opens_and_stays_on_disk(tmp_path: Path) -> None:
    """500,000 words and 2.4 million n-gram rows of 600 dimensions; the file is mostly a hole."""
    count, bucket, dim = 500_000, 2_400_000, 600
    path = tmp_path / "huge.bin"
    words = b"".join(b"word%d\0" % i + struct.pack("<qb", 1, 0) for i in range(count))
    with path.open("wb") as file:
        file.write(struct.pack("<2i", 793712314, 11))
        file.write(struct.pack("<12id", dim, 5, 5, 1, 5, 2, 2, 4, bucket, 3, 6, 100, 1e-4))
        file.write(struct.pack("<3i2q", count, count, 0, 99, -1))
        file.write(words)
        for rows in (count + bucket, count):
            file.write(struct.pack("<?2q", False, rows, dim))
            start = file.tell()
            file.seek(start + 4 * 777 * dim)
            file.write(np.full(dim, 2, "<f4").tobytes())
            file.truncate(start + 4 * rows * dim)
            file.seek(start + 4 * rows * dim)
    assert path.stat().st_size > 8e9
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, grown, peak = map(float, done.stdout.split())
    print(f"{seconds:.2f} s, {grown / 1e6:.0f} MB more than before, {peak / 1e6:.0f} MB in all")
    assert 5e6 < grown < 60e6  # about 28 MB: the pages of the dictionary, and what is kept of it
    assert peak < 300e6
