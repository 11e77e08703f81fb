"""The questions of an advice: by hand, and on planted features whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from planted import CLASSES, PlantedBank, planted_data

from l2a.arguments import parse
from l2a.errors import InputError
from l2a.videos import Video, VideoSet
from selector.reliability import Reliability, class_rank_correlation
from train.advice.advise import _Questions
from train.advice.arms import NONE, Arm, Bench, Drawable, HeldOut, drawable_pools
from train.advice.chance import chance_of_agreement
from train.advice.doubts import (
    Doubts,
    Noise,
    answer_labels,
    doubts_of,
    find_doubts,
    fit_noise,
    neighbour_lifts,
)
from train.advice.looking import CannotSay, Folds, sampled
from train.advice.masks import answer_masks
from train.advice.paying import Payment, answer_pays, choose_arm, compare
from train.advice.recommend import Known, recommend, settings_yaml
from train.advice.reward import Agreement, answer_reward, tells
from train.advice.scenes import HeldOutScenes
from train.advice.seeing import answer_eyes, answer_scenes
from train.command_table import ALL_GROUPS, COMMANDS
from train.estimates import Estimate
from train.frozen.head import STRENGTHS, HeadProblem, choose_l2, walk_l2
from train.prepared import PreparedData
from train.scene_test.cast import Cast, Listed
from train.scene_test.clips import SceneClips
from train.scene_test.scores import SAID
from train.settings.advice import AdviceSettings, EyesSettings


def bench_of(prepared: PreparedData, folder: Path, bank: PlantedBank | None = None) -> Bench:
    bank = bank or PlantedBank(prepared)
    return Bench(prepared, cast(Any, bank), Folds.deal(prepared, 5, 0), None, 2, 0, folder)


def measured(
    bench: Bench, pools: tuple[str, ...] = ("1", "any")
) -> tuple[dict[str, HeldOut], Payment]:
    drawable, refused = drawable_pools(bench.prepared, pools, 0)
    assert not refused
    held, few = bench.measure(drawable)
    assert not few
    return held, compare(bench.prepared, bench.folds, held, None)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, dict[str, HeldOut], Payment]:
    bench = bench_of(planted_data(), tmp_path_factory.mktemp("planted"))
    return bench, *measured(bench)


# What is kept


def test_features_of_scenes_are_kept_apart_by_the_bank_that_their_clips_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banks that lie beside each other share the folder: the same ids, crop and blend, clips of
    another length."""
    made = iter((1.0, 2.0))
    monkeypatch.setattr(
        "train.advice.advise.answers",
        lambda predict, clips: {"scene_alone": np.full((1, 2), next(made), np.float32)},
    )
    questions = _Questions(*[cast(Any, None)] * 4, cast(Any, SimpleNamespace(folder=tmp_path)))
    source = planted_data().source
    for print_, expected in (("of 8 frames", 1.0), ("of 4 frames", 2.0), ("of 8 frames", 1.0)):
        bank = SimpleNamespace(fingerprint=print_)
        clips = SimpleNamespace(
            source=replace(source, bank=cast(Any, bank)), cast=SimpleNamespace(mark="ids")
        )
        found = questions._scene_features(cast(Any, clips))
        assert found["scene_alone"].tolist() == [[expected] * 2]


# Folds and samples


