"""The scene test: its clips against pixels set by hand, its figures against classifiers that know
only scenes or only actors, and that nothing of it can be trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tiny_data import write_tiny
from tiny_run import train_tiny
from torch import Tensor

from compositing.engines import make_engine
from compositing.layers import LayerRecord
from compositing.making import LayerMaker
from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.cli import main
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.errors import InputError
from l2a.formats import DataSettings
from l2a.networks import build_network
from l2a.pairs import read_pairs
from l2a.videos import Video, VideoSet
from train.batches import ClipSource
from train.opening import open_data
from train.prepared import PreparedData
from train.scene_test import (
    FORMS,
    NoSceneTest,
    SceneClips,
    SceneFeatures,
    SceneScores,
    logits_of,
    measure_scenes,
    measure_scenes_from_logits,
    scene_features,
)
from train.scene_test.asking import answers
from train.scene_test.cast import Cast, Company, draw_cast
from train.scene_test.clips import GREY, open_apart
from train.scene_test.picture import draw_scene_test
from train.scene_test.scores import GAP, SAID
from train.settings.full import RunSettings

GEOMETRY = ClipSettings(num_frames=2, height=12, width=16, crop=10)
CLASSES = ("dig", "run", "wave")
ACTOR = (slice(None), slice(4, 8), slice(6, 10))
"""Where every actor is, in a stored clip."""
ACTOR_SEEN = (slice(None), slice(3, 7), slice(3, 7))
"""The same in the centre crop, which begins at row 1 and column 3."""


def record(id_: str, *, foreground: str = "", background: str = "") -> LayerRecord:
    return LayerRecord(
        id_, 2, 12, 16, 12.0, 0.1, 1.0, 0.1, 0.0, foreground, background, "s", "i", "f", "d", ""
    )


def pixels(label: int, recording: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames and clean background: a scene of one colour, an actor of another.

    Red of the scene is 10 times, green of the actor 50 times the class; blue is the recording.
    """
    shape = (GEOMETRY.num_frames, GEOMETRY.height, GEOMETRY.width, 3)
    scene = np.full(shape, (10 * label, 0, recording), np.uint8)
    frames = scene.copy()
    frames[ACTOR] = (200, 50 * label, recording)
    return frames, scene


def prepared_by_hand(folder: Path, unfit: dict[str, LayerRecord] | None = None) -> PreparedData:
    """Twelve test videos, four recordings of each of three classes."""
    names = [(c, r) for c in range(3) for r in range(4)]
    videos = [
        Video(f"{CLASSES[c]}{r}", folder / "x", CLASSES[c], f"g{c}{r}", "test") for c, r in names
    ]
    bank = ClipBank.create_or_resume(folder / "bank", [v.id for v in videos], GEOMETRY, "hand")
    mask = np.zeros((2, 12, 16), bool)
    mask[ACTOR] = True
    for row, (label, recording) in enumerate(names):
        frames, scene = pixels(label, recording)
        bank.write(row, frames, mask, scene)
    labels = np.array([label for label, _ in names], np.int64)
    records = {v.id: record(v.id) for v in videos} | (unfit or {})
    rows = {"train": np.empty(0, np.int64), "val": np.empty(0, np.int64), "test": np.arange(12)}
    store = LayerMaker(folder / "layers", PrepareSettings(segmenter="motion"))
    return PreparedData(
        VideoSet(folder, "hand", CLASSES, tuple(videos)), bank,
        ClipSource(bank, labels, 3, GEOMETRY.crop, CompositeSettings()), rows, records, store,
    )  # fmt: skip


@pytest.fixture
def clips(tmp_path: Path) -> SceneClips:
    return SceneClips.of(prepared_by_hand(tmp_path), CLASSES)


