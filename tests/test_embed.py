"""Class names become words, and words become vectors, offline and in silence."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from l2a.errors import InputError
from semantic_match.distil import HMDB51, UCF101, compare, find_teacher
from semantic_match.embed import clean_class_name, embed_classes, make_embedder
from semantic_match.static import StaticEmbedder

FOLDER = Path(__file__).parents[1] / "semantic_match" / "static_embedding"


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SoccerJuggling", "soccer juggling"),
        ("swing_baseball", "swing baseball"),
        ("playing guitar", "playing guitar"),
        ("TaiChi", "tai chi"),
        ("YoYo", "yo yo"),
        ("HandStandPushups", "hand stand pushups"),
        ("PlayingDhol", "playing dhol"),
        ("UnevenBars", "uneven bars"),
        ("BodyWeightSquats", "body weight squats"),
        ("shooting goal (soccer)", "shooting goal soccer"),
        ("massaging person's head", "massaging person head"),
        ("skiing (not slalom or crosscountry)", "skiing not slalom or crosscountry"),
        ("rock-climbing", "rock climbing"),
        ("3DPrinting", "3d printing"),
        ("run_100m", "run 100m"),
        ("Vault3Turn", "vault3 turn"),
        ("YMCADance", "ymca dance"),
        ("v_Foo", "v foo"),
        ("escrime Épée", "escrime épée"),
        ("打太极", "打太极"),
        ("___", ""),
    ],
)
def test_class_names_become_plain_words(name: str, words: str) -> None:
    assert clean_class_name(name) == words


@given(st.text(alphabet="abcXYZ019_- '()", max_size=30))
def test_cleaning_loses_no_letter_or_digit_and_is_done_once(name: str) -> None:
    clean = clean_class_name(name)
    assert clean_class_name(clean) == clean
    # The alphabet has no s: a possessive loses its apostrophe only.
    assert clean.replace(" ", "") == "".join(c for c in name.lower() if c.isalnum())


def test_rows_are_unit_float32_and_unknown_texts_are_zero(static: StaticEmbedder) -> None:
    rows = static(["soccer juggling", "打太极", "", "tai chi"])
    assert rows.dtype == np.float32
    assert rows.shape == (4, static.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0, 1], atol=1e-6)
    assert static([]).shape == (0, static.dim)


def test_identity_is_the_checksum_of_the_weights(static: StaticEmbedder) -> None:
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert static.identity == f"static@{digest[:16]}"
    assert digest in (FOLDER / "NOTICE.md").read_text()


def test_a_name_has_the_same_vector_in_any_company(static: StaticEmbedder) -> None:
    alone = static(["playing cello"])[0]
    np.testing.assert_array_equal(static(["a", "playing cello", "long jump"])[1], alone)


def test_the_bundled_files_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) <= 5_000_000


@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        ("SoccerJuggling", "SoccerPenalty", "ApplyLipstick"),
        ("PlayingGuitar", "PlayingViolin", "LongJump"),
        ("ride_bike", "ride_horse", "smoke"),
        ("FrontCrawl", "BreastStroke", "PizzaTossing"),
        ("golf", "swing_baseball", "brush_hair"),
    ],
)
def test_like_actions_are_nearer(static: StaticEmbedder, name: str, near: str, far: str) -> None:
    vectors = embed_classes([name, near, far], static)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_every_class_of_the_common_data_sets_is_known(static: StaticEmbedder) -> None:
    assert len(UCF101.split()) == 101
    assert len(HMDB51.split()) == 51
    vectors = embed_classes(UCF101.split() + HMDB51.split(), static)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_unknown_class_names_are_named(static: StaticEmbedder) -> None:
    with pytest.raises(InputError, match="'打太极', '___'; rename these classes or choose another"):
        embed_classes(["TaiChi", "打太极", "___"], static)


def test_embedding_needs_no_network_and_says_nothing() -> None:
    """In a process of its own, with sockets forbidden, also when it forks afterwards."""
    code = """
