"""The face `videofolder`: OUT itself, as Hugging Face's `datasets` reads it.

`metadata.parquet` is the manifest under the name that the reader looks for, and the card's
`configs` say which files belong to it, so that other faces in the same folder do no harm.
"""

from __future__ import annotations

import shutil
from collections import Counter

from compositing.faces import ExportedSet
from l2a.files import write_text, written_whole

_TASK = """task_categories:
- video-classification
"""

_CONFIGS = """configs:
- config_name: default
  data_files:
  - split: train
    path:
    - metadata.parquet
    - videos/*.mp4
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
  JSON, how the foreground was moved, where it was.
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


def make_videofolder(exported: ExportedSet) -> None:
    """Give the manifest the name that `datasets` looks for."""
    with written_whole(exported.out / "metadata.parquet") as aside:
        shutil.copyfile(exported.out / "manifest.parquet", aside)


def write_card(exported: ExportedSet, faces: tuple[str, ...]) -> None:
    """Write `classes.txt` and the data card `README.md`."""
    write_text(exported.out / "classes.txt", "".join(f"{label}\n" for label in exported.classes))
    counts: dict[str, Counter[str]] = {"composite": Counter(), "real": Counter()}
    for row in exported.rows("kind", "label"):
        counts[row["kind"]][row["label"]] += 1
    recipe, originals = exported.recipe, counts["real"].total()
    head = _TASK
    if "videofolder" in faces:
        head += _CONFIGS + ("    - real/*\n" if originals else "")
    lines = (
        f"| {label.replace('|', chr(92) + '|')} | {counts['composite'][label]} "
        f"| {counts['real'][label]} |\n"
        for label in exported.classes
    )
    text = _CARD.format(
        head=head,
        data_set=recipe["data_set"] or "a video data set",
        count=counts["composite"].total(),
        budget=exported.budget,
        real=_REAL.format(count=originals) if originals else "",
        codec={"h264": "H.264", "h265": "H.265"}[recipe["codec"]],
        label_rule=recipe["label_rule"],
        alpha=f"{recipe['alpha']:g}",
        classes="".join(lines),
    )
    write_text(exported.out / "README.md", text)
