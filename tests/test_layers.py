"""The store of layers: made once, remade only where something changed; and the clip bank."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compositing.bank import fill_bank
from compositing.engines.local import LocalEngine, map_in_order
from compositing.inpainters import Inpainted
from compositing.layers import LayerStore, dilate_masks
from compositing.masks import Instance, VideoMasks, encode, no_masks
from compositing.pictures import draw_contact_sheet, outlined
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.errors import InputError
from l2a.media import Frames, read_frames, resize_frames, sample_indices, write_video
from l2a.videos import Skipped, Video

COUNT, HEIGHT, WIDTH = 12, 48, 62


@dataclass
class CountingSegmenter:
    """A square that walks; a second, unsure instance of a thing; counts the frames it sees."""

    identity: str = "counting 1"
    left: int = 5
    seen: Counter[str] = field(default_factory=Counter)
    stop_at: int | None = None

    def check(self, videos: Sequence[Video]) -> None:
        """All are fine."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        if self.stop_at == len(self.seen):
            raise KeyboardInterrupt
        self.seen[video.id] += len(frames.frames)
        count, height, width = frames.frames.shape[:3]
        person, thing = np.zeros((2, count, height, width), np.bool_)
        for t in range(count):
            person[t, 10:30, self.left + 2 * t : self.left + 2 * t + 12] = True
        thing[:, 40:44, 50:58] = True
        return VideoMasks(
            height,
            width,
            count,
            (
                Instance("person", 0.9, encode(person)),
                Instance("ball", 0.3, encode(thing)),
            ),
        )


@dataclass
class CountingInpainter:
    """Paints holes grey; says that a given share of each hole was never seen."""

    identity: str = "grey 1"
    looks_behind: bool = True
    seen: int = 0
    unseen: bool = False

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        self.seen += len(frames)
        filled = frames.copy()
        filled[holes] = 128
        return Inpainted(filled, holes & self.unseen)


def scene(seed: int, count: int = COUNT) -> NDArray[np.uint8]:
    """Smooth pictures that tell their time: brighter with every frame."""
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 120, (1, 3, 4, 3), np.uint8)
    still = resize_frames(small, (HEIGHT, WIDTH))
    return still + (8 * np.arange(count, dtype=np.uint8))[:, None, None, None]


def make_videos(folder: Path, names: Sequence[str] = ("a", "b", "c")) -> list[Video]:
    videos = []
    for number, name in enumerate(names):
        path = folder / f"{number}.mp4"
        write_video(path, scene(number), 25.0, crf=8)
        videos.append(Video(f"videos/run/{name}.mp4", path, "run", name, "train"))
    return videos


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    return make_videos(tmp_path / "data")


SETTINGS = PrepareSettings(dilate=0.05, min_gamma=0.01)


def store_of(
    tmp_path: Path,
    settings: PrepareSettings = SETTINGS,
    segmenter: CountingSegmenter | None = None,
    inpainter: CountingInpainter | None = None,
) -> tuple[LayerStore, CountingSegmenter, CountingInpainter]:
    segmenter, inpainter = segmenter or CountingSegmenter(), inpainter or CountingInpainter()
    store = LayerStore(tmp_path / "store", settings, segmenter=segmenter, inpainter=inpainter)
    return store, segmenter, inpainter


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Made once


def test_every_frame_is_segmented_and_inpainted_once_whatever_is_asked_after(
    tmp_path: Path, videos: list[Video]
) -> None:
    store, segmenter, inpainter = store_of(tmp_path)
    report = store.prepare(videos)
    assert (report.made, report.reused, report.skipped) == (3, 0, ())
    assert [record.id for record in report.records] == [video.id for video in videos]
    bank = ClipBank.create_or_resume(
        tmp_path / "bank", [v.id for v in videos], ClipSettings(4, 32, 40, 32), "x"
    )
    fill_bank(bank, videos, store, {video.id for video in videos})
    for _ in range(2):
        assert store.prepare(videos[::-1]).reused == 3
        draw_contact_sheet(tmp_path / "sheet.png", [store.load(video) for video in videos])
    store_of(tmp_path, segmenter=segmenter, inpainter=inpainter)[0].prepare(videos)
    assert segmenter.seen == {video.id: COUNT for video in videos}
    assert inpainter.seen == 3 * COUNT


