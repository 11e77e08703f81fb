"""What a training costs, in GPU hours and bytes: arithmetic on measured figures.

docs/scale.md says where each figure comes from, and what it leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

from l2a.settings import ClipSettings
from train.settings.full import FullSettings

CLIPS_PER_SECOND = 676.0
"""Forward, backward and step of r3d_18 on clips of 8x112x112, batch 12, float32, one H200. Of
r2plus1d_18, which has as many operations (40.5 and 40.7 GFLOPS a clip of 16 frames, as torchvision
gives them), nothing was measured: the same is taken."""

MEASURED_CLIP = 8 * 112 * 112
"""Pixels of the clips that this was measured on; others are taken in proportion."""

FRAMES_PER_SECOND = 7.0
"""Frames that `mask-rcnn` and what follows it took in a second, on one H200 that mostly waited,
with an earlier state of the code: hours of masks are an upper bound."""

LAYER_BYTES = 0.158
"""Bytes of stored layers (masks, foregrounds, backgrounds) for each pixel of a video's frames: 473
clips of JHMDB at 320x240 with masks of their own take 195 MB."""


@dataclass(frozen=True)
class Extent:
    """How large a data set is.

    Attributes:
        train, test: videos of the first official split.
        frames: of a video, on average, at most `max_frames`.
        height, width: of a video, in pixels.
    """

    train: int
    test: int
    frames: int
    height: int
    width: int


UCF101 = Extent(9_537, 3_783, 182, 240, 320)
HMDB51 = Extent(3_570, 1_530, 94, 240, 340)
KINETICS100 = Extent(85_114, 5_000, 300, 256, 340)
KINETICS400 = Extent(240_000, 20_000, 300, 256, 340)


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        hours: of one GPU.
        bytes: on the disk.
    """

    hours: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.hours + other.hours, self.bytes + other.bytes)

    def times(self, count: int) -> Cost:
        """The hours `count` times, the bytes once for each."""
        return Cost(self.hours * count, self.bytes * count)


def trained_on(extent: Extent, val_share: float) -> int:
    """Training videos that are left when validation is carved out."""
    return round(extent.train * (1 - val_share))


def layers_cost(extent: Extent, settings: FullSettings) -> Cost:
    """Masks and clean backgrounds of the training videos, at most; once for all runs."""
    frames = min(extent.frames, settings.prepare.max_frames)
    seen = trained_on(extent, settings.data.val_share) * frames
    scale = min(1.0, settings.prepare.max_side / max(extent.height, extent.width))
    pixels = extent.height * extent.width * scale**2
    return Cost(seen / FRAMES_PER_SECOND / 3600, seen * pixels * LAYER_BYTES)


def bank_cost(extent: Extent, settings: FullSettings) -> Cost:
    """Clips at training size: 7 bytes a pixel with layers (frame, mask, background), else 3."""
    layered = trained_on(extent, settings.data.val_share)
    bare = extent.train - layered + extent.test
    return Cost(0.0, _pixels(settings.clips) * (7 * layered + 3 * bare))


def training_cost(extent: Extent, settings: FullSettings) -> Cost:
    """One training of stage two, and the warm-up of stage one where there is a Selector.

    The Selector's own steps, choosing and testing are left out: minutes.
    """
    classifier, stage = settings.classifier, settings.stage_two
    real = trained_on(extent, settings.data.val_share)
    added = 0.0
    if stage.selection != "none":
        added = (stage.composites_per_batch or classifier.batch_size) / classifier.batch_size
    clips = classifier.epochs * real * (1.0 if stage.replace_real else 1.0 + added)
    if stage.selection == "selector":
        clips += settings.stage_one.warmup_epochs * real
    seen = settings.clips
    rate = CLIPS_PER_SECOND * MEASURED_CLIP / (seen.num_frames * seen.crop**2)
    return Cost(clips / rate / 3600)


def _pixels(clips: ClipSettings) -> int:
    return clips.num_frames * clips.height * clips.width
