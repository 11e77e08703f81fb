"""The paper's tables: presets and cells, costs by hand, plans, the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2a.arguments import parse
from l2a.cli import main
from l2a.errors import InputError
from l2a.options import PaperSettings
from l2a.runs import Run
from l2a.settings import ClipSettings
from train.command_table import ALL_GROUPS, COMMANDS
from train.paper import few_shot, semi
from train.paper.ablated import ABLATED
from train.paper.cells import Group
from train.paper.cost import Cost, Extent, bank_cost, layers_cost, training_cost
from train.paper.given import PRESETS, arguments_of
from train.paper.planning import describe, plan_table
from train.paper.running import refuse_others
from train.settings.full import ClassifierSettings, FullSettings, RunSettings, StageTwoSettings

ROOT = Path(__file__).resolve().parents[1]


def preset(name: str) -> FullSettings:
    words = ["DATA", "--out", "OUT", "--config", str(PRESETS / f"{name}.yaml")]
    return FullSettings.of(parse("train", "", COMMANDS["train"].groups, words, known=ALL_GROUPS))


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
    shipped = {path.name: path.read_bytes() for path in PRESETS.glob("*.yaml")}
    assert shipped == {name: (ROOT / "configs/paper" / name).read_bytes() for name in shipped}
    used = {group.preset for groups in ABLATED.values() for group in groups}
    used |= {f"semi-{name}" for name in semi.DATA} | set(few_shot.PRESETS.values())
    assert {f"{name}.yaml" for name in used} == set(shipped)


def figures_of(group: Group) -> dict[str, float | None]:
    return {row.title: row.cells["top-1"].paper for row in group.rows}


def test_table_five_has_the_papers_figures(tmp_path: Path) -> None:
    figures = {group.title: figures_of(group) for group in plan_table(wanted(tmp_path, "5"))}
    assert figures == {
        "UCF101, no pre-training": {"standard": 55.7, "l2a": 73.1},
        "HMDB51, no pre-training": {"standard": 40.8, "l2a": 46.4},
        "UCF101, pre-trained on Sports-1M": {"standard": 93.6, "l2a": 95.3},
        "HMDB51, pre-trained on Sports-1M": {"standard": 66.6, "l2a": 68.4},
        "Kinetics-400, pre-trained on Sports-1M": {"standard": 75.4, "l2a": 76.3},
    }


def test_other_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no presets of table '9'; choose one of 1, 2, 3, 4, 5"):
        plan_table(wanted(tmp_path, "9"))


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
    groups = plan_table(wanted(tmp_path, "5", seeds=(0, 4)))
    assert [(group.runs, group.left) for group in groups] == [(4, 4)] * 5
    assert [bool(group.missing()) for group in groups] == [False, True, True, True, True]
    assert "Sports-1M" in groups[2].missing()[0]
    assert groups[1].missing() == [f"the folder {tmp_path}/data/hmdb51"]
    done = tmp_path / "out/table-5/ucf101/l2a/split-1-seed-4/table.txt"
    done.parent.mkdir(parents=True)
    done.touch()
    assert [group.left for group in plan_table(wanted(tmp_path, "5", seeds=(0, 4)))] == [4] * 5
    done.with_name("report.html").touch()  # which a run writes last
    (weights := tmp_path / "sports.pth").touch()
    groups = plan_table(wanted(tmp_path, "5", seeds=(0, 4), sports1m=weights))
    assert [group.left for group in groups] == [3, 4, 4, 4, 4]
    assert [bool(group.missing()) for group in groups] == [False, True, False, True, True]
    assert groups[2].steps[0].words[-2:] == ("--weights", str(weights))
    lines = describe(groups, wanted(tmp_path, "5"))
    assert any(line.split() == ["l2a", "73.1", "0.7"] for line in lines)
    assert any(line.startswith("  all rows and seeds: 3 of 4 to do x 0.5 hours") for line in lines)
    assert lines[-1].startswith("in all about ")


def test_groups_share_layers_and_one_that_was_begun_keeps_its_own(tmp_path: Path) -> None:
    shared = str(tmp_path / "out/layers/ucf101")
    first, _, third, *_ = plan_table(wanted(tmp_path, "5"))
    for group in (first, third):
        words = group.steps[0].words
        assert words[words.index("--layers") + 1] == shared
    (tmp_path / "out/table-5/ucf101").mkdir(parents=True)  # its first row makes no layers
    assert shared in plan_table(wanted(tmp_path, "5"))[0].steps[0].words
    Run.open(tmp_path / "out/table-5/ucf101", "ablate", [RunSettings()])
    first, _, third, *_ = plan_table(wanted(tmp_path, "5"))
    assert "--layers" not in first.steps[0].words
    assert shared in third.steps[0].words


def test_layers_that_are_there_take_no_hours(tmp_path: Path) -> None:
    first = plan_table(wanted(tmp_path, "5"))[0]
    (store,) = first.stores
    # Each of three seeds carves out a fifth for validation: 0.008 of the videos never train.
    assert store.videos == round(9_537 * 0.992)
    records = store.place / "records"
    records.mkdir(parents=True)
    for number in range(9):
        (records / f"{number}.json").touch()
    assert store.left().hours == pytest.approx(store.cost.hours * (1 - 9 / store.videos))
    assert store.left().bytes == store.cost.bytes


def test_masks_of_tables_one_and_two_are_found_once(tmp_path: Path) -> None:
    one = wanted(tmp_path, "2", seeds=(0,))
    (group,) = plan_table(one)
    assert [bool(store.cost.hours) for store in group.stores] == [True] + [False] * 4
    assert len({store.cost.bytes for store in group.stores}) == 1
    assert group.steps[0].hours == pytest.approx(sum(row.hours or 0 for row in group.rows) / 5)
    assert sum("as above" in line for line in describe([group, group], one)) == 1


def test_hours_have_a_price(tmp_path: Path) -> None:
    priced, plain = wanted(tmp_path, "5", dollars_per_hour=2.5), wanted(tmp_path, "5")
    lines = describe(plan_table(priced), priced)
    masks = next(line for line in lines if line.startswith("  masks and backgrounds"))
    hours = round(9_537 * 0.992) * 182 / 7 / 3600
    assert f"about {hours:.0f} GPU hours, ${2.5 * hours:.0f} and" in masks
    rows = [line.split() for line in lines]
    assert ["l2a", "73.1", "0.7", "1.64"] in rows  # 0.656 hours
    assert not any("$" in line for line in describe(plan_table(plain), plain))
    with pytest.raises(InputError, match=r"dollars_per_hour is -1.0; give 0 or more"):
        wanted(tmp_path, "5", dollars_per_hour=-1.0)


def test_a_finished_ablation_of_other_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data/ucf101").mkdir(parents=True)
    one = wanted(tmp_path, "5", seeds=(0,))
    (step,) = plan_table(one)[0].steps
    for path, selection in zip(step.runs, ("none", "selector"), strict=True):
        words = ["train", str(tmp_path / "data/ucf101"), "--config", str(PRESETS / "ucf101.yaml"),
                 "--selection", selection, "--out", str(path.parent)]  # fmt: skip
        groups = FullSettings.of(arguments_of(words)).groups()
        run = Run.open(path.parent, "train", groups, {"data": tmp_path / "data/ucf101"})
        run.fix_settings()
        path.touch()
    groups = plan_table(one)
    refuse_others(groups)
    record = step.runs[1].with_name("run.yaml")
    record.write_text(record.read_text().replace("epochs: 100\n", "epochs: 90\n"))
    with pytest.raises(InputError, match="was made with epochs=90 and not 100"):
        refuse_others(groups)
    step.runs[0].unlink()  # one of them is enough
    with pytest.raises(InputError, match="was made with epochs=90 and not 100"):
        refuse_others(groups)


# The command.


def test_the_command_prints_the_plan_and_starts_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["paper", "5", "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Table 5 of the paper: 5 groups of cells" in said
    assert f"    l2a ablate {tmp_path}/ucf101 --config " in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "--start"]) == 2
    error = capsys.readouterr().err
    assert "Nothing of table 5 can be started: the folder" in error
    assert "are missing; put them there." in error
    (tmp_path / "hmdb51").mkdir()
    started: list[Path] = []
    monkeypatch.setattr(
        "train.commands.ablate.run", lambda arguments: started.append(arguments.flat()["data"])
    )
    assert main([*words, "--start"]) == 0
    assert started == [tmp_path / "hmdb51"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*words, "--start"]) == 2
    assert "was started in 2 processes" in capsys.readouterr().err
