"""What the detections of a network cost after it: in the process that holds it, and in a worker.

    OMP_NUM_THREADS=1 python benchmarks/detection_speed.py [--detections 100] [--size 240 320]

A stand-in takes the network's place: it gives boxes, scores and 28 x 28 probabilities for things
that drift through the frames, as the heads of torchvision's Mask R-CNN do. Two ways from there to
the instances of a video, in turns:

1. all in the process that holds the network, one detection after the other: torchvision pastes
   the masks to full size, pycocotools encodes them and compares each with all of the frame before
   (this was ours);
2. that process hands out what is small, as bytes; a worker pastes within the boxes, encodes a
   frame's masks in one go and compares masks only where boxes and areas let them overlap.

Both must give the same instances. Milliseconds of one core a frame (CPU time, on which other work
on the machine has little influence), medians over `--repeats`. On a GPU what is handed out is first
copied from it, less than half a MB a frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from tables import print_header, print_table, run
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

from compositing.engines.results import CallResult, packed, unpacked
from compositing.masks import Instance, VideoMasks, encode, to_json
from compositing.segmenters.detections import INSIDE, Detections, at_full_size, snapped
from compositing.segmenters.following import MIN_OVERLAP, track_detections

CATEGORIES = ("person", "chair", "bottle", "cup", "car", "book", "dog", "sports ball")
SIDE = 28
WORKER = ("unpack", "paste and encode", "follow")
"""The parts of the second way that a worker does."""


def stand_in(
    frames: int, count: int, size: tuple[int, int], seed: int = 0
) -> tuple[list[dict[str, Tensor]], list[str]]:
    """What the network's heads give for each frame, and the categories, the same in all frames."""
    rng = np.random.default_rng(seed)
    height, width = size
    sides = np.exp(rng.uniform(np.log(12), np.log(0.6 * height), (count, 2)))
    centres = rng.uniform(0, 1, (count, 2)) * np.array([width, height])
    speed = rng.normal(0, 1.5, (count, 2))
    coarse = torch.from_numpy(rng.normal(2, 3, (count, 1, 6, 6)).astype(np.float32))
    shapes = torch.sigmoid(functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic"))
    outputs = []
    for frame in range(frames):
        middle = centres + frame * speed
        boxes = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height]))
        outputs.append(
            {
                "boxes": torch.from_numpy(boxes.astype(np.float32)),
                "scores": torch.linspace(0.99, 0.06, count),
                "masks": shapes,
            }
        )
    return outputs, [CATEGORIES[n % len(CATEGORIES)] for n in range(count)]


def all_in_one_process(
    outputs: Sequence[dict[str, Tensor]], names: Sequence[str], size: tuple[int, int]
) -> tuple[Instance, ...]:
    """The first way."""
    tracks: list[Track] = []
    for frame, output in enumerate(outputs):
        whole = paste_masks_in_image(output["masks"], output["boxes"], size)
        rles = encode((whole[:, 0] >= INSIDE).numpy())
        scores = output["scores"].tolist()
        rows = zip(names, scores, rles, strict=True)
        found = [(name, round(score, 6), rle) for name, score, rle in rows if rle]
        link_one_by_one(tracks, found, frame, list(size))
    return tuple(track.instance(len(outputs)) for track in tracks)


@dataclass
class Track:
    """An instance of the first way: (frame, run lengths, score) of each detection."""

    category: str
    seen: list[tuple[int, str, float]]

    def instance(self, count: int) -> Instance:
        """It, with an entry for each frame."""
        rles: list[str | None] = [None] * count
        scores = [0.0] * count
        for frame, rle, score in self.seen:
            rles[frame], scores[frame] = rle, score
        return Instance(self.category, max(scores), tuple(rles), tuple(scores))


