"""What real videos are worth to a Selector: the mean score of the pairs that hold them.

The paper names it as future work (Sec. 6): a Selector that knows good pairs knows good videos, and
so bad ones: those with a wrong label, or that teach nothing that validation asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.logs import say
from l2a.videos import counted
from selector.diagnosis import auroc
from selector.protocols import Scorer
from train.features import agreement_among
from train.prepared import Matching, PreparedData, Side, rematch
from train.probe import exchange_labels
from train.trained_selector import SelectorWithTrunk
from train.video_table import VideoRow, write_videos

_PARTNERS = 64
"""Partners that a video's value is the mean over, or all that the pool has."""
_FEWEST_PARTNERS = 8
_PAIRS = 2_000_000  # scored on each side, about: a data set of many videos gets fewer partners
_ROWS = 4096
_PARTNERS_DRAWN = 9
"""A number that keeps the drawing of partners apart from what else is drawn from the seed."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class VideoValues:
    """What the training videos are worth.

    Attributes:
        rows: int64 [n], bank rows of the training videos.
        classes: int64 [n], theirs.
        foreground, background: float64 [n], the mean logit of pairs in which a video lends its
            actor or its scene; NaN where it is unfit, or its class has no partner.
        agreement: float64 [n], label agreement; NaN where a video is unfit for both sides.
        partners: the most partners that a value is the mean over.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    foreground: Values
    background: Values
    agreement: Values
    partners: int

    @property
    def value(self) -> Values:
        """float64 [n]: the mean of both sides, or the one that there is, or NaN."""
        return np.where(
            np.isnan(self.foreground), self.background,
            np.where(np.isnan(self.background), self.foreground,
                     (self.foreground + self.background) / 2),
        )  # fmt: skip


