"""Several views of a video: where they lie, what they cost, and how their scores are joined."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from banks import make_source
from tiny_data import CLASSES, write_tiny

from compositing.engines.local import HERE
from compositing.settings import CompositeSettings, PrepareSettings
from l2a.cli import main
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.media import sample_indices
from l2a.pairs import write_pairs
from l2a.runs import Run
from l2a.settings import ClipSettings
from l2a.videos import Video, VideoSet, carve_validation
from train.as_trained import settings_as_trained, settings_of_pairs
from train.classifier import make_classifier, predict, save_classifier
from train.opening import data_mark, open_data, sources_of
from train.settings.full import ClassifierSettings, EngineSettings, RunSettings
from train.views import ReadViews, Views, batches_of, mean_scores, predict_views

GEOMETRY = ClipSettings(num_frames=4, height=32, width=40, crop=28)
PREPARE = PrepareSettings(segmenter="motion")
SETTINGS = ClassifierSettings(network="tiny3d")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("views") / "data", train_groups=2)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "classifier.safetensors"
    save_classifier(path, new(), CLASSES, GEOMETRY)
    return path


def new() -> torch.nn.Module:
    return make_classifier(SETTINGS, len(CLASSES), 0, torch.device("cpu"))


def reader(views: str) -> ReadViews:
    return ReadViews(Views.parse(views), GEOMETRY, PREPARE.max_frames, PREPARE.max_side)


# Where views lie, by hand.


def test_clips_lie_between_each_others_frames() -> None:
    """24 frames at 1 s: 4 parts of 6 s; of 3 clips the middles lie 1, 3 and 5 s into each part."""
    times = np.arange(24.0)
    chosen = sample_indices(times, 3 * 4)
    frames = np.zeros((12, 2, 2, 3), np.uint8) + chosen.astype(np.uint8)[:, None, None, None]
    clips = Views(clips=3).cut(frames, 2)[:, :, 0, 0, 0]
    assert clips.tolist() == [[1, 7, 13, 19], [3, 9, 15, 21], [5, 11, 17, 23]]
    assert sample_indices(times, 4).tolist() == clips[1].tolist()  # the middle clip is the one


def test_crops_go_from_end_to_end_of_the_longer_side() -> None:
    assert Views(1, 1).corners(128, 171, 112) == [(8, 29)]
    assert Views(1, 2).corners(128, 171, 112) == [(8, 0), (8, 59)]
    assert Views(1, 3).corners(128, 171, 112) == [(8, 0), (8, 29), (8, 59)]
    assert Views(1, 3).corners(171, 128, 112) == [(0, 8), (29, 8), (59, 8)]
    assert Views(1, 3).corners(112, 112, 112) == [(0, 0)] * 3
    assert Views(1, 5).corners(10, 18, 10) == [(0, 0), (0, 2), (0, 4), (0, 6), (0, 8)]


def test_a_view_is_its_square_of_its_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 5, 9, 3), dtype=np.uint8)
    views = Views(2, 3).cut(frames, 5)
    assert views.shape == (6, 3, 5, 5, 3)
    assert np.array_equal(views[0], frames[0::2, :, 0:5])
    assert np.array_equal(views[2], frames[0::2, :, 4:9])
    assert np.array_equal(views[4], frames[1::2, :, 2:7])


def test_one_view_is_the_clip_of_the_bank(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank")
    for row in range(3):
        clip = source.real(np.array([row])).clips.numpy()
        assert np.array_equal(Views().cut(source.bank.frames[row], source.crop), clip)


@pytest.mark.parametrize(
    "text", ["", "3", "10x", "0x3", "3x0", "1x1x1", "-1x2", "21x10", "9999999x1"]
)
def test_what_is_no_number_of_views_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="give CLIPSxCROPS, such as 10x3"):
        Views.parse(text)


def test_views_are_read_from_their_text() -> None:
    assert (Views.parse("10x3"), Views.parse("10x3").count) == (Views(10, 3), 30)


# Scores.


def test_scores_are_the_mean_of_probabilities_by_hand() -> None:
    """(3/4, 1/4) and (1/2, 1/2) ─► (5/8, 3/8)."""
    logits = np.array([[[np.log(3), 0.0], [7.0, 7.0]]], np.float32)
    assert np.exp(mean_scores(logits)) == pytest.approx(np.array([[5 / 8, 3 / 8]]))


def test_one_loud_view_does_not_outvote_two() -> None:
    logits = np.array([[[0, 2], [0, 2], [90, 0]]], np.float32)
    assert logits.mean(axis=1).argmax() == 0
    assert mean_scores(logits).argmax() == 1


def test_scores_do_not_depend_on_what_is_added_to_logits_or_on_the_order_of_views() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 4, 3)).astype(np.float32)
    shifted = logits + rng.normal(0, 50, (5, 4, 1)).astype(np.float32)
    assert mean_scores(shifted) == pytest.approx(mean_scores(logits), abs=1e-4)
    assert mean_scores(logits[:, ::-1]) == pytest.approx(mean_scores(logits), abs=1e-6)
    same = np.repeat(logits[:, :1], 4, axis=1)
    expected = np.log(np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(1, keepdims=True))
    assert mean_scores(same) == pytest.approx(expected, abs=1e-5)
    assert np.isfinite(mean_scores(logits * 1e4)).all()


def test_one_view_keeps_its_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 1, 3)).astype(np.float32)
    assert mean_scores(logits).tobytes() == logits.tobytes()


# Asking a network.


def opened_test(data: Path, out: Path) -> VideoSet:
    return read_videos(data, DataSettings()).only("test")


def test_one_view_scores_as_predict_does_to_the_byte(data: Path, tmp_path: Path) -> None:
    opened = open_data(
        data, tmp_path, DataSettings(), PREPARE, EngineSettings(workers=1), RunSettings()
    )
    prepared = opened.prepare(GEOMETRY, CompositeSettings(), layers=False)
    videos, network = prepared.videos.of_split("train"), new()
    rows = np.array([prepared.bank.row(video.id) for video in videos], np.int64)
    viewed = predict_views(network, videos, reader("1x1"), HERE, lambda done, total: None)
    assert viewed.videos == videos
    assert viewed.scores.tobytes() == predict(network, prepared.source, rows).tobytes()


def test_views_of_a_video_are_asked_about_and_joined(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another way: one pass for each video; and a video is opened once for 6 views."""
    import train.views

    opened: list[Path] = []
    read = train.views.read_frames
    monkeypatch.setattr(
        train.views, "read_frames", lambda path, **how: opened.append(path) or read(path, **how)
    )
    videos, network, views = opened_test(data, tmp_path).videos, new(), reader("3x2")
    viewed = predict_views(network, videos, views, HERE, lambda done, total: None)
    assert opened == [video.path for video in videos]
    network.eval()
    with torch.inference_mode():
        for video, scores in zip(videos, viewed.scores, strict=True):
            clips = torch.from_numpy(views(video))
            expected = network(network.to_input(clips)).softmax(1).mean(0).log()
            assert scores == pytest.approx(expected.numpy(), abs=1e-5)


