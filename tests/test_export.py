"""The exported data set: what other programs read, and what a second call does."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_export import (
    CLASSES,
    IDS,
    META,
    ROWS,
    VIDEOS,
    FakeStore,
    export,
    pair,
    table,
    tree,
)

from compositing.clipfolder import (
    clip_name,
)
from compositing.clipmaking import cut, scaled_down
from compositing.composite import make_composite
from compositing.engines.local import LocalEngine
from compositing.export import Material
from compositing.forecast import forecast_export
from compositing.layers import Layers
from compositing.making import LayerMaker
from compositing.placement import Placement, placement_of_pair
from compositing.records import Foreground, LayerRecord
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.errors import InputError, L2AError
from l2a.media import read_frames, write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video


def made_when(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    return out, export(out)


def test_the_report_counts(exported):
    out, report = exported
    assert (report.folder, report.made, report.reused, report.skipped) == (out, 4, 0, ())


def test_the_folder_holds_what_it_says(exported):
    out, _ = exported
    names = set(tree(out))
    assert (out / "metadata.parquet").read_bytes() == (out / "manifest.parquet").read_bytes()
    assert {"manifest.parquet", "classes.txt", "README.md", ".export/settings.json"} <= names
    assert len(names) == 6 + 2 * len(ROWS)
    assert (out / "classes.txt").read_text("utf-8").splitlines() == list(CLASSES)
    card = (out / "README.md").read_text("utf-8")
    assert "hmdb51" in card and "licence" in card and "4 clips" in card


def test_each_row_describes_its_file(exported):
    out, _ = exported
    rows = table(out)
    assert [(r["foreground"], r["background"], r["omega"]) for r in rows] == [
        (p.foreground, p.background, p.omega) for p in ROWS
    ]
    for row in rows:
        clip = read_frames(out / row["file_name"])
        assert clip.frames.shape == (row["num_frames"], row["height"], row["width"], 3)
        assert (row["num_frames"], row["height"], row["width"]) == (5, 34, 48)
        assert clip.fps == pytest.approx(row["fps"]) == 30
        grey = 20 * IDS.index(row["foreground"]) + 1
        assert clip.frames[:, :, :8].mean() == pytest.approx(grey, abs=3)
        assert row["seed"] == 3


def test_labels_are_those_of_eq_7_and_8(exported):
    out, _ = exported
    lam = 1 - (1 - 11 / 47) ** 4
    for row in table(out):
        label, other = (CLASSES.index(row[key]) for key in ("label", "background_class"))
        assert row["label_index"] == label != other
        expected = np.zeros(4)
        expected[[label, other]] = lam, 1 - lam
        np.testing.assert_allclose(row["soft_label"], expected, rtol=1e-6)
        assert row["gamma"] == pytest.approx(11 / 47)
        assert row["lam"] == pytest.approx(lam)


def test_two_videos_of_one_class_give_one_whole_label(tmp_path):
    export(tmp_path / "out", [pair(2, 3)])
    assert table(tmp_path / "out")[0]["soft_label"] == [0, 1, 0, 0]


def test_names_are_plain_and_split_words_are_hidden(exported):
    out, _ = exported
    for path in (out / "videos").iterdir():
        assert re.fullmatch(r"[A-Za-z0-9]+_on_[A-Za-z0-9]+-[0-9a-f]{16}\.mp4", path.name)
    assert any(path.name.startswith("TrainingDog_on_Test-") for path in (out / "videos").iterdir())


def test_a_name_follows_from_both_videos_and_the_settings():
    rows = (pair(0, 2), pair(0, 3), pair(1, 2), pair(2, 0))
    names = {clip_name(row, settings) for row in rows for settings in ("one", "two")}
    assert len(names) == 8
    assert clip_name(pair(0, 2, omega=0.1), "one") == clip_name(pair(0, 2, omega=0.9), "one")
    # Both names fit into a file's 255 bytes, and one without a plain letter is a name, too.
    long = replace(pair(0, 2), foreground_class="very " * 60, background_class="走る")
    assert re.fullmatch(r"(Very){10}_on_Class-[0-9a-f]{16}", clip_name(long, "one"))


def test_no_column_is_taken_for_a_video(exported):
    out, _ = exported
    names = pq.read_schema(out / "metadata.parquet").names
    assert [name for name in names if name.endswith("file_name")] == ["file_name"]


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("how", ["videofolder", "path"])
def test_hugging_face_reads_it_whole(tmp_path, monkeypatch, how, count):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out = tmp_path / "out"
    export(out, ROWS[:count])
    named = {"path": str(out)} if how == "path" else {"path": how, "data_dir": str(out)}
    splits = datasets.load_dataset(**named, cache_dir=str(tmp_path / "cache"))
    assert list(splits) == ["train"]
    data = splits["train"].cast_column("video", datasets.Video(decode=False))
    assert len(data) == count
    for got, row in zip(data, table(out), strict=True):
        assert Path(got["video"]["path"]) == out / row.pop("file_name")
        assert Path(got.pop("video")["path"]).is_file()
        assert got == row


def test_the_same_call_makes_nothing(exported):
    out, _ = exported
    before, when = tree(out), made_when(out)
    report = export(out)
    assert (report.made, report.reused) == (0, 4)
    assert tree(out) == before
    assert made_when(out) == when


def test_two_workers_give_the_same_bytes(exported, tmp_path):
    out, _ = exported
    calls = []
    report = export(
        tmp_path / "out",
        engine=LocalEngine(2),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert report.made == 4
    assert tree(tmp_path / "out") == tree(out)
    assert calls[-1] == (4, 4)
    assert calls == sorted(calls)


def test_a_larger_budget_adds_what_is_missing(exported, tmp_path):
    whole, _ = exported
    out = tmp_path / "out"
    export(out, ROWS[1:3])
    when = made_when(out)
    report = export(out, ROWS, meta=META | {"budget": 99})
    assert (report.made, report.reused) == (2, 2)
    assert made_when(out).items() >= when.items()
    assert tree(out) == tree(whole)


def test_ctrl_c_loses_no_whole_clip_and_leaves_no_half_one(exported, tmp_path):
    whole, _ = exported
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(out, store=FakeStore(interrupted=(IDS[6],)))
    when = made_when(out)
    assert len(when) == 1
    report = export(out)
    assert (report.made, report.reused) == (3, 1)
    assert made_when(out).items() >= when.items()
    assert tree(out) == tree(whole)


@pytest.mark.parametrize(
    "damage", ["no video", "no record", "half a record", "[]", "no λ", "no placement"]
)
def test_a_clip_that_is_not_whole_is_made_again(exported, tmp_path, damage):
    whole, _ = exported
    out = tmp_path / "out"
    export(out)
    name = Path(table(out)[1]["file_name"]).stem
    record = out / ".export" / "clips" / f"{name}.json"
    if damage == "no video":
        (out / "videos" / f"{name}.mp4").unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "half a record":
        record.write_text(record.read_text()[:90])
    elif damage in ("no λ", "no placement"):
        content = json.loads(record.read_text())
        del content["provenance"]["lam" if damage == "no λ" else "placement"]
        record.write_text(json.dumps(content))
    else:
        record.write_text(damage)
    assert export(out).made == 1
    assert tree(out) == tree(whole)


def test_layers_that_were_made_again_give_new_clips(tmp_path):
    out = tmp_path / "out"
    export(out)
    before = tree(out)
    assert export(out, store=FakeStore(version="22")).made == 4
    changed = {name for name, content in tree(out).items() if before[name] != content}
    assert sum(name.endswith(".mp4") for name in changed) == 4


def test_new_scores_are_noted_without_new_clips(tmp_path):
    out = tmp_path / "out"
    export(out)
    rows = [replace(row, omega=0.25) for row in reversed(ROWS)]
    report = export(out, rows, meta=META | {"seed": 8})
    assert report.made == 0
    assert [(r["foreground"], r["omega"], r["seed"]) for r in table(out)] == [
        (row.foreground, 0.25, 8) for row in rows
    ]


MOVED = CompositeSettings(shift=0.2, scale=1.5, flip_foreground=0.5, blend="feather")


def test_placements_are_listed_and_are_the_same_in_any_order_on_any_worker(tmp_path):
    export(tmp_path / "one", composite=MOVED)
    export(tmp_path / "two", composite=MOVED, rows=ROWS[2:])
    export(tmp_path / "two", composite=MOVED, engine=LocalEngine(2))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    for row in table(tmp_path / "one"):
        placement = Placement(**json.loads(row["placement"]))
        assert placement == placement_of_pair(MOVED, 3, row["foreground"], row["background"])


def test_no_placement_where_nothing_moves(exported):
    out, _ = exported
    assert [row["placement"] for row in table(out)] == [None] * len(ROWS)


def test_another_seed_moves_foregrounds_and_makes_their_clips_anew(tmp_path):
    export(tmp_path / "one", composite=MOVED)
    report = export(tmp_path / "one", composite=MOVED, meta=META | {"seed": 8})
    assert (report.made, report.reused) == (4, 0)
    export(tmp_path / "two", composite=MOVED, meta=META | {"seed": 8})
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"export": ExportSettings(crf=31, preset="ultrafast")}, "crf = 30 and not crf = 31"),
        ({"composite": CompositeSettings(alpha=2)}, r"alpha = 4\.0 and not alpha = 2"),
        ({"composite": CompositeSettings("actor")}, "label_rule = 'mixed' and not"),
        ({"composite": CompositeSettings(shift=0.1)}, r"shift = 0\.0 and not shift = 0\.1"),
        (
            {"store": FakeStore(PrepareSettings(inpainter="none"))},
            "inpainter = 'temporal 1' and not",
        ),
        ({"classes": (*CLASSES, "wave")}, "4 other classes and not 5 other classes"),
        ({"meta": META | {"data_set": "ucf101"}}, "data_set = 'hmdb51' and not"),
    ],
)
def test_other_settings_are_not_mixed_in(exported, changes, message):
    out, _ = exported
    before = tree(out)
    with pytest.raises(InputError, match=message):
        export(out, **changes)
    assert tree(out) == before


def test_other_pairs_are_not_mixed_in(exported):
    out, _ = exported
    before = tree(out)
    with pytest.raises(
        InputError, match=r"holds 1 clips that these pairs do not make, such as Run"
    ):
        export(out, [*ROWS[1:], pair(4, 1)])
    assert tree(out) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_video_that_cannot_be_read_costs_its_pairs_only(exported, tmp_path, workers):
    whole, _ = exported
    out = tmp_path / "out"
    store = FakeStore(unreadable=(IDS[0], IDS[5]))
    report = export(out, store=store, engine=LocalEngine(workers))
    assert report.made == 1
    assert [(s.foreground, s.background) for s in report.skipped] == [
        (IDS[0], IDS[2]),
        (IDS[2], IDS[5]),
        (IDS[0], IDS[6]),
    ]
    listed = list(csv.reader((out / "skipped.csv").open(newline="")))
    assert listed[0] == ["foreground", "background", "reason"]
    assert listed[2] == [IDS[2], IDS[5], f"{IDS[5]}: the file is empty"]
    assert [row["foreground"] for row in table(out)] == [IDS[7]]
    report = export(out)
    assert (report.made, report.reused, report.skipped) == (3, 1, ())
    assert tree(out) == tree(whole)


def test_a_clip_whose_new_layers_cannot_be_read_is_not_listed(tmp_path):
    out = tmp_path / "out"
    export(out)
    report = export(out, store=FakeStore(version="22", unreadable=(IDS[7],)))
    assert (report.made, len(report.skipped)) == (3, 1)
    assert IDS[7] not in [row["foreground"] for row in table(out)]
    # Nor does it lie there still: readers of the folder would take it up.
    listed = {row["file_name"] for row in table(out)}
    assert {f"videos/{path.name}" for path in (out / "videos").iterdir()} == listed


def test_when_nothing_can_be_made_the_work_failed(tmp_path):
    with pytest.raises(L2AError, match=r"None of the 4 clips .*: the file is empty") as caught:
        export(tmp_path / "out", store=FakeStore(unreadable=tuple(IDS)))
    assert caught.value.exit_code == 1


class DyingStore(FakeStore):
    """A decoder that takes its whole process along."""

    def load(self, video):
        if video.id == IDS[6]:
            os._exit(9)
        return super().load(video)


def test_a_process_that_dies_costs_its_pair_only(tmp_path):
    """Another pair of the same foreground, which that process had made before, is kept."""
    report = export(tmp_path / "out", store=DyingStore(), engine=LocalEngine(2))
    (skipped,) = report.skipped
    assert (skipped.foreground, skipped.background) == (IDS[0], IDS[6])
    assert "died twice" in skipped.reason
    assert report.made == len(table(tmp_path / "out")) == 3


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_codec_resolution_and_length(tmp_path, codec):
    settings = ExportSettings(
        codec=codec, crf=20, preset="ultrafast", resolution=20, clip_length=0.1
    )
    export(tmp_path / "out", ROWS[:1], export=settings)
    (row,) = table(tmp_path / "out")
    # 33 x 47 pixels with the shorter side at 20, both even; 3 of 5 frames at 30 a second.
    assert (row["num_frames"], row["height"], row["width"]) == (3, 20, 28)
    path = tmp_path / "out" / row["file_name"]
    assert read_frames(path).frames.shape == (3, 20, 28, 3)
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == {"h264": "h264", "h265": "hevc"}[codec]


def test_the_middle_of_a_video_is_cut_out():
    foreground = FakeStore().load_foreground(VIDEOS[IDS[0]])
    foreground = replace(
        foreground, frames=np.arange(5)[:, None, None, None] * np.ones_like(foreground.frames)
    )
    part = cut(foreground, 0.1, PrepareSettings()).foreground
    assert part.frames[:, 0, 0, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(part.times, [0, 1 / 30, 2 / 30])
    assert part.mask.shape == part.frames.shape[:3]
    for whole in (0, 9):
        found = cut(foreground, whole, PrepareSettings())
        assert found.foreground is foreground and (found.start, found.resampled) == (0, False)


@pytest.mark.parametrize(
    ("share", "start"),
    # 100 frames at 10 a second, the actor gone in 40..59: ten frames that begin at 32 have masks in
    # eight, those at 33 in seven; those that begin at 58 are as far from the middle, and later.
    [(0.75, 32), (0.8, 32), (1.0, 30), (0.2, 38), (0.0, 45)],
)
def test_a_cut_shows_the_actor(share, start):
    mask = np.ones((100, 4, 10), bool)
    mask[:, :, :6] = False
    mask[40:60] = False
    frames = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 4, 10, 3))
    whole = Foreground(VIDEOS[IDS[0]], frames, mask, np.arange(100) / 10, 10.0)
    limits = PrepareSettings(min_mask_share=share, min_gamma=0.0)
    found = cut(whole, 1.0, limits)
    part = found.foreground
    assert (found.start, found.resampled) == (start, False)
    assert part.frames[:, 0, 0, 0].tolist() == list(range(start, start + 10))
    np.testing.assert_allclose(part.times, np.arange(10) / 10)
    # γ of ten frames with the actor is 0.4.
    assert cut(whole, 1.0, replace(limits, min_gamma=0.41)) is None
    assert cut(whole, 1.0, replace(limits, max_gamma=0.39, min_mask_share=1.0)) is None


class ThirtyFrames(FakeStore):
    """Videos of 30 frames, three seconds where they are steady; the actor is in the first ten."""

    times = np.arange(30) / 10

    def record(self, video_id):
        record = super().record(video_id)
        record.num_frames, record.fps = 30, 10.0
        return record

    def load(self, video):
        layers = super().load(video)
        frames, noise = np.repeat(layers.frames, 6, axis=0), np.repeat(layers.background, 6, axis=0)
        mask = np.repeat(layers.mask, 6, axis=0)
        mask[10:] = False
        return Layers(video, frames, mask, noise, self.times, 10.0)


class Uneven(ThirtyFrames):
    """Half of the frames lie in the first half second."""

    times = np.concatenate([np.arange(15) / 30, np.linspace(0.5, 2.9, 15)])


@pytest.mark.parametrize(
    ("kind", "seconds", "start", "resampled", "still_good"),
    [
        # Of ten frames that begin at 2, eight show the actor; the middle, 10..19, shows nobody.
        (ThirtyFrames, 1.0, 2, False, False),
        (ThirtyFrames, 3.0, 0, False, True),
        (ThirtyFrames, 0.0, 0, False, True),
        (Uneven, 0.0, 0, True, False),
    ],
)
def test_a_clip_of_a_version_that_cut_the_middle_is_made_again(
    tmp_path, kind, seconds, start, resampled, still_good
):
    """Such a version noted no start, and kept the frames of uneven videos as they were."""
    export_settings = ExportSettings(crf=30, preset="ultrafast", clip_length=seconds)

    def again():
        return export(tmp_path / "out", ROWS[:1], export=export_settings, store=kind())

    again()
    (path,) = (tmp_path / "out" / ".export" / "clips").iterdir()
    record = json.loads(path.read_text())
    assert record["provenance"]["start"] == start
    assert record["provenance"]["resampled"] is resampled
    assert again().reused == 1
    del record["provenance"]["start"], record["provenance"]["resampled"]
    path.write_text(json.dumps(record))
    assert again().reused == still_good
    assert json.loads(path.read_text())["provenance"]["start"] == start


def test_a_pair_whose_actor_no_cut_shows_is_replaced(tmp_path):
    class Blinking(FakeStore):
        """The actor of the first video is seen in every other frame."""

        def load_foreground(self, video):
            whole = super().load_foreground(video)
            if video.id == IDS[0]:
                whole.mask[1::2] = False
            return whole

    report = export(
        tmp_path / "out", ROWS[:3], export=ExportSettings(preset="ultrafast", clip_length=0.067),
        store=Blinking(), budget=1,
    )  # fmt: skip
    assert report.replaced == report.made == 1
    (row,) = table(tmp_path / "out")
    assert row["foreground"] == IDS[2] and row["num_frames"] == 2
    assert report.skipped[0].reason == (
        "0/0.avi: no 0.067 seconds of it show its actor as --min-mask-share 0.75, --min-gamma"
        " 0.026 and --max-gamma 0.7 ask"
    )


def test_an_export_says_which_videos_are_smaller_or_thinned(tmp_path, caplog):
    sizes = {IDS[0]: (5, 66, 94), IDS[2]: (9, 33, 94), IDS[5]: (5, 33, 94), IDS[6]: (0, 0, 0)}
    names = ("source_frames", "source_height", "source_width")

    class Reduced(FakeStore):
        """Layers of 33 x 47 pixels and 5 frames, of files of various sizes."""

        def record(self, video_id):
            whole = dict.fromkeys(("gamma", "mask_share", "hole", "unseen"), 0.5)
            words = dict.fromkeys(("segmenter", "inpainter", "mask_digest", "background"), "")
            known = vars(super().record(video_id))
            known = {name: known[name] for name in known.keys() & LayerRecord.__dataclass_fields__}
            source = dict(zip(names, sizes[video_id], strict=True))
            return LayerRecord(**whole, **words, **known, **source)

    caplog.set_level("INFO", logger="l2a")
    export(tmp_path / "one", (pair(0, 2), pair(0, 5), pair(0, 6)), store=Reduced())
    said = [row.getMessage() for row in caplog.records if "smaller" in row.getMessage()]
    # Of the second the width alone differs, so that its pixels were no squares; it was thinned.
    assert said == [
        "note: 2 of 4 videos are smaller or have fewer frames than their files: their layers were"
        " made with --max-side 640 and --max-frames 300"
    ]
    caplog.clear()
    export(tmp_path / "two", (pair(5, 6),), store=Reduced())
    assert "smaller" not in caplog.text


def test_a_small_clip_is_not_scaled_up():
    frames = np.zeros((1, 33, 47, 3), np.uint8)
    assert scaled_down(frames, 33) is frames and scaled_down(frames, 0) is frames


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layouts": "videofolder,kinetics"}, "layouts must be some of videofolder, .*'kinetics'"),
        ({"layouts": ","}, "layouts must be some of"),
        ({"codec": "av1"}, "codec must be h264 or h265, not 'av1'"),
        ({"resolution": 8}, "resolution must be 0 .* or 16 pixels or more, not 8"),
        ({"clip_length": -1}, "clip_length must be 0 .* not -1"),
        ({"include_real": "yes"}, "include_real must be no, link or copy, not 'yes'"),
        ({"shard_size": 0}, "shard_size must be 1 MB or more, not 0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        ExportSettings(**changes)


@pytest.mark.parametrize("name", ["README.md", "videos", "notes.txt"])
def test_a_folder_that_holds_other_things_is_refused(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".DS_Store").write_text("")  # nobody's work
    (out / name).write_text("precious")
    with pytest.raises(InputError, match=f"holds other things than an export, such as {name}"):
        export(out)
    assert (out / name).read_text() == "precious" and not (out / ".export").exists()
    (out / name).unlink()
    assert export(out).made == 4


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(InputError, match="out is a file; give --out a new or an empty folder"):
        export(tmp_path / "out")


def test_a_folder_of_the_version_before_goes_on(tmp_path):
    """Up to version 0.1 layouts were called faces."""
    out = tmp_path / "out"
    export(out, ROWS[:2])
    plan = out / ".export" / "budget.json"
    content = json.loads(plan.read_text())
    content["faces"] = ["torchvision"]
    del content["layouts"]
    plan.write_text(json.dumps(content))
    report = export(out)
    assert (report.made, report.reused) == (2, 2)
    assert json.loads(plan.read_text())["layouts"] == ["torchvision", "videofolder"]
    assert (out / "by_class").is_dir()


@pytest.mark.parametrize("content", ["[]", "{}", '{"layouts": 3}', '{"faces": ["a"], "x": 1}', "3"])
def test_a_damaged_plan_is_refused(tmp_path, content):
    out = tmp_path / "out"
    export(out)
    (out / ".export" / "budget.json").write_text(content)
    with pytest.raises(InputError, match="is not what an export of this version writes"):
        export(out)


HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "[x](javascript:y)",
    "*bold*",
    "two\nlines",
    "_u_ v_w",
)


def test_the_data_card_shows_names_as_plain_text(tmp_path):
    videos = {
        f"h{i}/{n}.avi": Video(f"h{i}/{n}.avi", Path("/nowhere"), label, f"g{i}{n}", "train")
        for i, label in enumerate(HOSTILE)
        for n in range(2)
    }
    rows = [
        ScoredPair(f"h{i}/0.avi", IDS[0], 0.5, 0.0, label, VIDEOS[IDS[0]].label)
        for i, label in enumerate(HOSTILE)
    ]
    store = FakeStore(ids=(*IDS, *videos))
    out = tmp_path / "out"
    meta = META | {"data_set": "<img src=x onerror=alert(1)>"}
    export(out, rows, store, videos=VIDEOS | videos, classes=(*CLASSES, *HOSTILE), meta=meta)
    card = (out / "README.md").read_text("utf-8")
    assert "# Composites of \\<img src=x onerror=alert(1)\\>\n" in card
    table = card[card.index("| class") : card.index("## Licence")].splitlines()
    shown = [line.removeprefix("| ").partition(" | ")[0] for line in table[2:-1]]
    assert shown[len(CLASSES) :] == [
        r"\<script\>alert(1)\</script\>", r"a\|b", r"\[x\](javascript:y)", r"\*bold\*",
        "two lines", r"\_u\_ v_w",
    ]  # fmt: skip


def test_a_forecast_measures_and_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    settings = ExportSettings(crf=30, preset="ultrafast")
    material = Material(VIDEOS, CLASSES, FakeStore())
    arguments = (ROWS, material, out, CompositeSettings(), settings)
    forecast = forecast_export(*arguments)
    assert list(tmp_path.iterdir()) == []
    assert (forecast.clips, forecast.there) == (4, 0)
    assert (forecast.measured, forecast.without_layers) == (4, 0)
    assert forecast.hours == pytest.approx(4 * 5 / 30 / 3600)
    export(out)
    made = sum(path.stat().st_size for path in (out / "videos").iterdir())
    assert forecast.clip_bytes == pytest.approx(made, rel=0.01)
    again = forecast_export(*arguments)
    assert (again.there, again.seconds) == (4, 0)
    assert "clips: 4, of which 4 are there already" in again.lines()
    larger = forecast_export(*arguments, count=400)
    assert larger.clip_bytes == pytest.approx(100 * made, rel=0.01)


def test_a_forecast_without_layers_says_what_it_does_not_know(tmp_path):
    class NoLayers(FakeStore):
        def record(self, video_id):
            raise InputError("no layers")

    path = tmp_path / "clip.mp4"
    write_video(path, np.zeros((10, 32, 40, 3), np.uint8), 5.0)
    videos = {id_: replace(video, file=path) for id_, video in VIDEOS.items()}
    forecast = forecast_export(
        ROWS,
        Material(videos, CLASSES, NoLayers()),
        tmp_path / "out",
        CompositeSettings(),
        ExportSettings(crf=24),
    )
    assert forecast.seconds is None and forecast.measured == 0 and forecast.without_layers == 6
    assert forecast.hours == pytest.approx(4 * 2 / 3600)
    assert forecast.clip_bytes == int(0.15 / 8 / 2 * 4 * 10 * 32 * 40)
    assert "time: not known before there are layers" in forecast.lines()


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ((), {}, "no pairs to export"),
        ((ROWS[0], ROWS[1], ROWS[0]), {}, r"0/0\.avi on 1/0\.avi is listed twice"),
        ((replace(ROWS[0], background="9/9.avi"),), {}, r"the video 9/9\.avi, which the data set"),
        ((replace(ROWS[0], foreground_class="test"),), {}, r"class of 0/0\.avi 'test', .* 'run'"),
        (ROWS, {"classes": CLASSES[:2]}, r"class of 2/1\.avi 'test'"),
        (ROWS, {"videos": VIDEOS | {IDS[5]: replace(VIDEOS[IDS[5]], split="val")}}, "val split"),
        (ROWS, {"videos": VIDEOS | {IDS[7]: replace(VIDEOS[IDS[7]], split="test")}}, "test split"),
    ],
)
def test_rows_that_cannot_be_right_stop_before_any_work(tmp_path, rows, changes, message):
    with pytest.raises(InputError, match=message):
        export(tmp_path / "out", rows, **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.clips
def test_real_clips_from_prepared_layers(clips_root, tmp_path):
    """The real store travels to the workers, and what comes out plays and is the composite."""
    root = clips_root / "jhmdb12"
    files = [sorted((root / "videos" / label).glob("*.avi"))[0] for label in ("golf", "catch")]
    videos = [
        Video(f"{file.parent.name}/{file.name}", file, file.parent.name, file.stem, "train")
        for file in files
    ]
    store = LayerMaker(tmp_path / "layers", PrepareSettings(f"masks:{root / 'masks'}", "none"))
    assert store.prepare(videos).skipped == ()
    rows = [
        ScoredPair(foreground.id, background.id, 0.5, 0.0, foreground.label, background.label)
        for foreground, background in (videos, reversed(videos))
    ]
    out = tmp_path / "out"
    report = export(
        out,
        rows,
        store,
        videos={video.id: video for video in videos},
        classes=("catch", "golf"),
        export=ExportSettings(crf=12, preset="veryfast"),
        engine=LocalEngine(2),
    )
    assert (report.made, report.skipped) == (2, ())
    for row, (foreground, background) in zip(table(out), (videos, reversed(videos)), strict=True):
        expected = make_composite(
            store.load(foreground), store.load(background), CompositeSettings()
        )
        clip = read_frames(out / row["file_name"])
        assert clip.frames.shape == expected.frames.shape
        error = np.abs(clip.frames.astype(int) - expected.frames)
        assert error.mean() < 3
        assert clip.fps == pytest.approx(expected.fps, rel=1e-3)
        assert 0 < row["lam"] == expected.lam < 1
