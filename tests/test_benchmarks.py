"""The benchmarks of preparation: their truth is true, their figures are right, and they run."""

from __future__ import annotations

import importlib
import json
import math
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from l2a.errors import InputError

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SIZE = (96, 128)


@pytest.fixture(scope="module", autouse=True)
def _on_the_path() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def module(name: str) -> Any:
    return importlib.import_module(name)


def film(camera: str, count: int = 9, seed: int = 3) -> Any:
    scenes = module("scenes")
    return scenes.film(scenes.generated_stage(seed, SIZE, count), camera, count, seed)


@pytest.mark.parametrize("camera", ["static", "panning", "hand-held", "zooming"])
def test_outside_the_actor_a_clip_shows_its_background_within_noise_and_codec(camera: str) -> None:
    clip = film(camera)
    wide = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((25, 25))) for m in clip.mask]) > 0
    apart = np.abs(clip.frames.astype(int) - clip.background)
    assert apart[~wide].mean() < 6
    assert apart[clip.mask].mean() > 30
    assert clip.mask.any(axis=(1, 2)).all()
    assert 0.02 < clip.mask.mean() < 0.4
    assert np.abs(clip.coded.astype(int) - clip.background).mean() < 6


def test_the_cameras_move_as_they_are_called() -> None:
    scenes = module("scenes")
    stage = scenes.generated_stage(0, SIZE, 9)
    maps = {}
    for name, camera in scenes.CAMERAS.items():
        path = camera(np.random.default_rng(0), stage, 9)
        maps[name] = np.stack([path(t) for t in range(9)])
    spread = {name: np.ptp(moves, axis=0) for name, moves in maps.items()}
    sizes = {name: np.linalg.det(moves[:, :, :2]) for name, moves in maps.items()}
    assert not spread["static"].any()
    assert spread["panning"][0, 2] > 0.28 * SIZE[1] - 1e-9
    assert not spread["panning"][:, :2].any()
    assert (spread["hand-held"][:, 2] > 0.5).all()
    assert spread["hand-held"][0, 1] > 0.001
    assert np.ptp(sizes["hand-held"]) < 1e-9
    assert 1.3 < sizes["zooming"].max() / sizes["zooming"].min() < 1.9
    # Every camera stays inside its scene.
    corners = np.array([[0, SIZE[1] - 1, 0], [0, 0, SIZE[0] - 1], [1, 1, 1]])
    for moves in maps.values():
        seen = moves @ corners
        assert seen.min() >= 0
        assert (seen.max(axis=(0, 2)) <= (stage.scene.shape[1] - 1, stage.scene.shape[0] - 1)).all()


def block_stage(speed: float) -> Any:
    """A white block, 12 pixels wide, walks over a black scene; at frame 0 it begins at (56, 24).

    It goes on before the last third of each exposure.
    """

    def act(t: float) -> tuple[Any, Any]:
        coverage = np.zeros((60, 120, 1), np.float32)
        left = 56 + round(speed * math.floor(t + 0.75))
        coverage[24:36, left : left + 12] = 1
        return coverage * np.full(3, 255, np.float32), coverage

    return module("scenes").Stage(np.zeros((60, 120, 3), np.float32), act, (40, 80))


def test_a_pixel_is_shown_when_some_frame_has_its_place_free() -> None:
    scenes = module("scenes")
    clip = scenes.film(block_stage(2.0), "static", 4, 0)
    # The window begins at (10, 20) of the scene; columns 36 + 2 t to 48 + 2 t are covered, and for
    # a third of the exposure the two next ones.
    expected, touched = np.zeros((2, 4, 40, 80), np.bool_)
    for t in range(4):
        expected[t, 14:26, 36 + 2 * t : 48 + 2 * t] = True
        touched[t, 14:26, 36 + 2 * t : 50 + 2 * t] = True
    np.testing.assert_array_equal(clip.mask, expected)
    always = np.logical_and.reduce(touched)
    np.testing.assert_array_equal(clip.shown, np.stack([~always] * 4))