def test_an_unreadable_video_is_skipped_and_the_others_keep_their_scores(
    data: Path, tmp_path: Path
) -> None:
    videos = opened_test(data, tmp_path).videos
    gone = Video("gone", tmp_path / "gone.mp4", videos[0].label, "g", "test")
    network = new()
    shown: list[tuple[int, int]] = []
    whole = predict_views(network, videos, reader("2x1"), HERE, lambda done, total: None)
    given = (videos[0], gone, *videos[1:])
    viewed = predict_views(
        network, given, reader("2x1"), HERE, lambda done, total: shown.append((done, total))
    )
    assert viewed.videos == videos
    assert [(row.id, row.reason) for row in viewed.skipped] == [("gone", "there is no such file")]
    assert viewed.scores == pytest.approx(whole.scores, abs=1e-6)
    assert shown == [(done, 7) for done in range(1, 8)]


def test_no_more_than_one_stack_of_clips_waits() -> None:
    """Memory does not grow with the number of videos: clips are taken when they are needed."""
    taken: list[int] = []

    def clips() -> Iterator[np.ndarray]:
        for index in range(11):
            taken.append(index)
            yield np.full((1, 1, 1, 3), index, np.uint8)

    sizes = []
    for count, batch in enumerate(batches_of(clips(), 4), start=1):
        assert len(taken) <= 4 * count
        sizes.append(len(batch))
    assert sizes == [4, 4, 3]


# The command.


