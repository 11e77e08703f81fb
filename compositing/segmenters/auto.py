"""`auto`: which segmenter serves this machine and these videos, settled once and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compositing.settings import EngineSettings, PrepareSettings
from l2a.errors import InputError
from l2a.files import read_json
from l2a.machine import usable_cores
from l2a.media import declared_frames
from l2a.progress import in_words
from l2a.runs import Run
from l2a.videos import Video

AUTO = "auto"
NETWORK, SIMPLE = "mask-rcnn", "motion"
"""What `auto` becomes: the one that knows people and things, or the one that needs nothing."""
PATIENCE = 3600.0
"""Seconds that `mask-rcnn` may take on processors for `auto` to choose it."""
CPU_SECONDS = 10.0
"""About the seconds that `mask-rcnn` takes for a frame on one core, whatever the frame's size: it
scales all frames to the same. 15 were measured on a busy machine, with untrained weights that find
a hundred things in a frame; rather too many than too few, because the promise is an hour."""
GPU_SECONDS = 1 / 7
"""The same on a GPU: measured on an H200, where most of it is work outside the network."""
MOTION_SECONDS = 0.02
"""Seconds that `motion` takes for a frame on one core."""
DOWNLOAD = "180 MB"
"""Size of `mask-rcnn`'s weights."""
PROBED = 8
"""Videos whose headers are asked for their number of frames."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What `auto` became.

    Attributes:
        settings: with the name of a segmenter in place of `auto`.
        sentence: what it became, what that costs and how to change it; "" where the user named a
            segmenter.
    """

    settings: PrepareSettings
    sentence: str = ""


def resolve_segmenter(
    settings: PrepareSettings,
    videos: Sequence[Video],
    engine: EngineSettings,
    folders: Sequence[Path] = (),
) -> Resolved:
    """Replace `auto` by the name of a segmenter; any other name stays.

    What was settled before wins, so that a run keeps the same masks even if a GPU was added or
    removed since. Otherwise `mask-rcnn` is taken where there is a GPU, or where its weights are on
    this machine and the estimate is below `PATIENCE`; else `motion`. Only this machine is looked
    at: nothing is fetched or asked for over a network.

    Args:
        settings: how videos become layers.
        videos: those that are to get layers.
        engine: how the work is spread: devices and workers count.
        folders: of the run and of its layer store, whether they are there or not; the first in
            which something was settled before decides.
    """
    if settings.segmenter != AUTO:
        return Resolved(settings)
    for folder in folders:
        if before := _settled_in(folder):
            chosen, why = before, f"as before in {folder}"
            break
    else:
        chosen, why = _choose(settings, videos, engine)
    sentence = f"segmenter: auto is {chosen}, {why}"
    return Resolved(replace(settings, segmenter=chosen), sentence)


def _choose(
    settings: PrepareSettings, videos: Sequence[Video], engine: EngineSettings
) -> tuple[str, str]:
    """The segmenter for videos of which nothing is known yet, and why."""
    frames = estimate_frames(videos, settings.max_frames)
    cores = engine.workers or usable_cores()
    here, slow = _weights_are_here(), frames * CPU_SECONDS / cores
    quick = in_words(frames * MOTION_SECONDS / cores)
    fetch = "" if here else f"; its weights ({DOWNLOAD}) are fetched once"
    other = f"--segmenter {SIMPLE} takes about {quick} and finds only what moves"
    if _gpu(engine.devices):
        fast = in_words(frames * GPU_SECONDS)
        return NETWORK, f"which takes about {fast} on the GPU for {_amount(videos)}{fetch}; {other}"
    network = f"about {in_words(slow)} on {_cores(cores)} for {_amount(videos)}"
    if here and slow < PATIENCE:
        return NETWORK, f"whose weights are here: {network}; {other}"
    cost = f"{network}{fetch}"
    return SIMPLE, (
        f"which takes about {quick} for {_amount(videos)}, but finds only what moves;"
        f" --segmenter {NETWORK} finds people and things, and takes {cost}"
    )


def estimate_frames(videos: Sequence[Video], max_frames: int) -> int:
    """About how many frames will be segmented: what a few videos declare, times their number.

    Args:
        videos: the headers of `PROBED` of them, spread evenly, are read; nothing is decoded.
        max_frames: no video has more.
    """
    step = max(1, len(videos) // PROBED)
    declared = [declared_frames(video.path) for video in videos[::step][:PROBED]]
    known = [min(count, max_frames) for count in declared if count]
    mean = sum(known) / len(known) if known else max_frames
    return round(mean * len(videos))


def _gpu(devices: str) -> bool:
    import torch

    return devices != "cpu" and torch.cuda.is_available()


def _weights_are_here() -> bool:
    from compositing.segmenters.mask_rcnn import WEIGHTS
    from l2a.weights import torchvision_file

    return torchvision_file(WEIGHTS).is_file()


def _settled_in(folder: Path) -> str:
    """The segmenter that a run or a layer store was made with; "" where none is known.

    A store says it by the `run.yaml` next to it, or else by its records, whose identity names the
    back end without its file: enough for those that take none.
    """
    for run in (folder, folder.parent):
        if (run / "run.yaml").is_file() and (run == folder or folder.name == "layers"):
            try:
                name = Run(run).read()["settings"].get("segmenter", "")
            except (InputError, AttributeError):
                continue  # whoever opens the run says what is wrong with it
            if isinstance(name, str) and name not in ("", AUTO):
                return name
    return _made_by(folder)


def _made_by(store: Path) -> str:
    """The segmenter of a store's records, where its identity alone says how to name it."""
    from compositing.segmenters.mask_rcnn import PUBLISHED

    for path in sorted((store / "records").glob("*.json"))[:1]:
        try:
            row: Any = read_json(path)
        except InputError:
            return ""
        identity = str(row.get("segmenter", "")) if isinstance(row, dict) else ""
        if identity.startswith(f"{SIMPLE} "):
            return SIMPLE
        if identity.startswith(f"{NETWORK} ") and f"weights {PUBLISHED} " in identity:
            return NETWORK
    return ""


def _amount(videos: Sequence[Video]) -> str:
    return "1 video" if len(videos) == 1 else f"{len(videos):,} videos"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
