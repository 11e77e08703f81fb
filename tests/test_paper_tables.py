"""Tables 3 and 4 of the paper: figures, presets, hours by hand, plans, --start, what is filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from l2a.arguments import Arguments
from l2a.cli import main
from l2a.errors import InputError
from l2a.options import Data, Out, PaperSettings
from l2a.runs import Run
from train.objectives.table import OBJECTIVES
from train.paper.cells import Cell, Place
from train.paper.cost import (
    VIEWS,
    Extent,
    Sides,
    few_shot_test_hours,
    few_shot_train_hours,
    hours_of,
    semi_hours,
)
from train.paper.filling import markdown
from train.paper.given import PRESETS, arguments_of
from train.paper.planning import describe, plan_table
from train.paper.published import TABLE_3
from train.settings.few_shot import FewShotSettings
from train.settings.full import ClassifierSettings, FullSettings, StageOneSettings
from train.settings.semi import SemiSettings

PRINTED_3 = """
CutMix             53.7 46.1 43.2 39.9  46.1 36.5 34.6 25.8  33.9 30.8 27.8
MixUp              53.4 45.5 43.0 39.6  45.8 36.1 34.2 25.5  33.7 31.0 27.5
CutOut             52.8 45.1 42.3 38.8  45.2 35.6 33.9 24.6  33.0 30.5 27.1
ST-VideoMix        55.3 46.6 43.9 40.4  46.4 36.4 35.2 25.9  34.8 31.3 28.7
PseudoLabel        59.0 48.0 38.9 27.9  47.5 37.0 24.7 17.6  33.5 32.4 27.3
MeanTeacher        59.3 47.1 36.4 27.8  45.8 36.3 25.6 17.5  32.2 30.4 27.2
S4L                54.6 51.1 43.3 33.0  47.9 37.7 29.1 22.7  35.6 31.0 29.8
VideoSSL           65.0 57.7 52.6 47.6  54.3 48.7 42.0 32.4  37.0 36.2 32.7
ActorCut           68.7 61.2 56.8 52.7  59.9 51.7 40.2 27.0  38.9 38.2 32.9
ActorCut+ID        72.2 68.7 63.9 59.1  64.7 57.4 53.0 45.1  40.8 39.5 35.7
TCL                70.4 64.7 61.1 58.2  62.1 55.4 52.1 42.8  41.2 40.4 34.8
L2A                75.9 72.1 67.5 63.7  72.1 60.3 56.1 48.0  44.5 43.2 37.9
L2A + pre-training - - - -              73.3 64.8 60.1 50.9  47.1 46.3 42.1
"""
"""Table 3 as printed: Kinetics-100 at 50, 20, 10, 5 %; UCF101 likewise; HMDB51 at 60, 50, 40 %."""

PRINTED_4 = """
C3D-PN       S  57.1 66.4 71.7 75.5 78.2  38.1 47.5 50.3 55.6 57.4
C3D-PN + L2A S  60.8 68.9 73.3 76.6 79.1  39.8 48.9 51.5 57.3 58.2
ARN          S  66.3 73.1 77.9 80.4 83.1  45.5 50.1 54.2 58.7 60.6
ARN + L2A    S  67.7 74.2 79.6 81.1 84.4  47.3 51.7 55.5 60.1 61.8
TRX          S  77.5 88.8 92.8 94.7 96.1  50.5 62.7 66.9 73.5 75.6
TRX + L2A    S  79.2 89.2 93.2 95.0 96.3  51.9 63.8 68.2 74.4 77.0
C3D-PN       T  50.9 61.9 67.5 72.9 75.4  28.8 38.5 43.4 46.7 49.1
C3D-PN + L2A T  52.5 63.8 70.1 75.2 78.2  29.9 40.1 44.5 47.7 50.8
ARN          T  61.2 70.7 75.2 78.8 80.2  31.9 42.3 46.5 49.8 53.2
ARN + L2A    T  63.9 73.1 77.4 80.4 81.3  33.6 43.7 48.0 51.1 53.8
TRX          T  75.2 88.1 91.5 93.1 93.5  33.5 46.7 49.8 57.9 61.5
TRX + L2A    T  76.8 88.9 92.7 93.8 94.1  35.0 48.1 51.1 59.2 62.1
"""
"""Table 4 as printed: split; UCF101 with 1 to 5 shots, HMDB51 likewise."""


def wanted(tmp_path: Path, cells: str, **more: object) -> PaperSettings:
    return PaperSettings(cells, tmp_path / "data", tmp_path / "out", **more)  # type: ignore[arg-type]


def test_table_three_has_the_papers_figures(tmp_path: Path) -> None:
    ucf, hmdb, kinetics = plan_table(wanted(tmp_path, "3"))
    assert kinetics.columns == ucf.columns == ("50 %", "20 %", "10 %", "5 %")
    assert hmdb.columns == ("60 %", "50 %", "40 %")
    found: dict[str, list[float | None]] = {}
    for group in (kinetics, ucf, hmdb):
        for row in ucf.rows:
            own = next((one for one in group.rows if one.title == row.title), None)
            found.setdefault(row.title, []).extend(
                own.cells[column].paper if own else None for column in group.columns
            )
    for line in PRINTED_3.strip().splitlines():
        title, figures = line[:19].strip(), line[19:].split()
        assert found.pop(title) == [None if text == "-" else float(text) for text in figures]
    assert not found


def test_table_four_has_the_papers_figures(tmp_path: Path) -> None:
    found = {
        (row.title, group.title.split("split ")[1][0], group.title[:6].rstrip(",")): [
            cell.paper for cell in row.cells.values()
        ]
        for group in plan_table(wanted(tmp_path, "4"))
        for row in group.rows
    }
    for line in PRINTED_4.strip().splitlines():
        title, split, figures = line[:13].strip(), line[13], [float(x) for x in line[14:].split()]
        assert found.pop((title, split, "UCF101")) == figures[:5]
        assert found.pop((title, split, "HMDB51")) == figures[5:]
    assert not found


# Presets.


def test_presets_of_table_three_are_the_papers_training_settings(tmp_path: Path) -> None:
    """Sec. 5.1, at every share of every data set."""
    epochs = {"UCF101": 400, "HMDB51": 500, "Kinetics-100": 400}
    shares = {"UCF101": {5, 10, 20, 50}, "HMDB51": {40, 50, 60}, "Kinetics-100": {5, 10, 20, 50}}
    for group in plan_table(wanted(tmp_path, "3", seeds=(7,), pretrained_selector="SELECTOR")):
        name = group.title.removesuffix(", few labels")
        seen = set()
        for step in group.steps:
            settings = FullSettings.of(arguments_of(step.words))
            one = settings.classifier
            assert (one.network, one.epochs, one.batch_size) == ("r3d_18", epochs[name], 8)
            assert (one.lr, one.momentum, one.weight_decay) == (0.1, 0.9, 0.001)
            assert settings.clips.num_frames == 8
            assert settings.match.matches == "1"
            assert settings.semi.on
            assert settings.run.seed == 7
            assert settings.data.labelled is not None
            share = int(settings.data.labelled.name.split("_percent")[0].rpartition("_")[2])
            assert step.title.startswith(f"{share} % labelled")
            assert (settings.data.missing_classes == "allow") == ((name, share) == ("UCF101", 5))
            seen.add(share)
        assert seen == shares[name]


def test_presets_of_table_four_are_five_way_with_ten_thousand_episodes(tmp_path: Path) -> None:
    networks = {"prototype": "r3d_18", "arn": "tiny3d", "trx": "tsn_resnet50"}
    for group in plan_table(wanted(tmp_path, "4", seeds=(7,))):
        for step in group.steps:
            arguments = arguments_of(step.words)
            few, full = arguments[FewShotSettings], FullSettings.of(arguments)
            assert (few.way, few.shots, few.episodes) == (5, (1, 2, 3, 4, 5), 10_000)
            assert few.compare
            assert full.classifier.network == networks[few.method]
            assert full.composite.label_rule == "foreground"
            assert full.run.seed == 7


def test_a_preset_of_ones_own_takes_the_place_of_one(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "semi-ucf101.yaml").write_text("epochs: 3\n")
    ucf, hmdb, _ = plan_table(wanted(tmp_path, "3", presets=own))
    assert str(own / "semi-ucf101.yaml") in ucf.steps[0].words
    assert str(PRESETS / "semi-hmdb51.yaml") in hmdb.steps[0].words
    with pytest.raises(InputError, match="There is no folder nowhere; give --presets one"):
        plan_table(wanted(tmp_path, "3", presets=Path("nowhere")))


# Costs, by hand.

SMALL_SET = Extent(train=1_000, test=200, frames=100, height=240, width=320)
SEMI_SETTINGS = FullSettings(
    classifier=ClassifierSettings(epochs=10), stage_one=StageOneSettings(warmup_epochs=2),
    semi=SemiSettings(setting="semi-supervised", teacher="resnet18"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "passes"),
    [("supervised", 1), ("cutmix", 2), ("pseudo-label", 2), ("mean-teacher", 7 / 3), ("s4l", 8),
     ("actorcut", 3), ("tcl", 2.5), ("selector", 3.2)],
)  # fmt: skip
def test_hours_of_arms_by_hand(arm: str, passes: float) -> None:
    """Half is labelled and a fifth of that is validation: 900 clips an epoch, ten epochs. A teacher
    adds a weak clip for each real one, the Selector its composite and two epochs of warm-up."""
    hour = 676.0 * 3600
    assert semi_hours(SMALL_SET, SEMI_SETTINGS, arm, 0.5) == pytest.approx(9_000 * passes / hour)


def test_every_method_has_its_views() -> None:
    assert VIEWS.keys() == OBJECTIVES.keys()


def test_a_smaller_network_takes_less_but_waits_for_its_clips() -> None:
    def hours(network: str) -> float:
        return hours_of(676.0 * 3600, FullSettings(classifier=ClassifierSettings(network=network)))

    assert hours("r3d_18") == hours("a network of one's own") == pytest.approx(1)
    assert hours("tsn_resnet50") == pytest.approx(85.8 / 202.8)
    assert hours("tiny3d") == pytest.approx(0.25)


def test_hours_of_episodes_by_hand() -> None:
    """100 episodes of 5 x (5 + 5) clips, ten looks at 60 validation clips of a third of a step;
    then 40 novel clips, each with 8 scenes, ten epochs of 200 base clips, 15 x 64 episodes."""
    few = FewShotSettings(train_episodes=100, validate_every=10, episodes=64, compare=True)
    sides, hour = Sides(200, 60, 40), 676.0 * 3600
    assert few_shot_train_hours(few, 5, FullSettings(), sides) == pytest.approx(
        (5_000 + 200) / hour
    )
    clips = 40 * 9 / 3 + 10 * 200
    assert few_shot_test_hours(few, FullSettings(), sides) == pytest.approx(
        clips / hour + 15 * 64 / 32 / 3600
    )


# Plans.


def lists(tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "data" / "lists"
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_the_plan_of_table_three_counts_runs_and_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data" / "ucf101").mkdir(parents=True)
    folder = lists(tmp_path, "as/found/ucf101_train_20_percent_labeled_split_1_rawframes.txt")
    one = wanted(tmp_path, "3", seeds=(0, 1), dollars_per_hour=2.0)
    groups = plan_table(one)
    # 4 shares x 2 seeds, and the Selector from before; HMDB51 has three shares; Kinetics no second.
    assert [group.runs for group in groups] == [16, 12, 8]
    ready = [step for group in groups for step in group.steps if not step.missing]
    assert [step.title for step in ready] == ["20 % labelled, all other rows"] * 2
    assert str(folder / "as/found") in " ".join(ready[0].words)
    lines = describe(groups, one)
    assert lines[0] == "Table 3 of the paper: 3 groups of cells"
    assert lines[2].startswith("UCF101, few labels: 16 runs, 16 to do, about ")
    assert any(line.split()[:5] == ["CutMix", "46.1", "36.5", "34.6", "25.8"] for line in lines)
    missing = next(line for line in lines if line.startswith("  missing: "))
    assert "lists/ucf101_train_5_percent_labeled_split_1_rawframes.txt, " in missing
    assert "20_percent" not in missing
    assert "a Selector of Kinetics-400 (--pretrained-selector FOLDER)" in missing
    assert any(
        line.startswith("  20 % labelled, all other rows: 2 of 2 to do x 52 hours, $2")
        and not line.endswith(")") for line in lines
    )  # fmt: skip
    commands = [line for line in lines if line.startswith("    l2a train ")]
    assert len(commands) == 4 + 4 + 3 + 3 + 4
    assert all(line.endswith("# and 1 seed more") for line in commands)


def test_the_plan_of_table_four_counts_runs_and_names_what_is_missing(tmp_path: Path) -> None:
    for name in ("ucf101", "hmdb51"):
        (tmp_path / "data" / name).mkdir(parents=True)
    lists(tmp_path, "splits/ucf_ARN/testlist03.txt", "hmdb51-S.yaml")
    one = wanted(tmp_path, "4", seeds=(0,))
    groups = plan_table(one)
    assert [group.runs for group in groups] == [6] * 4  # three methods, trained and evaluated
    assert [bool(group.missing()) for group in groups] == [False, False, True, True]
    assert groups[2].missing() == [
        f"the class split {tmp_path}/data/lists/FSL.txt or ucf101-T.yaml"
    ]
    train, evaluate = groups[0].steps[:2]
    run = f"{tmp_path}/out/table-4/ucf101-S/prototype/seed-0"
    assert train.words[:3] == ("few-shot", "train", f"{tmp_path}/data/ucf101")
    assert train.words[-2:] == ("--out", run)
    assert evaluate.words[:3] == ("few-shot", "evaluate", run)
    assert evaluate.after == Path(run, "method.safetensors")
    lines = describe(groups, one)
    assert any("10,000 episodes x 5 numbers of shots x composites none, random, selector" in line
               for line in lines)  # fmt: skip
    assert sum("masks and backgrounds as above" in line for line in lines) == 2


# Runs.


def trains(arms: dict[str, float], started: list[Path]) -> Any:
    """What `l2a train` leaves of a run, without any training; HMDB51's fail."""

    def run(arguments: Arguments) -> None:
        out = arguments[Out].out
        started.append(out)
        if "hmdb51" in str(out):
            raise InputError("There is no such clip.")
        folder = Run.open(
            out, "train", FullSettings.of(arguments).groups(), {"data": arguments[Data].data}
        )
        folder.fix_settings()
        seed = FullSettings.of(arguments).run.seed
        said = {name: {"top1_mean": top1 + 0.02 * seed} for name, top1 in arms.items()}
        folder.path("metrics.json").write_text(json.dumps({"arms": said}))
        folder.path("table.txt").touch()
        folder.path("report.html").touch()

    return run


