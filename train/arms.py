"""Which classifiers stage two trains: ways to choose pairs, and augmentations to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from l2a.augment import Augmentation, make_augmentation
from l2a.errors import InputError
from train.objectives.table import OBJECTIVES, find_method
from train.settings.full import StageTwoSettings
from train.settings.semi import SemiSettings

CHOOSING = ("selector", "random")
"""The ways to choose pairs."""

DROP = "drop"
"""The arm on the real clips that --drop-real keeps, without composites."""

SUPERVISED = "supervised"
"""The arm on labelled clips alone, where there are pseudo-labelled ones."""

PRETRAINED = "pretrained"
"""The arm on the pairs of a Selector from before, beside one that was trained here."""

METHODS = tuple(OBJECTIVES)
"""Other ways to learn from unlabelled videos."""

TABLE_3 = ("cutmix", "mixup", "cutout", "videomix:spatio-temporal")
"""The augmentations of the paper's Table 3."""

_TITLES = {
    "none": "no composites", "random": "random pairs", "selector": "selected pairs",
    DROP: "real clips kept, no composites", SUPERVISED: "labelled clips alone",
    PRETRAINED: "pairs of the Selector from before",
}  # fmt: skip


@dataclass(frozen=True)
class ArmPlan:
    """What one classifier is trained on: real clips always, and what is added to them.

    Attributes:
        name: "none", "random", "selector", "drop", or an entry of --augment as it was given.
        pairs: how its pairs are chosen: "selector", "random", or "none" for no composites.
        augmentation: what is done to each of its batches; None for nothing.
        drops: whether its real clips are without those that --drop-real leaves out.
        pseudo: whether its real clips are the pseudo-labelled ones, too, where there are any.
        method: what it learns by besides them; "" for cross-entropy alone.
    """

    name: str
    pairs: str
    augmentation: Augmentation | None = None
    drops: bool = False
    pseudo: bool = True
    method: str = ""

    @property
    def needs_layers(self) -> bool:
        """Whether it needs masks of real clips, or scenes behind them, without any composite."""
        if self.augmentation is not None and self.augmentation.needs_masks:
            return True
        return bool(self.method) and "cut" in find_method(self.method).views


def baseline(names: Iterable[str]) -> str | None:
    """The arm that others are compared to: labelled clips alone, or no composites, or none."""
    there = set(names)
    return next((name for name in (SUPERVISED, "none") if name in there), None)


def plan_arms(
    stage: StageTwoSettings, semi: SemiSettings | None = None, *, frozen: bool = False
) -> list[ArmPlan]:
    """The arms: the one asked for, what it is compared to, and one for each augmentation.

    In the semi-supervised setting one on labelled clips alone stands beside them, and one for each
    other method.

    Args:
        stage: of stage two.
        semi: of the semi-supervised setting; None for another.
        frozen: whether the trunk stays as it is.

    Raises:
        InputError: an augmentation is not known, its settings are wrong, or it is named twice; or
            videos are to be dropped and no arm has a Selector that values them.
    """
    others = ["none", "random"] if stage.compare else []
    plain = [stage.selection, *(name for name in others if name != stage.selection)]
    augment, semi = stage.augment, semi if semi is not None and semi.on else None
    if semi and stage.compare and augment is None:
        augment = TABLE_3
    entries = augmentation_entries(augment)
    plans = [*(ArmPlan(name, name) for name in plain), *map(_augmented_arm, entries)]
    if semi:
        plans[1:1] = [ArmPlan(SUPERVISED, "none", pseudo=False)]
        plans += [ArmPlan(name, "none", pseudo=False, method=name)
                  for name in method_names(semi, stage.compare, frozen)]  # fmt: skip
        if semi.pretrained_selector is not None:
            plans.append(ArmPlan(PRETRAINED, PRETRAINED))
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


def method_names(semi: SemiSettings, compare: bool, frozen: bool) -> tuple[str, ...]:
    """The methods that --methods asks for, or "all" of them: with a frozen trunk, all that differ.

    Raises:
        InputError: one is not known, or named twice.
    """
    given = semi.methods
    every = tuple(
        name for name, method in OBJECTIVES.items()
        if not (frozen and (method.trunk_only or method.frozen_as))
    )  # fmt: skip
    if given is None:
        return every if compare else ()
    words = given.split() if isinstance(given, str) else list(given)
    if words in (["all"], ["none"]):
        return every if words == ["all"] else ()
    for word in words:
        if word not in METHODS:
            raise InputError(
                f"There is no method {word!r}; choose out of {', '.join(METHODS)}, or all or none."
            )
        if words.count(word) > 1:
            raise InputError(f"--methods names {word} twice; leave one out.")
    return tuple(words)


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
