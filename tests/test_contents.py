"""Banks beside each other: the same clips are cut once, whoever is labelled, and nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from compositing.layers import LayerRecord, LayerStore
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.files import source_mark
from l2a.networks import build_network
from train.batches import ClipSource
from train.contents import Contents, mixed
from train.frozen.features import FeatureBank
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

SIZE = ClipSettings(num_frames=2, height=20, width=24, crop=20)
IDS = ("a", "b", "c", "d")


def records(**fingerprints: str) -> Mapping[str, LayerRecord]:
    return {
        id_: cast(LayerRecord, SimpleNamespace(fingerprint=mark))
        for id_, mark in fingerprints.items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for id_ in IDS:
        (tmp_path / f"{id_}.avi").write_bytes(f"video {id_}".encode())
    return tmp_path


def contents(
    folder: Path, layers: Mapping[str, LayerRecord], ids: tuple[str, ...] = IDS, how: str = "how"
) -> Contents:
    sources = {id_: source_mark(folder / f"{id_}.avi") for id_ in ids}
    return Contents.of(how, sources, layers)


def bank(folder: Path, name: str, ids: tuple[str, ...] = IDS) -> ClipBank:
    return ClipBank.create_or_resume(folder / name, ids, SIZE, name)


def filled(folder: Path, layers: Mapping[str, LayerRecord]) -> ClipBank:
    """A bank whose rows all differ, with layers of some of them."""
    made, rng = bank(folder, "first"), np.random.default_rng(0)
    for row, id_ in enumerate(IDS):
        frames = rng.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
        masks = frames[..., 0] > 128 if id_ in layers else None
        made.write(row, frames, masks, None if masks is None else 255 - frames, aspect=1.0 + row)
    contents(folder, layers).write(made)
    return made


def test_another_draw_of_labelled_videos_takes_the_clips_and_the_layers_of_its_own(
    folder: Path,
) -> None:
    """ "b" was a training video and measures now: it comes without its layers. "d" had none and
    trains now: it is left to be made, as is "e", which nobody has."""
    first = filled(folder, records(a="1", b="1"))
    (folder / "e.avi").write_bytes(b"video e")
    now = contents(folder, records(a="1", d="1"), (*IDS[::-1], "e"))
    second = bank(folder, "second", (*IDS[::-1], "e"))
    assert now.fill_from_others(second) == 3
    states = {id_: RowState(int(second.state[second.row(id_)])) for id_ in second.ids}
    assert states == {
        "a": RowState.LAYERS, "b": RowState.FRAMES, "c": RowState.FRAMES, "d": RowState.PENDING,
        "e": RowState.PENDING,
    }  # fmt: skip
    for id_ in "abc":
        mine, theirs = second.row(id_), first.row(id_)
        assert np.array_equal(second.frames[mine], first.frames[theirs])
        assert second.aspects[mine] == first.aspects[theirs]
    assert np.array_equal(second.masks[second.row("a")], first.masks[0])
    assert np.array_equal(second.backgrounds[second.row("a")], first.backgrounds[0])
    assert not second.masks[second.row("b")].any()
    assert not second.backgrounds[second.row("b")].any()


@pytest.mark.parametrize("what", ["file", "layers", "how", "damaged", "no notes"])
def test_what_is_not_the_same_is_not_taken(folder: Path, what: str) -> None:
    first = filled(folder, records(a="1"))
    layers, how = records(a="2" if what == "layers" else "1"), "other" if what == "how" else "how"
    match what:
        case "file":
            (folder / "a.avi").write_bytes(b"another")
        case "damaged":
            (first.folder / "frames.npy").write_bytes(b"")
        case "no notes":
            (first.folder / "contents.json").unlink()
    second = bank(folder, "second")
    contents(folder, layers, how=how).fill_from_others(second)
    assert second.state[0] == RowState.PENDING


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"how": "how"}', '{"how": "how", "sources": 3, "layers": {}}',
     '{"how": "how", "sources": {"a": 1}, "layers": ["a"]}'],
)  # fmt: skip
def test_damaged_notes_of_another_bank_are_none(folder: Path, text: str) -> None:
    first = filled(folder, records(a="1"))
    (first.folder / "contents.json").write_text(text)
    assert Contents.beside(first) is None
    assert contents(folder, records(a="1")).fill_from_others(bank(folder, "second")) == 0


def prepared_of(made: ClipBank, train: list[int]) -> PreparedData:
    source = ClipSource(made, np.zeros(len(made), np.int64), 2, 20, CompositeSettings())
    rest = np.setdiff1d(np.arange(len(made)), train)
    rows = {"train": np.array(train), "val": rest, "test": rest[:0]}
    return PreparedData(cast(Any, SimpleNamespace(classes=("x", "y"))), made, source, rows, {},
                        cast(LayerStore, None))  # fmt: skip


def test_features_are_found_from_another_bank_of_the_same_clips(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In other rows, under another split; but of pairs of its own training videos alone."""
    layers = records(a="1", b="1", c="1")
    torch.manual_seed(0)
    trunk = build_network("tiny3d", 2).trunk
    how = FrozenSettings(views=2)
    first = FeatureBank(trunk, prepared_of(filled(folder, layers), [0, 1, 2]), how, True, 3)
    rows, pairs = np.array([0, 1, 3]), np.array([[0, 2], [2, 1]])
    kept = first.centre(rows), first.real(rows), first.composites(pairs)
    second, ids = bank(folder, "second", IDS[::-1]), IDS[::-1]
    own = records(a="1", c="1")
    now = contents(folder, own, ids)
    now.fill_from_others(second)
    now.write(second)
    again = FeatureBank(trunk, prepared_of(second, [3, 1]), how, True, 3)
    monkeypatch.setattr(FeatureBank, "of", None)  # nothing is computed any more
    there = np.array([3, 2, 0])
    assert torch.equal(again.centre(there), kept[0])
    assert torch.equal(again.real(there), kept[1])
    assert torch.equal(again.composites(np.array([[3, 1]])).features, kept[2].features[:1])
    with pytest.raises(ValueError, match="not of training"):
        again.composites(np.array([[1, 2]]))


def test_numbers_of_keys_differ_wherever_a_part_does() -> None:
    sides = np.random.default_rng(0).integers(2**63, size=50).astype(np.uint64)
    keys = mixed(sides[:, None, None], sides[None, :, None], np.arange(20))
    assert keys.shape == (50, 50, 20)
    assert keys.min() >= 0
    assert len(np.unique(keys)) == keys.size
    assert np.array_equal(keys[3, 4], mixed(sides[3:4], sides[4:5], np.arange(20)))
