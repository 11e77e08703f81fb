"""A Selector that was trained before, made ready for the data set at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import file_sha256
from l2a.logs import say
from l2a.runs import Run
from selector.checkpoint import WEIGHTS_NAME, selector_folder
from selector.hub import find_selector
from selector.settings import SelectorSettings
from semantic_match.embed import make_embedder
from train.recipe import SelectorRecipe
from train.settings.full import StageOneSettings
from train.trained_selector import SelectorWithTrunk, load_trained_selector

_SHOWN = 16
"""Digits of a checksum that `run.yaml` keeps."""


@dataclass(frozen=True)
class Reuse:
    """Which Selector is used again, and how.

    Attributes:
        selector: its folder, or USER/NAME[@REVISION] on the Hugging Face Hub.
        finetune: train it further on the data set at hand.
    """

    selector: str
    finetune: bool = False


@dataclass(frozen=True)
class Reused:
    """A Selector that fits the data set at hand.

    Attributes:
        trained: the Selector and its trunk.
        settings: of the network that the Selector has.
        facts: what `run.yaml` keeps of it. The checksum notices another Selector under the same
            name: one that was trained again, or a branch that moved.
    """

    trained: SelectorWithTrunk
    settings: SelectorSettings
    facts: Mapping[str, Any]


NOT_REUSED: Mapping[str, Any] = {"selector": None, "finetune_selector": False}
"""The facts of a run that trains its own."""


def refuse_unused(reuse: Reuse, selection: str, out: Path) -> None:
    """Say that no arm of a training chooses by the Selector that is given.

    Args:
        reuse: the Selector.
        selection: what is chosen by instead.
        out: the run folder.

    Raises:
        InputError: the Selector should be trained further, or the run is a new one: earlier
            versions took a Selector for nothing, and their runs go on.
    """
    if reuse.finetune:
        raise InputError(
            f"--finetune-selector trains a Selector, and --selection {selection} uses none; "
            "leave one of the two out."
        )
    if Run(out).path("run.yaml").is_file():
        say(f"note: --selector {reuse.selector} is not used: --selection {selection} uses none")
        return
    raise InputError(
        f"--selector {reuse.selector} is to choose the pairs, and selection is {selection}, which "
        "uses none; give --selection selector, which goes before what a settings file such as that "
        "of l2a advise says, or leave --selector out."
    )


def open_selector(
    reuse: Reuse, recipe: SelectorRecipe, clips: ClipSettings, embedder: str,
    classes: Sequence[str],
) -> Reused:  # fmt: skip
    """Load a Selector, and check all that it must have in common with the data set.

    Args:
        reuse: which one.
        recipe: where it is to run. What it says of the Selector's network is not used, because the
            checkpoint decides; a note says so where another than the default was asked for.
        clips, embedder: geometry and embedder in use, which must be the Selector's.
        classes: of the data set; any in embedding mode, the Selector's own in one-hot mode.

    Raises:
        InputError: it cannot be had, is damaged, or does not fit; the message says in what.
    """
    given, folder = reuse.selector, find_selector(reuse.selector)
    device = pick_device(recipe.classifier.device)
    trained = load_trained_selector(folder, clips, device, recipe.classifier.precision, given)
    trained.check(make_embedder(embedder), classes)
    own = trained.card.config.settings
    for name, value in _non_default(recipe.selector, own):
        say(f"note: {name} {value} is not used; the Selector {given} has {getattr(own, name)}")
    for name in ("trunk", "trunk_weights"):
        value = getattr(recipe.stage, name)
        if value != getattr(StageOneSettings(), name):
            say(f"note: {name} {value} is not used; the Selector {given} brings its own trunk")
    checksum = file_sha256(selector_folder(folder) / WEIGHTS_NAME)
    facts = {
        "selector": given,
        "finetune_selector": reuse.finetune,
        "selector_weights": checksum[:_SHOWN],
    }
    return Reused(trained, own, facts)


def _non_default(given: SelectorSettings, own: SelectorSettings) -> list[tuple[str, Any]]:
    """The fields of `given` that are neither the Selector's own nor the default."""
    default = SelectorSettings()
    return [
        (field.name, getattr(given, field.name))
        for field in fields(SelectorSettings)
        if getattr(given, field.name)
        not in (getattr(own, field.name), getattr(default, field.name))
    ]
