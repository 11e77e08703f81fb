"""`l2a report`: a run as one HTML page."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.options import OfRun, OutPage
from train.commands import show
from train.report import write_report


def run(arguments: Arguments) -> None:
    """Write the page and print where it is."""
    show(f"report: {write_report(arguments[OfRun].run, arguments[OutPage].out)}")
