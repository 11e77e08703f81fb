"""The layouts of an export, read by real readers, or by the documented rules of those."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_export import CLASSES, ROWS, FakeStore, export, pair, table, tree
from hypothesis import given
from hypothesis import strategies as st

from compositing.export import Material, PairList, export_pairs
from compositing.layouts import LAYOUTS
from compositing.layouts.class_folders import class_folders
from compositing.making import LayerMaker
from compositing.originals import original_name
from compositing.settings import LAYOUT_NAMES, CompositeSettings, ExportSettings, PrepareSettings
from l2a.errors import InputError
from l2a.formats.tree import SUFFIXES
from l2a.media import read_frames
from l2a.pairs import ScoredPair
from l2a.videos import Video

LABELS = ("catch", "clap", "golf", "run")
EVERYTHING = ExportSettings(
    layouts=",".join(LAYOUT_NAMES), crf=30, preset="ultrafast", resolution=96, clip_length=0.5,
    include_real="copy", shard_size=1,
)  # fmt: skip
DOCS = Path(__file__).resolve().parents[1] / "docs" / "export.md"


@pytest.fixture(scope="module")
def real_set(clips_root, tmp_path_factory):
    """Pairs of real clips with real masks, and the originals, in every face; (folder, videos)."""
    root, place = clips_root / "jhmdb12", tmp_path_factory.mktemp("layouts")
    videos = [
        Video(f"{file.parent.name}/{file.name}", file, label, file.stem, "train")
        for label in LABELS[:3]
        for file in sorted((root / "videos" / label).glob("*.avi"))[:1]
    ]
    store = LayerMaker(place / "layers", PrepareSettings(f"masks:{root / 'masks'}", "none"))
    store.prepare(videos)
    rows = [
        ScoredPair(f.id, b.id, 0.5, 0.0, f.label, b.label) for f in videos for b in videos if f != b
    ]
    report = export_pairs(
        PairList(rows, {"seed": 1, "data_set": "jhmdb"}),
        Material({video.id: video for video in videos}, LABELS, store, videos),
        place / "out", CompositeSettings(), EVERYTHING,
    )  # fmt: skip
    assert (report.made, report.originals, report.skipped) == (6, 3, ())
    return place / "out", videos


def test_the_settings_name_every_layout():
    assert tuple(LAYOUTS) == LAYOUT_NAMES


@pytest.mark.clips
def test_every_file_decodes_with_the_frames_and_the_size_that_are_stated(real_set):
    out, videos = real_set
    rows = table(out)
    assert Counter(row["kind"] for row in rows) == {"composite": 6, "real": 3}
    for row in rows:
        frames = read_frames(out / row["file_name"]).frames
        if row["kind"] == "composite":
            assert frames.shape == (row["num_frames"], row["height"], row["width"], 3)
            assert min(frames.shape[1:3]) == 96
            assert len(frames) == round(0.5 * row["fps"])
            assert 0 < row["lam"] < 1
        else:
            (video,) = (video for video in videos if video.id == row["foreground"])
            np.testing.assert_array_equal(frames, read_frames(video.path).frames)
        assert sum(row["soft_label"]) == pytest.approx(1)
        assert row["soft_label"][row["label_index"]] == pytest.approx(row["lam"])
        assert re.fullmatch(r"\d+ bytes, ends [0-9a-f]{16}", row["foreground_source"])


@pytest.mark.clips
def test_hugging_face_takes_no_originals_for_sound(real_set, tmp_path, monkeypatch):
    """Of more .webm than .mp4 files it would think that they are sound."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out = tmp_path / "out"
    shutil.copytree(real_set[0], out)
    rows = pq.read_table(out / "metadata.parquet")
    names = rows["file_name"].to_pylist()
    for place, name in enumerate(names):
        if name.startswith("real/"):
            names[place] = f"real/{Path(name).stem}.webm"
            (out / name).rename(out / names[place])
    for more in range(9):
        shutil.copy(out / names[-1], out / "real" / f"more{more}.webm")
    rows = rows.set_column(rows.schema.get_field_index("file_name"), "file_name", [names])
    pq.write_table(rows, out / "metadata.parquet")
    splits = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    data = splits["train"].cast_column("video", datasets.Video(decode=False))
    assert [Path(row["video"]["path"]).name for row in data] == [Path(name).name for name in names]


