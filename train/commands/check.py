"""`l2a check`: what is broken in a data set."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.check import check_videos, report_json, report_lines
from l2a.errors import L2AError
from l2a.files import write_json
from l2a.formats.settings import DataSettings
from l2a.options import CheckSettings, Data
from l2a.progress import progress
from l2a.videos import counted
from train.commands import show


def run(arguments: Arguments) -> None:
    """Decode every video of the data set and list what is broken.

    Raises:
        L2AError: with --strict, something is.
    """
    wanted = arguments[CheckSettings]
    with progress("check", "videos") as report:
        found = check_videos(arguments[Data].data, arguments[DataSettings], report=report)
    show(*report_lines(found))
    if wanted.json:
        write_json(wanted.json, report_json(found))
    if wanted.strict and found.broken:
        raise L2AError(f"{arguments[Data].data} has {counted(found.broken, 'fault')}.")
