"""The engine `ray`: the same files as `local` makes, whatever dies. Needs Ray: `make test-ray`."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_tasks import NetworkSquare, Square, note, notes, on_crash
from side_by_side import Noting, tries_of
from test_side_by_side import ablate, table_in
from tiny_data import CLASSES, write_tiny

from compositing.engines import make_engine, on_ray
from compositing.engines.base import Engine
from compositing.engines.local import LocalEngine
from compositing.engines.on_ray import RayEngine
from compositing.engines.results import unpacked
from compositing.export import Material, PairList, export_pairs
from compositing.making import LayerMaker
from compositing.settings import CompositeSettings, EngineSettings, ExportSettings, PrepareSettings
from l2a.errors import InputError, UnreadableVideo
from l2a.formats import DataSettings, read_videos
from l2a.pairs import ScoredPair
from l2a.videos import Video
from train.ablation.ray_tasks import RayTasks

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

CORES = 2  # of the fixture


def squares(count: int, *missing: int) -> list[int]:
    return [-n if n in missing else n * n for n in range(count)]


def run(task: Square, count: int = 6, **settings: Any) -> list[int]:
    return list(RayEngine(**settings).map(task, range(count), on_crash=on_crash))


def processes(folder: Path, what: str) -> set[int]:
    return {process for _, process, _ in notes(folder, what)}


# The same files


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    root = write_tiny(tmp_path_factory.mktemp("data"), train_groups=2)
    return list(read_videos(root, DataSettings()).of_split("train"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def prepare_and_export(out: Path, videos: list[Video], engine: Engine) -> dict[str, bytes]:
    store = LayerMaker(out / "layers", PrepareSettings(min_gamma=0.001))
    report = store.prepare(videos, engine)
    assert (report.made, report.skipped) == (len(videos), ())
    pairs = list(zip(videos, videos[3:] + videos[:3], strict=True))
    rows = [ScoredPair(a.id, b.id, 0.5, 0.0, a.label, b.label) for a, b in pairs]
    done = export_pairs(
        PairList(rows, {"seed": 1}),
        Material(
            {video.id: video for video in videos}, sorted({video.label for video in videos}), store
        ),
        out / "export",
        CompositeSettings(),
        ExportSettings(preset="ultrafast"),
        engine=engine,
    )
    assert (done.made, done.skipped) == (len(videos), ())
    return contents(out)


def test_preparation_and_export_give_the_same_files_on_every_engine(
    tmp_path: Path, videos: list[Video]
) -> None:
    engines = {"one": LocalEngine(1), "two": LocalEngine(2), "ray": RayEngine()}
    one, two, ray = (
        prepare_and_export(tmp_path / name, videos, engine) for name, engine in engines.items()
    )
    assert sum(name.endswith(".mp4") for name in one) == len(videos) == 12
    assert one == two == ray


def test_a_preparation_interrupted_on_ray_goes_on_here(tmp_path: Path, videos: list[Video]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    stores = [LayerMaker(tmp_path / name, PrepareSettings()) for name in ("whole", "parts")]
    stores[0].prepare(videos)
    with pytest.raises(KeyboardInterrupt):
        stores[1].prepare(videos, RayEngine(workers=1), interrupt)
    report = stores[1].prepare(videos)
    assert report.reused >= 2
    assert report.reused + report.made == len(videos)
    assert contents(tmp_path / "whole") == {
        name: data for name, data in contents(tmp_path / "parts").items() if ".part-" not in name
    }


# Order, deaths and errors


def test_results_come_in_order_though_more_actors_and_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "_AT_ONCE", 4)
    assert run(Square(tmp_path), 7, workers=3) == squares(7)
    assert run(Square(tmp_path), 0) == []


def test_an_actor_that_is_killed_costs_a_second_try_and_no_result(tmp_path: Path) -> None:
    assert run(Square(tmp_path, dies=3, once=True)) == squares(6)
    assert len(notes(tmp_path, "call-3")) == 2


def test_a_second_try_does_not_wait_for_a_free_core(tmp_path: Path) -> None:
    task = Square(tmp_path, dies=0, once=True, seconds=0.2)
    assert run(task, 40) == squares(40)
    ((_, _, _), (again, _, _)) = notes(tmp_path, "call-0")
    ((last, _, _),) = notes(tmp_path, "call-39")
    assert again < last


def test_an_actor_may_be_killed_from_outside(tmp_path: Path) -> None:
    results = RayEngine(workers=1).map(Square(tmp_path, seconds=0.3), range(8), on_crash=on_crash)
    assert next(results) == 0
    (actor,) = processes(tmp_path, "call")
    os.kill(actor, signal.SIGKILL)
    assert [0, *results] == squares(8)


@pytest.mark.parametrize(("devices", "where"), [("auto", "cuda 5"), ("cpu", "cpu 5")])
def test_networks_run_in_the_actors_and_an_item_that_kills_each_is_lost_alone(
    tmp_path: Path, devices: str, where: str
) -> None:
    task = NetworkSquare(tmp_path, dies=5)  # the last: nothing comes after it
    assert run(task, devices=devices, frames_at_once=5) == squares(6, 5)
    assert len(notes(tmp_path, "call-5")) == 2
    assert {device for *_, device in notes(tmp_path, "answer-")} == {where}
    assert processes(tmp_path, "answer-") == processes(tmp_path, "call-")


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("video", UnreadableVideo, r"^/there/a\.mp4: it is torn$"),
        ("odd", RuntimeError, "(?s)Traceback.*in work.*OddError: strange"),
        ("unpackable", TypeError, "^A result cannot travel: .*lambda"),
    ],
)
def test_errors_arrive_as_themselves_after_the_results_before_them(
    tmp_path: Path, how: str, kind: type[Exception], message: str
) -> None:
    results = RayEngine().map(Square(tmp_path, fails=1, how=how), range(4), on_crash=on_crash)
    assert next(results) == 0
    with pytest.raises(kind, match=message) as caught:
        next(results)
    assert type(caught.value) is kind


def test_an_error_of_the_second_try_arrives_too(tmp_path: Path) -> None:
    class_ = NetworkSquare(tmp_path, worker_dies=1, fails=1, how="input")
    with pytest.raises(InputError, match="The weights are not there"):
        run(class_, 3, devices="cpu")


def test_a_caller_outside_the_cluster_gets_the_same(tmp_path: Path) -> None:
    job = on_ray._Job(pickle.dumps(Square(tmp_path)), str(tmp_path), None, 8)
    crew = on_ray._Crew(2, 0.0, 0)
    items = [pickle.dumps(n) for n in range(5)]
    outcomes = list(on_ray._from_outside(job, items, crew))
    assert [number for number, _ in outcomes] == [0, 1, 2, 3, 4]
    assert [unpacked(outcome).get() for _, outcome in outcomes] == squares(5)


# How many actors


@pytest.mark.parametrize(
    ("settings", "networks", "memory", "items", "expected"),
    [
        ({}, False, 0, 9, (CORES, 0.0)),
        ({"workers": 5}, False, 0, 9, (5, 0.0)),
        ({"workers": 5}, False, 0, 4, (4, 0.0)),
        ({"workers": 5}, True, 0, 9, (3, 0.25)),  # the fourth share is for second tries
        ({"workers": 5, "devices": "cpu"}, True, 0, 9, (5, 0.0)),
        ({"workers": 5}, False, 2**60, 9, (1, 0.0)),
    ],
)
def test_as_many_actors_as_cores_gpus_and_memory_allow(
    settings: dict[str, Any], networks: bool, memory: int, items: int, expected: tuple[int, float]
) -> None:
    crew = RayEngine(**settings)._crew(networks, memory, items)
    assert (crew.size, crew.gpu_share) == expected
    import ray

    (node,) = ray.nodes()
    assert crew.memory == min(memory, int(node["Resources"]["memory"]))


def test_a_call_that_asks_for_more_memory_than_there_is_runs_alone(tmp_path: Path) -> None:
    results = RayEngine().map(Square(tmp_path), range(4), on_crash=on_crash, memory=2**60)
    assert list(results) == squares(4)
    assert len(processes(tmp_path, "call")) == 1


def test_relative_paths_start_where_the_caller_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(Square(Path()), 2) == squares(2)
    assert len(notes(tmp_path, "call")) == 2
    with pytest.raises(InputError, match=r"does not see the folder /not/here; work in a folder"):
        on_ray._Job(b"", "/not/here", None, 8).begin()


# Addresses


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_addresses_without_a_cluster_are_refused_soon(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "_REACHABLE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    for address in (f"127.0.0.1:{free}", f"ray://localhost:{free}", f"127.0.0.1:{silent_port}"):
        settings = EngineSettings(engine="ray", ray_address=address)
        with pytest.raises(InputError, match=f"No Ray cluster answers at {address} .*ray start"):
            make_engine(settings)
    for address in ("head", "head:", ":1", "head:port", "head:99999", "ray://head"):
        settings = EngineSettings(engine="ray", ray_address=address)
        with pytest.raises(InputError, match=f"'{address}'; give auto, HOST:PORT or ray://"):
            make_engine(settings)


def test_a_running_cluster_is_found_by_its_address_and_left_running(
    tmp_path: Path, cluster: str
) -> None:
    program = f"""
