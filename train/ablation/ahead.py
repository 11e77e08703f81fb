"""What several runs share is made before they start side by side, by the command itself.

Runs of the same split and seed with the same masks read one bank of clips, and only one process may
fill it. So the first run of each such group is begun: its stage "prepare" makes the layers and the
clips, over all workers or the whole cluster, and the others find them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from l2a.files import fingerprint
from l2a.locks import locked_meanwhile
from l2a.runs import Run
from train.ablation.plan import PlannedRun
from train.arms import ArmPlan, plan_arms
from train.opening import hold_to_data
from train.scene_test.clips import NoSceneTest, SceneClips, open_apart
from train.scene_test.stage import wants_scene_test
from train.settings.full import FullSettings
from train.stages import prepare_run
from train.transfer import NOT_REUSED
from train.two_stage import open_training


def sharing(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs in groups, each of which reads the same layers and clips; in their order."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(_what_it_reads(run.settings), []).append(run)
    return list(groups.values())


def begin(data: Path, run: PlannedRun) -> None:
    """Do the stage "prepare" of a run, and make the layers and clips of its scene test.

    The run goes on in another process: nothing stays locked.

    Raises:
        L2AError: as `train.two_stage.train`, which would fail likewise.
    """
    settings = run.settings
    plans = _plans(settings)
    with locked_meanwhile():
        opened = open_training(data, run.folder, settings, plans)
        settings = replace(settings, prepare=opened.store.settings)
        own = Run.open(run.folder, "train", settings.groups(), {"data": data, **NOT_REUSED})
        hold_to_data(own, opened)
        layers = _needs_layers(settings)
        prepare_run(
            own, opened, settings.clips, settings.composite, layers=layers, sheet=layers
        )  # fmt: skip
        if wants_scene_test(settings.stage_two):
            with own.stage("scene test"), suppress(NoSceneTest):  # the run itself says why
                apart = open_apart(
                    opened.videos, settings.prepare, opened.engine, run.folder, settings.run
                )
                SceneClips.build(apart, settings.clips, settings.composite)


def _what_it_reads(settings: FullSettings) -> str:
    """A fingerprint of all that a run's layers and clips depend on, as far as it is known now."""
    return fingerprint(
        [settings.data, settings.clips, settings.prepare, settings.run, settings.semi.on,
         _needs_layers(settings), wants_scene_test(settings.stage_two)]
    )  # fmt: skip


def _plans(settings: FullSettings) -> list[ArmPlan]:
    return plan_arms(settings.stage_two, settings.semi, frozen=settings.classifier.freeze_trunk)


def _needs_layers(settings: FullSettings) -> bool:
    """Whether anything is composited, as `train.two_stage.train` has it."""
    return any(plan.pairs != "none" or plan.needs_layers for plan in _plans(settings))
