"""Damaged layers: noticed by `prepare` or at loading, made again, never blamed on the video.

And the other way round: a video on which something fails costs itself alone, with the reason.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from counting import (
    COUNT,
    HEIGHT,
    SETTINGS,
    WIDTH,
    CountingInpainter,
    CountingSegmenter,
    make_videos,
    scene,
    store_of,
)
from numpy.typing import NDArray

from compositing.bank import fill_bank
from compositing.engines.base import HostDied
from compositing.engines.local import LocalEngine
from compositing.export import Material, PairList, export_pairs
from compositing.failures import Failure, attempt, refuse_if_all
from compositing.inpainters.base import Inpainted
from compositing.layers import DamagedLayers, LayerStore
from compositing.making import LayerMaker
from compositing.masks import VideoMasks
from compositing.records import LayerRecord, Layers
from compositing.settings import CompositeSettings, ExportSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.errors import InputError, L2AError, UnreadableVideo
from l2a.media import Frames, write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video

KINDS = ("masks", "foregrounds", "backgrounds", "records")


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    return make_videos(tmp_path / "data", ("a",))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    """As after a power cut: the size is right."""
    path.write_bytes(bytes(path.stat().st_size))


def scrambled(path: Path) -> None:
    """Of the right size, and not even text."""
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    (path / "with" / "something").mkdir(parents=True)


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def of_other_json(path: Path) -> None:
    path.write_text('[1, {"a": null}]')


def of_other_types(path: Path) -> None:
    """JSON of the right form, with wrong values in it."""
    if path.suffix == ".mkv":
        path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(500))
        return
    wrong = {"height": 10**30, "gamma": "much", "times": "early", "segmentations": 7, "fps": -1}
    path.write_text(json.dumps(swapped(json.loads(path.read_text()), wrong)))


def swapped(value: Any, wrong: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: wrong.get(key, swapped(part, wrong)) for key, part in value.items()}
    return [swapped(part, wrong) for part in value] if isinstance(value, list) else value


def of_another_video(path: Path) -> None:
    """Sound, and of another size and length."""
    if path.suffix == ".mkv":
        write_video(path, scene(5, 7)[:, :20, :30], 25.0)
        return
    row = json.loads(path.read_text())
    other = {"height": HEIGHT + 2, "num_frames": COUNT + 1, "frame_height": HEIGHT + 2}
    path.write_text(json.dumps(swapped(row, other)))


DAMAGES = (
    truncated, emptied, zeroed, scrambled, replaced_by_a_folder, deep, of_other_json,
    of_other_types, of_another_video, Path.unlink,
)  # fmt: skip

Damage = Callable[[Path], None]


def file_of(store: Path, kind: str) -> Path:
    (path,) = (path for path in (store / kind).rglob("*") if path.is_file())
    return path


def contents(store: Path) -> dict[str, bytes]:
    return {kind: file_of(store, kind).read_bytes() for kind in KINDS}


def assert_same(one: Layers, other: Layers) -> None:
    for name in ("frames", "mask", "background", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_made_again_by_a_preparation_with_what_is_loaded_after_it(
    tmp_path: Path, videos: list[Video], kind: str, damage: Damage
) -> None:
    maker, _, _ = store_of(tmp_path)
    expected = maker.prepare(videos).records
    layers, before = maker.load(videos[0]), contents(tmp_path / "store")
    damage(file_of(tmp_path / "store", kind))
    again, _, _ = store_of(tmp_path)
    report = again.prepare(videos)
    assert report.skipped == ()
    if damage in (truncated, emptied, replaced_by_a_folder, Path.unlink):
        assert report.made == 1  # noticed at once
    elif kind == "records":
        assert report.made == (damage is not of_another_video)  # whose form is right
    assert_same(again.load(videos[0]), layers)
    report = again.prepare(videos)
    assert (report.records, report.made) == (expected, 0)
    if kind != "masks" or damage not in (
        zeroed,
        scrambled,
    ):  # raw masks are not looked at until they are needed
        assert contents(tmp_path / "store") == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES[:-1], ids=lambda damage: damage.__name__)
def test_a_file_damaged_after_the_preparation_is_made_again_by_who_loads_it(
    tmp_path: Path, videos: list[Video], kind: str, damage: Damage
) -> None:
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    layers = maker.load(videos[0])
    damage(file_of(tmp_path / "store", kind))
    assert_same(maker.load(videos[0]), layers)
    foreground, background = maker.load_foreground(videos[0]), maker.load_background(videos[0])
    np.testing.assert_array_equal(foreground.mask, layers.mask)
    np.testing.assert_array_equal(background.background, layers.background)


def test_every_file_damaged_at_once_is_made_again(tmp_path: Path, videos: list[Video]) -> None:
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    layers = maker.load(videos[0])
    for kind in ("masks", "foregrounds", "backgrounds"):
        zeroed(file_of(tmp_path / "store", kind))
    assert_same(maker.load(videos[0]), layers)


def test_a_damaged_background_segments_nothing_and_a_damaged_mask_inpaints_nothing(
    tmp_path: Path, videos: list[Video]
) -> None:
    store_of(tmp_path)[0].prepare(videos)
    for kind, segmented, inpainted in (("backgrounds", 0, COUNT), ("foregrounds", 0, 0)):
        truncated(file_of(tmp_path / "store", kind))
        maker, segmenter, inpainter = store_of(tmp_path)
        assert maker.prepare(videos).made == 1
        assert (sum(segmenter.seen.values()), inpainter.seen) == (segmented, inpainted)


def test_a_store_alone_says_what_is_damaged_and_what_to_do(
    tmp_path: Path, videos: list[Video]
) -> None:
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    store = LayerStore(tmp_path / "store", SETTINGS)
    assert_same(store.load(videos[0]), maker.load(videos[0]))
    path = file_of(tmp_path / "store", "backgrounds")
    zeroed(path)
    with pytest.raises(DamagedLayers, match=rf"a\.mp4 are damaged: {path} .*`l2a prepare`") as told:
        store.load(videos[0])
    assert (told.value.exit_code, told.value.files) == (1, (path,))
    assert path.exists()  # a reader changes nothing


def test_what_stays_damaged_is_said_of_the_layers_and_not_of_the_video(
    tmp_path: Path, videos: list[Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    path = file_of(tmp_path / "store", "backgrounds")

    def fail(video: Video) -> Layers:
        raise DamagedLayers(video.id, (path,), "cannot be read (bad disk)")

    monkeypatch.setattr(maker.store, "load", fail)
    with pytest.raises(UnreadableVideo, match=r"its layers are damaged and stay so .*bad disk"):
        maker.load(videos[0])


@pytest.mark.parametrize("where", ["", "masks", "foregrounds", "backgrounds", "records"])
def test_a_file_in_the_place_of_a_folder_is_named(
    tmp_path: Path, videos: list[Video], where: str
) -> None:
    path = tmp_path / "store" / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(InputError, match=rf"{path} is a file, where .* --layers another folder"):
        store_of(tmp_path)[0].prepare(videos)


def test_a_damaged_layer_costs_no_row_of_a_bank_and_no_clip_of_an_export(tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "data", ("a", "b"))
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    for path in (tmp_path / "store" / "backgrounds").iterdir():
        zeroed(path)
    bank = ClipBank.create_or_resume(
        tmp_path / "bank", [video.id for video in videos], ClipSettings(4, 32, 40, 32), "x"
    )
    assert fill_bank(bank, videos, maker, {video.id for video in videos}) == ()
    for path in (tmp_path / "store" / "backgrounds").iterdir():
        zeroed(path)
    pairs = [ScoredPair(videos[0].id, videos[1].id, 0.5, 0.0, "run", "run")]
    report = export_pairs(
        PairList(pairs, {}), Material({video.id: video for video in videos}, ("run",), maker),
        tmp_path / "export", CompositeSettings(), ExportSettings(preset="ultrafast"),
    )  # fmt: skip
    assert (report.made, report.skipped) == (1, ())


# Records


def test_records_of_the_version_before_are_read(tmp_path: Path, videos: list[Video]) -> None:
    maker, _, _ = store_of(tmp_path)
    (record,) = maker.prepare(videos).records
    path = file_of(tmp_path / "store", "records")
    row = json.loads(path.read_text())
    added = ("masks", "foreground", "background")
    for name in (*(f"{part}_bytes" for part in added), "source_frames"):
        assert row.pop(name) > 0
    for name in ("source_height", "source_width"):
        del row[name]
    path.write_text(json.dumps(row))
    again, segmenter, inpainter = store_of(tmp_path)
    assert again.prepare(videos).reused == 1
    assert not segmenter.seen
    assert inpainter.seen == 0
    assert again.record(videos[0].id).fingerprint == record.fingerprint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 0), ("num_frames", 12.0), ("num_frames", True), ("height", -3),
        ("fps", "25"), ("gamma", None), ("hole", -0.1), ("unseen", float("nan")),
        ("id", 3), ("masks_bytes", -1), ("unknown", 1), ("fingerprint", ["x"]),
    ],
)  # fmt: skip
def test_a_record_with_a_wrong_value_is_none(
    tmp_path: Path, videos: list[Video], name: str, value: object
) -> None:
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    row = json.loads(file_of(tmp_path / "store", "records").read_text())
    assert LayerRecord.from_json(row) == maker.record(videos[0].id)
    with pytest.raises(ValueError, match=r"does not have the fields|^\w+ is ."):
        LayerRecord.from_json({**row, name: value})
    del row["gamma"]
    with pytest.raises(ValueError, match="does not have the fields"):
        LayerRecord.from_json(row)


# One video that fails


@dataclass
class Failing(CountingSegmenter):
    """Fails on some videos, as told."""

    error: Exception = field(default_factory=lambda: ValueError("no reason"))
    on: tuple[str, ...] = ("b",)

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        if video.group in self.on:
            raise self.error
        return super().__call__(video, frames)


@dataclass
class FailingInpainter(CountingInpainter):
    """Fails on a video of six frames, as OpenCV does."""

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        if len(frames) == 6:
            cv2.resize(frames[0], None, fx=0.001, fy=0.001)
        return super().__call__(frames, holes)


def test_an_inpainter_that_fails_costs_the_video_alone(tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "data")
    write_video(videos[1].path, scene(1, 6), 25.0)
    maker, _, _ = store_of(tmp_path, inpainter=FailingInpainter())
    (skipped,) = maker.prepare(videos).skipped
    assert skipped.id == videos[1].id
    assert skipped.reason.startswith("cv2.error: OpenCV")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (ValueError("width\n  not divisible"), "ValueError: width not divisible"),
        (cv2.error("(-215) !dsize.empty()"), "cv2.error: (-215) !dsize.empty()"),
        (RuntimeError("x " * 500), "RuntimeError: x x"),
    ],
)
def test_an_unexpected_error_costs_its_video_alone(
    tmp_path: Path, error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    videos = make_videos(tmp_path / "data")
    maker, _, _ = store_of(tmp_path, segmenter=Failing(error=error))
    with caplog.at_level(logging.DEBUG, "l2a"):
        report = maker.prepare(videos)
    assert [record.id for record in report.records] == [videos[0].id, videos[2].id]
    (skipped,) = report.skipped
    assert skipped.id == videos[1].id
    assert skipped.reason.startswith(reason)
    assert len(skipped.reason) < 250
    (logged,) = (row for row in caplog.records if "in __call__" in row.getMessage())
    assert (logged.name, logged.levelno) == ("l2a", logging.DEBUG)  # so that run.log has it


def test_errors_on_every_video_end_the_run(tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "data")
    maker, _, _ = store_of(tmp_path, segmenter=Failing(on=("a", "b", "c")))
    with pytest.raises(L2AError, match=r"None of .* prepared \(3 tried\).*ValueError: no reason"):
        maker.prepare(videos)
    # Unreadable files are the data's fault: they are listed, and the run goes on.
    for video in videos:
        video.path.write_bytes(b"")
    assert len(maker.prepare(videos).skipped) == 3


@pytest.mark.parametrize(
    "error", [InputError("x"), L2AError("x"), HostDied(0), OSError(28, "No space left on device")]
)
def test_what_concerns_the_run_ends_it(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        attempt(fail)
    assert attempt(len, "abc") == 3


def test_only_unexpected_errors_of_all_end_a_run() -> None:
    torn, strange = Failure("it is torn"), Failure("ValueError", "Traceback")
    refuse_if_all([], 0, "done")
    refuse_if_all([torn, torn], 0, "done")
    refuse_if_all([strange, strange], 1, "done")
    with pytest.raises(L2AError, match=r"done \(2 tried\).* ValueError\."):
        refuse_if_all([torn, strange], 0, "done")


def test_a_bank_skips_a_video_on_which_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = make_videos(tmp_path / "data")
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    load = LayerMaker.load

    def sometimes(self: LayerMaker, video: Video) -> Layers:
        if video.group == "b":
            raise MemoryError("of a video")
        return load(self, video)

    ids = [video.id for video in videos]
    bank = ClipBank.create_or_resume(tmp_path / "bank", ids, ClipSettings(4, 32, 40, 32), "x")
    with monkeypatch.context() as patch:
        patch.setattr(LayerMaker, "load", sometimes)
        (skipped,) = fill_bank(bank, videos, maker, set(ids))
    assert (skipped.id, skipped.reason) == (ids[1], "MemoryError: of a video")
    assert bank.pending() == [1] and bank.skipped == []
    assert fill_bank(bank, videos, maker, set(ids)) == ()
    assert bank.pending() == []


class _Crashing(LocalEngine):
    """An engine whose process dies twice with the second video."""

    def map(self, task: Any, items: Sequence[Any], *, on_crash: Any, memory: int = 0) -> Any:
        return (on_crash(item) if item.group == "b" else task(item) for item in items)


def test_a_bank_marks_as_unreadable_what_the_file_itself_causes_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Rows that no clip came of for another reason are skipped, and tried at the next start."""
    videos = make_videos(tmp_path / "data")
    maker, _, _ = store_of(tmp_path)
    ids = [video.id for video in videos]
    bank = ClipBank.create_or_resume(tmp_path / "bank", ids, ClipSettings(4, 32, 40, 32), "x")
    videos[0].path.rename(tmp_path / "aside")
    whole = videos[2].path.read_bytes()
    videos[2].path.write_bytes(whole[: len(whole) // 2])
    skipped = fill_bank(bank, videos, maker, (), _Crashing(1))
    assert [row.id for row in skipped] == ids
    assert [row.reason for row in skipped][:2] == [
        "there is no such file", "the process that read it died twice",
    ]  # fmt: skip
    assert bank.state.tolist() == [RowState.PENDING, RowState.PENDING, RowState.UNREADABLE]
    (tmp_path / "aside").rename(videos[0].path)
    assert fill_bank(bank, videos, maker, ()) == tuple(bank.skipped) == skipped[2:]
    assert bank.state.tolist() == [RowState.FRAMES, RowState.FRAMES, RowState.UNREADABLE]


def test_errors_on_every_row_end_the_filling_and_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = make_videos(tmp_path / "data")
    maker, _, _ = store_of(tmp_path)
    maker.prepare(videos)
    ids = [video.id for video in videos]
    bank = ClipBank.create_or_resume(tmp_path / "bank", ids, ClipSettings(4, 32, 40, 32), "x")

    def fail(self: LayerMaker, video: Video) -> Layers:
        raise TypeError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(LayerMaker, "load", fail)
        with pytest.raises(L2AError, match=r"cut to clips \(3 tried\).*TypeError: a fault of ours"):
            fill_bank(bank, videos, maker, set(ids))
    assert fill_bank(bank, videos, maker, set(ids)) == ()


def test_a_video_of_16384_by_16_pixels_costs_itself_alone(tmp_path: Path) -> None:
    """Its thumbnails would be less than a pixel high; whether that fails or not, others go on."""
    from compositing.settings import PrepareSettings

    videos = make_videos(tmp_path / "data", ("a", "wide"))
    wide = np.zeros((6, 16, 16384, 3), np.uint8)
    for t in range(6):
        wide[t, :, 900 * t : 900 * t + 3000] = 250
    write_video(videos[1].path, wide, 25.0, preset="ultrafast")
    report = LayerMaker(tmp_path / "layers", PrepareSettings()).prepare(videos)
    assert {record.id for record in report.records} >= {videos[0].id}
    assert len(report.records) + len(report.skipped) == 2
    assert all(row.id == videos[1].id for row in report.skipped)
    assert WIDTH < 16384