@pytest.mark.clips
def test_hugging_face_reads_it_though_other_layouts_lie_beside(real_set, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out, _ = real_set
    splits = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert list(splits) == ["train"]
    data = splits["train"].cast_column("video", datasets.Video(decode=False))
    assert len(data) == 9
    for got, row in zip(data, table(out), strict=True):
        assert Path(got.pop("video")["path"]) == out / row.pop("file_name")
        assert got == row


def documented_suffixes():
    """Those of the snippet in docs/export.md: what it leaves out, `DatasetFolder` passes over."""
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text("utf-8")
    return tuple(
        re.findall(r'"(\.\w+)"', text[text.index("suffixes = (") : text.index("clips = Dataset")])
    )


def test_the_documented_suffixes_are_all_that_originals_have():
    assert {suffix.removeprefix(".") for suffix in documented_suffixes()} == SUFFIXES


@pytest.mark.clips
def test_torchvision_reads_the_class_folders(real_set):
    from torchvision.datasets import DatasetFolder

    out, _ = real_set
    folder = DatasetFolder(
        str(out / "by_class"),
        lambda path: read_frames(path).frames,
        extensions=documented_suffixes(),
        allow_empty=True,  # no clip is of the class run
    )
    assert folder.classes == (out / "classes.txt").read_text().splitlines() == list(LABELS)
    listed = {Path(row["file_name"]).name: row["label_index"] for row in table(out)}
    assert {Path(path).name: label for path, label in folder.samples} == listed
    assert all(frames.ndim == 4 for frames, _ in folder)
    linked = [path for path in (out / "by_class").rglob("*.mp4") if path.stat().st_nlink == 2]
    assert len(linked) == 6


@pytest.mark.clips
def test_mmaction2_reads_the_list_and_its_soft_labels(real_set):
    """As `VideoDataset.load_data_list` does: split at white space, and join the prefix."""
    out, _ = real_set
    soft = json.loads((out / "mmaction2" / "soft_labels.json").read_text())
    assert soft["classes"] == list(LABELS)
    lines = (out / "mmaction2" / "list.txt").read_text().splitlines()
    for line, row in zip(lines, table(out), strict=True):
        file_name, label = line.strip().split()
        assert (file_name, int(label)) == (row["file_name"], row["label_index"])
        assert (out / file_name).is_file()
        whole = np.zeros(len(LABELS), np.float32)
        for number, share in soft["soft_labels"][file_name]:
            whole[number] = share
        np.testing.assert_array_equal(whole, np.array(row["soft_label"], np.float32))


@pytest.mark.clips
def test_pytorchvideo_reads_the_list(real_set):
    """As `LabeledVideoPaths.from_csv` does: the last word of a line is the label."""
    out, _ = real_set
    lines = (out / "pytorchvideo" / "list.csv").read_text().splitlines()
    read = [(path, int(label)) for path, label in (line.rsplit(None, 1) for line in lines)]
    assert read == [(row["file_name"], row["label_index"]) for row in table(out)]


def read_shard(path):
    """As WebDataset does: members that follow each other and share their name up to the first dot
    are one sample; what follows the dot is the key of its field."""
    samples = []
    with tarfile.open(path) as tar:
        for member in tar:
            assert member.isfile() and (member.mtime, member.uid) == (0, 0)
            key, _, suffix = member.name.partition(".")
            if not samples or samples[-1]["__key__"] != key:
                samples.append({"__key__": key})
            assert suffix not in samples[-1]
            samples[-1][suffix] = tar.extractfile(member).read()
    return samples


@pytest.mark.clips
def test_webdataset_reads_the_shards(real_set, tmp_path):
    out, _ = real_set
    rows = {Path(row["file_name"]).stem: row for row in table(out)}
    shards = sorted((out / "webdataset").glob("*.tar"))
    samples = [sample for shard in shards for sample in read_shard(shard)]
    assert len({sample["__key__"] for sample in samples}) == len(samples) == 9
    assert all(shard.stat().st_size <= 1_000_000 + 20 * 512 for shard in shards)
    for sample in samples:
        row = rows[sample["__key__"]]
        described = json.loads(sample["json"])
        soft = np.array(described.pop("soft_label"), np.float32)
        np.testing.assert_array_equal(soft, np.array(row.pop("soft_label"), np.float32))
        assert described == row
        (video,) = (value for key, value in sample.items() if key in ("mp4", "avi"))
        assert video == (out / row["file_name"]).read_bytes()


@pytest.mark.clips
def test_the_dataset_class_of_the_docs_gives_clips_and_soft_labels(real_set):
    import torch

    (code,) = re.findall(r"```python\n(import av\n.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    made: dict = {}
    exec(compile(code, str(DOCS), "exec"), made)
    out, _ = real_set
    clips, labels = next(
        iter(torch.utils.data.DataLoader(made["SoftClips"](str(out), 4, (32, 40)), batch_size=9))
    )
    assert clips.shape == (9, 3, 4, 32, 40)
    assert 0 <= clips.min() < clips.max() <= 1
    np.testing.assert_array_equal(labels, np.array([row["soft_label"] for row in table(out)]))
    torch.nn.CrossEntropyLoss()(torch.zeros(9, len(LABELS)), labels)


def test_the_mmaction2_class_of_the_docs_gives_soft_labels(tmp_path):
    """On a stand-in for `VideoDataset` that loads a list by its rules."""
    import sys
    from types import ModuleType

    import torch

    export(tmp_path / "out", export=ExportSettings("mmaction2", preset="ultrafast"))

    class VideoDataset:
        def __init__(self, ann_file, data_prefix):
            self.ann_file, self.data_prefix = ann_file, data_prefix

        def load_data_list(self):
            words = (line.split() for line in Path(self.ann_file).read_text().splitlines())
            prefix = Path(self.data_prefix["video"])
            return [{"filename": str(prefix / name), "label": int(n)} for name, n in words]

    class Registry:
        def register_module(self):
            return lambda cls: cls

    stand_ins = {name: ModuleType(name) for name in ("mmaction.datasets", "mmaction.registry")}
    stand_ins["mmaction.datasets"].VideoDataset = VideoDataset
    stand_ins["mmaction.registry"].DATASETS = Registry()
    found = re.findall(r"```python\n(import json\n.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    made: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        patch.setitem(sys.modules, "mmaction", ModuleType("mmaction"))
        exec(compile(found[0], str(DOCS), "exec"), made)
    face = tmp_path / "out" / "mmaction2"
    data = made["SoftVideoDataset"](
        soft_labels=face / "soft_labels.json",
        ann_file=face / "list.txt",
        data_prefix={"video": tmp_path / "out"},
    )
    labels = [row["label"] for row in data.load_data_list()]
    # MMAction2 1.2.0 keeps a tensor as it is, and rounds a NumPy array down to whole numbers.
    assert all(isinstance(label, torch.Tensor) and label.is_floating_point() for label in labels)
    got = [label.tolist() for label in labels]
    assert got == [row["soft_label"] for row in table(tmp_path / "out")]


FAKE = ExportSettings(layouts="torchvision,webdataset", crf=30, preset="ultrafast")


def test_layouts_of_earlier_calls_stay_and_grow(tmp_path):
    out = tmp_path / "out"
    export(out, ROWS[:2], export=FAKE)
    assert not (out / "metadata.parquet").exists()
    assert "configs" not in (out / "README.md").read_text()
    report = export(out, ROWS, export=ExportSettings("videofolder", crf=30, preset="ultrafast"))
    assert (report.made, report.reused) == (2, 2)
    whole = ExportSettings("videofolder,webdataset,fiftyone", crf=30, preset="ultrafast")
    export(tmp_path / "whole", ROWS, export=whole)
    ours, theirs = tree(out), tree(tmp_path / "whole")
    assert {name for name in ours if ours[name] != theirs.get(name)} <= {".export/budget.json"}
    assert ours.keys() == theirs.keys()


def test_shards_are_not_written_again_for_nothing(tmp_path):
    out = tmp_path / "out"
    export(out, export=FAKE)
    (shard,) = (out / "webdataset").glob("*.tar")
    when = shard.stat().st_mtime_ns
    export(out, export=FAKE)
    assert shard.stat().st_mtime_ns == when
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-512])
    export(out, export=FAKE)
    assert shard.read_bytes() == whole


def test_a_small_shard_size_gives_many_shards_in_an_order_of_their_own(tmp_path):
    from compositing.clipfolder import read_manifest
    from compositing.layouts import ExportedSet
    from compositing.layouts.shards import WebDataset

    out = tmp_path / "out"
    export(out)
    WebDataset().make(ExportedSet(out, CLASSES, {}, 4, 1))
    shards = sorted((out / "webdataset").glob("*.tar"))
    assert [path.name for path in shards] == [f"shard-{n:06}.tar" for n in range(4)]
    keys = [read_shard(shard)[0]["__key__"] for shard in shards]
    names = [Path(row["file_name"]).stem for row in read_manifest(out)]
    assert keys == sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    # A shard is closed before the clip that would make it too large: two fit here, and not three.
    largest = max(path.stat().st_size for path in (out / "videos").iterdir()) + 7 * 512
    WebDataset().make(ExportedSet(out, CLASSES, {}, 4, 2 * largest))
    assert [len(read_shard(path)) for path in sorted((out / "webdataset").glob("*.tar"))] == [2, 2]
    WebDataset().make(ExportedSet(out, CLASSES, {}, 4, 10**6))
    assert [path.name for path in (out / "webdataset").glob("*.tar")] == ["shard-000000.tar"]


def test_clips_that_fall_out_leave_the_class_folders(tmp_path):
    out = tmp_path / "out"
    export(out, export=FAKE)
    names = {path.name for path in (out / "by_class").rglob("*.mp4")}
    export(out, export=FAKE, store=FakeStore(version="22", unreadable=("3/1.avi",)))
    left = {path.name for path in (out / "by_class").rglob("*.mp4")}
    assert len(left) == 3 and left < names
    assert {path.name for path in (out / "videos").iterdir()} == left
    for path in (out / "by_class").rglob("*.mp4"):
        assert path.samefile(out / "videos" / path.name)


def test_what_a_person_puts_into_a_folder_of_clips_stays_there(tmp_path, originals):
    out = tmp_path / "out"
    settings = replace(FAKE, include_real="copy")
    export(out, export=settings, originals=originals)
    in_class = {path.name for path in (out / "by_class" / "run").iterdir()}
    for place in (out / "by_class" / "run", out / "real"):
        (place / "Real_notes.txt").write_text("mine")
        (place / "Real_mine").mkdir()
    export(out, export=settings, originals=originals[:1])
    for place in (out / "by_class" / "run", out / "real"):
        assert (place / "Real_notes.txt").read_text() == "mine"
        assert (place / "Real_mine").is_dir()
    left = {path.name for path in (out / "by_class" / "run").iterdir()}
    assert left - {"Real_notes.txt", "Real_mine"} == in_class - {original_name(originals[1])}


def test_class_folders_are_those_of_the_classes(tmp_path):
    out = tmp_path / "out"
    export(out, export=FAKE)
    assert {path.name for path in (out / "by_class").iterdir()} == {
        "run", "training dog", "test", "a_b_ ü_",
    }  # fmt: skip


def test_classes_that_folders_would_number_otherwise_are_refused(tmp_path):
    assert list(class_folders(("PullUps", "a", "a0"))) == ["PullUps", "a", "a0"]
    for classes in (("Pull:Ups", "PullUps"), ("a/b", "a0")):
        with pytest.raises(InputError, match="would stand in another order than the classes"):
            class_folders(classes)


def test_classes_that_would_share_a_folder_are_refused_before_any_work(tmp_path):
    classes = (*CLASSES, "a_b: ü?")
    with pytest.raises(InputError, match="would share the folder a_b_ ü_"):
        export(tmp_path / "out", classes=classes, export=FAKE)
    assert not (tmp_path / "out").exists()


@given(st.lists(st.text(min_size=1, max_size=6), unique_by=str.casefold, max_size=5))
def test_a_class_folder_never_leaves_its_place(classes):
    try:
        folders = class_folders(tuple(classes))
    except InputError:
        return
    for folder in folders.values():
        assert Path(folder).name == folder and folder not in (".", "..")


@pytest.fixture
def originals(tmp_path):
    """Two readable originals, and one that is not."""
    from l2a.media import write_video

    videos = []
    for number in range(3):
        path = tmp_path / "source" / f"a clip {number}.mkv"
        write_video(path, np.full((4, 16, 16, 3), 50 * number, np.uint8), 8.0)
        videos.append(Video(f"0/a clip {number}.mkv", path, CLASSES[0], "g", "train"))
    videos[2].path.write_bytes(b"no video")
    return videos


@pytest.mark.parametrize("how", ["link", "copy"])
def test_originals_are_linked_or_copied_and_listed_after_the_composites(tmp_path, originals, how):
    out = tmp_path / "out"
    settings = ExportSettings("torchvision", crf=30, preset="ultrafast", include_real=how)
    report = export(out, export=settings, originals=originals)
    assert report.originals == 2
    assert [row.foreground for row in report.skipped] == [originals[2].id]
    assert originals[2].id in (out / "skipped.csv").read_text()
    rows = table(out, "manifest.parquet")
    assert [row["kind"] for row in rows] == ["composite"] * 4 + ["real"] * 2
    for row, video in zip(rows[4:], originals, strict=False):
        place = out / row["file_name"]
        assert place.name == original_name(video) and " " not in place.name
        assert place.is_symlink() == (how == "link")
        assert place.read_bytes() == video.path.read_bytes()
        assert row["soft_label"] == [1, 0, 0, 0] and row["lam"] == 1
        assert row["background"] is None and row["omega"] is None
        assert (out / "by_class" / "run" / place.name).read_bytes() == place.read_bytes()
    before = tree(out)
    export(out, export=settings, originals=originals)
    assert tree(out) == before
    # A file that was changed is taken up again; what has left the data set leaves the folder.
    shutil.copyfile(originals[1].path, originals[0].path)
    assert export(out, export=settings, originals=originals[:1]).originals == 1
    (left,) = (out / "real").iterdir()
    assert left.name == original_name(originals[0])
    assert left.read_bytes() == originals[1].path.read_bytes()
    in_its_class = {path.name for path in (out / "by_class" / "run").iterdir()}
    assert left.name in in_its_class and original_name(originals[1]) not in in_its_class
    listed = [row["file_name"] for row in table(out) if row["kind"] == "real"]
    assert listed == [f"real/{left.name}"]


def test_an_original_on_which_the_decoder_fails_costs_itself_alone(
    tmp_path, originals, monkeypatch
):
    def read(path, **_):
        if path.name == "a clip 1.mkv":
            raise AttributeError("no attribute 'thread_count'")

    monkeypatch.setattr("compositing.originals.read_frames", read)
    settings = ExportSettings(crf=30, preset="ultrafast", include_real="link")
    report = export(tmp_path / "out", export=settings, originals=originals[:2])
    assert report.originals == 1
    assert [row.reason for row in report.skipped] == [
        f"{originals[1].id}: AttributeError: no attribute 'thread_count'"
    ]


def test_originals_can_be_added_later_but_not_taken_away(tmp_path, originals):
    out = tmp_path / "out"
    plain = ExportSettings(crf=30, preset="ultrafast")
    linked = ExportSettings(crf=30, preset="ultrafast", include_real="link")
    export(out, export=plain)
    report = export(out, export=linked, originals=originals)
    assert (report.made, report.reused, report.originals) == (0, 4, 2)
    with pytest.raises(InputError, match="include_real = 'link' and not 'no'"):
        export(out, export=plain)


def test_a_card_counts_each_class(tmp_path):
    out = tmp_path / "out"
    export(out, [pair(2, 5), pair(3, 5)])
    card = (out / "README.md").read_text("utf-8")
    assert "| training dog | 2 | 0 |\n| test | 0 | 0 |" in card
    assert "budget\nwas 2" in card and "## Licence" in card
