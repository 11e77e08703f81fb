"""`l2a preview`: pairs or augmentations, as pictures and short clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compositing.preview import PairLook, best_pairs, preview_pairs
from compositing.settings import PrepareSettings
from l2a.arguments import Arguments
from l2a.errors import InputError
from l2a.logs import say
from l2a.options import Data, Out, PreviewSettings
from l2a.progress import progress
from l2a.runs import Run
from train.augment_preview import draw_augmentations, open_augment_preview
from train.chosen import open_chosen
from train.commands import show
from train.settings.full import FullSettings


def run(arguments: Arguments) -> None:
    """Draw what is asked for.

    Raises:
        InputError: neither pairs nor augmentations are given, or they are wrong.
    """
    wanted = arguments[PreviewSettings]
    if not (wanted.pairs or wanted.augment):
        raise InputError(
            "`l2a preview` needs --pairs, a pairs file that `l2a train` or `l2a select` wrote, or "
            "--augment, the names of augmentations to draw."
        )
    if wanted.augment:
        _augmentations(arguments, wanted.augment)
    if wanted.pairs:
        _pairs(arguments, wanted.pairs)


def _augmentations(arguments: Arguments, augment: Sequence[str] | str) -> None:
    settings, out = FullSettings.of(arguments), arguments[Out].out
    count = arguments[PreviewSettings].count
    preview = open_augment_preview(arguments[Data].data, augment, settings.data, count, out)
    opened = Run.open(out, "preview", arguments.groups())
    with opened.stage("preview"):
        picture, clips = draw_augmentations(
            preview, out, settings.prepare, settings.engine, settings.run
        )
    show(f"augmentations: {picture}", f"clips: {clips[0].parent}")


def _pairs(arguments: Arguments, pairs: Path) -> None:
    settings, wanted = FullSettings.of(arguments), arguments[PreviewSettings]
    out = arguments[Out].out
    chosen = open_chosen(
        arguments[Data].data, pairs, out, settings.data, settings.prepare, settings.engine,
        settings.run,
    )  # fmt: skip
    rows = best_pairs(chosen.rows, wanted.count)
    if not rows:
        raise InputError(f"{pairs} holds no pairs; choose some with `l2a select`.")
    others = [group for group in arguments.groups() if not isinstance(group, PrepareSettings)]
    opened = Run.open(out, "preview", [*others, chosen.store.settings])  # `auto` has become a name
    unusable = {row.id for row in chosen.prepare(rows)}
    rows = [row for row in rows if not {row.foreground, row.background} & unusable]
    with opened.stage("preview"), progress("preview", "pairs") as report:
        done = preview_pairs(
            rows, chosen.videos, chosen.store, out,
            PairLook(settings.composite, chosen.meta, wanted.every_blend),
            engine=chosen.engine, progress=report,
        )  # fmt: skip
    for sentence in done.skipped:
        say(f"skipped {sentence}")
    pictures = [("strip", done.strip), ("blends", done.blends), ("clips", done.clips[0].parent)]
    show(*(f"{name}: {path}" for name, path in pictures if path))
