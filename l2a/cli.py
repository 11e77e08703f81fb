"""Every command. One verb, one room: each imports what it needs when it runs, not before.

This is the only file of the ground floor that imports the rooms above.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compositing.settings import (
    CompositeSettings,
    EngineSettings,
    ExportSettings,
    PrepareSettings,
)
from l2a import __version__
from l2a.arguments import Arguments, parse
from l2a.clips import ClipSettings
from l2a.errors import InputError, L2AError
from l2a.files import final_name, release_folders
from l2a.formats import DataSettings
from l2a.options import (
    Budget,
    Data,
    DemoSettings,
    DryRun,
    FromClassifier,
    FromPairs,
    FromSelector,
    LookFirst,
    MapPicture,
    NeedsSelector,
    OfRun,
    Out,
    OutDemo,
    OutPage,
    PreviewSettings,
)
from l2a.progress import progress, say
from selector.settings import RankSettings, ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train.settings.full import (
    ClassifierSettings,
    FullSettings,
    RunSettings,
    StageOneSettings,
    StageTwoSettings,
)

if TYPE_CHECKING:
    from compositing.engines import Engine
    from compositing.layers import LayerStore
    from l2a.runs import Run
    from l2a.videos import VideoSet


@dataclass(frozen=True)
class Command:
    """One verb: what its help says, what can be set, and what it does."""

    about: str
    groups: tuple[type, ...]
    work: Callable[[Arguments], None]


def _full(arguments: Arguments) -> FullSettings:
    """The settings that a command takes; groups that it does not take keep their defaults."""
    kinds = typing.get_type_hints(FullSettings)
    given: dict[str, Any] = {
        name: arguments[kind] for name, kind in kinds.items() if kind in arguments
    }
    if Budget in arguments:
        given["stage_two"] = StageTwoSettings(budget=arguments[Budget].budget)
    return FullSettings(**given)


def _check(arguments: Arguments) -> None:
    from l2a.check import check_videos, report_lines

    with progress("check", "videos") as report:
        found = check_videos(arguments[Data].data, arguments[DataSettings], report=report)
    print("\n".join(report_lines(found)))


def _match(arguments: Arguments) -> None:
    from l2a.formats import read_videos
    from semantic_match.embed import embed_classes, make_embedder
    from semantic_match.match import match_classes, match_table
    from semantic_match.picture import draw_map

    settings, picture = arguments[MatchSettings], arguments[MapPicture].map
    videos = read_videos(arguments[Data].data, arguments[DataSettings])
    embedder = make_embedder(settings.embedder)
    vectors = embed_classes(videos.classes, embedder)
    matches = match_classes(videos.classes, vectors, settings.matches)
    width = max([28, *(len(name) + 2 for name in videos.classes)])
    print(f"{'foreground class':<{width}}{'background class':<{width}}similarity")
    for foreground, background, similarity in match_table(videos.classes, matches):
        print(f"{foreground:<{width}}{background:<{width}}{similarity}".rstrip())
    print(f"{len(matches)} matches of {len(videos.classes)} classes: --matches {settings.matches}")
    print(f"embedder: {embedder.identity}")
    draw_map(picture, videos.classes, vectors, matches)
    print(f"map: {picture}")


def _prepare(arguments: Arguments) -> None:
    from compositing.engines import make_engine
    from compositing.records import unfit_rows
    from l2a.runs import Run
    from train.records import draw_sheet
    from train.two_stage import open_store
    from train.workspace import open_videos, prepare_layers, settle_segmenter

    settings, out = _full(arguments), arguments[Out].out
    engine = make_engine(settings.engine)
    videos = open_videos(arguments[Data].data, settings.data, settings.run.seed)
    settings = settle_segmenter(settings, videos.of_split("train"), out)
    store = open_store(out, settings)
    # A preview is the beginning of the whole, and no other setting.
    kept = {name: value for name, value in arguments.flat().items() if name != "preview"}
    run = Run.open(out, "prepare", kept | {"segmenter": settings.prepare.segmenter})
    if arguments[LookFirst].preview:
        _preview_layers(run, store, engine, videos)
        return
    with run.stage("prepare"):
        records, skipped = prepare_layers(store, videos.of_split("train"), engine)
    run.write_skipped(videos.skipped + skipped)
    run.write_unfit(unfit_rows(records.values()))
    sheet = run.path("contact_sheet.png")
    draw_sheet(sheet, store, videos, records)
    print(f"layers: {store.folder}\ncontact sheet: {sheet}")


def _preview_layers(run: Run, store: LayerStore, engine: Engine, videos: VideoSet) -> None:
    from compositing.preview import preview_layers, preview_lines
    from compositing.records import unfit_rows

    train, folder = videos.of_split("train"), run.path("preview")
    sheet = run.path("contact_sheet.png")
    with run.stage("preview"), progress("preview", "videos") as report:
        done = preview_layers(store, train, sheet, folder, engine=engine, progress=report)
    run.write_skipped(videos.skipped + done.report.skipped)
    run.write_unfit(unfit_rows(done.report.records))
    print("\n".join(preview_lines(done, len(train))))
    if done.index:
        print(f"contact sheet: {sheet}\nclips: {folder}\nindex of the clips: {done.index}")


def _train(arguments: Arguments) -> None:
    from train.transfer import Reuse
    from train.two_stage import train

    given = arguments[FromSelector]
    reuse = Reuse(given.selector, given.finetune_selector) if given.selector else None
    summary = train(arguments[Data].data, arguments[Out].out, _full(arguments), reuse)
    print(summary.text)
    print(f"everything is in {summary.folder}\nreport: {summary.report}")


def _select(arguments: Arguments) -> None:
    from train.reuse import select
    from train.transfer import Reuse

    given = arguments[NeedsSelector]
    reuse = Reuse(given.selector, given.finetune_selector)
    path = select(arguments[Data].data, arguments[Out].out, reuse, _full(arguments))
    print(f"pairs: {path}")


def _evaluate(arguments: Arguments) -> None:
    from train.reuse import evaluate

    source = arguments[FromClassifier]
    metrics = evaluate(
        arguments[Data].data, arguments[Out].out, source.classifier, source.subset,
        _full(arguments),
    )  # fmt: skip
    print(f"top-1 {metrics.top1:.4f}, top-5 {metrics.top5:.4f} on {metrics.n} clips")
    for name, accuracy in metrics.per_class.items():
        print(f"  {name:<28}{accuracy:.3f}")


def _export(arguments: Arguments) -> None:
    from train.exporting import export_chosen, forecast
    from train.transfer import Reuse

    data, settings, out = arguments[Data].data, _full(arguments), arguments[Out].out
    given, pairs = arguments[FromSelector], arguments[FromPairs].pairs
    if bool(given.selector) == (pairs is not None):
        raise InputError(
            "`l2a export` needs --pairs, a pairs file that `l2a train` or `l2a select` wrote, or "
            "--selector, which chooses pairs now; give one of the two"
            + (", not both." if given.selector else ".")
        )
    source = pairs or Reuse(given.selector or "", given.finetune_selector)
    if arguments[DryRun].dry_run:
        print("\n".join(forecast(data, out, source, settings).lines()))
    else:
        print(f"{export_chosen(data, out, source, settings)}: {out}")


def _preview(arguments: Arguments) -> None:
    wanted = arguments[PreviewSettings]
    if not (wanted.pairs or wanted.augment):
        raise InputError(
            "`l2a preview` needs --pairs, a pairs file that `l2a train` or `l2a select` wrote, or "
            "--augment, the names of augmentations to draw."
        )
    if wanted.augment:
        _preview_augmentations(arguments, wanted.augment)
    if wanted.pairs:
        _preview_pairs(arguments, wanted.pairs)


def _preview_augmentations(arguments: Arguments, augment: Sequence[str] | str) -> None:
    from l2a.runs import Run
    from train.augment_preview import draw_augmentations, open_augment_preview

    settings, out = _full(arguments), arguments[Out].out
    count = arguments[PreviewSettings].count
    preview = open_augment_preview(arguments[Data].data, augment, settings, count)
    run = Run.open(out, "preview", arguments.flat())
    with run.stage("preview"):
        picture, clips = draw_augmentations(preview, out, settings)
    print(f"augmentations: {picture}\nclips: {clips[0].parent}")


def _preview_pairs(arguments: Arguments, pairs: Path) -> None:
    from compositing.preview import best_pairs, preview_pairs
    from l2a.runs import Run
    from train.chosen import open_chosen

    settings, out, wanted = _full(arguments), arguments[Out].out, arguments[PreviewSettings]
    chosen = open_chosen(arguments[Data].data, pairs, out, settings)
    rows = best_pairs(chosen.rows, wanted.count)
    if not rows:
        raise InputError(f"{pairs} holds no pairs; choose some with `l2a select`.")
    run = Run.open(out, "preview", arguments.flat())
    gone = {row.id for row in chosen.prepare(rows)}
    rows = [row for row in rows if not {row.foreground, row.background} & gone]
    with run.stage("preview"), progress("preview", "pairs") as report:
        done = preview_pairs(
            rows, chosen.videos, chosen.store, out, settings.composite, meta=chosen.meta,
            blends=wanted.every_blend, engine=chosen.engine, progress=report,
        )  # fmt: skip
    for sentence in done.skipped:
        say(f"skipped {sentence}")
    pictures = [("strip", done.strip), ("blends", done.blends), ("clips", done.clips[0].parent)]
    print("\n".join(f"{name}: {path}" for name, path in pictures if path))


def _report(arguments: Arguments) -> None:
    from train.report import write_report

    print(f"report: {write_report(arguments[OfRun].run, arguments[OutPage].out)}")


def _demo(arguments: Arguments) -> None:
    from l2a.demo import SETTINGS, generate_demo

    out = arguments[OutDemo].out
    data, seed = out / "data", arguments[DemoSettings].demo_seed
    say(f"generating videos in {data}")
    generate_demo(
        data,
        seed=seed,
        per_class_train=24,
        per_class_val=8,
        per_class_test=20,
        home_share=0.75,
    )
    words = [str(data), "--out", str(out / "run"), "--config", str(SETTINGS), "--seed", str(seed)]
    say("the demo is: l2a train " + " ".join(words))
    _run(["train", *words])
    print(f"look at {out / 'run' / 'contact_sheet.png'}, composites.png, matches.png")


_DATA = (Data, DataSettings)
_TO_CLIPS = (ClipSettings, PrepareSettings, CompositeSettings)
_TO_CHOOSE = (
    *_TO_CLIPS, MatchSettings, RankSettings, ReinforceSettings, ClassifierSettings,
    StageOneSettings,
)  # fmt: skip

COMMANDS: dict[str, Command] = {
    "check": Command("Read a data set and list what is broken.", _DATA, _check),
    "match": Command(
        "Match each class with the classes nearest to it, and draw the map.",
        (*_DATA, MatchSettings, MapPicture), _match,
    ),
    "prepare": Command(
        "Segment and inpaint every training video once, and draw a contact sheet.",
        (*_DATA, Out, LookFirst, PrepareSettings, EngineSettings, RunSettings), _prepare,
    ),
    "train": Command(
        "Train the Selector, composite the best pairs, train the classifier with them.",
        (*_DATA, Out, FromSelector, *_TO_CLIPS, MatchSettings, SelectorSettings, ReinforceSettings,
         RankSettings, ClassifierSettings, StageOneSettings, StageTwoSettings, ExportSettings,
         EngineSettings, RunSettings), _train,
    ),
    "select": Command(
        "Choose the best pairs of a data set with a trained Selector.",
        (*_DATA, Out, NeedsSelector, Budget, *_TO_CHOOSE, EngineSettings, RunSettings), _select,
    ),
    "evaluate": Command(
        "Measure a trained classifier on a data set.",
        (*_DATA, Out, FromClassifier, ClassifierSettings, EngineSettings, RunSettings), _evaluate,
    ),
    "preview": Command(
        "Draw a few chosen pairs, or other augmentations of a few clips, as pictures and clips.",
        (*_DATA, Out, PreviewSettings, PrepareSettings, CompositeSettings,
         EngineSettings, RunSettings), _preview,
    ),
    "export": Command(
        "Write pairs, chosen before or now, as an augmented data set of real video files.",
        (*_DATA, Out, FromPairs, FromSelector, Budget, DryRun, ExportSettings, *_TO_CHOOSE,
         EngineSettings, RunSettings), _export,
    ),
    "report": Command(
        "Show a run as one HTML page: accuracy, curves, scores, pairs as playing video.",
        (OfRun, OutPage), _report,
    ),
    "demo": Command(
        "Generate a small data set and run everything on it, in minutes.",
        (OutDemo, DemoSettings), _demo,
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the work failed, 2 wrong input."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except L2AError as error:
        print(f"l2a: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("l2a: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"l2a: {_told(error)}; check the disk and the permissions.", file=sys.stderr)
        return 1
    finally:
        release_folders()


def _told(error: OSError) -> str:
    """What failed, and the file as the user knows it: it is written aside under another name."""
    if error.strerror is None:
        return str(error)
    name = final_name(Path(error.filename)) if isinstance(error.filename, str) else ""
    return f"{error.strerror} ({name})" if name else error.strerror


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"l2a {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise InputError(f"There is no command {name!r}; choose one of: {known}.")
    command = COMMANDS[name]
    everything = {group for each in COMMANDS.values() for group in each.groups}
    defaults = {}
    if {PreviewSettings, FromPairs} & set(command.groups):
        defaults = _defaults_from_pairs(rest)
    arguments = parse(
        name, command.about, command.groups, rest, known=everything, defaults=defaults
    )
    command.work(arguments)
    return 0


def _defaults_from_pairs(words: Sequence[str]) -> dict[str, Any]:
    """The settings that pairs were chosen under, so that nothing silently uses others."""
    from l2a.pairs import read_pairs

    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--pairs":
            given = value if equals else (words[index + 1] if index + 1 < len(words) else "")
            return dict(read_pairs(Path(given))[1].get("settings", {})) if given else {}
    return {}


def _overview() -> str:
    rows = [f"  {name:<10}{command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Learn2Augment: learned video compositing for data augmentation.",
            "",
            "usage: l2a COMMAND ...        l2a COMMAND --help lists its settings",
            "",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
