"""What the arms of a semi-supervised run learn from besides labelled clips, made ready."""

from __future__ import annotations

from collections.abc import Sequence

from l2a.devices import pick_device
from l2a.logs import say
from l2a.runs import Run
from train.arms import ArmPlan
from train.learning import Supervises
from train.prepared import PreparedData, unlabelled_rows
from train.semi_supervised.batches import Unlabelled
from train.semi_supervised.checks import DEFAULT_TEACHER, needs_teacher
from train.semi_supervised.learning import SemiLearns
from train.semi_supervised.teacher import TeacherTable, make_teacher, rows_of_training
from train.settings.full import FullSettings


def semi_learns(
    run: Run, prepared: PreparedData, settings: FullSettings, plans: Sequence[ArmPlan]
) -> SemiLearns:
    """Unlabelled clips, and where an arm distils, the teacher's outputs for all of them.

    Args:
        run: of the data.
        prepared: without pseudo-labels.
        settings: of the run.
        plans: its arms.

    Raises:
        InputError: the teacher is unknown, or its weights are not there.
    """
    classifier, semi = settings.classifier, settings.semi
    rows = unlabelled_rows(prepared, settings.data.unlabelled_set)
    among = "with the labelled ones" if settings.data.unlabelled_set == "all" else "no labelled one"
    say(
        f"methods draw from {len(rows)} clips as unlabelled, {among} among them "
        f"(unlabelled_set {settings.data.unlabelled_set})"
    )
    unlabelled = Unlabelled(rows, semi.unlabelled_per_batch or classifier.batch_size)
    classes = 0
    if not classifier.freeze_trunk and needs_teacher(semi, plans):
        with run.stage("teacher"):
            teacher = make_teacher(semi.teacher or DEFAULT_TEACHER, pick_device(classifier.device))
            table = TeacherTable.beside(prepared.bank, rows_of_training(prepared.rows), teacher)
            table.fill(rows)
        classes = teacher.classes
        unlabelled = Unlabelled(rows, unlabelled.per_batch, teacher=table)
    return SemiLearns(Supervises(prepared.source, classifier), unlabelled, semi, classes)
