"""The engine `ray`: Ray Data with a pool of actors, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from compositing.engines import Item, Result
from compositing.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Actors of a Ray cluster."""

    settings: EngineSettings

    @classmethod
    def from_settings(cls, settings: EngineSettings) -> Self:
        """The engine of the settings."""
        return cls(settings)

    def map(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        lost: Callable[[Item], Result],
        memory: int = 0,
    ) -> Iterator[Result]:
        """See `Engine.map`."""
        raise NotImplementedError
