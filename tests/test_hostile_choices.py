"""Selectors, pairs files, weights and verdicts that are damaged, or made to mislead.

Each ends in one sentence that names the file, and in exit code 2: no traceback, and no waiting.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from l2a.checkpoints import load_tensors
from l2a.errors import InputError
from l2a.files import file_sha256, read_json
from l2a.pairs import read_pairs, read_spares
from l2a.weights import read_state_dict
from selector.card import SelectorCard
from selector.checkpoint import CARD_NAME, WEIGHTS_NAME, load_selector, save_selector
from selector.diagnosis import verdict_text
from selector.network import SelectorConfig, new_selector

DEEP = "[" * 200_000
HUGE = "9" * 10_000
CONFIG = SelectorConfig(feature_dim=5, label_dim=3, hidden=(4, 2))
CARD = SelectorCard(
    CONFIG, "tiny3d", "random", False, "static@0", num_frames=4, height=32, width=40, crop=28,
    classes=("clap", "wave"), reward="credit", steps=5, seed=7, videos=(1, 2),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Whatever hangs is stopped, and fails."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def one_sentence(message: str, *names: str) -> None:
    """A message for a person: short, on one line, with the names and a remedy in it."""
    assert "\n" not in message
    assert len(message) < 600
    assert message.endswith(".")
    assert ";" in message
    for name in names:
        assert name in message


# The card of a Selector.


def config(**changes: object) -> dict[str, Any]:
    return {"config": asdict(CONFIG) | changes}


@pytest.mark.parametrize(
    "changes",
    [
        config(hidden=[10**12]),
        config(hidden=[2] * 5000),
        config(hidden=[]),
        config(hidden="2048"),
        config(feature_dim=-5),
        config(feature_dim=10**30),
        config(label_dim=2.5),
        config(label_scale=math.nan),
        config(label_scale=10**400),
        config(dropout="0.5"),
        config(labels=["embedding"]),
        {"config": []},
        {"num_frames": 0},
        {"crop": -1},
        {"height": 10**9},
        {"width": "40"},
        {"classes": {"clap": 1}},
        {"classes": [["clap"]]},
        {"videos": [-1, 2]},
        {"videos": [1.5]},
        {"curves": {"reward_mean": [math.inf]}},
        {"curves": [1, 2]},
        {"probe_auroc": math.nan},
        {"probe_auroc": {"deep": {"deep": 1}}},
        {"trunk": None},
        {"trunk": 18},
        {"verdict": ["fine"]},
        {"versions": {"torch": 2}},
        {"versions": None},
        {"format_version": "2"},
        {"format_version": True},
        {"format_version": 10**30},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_a_card_that_misleads_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_selector(tmp_path, new_selector(CONFIG, 0), None, CARD)
    path = tmp_path / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError) as stop:
        load_selector(tmp_path)
    one_sentence(str(stop.value), CARD_NAME)


CONTENTS = {
    "nothing": b"",
    "text": b"hello\n",
    "not UTF-8": b"\xff\xfe\x00{",
    "deep": DEEP.encode(),
    "deep objects": b'{"a":' * 100_000,
    "a huge number": b'{"format_version": ' + HUGE.encode() + b"}",
    "a list": b"[1, 2]",
    "null": b"null",
    "cut off": b'{"format_version": 2, "config": {',
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_card_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    save_selector(tmp_path, new_selector(CONFIG, 0), None, CARD)
    (tmp_path / CARD_NAME).write_bytes(content)
    with pytest.raises(InputError) as stop:
        load_selector(tmp_path)
    one_sentence(str(stop.value), CARD_NAME)


def other_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        tensors = dict(new_selector(CONFIG, 0).state_dict())
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)

    return make


def header(size: int, content: bytes) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(struct.pack("<Q", size) + content))


def void(_: object) -> None:
    """A call for its effect."""


HEADER = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
WEIGHTS: dict[str, Callable[[Path], None]] = {
    "not a number": other_weights(lambda t: t["first.weight"].fill_(math.nan)),
    "infinite": other_weights(lambda t: t["feature_mean"].fill_(math.inf)),
    "another type": other_weights(lambda t: t.update({"first.bias": t["first.bias"].long()})),
    "half precision": other_weights(lambda t: t.update({"first.bias": t["first.bias"].half()})),
    "another shape": other_weights(lambda t: t.update({"first.bias": torch.zeros(9)})),
    "one too few": other_weights(lambda t: t.pop("first.bias")),
    "one too many": other_weights(lambda t: t.update({"extra": torch.zeros(2)})),
    "a trunk that is none": other_weights(lambda t: t.update({"trunk.x": torch.zeros(2)})),
    "nothing": lambda path: void(path.write_bytes(b"")),
    "text": lambda path: void(path.write_bytes(b"hello, these are no weights")),
    "a huge header": header(2**60, HEADER),
    "a short header": header(5, HEADER),
    "no data": header(len(HEADER), HEADER),
    "a deep header": header(len(DEEP), DEEP.encode()),
    "a pickle": lambda path: torch.save({"a": torch.zeros(2)}, path),
}


@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_a_selector_that_mislead_are_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    save_selector(tmp_path, new_selector(CONFIG, 0), None, CARD)
    weights, card = tmp_path / WEIGHTS_NAME, tmp_path / CARD_NAME
    make(weights)
    card.write_text(
        json.dumps(json.loads(card.read_text()) | {"weights_sha256": file_sha256(weights)})
    )
    with pytest.raises(InputError) as stop:
        load_selector(tmp_path)
    one_sentence(str(stop.value), WEIGHTS_NAME)


# What is no file at all.


def folder(path: Path) -> None:
    path.mkdir()


READERS: dict[str, Callable[[Path], object]] = {
    "pairs": read_pairs,
    "spares": read_spares,
    "tensors": load_tensors,
    "weights": read_state_dict,
    "json": read_json,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", [folder, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    make(tmp_path / "thing.pth")
    with pytest.raises(InputError) as stop:
        read(tmp_path / "thing.pth")
    one_sentence(str(stop.value), "thing.pth", "is not a file")


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CARD_NAME])
@pytest.mark.parametrize("make", [folder, os.mkfifo], ids=["a folder", "a pipe"])
def test_a_selector_of_folders_and_pipes_is_refused(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    save_selector(tmp_path, new_selector(CONFIG, 0), None, CARD)
    (tmp_path / name).unlink()
    make(tmp_path / name)
    with pytest.raises(InputError) as stop:
        load_selector(tmp_path)
    one_sentence(str(stop.value), name)


# Weight files.


class Loud:
    """Something that a pickle would call."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, ("echo the pickle was executed",))


