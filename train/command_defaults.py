"""Settings that a command takes from what it is given, where they are not set.

What was chosen or trained before is used as it was made: nothing silently takes other settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from l2a.arguments import Arguments
from l2a.options import Data, FromClassifier, FromPairs, PreviewSettings
from train.settings.few_shot import FewShotVerb, OfData

Defaults = Callable[[Arguments], dict[str, Any]]
"""The arguments without them ─► settings by name."""


def no_defaults(arguments: Arguments) -> dict[str, Any]:
    """None: everything has the default of its group."""
    return {}


def of_pairs(arguments: Arguments) -> dict[str, Any]:
    """The settings and the seed that --pairs were chosen under.

    Raises:
        InputError: the file is no pairs file.
    """
    return _chosen_under(arguments[FromPairs].pairs)


def of_previewed_pairs(arguments: Arguments) -> dict[str, Any]:
    """As `of_pairs`, for `l2a preview`."""
    return _chosen_under(arguments[PreviewSettings].pairs)


def _chosen_under(pairs: Path | None) -> dict[str, Any]:
    from train.as_trained import settings_of_pairs

    return settings_of_pairs(pairs) if pairs else {}


def of_classifier(arguments: Arguments) -> dict[str, Any]:
    """Those of the run that left a classifier; see `train.as_trained`."""
    from train.as_trained import settings_as_trained

    return settings_as_trained(
        arguments[FromClassifier].classifier, arguments[Data].data, arguments.flat()
    )


def of_method(arguments: Arguments) -> dict[str, Any]:
    """The settings that a few-shot method was trained under, for its evaluation."""
    folder = arguments[OfData].data
    if arguments[FewShotVerb].verb != "evaluate" or not (folder / "run.yaml").is_file():
        return {}
    from train.as_trained import settings_of_method

    return settings_of_method(folder, arguments)
