"""The commands, one module each: what can be set, and what is done with it.

A module is imported when its command runs, and not before: help needs no PyTorch. Its function
`run(arguments)` does the work, prints the results to stdout and lets errors rise to `l2a.cli`.
"""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from compositing.settings import (
    CompositeSettings,
    EngineSettings,
    ExportSettings,
    PrepareSettings,
)
from l2a.arguments import Arguments
from l2a.formats.settings import DataSettings
from l2a.options import (
    AblationSettings,
    Budget,
    CheckSettings,
    Data,
    DemoSettings,
    DryRun,
    FromClassifier,
    FromPairs,
    FromSelector,
    LookFirst,
    MapPicture,
    NeedsSelector,
    OfRun,
    Out,
    OutDemo,
    OutPage,
    PaperSettings,
    PreviewSettings,
)
from l2a.settings import ClipSettings
from l2a.text import printable
from selector.settings import RankSettings, ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train.settings.advice import AdviceSettings, EyesSettings
from train.settings.few_shot import (
    FewShotSettings,
    FewShotVerb,
    GivenSelector,
    OfData,
    OutFewShot,
)
from train.settings.few_shot_methods import ArnSettings, PrototypeSettings, TrxSettings
from train.settings.frozen import FrozenSettings
from train.settings.full import (
    ClassifierSettings,
    FullSettings,
    RunSettings,
    StageOneSettings,
    StageTwoSettings,
)
from train.settings.semi import SemiSettings


@dataclass(frozen=True)
class Command:
    """One verb.

    Attributes:
        about: what its help says.
        groups: what can be set.
        module: the module of this package that does the work.
    """

    about: str
    groups: tuple[type, ...]
    module: str

    def run(self, arguments: Arguments) -> None:
        """Do the work.

        Raises:
            L2AError: the work failed, or the arguments or the data are wrong.
        """
        importlib.import_module(f"train.commands.{self.module}").run(arguments)


def full_settings(arguments: Arguments) -> FullSettings:
    """The settings that a command takes; groups that it does not take keep their defaults."""
    kinds = typing.get_type_hints(FullSettings)
    given: dict[str, Any] = {
        name: arguments[kind] for name, kind in kinds.items() if kind in arguments
    }
    if Budget in arguments:
        given["stage_two"] = StageTwoSettings(budget=arguments[Budget].budget)
    return FullSettings(**given)


def show(*lines: str) -> None:
    """Print results to stdout: whatever names hold, as text that a terminal can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(printable(line, lines=True).encode(encoding, "backslashreplace").decode(encoding))


_DATA = (Data, DataSettings)
_TO_CLIPS = (ClipSettings, PrepareSettings, CompositeSettings)
_TO_CHOOSE = (
    *_TO_CLIPS, MatchSettings, RankSettings, ReinforceSettings, ClassifierSettings,
    StageOneSettings,
)  # fmt: skip
_TO_TRAIN = (
    *_TO_CLIPS, MatchSettings, SelectorSettings, ReinforceSettings, RankSettings,
    ClassifierSettings, StageOneSettings, StageTwoSettings, FrozenSettings, SemiSettings,
    ExportSettings, EngineSettings, RunSettings,
)  # fmt: skip

COMMANDS: Mapping[str, Command] = MappingProxyType({
    "check": Command("Read a data set and list what is broken.", (*_DATA, CheckSettings), "check"),
    "match": Command(
        "Show which classes exchange scenes under --matches, and draw the map.",
        (*_DATA, MatchSettings, MapPicture), "match",
    ),
    "prepare": Command(
        "Segment and inpaint every training video once, and draw a contact sheet.",
        (*_DATA, Out, LookFirst, PrepareSettings, EngineSettings, RunSettings), "prepare",
    ),
    "advise": Command(
        "Say in minutes what composites, scenes, a reward, labels and masks are worth here.",
        (*_DATA, Out, AdviceSettings, EyesSettings, *_TO_CLIPS, EngineSettings, RunSettings),
        "advise",
    ),
    "train": Command(
        "Train the Selector, composite the best pairs, train the classifier with them.",
        (*_DATA, Out, FromSelector, *_TO_TRAIN), "train",
    ),
    "ablate": Command(
        "Train variants on splits and seeds, and compare them with one of them, in pairs.",
        (*_DATA, Out, AblationSettings, *_TO_TRAIN), "ablate",
    ),
    "paper": Command(
        "Say what a table of the paper takes, and run it.", (PaperSettings,), "paper"
    ),
    "select": Command(
        "Choose the best pairs of a data set with a trained Selector.",
        (*_DATA, Out, NeedsSelector, Budget, *_TO_CHOOSE, EngineSettings, RunSettings), "select",
    ),
    "evaluate": Command(
        "Measure a trained classifier on a data set.",
        (*_DATA, Out, FromClassifier, PrepareSettings, CompositeSettings, ClassifierSettings,
         EngineSettings, RunSettings), "evaluate",
    ),
    "preview": Command(
        "Draw a few chosen pairs, or other augmentations of a few clips, as pictures and clips.",
        (*_DATA, Out, PreviewSettings, PrepareSettings, CompositeSettings,
         EngineSettings, RunSettings), "preview",
    ),
    "export": Command(
        "Write pairs, chosen before or now, as an augmented data set of real video files.",
        (*_DATA, Out, FromPairs, FromSelector, Budget, DryRun, ExportSettings, *_TO_CHOOSE,
         EngineSettings, RunSettings), "export",
    ),
    "few-shot": Command(
        "Learn from episodes of base classes, and measure on novel classes of a few clips each.",
        (FewShotVerb, OfData, DataSettings, OutFewShot, FewShotSettings, PrototypeSettings,
         ArnSettings, TrxSettings, GivenSelector, *_TO_CLIPS, MatchSettings, SelectorSettings,
         ReinforceSettings, ClassifierSettings, StageOneSettings, FrozenSettings, EngineSettings,
         RunSettings), "few_shot",
    ),
    "report": Command(
        "Show a run as one HTML page: accuracy, curves, scores, pairs as playing video.",
        (OfRun, OutPage), "report",
    ),
    "demo": Command(
        "Generate a small data set and run everything on it, in minutes.",
        (OutDemo, DemoSettings), "demo",
    ),
})  # fmt: skip

ALL_GROUPS = tuple(dict.fromkeys(group for each in COMMANDS.values() for group in each.groups))
"""What can be set in any command: a settings file may hold all of it."""
