"""Previews: which few videos and pairs are shown, that they are good to look at, and reuse."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_data import CLASSES, write_tiny

from compositing.composite import make_composite
from compositing.making import LayerMaker
from compositing.pictures import WARNING, draw_contact_sheet, font, truncated, why_unfit, wrapped
from compositing.preview import (
    SHEET,
    VIDEOS,
    PairLook,
    best_pairs,
    every_blend,
    pick_evenly_by_class,
    preview_layers,
    preview_lines,
    preview_pairs,
)
from compositing.records import LayerRecord, Layers, PrepareReport
from compositing.settings import CompositeSettings, PrepareSettings
from compositing.strips import Composited, draw_table, middle_frame, side_by_side
from l2a.cli import main
from l2a.errors import InputError, L2AError
from l2a.formats import DataSettings, read_videos
from l2a.media import read_frames
from l2a.pairs import ScoredPair, read_pairs, write_pairs
from l2a.videos import Skipped, Video, VideoSet

TINY = PrepareSettings(min_gamma=0.005, max_unseen=1.0)
SETTINGS = {"min_gamma": 0.005, "max_unseen": 1.0}
WORDS = ["--workers", "1"]
PAIRS = (("ClimbStairs", "JumpRope"), ("ClimbStairs", "WaveHand"), ("JumpRope", "WaveHand"))
HEIGHT, WIDTH = 240, 320  # of tiny videos, 48 x 64, in a clip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with ten training videos each, of which a fifth goes to validation."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data", train_groups=5)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


def prepare(data: Path, out: Path, config: Path, *more: str) -> int:
    return main(["prepare", str(data), "--out", str(out), "--config", str(config), *WORDS, *more])


@pytest.fixture(scope="module")
def looked(data: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert prepare(data, out, config, "--preview") == 0
    return out


def pairs_of(data: Path) -> list[ScoredPair]:
    """Two pairs of the first class, one of the second, best first."""
    by_class: dict[str, list[str]] = {}
    for video in read_videos(data, DataSettings()).of_split("train"):
        by_class.setdefault(video.label, []).append(video.id)
    return [
        ScoredPair(by_class[a][i], by_class[b][i], 0.9 - 0.1 * i, 2.0 - i, a, b)
        for i, (a, b) in enumerate(PAIRS)
    ]


@pytest.fixture
def pairs(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "chosen" / "pairs.parquet"
    meta = {"seed": 3, "selection": "selector", "settings": SETTINGS | {"dilate": 0.05}}
    write_pairs(path, pairs_of(data), meta)
    return path


def preview(data: Path, out: Path, pairs: Path, *more: str) -> int:
    return main(["preview", str(data), "--out", str(out), "--pairs", str(pairs), *WORDS, *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".mp4")
    }


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("l2a: ")
    assert message.endswith(".")
    return message


def test_the_settings_of_pairs_hold_where_a_file_names_the_pairs(
    data: Path, pairs: Path, tmp_path: Path
) -> None:
    """As with `--pairs`: nothing silently falls back to a default."""
    settings = read_pairs(pairs)[1]["settings"]
    assert settings  # the pairs say how they were chosen
    config = tmp_path / "preview.yaml"
    config.write_text(f"preview:\n  pairs: {pairs}\n")
    words = ["preview", str(data), "--config", str(config), "--out", str(tmp_path / "a"), *WORDS]
    assert main(words) == 0
    assert preview(data, tmp_path / "b", pairs) == 0
    records = [yaml.safe_load((tmp_path / name / "run.yaml").read_text()) for name in "ab"]
    ours, theirs = (record["settings"] for record in records)
    assert {key for key in ours if ours[key] != theirs[key]} <= {"out"}
    assert all(ours[key] == value for key, value in settings.items() if key != "segmenter")


# Which few


def a_video(label: str, number: int) -> Video:
    name = f"{label}/{number:03}.mp4"
    return Video(name, Path("/nowhere") / name, label, f"g{number}", "train")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 15))
def test_the_few_are_as_even_over_the_classes_as_there_are_videos(
    sizes: list[int], count: int
) -> None:
    videos = [a_video(f"c{i:02}", n) for i, size in enumerate(sizes) for n in range(size)]
    few = pick_evenly_by_class(videos[::-1], count)
    assert few == pick_evenly_by_class(videos, count)
    assert len(few) == len({video.id for video in few}) == min(count, len(videos))
    shares = Counter(video.label for video in few)
    if len(sizes) > count:
        assert set(shares.values()) == {1}
        return
    for i, size in enumerate(sizes):
        share = shares[f"c{i:02}"]
        assert share == size or share >= max(shares.values()) - 1


def test_the_few_lie_in_the_middle_of_equal_parts() -> None:
    videos = [a_video("run", n) for n in range(10)]
    assert [video.id for video in pick_evenly_by_class(videos, 2)] == ["run/002.mp4", "run/007.mp4"]
    classes = [a_video(f"c{n}", 0) for n in range(9)]
    assert [video.label for video in pick_evenly_by_class(classes, 3)] == ["c1", "c4", "c7"]
    assert pick_evenly_by_class([], 3) == []


def a_pair(foreground: str, background: str) -> ScoredPair:
    return ScoredPair(f"{foreground}/a", f"{background}/b", 0.5, 0.0, foreground, background)


def test_the_best_of_each_foreground_class_come_before_any_second_best() -> None:
    rows = [a_pair(*name.split("-")) for name in ("a-x", "a-y", "b-x", "a-z", "b-y", "c-x")]
    chosen = best_pairs(rows, 5)
    names = [f"{row.foreground_class}-{row.background_class}" for row in chosen]
    assert names == ["a-x", "b-x", "c-x", "a-y", "b-y"]
    assert len(best_pairs(rows, 99)) == 6


def test_every_blend_changes_the_blend_alone() -> None:
    own = CompositeSettings(blend="feather", match_colour=0.4, alpha=2.0, shift=0.1)
    ways = every_blend(own)
    assert [(way.blend, way.match_colour) for way in ways.values()] == [
        ("paste", 0.0), ("feather", 0.0), ("poisson", 0.0), ("feather", 0.4),
    ]  # fmt: skip
    assert {replace(way, blend="paste", match_colour=0.0) for way in ways.values()} == {
        CompositeSettings(alpha=2.0, shift=0.1)
    }
    assert list(every_blend(CompositeSettings()).values())[-1].match_colour == 0.5


# `l2a prepare --preview`


def test_only_a_dozen_videos_are_prepared_and_all_are_shown(looked: Path) -> None:
    assert VIDEOS == 12
    assert len(list((looked / "layers" / "records").iterdir())) == 12
    clips = sorted(path.name for path in (looked / "preview").glob("*.mp4"))
    assert clips == [f"{n + 1:02}-{CLASSES[n // 4]}.mp4" for n in range(12)]
    for name in clips:
        assert decoded(looked / "preview" / name).shape == (12, HEIGHT, 2 * WIDTH + 6, 3)
    sheet = Image.open(looked / "contact_sheet.png")
    picture = SHEET["height"]
    assert sheet.size[0] == 6 + 6 * (round(picture * 4 / 3) + 6)
    assert sheet.size[1] >= 28 + 12 * (picture + 22)
    assert Image.open(looked / "preview" / "index.png").size == (3 * 344 - 6, 4 * 164 + 6)


def test_a_preview_is_the_beginning_of_the_whole(
    looked: Path, data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(looked, out)
    assert "preview" not in yaml.safe_load((out / "run.yaml").read_text())["settings"]
    # Nor does a folder whose settings are fixed take it for another one.
    kept = yaml.safe_load((out / "run.yaml").read_text()) | {"fixed": True}
    kept["settings"]["out"] = str(out)
    (out / "run.yaml").write_text(yaml.safe_dump(kept))
    assert prepare(data, out, config) == 0
    assert "layers: 12 made, 12 reused" in capsys.readouterr().err
    assert prepare(data, out, config, "--preview") == 0
    assert "no time to estimate" in capsys.readouterr().out
    assert contents(out / "preview") == contents(looked / "preview")


def test_the_same_preview_has_the_same_bytes_with_any_number_of_workers(
    looked: Path, data: Path, config: Path, tmp_path: Path
) -> None:
    assert prepare(data, tmp_path / "run", config, "--preview", "--workers", "2") == 0
    first = contents(looked)
    assert len([name for name in first if not name.startswith("layers")]) == 14
    assert contents(tmp_path / "run") == first


def test_what_is_unfit_is_printed_listed_and_marked_in_red(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SETTINGS | {"min_gamma": 0.69}))
    out = tmp_path / "run"
    assert prepare(data, out, tmp_path / "c.yaml", "--preview") == 0
    shown = capsys.readouterr().out
    assert "the mask covers only" in shown
    assert "0 fit as foreground" in shown
    assert (out / "unfit.csv").is_file()
    for picture in (out / "contact_sheet.png", out / "preview" / "index.png"):
        assert (np.asarray(Image.open(picture)) == WARNING).all(axis=2).sum() > 50


def test_an_unreadable_video_is_skipped_with_its_reason(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_tiny(tmp_path / "data", train_groups=2), tmp_path / "run"
    for path in (data / "videos" / "JumpRope").iterdir():
        path.write_bytes(b"")
    assert prepare(data, out, config, "--preview") == 0
    shown = capsys.readouterr().out
    assert "JumpRope_g02_c01.mp4: skipped: the file is empty" in shown
    assert "these are all the training videos" in shown
    assert not list((out / "preview").glob("*JumpRope*"))
    assert "v_JumpRope_g02_c01.mp4" in (out / "skipped.csv").read_text()


def test_clips_of_an_earlier_preview_do_not_stay(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "preview"
    folder.mkdir()
    for name in ("13-gone.mp4", "01-other.mp4", "mine.mp4"):
        (folder / name).write_bytes(b"x")
    store = LayerMaker(tmp_path / "layers", TINY)
    videos = read_videos(data, DataSettings()).of_split("train")[:2]
    done = preview_layers(store, videos, tmp_path / "sheet.png", folder)
    assert {path.name for path in folder.glob("*.mp4")} == {
        "01-ClimbStairs.mp4", "02-ClimbStairs.mp4", "mine.mp4",
    }  # fmt: skip
    assert [clip.name for clip in done.clips] == ["01-ClimbStairs.mp4", "02-ClimbStairs.mp4"]


def test_the_first_fit_video_stands_for_its_class_on_the_sheet_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.records import draw_sheet

    videos = tuple(a_video(label, n) for label in ("a", "b", "c") for n in range(4))
    flaws = {"a/000": ("small", ""), "a/001": ("", "made up"), "c/000": ("", "made up"),
             **{f"b/00{n}": ("small", "made up") for n in range(4)}}  # fmt: skip
    records = {v.id: a_record(0, *flaws.get(v.id[:5], ("", ""))) for v in videos}
    del records["c/001.mp4"]  # could not be read
    seen: dict[str, Any] = {}

    def draw(path: Path, layers: Iterable[str], *, unfit: dict[str, str], **look: int) -> None:
        seen.update(shown=list(layers), unfit=unfit)

    class Store:
        def load(self, video: Video) -> str:
            return video.id

    monkeypatch.setattr("train.records.draw_contact_sheet", draw)
    every = VideoSet(tmp_path, "folder", ("a", "b", "c"), videos)
    draw_sheet(tmp_path / "sheet.png", cast(LayerMaker, Store()), every, records)
    assert seen["shown"] == ["a/002.mp4", "b/000.mp4", "c/002.mp4"]
    assert "small" in seen["unfit"]["b/000.mp4"]
    assert seen["unfit"]["a/002.mp4"] == ""


def a_record(number: int, foreground: str = "", background: str = "") -> LayerRecord:
    return LayerRecord(
        f"{number}", 9, 8, 8, 9.0, 0.1, 1.0, 0.1, 0.1, foreground, background, "s", "i", "", "", ""
    )


def test_the_estimate_is_time_for_each_video_as_it_ran() -> None:
    from compositing.preview import LayerPreview

    report = PrepareReport(
        (a_record(0), a_record(1, "mask too small: x"), a_record(2, "", "b: y")),
        (Skipped("3", "the file is empty"),), made=1, reused=2,
    )  # fmt: skip
    lines = preview_lines(LayerPreview(report, 6.0, (), None), 400)
    assert lines == [
        "3: skipped: the file is empty",
        "1: unfit as foreground: mask too small: x",
        "2: unfit as background: b: y",
        "4 of 400 training videos: 2 fit as foreground, 2 as background, 1 skipped",
        "all 400 would take at most about 20 minutes, at 3.0 s a video as it ran here",
    ]
    for videos, words in ((30, "90 seconds"), (40_000, "33 hours"), (2399, "120 minutes")):
        assert (
            f"at most about {words},"
            in preview_lines(LayerPreview(report, 6.0, (), None), videos)[-1]
        )


def test_a_reason_that_holds_for_both_sides_is_said_once() -> None:
    empty = "no mask in any frame: nothing"
    assert why_unfit(a_record(0, empty, f"{empty}, so that")) == f"unfit: {empty}, so that"
    assert why_unfit(a_record(0, "a", "b")) == "unfit as foreground: a; unfit as background: b"
    assert why_unfit(a_record(0)) == ""


# `l2a preview`


def test_the_best_pairs_are_drawn_and_filmed(
    data: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "look"
    assert preview(data, out, pairs, "--count", "2") == 0
    shown = capsys.readouterr().out
    assert str(out / "strip.png") in shown
    assert str(out / "clips") in shown
    names = ["01-ClimbStairs-on-JumpRope.mp4", "02-JumpRope-on-WaveHand.mp4"]
    assert sorted(path.name for path in (out / "clips").iterdir()) == names
    for name in names:
        assert decoded(out / "clips" / name).shape == (12, HEIGHT, 3 * WIDTH, 3)
    block = 24 + 2 * (110 + 6)
    assert Image.open(out / "strip.png").size == (6 + 5 * (147 + 6), 24 + 2 * block)
    assert not (out / "blends.png").exists()
    # Four videos were needed, and no more are prepared; under the settings of the pairs file.
    folder = tmp_path / "look-layers"
    assert len(list((folder / "records").iterdir())) == 4
    settings = yaml.safe_load((out / "run.yaml").read_text())["settings"]
    assert (settings["dilate"], settings["min_gamma"]) == (0.05, 0.005)


def test_a_clip_shows_foreground_background_and_the_composite_that_an_export_writes(
    data: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "look"
    words = ["--shift", "0.2", "--count", "1"]
    assert preview(data, out, pairs, *words) == 0
    videos = {video.id: video for video in read_videos(data, DataSettings()).videos}
    store = LayerMaker(tmp_path / "look-layers", replace(TINY, dilate=0.05))
    row = pairs_of(data)[0]
    foreground, background = (store.load(videos[id_]) for id_ in (row.foreground, row.background))
    made = make_composite(foreground, background, CompositeSettings(shift=0.2), seed=3)
    film = decoded(out / "clips" / "01-ClimbStairs-on-JumpRope.mp4")
    for column, frames in enumerate((foreground.frames, background.frames, made.frames)):
        shown = film[:, 2::5, column * WIDTH + 2 : (column + 1) * WIDTH : 5].astype(int)
        assert np.abs(shown - frames).mean() < 8, column


def test_every_blend_is_set_side_by_side(data: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "look"
    assert preview(data, out, pairs, "--every-blend", "--count", "2") == 0
    size = (96 + 2 * (200 + 6), 48 + 4 * (150 + 6))
    assert Image.open(out / "blends.png").size == size
    names = sorted(path.name for path in (out / "clips").iterdir())
    assert len(names) == 2 * 4
    assert names[:4] == [
        f"01-ClimbStairs-on-JumpRope.{way}.mp4"
        for way in ("feather", "feather_colours_matched", "paste", "poisson")
    ]
    first = contents(out)
    assert preview(data, out, pairs, "--every-blend", "--count", "2", "--workers", "2") == 0
    assert contents(out) == first
    # Another look in the same folder leaves nothing of the last one, and reuses the layers.
    assert preview(data, out, pairs, "--count", "1", "--blend", "feather") == 0
    assert set(contents(out)) == {"strip.png", "clips/01-ClimbStairs-on-JumpRope.mp4"}


def test_a_blend_of_ones_own_is_shown_beside_the_standard_ones(
    data: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "look"
    words = ["--blend", "paste", "--match-colour", "0.5", "--every-blend", "--count", "1"]
    assert preview(data, out, pairs, *words) == 0
    assert len(list((out / "clips").iterdir())) == 5
    assert Image.open(out / "blends.png").size[1] == 48 + 4 * 156


def test_layers_beside_the_pairs_file_are_used(
    data: Path, config: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = pairs.parent / "layers"
    assert preview(data, tmp_path / "one", pairs, "--layers", str(beside)) == 0
    capsys.readouterr()
    assert preview(data, tmp_path / "two", pairs, "--count", "9") == 0
    assert len(list((tmp_path / "two" / "clips").iterdir())) == 3  # all there are
    assert "layers: 0 made, 6 reused" in capsys.readouterr().err
    assert not (tmp_path / "two-layers").exists()


def test_the_layers_of_the_run_that_chose_the_pairs_are_found(
    data: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where its --layers named them, as seen from where the commands are called."""
    store = tmp_path / "look" / "layers"
    assert preview(data, tmp_path / "one", pairs, "--layers", str(store)) == 0
    round_ = pairs.parent / "rounds" / "1" / pairs.name
    round_.parent.mkdir(parents=True)
    round_.write_bytes(pairs.read_bytes())
    named = os.path.relpath(store)
    for name, text in (
        ("run.yaml", f"command: train\nfixed: true\nsettings: {{layers: '{named}'}}\n"),
        ("stages.json", "{}"),
    ):
        (pairs.parent / name).write_text(text)
    (pairs.parent / "layers").mkdir()
    for number, path in enumerate((pairs, round_)):
        capsys.readouterr()
        assert preview(data, tmp_path / f"more{number}", path) == 0
        assert "layers: 0 made, 6 reused" in capsys.readouterr().err
        assert not (tmp_path / f"more{number}-layers").exists()


