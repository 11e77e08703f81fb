"""What the store gives out: a video's layers, what is known of them, and why they are unfit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from compositing.masks import NO_DOUBTS, Doubts
from compositing.settings import PrepareSettings
from l2a.videos import Skipped, Video

# Kinds of reasons why a video is unfit.
EMPTY = "no mask in any frame"
SELDOM = "mask too seldom"
SMALL = "mask too small"
LARGE = "mask nearly everything"
HOLE = "hole nearly everything"
UNSEEN = "background never seen"
SPARSE = "too few frames with masks"
DOUBTED = "mask not to be trusted"

# Kinds of reasons why masks that were brought from outside are of no use; a segmenter's note that
# begins with one of them is a reason by itself.
ABSENT = "no masks for it"
UNCLEAR = "masks with an ambiguous name"
LENGTH = "masks of another length"
SHAPE = "masks of another shape"
DAMAGED = "masks damaged"
MASK_FILE_KINDS = (ABSENT, UNCLEAR, LENGTH, SHAPE, DAMAGED)
MASK_FILES = "masks"
"""First word of the identity of a segmenter that reads masks from files."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What is known of a video's layers without opening them.

    Attributes:
        id: the video's.
        num_frames, height, width: of the layers, in frames and pixels.
        fps: frames per second on average.
        gamma: Eq. 8's γ, the share of the clip that the foreground mask covers.
        mask_share: share of the frames with a mask.
        hole: share of the clip that the hole covers: the mask, dilated.
        unseen: share of the clip that lies in the hole and was shown by no frame: made up.
        foreground_unfit: why the video is unfit as foreground; "" when it is.
        background_unfit: why the video is unfit as background; "" when it is.
        segmenter, inpainter: identities, with checksums of weights or files.
        fingerprint: of settings, identities and the source file (`l2a.files.source_mark`).
        mask_digest: SHA-256 of the final mask and of its frames' times.
        background: name of the background's file; "" where there is no hole, so that the frames
            are the background.
        masks_bytes, foreground_bytes, background_bytes: sizes of the video's other files, by which
            a truncated one is noticed; 0 in records that were written before sizes were.
        source_frames, source_height, source_width: of the video's file, upright; 0 in records that
            were written before these were.
        unmasked: how many frames the segmenter was given no masks of (`masks.Unmasked`); -1 in
            records that were written before it was known.
    """

    id: str
    num_frames: int
    height: int
    width: int
    fps: float
    gamma: float
    mask_share: float
    hole: float
    unseen: float
    foreground_unfit: str
    background_unfit: str
    segmenter: str
    inpainter: str
    fingerprint: str
    mask_digest: str
    background: str
    masks_bytes: int = 0
    foreground_bytes: int = 0
    background_bytes: int = 0
    source_frames: int = 0
    source_height: int = 0
    source_width: int = 0
    unmasked: int = -1

    @property
    def outdated(self) -> bool:
        """Whether frames without masks may have counted as frames without an actor."""
        return self.unmasked < 0 and from_mask_files(self.segmenter)

    @property
    def thinned(self) -> bool:
        """Whether the layers have fewer frames than the file, as far as is known."""
        return self.num_frames < self.source_frames

    @property
    def scaled_down(self) -> bool:
        """Whether the layers are smaller than the file, as far as is known."""
        # Pixels that are no squares change one side alone.
        return bool(self.source_height) and (
            self.height != self.source_height and self.width != self.source_width
        )

    @classmethod
    def from_json(cls, row: Any) -> Self:
        """The record that a file holds.

        Raises:
            ValueError: it is none: a field is missing, unknown, of another type or out of range.
        """
        if not isinstance(row, Mapping):
            raise ValueError("it is not a record")
        known = fields(cls)
        needed = {field.name for field in known if field.default is MISSING}
        if not needed <= set(row) <= {field.name for field in known}:
            raise ValueError("it does not have the fields of a record")
        values: dict[str, Any] = {}
        for field in known:
            if field.name in row:
                values[field.name] = _checked(field.name, str(field.type), row[field.name])
        return cls(**values)


def from_mask_files(segmenter: str) -> bool:
    """Whether a segmenter, by its identity, reads masks from files, which may lack frames."""
    return segmenter.split(" ")[0] == MASK_FILES


_LEAST = {"num_frames": 1, "height": 1, "width": 1, "unmasked": -1}


def _checked(name: str, kind: str, value: Any) -> Any:
    """A field's value, if it can be one."""
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and type(value) is int and value >= _LEAST.get(name, 0):
        return value
    if kind == "float" and type(value) in (int, float) and math.isfinite(value) and value >= 0:
        return float(value)
    raise ValueError(f"{name} is {str(value)[:40]!r}")


@dataclass(frozen=True, slots=True)
class Background:
    """One video as the background of a pair.

    Attributes:
        video: which.
        mask: bool [T, H, W], the foreground M_f that was taken out.
        background: uint8 [T, H, W, 3], RGB, the clean background V'_b.
        times: float64 [T], seconds; the first is 0.
    """

    video: Video
    mask: NDArray[np.bool_]
    background: NDArray[np.uint8]
    times: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foreground:
    """What a composite needs of its foreground: `Layers` without the background."""

    video: Video
    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    times: NDArray[np.float64]
    fps: float