def test_a_started_table_is_filled_and_finished_runs_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ucf101", "hmdb51"):
        (tmp_path / "data" / name).mkdir(parents=True)
    lists(
        tmp_path, "ucf101_train_20_percent_labeled_split_1_rawframes.txt",
        "hmdb51_train_60_percent_labeled_split_1_rawframes.txt",
    )  # fmt: skip
    words = ["paper", "3", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    titles = [row.arm for row in TABLE_3]
    started: list[Path] = []
    monkeypatch.setattr("train.commands.train.run", trains(dict.fromkeys(titles, 0.5), started))
    assert main([*words, "--seeds", "0", "1", "--start"]) == 1
    said = capsys.readouterr()
    assert "There is no such clip" in said.err
    assert len(started) == 4
    line = next(row for row in said.out.splitlines() if row.startswith("| L2A |"))
    assert line == "| L2A | – | 72.1 | 51.0 ± 1.4 | 60.3 | – | 56.1 | – | 48.0 |"
    table = json.loads((tmp_path / "out/table-3/table.json").read_text())
    cell = next(
        cell for cell in table["groups"][0]["cells"]
        if (cell["row"], cell["column"]) == ("TCL", "20 %")
    )  # fmt: skip
    assert cell == {
        "row": "TCL", "column": "20 %", "paper": 55.4, "mean": 51.0, "sd": 1.4142,
        "values": [50.0, 52.0],
    }  # fmt: skip
    assert (tmp_path / "out/table-3/table.md").read_text().startswith("Table 3 of the paper")

    # Two are finished, a third seed is new, and what failed is tried again.
    started.clear()
    assert main([*words, "--seeds", "0", "1", "2", "--start"]) == 1
    assert [path.parts[-3:] for path in started] == [
        ("ucf101", "20-percent", "seed-2"),
        *(("hmdb51", "60-percent", f"seed-{number}") for number in range(3)),
    ]  # fmt: skip
    assert "52.0 ± 2.0" in capsys.readouterr().out
    assert main(words) == 0  # the plan alone shows what is finished, too
    assert "52.0 ± 2.0" in capsys.readouterr().out

    # One whose figures cannot be read costs its figures alone; one without its page is run again.
    place = tmp_path / "out/table-3/ucf101/20-percent"
    kept = (place / "seed-1/metrics.json").read_text()
    (place / "seed-1/metrics.json").write_text("{")
    (place / "seed-0/report.html").unlink()
    started.clear()
    assert main([*words, "--seeds", "0", "1", "2", "--start"]) == 1
    said = capsys.readouterr()
    assert [path.parts[-2:] for path in started] == [
        ("20-percent", "seed-0"), *(("60-percent", f"seed-{number}") for number in range(3)),
    ]  # fmt: skip
    assert said.err.count("20-percent/seed-1/metrics.json does not say arms / ") == 1
    assert "52.0 ± 2.8 (2)" in said.out  # of 50, 54
    assert main(words) == 2
    said = capsys.readouterr()
    assert "1 run said to be finished cannot be read, and the table is without them" in said.err
    assert "52.0 ± 2.8 (2)" in said.out
    (place / "seed-1/metrics.json").write_text(kept)

    # Runs of other settings are no part of this table.
    own = tmp_path / "own"
    own.mkdir()
    preset = (PRESETS / "semi-ucf101.yaml").read_text()
    for changed, sentence in (
        (preset.replace("lr: 0.1", "lr: 0.2"), "was made with lr=0.1 and not 0.2"),
        (f"{preset}\ndilate: 0.05\n", "was made with dilate=0.03 and not 0.05"),
    ):
        (own / "semi-ucf101.yaml").write_text(changed)
        started.clear()
        assert main([*words, "--start", "--presets", str(own)]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert "has no such setting" not in said
        assert not started


def test_an_evaluation_waits_for_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "ucf101").mkdir(parents=True)
    lists(tmp_path, "ucf101-S.yaml")
    done: list[str] = []

    def run(arguments: Arguments) -> None:
        words = arguments.flat()
        done.append(f"{words['verb']} {words['method']}")
        if words["method"] == "arn":
            raise InputError("Too few clips.")
        out = Path(str(words["out"]))
        out.mkdir(parents=True)
        accuracy = {
            choice: {str(shot): {"mean": 0.5 + 0.1 * shot + gain} for shot in range(1, 6)}
            for choice, gain in (("none", 0.0), ("random", -0.1), ("selector", 0.01))
        }
        (out / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
        (out / "table.txt").touch()
        (out / "method.safetensors").touch()

    monkeypatch.setattr("train.commands.few_shot.run", run)
    words = ["paper", "4", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out"),
             "--seeds", "3", "--start"]  # fmt: skip
    assert main(words) == 1
    assert done == [
        "train prototype", "evaluate prototype", "train arn", "train trx", "evaluate trx"
    ]  # fmt: skip
    said = capsys.readouterr()
    assert "the run before it left no" in said.err
    rows = said.out.splitlines()
    assert (
        "| TRX + L2A | 61.0 | 79.2 | 71.0 | 89.2 | 81.0 | 93.2 | 91.0 | 95.0 | 101.0 | 96.3 |"
        in rows
    )
    assert "| ARN | – | 66.3 | – | 73.1 | – | 77.9 | – | 80.4 | – | 83.1 |" in rows


def test_cells_say_how_many_runs_they_have(tmp_path: Path) -> None:
    places = []
    for number, top1 in enumerate((0.5, 0.6, None)):
        file = tmp_path / f"{number}.json"
        if top1 is not None:
            file.write_text(json.dumps({"a": {"b": top1}}))
        places.append(Place(file, ("a", "b"), file))
    assert Cell(None, tuple(places)).values() == [50.0, 60.0]
    for text in ("{}", "{"):
        (tmp_path / "2.json").write_text(text)
        with pytest.raises(InputError, match=r"2.json does not say a / b .* remove its folder"):
            places[2].read()
        cell = Cell(None, tuple(places))
        assert cell.values() == [50.0, 60.0]
        assert len(cell.damaged()) == 1
    groups = plan_table(wanted(tmp_path, "3", seeds=(0,)))
    assert "| L2A | – | 72.1 |" in markdown(groups, "3")