def test_placements_follow_from_the_seed_of_the_pairs_unless_another_is_given(
    data: Path, pairs: Path, tmp_path: Path
) -> None:
    words = ["--shift", "0.5", "--count", "1", "--layers", str(tmp_path / "layers")]
    seeds = {"none": (), "same": ("--seed", "3"), "other": ("--seed", "4")}
    for name, seed in seeds.items():
        assert preview(data, tmp_path / name, pairs, *words, *seed) == 0
    found = {name: contents(tmp_path / name) for name in seeds}
    assert found["none"] == found["same"]
    assert found["none"].keys() == found["other"].keys()
    assert all(found["none"][name] != found["other"][name] for name in found["none"])


def test_a_video_that_cannot_be_read_costs_its_pairs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    rows = pairs_of(copy)
    write_pairs(tmp_path / "p.parquet", rows, {"settings": SETTINGS})
    (copy / rows[0].background).write_bytes(b"")
    assert preview(copy, tmp_path / "look", tmp_path / "p.parquet") == 0
    assert "the file is empty" in capsys.readouterr().err
    assert len(list((tmp_path / "look" / "clips").iterdir())) == 2
    for row in rows:
        (copy / row.background).write_bytes(b"")
    assert preview(copy, tmp_path / "none", tmp_path / "p.parquet") == 1
    assert "No pair could be made" in capsys.readouterr().err


