"""Stage two: the classifier on real and composited clips (Sec. 4.2), and what it gained.

Each arm is a way to choose pairs, an augmentation, or both (`train/arms.py`). Every arm draws the
same real clips in the same order for the same number of steps, so that only these differ; but for
the real clips that `--drop-real` leaves out of selected arms, for as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2a.devices import pick_device
from l2a.files import read_json, write_json
from l2a.progress import Report, progress
from train.accuracy import Arm
from train.arms import ArmPlan
from train.classifier import make_classifier, predict, save_classifier
from train.learning import Learns, Supervises, real_rows
from train.loading import Loading
from train.memory import memory_for_training
from train.metrics import measure
from train.mix import NO_PAIRS, SEED_STRIDE, TrainingMix
from train.parallel import TrainingPool
from train.prepared import PreparedData
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.tracking import Tracker
from train.trainer import Trainer, TrainingJob

CLASSIFIER = "classifier.safetensors"
"""The classifier of a training, in its folder."""

COST = "cost.json"
"""What a training took: steps, clips that went through the network, seconds."""


@dataclass(frozen=True)
class Training:
    """One training of an arm.

    Attributes:
        plan: the arm.
        pairs: bank rows of the pairs to composite, int64 `[m, 2]`; `m` may be 0.
        repeat: from 0.
    """

    plan: ArmPlan
    pairs: NDArray[np.int64]
    repeat: int

    @property
    def folder(self) -> str:
        """Its folder's name: "name-repeat", with "_" for each ":"."""
        return f"{self.plan.name.replace(':', '_')}-{self.repeat}"


@dataclass(frozen=True)
class StageTwo:
    """What all arms have in common.

    Attributes:
        prepared: the data set.
        classifier: how a classifier is trained.
        stage: how composites join the real clips, and how often it is trained.
        folder: where results and states go.
        seed: the first repeat's.
        workers: as `--workers` says: without a GPU, trainings at a time; with one, processes that
            make batches.
        dropped: bank rows of the real clips that arms with `ArmPlan.drops` are trained without,
            int64.
        learns: gives objective and batches of each arm; None for cross-entropy alone.
        clips_per_epoch: real clips that an epoch draws, where that is more than an arm has.
        replaced: composites take the place of real clips in some arm of the run: those without any
            draw as many more real ones, for all arms to take as many steps of as many clips.
    """

    prepared: PreparedData
    classifier: ClassifierSettings
    stage: StageTwoSettings
    folder: Path
    seed: int
    workers: int = 0
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    learns: Learns | None = None
    clips_per_epoch: int = 0
    replaced: bool = False

    def run(
        self, plans: Sequence[ArmPlan], pairs: Mapping[str, NDArray[np.int64]]
    ) -> tuple[Arm, ...]:
        """Train and test a classifier `stage.repeats` times for each arm; finished trainings are
        not run again.

        Args:
            plans: the arms.
            pairs: `ArmPlan.pairs` ─► bank rows of the pairs to composite, int64 `[m, 2]`.

        Raises:
            InputError: a pair names a video that is not of training.
        """
        for rows in pairs.values():
            self.prepared.refuse_others(rows)
        trainings = [
            Training(plan, pairs[plan.pairs], repeat)
            for plan in plans
            for repeat in range(self.stage.repeats)
        ]
        device = pick_device(self.classifier.device)
        together = TrainingPool.of(self.workers, len(trainings), device)
        left = [training for training in trainings if not self._done(training).is_file()]
        if together.processes > 1 and len(left) > 1:
            # The long ones first, so that no core waits for one that began last.
            left.sort(key=lambda training: len(training.pairs) == 0)
            with progress("train", "classifiers") as report:
                report(len(trainings) - len(left), len(trainings))
                # Each takes its share of the cores as it is: batches come from a thread.
                ended = together.map(replace(self, workers=1).train_quietly, left)
                for done, _ in enumerate(ended, len(trainings) - len(left) + 1):
                    report(done, len(trainings))
        else:
            for training in left:
                title = f"train {training.plan.name} {training.repeat + 1}/{self.stage.repeats}"
                with progress(title, "epochs") as report, together.here():
                    self.train(training, report)
        return tuple(self._arm(plan.name, trainings) for plan in plans)

    def train(self, training: Training, report: Report) -> None:
        """Train and test once, and write the results; `report` is called after each epoch."""
        settings, prepared, plan = self.classifier, self.prepared, training.plan
        place, seed = self.folder / training.folder, self.seed + SEED_STRIDE * training.repeat
        device, classes = pick_device(settings.device), prepared.videos.classes
        rows = real_rows(prepared, plan, self.dropped)
        composites = self.stage.composites_per_batch or settings.batch_size
        clips = max(len(prepared.rows["train"]), self.clips_per_epoch)
        if self.replaced and not len(training.pairs):
            clips = settings.batch_size * math.ceil(clips / (settings.batch_size - composites))
        mix = TrainingMix(
            rows, training.pairs, composites, self.stage.replace_real, plan.augmentation, clips
        )
        learns = self.learns or Supervises(prepared.source, settings)
        with memory_for_training(settings, device):
            network = make_classifier(settings, len(classes), seed, device)
            objective, batches = learns(plan, network, mix, seed)
            trainer = Trainer(TrainingJob(
                network, objective, batches, settings, seed, Loading.of(self.workers, device),
                place / "state.safetensors",
            ))  # fmt: skip
            with Tracker(place / "tensorboard", purge_step=trainer.epoch) as tracker:

                def on_epoch(epoch: int, figures: dict[str, float]) -> None:
                    tracker.scalars("classifier", figures, epoch)
                    report(epoch + 1, settings.epochs)

                trainer.train(on_epoch)
        network, rows = objective.final(network), prepared.rows["test"]
        metrics = measure(
            predict(network, prepared.source, rows), prepared.source.labels[rows], classes,
            prepared.recordings[rows],
        )  # fmt: skip
        save_classifier(place / "classifier.safetensors", network, classes, prepared.bank.settings)
        write_json(place / COST, trainer.cost)
        write_json(self._done(training), metrics.to_json())
        (place / "state.safetensors").unlink(missing_ok=True)

    def train_quietly(self, training: Training) -> None:
        """`train` in a process next to others, all of which would write to one screen."""
        self.train(training, lambda done, total: None)

    def folders(self, plans: Sequence[ArmPlan]) -> dict[str, list[Path]]:
        """Arm ─► the folders of its trainings, in order of their repeats."""
        repeats = range(self.stage.repeats)
        return {
            plan.name: [self.folder / Training(plan, NO_PAIRS, repeat).folder for repeat in repeats]
            for plan in plans
        }

    def _done(self, training: Training) -> Path:
        """The file that a training writes when all else is written."""
        return self.folder / training.folder / "metrics.json"

    def _arm(self, name: str, trainings: Sequence[Training]) -> Arm:
        own = [training for training in trainings if training.plan.name == name]
        return Arm(name, tuple(read_json(self._done(training)) for training in own))


def costs_of(folders: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, float]]:
    """Arm ─► steps, clips and seconds of its first training; arms without such a file left out."""
    files = {name: place[0] / COST for name, place in folders.items()}
    return {name: read_json(path) for name, path in files.items() if path.is_file()}
