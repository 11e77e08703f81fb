"""`l2a report`: one HTML page about a run folder, self-contained: no network, no script."""

from __future__ import annotations

from pathlib import Path

from l2a.files import write_text
from train.report.rendering import render
from train.report.sections import gather

NAME = "report.html"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run folder; what the run does not have yet is left out, or said so.

    Args:
        folder: a run folder, finished or not. It is read only; nothing is computed that the run
            has not computed, but the pictures.
        out: the HTML file; `report.html` in the run folder if not given.

    Returns:
        The page's path.

    Raises:
        InputError: the folder is no run.
    """
    path = folder / NAME if out is None else out
    write_text(path, render(Path(__file__).with_name("page.html"), **gather(folder)))
    return path