def evaluated(data: Path, classifier: Path, out: Path, *more: str) -> dict[str, bytes]:
    words = ["evaluate", str(data), "--classifier", str(classifier), "--workers", "1"]
    assert main([*words, "--out", str(out), *more]) == 0
    names = ("metrics.json", "predictions.csv", "confusion.png")
    return {name: (out / name).read_bytes() for name in names}


def test_the_command_with_one_view_and_with_several(
    data: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = evaluated(data, classifier, tmp_path / "plain")
    assert evaluated(data, classifier, tmp_path / "one", "--views", "1x1") == plain
    several = evaluated(data, classifier, tmp_path / "several", "--views", "3x2")
    metrics = json.loads(several["metrics.json"])
    assert metrics["n"] == 6
    assert metrics["loss"] != json.loads(plain["metrics.json"])["loss"]
    assert not (tmp_path / "several" / "bank").exists()
    rows = list(csv.DictReader(several["predictions.csv"].decode().splitlines()))
    assert [row["video"] for row in rows] == [
        row["video"] for row in csv.DictReader(plain["predictions.csv"].decode().splitlines())
    ]
    assert "views: 6/6 videos" in capsys.readouterr().err


@pytest.mark.parametrize("views", ["1x1", "2x1"])
def test_videos_of_which_none_can_be_read_are_one_sentence(
    views: str, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write_tiny(tmp_path / "data", train_groups=2)
    for path in (broken / "videos").rglob("*g03*"):
        path.write_bytes(b"nothing")
    words = ["evaluate", str(broken), "--classifier", str(classifier), "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "out"), "--views", views]) == 2
    assert "No test video of" in capsys.readouterr().err


def test_a_classifier_is_measured_on_test_videos_alone(classifier: Path, tmp_path: Path) -> None:
    """One recording of each class: nothing to carve validation out of."""
    data = write_tiny(tmp_path / "data", train_groups=1)
    evaluated(data, classifier, tmp_path / "out")


def test_a_classifier_is_measured_on_the_split_that_it_was_trained_on(
    classifier: Path, tmp_path: Path
) -> None:
    data = write_tiny(tmp_path / "data", train_groups=2)
    splits = data / "splits"
    for name in ("trainlist", "testlist"):
        (splits / f"{name}02.txt").write_text((splits / f"{name}01.txt").read_text())
    lines = (splits / "testlist01.txt").read_text().splitlines()
    (splits / "testlist02.txt").write_text("\n".join(lines[::2]) + "\n")
    run = tmp_path / "run"
    settings = {"data": str(data), "split": "2", "seed": 5, "max_side": 64, "epochs": 3}
    run.mkdir()
    record = {"command": "train", "fixed": True, "settings": settings}
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    (run / "stages.json").write_text("{}")
    (tmp_path / "run.yaml").write_text("of: another program")
    own = run / classifier.name
    shutil.copy(classifier, own)
    for out, words, wanted in (
        ("own", (), ("2", 5, 64, 3)), ("asked", ("--split", "1"), ("1", 5, 64, 6)),
    ):  # fmt: skip
        evaluated(data, own, tmp_path / out, *words)
        kept = Run(tmp_path / out).read()["settings"]
        count = json.loads((tmp_path / out / "metrics.json").read_text())["n"]
        assert (kept["split"], kept["seed"], kept["max_side"], count) == wanted
    alone = tmp_path / classifier.name
    shutil.copy(classifier, alone)
    evaluated(data, alone, tmp_path / "alone")
    elsewhere = write_tiny(tmp_path / "elsewhere", train_groups=2)
    evaluated(elsewhere, own, tmp_path / "other")
    kept = Run(tmp_path / "other").read()["settings"]
    assert (kept["split"], kept["seed"], kept["max_side"]) == ("1", 0, 64)


def with_second_split(data: Path) -> Path:
    """The tiny data set with a second split, whose test half the first one trains on."""
    splits = data / "splits"
    named = (splits / "classInd.txt").read_text().splitlines()
    numbers = {line.split()[1]: line.split()[0] for line in named}
    train = (splits / "trainlist01.txt").read_text().splitlines()
    first = [line for line in train if "_g01_" in line]
    test = (splits / "testlist01.txt").read_text().splitlines()
    others = [f"{line} {numbers[line.split('/')[0]]}" for line in test]
    rest = [line for line in train if line not in first]
    (splits / "trainlist02.txt").write_text("\n".join([*rest, *others]) + "\n")
    (splits / "testlist02.txt").write_text("\n".join(line.split()[0] for line in first) + "\n")
    return data


def run_with(classifier: Path, folder: Path, settings: dict[str, Any], **more: object) -> Path:
    """A run of `settings`, as an earlier version left it; returns its classifier."""
    folder.mkdir(parents=True)
    record = {"command": "train", "fixed": True, "settings": settings, **more}
    (folder / "run.yaml").write_text(yaml.safe_dump(record))
    (folder / "stages.json").write_text("{}")
    return Path(shutil.copy(classifier, folder / classifier.name))


def test_a_run_that_named_its_data_relatively_is_tested_on_its_own_split_from_anywhere(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("train.as_trained.say", said.append)
    data = with_second_split(write_tiny(tmp_path / "work" / "sets" / "tiny", train_groups=2))
    typed = {"data": "sets/tiny", "split": "2", "seed": 5, "val_share": 0.5}
    videos = carve_validation(read_videos(data, DataSettings(split="2")), 0.5, 5)
    moved = shutil.copytree(data, tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    near = run_with(classifier, tmp_path / "work" / "runs" / "near", typed)
    called = run_with(classifier, tmp_path / "far", typed, called_in=str(tmp_path / "work"))
    marked = run_with(
        classifier, tmp_path / "marked", typed,
        data_mark=data_mark([videos], sources_of(videos)),
    )  # fmt: skip
    for name, own, of in (
        ("near", near, data),
        ("called", called, data),
        ("marked", marked, moved),
    ):
        settings = settings_as_trained(own, of, {"split": "1", "seed": 0, "val_share": 0.2})
        assert (settings["split"], settings["seed"], settings["val_share"]) == ("2", 5, 0.5), name
    assert not said
    evaluated(data, near, tmp_path / "out")
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[1:]
    assert len(rows) == 6 and all("_g01_" in row for row in rows)  # no clip that it has seen
    # Another data set that is called alike, from where that of the run is gone.
    other = write_tiny(tmp_path / "elsewhere" / "sets" / "tiny", train_groups=1)
    of_mark = {"data_mark": yaml.safe_load((marked.parent / "run.yaml").read_text())["data_mark"]}
    gone = run_with(classifier, tmp_path / "gone", typed, called_in=str(tmp_path / "no"), **of_mark)
    for own in (gone, marked):
        assert "split" not in settings_as_trained(own, other, {"split": "1", "seed": 0})
    assert said.pop().startswith(f"note: {marked.parent} was made of other data, sets/tiny")


def test_settings_of_other_data_are_not_taken_and_both_values_named(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny(tmp_path / "data", train_groups=1)
    settings = {"data": str(tmp_path / "gone"), "split": "2", "seed": 5, "max_side": 64}
    own = run_with(classifier, tmp_path / "run", settings)
    evaluated(data, own, tmp_path / "out")
    said = capsys.readouterr().err
    note = (
        f"note: {tmp_path / 'run'} was made of other data, {tmp_path / 'gone'}: its split=2, "
        f"seed=5 are not used for {data}, but split=1, seed=0"
    )
    assert said.count(note) == 1


def test_a_list_that_a_run_named_relatively_is_found_again_or_said_to_be_gone(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("train.as_trained.say", said.append)
    data = write_tiny(tmp_path / "work" / "tiny", train_groups=1)
    lists = Path(shutil.copytree(data / "splits", tmp_path / "work" / "lists"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    typed = {"data": "tiny", "annotations": "lists", "labelled": None}
    own = run_with(classifier, tmp_path / "work" / "run", typed)
    assert settings_as_trained(own, data, {})["annotations"] == str(lists)
    chosen = own.with_name("pairs.parquet")
    write_pairs(chosen, [], {"seed": 3, "settings": {"split": "2", "annotations": "lists"}})
    found = {"split": "2", "annotations": str(lists), "seed": 3}
    assert settings_of_pairs(chosen) == found
    assert settings_of_pairs(Path(shutil.copy(chosen, Path.cwd()))) == found | {
        "annotations": "lists"
    }
    shutil.rmtree(lists)
    assert "annotations" not in settings_as_trained(own, data, {})
    assert said == [
        f"note: {own.parent} was made with annotations=lists, which is not there and not used"
    ]


def test_the_command_refuses_other_views_before_any_work(
    data: Path, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(data), "--classifier", str(classifier), "--views", "ten"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "views is 'ten'; give CLIPSxCROPS" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