@given(
    train=st.integers(2, 6), val=st.integers(0, 2), count=st.integers(3, 6),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_no_recording_stands_on_two_sides(train: int, val: int, count: int, seed: int) -> None:
    prepared = planted_data(train, val)
    folds = Folds.deal(prepared, count, seed)
    assert sorted(folds.measured.tolist()) == prepared.rows["train"].tolist()
    for fold in range(len(folds.parts)):
        sides = folds.sides(fold)
        seen = [set(prepared.recordings[rows].tolist()) for rows in (
            sides.fit, sides.tune, sides.measure)]  # fmt: skip
        assert all(seen)
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
        rows = np.concatenate([sides.fit, sides.tune, sides.measure])
        assert not np.isin(rows, prepared.rows["test"]).any()


def test_a_class_of_one_recording_is_left_out_and_named() -> None:
    prepared = planted_data()
    first = CLASSES[0]
    rows = [
        row for row in prepared.rows["train"].tolist()
        if not prepared.bank.ids[row].startswith(first) or "train-0" in prepared.bank.ids[row]
    ]  # fmt: skip
    fewer = replace(prepared, rows=prepared.rows | {"train": np.array(rows)})
    folds = Folds.deal(fewer, 5, 0)
    assert folds.alone == (first,)
    assert folds.classes == (1, 2, 3)
    assert not (prepared.source.labels[folds.measured] == 0).any()
    assert not (prepared.source.labels[folds.tune] == 0).any()


@pytest.mark.parametrize(("train", "val", "word"), [(1, 1, "recording"), (1, 0, "recording")])
def test_without_recordings_a_sentence_says_why(train: int, val: int, word: str) -> None:
    with pytest.raises(CannotSay, match=word):
        Folds.deal(planted_data(train, val), 5, 0)


def test_a_sample_has_each_class_and_many_recordings() -> None:
    videos = [
        Video(f"{name}/{group}-{clip}", "x", name, f"{name}{group}", split)
        for name in "ab" for group in range(10) for clip in range(5)
        for split in (["train", "val"][group > 7],)
    ]  # fmt: skip
    whole = VideoSet(Path("d"), "folder", ("a", "b"), tuple(videos))
    made = sampled(whole, 40)
    assert sampled(whole, 100) is whole
    assert "--videos" in made.notes[-1]
    for name in "ab":
        for split, count in (("train", 16), ("val", 4)):
            own = [v for v in made.of_split(split) if v.label == name]
            assert len(own) == count
            groups = {v.group for v in own}
            assert len(groups) == (8 if split == "train" else 2)


# Heads


def test_a_strength_is_walked_to(planted: tuple[Bench, dict[str, HeldOut], Payment]) -> None:
    """From any start as good as all strengths tried, where the loss has one valley."""
    bench = planted[0]
    sides = bench.folds.sides(0)
    source, bank = bench.prepared.source, bench.bank
    problem = HeadProblem(bank.centre(sides.fit), source.one_hot(sides.fit))
    tune = bank.centre(sides.tune), source.one_hot(sides.tune)
    best = choose_l2([problem], *tune)
    for start in (1.0, 1e-3, STRENGTHS[-1]):
        walked = walk_l2([problem], *tune, start)
        assert walked.l2 == best.l2 == walked.heads[0].l2
        assert walked.losses[walked.l2] == min(walked.losses.values())


# Does it pay


def own(top1: float, loss: float = 0.0, mixed_rand: float = 0.0) -> dict[str, Estimate]:
    return {
        "top1": Estimate(top1, 0.01), "loss": Estimate(loss, 0.01),
        "mixed_rand": Estimate(mixed_rand, 0.01),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ({"a": own(0.05), "b": own(0.06)}, ("b", "top1")),
        ({"a": own(0.05), "b": own(0.01, -0.2)}, ("a", "top1")),
        ({"a": own(0.01, -0.05), "b": own(0.0, -0.2)}, ("b", "loss")),
        ({"a": own(-0.05, -0.2), "b": own(0.0, -0.03)}, ("b", "loss")),
        ({"a": own(0.05, 0.2)}, (None, "")),
        ({"a": own(0.0, 0.0, 0.1)}, ("a", "mixed_rand")),
        ({"a": own(-0.05, 0.0, 0.1)}, (None, "")),
        ({"a": own(0.021), "b": own(0.0)}, (None, "")),  # two errors are too few for two arms
        ({"a": own(0.023)}, (None, "")),  # and too few for three figures: 2.39 are asked for
        ({"a": {"top1": Estimate(0.023, 0.01), "loss": Estimate(0, 0.01)}}, ("a", "top1")),
        ({}, (None, "")),
    ],
)
def test_what_is_advised(arms: Any, expected: Any) -> None:
    assert choose_arm(arms) == expected


def test_planted_scenes_make_composites_pay(
    planted: tuple[Bench, dict[str, HeldOut], Payment],
) -> None:
    """Scenes of few recordings drown the actor; on any scene it is seen for what it is."""
    _, held, payment = planted
    assert payment.pays is not None and payment.pays.name == "any | actor"
    assert payment.differences["any | actor"]["top1"].mean > 0.1
    said = answer_pays(payment, held, {"3": "too few"}, 2)
    assert said.verdict.startswith("Yes, with any | actor: accuracy +")
    assert any("the pool 3: too few" in line for line in said.lines)
    assert said.table is not None and len(said.table.rows) == 4
    assert said.figures["advised"] == "any | actor"


