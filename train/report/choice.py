"""The Selector's results: its training, its scores, and the pairs themselves."""

from __future__ import annotations

import statistics

import numpy as np

from compositing.preview import best_pairs
from compositing.settings import CompositeSettings
from l2a.videos import TRAIN_SIDE
from selector.diagnosis import verdict_text
from train.report.charts import curve_charts, omega_chart
from train.report.films import films_of
from train.report.source import Section, Source

_FILMS = 4


def stage_one(source: Source) -> Section:
    """What the Selector's training came to."""
    verdict = source.json("stage_one", "verdict.json")
    given = source.settings.get("selector")
    if verdict is None:
        if given and source.command == "train" and not _trains(source):
            return f"The Selector {given} was given, and no arm used it."
        if given:
            return f"The Selector was trained before, in another run: {given}."
        return "Stage one has not finished yet." if _trains(source) else None
    return {
        "verdict": verdict_text(verdict, source.folder / "stage_one" / "verdict.json"),
        "given": given,
        "reward": source.settings.get("reward"),
        "charts": curve_charts(source.json("stage_one", "curves.json") or []),
    }


def _trains(source: Source) -> bool:
    """Whether the run trains a Selector at all."""
    ways = f"{source.settings.get('selection')} {source.settings.get('augment')}"
    return source.command == "train" and "selector" in ways


def scores(source: Source) -> Section:
    """ω of what was chosen and of the pool."""
    if source.pairs is None:
        return "No pairs have been chosen yet." if _trains(source) else None
    pairs, meta = source.pairs
    if meta["selection"] == "random":
        return f"{len(pairs)} pairs were drawn at random from the pool; no Selector scored them."
    chosen, drawn = ([pair.omega for pair in rows] for rows in (pairs, source.sample))
    return {
        "budget": len(pairs),
        "considered": meta["considered"],
        "threshold": meta["threshold"],
        "passed_over": meta["passed_over"],
        "more": meta["passed_over_more"],
        "drawn": meta.get("sharpness", {}).get("used", "best") != "best",
        "sampled": len(drawn),
        "above": statistics.fmean(omega >= meta["threshold"] for omega in drawn) if drawn else None,
        "chart": omega_chart(np.array(chosen), np.array(drawn), meta["threshold"]),
    }


def shown_pairs(source: Source) -> Section:
    """The best pairs of the choice and the worst of the pool, playing."""
    if source.pairs is None:
        return None
    pairs, meta = source.pairs
    videos = {video.id: video for video in source.videos.of_split(*TRAIN_SIDE)}
    store, settings = source.store, source.group(CompositeSettings)
    groups = {"best": best_pairs(pairs, 10 * _FILMS)}
    if source.sample:
        worst_first = sorted(source.sample, key=lambda pair: pair.logit)
        groups["worst"] = best_pairs(worst_first, 10 * _FILMS)
    films = {
        name: films_of(rows, _FILMS, videos, store, settings, meta) for name, rows in groups.items()
    }
    if not any(films.values()):
        return "The layers of the pairs no longer exist, so none can be shown."
    random = meta["selection"] == "random"
    return {**films, "random": random, "sampled": len(source.sample)}
