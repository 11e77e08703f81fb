"""`l2a export`: pairs from a file or a Selector ─► a data set of video files, or its forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from compositing.clipfolder import refuse_foreign, refuse_less
from compositing.export import ExportReport, Material, PairList, export_pairs, met_budget
from compositing.forecast import Forecast, forecast_export
from compositing.settings import ExportSettings
from l2a.errors import InputError
from l2a.files import fingerprint, read_json
from l2a.formats import read_videos
from l2a.machine import usable_cores
from l2a.pairs import ScoredPair, read_spares, smaller_choice
from l2a.progress import progress
from l2a.runs import Run
from l2a.settings import about, speed_only
from l2a.videos import Video
from train.chosen import OpenedPairs, open_chosen
from train.opening import open_store
from train.selecting import select
from train.settings.full import FullSettings
from train.transfer import Reuse
from train.video_table import VIDEOS, dropped_videos

# A choice of more pairs by the same Selector is recognised by the rest of its settings; where data
# and weights lie may change, and their names and checksums are compared in other places.
_FREE = speed_only(FullSettings().groups()) | {"budget", "export", "data", "selector"}


def export_chosen(
    data: Path, out: Path, source: Path | Reuse, settings: FullSettings
) -> ExportReport:
    """Export pairs as a data set of video files.

    Args:
        data: the data set's folder.
        out: the export's folder.
        source: a pairs file, or the Selector that chooses now, in a run folder next to the export.
        settings: of everything; `stage_two.budget` is the budget, which for a pairs file is all its
            pairs if not given.

    Raises:
        InputError: settings, data, pairs or Selector are wrong, or `out` holds another export.
        L2AError: the work failed.
    """
    check_out(data, out)
    budget = settings.stage_two.budget
    if isinstance(source, Reuse):
        settings = _sharing_layers(out, settings)
        pairs, budget = _choose(data, out, source, settings), None
    else:
        pairs = source
    chosen = _opened(data, pairs, out, settings)
    dropped = dropped_videos(pairs.with_name(VIDEOS))  # which --drop-real left out of training
    originals = tuple(video for video in chosen.labelled if video.id not in dropped)
    count = met_budget(chosen.rows, budget)
    rows, spares = smaller_choice(chosen.rows, read_spares(pairs), count)
    with progress("export", "clips") as report:
        return export_pairs(
            PairList(rows, chosen.meta, spares, chooser(pairs)),
            Material(
                chosen.videos, chosen.classes, chosen.store, originals,
                _Preparing(chosen),
            ),
            out, settings.composite, settings.export, budget=count, engine=chosen.engine,
            progress=report,
        )  # fmt: skip


def forecast(data: Path, out: Path, source: Path | Reuse, settings: FullSettings) -> Forecast:
    """What `export_chosen` would make; nothing is written, and no Selector is used.

    Where the pairs are not chosen yet, training videos stand for them, each on the next one.

    Raises:
        InputError: as `export_chosen`, as far as it can be known.
    """
    check_out(data, out)
    budget = settings.stage_two.budget
    if isinstance(source, Reuse):
        settings = _sharing_layers(out, settings)
    workers = settings.engine.workers or usable_cores()
    chosen_before = source if isinstance(source, Path) else None
    pairs = chosen_before or selection_folder(out, budget) / "pairs.parquet"
    if chosen_before is None and not pairs.is_file():
        found = read_videos(data, settings.data)
        used = list(found.of_split("train"))
        videos = {video.id: video for video in used}
        store = open_store(
            found, settings.run, settings.prepare, settings.engine, used, _first_selection(out)
        )
        rows, count, originals = _stand_ins(used), budget or len(videos), tuple(used)
    else:
        chosen = _opened(data, pairs, out, settings)
        videos, store = dict(chosen.videos), chosen.store
        dropped = dropped_videos(pairs.with_name(VIDEOS))
        originals = tuple(video for video in chosen.labelled if video.id not in dropped)
        count = met_budget(chosen.rows, budget)
        rows, _ = smaller_choice(chosen.rows, (), count)
    refuse_less(out, count)
    material = Material(videos, (), store.store, originals)  # it makes no layers
    return forecast_export(
        rows, material, out, settings.composite, settings.export, count=count, workers=workers
    )


def check_out(data: Path, out: Path) -> None:
    """Refuse an export's folder in which clips would be mixed with something else.

    Raises:
        InputError: it lies in the data set, whose videos its clips would become, or holds other
            things than an export.
    """
    if out.resolve().is_relative_to(data.resolve()):
        raise InputError(
            f"{out} lies in the data set {data}, whose videos the exported clips would become; "
            "give --out a folder outside of it."
        )
    refuse_foreign(out)


def _opened(data: Path, pairs: Path, out: Path, settings: FullSettings) -> OpenedPairs:
    return open_chosen(
        data, pairs, out, settings.data, settings.prepare, settings.engine, settings.run
    )


def selection_folder(out: Path, budget: int | None) -> Path:
    """The run folder in which an export chooses: OUT-selection, and another for another budget."""
    first = _first_selection(out)
    if not (first / "run.yaml").is_file():
        return first
    content = Run(first).read()
    if not content["fixed"] or content["settings"].get("budget") == budget:
        return first
    return first.with_name(f"{first.name}-{budget or 'each'}")


def _first_selection(out: Path) -> Path:
    return out.with_name(out.name + "-selection")


def chooser(pairs: Path) -> str:
    """Fingerprint of the Selector that chose, and of all else that its choice depends on.

    The budget is left out, so that a larger choice by the same Selector is known for one.

    Args:
        pairs: a pairs file in the run folder that made it.

    Returns:
        "" where there is not a run folder around it, so that this is not known.
    """
    if pairs.name != "pairs.parquet" or not pairs.with_name("run.yaml").is_file():
        return ""
    settings = Run(pairs.parent).read()["settings"]
    kept = {key: value for key, value in settings.items() if key not in _FREE}
    for one in fields(ExportSettings):
        for name in (one.name, *about(one).formerly):
            kept.pop(name, None)
    card = pairs.parent / "selector" / "selector.json"
    trained = read_json(card) if card.is_file() else {}
    return fingerprint([kept, trained.get("weights_sha256")])


@dataclass(slots=True)
class _Preparing:
    """Makes layers for an export, each video once; knows which can have none."""

    chosen: OpenedPairs
    seen: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)

    def __call__(self, rows: Sequence[ScoredPair]) -> Mapping[str, str]:
        new = [row for row in rows if not {row.foreground, row.background} <= self.seen]
        if new:
            self.skipped |= {row.id: row.reason for row in self.chosen.prepare(new)}
            self.seen |= {id_ for row in new for id_ in (row.foreground, row.background)}
        return self.skipped


def _choose(data: Path, out: Path, reuse: Reuse, settings: FullSettings) -> Path:
    """Choose pairs in a run folder next to the export, which so holds nothing but the data set."""
    budget = settings.stage_two.budget
    if budget is not None:
        refuse_less(out, budget)
    # How clips are encoded has no part in the choice: the same pairs may be exported again.
    settings = replace(settings, export=ExportSettings())
    return select(data, selection_folder(out, budget), reuse, settings)


def _sharing_layers(out: Path, settings: FullSettings) -> FullSettings:
    """Settings under which choices with other budgets use the layers of the first."""
    first = _first_selection(out)
    if settings.run.layers or selection_folder(out, settings.stage_two.budget) == first:
        return settings
    return replace(settings, run=replace(settings.run, layers=first / "layers"))


def _stand_ins(videos: Sequence[Video]) -> list[ScoredPair]:
    backgrounds = [*videos[1:], *videos[:1]]
    return [
        ScoredPair(foreground.id, background.id, 0.5, 0.0, foreground.label, background.label)
        for foreground, background in zip(videos, backgrounds, strict=True)
    ]