@dataclass(frozen=True, slots=True)
class Layers:
    """One video, taken apart.

    Attributes:
        video: which.
        frames: uint8 [T, H, W, 3], RGB.
        mask: bool [T, H, W], the foreground M_f.
        background: uint8 [T, H, W, 3], RGB, the clean background V'_b.
        times: float64 [T], seconds; the first is 0.
        fps: frames per second on average.
    """

    video: Video
    frames: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    background: NDArray[np.uint8]
    times: NDArray[np.float64]
    fps: float


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What a preparation did.

    Attributes:
        records: of the videos that have layers, in the order asked for.
        skipped: the videos that cannot be read, with reasons.
        made: how many videos something was made for.
        reused: how many were there already.
    """

    records: tuple[LayerRecord, ...]
    skipped: tuple[Skipped, ...]
    made: int
    reused: int


def unfit_reasons(
    settings: PrepareSettings,
    *,
    note: str,
    gamma: float,
    mask_share: float,
    hole: float,
    unseen: float,
    doubts: Doubts = NO_DOUBTS,
    sparse: str = "",
) -> tuple[str, str]:
    """Why the video is unfit as foreground, and as background; "" where it is fit.

    A reason is its kind, a colon, and the particulars: `reason_kind` gives the kind.

    Args:
        settings: the limits.
        note: why there are no masks, when the segmenter knows; "" otherwise.
        gamma, mask_share, hole, unseen: as in `LayerRecord`.
        doubts: of the segmenter in its own masks.
        sparse: that too many frames have no masks, though an actor may be in them; "" otherwise.
    """
    if mask_share == 0:
        own = reason_kind(note) in MASK_FILE_KINDS
        why = note if own else f"{EMPTY}: {note or 'nothing passes the settings'}"
        return why, f"{why}, so that the actor cannot be taken out"
    foreground = background = ""
    if mask_share < settings.min_mask_share:
        seldom = f"{SELDOM}: a mask in only {mask_share:.0%} of the frames"
        foreground = f"{SPARSE}: {sparse}" if sparse else seldom
    elif gamma < settings.min_gamma:
        foreground = f"{SMALL}: the mask covers only {gamma:.1%} of the clip"
    elif gamma > settings.max_gamma:
        foreground = f"{LARGE}: the mask covers {gamma:.0%} of the clip"
    elif doubts.foreground:
        foreground = f"{DOUBTED}: {doubts.foreground}"
    if sparse:
        background = f"{SPARSE}: {sparse}"
    elif hole > settings.max_hole:
        background = f"{HOLE}: the hole covers {hole:.0%} of the clip"
    elif unseen > settings.max_unseen:
        background = f"{UNSEEN}: {unseen:.0%} of the clip had to be made up behind the actor"
    elif doubts.background:
        background = f"{DOUBTED}: {doubts.background}"
    return foreground, background


def pair_memory(foreground: LayerRecord, background: LayerRecord) -> int:
    """Bytes that a pair's composite takes at full size, on its way to an encoder, at most."""
    # Layers are 7 bytes a pixel: frame, background, mask. Composing adds the fitted foreground and
    # mask, which may be up to four times as wide as the scene, both of them placed, its colours
    # matched, the canvas and the encoder's padded copy.
    layers = sum(r.num_frames * r.height * r.width * 7 for r in (foreground, background))
    ratio = foreground.width / foreground.height / (background.width / background.height)
    wide = 4 * min(max(ratio, 1.0), 4.0)
    return layers + round(
        foreground.num_frames * background.height * background.width * (13 + wide)
    )


def reduced(records: Iterable[LayerRecord], settings: PrepareSettings) -> str:
    """How many videos are smaller than their files, or have fewer frames, and why; "" if none."""
    records = list(records)
    limits = []
    if any(record.scaled_down for record in records):
        limits.append(f"--max-side {settings.max_side}")
    if any(record.thinned for record in records):
        limits.append(f"--max-frames {settings.max_frames}")
    if not limits:
        return ""
    count = sum(record.scaled_down or record.thinned for record in records)
    return (
        f"{count} of {len(records)} videos are smaller or have fewer frames than their files: their"
        f" layers were made with {' and '.join(limits)}"
    )


def reason_kind(reason: str) -> str:
    """The kind of a reason that `unfit_reasons` gave, such as "mask too small"."""
    return reason.partition(":")[0]


def unfit_rows(records: Iterable[LayerRecord]) -> list[tuple[str, str, str]]:
    """(video id, "foreground" or "background", reason) of all that is unfit, in their order."""
    return [
        (record.id, side, reason)
        for record in records
        for side, reason in (
            ("foreground", record.foreground_unfit),
            ("background", record.background_unfit),
        )
        if reason
    ]


def unfit_counts(records: Iterable[LayerRecord]) -> str:
    """How many videos are unfit and why, in one line: most frequent first; "" when none is.

    Each kind of reason has one example, where it is named first.
    """
    sides: dict[str, Counter[str]] = {"foreground": Counter(), "background": Counter()}
    examples: dict[str, str] = {}
    for video_id, side, reason in unfit_rows(records):
        kind, _, particulars = reason.partition(": ")
        sides[side][kind] += 1
        examples.setdefault(kind, f", such as {video_id}: {particulars}")
    return "; ".join(
        f"{counts.total()} as {side} ("
        + "; ".join(
            f"{kind}: {count}{examples.pop(kind, '')}" for kind, count in counts.most_common()
        )
        + ")"
        for side, counts in sides.items()
        if counts
    )
