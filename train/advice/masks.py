"""Which masks are bad, by kind of reason, and what is left to composite."""

from __future__ import annotations

from collections import Counter

from compositing.records import reason_kind, unfit_rows
from l2a.videos import counted
from train.advice.answers import Answer, Table, cannot_say
from train.prepared import PreparedData, Side

_SIDES: tuple[Side, Side] = ("foreground", "background")


def answer_masks(prepared: PreparedData) -> Answer:
    """How many training videos are fit for each side of a pair, and why the others are not."""
    records = [
        prepared.records[id_]
        for id_ in (prepared.bank.ids[row] for row in prepared.rows["train"])
        if id_ in prepared.records
    ]
    if not records:
        return cannot_say("masks", "No training video has layers.")
    unfit = unfit_rows(records)
    kinds = Counter((side, reason_kind(reason)) for _, side, reason in unfit)
    fit = {side: len(records) - sum(own == side for _, own, _ in unfit) for side in _SIDES}
    shares = {side: 100 * fit[side] / len(records) for side in _SIDES}
    verdict = (
        f"Of {counted(len(records), 'training video')} {fit['foreground']} "
        f"({shares['foreground']:.0f} %) are fit as foreground and {fit['background']} "
        f"({shares['background']:.0f} %) as background."
    )
    names = prepared.videos.classes
    left = Counter(prepared.source.labels[prepared.usable_rows("foreground")].tolist())
    without = [
        names[label]
        for label in sorted(set(prepared.source.labels[prepared.rows["train"]].tolist()))
        if not left[label]
    ]
    lines = (f"No video is fit as foreground of: {', '.join(without)}.",) if without else ()
    rows = tuple(
        (kind, side, str(count), f"{100 * count / len(records):.0f}")
        for (side, kind), count in kinds.most_common()
    )
    table = Table(("reason", "unfit as", "videos", "%"), rows, "Unfit videos, by kind of reason; "
                  "unfit.csv lists each") if rows else None  # fmt: skip
    return Answer(
        "masks", verdict, lines, table,
        {
            "videos": len(records), "fit": fit,
            "unfit": [{"side": side, "reason": kind, "videos": count}
                      for (side, kind), count in kinds.most_common()],
        },
    )  # fmt: skip