def test_a_video_that_goes_between_preparing_and_drawing_costs_its_pairs(
    data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    videos = {video.id: video for video in read_videos(copy, DataSettings()).of_split("train")}
    rows = pairs_of(copy)[1:]
    store = LayerMaker(tmp_path / "layers", TINY)
    store.prepare([videos[id_] for row in rows for id_ in (row.foreground, row.background)])
    videos[rows[0].background].path.unlink()
    look = PairLook(CompositeSettings(), {})
    done = preview_pairs(rows, videos, store, tmp_path / "look", look)
    assert len(done.clips) == 1
    (sentence,) = done.skipped
    assert rows[0].background in sentence
    assert "not there any more" in sentence
    with pytest.raises(L2AError, match="not there any more"):
        preview_pairs(rows[:1], videos, store, tmp_path / "look", look)


def test_the_omega_of_random_pairs_is_not_shown(data: Path, tmp_path: Path) -> None:
    """They have the ω 0.5 by convention, which would look as if a Selector had doubted them."""
    strips = []
    for selection in ("random", "selector"):
        path = tmp_path / selection / "pairs.parquet"
        write_pairs(path, pairs_of(data), {"settings": SETTINGS, "selection": selection})
        words = ["--count", "1", "--layers", str(tmp_path / "layers")]
        assert preview(data, tmp_path / f"look {selection}", path, *words) == 0
        title = np.asarray(Image.open(tmp_path / f"look {selection}" / "strip.png"))[24:48]
        strips.append(int((title.min(axis=(0, 2)) < 128).nonzero()[0].max()))
    assert strips[0] < strips[1]


def test_mistakes_are_answered_with_one_sentence_before_anything_is_written(
    data: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "look"
    words = ["preview", str(data), "--out", str(out)]
    assert "needs --pairs" in refused(words, capsys)
    given = [*words, "--pairs", str(pairs)]
    assert "count is 0" in refused([*given, "--count", "0"], capsys)
    assert "gone.parquet" in refused([*words, "--pairs", "gone.parquet"], capsys)
    (tmp_path / "no.parquet").write_text("no")
    assert "cannot be read" in refused([*words, "--pairs", str(tmp_path / "no.parquet")], capsys)
    write_pairs(tmp_path / "empty.parquet", [], {})
    assert "holds no pairs" in refused([*words, f"--pairs={tmp_path / 'empty.parquet'}"], capsys)
    other = write_tiny(tmp_path / "other", ("Dance", "JumpRope"), train_groups=2)
    wrong = ["preview", str(other), "--out", str(out), "--pairs", str(pairs)]
    assert "not a training video of" in refused(wrong, capsys)
    assert "no segmenter" in refused([*given, "--segmenter", "yolo"], capsys)
    assert not out.exists()
    assert not (tmp_path / "look-layers").exists()


def test_a_folder_that_holds_something_else_is_refused(
    data: Path, pairs: Path, looked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    words = ["preview", str(data), "--pairs", str(pairs), "--out"]
    assert "not empty" in refused([*words, str(tmp_path / "mine")], capsys)
    assert "`l2a prepare`" in refused([*words, str(looked)], capsys)


# Pictures


def grey_layers(number: int, size: tuple[int, int], fps: float = 4.0, count: int = 4) -> Layers:
    frames = np.full((count, *size, 3), 90, np.uint8)
    mask = np.zeros((count, *size), np.bool_)
    return Layers(a_video("run_far", number), frames, mask, frames, np.arange(count) / fps, fps)


def test_the_sheet_has_a_line_in_red_under_an_unfit_video_alone(tmp_path: Path) -> None:
    layers = [grey_layers(n, (40, 60)) for n in range(3)]
    unfit = {layers[1].video.id: "unfit: no mask", layers[0].video.id: ""}
    path = tmp_path / "sheet.png"
    draw_contact_sheet(path, iter(layers), unfit=unfit, moments=2, height=40)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (28 + 3 * (40 + 22) + 16, 6 + 6 * 66, 3)
    red = ((sheet == WARNING).all(axis=2)).any(axis=1).nonzero()[0]
    assert 28 + 62 + 56 <= red.min() <= red.max() < 28 + 62 + 56 + 16 + 6
    assert (sheet[28 + 2 * 62 + 16 + 16 + 1, 10] == 90).all()


def test_pictures_of_any_shape_keep_it_and_stand_in_the_middle(tmp_path: Path) -> None:
    shapes = ((40, 60), (60, 20), (10, 100))
    layers = [grey_layers(n, size) for n, size in enumerate(shapes)]
    draw_contact_sheet(tmp_path / "s.png", layers, moments=1, height=45)
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    width = 80  # 16:9
    for number, (height, wide) in enumerate(((45, 68), (45, 15), (8, 80))):
        top = 28 + number * (45 + 22) + 16
        cell = (sheet[top : top + 45, 6 : 6 + width] == 90).all(axis=2)
        rows, columns = cell.any(axis=1).nonzero()[0], cell.any(axis=0).nonzero()[0]
        assert (len(rows), len(columns)) == (height, wide)
        assert abs(rows.min() + rows.max() - 44) <= 1
        assert abs(columns.min() + columns.max() - width + 1) <= 1


def test_a_table_of_many_pairs_goes_on_below(tmp_path: Path) -> None:
    cells = [[np.full((20, 30, 3), 10 * i + row, np.uint8) for row in range(2)] for i in range(8)]
    titles = [("walking_a_dog_in_the_park", "run")] * 8
    draw_table(tmp_path / "t.png", ["paste", "feather"], titles, cells)
    sheet = np.asarray(Image.open(tmp_path / "t.png"))
    assert sheet.shape == (2 * (48 + 2 * 26), 96 + 6 * 36, 3)
    for i in range(8):
        for row in range(2):
            at = (100 * (i // 6) + 48 + 26 * row + 10, 96 + 36 * (i % 6) + 15)
            assert sheet[at].tolist() == [10 * i + row] * 3
        title = (100 * (i // 6), 96 + 36 * (i % 6))
        for line in (24, 48):  # foreground above, background below
            written = sheet[title[0] + line - 18 : title[0] + line, title[1] : title[1] + 30]
            assert written.min() < 100


def test_the_middle_of_a_composite_is_one_where_the_actor_is_seen() -> None:
    foreground = grey_layers(0, (30, 40), count=9)
    foreground.frames[:] = np.arange(9, dtype=np.uint8)[:, None, None, None]
    for moments, wanted in (([4], 4), ([0, 2, 8], 2), ([7], 7), ([], 4), (range(9), 4)):
        mask = np.zeros_like(foreground.mask)
        mask[list(moments)] = True
        layers = replace(foreground, mask=mask, background=foreground.frames)
        composite = make_composite(layers, layers, CompositeSettings())
        assert (middle_frame(Composited(layers, layers, composite), height=15) == wanted).all(), (
            moments
        )


def test_long_clips_show_four_seconds_of_the_middle(tmp_path: Path) -> None:
    from compositing.preview import _write_layers

    for fps, count, shown in ((4.0, 90, 32), (30.0, 300, 120), (30.0, 40, 40), (4.0, 1, 1)):
        one = grey_layers(0, (24, 6), fps, count)
        one.frames[:] = (np.arange(count) % 250)[:, None, None, None]
        _write_layers(tmp_path / "c.mp4", one)
        read = read_frames(tmp_path / "c.mp4")
        assert len(read.frames) == shown
        middle_ = read.frames[:, 100, 100, 0].mean()
        assert abs(middle_ - ((np.arange(count) % 250)[(count - shown) // 2 :][:shown]).mean()) < 3
        if count > 1:
            assert read.fps == pytest.approx(max(fps, 8.0), rel=0.01)


def test_a_clip_of_a_changing_rate_plays_at_a_constant_one(tmp_path: Path) -> None:
    from compositing.preview import _write_layers

    one = grey_layers(0, (24, 6), 4.0, 16)
    one.frames[:] = np.arange(0, 160, 10, dtype=np.uint8)[:, None, None, None]
    # Eight frames a second apart, then eight a tenth apart: 16 frames over 7.8 seconds.
    times = np.concatenate([np.arange(8), 7.1 + np.arange(8) / 10])
    _write_layers(tmp_path / "c.mp4", replace(one, times=times, fps=15 / 7.8))
    grey = read_frames(tmp_path / "c.mp4").frames[:, 100, 100, 0] / 10
    nearest = [np.abs(times - moment).argmin() for moment in np.linspace(0, 7.8, 16)]
    assert np.abs(grey - nearest).max() < 0.3


def test_a_clip_shows_the_background_of_the_same_moment() -> None:
    foreground = grey_layers(0, (24, 32), count=7)
    background = grey_layers(1, (24, 32), count=3)
    background.frames[:] = np.array([10, 20, 30], np.uint8)[:, None, None, None]
    composite = make_composite(foreground, background, CompositeSettings())
    film = side_by_side(Composited(foreground, background, composite), height=24)
    assert film[:, 12, 48, 0].tolist() == [10, 20, 30, 20, 10, 20, 30]
    assert film[:, 12, 80, 0].tolist() == composite.frames[:, 12, 16, 0].tolist()


@given(st.text(), st.integers(0, 200))
def test_any_name_can_be_drawn_and_stays_within_its_width(text: str, width: int) -> None:
    face = font(12)
    for line in (truncated(text, face, width), *wrapped(text, face, width)):
        assert line == "…" or face.getlength(line) <= width


def test_a_name_of_bytes_that_are_no_characters_can_be_drawn() -> None:
    assert truncated("a\udcff\nb", font(12), 99) == "a? b"
    assert wrapped("one two  three", font(12), font(12).getlength("one two")) == [
        "one two",
        "three",
    ]


def test_count_is_checked_where_it_is_set() -> None:
    from l2a.options import PreviewSettings

    with pytest.raises(InputError, match="count is -1"):
        PreviewSettings(count=-1)


@pytest.mark.clips
def test_the_sheet_of_real_clips_is_small_enough_for_a_page(
    clips_root: Path, tmp_path: Path
) -> None:
    data = clips_root / "jhmdb12"
    words = ["prepare", str(data), "--out", str(tmp_path / "run"), "--preview",
             "--segmenter", f"masks:{data / 'masks'}", "--inpainter", "none"]  # fmt: skip
    assert main(words) == 0
    clips = sorted((tmp_path / "run" / "preview").glob("*.mp4"))
    assert len({clip.name[3:] for clip in clips}) == 12
    for picture in ("contact_sheet.png", "preview/index.png"):
        assert (tmp_path / "run" / picture).stat().st_size < 1_500_000
