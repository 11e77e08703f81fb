"""Stage one on tiny videos: it runs, goes on where it was cut, and says what it came to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import CLASSES, write_tiny

from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.errors import L2AError
from l2a.formats import DataSettings
from selector.agreement import label_agreement
from selector.checkpoint import load_selector
from selector.network import SelectorConfig
from selector.settings import ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train import stage_one
from train.features import all_features, selector_inputs
from train.opening import open_data
from train.prepared import Matching, PreparedData, build_matching
from train.probe import exchange_labels
from train.recipe import SelectorRecipe
from train.settings.full import ClassifierSettings, RunSettings, StageOneSettings
from train.stage_one import run_stage_one, validation_subset
from train.tracking import draw_curves
from train.trained_selector import SelectorWithTrunk, load_trained_selector

World = tuple[PreparedData, Matching]
Whole = tuple[Path, SelectorWithTrunk]
CPU = torch.device("cpu")
GEOMETRY = ClipSettings(num_frames=4, height=32, width=40, crop=32)


def recipe_of(reinforce: dict[str, Any] | None = None, **stage: Any) -> SelectorRecipe:
    plain: dict[str, Any] = {"selector_steps": 6, "selector_batch": 6, "checkpoint_every": 2,
                             "restart_every": 4, "settle": 1.0, "reward": "credit"}  # fmt: skip
    return SelectorRecipe(
        ClassifierSettings(network="tiny3d", lr=0.01, device="cpu"),
        StageOneSettings(warmup_epochs=1, validation_clips=6, **stage),
        SelectorSettings(hidden=(16, 8), agreement_scale=2.0, dropout=0.5),
        ReinforceSettings(**(plain | (reinforce or {}))),
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
    return prepared, build_matching(prepared, MatchSettings())


def trained(
    world: World, recipe: SelectorRecipe, out: Path,
    start: SelectorWithTrunk | None = None,
) -> SelectorWithTrunk:  # fmt: skip
    return run_stage_one(*world, recipe, out / "stage_one", out / "selector", start)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole")
    return out, trained(world, recipe_of(), out)


def reopened(out: Path) -> SelectorWithTrunk:
    return load_trained_selector(out / "selector", GEOMETRY, CPU, "float32", "the Selector before")


# What a training leaves behind.


def test_it_leaves_a_checkpoint_a_verdict_and_a_picture(
    whole: Whole,
) -> None:
    out, scorer = whole
    card = load_selector(out / "selector").card
    assert card == scorer.card
    assert card.classes == tuple(sorted(CLASSES))
    assert (card.trunk, card.trunk_trained, card.finetuned_from) == ("tiny3d", False, ())
    assert card.trunk_weights == "random, then 1 epochs as the classifier's"
    assert (card.reward, card.steps, card.seed, card.probe_auroc) == ("credit", 6, 0, None)
    assert card.config.input_dim == 129
    verdict = json.loads((out / "stage_one" / "verdict.json").read_text())
    assert verdict["steps"] == 6
    assert verdict["probe"] is None
    assert verdict["text"] == card.verdict != ""
    with Image.open(out / "stage_one" / "selector.png") as picture:
        assert picture.size == (1815, 440)
    assert not scorer.selector.training
    assert not any(parameter.requires_grad for parameter in scorer.trunk.parameters())


def test_what_is_stored_scores_as_what_was_trained(world: World, whole: Whole) -> None:
    prepared, matching = world
    logits = []
    for scorer in (whole[1], reopened(whole[0])):
        inputs, labels = (part[matching.rows[:4]] for part in scorer.inputs(prepared, matching))
        vectors = matching.vectors[prepared.source.labels[matching.rows[:4]]]
        assert torch.equal(labels, torch.from_numpy(vectors))
        with torch.no_grad():
            logits.append(scorer.selector(inputs, inputs.flip(0), labels, labels.flip(0)))
    assert torch.equal(*logits)


def test_a_selector_that_is_trained_further_stays_as_it_was(
    world: World, whole: Whole, tmp_path: Path
) -> None:
    """Another round begins with it, too, whether this one was made now or in an earlier call."""
    start = reopened(whole[0])
    before = {name: value.clone() for name, value in start.selector.state_dict().items()}
    after = trained(world, recipe_of(), tmp_path, start)
    assert all(torch.equal(value, start.selector.state_dict()[name])
               for name, value in before.items())  # fmt: skip
    assert not torch.equal(after.selector.first.weight, start.selector.first.weight)


def test_training_it_further_gives_a_selector_of_an_earlier_version_the_agreement_of_now(
    world: World, whole: Whole, tmp_path: Path
) -> None:
    start = reopened(whole[0])
    before = dataclasses.replace(start.card.config, agreement_across="videos")
    start.selector.config = before
    start = dataclasses.replace(start, card=dataclasses.replace(start.card, config=before))
    after = trained(world, recipe_of({"selector_steps": 1}), tmp_path, start)
    assert after.card.config.agreement_across == "recordings"
    assert start.selector.config.agreement_across == "videos"


def test_one_figure_a_step_is_kept(whole: Whole) -> None:
    _, facts = load_tensors(whole[0] / "stage_one" / "selector-state.safetensors")
    assert len(facts["curves"]) == 6
    assert all("validation_loss" in row for row in facts["curves"])
    assert ["rank_correlation" in row for row in facts["curves"]] == [False, True] * 3


def test_without_validation_there_is_nothing_to_measure(world: World, tmp_path: Path) -> None:
    prepared, matching = world
    rows = prepared.rows | {"val": prepared.rows["val"][:0]}
    with pytest.raises(L2AError, match="no validation clips"):
        trained((dataclasses.replace(prepared, rows=rows), matching), recipe_of(), tmp_path)


# That it goes on where it was cut.


class Killed(Exception):
    """Stands for a signal."""


def cut_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stage one die when it has saved the Selector's state so many times."""
    left = iter(range(saves - 1, -1, -1))

    def save_and_die(*state: Any) -> None:
        save_tensors(*state)
        if next(left) == 0:
            raise Killed

    monkeypatch.setattr(stage_one, "save_tensors", save_and_die)