@pytest.mark.parametrize(
    ("change", "inpainted"),
    [
        ({"min_gamma": 0.02}, 0),
        ({"max_unseen": 0.1}, 0),
        ({"score_threshold": 0.6}, 0),  # drops nothing that was kept: the same final mask
        ({"humans_only": True}, 0),
        ({"boxes": True}, 0),  # a square is its own box
        ({"score_threshold": 0.2}, COUNT),
        ({"dilate": 0.1}, COUNT),
    ],
)
def test_changed_settings_remake_only_what_they_touch(
    tmp_path: Path, videos: list[Video], change: dict[str, float], inpainted: int
) -> None:
    store_of(tmp_path)[0].prepare(videos[:1])
    before = files(tmp_path / "store" / "backgrounds")
    store, segmenter, inpainter = store_of(tmp_path, replace(SETTINGS, **change))
    report = store.prepare(videos[:1])
    assert (report.made, report.reused) == (1, 0)
    assert not segmenter.seen
    assert inpainter.seen == inpainted
    after = files(tmp_path / "store" / "backgrounds")
    assert len(after) == 1
    assert (before == after) == (inpainted == 0)


def test_another_inpainter_segments_nothing_and_another_segmenter_keeps_the_old_masks(
    tmp_path: Path, videos: list[Video]
) -> None:
    first, segmenter, _ = store_of(tmp_path)
    first.prepare(videos)
    other = CountingInpainter(identity="grey 2")
    second, segmenter, _ = store_of(tmp_path, inpainter=other)
    second.prepare(videos)
    assert not segmenter.seen
    assert other.seen == 3 * COUNT
    moved = CountingSegmenter(identity="counting 2", left=9)
    third, _, inpainter = store_of(tmp_path, segmenter=moved)
    third.prepare(videos)
    assert sum(moved.seen.values()) == inpainter.seen == 3 * COUNT
    back, segmenter, _ = store_of(tmp_path)
    back.prepare(videos)
    assert not segmenter.seen


def test_layers_made_otherwise_are_not_given_out(tmp_path: Path, videos: list[Video]) -> None:
    store_of(tmp_path)[0].prepare(videos[:1])
    other = store_of(tmp_path, replace(SETTINGS, dilate=0.1))[0]
    with pytest.raises(InputError, match=r"a\.mp4.*other settings; prepare it again"):
        other.load(videos[0])
    with pytest.raises(InputError, match=r"no layers of videos/run/b\.mp4; prepare it first"):
        other.load(videos[1])


def test_another_file_of_the_same_name_is_noticed(tmp_path: Path, videos: list[Video]) -> None:
    store, segmenter, _ = store_of(tmp_path)
    store.prepare(videos)
    write_video(videos[1].path, scene(9, 20), 25.0)
    report = store.prepare(videos)
    assert (report.made, report.reused) == (1, 2)
    assert segmenter.seen[videos[1].id] == COUNT + 20
    assert store.record(videos[1].id).num_frames == 20


def test_an_interrupted_preparation_goes_on_and_ends_the_same(
    tmp_path: Path, videos: list[Video]
) -> None:
    stopped, _, _ = store_of(tmp_path, segmenter=CountingSegmenter(stop_at=2))
    with pytest.raises(KeyboardInterrupt):
        stopped.prepare(videos)
    store, segmenter, _ = store_of(tmp_path)
    assert store.prepare(videos).reused == 2
    assert set(segmenter.seen) == {videos[2].id}
    whole = store_of(tmp_path / "whole")[0]
    whole.prepare(videos)
    for path in (tmp_path / "store").rglob("*"):
        twin = tmp_path / "whole" / "store" / path.relative_to(tmp_path / "store")
        assert path.is_dir() or path.read_bytes() == twin.read_bytes()
    assert not list((tmp_path / "store").rglob(".part*"))


