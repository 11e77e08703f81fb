"""`l2a train`: both stages, from a data set to a trained classifier, by one process or several."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.options import Data, FromSelector, Out
from train.commands import show
from train.distributed import run_together
from train.semi_supervised.checks import refuse_idle
from train.settings.full import FullSettings
from train.settings.semi import SemiSettings
from train.transfer import Reuse
from train.two_stage import train


def run(arguments: Arguments) -> None:
    """Train, together with the other processes that a launcher started, if it did."""
    run_together(lambda: _train(arguments))


def _train(arguments: Arguments) -> None:
    """Train, and print the table of results."""
    refuse_idle(arguments[SemiSettings], arguments[Out].out)
    given = arguments[FromSelector]
    reuse = Reuse(given.selector, given.finetune_selector) if given.selector else None
    summary = train(arguments[Data].data, arguments[Out].out, FullSettings.of(arguments), reuse)
    show(summary.text, f"everything is in {summary.folder}", f"report: {summary.report}")
