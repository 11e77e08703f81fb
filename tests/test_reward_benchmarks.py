"""The benchmarks of the reward: what is planted is there, choices and figures are right."""

from __future__ import annotations

import importlib
import json
import math
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l2a.errors import InputError
from selector.reward import last_layer_credit
from selector.settings import ReinforceSettings, SelectorSettings
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.frozen.head import LinearHead

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _on_the_path() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def module(name: str) -> Any:
    if str(BENCHMARKS) not in sys.path:
        sys.path.insert(0, str(BENCHMARKS))
    return importlib.import_module(name)


# The world


def test_so_many_training_recordings_of_each_class_play_at_home_and_validation_anywhere() -> None:
    world = module("reward_world")
    homes = [motion.home for motion in world.MOTIONS.values()]
    size = world.World(train=60, validation=600, test=600, home=0.7)
    train = world.takes(size, 0, "train")
    assert [take.label for take in train[:7]] == [0, 1, 2, 3, 4, 5, 0]
    at_home = np.zeros(6, int)
    for take in train:
        at_home[take.label] += take.scene == homes[take.label]
    assert at_home.tolist() == [7] * 6
    for part in ("validation", "test"):
        takes = world.takes(size, 0, part)
        share = np.mean([take.scene == homes[take.label] for take in takes])
        assert share == pytest.approx(1 / 6, abs=0.06)
    assert world.takes(size, 0, "test") != world.takes(size, 1, "test")


def test_so_many_labels_are_wrong() -> None:
    world = module("reward_world")
    labels = np.arange(60) % 6
    given_labels = world.exchange(labels, 0.3, np.random.default_rng(0))
    assert (given_labels != labels).sum() == 18
    assert set(given_labels) == set(range(6))
    np.testing.assert_array_equal(world.exchange(labels, 0.0, np.random.default_rng(0)), labels)


@given(count=st.integers(3, 30), data=st.data(), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_every_row_stands_equally_often_on_either_side(count: int, data: Any, seed: int) -> None:
    partners = data.draw(st.integers(1, count - 1))
    pairs = module("reward_world").list_pairs(count, partners, np.random.default_rng(seed))
    assert len(np.unique(pairs, axis=0)) == count * partners
    assert (pairs[:, 0] != pairs[:, 1]).all()
    for side in (0, 1):
        assert (np.bincount(pairs[:, side], minlength=count) == partners).all()


def test_few_frames_show_the_same_action_as_many_that_are_thinned() -> None:
    from l2a.demo import render_clip, stage_recording

    recording = stage_recording("Squatting", "gym", 0, (48, 64), np.random.default_rng(0))
    recording = replace(recording, shake=0.0, pan=0.0)
    many = render_clip(recording, 9, np.random.default_rng(1))
    few = render_clip(recording, 3, np.random.default_rng(1), fps=6.0)
    np.testing.assert_array_equal(few.mask, many.mask[::4])
    np.testing.assert_array_equal(few.background, many.background[::4])


# Choices


def drawn_pairs(count: int = 6, views: int = 2) -> DrawnPairs:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, views, 4, generator=generator)
    labels = torch.rand(count, views, 3, generator=generator)
    rows = torch.stack([torch.arange(count), torch.arange(count).roll(1)], dim=1)
    return DrawnPairs(rows, features, labels / labels.sum(-1, keepdim=True))


def measured_clips(count: int = 5) -> MeasuredClips:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(count, 4, generator=generator)
    labels = torch.nn.functional.one_hot(torch.arange(count) % 3, 3).float()
    return MeasuredClips(features, labels, torch.tensor([0, 0, 1, 2, 2]))


@pytest.mark.parametrize("fitted", [False, True])
def test_credit_is_that_of_the_last_layer_and_the_mean_over_views(fitted: bool) -> None:
    choices, drawn, clips = module("choices"), drawn_pairs(), measured_clips()
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).double()
    head = LinearHead(weight, torch.zeros(3).double(), 0.1, 0, 0, 0) if fitted else None
    weight = weight.float() if fitted else torch.zeros(3, 4)
    found = choices.credit_on(clips, drawn, head)
    assert found.shape == (6, 3)
    by_view = [
        last_layer_credit(
            (clips.features @ weight.T).softmax(1), clips.labels, clips.features,
            (drawn.features[:, view] @ weight.T).softmax(1), drawn.labels[:, view],
            drawn.features[:, view],
        )
        for view in range(2)
    ]  # fmt: skip
    torch.testing.assert_close(found.sum(1), torch.stack(by_view).mean(0), atol=1e-5, rtol=1e-4)