def test_composites_that_add_nothing_make_no_difference(tmp_path: Path) -> None:
    prepared = planted_data()
    bench = bench_of(prepared, tmp_path, PlantedBank(prepared, swap=False))
    held, payment = measured(bench, ("any",))
    assert payment.pays is None
    assert "No difference" in answer_pays(payment, held, {}, 2).verdict


def test_pairs_of_a_fold_are_of_its_fit_side_and_test_rows_are_never_asked_for(
    planted: tuple[Bench, dict[str, HeldOut], Payment],
) -> None:
    bench = planted[0]
    pools, _ = drawable_pools(bench.prepared, ("1", "any", "independent"), 0)
    for pool in pools:
        for fold in range(5):
            fit = bench.folds.sides(fold).fit
            listed = pool.within(fit).pool
            assert np.isin(listed.pairs(np.arange(len(listed))), fit).all()
    asked = cast(Any, bench.bank).asked
    assert asked and not asked & set(bench.prepared.rows["test"].tolist())


def test_what_was_measured_is_read_again(
    planted: tuple[Bench, dict[str, HeldOut], Payment],
) -> None:
    bench, held, _ = planted
    pools, _ = drawable_pools(bench.prepared, ("1", "any"), 0)
    again = replace(bench, bank=cast(Any, _Blind()))
    for name, found in again.measure(pools)[0].items():
        assert (found.probabilities == held[name].probabilities).all()
        assert (found.losses == held[name].losses).all()


class _Blind:
    """Whoever computes again fails."""


def test_pools_that_cannot_be_are_named() -> None:
    prepared = planted_data(fit=False)
    pools, refused = drawable_pools(prepared, ("1", "9"), 0)
    assert not pools
    assert "No pair can be composited" in refused["1"]
    assert "nearest" in refused["9"]


# Eyes and scenes


def test_eyes_are_held_against_chance(tmp_path: Path) -> None:
    prepared = planted_data()
    said = {}
    for strength in (0.0, 3.0):
        eyes = PlantedBank(prepared, strength=strength)
        bench = bench_of(prepared, tmp_path / str(strength), eyes)
        held = bench.measure([])[0][NONE]
        said[strength] = answer_eyes(prepared, bench.folds, held)
        top1 = said[strength].figures["top1"]
        assert top1["mean"] == pytest.approx(held.right.mean(), abs=1e-6)
        assert f"{100 * top1['mean']:.1f} ± {100 * top1['error']:.1f} %" in said[strength].verdict
        assert "cannot be said" in answer_scenes(bench.folds, held, None).verdict
    assert "no difference to chance" in said[0.0].verdict
    assert "no difference" not in said[3.0].verdict
    assert said[3.0].figures["chance"] == said[3.0].figures["largest_class"] == 0.25


