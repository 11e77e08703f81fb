"""The stages that commands share: preparing, matching, exporting, and what is checked before them.

Each keeps its result in the run folder and is not done again.
"""

from __future__ import annotations

import torch

from compositing.engines import make_engine
from compositing.export import ExportReport, Material, PairList, export_pairs
from compositing.records import unfit_rows
from compositing.settings import CompositeSettings, EngineSettings, ExportSettings
from l2a.clips import ClipSettings
from l2a.formats import DataSettings, read_videos
from l2a.logs import say
from l2a.networks import build_network
from l2a.pairs import read_pairs, read_spares
from l2a.progress import progress
from l2a.runs import Run
from l2a.videos import Video, VideoSet
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes
from semantic_match.settings import MatchSettings
from train.chosen import with_classes
from train.opening import Opened
from train.prepared import Matching, PreparedData, build_matching
from train.records import draw_sheet, write_matching
from train.settings.full import ClassifierSettings, StageOneSettings
from train.video_table import VIDEOS, dropped_videos


def check_matches(videos: VideoSet, settings: MatchSettings) -> None:
    """Fail now on matches that the classes do not allow, and not after layers were made.

    Raises:
        InputError: the specification, a name in a file of matches, or a class's vector is wrong.
    """
    vectors = embed_classes(videos.classes, make_embedder(settings.embedder))
    match_classes(videos.classes, vectors, settings.matches)


def check_networks(classifier: ClassifierSettings, stage: StageOneSettings) -> None:
    """Fail now on an unknown network, or weights that are absent, damaged or of another one."""
    wanted = {(classifier.network, classifier.weights)}
    if stage.trunk != "classifier":
        wanted.add((stage.trunk, stage.trunk_weights))
    for name, weights in wanted:
        # Without weights the name is all there is to check: no memory is spent on it.
        with torch.device("cpu" if weights else "meta"):
            build_network(name, 1, weights)


def prepare_run(
    run: Run, opened: Opened, clips: ClipSettings, composite: CompositeSettings, *,
    layers: bool = True, sheet: bool = False,
) -> PreparedData:  # fmt: skip
    """The stage that makes layers and clips, and lists what was left out, with the reason.

    Args:
        run, opened: the run and its data set.
        clips, composite, layers: as `Opened.prepare` takes them.
        sheet: draw a contact sheet of the layers.
    """
    with run.stage("prepare"):
        prepared = opened.prepare(clips, composite, layers=layers, left_out=run.left_out())
        if run.write_skipped(prepared.videos.skipped):
            count = len(prepared.videos.skipped)
            say(f"{count} videos skipped; {run.path('skipped.csv')} says why")
        run.write_unfit(unfit_rows(prepared.records.values()))
        if sheet:
            path = run.path("contact_sheet.png")
            draw_sheet(path, opened.store, prepared.videos, prepared.records)
    return prepared


def match_run(run: Run, prepared: PreparedData, settings: MatchSettings) -> Matching:
    """The stage that matches classes and makes the pool."""
    with run.stage("match"):
        matching = build_matching(prepared, settings)
        write_matching(run, prepared, matching)
    return matching


def export_run(
    run: Run, prepared: PreparedData, data: DataSettings, composite: CompositeSettings,
    export: ExportSettings, engine: EngineSettings,
) -> ExportReport:  # fmt: skip
    """Write the run's pairs as an augmented data set to RUN/export."""
    path = run.path("pairs.parquet")
    (pairs, meta), spares = read_pairs(path), read_spares(path)
    by_id = {video.id: video for video in prepared.videos.videos}
    originals: tuple[Video, ...] = ()
    if export.include_real != "no":
        # Validation that was carved out for the Selector is training video to everybody else.
        dropped = dropped_videos(run.path(VIDEOS))
        videos = read_videos(prepared.videos.root, data).of_split("train")
        originals = tuple(video for video in videos if video.id not in dropped)
    with progress("export", "clips") as report:
        done = export_pairs(
            PairList(pairs, meta, spares),
            Material(
                by_id | with_classes([*pairs, *spares], by_id), prepared.videos.classes,
                prepared.store, originals,
            ),
            run.path("export"), composite, export, engine=make_engine(engine), progress=report,
        )  # fmt: skip
    say(f"export: {done}")
    return done