from pathlib import Path
from compositing.engines import make_engine
from compositing.settings import EngineSettings
from engine_tasks import Square, on_crash
engine = make_engine(EngineSettings(engine="ray", ray_address={cluster!r}))
print(list(engine.map(Square(Path({str(tmp_path)!r})), range(4), on_crash=on_crash)))
import ray
assert not ray.is_initialized()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[0, 1, 4, 9]\n"
    assert run(Square(tmp_path), 2) == squares(2)


# A Ray of our own


def own_ray(folder: str) -> None:
    """What the interrupted process runs."""
    # Programs in the background of a shell are born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note(Path(folder), "parent")
    engine = make_engine(EngineSettings(engine="ray", workers=2))
    print(list(engine.map(Square(Path(folder)), range(4), on_crash=on_crash)), flush=True)
    for _ in engine.map(Square(Path(folder), seconds=0.1), range(10, 10_000), on_crash=on_crash):
        pass


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_ray_of_our_own_is_quiet_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    mark = f"L2A_TEST={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    program = subprocess.Popen(
        [sys.executable, "-c", f"import test_ray; test_ray.own_ray({str(tmp_path)!r})"],
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: bool(notes(tmp_path, "call-15")))
    assert len(marked(mark)) > 3
    os.killpg(program.pid, signal.SIGINT)
    out, said = program.communicate(timeout=120)
    assert out == "[0, 1, 4, 9]\n"
    assert said.count("Traceback") == 1, said
    assert said.rstrip().endswith("KeyboardInterrupt")
    before, _, _ = said.partition("Traceback")
    assert all("Set ray log level" in line for line in before.splitlines()), said
    wait_until(lambda: not marked(mark))


