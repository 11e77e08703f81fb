"""`l2a prepare`: layers of all training videos, or a look at a few of them."""

from __future__ import annotations

from compositing.engines import Engine, make_engine
from compositing.making import LayerMaker
from compositing.preview import preview_layers, preview_lines
from compositing.records import unfit_rows
from l2a.arguments import Arguments
from l2a.options import Data, LookFirst, Out
from l2a.progress import progress
from l2a.runs import Run
from l2a.videos import VideoSet
from train.commands import full_settings, show
from train.opening import open_store, open_videos, prepare_layers
from train.records import draw_sheet


def run(arguments: Arguments) -> None:
    """Make the layers and draw a contact sheet."""
    settings, out = full_settings(arguments), arguments[Out].out
    store = open_store(settings.run, settings.prepare, out / "layers")
    engine = make_engine(settings.engine)
    videos = open_videos(arguments[Data].data, settings.data, settings.run.seed)
    # A preview is the beginning of the whole, and no other setting.
    kept = [group for group in arguments.groups() if not isinstance(group, LookFirst)]
    opened = Run.open(out, "prepare", kept)
    if arguments[LookFirst].preview:
        _look(opened, store, engine, videos)
        return
    with opened.stage("prepare"):
        records, skipped = prepare_layers(store, videos.of_split("train"), engine)
    opened.write_skipped(videos.skipped + skipped)
    opened.write_unfit(unfit_rows(records.values()))
    sheet = opened.path("contact_sheet.png")
    draw_sheet(sheet, store, videos, records)
    show(f"layers: {store.folder}", f"contact sheet: {sheet}")


def _look(opened: Run, store: LayerMaker, engine: Engine, videos: VideoSet) -> None:
    """A dozen videos, as sheets and short clips; they are the beginning of the whole."""
    train, folder = videos.of_split("train"), opened.path("preview")
    sheet = opened.path("contact_sheet.png")
    with opened.stage("preview"), progress("preview", "videos") as report:
        done = preview_layers(store, train, sheet, folder, engine=engine, progress=report)
    opened.write_skipped(videos.skipped + done.report.skipped)
    opened.write_unfit(unfit_rows(done.report.records))
    show(*preview_lines(done, len(train)))
    if done.index:
        show(f"contact sheet: {sheet}", f"clips: {folder}", f"index of the clips: {done.index}")