def test_choices_are_equal_over_classes_and_as_sharp_as_they_say() -> None:
    choose = module("choices").choose
    classes = np.array([0] * 8 + [1] * 8)
    pairs = np.array([(f, (f + 1) % 16) for f in range(16)])
    scores = torch.arange(16.0)  # every pair of class 1 is above all of class 0
    assert choose(pairs, scores, classes, 4, 0.0, 0).tolist() == [6, 7, 14, 15]
    assert choose(pairs, -scores, classes, 4, 0.0, 0).tolist() == [0, 1, 8, 9]
    drawn = [choose(pairs, scores, classes, 4, 0.5, seed) for seed in range(40)]
    assert set(np.concatenate(drawn)) == {4, 5, 6, 7, 12, 13, 14, 15}
    assert {tuple(classes[one].tolist()) for one in drawn} == {(0, 0, 1, 1)}
    anything = [choose(pairs, scores, classes, 4, 1.0, seed) for seed in range(60)]
    assert set(np.concatenate(anything)) == set(range(16))


def test_agreement_of_ranks_is_within_classes() -> None:
    agreement = module("choices").rank_agreement
    classes = torch.tensor([0, 0, 0, 1, 1, 1])
    first = torch.tensor([1.0, 2, 3, 1, 2, 3])
    assert agreement(first, first + 10 * classes, classes) == pytest.approx(1)
    assert agreement(first, -first, classes) == pytest.approx(-1)
    assert agreement(first, torch.tensor([1.0, 2, 3, 3, 2, 1]), classes) == pytest.approx(0)


def test_composites_weigh_as_much_as_real_clips_however_many_there_are() -> None:
    beside = module("choices").beside_real
    generator = torch.Generator().manual_seed(0)
    real, made = (torch.randn(n, 5, generator=generator).double() for n in (12, 6))
    labels = [torch.nn.functional.one_hot(torch.arange(n) % 3, 3).double() for n in (12, 6)]
    once = beside(real, labels[0], made, labels[1]).fit(0.1)
    twice = beside(real, labels[0], made.repeat(2, 1), labels[1].repeat(2, 1)).fit(0.1)
    torch.testing.assert_close(once.weight, twice.weight, atol=1e-4, rtol=1e-3)
    alone = beside(real, labels[0], real, labels[0]).fit(0.1)
    assert (alone.weight - once.weight).abs().max() > 1e-2


# Reward scaling


def test_where_a_curve_crosses_and_from_where_a_gain_is_clear() -> None:
    scaling = module("reward_scaling")
    assert scaling.crossing([10, 1000], [0.0, 1.0], 0.5) == pytest.approx(100)
    assert scaling.crossing([10, 100], [0.6, 0.9], 0.5) == 10
    assert scaling.crossing([10, 100], [0.1, 0.2], 0.5) is None
    gains = [
        scaling.Estimate(*values)
        for values in ((0.03, 0.01), (0.01, 0.01), (0.03, 0.01), (0.05, 0.01))
    ]
    assert scaling.clear_from([10, 20, 50, 100], gains) == 50
    assert scaling.clear_from([10, 20], gains[:2]) is None
    assert scaling.clear_from([10], [scaling.Estimate(-0.03, 0.01)]) is None


def test_validation_sets_share_no_recording() -> None:
    scaling = module("reward_scaling")
    seen = Namespace(validation=torch.arange(20.0)[:, None], validation_labels=torch.arange(20) % 6)
    sets = scaling.validation_sets(seen, 6, 8)
    assert [one.features.flatten().tolist() for one in sets] == [
        list(range(first, first + 6)) for first in (0, 6, 12)
    ]
    assert sets[1].labels.argmax(1).tolist() == list(range(6))
    assert sets[0].recordings.tolist() == list(range(6))
    assert len(scaling.validation_sets(seen, 6, 2)) == 2


