"""The store of layers: what is in it, who is unfit and why; and the clip bank."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

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
    store_of,
)
from PIL import Image

from compositing.bank import fill_bank
from compositing.engines.local import HERE, LocalEngine, map_in_order
from compositing.making import LayerMaker
from compositing.masks import Instance, VideoMasks, dilate_masks, no_masks
from compositing.pictures import draw_contact_sheet, outlined
from compositing.records import reason_kind, unfit_counts, unfit_rows
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.errors import InputError
from l2a.media import Frames, read_frames, sample_indices
from l2a.videos import Skipped, Video


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    return make_videos(tmp_path / "data")


# What is in it


def test_layers_belong_to_their_frames(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path)
    (record,) = store.prepare(videos[:1]).records
    layers = store.load(videos[0])
    source = read_frames(videos[0].path)
    np.testing.assert_array_equal(layers.frames, source.frames)
    np.testing.assert_array_equal(layers.times, source.times)
    mask = np.zeros((COUNT, HEIGHT, WIDTH), np.bool_)
    for t in range(COUNT):
        mask[t, 10:30, 5 + 2 * t : 17 + 2 * t] = True
    np.testing.assert_array_equal(layers.mask, mask)
    assert layers.background.shape == layers.frames.shape
    hole = dilate_masks(mask, 0.05)
    # Away from the hole's edge, where colour is coarser: grey inside, the frame outside.
    inner, outer = ~dilate_masks(~mask, 0.05), ~dilate_masks(hole, 0.05)
    assert np.abs(layers.background[inner].astype(int) - 128).max() < 8
    assert np.abs(layers.background[outer].astype(int) - layers.frames[outer]).max() < 8
    assert (record.num_frames, record.height, record.width) == (COUNT, HEIGHT, WIDTH)
    assert record.gamma == pytest.approx(12 * 20 / (HEIGHT * WIDTH))
    assert record.mask_share == 1.0
    assert record.hole == pytest.approx(hole.mean())
    assert (record.segmenter, record.inpainter) == ("counting 1", "grey 1")
    assert record.foreground_unfit == record.background_unfit == ""


def test_a_command_takes_the_layers_that_another_one_made_while_it_waited(
    tmp_path: Path, videos: list[Video], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (store, segmenter, _), (other, _, _) = store_of(tmp_path), store_of(tmp_path)
    places: list[Path] = []

    @contextmanager
    def behind_another(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
        places.append(folder)
        if len(places) == 1:
            waits()
            other.prepare(videos)
        yield

    monkeypatch.setattr("compositing.making.filling", behind_another)
    with caplog.at_level("INFO", "l2a"):
        report = store.prepare(videos)
    assert (report.made, report.reused, len(segmenter.seen)) == (0, len(videos), 0)
    assert caplog.messages == [f"waiting for another command that fills {store.folder}"]
    store.prepare(videos)
    assert places == [store.folder] * 2  # nothing is waited for where nothing is left to make


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, max_frames=5, max_side=31)])
def test_a_background_alone_is_the_one_of_the_layers(
    tmp_path: Path,
    videos: list[Video],
    settings: PrepareSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _, _ = store_of(tmp_path, settings)
    store.prepare(videos[:1])
    layers = store.load(videos[0])

    def check() -> None:
        alone = store.load_background(videos[0])
        np.testing.assert_array_equal(alone.background, layers.background)
        np.testing.assert_array_equal(alone.mask, layers.mask)
        np.testing.assert_array_equal(alone.times, layers.times)

    monkeypatch.setattr(store.store, "read_source", lambda video: pytest.fail("it was decoded"))
    check()
    (foreground,) = (tmp_path / "store" / "foregrounds").iterdir()
    foreground.write_text("{}")
    check()


def test_large_and_long_videos_are_stored_smaller(tmp_path: Path, videos: list[Video]) -> None:
    settings = replace(SETTINGS, max_side=30, max_frames=5)
    store, segmenter, _ = store_of(tmp_path, settings)
    store.prepare(videos[:1])
    layers = store.load(videos[0])
    assert layers.frames.shape == layers.background.shape == (5, 23, 30, 3)
    assert layers.mask.shape == (5, 23, 30)
    assert segmenter.seen[videos[0].id] == 5
    record = store.record(videos[0].id)
    assert (record.source_frames, record.source_height, record.source_width) == (
        COUNT,
        HEIGHT,
        WIDTH,
    )
    assert record.scaled_down and record.thinned
    # Other limits for foregrounds decode nothing, and know it too.
    again, _, _ = store_of(tmp_path, replace(settings, min_gamma=0.2))
    assert again.prepare(videos[:1]).records[0].source_frames == COUNT
    # Frame t is 8 t brighter: background and frame show the same moments.
    brightness = [x[:, :6].mean(axis=(1, 2, 3)) for x in (layers.frames, layers.background)]
    assert np.abs(brightness[0] - brightness[1]).max() < 4


@pytest.mark.parametrize(
    ("change", "foreground", "background"),
    [
        ({}, "", ""),
        ({"min_gamma": 0.2}, "covers only 8.1%", ""),
        ({"max_gamma": 0.05}, "covers 8% of the clip", ""),
        ({"max_hole": 0.1}, "", "hole covers 13%"),
        ({"score_threshold": 0.95}, "no mask in any frame", "cannot be taken out"),
    ],
)
def test_unfit_videos_say_why(
    tmp_path: Path, videos: list[Video], change: dict[str, float], foreground: str, background: str
) -> None:
    store, _, _ = store_of(tmp_path, replace(SETTINGS, **change))
    (record,) = store.prepare(videos[:1]).records
    for said, expected in (
        (record.foreground_unfit, foreground),
        (record.background_unfit, background),
    ):
        assert expected in said
        assert bool(said) == bool(expected)


def test_unfit_videos_are_listed_and_counted_by_kind(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path)
    (record, *_) = store.prepare(videos[:1]).records
    tiny = "mask too small: the mask covers only 1.2% of the clip"
    less = "mask too small: the mask covers only 0.3% of the clip"
    none = "no mask in any frame: a file: with colons"
    records = [
        replace(record, id="b", foreground_unfit=none, background_unfit=none),
        record,
        replace(record, id="a", foreground_unfit=tiny),
        replace(record, id="c", foreground_unfit=less),
    ]
    assert reason_kind(none) == "no mask in any frame"
    assert unfit_rows(records) == [
        ("b", "foreground", none),
        ("b", "background", none),
        ("a", "foreground", tiny),
        ("c", "foreground", less),
    ]
    assert unfit_counts(records) == (
        "3 as foreground (mask too small: 2, such as a: the mask covers only 1.2% of the clip;"
        " no mask in any frame: 1, such as b: a file: with colons);"
        " 1 as background (no mask in any frame: 1)"
    )
    assert unfit_counts([record]) == ""


def test_preparation_says_how_many_are_unfit_and_why(
    tmp_path: Path, videos: list[Video], caplog: pytest.LogCaptureFixture
) -> None:
    from train.opening import prepare_layers

    caplog.set_level("INFO", "l2a")

    store, _, _ = store_of(tmp_path, replace(SETTINGS, min_gamma=0.2))
    records, skipped = prepare_layers(store, videos, HERE)
    assert (len(records), skipped) == (3, ())
    lines = [line for line in caplog.messages if "unfit" in line]
    assert lines == [
        "unfit: 3 as foreground (mask too small: 3, such as videos/run/a.mp4:"
        " the mask covers only 8.1% of the clip)"
    ]
    caplog.clear()
    prepare_layers(store_of(tmp_path)[0], videos, HERE)
    assert "unfit" not in caplog.text


@pytest.mark.parametrize(("looks", "unfit"), [(True, True), (False, False)])
def test_made_up_backgrounds_are_unfit_only_if_the_inpainter_looked(
    tmp_path: Path, videos: list[Video], looks: bool, unfit: bool
) -> None:
    inpainter = CountingInpainter(unseen=True, uses_other_frames=looks)
    store, _, _ = store_of(tmp_path, replace(SETTINGS, max_unseen=0.1), inpainter=inpainter)
    (record,) = store.prepare(videos[:1]).records
    assert record.unseen == pytest.approx(record.hole)
    assert bool(record.background_unfit) == unfit


def test_masks_in_too_few_frames_make_no_foreground(tmp_path: Path, videos: list[Video]) -> None:
    class Blinking(CountingSegmenter):
        def __call__(self, video: Video, frames: Frames) -> VideoMasks:
            masks = super().__call__(video, frames)
            person = masks.instances[0]
            some = tuple(rle if t % 2 else None for t, rle in enumerate(person.rles))
            return replace(masks, instances=(replace(person, rles=some),))

    store, _, _ = store_of(tmp_path, replace(SETTINGS, max_gap=0), Blinking())
    (record,) = store.prepare(videos[:1]).records
    assert record.foreground_unfit == "mask too seldom: a mask in only 50% of the frames"
    assert record.mask_share == 0.5
    # With its gaps filled it is one: only the first frame is left without a mask.
    store, segmenter, _ = store_of(tmp_path, replace(SETTINGS, max_gap=1), Blinking())
    (record,) = store.prepare(videos[:1]).records
    assert not segmenter.seen
    assert record.foreground_unfit == ""
    assert record.mask_share == pytest.approx(11 / 12)


def test_a_video_without_masks_is_kept_with_the_segmenters_reason(
    tmp_path: Path, videos: list[Video]
) -> None:
    class Blind(CountingSegmenter):
        def __call__(self, video: Video, frames: Frames) -> VideoMasks:
            return no_masks(HEIGHT, WIDTH, COUNT, "the lens is covered")

    store, _, inpainter = store_of(tmp_path, segmenter=Blind())
    report = store.prepare(videos[:1])
    assert report.skipped == ()
    assert report.records[0].foreground_unfit == "no mask in any frame: the lens is covered"
    assert report.records[0].background_unfit.startswith(
        "no mask in any frame: the lens is covered"
    )
    layers = store.load(videos[0])
    np.testing.assert_array_equal(layers.background, layers.frames)
    assert inpainter.seen == 0


def test_damaged_run_lengths_cost_one_video(tmp_path: Path, videos: list[Video]) -> None:
    class Damaged(CountingSegmenter):
        def __call__(self, video: Video, frames: Frames) -> VideoMasks:
            masks = super().__call__(video, frames)
            if video is videos[0]:
                masks = replace(masks, instances=(Instance("person", 1.0, ("5",) * COUNT),))
            return masks

    store, _, _ = store_of(tmp_path, segmenter=Damaged())
    report = store.prepare(videos)
    assert "masks damaged: run lengths that do not" in report.records[0].foreground_unfit
    assert [record.foreground_unfit for record in report.records[1:]] == ["", ""]


def test_unreadable_videos_are_skipped_with_reasons(tmp_path: Path, videos: list[Video]) -> None:
    videos[0].path.write_bytes(b"")
    videos[2].path.unlink()
    store, _, _ = store_of(tmp_path)
    calls: list[tuple[int, int]] = []
    report = store.prepare(videos, progress=lambda done, total: calls.append((done, total)))
    assert [record.id for record in report.records] == [videos[1].id]
    assert report.skipped == (
        Skipped(videos[0].id, "the file is empty"),
        Skipped(videos[2].id, "there is no such file"),
    )
    assert (report.made, report.reused) == (1, 0)
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_any_id_stays_inside_the_store(tmp_path: Path) -> None:
    odd = ["../../x", "a/b&c;[d]#!@~+(e)", "é" * 300, "a b", "a_b", "A_B", "c/../../d"]
    videos = make_videos(tmp_path / "data", odd)
    store, _, _ = store_of(tmp_path)
    store.prepare(videos)
    assert {store.record(video.id).id for video in videos} == {video.id for video in videos}
    names = [path.name.casefold() for path in (tmp_path / "store" / "records").iterdir()]
    assert len(set(names)) == len(odd)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "store"}


def test_a_record_cannot_point_outside_the_store(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path)
    expected = store.prepare(videos[:1]).records
    (path,) = (tmp_path / "store" / "records").iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    outside = {**record, "background": "../../data/0.mp4"}
    path.write_text(json.dumps(outside), encoding="utf-8")
    with pytest.raises(InputError, match="has no layers of"):
        store.record(videos[0].id)
    assert store.load(videos[0]).mask.any()
    assert store.prepare(videos[:1]).records == expected
    path.write_text(json.dumps(outside), encoding="utf-8")
    assert store.prepare(videos[:1]).records == expected


def test_a_back_end_that_cannot_be_had_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no masks at /nowhere"):
        LayerMaker(tmp_path / "store", PrepareSettings(segmenter="masks:/nowhere"))
    assert not (tmp_path / "store").exists()


# Several processes


def test_two_workers_make_the_same_files_as_one(tmp_path: Path, videos: list[Video]) -> None:
    stores = [LayerMaker(tmp_path / name, PrepareSettings()) for name in ("one", "two")]
    for store, workers in zip(stores, (1, 2), strict=True):
        report = store.prepare(videos, LocalEngine(workers))
        assert [record.id for record in report.records] == [video.id for video in videos]
    for path in (tmp_path / "one").rglob("*"):
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.is_dir() or path.read_bytes() == twin.read_bytes()


def _square_or_die(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def _crashed(item: int) -> int:
    return -item


def test_a_worker_that_dies_costs_one_item() -> None:
    results = list(map_in_order(_square_or_die, range(6), workers=2, on_crash=_crashed))
    assert results == [0, 1, 4, -3, 16, 25]


def test_an_exception_in_a_worker_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(_reciprocal, [1, 0, 2], workers=2, on_crash=float))


def _reciprocal(item: int) -> float:
    return 1 / item


def test_layers_of_a_name_with_a_backslash_are_found_again(
    tmp_path: Path, videos: list[Video]
) -> None:
    path = videos[0].path.rename(videos[0].path.with_name("x\\y.mp4"))
    video = Video("run/x\\y.mp4", path, "run", "x", "train")
    maker, _, _ = store_of(tmp_path)
    assert maker.prepare([video]).made == 1
    assert maker.store.load(video).mask.any()
    assert maker.store.stored_masks(video) is not None
    assert maker.prepare([video]).reused == 1


# The bank


def test_frames_masks_and_backgrounds_of_a_row_show_the_same_moments(
    tmp_path: Path, videos: list[Video]
) -> None:
    videos[1].path.write_bytes(b"no video")
    store, _, _ = store_of(tmp_path)
    store.prepare(videos)
    bank = ClipBank.create_or_resume(
        tmp_path / "bank", [video.id for video in videos], ClipSettings(4, HEIGHT, WIDTH, 32), "x"
    )
    calls: list[tuple[int, int]] = []
    skipped = fill_bank(
        bank,
        videos[::-1],
        store,
        {videos[0].id},
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [row.id for row in skipped] == [videos[1].id]
    assert bank.state.tolist() == [RowState.LAYERS, RowState.UNREADABLE, RowState.FRAMES]
    layers = store.load(videos[0])
    chosen = sample_indices(layers.times, 4)
    assert chosen.tolist() == [1, 4, 7, 10]
    np.testing.assert_array_equal(bank.frames[0], layers.frames[chosen])
    np.testing.assert_array_equal(bank.masks[0], layers.mask[chosen])
    np.testing.assert_array_equal(bank.backgrounds[0], layers.background[chosen])
    assert not bank.masks[2].any()
    assert fill_bank(bank, videos, store, set()) == skipped


def test_frames_do_not_depend_on_whether_layers_are_wanted(
    tmp_path: Path, videos: list[Video]
) -> None:
    store, _, _ = store_of(tmp_path, replace(SETTINGS, max_frames=7, max_side=40))
    store.prepare(videos)
    ids = [video.id for video in videos]
    banks = [
        ClipBank.create_or_resume(tmp_path / name, ids, ClipSettings(4, 24, 32, 24), "x")
        for name in ("with", "without")
    ]
    fill_bank(banks[0], videos, store, set(ids))
    fill_bank(banks[1], videos, store, set())
    np.testing.assert_array_equal(banks[0].frames, banks[1].frames)


def test_a_bank_says_which_video_it_lacks(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path)
    bank = ClipBank.create_or_resume(
        tmp_path / "bank", [video.id for video in videos], ClipSettings(4, 24, 32, 24), "x"
    )
    with pytest.raises(InputError, match=r"waits for videos/run/a\.mp4"):
        fill_bank(bank, videos[1:], store, set())


# Pictures and settings


def test_the_contact_sheet_shows_frame_mask_and_background(
    tmp_path: Path, videos: list[Video]
) -> None:
    store, _, _ = store_of(tmp_path)
    store.prepare(videos)
    path = tmp_path / "out" / "sheet.png"
    draw_contact_sheet(path, [store.load(video) for video in videos], moments=3, height=HEIGHT)
    sheet = np.asarray(Image.open(path))
    row = HEIGHT + 22
    assert sheet.shape == (28 + 3 * row, 6 + 9 * (WIDTH + 6), 3)
    layers = store.load(videos[1])
    top, left = 28 + row + 16, 6
    for column, picture in enumerate(
        (layers.frames[2], outlined(layers.frames[2], layers.mask[2]), layers.background[2])
    ):
        at = left + column * (WIDTH + 6)
        np.testing.assert_array_equal(sheet[top : top + HEIGHT, at : at + WIDTH], picture)


def test_an_outlined_frame_is_red_inside_and_untouched_outside() -> None:
    frame = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 10:30] = True
    picture = outlined(frame, mask)
    assert picture[20, 20, 0] > picture[20, 20, 1] == picture[20, 20, 2]
    np.testing.assert_array_equal(picture[dilate_masks(mask[None], 0.05)[0] == 0], 100)
    assert (frame == 100).all()


def test_dilation_is_a_share_of_the_height() -> None:
    mask = np.zeros((1, 100, 50), np.bool_)
    mask[0, 50, 25] = True
    wide = dilate_masks(mask, 0.03)[0]
    rows, columns = np.nonzero(wide)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (47, 53, 22, 28)
    np.testing.assert_array_equal(dilate_masks(mask, 0.0), mask)


def test_settings_report_all_errors_together() -> None:
    with pytest.raises(InputError, match=r": score_threshold .* not 1\.5; max_side .* not 3\."):
        PrepareSettings(score_threshold=1.5, max_side=3)
    with pytest.raises(InputError, match=r"min_gamma \(0\.5\) must not be above max_gamma"):
        PrepareSettings(min_gamma=0.5, max_gamma=0.4)
    with pytest.raises(InputError, match="mixed, foreground, actor, not 'other'; alpha must"):
        CompositeSettings(label_rule="other", alpha=0)
    with pytest.raises(InputError, match=r"crf must lie in 0\.\.51, not 60"):
        ExportSettings(crf=60)


@pytest.mark.clips
def test_real_clips_become_fit_layers(tmp_path: Path, clips_root: Path) -> None:
    root = clips_root / "jhmdb12"
    videos = [
        Video(f"videos/{label}/{path.name}", path, label, path.stem, "train")
        for label in ("kick_ball", "golf")
        for path in sorted((root / "videos" / label).glob("*.avi"))[:2]
    ]
    store = LayerMaker(tmp_path, PrepareSettings(segmenter=f"masks:{root / 'masks'}"))
    report = store.prepare(videos)
    assert [record.id for record in report.records] == [video.id for video in videos]
    fit = [record for record in report.records if not record.foreground_unfit]
    assert fit
    for record in fit:
        assert 0.026 <= record.gamma <= 0.7
        layers = store.load(next(video for video in videos if video.id == record.id))
        changed = np.abs(layers.background.astype(int) - layers.frames).max(axis=3) > 40
        # What was taken out is the actor: changes lie in the hole and nowhere else.
        assert changed[layers.mask].mean() > 0.3
        assert changed[~dilate_masks(layers.mask, 0.05)].mean() < 0.002