STATES: dict[str, object] = {
    "a list": [torch.zeros(2)],
    "a tensor": torch.zeros(2),
    "a number": 3,
    "nothing in it": {},
    "nested": {"model": {"x": torch.zeros(2)}, "optimizer": {"lr": 0.1}},
    "nested twice": {"state_dict": {"state_dict": {"x": torch.zeros(2)}}},
    "numbers for names": {0: torch.zeros(2), 1: torch.zeros(2)},
    "text for a tensor": {"x": "zeros"},
    "not a number": {"x": torch.zeros(2), "y.weight": torch.tensor([0.0, math.nan])},
    "infinite": {"y.weight": torch.tensor([-math.inf])},
    "sparse": {"x": torch.eye(3).to_sparse()},
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_weight_file_that_holds_no_plain_state_dict_is_refused(
    tmp_path: Path, state: object
) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError) as stop:
        read_state_dict(tmp_path / "w.pth")
    one_sentence(str(stop.value), "w.pth")
    if isinstance(state, dict) and "y.weight" in state:
        assert "y.weight holds a value that is not finite" in str(stop.value)


BYTES: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello\nthese are no weights\n",
    "one letter": b"c",
    "a pickle's first byte": b"\x80",
    "an unknown protocol": b"\x80\xff.",
    "a pickle of text": pickle.dumps("weights", protocol=2),
    "a pickle that calls": pickle.dumps(Loud(), protocol=2),
    "a stack that is empty": b"\x80\x02.",
    "a memo that is empty": b"\x80\x02h\x07.",
    "a zip cut off": b"PK\x03\x04" + b"\x00" * 30,
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "null bytes": bytes(4096),
    "JSON": b'{"x": [1, 2]}',
    "line feeds": b"\n" * 3000,
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_what_is_no_weight_file_is_refused(
    tmp_path: Path, content: bytes, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as stop:
        read_state_dict(path)
    one_sentence(str(stop.value), path.name)
    assert "executed" not in capfd.readouterr().out


# Pairs files.


def table(meta: str = "{}", **columns: Any) -> pa.Table:
    plain: dict[str, Any] = {
        "foreground": ["run/a", "run/b"], "background": ["walk/a", "walk/b"],
        "omega": [0.9, 0.5], "logit": [2.0, 0.0],
        "foreground_class": ["run", "run"], "background_class": ["walk", "walk"],
    }  # fmt: skip
    return pa.table(plain | columns).replace_schema_metadata({"l2a.pairs": meta})


TABLES: dict[str, pa.Table] = {
    "ω that is no number": table(omega=[0.9, math.nan]),
    "ω above 1": table(omega=[1.5, 0.5]),
    "ω below 0": table(omega=[0.9, -0.01]),
    "a logit that is no number": table(logit=[math.nan, 0.0]),
    "one video on both sides": table(background=["run/a", "walk/b"]),
    "a pair twice": table(foreground=["x", "x"], background=["y", "y"]),
    "a spare pair twice": table(foreground=["x"] * 2, background=["y"] * 2, spare=[False, True]),
    "text for ω": table(omega=["high", "low"]),
    "lists for names": table(foreground=[["a"], ["b"]]),
    "no name": table(foreground=["a", None]),
    "text for spare": table(spare=["perhaps", "no"]),
    "deep metadata": table(meta=DEEP),
    "a huge number": table(meta=f'{{"budget": {HUGE}}}'),
    "metadata that is a list": table(meta="[]"),
    "settings that are a list": table(meta='{"settings": ["a"]}'),
    "settings that are text": table(meta='{"settings": "none"}'),
    "a seed of text": table(meta='{"seed": "3"}'),
    "a budget of half a pair": table(meta='{"budget": 0.5}'),
    "a data set of numbers": table(meta='{"data_set": [1, 2]}'),
    "a balance that is true": table(meta='{"balance": true}'),
    "a threshold that is true": table(meta='{"threshold": true}'),
    "caps that are a number": table(meta='{"caps": 3}'),
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_pairs_file_that_misleads_is_refused(tmp_path: Path, content: pa.Table) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(content, path)
    for read in (read_pairs, read_spares):
        with pytest.raises(InputError) as stop:
            read(path)
        one_sentence(str(stop.value), path.name)


def test_the_sound_table_of_these_tests_is_read(tmp_path: Path) -> None:
    pq.write_table(table(meta='{"seed": null, "threshold": 1}'), tmp_path / "pairs.parquet")
    rows, meta = read_pairs(tmp_path / "pairs.parquet")
    assert [row.omega for row in rows] == [0.9, 0.5]
    assert meta == {"seed": None, "threshold": 1}


# Verdicts.


@pytest.mark.parametrize("document", [None, [], "fine", {}, {"text": 3}, {"text": None}])
def test_a_verdict_that_is_none_is_refused(document: object) -> None:
    with pytest.raises(InputError) as stop:
        verdict_text(document, Path("stage_one/verdict.json"))
    one_sentence(str(stop.value), "verdict.json")
