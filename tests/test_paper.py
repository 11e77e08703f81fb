"""The paper's tables: presets and cells, costs by hand, plans, the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2a.arguments import parse
from l2a.cli import main
from l2a.errors import InputError
from l2a.options import PaperSettings
from l2a.settings import ClipSettings
from train.ablation.table import read_table
from train.commands import ALL_GROUPS, COMMANDS, full_settings
from train.paper.cells import GROUPS, PRESETS, groups_of
from train.paper.cost import Cost, Extent, bank_cost, layers_cost, training_cost
from train.paper.planning import describe, plan_table
from train.settings.full import ClassifierSettings, FullSettings, StageTwoSettings

ROOT = Path(__file__).resolve().parents[1]


def preset(name: str) -> FullSettings:
    words = ["DATA", "--out", "OUT", "--config", str(PRESETS / f"{name}.yaml")]
    return full_settings(parse("train", "", COMMANDS["train"].groups, words, known=ALL_GROUPS))


def wanted(tmp_path: Path, cells: str, **more: object) -> PaperSettings:
    return PaperSettings(cells, tmp_path / "data", tmp_path / "out", **more)  # type: ignore[arg-type]


# Presets.


def test_presets_are_the_papers_training_settings() -> None:
    """Sec. 5.1."""
    for name, network, epochs in (
        ("ucf101", "r2plus1d_18", 100), ("hmdb51", "r2plus1d_18", 100),
        ("kinetics400", "r2plus1d_18", 50), ("tables-1-2", "r3d_18", 400),
    ):  # fmt: skip
        settings = preset(name)
        one = settings.classifier
        assert (one.network, one.epochs, one.batch_size) == (network, epochs, 8)
        assert (one.lr, one.momentum, one.weight_decay) == (0.1, 0.9, 0.001)
        assert settings.clips == ClipSettings(8, 128, 171, 112)
        assert (settings.match.matches, settings.composite.alpha) == ("1", 4.0)
        assert (settings.reinforce.reward, settings.reinforce.baseline_window) == (
            "moving-average", 5
        )  # fmt: skip
        assert settings.selector.hidden == (2048, 1024, 512)
        assert settings.prepare.segmenter == "mask-rcnn"


def test_the_presets_of_the_repository_are_those_of_the_package() -> None:
    shown = {path.name: path.read_bytes() for path in (ROOT / "configs/paper").glob("*.yaml")}
    assert shown == {path.name: path.read_bytes() for path in PRESETS.glob("*.yaml")}
    assert {group.preset.name for groups in GROUPS.values() for group in groups} == set(shown)


def test_table_five_has_the_papers_figures() -> None:
    figures = {
        group.name: {name: row.paper for name, row in read_table(str(group.table)).rows.items()}
        for group in groups_of("5")
    }
    assert figures == {
        "ucf101": {"standard": 55.7, "l2a": 73.1},
        "hmdb51": {"standard": 40.8, "l2a": 46.4},
        "ucf101-sports1m": {"standard": 93.6, "l2a": 95.3},
        "hmdb51-sports1m": {"standard": 66.6, "l2a": 68.4},
        "kinetics400-sports1m": {"standard": 75.4, "l2a": 76.3},
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [("3", "Table 3 is semi-supervised"), ("4", "Table 4 is few-shot"), ("9", "no presets of")],
)
def test_other_tables_are_refused(table: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        groups_of(table)


# Costs, by hand.

SMALL = Extent(train=1_000, test=200, frames=100, height=240, width=320)


def settings_of(selection: str, **classifier: object) -> FullSettings:
    return FullSettings(
        stage_two=StageTwoSettings(selection=selection),  # type: ignore[arg-type]
        classifier=ClassifierSettings(**{"epochs": 10, **classifier}),  # type: ignore[arg-type]
    )


def test_hours_of_a_training_by_hand() -> None:
    """800 clips are left to train on; composites double them; the warm-up sees 10 x 800."""
    hour = 676.0 * 3600
    assert training_cost(SMALL, settings_of("none")) == Cost(pytest.approx(8_000 / hour))
    assert training_cost(SMALL, settings_of("random")) == Cost(pytest.approx(16_000 / hour))
    assert training_cost(SMALL, settings_of("selector")) == Cost(pytest.approx(24_000 / hour))


def test_clips_of_half_the_side_take_a_quarter() -> None:
    small = FullSettings(clips=ClipSettings(8, 64, 86, 56), classifier=ClassifierSettings())
    whole = training_cost(SMALL, FullSettings()).hours
    assert training_cost(SMALL, small).hours == pytest.approx(whole / 4)


def test_bytes_and_hours_of_layers_by_hand() -> None:
    """80,000 frames of 76,800 pixels at 0.158 bytes; 7 a second."""
    cost = layers_cost(SMALL, FullSettings())
    assert cost.bytes == pytest.approx(80_000 * 76_800 * 0.158)
    assert cost.hours == pytest.approx(80_000 / 7 / 3600)
    large = Extent(1_000, 200, 600, 960, 1280)  # thinned to 300 frames, scaled to 640 wide
    assert layers_cost(large, FullSettings()).bytes == pytest.approx(240_000 * 480 * 640 * 0.158)


def test_bytes_of_a_bank_by_hand() -> None:
    """8 x 128 x 171 pixels: 800 videos at 7 bytes, the 400 others at 3."""
    assert bank_cost(SMALL, FullSettings()).bytes == 175_104 * (800 * 7 + 400 * 3)


# Plans.


def test_a_plan_counts_runs_and_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data" / "ucf101").mkdir(parents=True)
    plans = plan_table(wanted(tmp_path, "5", seeds=(0, 4)))
    assert [(plan.runs, plan.left) for plan in plans] == [(4, 4)] * 5
    assert [bool(plan.missing) for plan in plans] == [False, True, True, True, True]
    assert "Sports-1M" in plans[2].missing
    assert str(tmp_path / "data" / "hmdb51") in plans[1].missing
    done = tmp_path / "out/table-5/ucf101/l2a/split-1-seed-4/report.html"
    done.parent.mkdir(parents=True)
    done.touch()
    (weights := tmp_path / "sports.pth").touch()
    plans = plan_table(wanted(tmp_path, "5", seeds=(0, 4), sports1m=weights))
    assert [plan.left for plan in plans] == [3, 4, 4, 4, 4]
    assert [bool(plan.missing) for plan in plans] == [False, True, False, True, True]
    assert plans[2].words[-2:] == ("--weights", str(weights))
    assert plans[2].settings["l2a"].classifier.weights == str(weights)
    lines = describe(plans, wanted(tmp_path, "5"))
    assert any("73.1%   2 x 0.7 h of training" in line for line in lines)
    assert lines[-1].startswith("in all about ")


def test_masks_of_tables_one_and_two_are_found_once(tmp_path: Path) -> None:
    (plan,) = plan_table(wanted(tmp_path, "2", seeds=(0,)))
    extent, rows = plan.group.extent, list(plan.settings.values())
    trained = sum(training_cost(extent, row).hours for row in rows)
    assert plan.cost().hours == pytest.approx(layers_cost(extent, rows[0]).hours + trained)
    clips = bank_cost(extent, rows[0]).bytes
    assert plan.cost().bytes == pytest.approx(5 * layers_cost(extent, rows[0]).bytes + clips)


# The command.


def test_the_command_prints_the_plan_and_starts_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["paper", "5", "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Table 5 of the paper: 5 groups of cells" in said
    assert f"  l2a ablate {tmp_path}/ucf101 --config " in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "--start"]) == 2
    assert "Nothing of table 5 can be started" in capsys.readouterr().err
    (tmp_path / "hmdb51").mkdir()
    started: list[Path] = []
    monkeypatch.setattr(
        "train.commands.ablate.run", lambda arguments: started.append(arguments.flat()["data"])
    )
    assert main([*words, "--start"]) == 0
    assert started == [tmp_path / "hmdb51"]