import os, socket
def refuse(*args, **kwargs): raise AssertionError("network")
socket.socket.connect = refuse; socket.getaddrinfo = refuse
from semantic_match.embed import make_embedder
assert make_embedder("static")(["throw", "kick ball"] * 50).any()
assert "TOKENIZERS_PARALLELISM" not in os.environ
child = os.fork()
if child == 0: os._exit(0)
os.waitpid(child, 0)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment | {"HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("word2vec", "no embedder 'word2vec'; choose one of: sent2vec, sentence-tr.*, static"),
        ("static:x", "takes no argument, not 'x'"),
        ("sent2vec", "give sent2vec:PATH"),
        ("sentence-transformers", "give sentence-transformers:NAME_OR_PATH"),
    ],
)
def test_a_wrong_spec_is_answered_with_the_remedy(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_embedder(spec)


def test_without_its_package_sentence_transformers_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r":mini needs .*: pip install sentence-transformers"):
        make_embedder("sentence-transformers:mini")


def _fake_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a package that has hundreds of megabytes: two letters' counts as vectors."""
    import torch

    class SentenceTransformer:
        def __init__(self, name: str, device: str) -> None:
            assert device == "cpu"
            if name == "absent":
                raise OSError("no such\nmodel.")
            if name == "damaged":
                raise SafetensorError("Error while deserializing header")
            self.name = name

        def state_dict(self) -> dict[str, torch.Tensor]:
            return {"w": torch.full((2,), float(len(self.name)))}

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
            assert not show_progress_bar
            return np.array([[3.0 * text.count("a"), 4.0 * text.count("b")] for text in texts])

    package = types.SimpleNamespace(
        SentenceTransformer=SentenceTransformer, __spec__=types.SimpleNamespace()
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)


def test_sentence_transformers_rows_are_unit_and_identity_follows_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _fake_package(monkeypatch)
    embedder = make_embedder("sentence-transformers:x")
    np.testing.assert_allclose(embedder(["ab", "b"]), np.array([[0.6, 0.8], [0.0, 1.0]]), atol=1e-7)
    assert embedder.dim == 2
    assert embedder.identity.startswith("sentence-transformers:x@")
    other = make_embedder("sentence-transformers:xx")
    assert embedder.identity.split("@")[1] != other.identity.split("@")[1]
    assert make_embedder("sentence-transformers:x").identity == embedder.identity
    np.testing.assert_array_equal(embedder(["zzz"]), [[0, 0]])
    assert embedder([]).shape == (0, 2)


def test_a_sentence_transformers_model_stays_itself_in_another_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stand-in's weights follow the length of the path."""
    _fake_package(monkeypatch)
    first = make_embedder("sentence-transformers:/models/mini")
    moved = make_embedder("sentence-transformers:/elders/mini")
    assert first.identity == moved.identity
    assert first.identity.startswith("sentence-transformers:mini@")


def test_a_sentence_transformers_package_that_is_broken_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> None:
        raise ImportError("cannot import name 'x'\nfrom 'y'")

    _fake_package(monkeypatch)
    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(InputError, match=r"imported \(cannot import name 'x' from 'y'\); repair"):
        make_embedder("sentence-transformers:mini")


def test_an_absent_sentence_transformers_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_package(monkeypatch)
    with pytest.raises(InputError, match=r"model 'absent' \(no such model\); check the name"):
        make_embedder("sentence-transformers:absent")
    with pytest.raises(InputError, match=r"model 'damaged' \(Error while deserializing header\)"):
        make_embedder("sentence-transformers:damaged")


def test_agreement_with_a_teacher_by_hand() -> None:
    """Four directions in a plane; the student has moved the third next to the first."""

    def plane(*degrees: float) -> np.ndarray:
        return np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees])

    teacher = plane(0, 20, 60, 170)
    assert compare(teacher, teacher)["nearest"] == 1
    assert compare(teacher, teacher)["spearman"] == 1
    moved = compare(teacher, plane(0, 20, 5, 170))
    # Nearest: 0 ─► 2 not 1, 1 ─► 2 not 0, 2 ─► 0 not 1, 3 ─► 1 not 2.
    assert moved["nearest"] == 0
    assert moved["in_top_3"] == 1
    cosines = np.cos(np.radians([60, 40, 60, 150]))
    assert moved["chosen"] == pytest.approx(cosines.mean(), abs=1e-3)
    assert moved["best"] == pytest.approx(np.cos(np.radians([20, 20, 40, 110])).mean(), abs=1e-3)


def test_a_folder_without_a_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        find_teacher(tmp_path)