def test_reward_scaling_measures_every_size_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = module("reward_scaling")
    monkeypatch.setattr(scaling, "SelectorSettings", lambda: SelectorSettings(hidden=(16,)))
    monkeypatch.setattr(
        scaling, "ReinforceSettings",
        lambda: ReinforceSettings(selector_steps=3, selector_batch=16, checkpoint_every=2),
    )  # fmt: skip
    words = [
        "reward_scaling.py", "--network", "tiny3d", "--weights", "none", "--seeds", "0", "1",
        "--train", "24", "--validation", "24", "--test", "24", "--partners", "3", "--sizes", "6",
        "24", "--draws", "2", "--random", "2", "--height", "48", "--width", "64", "--markdown",
        "--out", str(tmp_path),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    scaling.main()
    first = capsys.readouterr().out
    found = json.loads(next(tmp_path.glob("seed-0-*.json")).read_text())
    assert list(found["sizes"]) == ["6", "24"]
    assert set(found["sizes"]["6"]) == {
        "halves", "whole", "needed", "test", "wrong", "home",
        *(f"{how} {figure}" for how in scaling.CHOICES for figure in ("top1", "loss")),
    }  # fmt: skip
    assert "| 24         |" in first
    assert "A reliability of 0.5" in first
    assert (tmp_path / "reward-scaling.png").stat().st_size > 10_000

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(scaling, "see", refuse)
    scaling.main()
    again = capsys.readouterr().out
    assert again[again.index("2 worlds") :] == first[first.index("2 worlds") :]
    monkeypatch.setattr(sys, "argv", [*words, "--sizes", "48"])
    with pytest.raises(InputError, match="--validation 24"):
        scaling.main()


def test_features_are_kept_and_follow_from_the_seed(tmp_path: Path) -> None:
    world = module("reward_world")
    from l2a.networks import build_network

    torch.manual_seed(0)
    trunk = build_network("tiny3d", 1).trunk
    small = world.World(train=12, validation=6, test=6, partners=2, height=48, width=64)
    seen = world.see(small, 0, trunk, tmp_path)
    again = world.see(small, 0, trunk, tmp_path)
    other = world.see(small, 0, trunk, tmp_path / "other")
    for name in ("real", "composites", "validation", "test", "composite_labels"):
        torch.testing.assert_close(getattr(seen, name), getattr(again, name), rtol=0, atol=0)
        torch.testing.assert_close(getattr(seen, name), getattr(other, name))
    assert seen.real.shape[:2] == (12, 2)
    assert int(seen.wrong.sum()) == 4  # 0.3 of 12
    # The figures are a tenth of a frame, in both clips of a pair: most of the label is the actor's.
    own = seen.composite_labels[:, 0].argmax(1)
    assert (own == seen.labels[seen.pairs[:, 0]]).all()
    assert not torch.equal(seen.validation, seen.test)


# Headroom


def test_correlations_are_between_sides_and_between_halves() -> None:
    headroom = module("headroom")
    generator = torch.Generator().manual_seed(0)
    worth = torch.randn(40, 1, generator=generator)
    classes = torch.arange(40) % 2
    sure = worth + 0.01 * torch.randn(40, 6, generator=generator)
    noise = torch.randn(40, 6, generator=generator)
    found = headroom.correlations(
        {"validation": sure, "held-out training": noise, "test": -sure}, classes, sure
    )
    assert found["validation and test"] < -0.95
    assert abs(found["validation and held-out training"]) < 0.4
    assert found["halves of the recordings: validation"] > 0.95
    assert abs(found["halves of the recordings: held-out training"]) < 0.4
    assert found["halves of the clips: test"] > 0.95
    assert len(found) == 3 + 3 + 1


def test_the_tables_of_headroom_compare_with_random_choices_split_by_split(
    capsys: pytest.CaptureFixture[str],
) -> None:
    headroom = module("headroom")

    def split(random: float, best: float) -> dict[str, Any]:
        arms = {"random": random, "validation, best": best}
        return {
            "arms": {
                name: {"top1": top1, "loss": 2 - top1, "validation_loss": 1.0}
                for name, top1 in arms.items()
            },
            "correlations": {"validation and test": random},
            "recordings": {"train": 9, "val": 3},
        }

    headroom.show({"1": split(0.30, 0.34), "2": split(0.40, 0.42)}, markdown=True)
    text = capsys.readouterr().out
    # Gains of 4 and 2 points: mean 3, standard deviation 1.41, over the root of 2.
    assert "| validation, best    |    34.0 |    42.0 | 38.0 | +3.0 ± 1.0 |" in text
    assert "| validation and test |    0.30 |    0.40 | 0.35 ± 0.05 |" in text
    assert "train 9 9, val 3 3" in text


def test_headroom_runs_on_a_tiny_data_set_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_data import write_tiny

    headroom = module("headroom")
    plain = headroom.settings_of

    def small(split: str, options: Namespace) -> Any:
        found = plain(split, options)
        return replace(
            found,
            clips=replace(found.clips, num_frames=4, height=32, width=40, crop=32),
            prepare=replace(found.prepare, min_gamma=0.005),
        )

    monkeypatch.setattr(headroom, "settings_of", small)
    options = Namespace(
        data=write_tiny(tmp_path / "data", train_groups=5, test_groups=2), segmenter="motion",
        pool="any", rule="actor", universe=60, draws=2, head="fitted", folds=4, network="tiny3d",
        weights=None, out=tmp_path / "out", layers=None, bank=None,
    )  # fmt: skip
    found = headroom.one_split("1", options)
    names = {f"{side}, {how}" for side, how in headroom.CHOICES}
    assert set(found["arms"]) == names | {headroom.NONE, headroom.RANDOM}
    assert found["arms"]["validation, better half"]["draws"] == 2
    assert all(math.isfinite(value) for value in found["correlations"].values())
    # What is chosen on validation pleases it.
    losses = {name: arm["validation_loss"] for name, arm in found["arms"].items()}
    assert losses["validation, best"] < losses["validation, worst"]
    monkeypatch.setattr(headroom, "open_data", None)
    assert headroom.one_split("1", options) == json.loads(json.dumps(found))