def by_scene(batch: Tensor) -> NDArray[np.float32]:
    """Names the class of the scene in the corner; 0 where there is none."""
    return np.eye(3, dtype=np.float32)[np.minimum(batch[:, 0, 0, 0, 0].numpy() // 10, 2)]


def by_actor(batch: Tensor) -> NDArray[np.float32]:
    """Names the class of the actor in the middle; 0 where there is none."""
    return np.eye(3, dtype=np.float32)[batch[:, 0, 4, 4, 1].numpy() // 50 % 3]


# --- the clips ---------------------------------------------------------------------------------


def test_every_form_has_the_pixels_that_it_should(clips: SceneClips) -> None:
    seen = set()
    for form, batch, chosen in clips.forms(size=5):
        seen.add(form)
        pairs = clips.cast.lists[form].pairs[chosen]
        for (actor, scene), clip, label in zip(pairs, batch.clips, batch.labels, strict=True):
            expected = np.empty((2, 10, 10, 3), np.uint8)
            expected[:] = GREY if form == "actor_alone" else (10 * (scene // 4), 0, scene % 4)
            if form != "scene_alone":
                expected[ACTOR_SEEN] = (200, 50 * (actor // 4), actor % 4)
            assert np.array_equal(clip.numpy(), expected), (form, actor, scene)
            assert label.argmax() == actor // 4
    assert seen == set(FORMS)


def test_soft_edges_and_colours_are_those_of_the_run_and_grey_takes_none(tmp_path: Path) -> None:
    prepared = prepared_by_hand(tmp_path)
    source = replace(prepared.source, settings=CompositeSettings(match_colour=1.0, shift=0.9))
    clips = SceneClips.of(replace(prepared, source=source), CLASSES)
    listed = clips.cast.lists["mixed_rand"]
    mixed = clips.batch("mixed_rand", np.arange(len(listed))).clips
    assert torch.equal(mixed, source.composites(listed.pairs).clips)
    assert not np.array_equal(mixed[0].numpy()[ACTOR_SEEN][0, 0, 0], (200, 0, 0))  # recoloured
    alone = clips.batch("actor_alone", np.arange(1)).clips[0].numpy()
    assert np.array_equal(alone[ACTOR_SEEN][0, 0, 0], (200, 0, 0))


def test_who_knows_only_scenes_and_who_knows_only_actors(clips: SceneClips) -> None:
    scenes, actors = measure_scenes(by_scene, clips), measure_scenes(by_actor, clips)
    said = {figure: scenes.estimate(figure).mean for figure in (*FORMS, SAID, GAP)}
    assert said["real"] == said["mixed_same"] == said["scene_alone"] == said[SAID] == said[GAP] == 1
    assert said["mixed_rand"] == 0
    said = {figure: actors.estimate(figure).mean for figure in (*FORMS, SAID, GAP)}
    assert said["real"] == said["mixed_same"] == said["mixed_rand"] == said["actor_alone"] == 1
    assert said[SAID] == said[GAP] == 0
    change = actors.difference(scenes, "mixed_rand")
    assert (change.mean, change.error, change.count) == (1, 0, 12)


def test_a_video_alone_in_its_class_is_left_out_of_mixed_same(tmp_path: Path) -> None:
    unfit = {f"dig{r}": record(f"dig{r}", background="hole") for r in (1, 2, 3)}
    clips = SceneClips.of(prepared_by_hand(tmp_path, unfit), CLASSES)
    assert clips.cast.left_out == 1  # dig0, whose own is the only scene of its class
    scores = measure_scenes(by_actor, clips)
    assert np.flatnonzero(np.isnan(scores.values["mixed_same"])).tolist() == [0]
    assert [scores.estimate(f).count for f in ("real", "mixed_same", "scene_alone", GAP)] == [
        12, 11, 9, 11,
    ]  # fmt: skip


def test_too_few_fit_videos_are_said(tmp_path: Path) -> None:
    unfit = {f"dig{r}": record(f"dig{r}", foreground="small") for r in (1, 2, 3)}
    with pytest.raises(NoSceneTest, match="of 12 test videos 9 are fit as foreground and 12"):
        SceneClips.of(prepared_by_hand(tmp_path, unfit), CLASSES)


def test_one_trunk_is_asked_once_and_kept_when_it_comes_again(
    clips: SceneClips, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    networks = [build_network("tiny3d", 3) for _ in range(3)]
    networks[1].trunk.load_state_dict(networks[0].trunk.state_dict())  # another head alone
    kept = clips.source.bank.folder / "features"
    asked = SceneFeatures(clips)
    logits = [asked.logits(networks[0])]
    assert not kept.exists()
    logits.append(asked.logits(networks[1]))
    (path,) = kept.iterdir()
    logits.append(asked.logits(networks[2]))
    assert list(kept.iterdir()) == [path]
    for found, network in zip(logits, networks, strict=True):
        for form, values in answers(logits_of(network), clips).items():
            assert np.allclose(found[form], values, atol=1e-5)
    monkeypatch.setattr("train.scene_test.asking.scene_features", None)
    again = SceneFeatures(clips).logits(networks[1])
    assert all(np.allclose(again[form], logits[1][form], atol=1e-6) for form in FORMS)


def test_features_of_a_trunk_and_a_head_are_the_networks_own_answers(clips: SceneClips) -> None:
    torch.manual_seed(0)
    network = build_network("tiny3d", 3)
    whole = measure_scenes(logits_of(network), clips)
    features = scene_features(network.trunk, clips)
    head = {
        form: network.head(torch.from_numpy(f)).detach().numpy() for form, f in features.items()
    }
    apart = measure_scenes_from_logits(head, clips)
    for figure, values in whole.values.items():
        assert np.array_equal(values, apart.values[figure], equal_nan=True)


# --- the list ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=24))
def test_who_stands_on_whose_scene(rows: list[tuple[int, int]]) -> None:
    """Recordings may reach over classes here: never an actor's own, whatever its class."""
    labels, recordings = np.array(rows, np.int64).T
    ids = [f"v{number}" for number in range(len(rows))]
    every = np.arange(len(rows))
    cast = draw_cast(Company(ids, labels, recordings), every, every)
    for form, listed in cast.lists.items():
        actors, scenes = listed.pairs.T
        if not form.startswith("mixed"):
            assert np.array_equal(actors, every) and np.array_equal(scenes, every)
            continue
        assert len({tuple(pair) for pair in listed.pairs.tolist()}) == len(listed)
        assert np.all(recordings[actors] != recordings[scenes])
        assert np.all((labels[actors] == labels[scenes]) == (form == "mixed_same"))
        for actor in every:
            foreign = recordings != recordings[actor]
            able = foreign & ((labels == labels[actor]) == (form == "mixed_same"))
            assert np.sum(actors == actor) == min(4, able.sum())
            if form == "mixed_rand":  # a class twice only when all have been there
                times = np.bincount(labels[scenes[actors == actor]], minlength=4)
                short = np.bincount(labels[able], minlength=4) > times
                assert times.max(initial=0) <= times[short].min(initial=9) + 1


def cast_of(ids: list[str]) -> Cast:
    labels = np.array([int(id_[0]) for id_ in ids])
    recordings = np.array([int(id_[1:]) for id_ in ids])
    every = np.arange(len(ids))
    return draw_cast(Company(ids, labels, recordings), every, every)


def test_a_video_that_leaves_changes_nothing_for_those_who_did_not_need_it() -> None:
    ids = [f"{label}{10 * label + r}" for label in range(6) for r in range(8)]
    before, after = cast_of(ids).to_json(), cast_of([id_ for id_ in ids if id_ != "333"]).to_json()
    for form in ("mixed_same", "mixed_rand"):
        kept = [pair for pair in before[form] if "333" not in pair]
        assert {tuple(pair) for pair in kept} <= {tuple(pair) for pair in after[form]}
    assert cast_of(ids).mark == cast_of(ids).mark != cast_of(ids[::-1]).mark


# --- figures -----------------------------------------------------------------------------------


def test_scores_survive_json(clips: SceneClips) -> None:
    scores = measure_scenes(by_scene, clips)
    back = SceneScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert back.summary() == scores.summary()
    assert SceneScores.mean([scores, back]).summary() == scores.summary()


# --- the picture -------------------------------------------------------------------------------


def test_the_picture_is_the_same_each_time(clips: SceneClips, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_scene_test(tmp_path / name, clips, CLASSES, by_scene)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert any(np.all(picture == GREY, axis=-1).ravel())  # an actor alone
    draw_scene_test(tmp_path / "c.png", clips, CLASSES, None, count=1)
    assert Image.open(tmp_path / "c.png").width < picture.shape[1]


# --- nothing leaks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene_run")
    write_tiny(folder / "data", train_groups=3, test_groups=2)
    return train_tiny(folder, repeats=1, probe=0.0, export=True)


def listed(run: Path, split: str) -> set[str]:
    lines = (run.parent / "data" / "splits" / f"{split}list01.txt").read_text().splitlines()
    return {f"videos/{line.split()[0]}" for line in lines}


def records(folder: Path) -> set[str]:
    return {json.loads(path.read_text())["id"] for path in folder.iterdir()}


def test_no_test_video_gets_where_training_looks(run: Path) -> None:
    train, test = listed(run, "train"), listed(run, "test")
    assert records(run / "scene_test" / "layers" / "records") == test
    assert records(run / "layers" / "records") < train
    for name in ("pairs.parquet", "pool_sample.parquet"):
        pairs, _ = read_pairs(run / name)
        assert {id_ for p in pairs for id_ in (p.foreground, p.background)} < train
    for index in run.glob("bank/*/index.json"):
        bank = ClipBank.open(index.parent)
        layered = {bank.ids[row] for row in np.flatnonzero(bank.state == RowState.LAYERS)}
        assert layered == records(run / "layers" / "records")
    (index,) = run.glob("scene_test/bank/*/index.json")
    assert set(ClipBank.open(index.parent).ids) == test
    exported = [json.loads(path.read_text()) for path in run.glob("export/records/*.json")]
    assert not {id_ for id_ in test if id_ in json.dumps(exported)}
    for path in run.glob("export/**/*.json*"):
        assert not any(id_ in path.read_text() for id_ in test)


def test_its_layers_make_no_test_video_usable(run: Path, tmp_path: Path) -> None:
    """Given to a training as its store, they are as if they were not there."""
    small = PrepareSettings(segmenter="motion", min_gamma=0.005)
    store = run / "scene_test" / "layers"
    before = records(store / "records")
    opened = open_data(
        run.parent / "data", tmp_path, DataSettings(), small, EngineSettings(workers=1),
        RunSettings(layers=store),
    )  # fmt: skip
    prepared = opened.prepare(ClipSettings(4, 32, 40, 32), CompositeSettings())
    train = listed(run, "train")
    assert before <= records(store / "records")
    assert set(prepared.records) < train
    for side in ("foreground", "background"):
        rows = prepared.usable_rows(side)  # type: ignore[arg-type]
        assert len(rows) and {prepared.bank.ids[row] for row in rows} < train
    bare = prepared.rows["test"][:1]
    with pytest.raises(InputError, match="only training videos may be composited"):
        prepared.source.composites(np.array([[prepared.rows["train"][0], bare[0]]]))
    with pytest.raises(InputError, match="is not a training video"):
        prepared.refuse_others(bare)


def test_scenes_prepared_apart_make_no_pool(tmp_path: Path) -> None:
    prepared = prepared_by_hand(tmp_path)
    assert len(prepared.usable_rows("foreground")) == len(prepared.usable_rows("background")) == 0
    with pytest.raises(InputError, match="dig0 is not a training video"):
        prepared.refuse_others(np.array([[0, 5]]))


# --- commands ----------------------------------------------------------------------------------


def test_training_with_compare_tests_every_arm(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["scene_test"]["actors"] == 12 and metrics["scene_test"]["recordings"] == 6
    for name, arm in metrics["arms"].items():
        assert arm["scene_test"]["mean"] == arm["scene_test"]["repeats"][0]
        assert ("change" in arm["scene_test"]) == (name != "none")
        own = json.loads((run / "stage_two" / f"{name}-0" / "scene_test.json").read_text())
        assert own["summary"] == arm["scene_test"]["mean"]
        # The centre crop of test clips is what accuracy is measured on, too.
        assert own["summary"]["real"]["mean"] == pytest.approx(arm["top1_mean"], abs=1e-6)
    text = (run / "table.txt").read_text()
    assert "mixed-rand" in text and text.count("  − no composites") == 2
    page = (run / "report.html").read_text()
    assert 'id="scene-test"' in page and "12 of 12 test videos have an actor" in page
    assert (run / "scene_test.png").is_file()


def test_again_nothing_is_measured_twice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "metrics.json").read_bytes()
    monkeypatch.setattr("train.scene_test.stage.measure_scenes_from_logits", None)
    monkeypatch.setattr("train.two_stage.write_report", lambda folder: None)
    train_tiny(run.parent, repeats=1, probe=0.0, export=True)
    assert (run / "metrics.json").read_bytes() == before


def test_evaluate_gives_what_training_gave(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its settings of masks are those of the run, without being given again."""
    words = ["evaluate", str(run.parent / "data"), "--scene-test", "--workers", "1"]
    words += ["--classifier", str(run / "classifier.safetensors"), "--out", str(tmp_path / "eval")]
    for options in ([], ["--quiet"]):
        assert main([*words, *options]) == 0
    found = capsys.readouterr().out
    assert found.count("mixed-rand") == found.count("12 of 12 test videos have an actor") == 2 * 1
    theirs = json.loads((run / "stage_two" / "selector-0" / "scene_test.json").read_text())
    ours = json.loads((tmp_path / "eval" / "scene_test.json").read_text())
    assert ours["values"] == theirs["values"] and ours["on"]["actors"] == 12
    assert (tmp_path / "eval" / "scene_test.png").is_file()
    assert main([*words, "--subset", "val"]) == 2
    assert "--scene-test is of the test split" in capsys.readouterr().err


def test_without_masks_of_test_videos_it_is_left_out_in_one_line(tmp_path: Path) -> None:
    data = write_tiny(tmp_path / "data", train_groups=2, test_groups=2)
    engine, prepare = EngineSettings(workers=1), PrepareSettings(segmenter="motion")
    opened = open_data(data, tmp_path, DataSettings(), prepare, engine, RunSettings())

    class Lacking:
        identity = "none"

        def check(self, videos: object) -> None:
            raise InputError("There are no masks of WaveHand.")

    shared = RunSettings(layers=tmp_path / "store", bank=tmp_path / "banks")
    apart = open_apart(opened.videos, prepare, make_engine(engine), tmp_path, shared)
    assert apart.store.folder == tmp_path / "store-scene-test"
    assert apart.shared_banks == tmp_path / "banks-scene-test"
    lacking = LayerMaker(tmp_path / "none", prepare, segmenter=Lacking())  # type: ignore[arg-type]
    empty = replace(apart, videos=apart.videos.only("val"))
    without = replace(apart, store=lacking)
    for one, why in ((without, "no masks of WaveHand"), (empty, "there are 0 test")):
        with pytest.raises(NoSceneTest, match=why):
            SceneClips.build(one, ClipSettings(4, 32, 40, 32), CompositeSettings())
