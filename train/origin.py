"""Where a choice of pairs comes from: what a pairs file says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2a.files import fingerprint
from train.settings.full import FullSettings


@dataclass(frozen=True)
class Origin:
    """What pairs were chosen from, and under which settings.

    Attributes:
        data_set: its folder's name.
        seed: of the run.
        fingerprint: of all its settings.
        settings: those of data, preparation and compositing by name: enough to composite the pairs
            as they were chosen.
        rank: those of choosing that a reader asks for: balance and scoring.
    """

    data_set: str
    seed: int
    fingerprint: str
    settings: Mapping[str, Any]
    rank: Mapping[str, Any]

    @classmethod
    def of(cls, settings: FullSettings, data: Path) -> Origin:
        """Of a command with these settings on the data set in folder `data`."""
        groups = (settings.data, settings.prepare, settings.composite)
        kept = {name: _plain(value) for group in groups for name, value in asdict(group).items()}
        rank = {"balance": settings.rank.balance, "scoring": settings.rank.scoring}
        return cls(data.name, settings.run.seed, fingerprint(settings.flat()), kept, rank)

    def meta(self, budget: int, selection: str) -> dict[str, Any]:
        """The header of a pairs file of `budget` pairs; `selection` says who chose them."""
        return {
            "data_set": self.data_set,
            "budget": budget,
            "selection": selection,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "settings": dict(self.settings),
        }


def _plain(value: Any) -> Any:
    """A setting as a header in JSON can hold it."""
    return str(value) if isinstance(value, Path) else value
