"""The engine `local`: order, deaths and errors, with networks in processes of their own."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError, active_children
from multiprocessing.connection import Client, Listener
from pathlib import Path

import numpy as np
import pytest
from engine_tasks import (
    NetworkSquare,
    SlowToStart,
    Square,
    error_of,
    is_running,
    note,
    notes,
    on_crash,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compositing.engines import local, make_engine
from compositing.engines.base import HostDied, as_network_task
from compositing.engines.hosts import HostClient, Hosts
from compositing.engines.local import LocalEngine, map_in_order
from compositing.engines.results import network_result, unpacked
from compositing.inpainters.base import Inpainted
from compositing.making import LayerMaker
from compositing.masks import Instance, VideoMasks, encode
from compositing.settings import EngineSettings, PrepareSettings
from l2a.errors import InputError, L2AError, UnreadableVideo
from l2a.media import Frames, write_video
from l2a.videos import Video

ONE_HOST, TWO_HOSTS = ("cpu",), ("cpu", "cpu")


def squares(count: int, *missing: int) -> list[int]:
    return [-n if n in missing else n * n for n in range(count)]


def run(engine: LocalEngine, task: Square, count: int = 6) -> list[int]:
    return list(engine.map(task, range(count), on_crash=on_crash))


def processes(folder: Path, what: str) -> set[int]:
    return {process for _, process, _ in notes(folder, what)}


# Order and deaths, whatever the processes


@given(
    st.lists(st.integers(0, 3), max_size=12).map(lambda counts: dict(enumerate(counts))),
)
def test_an_item_is_tried_twice_and_the_others_come_out_in_order(deaths: dict[int, int]) -> None:
    left, tries, restarted = dict(deaths), Counter[int](), []

    def task(item: int) -> int:
        tries[item] += 1
        if left[item]:
            left[item] -= 1
            raise HostDied(item)
        return item * item

    given_ = list(
        map_in_order(
            task,
            list(deaths),
            workers=0,
            on_crash=lambda item: -1 - item,
            restart=restarted.append,
        )
    )
    assert given_ == [-1 - item if times > 1 else item**2 for item, times in deaths.items()]
    assert tries == {item: 2 if times else 1 for item, times in deaths.items()}
    assert [death.args[0] for death in restarted] == [
        item for item, times in deaths.items() for _ in range(min(times, 2))
    ]


def test_a_killed_worker_costs_a_second_try_and_no_result(tmp_path: Path) -> None:
    assert run(LocalEngine(2), Square(tmp_path, dies=3, once=True)) == squares(6)
    assert len(notes(tmp_path, "call-3")) == 2
    assert os.getpid() not in processes(tmp_path, "call")


def test_memory_for_one_leaves_one_worker(tmp_path: Path) -> None:
    engine = LocalEngine(2)
    done = engine.map(Square(tmp_path), range(3), on_crash=on_crash, memory=2**60)
    assert list(done) == squares(3)
    (worker,) = processes(tmp_path, "call")
    assert worker != os.getpid()


def test_one_worker_is_this_process_where_it_is_asked_for(tmp_path: Path) -> None:
    assert run(LocalEngine(1), Square(tmp_path)) == squares(6)
    assert processes(tmp_path, "call") == {os.getpid()}


def test_an_item_that_is_left_alone_cannot_take_the_command_with_it(tmp_path: Path) -> None:
    """As the one that killed its process, of an earlier call's many, is for the next call."""
    task = Square(tmp_path, dies=3)
    assert list(LocalEngine(0).map(task, [3], on_crash=on_crash)) == [-3]
    assert len(notes(tmp_path, "call-3")) == 2


def test_as_many_workers_as_asked_for_though_the_cores_are_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = []

    def pool(function, items, workers):
        pools.append(workers)
        return map(function, items)

    monkeypatch.setattr(local, "_in_pool", pool)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5})
    for workers in (0, 2, 5, 90):
        assert run(LocalEngine(workers), Square(tmp_path), 10) == squares(10)
    assert pools == [3, 2, 5, 10]


# Hosts


