"""Runs of an ablation side by side: what is made first, what is given out, what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from side_by_side import Noting, tries_of
from test_ablation import TWO, made_up, plan_of
from tiny_data import CLASSES, write_tiny
from tiny_run import SMALL

from compositing.settings import EngineSettings
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import read_json
from l2a.options import AblationSettings
from train.ablation.ahead import sharing
from train.ablation.plan import PlannedRun, describe
from train.ablation.ray_tasks import Size, size_of
from train.ablation.running import RunTask, run_all, run_side_by_side
from train.ablation.spread import DIED, Processes, in_words, make_spread, visible_gpus
from train.settings.full import FullSettings

THREE: dict[str, Any] = {
    "baseline": "none",
    "rows": {
        "none": {"settings": {"selection": "none"}},
        "random": {"settings": {"selection": "random"}},
        "boxes": {"settings": {"selection": "random", "boxes": True}},
        "paste": {"settings": {"selection": "random", "match_colour": 0.5}},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data"), (*CLASSES, "RideBike"), train_groups=2)


class Backwards:
    """Calls tasks in this process, the last first; remembers which."""

    def __init__(self, *dead: str) -> None:
        self.called: list[str] = []
        self._dead, self._open = dead, False

    def __enter__(self) -> Backwards:
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False

    def __call__(self, tasks: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        assert self._open
        for key, task in reversed(tasks.items()):
            self.called.append(f"{key.row} {key.seed}")
            yield key, DIED if key.row in self._dead else task(1)


def value(row: str, seed: int) -> float:
    return 0.25 + 0.125 * (row == "boxes") + 0.0625 * seed


# What is made first.


def test_runs_share_layers_and_clips_by_split_seed_and_masks(data: Path, tmp_path: Path) -> None:
    """A run without composites needs no layers; how composites are blended changes no layer."""
    plan = plan_of(data, tmp_path / "out", THREE, "--seeds", "0", "1")
    groups = [[f"{run.row} {run.seed}" for run in group] for group in sharing(plan.runs)]
    assert groups == [
        ["none 0"], ["random 0", "paste 0"], ["boxes 0"],
        ["none 1"], ["random 1", "paste 1"], ["boxes 1"],
    ]  # fmt: skip


def test_the_first_of_each_group_is_begun_before_any_run(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", THREE)
    spread, begun = Backwards(), []

    def begin(data: Path, run: PlannedRun) -> None:
        assert not spread.called
        begun.append(run.row)

    results = run_side_by_side(plan, spread, made_up(value), begin)
    assert begun == ["none", "random", "boxes"]
    assert spread.called == ["paste 0", "boxes 0", "random 0", "none 0"]
    assert list(results.outcomes) == list(plan.runs)


@pytest.mark.parametrize(
    ("wrong", "called"),
    [
        (("random", "paste"), ["boxes 0", "none 0"]),
        (("random",), ["paste 0", "boxes 0", "none 0"]),  # the next one begins
    ],
)
def test_a_run_whose_beginning_fails_is_not_started(
    data: Path, tmp_path: Path, wrong: tuple[str, ...], called: list[str]
) -> None:
    plan = plan_of(data, tmp_path / "out", THREE)

    def begin(data: Path, run: PlannedRun) -> None:
        if run.row in wrong:
            raise InputError("It was made with lr=0.1 and not 0.2.")

    spread = Backwards()
    results = run_side_by_side(plan, spread, made_up(value), begin)
    assert [(run.row, why) for run, why in results.failed] == [
        (row, "It was made with lr=0.1 and not 0.2.") for row in wrong
    ]
    assert spread.called == called


# What comes back.


def test_the_table_is_that_of_one_after_another(data: Path, tmp_path: Path) -> None:
    tables = []
    for name in ("alone", "together"):
        plan = plan_of(data, tmp_path / name, TWO, "--seeds", "0", "1", "2")
        if name == "alone":
            run_all(plan, made_up(value))
        else:
            run_side_by_side(plan, Backwards(), made_up(value), lambda data, run: None)
        files = [plan.out / f"ablation.{kind}" for kind in ("md", "csv", "json")]
        tables.append([path.read_text().replace(name, "") for path in files])
    assert tables[0] == tables[1]


def test_finished_runs_are_read_and_failed_ones_tried_again(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO, "--seeds", "0", "1")
    first = run_side_by_side(plan, Backwards("boxes"), made_up(value), lambda data, run: None)
    assert [why for _, why in first.failed] == [DIED, DIED]
    again, begun = Backwards(), []
    results = run_side_by_side(
        plan, again, made_up(value), lambda data, run: begun.append(run.title)
    )
    assert again.called == ["boxes 1", "boxes 0"]
    assert begun == ["boxes, split 1, seed 0", "boxes, split 1, seed 1"]
    assert not results.failed
    assert "| boxes | boxes | 40.6 |" in (plan.out / "ablation.md").read_text()


# Processes.


def test_a_process_that_dies_costs_a_second_try(tmp_path: Path) -> None:
    tasks = {
        "well": Noting(tmp_path, "well"),
        "once": Noting(tmp_path, "once", "dies"),
        "twice": Noting(tmp_path, "twice", "dies", 2),
    }
    found = dict(Processes(2, 3, ("7", "5"))(tasks))
    assert {name: tries_of(tmp_path, name) for name in tasks} == {"well": 1, "once": 2, "twice": 2}
    assert found["twice"] == DIED
    assert {found["well"], found["once"]} <= {f"{n} 3 {g}" for n in tasks for g in (5, 7)}


def test_an_error_ends_the_others(tmp_path: Path) -> None:
    tasks = {name: Noting(tmp_path, name, name) for name in ("waits", "full", "fails")}
    with pytest.raises(OSError, match="No space left"):
        list(Processes(2, 1)(tasks))
    assert tries_of(tmp_path, "fails") == 0


def test_no_process_is_needed_for_nothing() -> None:
    assert list(Processes(2, 1)({})) == []


# How many, and with what.


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab")
    assert visible_gpus() == ("3", "GPU-ab")
    assert make_spread(4, EngineSettings(workers=3), "auto") == Processes(4, 3, ("3", "GPU-ab"))
    assert make_spread(4, EngineSettings(workers=3), "cuda:1") == Processes(4, 3, ())


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.ablation.spread.usable_cores", lambda: 8)
    assert make_spread(3, EngineSettings(), "cpu") == Processes(3, 2, ())
    assert make_spread(9, EngineSettings(), "cpu") == Processes(9, 1, ())
    assert make_spread(None, EngineSettings(), "auto") is None
    assert make_spread(1, EngineSettings(), "auto") is None


@pytest.mark.parametrize(
    ("device", "devices", "inside"),
    [
        ("auto", "cuda:0,cuda:1", "auto"),  # it is dealt out one GPU, whose number is 0 there
        ("auto", "cpu", "cpu"),
        ("cuda:1", "cuda:0,cuda:1", "cuda:0,cuda:1"),  # no GPU is dealt out: all are seen
        ("cpu", "cuda:1", "cuda:1"),
    ],
)
def test_a_run_prepares_on_the_gpu_that_it_is_given(
    data: Path, tmp_path: Path, device: str, devices: str, inside: str
) -> None:
    run = plan_of(data, tmp_path / "out", THREE).runs[0]
    settings = replace(
        run.settings,
        engine=replace(run.settings.engine, devices=devices),
        classifier=replace(run.settings.classifier, device=device),
    )
    seen: list[str] = []

    def work(data: Path, folder: Path, own: FullSettings) -> None:
        seen.append(own.engine.devices)
        raise InputError("seen")

    RunTask(data, replace(run, settings=settings), work)(1)
    assert seen == [inside]


@pytest.mark.parametrize(
    ("nodes", "workers", "jobs", "gpu", "expected"),
    [
        ([{"CPU": 32, "GPU": 4}, {"CPU": 16, "GPU": 4}], 0, None, True, Size(4, 1)),
        ([{"CPU": 32, "GPU": 4}, {"CPU": 64}], 40, None, True, Size(32, 1)),
        ([{"CPU": 2, "GPU": 8}], 0, None, True, Size(1, 1)),
        ([{"CPU": 32, "GPU": 4}], 0, None, False, Size(1, 0)),
        ([{"CPU": 8}, {"CPU": 8}], 0, 4, True, Size(4, 0)),
        ([{"CPU": 8}, {"CPU": 8}], 0, 1, True, Size(8, 0)),
        ([{"CPU": 8}], 3, 4, True, Size(3, 0)),
        ([{}], 0, None, True, Size(1, 0)),
    ],
)
def test_what_a_task_of_a_cluster_asks_for_can_be_had(
    nodes: list[dict[str, float]], workers: int, jobs: int | None, gpu: bool, expected: Size
) -> None:
    assert size_of(nodes, workers, jobs, wants_gpu=gpu) == expected


def test_wrong_settings_are_one_sentence() -> None:
    with pytest.raises(InputError, match="jobs is 0; it must be at least 1"):
        AblationSettings(jobs=0)
    with pytest.raises(InputError, match="device is cuda:1, but with the engine ray each run"):
        make_spread(None, EngineSettings(engine="ray"), "cuda:1")


def test_the_plan_says_how_runs_follow_each_other(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", TWO)
    assert "= 2 runs, one after another, each in" in describe(plan)[0]
    assert "= 2 runs, 3 side by side, each in" in describe(plan, "3 side by side")[0]
    ray = EngineSettings(engine="ray")
    assert [in_words(jobs, EngineSettings()) for jobs in (None, 1, 3)] == [
        "one after another", "one after another", "3 side by side",
    ]  # fmt: skip
    assert [in_words(jobs, ray) for jobs in (None, 3)] == [
        "as tasks of Ray", "as tasks of Ray, 3 at a time",
    ]  # fmt: skip


# The real thing.


def ablate(data: Path, out: Path, *more: str) -> int:
    """Three rows, two of which share their clips; everything small."""
    out.parent.mkdir(exist_ok=True)
    config, table = out.parent / "config.yaml", out.parent / "table.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"compare": False, "repeats": 1, "probe": 0}))
    rows = {name: THREE["rows"][name] for name in ("none", "random", "paste")}
    table.write_text(yaml.safe_dump(THREE | {"rows": rows}, sort_keys=False))
    words = ["ablate", str(data), "--config", str(config), "--out", str(out)]
    return main([*words, "--table", str(table), *more])


def table_in(out: Path) -> tuple[str, list[dict[str, Any]]]:
    """The table, and its numbers but for the seconds."""
    rows = read_json(out / "ablation.json")["rows"]
    return (out / "ablation.md").read_text(), [row | {"seconds": None} for row in rows]


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(data: Path, tmp_path: Path) -> None:
    assert ablate(data, tmp_path / "serial") == 0
    assert ablate(data, tmp_path / "two", "--jobs", "2") == 0
    assert table_in(tmp_path / "two") == table_in(tmp_path / "serial")
    log = (tmp_path / "two" / "random" / "split-1-seed-0" / "run.log").read_text()
    assert "layers: 8 made, 0 reused" in log
    assert "layers: 0 made, 8 reused" in log
    assert "stage two" in log
    assert ablate(data, tmp_path / "two", "--jobs", "2") == 0
    assert "0 of 3 runs to make" in (tmp_path / "two" / "run.log").read_text()