def test_what_a_moving_camera_showed_is_found_at_its_place_in_every_frame() -> None:
    scenes = module("scenes")
    still = scenes.film(block_stage(0.0), "panning", 8, 0)
    # Who stands in one place of the scene hides it for good, wherever the camera looks.
    assert not still.shown[still.mask].any()
    assert still.mask.any(axis=(1, 2)).all()
    free = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((7, 7))) for m in still.mask]) == 0
    free[:, [0, -1]] = free[:, :, [0, -1]] = False  # between two pixels, one of them outside
    assert still.shown[free].all()
    # Free columns open up on the side that the walk uncovers.
    gone = scenes.film(block_stage(4.0), "panning", 8, 0)
    assert gone.shown[gone.mask].all()


def test_the_same_seed_films_the_same_bytes() -> None:
    one, two, other = (film("panning", 5, seed) for seed in (2, 2, 4))
    assert one.frames.tobytes() == two.frames.tobytes()
    assert one.frames.tobytes() != other.frames.tobytes()


@pytest.mark.clips
def test_real_actors_stand_before_real_scenes(clips_root: Path) -> None:
    scenes = module("scenes")
    stage = scenes.real_stage(0, clips_root / "jhmdb12", 6)
    clip = scenes.film(stage, "panning", 6, 0)
    assert clip.frames.shape == (6, 168, 224, 3)
    assert 0.01 < clip.mask.mean() < 0.5
    apart = np.abs(clip.frames.astype(int) - clip.background)
    assert apart[clip.mask].mean() > 3 * apart[~clip.mask].mean()


def test_iou_and_psnr_by_hand() -> None:
    quality = module("prepare_quality")
    one, two = np.zeros((2, 1, 2, 4), np.bool_)
    one[0, 0, :3], two[0, 0, 1:] = True, True
    assert quality.iou(one, two) == 2 / 4
    assert quality.iou(~one & one, ~two & two) == 1
    truth = np.full((1, 2, 4, 3), 100, np.uint8)
    recovered = truth.copy()
    recovered[0, 0, 0] = 90  # darker: no wrapping around
    recovered[0, 1] = 0  # outside the pixels
    expected = 10 * math.log10(255**2 / (100 / 3))
    assert quality.psnr(recovered, truth, one) == pytest.approx(expected)
    assert quality.psnr(truth, truth, one) == math.inf
    assert math.isnan(quality.psnr(recovered, truth, ~one & one))


def test_erosion_takes_so_many_pixels_from_every_side_but_the_border_of_the_picture() -> None:
    quality = module("prepare_quality")
    mask = np.zeros((1, 20, 20), np.bool_)
    mask[0, 5:15, 0:10] = True
    for pixels in (1, 2):
        expected = np.zeros_like(mask)
        expected[0, 5 + pixels : 15 - pixels, 0 : 10 - pixels] = True
        np.testing.assert_array_equal(quality.erode_masks(mask, pixels), expected)


def test_temporal_is_first_behind_the_actor_and_every_figure_is_in_the_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quality = module("prepare_quality")
    results = [
        quality.measure(quality.Case("generated", camera, 1, 12, SIZE, None))
        for camera in ("static", "zooming")
    ]
    for result in results:
        by_name = {
            name: result.figures["psnr", name, "true masks", "shown"]
            for name in (*quality.usable(), quality.CODED)
        }
        assert by_name["temporal"] > by_name["opencv"] + 3 > by_name["none"] + 6
        assert by_name[quality.CODED] > by_name["temporal"]
        assert 0 <= result.figures["iou",] <= 1
    swept = [key for key in results[0].figures if key[0] == "sweep"]
    assert len(swept) == 3 * len(quality.DILATIONS)
    assert not [key for key in results[1].figures if key[0] == "sweep"]
    quality.print_tables(results, markdown=True)
    shown = capsys.readouterr().out
    for result in results:
        for key, value in result.figures.items():
            assert f"{value:.{3 if key == ('iou',) else 2}f} ± 0.00" in shown
    assert "| 0.03 *" in shown