@pytest.mark.parametrize("workers", [1, 2])
def test_networks_answer_from_their_own_processes_one_at_a_time(
    tmp_path: Path, workers: int
) -> None:
    task = NetworkSquare(tmp_path, seconds=0.02)
    assert run(LocalEngine(workers, 5, ONE_HOST), task) == squares(6)
    (host,) = processes(tmp_path, "answer-")
    assert host not in processes(tmp_path, "call") | {os.getpid()}
    assert {device for *_, device in notes(tmp_path, "answer-")} == {"cpu 5"}
    times = [(when, "ed") for when, *_ in notes(tmp_path, "answered-")]
    times += [(when, "") for when, *_ in notes(tmp_path, "answer-")]
    assert [kind for _, kind in sorted(times)] == ["", "ed"] * 6
    assert active_children() == []
    assert not is_running(host)


def test_workers_share_the_hosts_out_and_none_is_started_that_nobody_asks(tmp_path: Path) -> None:
    task = NetworkSquare(tmp_path, seconds=0.2)
    assert run(LocalEngine(2, 8, TWO_HOSTS), task, 8) == squares(8)
    assert len(processes(tmp_path, "answer-")) == 2
    assert list(LocalEngine(2, 8, ("no device",)).map(task, [], on_crash=on_crash)) == []
    assert run(LocalEngine(1, 8, ("cpu", "no device")), task, 2) == squares(2)


def test_without_a_gpu_networks_run_where_the_work_is(tmp_path: Path) -> None:
    assert run(LocalEngine(1, 3), NetworkSquare(tmp_path)) == squares(6)
    assert {who[1:] for who in notes(tmp_path, "answer-")} == {(os.getpid(), "cpu 3")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_host_costs_a_second_try_and_no_result(tmp_path: Path, workers: int) -> None:
    engine = LocalEngine(workers, devices=ONE_HOST)
    assert run(engine, NetworkSquare(tmp_path, dies=2, once=True)) == squares(6)
    assert len(notes(tmp_path, "answer-2")) == 2
    assert len(processes(tmp_path, "answer-")) == 2
    assert not any(is_running(host) for host in processes(tmp_path, "answer-"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_kills_its_host_each_time_is_lost_alone(tmp_path: Path, workers: int) -> None:
    engine = LocalEngine(workers, devices=TWO_HOSTS)
    assert run(engine, NetworkSquare(tmp_path, dies=2)) == squares(6, 2)
    assert len(notes(tmp_path, "answer-2")) == 2


def test_a_worker_that_dies_leaves_its_host_to_the_others(tmp_path: Path) -> None:
    task = NetworkSquare(tmp_path, worker_dies=1)
    assert run(LocalEngine(2, devices=ONE_HOST), task) == squares(6)
    assert len(processes(tmp_path, "answer-")) == 1


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("input", InputError, r"^The weights are not there; put them there\.$"),
        ("video", UnreadableVideo, r"^/there/a\.mp4: it is torn$"),
        ("zero", ZeroDivisionError, r"^division by zero\n"),
        ("odd", RuntimeError, "(?s)Traceback.*in work.*OddError: strange"),
        ("unpackable", TypeError, "^A result cannot travel: .*lambda"),
    ],
)
def test_errors_of_networks_arrive_as_themselves(
    tmp_path: Path, how: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        run(LocalEngine(1, devices=ONE_HOST), NetworkSquare(tmp_path, fails=1, how=how), 3)
    assert type(caught.value) is kind
    if how == "video":
        assert caught.value.reason == "it is torn"
    if how == "zero":
        assert "in work" in "".join(caught.value.__notes__)
    (host,) = processes(tmp_path, "answer-")
    assert not is_running(host)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (8, r"memory: cuda:3 .* 8 frames at once; give a smaller --frames-at-once, such as 4\.$"),
        (1, r"memory: cuda:3 .* one frame .*--max-side, or --devices cpu\.$"),
    ],
)
def test_a_gpu_that_is_too_small_is_one_sentence(frames: int, message: str) -> None:
    def fail() -> None:
        raise error_of("memory")

    outcome = network_result(fail, device="cuda:3", frames_at_once=frames)
    with pytest.raises(L2AError, match=message) as caught:
        outcome.get()
    assert caught.value.exit_code == 1


def test_a_host_that_cannot_start_says_so(tmp_path: Path) -> None:
    task = NetworkSquare(tmp_path)
    with pytest.raises(InputError, match="There is no such device"):
        run(LocalEngine(1, devices=("no device",)), task)
    with pytest.raises(L2AError, match="networks on deadly died while it started"):
        run(LocalEngine(2, devices=("cpu", "deadly")), task)
    assert active_children() == []


