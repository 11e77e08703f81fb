"""`l2a ablate`: tables are read, runs planned, failures contained, differences paired."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tiny_data import CLASSES, write_tiny
from tiny_run import SMALL, write_small

from l2a.arguments import Arguments, parse
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import read_json, write_json
from train.ablation.drawn import markdown, write_tables
from train.ablation.plan import Plan, PlannedRun, describe, make_plan, row_arm
from train.ablation.results import Outcome, Results, paired, read_outcome
from train.ablation.running import finished, one, run_all, share_masks
from train.ablation.table import TABLES, Table, read_table, shipped
from train.command_table import ALL_GROUPS, COMMANDS
from train.opening import data_mark, open_videos, sources_of
from train.settings.full import FullSettings

TWO = {
    "baseline": "plain",
    "rows": {
        "plain": {"settings": {"selection": "random"}},
        "boxes": {"about": "boxes", "settings": {"selection": "random", "boxes": True}},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, because a shipped table matches each with three others."""
    return write_tiny(tmp_path_factory.mktemp("data"), (*CLASSES, "RideBike"), train_groups=2)


def table_of(folder: Path, content: Any) -> str:
    path = folder / "table.yaml"
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return str(path)


def arguments(data: Path, out: Path, table: str, *words: str) -> Arguments:
    """As the command line has them, everything small."""
    config = write_small(out.parent, compare=False, probe=0, repeats=1)
    return parse(
        "ablate", "", COMMANDS["ablate"].groups,
        [str(data), "--out", str(out), "--config", str(config), "--table", table, *words],
        known=ALL_GROUPS,
    )  # fmt: skip


def plan_of(data: Path, out: Path, content: Any, *words: str) -> Plan:
    table = content if content in shipped() else table_of(out.parent, content)
    return make_plan(arguments(data, out, table, *words), read_table(table))


# tables


def test_the_papers_tables_are_all_of_its_rows() -> None:
    one, two = read_table("1"), read_table("2")
    assert [row.paper for row in one.rows.values()] == [
        58.9, 55.8, 54.5, 55.2, 52.9, 48.6, 50.8, 45.5,
    ]  # fmt: skip
    assert [row.paper for row in two.rows.values()] == [58.9, 57.6, 56.8, 55.7, 54.5]