def test_chance_for_scenes_is_no_less_than_naming_the_largest_class() -> None:
    """Of 4 clips 3 are of class 0, of 2 classes; of the scenes of actors on others 1 of 4 is."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    lists = {
        "scene_alone": Listed(np.array([[0, 0], [1, 1], [2, 2], [3, 3]]), np.arange(4)),
        "mixed_rand": Listed(np.array([[0, 3], [1, 4], [2, 5], [3, 0]]), np.arange(4)),
    }
    source = replace(planted_data().source, labels=labels)
    clips = SceneClips(source, Cast(np.arange(4), lists, "abcdef"), np.arange(4), 4)
    scenes = HeldOutScenes(clips, {}, {})
    right = np.array([1.0, 1, 1, 0])  # a head that says 0 of everything
    held = cast(Any, SimpleNamespace(scenes={
        "scene_alone": right, "mixed_rand": right, SAID: 1 - right,
    }))  # fmt: skip
    said = answer_scenes(cast(Any, SimpleNamespace(classes=(0, 1))), held, scenes)
    assert said.verdict.endswith("of the clips away: no difference to chance, 75.0 %.")
    chances = {name: said.figures[name]["chance"] for name in held.scenes}
    assert chances == {"scene_alone": 0.75, "mixed_rand": 0.75, SAID: 0.75}
    assert "of the actors are known (chance 75.0 %)" in said.lines[0]


# Reward


def test_the_reliability_of_a_reward_is_said(
    planted: tuple[Bench, dict[str, HeldOut], Payment],
) -> None:
    bench = planted[0]
    pools, _ = drawable_pools(bench.prepared, ("any",), 0)
    said, validation, crossfit = answer_reward(bench, pools[0], "actor", 0.01)
    assert validation is not None and validation.recordings == 8
    assert f"{validation.whole:.2f}" in said.verdict
    assert crossfit is not None and crossfit.recordings == 20
    assert f"{crossfit.value:.2f}; chance is 0 ± {crossfit.chance:.2f}" in said.lines[1]
    assert said.figures["crossfit"]["recordings"] == 20


def test_a_reward_of_few_recordings_is_said_to_be_unknown(tmp_path: Path) -> None:
    prepared = planted_data(5, 1)
    bench = bench_of(prepared, tmp_path)
    pools, _ = drawable_pools(prepared, ("any",), 0)
    said, validation, crossfit = answer_reward(bench, pools[0], "actor", 0.01)
    few = (
        "validation holds only 4 recordings: too few to tell how reliable the reward is, which "
        "takes 8"
    )
    assert validation is None and crossfit is not None
    assert said.verdict == f"That is not known: {few}."
    assert said.figures["validation"] == {"recordings": 4}
    known = Known(EyesSettings(), payment(ANY), None, None, recordings=4)
    assert [(one.value, one.why) for one in recommend(known) if one.name == "selection"] == [
        ("random", few)
    ]
    assert not tells(Reliability(0.9, 0.0, 2))  # two recordings have one halving


def test_chance_of_agreement_knows_that_pairs_share_recordings() -> None:
    """In worlds of noise, of the recordings and of the pair alone: old errors of (n − C)^−½ take
    it for a finding in one world of six."""
    told = {"pairs": 0, "recordings": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sides = rng.integers(24, size=(200, 2))
        classes = sides[:, 0] % 4
        first, second = (
            torch.from_numpy(
                rng.normal(size=24)[sides[:, 0]] + rng.normal(size=24)[sides[:, 1]]
                + 0.5 * rng.normal(size=200)
            )
            for _ in range(2)
        )  # fmt: skip
        value = class_rank_correlation(first[:, None], second[:, None], torch.from_numpy(classes))
        chance = chance_of_agreement(first, second, sides, classes, seed)
        told["recordings"] += Agreement(float(value), chance, 24).tells
        told["pairs"] += Agreement(float(value), 196**-0.5, 24).tells
    assert told["pairs"] >= 7
    assert told["recordings"] <= 5  # of 60; one in forty is to be expected


def test_chance_of_pairs_that_share_nothing_is_that_of_ranks() -> None:
    first, second = torch.randn(2, 120, generator=torch.Generator().manual_seed(0)).double()
    alone = np.arange(240).reshape(120, 2)
    found = chance_of_agreement(first, second, alone, np.zeros(120, np.int64), 0)
    assert found == pytest.approx(119**-0.5, rel=0.15)
    assert math.isinf(chance_of_agreement(first, second, alone, np.arange(120), 0))


def test_a_reward_without_recordings_has_no_reliability(tmp_path: Path) -> None:
    prepared = planted_data(2, 0)
    folds = Folds.deal(prepared, 3, 0)
    bench = Bench(prepared, cast(Any, PlantedBank(prepared)), folds, None, 2, 0, tmp_path)
    pools, _ = drawable_pools(prepared, ("any",), 0)
    said, validation, crossfit = answer_reward(bench, pools[0], "actor", 0.01)
    assert validation is None and crossfit is None
    assert "cannot be said" in said.verdict


# Labels


def test_doubts_by_hand() -> None:
    """Of the sure clips four have another label: one is contradicted by the neighbours, too."""
    sure, unsure = [0.01, 0.99], [0.3, 0.7]
    logs = np.log([sure] * 40 + [unsure] * 60)
    labels = np.array([0] * 4 + [1] * 36 + [0] * 20 + [1] * 40)
    lifts = np.array([[0.5, 1.5], [1.2, 0.8], *[[1.0, 1.0]] * 98])
    found = find_doubts(logs, lifts, labels, np.arange(100), np.arange(100) + 10)
    assert found.noise.temperature == pytest.approx(1, abs=0.01)
    assert found.noise.share == pytest.approx(0.09)  # 4 of 40, of which 1 % are to be expected
    assert [(one.row, one.label, one.looks_like) for one in found.found] == [(10, 0, 1)]
    one = found.found[0]
    assert one.neighbours == (0.5, 1.5)
    share = found.noise.share  # of two classes a wrong label is the other one
    floor = share * (1 - one.own)
    assert one.wrong == pytest.approx(floor / ((1 - share) * one.own + floor))
    assert found.by_chance == pytest.approx(1 - one.wrong)


@pytest.mark.parametrize(("wrong", "sure"), [(0, 3.0), (0, 6.0), (20, 6.0), (60, 6.0)])
def test_wrong_labels_are_told_from_eyes_that_err(wrong: int, sure: float) -> None:
    """Labels are drawn from what the eyes hold for likely; then some are exchanged."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(sure * rng.normal(size=(400, 5)))
    logs = logits.log_softmax(1).numpy()
    labels = (np.exp(logs).cumsum(1) > rng.random((400, 1))).argmax(1)
    labels[:wrong] = (labels[:wrong] + rng.integers(1, 5, wrong)) % 5
    found = fit_noise(logs, labels, np.arange(400) // 2)
    assert found.share == pytest.approx(wrong / 400, abs=0.03)
    assert found.clear == (wrong > 0)
    halved = fit_noise(2 * logs, labels, np.arange(400) // 2)
    assert halved.temperature == pytest.approx(2 * found.temperature, rel=0.13)


def test_neighbours_are_of_other_recordings() -> None:
    """Two clips of one recording share a picture and a class; only the third counts."""
    features = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.9, 0.9], [-1.0, -1.0]])
    labels, recordings = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 2])
    lifts = neighbour_lifts(features, labels, recordings, 3)
    # Of the two others, one of each class, the near one is of class 1: all of the weight.
    assert lifts[0] == pytest.approx([0.0, 2.0, 1.0], abs=1e-3)


