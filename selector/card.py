"""The card of a stored Selector, `selector.json`: what its numbers were made with.

Everything in it is checked before it is used: it may come from anybody.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

from l2a.errors import InputError
from selector.network import Across, SelectorConfig
from selector.reliability import Reliability
from selector.settings import LabelMode

FORMAT_VERSION = 2

_LARGEST = 1_000_000
"""No size of a network or a clip is larger; what is, is a damaged file."""

_ACROSS = "agreement_across"

_MOST_LAYERS = 100
"""No network has more layers."""

T = TypeVar("T")


def package_versions() -> dict[str, str]:
    """Versions of what a trained Selector depends on."""
    packages = ("l2a", "torch", "torchvision")
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in packages}


@dataclass(frozen=True)
class SelectorCard:
    """What a stored Selector was made with.

    Attributes:
        config: the network's sizes and its label mode.
        trunk: name of the network whose trunk gave the features (`l2a.networks.build_trunk`).
        trunk_weights: where its weights came from, for a person.
        trunk_trained: whether it learned with the Selector.
        embedder: identity of what made the label vectors; "" in one-hot mode.
        num_frames, height, width, crop: geometry of the clips that the trunk saw.
        classes: class names it was trained on, in the order of their labels.
        reward, steps, seed: how it was trained.
        verdict: the result of its training.
        probe_auroc: of mislabelled videos; None without a probe.
        finetuned_from: the classes it was trained on before these; () if it was not fine-tuned.
        data: name of the data set; "" where a Selector was stored before that was kept.
        videos: how many training videos each of `classes` had; () likewise.
        curves: how the last training went (`selector.model_card.curves_of`); {} likewise.
        reliability: how far the reward of its last training agreed with itself over other
            recordings; None where it was not measured, as where a Selector was stored before that
            was; nor of too few recordings, or of a reward of subsets.
        recordings: how many validation recordings that reward was measured on; None where others
            measured it, too, and where a Selector was stored before that was kept.
        upside_down: whether its probe found that it prefers mislabelled videos; False in older
            files.
        versions: of Python and the packages that trained it.
        format_version: of these two files.
    """

    config: SelectorConfig
    trunk: str
    trunk_weights: str
    trunk_trained: bool
    embedder: str
    num_frames: int
    height: int
    width: int
    crop: int
    classes: tuple[str, ...]
    reward: str
    steps: int
    seed: int
    verdict: str = ""
    probe_auroc: float | None = None
    finetuned_from: tuple[str, ...] = ()
    data: str = ""
    videos: tuple[int, ...] = ()
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    reliability: Reliability | None = None
    recordings: int | None = None
    upside_down: bool = False
    versions: dict[str, str] = field(default_factory=package_versions)
    format_version: int = FORMAT_VERSION


class _Fields:
    """The fields of a JSON object, each taken only if it is of the type it should have.

    Args:
        source: the file, for messages.
        values: the JSON object.
    """

    def __init__(self, source: Path, values: Mapping[str, Any]) -> None:
        self._source, self._values = source, values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def inner(self, name: str) -> _Fields:
        """A JSON object in a field."""
        return _Fields(self._source, self.take(name, dict))

    def names(self) -> list[str]:
        """The names of all fields."""
        return list(self._values)

    def take(self, name: str, kind: type[T]) -> T:
        """A value of a type."""
        return self._checked(name, self._values.get(name), kind)

    def take_all(self, name: str, kind: type[T]) -> tuple[T, ...]:
        """A list of values of a type."""
        return tuple(self._checked(name, value, kind) for value in self.take(name, list))

    def take_size(self, name: str) -> int:
        """A whole number of 1 or more."""
        return self._sized(name, self.take(name, int))

    def take_sizes(self, name: str) -> tuple[int, ...]:
        """A list of such numbers."""
        sizes = self.take_all(name, int)
        if len(sizes) > _MOST_LAYERS:
            raise self._wrong(name, f"of {len(sizes)} numbers", f"is more than {_MOST_LAYERS}")
        return tuple(self._sized(name, size) for size in sizes)

    def take_counts(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers of 0 or more."""
        counts = self.take_all(name, int)
        for count in counts:
            if count < 0:
                raise self._wrong(name, count, "is below 0")
        return counts

    def take_correlation(self, name: str) -> float:
        """A number in −1..1."""
        value = self.take(name, float)
        if not -1 <= value <= 1:
            raise self._wrong(name, value, "is not in -1..1")
        return value

    def _checked(self, name: str, value: Any, kind: type[T]) -> T:
        if kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._wrong(name, value, f"is no {kind.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(name, value, "is not a finite number")
        return value

    def _sized(self, name: str, value: int) -> int:
        if not 1 <= value <= _LARGEST:
            raise self._wrong(name, value, f"is not in 1..{_LARGEST}")
        return value

    def _wrong(self, name: str, value: object, how: str) -> InputError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return InputError(
            f"{self._source} has {name} {shown}, which {how}; copy it again or train the Selector "
            "again."
        )


def read_card(path: Path, document: Any) -> SelectorCard:
    """The card from its JSON, every field of the type and the range that it should have.

    Args:
        path: the file, for messages.
        document: what it holds.

    Raises:
        InputError: another format version, or a field is wrong; the message names it.
    """
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {str(version)[:60]} and this program reads "
            f"{FORMAT_VERSION}; use the version of l2a that wrote it, or train the Selector again."
        )
    fields = _Fields(path, document)
    versions = fields.inner("versions")
    curves = fields.inner("curves") if "curves" in fields else _Fields(path, {})
    probe = fields.take("probe_auroc", float) if document.get("probe_auroc") is not None else None
    return SelectorCard(
        config=_read_config(path, fields.inner("config")),
        trunk=fields.take("trunk", str),
        trunk_weights=fields.take("trunk_weights", str),
        trunk_trained=fields.take("trunk_trained", bool),
        embedder=fields.take("embedder", str),
        num_frames=fields.take_size("num_frames"),
        height=fields.take_size("height"),
        width=fields.take_size("width"),
        crop=fields.take_size("crop"),
        classes=fields.take_all("classes", str),
        reward=fields.take("reward", str),
        steps=fields.take("steps", int),
        seed=fields.take("seed", int),
        verdict=fields.take("verdict", str),
        probe_auroc=probe,
        finetuned_from=fields.take_all("finetuned_from", str),
        data=fields.take("data", str) if "data" in fields else "",
        videos=fields.take_counts("videos") if "videos" in fields else (),
        curves={name: curves.take_all(name, float) for name in curves.names()},
        reliability=_read_reliability(fields) if document.get("reliability") else None,
        recordings=None if document.get("recordings") is None else fields.take_size("recordings"),
        upside_down=fields.take("upside_down", bool) if "upside_down" in fields else False,
        versions={name: versions.take(name, str) for name in versions.names()},
    )


def _read_reliability(fields: _Fields) -> Reliability:
    own = fields.inner("reliability")
    return Reliability(
        own.take_correlation("halves"), own.take("spread", float), own.take_size("recordings")
    )


def _read_config(path: Path, fields: _Fields) -> SelectorConfig:
    try:
        return SelectorConfig(
            feature_dim=fields.take_size("feature_dim"),
            label_dim=fields.take_size("label_dim"),
            labels=cast(LabelMode, fields.take("labels", str)),  # SelectorConfig checks it
            hidden=fields.take_sizes("hidden"),
            label_scale=fields.take("label_scale", float),
            agreement_scale=fields.take("agreement_scale", float),
            dropout=fields.take("dropout", float),
            agreement_across=cast(
                Across, fields.take(_ACROSS, str) if _ACROSS in fields else "videos"
            ),
        )
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(
            f"{path} describes no Selector, because {str(error).removesuffix('.')}; copy it again "
            "or train the Selector again."
        ) from None
