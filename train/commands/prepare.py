"""`l2a prepare`: layers of all training videos, labelled or not, or a look at a few of them."""

from __future__ import annotations

from compositing.engines.base import Engine
from compositing.making import LayerMaker
from compositing.preview import preview_layers, preview_lines
from compositing.records import unfit_rows
from compositing.settings import PrepareSettings
from l2a.arguments import Arguments
from l2a.options import Data, LookFirst, Out
from l2a.progress import progress
from l2a.runs import Run
from l2a.videos import TRAIN_SIDE, VideoSet
from train.commands import show
from train.opening import open_data, prepare_layers
from train.records import draw_sheet
from train.settings.full import FullSettings


def run(arguments: Arguments) -> None:
    """Make the layers and draw a contact sheet."""
    settings, out = FullSettings.of(arguments), arguments[Out].out
    opened = open_data(
        arguments[Data].data, out, settings.data, settings.prepare, settings.engine, settings.run
    )
    store, videos = opened.store, opened.videos
    # A preview is the beginning of the whole, and no other setting.
    others = (LookFirst, PrepareSettings)
    kept = [group for group in arguments.groups() if not isinstance(group, others)]
    folder = Run.open(out, "prepare", [*kept, store.settings])
    if arguments[LookFirst].preview:
        _look(folder, store, opened.engine, videos)
        return
    with folder.stage("prepare"):
        records, skipped = prepare_layers(store, videos.of_split(*TRAIN_SIDE), opened.engine)
    folder.write_skipped(videos.skipped + skipped)
    folder.write_unfit(unfit_rows(records.values()))
    sheet = folder.path("contact_sheet.png")
    draw_sheet(sheet, store, videos, records)
    show(f"layers: {store.folder}", f"contact sheet: {sheet}")


def _look(opened: Run, store: LayerMaker, engine: Engine, videos: VideoSet) -> None:
    """A dozen videos, as sheets and short clips; they are the beginning of the whole."""
    train, folder = videos.of_split(*TRAIN_SIDE), opened.path("preview")
    sheet = opened.path("contact_sheet.png")
    with opened.stage("preview"), progress("preview", "videos") as report:
        done = preview_layers(store, train, sheet, folder, engine=engine, progress=report)
    opened.write_skipped(videos.skipped + done.report.skipped)
    opened.write_unfit(unfit_rows(done.report.records))
    show(*preview_lines(done, len(train)))
    if done.index:
        show(f"contact sheet: {sheet}", f"clips: {folder}", f"index of the clips: {done.index}")
