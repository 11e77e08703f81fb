"""Features of a frozen trunk: what they are of, that they are kept, and never mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from banks import make_source
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compositing.layers import LayerStore
from compositing.settings import CompositeSettings
from l2a.checkpoints import save_tensors
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError
from l2a.networks import build_network
from l2a.trunk import Trunk
from train.batches import ClipSource
from train.frozen import features, shards
from train.frozen.features import FeatureBank
from train.frozen.shards import Shards
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

PAIRS = np.array([[0, 1], [3, 4], [6, 2], [1, 0]])
LOOSE = CompositeSettings(shift=0.3, scale=1.5, flip_foreground=0.5)


def trunk_of(seed: int = 0) -> Trunk:
    torch.manual_seed(seed)
    return build_network("tiny3d", 3).trunk


def prepared_of(source: ClipSource) -> PreparedData:
    rows = {"train": np.arange(9), "val": np.arange(9, 10), "test": np.arange(10, 12)}
    return PreparedData(cast(Any, SimpleNamespace(classes=("a", "b", "c"))), source.bank, source,
                        rows, {}, cast(LayerStore, None))  # fmt: skip


def bank_of(source: ClipSource, trunk: Trunk | None = None, seed: int = 5) -> FeatureBank:
    how = FrozenSettings(views=3, composite_views=2)
    return FeatureBank(trunk or trunk_of(), prepared_of(source), how, flip=True, seed=seed)


class Broken(Exception):
    """The process was killed."""


def break_after(bank: FeatureBank, clips: int) -> None:
    """Let the trunk see so many clips, and no more."""
    trunk, left = bank._trunk, clips

    def limited(batch: Tensor) -> Tensor:
        nonlocal left
        left -= len(batch)
        if left < 0:
            raise Broken
        return Trunk.forward(trunk, batch)

    trunk.forward = limited  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("source") / "bank", settings=LOOSE)


@torch.no_grad()
def test_centre_features_are_those_of_evaluation(source: ClipSource) -> None:
    trunk = trunk_of().eval()
    rows = np.array([11, 2, 2])
    expected = trunk(trunk.to_input(source.real(rows).clips))
    torch.testing.assert_close(bank_of(source).centre(rows), expected)


@torch.no_grad()
def test_views_are_crops_and_flips_as_in_training(source: ClipSource) -> None:
    """Each of 11 x 6 crops, mirrored or not, has a feature: a view's is one of them."""
    trunk = trunk_of().eval()
    clip = torch.from_numpy(source.bank.frames[2].copy())
    crops = torch.stack(
        [
            side[:, top : top + 20, left : left + 20]
            for side in (clip, clip.flip(2))
            for top in range(5)
            for left in range(11)
        ]
    )
    all_views = trunk(trunk.to_input(crops))
    views = bank_of(source).real(np.array([7, 2]))[1]
    nearest = torch.cdist(views, all_views).min(dim=1)
    assert views.shape == (3, 128)
    assert nearest.values.max() < 1e-3 * all_views.norm(dim=1).mean()
    assert len(set(nearest.indices.tolist())) == 3


@pytest.mark.parametrize("rule", ["mixed", "foreground", "actor"])
def test_labels_are_those_of_training_under_every_rule(source: ClipSource, rule: Any) -> None:
    """What was seen and what was removed is kept, whatever the rule of the bank."""
    bank = bank_of(source)
    how = replace(LOOSE, label_rule=rule, alpha=3.0)
    labels = bank.composite_labels(PAIRS, bank.composites(PAIRS), how)
    other = replace(source, settings=how)
    for pair, views in zip(PAIRS, labels, strict=True):
        for view, label in enumerate(views):
            draws = bank._draws(2, *pair.tolist(), view=view)
            torch.testing.assert_close(other.composites(pair[None], draws).labels[0], label)
    assert len(labels[:, :, 0].unique()) > 2 or rule == "foreground"


@torch.no_grad()
def test_composite_features_are_of_training_composites(source: ClipSource) -> None:
    bank, trunk = bank_of(source), trunk_of().eval()
    made = bank.composites(PAIRS)
    assert made.features.shape == (4, 2, 128)
    for pair, views in zip(PAIRS, made.features, strict=True):
        for view, feature in enumerate(views):
            clips = source.composites(pair[None], bank._draws(2, *pair.tolist(), view=view)).clips
            torch.testing.assert_close(trunk(trunk.to_input(clips))[0], feature)


