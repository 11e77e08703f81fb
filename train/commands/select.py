"""`l2a select`: the best pairs of a data set, by a Selector that was trained before."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.options import Data, NeedsSelector, Out
from train.commands import show
from train.selecting import select
from train.settings.full import FullSettings
from train.transfer import Reuse


def run(arguments: Arguments) -> None:
    """Choose pairs and print where they are."""
    given = arguments[NeedsSelector]
    reuse = Reuse(given.selector, given.finetune_selector)
    path = select(arguments[Data].data, arguments[Out].out, reuse, FullSettings.of(arguments))
    show(f"pairs: {path}")
