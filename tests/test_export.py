"""The exported data set: what other programs read, and what a second call does."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from compositing.composite import make_composite
from compositing.engines.local import LocalEngine
from compositing.export import export_videofolder
from compositing.layers import Layers, LayerStore
from compositing.placement import Placement, placement_of_pair
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from compositing.videofolder import clip_name
from l2a.errors import InputError, L2AError, UnreadableVideo
from l2a.media import read_frames
from l2a.pairs import ScoredPair
from l2a.videos import Video

# Names that look like splits to `datasets`, and one that no file system should have to hold.
CLASSES = ("run", "training dog", "test", "a/b: ü?")
META = {"seed": 3, "data_set": "hmdb51", "budget": 4}
SIZE = (33, 47)


def video(label, number, split="train"):
    name = f"{CLASSES.index(label)}/{number}.avi"
    return Video(name, Path("/nowhere") / name, label, f"g{number}", split)


VIDEOS = {v.id: v for v in (video(label, n) for label in CLASSES for n in range(2))}
IDS = sorted(VIDEOS)


def pair(foreground, background, omega=0.5):
    labels = (VIDEOS[IDS[foreground]].label, VIDEOS[IDS[background]].label)
    return ScoredPair(IDS[foreground], IDS[background], omega, 0.0, *labels)


ROWS = (pair(0, 2, 0.9), pair(2, 5, 0.8), pair(0, 6, 0.7), pair(7, 1, 0.6))


@dataclass
class FakeStore:
    """Layers made up from the id: grey frames, the left quarter masked, moving noise behind."""

    settings: PrepareSettings = field(default_factory=PrepareSettings)
    unreadable: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    version: str = "1"

    @property
    def identities(self):
        return f"{self.settings.segmenter} 1", f"{self.settings.inpainter} 1"

    def record(self, video_id):
        return SimpleNamespace(
            fingerprint=f"{video_id}-{self.version}", num_frames=5, height=SIZE[0], width=SIZE[1]
        )

    def load(self, video):
        if video.id in self.interrupted:
            raise KeyboardInterrupt
        if video.id in self.unreadable:
            raise UnreadableVideo(video.path, "the file is empty")
        number = IDS.index(video.id)
        frames = np.full((5, *SIZE, 3), 20 * number + len(self.version), np.uint8)
        mask = np.zeros((5, *SIZE), bool)
        mask[..., : SIZE[1] // 4] = True
        noise = np.random.default_rng(number).integers(0, 256, frames.shape, np.uint8)
        return Layers(video, frames, mask, noise, np.arange(5) / 30, 30.0)

    def load_background(self, video):
        return self.load(video)


def export(out, rows=ROWS, store=None, **changes):
    arguments = {
        "videos": VIDEOS,
        "classes": CLASSES,
        "store": store or FakeStore(),
        "composite": CompositeSettings(),
        "export": ExportSettings(crf=30, preset="ultrafast"),
        "meta": META,
    }
    return export_videofolder(rows, out=out, **(arguments | changes))


def tree(folder):
    """Every file's bytes; nothing hidden may be left over."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def made_when(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}


def table(folder):
    return pq.read_table(folder / "metadata.parquet").to_pylist()


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
    assert {"metadata.parquet", "classes.txt", "README.md", ".export/settings.json"} <= names
    assert len(names) == 4 + 2 * len(ROWS)
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
        export(out, ROWS[1:])
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
    store = LayerStore(tmp_path / "layers", PrepareSettings(f"masks:{root / 'masks'}", "none"))
    assert store.prepare(videos).skipped == ()
    rows = [
        ScoredPair(front.id, behind.id, 0.5, 0.0, front.label, behind.label)
        for front, behind in (videos, reversed(videos))
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
    for row, (front, behind) in zip(table(out), (videos, reversed(videos)), strict=True):
        expected = make_composite(store.load(front), store.load(behind), CompositeSettings())
        clip = read_frames(out / row["file_name"])
        assert clip.frames.shape == expected.frames.shape
        error = np.abs(clip.frames.astype(int) - expected.frames)
        assert error.mean() < 3
        assert clip.fps == pytest.approx(expected.fps, rel=1e-3)
        assert 0 < row["lam"] == expected.lam < 1
