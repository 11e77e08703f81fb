"""`l2a export`: pairs as an augmented data set of video files."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.errors import InputError
from l2a.options import Data, DryRun, FromPairs, FromSelector, Out
from train.commands import show
from train.exporting import export_chosen, forecast
from train.settings.full import FullSettings
from train.transfer import Reuse


def run(arguments: Arguments) -> None:
    """Write the data set, or with --dry-run print what it would amount to.

    Raises:
        InputError: neither pairs nor a Selector are given, or both.
    """
    data, settings, out = arguments[Data].data, FullSettings.of(arguments), arguments[Out].out
    given, pairs = arguments[FromSelector], arguments[FromPairs].pairs
    if bool(given.selector) == (pairs is not None):
        raise InputError(
            "`l2a export` needs --pairs, a pairs file that `l2a train` or `l2a select` wrote, or "
            "--selector, which chooses pairs now; give one of the two"
            + (", not both." if given.selector else ".")
        )
    source = pairs or Reuse(given.selector or "", given.finetune_selector)
    if arguments[DryRun].dry_run:
        show(*forecast(data, out, source, settings).lines())
    else:
        show(f"{export_chosen(data, out, source, settings)}: {out}")
