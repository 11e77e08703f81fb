"""Table 4, few-shot: for each data set, class split, method and seed a training and an evaluation.

A method is trained once, on episodes of the most shots, and measured with fewer as well, without
composites, with random and with selected ones on the same episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from l2a.arguments import Arguments
from l2a.options import PaperSettings
from train.few_shot.methods import METHODS
from train.few_shot.run_training import WEIGHTS
from train.paper.cells import Cell, Group, Place, Row, Step, Store
from train.paper.cost import (
    HMDB51,
    UCF101,
    Extent,
    Sides,
    bank_bytes,
    few_shot_test_hours,
    few_shot_train_hours,
    layers_cost,
)
from train.paper.given import arguments_of, find_list, lists_folder, missing_data, preset
from train.paper.published import METHOD_TITLES, TABLE_4
from train.paper.weights import fetch_note
from train.settings.few_shot import FewShotSettings
from train.settings.full import FullSettings

PRESETS: Mapping[str, str] = MappingProxyType(
    {"prototype": "few-shot-c3d-pn", "arn": "few-shot-arn", "trx": "few-shot-trx"}
)
"""Method ─► the name of its settings."""

_SPLITS = {"S": "the split of ARN", "T": "TruZe"}


@dataclass(frozen=True)
class Known:
    """A data set of Table 4.

    Attributes:
        title: as the paper calls it.
        extent: its first official split; here all videos of it are used.
        sides: clips of the split S. How many those of T are nobody wrote down, of as many classes:
            the same are taken.
        lists: class split ─► files that say it, the better first.
    """

    title: str
    extent: Extent
    sides: Sides
    lists: Mapping[str, tuple[str, ...]]


DATA: Mapping[str, Known] = MappingProxyType({
    "ucf101": Known(
        "UCF101", UCF101, Sides(9_154, 1_421, 2_745),
        {"S": ("ucf101-S.yaml", "ucf_ARN/testlist03.txt"), "T": ("ucf101-T.yaml", "FSL.txt")},
    ),
    "hmdb51": Known(
        "HMDB51", HMDB51, Sides(4_280, 1_194, 1_292),
        {"S": ("hmdb51-S.yaml", "hmdb_ARN/testlist03.txt"), "T": ("hmdb51-T.yaml", "FSL.txt")},
    ),
})  # fmt: skip


def few_shot_groups(wanted: PaperSettings) -> list[Group]:
    """The groups of Table 4: a data set and a class split each."""
    return [_Plan(data, split, wanted).group() for data, split in TABLE_4]


@dataclass(frozen=True)
class _Plan:
    """A data set and a class split, and what is asked for."""

    name: str
    split: str
    wanted: PaperSettings

    @property
    def _of(self) -> Known:
        return DATA[self.name]

    @property
    def _layers(self) -> Path:
        """Apart from those of the other tables, whose test videos have none."""
        return self.wanted.out / "layers" / f"{self.name}-few-shot"

    def group(self) -> Group:
        """All methods on them."""
        steps, rows, banks = [], [], 0.0
        stores: list[Store] = []
        notes: list[str] = []
        for method in TABLE_4[self.name, self.split]:
            arguments = arguments_of(self._words("train", method, 0))
            full, few = FullSettings.of(arguments), arguments[FewShotSettings]
            for seed in self.wanted.seeds:
                steps += self._steps(method, seed, arguments)
            rows += self._rows(method, few)
            sides = self._of.sides
            with_layers, every = sides.base + sides.novel, sum(vars(sides).values())
            # The training has clips without layers, the evaluation with; splits and seeds do not
            # change them.
            banks += bank_bytes(with_layers, every - with_layers + every, full.clips)
            stores.append(Store(self._layers, every, layers_cost(self._of.extent, full, every)))
            notes.append(fetch_note(full))
        columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
        return Group(
            f"{self._of.title}, few shots, split {self.split} ({_SPLITS[self.split]})", columns,
            tuple(rows), tuple(steps), tuple(stores[:1]), banks, max(notes, key=len),
        )  # fmt: skip

    def _folder(self, method: str, seed: int) -> Path:
        place = self.wanted.out / "table-4" / f"{self.name}-{self.split}"
        return place / method / f"seed-{seed}"

    def _class_split(self) -> tuple[Path, bool]:
        """The file of the class split, and whether it is there."""
        names, folder = self._of.lists[self.split], lists_folder(self.wanted)
        found = find_list(folder, *names)
        return found or folder / names[-1], found is not None

    def _words(self, verb: str, method: str, seed: int) -> list[str]:
        run = self._folder(method, seed)
        target, out = (self.wanted.data_root / self.name, run) if verb == "train" else (
            run, run / "evaluation"
        )  # fmt: skip
        return [
            "few-shot", verb, str(target), "--config", str(preset(PRESETS[method], self.wanted)),
            "--class-split", str(self._class_split()[0]), "--seed", str(seed),
            "--layers", str(self._layers),
            "--bank", str(self.wanted.out / "table-4" / self.name / "bank"), "--out", str(out),
        ]  # fmt: skip

    def _steps(self, method: str, seed: int, arguments: Arguments) -> list[Step]:
        full, few = FullSettings.of(arguments), arguments[FewShotSettings]
        queries = few.train_queries or METHODS[method].method.recipe.queries
        missing = missing_data(self.wanted.data_root / self.name)
        path, there = self._class_split()
        if not there:
            missing += (f"the class split {path} or {self._of.lists[self.split][0]}",)
        run, title, sides = self._folder(method, seed), METHOD_TITLES[method], self._of.sides
        trained = run / WEIGHTS
        return [
            Step(
                f"{title}, training on {few.train_episodes:,} episodes",
                tuple(self._words("train", method, seed)), (run / "metrics.json",),
                few_shot_train_hours(few, queries, full, sides), missing,
            ),
            Step(
                f"{title}, {few.episodes:,} episodes x {len(few.shots)} numbers of shots x "
                f"composites {', '.join(few.choices)}",
                tuple(self._words("evaluate", method, seed)), (run / "evaluation" / "table.txt",),
                few_shot_test_hours(few, full, sides), missing, trained,
            ),
        ]  # fmt: skip

    def _rows(self, method: str, few: FewShotSettings) -> list[Row]:
        plain, ours = TABLE_4[self.name, self.split][method]
        title = METHOD_TITLES[method]
        rows = {
            "none": self._row(title, method, "none", plain, few.shots),
            "selector": self._row(f"{title} + L2A", method, "selector", ours, few.shots),
        }
        return [row for choice, row in rows.items() if choice in few.choices]

    def _row(
        self, title: str, method: str, choice: str, paper: Sequence[float], shots: Sequence[int]
    ) -> Row:
        cells = {}
        for shot, figure in enumerate(paper, 1):
            if shot not in shots:
                continue
            runs = [self._folder(method, seed) / "evaluation" for seed in self.wanted.seeds]
            places = tuple(
                Place(run / "metrics.json", ("accuracy", choice, str(shot), "mean"),
                      run / "table.txt")
                for run in runs
            )  # fmt: skip
            cells[f"{shot} shot{'s' * (shot > 1)}"] = Cell(figure, places)
        return Row(title, cells)
