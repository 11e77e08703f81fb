"""Stage one with a frozen trunk, and choosing by what it found, on tiny videos."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import write_tiny

from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.clips import ClipSettings
from l2a.errors import InputError
from l2a.formats import DataSettings
from l2a.pairs import read_pairs, write_pairs
from l2a.runs import Run
from selector.card import read_card
from selector.checkpoint import load_selector
from selector.reliability import Reliability
from selector.settings import RankSettings, ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train.choosing import PairChooser
from train.frozen.environment import FrozenEnvironment
from train.opening import open_data
from train.origin import Origin
from train.prepared import Matching, PreparedData, build_matching
from train.recipe import SelectorRecipe
from train.records import as_chosen, caps_classes, write_selection
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, FullSettings, RunSettings, StageOneSettings
from train.stage_one import run_stage_one, validation_subset
from train.trained_selector import SelectorWithTrunk

World = tuple[PreparedData, Matching]
GEOMETRY = ClipSettings(num_frames=4, height=32, width=40, crop=32)


def recipe_of(freeze: bool = True, reward: str = "credit", **stage: Any) -> SelectorRecipe:
    return SelectorRecipe(
        ClassifierSettings(network="tiny3d", lr=0.01, device="cpu", freeze_trunk=freeze),
        StageOneSettings(warmup_epochs=1, validation_clips=6, frozen_pairs=20, **stage),
        SelectorSettings(hidden=(16, 8), agreement_scale=2.0, dropout=0.5),
        ReinforceSettings(reward=reward, selector_steps=6, selector_batch=6, checkpoint_every=2),  # type: ignore[arg-type]
        frozen=FrozenSettings(l2=0.01),
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share among threads, which only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("tiny")
    opened = open_data(
        write_tiny(folder / "data"), folder / "run", DataSettings(),
        PrepareSettings(min_gamma=0.005), EngineSettings(workers=1), RunSettings(),
    )  # fmt: skip
    prepared = opened.prepare(GEOMETRY, CompositeSettings())
    return prepared, build_matching(prepared, MatchSettings(matches="all"))


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SelectorWithTrunk]:
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selector.reliability.FEWEST", 2)  # there are 3 recordings
        return out, run_stage_one(*world, recipe_of(), out / "stage_one", out / "selector")


def test_it_leaves_what_a_training_on_clips_leaves(whole: tuple[Path, SelectorWithTrunk]) -> None:
    out, trained = whole
    card = load_selector(out / "selector").card
    assert card == trained.card
    assert card.reliability is not None
    assert card.trunk_weights == "random, left as they were"
    verdict = json.loads((out / "stage_one" / "verdict.json").read_text())
    assert verdict["reliability"] == dataclasses.asdict(card.reliability)
    assert verdict["calibration"]["scale"] > 0
    assert "the reward agrees with itself by" in verdict["text"]
    assert "spreads by" in verdict["text"]
    assert not (out / "stage_one" / "warmup.safetensors").exists()
    readme = (out / "selector" / "README.md").read_text()
    assert "**Reliability of its reward:**" in readme
    curves = json.loads((out / "stage_one" / "curves.json").read_text())
    assert ["reliability" in row for row in curves] == [False, True] * 3


def test_the_same_again_is_the_same(
    world: World, whole: tuple[Path, SelectorWithTrunk], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("selector.reliability.FEWEST", 2)
    run_stage_one(*world, recipe_of(), tmp_path / "stage_one", tmp_path / "selector")
    for file in ("selector/selector.safetensors", "selector/selector.json"):
        assert (tmp_path / file).read_bytes() == (whole[0] / file).read_bytes()


@pytest.mark.parametrize(
    ("freeze", "reward", "stage"),
    [
        (True, "counterfactual", {"fresh_head": False}),
        (True, "credit", {"reward_folds": 4, "fresh_head": False, "probe": 0.2}),
        (False, "credit", {"reward_folds": 4}),
    ],
)
def test_other_ways_to_measure_train_too(
    world: World, tmp_path: Path, freeze: bool, reward: str, stage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    said: list[str] = []
    monkeypatch.setattr("train.frozen.stage_one.say", said.append)
    made: list[FrozenEnvironment] = []

    class Watched(FrozenEnvironment):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("train.frozen.stage_one.FrozenEnvironment", Watched)
    recipe = recipe_of(freeze, reward, **stage)
    trained = run_stage_one(*world, recipe, tmp_path / "stage_one", tmp_path / "selector")
    [environment] = made
    assert environment._start[0].any() == (not recipe.stage.fresh_head)
    prepared = world[0]
    folded = "reward_folds" in stage
    assert trained.card.reliability is None
    if folded:
        assert trained.card.recordings is None
    else:
        chosen = validation_subset(prepared, 6, 0)
        recordings = len(np.unique(prepared.recordings[chosen]))
        assert trained.card.recordings == recordings < 8
        few = f"validation holds only {recordings} recordings: too few to tell"
        assert few in trained.card.verdict
        sharpness = chooser(world, "auto").sharpness(trained)
        assert sharpness.used == "random" and few in str(sharpness)
    assert ("the warmed-up trunk is not" in " ".join(said)) == (folded and not freeze)


def test_folds_without_the_reward_that_uses_them_are_refused() -> None:
    with pytest.raises(InputError, match="reward_folds is 4, and the reward moving-average"):
        recipe_of(reward="moving-average", reward_folds=4)
    for wrong in (-1, 1, 3):
        with pytest.raises(InputError, match="4 or more"):
            StageOneSettings(reward_folds=wrong)
    with pytest.raises(InputError, match="frozen_pairs is 3"):
        StageOneSettings(frozen_pairs=3)


# Validation of many recordings.


def test_one_clip_of_each_recording_comes_before_a_second_one(world: World) -> None:
    prepared = world[0]
    rows = np.arange(12)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    recordings = np.array([0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 4])
    source = dataclasses.replace(prepared.source, labels=labels)
    made = dataclasses.replace(prepared, rows={"val": rows}, source=source)
    made.__dict__["recordings"] = recordings
    for seed in range(5):
        five = validation_subset(made, 5, seed)
        assert set(recordings[five]) == {0, 1, 2, 3, 4}
        assert np.bincount(labels[five]).tolist() == [3, 2]
        six = validation_subset(made, 6, seed)
        assert np.bincount(labels[six]).tolist() == [3, 3]
        assert np.bincount(recordings[six]).tolist() == [1, 1, 1, 2, 1]
        eight = validation_subset(made, 8, seed)
        assert np.bincount(recordings[eight]).tolist() == [2, 1, 1, 3, 1]
        assert validation_subset(made, 99, seed).tolist() == list(range(12))
    assert len({tuple(validation_subset(made, 5, seed)) for seed in range(9)}) > 1


# Choosing.


def chooser(world: World, sharpness: str, seed: int = 0) -> PairChooser:
    rank = RankSettings(sharpness=sharpness)
    return PairChooser(*world, rank, 8, seed)


def reliable(trained: SelectorWithTrunk, halves: float | None) -> SelectorWithTrunk:
    found = None if halves is None else Reliability(halves, 0.01, 30)
    card = dataclasses.replace(trained.card, reliability=found, recordings=None)
    return dataclasses.replace(trained, card=card)


def test_the_card_of_an_earlier_version_says_nothing_of_reliability(
    whole: tuple[Path, SelectorWithTrunk],
) -> None:
    path = whole[0] / "selector" / "selector.json"
    document = json.loads(path.read_text())
    assert read_card(path, document).reliability == whole[1].card.reliability
    del document["reliability"]
    assert read_card(path, document).reliability is None
    for wrong in ({"halves": 1.5, "spread": 0.1, "recordings": 9}, {"halves": 0.5}, [1], "high"):
        with pytest.raises(InputError, match="train the Selector again"):
            read_card(path, document | {"reliability": wrong})


@pytest.mark.parametrize(
    ("halves", "used"),
    [(None, "best"), (0.5, "best"), (0.2, "best"), (0.08, "half"), (0.0, "random")],
)
def test_auto_goes_by_the_selectors_card(
    world: World, whole: tuple[Path, SelectorWithTrunk], halves: float | None, used: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    said: list[str] = []
    monkeypatch.setattr("train.choosing.say", said.append)
    trained = reliable(whole[1], halves)
    choice = chooser(world, "auto").best(trained, EngineSettings())
    same = chooser(world, used).best(trained, EngineSettings())
    assert np.array_equal(choice.selection.pairs, same.selection.pairs)
    assert said[0].startswith(f"sharpness {used}: ")
    settings = FullSettings(rank=RankSettings(sharpness="auto"))
    path = tmp_path / "pairs.parquet"
    write_selection(path, choice, world[0], Origin.of(settings, tmp_path))
    pairs, meta = read_pairs(path)
    assert meta["sharpness"]["asked"] == "auto"
    assert meta["sharpness"]["used"] == used
    logits = [pair.logit for pair in pairs]
    assert logits == sorted(logits, reverse=True)
    run = Run(tmp_path)  # draws are as sharp as that choice, whatever auto would be now
    assert as_chosen(run, settings.rank).sharpness == used
    assert as_chosen(run, RankSettings(sharpness="0.3")).sharpness == "0.3"
    assert as_chosen(Run(tmp_path / "new"), settings.rank).sharpness == "auto"
    # Nor are classes capped where the pairs of an earlier version are not.
    assert caps_classes(run) and caps_classes(Run(tmp_path / "new"))
    assert isinstance(meta["caps"], dict) and meta["caps"].pop("foreground_class")
    write_pairs(path, pairs, meta)
    assert not caps_classes(run)
    plain = dataclasses.replace(chooser(world, "auto"), caps_classes=False)
    assert plain.caps == dataclasses.replace(chooser(world, "auto").caps, foreground_class=None)


def test_draws_are_several_and_the_first_is_the_choice(
    world: World, whole: tuple[Path, SelectorWithTrunk]
) -> None:
    trained = whole[1]
    half = chooser(world, "half")
    drawn = half.draws(3, trained)
    first = half.best(trained, EngineSettings()).selection.pairs
    assert np.array_equal(drawn[0], first)
    assert len({pairs.tobytes() for pairs in drawn}) == 3
    best = chooser(world, "best").draws(2, trained)
    assert np.array_equal(*best)
    random = half.draws(2)
    assert np.array_equal(random[0], half.at_random())
    assert not np.array_equal(*random)
    other = chooser(world, "half", seed=1).draws(1, trained)[0]
    assert not np.array_equal(other, first)
