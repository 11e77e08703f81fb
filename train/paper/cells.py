"""The paper's tables as groups of cells that are trained on one data set from one start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from l2a.errors import InputError
from train.ablation.table import TABLES
from train.paper.cost import HMDB51, KINETICS400, UCF101, Extent

_OWN = Path(__file__).with_name("tables")
PRESETS = Path(__file__).with_name("presets")
"""Settings files, which configs/paper/ of the repository shows too."""


@dataclass(frozen=True)
class Group:
    """Cells of a table on one data set, from one start.

    Attributes:
        name: of its folder of runs.
        data: the data set's folder below --data-root.
        extent: how large the data set is.
        preset: the settings of all its cells.
        table: of `l2a ablate`: its rows are the cells, with the paper's figures.
        splits: official splits that it is trained on.
        pretrained: whether it starts from Sports-1M weights, which a user must bring.
    """

    name: str
    data: str
    extent: Extent
    preset: Path
    table: Path
    splits: tuple[int, ...] = (1,)
    pretrained: bool = False


def _table_five(name: str, extent: Extent, pretrained: bool) -> Group:
    end = "-sports1m" if pretrained else ""
    short = "kinetics" if extent is KINETICS400 else name
    return Group(
        f"{name}{end}", name, extent, PRESETS / f"{name}.yaml", _OWN / f"5-{short}{end}.yaml",
        pretrained=pretrained,
    )  # fmt: skip


_ABLATED = PRESETS / "tables-1-2.yaml"

GROUPS: Mapping[str, tuple[Group, ...]] = MappingProxyType({
    "1": (Group("ucf101", "ucf101", UCF101, _ABLATED, TABLES / "1.yaml"),),
    "2": (Group("ucf101", "ucf101", UCF101, _ABLATED, TABLES / "2.yaml"),),
    "5": (
        _table_five("ucf101", UCF101, False),
        _table_five("hmdb51", HMDB51, False),
        _table_five("ucf101", UCF101, True),
        _table_five("hmdb51", HMDB51, True),
        _table_five("kinetics400", KINETICS400, True),
    ),
})  # fmt: skip
"""Table ─► its groups. Tables 1 and 2 are of a fifth of the labels in the paper, of all here."""

_ELSEWHERE = {"3": "semi-supervised", "4": "few-shot"}


def groups_of(table: str) -> tuple[Group, ...]:
    """The groups of a table.

    Raises:
        InputError: it has none.
    """
    if table in GROUPS:
        return GROUPS[table]
    if table in _ELSEWHERE:
        raise InputError(
            f"Table {table} is {_ELSEWHERE[table]}, each of whose cells is one command of "
            f"docs/{_ELSEWHERE[table]}.md; choose one of {', '.join(GROUPS)}."
        )
    raise InputError(f"There are no presets of table {table!r}; choose one of {', '.join(GROUPS)}.")