def test_planted_wrong_labels_are_found(tmp_path: Path) -> None:
    for wrong in (0.0, 0.1):
        prepared = planted_data(train=10, val=4, wrong=wrong)
        eyes = PlantedBank(prepared, strength=3.0)
        bench = bench_of(prepared, tmp_path / str(wrong), eyes)
        doubts = doubts_of(bench, bench.measure([])[0][NONE])
        truth = cast(Any, prepared.bank).truth
        mislabelled = set(np.flatnonzero(prepared.source.labels != truth).tolist())
        found = {one.row for one in doubts.found}
        said = answer_labels(prepared, doubts)
        if wrong:
            assert len(found & mislabelled) > 0.7 * len(mislabelled)
            assert len(found - mislabelled) < 0.5 * len(found)
            assert doubts.clear and doubts.noise.share == pytest.approx(0.1, abs=0.06)
            assert all(truth[one.row] == one.looks_like for one in doubts.found[:4])
            assert said.figures["videos"][0]["video"] == prepared.bank.ids[doubts.found[0].row]
        else:
            assert not doubts.clear and said.verdict.endswith("no difference to none.")


# Masks


def test_masks_are_counted_by_kind_of_reason() -> None:
    said = answer_masks(planted_data(fit=False))
    assert said.verdict == (
        "Of 40 training videos 0 (0 %) are fit as foreground and 40 (100 %) as background."
    )
    assert said.table is not None
    assert said.table.rows == (("mask too small", "foreground", "40", "100"),)
    assert CLASSES[0] in said.lines[0]
    assert answer_masks(planted_data()).table is None


# Settings


ANY = Arm(Drawable("any", cast(Any, None), cast(Any, None)), "actor")


def payment(pays: Arm | None, by: str = "top1") -> Payment:
    return Payment({ANY.name: own(0.05, -0.1, 0.1)}, pays, by if pays else "", ANY)


