"""How good layers are, where the truth is known: masks, backgrounds, and how far to dilate.

    python benchmarks/prepare_quality.py [--seeds 4] [--clips ../shared/clips/jhmdb12] [--markdown]

Films clips with `scenes.py` (generated ones; and real actors before real scenes, where `--clips`
or that folder is there) with several cameras, through H.264 at crf 23. Mean ± standard deviation
over the seeds, one clip each, of

1. the mask IoU of the segmenter `motion`;
2. the PSNR of the recovered background INSIDE THE TRUE ACTOR'S PIXELS: with true and with found
   masks, dilated as `l2a prepare` does; over all these pixels, and over those whose place in the
   scene some frame shows. `truth, coded` is the scene itself as noise and codec leave it;
3. the same for `temporal`, by how far the mask is dilated; with true masks eroded by 1 and 2
   pixels, too, as networks leave a rim. It counts the actor's pixels and all that the widest hole
   covers around them, so that a rim costs, and filling more than needed costs, too.

It measures quality, not time: it may run next to other work. Two cores take about two minutes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scenes import CAMERAS, FPS, Filmed, film, generated_stage, real_stage
from tables import print_header, print_table, run

from compositing.engines.local import LocalEngine
from compositing.inpainters import make_inpainter
from compositing.masks import dilate_masks
from compositing.segmenters import make_segmenter
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.media import Frames, resize_masks
from l2a.videos import Video

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips" / "jhmdb12"
SIZE = (240, 320)
INPAINTERS = ("temporal", "opencv", "opencv:ns", "none")
DILATIONS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
SWEPT = ("static", "panning")
"""The cameras of the dilation's table."""
CODED = "truth, coded"

Key = tuple[str, ...]
"""What was measured, such as ("psnr", "temporal", "true masks", "all")."""


@dataclass(frozen=True, slots=True)
class Case:
    """One clip to film and measure.

    Attributes:
        kind: "generated" or "real".
        camera: a key of `scenes.CAMERAS`.
        seed: of people, scene, way and noise.
        count: frames.
        size: (height, width) of generated frames.
        clips: real clips and masks, for the kind "real".
    """

    kind: str
    camera: str
    seed: int
    count: int
    size: tuple[int, int]
    clips: Path | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and its figures, by what they measure; a figure may be NaN where nothing counted."""

    case: Case
    figures: Mapping[Key, float] = field(default_factory=dict)


def iou(found: Bool, truth: Bool) -> float:
    """|found ∩ truth| / |found ∪ truth| over a clip, bool [T, H, W]; 1 when both are empty."""
    union = int((found | truth).sum())
    return float((found & truth).sum()) / union if union else 1.0


def psnr(recovered: UInt8, truth: UInt8, pixels: Bool) -> float:
    """Peak signal to noise ratio in dB over the pixels [T, H, W] of clips uint8 [T, H, W, 3].

    10 log10(255² / mean squared error); infinite for equal pixels, NaN for no pixels.
    """
    if not pixels.any():
        return math.nan
    error = recovered[pixels].astype(np.float64) - truth[pixels]
    mean = float(np.mean(error**2))
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def erode_masks(masks: Bool, pixels: int) -> Bool:
    """Take a rim of so many pixels off masks (bool [T, H, W])."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    # Where the actor leaves the picture, the picture's border is no rim.
    return np.stack([cv2.erode(mask.astype(np.uint8), disc) for mask in masks]).astype(np.bool_)


def find_masks(frames: UInt8, settings: PrepareSettings) -> Bool:
    """The mask of a video with these settings, as the store makes it: bool [T, H, W]."""
    source = Frames(frames, np.arange(len(frames)) / FPS, FPS)
    video = Video("clip", Path("clip"), "", "", "train")
    masks = make_segmenter(settings.segmenter)(video, source)
    return resize_masks(masks.union(settings), frames.shape[1:3])


def measure(case: Case) -> Measured:
    """Film one clip and measure everything on it. What a worker does."""
    cv2.setNumThreads(1)
    if case.kind == "real":
        assert case.clips is not None
        stage = real_stage(case.seed, case.clips, case.count)
    else:
        stage = generated_stage(case.seed, case.size, case.count)
    clip = film(stage, case.camera, case.count, case.seed)
    settings = PrepareSettings(segmenter="motion")
    found = find_masks(clip.frames, settings)
    figures: dict[Key, float] = {("iou",): iou(found, clip.mask)}
    figures |= measure_inpainters(clip, found, settings.dilate)
    if case.camera in SWEPT:
        figures |= sweep_dilation(clip, found)
    return Measured(case, figures)


