"""Objectives that learn from labelled and unlabelled clips, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from l2a.errors import InputError
from train.objectives import Objective
from train.objectives.actorcut import ActorCut
from train.objectives.distillation import Distillation, Distilled
from train.objectives.fixmatch import FixMatch
from train.objectives.mean_teacher import MeanTeacher
from train.objectives.parts import ObjectiveSettings, Training
from train.objectives.pseudo_label import PseudoLabel
from train.objectives.s4l import S4L
from train.objectives.tcl import TCL
from train.objectives.videossl import VideoSSL
from train.semi_supervised.batches import SemiBatch

Factory = Callable[[ObjectiveSettings, Training], Objective[SemiBatch]]


@dataclass(frozen=True)
class Method:
    """An objective with what is to be known of it before it is made.

    Attributes:
        make: its factory.
        views: of `train.semi_supervised.batches.VIEWS`, those besides the weak one that it needs.
            "teacher" asks for a teacher's outputs, "targets" for pseudo-labels given beforehand.
        trunk_only: it teaches the trunk alone, and is of no use where that is frozen.
        frozen_as: the method that it is the same as where the trunk is frozen; "" for none.
    """

    make: Factory
    views: frozenset[str] = frozenset()
    trunk_only: bool = False
    frozen_as: str = ""


def _actorcut_id(settings: ObjectiveSettings, training: Training) -> Objective[SemiBatch]:
    return ActorCut(settings, training, Distillation(settings, training))


OBJECTIVES: Mapping[str, Method] = {
    "pseudo-label": Method(PseudoLabel),
    "mean-teacher": Method(MeanTeacher, frozenset({"weak_again"})),
    "fixmatch": Method(FixMatch, frozenset({"strong"})),
    "s4l": Method(S4L, trunk_only=True),
    "actorcut": Method(ActorCut, frozenset({"cut"})),
    "actorcut-id": Method(_actorcut_id, frozenset({"cut", "teacher"}), frozen_as="actorcut"),
    "videossl": Method(VideoSSL, frozenset({"targets", "teacher"})),
    "tcl": Method(TCL, frozenset({"slow"})),
}
"""The peers, which learn from unlabelled clips without composites."""

DISTILLED = Method(Distilled, frozenset({"teacher"}), trunk_only=True)
"""What Learn2Augment's own arms minimise where there is a teacher."""


def find_method(name: str) -> Method:
    """An objective by name.

    Raises:
        InputError: the name is not in the table.
    """
    if name not in OBJECTIVES:
        raise InputError(f"There is no method {name!r}; choose some of: {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name]
