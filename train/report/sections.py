"""What the page shows, section by section, read from the run's files.

A section is what its part of `page.html` needs; a sentence where the run has it not, or cannot show
it; or None where it has no place in such a run.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compositing.pictures import plain
from compositing.preview import best_pairs
from compositing.settings import CompositeSettings
from l2a.clips import ClipBank, ClipSettings, RowState
from l2a.devices import pick_device
from l2a.errors import L2AError
from l2a.pairs import read_pairs
from train.batches import ClipSource
from train.metrics import Metrics
from train.records import POOL_SAMPLE
from train.report.activation import activations
from train.report.charts import arms_chart, curve_charts, omega_chart
from train.report.films import films_of
from train.report.source import Source
from train.stage_two import load_classifier

Section = Mapping[str, Any] | str | None

_FILMS = 4
_MATRIX = 24
"""Classes up to which a matrix of them is readable."""
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
        "accuracy": _accuracy,
        "confusion": _confusion,
        "stage_one": _stage_one,
        "scores": _scores,
        "pairs": _pairs_shown,
        "maps": _maps,
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
            "splits": [(split, counts[split]) for split in ("train", "val", "test")],
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


def _accuracy(source: Source) -> Section:
    """Every arm, and what each class gained."""
    arms = _arms(source)
    if arms is None:
        return None if source.command != "train" else "Stage two has not finished yet."
    top1s = {name: [result.top1 for result in results] for name, results in arms.items()}
    means = {name: statistics.fmean(values) for name, values in top1s.items()}
    main, clips = next(iter(arms)), next(iter(arms.values()))[0].n
    base = means.get("none")
    mean = statistics.fmean(means.values())
    per_class = {
        name: {
            label: statistics.fmean(result.per_class[label] for result in results)
            for label in results[0].per_class
        }
        for name, results in arms.items()
    }
    counts = dict(
        zip(source.json("metrics.json")["classes"],
            arms[main][0].confusion.sum(axis=1).tolist(), strict=True)
    )  # fmt: skip
    compared = "none" in arms and main != "none"
    classes = [
        {
            "name": label,
            "clips": counts[label],
            "accuracies": [per_class[name][label] for name in arms],
            "change": value - per_class["none"][label] if compared else None,
        }
        for label, value in per_class[main].items()
    ]
    if compared:
        classes.sort(key=lambda row: -row["change"])
    return {
        "arms": [
            {
                "title": _title(name),
                "mean": means[name],
                "sd": statistics.stdev(values) if len(values) > 1 else None,
                "gain": None if base is None or name == "none" else means[name] - base,
                "top1s": values,
            }
            for name, values in top1s.items()
        ],
        "clips": clips,
        "error": (mean * (1 - mean) / clips) ** 0.5,
        "repeats": len(top1s[main]),
        "chart": arms_chart({_title(name): values for name, values in top1s.items()}),
        "titles": [_title(name) for name in arms],
        "classes": classes,
        "compared": compared,
    }


def _title(arm: str) -> str:
    """What the page calls an arm; augmentations keep the name that they were asked for by."""
    return {
        "selector": "selected pairs", "none": "no composites", "random": "random pairs"
    }.get(arm, arm)  # fmt: skip


def _arms(source: Source) -> dict[str, list[Metrics]] | None:
    """Results of each arm, the run's own first; None before stage two is done."""
    content = source.json("metrics.json") or {}
    if "arms" not in content:
        return None
    return {
        name: [Metrics.from_json(result) for result in arm["repeats"]]
        for name, arm in content["arms"].items()
    }


def _confusion(source: Source) -> Section:
    """What is taken for what by the run's own arm, over its repeats: a matrix, or a list."""
    arms = _arms(source)
    if arms is None:
        return None
    main, results = next(iter(arms.items()))
    classes = source.json("metrics.json")["classes"]
    counts = np.sum([result.confusion for result in results], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:30]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    return {
        "arm": _title(main),
        "repeats": len(results),
        "classes": classes,
        "rows": [
            (name, list(zip(row.tolist(), share.tolist(), strict=True)))
            for name, row, share in zip(classes, counts, shares, strict=True)
        ]
        if len(classes) <= _MATRIX
        else [],
        "worst": [
            (classes[row], classes[column], int(wrong[row, column]), float(shares[row, column]))
            for row, column in pairs
            if wrong[row, column]
        ],
    }


