"""What a person can set in the compositing room. No heavy imports: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from l2a.errors import InputError

LabelRule = Literal["mixed", "foreground", "actor"]
X264_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How videos become layers.

    Attributes:
        segmenter: finds the instances: motion, or masks:PATH for masks of your own (YouTube-VIS
            JSON, one file or a folder of them).
        inpainter: empties the background: temporal, opencv, or none.
        score_threshold: instances with a lower score (0..1) are left out of the foreground mask.
        humans_only: keep only instances of the category person (the paper's Table 2, w/o objects).
        boxes: use each instance's bounding box instead of its mask (Table 2, w/o segmentation).
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

    segmenter: str = "motion"
    inpainter: str = "temporal"
    score_threshold: float = 0.5
    humans_only: bool = False
    boxes: bool = False
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
    """

    label_rule: LabelRule = "mixed"
    alpha: float = 4.0

    def __post_init__(self) -> None:
        problems = []
        if self.label_rule not in get_args(LabelRule):
            rules = ", ".join(get_args(LabelRule))
            problems.append(f"label_rule must be one of {rules}, not {self.label_rule!r}")
        if not self.alpha > 0:
            problems.append(f"alpha must be above 0, not {self.alpha}")
        _complain(problems)


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How composites are written as videos.

    Attributes:
        crf: H.264's constant rate factor: 0 (lossless) to 51; 18 looks lossless.
        preset: x264's trade of speed for size, from ultrafast to veryslow.
    """

    crf: int = 18
    preset: str = "medium"

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.crf <= 51:
            problems.append(f"crf must lie in 0..51, not {self.crf}")
        if self.preset not in X264_PRESETS:
            problems.append(f"preset must be one of {', '.join(X264_PRESETS)}, not {self.preset!r}")
        _complain(problems)


def _complain(problems: list[str]) -> None:
    """Raise one `InputError` that holds every problem, or nothing when there is none."""
    if problems:
        raise InputError(f"Change these settings: {'; '.join(problems)}.")
