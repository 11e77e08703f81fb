"""`l2a report`: one HTML page about a run folder, whole in itself: no network, no script."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from l2a.files import write_text
from train.report.sections import gather

NAME = "report.html"

_HERE = Path(__file__).parent


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
    page = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    path = folder / NAME if out is None else out
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    write_text(path, page.render(style=style, **gather(folder)))
    return path