@pytest.mark.parametrize("part", ["masks", "backgrounds", "records"])
def test_a_lost_or_damaged_part_is_made_again(
    tmp_path: Path, videos: list[Video], part: str
) -> None:
    store, _, _ = store_of(tmp_path)
    expected = store.prepare(videos[:1]).records
    (path,) = (p for p in (tmp_path / "store" / part).rglob("*") if p.is_file())
    path.unlink()
    assert store.prepare(videos[:1]).made == 1
    if part != "backgrounds":
        path.write_text("{", encoding="utf-8")
        again = LayerStore(
            store.folder, SETTINGS, segmenter=CountingSegmenter(), inpainter=CountingInpainter()
        )
        if part == "records":
            assert again.prepare(videos[:1]).records == expected
    assert store.prepare(videos[:1]).records == expected


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


def test_large_and_long_videos_are_stored_smaller(tmp_path: Path, videos: list[Video]) -> None:
    settings = replace(SETTINGS, max_side=30, max_frames=5)
    store, segmenter, _ = store_of(tmp_path, settings)
    store.prepare(videos[:1])
    layers = store.load(videos[0])
    assert layers.frames.shape == layers.background.shape == (5, 23, 30, 3)
    assert layers.mask.shape == (5, 23, 30)
    assert segmenter.seen[videos[0].id] == 5
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


@pytest.mark.parametrize(("looks", "unfit"), [(True, True), (False, False)])
def test_made_up_backgrounds_are_unfit_only_if_the_inpainter_looked(
    tmp_path: Path, videos: list[Video], looks: bool, unfit: bool
) -> None:
    inpainter = CountingInpainter(unseen=True, looks_behind=looks)
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

    store, _, _ = store_of(tmp_path, segmenter=Blinking())
    (record,) = store.prepare(videos[:1]).records
    assert record.foreground_unfit == "a mask in only 50% of the frames"
    assert record.mask_share == 0.5


def test_a_video_without_masks_is_kept_with_the_segmenters_reason(
    tmp_path: Path, videos: list[Video]
) -> None:
    class Blind(CountingSegmenter):
        def __call__(self, video: Video, frames: Frames) -> VideoMasks:
            return no_masks(HEIGHT, WIDTH, COUNT, "the lens is covered")

    store, _, inpainter = store_of(tmp_path, segmenter=Blind())
    report = store.prepare(videos[:1])
    assert report.skipped == ()
    assert report.records[0].foreground_unfit == "the lens is covered"
    assert report.records[0].background_unfit.startswith("the lens is covered")
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
    assert "its masks are damaged: run lengths that do not" in report.records[0].foreground_unfit
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
    store.prepare(videos[:1])
    (path,) = (tmp_path / "store" / "records").iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "background": "../../data/0.mp4"}), encoding="utf-8")
    with pytest.raises(InputError, match="leaves"):
        store.load(videos[0])


def test_a_segmenter_that_refuses_stops_before_any_work(
    tmp_path: Path, videos: list[Video]
) -> None:
    store = LayerStore(tmp_path / "store", PrepareSettings(segmenter="masks:/nowhere"))
    with pytest.raises(InputError, match="no masks at /nowhere"):
        store.prepare(videos)
    assert not (tmp_path / "store").exists()


# Several processes


def test_two_workers_make_the_same_files_as_one(tmp_path: Path, videos: list[Video]) -> None:
    stores = [LayerStore(tmp_path / name, PrepareSettings()) for name in ("one", "two")]
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


def _lost(item: int) -> int:
    return -item


def test_a_worker_that_dies_costs_one_item() -> None:
    results = list(map_in_order(_square_or_die, range(6), workers=2, lost=_lost))
    assert results == [0, 1, 4, -3, 16, 25]


def test_an_exception_in_a_worker_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(_reciprocal, [1, 0, 2], workers=2, lost=float))


def _reciprocal(item: int) -> float:
    return 1 / item


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
    store = LayerStore(tmp_path, PrepareSettings(segmenter=f"masks:{root / 'masks'}"))
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