def _stage_one(source: Source) -> Section:
    """What the Selector's training came to."""
    verdict, curves = (
        source.json("stage_one", "verdict.json"),
        source.json("stage_one", "curves.json"),
    )
    given = source.settings.get("selector")
    if verdict is None:
        if given:
            return f"The Selector was trained before, in another run: {given}."
        return "Stage one has not finished yet." if _trains(source) else None
    return {
        "verdict": verdict["text"],
        "given": given,
        "reward": source.settings.get("reward"),
        "charts": curve_charts(curves or []),
    }


def _trains(source: Source) -> bool:
    """Whether the run trains a Selector at all."""
    ways = f"{source.settings.get('selection')} {source.settings.get('augment')}"
    return source.command == "train" and "selector" in ways


def _scores(source: Source) -> Section:
    """ω of what was chosen and of the pool."""
    path = source.folder / "pairs.parquet"
    if not path.is_file():
        return "No pairs have been chosen yet." if _trains(source) else None
    pairs, meta = read_pairs(path)
    if meta["selection"] == "random":
        return f"{len(pairs)} pairs were drawn at random from the pool; no Selector scored them."
    sample = source.folder / POOL_SAMPLE
    sampled = read_pairs(sample)[0] if sample.is_file() else ()
    chosen, drawn = ([pair.omega for pair in rows] for rows in (pairs, sampled))
    return {
        "budget": len(pairs),
        "considered": meta["considered"],
        "threshold": meta["threshold"],
        "passed_over": meta["passed_over"],
        "more": meta["passed_over_more"],
        "sampled": len(drawn),
        "above": statistics.fmean(omega >= meta["threshold"] for omega in drawn) if drawn else None,
        "chart": omega_chart(np.array(chosen), np.array(drawn), meta["threshold"]),
    }


def _pairs_shown(source: Source) -> Section:
    """The best pairs of the choice and the worst of the pool, playing."""
    path, sample = source.folder / "pairs.parquet", source.folder / POOL_SAMPLE
    if not path.is_file():
        return None
    videos = {video.id: video for video in source.videos.of_split("train")}
    store, settings = source.store, source.group(CompositeSettings)
    pairs, meta = read_pairs(path)
    groups = {"best": best_pairs(pairs, 10 * _FILMS)}
    if sample.is_file():
        drawn = sorted(read_pairs(sample)[0], key=lambda pair: pair.logit)
        groups["worst"] = best_pairs(drawn, 10 * _FILMS)
    films = {
        name: films_of(rows, _FILMS, videos, store, settings, meta) for name, rows in groups.items()
    }
    if not any(films.values()):
        return "The layers of the pairs are not there any more, so that none can be shown."
    return {**films, "random": meta["selection"] == "random"}


def _maps(source: Source) -> Section:
    """Where the classifier looks in clips of the test split that VideoMix cut together."""
    path = source.folder / "classifier.safetensors"
    folders = [index.parent for index in (source.folder / "bank").glob("*/index.json")]
    if not path.is_file() or len(folders) != 1:
        return None
    network, card = load_classifier(path)
    classes, bank = card["classes"], ClipBank.open(folders[0])
    if bank.settings != ClipSettings(**card["clips"]):
        return "The clips are not those that the classifier was trained on."
    shown = set(np.array(bank.ids)[bank.state[:] != RowState.UNREADABLE].tolist())
    labels = {
        bank.row(video.id): classes.index(video.label)
        for video in source.videos.of_split("test")
        if video.id in shown and video.label in classes
    }
    if not labels:
        return "The data set has other test clips now than the run had."
    rows, of_rows = np.array(list(labels)), np.zeros(len(bank), np.int64)
    of_rows[rows] = list(labels.values())
    clips = ClipSource(bank, of_rows, len(classes), bank.settings.crop, CompositeSettings())
    network = network.to(pick_device("auto")).eval()
    found = activations(network, clips, rows, source.settings["seed"])
    if not found:
        return (
            f"The classifier {network.name} does not end with an average over space and time, so "
            "that it has no class activation maps."
        )
    return {"clips": found, "classes": classes}


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
    }


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
