"""The data card of an export: `README.md` for people and the Hub, and `classes.txt`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from compositing.layouts import ExportedSet, Layout
from l2a.files import write_text
from l2a.text import markdown_text

_TASK = """task_categories:
- video-classification
"""

_CARD = """---
{head}---
# Composites of {data_set}

{count} clips made by `l2a export`: the actors and objects of one video, cut out and pasted on the
background of another, from which the actors were removed (Learn2Augment, ECCV 2022). The budget
was {budget}.{real}

- `videos/`: {codec}, {label_rule} label rule, α = {alpha}.
- `manifest.parquet`: one row a clip. `label` is the class of the foreground, whose action is seen.
  `soft_label` is the mixed label over all of `classes.txt`: `lam` on the foreground's class and the
  rest on the background's. `omega` is the score that the Selector gave the pair, `gamma` the share
  of the clip that the foreground covers; `foreground` and `background` name the two videos, and
  `foreground_source` and `background_source` tell their files from others; `placement` says, as
  JSON, how the foreground was moved, if it was.
- Read it with any Parquet reader, or, if there is a `metadata.parquet`, with
  `datasets.load_dataset` and the path of this folder.
- Only training videos were used: validate and test on real videos.

| class | composites | originals |
| --- | ---: | ---: |
{classes}
## Licence

The clips are derived from the videos that `foreground` and `background` name, and stay under the
licence of those; look it up, and name the source, before you share them.
"""

_REAL = """
{count} original training videos are in `real/`, with `kind` = real: `lam` is 1 and there is no
background."""


def write_card(exported: ExportedSet, layouts: Iterable[Layout]) -> None:
    """Write `classes.txt` and `README.md`; names that come from the data are plain text there."""
    write_text(exported.out / "classes.txt", "".join(f"{label}\n" for label in exported.classes))
    counts: dict[str, Counter[str]] = {"composite": Counter(), "real": Counter()}
    for row in exported.rows("kind", "label"):
        counts[row["kind"]][row["label"]] += 1
    recipe, originals = exported.recipe, counts["real"].total()
    configs = (each.configs + (each.real_configs if originals else "") for each in layouts)
    lines = (
        f"| {markdown_text(label)} | {counts['composite'][label]} | {counts['real'][label]} |\n"
        for label in exported.classes
    )
    text = _CARD.format(
        head=_TASK + "".join(configs),
        data_set=markdown_text(recipe["data_set"] or "a video data set"),
        count=counts["composite"].total(),
        budget=exported.budget,
        real=_REAL.format(count=originals) if originals else "",
        codec={"h264": "H.264", "h265": "H.265"}[recipe["codec"]],
        label_rule=recipe["label_rule"],
        alpha=f"{recipe['alpha']:g}",
        classes="".join(lines),
    )
    write_text(exported.out / "README.md", text)
