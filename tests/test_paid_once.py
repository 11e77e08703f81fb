"""Each video is paid for once: what is made again after a change, and what never is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
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
    files,
    make_videos,
    scene,
    store_of,
)
from numpy.typing import NDArray

from compositing.bank import fill_bank
from compositing.composite import make_composite
from compositing.engines.local import HERE, LocalEngine
from compositing.export import Material, PairList, export_pairs
from compositing.inpainters.base import Inpainted
from compositing.making import LayerMaker
from compositing.masks import Instance, VideoMasks, encode
from compositing.pictures import draw_contact_sheet
from compositing.segmenters.mask_files import MaskFiles
from compositing.settings import CompositeSettings, ExportSettings
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError
from l2a.files import source_mark
from l2a.media import Frames, read_frames, write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    return make_videos(tmp_path / "data")


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


@dataclass
class LoggingSegmenter(CountingSegmenter):
    """Writes what it sees to a file too, so that all processes count together."""

    log: Path = Path()

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{video.id} {len(frames.frames)}\n")
        return super().__call__(video, frames)


@dataclass
class LoggingInpainter(CountingInpainter):
    """Writes what it sees to a file too, so that all processes count together."""

    log: Path = Path()

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"some video {len(frames)}\n")
        return super().__call__(frames, holes)


def logged(log: Path) -> list[str]:
    return sorted(log.read_text(encoding="utf-8").splitlines()) if log.exists() else []


def test_any_number_of_pairs_costs_each_video_once_over_all_processes(
    tmp_path: Path, videos: list[Video]
) -> None:
    videos += make_videos(tmp_path / "more", ("d", "e"))
    logs = [tmp_path / name for name in ("segmented", "inpainted")]

    def open_store(**changes: object) -> LayerMaker:
        return LayerMaker(
            tmp_path / "store",
            replace(SETTINGS, **changes),
            segmenter=LoggingSegmenter(log=logs[0]),
            inpainter=LoggingInpainter(log=logs[1]),
        )

    def check() -> None:
        assert logged(logs[0]) == [f"{video.id} {COUNT}" for video in videos]
        assert logged(logs[1]) == [f"some video {COUNT}"] * len(videos)

    engine = LocalEngine(2)
    assert open_store().prepare(videos, engine).made == 5
    check()
    by_id = {video.id: video for video in videos}
    pairs = [ScoredPair(f, b, 0.5, 0.0, "run", "run") for f in by_id for b in by_id if f != b]
    assert len(pairs) == 20
    for composite in (
        CompositeSettings(),
        CompositeSettings(label_rule="foreground"),
        CompositeSettings(label_rule="actor", alpha=2.0),
        CompositeSettings(blend="feather"),
    ):
        store = open_store()
        for pair in pairs:
            layers = [store.load(by_id[id_]) for id_ in (pair.foreground, pair.background)]
            make_composite(layers[0], layers[1], composite, seed=0)
    for name, used in (("here", HERE), ("there", engine)):
        report = export_pairs(
            PairList(pairs[::3], {}), Material(by_id, ("run",), open_store()), tmp_path / name,
            CompositeSettings(), ExportSettings(preset="ultrafast"), engine=used,
        )  # fmt: skip
        assert (report.made, report.skipped) == (7, ())
    check()
    # The rows of the paper's Table 2; a square is its own box, and all are persons.
    for changes in ({}, {"humans_only": True}, {"boxes": True}):
        open_store(**changes).prepare(videos)
    check()
    # Without inpainting: another inpainter, but never another segmentation.
    settings = replace(SETTINGS, inpainter="none")
    segmenter = LoggingSegmenter(log=logs[0])
    LayerMaker(tmp_path / "store", settings, segmenter=segmenter).prepare(videos)
    check()


LENGTHS = {"steady": 5, "unsure": 6, "gap": 7, "specks": 8, "moving": 9}


class Various(CountingSegmenter):
    """Each video by its name: what one setting of the final mask changes in it, and no other."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        self.seen[video.group] += len(frames.frames)
        masks = np.zeros(frames.frames.shape[:3], np.bool_)
        masks[:, 10:30, 20:40] = True
        instances = []
        if video.group == "unsure":
            thing = np.zeros_like(masks)
            thing[:, 35:45, 45:55] = True
            instances.append(Instance("ball", 0.3, encode(thing)))
        elif video.group == "gap":
            masks[3] = False
        elif video.group == "specks":
            masks[:, 0, 0] = True
        elif video.group == "moving":
            masks = np.stack([np.roll(mask, 2 * t, axis=1) for t, mask in enumerate(masks)])
        instances.append(Instance("person", 0.9, encode(masks)))
        return VideoMasks(*masks.shape[1:], len(masks), tuple(instances))