@settings(max_examples=10)
@given(order=st.permutations(range(4)), cut=st.integers(0, 4))
def test_order_and_company_do_not_matter(
    source: ClipSource, tmp_path_factory: pytest.TempPathFactory, order: list[int], cut: int
) -> None:
    expected = bank_of(source).composites(PAIRS)
    fresh = make_source(tmp_path_factory.mktemp("fresh") / "bank", settings=LOOSE)
    bank = bank_of(fresh)
    for part in (order[:cut], order[cut:]):
        made = bank.composites(PAIRS[part])
        torch.testing.assert_close(made.features, expected.features[part])
        torch.testing.assert_close(made.visible, expected.visible[part])
        torch.testing.assert_close(made.removed, expected.removed[part])


@torch.no_grad()
def test_features_of_a_pretrained_image_network(tmp_path: Path) -> None:
    """Its batch norms are folded for speed: the same features, to rounding, as evaluation sees."""
    bank = ClipBank.create_or_resume(tmp_path / "bank", ["a", "b"], ClipSettings(2, 64, 64, 64), "")
    rng = np.random.default_rng(0)
    for row, low in enumerate((0, 100)):
        frames = rng.integers(low, low + 100, (2, 64, 64, 3), dtype=np.uint8)
        bank.write(row, frames, None, None)
    source = ClipSource(bank, np.arange(2), 2, 64, CompositeSettings())
    trunk = build_network("tsn_efficientnet_lite0", 2, "imagenet").trunk.eval()
    rows = {"train": np.arange(2), "val": np.arange(0), "test": np.arange(0)}
    prepared = replace(prepared_of(source), rows=rows)
    found = FeatureBank(trunk, prepared, FrozenSettings(), True, 0).centre(np.array([1, 0]))
    expected = trunk(trunk.to_input(source.real(np.array([1, 0])).clips))
    assert found.shape == (2, 1280)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert (found[0] - found[1]).norm() > 1


def test_what_was_computed_is_found_again(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank", settings=LOOSE)
    rows, pairs = np.arange(12), np.concatenate([PAIRS, PAIRS[:1]])
    first = bank_of(source)
    computed = first.centre(rows), first.real(rows), first.composites(pairs)
    second = bank_of(source)
    break_after(second, 0)
    assert torch.equal(second.centre(rows), computed[0])
    assert torch.equal(second.real(rows), computed[1])
    found = second.composites(pairs)
    assert torch.equal(found.features, computed[2].features)
    assert torch.equal(found.visible, computed[2].visible)
    assert torch.equal(found.removed, computed[2].removed)
    assert second.composites(PAIRS[:0]).features.shape == (0, 2, 128)
    assert second.real(rows[:0]).shape == (0, 3, 128)
    assert second.centre(rows[:0]).shape == (0, 128)


def test_killed_halfway_it_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "EVALUATION_BATCH", 2)
    monkeypatch.setattr(features, "_WRITTEN_AT_ONCE", 4)
    undisturbed = bank_of(make_source(tmp_path / "one", settings=LOOSE)).composites(PAIRS)
    source = make_source(tmp_path / "two", settings=LOOSE)
    killed = bank_of(source)
    break_after(killed, 6)
    with pytest.raises(Broken):
        killed.composites(PAIRS)
    again = bank_of(source)
    break_after(again, 4)  # of 8 views 4 were written, and 2 were lost
    torch.testing.assert_close(again.composites(PAIRS).features, undisturbed.features)


@pytest.mark.parametrize("what", ["trunk", "crop", "blend", "shift", "seed", "clips"])
def test_what_another_setting_made_is_not_taken(tmp_path: Path, what: str) -> None:
    source = make_source(tmp_path / "bank", settings=LOOSE)
    first = bank_of(source)
    first.composites(PAIRS)
    given: dict[str, Any] = {}
    match what:
        case "trunk":
            given["trunk"] = trunk_of(1)
        case "seed":
            given["seed"] = 6
        case "crop":
            source = replace(source, crop=16)
        case "clips":
            source.bank.fingerprint = "others"
        case "blend":
            source = replace(source, settings=replace(LOOSE, blend="feather", feather=0.1))
        case _:
            source = replace(source, settings=replace(LOOSE, shift=0.1))
    other = bank_of(source, **given)
    break_after(other, 0)
    with pytest.raises(Broken):
        other.composites(PAIRS)


