"""What an ablation will do: its runs, and what they share. Nothing is computed or written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from compositing.segmenters.auto import SIMPLE, resolve_segmenter
from compositing.settings import PrepareSettings
from l2a.arguments import Arguments, overridden
from l2a.errors import InputError
from l2a.files import fingerprint
from l2a.formats import DataSettings, read_videos
from l2a.logs import say
from l2a.options import AblationSettings, Data, Out
from l2a.videos import VideoSet, counted
from train.ablation.table import Row, Table
from train.arms import PRETRAINED, plan_arms
from train.command_table import ALL_GROUPS
from train.frozen.stage_two import check_frozen
from train.opening import refuse_in_data
from train.settings.full import FullSettings
from train.stages import check_matches, check_networks

COMMAND = "ablate"
LAYERS, BANK, MASKS = "layers", "bank", "masks"

_OWN = "which the ablation sets itself; leave it out"
_SHARED = (
    "but all rows must see as many clips in as many steps; set it for all of them, on the command "
    "line"
)
_REFUSED = {
    **dict.fromkeys(("data", "out", "split", "seed", "layers", "bank"), _OWN),
    **{field.name: _OWN for field in fields(AblationSettings)},
    **dict.fromkeys(
        ("epochs", "batch_size", "composites_per_batch", "replace_real", "repeats"), _SHARED
    ),
}


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Attributes:
        row, split, seed: which.
        folder: of the run.
        settings: of `l2a train`.
    """

    row: str
    split: str
    seed: int
    folder: Path
    settings: FullSettings

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.row}, split {self.split}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All trainings of an ablation.

    Attributes:
        table: its rows.
        data: the data set's folder.
        out: the folder of the ablation.
        settings: row ─► what it trains with, on any split and seed.
        runs: split by split and seed by seed, the rows of each one after another: a table that is
            interrupted has whole pairs to compare.
        masks: where the layer stores that were made here keep the raw masks of all.
        groups: the settings that the rows began with: what the ablation's own folder keeps.
    """

    table: Table
    data: Path
    out: Path
    settings: Mapping[str, FullSettings]
    runs: tuple[PlannedRun, ...]
    masks: Path
    groups: tuple[Any, ...]

    def stores(self) -> dict[Path, list[str]]:
        """Folders of layers, and the rows that use them."""
        found: dict[Path, list[str]] = {}
        for name, settings in self.settings.items():
            if settings.run.layers and settings.stage_two.selection != "none":
                found.setdefault(settings.run.layers, []).append(name)
        return found


def make_plan(arguments: Arguments, table: Table) -> Plan:
    """Resolve the settings of every row, and check all of it that can be checked now.

    Raises:
        InputError: a row sets what it cannot, two rows are the same, a back end or its weights are
            not there, the data set does not have a split, or has the same in two, or would be
            written to.
    """
    data, out = arguments[Data].data, arguments[Out].out
    wanted, base = arguments[AblationSettings], FullSettings.of(arguments)
    splits = [str(number) for number in wanted.splits or ()] or [base.data.split]
    seeds = list(wanted.seeds or (base.run.seed,))
    videos = read_splits(data, base.data, splits)
    refuse_in_data(videos[0], out=out, layers=base.run.layers, bank=base.run.bank)
    prepare = resolve_segmenter(
        base.prepare, videos[0].of_split("train"), base.engine, _made_before(base, out)
    )  # fmt: skip
    if prepare.sentence:
        say(prepare.sentence)
    arguments = arguments.replaced(prepare.settings)
    base = FullSettings.of(arguments)
    if (arm := row_arm(base)) != base.stage_two.selection:
        raise InputError(
            f"The command line asks for the arm {arm}, which would be the same in every row; set "
            "it in the rows that are of it."
        )
    rows = {row.name: row_settings(arguments, table, row) for row in table.rows.values()}
    _refuse_same(table, rows)
    if base.stage_two.replace_real:
        _refuse_fewer_steps(rows)
    _check(rows, videos[0])
    masks = (base.run.layers or out / LAYERS) / MASKS
    settings = {name: _placed(row, base, out) for name, row in rows.items()}
    runs = tuple(
        PlannedRun(name, split, seed, out / name / f"split-{split}-seed-{seed}",
                   _on(row, split, seed))
        for split in splits for seed in seeds for name, row in settings.items()
    )  # fmt: skip
    return Plan(table, data, out, settings, runs, masks, arguments.groups())


def _made_before(base: FullSettings, out: Path) -> tuple[Path, ...]:
    """Where layers may lie already, whose segmenter is the one to go on with."""
    return (out,) if base.run.layers is None else (out, base.run.layers)


def row_settings(arguments: Arguments, table: Table, row: Row) -> FullSettings:
    """What a row trains with: the command line's settings, with its own in their place.

    Raises:
        InputError: it sets what no `l2a train` knows, or what all rows must share.
    """
    if row.settings is None:
        return FullSettings.of(arguments)
    place = f"The row {row.name} of {table.source}"
    changed = overridden(
        arguments, "train", place, row.settings, known=ALL_GROUPS, refused=_REFUSED
    )
    return FullSettings.of(changed)


def row_arm(settings: FullSettings) -> str:
    """The arm of `l2a train` that a row is of: the augmentation, the method or the Selector from
    before that it sets, or else how it chooses its pairs.

    Raises:
        InputError: it sets several.
    """
    stage, frozen = replace(settings.stage_two, compare=False), settings.classifier.freeze_trunk
    own = [
        plan.name
        for plan in plan_arms(stage, settings.semi, frozen=frozen)
        if plan.augmentation is not None or plan.method or plan.name == PRETRAINED
    ]
    if len(own) > 1:
        raise InputError(f"It would train the arms {' and '.join(own)}; give each a row.")
    return own[0] if own else stage.selection


def read_splits(data: Path, settings: DataSettings, splits: Sequence[str]) -> list[VideoSet]:
    """The data set in each of its splits.

    Raises:
        InputError: it is none, a split is not there, or two are the same.
    """
    found: dict[str, tuple[str, VideoSet]] = {}
    for split in splits:
        videos = read_videos(data, replace(settings, split=split))
        sides = [(video.id, video.split) for video in videos.videos]
        same, _ = found.setdefault(fingerprint(sorted(sides)), (split, videos))
        if same != split:
            raise InputError(
                f"{data} has the same training and test videos in the splits {same} and {split}; "
                "give --splits one of them, and --seeds several numbers."
            )
    return [videos for _, videos in found.values()]


def describe(plan: Plan, how: str = "one after another") -> list[str]:
    """What a person wants to know before it starts, a line each; `how` says how runs follow each
    other."""
    table, settings = plan.table, plan.settings
    splits = list(dict.fromkeys(run.split for run in plan.runs))
    seeds = list(dict.fromkeys(str(run.seed) for run in plan.runs))
    width = max(map(len, table.rows)) + 2
    lines = [
        f"{table.title} ({table.source.name}): {counted(len(table.rows), 'row')} x splits "
        f"{' '.join(splits)} x seeds {' '.join(seeds)} = {counted(len(plan.runs), 'run')}, {how}, "
        f"each in {plan.out}/ROW/split-S-seed-N",
    ]
    for name, row in table.rows.items():
        told = [row.about, "the baseline" if name == table.baseline else ""]
        about = f"  ({', '.join(filter(None, told))})" if any(told) else ""
        lines.append(f"  {name:<{width}}{_changes(row)}{about}")
    lines.append(
        "all rows: the same real clips in the same order for the same number of steps, and as many "
        "composites, where there are any"
    )
    lines.append(f"shared: clips and features in {next(iter(settings.values())).run.bank}")
    for folder, names in plan.stores().items():
        lines.append(f"shared: layers in {folder}, for {', '.join(names)}")
    if len(plan.stores()) > 1:
        lines.append(f"shared: raw masks, found once for all layers, in {plan.masks}")
    if any(row.stage_two.drop_real for row in settings.values()):
        lines.append("note: with drop_real a row trains on fewer real clips, in fewer steps")
    people = [name for name, row in settings.items() if _wants_people(row)]
    if people:
        lines.append(
            f"note: {SIMPLE} finds what moves and does not know people, so that nothing is left of "
            f"the rows {', '.join(people)}; give --segmenter mask-rcnn, or masks:PATH"
        )
    return lines


def _changes(row: Row) -> str:
    """What a row sets, as it stands in the file."""
    if row.settings is None:
        return "as the command line says"
    return ", ".join(f"{key.value} {_written(value)}" for key, value in row.settings.value)


def _written(node: yaml.Node) -> str:
    """A value, a list or a group of settings, in one line."""
    if isinstance(node, yaml.MappingNode):
        inner = ", ".join(f"{key.value} {_written(value)}" for key, value in node.value)
        return f"({inner})"
    if isinstance(node, yaml.SequenceNode):
        return ",".join(map(_written, node.value))
    return str(node.value)


def _wants_people(row: FullSettings) -> bool:
    prepare = row.prepare
    used = row.stage_two.selection != "none"
    return used and prepare.humans_only and prepare.segmenter == SIMPLE


def _refuse_fewer_steps(rows: Mapping[str, FullSettings]) -> None:
    """A row is a run of its own, whose batches hold fewer real clips if it has composites."""
    without = [name for name, row in rows.items() if row.stage_two.selection == "none"]
    if without and len(without) < len(rows):
        raise InputError(
            f"With --replace-real the row {without[0]}, without composites, would take fewer steps "
            "than the others; leave it out, or compare by l2a train --compare."
        )


def _refuse_same(table: Table, rows: Mapping[str, FullSettings]) -> None:
    seen: dict[str, str] = {}
    for name, settings in rows.items():
        mark = repr(settings)
        if mark in seen:
            raise InputError(
                f"The rows {seen[mark]} and {name} of {table.source} have the same settings here; "
                "remove one, or leave out of the command line what a row is to switch."
            )
        seen[mark] = name


def _check(rows: Mapping[str, FullSettings], videos: VideoSet) -> None:
    """Fail now on what the first run of a row would fail on, as far as it is quickly known."""
    done: set[str] = set()
    for name, row in rows.items():
        try:
            row_arm(row)
            kinds = {plan.pairs for plan in plan_arms(row.stage_two)}
            networks = repr((row.classifier, row.stage_one))
            if networks not in done:
                check_networks(row.classifier, row.stage_one)
                if row.classifier.freeze_trunk:
                    check_frozen(row.classifier, row.stage_one.trunk_lr)
            if kinds != {"none"} and repr(row.match) not in done:
                check_matches(videos, row.match)
            done |= {networks, repr(row.match)}
        except InputError as error:
            raise InputError(f"The row {name}: {error}") from None


def _placed(row: FullSettings, base: FullSettings, out: Path) -> FullSettings:
    """A row's settings with the folders of what it shares with others.

    A store keeps one version of each video's layers, so that rows with other settings of masks or
    backgrounds have another store.
    """
    layers = base.run.layers
    if layers is None or _made_otherwise(row.prepare, base.prepare):
        layers = out / LAYERS / fingerprint(row.prepare)[:8]
    return replace(row, run=replace(row.run, layers=layers, bank=base.run.bank or out / BANK))


def _made_otherwise(one: PrepareSettings, other: PrepareSettings) -> bool:
    return fingerprint(one) != fingerprint(other)


def _on(settings: FullSettings, split: str, seed: int) -> FullSettings:
    changed: dict[str, Any] = {
        "data": replace(settings.data, split=split), "run": replace(settings.run, seed=seed)
    }  # fmt: skip
    return replace(settings, **changed)