def test_what_an_earlier_version_began_on_other_inputs_begins_again(
    world: World, whole: Whole, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        cut_after(1, patch)
        trained(world, recipe_of(), tmp_path)
    state = tmp_path / "stage_one" / "selector-state.safetensors"
    tensors, facts = load_tensors(state)
    del facts["taught"]  # which earlier versions did not say
    save_tensors(state, {name: value + 1 for name, value in tensors.items()}, facts)
    trained(world, recipe_of(), tmp_path)
    for file in ("selector/selector.safetensors", "stage_one/verdict.json"):
        assert (tmp_path / file).read_bytes() == (whole[0] / file).read_bytes()


@pytest.mark.parametrize("kind", ["plain", "everything", "everything finetuned"])
def test_cut_at_a_checkpoint_it_ends_with_the_same_bytes(
    world: World,
    whole: Whole,
    tmp_path: Path,
    kind: str,
) -> None:
    recipe, once, cut = recipe_of(), whole[0], tmp_path / "cut"
    if kind != "plain":
        subsets = {"reward": "counterfactual", "trajectories": 2}
        recipe, once = recipe_of(subsets, probe=0.2, trunk_lr=1e-3), tmp_path / "once"

    def run(out: Path) -> None:
        trained(world, recipe, out, reopened(whole[0]) if "finetuned" in kind else None)

    if kind != "plain":
        run(once)
    for saves in (2, 1):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            cut_after(saves, patch)
            run(cut)
    assert not (cut / "selector").exists()
    run(cut)
    files = ["selector/selector.safetensors", "selector/selector.json", "stage_one/verdict.json"]
    for file in files:
        assert (cut / file).read_bytes() == (once / file).read_bytes()
    curves = [
        load_tensors(out / "stage_one" / "selector-state.safetensors")[1]["curves"]
        for out in (cut, once)
    ]
    assert curves[0] == curves[1]
    assert (cut / "stage_one" / "selector.png").is_file()


def test_a_training_that_stops_early_stops_there_again(world: World, tmp_path: Path) -> None:
    quick = {"selector_steps": 20, "selector_lr": 1e-2, "checkpoint_every": 1, "settle": 0.05}
    scorer = trained(world, recipe_of(quick), tmp_path)
    assert scorer.card.steps < 20
    again = trained(world, recipe_of(quick), tmp_path)
    assert again.card == scorer.card


# The probe.


def test_a_probe_is_reported_and_leaves_the_labels_alone(world: World, tmp_path: Path) -> None:
    before = world[0].source.labels.copy()
    scorer = trained(world, recipe_of(probe=0.3), tmp_path)
    assert np.array_equal(world[0].source.labels, before)
    assert scorer.card.probe_auroc is not None
    assert "probe AUROC" in scorer.card.verdict
    verdict = json.loads((tmp_path / "stage_one" / "verdict.json").read_text())
    assert verdict["probe"]["auroc"] == scorer.card.probe_auroc
    compared = verdict["probe"]["mislabelled"] + verdict["probe"]["others"]
    assert compared <= len(world[0].rows["train"])
    _, facts = load_tensors(tmp_path / "stage_one" / "selector-state.safetensors")
    assert facts["curves"][-1]["probe_auroc"] == scorer.card.probe_auroc


def test_everything_in_a_probe_carries_the_exchanged_labels(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Watched(stage_one.CompositingEnvironment):
        def __init__(self, network: Any, source: Any, pool: Any, features: Any, *rest: Any) -> None:
            seen.update(source=source, pool=pool, table=features.table, labels=rest[0])
            super().__init__(network, source, pool, features, *rest)

    monkeypatch.setattr(stage_one, "CompositingEnvironment", Watched)
    recipe = recipe_of(probe=0.3)
    scorer = trained(world, recipe, tmp_path)
    prepared, matching = world
    mislabelled, wrong = exchange_labels(prepared, 0.3, 0)
    labels = mislabelled.source.labels
    assert np.array_equal(seen["source"].labels, labels)
    assert torch.equal(seen["labels"], torch.from_numpy(matching.vectors[labels]))
    matched = {(match.foreground, match.background) for match in matching.matches}
    assert {tuple(labels[list(pair)].tolist()) for pair in seen["pool"]} <= matched
    assert any(wrong[list(pair)].any() for pair in seen["pool"])
    features = all_features(scorer.trunk, prepared)[matching.rows]
    recordings = torch.from_numpy(prepared.recordings)[matching.rows]
    agreement = label_agreement(features, torch.from_numpy(labels[matching.rows]), recordings)
    assert torch.equal(seen["table"][matching.rows, -1], agreement)


# The trunk.


def test_a_trained_trunk_is_stored_and_another_than_the_frozen_one(
    world: World, whole: Whole, tmp_path: Path
) -> None:
    scorer = trained(world, recipe_of(trunk_lr=1e-3), tmp_path)
    assert scorer.card.trunk_trained
    assert not any(parameter.requires_grad for parameter in scorer.trunk.parameters())
    stored, frozen = reopened(tmp_path).trunk.state_dict(), whole[1].trunk.state_dict()
    for name, value in scorer.trunk.state_dict().items():
        assert torch.equal(value, stored[name]), name
        learned = name.endswith(("weight", "bias"))
        assert torch.equal(value, frozen[name]) != learned, name


# Fine-tuning.


@pytest.mark.parametrize("trunk_lr", [0.0, 1e-3])
def test_finetuning_begins_with_what_was_learned(
    world: World,
    whole: Whole,
    tmp_path: Path,
    trunk_lr: float,
) -> None:
    out, before = whole
    slow = recipe_of({"selector_steps": 1, "selector_lr": 1e-4}, trunk_lr=trunk_lr)
    scorer = trained(world, slow, tmp_path, reopened(out))
    assert scorer.card == dataclasses.replace(
        before.card, steps=7, trunk_trained=trunk_lr > 0, verdict=scorer.card.verdict,
        finetuned_from=before.card.classes, curves=scorer.card.curves,
        reliability=scorer.card.reliability,
    )  # fmt: skip
    assert [len(values) for values in scorer.card.curves.values()] == [1, 1, 1]  # of one step
    assert sum(before.card.videos) == len(world[0].rows["train"])
    assert "at step 1" in scorer.card.verdict
    old, new = before.selector.state_dict(), scorer.selector.state_dict()
    for name in ("feature_mean", "feature_scale"):
        assert torch.equal(old[name], new[name])
    step = (old["first.weight"] - new["first.weight"]).abs()
    assert 0 < step.max().item() <= 1.01e-4  # one step of Adam away
    trunk, other = before.trunk.state_dict(), scorer.trunk.state_dict()
    moved = {name for name in trunk if not torch.equal(trunk[name], other[name])}
    assert bool(moved) == (trunk_lr > 0)


# Its parts.


def test_validation_rows_are_few_even_and_drawn_once(world: World) -> None:
    prepared, _ = world
    rows = validation_subset(prepared, 3, seed=0)
    assert set(rows) <= set(prepared.rows["val"])
    assert sorted(prepared.source.labels[rows]) == [0, 1, 2]
    assert np.array_equal(rows, validation_subset(prepared, 3, seed=0))
    assert np.array_equal(validation_subset(prepared, 99, seed=1), np.sort(prepared.rows["val"]))


def test_agreement_stands_behind_the_features_of_the_rows_it_is_among(
    world: World,
) -> None:
    prepared, matching = world
    features = torch.randn(len(prepared.bank), 4, generator=torch.Generator().manual_seed(0))
    rows = matching.rows
    config = SelectorConfig(4, 3, agreement_scale=2.0)
    found = selector_inputs(features, prepared, matching, config)
    assert torch.equal(found[:, :4], features)
    classes = torch.from_numpy(prepared.source.labels[rows])
    recordings = torch.from_numpy(prepared.recordings)[rows]
    assert torch.equal(found[rows, 4], label_agreement(features[rows], classes, recordings))
    before = dataclasses.replace(config, agreement_across="videos")  # as earlier versions did
    found = selector_inputs(features, prepared, matching, before)
    alone = torch.arange(len(rows))
    assert torch.equal(found[rows, 4], label_agreement(features[rows], classes, alone))
    assert found[np.setdiff1d(np.arange(len(prepared.bank)), rows), 4].abs().max() == 0
    without = dataclasses.replace(config, agreement_scale=0.0)
    assert torch.equal(selector_inputs(features, prepared, matching, without), features)


def test_curves_are_drawn_from_whatever_there_is(tmp_path: Path) -> None:
    for name, curves in (("none", []), ("one", [{"omega_mean": 0.5}])):
        draw_curves(tmp_path / f"{name}.png", curves, "nothing yet")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_a_card_of_another_geometry_is_refused(whole: Whole) -> None:
    other = dataclasses.replace(GEOMETRY, num_frames=8)
    with pytest.raises(L2AError, match=r"num_frames 4 and not 8.*--num-frames 4"):
        load_trained_selector(whole[0] / "selector", other, CPU, "float32", "the Selector before")