@dataclass
class ListingInpainter(CountingInpainter):
    """Lists the lengths of the videos it sees, by which they can be told apart."""

    lengths: list[int] = field(default_factory=list)

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        self.lengths.append(len(frames))
        return super().__call__(frames, holes)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"score_threshold": 0.2}, {"unsure"}),
        ({"score_threshold": 0.9}, set()),
        ({"max_gap": 0}, {"gap"}),
        ({"max_gap": 3}, set()),
        ({"min_speck": 0.0}, {"specks"}),
        ({"min_speck": 0.01}, set()),
        ({"temporal_or": True}, {"moving"}),
        ({"humans_only": True}, set()),
        ({"boxes": True}, set()),
    ],
)
def test_only_videos_whose_final_mask_changed_are_inpainted_again(
    tmp_path: Path, change: dict[str, float], changed: set[str]
) -> None:
    videos = []
    for number, (name, count) in enumerate(LENGTHS.items()):
        path = tmp_path / f"{name}.mp4"
        write_video(path, scene(number, count), 25.0)
        videos.append(Video(f"videos/run/{name}.mp4", path, "run", name, "train"))
    first, inpainter = Various(), ListingInpainter()
    store_of(tmp_path, SETTINGS, first, inpainter)[0].prepare(videos)
    assert inpainter.lengths == list(LENGTHS.values())
    again, inpainter = Various(), ListingInpainter()
    store, _, _ = store_of(tmp_path, replace(SETTINGS, **change), again, inpainter)
    store.prepare(videos)
    assert first.seen == LENGTHS
    assert not again.seen
    assert inpainter.lengths == [LENGTHS[name] for name in LENGTHS if name in changed]
    for folder in ("foregrounds", "backgrounds", "records"):
        assert len(list((tmp_path / "store" / folder).iterdir())) == len(videos)


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


def test_a_source_file_is_told_from_another_by_its_size_and_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    content = bytes(200_000)
    path.write_bytes(content)
    first = source_mark(path)
    assert first.startswith("200000 bytes, ends ")
    os.utime(path, (0, 0))
    assert source_mark(path) == first  # a copy is younger, and the same
    for place in (0, 65_535, 200_000 - 65_536, 199_999):
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
        assert source_mark(path) != first
    path.write_bytes(content + b"\0")
    assert source_mark(path) != first
    path.write_bytes(b"")
    assert source_mark(path).startswith("0 bytes")
    path.unlink()
    assert source_mark(path) == ""


def test_ends_that_overlap_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    marks = set()
    for place in range(0, 100_000, 1_000):
        path.write_bytes(bytes(place) + b"x" + bytes(100_000 - place))
        marks.add(source_mark(path))
    assert len(marks) == 100


def test_another_file_of_the_same_size_is_noticed(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path)
    store.prepare(videos)
    content = bytearray(videos[1].path.read_bytes())
    content[-1] ^= 1
    videos[1].path.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.mp4.*made from another file"):
        store.load(videos[1])
    again, segmenter, inpainter = store_of(tmp_path)
    assert again.prepare(videos).reused == 2
    assert set(segmenter.seen) == {videos[1].id}
    assert inpainter.seen == COUNT


def test_a_copied_data_set_has_its_layers_already(tmp_path: Path, videos: list[Video]) -> None:
    store_of(tmp_path)[0].prepare(videos)
    copies = []
    for video in videos:
        copy = tmp_path / "copy" / video.path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(video.path.read_bytes())
        copies.append(replace(video, file=copy))
    assert store_of(tmp_path)[0].prepare(copies).reused == 3


def test_masks_say_how_they_were_made(tmp_path: Path, videos: list[Video]) -> None:
    store_of(tmp_path)[0].prepare(videos[:1])
    (path,) = (tmp_path / "store" / "masks").rglob("*.json")
    info = json.loads(path.read_text(encoding="utf-8"))["info"]
    assert info["segmenter"] == "counting 1"
    assert info["source"] == source_mark(videos[0].path)
    assert (info["max_side"], info["max_frames"]) == (SETTINGS.max_side, SETTINGS.max_frames)
    assert (info["frame_height"], info["frame_width"]) == (HEIGHT, WIDTH)
    assert "python" in info["versions"]


def test_the_stored_final_mask_can_be_brought_as_masks(tmp_path: Path, videos: list[Video]) -> None:
    store, _, _ = store_of(tmp_path, replace(SETTINGS, boxes=True, temporal_or=True))
    store.prepare(videos[:1])
    (path,) = (tmp_path / "store" / "foregrounds").iterdir()
    masks = MaskFiles(path)(videos[0], read_frames(videos[0].path))
    np.testing.assert_array_equal(masks.union(SETTINGS), store.load(videos[0]).mask)


def test_loading_does_not_look_at_raw_masks_unless_it_must(
    tmp_path: Path, videos: list[Video]
) -> None:
    store, _, _ = store_of(tmp_path)
    store.prepare(videos[:1])
    expected = store.load(videos[0]).mask
    (raw,) = (tmp_path / "store" / "masks").rglob("*.json")
    content = raw.read_text(encoding="utf-8")
    raw.unlink()
    np.testing.assert_array_equal(store.load(videos[0]).mask, expected)
    (final,) = (tmp_path / "store" / "foregrounds").iterdir()
    final.write_text("{", encoding="utf-8")
    raw.write_text(content, encoding="utf-8")
    np.testing.assert_array_equal(store.load(videos[0]).mask, expected)
    raw.unlink()
    final.write_text("{", encoding="utf-8")
    again, segmenter, inpainter = store_of(tmp_path)
    np.testing.assert_array_equal(again.load(videos[0]).mask, expected)
    assert (sum(segmenter.seen.values()), inpainter.seen) == (COUNT, 0)


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


@pytest.mark.parametrize("part", ["masks", "foregrounds", "backgrounds", "records"])
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
        again = LayerMaker(
            store.folder, SETTINGS, segmenter=CountingSegmenter(), inpainter=CountingInpainter()
        )
        if part == "records":
            assert again.prepare(videos[:1]).records == expected
    assert store.prepare(videos[:1]).records == expected
