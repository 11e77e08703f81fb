"""The Selector's network, its settings and its checkpoint."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from l2a.errors import InputError
from l2a.networks import build_trunk
from selector.card import SelectorCard
from selector.checkpoint import (
    CARD_NAME,
    README_NAME,
    WEIGHTS_NAME,
    check_classes,
    check_embedder,
    load_selector,
    save_selector,
)
from selector.network import Selector, SelectorConfig, new_selector
from selector.settings import RankSettings, ReinforceSettings, RewardName, SelectorSettings

SMALL = SelectorConfig(feature_dim=5, label_dim=3, hidden=(16, 8))


def random_inputs(config: SelectorConfig, count: int, seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    sizes = (config.input_dim, config.input_dim, config.label_dim, config.label_dim)
    return [torch.randn(count, size, generator=draw) for size in sizes]


def card(config: SelectorConfig = SMALL, **changes: Any) -> SelectorCard:
    plain = SelectorCard(
        config=config,
        trunk="tiny3d",
        trunk_weights="random, then 10 epochs as the classifier's",
        trunk_trained=False,
        embedder="static:0123",
        num_frames=8,
        height=64,
        width=80,
        crop=56,
        classes=("clap", "jump", "wave"),
        reward="credit",
        steps=500,
        seed=7,
    )
    return dataclasses.replace(plain, **changes)


# The network.


def test_inputs_are_concatenated_in_the_papers_order() -> None:
    selector = Selector(SelectorConfig(feature_dim=1, label_dim=1, hidden=(1,), label_scale=3.0))
    first_weight, first_bias, last_weight, last_bias = selector.parameters()
    with torch.no_grad():
        first_weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        first_bias.fill_(0.5)
        last_weight.fill_(2.0)
        last_bias.fill_(-1.0)
    selector.fit_standardiser(torch.tensor([[1.0], [5.0]]))  # mean 3, spread 2
    # Features 7 ─► 2 and 5 ─► 1; labels of any positive norm ─► 3, the zero label ─► 0.
    logit = selector(*(torch.tensor([[v]]) for v in (7.0, 5.0, 0.2, 40.0)))
    assert logit.item() == pytest.approx(2 * (2 + 10 + 300 + 3000 + 0.5) - 1)
    logit = selector(*(torch.tensor([[v]]) for v in (7.0, 5.0, 0.2, 0.0)))
    assert logit.item() == pytest.approx(2 * (2 + 10 + 300 + 0.5) - 1)


def test_default_layers_are_the_papers() -> None:
    with torch.device("meta"):
        selector = Selector(SelectorConfig(feature_dim=512, label_dim=64))
    shapes = [tuple(p.shape) for p in selector.parameters() if p.ndim == 2]
    assert shapes == [(2048, 1152), (1024, 2048), (512, 1024), (1, 512)]


def test_standardiser_brings_training_features_to_zero_mean_and_unit_spread() -> None:
    selector = new_selector(SMALL, 0)
    features = torch.randn(50, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + 100
    selector.fit_standardiser(features)
    scaled = (features - selector.feature_mean) / selector.feature_scale
    assert torch.allclose(scaled.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(scaled.std(0, correction=0), torch.ones(5), atol=1e-4)


def test_a_feature_that_never_varies_does_not_swamp_the_input() -> None:
    selector = new_selector(SMALL, 0)
    features = torch.randn(50, 5)
    features[:, 2] = 4.0
    selector.fit_standardiser(features)
    assert 0.005 < selector.feature_scale[2] < 0.02
    selector.fit_standardiser(torch.ones(3, 5))
    assert torch.equal(selector.feature_scale, torch.ones(5))


@given(
    feature_dim=st.integers(1, 7),
    label_dim=st.integers(1, 5),
    count=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    agreement_scale=st.sampled_from([0.0, 0.5, 8.0]),
    dropout=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_projected_scores_equal_the_plain_forward(
    feature_dim: int, label_dim: int, count: int, hidden: list[int], agreement_scale: float,
    dropout: float, seed: int,
) -> None:  # fmt: skip
    config = SelectorConfig(
        feature_dim, label_dim, hidden=tuple(hidden), agreement_scale=agreement_scale,
        dropout=dropout,
    )  # fmt: skip
    selector = new_selector(config, seed).eval()
    features_f, features_b, labels_f, labels_b = random_inputs(config, count, seed)
    selector.fit_standardiser(features_f * 3 + 1)
    halves = (
        selector.project(features_f, labels_f, "foreground"),
        selector.project(features_b, labels_b, "background"),
    )
    plain = selector(features_f, features_b, labels_f, labels_b)
    assert plain.shape == (count,)
    assert torch.allclose(selector.score_projected(*halves), plain, atol=1e-4)


def test_label_agreement_enters_weighted_and_not_standardised_again() -> None:
    config = SelectorConfig(1, 1, hidden=(1,), label_scale=3.0, agreement_scale=4.0)
    assert config.input_dim == 2
    selector = Selector(config)
    shared, first_weight, first_bias, last_weight, last_bias = selector.parameters()
    with torch.no_grad():
        shared.fill_(1e6)
        first_weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1e3, 1e4, 1e5]]))
        first_bias.zero_()
        last_weight.fill_(1.0)
        last_bias.zero_()
    selector.fit_standardiser(torch.tensor([[1.0, 0.5], [5.0, 2.5]]))
    assert selector.feature_mean.tolist() == [3, 0]
    assert selector.feature_scale.tolist() == [2, 1]
    # Features 7 ─► 2 and 5 ─► 1; labels ─► 3; agreement 0.5 and 0.25 twice: by each side's own
    # weight, as 1 and 0.5, and by the shared one times the scale, 4 · (0.5 + 0.25).
    inputs = [[7.0, 0.5], [5.0, 0.25], [0.2], [9.0]]
    logit = selector.eval()(*(torch.tensor([row]) for row in inputs))
    assert logit.item() == pytest.approx(2 + 10 + 100 + 500 + 3e4 + 3e5 + 3e6)


def test_without_agreement_a_selector_takes_the_features_alone() -> None:
    config = SelectorConfig(5, 3, hidden=(4,), agreement_scale=0.0)
    assert config.input_dim == 5
    with_it = dataclasses.replace(config, agreement_scale=0.5)
    assert with_it.input_dim == 6
    with pytest.raises(ValueError, match=r"features have shape \[4, 5\].*\[rows, 6\]"):
        new_selector(with_it, 0)(*random_inputs(config, 4))


DROPPING = dataclasses.replace(SMALL, agreement_scale=2.0, dropout=0.5)


def test_in_evaluation_nothing_is_hidden() -> None:
    inputs = random_inputs(DROPPING, 4)
    selector = new_selector(DROPPING, 0)
    without = new_selector(dataclasses.replace(DROPPING, dropout=0.0), 0)
    assert torch.equal(selector.eval()(*inputs), without.train()(*inputs))
    assert torch.equal(selector(*inputs), selector(*inputs))


def test_in_training_features_and_labels_are_hidden_and_agreement_is_not() -> None:
    selector = new_selector(DROPPING, 0).train()
    features, labels = torch.full((2000, 6), 2.0), torch.ones(2000, 3)
    torch.manual_seed(0)
    standard, scaled, agreement = selector._standardised(features, labels)
    assert standard[:, 5].tolist() == [4.0] * 2000  # agreement 2, weighted with 2
    assert selector.agreement is not None
    assert torch.equal(agreement, (4 * selector.agreement).expand(2000, -1))  # with the scale, 2
    # What is left is doubled, so that the mean stays.
    assert set(standard[:, :5].unique().tolist()) == {0.0, 4.0}
    assert (standard[:, :5] == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    size = 2 * 3.0 / 3**0.5
    assert scaled.unique().tolist() == pytest.approx([0.0, size])
    # Each row by itself: the foreground's share hides nothing of the background.
    assert len({tuple(row) for row in standard[:, :5].tolist()}) == 2**5
    gentle = new_selector(dataclasses.replace(DROPPING, dropout=0.1), 0).train()
    assert (gentle._standardised(features, labels)[0] == 0).sum() < 0.2 * 5 * 2000


def test_foreground_and_background_are_told_apart() -> None:
    selector = new_selector(SMALL, 0)
    features_f, features_b, labels_f, labels_b = random_inputs(SMALL, 4)
    there = selector(features_f, features_b, labels_f, labels_b)
    back = selector(features_b, features_f, labels_b, labels_f)
    assert not torch.allclose(there, back, atol=1e-3)


def test_omega_is_the_sigmoid_of_the_logit() -> None:
    selector, inputs = new_selector(SMALL, 0), random_inputs(SMALL, 4)
    assert torch.equal(selector.omega(*inputs), torch.sigmoid(selector(*inputs)))


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, same, other = new_selector(SMALL, 5), new_selector(SMALL, 5), new_selector(SMALL, 6)
    assert torch.equal(torch.rand(3), expected)  # nobody else's random numbers were used up
    assert torch.equal(one.first.weight, same.first.weight)
    assert not torch.equal(one.first.weight, other.first.weight)


def test_shapes_that_do_not_fit_are_named() -> None:
    selector = new_selector(SMALL, 0)
    features_f, features_b, labels_f, labels_b = random_inputs(SMALL, 4)
    with pytest.raises(ValueError, match=r"features have shape \[4, 3\].*\[rows, 5\]"):
        selector(labels_f, features_b, labels_f, labels_b)
    with pytest.raises(ValueError, match=r"labels have shape \[4, 5\].*\[rows, 3\]"):
        selector.project(features_f, features_f, "foreground")
    with pytest.raises(ValueError, match="4 foregrounds and 2 backgrounds"):
        selector(features_f, features_b[:2], labels_f, labels_b[:2])
    with pytest.raises(ValueError, match="4 rows of features and 1 of labels"):
        selector(features_f, features_b, labels_f[:1], labels_b)


# Settings.


def test_all_wrong_settings_are_reported_together() -> None:
    with pytest.raises(InputError, match=r"selector_steps is 0.*selector_lr is -1.*0\.9 to 0\.1"):
        ReinforceSettings(selector_steps=0, selector_lr=-1, explore_low=0.9, explore_high=0.1)
    with pytest.raises(InputError, match=r"hidden is \(\).*label_scale is 0"):
        SelectorSettings(hidden=(), label_scale=0)
    with pytest.raises(InputError, match=r"background_cap is 0\.5"):
        RankSettings(background_cap=0.5)
    with pytest.raises(InputError, match="feature_dim is 0"):
        SelectorConfig(feature_dim=0, label_dim=3)
    with pytest.raises(InputError, match=r"agreement_scale is -1.*dropout is 1.*below 1"):
        SelectorConfig(5, 3, agreement_scale=-1, dropout=1)
    with pytest.raises(InputError, match=r"entropy is nan.*settle is 0"):
        ReinforceSettings(entropy=float("nan"), settle=0)


@pytest.mark.parametrize("reward", ["credit", "moving-average"])
def test_what_only_one_reward_can_do_is_refused_with_another(reward: RewardName) -> None:
    with pytest.raises(InputError, match=rf"trajectories is 2: only the reward counterf.*{reward}"):
        ReinforceSettings(reward=reward, trajectories=2)
    with pytest.raises(InputError, match=rf"roll_back is True: only the reward count.*{reward}"):
        ReinforceSettings(reward=reward, roll_back=True)
    with pytest.raises(InputError, match="reward is 'luck': choose credit, counterfactual, mov"):
        ReinforceSettings(reward="luck")  # type: ignore[arg-type]


def test_field_names_are_unique_and_documented() -> None:
    groups = (SelectorSettings, ReinforceSettings, RankSettings)
    names = [field.name for group in groups for field in dataclasses.fields(group)]
    assert len(names) == len(set(names))
    for group in groups:
        for field in dataclasses.fields(group):
            assert f"\n    {field.name}:" in (inspect.getdoc(group) or "")


def test_settings_do_not_load_torch() -> None:
    code = "import sys, selector.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The checkpoint.


def test_a_stored_selector_comes_back_bit_by_bit(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, feature_dim=128)
    selector, inputs = new_selector(config, 3), random_inputs(config, 6)
    selector.fit_standardiser(inputs[0])
    trunk = build_trunk("tiny3d")
    save_selector(tmp_path, selector, trunk, card(config))
    for path in (tmp_path, tmp_path / WEIGHTS_NAME):
        loaded = load_selector(path)
        assert loaded.card == card(config)
        assert torch.equal(loaded.selector(*inputs), selector(*inputs))
        assert loaded.trunk is not None
        clips = torch.randn(1, 3, 4, 16, 16)
        assert torch.equal(loaded.trunk(clips), trunk.eval()(clips))


def test_a_selector_without_trunk_and_an_integer_scale(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, label_scale=3)
    save_selector(tmp_path, new_selector(config, 0), None, card(config))
    loaded = load_selector(tmp_path)
    assert loaded.trunk is None
    assert loaded.card.config == config


def test_a_selector_of_an_earlier_version_sees_the_agreement_that_it_learned(
    tmp_path: Path,
) -> None:
    save_selector(tmp_path, new_selector(SMALL, 0), None, card(SMALL))
    assert load_selector(tmp_path).card.config.agreement_across == "recordings"
    before = dataclasses.asdict(SMALL)
    del before["agreement_across"]
    rewrite_card(tmp_path, config=before)
    assert load_selector(tmp_path).card.config.agreement_across == "videos"


def test_all_that_a_card_can_say_comes_back(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, agreement_scale=8.0, dropout=0.25, label_scale=2.5)
    said = card(
        config, trunk_trained=True, verdict="ranking settled at step 50", probe_auroc=0.75,
        finetuned_from=("run", "walk"), data="clips", videos=(4, 0, 7),
        curves={"reward_mean": (0.5, -1.0)},
    )  # fmt: skip
    selector = new_selector(config, 0)
    inputs = random_inputs(config, 4)
    selector.fit_standardiser(inputs[0])
    save_selector(tmp_path, selector.train(), None, said)
    loaded = load_selector(tmp_path)
    assert loaded.card == said
    assert not loaded.selector.training  # or dropout would hide what it scores by
    assert torch.equal(loaded.selector(*inputs), selector.eval()(*inputs))
    rewrite_card(tmp_path, probe_auroc=1)
    assert load_selector(tmp_path).card.probe_auroc == 1.0
    rewrite_card(tmp_path, probe_auroc=None)
    assert load_selector(tmp_path).card.probe_auroc is None


def test_same_selector_same_bytes_and_no_leftovers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_selector(tmp_path / name, new_selector(SMALL, 3), None, card())
    assert {p.name for p in (tmp_path / "a").iterdir()} == {CARD_NAME, WEIGHTS_NAME, README_NAME}
    for name in (WEIGHTS_NAME, CARD_NAME, README_NAME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_card_of_another_network_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feature_dim=128"):
        save_selector(
            tmp_path,
            new_selector(SMALL, 0),
            None,
            card(dataclasses.replace(SMALL, feature_dim=128)),
        )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_selector(tmp_path, new_selector(SMALL, 3), None, card())
    return tmp_path


def rewrite_card(folder: Path, **changes: object) -> None:
    path = folder / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CARD_NAME])
def test_a_missing_file_is_named(stored: Path, name: str) -> None:
    (stored / name).unlink()
    with pytest.raises(InputError, match=f"no file .*{name}"):
        load_selector(stored)


def test_damaged_weights_are_refused(stored: Path) -> None:
    weights = stored / WEIGHTS_NAME
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"{WEIGHTS_NAME} is damaged"):
        load_selector(stored)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one flipped bit
    with pytest.raises(InputError, match=rf"{WEIGHTS_NAME} is damaged, or not the file"):
        load_selector(stored)


def test_weights_of_another_card_are_refused(stored: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_selector(other, new_selector(SMALL, 4), None, card())
    (other / WEIGHTS_NAME).replace(stored / WEIGHTS_NAME)
    with pytest.raises(InputError, match=r"not the file that .*selector\.json was written for"):
        load_selector(stored)


@pytest.mark.parametrize("version", [1, 99])
def test_an_unknown_format_version_is_refused(stored: Path, version: int) -> None:
    rewrite_card(stored, format_version=version)
    with pytest.raises(InputError, match=f"format version {version} and this program reads 2"):
        load_selector(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "seven"}, "seed 'seven', which is no int"),
        ({"seed": True}, "seed True, which is no int"),
        ({"classes": ["clap", 3]}, "classes 3, which is no str"),
        ({"config": None}, "config None, which is no dict"),
        ({"trunk_trained": 1}, "trunk_trained 1, which is no bool"),
        ({"probe_auroc": "good"}, "probe_auroc 'good', which is no float"),
        ({"finetuned_from": None}, "finetuned_from None, which is no list"),
        ({"data": 3}, "data 3, which is no str"),
        ({"videos": [4, "many"]}, "videos 'many', which is no int"),
        ({"curves": {"reward_mean": 1.0}}, "reward_mean 1.0, which is no list"),
        ({"config": dataclasses.asdict(SMALL) | {"dropout": True}}, "dropout True, which is no fl"),
        ({"config": dataclasses.asdict(SMALL) | {"dropout": 2.0}}, r"dropout is 2\.0"),
        ({"config": dataclasses.asdict(SMALL) | {"agreement_scale": 8.0}}, "agreement"),
        ({"config": dataclasses.asdict(SMALL) | {"labels": "other"}}, "labels is 'other'"),
        (
            {"config": dataclasses.asdict(SMALL) | {"agreement_across": "classes"}},
            "agreement_across is 'classes': choose recordings or videos",
        ),
        ({"config": dataclasses.asdict(SMALL) | {"hidden": [16, 9]}}, r"should have \[9\]"),
    ],
)
def test_a_broken_card_is_refused(stored: Path, changes: dict[str, object], message: str) -> None:
    rewrite_card(stored, **changes)
    with pytest.raises(InputError, match=message):
        load_selector(stored)


def test_a_trunk_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    trunk = build_trunk("tiny3d")
    save_selector(tmp_path, new_selector(SMALL, 0), trunk, card())
    with pytest.raises(InputError, match=r"tiny3d gives 128 features .* takes 5"):
        load_selector(tmp_path)
    config = dataclasses.replace(SMALL, feature_dim=128)
    half = torch.nn.Sequential(*list(trunk.children())[:3])
    save_selector(tmp_path, new_selector(config, 0), half, card(config))
    with pytest.raises(InputError, match=r"does not fit its card: .* has shape none"):
        load_selector(tmp_path)


def test_another_embedder_is_refused_by_name() -> None:
    check_embedder(card(), "static:0123", 3)
    with pytest.raises(InputError, match=r"static:0123 \(3 numbers\).*sent2vec:9 \(700 numbers\)"):
        check_embedder(card(), "sent2vec:9", 700)
    with pytest.raises(InputError, match="static:4567"):
        check_embedder(card(), "static:4567", 3)
    one_hot = card(dataclasses.replace(SMALL, labels="one-hot"), embedder="")
    check_embedder(one_hot, "sent2vec:9", 700)  # takes no part


def test_one_hot_labels_fit_only_their_own_classes() -> None:
    one_hot = card(dataclasses.replace(SMALL, labels="one-hot"))
    check_classes(one_hot, ["clap", "jump", "wave"])
    check_classes(card(), ["anything", "else"])  # embeddings carry over
    with pytest.raises(InputError, match="class 1 was jump, here it is kick"):
        check_classes(one_hot, ["clap", "kick", "wave"])
    with pytest.raises(InputError, match="class 2 was wave, here it is no class"):
        check_classes(one_hot, ["clap", "jump"])
