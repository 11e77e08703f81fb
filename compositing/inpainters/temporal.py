"""`temporal`: what is behind the actor is often to be seen in another frame.

The frames of a shot are brought into one reference picture (camera motion removed), and every place
takes the median of what it showed while no actor stood there: the plate. Holes are filled from it.
Places that never were free are made up once, in the plate, so that they do not flicker, and so that
a slow spatial inpainter is asked once per shot and not in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.alignment import Shot, find_shots, masked_median
from compositing.inpainters.base import Inpainted, Inpainter
from compositing.inpainters.spatial import box_around, fill_smoothly
from compositing.networks import is_network, to_device

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

MAX_SAMPLES = 48
"""Frames of a shot that the plate is made of, at most: bounds time and memory."""
NEAR = 8
"""Under a moving camera a hole is filled from frames at most this far away, where they suffice."""
GUARD = 0.02
"""Share of the frame's height: pixels closer to a hole are used only where nothing else was seen,
because masks miss limbs, and shadows lie next to them."""
SIGHTINGS = 3
"""A place seen less often (in a shot long enough to ask) more likely shows a limb that the mask
missed than what is behind it."""
MAX_TINT = 24.0
"""Grey levels by which the plate may be brightened or darkened to meet the frame around a hole."""


class TemporalInpainter:
    """Fills holes with what other frames of the same shot showed in the same place.

    Args:
        spatial: makes up what none of them showed; None fills it smoothly.
    """

    uses_other_frames = True

    def __init__(self, spatial: Inpainter | None = None) -> None:
        self.spatial = spatial

    @property
    def identity(self) -> str:
        """See `Inpainter`."""
        own = (
            f"temporal 2 samples {MAX_SAMPLES} near {NEAR} sightings {SIGHTINGS}"
            f" guard {GUARD} tint {MAX_TINT}"
        )
        return f"{own}, {self.spatial.identity}" if self.spatial else own

    @property
    def uses_network(self) -> bool:
        """Whether the spatial inpainter is a network."""
        return is_network(self.spatial)

    def to_device(self, device: str, frames_at_once: int) -> None:
        """See `OnDevice`: it is the spatial inpainter that may be a network."""
        to_device(self.spatial, device, frames_at_once)

    def __call__(self, frames: UInt8, holes: Bool) -> Inpainted:
        """Fill the holes; `unseen` are those pixels that were a hole whenever they were in view."""
        filled, unseen = frames.copy(), np.zeros_like(holes)
        if not holes.any():
            return Inpainted(filled, unseen)
        for shot in find_shots(frames, holes):
            part = slice(shot.start, shot.stop)
            if holes[part].any():
                samples = _look(shot, frames[part], holes[part], self.spatial)
                _fill(shot, samples, filled[part], holes[part], unseen[part])
        return Inpainted(filled, unseen)


@dataclass(frozen=True, slots=True)
class _ShotSamples:
    """What S frames of a shot show of the P places in the reference that matter.

    Attributes:
        numbers: int64 [S], the frames, counted from the shot's start.
        wanted: bool [h, w], the P places: all holes with the ring around them.
        colours: uint8 [S, 3, P].
        usable: bool [S, P], in view and not in a hole (nor close to one, if that leaves enough).
        plate: uint8 [h, w, 3], the median of each place's usable samples; made up where not seen.
        seen: bool [h, w].
    """

    numbers: NDArray[np.int64]
    wanted: Bool
    colours: UInt8
    usable: Bool
    plate: UInt8
    seen: Bool

    def near(self, frame: int, places: Bool) -> UInt8:
        """The plate as it looked around `frame`, updated where `places` (bool [h, w]) says.

        The camera's path is known best over short times: samples from afar would blur.
        """
        close = np.flatnonzero(np.abs(self.numbers - frame) <= NEAR)[::2]
        if not len(close):
            return self.plate.copy()  # of a long shot, whose samples lie far apart
        places = places & self.wanted & self.seen
        columns = np.flatnonzero(places[self.wanted])
        median, counts = masked_median(
            self.colours[close[:, None, None], np.arange(3)[:, None], columns],
            self.usable[close[:, None], columns],
        )
        plate = self.plate.copy()
        plate[places] = np.where(counts >= SIGHTINGS, median, self.plate[places].T).T
        return plate


def _look(shot: Shot, frames: UInt8, holes: Bool, spatial: Inpainter | None) -> _ShotSamples:
    """Look at the shot's frames (uint8 [n, H, W, 3]) around their holes (bool [n, H, W])."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, MAX_SAMPLES).round().astype(np.int64))
    reach = max(1, round(GUARD * frames.shape[1]))
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inside = np.full(frames.shape[1:3], 255, np.uint8)
    needed = _needed(shot, holes)
    ring = _ring(holes.shape[1])
    wanted = cv2.dilate(needed.astype(np.uint8), np.ones((2 * ring + 1,) * 2, np.uint8)) > 0
    places = int(wanted.sum())
    colours = np.empty((len(chosen), 3, places), np.uint8)
    free, clear = np.empty((2, len(chosen), places), np.bool_)
    plate = np.zeros((*shot.size, 3), np.uint8)
    seen = np.zeros(shot.size, np.bool_)
    for row, t in enumerate(chosen.tolist()):
        hole = holes[t].astype(np.uint8) * 255
        picture = shot.into_reference(t, frames[t])
        # Fully inside the frame and fully outside the hole: a blend of both would be a halo.
        view = shot.into_reference(t, inside) == 255
        away = view & (shot.into_reference(t, hole) == 0)
        colours[row] = picture[wanted].T
        free[row] = away[wanted]
        clear[row] = (view & (shot.into_reference(t, cv2.dilate(hole, wide)) == 0))[wanted]
        # Elsewhere the plate only surrounds what has to be made up: any frame's view will do.
        fresh = away & ~seen
        plate[fresh] = picture[fresh]
        seen |= away
    enough = min(SIGHTINGS, 1 + len(chosen) // 8)
    usable = np.where(clear.sum(axis=0) >= enough, clear, free)
    median, counts = masked_median(colours, usable)
    plate[wanted] = median.T
    seen[wanted] = counts >= enough
    filled = fill_smoothly(plate, seen)
    if spatial is not None:
        _make_up(filled, needed & ~seen, frames.shape[1] // 2, spatial)
    return _ShotSamples(chosen, wanted, colours, usable, filled, seen)


def _needed(shot: Shot, holes: Bool) -> Bool:
    """The places of the reference that some hole covers, a pixel touched by one included."""
    needed = np.zeros(shot.size, np.uint8)
    for t, hole in enumerate(holes):
        np.maximum(needed, shot.into_reference(t, hole.astype(np.uint8) * 255), out=needed)
    return needed > 0


def _make_up(plate: UInt8, places: Bool, margin: int, spatial: Inpainter) -> None:
    """Let a spatial inpainter fill `places` of a plate, in place.

    It sees `margin` pixels around them: under a moving camera the plate is larger than any frame,
    and its corners are of no use to anyone.
    """
    box = box_around(places, margin)
    if places.any() and not places[box].all():
        plate[box] = spatial(plate[box][None], places[box][None]).frames[0]


def _ring(height: int) -> int:
    return max(2, height // 30)


def _fill(shot: Shot, samples: _ShotSamples, frames: UInt8, holes: Bool, unseen: Bool) -> None:
    """Fill the holes of `frames` in place, and note in `unseen` what was made up."""
    size = frames.shape[1:3]
    made_up = (~samples.seen).astype(np.uint8) * 255
    square = np.ones((2 * _ring(size[0]) + 1,) * 2, np.uint8)
    for t, hole in enumerate(holes):
        if not hole.any():
            continue
        ring = cv2.dilate(hole.astype(np.uint8) * 255, square)
        plate = samples.plate
        if not shot.still:
            plate = samples.near(t, shot.into_reference(t, ring) > 0)
        left, top, width, height = cv2.boundingRect(ring)
        box = np.s_[top : top + height, left : left + width]
        behind = shot.from_reference(t, plate, size)[box]
        hidden = shot.from_reference(t, made_up, size)[box] > 127
        around = (ring[box] > 0) & ~hole[box] & ~hidden
        tinted = _match_light(behind, frames[t][box], around)
        frames[t][box][hole[box]] = tinted[hole[box]]
        unseen[t][box] = hole[box] & hidden


def _match_light(behind: UInt8, frame: UInt8, around: Bool) -> UInt8:
    """Tint the plate so that it meets the frame around the hole: exposure and light change.

    The difference, frame minus plate, is spread from `around` into the hole by wide averages; it
    is bounded, so that a limb that the mask missed does not colour the hole.
    """
    apart = cv2.absdiff(frame, behind)
    apart = cv2.max(cv2.max(apart[:, :, 0], apart[:, :, 1]), apart[:, :, 2])
    weight = (around & (apart < MAX_TINT)).astype(np.float32)
    difference = cv2.subtract(frame, behind, dtype=cv2.CV_32F)
    size = (max(1, frame.shape[1] // 8), max(1, frame.shape[0] // 8))
    small = np.dstack(
        [
            cv2.resize(difference * weight[:, :, None], size, interpolation=cv2.INTER_AREA),
            cv2.resize(weight, size, interpolation=cv2.INTER_AREA),
        ]
    )
    spread = np.zeros_like(small)
    for reach in (27, 9, 3):
        near = cv2.blur(small, (reach, reach), borderType=cv2.BORDER_CONSTANT)
        spread = 0.02 * spread + near  # wide averages count only where no narrow one reaches
    tint = spread[:, :, :3] / np.maximum(spread[:, :, 3:], 1e-9)
    tint = cv2.resize(tint, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(behind, tint, dtype=cv2.CV_8U), np.uint8)
