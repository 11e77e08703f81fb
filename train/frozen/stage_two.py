"""Stage two with a frozen trunk: a head for each draw of pairs, in place of a training.

The head has one optimum, so that a result depends on no seed of a training. What is left to chance
is which pairs are drawn; arms that draw are therefore repeated with fresh draws, which cost seconds
once features are kept, and their means are compared with the standard error over draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import read_json, write_json
from l2a.logs import LOGGER, say
from l2a.networks import VideoNetwork
from l2a.progress import progress
from train.accuracy import Arm
from train.arms import SUPERVISED, ArmPlan
from train.batches import ClipBatch
from train.classifier import make_classifier, save_classifier
from train.frozen.features import FeatureBank
from train.frozen.head import (
    HEADS_FILE,
    HeadProblem,
    LinearHead,
    Strength,
    choose_l2,
    fit_heads,
    load_heads,
    save_heads,
)
from train.frozen.training_set import SetMaker, real_set
from train.learning import real_rows
from train.metrics import measure
from train.mix import NO_PAIRS
from train.objectives.table import find_method
from train.prepared import PreparedData
from train.semi_supervised.learning import SemiLearns
from train.semi_supervised.on_features import FeatureViews, train_on_features
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, StageTwoSettings
from train.stage_two import COST, Training
from train.tracking import Tracker

DRAWS_FILE = "draws.json"
"""An arm's result: metrics of each draw, the strength, and the losses that chose it."""

_CHOSEN_ON = 4
"""Draws that choose an arm's strength together: the loss on validation hardly varies more."""

Draws = Callable[[str], Sequence[NDArray[np.int64]]]
"""`ArmPlan.pairs` ─► the draws of pairs, bank rows int64 `[m, 2]` each."""


@dataclass(frozen=True)
class FrozenStageTwo:
    """What all arms have in common.

    Attributes:
        prepared: the data set.
        classifier: whose trunk is frozen.
        stage: how composites join the real clips.
        frozen: views, draws and the strength of the penalty.
        folder: where results go.
        seed: views and draws follow from it.
        dropped: bank rows of the real clips that heads of arms with `ArmPlan.drops` are fitted
            without, int64.
        learns: what other methods of the semi-supervised setting learn by; None in others.
    """

    prepared: PreparedData
    classifier: ClassifierSettings
    stage: StageTwoSettings
    frozen: FrozenSettings
    folder: Path
    seed: int
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    learns: SemiLearns | None = None

    def run(self, plans: Sequence[ArmPlan], draws: Draws) -> tuple[Arm, ...]:
        """Fit and test the heads of each arm; what an earlier call has finished is read.

        Args:
            plans: the arms.
            draws: asked for the pairs of arms that are not finished.
        """
        for plan in plans:
            if not (self._place(plan) / DRAWS_FILE).is_file():
                self._fit_arm(plan, draws(plan.pairs))
        return tuple(self._arm(plan) for plan in plans)

    def folders(self, plans: Sequence[ArmPlan]) -> dict[str, list[Path]]:
        """Arm ─► the folder that holds its first draw's classifier, and the heads of all."""
        return {plan.name: [self._place(plan)] for plan in plans}

    def _place(self, plan: ArmPlan) -> Path:
        return self.folder / Training(plan, NO_PAIRS, 0).folder

    def _arm(self, plan: ArmPlan) -> Arm:
        found = read_json(self._place(plan) / DRAWS_FILE)
        return Arm(plan.name, tuple(found["results"]), found["l2"])

    @cached_property
    def _network(self) -> VideoNetwork:
        return frozen_network(self.prepared, self.classifier, self.seed)

    @cached_property
    def _bank(self) -> FeatureBank:
        trunk = self._network.trunk
        return FeatureBank(trunk, self.prepared, self.frozen, self.classifier.flip, self.seed)

    def _fit_arm(self, plan: ArmPlan, drawn: Sequence[NDArray[np.int64]]) -> None:
        """Fit and test a head for each draw, and write the results."""
        if plan.method:
            self._train_method(plan)
            return
        if plan.augmentation is not None:
            # Features of augmented batches serve once: --repeats says how often they are made.
            drawn = [drawn[draw % len(drawn)] for draw in range(self.stage.repeats)]
        elif len(drawn) > 1:
            # All draws at once: one bar, and what two of them share is made once.
            self._bank.composites(np.unique(np.concatenate(drawn), axis=0))
        maker = SetMaker(
            self.prepared, self._bank, self.classifier, self.stage, self.frozen, self.seed,
            self.dropped,
        )  # fmt: skip
        problems = [maker.make(plan, pairs, draw).problem()
                    for draw, pairs in enumerate(drawn[:_CHOSEN_ON])]  # fmt: skip
        strength = find_strength(problems, self._bank, self.prepared, self.frozen)
        heads = list(strength.heads)
        del problems
        with progress(f"fit {plan.name}", "heads") as report:
            report(len(heads), len(drawn))
            for draw, pairs in enumerate(drawn[len(heads) :], len(heads)):
                heads.append(maker.make(plan, pairs, draw).problem().fit(strength.l2, heads[0]))
                report(draw + 1, len(drawn))
        self._write(plan, strength, heads)

    @cached_property
    def _views(self) -> FeatureViews:
        """Of unlabelled clips, made once for all methods."""
        if self.learns is None:
            raise ValueError("only the semi-supervised setting has unlabelled clips")
        return FeatureViews(
            self._bank, self.prepared.source, self.learns.unlabelled, self.classifier.flip,
            self.seed, self.frozen.views,
        )  # fmt: skip

    def _train_method(self, plan: ArmPlan) -> None:
        """Train a head by another method, from the optimum of the labelled clips, and test it."""
        views, learns = self._views, self.learns
        assert learns is not None
        alone = self.folder / Training(ArmPlan(SUPERVISED, "none"), NO_PAIRS, 0).folder
        start = load_heads(alone / HEADS_FILE)[0]
        labelled = real_set(self._bank, self.prepared, real_rows(self.prepared, plan, self.dropped))
        with progress(f"train {plan.name}", "heads") as report:
            report(0, 1)
            head, cost = train_on_features(
                find_method(plan.method), views,
                ClipBatch(labelled.features, labelled.labels), start, self.classifier, learns.semi,
            )  # fmt: skip
            report(1, 1)
        write_json(self._place(plan) / COST, cost)
        self._write(plan, Strength(start.l2, {}, (head,)), [head])

    def _write(self, plan: ArmPlan, strength: Strength, heads: Sequence[LinearHead]) -> None:
        """Test the heads and write all that an arm leaves; what says that it is finished last."""
        place, classes, prepared = self._place(plan), self.prepared.videos.classes, self.prepared
        rows = prepared.rows["test"]
        features, labels = self._bank.centre(rows), prepared.source.labels[rows]
        results = [
            measure(
                head.logits(features).float().numpy(), labels, classes, prepared.recordings[rows]
            ).to_json()
            for head in heads
        ]
        heads[0].put_into(self._network)
        path = place / "classifier.safetensors"
        save_classifier(path, self._network.eval(), classes, prepared.bank.settings)
        save_heads(place / HEADS_FILE, heads)
        with Tracker(place / "tensorboard", purge_step=0) as tracker:
            for step, (l2, loss) in enumerate(strength.losses.items()):
                tracker.scalars("head", {"l2": l2, "validation_loss": loss}, step)
            for draw, result in enumerate(results):
                tracker.scalars("draws", {name: result[name] for name in ("top1", "loss")}, draw)
        tried = [{"l2": l2, "loss": loss} for l2, loss in strength.losses.items()]
        content: dict[str, Any] = {"l2": strength.l2, "validation": tried, "results": results}
        write_json(place / DRAWS_FILE, content)