def test_figures_belong_to_the_masks_and_pixels_of_their_names() -> None:
    from compositing.inpainters import make_inpainter
    from compositing.masks import dilate_masks

    quality, scenes = module("prepare_quality"), module("scenes")
    clip = scenes.film(block_stage(2.0), "static", 6, 0)
    noise = np.random.default_rng(0).integers(0, 256, clip.frames.shape, np.uint8)
    clip = replace(clip, frames=np.where(clip.mask[..., None], clip.frames, noise))
    found = np.roll(clip.mask, 3, axis=2)
    figures = quality.measure_inpainters(clip, found, 0.05) | quality.sweep_dilation(clip, found)

    def expected(name: str, mask: Any, share: float, where: Any) -> float:
        background = make_inpainter(name)(clip.frames, dilate_masks(mask, share)).frames
        return float(quality.psnr(background, clip.background, where))

    masks = {"true masks": clip.mask, "motion": found}
    for name, mask in masks.items():
        for pixels, where in (("all", clip.mask), ("shown", clip.mask & clip.shown)):
            assert figures["psnr", "opencv", name, pixels] == expected("opencv", mask, 0.05, where)
    masks = {"motion": found, "-1 px": quality.erode_masks(clip.mask, 1)}
    masks["-2 px"] = quality.erode_masks(clip.mask, 2)
    around = dilate_masks(clip.mask, 0.08)
    for name, mask in masks.items():
        for share in (0.0, 0.05):
            value = figures["sweep", name, f"{share:g}"]
            assert value == expected("temporal", mask, share, around)
    assert len(set(figures.values())) > 12


def test_a_lost_clip_leaves_a_dash_and_not_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    quality = module("prepare_quality")
    case = quality.Case("generated", "static", 0, 8, SIZE, None)
    quality.print_tables([quality.Measured(case)], markdown=False)
    assert "motion" in capsys.readouterr().out


def test_summaries_leave_out_what_is_not_finite() -> None:
    summary = module("prepare_quality").summary
    assert summary([1.0, 3.0, math.nan, math.inf], 1) == "2.0 ± 1.0"
    assert summary([math.nan], 2) == "-"


