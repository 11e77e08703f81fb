"""`l2a advise`: six questions about a data set, answered on its own training recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.files import fingerprint, write_json, write_text
from l2a.formats import DataSettings
from l2a.logs import say
from l2a.progress import in_words
from l2a.runs import Run
from train.advice.answers import QUESTIONS, Answer, cannot_say
from train.advice.arms import NONE, RULES, Bench, Drawable, HeldOut, drawable_pools
from train.advice.doubts import answer_labels, doubts_of
from train.advice.looking import CannotSay, Folds, check_eyes, open_eyes, open_for_advice
from train.advice.masks import answer_masks
from train.advice.page import write_page
from train.advice.paying import Payment, answer_pays, compare
from train.advice.recommend import Known, Setting, recommend, settings_yaml
from train.advice.reward import answer_reward
from train.advice.scenes import HeldOutScenes, held_out_clips
from train.advice.seeing import answer_eyes, answer_scenes
from train.frozen.features import FeatureBank
from train.opening import hold_to_data
from train.prepared import PreparedData
from train.scene_test.asking import ByForm, answers
from train.scene_test.clips import SceneClips
from train.settings.advice import AdviceSettings, EyesSettings
from train.settings.frozen import FrozenSettings
from train.settings.full import RunSettings
from train.stages import prepare_run

NAME = "advice"
COMMAND = "advise"

_CLIPS_PER_CORE_SECOND = 12
"""Clips of 8 frames that tsn_efficientnet_lite0 sees in a second of one core."""


@dataclass(frozen=True)
class Asked:
    """What an advice is asked with: groups of settings.

    Attributes:
        data, clips, prepare, composite, engine, run: as a training has them.
        advice: what is tried.
        eyes: the frozen network.
    """

    data: DataSettings = field(default_factory=DataSettings)
    clips: ClipSettings = field(default_factory=ClipSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    composite: CompositeSettings = field(default_factory=CompositeSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    run: RunSettings = field(default_factory=RunSettings)
    advice: AdviceSettings = field(default_factory=AdviceSettings)
    eyes: EyesSettings = field(default_factory=EyesSettings)

    def groups(self) -> tuple[Any, ...]:
        """All of them: what `Run.open` takes."""
        return (*self.shared(), self.advice, self.eyes)

    def shared(self) -> tuple[Any, ...]:
        """Those that a training has, too."""
        return self.data, self.clips, self.prepare, self.composite, self.engine, self.run


@dataclass(frozen=True)
class Advice:
    """What came of it.

    Attributes:
        answers: in the order of the questions.
        settings: for `l2a train`.
        folder: the run's.
    """

    answers: tuple[Answer, ...]
    settings: tuple[Setting, ...]
    folder: Path

    def path(self, ending: str) -> Path:
        """advice.html, .yaml or .json."""
        return self.folder / f"{NAME}.{ending}"


def advise(data: Path, out: Path, asked: Asked) -> Advice:
    """Answer the questions, and write the page, the settings and the figures.

    The test split is neither read nor segmented. What was computed before is read.

    Args:
        data: the data set's folder.
        out: the run folder; the same call continues the one that it made.
        asked: all settings.

    Raises:
        InputError: the settings are wrong, or it is no data set. Data with which a question has
            no answer is no error: the answer then says so.
    """
    check_eyes(asked.eyes)
    opened, validation = open_for_advice(
        data, out, asked.data, asked.prepare, asked.engine, asked.run, asked.advice.videos
    )
    asked = replace(asked, prepare=opened.store.settings)
    run = Run.open(out, COMMAND, asked.groups(), {"data": data})
    hold_to_data(run, opened)
    prepared = prepare_run(run, opened, asked.clips, asked.composite, sheet=True)
    run.fix_settings()
    said, known = _answered(run, prepared, asked)
    if known.eyes is not None:
        known = replace(known, validation_clips=validation)
    said["masks"] = answer_masks(prepared)
    found = Advice(tuple(said[key] for key in QUESTIONS), tuple(recommend(known)), run.folder)
    layers = str(opened.store.folder.resolve())
    text = settings_yaml(found.settings, asked.shared(), layers)
    write_text(found.path("yaml"), text)
    write_json(found.path("json"), _plain(found, data, asked))
    with run.stage("page"):
        write_page(found.path("html"), run, prepared, found.answers, found.settings, text,
                   known.doubts)  # fmt: skip
    return found


def _plain(found: Advice, data: Path, asked: Asked) -> dict[str, Any]:
    return {
        "data": str(data), "network": asked.eyes.network, "weights": asked.eyes.weights,
        "answers": {answer.key: answer.to_json() for answer in found.answers},
        "settings": {one.name: one.value for one in found.settings},
    }  # fmt: skip


def _answered(run: Run, prepared: PreparedData, asked: Asked) -> tuple[dict[str, Answer], Known]:
    """All answers but that on masks, and what settings follow from."""
    try:
        folds = Folds.deal(prepared, asked.advice.folds, asked.run.seed)
        bank = open_eyes(asked.eyes, prepared, asked.run.seed)
    except CannotSay as why:
        return {key: cannot_say(key, why) for key in QUESTIONS}, Known()
    questions = _Questions(run, prepared, asked, folds, bank)
    return questions.ask()


@dataclass
class _Questions:
    """The questions that need eyes."""

    run: Run
    prepared: PreparedData
    asked: Asked
    folds: Folds
    bank: FeatureBank

    def ask(self) -> tuple[dict[str, Answer], Known]:
        """Answer them, one after another."""
        prepared, advice = self.prepared, self.asked.advice
        pools, refused = self._pools()
        clips = held_out_clips(prepared, self.folds)
        self._announce(pools, clips)
        with self.run.stage("look"):
            scenes = self._look(pools, clips)
        bench = Bench(
            prepared, self.bank, self.folds, scenes, advice.draws, self.asked.run.seed,
            self.run.path("heads"),
        )  # fmt: skip
        with self.run.stage("compare"):
            held, few = bench.measure(pools)
        payment = compare(prepared, self.folds, held, scenes)
        said = {
            "eyes": answer_eyes(prepared, self.folds, held[NONE]),
            "pays": answer_pays(payment, held, refused | few, advice.draws),
            "scenes": answer_scenes(self.folds, held[NONE], scenes),
        }
        known = Known(
            self.asked.eyes, payment, folds=len(self.folds.parts)
        )  # fmt: skip
        with self.run.stage("reward and labels"):
            said["reward"], known = self._reward(bench, payment, held[NONE], known)
            doubts = doubts_of(bench, held[NONE])
            said["labels"] = answer_labels(prepared, doubts)
        return said, replace(known, doubts=doubts)

    def _pools(self) -> tuple[list[Drawable], dict[str, str]]:
        with self.run.stage("match"):
            return drawable_pools(self.prepared, self.asked.advice.pools, self.asked.run.seed)

    def _announce(self, pools: Sequence[Drawable], clips: SceneClips | None) -> None:
        """Say what is to be computed, and about how long that takes."""
        real = len(self.folds.measured) + len(self.prepared.rows["val"])
        views = FrozenSettings().views * len(self.folds.measured)
        pairs = len(self._pairs(pools))
        foreign = 0 if clips is None else sum(map(len, clips.cast.lists.values()))
        seconds = (real + views + pairs + foreign) / _CLIPS_PER_CORE_SECOND
        cores = torch.get_num_threads()
        say(
            f"to look at: {real} real clips and {views} views of them, {pairs} composites, "
            f"{foreign} actors and scenes apart; {1 + len(RULES) * len(pools)} arms in "
            f"{len(self.folds.parts)} folds of {self.folds.recordings} recordings"
        )
        say(
            f"that takes about {in_words(seconds / cores)} with tsn_efficientnet_lite0 on "
            f"{cores} cores, what was not seen before; the heads about as much again"
        )

    def _pairs(self, pools: Sequence[Drawable]) -> np.ndarray[Any, np.dtype[np.int64]]:
        empty = np.empty((0, 2), np.int64)
        return np.unique(np.concatenate([empty, *(pool.pairs for pool in pools)]), axis=0)

    def _look(self, pools: Sequence[Drawable], clips: SceneClips | None) -> HeldOutScenes | None:
        """Compute all features, and keep them."""
        rows = self.folds.measured
        self.bank.centre(np.concatenate([rows, self.prepared.rows["val"]]))
        self.bank.real(rows)
        pairs = self._pairs(pools)
        if len(pairs):
            self.bank.composites(pairs)
        if clips is None:
            return None
        features = self._scene_features(clips)
        return HeldOutScenes.of(clips, features, self.folds, len(self.prepared.bank))

    def _scene_features(self, clips: SceneClips) -> ByForm:
        how = clips.source.settings
        pasted = [how.blend, how.feather, how.match_colour]
        # The features of all banks of a shared folder lie here: ids alone do not tell the clips.
        made_of = clips.source.bank.fingerprint
        mark = fingerprint([made_of, clips.cast.mark, clips.source.crop, pasted])
        path = self.bank.folder / f"held-out-{mark}.safetensors"
        if not path.is_file():
            found = answers(lambda batch: self.bank.of(batch).numpy(), clips)
            save_tensors(path, {form: torch.from_numpy(one) for form, one in found.items()})
        return {form: tensor.numpy() for form, tensor in load_tensors(path)[0].items()}

    def _reward(
        self, bench: Bench, payment: Payment, none: HeldOut, known: Known
    ) -> tuple[Answer, Known]:
        arm = payment.best
        if arm is None or arm.pool is None:
            why = "No pool could be drawn from, so there are no pairs to reward."
            return cannot_say("reward", why), known
        strength = float(np.median(none.strengths))
        answer, validation, crossfit = answer_reward(bench, arm.pool, arm.rule, strength)
        recordings = self.prepared.recordings[self.prepared.rows["val"]]
        return answer, replace(
            known, validation=validation, crossfit=crossfit, recordings=len(np.unique(recordings))
        )
