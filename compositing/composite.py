"""Composites: the foreground of one video on the emptied background of another, whole and in time.

This is the way for export and for pictures: every frame of the layers, at the background's size.
Training takes short clips of one size out of a bank (`train/batches.py`); the pixels and the label
of a pair are made by the same function (`pair.composite_pair`).
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compositing.layers import Background, Foreground, Layers
from compositing.pair import Side, composite_pair
from compositing.placement import placement_of_pair
from compositing.settings import CompositeSettings
from l2a.files import fingerprint
from l2a.runs import versions

Taken = TypeVar("Taken", bound=Layers | Foreground)


@dataclass(frozen=True, slots=True)
class Composite:
    """The clip made of a pair, what its mixed label needs, and where it came from.

    Attributes:
        frames: Ṽ, uint8 [T, H, W, 3], RGB: the foreground's frames in the background's size, at a
            constant rate (`steady`).
        fps: frames per second, the foreground's on average.
        lam: λ, the foreground class's share of the label, in 0..1 (`labels.mix_labels`).
        gamma: γ, the share of the clip in which the foreground is really seen, in 0..1: where it
            was placed, with soft edges counted by their weight.
        provenance: what made it, as JSON can hold it: foreground, background, foreground_class,
            background_class, omega, lam, gamma, seed, placement (None where nothing was moved),
            ratio (of the foreground's aspect ratio to the background's: 1 where pixel lies on
            pixel), every field of the settings, settings (their fingerprint), versions.
    """

    frames: NDArray[np.uint8]
    fps: float
    lam: float
    gamma: float
    provenance: dict[str, Any]


def make_composite(
    foreground: Layers | Foreground,
    background: Layers | Background,
    settings: CompositeSettings,
    *,
    omega: float | None = None,
    seed: int | None = None,
) -> Composite:
    """Composite a pair: all frames of the foreground, in the size of the background.

    Where both have one aspect ratio, a pixel of one lies on the pixel of the other, as in the
    paper; else the foreground is fitted by its height (`fitting.fit_foreground`). From there it is
    placed. The background plays forwards and backwards for as long as the foreground lasts
    (`ping_pong`). Where the foreground's frames are spaced unevenly, they are taken at a constant
    rate (`steady`), so that the clip plays at the right speed. The placement follows from `seed`
    and the pair alone, so that composites can be made in any order.

    Args:
        foreground: of V_f.
        background: of V_b; its mask is used to know how much was removed there (label rule
            actor).
        settings: the label rule and α, the blend, and how far placements go.
        omega: ω of the pair, for the provenance.
        seed: of the run that chose the pair; None draws the placement of seed 0.
    """
    foreground = steady(foreground)
    shown = ping_pong(foreground.times, background.times)
    canvas = background.background[shown]
    placement = placement_of_pair(settings, seed, foreground.video.id, background.video.id)
    side_f = Side(foreground.frames, foreground.mask)
    side_b = Side(canvas, background.mask[shown])
    made = composite_pair(side_f, side_b, settings, placement=placement, out=canvas)
    provenance = {
        "foreground": foreground.video.id,
        "background": background.video.id,
        "foreground_class": foreground.video.label,
        "background_class": background.video.label,
        "omega": omega,
        "lam": made.lam,
        "gamma": made.visible,
        "seed": seed,
        "placement": placement.record(),
        "ratio": round(side_f.shape / side_b.shape, 6),
        **asdict(settings),
        "settings": fingerprint(settings),
        "versions": dict(_versions()),
    }
    return Composite(made.frames, foreground.fps, made.lam, made.visible, provenance)


def steady(layers: Taken) -> Taken:
    """A video's layers at a constant rate: as many frames, evenly spaced over the same time.

    At each moment the frame nearest in time is taken. Phones, screens and GIFs record a frame when
    something moves: played at their average rate they would run too slow there and too fast
    elsewhere, and who counts frames would look at other moments than training does.

    Args:
        layers: of a video, `Layers` or `Foreground`.

    Returns:
        The same where no frame lies more than a period of the average rate from its place: so it is
        at a constant rate, with rounded times, single frames lost, or thinned to fewer frames.
    """
    times = layers.times
    if is_steady(times):
        return layers
    even = _evenly(times)
    shown = ping_pong(even, times)
    taken = replace(layers, frames=layers.frames[shown], mask=layers.mask[shown], times=even)
    if isinstance(taken, Layers):
        return replace(taken, background=taken.background[shown])
    return taken


def is_steady(times: NDArray[np.float64]) -> bool:
    """Whether `steady` leaves frames of these times (float64 [T], seconds, from 0) as they are."""
    off = np.abs(times - _evenly(times)).max()
    return bool(off * (len(times) - 1) <= times[-1])


def _evenly(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linspace(0, times[-1], len(times))


def ping_pong(
    foreground_times: NDArray[np.float64], background_times: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Which background frame stands behind each foreground frame.

    The background plays forwards, then backwards, then forwards again: 0, 1, …, n−1, n−2, …, 1, 0,
    1, … A jump back to its start would be a cut that no real video has. It plays at its own speed:
    where frame rates differ, the frame nearest in time is taken, the earlier one of two as near.

    Args:
        foreground_times: float64 [T], seconds, ascending from 0.
        background_times: float64 [n], seconds, strictly ascending from 0, n ≥ 1.

    Returns:
        int64 [T], values in 0..n−1.
    """
    last = background_times[-1]
    if last == 0:
        return np.zeros(len(foreground_times), np.int64)
    phase = np.mod(foreground_times, 2 * last)
    position = np.where(phase > last, 2 * last - phase, phase)
    middles = (background_times[1:] + background_times[:-1]) / 2
    # The margin makes rounding fall to the same side in every frame, so that motion stays even.
    margin = 1e-6 * np.diff(background_times).min()
    return np.searchsorted(middles + margin, position).astype(np.int64)


@functools.cache
def _versions() -> dict[str, str]:
    return versions()
