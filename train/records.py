"""What a run leaves for a person and for other commands: pairs, matched classes, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compositing.composite import make_composite
from compositing.layers import LayerRecord, LayerSource
from compositing.pictures import draw_contact_sheet, why_unfit
from compositing.preview import SHEET, VIDEOS, pick_evenly_by_class
from compositing.settings import CompositeSettings
from compositing.strips import Composited, draw_strip
from l2a.errors import InputError
from l2a.files import read_json, write_json
from l2a.logs import say
from l2a.pairs import ScoredPair, read_pairs, write_pairs
from l2a.runs import Run
from l2a.videos import TRAIN_SIDE, Video, VideoSet
from selector.caps import Caps
from selector.rank import Selection
from selector.settings import RankSettings
from selector.sharpness import Sharpness
from semantic_match.match import without_partner
from semantic_match.picture import draw_map
from train.origin import Origin
from train.prepared import Matching, PreparedData
from train.tracking import Tracker

POOL_SAMPLE = "pool_sample.parquet"


@dataclass(frozen=True)
class ScoredChoice:
    """What a Selector chose, and what it chose from.

    Attributes:
        selection: the chosen pairs, and spare ones.
        sample: bank rows of pairs drawn uniformly from the pool, int64 `[n, 2]`.
        sample_logits: float32 `[n]`, theirs.
        sharpness: how sharp the choice was, and why.
    """

    selection: Selection
    sample: NDArray[np.int64]
    sample_logits: Tensor
    sharpness: Sharpness


def write_selection(
    path: Path, choice: ScoredChoice, prepared: PreparedData, origin: Origin
) -> None:
    """Write chosen pairs and spare ones, best first, with the settings that an export needs.

    Beside them goes `POOL_SAMPLE`, a file of the same kind with the sample of the pool.
    """
    selection = choice.selection
    sample, rows, spares = (
        [
            _scored(prepared, f, b, float(omega), float(logit))
            for (f, b), omega, logit in zip(pairs, omegas, logits, strict=True)
        ]
        for pairs, omegas, logits in (
            (choice.sample, choice.sample_logits.double().sigmoid(), choice.sample_logits),
            (selection.pairs, selection.omega, selection.logits),
            (selection.spares.pairs, selection.spares.omega, selection.spares.logits),
        )
    )
    write_pairs(path.with_name(POOL_SAMPLE), sample, origin.meta(len(rows), "sample"))
    extra = {
        "clips": prepared.bank.fingerprint,
        "threshold": selection.threshold,
        "considered": selection.considered,
        "caps": None if selection.caps is None else asdict(selection.caps),
        "caps_doubled": selection.relaxed,
        "passed_over": selection.passed_over,
        "passed_over_more": selection.passed_over_more,
        "sharpness": asdict(choice.sharpness) | {"used": choice.sharpness.used},
        **origin.rank,
    }
    write_pairs(path, rows, origin.meta(len(rows), "selector") | extra, spares)


def chosen_before(run: Run, prepared: PreparedData) -> NDArray[np.int64] | None:
    """Bank rows int64 `[n, 2]` of the pairs that the run has chosen from the videos it has now.

    Ask when the run's settings are fixed: other settings have been refused then.

    Returns:
        None where there are none, or they were chosen from other videos, or their pictures are not
        there, which are drawn last.
    """
    path = run.path("pairs.parquet")
    if not (path.is_file() and run.path("composites.png").is_file()):
        return None
    pairs, meta = read_pairs(path)
    if meta.get("clips") != prepared.bank.fingerprint:
        return None
    say(f"{path} was chosen before from these videos, with these settings")
    row = prepared.bank.row
    rows = [(row(pair.foreground), row(pair.background)) for pair in pairs]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def as_chosen(run: Run, rank: RankSettings) -> RankSettings:
    """The settings with the sharpness that a run's pairs were chosen with, where there are some:
    what `auto` becomes may change with a version, and draws must be as sharp as the choice."""
    path = run.path("pairs.parquet")
    if rank.sharpness != "auto" or not path.is_file():
        return rank
    used = read_pairs(path)[1].get("sharpness", {}).get("used")
    return rank if used is None else replace(rank, sharpness=str(used))


def caps_classes(run: Run) -> bool:
    """Whether the run's pairs are chosen under a cap on foreground classes: not where an earlier
    version has chosen some without, so that all of its arms and draws are made alike."""
    path = run.path("pairs.parquet")
    if not path.is_file():
        return True
    caps = read_pairs(path)[1].get("caps") or {}
    return bool(caps.get("foreground_class"))


def write_random(
    path: Path, pairs: NDArray[np.int64], prepared: PreparedData, origin: Origin, caps: Caps
) -> None:
    """Write pairs that no Selector has scored: every ω is 0.5, which says nothing."""
    rows = [_scored(prepared, f, b, 0.5, 0.0) for f, b in pairs]
    extra = {"threshold": 0.5, "caps": asdict(caps)}
    write_pairs(path, rows, origin.meta(len(rows), "random") | extra)


def _scored(prepared: PreparedData, f: int, b: int, omega: float, logit: float) -> ScoredPair:
    ids, labels, classes = prepared.bank.ids, prepared.source.labels, prepared.videos.classes
    return ScoredPair(ids[f], ids[b], omega, logit, classes[labels[f]], classes[labels[b]])


def write_matching(run: Run, prepared: PreparedData, matching: Matching) -> None:
    """Write the table of matched classes, and draw the map.

    Raises:
        InputError: results were made with another table. The settings may be the same: a file of
            matches or an embedder's weights can change behind their name.
    """
    classes = prepared.videos.classes
    rows = [
        {
            "foreground": classes[match.foreground],
            "background": classes[match.background],
            "similarity": round(match.similarity, 6),
        }
        for match in matching.matches
    ]
    content = {
        "embedder": matching.embedder,
        "specification": matching.specification,
        "pool": len(matching.pool),
        "matches": rows,
        "without_partner": without_partner(classes, matching.matches),
    }
    if matching.weights is not None:
        content["weights"] = matching.weights.tolist()
    table = run.path("matches.json")
    used = any(run.path(name).exists() for name in ("stage_one", "pairs.parquet"))
    if used and table.is_file() and read_json(table) != content:
        raise InputError(
            f"{run.folder} was made with other matches of classes than {matching.specification} "
            "gives now; restore the file or the embedder that it names, or give --out another "
            "folder."
        )
    write_json(table, content)
    draw_map(run.path("matches.png"), classes, matching.vectors, matching.matches)


def draw_sheet(
    path: Path, store: LayerSource, videos: VideoSet, records: Mapping[str, LayerRecord]
) -> None:
    """Draw a contact sheet: a training video of each class, for at most 12 classes, and a few
    unlabelled ones in the last rows.

    The first that is fit stands for its class; where none is, an unfit one does, with its reason.
    """
    best: dict[str, Video] = {}
    labelled, unlabelled = (
        sorted(
            (video for video in videos.of_split(split) if video.id in records),
            key=lambda video: _flaws(records[video.id]),
        )
        for split in TRAIN_SIDE
    )
    for video in labelled:
        best.setdefault(video.label, video)
    few = unlabelled[: VIDEOS // 4 if best else VIDEOS]
    shown = [*pick_evenly_by_class(best.values(), VIDEOS - len(few)), *few]
    unfit = {video.id: why_unfit(records[video.id]) for video in shown}
    if shown:
        draw_contact_sheet(path, map(store.load, shown), unfit=unfit, **SHEET)


def _flaws(record: LayerRecord) -> tuple[bool, bool]:
    return bool(record.foreground_unfit), bool(record.background_unfit)


def draw_composites(run: Run, prepared: PreparedData) -> None:
    """Show the best pairs of five foreground classes: a strip, and videos for TensorBoard."""
    pairs, meta = read_pairs(run.path("pairs.parquet"))
    best: dict[str, ScoredPair] = {}
    for pair in pairs:
        best.setdefault(pair.foreground_class, pair)
    chosen = list(best.values())[:5]
    items = (made(pair, prepared, prepared.source.settings, meta) for pair in chosen)
    draw_strip(run.path("composites.png"), items, times=2)
    with Tracker(run.path("tensorboard")) as tracker:
        for pair in chosen:
            rows = np.array(
                [[prepared.bank.row(pair.foreground), prepared.bank.row(pair.background)]]
            )
            clip = prepared.source.composites(rows).clips[0].numpy()
            tracker.video(f"composites/{pair.foreground_class} on {pair.background_class}", clip, 0)


def made(
    pair: ScoredPair, prepared: PreparedData, settings: CompositeSettings, meta: Mapping[str, Any]
) -> Composited:
    """A pair's composite at full size as an export has it, with the layers it was made of."""
    foreground = prepared.store.load(prepared.video(pair.foreground))
    background = prepared.store.load(prepared.video(pair.background))
    omega = None if meta["selection"] == "random" else pair.omega
    composite = make_composite(foreground, background, settings, omega=omega, seed=meta["seed"])
    return Composited(foreground, background, composite)
