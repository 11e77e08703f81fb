"""The scene test of a run: every classifier that stage two left is asked about the same clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compositing.segmenters.auto import resolve_segmenter
from compositing.settings import CompositeSettings
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import read_json, write_json
from l2a.logs import LOGGER, say
from l2a.networks import VideoNetwork
from l2a.runs import Run
from train.arms import arm_title, baseline
from train.classifier import load_classifier
from train.frozen.head import HEADS_FILE, load_heads
from train.opening import Opened
from train.scene_test.asking import SceneFeatures, logits_of
from train.scene_test.clips import FOLDER, NoSceneTest, SceneClips, open_apart
from train.scene_test.picture import draw_scene_test
from train.scene_test.scores import FIGURES, SceneScores, measure_scenes, measure_scenes_from_logits
from train.scene_test.tables import Sample, arm_rows, metrics_of, scene_table
from train.settings.full import ClassifierSettings, FullSettings, StageTwoSettings

PICTURE = "scene_test.png"
RESULT = "scene_test.json"


@dataclass(frozen=True)
class SceneTest:
    """What came of a scene test.

    Attributes:
        on: what was measured on.
        scores: arm ─► one for each of its repeats.
    """

    on: Sample
    scores: Mapping[str, Sequence[SceneScores]]

    @property
    def text(self) -> str:
        """A table for the terminal."""
        base = arm_title(baseline(self.scores) or "none")
        rows = [
            (f"  − {base}" if is_change else arm_title(name), figures)
            for name, figures, is_change in arm_rows(self.scores)
        ]
        return scene_table(rows, self.on)

    def add_to(self, metrics: dict[str, Any]) -> None:
        """Put the results into what `metrics.json` says: in all, and of each arm."""
        metrics["scene_test"] = asdict(self.on)
        for name, kept in metrics_of(self.scores).items():
            metrics["arms"][name]["scene_test"] = kept


def wants_scene_test(stage: StageTwoSettings) -> bool:
    """Whether a run ends with a scene test: where it is asked for, or by `--compare`."""
    return stage.compare if stage.scene_test is None else stage.scene_test


def run_scene_test(
    run: Run, opened: Opened, settings: FullSettings, trainings: Mapping[str, Sequence[Path]]
) -> SceneTest | None:
    """The stage that asks each trained classifier about the actors and scenes of the test videos.

    A classifier that was asked before about the same clips is not asked again.

    Args:
        run: of a finished stage two.
        opened: its data set, with the layers of training.
        settings: of the run.
        trainings: arm ─► the folders of its trainings, each with its classifier.

    Returns:
        None where it is not wanted, or cannot be: a line then says why.
    """
    if not wants_scene_test(settings.stage_two):
        return None
    with run.stage("scene test"):
        try:
            apart = open_apart(
                opened.videos, opened.store.settings, opened.engine, run.folder, settings.run
            )
            clips = SceneClips.build(apart, settings.clips, settings.composite)
        except NoSceneTest as error:
            say(f"scene test: left out, {error}")
            return None
        write_json(run.path(FOLDER, "clips.json"), clips.cast.to_json())
        asked = SceneFeatures(clips)
        scores = {
            name: tuple(
                one
                for folder in folders
                for one in _scores(folder, clips, asked, settings.classifier)
            )
            for name, folders in trainings.items()
        }
        main = next(iter(trainings.values()))[0]
        draw_classifier(run.path(PICTURE), clips, main, settings.classifier)
    return SceneTest(Sample.of(clips), scores)


def _scores(
    folder: Path, clips: SceneClips, asked: SceneFeatures, settings: ClassifierSettings
) -> list[SceneScores]:
    """Those of the classifier in a training's folder, measured or read; of the heads of all draws,
    where the trunk was frozen."""
    path, mark = folder / RESULT, clips.cast.mark
    if path.is_file():
        before = read_json(path)
        if isinstance(before, dict) and before.get("clips") == mark:
            return [SceneScores.from_json(one) for one in before.get("draws", [before])]
    LOGGER.debug(f"scene test of {folder.name}")
    network, _ = load_classifier(folder / "classifier.safetensors")
    network.move_to(pick_device(settings.device), settings.precision)
    if not (folder / HEADS_FILE).is_file():
        scores = measure_scenes_from_logits(asked.logits(network), clips)
        write_json(path, {"clips": mark, **scores.to_json()})
        return [scores]
    found = []
    for head in load_heads(folder / HEADS_FILE):
        head.put_into(network)
        found.append(measure_scenes_from_logits(asked.logits(network), clips))
    write_json(path, {"clips": mark, "draws": [scores.to_json() for scores in found]})
    return found


def draw_classifier(
    path: Path, clips: SceneClips, folder: Path, settings: ClassifierSettings
) -> None:
    """Draw what the classifier in a training's folder says of a few clips in each form."""
    network, card = load_classifier(folder / "classifier.safetensors")
    network.move_to(pick_device(settings.device), settings.precision)
    draw_scene_test(path, clips, tuple(card["classes"]), logits_of(network))


def open_tested(opened: Opened, out: Path, settings: FullSettings) -> Opened:
    """The test videos of an evaluation, opened for its scene test; `auto` becomes a segmenter.

    Raises:
        InputError: a back end is unknown, or its files are not there.
    """
    videos = opened.videos.of_split("test")
    own = out / FOLDER / "layers"
    resolved = resolve_segmenter(settings.prepare, videos, settings.engine, (out, own))
    if resolved.sentence:
        say(resolved.sentence)
    return open_apart(opened.videos, resolved.settings, opened.engine, out, settings.run)


def scene_test_of_one(
    run: Run, apart: Opened, composite: CompositeSettings, network: VideoNetwork,
    card: Mapping[str, Any],
) -> str:  # fmt: skip
    """The scene test of one classifier: writes scene_test.json and scene_test.png.

    Args:
        run: gets the files.
        apart: of `open_tested`.
        composite: how the mixed forms are composited.
        network: the classifier, where it is to run.
        card: what its file says of it: classes and clips.

    Returns:
        A table for the terminal; or a sentence that says why there is none.
    """
    classes = tuple(card["classes"])
    with run.stage("scene test"):
        try:
            clips = SceneClips.build(apart, ClipSettings(**card["clips"]), composite, classes)
        except NoSceneTest as error:
            return f"scene test: left out, {error}"
        write_json(run.path(FOLDER, "clips.json"), clips.cast.to_json())
        predict = logits_of(network)
        scores, on = measure_scenes(predict, clips), Sample.of(clips)
        write_json(run.path(RESULT), {"on": asdict(on), **scores.to_json()})
        draw_scene_test(run.path(PICTURE), clips, classes, predict)
    figures = {figure: scores.estimate(figure) for figure in FIGURES}
    return scene_table([("this classifier", figures)], on)


def refuse_other_split(subset: str) -> None:
    """Raise `InputError` for another split than test, of which alone scenes are tested."""
    if subset != "test":
        raise InputError(
            f"--scene-test is of the test split, and --subset is {subset}; leave one of them out."
        )