def test_only_who_knows_the_key_is_answered(tmp_path: Path) -> None:
    with Hosts(NetworkSquare(tmp_path), ONE_HOST, 8) as hosts:
        (address,) = hosts.client.addresses
        if isinstance(address, str):
            assert Path(address).parent.stat().st_mode & 0o077 == 0
        with pytest.raises(AuthenticationError):
            Client(address, authkey=b"guessed")
        assert hosts.client("square", 7) == 49
        assert b"key" not in repr(hosts.client).encode()
        stranger = HostClient(hosts.client.addresses, hosts.client.key)
        assert stranger("square", 8) == 64
        stranger.close()
    assert not Path(str(address)).exists()
    with pytest.raises(HostDied):
        hosts.client("square", 7)


def test_a_host_reads_a_request_only_when_it_is_its_turn(tmp_path: Path) -> None:
    with Hosts(NetworkSquare(tmp_path, seconds=1), ONE_HOST, 8) as hosts:
        (address,), key = hosts.client.addresses, hosts.client.key
        with Client(address, authkey=key) as first, Client(address, authkey=key) as second:
            first.send(("square", (3,)))
            wait_until(lambda: notes(tmp_path, "answer-3"))
            large = ("square", (bytes(2**25), "one too many"))
            sending = threading.Thread(target=second.send, args=(large,))
            sending.start()
            sending.join(0.4)
            assert sending.is_alive()
            assert unpacked(first.recv_bytes()).get() == 9
            sending.join(30)
            assert not sending.is_alive()
            with pytest.raises(ValueError, match="too many values"):
                unpacked(second.recv_bytes()).get()


def test_a_host_that_dies_within_its_answer_has_died() -> None:
    with Listener(("localhost", 0), authkey=b"key") as listener:

        def answer_half() -> None:
            connection = listener.accept()
            connection.recv()
            os.write(connection.fileno(), struct.pack("!i", 1000) + b"not all of it")
            connection.close()

        threading.Thread(target=answer_half, daemon=True).start()
        with pytest.raises(HostDied):
            HostClient((listener.address,), b"key")("square", 1)


