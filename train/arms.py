"""Which classifiers stage two trains: ways to choose pairs, and augmentations to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from l2a.augment import Augmentation, make_augmentation
from l2a.errors import InputError
from train.settings.full import StageTwoSettings

CHOOSING = ("selector", "random")
"""The ways to choose pairs."""

DROP = "drop"
"""The arm on the real clips that --drop-real keeps, without composites."""

_TITLES = {
    "none": "no composites", "random": "random pairs", "selector": "selected pairs",
    DROP: "real clips kept, no composites",
}  # fmt: skip


@dataclass(frozen=True)
class ArmPlan:
    """What one classifier is trained on: real clips always, and what is added to them.

    Attributes:
        name: "none", "random", "selector", "drop", or an entry of --augment as it was given.
        pairs: how its pairs are chosen: "selector", "random", or "none" for no composites.
        augmentation: what is done to each of its batches; None for nothing.
        drops: whether its real clips are without those that --drop-real leaves out.
    """

    name: str
    pairs: str
    augmentation: Augmentation | None = None
    drops: bool = False

    @property
    def needs_masks(self) -> bool:
        """Whether its real clips need masks."""
        return self.augmentation is not None and self.augmentation.needs_masks


def plan_arms(stage: StageTwoSettings) -> list[ArmPlan]:
    """The arms: the one asked for, what it is compared to, and one for each augmentation.

    Raises:
        InputError: an augmentation is not known, its settings are wrong, or it is named twice; or
            videos are to be dropped and no arm has a Selector that values them.
    """
    others = ["none", "random"] if stage.compare else []
    plain = [stage.selection, *(name for name in others if name != stage.selection)]
    entries = augmentation_entries(stage.augment)
    plans = [*(ArmPlan(name, name) for name in plain), *map(_augmented_arm, entries)]
    if not stage.drop_real:
        return plans
    if all(plan.pairs != "selector" for plan in plans):
        raise InputError(
            f"--drop-real {stage.drop_real:g} leaves out what the Selector values least, and "
            f"--selection {stage.selection} uses none; give --selection selector, or leave "
            "--drop-real out."
        )
    plans = [replace(plan, drops=plan.pairs == "selector") for plan in plans]
    if stage.compare:
        plans.insert(len(plain), ArmPlan(DROP, "none", drops=True))
    return plans


def augmentation_entries(augment: Sequence[str] | str | None) -> list[str]:
    """The entries of --augment: words of a line, or members of a YAML list.

    Raises:
        InputError: one is there twice.
    """
    entries = augment.split() if isinstance(augment, str) else list(augment or ())
    for entry in entries:
        if entries.count(entry) > 1:
            raise InputError(f"--augment names {entry} twice; leave one out.")
    return entries


def split_entry(entry: str) -> tuple[str, str]:
    """What an entry says of pairs, and of augmentations: `selector+videomix` says both."""
    pairs, plus, spec = entry.partition("+")
    return (pairs, spec) if plus and pairs in CHOOSING else ("none", entry)


def arm_title(name: str) -> str:
    """What tables and pages call an arm: "selected pairs + videomix" for `selector+videomix`; an
    augmentation alone keeps the name that it was asked for by."""
    pairs, spec = split_entry(name)
    return _TITLES.get(name, name) if pairs == "none" else f"{_TITLES[pairs]} + {spec}"


def check_arms(arms: Sequence[ArmPlan], classes: int) -> None:
    """Try each augmentation on two black clips: what it makes of these classes is known now.

    Raises:
        InputError: it names a class that is not there.
    """
    clips = torch.zeros(2, 3, 2, 8, 8, dtype=torch.uint8)
    for arm in arms:
        if arm.augmentation is None:
            continue
        try:
            arm.augmentation(
                clips, torch.zeros(2, dtype=torch.int64), clips[:, 0] > 0,
                torch.Generator().manual_seed(0), num_classes=classes,
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"--augment {arm.name}: {error}") from None


def _augmented_arm(entry: str) -> ArmPlan:
    pairs, spec = split_entry(entry)
    return ArmPlan(entry, pairs, make_augmentation(spec))
