"""What a training costs, in GPU hours and bytes: arithmetic on measured figures.

docs/scale.md says where each figure comes from, and what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from l2a.settings import ClipSettings
from train.settings.few_shot import FewShotSettings
from train.settings.full import FullSettings

CLIPS_PER_SECOND = 676.0
"""Forward, backward and step of r3d_18 on clips of 8x112x112, batch 12, float32, one H200."""

MEASURED_CLIP = 8 * 112 * 112
"""Pixels of the clips that this was measured on; others are taken in proportion."""

OPERATIONS: Mapping[str, float] = MappingProxyType(
    {"r3d_18": 202.8, "r2plus1d_18": 201.9, "tsn_resnet50": 85.8, "tiny3d": 2.4}
)
"""Thousand multiply-adds for each pixel of a clip, as torch counts them. Nothing but r3d_18 was
timed: another network's time is taken in proportion, and one that is not here takes r3d_18's."""

LEAST_WORK = 0.25
"""A smaller network than a quarter of r3d_18 is taken to wait for its clips: a guess."""

FORWARD = 1 / 3
"""What a forward pass alone takes of a step."""

EPISODES_PER_SECOND = 32.0
"""Test episodes with composites: the fewest that were measured, of TRX with values of 64 numbers,
on a busy core. Of ARN, of TRX's 1,152 numbers and of a GPU nothing was measured."""

FRAMES_PER_SECOND = 7.0
"""Frames that `mask-rcnn` and what follows it took in a second, on one H200 that mostly waited,
with an earlier state of the code: hours of masks are an upper bound."""

LAYER_BYTES = 0.158
"""Bytes of stored layers (masks, foregrounds, backgrounds) for each pixel of a video's frames: 473
clips of JHMDB at 320x240 with masks of their own take 195 MB."""

VIEWS: Mapping[str, tuple[float, float]] = MappingProxyType({
    "pseudo-label": (1, 1), "mean-teacher": (1, 1 + FORWARD), "fixmatch": (1, 2), "s4l": (4, 4),
    "actorcut": (1, 2), "actorcut-id": (1, 2), "videossl": (1, 1), "tcl": (1, 1.5),
})  # fmt: skip
"""Method ─► how often a labelled and an unlabelled clip of a step go through the network. TCL's
slow clips have half the frames."""


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
HMDB51_SEMI = Extent(5_236, 1_530, 94, 240, 340)
"""VideoSSL's lists draw from all videos but those of test, also from those that the official split
does not use. Fewer are trained on: not those of a test clip's recording."""
KINETICS100 = Extent(85_114, 5_000, 300, 256, 340)
KINETICS400 = Extent(240_000, 20_000, 300, 256, 340)


@dataclass(frozen=True)
class Sides:
    """Clips of a split of classes.

    Attributes:
        base, validation, novel: of each side.
    """

    base: int
    validation: int
    novel: int


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


def trained_on(extent: Extent, val_share: float) -> int:
    """Training videos that are left when validation is carved out."""
    return round(extent.train * (1 - val_share))


def layered(extent: Extent, val_share: float, seeds: int) -> int:
    """Training videos of one of several runs, each of which carves out others for validation."""
    return trained_on(extent, val_share**seeds)


def layers_cost(extent: Extent, settings: FullSettings, videos: int | None = None) -> Cost:
    """Masks and clean backgrounds of so many videos, or of one run's; once for all runs."""
    videos = trained_on(extent, settings.data.val_share) if videos is None else videos
    seen = videos * min(extent.frames, settings.prepare.max_frames)
    scale = min(1.0, settings.prepare.max_side / max(extent.height, extent.width))
    pixels = extent.height * extent.width * scale**2
    return Cost(seen / FRAMES_PER_SECOND / 3600, seen * pixels * LAYER_BYTES)


def bank_bytes(with_layers: int, without: int, clips: ClipSettings) -> float:
    """Clips at training size: 7 bytes a pixel with layers (frame, mask, background), else 3."""
    pixels = clips.num_frames * clips.height * clips.width
    return float(pixels * (7 * with_layers + 3 * without))


