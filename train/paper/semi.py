"""Table 3, semi-supervised: a run for each data set, share of labels and seed gives all arms.

The row "L2A + pre-training" is a run of its own: its Selector comes from elsewhere, and may come
later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from l2a.options import PaperSettings
from train.ablation.running import DONE
from train.arms import SUPERVISED
from train.arms import TABLE_3 as AUGMENTATIONS
from train.paper.cells import Cell, Group, Place, Row, Step, Store
from train.paper.cost import (
    HMDB51_SEMI,
    KINETICS100,
    UCF101,
    VIEWS,
    Extent,
    bank_bytes,
    layers_cost,
    semi_hours,
)
from train.paper.given import (
    arguments_of,
    find_list,
    lists_folder,
    missing_data,
    preset,
    shared_layers,
)
from train.paper.published import PRETRAINED, SHARES, TABLE_3, Published
from train.paper.weights import fetch_note
from train.report import NAME as PAGE
from train.settings.full import FullSettings

_METHODS = tuple(row.arm for row in TABLE_3 if row.arm in VIEWS)


@dataclass(frozen=True)
class Labelled:
    """A data set of Table 3.

    Attributes:
        title: as the paper calls it.
        extent: its labelled and unlabelled videos are its train videos.
        file: name of VideoSSL's list of a share, with {} for the per cent.
        gaps: shares whose list leaves classes without a clip.
    """

    title: str
    extent: Extent
    file: str
    gaps: tuple[int, ...] = ()


DATA: Mapping[str, Labelled] = MappingProxyType({
    "ucf101": Labelled(
        "UCF101", UCF101, "ucf101_train_{}_percent_labeled_split_1_rawframes.txt", (5,)
    ),
    "hmdb51": Labelled(
        "HMDB51", HMDB51_SEMI, "hmdb51_train_{}_percent_labeled_split_1_rawframes.txt"
    ),
    "kinetics100": Labelled(
        "Kinetics-100", KINETICS100, "kinetics100_train_{}_percent_labeled_rawframes.txt"
    ),
})  # fmt: skip
"""The smallest first: what is done first is done soonest."""


def semi_groups(wanted: PaperSettings) -> list[Group]:
    """The groups of Table 3, a data set each."""
    return [_Plan(name, wanted).group() for name in DATA]


@dataclass(frozen=True)
class _Plan:
    """A data set, and what is asked for."""

    name: str
    wanted: PaperSettings

    @property
    def _of(self) -> Labelled:
        return DATA[self.name]

    def group(self) -> Group:
        """All shares of the data set."""
        shares, settings = SHARES[self.name], self._settings
        steps = [self._step(share, seed) for share in shares for seed in self.wanted.seeds]
        rows = [self._row(row, settings) for row in TABLE_3]
        if PRETRAINED.figures[self.name]:
            steps += [
                self._step(share, seed, pretrained=True)
                for share in shares for seed in self.wanted.seeds
            ]  # fmt: skip
            rows.append(self._row(PRETRAINED, settings))
        extent = self._of.extent
        layers = Store(
            shared_layers(self.name, self.wanted), extent.train,
            layers_cost(extent, settings, extent.train),
        )  # fmt: skip
        clips = bank_bytes(extent.train, extent.test, settings.clips)
        return Group(
            f"{self._of.title}, few labels", tuple(f"{share} %" for share in shares), tuple(rows),
            tuple(steps), (layers,), len(shares) * len(self.wanted.seeds) * clips,
            fetch_note(settings),
        )  # fmt: skip

    @cached_property
    def _settings(self) -> FullSettings:
        return FullSettings.of(arguments_of(self._words(SHARES[self.name][0], 0, pretrained=False)))

    def _folder(self, share: int, seed: int, pretrained: bool) -> Path:
        kind = "-pretrained" if pretrained else ""
        return self.wanted.out / "table-3" / self.name / f"{share}-percent{kind}" / f"seed-{seed}"

    def _list(self, share: int) -> tuple[Path, bool]:
        """The list of a share, and whether it is there."""
        name, folder = self._of.file.format(share), lists_folder(self.wanted)
        found = find_list(folder, name)
        return found or folder / name, found is not None

    def _words(self, share: int, seed: int, *, pretrained: bool) -> list[str]:
        shared = self.wanted.out / "table-3" / self.name
        words = [
            "train", str(self.wanted.data_root / self.name),
            "--config", str(preset(f"semi-{self.name}", self.wanted)),
            "--labelled", str(self._list(share)[0]),
        ]  # fmt: skip
        if share in self._of.gaps:
            words += ["--missing-classes", "allow"]
        if pretrained:
            words += ["--selector", self.wanted.pretrained_selector or "SELECTOR"]
        else:
            words += ["--augment", " ".join(AUGMENTATIONS), "--methods", " ".join(_METHODS)]
        return [
            *words, "--seed", str(seed), "--layers", str(shared_layers(self.name, self.wanted)),
            "--bank", str(shared / "bank"), "--out", str(self._folder(share, seed, pretrained)),
        ]  # fmt: skip

    def _step(self, share: int, seed: int, *, pretrained: bool = False) -> Step:
        settings, rest = self._settings, () if pretrained else tuple(r.arm for r in TABLE_3)
        arms = dict.fromkeys([SUPERVISED, "selector", *rest])
        extent, labelled = self._of.extent, share / 100
        hours = sum(semi_hours(extent, settings, arm, labelled) for arm in arms)
        missing = missing_data(self.wanted.data_root / self.name)
        path, there = self._list(share)
        if not there:
            missing += (f"the list {path}",)
        if pretrained and self.wanted.pretrained_selector is None:
            missing += ("a Selector of Kinetics-400 (--pretrained-selector FOLDER)",)
        return Step(
            f"{share} % labelled, " + ("L2A + pre-training" if pretrained else "all other rows"),
            tuple(self._words(share, seed, pretrained=pretrained)),
            (self._folder(share, seed, pretrained) / DONE,), hours, missing, last=(PAGE,),
        )  # fmt: skip

    def _row(self, row: Published, settings: FullSettings) -> Row:
        cells = {}
        for share, paper in zip(SHARES[self.name], row.figures[self.name], strict=True):
            folders = [self._folder(share, seed, row is PRETRAINED) for seed in self.wanted.seeds]
            keys = ("arms", row.arm, "top1_mean")
            places = tuple(Place(run / "metrics.json", keys, run / DONE) for run in folders)
            cells[f"{share} %"] = Cell(paper, places)
        # Of the smallest share, whose validation takes the fewest clips away.
        hours = semi_hours(self._of.extent, settings, row.arm, min(SHARES[self.name]) / 100)
        return Row(row.title, cells, hours)
