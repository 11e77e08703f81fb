"""What a person can set in the compositing room. No heavy imports: the command line reads this."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from l2a.errors import InputError
from l2a.settings import setting

LabelRule = Literal["mixed", "foreground", "actor"]
Blend = Literal["paste", "feather", "poisson"]
Codec = Literal["h264", "h265"]
IncludeReal = Literal["no", "link", "copy"]
LAYOUT_NAMES = (
    "videofolder", "mmaction2", "pytorchvideo", "torchvision", "fiftyone", "webdataset",
)  # fmt: skip
X264_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How videos become layers.

    Attributes:
        segmenter: finds the instances: mask-rcnn, detectron2, motion, or masks:PATH for masks of
            your own (JSON files as of YouTube-VIS or COCO, or folders of PNG masks).
            mask-rcnn:FILE takes a weight file, detectron2:CONFIG or detectron2:CONFIG,WEIGHTS any
            of its models. auto is mask-rcnn where a GPU is there, or its weights are and it takes
            less than an hour; else motion.
        inpainter: empties the background: temporal, lama, opencv, or none. lama:FILE takes
            big-lama.pt from there, opencv:ns another method than Telea's, and temporal:lama or
            temporal:opencv says who makes up what no frame shows.
        score_threshold: instances with a lower score (0..1) are left out of the foreground mask.
        humans_only: keep only instances of the category person (the paper's Table 2, w/o objects).
        boxes: use each instance's bounding box instead of its mask (Table 2, w/o segmentation).
        max_gap: an instance that is not found in at most this many frames in a row, and found
            before and after, is filled in from its neighbours; 0 fills nothing.
        temporal_or: let every frame have the union of all frames' masks (ObjectMix, Sec. 3.3).
        min_speck: parts of an instance smaller than this share of the frame are dropped.
        dilate: how far the hole reaches past the mask, as a share of the frame's height.
        min_mask_share: a foreground needs a mask in at least this share of its frames.
        min_gamma: a foreground covers at least this share of the clip (Eq. 8's γ). 0.026 gives
            λ = 0.1 at α = 4.
        max_gamma: a foreground covers at most this share; more hides the background.
        max_unseen: a background is left out when more than this share of the clip was never seen
            behind the actor, and had to be made up. Inpainters that do not look behind the actor
            are not judged by it.
        max_hole: a background is left out when its hole covers more than this share of the clip.
        max_side: the longer side of the stored layers in pixels; smaller videos keep their size.
        max_frames: longer videos are thinned, uniformly in time, to this many frames.
    """

    GROUP: ClassVar[str] = "prepare"

    segmenter: str = "auto"
    inpainter: str = "temporal"
    score_threshold: float = 0.5
    humans_only: bool = False
    boxes: bool = False
    max_gap: int = 12
    temporal_or: bool = False
    min_speck: float = 0.0005
    dilate: float = 0.03
    min_mask_share: float = 0.75
    min_gamma: float = 0.026
    max_gamma: float = 0.7
    max_unseen: float = 0.25
    max_hole: float = 0.9
    max_side: int = 640
    max_frames: int = 300

    def __post_init__(self) -> None:
        problems = [
            f"{name} must lie in 0..1, not {getattr(self, name)}"
            for name in (
                "score_threshold",
                "min_speck",
                "min_mask_share",
                "min_gamma",
                "max_gamma",
                "max_unseen",
                "max_hole",
            )
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 <= self.dilate <= 0.5:
            problems.append(f"dilate must lie in 0..0.5, not {self.dilate}")
        if self.min_gamma > self.max_gamma:
            problems.append(
                f"min_gamma ({self.min_gamma}) must not be above max_gamma ({self.max_gamma})"
            )
        if self.max_side < 16:
            problems.append(f"max_side must be 16 pixels or more, not {self.max_side}")
        if self.max_gap < 0:
            problems.append(f"max_gap must be 0 or more frames, not {self.max_gap}")
        if self.max_frames < 1:
            problems.append(f"max_frames must be 1 or more, not {self.max_frames}")
        _complain(problems)


@dataclass(frozen=True, slots=True)
class CompositeSettings:
    """How a pair becomes a composite and its mixed label.

    Attributes:
        label_rule: how the foreground's share λ of the label follows from the masks: mixed
            (Eq. 8, on the visible foreground), foreground (λ = 1), or actor (the foreground's
            share among what both actors cover).
        alpha: Eq. 8's exponent: λ = 1 − (1 − γ)^alpha.
        blend: how the foreground meets the background: paste (Eq. 1), feather (a soft edge), or
            poisson (seamless cloning: the actor takes on the scene's light).
        feather: width of the soft edge of blend feather, as a share of the frame's height.
        match_colour: how far the actor's colours go towards the scene's, in mean and spread: 0
            not at all, 1 all the way for lightness and three tenths of it for chroma (all of it
            makes people green on a lawn); 0.5 is a good start.
        shift: the foreground is moved by at most this share of the frame, at random, down or up
            and left or right; 0 keeps its place, as in the paper.
        scale: the foreground is made larger or smaller by at most this factor, at random; 1 keeps
            its size, as in the paper.
        flip_foreground: how often (0..1) the foreground alone is mirrored.
    """

    GROUP: ClassVar[str] = "composite"

    label_rule: LabelRule = "mixed"
    alpha: float = 4.0
    blend: Blend = "paste"
    feather: float = 0.015
    match_colour: float = 0.0
    shift: float = 0.0
    scale: float = 1.0
    flip_foreground: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if self.label_rule not in get_args(LabelRule):
            rules = ", ".join(get_args(LabelRule))
            problems.append(f"label_rule must be one of {rules}, not {self.label_rule!r}")
        if not self.alpha > 0:
            problems.append(f"alpha must be above 0, not {self.alpha}")
        if self.blend not in get_args(Blend):
            blends = ", ".join(get_args(Blend))
            problems.append(f"blend must be one of {blends}, not {self.blend!r}")
        for name, most in (
            ("feather", 0.5), ("match_colour", 1), ("shift", 1), ("flip_foreground", 1),
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= most:
                problems.append(f"{name} must lie in 0..{most}, not {getattr(self, name)}")
        if not 1 <= self.scale <= 4:
            problems.append(f"scale must lie in 1..4, not {self.scale}")
        _complain(problems)


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How composites are written as a data set of video files.

    Attributes:
        layouts: how the clips are arranged, by who reads them: videofolder, mmaction2,
            pytorchvideo, torchvision, fiftyone, webdataset, or several of them with commas between;
            all share the clips.
        codec: h264, which everything plays, or h265, which is smaller and slower.
        crf: the codec's constant rate factor: 0 (lossless with h264) to 51; 18 looks lossless.
        preset: the encoder's trade of speed for size, from ultrafast to veryslow.
        resolution: larger clips are scaled down until their shorter side has this many pixels; 0
            keeps the size of the layers, which max_side and max_frames bound.
        clip_length: longer clips are cut to this many seconds, before λ is computed: those nearest
            to the middle of the foreground that show its actor as min_mask_share, min_gamma and
            max_gamma ask; a pair without such seconds is skipped. 0 keeps them whole.
        include_real: add the original training videos, so that the folder is a complete training
            set: no, link (symbolic links) or copy.
        shard_size: a shard of the layout webdataset is closed before it grows past so many MB.
    """

    GROUP: ClassVar[str] = "export"

    layouts: str = setting("videofolder", formerly=("faces",))
    codec: Codec = "h264"
    crf: int = 18
    preset: str = "medium"
    resolution: int = 0
    clip_length: float = 0.0
    include_real: IncludeReal = "no"
    shard_size: int = 256

    def __post_init__(self) -> None:
        problems = []
        strange = [name for name in self.layout_names if name not in LAYOUT_NAMES]
        if strange or not self.layout_names:
            wrong = strange[0] if strange else self.layouts
            problems.append(f"layouts must be some of {', '.join(LAYOUT_NAMES)}, not {wrong!r}")
        if self.codec not in get_args(Codec):
            problems.append(f"codec must be h264 or h265, not {self.codec!r}")
        if not 0 <= self.crf <= 51:
            problems.append(f"crf must lie in 0..51, not {self.crf}")
        if self.preset not in X264_PRESETS:
            problems.append(f"preset must be one of {', '.join(X264_PRESETS)}, not {self.preset!r}")
        if self.resolution and self.resolution < 16:
            problems.append(
                f"resolution must be 0 (as it is) or 16 pixels or more, not {self.resolution}"
            )
        if not 0 <= self.clip_length < math.inf:
            problems.append(
                f"clip_length must be 0 (whole) or a number of seconds, not {self.clip_length}"
            )
        if self.include_real not in get_args(IncludeReal):
            problems.append(f"include_real must be no, link or copy, not {self.include_real!r}")
        if self.shard_size < 1:
            problems.append(f"shard_size must be 1 MB or more, not {self.shard_size}")
        _complain(problems)

    @property
    def layout_names(self) -> tuple[str, ...]:
        """The layouts asked for, each once."""
        names = (name.strip() for name in self.layouts.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    def recipe(self) -> dict[str, Any]:
        """What the clips depend on: other layouts or more originals need no other clips."""
        return {
            "codec": self.codec,
            "crf": self.crf,
            "preset": self.preset,
            "resolution": self.resolution,
            "clip_length": self.clip_length,
        }


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the work is spread; the results do not depend on it.

    Attributes:
        engine: local (processes of this machine) or ray (Ray Data, on one machine or a cluster).
        workers: processes for decoding, segmenting and encoding, and in training for batches on a
            GPU, or for trainings side by side on a CPU; 0 for one per core, 1 for this process
            alone.
        devices: where the networks of preparation run: auto (every GPU, else the CPU), cpu, or a
            list such as cuda:0,cuda:1; with the engine ray, auto or cpu.
        frames_at_once: frames in one pass through such a network; lower it when a GPU runs
            out of memory.
        ray_address: an existing cluster of the engine ray, such as ray://head:10001, or auto; if
            not given, Ray is started on this machine.
    """

    GROUP: ClassVar[str] = "engine"

    engine: Literal["local", "ray"] = setting("local", speed_only=True)
    workers: int = setting(0, speed_only=True)
    devices: str = setting("auto", speed_only=True)
    frames_at_once: int = setting(8, speed_only=True)
    ray_address: str | None = setting(None, speed_only=True)

    def __post_init__(self) -> None:
        problems = []
        if self.engine not in ("local", "ray"):
            problems.append(f"engine must be local or ray, not {self.engine!r}")
        if self.workers < 0:
            problems.append(f"workers must be 0 or more, not {self.workers}")
        if self.frames_at_once < 1:
            problems.append(f"frames_at_once must be 1 or more, not {self.frames_at_once}")
        if self.ray_address is not None and self.engine != "ray":
            problems.append(f"ray_address is {self.ray_address!r}, which needs engine ray")
        _complain(problems)


def _complain(problems: list[str]) -> None:
    """Raise one `InputError` that holds every problem, or nothing when there is none."""
    if problems:
        raise InputError(f"Change these settings: {'; '.join(problems)}.")
