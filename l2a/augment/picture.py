"""A picture of every augmentation, made from the same two real clips: those of docs/augment.md.

    python -m l2a.augment.picture ../shared/clips/jhmdb12 --out docs/images/augment

The folder is laid out as `videos/CLASS/*.avi` with masks in `masks/CLASS.json` (YouTube-VIS).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco
from torch import Tensor

from l2a.augment import AUGMENTATIONS, Batch, make_augmentation
from l2a.augment.randaugment import Course, RandAugment, RandAugmentT, Step, draw_steps, run_steps
from l2a.files import atomic_write
from l2a.media import read_frames, resize_frames, resize_masks, sample_indices

CLIPS = (
    "golf/Cobra_Golf_-_Camilo_Villegas_golf_f_cm_np1_ri_goo_0.avi",
    "swing_baseball/8YearOldHitsaHomeRunBaseball_swing_baseball_f_cm_np1_fr_bad_0.avi",
)
FRAMES = 16
SHOWN = (0, 3, 6, 9, 12, 15)
SIZE = (102, 136)
GAP, LINE = 3, 16
MODES = ("videomix:temporal", "videomix:spatio-temporal", "videomix:per-frame")
RANDAUGMENTS = ("randaugment", "randaugment-t:temporal", "randaugment-t:temporal+")
MAGNITUDE = 10.0
"""M of the pictures of RandAugment: the largest that Kim et al. tried."""


def read_clip(root: Path, name: str) -> tuple[Tensor, Tensor]:
    """A clip uint8 [3, T, H, W] and the masks bool [T, H, W] of the people in it."""
    video = read_frames(root / "videos" / name)
    moments = sample_indices(video.times, FRAMES)
    frames = resize_frames(video.frames[moments], SIZE)
    record = json.loads((root / "masks" / f"{Path(name).parent}.json").read_text(encoding="utf-8"))
    people = {c["id"] for c in record["categories"] if c["name"] == "person"}
    number = next(v["id"] for v in record["videos"] if v["file_name"] == name)
    masks = np.zeros(video.frames.shape[:3], np.bool_)
    for found in record["annotations"]:
        if found["video_id"] == number and found["category_id"] in people:
            for t, shape in enumerate(found["segmentations"]):
                if shape is not None:
                    masks[t] |= coco.decode(shape).astype(np.bool_)
    shown = resize_masks(masks[moments], SIZE)
    return torch.from_numpy(frames).permute(3, 0, 1, 2).contiguous(), torch.from_numpy(shown)


def strip(clip: Tensor, title: str) -> Image.Image:
    """A clip uint8 [3, T, H, W] as a row of frames under a line of text."""
    height, width = SIZE
    sheet = Image.new("RGB", (len(SHOWN) * (width + GAP) - GAP, LINE + height), (255, 255, 255))
    ImageDraw.Draw(sheet).text((1, 0), title, (32, 32, 32), ImageFont.load_default(12))
    for i, t in enumerate(SHOWN):
        sheet.paste(Image.fromarray(clip[:, t].permute(1, 2, 0).numpy()), (i * (width + GAP), LINE))
    return sheet


def save(rows: Sequence[Image.Image], path: Path) -> None:
    """Strips below each other, as a JPEG."""
    width, height = rows[0].width, sum(row.height + GAP for row in rows) - GAP
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    for i, row in enumerate(rows):
        sheet.paste(row, (0, i * (row.height + GAP)))
    with atomic_write(path) as aside:
        sheet.save(aside, "JPEG", quality=80, optimize=True)


def clear_example(name: str, batch: Batch) -> Batch:
    """The first result that shows what the augmentation does."""
    augment = make_augmentation(name).always()
    for seed in range(1000):
        done = augment.apply(batch, Random(seed))
        change = (done.clips[0].float() - batch.clips[0].float()).abs().mean((0, 2, 3))
        share = float(done.labels[0, 0])
        shows = float(change.mean()) > 3
        if "object" in name:
            shows = shows and share > 0
        elif "mix" in name:
            shows = 0.3 < share < (0.5 if "actor" in name else 0.7)
        if name == "fademixup":
            shows = shows and bool(change[0] > 3 * change[-1])
        if name.endswith("cutmixup"):  # blended visibly, with the first clip around it
            shows = 0.3 < _changed(batch, done) < 0.7
        if shows:
            return done
    raise RuntimeError(f"{name} changed nothing in 1000 draws.")


def _changed(batch: Batch, done: Batch) -> float:
    """Which share of the first clip's pixels has changed; 0 unless those are about half of each."""
    first, second, now = (clip.float() for clip in (*batch.clips, done.clips[0]))
    other = now != first
    part = float((now - first).abs()[other].sum() / ((second - first).abs()[other].sum() + 1))
    return float(other.float().mean()) if 0.4 < part < 0.6 else 0.0


def clear_steps(name: str) -> list[Step]:
    """The first steps drawn that turn the clip and change its light."""
    augment = make_augmentation(name)
    assert isinstance(augment, RandAugment | RandAugmentT)
    settings = dataclasses.replace(augment, magnitude=MAGNITUDE)
    course = cast(Course, name.partition(":")[2] or "spatial")
    for seed in range(10_000):
        steps = draw_steps(settings, course, Random(seed))
        spread = abs(steps[0].last - steps[0].first)
        if [step.operation for step in steps] == ["rotate", "brightness"] and (
            spread > MAGNITUDE / 2 or course == "spatial"
        ):
            return steps
    raise RuntimeError(f"{name} drew nothing that shows.")


def title_of(name: str, label: Tensor) -> str:
    """What a strip says: the name and the label."""
    golf, baseball = label.tolist()
    return f"{name}:  {golf:.2f} golf, {baseball:.2f} baseball"


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/augment"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    clips, masks = (
        torch.stack(parts)
        for parts in zip(*(read_clip(arguments.clips, name) for name in CLIPS), strict=True)
    )
    batch = Batch(clips, torch.eye(2), masks)
    inputs = [strip(clips[0], "golf"), strip(clips[1], "baseball")]
    save(inputs, arguments.out / "inputs.jpg")
    for name in (*AUGMENTATIONS, *MODES):
        if not name.startswith("randaugment"):
            done = clear_example(name, batch)
            row = strip(done.clips[0], title_of(name, done.labels[0]))
            save([row], arguments.out / file_of(name))
    for name in RANDAUGMENTS:
        steps = clear_steps(name)
        clip, _ = run_steps(clips[0], None, steps)
        drawn = ", ".join(f"{s.operation} {s.first:.1f} to {s.last:.1f}" for s in steps)
        row = strip(clip, f"{name}, M = {MAGNITUDE:g}:  {drawn}")
        save([row], arguments.out / file_of(name))


def file_of(name: str) -> str:
    """The file of an augmentation's picture."""
    return f"{name.replace(':', '-').replace('+', '-plus-').rstrip('-')}.jpg"


if __name__ == "__main__":
    main()
