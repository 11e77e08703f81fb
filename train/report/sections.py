"""The sections of the page, in one table; those on data and time are here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compositing.pictures import plain
from l2a.errors import L2AError
from semantic_match.tied import SceneTie, scene_tie
from train.report.choice import scores, shown_pairs, stage_one
from train.report.few_shot import few_shot
from train.report.pseudo import pseudo_labels
from train.report.results import accuracy, confusion, maps
from train.report.scenes import scene_test
from train.report.source import Section, Source
from train.report.worst import worst_videos

_LISTED = 200
_PARTNERS = 8


def gather(folder: Path) -> dict[str, Any]:
    """All that `page.html` shows of a run folder.

    Raises:
        InputError: it is none.
    """
    source = Source.open(folder)
    sections: Mapping[str, Callable[[Source], Section]] = {
        "ran": _ran,
        "accuracy": accuracy,
        "few_shot": few_shot,
        "confusion": confusion,
        "scene_test": scene_test,
        "pseudo": pseudo_labels,
        "stage_one": stage_one,
        "scores": scores,
        "pairs": shown_pairs,
        "worst": worst_videos,
        "maps": maps,
        "matches": _matches,
        "left_out": _left_out,
    }
    shown: dict[str, Any] = {name: _section(make, source) for name, make in sections.items()}
    return shown | {
        "command": source.command,
        "name": "/".join(folder.resolve().parts[-2:]),
        "settings": [(key, _said(value)) for key, value in source.settings.items()],
        "versions": source.versions,
        "plain": plain,
    }


def _section(make: Callable[[Source], Section], source: Source) -> Section:
    try:
        return make(source)
    except L2AError as error:
        return f"This part cannot be shown: {error}"


def _said(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "—" if value is None else ("yes" if value else "no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _ran(source: Source) -> Section:
    """Data and time."""
    seconds: Mapping[str, float] = source.json("stages.json") or {}
    total, longest = sum(seconds.values()), max(seconds.values(), default=1.0)
    try:
        videos = source.videos
        counts = Counter(video.split for video in videos.videos)
        data = {
            "format": videos.format,
            "classes": len(videos.classes),
            "splits": [
                (split, counts[split])
                for split in ("train", "val", "test", "unlabelled")
                if counts[split] or split != "unlabelled"
            ],
            "notes": videos.notes,
        }
    except L2AError as error:
        data = {"missing": str(error)}
    return {
        "data": data,
        "folder": source.settings.get("data"),
        "total": _duration(total),
        "stages": [(name, _duration(took), took / longest) for name, took in seconds.items()],
    }


def _matches(source: Source) -> Section:
    """Which class lends its scenes to which."""
    content = source.json("matches.json")
    if content is None:
        return None
    partners: dict[str, list[tuple[str, float]]] = {}
    for match in content["matches"]:
        own = partners.setdefault(match["foreground"], [])
        own.append((match["background"], match["similarity"]))
    similarities = [match["similarity"] for match in content["matches"]]
    low, high = min(similarities, default=0.0), max(similarities, default=1.0)
    rows = []
    for name, own in partners.items():
        own.sort(key=lambda partner: -partner[1])
        shown = [
            (other, value, (value - low) / max(high - low, 1e-9))
            for other, value in own[:_PARTNERS]
        ]
        rows.append((name, shown, len(own) - len(shown)))
    return {
        "rows": rows,
        "matches": len(content["matches"]),
        "pool": content["pool"],
        "specification": content["specification"],
        "embedder": content["embedder"],
        "without": content["without_partner"],
        "tie": _tie(source),
    }


def _tie(source: Source) -> SceneTie | None:
    """What scenes say of actors in the chosen pairs; None before they are chosen."""
    if source.pairs is None:
        return None
    pairs, _ = source.pairs
    names = sorted({name for p in pairs for name in (p.foreground_class, p.background_class)})
    index = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for pair in pairs:
        counts[index[pair.foreground_class], index[pair.background_class]] += 1
    return scene_tie(counts)


def _left_out(source: Source) -> Section:
    """Files that were skipped, and videos that are unfit for one side of a pair."""
    tables = [
        (
            title,
            [(row["video"], row.get("side", ""), row["reason"]) for row in rows[:_LISTED]],
            len(rows),
            Counter(_kind(row) for row in rows).most_common(),
            name,
        )
        for title, name in (("skipped", "skipped.csv"), ("unfit", "unfit.csv"))
        if (rows := source.table(name))
    ]
    return {"tables": tables} if tables else "No file was skipped, and every video is fit."


def _kind(row: Mapping[str, str]) -> str:
    kind = row["reason"].partition(":")[0]
    return f"as {row['side']}: {kind}" if "side" in row else kind


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