def test_tables_align_and_markdown_has_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    tables = module("tables")
    rows = [["a", "1.0"], ["long name", "10.25"]]
    tables.print_table("Title", ["what", "fps"], rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Title"
    assert lines[3:] == ["what         fps", "a            1.0", "long name  10.25"]
    tables.print_table("Title", ["what", "fps"], rows, markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == ["| what      |   fps |", "| --------- | ----: |"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from l2a.demo.generate import generate_demo

    root = tmp_path_factory.mktemp("data")
    generate_demo(root, per_class_train=1, per_class_test=1, num_frames=8, size=(48, 64))
    return root


def test_every_stage_is_timed_over_all_frames(data: Path) -> None:
    from compositing.settings import PrepareSettings

    speed = module("prepare_speed")
    videos = speed.list_videos(data, 3)
    assert len({video.label for video in videos}) == 3
    how = PrepareSettings()
    seconds, frames = speed.run_stages(videos, how, ["motion"], ["temporal", "opencv"])
    assert frames == 24
    assert list(seconds) == [
        "decode", "segment, motion", "mask refinement", "inpaint, temporal", "inpaint, opencv",
        "encode background",
    ]  # fmt: skip
    assert min(seconds.values()) > 0


def test_every_video_is_the_foreground_of_its_pairs_and_never_its_own_background(
    data: Path,
) -> None:
    speed = module("prepare_speed")
    videos = speed.list_videos(data, 4)
    pairs = speed.pairs_of(videos, 5)
    assert list(pairs) == videos
    for video, backgrounds in pairs.items():
        assert len(backgrounds) == 5
        assert set(backgrounds) == set(videos) - {video}


def test_both_ways_of_making_pairs_segment_and_inpaint_as_often_as_they_say(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compositing.inpainters.temporal import TemporalInpainter
    from compositing.segmenters.motion import MotionSegmenter
    from compositing.settings import PrepareSettings

    speed = module("prepare_speed")
    calls = {"segment": 0, "inpaint": 0}

    def counted(kind: type, name: str) -> None:
        original = kind.__call__

        def call(self: Any, *arguments: Any) -> Any:
            calls[name] += 1
            return original(self, *arguments)

        monkeypatch.setattr(kind, "__call__", call)

    counted(MotionSegmenter, "segment")
    counted(TemporalInpainter, "inpaint")
    videos = speed.list_videos(data, 3)
    ours = speed.our_way(videos, PrepareSettings(), 4)
    assert calls["segment"] == 3
    assert calls["inpaint"] <= 3
    calls |= {"segment": 0, "inpaint": 0}
    naive = speed.naive_way(videos, PrepareSettings(), 4)
    assert calls == {"segment": 6, "inpaint": 3}
    assert ours.keys() == naive.keys() == {"full size", "training size"}


def test_the_naive_way_counts_for_every_pair_and_ours_counts_the_preparation(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compositing.settings import PrepareSettings

    speed = module("prepare_speed")
    ticks = iter(range(1000))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))
    videos = speed.list_videos(data, 2)
    # Each timed block takes one tick: taking apart and compositing, for either video.
    naive = speed.naive_way(videos, PrepareSettings(), 10)
    assert set(naive.values()) == {10 * (2 + 2)}
    # And here to prepare once, and to make all pairs.
    ours = speed.our_way(videos, PrepareSettings(), 10)
    assert set(ours.values()) == {1 + 1}


def test_memory_is_measured_in_a_fresh_process(data: Path) -> None:
    own, largest = module("prepare_speed").peak_memory(data, 3, 2)
    assert 20 < own < 2000
    assert 20 < largest < 2000
    assert own != largest


def test_memory_is_measured_on_as_many_videos_as_it_says(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = module("prepare_speed")
    given: list[Any] = []
    monkeypatch.setattr(speed, "DIFFERENT", 2)
    monkeypatch.setattr(speed, "prepare", lambda videos, settings, workers: given.extend(videos))
    speed.report_own_memory(data, 5, 2)
    assert len({video.id for video in given}) == 5
    assert len({video.path for video in given}) == 2
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_folder_without_videos_is_answered_in_one_sentence(tmp_path: Path) -> None:
    from l2a.errors import InputError

    with pytest.raises(InputError, match="has not two videos"):
        module("prepare_speed").list_videos(tmp_path, 4)


def test_the_selector_benchmark_measures_each_arm_and_yardstick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learns = module("selector_learns")
    plot = tmp_path / "curves.png"
    words = ["selector_learns.py", "gaussian", "--seeds", "0", "1", "--steps", "60", "--every",
             "20", "--arms", "credit", "--out", str(tmp_path), "--plot", str(plot)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    learns.main()
    found = json.loads((tmp_path / "gaussian.json").read_text())
    assert set(found) == {"0", "1"}
    default, turned = found["0"]["credit (default)"], found["0"]["credit, sign turned"]
    assert [point[0] for point in default] == [0, 20, 40, 60]
    assert default[-1][2] > 0.9 > 0.5 > turned[-1][2]
    assert found["0"]["yardstick: label agreement"] > 0.9
    assert "| credit (default) | " in capsys.readouterr().out
    assert plot.stat().st_size > 10_000


def test_the_table_of_what_helps_compares_seed_by_seed() -> None:
    helps = module("what_helps")
    results = [{"none": 0.2, "matched, mixed": 0.3}, {"none": 0.4, "matched, mixed": 0.44}]
    text = helps.table(results, 100)
    assert "| none | 30.0 % | 14.1 |  | 20.0 40.0 |" in text
    # Gains 10 and 4: mean 7, standard deviation 4.24, over the root of 2.
    assert "| matched, mixed | 37.0 % | 9.9 | +7.0 ± 3.0 (1 s.e.) | 30.0 44.0 |" in text
    assert "±4.6 (100 test clips)" in text  # the root of 0.3 · 0.7 / 100


def test_what_helps_goes_on_with_the_same_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished arm of fewer epochs is no result of more."""
    helps = module("what_helps")

    class Reached(Exception):
        pass

    def read(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(helps, "open_data", read)
    given = {
        "data": tmp_path, "out": tmp_path / "out", "layers": None, "segmenter": "motion",
        "epochs": 2, "composites": 4, "budget": 9,
    }  # fmt: skip
    for change in ({}, {}, {"epochs": 3}, {"budget": 8}):
        refused = pytest.raises(InputError, match="and not") if change else pytest.raises(Reached)
        with refused:
            helps.one_seed(0, Namespace(**(given | change)))


def test_both_ways_from_detections_to_instances_agree_and_are_timed() -> None:
    speed = module("detection_speed")
    milliseconds = speed.measure(3, 12, (48, 64))
    assert set(speed.WORKER) < set(milliseconds)
    assert min(milliseconds.values()) > 0