def test_table_one_switches_three_parts_on_and_off(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", "1")
    found = [
        (
            row.stage_two.selection == "selector",
            (row.prepare.boxes, row.prepare.humans_only, row.prepare.inpainter)
            == (False, False, "temporal"),
            row.match.matches == "1",
        )
        for row in plan.settings.values()
    ]
    assert len(set(found)) == 8
    assert found[0] == (True, True, True)
    off = plan.settings["nothing"]
    assert (off.prepare.boxes, off.prepare.humans_only, off.prepare.inpainter) == (
        True, True, "none",
    )  # fmt: skip
    assert off.match.matches == "all"


@pytest.mark.parametrize("name", sorted(path.stem for path in TABLES.glob("*.yaml")))
def test_shipped_tables_make_plans(name: str, data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", name)
    assert len(plan.runs) == len(plan.table.rows) >= 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": "full"}, "no row 'full' to be its baseline; name one of plain, boxes"),
        ({"baseline": None}, "baseline must be given"),
        ({"rows": {"plain": {}}}, "compares nothing"),
        ({"rows": [1, 2]}, "compares nothing"),
        ({"more": 1}, "has 'more' in a table, which has title, baseline, paper, rows"),
        ({"rows": {"plain": {}, "../up": {}}}, "calls a row '../up'"),
        ({"rows": {"plain": {}, "layers": {}}}, "neither layers nor bank"),
        ({"rows": {"plain": {}, "Plain": {}}}, "has two rows Plain"),
        ({"rows": {"plain": {}, "a": {"papper": 1}}}, "'papper' in the row a"),
        ({"rows": {"plain": {}, "a": {"paper": "good"}}}, "must be an accuracy in %"),
        ({"rows": {"plain": {}, "a": {"settings": [1]}}}, "settings of a must be"),
        ({"rows": {"plain": {}, "a": {"settings": {"epocs": 3}}}},
         "row a of .* sets 'epocs', which no command knows; perhaps 'epochs' is meant"),
        ({"rows": {"plain": {}, "a": {"settings": {"matches": 1, "match": {"matches": 1}}}}},
         "row a of .* sets matches twice"),
        ({"rows": {"plain": {}, "a": {"settings": {"match": {"boxes": True}}}}},
         "in the group match, which has no such setting; it belongs to the group prepare"),
        ({"rows": {"plain": {}, "a": {"settings": {"boxes": "perhaps"}}}},
         "boxes in The row a of .* is 'perhaps', but must be true or false"),
        ({"rows": {"plain": {}, "a": {"settings": {"epochs": 3}}}},
         "sets epochs, but all rows must see as many clips"),
        ({"rows": {"plain": {}, "a": {"settings": {"split": 2}}}},
         "sets split, which the ablation sets itself"),
        ({"rows": {"plain": {}, "a": {"settings": {"strict": True}}}},
         "sets strict, which `l2a train` does not take"),
        ({"rows": {"plain": {}, "a": {"settings": {"alpha": -1}}}}, "alpha must be above 0"),
        ({"rows": {"plain": {}, "a": {"settings": {"network": "r2d2"}}}},
         "The row a: There is no network 'r2d2'"),
        ({"rows": {"plain": {}, "a": {"settings": {"freeze_trunk": True, "trunk_lr": 0.1}}}},
         "The row a: trunk_lr is 0.1, but --freeze-trunk"),
        ({"rows": {"plain": {}, "a": {"settings": {"matches": "any"}}}},
         "rows plain and a of .* have the same settings"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_one_sentence(
    change: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        plan_of(data, tmp_path / "out", TWO | change)
    assert not (tmp_path / "out").exists()


def test_a_row_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = "baseline: a\nrows:\n  a: {about: x}\n  a: {about: y}\n"
    with pytest.raises(InputError, match="has two rows a"):
        read_table(table_of(tmp_path, text))


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table '3'; choose one of 1, 2, fine-tuned, pools"):
        read_table("3")
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_table(str(tmp_path / "none.yaml"))


def test_nothing_in_a_table_is_built(tmp_path: Path) -> None:
    text = "baseline: a\nrows:\n  a: {}\n  b: {about: !!python/name:os.system {}}\n"
    with pytest.raises(InputError, match="about must be given, as a text"):
        read_table(table_of(tmp_path, text))


# plans


def test_a_plan_is_rows_by_splits_by_seeds_and_says_what_is_shared(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = plan_of(data, out, TWO, "--seeds", "0", "5", "--segmenter", "motion")
    assert [(run.row, run.split, run.seed) for run in plan.runs] == [
        ("plain", "1", 0), ("boxes", "1", 0), ("plain", "1", 5), ("boxes", "1", 5),
    ]  # fmt: skip
    first = plan.runs[0]
    assert first.folder == out / "plain" / "split-1-seed-0"
    assert first.settings.run.bank == out / "bank"
    assert [run.settings.run.seed for run in plan.runs] == [0, 0, 5, 5]
    (one, other) = plan.stores()
    assert one != other and one.parent == other.parent == out / "layers"
    text = "\n".join(describe(plan))
    assert "2 rows x splits 1 x seeds 0 5 = 4 runs" in text
    assert f"layers in {one}, for plain\n" in text
    assert "(boxes)" in text and "the baseline" in text


def test_a_row_with_an_augmentation_is_of_its_arm(data: Path, tmp_path: Path) -> None:
    rows = {"none": {"selection": "none"}, "cut": {"selection": "none", "augment": ["cutmix"]},
            "both": {"selection": "random", "augment": ["selector+videomix"]}}  # fmt: skip
    table = {"baseline": "none", "rows": {name: {"settings": one} for name, one in rows.items()}}
    plan = plan_of(data, tmp_path / "out", table)
    arms = [row_arm(row) for row in plan.settings.values()]
    assert arms == ["none", "cutmix", "selector+videomix"]
    for run in plan.runs[:2]:
        run.folder.mkdir(parents=True)
        found = {name: {"top1_mean": value, "repeats": [{"loss": 1.0}]}
                for name, value in (("none", 0.25), ("cutmix", 0.5))}  # fmt: skip
        write_json(run.folder / "metrics.json", {"arms": found})
        write_json(run.folder / "stages.json", {})
    assert [read_outcome(run).figures["top1"] for run in plan.runs[:2]] == [0.25, 0.5]
    table["rows"]["cut"]["settings"]["augment"] = ["cutmix", "mixup"]
    with pytest.raises(InputError, match="row cut: It would train the arms cutmix and mixup; give"):
        plan_of(data, tmp_path / "out", table)
    with pytest.raises(InputError, match="the row none, without composites, would take fewer st"):
        plan_of(data, tmp_path / "out", "pools", "--replace-real")
    with pytest.raises(InputError, match="asks for the arm cutmix, which would be the same in ev"):
        plan_of(data, tmp_path / "out", TWO, "--augment", "cutmix")


def test_a_given_store_serves_the_rows_that_it_was_made_for(data: Path, tmp_path: Path) -> None:
    store, bank = tmp_path / "store", tmp_path / "bank"
    plan = plan_of(data, tmp_path / "out", TWO, "--layers", str(store), "--bank", str(bank))
    assert plan.settings["plain"].run.layers == store
    assert plan.settings["boxes"].run.layers != store
    assert plan.settings["boxes"].run.bank == bank
    assert plan.masks == store / "masks"


def test_splits_that_are_the_same_are_refused(tmp_path: Path, data: Path) -> None:
    for number in ("02", "03"):
        for name in ("trainlist", "testlist"):
            lists = (data / "splits" / f"{name}01.txt").read_text()
            (data / "splits" / f"{name}{number}.txt").write_text(lists)
    with pytest.raises(InputError, match=r"same training and test videos in the splits 1 and 2"):
        plan_of(data, tmp_path / "out", TWO, "--splits", "1", "2")
    lists = (data / "splits" / "testlist01.txt").read_text().splitlines()
    (data / "splits" / "testlist03.txt").write_text("\n".join(lists[1:]))
    assert len(plan_of(data, tmp_path / "out", TWO, "--splits", "1", "3").runs) == 4


@pytest.mark.parametrize("words", [["--splits", "1", "1"], ["--seeds", "-1"], ["--splits", "0"]])
def test_splits_and_seeds_are_numbers_each_once(
    words: list[str], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="give whole numbers from"):
        plan_of(data, tmp_path / "out", TWO, *words)


def test_people_are_asked_of_a_segmenter_that_knows_them(data: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        return "\n".join(describe(plan_of(data, tmp_path / "out", "2", *words)))

    assert "does not know people, so that nothing is left of the rows no-objects" in said()
    (tmp_path / "masks").mkdir()
    assert "does not know people" not in said("--segmenter", f"masks:{tmp_path / 'masks'}")


# results


def outcome(top1: float, loss: float = 1.0, **facts: float) -> Outcome:
    return Outcome({"top1": top1, "loss": loss}, facts)


def results_of(folder: Path, content: Any, values: dict[str, list[float | str]]) -> Results:
    """Of runs on as many seeds as there are values; a text is why one failed."""
    table: Table = read_table(table_of(folder, content))
    return Results(
        table,
        {
            PlannedRun(row, "1", seed, folder / row, FullSettings()): (
                Outcome(failed=value) if isinstance(value, str) else outcome(value)
            )
            for row, several in values.items()
            for seed, value in enumerate(several)
        },
    )


def test_differences_are_paired_by_split_and_seed() -> None:
    base = {("1", 0): 0.30, ("1", 1): 0.40, ("2", 0): 0.50, ("9", 9): 0.0}
    own = {("1", 0): 0.33, ("1", 1): 0.41, ("2", 0): 0.55, ("8", 8): 1.0}
    found = paired(own, base)
    # 3, 1 and 5 points: mean 3, variance (0 + 4 + 4) / 2.
    assert found.n == 3
    assert found.mean == pytest.approx(0.03)
    assert found.error == pytest.approx(0.02 / math.sqrt(3))
    # 2.6 errors, where Student's t with two degrees of freedom asks for 4.3.
    assert not found.is_sure
    assert paired({place: value + 1 for place, value in own.items()}, base).is_sure
    assert not paired({("1", 0): 0.9}, base).is_sure
    # Two differences of 40 points each, with no spread between them, are still only two.
    assert not paired({("1", 0): 0.7, ("1", 1): 0.8}, base).is_sure
    assert math.isnan(paired({("1", 0): 0.9}, base).error)
    assert paired({("7", 7): 0.9}, base).n == 0


def test_the_table_says_what_was_measured_and_what_the_paper_has(tmp_path: Path) -> None:
    content = {
        "title": "T", "baseline": "full", "paper": "P, Table 9",
        "rows": {"full": {"paper": 58.9}, "less": {"paper": 45.5}, "new": {"about": "ours"}},
    }  # fmt: skip
    results = results_of(
        tmp_path, content,
        {"full": [0.5, 0.6, 0.7], "less": [0.47, 0.57, 0.66], "new": [0.5, "it broke", "it broke"]},
    )  # fmt: skip
    text = markdown(results, results.lines())
    assert "| full |  | 60.0 | baseline | 1.000 | baseline | – | 3 | 58.9 | baseline |" in text
    # 3, 3 and 4 points less: mean 10/3, sd √(1/3), error 1/3.
    assert (
        "| less |  | 56.7 | **−3.3 ± 0.3** | 1.000 | +0.000 ± 0.000 | – | 3 | 45.5 | -13.4 |"
        in text
    )
    assert "| new | ours | 50.0 | +0.0 | 1.000 | +0.000 | – | 1 | – | – |" in text
    assert "2 runs failed" in text and "- new, split 1, seed 1: it broke" in text
    write_tables(tmp_path, results)
    with (tmp_path / "ablation.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert float(rows["less"]["top1_difference"]) == pytest.approx(-0.1 / 3, abs=1e-6)
    assert (rows["new"]["failed"], rows["new"]["top1_error"], rows["new"]["runs"]) == ("2", "", "1")
    document = json.loads((tmp_path / "ablation.json").read_text())
    assert len(document["runs"]) == 9
    with Image.open(tmp_path / "ablation.png") as picture:
        assert min(picture.size) > 150


def test_a_table_of_which_nothing_is_known_yet_is_drawn(tmp_path: Path) -> None:
    results = results_of(tmp_path, TWO, {"plain": ["no"]})
    write_tables(tmp_path, results)
    assert "| boxes | boxes | – | – | – | – | – | 0 |" in (tmp_path / "ablation.md").read_text()


# runs


def made_up(top1: Callable[[str, int], float]) -> Callable[[Path, Path, FullSettings], None]:
    """A training that writes what one does, and knows its result beforehand."""

    def work(data: Path, folder: Path, settings: FullSettings) -> None:
        value = top1(folder.parent.name, settings.run.seed)
        arm = {"top1_mean": value, "repeats": [{"loss": 1.5}, {"loss": 2.5}]}
        write_json(folder / "metrics.json", {"arms": {settings.stage_two.selection: arm}})
        write_json(folder / "stages.json", {"prepare": 1.0, "stage two": 2.5})
        plain = {name: str(v) if isinstance(v, Path) else v for name, v in settings.flat().items()}
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}
        record = {"command": "train", "fixed": True, "settings": plain | {"data": str(data)}}
        (folder / "run.yaml").write_text(yaml.safe_dump(record))
        for name in ("table.txt", "report.html"):
            (folder / name).write_text("done")

    return work


def test_a_run_is_finished_when_figures_and_page_are_there(data: Path, tmp_path: Path) -> None:
    """`l2a report` writes the page of a run that is under way, too."""
    run = plan_of(data, tmp_path / "out", TWO).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "report.html").touch()
    assert not finished(run)
    made_up(lambda *_: 0.5)(data, run.folder, run.settings)
    assert finished(run)


def test_a_scene_test_is_added_to_finished_runs(data: Path, tmp_path: Path) -> None:
    plain = plan_of(data, tmp_path / "out", TWO)
    run_all(plain, made_up(lambda *_: 0.5))
    assert all(map(finished, plain.runs))
    asked = plan_of(data, tmp_path / "out", TWO, "--scene-test")
    assert not any(map(finished, asked.runs))
    for run in asked.runs:
        path = run.folder / "metrics.json"
        write_json(path, read_json(path) | {"scene_test": {}})
    assert all(map(finished, asked.runs))
    (asked.runs[0].folder / "metrics.json").write_text("{")
    failed = run_all(asked, made_up(lambda *_: 0.5)).failed  # damaged: it costs this run alone
    assert [run for run, _ in failed] == [asked.runs[0]]


def test_auto_takes_the_masks_of_the_layers_that_are_given(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "prepared" / "layers"
    store.mkdir(parents=True)
    record = {"command": "prepare", "fixed": True, "settings": {"segmenter": "mask-rcnn"}}
    (store.parent / "run.yaml").write_text(yaml.safe_dump(record))
    words = ("--layers", str(store), "--segmenter", "auto")
    plan = plan_of(data, tmp_path / "out", TWO, *words)
    assert {row.prepare.segmenter for row in plan.settings.values()} == {"mask-rcnn"}


def test_a_figure_that_a_row_lacks_is_a_dash(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO)
    first, second = plan.runs
    results = Results(plan.table, {
        first: Outcome({"top1": 0.5, "mixed_rand": 0.25}), second: Outcome({"top1": 0.5}),
    })  # fmt: skip
    assert "nan" not in markdown(results, results.lines())


def test_a_run_that_fails_stops_no_other_and_is_tried_again(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO, "--seeds", "0", "1")
    tried: list[tuple[str, int]] = []
    broken = {("boxes", 0): InputError("The budget is 9 pairs."), ("plain", 1): ZeroDivisionError()}

    def top1(row: str, seed: int) -> float:
        tried.append((row, seed))
        if (row, seed) in broken:
            raise broken[row, seed]
        return 0.25

    results = run_all(plan, made_up(top1))
    assert tried == [("plain", 0), ("boxes", 0), ("plain", 1), ("boxes", 1)]
    assert [(run.title, why) for run, why in results.failed] == [
        ("boxes, split 1, seed 0", "The budget is 9 pairs."),
        ("plain, split 1, seed 1", "ZeroDivisionError"),
    ]
    found = results.outcomes[plan.runs[0]]
    assert found.figures == {"top1": 0.25, "loss": 2.0}
    assert found.facts == {"seconds": 3.5}
    broken.clear()
    tried.clear()
    assert run_all(plan, made_up(top1)).failed == []
    assert tried == [("boxes", 0), ("plain", 1)]  # the others are read


def test_an_interrupted_ablation_goes_on_and_its_table_stands(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO, "--seeds", "0", "1")

    def stopped(row: str, seed: int) -> float:
        if seed == 1:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        run_all(plan, made_up(stopped))
    assert "| boxes | boxes | 50.0 | +0.0 |" in (plan.out / "ablation.md").read_text()
    results = run_all(plan, made_up(lambda row, seed: 0.5 + 0.1 * (row == "boxes")))
    assert [line.differences.get("top1") and line.differences["top1"].n for line in results.lines()]
    assert results.lines()[1].differences["top1"].mean == pytest.approx(0.05)


def test_a_full_disk_ends_it(data: Path, tmp_path: Path) -> None:
    def full(row: str, seed: int) -> float:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_all(plan_of(data, tmp_path / "out", TWO), made_up(full))


def test_a_finished_run_of_other_settings_is_not_read(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO)
    run_all(plan, made_up(lambda row, seed: 0.5))
    other = plan_of(data, tmp_path / "out", TWO, "--lr", "0.5")
    results = run_all(other, made_up(lambda row, seed: pytest.fail("it was made again")))
    assert [why for _, why in results.failed if "was made with lr=0.01 and not 0.5" in why]
    assert len(results.failed) == 2


def test_a_finished_run_of_other_data_is_not_read_and_more_splits_may_be_asked_for(
    data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    plan = plan_of(copy, tmp_path / "out", TWO)
    work = made_up(lambda *_: 0.5)
    for run in plan.runs:
        work(copy, run.folder, run.settings)
    own = plan.runs[0]
    videos = open_videos(copy, own.settings.data, own.settings.run.seed)
    record = own.folder / "run.yaml"
    mark = data_mark([videos], sources_of(videos))
    record.write_text(record.read_text() + f"data_mark: {mark}\n")
    assert not one(copy, own, work)[0].failed
    record.write_text(record.read_text().replace(mark, "another"))
    assert "had other videos, classes or splits than now" in one(copy, own, work)[0].failed


def test_results_that_cannot_be_read_are_one_sentence(data: Path, tmp_path: Path) -> None:
    run = plan_of(data, tmp_path / "out", TWO).runs[0]
    write_json(run.folder / "metrics.json", {"arms": {"selector": {}}})
    with pytest.raises(InputError, match="no results that can be read"):
        read_outcome(run)


def test_a_scene_test_is_a_column_of_the_table(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO)
    work = made_up(lambda row, seed: 0.5)

    def with_scenes(data: Path, folder: Path, settings: FullSettings) -> None:
        work(data, folder, settings)
        metrics = read_json(folder / "metrics.json")
        known = {"mean": 0.375 if settings.prepare.boxes else 0.25, "error": None, "count": 4}
        (arm,) = metrics["arms"].values()
        arm["scene_test"] = {"mean": {"mixed_rand": known}, "repeats": []}
        write_json(folder / "metrics.json", metrics)

    results = run_all(plan, with_scenes)
    text = markdown(results, results.lines())
    assert "| test loss | difference | mixed-rand % | difference | pool |" in text
    assert "| boxes | boxes | 50.0 | +0.0 | 2.000 | +0.000 | 37.5 | +12.5 | – | 1 |" in text


def test_stores_share_raw_masks_wherever_they_are_moved(tmp_path: Path) -> None:
    masks = tmp_path / "a" / "layers" / "masks"
    for name in ("one", "two", "one"):
        share_masks(tmp_path / "a" / "layers" / name, masks)
    (masks / "kind").mkdir()
    (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b" / "layers" / "two" / "masks" / "kind").is_dir()


def test_a_real_ablation_end_to_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two rows, then the same again, for which nothing is trained."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"compare": False, "repeats": 1, "probe": 0}))
    out, table = tmp_path / "out", table_of(tmp_path, TWO)
    words = ["ablate", str(data), "--config", str(config), "--out", str(out), "--table", table]
    assert main([*words, "--dry-run"]) == 0
    assert not out.exists()
    assert "= 1 run" not in capsys.readouterr().out
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "| boxes | boxes |" in shown
    log = (out / "run.log").read_text()
    assert "run 2 of 2: boxes" in log
    metrics = {row: out / row / "split-1-seed-0" / "metrics.json" for row in ("plain", "boxes")}
    before = {row: path.stat().st_mtime_ns for row, path in metrics.items()}
    rows = {row["row"]: row for row in read_json(out / "ablation.json")["rows"]}
    assert rows["plain"]["top1"] == read_json(metrics["plain"])["arms"]["random"]["top1_mean"]
    assert rows["plain"]["pairs"] == rows["boxes"]["pairs"] == SMALL["budget"]
    # Masks were found for the first store; the other one holds other layers made of them.
    stores = [path for path in (out / "layers").iterdir() if "-scene-test" not in path.name]
    stores.remove(out / "layers" / "masks")
    assert len(stores) == 2
    assert len(list((out / "layers" / "masks").rglob("*.json"))) == 8
    assert all((store / "masks").is_symlink() for store in stores)
    boxes = (out / "boxes" / "split-1-seed-0" / "run.log").read_text()
    assert "layers: 8 made, 0 reused" in boxes
    assert main(words) == 0
    assert f"{metrics['boxes'].parent} is finished" in (out / "run.log").read_text()
    assert {row: path.stat().st_mtime_ns for row, path in metrics.items()} == before
    assert main([*words, "--epochs", "2"]) == 2
