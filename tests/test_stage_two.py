"""Stage two's arms: seeds, resuming, the table."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from banks import make_source

from compositing.layers import LayerStore
from l2a.errors import L2AError
from train import stage_two
from train.accuracy import Arm, table, uncertainty
from train.arms import ArmPlan
from train.metrics import measure
from train.mix import NO_PAIRS
from train.parallel import TrainingPool
from train.prepared import PreparedData
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.stage_two import StageTwo, costs_of
from train.trainer import TrainingJob


def stage_of(folder: Path, **settings: Any) -> StageTwo:
    """Two classes, nine training clips, three test clips."""
    source = make_source(folder / "bank", classes=3)
    rows = {"train": np.arange(9), "val": np.arange(0), "test": np.arange(9, 12)}
    videos: Any = SimpleNamespace(classes=("a", "b", "c"), videos=())
    prepared = PreparedData(videos, source.bank, source, rows, {}, cast(LayerStore, None))
    classifier = ClassifierSettings(network="tiny3d", epochs=2, batch_size=4, device="cpu")
    stage = StageTwoSettings(composites_per_batch=2, **settings)
    return StageTwo(prepared, classifier, stage, folder / "stage_two", 7, workers=1)


def test_repeats_have_seeds_of_their_own_and_are_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    class Watched(stage_two.Trainer[Any]):
        def __init__(self, job: TrainingJob[Any], *given: Any) -> None:
            seeds.append(job.seed)
            super().__init__(job, *given)

    monkeypatch.setattr(stage_two, "Trainer", Watched)
    stage = stage_of(tmp_path, repeats=3)
    first, second = (stage.run([ArmPlan("none", "none")], {"none": NO_PAIRS}) for _ in range(2))
    assert seeds == [7, 1007, 2007]
    assert first == second
    assert len(first[0].results) == 3
    assert not list(tmp_path.rglob("state.safetensors"))


def test_trainings_side_by_side_end_as_one_by_one(tmp_path: Path) -> None:
    plans = [ArmPlan("none", "none"), ArmPlan("random", "random")]
    pairs = {"none": NO_PAIRS, "random": np.array([[0, 1], [3, 4], [6, 2]])}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one_by_one = stage_of(tmp_path / "one").run(plans, pairs)
    finally:
        torch.set_num_threads(before)
    stage = dataclasses.replace(stage_of(tmp_path / "two"), workers=2)
    assert stage.run(plans, pairs) == one_by_one
    for name in ("none-0", "random-0"):
        files = [tmp_path / run / "stage_two" / name for run in ("one", "two")]
        one, two = ((folder / "classifier.safetensors").read_bytes() for folder in files)
        assert one == two


def test_an_error_in_one_training_ends_the_others_and_is_raised(tmp_path: Path) -> None:
    stage = dataclasses.replace(stage_of(tmp_path, repeats=2), workers=2)
    stage = dataclasses.replace(stage, classifier=dataclasses.replace(stage.classifier, lr=1e30))
    with pytest.raises(L2AError, match=r"give a lower --lr \(it is 1e\+30\), with another --out"):
        stage.run([ArmPlan("none", "none")], {"none": NO_PAIRS})
    assert not multiprocessing.active_children()


def test_a_training_whose_memory_does_not_suffice_says_what_takes_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("train.objectives.supervised.Supervised.loss", no_memory)
    with pytest.raises(
        L2AError,
        match=r"^Out of memory: there is too little for a training on cpu in batches of 4 clips, "
        r"all at once; give a smaller --micro-batch \(such as 2\) or --batch-size, with another "
        r"--out and the same --layers and --bank \(RUN/layers and RUN/bank where none were "
        r"given\), which keep what is made\.$",
    ):
        stage_of(tmp_path).run([ArmPlan("none", "none")], {"none": NO_PAIRS})


def test_how_trainings_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("train.parallel.usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert TrainingPool.of(0, 9, cpu) == TrainingPool(8, 1)
    assert TrainingPool.of(0, 3, cpu) == TrainingPool(3, 2)
    assert TrainingPool.of(2, 9, cpu) == TrainingPool(2, 4)
    here = torch.get_num_threads()
    assert TrainingPool.of(1, 9, cpu) == TrainingPool.of(0, 1, cpu) == TrainingPool(1, here)
    assert TrainingPool.of(0, 9, torch.device("cuda")).processes == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # the share of one of several runs
    assert TrainingPool.of(3, 3, cpu) == TrainingPool(3, 1)


def test_arms_take_as_many_steps_where_composites_replace_real_clips(tmp_path: Path) -> None:
    """Nine clips, and batches of four with two composites: five steps; and five of four clips."""
    plans = [ArmPlan("none", "none"), ArmPlan("random", "random")]
    pairs = {"none": NO_PAIRS, "random": np.array([[0, 1], [3, 4], [6, 2]])}
    stage = dataclasses.replace(stage_of(tmp_path, replace_real=True), replaced=True)
    stage.run(plans, pairs)
    costs = costs_of(stage.folders(plans))
    # Of the ninth clip's batch one is missing: an epoch has 4 · 4 + 3 clips.
    assert {name: (cost["steps"], cost["clips"]) for name, cost in costs.items()} == {
        "none": (10, 40), "random": (10, 38),
    }  # fmt: skip
    alone = stage_of(tmp_path / "alone", replace_real=True)
    alone.run(plans[:1], pairs)
    assert costs_of(alone.folders(plans[:1]))["none"]["steps"] == 6


def test_the_table_gives_gain_and_spread_by_hand() -> None:
    arms = [
        Arm("selector", ({"top1": 0.5}, {"top1": 0.7})),
        Arm("none", ({"top1": 0.4}, {"top1": 0.4})),
    ]
    lines = table(arms, clips=100).splitlines()
    assert lines[1].split() == ["selected", "pairs", "60.0%", "14.1", "+20.0", "50.0", "70.0"]
    assert lines[2].split() == ["no", "composites", "40.0%", "0.0", "40.0", "40.0"]
    assert "±5.0" in lines[3]  # sqrt(0.5 x 0.5 / 100)


def test_an_augmentation_has_a_row_of_its_own_and_names_of_any_length() -> None:
    arms = [
        Arm("none", ({"top1": 0.4},)),
        Arm("selector+videomix:per-frame", ({"top1": 0.5},)),
        Arm("objectmix+or", ({"top1": 0.3},)),
    ]
    lines = table(arms, clips=100).splitlines()
    assert lines[2].startswith("selected pairs + videomix:per-frame  ")
    assert lines[3].split() == ["objectmix+or", "30.0%", "0.0", "-10.0", "30.0"]
    assert len({line.index("%") for line in lines[1:4]}) == 1


def test_how_uncertain_an_accuracy_is_in_words() -> None:
    found = uncertainty(
        [[{"top1": 0.5, "top1_error": 0.04}], [{"top1": 0.6, "top1_error": 0.06}]], 9
    )
    assert found.sentence.endswith("uncertain by ±5.0 points (1 s.e. over recordings)")
    earlier = uncertainty([[{"top1": 0.5}]], 100)  # √(0.5 · 0.5 / 100)
    assert earlier.sentence.endswith("±5.0 points (1 s.e. if clips were independent)")
    whole = uncertainty([[{"top1": 1.0, "top1_error": 0.0}]], 6)
    assert whole.sentence == "6 test clips, all of them right or all wrong"


def test_recordings_that_are_equally_right_do_not_make_an_accuracy_certain() -> None:
    """Two of ten clips, seven right in each: √(0.7 · 0.3 / 20) is 10.2 points."""
    right = np.tile(np.arange(10) < 7, 2)
    logits = np.stack([right, ~right], axis=1).astype(np.float32)
    found = measure(logits, np.zeros(20, np.int64), ("a", "b"), np.repeat([0, 1], 10)).to_json()
    assert (found["top1"], found["top1_error"]) == (0.7, 0.0)
    alone = uncertainty([[found]], 20)
    assert alone.sentence == (
        "20 test clips: one accuracy is uncertain by ±10.2 points (1 s.e. if clips were "
        "independent, as recordings are equally right)"
    )
    beside = uncertainty([[found], [{"top1": 0.5, "top1_error": 0.04}]], 20)
    assert beside.error == pytest.approx((0.1024695 + 0.04) / 2)
    assert beside.over.endswith("or if clips were independent where these are equally right")
    mixed = uncertainty([[{"top1": 1.0, "top1_error": 0.0}], [{"top1": 0.0}]], 6)
    assert mixed.sentence == "6 test clips, all of them right or all wrong"