def bank_cost(extent: Extent, settings: FullSettings) -> Cost:
    """The clips of one run."""
    own = trained_on(extent, settings.data.val_share)
    return Cost(0.0, bank_bytes(own, extent.train - own + extent.test, settings.clips))


def hours_of(clips: float, settings: FullSettings) -> float:
    """Hours of training steps on so many clips.

    Args:
        clips: that go through the network, forward and back.
        settings: name the network and the clips' size.
    """
    base = OPERATIONS["r3d_18"]
    work = max(LEAST_WORK, OPERATIONS.get(settings.classifier.network, base) / base)
    seen = settings.clips
    pixels = seen.num_frames * seen.crop**2
    return clips * work * pixels / MEASURED_CLIP / CLIPS_PER_SECOND / 3600


def training_cost(extent: Extent, settings: FullSettings) -> Cost:
    """One training of stage two, and the warm-up of stage one where there is a Selector.

    The Selector's own steps, choosing and testing are left out: minutes.
    """
    classifier, stage = settings.classifier, settings.stage_two
    real = trained_on(extent, settings.data.val_share)
    added = _composites(settings) if stage.selection != "none" else 0.0
    clips = classifier.epochs * real * (1.0 if stage.replace_real else 1.0 + added)
    if stage.selection == "selector":
        clips += settings.stage_one.warmup_epochs * real
    return Cost(hours_of(clips, settings))


def semi_hours(extent: Extent, settings: FullSettings, arm: str, share: float) -> float:
    """Hours of one arm of the semi-supervised setting, and the warm-up where it has a Selector.

    An epoch draws as many clips as there are, labelled or not. Pseudo-labels, teacher, choosing
    and testing are left out: minutes.

    Args:
        extent: labelled and unlabelled videos are its train videos.
        settings: of the run.
        arm: "supervised", "selector", "random", a method, or an augmentation.
        share: of labelled clips, 0..1, of which validation is carved out.
    """
    own, semi = settings.classifier, settings.semi
    drawn = extent.train * (1 - share * settings.data.val_share)
    unlabelled = (semi.unlabelled_per_batch or own.batch_size) / own.batch_size
    if arm in VIEWS:
        seen, others = VIEWS[arm]
    else:
        seen = 1.0 + (_composites(settings) if arm in ("selector", "random") else 0.0)
        others = float(semi.teacher is not None and arm != "supervised")
    epochs = own.epochs * (seen + unlabelled * others)
    epochs += settings.stage_one.warmup_epochs * (arm == "selector")
    return hours_of(drawn * epochs, settings)


def few_shot_train_hours(
    few: FewShotSettings, queries: int, full: FullSettings, sides: Sides
) -> float:
    """Hours of a training on episodes, its measurements on the validation classes with it.

    Args:
        few: of the run.
        queries: of each class of a training episode.
        full: names the network and the clips' size.
        sides: clips of the split.
    """
    clips = float(few.train_episodes * few.way * (max(few.shots) + queries))
    if few.validate_every:
        looks = few.train_episodes / few.validate_every
        asked = few.validation_episodes * few.way * (max(few.shots) + few.queries)
        clips += FORWARD * looks * min(sides.validation, asked)
    return hours_of(clips, full)


def few_shot_test_hours(few: FewShotSettings, full: FullSettings, sides: Sides) -> float:
    """Hours of an evaluation: features of real clips and composites, the warm-up of the Selector's
    classifier on base classes, and episodes."""
    composed = any(choice != "none" for choice in few.choices)
    clips = FORWARD * sides.novel * (1 + (few.candidates if composed else 0))
    if "selector" in few.choices:
        clips += full.stage_one.warmup_epochs * sides.base
    episodes = len(few.choices) * len(few.shots) * few.episodes
    return hours_of(clips, full) + episodes / EPISODES_PER_SECOND / 3600


def _composites(settings: FullSettings) -> float:
    """Composites for each real clip of a batch."""
    size = settings.classifier.batch_size
    return (settings.stage_two.composites_per_batch or size) / size