RELIABLE, CHANCE = Reliability(0.3, 0.1, 40), Reliability(0.02, 0.1, 40)
WRONG = Doubts((cast(Any, None),) * 30, Noise(1.0, 0.1, 0.02), 200)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Known(), {"selection": "none"}),
        (Known(EyesSettings(), payment(None)),
         {"selection": "none", "matches": "any", "label_rule": "actor", "freeze_trunk": True}),
        (Known(EyesSettings(), payment(ANY), CHANCE, None, 5),
         {"selection": "random", "matches": "any", "network": "tsn_efficientnet_lite0",
          "weights": "imagenet"}),
        (Known(EyesSettings(), payment(ANY), None, None),
         {"selection": "random"}),
        (Known(EyesSettings(flip=False), payment(ANY), RELIABLE,
               Agreement(0.07, 0.04, 99), 5, None, 80),
         {"selection": "selector", "sharpness": "auto", "validation_clips": 80, "flip": False}),
        (Known(EyesSettings("tiny3d", None), payment(ANY, "mixed_rand"), CHANCE,
               Agreement(0.12, 0.04, 99), 5),
         {"selection": "selector", "reward_folds": 5, "sharpness": "half", "network": "tiny3d",
          "weights": None}),
        (Known(EyesSettings(), payment(ANY), CHANCE, None, 5, WRONG),
         {"selection": "selector", "drop_real": 0.1}),
        (Known(EyesSettings(), payment(ANY), None, None, 5, WRONG, 0, 3),
         {"selection": "selector", "drop_real": 0.1}),
    ],
)  # fmt: skip
def test_the_settings_are_those_that_a_training_takes(
    known: Known, expected: dict[str, Any], tmp_path: Path
) -> None:
    found = recommend(known)
    values = {one.name: one.value for one in found}
    assert values == values | expected
    assert "drop_real" in expected or "drop_real" not in values
    text = settings_yaml(found, [AdviceSettings()], "layers of mine")
    assert "{" not in text
    assert yaml.safe_load(text) == values | {"layers": "layers of mine"}
    path = tmp_path / "advice.yaml"
    path.write_text(text)
    words = ["DATA", "--out", "o", "--config", str(path)]
    parsed = parse("train", "", COMMANDS["train"].groups, words, known=ALL_GROUPS).flat()
    assert {name: parsed[name] for name in values} == values
    assert parsed["layers"] == Path("layers of mine")
    assert text.count("\n# ") >= len(found)


@pytest.mark.parametrize(
    ("own", "folds", "doubts", "why"),
    [
        (RELIABLE, None, None, "the reward's reliability is 0.46 over 40 recordings"),
        (RELIABLE, None, WRONG, "the reward's reliability is 0.46 over 40 recordings"),
        (CHANCE, None, WRONG, "it tells videos with wrong labels"),
        (None, None, WRONG, "it tells videos with wrong labels"),
        (CHANCE, None, None, "the reward's reliability is 0.04: a Selector's choice would be no "
                             "difference"),
        (Reliability(0.1, 0.1, 40), None, None, "the reward's reliability is 0.18, beyond chance "
                                                "it is not: a Selector's choice would be no "
                                                "difference"),
        (CHANCE, Agreement(0.12, 0.04, 99), WRONG, "credit by cross-fitting on 99 recordings "
                                                   "agrees by 0.12 with others"),
    ],
)  # fmt: skip
def test_the_reason_for_a_selection_speaks_for_it(
    own: Reliability | None, folds: Agreement | None, doubts: Doubts | None, why: str
) -> None:
    known = Known(EyesSettings(), payment(ANY), own, folds, 5, doubts)
    [selection] = [one for one in recommend(known) if one.name == "selection"]
    assert selection.why == why


@pytest.mark.parametrize(
    ("values", "word"),
    [({"pools": ()}, "pools"), ({"pools": ("1", "1")}, "once"), ({"pools": ("near",)}, "near"),
     ({"folds": 2}, "folds"), ({"draws": 0}, "draws"), ({"videos": 5}, "videos")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(values: Any, word: str) -> None:
    with pytest.raises(InputError, match=word):
        AdviceSettings(**values)
