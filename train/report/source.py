"""A run folder, as its report reads it: whatever is there, and nothing made again."""

from __future__ import annotations

import csv
import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from compositing.layers import LayerStore
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.files import read_json
from l2a.formats import DataSettings, read_videos
from l2a.pairs import ScoredPair, read_pairs
from l2a.runs import Run
from l2a.videos import VideoSet, carve_validation
from train.opening import BANK_RECORD
from train.records import POOL_SAMPLE
from train.settings.full import RunSettings

S = TypeVar("S")

Section = Mapping[str, Any] | str | None
"""What a part of `page.html` needs; a sentence where the run has it not, or cannot show it; None
where it has no place in such a run."""


@dataclass(frozen=True)
class Source:
    """A run folder opened for reading.

    Attributes:
        folder: the run's.
        command: what made it, such as "train".
        settings: every resolved setting by its name, as `run.yaml` has them.
        versions: of Python and packages.
    """

    folder: Path
    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> Source:
        """Open a run folder.

        Raises:
            InputError: it is none.
        """
        if not (folder / "run.yaml").is_file():
            raise InputError(
                f"{folder} is not a run folder: it holds no run.yaml; give the folder that "
                "`l2a train` or `l2a select` wrote to."
            )
        record = Run(folder).read()
        return cls(folder, record["command"], record["settings"], record.get("versions", {}))

    def json(self, *parts: str) -> Any:
        """The content of a JSON file of the run; None where there is none."""
        path = self.folder.joinpath(*parts)
        return read_json(path) if path.is_file() else None

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file of the run; none where there is no such file."""
        path = self.folder / name
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def group(self, kind: type[S]) -> S:
        """The run's settings of one dataclass; fields that an older run lacks have defaults, and
        paths lead where they led."""
        hints = typing.get_type_hints(kind)
        values = {}
        for name in (field.name for field in dataclasses.fields(typing.cast(Any, kind))):
            if name in self.settings:
                value = self.settings[name]
                is_path = Path in typing.get_args(hints[name]) and value is not None
                values[name] = Run(self.folder).found(value) if is_path else value
        return kind(**values)

    @cached_property
    def metrics(self) -> Mapping[str, Any] | None:
        """What `metrics.json` says, the run's own arm first; None before stage two is done."""
        content = self.json("metrics.json")
        return content if content and "arms" in content else None

    @cached_property
    def pairs(self) -> tuple[tuple[ScoredPair, ...], Mapping[str, Any]] | None:
        """The chosen pairs, and what their file says of itself; None before they are chosen."""
        path = self.folder / "pairs.parquet"
        return read_pairs(path) if path.is_file() else None

    @cached_property
    def sample(self) -> tuple[ScoredPair, ...]:
        """Pairs drawn from the pool; none where it was not sampled."""
        path = self.folder / POOL_SAMPLE
        return read_pairs(path)[0] if path.is_file() else ()

    @cached_property
    def videos(self) -> VideoSet:
        """The data set, as the run read it; videos that it skipped are left out.

        Raises:
            InputError: it is not there any more, or another one.
        """
        if "data" not in self.settings:
            raise InputError("The run names no data set.")
        data = self.group(DataSettings)
        videos = read_videos(Run(self.folder).found(self.settings["data"]), data)
        videos = carve_validation(videos, data.val_share, self.settings.get("seed", 0))
        skipped = {row["video"] for row in self.table("skipped.csv")}
        kept = tuple(video for video in videos.videos if video.id not in skipped)
        return dataclasses.replace(videos, videos=kept)

    @property
    def bank(self) -> Path | None:
        """The folder of the clips that the run used; None where it is not there any more."""
        record = self.json(BANK_RECORD)
        if record is None:  # an earlier version kept one bank, in the run
            own = [index.parent for index in (self.folder / "bank").glob("*/index.json")]
            return own[0] if len(own) == 1 else None
        place = self.folder / record["folder"]
        return place if (place / "index.json").is_file() else None

    @property
    def store(self) -> LayerStore:
        """The layers that the run used."""
        folder = self.group(RunSettings).layers or self.folder / "layers"
        return LayerStore(folder, self.group(PrepareSettings))
