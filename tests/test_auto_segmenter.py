"""The segmenter `auto`: what it becomes on which machine, what it says, and that it stays so."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_data import FRAMES, write_tiny
from tiny_run import write_small

from compositing.segmenters import auto, make_segmenter
from compositing.segmenters.auto import CPU_SECONDS, PROBED, estimate_frames, resolve_segmenter
from compositing.segmenters.mask_rcnn import PUBLISHED, WEIGHTS
from compositing.settings import EngineSettings, PrepareSettings
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import write_json
from l2a.videos import Video
from l2a.weights import torchvision_file

AUTO = PrepareSettings()
TWO_CORES = EngineSettings(workers=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("auto") / "data")


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, without weights, and whose network must not be asked."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with_gpu(monkeypatch, there=False)

    def asked(*_: object, **__: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)


def with_gpu(monkeypatch: pytest.MonkeyPatch, *, there: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def with_weights() -> None:
    path = torchvision_file(WEIGHTS)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"only looked for, not read")


def videos(data: Path, count: int = 1) -> list[Video]:
    """So many videos of 12 frames each: the same file under many names."""
    file = min((data / "videos").glob("*/*.mp4"))
    return [Video(f"{i}.mp4", file, "run", "g", "train") for i in range(count)]


def test_a_named_segmenter_stays_and_nothing_is_said(data: Path) -> None:
    for name in ("motion", "mask-rcnn", "masks:HERE"):
        named = PrepareSettings(segmenter=name)
        resolved = resolve_segmenter(named, videos(data), TWO_CORES)
        assert (resolved.settings, resolved.sentence) == (named, "")


def test_auto_is_the_default_and_motion_where_nothing_else_is() -> None:
    assert AUTO.segmenter == auto.AUTO
    resolved = resolve_segmenter(AUTO, [], TWO_CORES)
    assert resolved.settings == PrepareSettings(segmenter="motion")


def test_without_gpu_and_weights_it_is_motion_and_the_sentence_names_the_price(data: Path) -> None:
    # 10 x 12 frames: 120 x 10 s / 2 cores = 10 minutes of mask-rcnn, 120 x 0.02 s / 2 of motion.
    resolved = resolve_segmenter(AUTO, videos(data, 10), TWO_CORES)
    assert resolved.settings.segmenter == "motion"
    assert resolved.sentence == (
        "segmenter: auto is motion, which takes about 1 second for 10 videos, but finds only what"
        " moves; --segmenter mask-rcnn finds people and things, and takes about 10 minutes on"
        " 2 cores for 10 videos; its weights (180 MB) are fetched once"
    )


def test_with_weights_it_is_mask_rcnn_for_few_videos_and_motion_for_many(data: Path) -> None:
    with_weights()
    most = int(3600 * 2 / CPU_SECONDS / FRAMES)  # that two cores can do in an hour
    few = resolve_segmenter(AUTO, videos(data, most - 1), TWO_CORES)
    assert few.settings.segmenter == "mask-rcnn"
    assert "whose weights are here: about 59 minutes on 2 cores" in few.sentence
    assert "--segmenter motion takes about" in few.sentence
    assert "fetched" not in few.sentence
    many = resolve_segmenter(AUTO, videos(data, most + 1), TWO_CORES)
    assert many.settings.segmenter == "motion"
    assert "fetched" not in many.sentence
    # Four cores do them in half an hour.
    four = resolve_segmenter(AUTO, videos(data, most + 1), EngineSettings(workers=4))
    assert four.settings.segmenter == "mask-rcnn"


def test_with_a_gpu_it_is_mask_rcnn_however_many_unless_the_devices_leave_it_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch)
    resolved = resolve_segmenter(AUTO, videos(data, 5000), TWO_CORES)
    assert resolved.settings.segmenter == "mask-rcnn"
    assert "on the GPU for 5,000 videos; its weights (180 MB) are fetched once" in resolved.sentence
    assert "--segmenter motion" in resolved.sentence
    for devices, name in (("cpu", "motion"), ("cuda:0", "mask-rcnn")):
        engine = EngineSettings(workers=2, devices=devices)
        assert resolve_segmenter(AUTO, videos(data, 5000), engine).settings.segmenter == name


def test_the_estimate_reads_a_few_headers_and_skips_what_cannot_be_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    real = auto.declared_frames

    def counting(path: Path) -> int | None:
        asked.append(path)
        return real(path)

    monkeypatch.setattr(auto, "declared_frames", counting)
    assert estimate_frames(videos(data, 1000), 300) == 1000 * FRAMES
    assert len(asked) == PROBED
    assert estimate_frames(videos(data, 10), 5) == 10 * 5
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    gone = [Video("a", tmp_path / "gone.mp4", "run", "g", "train"),
            Video("b", broken, "run", "g", "train")]  # fmt: skip
    assert estimate_frames([*gone, *videos(data, 2)], 300) == 4 * FRAMES
    assert estimate_frames(gone, 300) == 2 * 300  # nothing known: the most there can be
    assert estimate_frames([], 300) == 0


def run_yaml(folder: Path, segmenter: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"command": "train", "fixed": True, "settings": {"segmenter": segmenter}}
    (folder / "run.yaml").write_text(yaml.safe_dump(content))


def test_what_a_run_or_a_store_was_made_with_wins(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch)

    def name(*folders: Path) -> str:
        return resolve_segmenter(AUTO, videos(data), TWO_CORES, folders).settings.segmenter

    run, look = tmp_path / "run", tmp_path / "look"
    assert name(run, run / "layers") == "mask-rcnn"
    run_yaml(run, "motion")
    assert name(run, run / "layers") == "motion"
    # A store of another run, by that run; with masks of one's own, too.
    run_yaml(look, "masks:HERE")
    assert name(tmp_path / "new", look / "layers") == "masks:HERE"
    assert name(run, look / "layers") == "motion"  # the run itself comes first
    run_yaml(look, "auto")  # of a command that asked for no layers
    assert name(tmp_path / "new", look / "layers") == "mask-rcnn"
    # A folder of another kind beside a run is not that run's store.
    run_yaml(tmp_path, "motion")
    assert name(tmp_path / "new") == "mask-rcnn"


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("motion 2 side 320", "motion"),
        (f"mask-rcnn 1 weights {PUBLISHED} floor 0.05", "mask-rcnn"),
        ("mask-rcnn 1 weights 0123456789abcdef floor 0.05", "motion"),  # of a file: which one?
        ("masks 1 0123", "motion"),
    ],
)
def test_a_store_without_a_run_says_it_by_its_records(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: str, expected: str
) -> None:
    with_gpu(monkeypatch, there=identity.startswith("motion"))
    write_json(tmp_path / "store" / "records" / "a.json", {"segmenter": identity})
    resolved = resolve_segmenter(AUTO, videos(data), TWO_CORES, (tmp_path / "store",))
    assert resolved.settings.segmenter == expected


@pytest.mark.parametrize("text", ["", "[]", "settings: 3", "{command: train, settings: []}", "{"])
def test_a_damaged_record_of_a_run_is_left_to_whoever_opens_it(
    data: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text("{")
    resolved = resolve_segmenter(AUTO, videos(data), TWO_CORES, (tmp_path,))
    assert resolved.settings.segmenter == "motion"


def test_unsettled_it_is_motion_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch)
    assert make_segmenter("auto").identity == make_segmenter("motion").identity
    with pytest.raises(InputError, match="'auto' takes no argument, but was given 'fast'"):
        make_segmenter("auto:fast")


def segmenter_of(run: Path) -> Any:
    return yaml.safe_load((run / "run.yaml").read_text())["settings"]["segmenter"]


def test_prepare_says_it_keeps_it_and_goes_on_with_it_when_a_gpu_appears(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(data), "--out", str(tmp_path / "run"), "--config",
             str(write_small(tmp_path, segmenter="auto")), "--preview"]  # fmt: skip
    assert main(words) == 0
    assert "segmenter: auto is motion, which takes about" in capsys.readouterr().err
    assert segmenter_of(tmp_path / "run") == "motion"
    with_gpu(monkeypatch)
    assert main(words) == 0
    assert "segmenter: auto is motion, as before in" in capsys.readouterr().err
    assert segmenter_of(tmp_path / "run") == "motion"
    # Another run that uses its layers; so do those that were made by an older version.
    other = ["prepare", str(data), "--out", str(tmp_path / "other"), "--preview", "--workers", "1",
             "--layers", str(tmp_path / "run" / "layers")]  # fmt: skip
    assert main(other) == 0
    assert "as before in" in capsys.readouterr().err
    assert segmenter_of(tmp_path / "other") == "motion"
