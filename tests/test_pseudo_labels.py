"""Pseudo-labels: which count, what they make of a data set, and the arms that stand beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from banks import make_source

from compositing.layers import LayerStore
from l2a.checkpoints import save_tensors
from l2a.errors import InputError
from l2a.videos import Video, VideoSet
from train.arms import METHODS, baseline, plan_arms
from train.batches import UNLABELLED
from train.learning import real_rows
from train.objectives.supervised import soft_cross_entropy
from train.prepared import PreparedData
from train.semi_supervised.learning import targets_of
from train.semi_supervised.pseudo_labels import PseudoLabels, with_pseudo_labels, write_table
from train.settings.full import StageTwoSettings
from train.settings.semi import SemiSettings

CLASSES = ("a", "b", "c")
FOUND = PseudoLabels(
    np.array([4, 5, 6]),
    np.array([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9]], np.float32), 0.7,
)  # fmt: skip


def small(folder: Path) -> PreparedData:
    """Rows 0 to 3 are labelled, 4 to 6 not, 7 to 9 of validation, 10 and 11 of test."""
    source = make_source(folder / "bank", classes=3)
    labels = source.labels.copy()
    labels[4:7] = UNLABELLED
    sides = ["train"] * 4 + ["unlabelled"] * 3 + ["val"] * 3 + ["test"] * 2
    videos = tuple(
        Video(id_, id_, "" if side == "unlabelled" else CLASSES[label], id_, side)
        for id_, side, label in zip(source.bank.ids, sides, labels, strict=True)
    )
    rows = {side: np.flatnonzero(np.array(sides) == side) for side in dict.fromkeys(sides)}
    return PreparedData(
        VideoSet(folder, "folder", CLASSES, videos), source.bank, replace(source, labels=labels),
        rows, {}, cast(LayerStore, None),
    )  # fmt: skip


def test_a_label_counts_from_the_threshold_on() -> None:
    assert FOUND.labels.tolist() == [1, 0, 2]
    assert np.allclose(FOUND.confidences, [0.7, 0.4, 0.9])
    # 0.7 in float32 is a little less than 0.7, as whoever writes --pseudo-threshold 0.7 sees it.
    assert replace(FOUND, threshold=0.69).accepted.tolist() == [True, False, True]
    assert replace(FOUND, threshold=0.0).accepted.all()


def test_none_sure_enough_says_how_far_the_surest_is() -> None:
    with pytest.raises(InputError, match=r"0\.95: the surest of 3 unlabelled clips has 0\.900"):
        replace(FOUND, threshold=0.95).require_some("another --out and --layers L --bank B")
    with pytest.raises(
        InputError, match=r"a lower --pseudo-threshold with another --out and --layers L --bank B,"
    ):
        replace(FOUND, threshold=0.95).require_some("another --out and --layers L --bank B")


def test_accepted_clips_join_the_labelled_ones(tmp_path: Path) -> None:
    prepared = small(tmp_path)
    found = replace(FOUND, threshold=0.5)
    made = with_pseudo_labels(prepared, found)
    assert made.rows["train"].tolist() == [0, 1, 2, 3, 4, 6]
    assert made.rows["labelled"].tolist() == [0, 1, 2, 3]
    assert made.rows["unlabelled"].tolist() == [4, 5, 6]
    assert made.rows["test"].tolist() == prepared.rows["test"].tolist()
    assert made.source.labels[[4, 5, 6]].tolist() == [1, UNLABELLED, 2]
    assert made.source.one_hot(np.array([4, 6])).tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="has no label"):
        made.source.one_hot(np.array([5]))
    labels = {video.id: video.label for video in made.videos.of_split("train")}
    assert labels[prepared.bank.ids[6]] == "c"
    assert len(labels) == 6
    assert prepared.source.labels[4] == UNLABELLED  # the data set itself is as it was


def test_soft_labels_are_the_probabilities(tmp_path: Path) -> None:
    made = with_pseudo_labels(small(tmp_path), replace(FOUND, threshold=0.5), "soft")
    rows = np.array([0, 4, 6])
    own = made.source.labels[0]
    assert np.allclose(made.source.one_hot(rows)[1:], FOUND.probabilities[[0, 2]])
    assert made.source.one_hot(rows)[0].tolist() == np.eye(3)[own].tolist()


@pytest.mark.parametrize("row", [0, 8, 11])
def test_only_unlabelled_clips_take_one(tmp_path: Path, row: int) -> None:
    with pytest.raises(ValueError, match="unlabelled"):
        with_pseudo_labels(small(tmp_path), replace(FOUND, rows=np.array([4, 5, row])))


def test_a_round_is_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    FOUND.save(path, "these")
    again = PseudoLabels.load(path, "these")
    assert np.array_equal(again.rows, FOUND.rows)
    assert np.array_equal(again.probabilities, FOUND.probabilities)
    assert again.threshold == FOUND.threshold
    with pytest.raises(InputError, match="other videos"):
        PseudoLabels.load(path, "those")
    save_tensors(path, {"rows": torch.zeros(1)}, None)
    with pytest.raises(InputError, match="no pseudo-labels of ours"):
        PseudoLabels.load(path, "these")


def test_without_training_on_them_they_are_material_alone(tmp_path: Path) -> None:
    found = replace(FOUND, threshold=0.5)
    made = with_pseudo_labels(small(tmp_path), found, trained_on=False)
    plans = {plan.name: plan for plan in plan_arms(StageTwoSettings(compare=True), SEMI)}
    assert made.rows["train"].tolist() == [0, 1, 2, 3, 4, 6]
    for name in ("selector", "none", "supervised"):
        assert real_rows(made, plans[name], np.empty(0, np.int64)).tolist() == [0, 1, 2, 3]
    assert made.real.tolist() == made.labelled.tolist() == [0, 1, 2, 3]


def test_the_table_tells_truths_where_they_are_known(tmp_path: Path) -> None:
    prepared = small(tmp_path)
    ids = prepared.bank.ids
    second = replace(FOUND, threshold=0.3)
    write_table(tmp_path / "t.parquet", [FOUND, second], prepared, {ids[4]: "b", ids[6]: "a"})
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["round"] for row in rows] == [1, 1, 1, 2, 2, 2]
    assert [row["accepted"] for row in rows[3:]] == [True, True, True]
    assert [(row["video"], row["label"], row["truth"]) for row in rows[:3]] == [
        (ids[4], "b", "b"), (ids[5], "a", None), (ids[6], "c", "a"),
    ]  # fmt: skip


def test_targets_are_one_hot_where_accepted() -> None:
    targets = targets_of(replace(FOUND, threshold=0.5), 8, drawn=3)
    assert targets.shape == (8, 3)
    assert targets.sum(1).tolist() == [0, 0, 0, 0, 1, 0, 1, 0]
    assert targets[6].tolist() == [0, 0, 1]


def test_labelled_clips_among_the_unlabelled_take_no_weight_from_pseudo_labels() -> None:
    """Of eight clips that are drawn as unlabelled four have a label; where a network knows nothing,
    each of two classes costs ln 2, and the mean over the four with a pseudo-label is that, too."""
    sure = PseudoLabels(np.arange(4, 8), np.tile(np.float32([0.99, 0.01]), (4, 1)), 0.95)
    all_, rest = targets_of(sure, 8, drawn=8), targets_of(sure, 8, drawn=4)[4:]
    for targets in (all_, rest):
        logits = torch.zeros(len(targets), 2)
        assert soft_cross_entropy(logits, targets).item() == pytest.approx(np.log(2))
        assert targets.sum(1).mean().item() == 1  # what is logged as utilisation


SEMI = SemiSettings(setting="semi-supervised")


def test_arms_of_a_comparison() -> None:
    plans = plan_arms(StageTwoSettings(compare=True), SEMI)
    names = [plan.name for plan in plans]
    assert names[:4] == ["selector", "supervised", "none", "random"]
    assert set(METHODS) <= set(names)
    assert "videomix:spatio-temporal" in names
    alone = {plan.name for plan in plans if not plan.pseudo}
    assert alone == {"supervised", *METHODS}
    assert baseline(names) == "supervised"
    frozen = plan_arms(StageTwoSettings(compare=True), SEMI, frozen=True)
    assert not {"s4l", "actorcut-id"} & {plan.name for plan in frozen}


def test_other_settings_have_the_arms_they_had() -> None:
    stage = StageTwoSettings(compare=True)
    assert plan_arms(stage, SemiSettings()) == plan_arms(stage)
    assert baseline(plan.name for plan in plan_arms(stage)) == "none"


def test_methods_are_named_once_and_known() -> None:
    plans = plan_arms(StageTwoSettings(), replace(SEMI, methods="fixmatch tcl"))
    assert [plan.method for plan in plans if plan.method] == ["fixmatch", "tcl"]
    for wrong, said in (("fixmach", "no method 'fixmach'"), ("tcl tcl", "twice")):
        with pytest.raises(InputError, match=said):
            plan_arms(StageTwoSettings(), replace(SEMI, methods=wrong))


def test_each_arm_sees_its_own_real_clips(tmp_path: Path) -> None:
    prepared = small(tmp_path)
    made = with_pseudo_labels(prepared, replace(FOUND, threshold=0.5))
    plans = {plan.name: plan for plan in plan_arms(StageTwoSettings(compare=True), SEMI)}
    none = np.empty(0, np.int64)
    assert real_rows(made, plans["selector"], none).tolist() == [0, 1, 2, 3, 4, 6]
    assert real_rows(made, plans["fixmatch"], none).tolist() == [0, 1, 2, 3]
    # Before the first round there is no other than the labelled ones.
    assert real_rows(prepared, plans["supervised"], none).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [("pseudo_threshold", 1.2), ("ema", -0.1), ("rounds", 0), ("unlabelled_weight", -1),
     ("distillation_temperature", 0), ("unlabelled_per_batch", 0)],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is"):
        replace(SEMI, **{name: value})