def value_videos(
    trained: SelectorWithTrunk, prepared: PreparedData, matching: Matching, seed: int
) -> VideoValues:
    """Value every training video by pairs with a sample of its partners in the pool.

    All videos of a class meet the same partners, drawn once from `seed`, so that they differ in
    themselves alone. A pair costs a row of the Selector's last layers.
    """
    features, labels = trained.inputs(prepared, matching)
    scorer = trained.scorer(features, labels)
    rows = prepared.rows["train"]
    partners = min(_PARTNERS, max(_FEWEST_PARTNERS, _PAIRS // max(len(rows), 1)))
    agreement = np.full(len(features), np.nan)
    used = matching.rows
    agreement[used] = _agreement(trained, features, prepared, used)
    sides = {
        side: _side_values(scorer, prepared, matching, side, partners, seed)[rows]
        for side in ("foreground", "background")
    }
    return VideoValues(
        rows, prepared.source.labels[rows], sides["foreground"], sides["background"],
        agreement[rows], partners,
    )  # fmt: skip


def _agreement(
    trained: SelectorWithTrunk, features: Tensor, prepared: PreparedData, used: NDArray[np.int64]
) -> Values:
    """Label agreement of the rows `used`, as the Selector has seen it, or would have."""
    if trained.card.config.agreement_scale:
        found = features[torch.from_numpy(used), -1]
    else:
        found = agreement_among(used, features, prepared)
    return found.cpu().double().numpy()


def _side_values(
    scorer: Scorer, prepared: PreparedData, matching: Matching, side: Side, partners: int, seed: int
) -> Values:
    """The mean logit of each row of the bank on one side of a pair, float64 [N]; NaN for none."""
    values = np.full(len(prepared.bank), np.nan)
    first = side == "foreground"
    own, others = matching.foregrounds, matching.backgrounds
    if not first:
        own, others = others, own
    by_class, other_classes = (prepared.rows_by_class(rows) for rows in (own, others))
    for label, videos in enumerate(by_class):
        met = [
            other_classes[match.background if first else match.foreground]
            for match in matching.matches
            if (match.foreground if first else match.background) == label
        ]
        pool = np.concatenate([np.empty(0, np.int64), *met])
        if not len(videos) or not len(pool):
            continue
        rng = np.random.default_rng([seed, _PARTNERS_DRAWN, 1 if first else 2, label])
        # One to spare, for the videos that are among their own partners.
        drawn = rng.choice(pool, min(partners + 1, len(pool)), replace=False)
        for start in range(0, len(videos), _ROWS):
            part = videos[start : start + _ROWS]
            values[part] = _means(scorer, part, drawn, partners, first)
    return values


def _means(
    scorer: Scorer, videos: NDArray[np.int64], partners: NDArray[np.int64], most: int, first: bool
) -> Values:
    """The mean logit of each video with the first `most` partners, or the next one in place of
    itself; NaN where there is no other."""
    sides = np.stack([np.repeat(videos, len(partners)), np.tile(partners, len(videos))], axis=1)
    pairs = np.ascontiguousarray(sides if first else sides[:, ::-1])
    logits = scorer(np.arange(len(pairs)), pairs).cpu().double().numpy()
    itself = videos[:, None] == partners
    other = ~itself
    other[:, most:] &= itself[:, :most].any(axis=1, keepdims=True)
    sums = np.where(other, logits.reshape(other.shape), 0.0).sum(axis=1)
    counts = other.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def least_valued(values: VideoValues, share: float) -> NDArray[np.bool_]:
    """The videos that are worth least, over all classes: bool [n].

    All is counted among the videos that have a value, or a share of all would be taken out of the
    few that can be judged. Of no class more than half of them are taken, so that no class loses
    its last one; where that leaves too few, fewer are taken. A video without a value stays.

    Args:
        values: of all training videos.
        share: of those that have a value, 0..1; rounded to whole videos.
    """
    taken = np.zeros(len(values.rows), bool)
    value = values.value
    valued = ~np.isnan(value)
    room = np.bincount(values.classes[valued]) // 2
    left = round(share * int(valued.sum()))
    for place in np.argsort(value, kind="stable").tolist():  # NaN comes last
        if not left or np.isnan(value[place]):
            break
        if room[values.classes[place]]:
            room[values.classes[place]] -= 1
            taken[place], left = True, left - 1
    return taken


def probe_figures(
    trained: SelectorWithTrunk, prepared: PreparedData, matching: Matching, share: float, seed: int
) -> dict[str, Any] | None:
    """How well values tell the videos that stage one's probe mislabelled, under their wrong labels.

    Args:
        prepared, matching: with the right labels.
        share: the probe's. seed: the run's, which decides what was mislabelled.

    Returns:
        AUROC (0.5 is chance) of `value_foreground`, `value_background`, `value` and
        `label_agreement`, and how many videos were compared for `value`; None where all or none
        that have a value are mislabelled.
    """
    before = trained.card.config.agreement_across == "videos"  # when clips were exchanged
    exchanged, wrong = exchange_labels(prepared, share, seed, "clip" if before else "recording")
    values = value_videos(trained, exchanged, rematch(matching, exchanged), seed)
    right = ~wrong[values.rows]
    columns = {
        "value_foreground": values.foreground, "value_background": values.background,
        "value": values.value, "label_agreement": values.agreement,
    }  # fmt: skip
    figures: dict[str, Any] = {}
    for name, column in columns.items():
        known = np.isfinite(column)
        if right[known].all() or not right[known].any():
            return None
        figures[name] = auroc(torch.from_numpy(column[known]), torch.from_numpy(right[known]))
    known = np.isfinite(values.value)
    counts = {"mislabelled": int((~right & known).sum()), "others": int((right & known).sum())}
    return figures | counts


def write_values(
    path: Path, values: VideoValues, dropped: NDArray[np.bool_], prepared: PreparedData,
    meta: dict[str, Any],
) -> None:  # fmt: skip
    """Write `videos.parquet`; `dropped` are bool [n], in the order of `values`."""
    ids, sides = prepared.bank.ids, (values.foreground, values.background, values.value)
    ranks = [_ranks(side, values.classes) for side in sides]
    rows = []
    for place, row in enumerate(values.rows.tolist()):
        video, record = prepared.video(ids[row]), prepared.records.get(ids[row])
        worth, rank = ([_known(column[place]) for column in found] for found in (sides, ranks))
        unfit = (record.foreground_unfit, record.background_unfit) if record else ("no layers",) * 2
        rows.append(
            VideoRow(
                video.id, video.label, video.group, video.split,
                worth[0], worth[1], worth[2], rank[0], rank[1], rank[2],
                _known(values.agreement[place]), unfit[0], unfit[1], bool(dropped[place]),
            )
        )  # fmt: skip
    write_videos(path, rows, {"partners": values.partners, **meta})


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ranks(values: Values, classes: NDArray[np.int64]) -> Values:
    """The share of the other videos of its class that are worth less, equal ones half; NaN stays,
    and one alone is in the middle."""
    ranks = np.full(len(values), np.nan)
    for label in np.unique(classes):
        places = np.flatnonzero((classes == label) & np.isfinite(values))
        own = values[places]
        order = np.sort(own)
        less, not_more = (np.searchsorted(order, own, side=side) for side in ("left", "right"))
        ranks[places] = (less + not_more - 1) / 2 / max(len(own) - 1, 1) if len(own) > 1 else 0.5
    return ranks


def keep_values(
    path: Path,
    trained: SelectorWithTrunk,
    prepared: PreparedData,
    matching: Matching,
    seed: int,
    drop_real: float = 0.0,
    probe: float = 0.0,
) -> NDArray[np.int64]:
    """Value the training videos, write `videos.parquet`, and say which are left out.

    Args:
        path: the table's.
        trained, prepared, matching, seed: as `value_videos` takes them.
        drop_real: the share to leave out of the training videos that have a value.
        probe: the share that stage one mislabelled on purpose; 0 for none.

    Returns:
        Bank rows of the videos that are left out, int64.
    """
    values = value_videos(trained, prepared, matching, seed)
    meta: dict[str, Any] = {"seed": seed, "drop_real": drop_real}
    if probe and (figures := probe_figures(trained, prepared, matching, probe, seed)):
        meta["probe"] = figures
        say(
            f"values of videos tell {figures['mislabelled']} mislabelled ones with an AUROC of "
            f"{figures['value']:.2f}, label agreement {figures['label_agreement']:.2f}"
        )
    dropped = least_valued(values, drop_real)
    write_values(path, values, dropped, prepared, meta)
    if drop_real:
        say(
            f"{counted(int(dropped.sum()), 'real training video')} left out as worth least of "
            f"{int(np.isfinite(values.value).sum())} that have a value, of {len(dropped)} in all; "
            f"{path} says which"
        )
    return values.rows[dropped]