def frozen_network(prepared: PreparedData, settings: ClassifierSettings, seed: int) -> VideoNetwork:
    """The classifier whose trunk stays as it is, on its device, ready to give features."""
    device = pick_device(settings.device)
    network = make_classifier(settings, len(prepared.videos.classes), seed, device)
    return network.requires_grad_(False).eval()


def find_strength(
    problems: Sequence[HeadProblem], bank: FeatureBank, prepared: PreparedData,
    frozen: FrozenSettings,
) -> Strength:  # fmt: skip
    """The strength that is set, or the best one on validation, with a head for each problem.

    Raises:
        InputError: it is to be chosen, and there are no validation clips.
    """
    if frozen.l2 is not None:
        heads = fit_heads(problems, frozen.l2, [None] * len(problems))
        return Strength(frozen.l2, {}, heads)
    rows = prepared.rows["val"]
    if len(rows) == 0:
        raise InputError(
            "There are no validation clips to choose the head's l2 on; raise --val-share, or give "
            "--l2 a value such as 0.001."
        )
    chosen = choose_l2(problems, bank.centre(rows), prepared.source.one_hot(rows))
    if chosen.l2 == min(chosen.losses):
        say(f"note: the weakest l2 that is tried, {chosen.l2:.1e}, was the best on validation")
    return chosen


def check_frozen(classifier: ClassifierSettings, trunk_lr: float) -> None:
    """Say what does not go together with a frozen trunk.

    Raises:
        InputError: the Selector's trunk is to be trained.
    """
    if trunk_lr:
        raise InputError(
            f"trunk_lr is {trunk_lr}, but --freeze-trunk keeps the trunk as it is; leave one of "
            "the two out."
        )
    if classifier.weights is None:
        LOGGER.warning(
            f"the trunk of {classifier.network} is frozen and has learned nothing: random features "
            "see little; give --weights, such as imagenet with --network tsn_efficientnet_lite0"
        )
