"""The commands: what can be set in each, and which module of `train.commands` does the work.

Nothing here imports those modules, nor PyTorch: a module is imported when its command runs, and not
before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
from selector.settings import RankSettings, ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train.command_defaults import (
    Defaults,
    no_defaults,
    of_classifier,
    of_method,
    of_pairs,
    of_previewed_pairs,
)
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
        module: the module of `train.commands` that does the work.
        defaults: what is in force where neither the command line nor a settings file says it, found
            by what they say: settings by name.
    """

    about: str
    groups: tuple[type, ...]
    module: str
    defaults: Defaults = no_defaults

    def run(self, arguments: Arguments) -> None:
        """Do the work.

        Raises:
            L2AError: the work failed, or the arguments or the data are wrong.
        """
        importlib.import_module(f"train.commands.{self.module}").run(arguments)


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
         EngineSettings, RunSettings), "evaluate", of_classifier,
    ),
    "preview": Command(
        "Draw a few chosen pairs, or other augmentations of a few clips, as pictures and clips.",
        (*_DATA, Out, PreviewSettings, PrepareSettings, CompositeSettings,
         EngineSettings, RunSettings), "preview", of_previewed_pairs,
    ),
    "export": Command(
        "Write pairs, chosen before or now, as an augmented data set of real video files.",
        (*_DATA, Out, FromPairs, FromSelector, Budget, DryRun, ExportSettings, *_TO_CHOOSE,
         EngineSettings, RunSettings), "export", of_pairs,
    ),
    "few-shot": Command(
        "Learn from episodes of base classes, and measure on novel classes of a few clips each.",
        (FewShotVerb, OfData, DataSettings, OutFewShot, FewShotSettings, PrototypeSettings,
         ArnSettings, TrxSettings, GivenSelector, *_TO_CLIPS, MatchSettings, SelectorSettings,
         ReinforceSettings, ClassifierSettings, StageOneSettings, FrozenSettings, EngineSettings,
         RunSettings), "few_shot", of_method,
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
