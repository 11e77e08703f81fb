"""Few-shot methods by name: `METHODS`, and `make_method`. A file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from l2a.errors import InputError
from train.few_shot.methods.arn import Arn
from train.few_shot.methods.base import FeatureShape, FewShotMethod
from train.few_shot.methods.prototype import Prototype
from train.few_shot.methods.trx import Trx
from train.settings.few_shot_methods import ArnSettings, PrototypeSettings, TrxSettings

__all__ = ["METHODS", "FeatureShape", "FewShotMethod", "Kind", "make_method"]


@dataclass(frozen=True)
class Kind:
    """A method as the table lists it.

    Attributes:
        method: the class, with the facts of the method.
        settings: the dataclass of its settings.
        build: (shape of a clip's features, its settings) ─► the method, initialised from torch's
            global generator.
    """

    method: type[FewShotMethod]
    settings: type[Any]
    build: Callable[[FeatureShape, Any], FewShotMethod]


METHODS: Mapping[str, Kind] = {
    kind.method.name: kind
    for kind in (
        Kind(Prototype, PrototypeSettings, Prototype),
        Kind(Arn, ArnSettings, Arn),
        Kind(Trx, TrxSettings, Trx),
    )
}


def make_method(name: str, shape: FeatureShape, groups: tuple[Any, ...] = ()) -> FewShotMethod:
    """A method on features of a shape, initialised from torch's global generator.

    Args:
        name: in `METHODS`.
        shape: of a clip's features.
        groups: instances of settings dataclasses; the one of this method is used, its defaults
            where there is none.

    Raises:
        InputError: there is no such method, or it cannot work on features of this shape.
    """
    kind = METHODS.get(name)
    if kind is None:
        known = ", ".join(METHODS)
        raise InputError(f"There is no few-shot method {name!r}; choose one of: {known}.")
    own = next((group for group in groups if isinstance(group, kind.settings)), kind.settings())
    return kind.build(shape, own)