def link_one_by_one(
    tracks: list[Track], found: list[tuple[str, float, str]], frame: int, size: list[int]
) -> None:
    """Give each detection to the track that it overlaps most, by run lengths alone."""
    candidates = []
    for category in {row[0] for row in found}:
        old = [n for n, t in enumerate(tracks) if t.category == category and t.seen[-1][0] < frame]
        new = [n for n, row in enumerate(found) if row[0] == category]
        if old:
            last = [{"size": size, "counts": tracks[n].seen[-1][1]} for n in old]
            masks = [{"size": size, "counts": found[n][2]} for n in new]
            overlaps = coco.iou(masks, last, [0] * len(old))
            for row, column in zip(*np.nonzero(overlaps >= MIN_OVERLAP), strict=True):
                candidates.append((-float(overlaps[row, column]), old[column], new[row]))
    links: dict[int, int] = {}
    for _, track, number in sorted(candidates):
        if track not in links.values() and number not in links:
            links[number] = track
    for number, (category, score, rle) in enumerate(found):
        if number in links:
            tracks[links[number]].seen.append((frame, rle, score))
        else:
            tracks.append(Track(category, [(frame, rle, score)]))


def hand_out(outputs: Sequence[dict[str, Tensor]], names: Sequence[str]) -> bytes:
    """The second way, in the process that holds the network."""
    found = []
    for output in outputs:
        boxes = snapped(output["boxes"].cpu().numpy(), SIDE)
        masks = output["masks"][:, 0].cpu().numpy()
        found.append(Detections(tuple(names), output["scores"].cpu().numpy(), boxes, masks))
    return packed(CallResult(found))


def in_a_worker(data: bytes, size: tuple[int, int], seconds: dict[str, float]) -> Any:
    """The second way, in a worker; `seconds` gets the time of its parts."""
    with timed(seconds, "unpack"):
        found: list[Detections] = unpacked(data).get()
    with timed(seconds, "paste and encode"):
        rows = [at_full_size(one, *size) for one in found]
    with timed(seconds, "follow"):
        return track_detections(rows)


class timed:
    """Adds the CPU seconds of its block to an entry."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_: object) -> None:
        spent = time.process_time() - self.start
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + spent


def measure(frames: int, count: int, size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds a frame of each part, once.

    Raises:
        AssertionError: the two ways differ by more than what rounding explains.
    """
    outputs, names = stand_in(frames, count, size)
    seconds: dict[str, float] = {}
    with timed(seconds, "before: with the network"):
        before = all_in_one_process(outputs, names, size)
    with timed(seconds, "now: with the network"):
        data = hand_out(outputs, names)
    instances = in_a_worker(data, size, seconds)
    with timed(seconds, "write as JSON (both)"):
        to_json(VideoMasks(*size, frames, instances), "a", {})
    assert agreement(before, instances, size) > 0.9999, "the two ways differ"
    return {name: 1e3 * spent / frames for name, spent in seconds.items()}


def agreement(one: Sequence[Instance], other: Sequence[Instance], size: tuple[int, int]) -> float:
    """Share of pixels that the instances have in common, all frames and instances together."""
    assert [replace(i, rles=()) for i in one] == [replace(i, rles=()) for i in other]
    pairs = [
        ({"size": list(size), "counts": a}, {"size": list(size), "counts": b})
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first.rles, second.rles, strict=True)
        if a is not None and b is not None
    ]
    both = sum(int(coco.area(coco.merge(list(pair), intersect=True))) for pair in pairs)
    either = sum(int(coco.area(coco.merge(list(pair)))) for pair in pairs)
    return both / either


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detections", type=int, default=100, help="in each frame")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), help="height and width")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_header()
    runs = [
        measure(options.frames, options.detections, tuple(options.size))
        for _ in range(options.repeats)
    ]
    middle = {name: float(np.median([one[name] for one in runs])) for name in runs[0]}
    worker = sum(middle[name] for name in WORKER)
    rows = [[name, f"{value:.2f}"] for name, value in middle.items()]
    print_table(
        f"{options.detections} detections a frame of {options.size[0]}x{options.size[1]}",
        ["part", "ms/frame"],
        [*rows, ["now: in a worker, all", f"{worker:.2f}"]],
    )


if __name__ == "__main__":
    run(main)
