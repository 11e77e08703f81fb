"""Tables 1, 2 and 5: groups whose cells are rows of a table of `l2a ablate`, one command each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from l2a.options import PaperSettings
from l2a.runs import Run
from train.ablation.plan import row_settings
from train.ablation.running import DONE
from train.ablation.table import TABLES, Table, read_table
from train.paper.cells import Cell, Group, Place, Row, Step, Store
from train.paper.cost import (
    HMDB51,
    KINETICS400,
    UCF101,
    Cost,
    Extent,
    bank_cost,
    layered,
    layers_cost,
    training_cost,
)
from train.paper.given import arguments_of, missing_data, preset, shared_layers
from train.paper.weights import fetch_note
from train.report import NAME as PAGE
from train.settings.full import FullSettings

_OWN = Path(__file__).with_name("tables")
COLUMN = "top-1"


@dataclass(frozen=True)
class Ablated:
    """Cells of a table on one data set, from one start.

    Attributes:
        name: of its folder of runs.
        data: the data set's folder below --data-root.
        extent: how large the data set is.
        preset: the name of the settings of all its cells.
        table: of `l2a ablate`: its rows are the cells, with the paper's figures.
        pretrained: whether it starts from Sports-1M weights, which a user must bring.
    """

    name: str
    data: str
    extent: Extent
    preset: str
    table: Path
    pretrained: bool = False


def _table_five(name: str, extent: Extent, pretrained: bool) -> Ablated:
    end = "-sports1m" if pretrained else ""
    short = "kinetics" if extent is KINETICS400 else name
    return Ablated(f"{name}{end}", name, extent, name, _OWN / f"5-{short}{end}.yaml", pretrained)


ABLATED: Mapping[str, tuple[Ablated, ...]] = MappingProxyType({
    "1": (Ablated("ucf101", "ucf101", UCF101, "tables-1-2", TABLES / "1.yaml"),),
    "2": (Ablated("ucf101", "ucf101", UCF101, "tables-1-2", TABLES / "2.yaml"),),
    "5": (
        _table_five("ucf101", UCF101, False),
        _table_five("hmdb51", HMDB51, False),
        _table_five("ucf101", UCF101, True),
        _table_five("hmdb51", HMDB51, True),
        _table_five("kinetics400", KINETICS400, True),
    ),
})  # fmt: skip
"""Table ─► its groups. Tables 1 and 2 are of a fifth of the labels in the paper, of all here."""


def ablated_groups(wanted: PaperSettings) -> list[Group]:
    """The groups of a table in `ABLATED`."""
    return [_group(one, wanted) for one in ABLATED[wanted.cells]]


def _group(one: Ablated, wanted: PaperSettings) -> Group:
    data, out = wanted.data_root / one.data, wanted.out / f"table-{wanted.cells}" / one.name
    words = [
        "ablate", str(data), "--config", str(preset(one.preset, wanted)), "--table", str(one.table),
        "--splits", "1", "--seeds", *map(str, wanted.seeds), "--out", str(out),
    ]  # fmt: skip
    layers = shared_layers(one.data, wanted)
    if (out / "run.yaml").is_file() and Run(out).read()["settings"].get("layers") is None:
        layers = out / "layers"  # it was begun when groups had their own
    else:
        words += ["--layers", str(layers)]
    missing = missing_data(data)
    if one.pretrained:
        if wanted.sports1m and wanted.sports1m.is_file():
            words += ["--weights", str(wanted.sports1m)]
        else:
            missing += ("weights of r2plus1d_18 from Sports-1M (--sports1m FILE)",)
    arguments, table = arguments_of(words), read_table(str(one.table))
    settings = {name: row_settings(arguments, table, row) for name, row in table.rows.items()}
    folders = {name: _folders(out / name, wanted) for name in settings}
    rows = _rows(one, table, settings, folders)
    step = Step(
        "all rows and seeds", tuple(words),
        tuple(folder / DONE for own in folders.values() for folder in own),
        sum(row.hours or 0.0 for row in rows) / len(rows), missing, last=(PAGE,),
    )  # fmt: skip
    first = next(iter(settings.values()))
    return Group(
        table.title, (COLUMN,), rows, (step,), _stores(one, settings, layers, out, wanted),
        len(wanted.seeds) * bank_cost(one.extent, first).bytes, fetch_note(first),
    )  # fmt: skip


def _folders(row: Path, wanted: PaperSettings) -> list[Path]:
    return [row / f"split-1-seed-{seed}" for seed in wanted.seeds]


def _rows(
    one: Ablated, table: Table, settings: Mapping[str, FullSettings],
    folders: Mapping[str, list[Path]],
) -> tuple[Row, ...]:  # fmt: skip
    rows = []
    for name, own in settings.items():
        keys = ("arms", own.stage_two.selection, "top1_mean")
        places = tuple(Place(run / "metrics.json", keys, run / DONE) for run in folders[name])
        cells = {COLUMN: Cell(table.rows[name].paper, places)}
        rows.append(Row(name, cells, training_cost(one.extent, own).hours))
    return tuple(rows)


def _stores(
    one: Ablated, settings: Mapping[str, FullSettings], layers: Path, out: Path,
    wanted: PaperSettings,
) -> tuple[Store, ...]:  # fmt: skip
    """Masks are found once for all rows; rows that differ in how they are used have layers of
    their own."""
    used = {repr(own.prepare): own for own in settings.values() if _composited(own)}
    found: list[Store] = []
    for own in used.values():
        videos = layered(one.extent, own.data.val_share, len(wanted.seeds))
        cost = layers_cost(one.extent, own, videos)
        if found:
            found.append(Store(out / "layers" / f"{len(found)}", videos, Cost(0.0, cost.bytes)))
        else:
            found.append(Store(layers, videos, cost))
    return tuple(found)


def _composited(row: FullSettings) -> bool:
    return row.stage_two.selection != "none"
