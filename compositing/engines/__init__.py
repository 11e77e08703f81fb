"""Engines: how the work on many videos is spread over processes and machines. One table, `ENGINES`.

A task is called once for each item. What it computes does not depend on the engine, on the number
of workers or on what died on the way: same items, same results, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from compositing.engines.base import Engine
from compositing.settings import EngineSettings


def make_engine(settings: EngineSettings) -> Engine:
    """The engine that the settings name.

    Raises:
        InputError: it is not installed, or its devices or its cluster are not there.
    """
    return ENGINES[settings.engine](settings)


def _local(settings: EngineSettings) -> Engine:
    from compositing.engines.local import LocalEngine

    return LocalEngine.from_settings(settings)


def _ray(settings: EngineSettings) -> Engine:
    from compositing.engines.on_ray import RayEngine

    return RayEngine.from_settings(settings)


ENGINES: Mapping[str, Callable[[EngineSettings], Engine]] = MappingProxyType(
    {"local": _local, "ray": _ray}
)
