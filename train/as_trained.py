"""The settings that are in force where a run's results are used, unless others are given: its own.

A run's split and seed say which videos its classifier has seen. They are taken for the same data
set alone, which is told by its place, or by what the run keeps of its lists and files.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from compositing.settings import CompositeSettings, PrepareSettings
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.logs import say
from l2a.pairs import read_pairs
from l2a.runs import Run, is_run
from l2a.videos import carve_validation
from train.opening import data_mark, sources_of

_LISTS = ("labelled", "annotations")
"""Settings of a data set that are paths, and matter to its test split."""
_UNTESTED = "unlabelled"


def settings_as_trained(classifier: Path, data: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the run that left a classifier says of how videos are read and composited.

    Says so where a setting of the run is not taken.

    Args:
        classifier: in RUN, in RUN/stage_two/ARM-N, or in RUN/rounds/R/stage_two/ARM-N.
        data: the data set to test on.
        asked: what is in force without the run's settings, by name.

    Returns:
        Settings by name: how layers are made and pasted; of the same data set also how it is read
        and the seed. None where the classifier lies in no run.
    """
    folder = next(filter(is_run, classifier.resolve().parents[:5]), None)
    if folder is None:
        return {}
    run = Run(folder)
    kept = run.read()["settings"]
    shared = _of(kept, PrepareSettings, CompositeSettings)
    of_data = _of(kept, DataSettings)
    of_data |= {"seed": kept["seed"]} if "seed" in kept else {}
    lists = _lists(run, of_data)
    of_data |= lists
    of_data.pop(_UNTESTED, None)
    if _is_same(run, data, kept):
        gone = [name for name in _LISTS if name in lists and not Path(lists[name]).exists()]
        lost = {name: of_data.pop(name) for name in gone}
        if lost:
            say(f"note: {folder} was made with {_listed(lost)}, which is not there and not used")
        return shared | of_data
    if not data.is_dir():
        return shared  # as is said when it is opened
    others = {name: value for name, value in of_data.items() if _differs(value, asked.get(name))}
    if others:
        say(
            f"note: {folder} was made of other data, {kept.get('data')}: its {_listed(others)} "
            f"are not used for {data}, but {_listed({name: asked.get(name) for name in others})}"
        )
    return shared


def settings_of_method(folder: Path, kinds: Iterable[type]) -> dict[str, Any]:
    """The settings that a method of `l2a few-shot train` was trained under, by name.

    Args:
        folder: the run's.
        kinds: the settings dataclasses of its evaluation, which say what is a path.
    """
    run = Run(folder)
    paths = {
        name
        for kind in kinds
        for name, hint in typing.get_type_hints(kind).items()
        if Path in (hint, *typing.get_args(hint))
    }
    return {
        name: str(run.found(value)) if name in paths and value else value
        for name, value in run.read()["settings"].items()
        if name not in ("verb", "data", "out")
    }


def settings_of_pairs(pairs: Path) -> dict[str, Any]:
    """The settings and the seed that pairs were chosen under, by name; lists of the data set are
    found from where the run was called.

    Args:
        pairs: the file, in a run's folder, in that of a round, or elsewhere.
    """
    meta = read_pairs(pairs)[1]
    settings = dict(meta.get("settings", {}))
    if meta.get("seed") is not None:
        settings["seed"] = meta["seed"]
    folder = next(filter(is_run, list(pairs.parents)[:3]), None)
    if folder is not None:
        settings |= _lists(Run(folder), settings)
    return settings


def _lists(run: Run, kept: Mapping[str, Any]) -> dict[str, str]:
    """The lists of a data set that a run was given, where they lie now."""
    names = [name for name in (*_LISTS, _UNTESTED) if kept.get(name)]
    return {name: str(run.found(str(kept[name]))) for name in names}


def _is_same(run: Run, data: Path, kept: Mapping[str, Any]) -> bool:
    """Whether a run was made of this data set, wherever either lies now.

    Its place says so where that is sure; a relative one of earlier versions is not, since another
    folder may be called alike. Then, and where the data set was moved, what was in it says so.
    """
    record, path = run.read(), Path(str(kept.get("data", "")))
    mark, called_in = record.get("data_mark"), record.get("called_in")
    place: Path | None = None
    if path.is_absolute() or isinstance(called_in, str):
        place = Path(called_in or "/") / path
    elif mark is None:
        place = run.found(path)
    if "data" in kept and place is not None and place.resolve() == data.resolve():
        return True
    if mark is None:
        return False
    own = _of(kept, DataSettings)
    own |= {name: Path(path) for name, path in _lists(run, kept).items()}
    try:
        settings = DataSettings(**own)
        videos = carve_validation(read_videos(data, settings), settings.val_share, kept["seed"])
    except (InputError, KeyError, TypeError):  # it cannot be read as the run's data set was
        return False
    return data_mark([videos], sources_of(videos)) == mark


def _of(kept: Mapping[str, Any], *kinds: type) -> dict[str, Any]:
    """The settings of some dataclasses, as a run keeps them."""
    names = {one.name for kind in kinds for one in fields(kind)}
    return {name: value for name, value in kept.items() if name in names}


def _differs(kept: object, asked: object) -> bool:
    return str(kept) != str(asked)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
