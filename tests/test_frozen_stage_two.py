"""Stage two with a frozen trunk: arms, weights, draws, resuming, and a whole run from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from banks import make_source
from tiny_data import write_tiny
from tiny_run import train_tiny

from compositing.layers import LayerStore
from l2a.augment import make_augmentation
from l2a.cli import main
from l2a.errors import InputError
from train.accuracy import Arm, table
from train.arms import ArmPlan
from train.classifier import load_classifier, predict
from train.frozen import stage_two
from train.frozen.draws import ArmPairs
from train.frozen.features import FeatureBank
from train.frozen.head import HEADS_FILE, load_heads
from train.frozen.stage_two import (
    DRAWS_FILE,
    FrozenStageTwo,
    check_frozen,
    frozen_network,
)
from train.frozen.training_set import SetMaker
from train.mix import NO_PAIRS
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, StageTwoSettings

PAIRS = [np.array([[0, 1], [3, 4], [6, 2]]), np.array([[1, 0], [5, 4], [8, 2]])]


def drawn(kind: str) -> list[Any]:
    return {"none": [NO_PAIRS], "random": PAIRS, "selector": PAIRS[:1]}[kind]


def stage_of(folder: Path, l2: float | None = 1e-2, **settings: Any) -> FrozenStageTwo:
    """Three classes, eight training, two validation and two test clips."""
    source = make_source(folder / "bank", classes=3)
    rows = {"train": np.array([0, 1, 2, 3, 4, 5, 6, 8]), "val": np.array([7, 9]),
            "test": np.arange(10, 12)}  # fmt: skip
    videos: Any = SimpleNamespace(classes=("a", "b", "c"), videos=())
    prepared = PreparedData(videos, source.bank, source, rows, {}, cast(LayerStore, None))
    classifier = ClassifierSettings(network="tiny3d", batch_size=4, device="cpu", freeze_trunk=True)
    return FrozenStageTwo(
        prepared, classifier, StageTwoSettings(**settings), FrozenSettings(l2=l2),
        folder / "stage_two", 7,
    )  # fmt: skip


def bank_of(stage: FrozenStageTwo) -> FeatureBank:
    trunk = frozen_network(stage.prepared, stage.classifier, stage.seed).trunk
    return FeatureBank(trunk, stage.prepared, stage.frozen, stage.classifier.flip, stage.seed)


def maker_of(stage: FrozenStageTwo) -> SetMaker:
    return SetMaker(stage.prepared, bank_of(stage), stage.classifier, stage.stage, stage.frozen, 7)


def test_each_draw_has_a_result_and_finished_arms_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [ArmPlan(name, name) for name in ("none", "random", "selector")]
    arms = stage_of(tmp_path).run(plans, drawn)
    assert [len(arm.results) for arm in arms] == [1, 2, 1]
    assert arms[1].results[0] == arms[2].results[0] != arms[1].results[1]
    assert {arm.l2 for arm in arms} == {1e-2}
    monkeypatch.setattr(stage_two, "make_classifier", None)

    def never(kind: str) -> list[Any]:
        raise AssertionError(kind)

    assert stage_of(tmp_path).run(plans, never) == arms


def test_killed_in_the_middle_it_ends_the_same(tmp_path: Path) -> None:
    plans = [ArmPlan(name, name) for name in ("none", "random")]
    undisturbed = stage_of(tmp_path / "one", None).run(plans, drawn)

    def killed(kind: str) -> list[Any]:
        if kind == "random":
            raise KeyboardInterrupt
        return drawn(kind)

    with pytest.raises(KeyboardInterrupt):
        stage_of(tmp_path / "two", None).run(plans, killed)
    assert stage_of(tmp_path / "two", None).run(plans, drawn) == undisturbed


def test_the_classifier_is_the_network_with_the_first_head(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.run([ArmPlan("random", "random")], drawn)
    folder = stage.folder / "random-0"
    network, card = load_classifier(folder / "classifier.safetensors")
    heads = load_heads(folder / HEADS_FILE)
    assert card["network"] == "tiny3d"
    assert len(heads) == 2
    rows = stage.prepared.rows["test"]
    bank = bank_of(stage)
    torch.testing.assert_close(
        torch.from_numpy(predict(network, stage.prepared.source, rows)).double(),
        heads[0].logits(bank.centre(rows)), atol=1e-4, rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "ratio"),
    [({}, 1.0), ({"composites_per_batch": 2}, 0.5),
     ({"composites_per_batch": 1, "replace_real": True}, 1 / 3)],
)  # fmt: skip
def test_composites_weigh_what_a_batch_of_four_holds_of_them(
    tmp_path: Path, settings: dict[str, Any], ratio: float
) -> None:
    made = maker_of(stage_of(tmp_path, **settings)).make(ArmPlan("r", "random"), PAIRS[0], 0)
    assert made.weights[:16].sum() == pytest.approx(1)  # two views of eight clips
    assert made.weights[16:].sum() == pytest.approx(ratio)
    assert len(made.weights) == 16 + 3
    assert made.labels[:16].sum(0).tolist() == [6, 4, 6]


def test_no_pairs_no_composites(tmp_path: Path) -> None:
    made = maker_of(stage_of(tmp_path)).make(ArmPlan("none", "none"), NO_PAIRS, 0)
    assert len(made.weights) == 16


def test_augmented_clips_are_those_of_training_batches(tmp_path: Path) -> None:
    """Two epochs of two batches, and composites among them where pairs are given."""
    plan = ArmPlan("selector+videomix", "selector", make_augmentation("videomix"))
    maker = maker_of(stage_of(tmp_path, composites_per_batch=2))
    made, again, other = (maker.make(plan, PAIRS[0], draw) for draw in (0, 0, 1))
    assert len(made.features) == 2 * (8 + 2 * 2)
    assert torch.equal(made.features, again.features)
    assert not torch.equal(made.features, other.features)
    torch.testing.assert_close(made.labels.sum(1), torch.ones(24))
    stage = stage_of(tmp_path, composites_per_batch=2, repeats=3)
    assert len(stage.run([plan], drawn)[0].results) == 3


def test_the_strength_is_chosen_on_validation_and_told(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, None)
    arm = stage.run([ArmPlan("random", "random")], drawn)[0]
    content = json.loads((stage.folder / "random-0" / DRAWS_FILE).read_text())
    tried = {row["l2"]: row["loss"] for row in content["validation"]}
    assert len(tried) == 10
    assert arm.l2 == content["l2"] == min(tried, key=lambda l2: tried[l2])
    stage.prepared.rows["val"] = np.arange(0)
    with pytest.raises(InputError, match="--l2"):
        replace(stage, folder=tmp_path / "no validation").run([ArmPlan("none", "none")], drawn)


def test_what_does_not_go_together_is_said(caplog: pytest.LogCaptureFixture) -> None:
    frozen = ClassifierSettings(freeze_trunk=True, weights="kinetics")
    with pytest.raises(InputError, match=r"trunk_lr is 0\.1"):
        check_frozen(frozen, 0.1)
    check_frozen(frozen, 0.0)
    for wrong in ({"views": 0}, {"composite_views": 65}, {"draws": 0}, {"l2": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            FrozenSettings(**cast(Any, wrong))


def test_pairs_are_drawn_anew_where_the_choice_draws() -> None:
    def sharp(share: float) -> ArmPairs:
        chooser: Any = SimpleNamespace(
            draws=lambda count, trained=None: [(trained, draw) for draw in range(count)],
            sharpness=lambda trained: SimpleNamespace(share=share),
        )
        chooser.without = lambda rows: chooser
        return ArmPairs(
            {"selector": PAIRS[0], "random": PAIRS[1]}, chooser, {"selector": cast(Any, str)}
        )

    assert sharp(0).draws("none", 3) == (NO_PAIRS,)
    assert sharp(0).draws("random", 3) == [(None, 0), (None, 1), (None, 2)]
    assert sharp(0).draws("selector", 3)[0] is PAIRS[0]
    assert len(sharp(0).draws("selector", 3)) == 1
    assert sharp(0.5).draws("selector", 3) == [("", 0), ("", 1), ("", 2)]
    assert ArmPairs({}).draws("none", 3) == (NO_PAIRS,)


def test_the_table_gives_spread_and_standard_error_by_hand() -> None:
    draws = tuple({"top1": top1, "loss": 2.0} for top1 in (0.5, 0.7, 0.5, 0.7))
    arms = [Arm("random", draws, 0.1), Arm("none", ({"top1": 0.4, "loss": 1.5},), 0.1)]
    lines = table(arms, clips=100).splitlines()
    assert lines[0].split() == ["top-1", "sd", "se", "gain", "loss", "draws"]
    assert lines[1].split() == ["random", "pairs", "60.0%", "11.5", "5.8", "+20.0", "2.000", "4"]
    assert lines[2].split() == ["no", "composites", "40.0%", "-", "-", "1.500", "1"]
    assert "over draws" in lines[3]
    assert lines[4].endswith("±5.0 points (1 s.e. if clips were independent)")
    of_recordings = [Arm(arm.name, tuple(one | {"top1_error": 0.08} for one in arm.results), 0.1)
                     for arm in arms]  # fmt: skip
    last = table(of_recordings, clips=100).splitlines()[-1]
    assert last.endswith("one accuracy is uncertain by ±8.0 points (1 s.e. over recordings)")


def test_a_run_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train`, and `evaluate`, which says the same of the classifier."""
    settings: dict[str, Any] = {
        "freeze_trunk": True, "draws": 3, "augment": "videomix", "compare": True, "repeats": 1,
        "selection": "random",
    }  # fmt: skip
    write_tiny(tmp_path / "data", train_groups=3)
    run = train_tiny(tmp_path, **settings)
    assert "random features" in capsys.readouterr().err
    metrics = json.loads((run / "metrics.json").read_text())
    arms = metrics["arms"]
    assert {name: len(arm["repeats"]) for name, arm in arms.items()} == {
        "random": 3, "none": 1, "videomix": 1
    }  # fmt: skip
    if "scene_test" in metrics:  # of the heads of all draws
        assert len(arms["random"]["scene_test"]["repeats"]) == 3
    assert "draws" in (run / "table.txt").read_text()
    assert "draws of pairs" in (run / "report.html").read_text()
    out = tmp_path / "evaluated"
    words = ["evaluate", str(tmp_path / "data"), "--classifier",
             str(run / "classifier.safetensors"), "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["top1"] == arms["random"]["repeats"][0]["top1"]
    assert found["loss"] == pytest.approx(arms["random"]["repeats"][0]["loss"], abs=1e-4)
