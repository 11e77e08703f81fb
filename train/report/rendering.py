"""Pages from templates: self-contained HTML, styled alike."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **shown: object) -> str:
    """A page as HTML.

    Args:
        template: its file; what it includes lies beside it.
        shown: what the template names, besides `style`. Text is escaped.
    """
    page = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(template.name)
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return page.render(style=style, **shown)
