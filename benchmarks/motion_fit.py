"""Whether what `motion` calls fit is fit: on real clips whose given masks are the measure.

    python benchmarks/motion_fit.py [--clips ../shared/clips/jhmdb12] [--every 4] [--rows FILE]
        [--fit] [--markdown]

Every clip is segmented by `motion` and emptied by `temporal`, with the defaults of `l2a prepare`.

1. As a foreground a mask is good when its IoU with the given mask is 0.5 or more: the mean over the
   frames that have a given mask, of all its instances together.
2. A background is good when less than a tenth of the given mask is still there: the share of its
   pixels, over all frames, that lie outside the hole (the mask of `motion`, dilated).

Printed are how many clips are good, how many are called fit without and with the masks' own
judgement (`compositing/segmenters/trust.py`), and how many of these are good: for all clips and for
each half of the recordings. `--fit` fits the rules' weights to the recordings of the first half
alone, and prints them and what they come to. `--rows` keeps what was measured in a file, so that
rules can be tried without segmenting again. Two cores take about eight minutes, with `--every 4`
a quarter of that.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tables import print_header, print_table, run

from compositing.engines.local import LocalEngine
from compositing.inpainters import make_inpainter
from compositing.masks import NO_DOUBTS, Doubts, dilate_masks
from compositing.records import unfit_reasons
from compositing.segmenters import Segmenter, make_segmenter
from compositing.segmenters.motion import SIDE, as_masks, find
from compositing.segmenters.trust import RULES, Measures, TrustRule, doubts_of, measure
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.files import write_json
from l2a.media import read_frames, resize_frames, resize_masks
from l2a.videos import Video

Bool = NDArray[np.bool_]

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips" / "jhmdb12"
SETTINGS = PrepareSettings(segmenter="motion")
GOOD_IOU, GOOD_LEFT = 0.5, 0.1
SIDES = ("foreground", "background")
RIDGE = 1.0
"""Weight of the squared weights in the fit, in units of standardised measures."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clip: how good its mask is, and all that its fitness is judged by.

    Attributes:
        clip, half: its name; which half of the recordings it belongs to, 0 or 1.
        iou: with the given mask; NaN where none is given.
        left: share of the given mask that lies outside the hole.
        gamma, mask_share, hole, unseen: as in `LayerRecord`.
        measures: what `trust.measure` gives; None where nothing moves.
    """

    clip: str
    half: int
    iou: float
    left: float
    gamma: float
    mask_share: float
    hole: float
    unseen: float
    measures: Measures | None

    def good(self, side: str) -> bool:
        """Whether it really is good as a "foreground" or "background"."""
        return self.iou >= GOOD_IOU if side == "foreground" else self.left < GOOD_LEFT

    def fit(self, side: str, doubts: Doubts) -> bool:
        """Whether it is called fit."""
        reasons = unfit_reasons(
            SETTINGS,
            note="",
            gamma=self.gamma,
            mask_share=self.mask_share,
            hole=self.hole,
            unseen=self.unseen,
            doubts=doubts,
        )
        return not reasons[SIDES.index(side)]


def mean_iou(given: Bool, found: Bool) -> float:
    """The mean IoU over the frames with a given mask, bool [T, H, W]; NaN where there is none."""
    frames = given.any(axis=(1, 2))
    if not frames.any():
        return float("nan")
    both, either = (given & found)[frames], (given | found)[frames]
    return float((both.sum(axis=(1, 2)) / either.sum(axis=(1, 2))).mean())


def left_behind(given: Bool, hole: Bool) -> float:
    """The share of the given mask's pixels, over all frames, outside the hole; 0 without any."""
    return float((given & ~hole).sum()) / max(1, int(given.sum()))


def half_of(name: str, label: str) -> int:
    """0 or 1 by the recording that a clip was cut from: its name up to `_<class>_`."""
    recording = name.partition(f"_{label}_")[0]
    return hashlib.sha256(recording.encode()).digest()[-1] % 2


@functools.cache
def given_masks(folder: Path) -> Segmenter:
    """The given masks, whose files a worker reads once."""
    return make_segmenter(f"masks:{folder}")


def look(path: Path, masks: Path) -> Row:
    """Segment and empty one clip and compare it with its given mask. What a worker does."""
    cv2.setNumThreads(1)
    label = path.parent.name
    video = Video(f"videos/{label}/{path.name}", path, label, path.stem, "train")
    source = read_frames(path, max_frames=SETTINGS.max_frames, max_side=SETTINGS.max_side)
    size = source.frames.shape[1:3]
    given = resize_masks(given_masks(masks)(video, source).union(SETTINGS), size)
    scale = min(1.0, SIDE / max(size))
    small = resize_frames(source.frames, (round(size[0] * scale), round(size[1] * scale)))
    found, shots = find(small)
    mask = resize_masks(as_masks(found, shots).union(SETTINGS), size)
    hole = dilate_masks(mask, SETTINGS.dilate)
    unseen = make_inpainter(SETTINGS.inpainter)(source.frames, hole).unseen
    return Row(
        clip=f"{label}/{path.name}",
        half=half_of(path.name, label),
        iou=mean_iou(given, mask),
        left=left_behind(given, hole),
        gamma=float(mask.mean()),
        mask_share=float(mask.any(axis=(1, 2)).mean()),
        hole=float(hole.mean()),
        unseen=float(unseen.mean()),
        measures=measure(found),
    )