def marked(mark: str) -> list[int]:
    """Processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


# An ablation's runs


def test_runs_are_tasks_of_the_cluster_and_one_that_dies_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {
        name: Noting(tmp_path, name, how, tries)
        for name, how, tries in (("well", "", 0), ("once", "dies", 1), ("twice", "dies", 2))
    }
    monkeypatch.chdir(tmp_path)
    with RayTasks(RayEngine(), None, 1, wants_gpu=True) as spread:
        found = dict(spread(tasks))
    # Ray counts with one GPU, of number 0, and gives it to one task after the other.
    assert (found["well"], found["once"]) == ("well 1 0", "once 1 0")
    assert found["twice"].startswith("it died twice on the cluster: ")
    assert {name: tries_of(tmp_path, name) for name in tasks} == {"well": 1, "once": 2, "twice": 2}
    with RayTasks(RayEngine(), 1, 0, wants_gpu=False) as spread:
        assert dict(spread({"all": Noting(tmp_path, "all")})) == {"all": f"all {CORES} "}


def test_an_error_of_a_task_ends_the_others(tmp_path: Path) -> None:
    tasks = {name: Noting(tmp_path, name, name) for name in ("full", "waits")}
    with (
        RayTasks(RayEngine(), None, 1, wants_gpu=False) as spread,
        pytest.raises(OSError, match="No space left"),
    ):
        list(spread(tasks))


def test_an_ablation_on_ray_has_the_table_of_one_after_another(tmp_path: Path) -> None:
    """Then the same command reads what is finished."""
    data = write_tiny(tmp_path / "data", (*CLASSES, "RideBike"), train_groups=2)
    ray = ["--engine", "ray", "--workers", "1"]
    assert ablate(data, tmp_path / "serial") == 0
    assert ablate(data, tmp_path / "ray", *ray) == 0
    assert table_in(tmp_path / "ray") == table_in(tmp_path / "serial")
    assert ablate(data, tmp_path / "ray", *ray) == 0
    log = (tmp_path / "ray" / "run.log").read_text()
    assert log.count(": top-1 ") == 3
    assert "0 of 3 runs to make" in log