def test_hosts_listen_on_a_port_where_the_path_of_a_socket_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (long := tmp_path / ("long" * 30)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    task = NetworkSquare(tmp_path, dies=1, once=True)
    assert run(LocalEngine(1, devices=ONE_HOST), task, 3) == squares(3)
    assert list(long.iterdir()) == []


# Nothing is left behind


@pytest.mark.parametrize("workers", [1, 2])
def test_an_abandoned_preparation_leaves_no_process(tmp_path: Path, workers: int) -> None:
    task = NetworkSquare(tmp_path, seconds=0.1)
    results = LocalEngine(workers, devices=ONE_HOST).map(task, range(50), on_crash=on_crash)
    assert next(results) == 0
    assert active_children() != []
    results.close()
    assert active_children() == []
    assert len(notes(tmp_path, "answer-")) < 50
    # What was under way was finished.
    assert len(notes(tmp_path, "answered-")) == len(notes(tmp_path, "answer-"))


def endless(folder: str) -> None:
    """What the interrupted process runs."""
    # Programs in the background of a shell are born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note(Path(folder), "parent")
    task = NetworkSquare(Path(folder), seconds=0.1)
    for _ in LocalEngine(2, devices=ONE_HOST).map(task, range(10_000), on_crash=on_crash):
        pass


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_neither_ctrl_c_nor_a_killed_parent_leaves_a_process(
    tmp_path: Path, how: signal.Signals
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", f"import test_engines; test_engines.endless({str(tmp_path)!r})"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: len(processes(tmp_path, "call")) == 2)
    if how == signal.SIGINT:
        os.killpg(program.pid, how)  # what a terminal does
    else:
        program.send_signal(how)
    _, said = program.communicate(timeout=60)
    assert program.returncode == -how
    if how == signal.SIGINT:
        assert said.count(b"Traceback") == 1  # ours alone: children say nothing
    wait_until(lambda: not any(map(is_running, processes(tmp_path, ""))))


def starting(folder: str) -> None:
    """What the process runs that is interrupted while its workers start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note(Path(folder), "parent")
    for _ in LocalEngine(2).map(SlowToStart(Path(folder)), range(10_000), on_crash=on_crash):
        pass


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_are_interrupted_while_they_start_say_nothing_and_end(
    tmp_path: Path, how: signal.Signals
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", f"import test_engines; test_engines.starting({str(tmp_path)!r})"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: len(notes(tmp_path, "arrive")) == 2)
    os.killpg(program.pid, how)
    _, said = program.communicate(timeout=60)
    assert program.returncode == -how
    assert said.count(b"Traceback") == (1 if how == signal.SIGINT else 0), said.decode()
    wait_until(lambda: not any(map(is_running, processes(tmp_path, ""))))


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# Settings


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"'cuda:77', but this machine has"):
        make_engine(EngineSettings(devices="cuda:77"))
    with pytest.raises(InputError, match=r"'tpu'; choose auto, cpu"):
        make_engine(EngineSettings(devices="tpu"))


def test_ray_says_how_it_is_installed_and_whose_gpus_it_gives_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'l2a\[ray\]'"):
        make_engine(EngineSettings(engine="ray"))
    with pytest.raises(InputError, match=r"'cuda:0', .* choose auto or cpu"):
        make_engine(EngineSettings(engine="ray", devices="cuda:0"))


def test_torch_is_loaded_only_for_networks(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from engine_tasks import NetworkSquare, SlowToStart, Square, on_crash
from compositing.engines import make_engine
from compositing.settings import EngineSettings
folder = Path({str(tmp_path)!r})
for devices in ("auto", "cpu"):
    engine = make_engine(EngineSettings(workers=1, devices=devices))
    assert list(engine.map(Square(folder), [2], on_crash=on_crash)) == [4]
assert list(engine.map(NetworkSquare(folder), [2], on_crash=on_crash)) == [4]
assert "torch" not in sys.modules
"""
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", program], env=path, check=True, timeout=60)


# Preparation


@dataclass
class Net:
    """What the fake networks share: they note which process asks for how many frames."""

    folder: Path
    identity: str = "net 1"
    uses_network: bool = True
    where: tuple[str, int] = ("nowhere", 0)

    def to_device(self, device: str, frames_at_once: int) -> None:
        self.where = (device, frames_at_once)


@dataclass
class NetSegmenter(Net):
    """Finds the brighter half."""

    seen: list[str] = field(default_factory=list)

    def check(self, videos: Sequence[Video]) -> None:
        """All are fine."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        assert self.where == ("cpu", 3)
        for moment in frames.times:
            note(self.folder, f"segment-{video.group}-{moment:.3f}")
        masks = frames.frames.mean(axis=3) > 128
        count, height, width = masks.shape
        return VideoMasks(height, width, count, (Instance("person", 0.9, encode(masks)),))


@dataclass
class NetInpainter(Net):
    """Paints holes grey."""

    uses_other_frames: bool = False

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        assert self.where == ("cpu", 3)
        for frame in frames:
            note(self.folder, f"inpaint-{int(frame.sum())}")
        filled = frames.copy()
        filled[holes] = 128
        return Inpainted(filled, holes)


def test_layers_made_through_hosts_are_those_made_here_and_each_frame_is_asked_once(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    videos = []
    for number in range(3):
        frames = np.repeat(rng.integers(0, 90, (7, 6, 8, 3), np.uint8), 8, 1).repeat(8, 2)
        frames[:, 8:32, 8 * number : 8 * number + 24] += 150
        path = tmp_path / "data" / f"{number}.mp4"
        write_video(path, frames, 10.0, crf=8)
        videos.append(Video(f"{number}.mp4", path, "run", str(number), "train"))
    for name, engine in (
        ("here", LocalEngine(1, 3)),
        ("hosts", LocalEngine(2, 3, TWO_HOSTS)),
    ):
        (log := tmp_path / f"log-{name}").mkdir()
        parts = {"segmenter": NetSegmenter(log), "inpainter": NetInpainter(log)}
        store = LayerMaker(tmp_path / name, PrepareSettings(), **parts)
        report = store.prepare(videos, engine)
        assert (report.made, report.skipped) == (3, ())
        for part in ("segment", "inpaint"):
            asked = Counter(path.name.split(".", 2)[2] for path in log.glob(f"*.{part}-*"))
            assert len(asked) == 21
            assert set(asked.values()) == {1}
            assert (os.getpid() in processes(log, part)) == (name == "here")
    here, hosts = (contents(tmp_path / name) for name in ("here", "hosts"))
    assert {path.parts[0] for path in here} >= {"masks", "backgrounds", "records"}
    assert here == hosts


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_only_tasks_with_networks_are_network_tasks(tmp_path: Path) -> None:
    assert as_network_task(len) is None
    assert as_network_task(Square(tmp_path)) is None
    task = NetworkSquare(tmp_path)
    assert as_network_task(task) is task
