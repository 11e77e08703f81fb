"""The figures of the paper's Tables 3 and 4, top-1 in %, as printed.

Those of Tables 1, 2 and 5 stand in the tables of `l2a ablate` that make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """A row of Table 3.

    Attributes:
        title: what the paper calls it.
        arm: of `l2a train` that gives its figure.
        figures: data set ─► top-1 for each of its `SHARES`, in that order; empty where the paper
            has none.
    """

    title: str
    arm: str
    figures: Mapping[str, tuple[float, ...]]


SHARES: Mapping[str, tuple[int, ...]] = MappingProxyType({
    "kinetics100": (50, 20, 10, 5), "ucf101": (50, 20, 10, 5), "hmdb51": (60, 50, 40),
})  # fmt: skip
"""Data set ─► labelled clips in %, in the order of the table."""


def _row(
    title: str, arm: str, kinetics: tuple[float, ...], ucf: tuple[float, ...],
    hmdb: tuple[float, ...],
) -> Published:  # fmt: skip
    return Published(title, arm, {"kinetics100": kinetics, "ucf101": ucf, "hmdb51": hmdb})


PRETRAINED = _row("L2A + pre-training", "selector", (), (73.3, 64.8, 60.1, 50.9),
                  (47.1, 46.3, 42.1))  # fmt: skip
"""Its Selector was trained on Kinetics-400 and is not trained further: a run of its own."""

TABLE_3: tuple[Published, ...] = (
    _row("CutMix", "cutmix", (53.7, 46.1, 43.2, 39.9), (46.1, 36.5, 34.6, 25.8),
         (33.9, 30.8, 27.8)),
    _row("MixUp", "mixup", (53.4, 45.5, 43.0, 39.6), (45.8, 36.1, 34.2, 25.5),
         (33.7, 31.0, 27.5)),
    _row("CutOut", "cutout", (52.8, 45.1, 42.3, 38.8), (45.2, 35.6, 33.9, 24.6),
         (33.0, 30.5, 27.1)),
    _row("ST-VideoMix", "videomix:spatio-temporal", (55.3, 46.6, 43.9, 40.4),
         (46.4, 36.4, 35.2, 25.9), (34.8, 31.3, 28.7)),
    _row("PseudoLabel", "pseudo-label", (59.0, 48.0, 38.9, 27.9), (47.5, 37.0, 24.7, 17.6),
         (33.5, 32.4, 27.3)),
    _row("MeanTeacher", "mean-teacher", (59.3, 47.1, 36.4, 27.8), (45.8, 36.3, 25.6, 17.5),
         (32.2, 30.4, 27.2)),
    _row("S4L", "s4l", (54.6, 51.1, 43.3, 33.0), (47.9, 37.7, 29.1, 22.7), (35.6, 31.0, 29.8)),
    _row("VideoSSL", "videossl", (65.0, 57.7, 52.6, 47.6), (54.3, 48.7, 42.0, 32.4),
         (37.0, 36.2, 32.7)),
    _row("ActorCut", "actorcut", (68.7, 61.2, 56.8, 52.7), (59.9, 51.7, 40.2, 27.0),
         (38.9, 38.2, 32.9)),
    _row("ActorCut+ID", "actorcut-id", (72.2, 68.7, 63.9, 59.1), (64.7, 57.4, 53.0, 45.1),
         (40.8, 39.5, 35.7)),
    _row("TCL", "tcl", (70.4, 64.7, 61.1, 58.2), (62.1, 55.4, 52.1, 42.8), (41.2, 40.4, 34.8)),
    _row("L2A", "selector", (75.9, 72.1, 67.5, 63.7), (72.1, 60.3, 56.1, 48.0),
         (44.5, 43.2, 37.9)),
)  # fmt: skip
"""The rows that one run of `l2a train` gives."""

METHOD_TITLES: Mapping[str, str] = MappingProxyType(
    {"prototype": "C3D-PN", "arn": "ARN", "trx": "TRX"}
)
"""Few-shot method ─► what Table 4 calls it."""

TABLE_4: Mapping[tuple[str, str], Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]] = (
    MappingProxyType({
        ("ucf101", "S"): {
            "prototype": ((57.1, 66.4, 71.7, 75.5, 78.2), (60.8, 68.9, 73.3, 76.6, 79.1)),
            "arn": ((66.3, 73.1, 77.9, 80.4, 83.1), (67.7, 74.2, 79.6, 81.1, 84.4)),
            "trx": ((77.5, 88.8, 92.8, 94.7, 96.1), (79.2, 89.2, 93.2, 95.0, 96.3)),
        },
        ("hmdb51", "S"): {
            "prototype": ((38.1, 47.5, 50.3, 55.6, 57.4), (39.8, 48.9, 51.5, 57.3, 58.2)),
            "arn": ((45.5, 50.1, 54.2, 58.7, 60.6), (47.3, 51.7, 55.5, 60.1, 61.8)),
            "trx": ((50.5, 62.7, 66.9, 73.5, 75.6), (51.9, 63.8, 68.2, 74.4, 77.0)),
        },
        ("ucf101", "T"): {
            "prototype": ((50.9, 61.9, 67.5, 72.9, 75.4), (52.5, 63.8, 70.1, 75.2, 78.2)),
            "arn": ((61.2, 70.7, 75.2, 78.8, 80.2), (63.9, 73.1, 77.4, 80.4, 81.3)),
            "trx": ((75.2, 88.1, 91.5, 93.1, 93.5), (76.8, 88.9, 92.7, 93.8, 94.1)),
        },
        ("hmdb51", "T"): {
            "prototype": ((28.8, 38.5, 43.4, 46.7, 49.1), (29.9, 40.1, 44.5, 47.7, 50.8)),
            "arn": ((31.9, 42.3, 46.5, 49.8, 53.2), (33.6, 43.7, 48.0, 51.1, 53.8)),
            "trx": ((33.5, 46.7, 49.8, 57.9, 61.5), (35.0, 48.1, 51.1, 59.2, 62.1)),
        },
    })
)  # fmt: skip
"""(data set, class split) ─► method ─► 1 to 5 shots without and with Learn2Augment."""
