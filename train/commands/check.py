"""`l2a check`: what is broken in a data set."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.check import check_videos, report_lines
from l2a.formats.settings import DataSettings
from l2a.options import Data
from l2a.progress import progress
from train.commands import show


def run(arguments: Arguments) -> None:
    """Decode every video of the data set and list what is broken."""
    with progress("check", "videos") as report:
        found = check_videos(arguments[Data].data, arguments[DataSettings], report=report)
    show(*report_lines(found))