def test_other_label_rules_take_the_same_features(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank", settings=LOOSE)
    made = bank_of(source).composites(PAIRS)
    how = replace(LOOSE, label_rule="actor", alpha=2.0)
    other = bank_of(replace(source, settings=how))
    break_after(other, 0)
    assert torch.equal(other.composites(PAIRS).features, made.features)


def test_what_two_processes_compute_serves_both(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank", settings=LOOSE)
    one, two = bank_of(source), bank_of(source)
    assert len(one._composites) == len(two._composites) == 0
    first, second = one.composites(PAIRS[:2]), two.composites(PAIRS[2:])
    for bank in (one, two):
        break_after(bank, 0)
        both = bank.composites(PAIRS).features
        assert torch.equal(both, torch.cat([first.features, second.features]))


@pytest.mark.parametrize("pair", [[0, 9], [10, 0]])
def test_only_training_videos_are_ever_composited(source: ClipSource, pair: list[int]) -> None:
    with pytest.raises(ValueError, match="not of training"):
        bank_of(source).composites(np.array([[0, 1], pair]))


def test_nothing_is_made_of_a_video_without_layers(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank")
    source.bank.state[1] = 1
    with pytest.raises(ValueError, match="without layers"):
        bank_of(source).composites(PAIRS)


def test_many_files_become_one_and_other_readers_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MOST_FILES", 3)
    one, two = Shards(tmp_path / "kept"), Shards(tmp_path / "kept")
    for key in range(10):
        writer = (one, two)[key % 2]
        assert writer.missing(np.array([key])).tolist() == [key]
        writer.add(np.array([key]), {"x": torch.tensor([10.0 * key])})
    assert len(list((tmp_path / "kept").iterdir())) <= 4
    keys = np.array([9, 0, 4, 0])
    for reader in (one, two, Shards(tmp_path / "kept")):
        assert reader.missing(keys).size == 0
        assert reader.take(keys, "x").tolist() == [90, 0, 40, 0]


def test_a_damaged_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    Shards(tmp_path).add(np.array([1]), {"x": torch.ones(1)})
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged checkpoint.*delete it to have it made again"):
        Shards(tmp_path)
    save_tensors(path, {"x": torch.ones(1)})
    with pytest.raises(InputError, match="holds no features of ours; delete it"):
        Shards(tmp_path)
    path.unlink()
    assert len(Shards(tmp_path)) == 0


@torch.no_grad()
def test_batches_of_a_training_are_computed_once_and_a_longer_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of different sizes, and killed between two files."""
    monkeypatch.setattr(features, "_WRITTEN_AT_ONCE", 3)
    source, sizes = make_source(tmp_path / "bank"), (2, 3, 1, 2)

    def make(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = np.arange(sizes[step]) + step
        return source.clips(rows), {"rows": torch.from_numpy(rows)}

    killed = bank_of(source)
    break_after(killed, 6)
    with pytest.raises(Broken):
        killed.batches("some", 4, make, "features", 1)
    again = bank_of(source)
    break_after(again, 3)  # the first two batches were written, and the third was lost
    found = again.batches("some", 4, make, "features", 1)
    assert [len(one["features"]) for one in found] == list(sizes)
    for step, one in enumerate(found):
        trunk = trunk_of().eval()
        torch.testing.assert_close(one["features"], trunk(trunk.to_input(make(step)[0])))
        assert one["rows"].tolist() == [step + i for i in range(sizes[step])]
    other = bank_of(source)
    break_after(other, 0)
    assert torch.equal(other.batches("some", 2, make, "features", 1)[1]["features"],
                       found[1]["features"])  # fmt: skip
    with pytest.raises(Broken):
        other.batches("some", 2, make, "features", 2)
