"""What does not go together in the semi-supervised setting, said before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from l2a.errors import InputError
from l2a.image_classifiers import make_image_classifier
from l2a.logs import say
from l2a.videos import VideoSet
from train.arms import ArmPlan
from train.distributed import world
from train.objectives.table import find_method
from train.semi_supervised.learning import method_of
from train.settings.full import FullSettings
from train.settings.semi import SemiSettings

DEFAULT_TEACHER = "efficientnet_lite0"
"""Of methods that are nothing without one, where none is named."""


def refuse_idle(settings: SemiSettings, out: Path) -> None:
    """Refuse settings that ask for something which the fully supervised setting never does.

    Args:
        settings: of a training.
        out: the run folder; earlier versions took such settings for nothing, and their runs go on.

    Raises:
        InputError: methods, a teacher, rounds or a second Selector are asked for.
    """
    if settings.on:
        return
    idle = [
        name
        for name in ("methods", "teacher", "pretrained_selector", "rounds")
        if getattr(settings, name) not in (getattr(SemiSettings(), name), "none", ("none",))
    ]
    if not idle:
        return
    what = f"{idle[0]} is set, which --setting full has no use for"
    if (out / "run.yaml").is_file():
        say(f"note: {what}")
        return
    raise InputError(f"{what}; give --setting semi-supervised, or leave it out.")


def check_semi(settings: FullSettings, plans: Sequence[ArmPlan]) -> None:
    """Say what does not go together.

    Raises:
        InputError: videos are to be dropped, or a method or teacher teaches a trunk that is to stay
            as it is.
    """
    if settings.stage_two.drop_real:
        raise InputError(
            f"drop_real is {settings.stage_two.drop_real:g}, which in the semi-supervised setting "
            "would leave out pseudo-labelled clips of one arm alone; raise --pseudo-threshold."
        )
    if not settings.classifier.freeze_trunk:
        return
    if useless := [plan.method for plan in plans
                   if plan.method and find_method(plan.method).trunk_only]:  # fmt: skip
        raise InputError(
            f"--methods has {useless[0]}, which teaches the trunk, and --freeze-trunk keeps it as "
            "it is; leave one of the two out."
        )
    if settings.semi.teacher is not None:
        raise InputError(
            f"The teacher {settings.semi.teacher} teaches the trunk, and --freeze-trunk keeps it "
            "as it is; leave one of the two out."
        )


def check_processes(settings: FullSettings, plans: Sequence[ArmPlan], labelled: int) -> None:
    """Say that batches are too small for the processes that train together, before any trains.

    Args:
        settings, plans: of the run.
        labelled: clips that an epoch draws; even parts of them are the batches.

    Raises:
        InputError: a batch has fewer clips, or with a method of the semi-supervised setting fewer
            labelled or unlabelled ones, than there are processes.
    """
    if world() == 1 or settings.classifier.freeze_trunk:
        return
    size = settings.classifier.batch_size
    smallest = labelled // max(1, -(-labelled // size))
    kinds = {"real": smallest}
    methods = [method_of(plan, settings.semi) for plan in plans] if settings.semi.on else []
    for method in (one for one in methods if one is not None):
        count = settings.semi.unlabelled_per_batch or size
        kinds["unlabelled"] = count
        if "cut" in method.views:  # pairs stay together
            kinds["pairs of unlabelled"] = -(-count // 2)
    kind, fewest = min(kinds.items(), key=lambda one: one[1])
    if fewest < world():
        raise InputError(
            f"A batch can have {fewest} {kind} clips, and {world()} processes share it; give a "
            "larger --batch-size or --unlabelled-per-batch, or start fewer processes."
        )


def check_teacher(settings: FullSettings, plans: Sequence[ArmPlan]) -> None:
    """Open the teacher, where one is asked for: after the data, for its weights may be fetched.

    Raises:
        InputError: it is unknown, or its weights are not there.
    """
    semi = settings.semi
    if semi.on and not settings.classifier.freeze_trunk and needs_teacher(semi, plans):
        make_image_classifier(semi.teacher or DEFAULT_TEACHER)


def needs_teacher(semi: SemiSettings, plans: Sequence[ArmPlan]) -> bool:
    """Whether an arm distils what an image network says."""
    methods = [method_of(plan, semi) for plan in plans]
    return any(method is not None and "teacher" in method.views for method in methods)


def refuse_unlabelled(videos: VideoSet, semi: SemiSettings, data: Path) -> None:
    """Say where unlabelled videos are missing, or are there for nothing.

    Raises:
        InputError: the setting needs them, and there are none.
    """
    count = len(videos.of_split("unlabelled"))
    if semi.on and not count:
        raise InputError(
            f"All training videos of {data} have a label, and --setting semi-supervised needs "
            "some without; give --labelled LIST, --labelled-share or --unlabelled FOLDER."
        )
    if count and not semi.on:
        say(f"note: {count} unlabelled videos are not used; --setting semi-supervised uses them")