def fit_rule(rows: Sequence[Row], side: str, wanted: float) -> TrustRule:
    """Logistic regression of whether a clip is good on its measures, with a ridge.

    The least trust is the lowest at which `wanted` of the clips that reach it are good.
    """
    rows = [row for row in rows if row.measures and row.fit(side, NO_DOUBTS)]
    values = np.array([list(asdict(row.measures).values()) for row in rows])  # type: ignore[arg-type]
    good = np.array([row.good(side) for row in rows], float)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread < 1e-9] = 1  # the same everywhere
    design = np.c_[np.ones(len(rows)), (values - mean) / spread]
    ridge = np.diag([0.0, *[RIDGE] * len(mean)])
    weights = np.zeros(design.shape[1])
    for _ in range(50):  # Newton
        trust = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (trust - good) + ridge @ weights
        weights -= np.linalg.solve((design.T * (trust * (1 - trust))) @ design + ridge, gradient)
    trust = 1 / (1 + np.exp(-design @ weights))
    order = np.argsort(-trust)
    share = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= wanted)
    least = float(trust[order[enough[-1]]]) if enough.size else 1.0
    slopes = weights[1:] / spread
    return TrustRule(
        bias=round(float(weights[0]), 2),
        typical=Measures(*mean.round(3).tolist()),
        weights=Measures(*slopes.round(2).tolist()),
        least=round(least, 2),
    )


def count(rows: Sequence[Row], side: str, rules: dict[str, TrustRule]) -> list[str]:
    """A table's cells: clips, good ones, fit by size alone and good of these, fit and good."""
    cells = [str(len(rows)), str(sum(row.good(side) for row in rows))]
    for judged in (False, True):
        fit = [
            row
            for row in rows
            if row.fit(side, doubts_of(row.measures, rules) if judged else NO_DOUBTS)
        ]
        good = sum(row.good(side) for row in fit)
        cells += [str(len(fit)), f"{good} ({good / max(1, len(fit)):.0%})"]
    return cells


def print_counts(rows: Sequence[Row], rules: dict[str, TrustRule], *, markdown: bool) -> None:
    """How many are called fit and are good: all clips, and each half of the recordings."""
    header = ["clips", "all", "good", "fit by size", "of them good", "trusted too", "of them good"]
    for side in SIDES:
        parts = {"all": rows} | {
            f"half {half}": [row for row in rows if row.half == half] for half in (0, 1)
        }
        lines = [[name, *count(part, side, rules)] for name, part in parts.items()]
        print_table(f"As a {side}", header, lines, markdown=markdown)


def read_rows(path: Path) -> list[Row]:
    """What an earlier call measured."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        Row(**{**row, "measures": Measures(**row["measures"]) if row["measures"] else None})
        for row in rows
    ]


def main() -> None:
    """Measure all clips, or read what was measured, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=CLIPS, help="videos/CLASS/ and masks/")
    parser.add_argument("--every", type=int, default=1, help="take every k-th clip")
    parser.add_argument("--rows", type=Path, help="JSON file: written, or read where it is there")
    parser.add_argument("--fit", action="store_true", help="fit the rules to the first half")
    parser.add_argument("--wanted", type=float, default=0.85, help="share of good ones, for --fit")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for one per core")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    arguments = parser.parse_args()

    print_header()
    if arguments.rows and arguments.rows.is_file():
        rows = read_rows(arguments.rows)
    else:
        files = sorted((arguments.clips / "videos").glob("*/*.avi"))[:: arguments.every]
        if not files:
            raise InputError(f"There are no clips in {arguments.clips}/videos; name --clips.")
        task = functools.partial(look, masks=arguments.clips / "masks")
        rows = list(LocalEngine(arguments.workers).map(task, files, on_crash=lambda path: None))
        rows = [row for row in rows if row]
        if arguments.rows:
            write_json(arguments.rows, [asdict(row) for row in rows])
    rules = dict(RULES)
    if arguments.fit:
        first = [row for row in rows if row.half == 0]
        rules = {side: fit_rule(first, side, arguments.wanted) for side in SIDES}
        for side, rule in rules.items():
            print(f"\n{side}: {rule}")
    print_counts(rows, rules, markdown=arguments.markdown)


if __name__ == "__main__":
    run(main)