def measure_inpainters(clip: Filmed, found: Bool, dilate: float) -> dict[Key, float]:
    """PSNR of every inpainter, by masks and pixels."""
    figures: dict[Key, float] = {}
    for masks, mask in (("true masks", clip.mask), ("motion", found)):
        holes = dilate_masks(mask, dilate)
        backgrounds = {name: make_inpainter(name)(clip.frames, holes).frames for name in usable()}
        backgrounds[CODED] = clip.coded
        for name, background in backgrounds.items():
            for pixels, where in (("all", clip.mask), ("shown", clip.mask & clip.shown)):
                value = psnr(background, clip.background, where)
                figures["psnr", name, masks, pixels] = value
    return figures


def sweep_dilation(clip: Filmed, found: Bool) -> dict[Key, float]:
    """PSNR of `temporal` by kind of mask and dilation, over what the widest true hole covers."""
    temporal = make_inpainter("temporal")
    around = dilate_masks(clip.mask, max(DILATIONS))
    figures: dict[Key, float] = {}
    for name, mask in masks_to_dilate(clip.mask, found).items():
        for share in DILATIONS:
            background = temporal(clip.frames, dilate_masks(mask, share)).frames
            figures["sweep", name, f"{share:g}"] = psnr(background, clip.background, around)
    return figures


def masks_to_dilate(truth: Bool, found: Bool) -> dict[str, Bool]:
    """The masks of the dilation's table, by name."""
    return {"motion": found, "-1 px": erode_masks(truth, 1), "-2 px": erode_masks(truth, 2)}


def usable() -> list[str]:
    """Those of `INPAINTERS` that this version has."""
    names = []
    for name in INPAINTERS:
        try:
            make_inpainter(name)
        except InputError:
            continue
        names.append(name)
    return names


def summary(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    return f"{np.mean(finite):.{digits}f} ± {np.std(finite):.{digits}f}"


def print_tables(results: Sequence[Measured], *, markdown: bool) -> None:
    """All tables, one set for each kind of content."""
    for kind in dict.fromkeys(result.case.kind for result in results):
        mine = [result for result in results if result.case.kind == kind]
        cameras = list(dict.fromkeys(result.case.camera for result in mine))

        def cell(key: Key, camera: str, digits: int = 2, mine: list[Measured] = mine) -> str:
            chosen = [r.figures.get(key, math.nan) for r in mine if r.case.camera == camera]
            return summary(chosen, digits)

        show = partial(print_table, markdown=markdown)
        show(
            f"Mask IoU of motion, {kind}",
            ["segmenter", *cameras],
            [["motion", *(cell(("iou",), camera, 3) for camera in cameras)]],
        )
        for pixels, what in (("all", "all"), ("shown", "those that some frame shows")):
            show(
                f"Background inside the actor's pixels ({what}), PSNR in dB, {kind}",
                ["inpainter, masks", *cameras],
                [
                    [
                        f"{name}, {masks}",
                        *(cell(("psnr", name, masks, pixels), camera) for camera in cameras),
                    ]
                    for masks in ("true masks", "motion")
                    for name in (*usable(), CODED)
                ],
            )
        show_sweep(kind, [c for c in cameras if c in SWEPT], cell, show)


def show_sweep(
    kind: str, cameras: list[str], cell: Callable[[Key, str], str], show: Callable[..., None]
) -> None:
    """The dilation's table."""
    if not cameras:
        return
    columns = [(masks, camera) for masks in ("motion", "-1 px", "-2 px") for camera in cameras]
    chosen = f"{PrepareSettings().dilate:g}"
    show(
        f"temporal by dilation (* the default), the actor and around, PSNR in dB, {kind}",
        ["dilate", *(f"{masks}, {camera}" for masks, camera in columns)],
        [
            [
                f"{share:g}{' *' if f'{share:g}' == chosen else ''}",
                *(cell(("sweep", masks, f"{share:g}"), camera) for masks, camera in columns),
            ]
            for share in DILATIONS
        ],
    )


def main() -> None:
    """Measure all cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="clips of each kind and camera")
    parser.add_argument("--frames", type=int, default=36, help="frames of each clip")
    parser.add_argument("--cameras", nargs="+", choices=list(CAMERAS), default=list(CAMERAS))
    parser.add_argument("--clips", type=Path, help=f"real clips with masks (default: {CLIPS})")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for one per core")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    arguments = parser.parse_args()

    if arguments.seeds < 1 or arguments.frames < 4:
        parser.error("--seeds must be 1 or more, and --frames 4 or more")
    clips = arguments.clips or (CLIPS if CLIPS.is_dir() else None)
    kinds = ["generated", "real"] if clips else ["generated"]
    cases = [
        Case(kind, camera, seed, arguments.frames, SIZE, clips)
        for kind in kinds
        for camera in arguments.cameras
        for seed in range(arguments.seeds)
    ]
    print_header()
    print(f"clips:    {len(cases)}, {arguments.seeds} of each kind and camera")
    results = LocalEngine(arguments.workers).map(measure, cases, on_crash=Measured)
    print_tables(list(results), markdown=arguments.markdown)


if __name__ == "__main__":
    run(main)
