"""Jointed figures: an actor's body and clothes, and how a pose of it is drawn."""

from __future__ import annotations

import cmath
import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from l2a.demo.motions import Pose

Colour = tuple[int, int, int]

_OVERSAMPLE = 2
_SUBPIXEL_BITS = 4
"""Binary places of OpenCV's fixed-point coordinates: a figure moves by sixteenths of a pixel."""

_SKINS: tuple[Colour, ...] = ((244, 208, 177), (222, 171, 127), (186, 129, 88), (126, 80, 54))
_HAIRS: tuple[Colour, ...] = ((40, 30, 26), (96, 62, 36), (196, 156, 88), (150, 148, 146))
_SHIRTS: tuple[Colour, ...] = ((250, 246, 240), (255, 208, 40), (255, 96, 60), (70, 225, 250))
_TROUSERS: tuple[Colour, ...] = ((28, 30, 36), (30, 36, 84), (78, 34, 30))
_WOOD, _STEEL, _ORANGE, _YELLOW = (150, 104, 60), (92, 96, 104), (236, 120, 40), (240, 226, 70)
_PROPS = ("nothing", "ball", "nothing", "stick", "nothing")


@dataclass(frozen=True, slots=True)
class Actor:
    """One person. All clips of a group show the same one.

    Attributes:
        height: of the body, as a share of the frame's height.
        build: thickness of limbs and trunk, 1 on average.
        legs: length of the legs in body heights.
        side: 1 when the hand on the picture's right leads, -1 when the one on its left does.
        skin, hair, shirt, trousers, shoes: RGB.
        long_sleeves, long_trousers, long_hair: the cut.
        prop: what the leading hand holds when the action does not say: "nothing", "ball", "stick".
    """

    height: float
    build: float
    legs: float
    side: int
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    long_sleeves: bool
    long_trousers: bool
    long_hair: bool
    prop: str


def cast_actor(number: int, rng: np.random.Generator) -> Actor:
    """An actor with a body from `rng`, and with clothes and a prop in turn by `number`.

    The actors of every class are numbered alike: were their shirts drawn at random, a few dozen
    videos would be learnt by the shirts.
    """
    return Actor(
        height=float(rng.uniform(0.64, 0.72)),
        build=float(rng.uniform(0.92, 1.15)),
        legs=float(rng.uniform(0.45, 0.49)),
        side=int(rng.choice([-1, 1])),
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        shirt=_SHIRTS[number % len(_SHIRTS)],
        trousers=_TROUSERS[number % len(_TROUSERS)],
        shoes=_rgb(*rng.uniform(20, 240, 3).tolist()),
        long_sleeves=bool(rng.random() < 0.5),
        long_trousers=bool(rng.random() < 0.7),
        long_hair=bool(rng.random() < 0.4),
        prop=_PROPS[number % len(_PROPS)],
    )


def draw_figure(
    size: tuple[int, int],
    actor: Actor,
    pose: Pose,
    prop: str,
    ground: complex,
    stride: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw one actor in one pose.

    Args:
        size: (height, width) of the frame.
        actor: who.
        pose: what, by `l2a.demo.motions`.
        prop: what the leading hand holds: "hammer", "stick", "ball", "nothing".
        ground: x + y j in pixels, below the hips, where the feet stand.
        stride: phase (0..1) of the steps with which the actor walks.

    Returns:
        Colour float32 [H, W, 3], 0..255, already times the coverage; coverage float32 [H, W, 1],
        0..1. A frame with the figure is `colour + (1 - coverage) * background`.
    """
    pen = _Pen(size, actor.height * size[0], ground)
    hips = actor.side * pose.sway + (pose.crouch - pose.jump - actor.legs) * 1j
    shoulders = hips - 0.30j + actor.side * pose.lean
    _draw_legs(pen, actor, pose, hips, stride)
    _draw_trunk(pen, actor, hips, shoulders)
    _draw_head(pen, actor, shoulders)
    _draw_arm(pen, actor, shoulders, pose.other, -actor.side, "nothing")
    _draw_arm(pen, actor, shoulders, pose.active, actor.side, prop)
    for ball in pose.balls:
        pen.dot(shoulders + _mirrored(ball, actor.side), 0.10, _YELLOW)
    if pose.rope is not None:
        _draw_rope(pen, shoulders, pose, pose.rope)
    return pen.picture()


class _Pen:
    """Draws in body heights on an oversampled RGBA canvas."""

    def __init__(self, size: tuple[int, int], scale: float, ground: complex) -> None:
        self._size = size
        self._canvas = np.zeros((size[0] * _OVERSAMPLE, size[1] * _OVERSAMPLE, 4), np.uint8)
        self._scale = scale * _OVERSAMPLE
        self._ground = ground * _OVERSAMPLE

    def limb(self, start: complex, end: complex, thickness: float, colour: Colour) -> None:
        """A stroke with round ends."""
        width = max(1, round(thickness * self._scale))
        ends = self._at(start), self._at(end)
        cv2.line(self._canvas, *ends, (*colour, 255), width, cv2.LINE_8, _SUBPIXEL_BITS)

    def dot(self, centre: complex, thickness: float, colour: Colour) -> None:
        """A disc."""
        self.limb(centre, centre, thickness, colour)

    def shape(self, corners: list[complex], colour: Colour) -> None:
        """A filled polygon."""
        points = np.array([self._at(corner) for corner in corners], np.int32)
        cv2.fillPoly(self._canvas, [points], (*colour, 255), cv2.LINE_8, _SUBPIXEL_BITS)

    def picture(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Colour times coverage [H, W, 3], and coverage [H, W, 1]."""
        height, width = self._size
        small = cv2.resize(self._canvas, (width, height), interpolation=cv2.INTER_AREA)
        picture = small.astype(np.float32)
        return picture[:, :, :3], picture[:, :, 3:] / 255

    def _at(self, point: complex) -> tuple[int, int]:
        fine = (self._ground + point * self._scale) * (1 << _SUBPIXEL_BITS)
        return round(fine.real), round(fine.imag)


def _draw_legs(pen: _Pen, actor: Actor, pose: Pose, hips: complex, stride: float) -> None:
    bone = actor.legs * 0.493
    for side, trousers in ((-1, _shade(actor.trousers, 0.85)), (1, actor.trousers)):
        step = cmath.exp(1j * (math.tau * stride + side * math.pi / 2))
        walked = 0.02 * step.real - 0.03j * max(0.0, step.imag)
        foot = _mirrored(pose.foot, side) - (pose.jump + 0.02) * 1j + walked
        hip = hips + side * 0.06
        knee = _bend(hip, foot, bone, towards=complex(side))
        pen.limb(knee, foot, 0.07 * actor.build, trousers if actor.long_trousers else actor.skin)
        pen.limb(hip, knee, 0.098 * actor.build, trousers)
        pen.limb(foot, foot + side * 0.035, 0.05, actor.shoes)


def _draw_trunk(pen: _Pen, actor: Actor, hips: complex, shoulders: complex) -> None:
    waist, chest = 0.098 * actor.build, 0.132 * actor.build
    low, high = hips + 0.03j, shoulders + 0.01j
    pen.shape([low - waist, low + waist, high + chest, high - chest], actor.shirt)
    pen.limb(high - chest * 0.8, high + chest * 0.8, 0.07, actor.shirt)
    pen.limb(low - waist * 0.7, low + waist * 0.7, 0.06, actor.trousers)


def _draw_head(pen: _Pen, actor: Actor, shoulders: complex) -> None:
    head = shoulders - 0.125j
    if actor.long_hair:
        pen.limb(head, head + 0.085j, 0.155, actor.hair)
    pen.limb(shoulders, head, 0.06, _shade(actor.skin, 0.85))
    pen.dot(head - 0.02j, 0.16, actor.hair)
    pen.limb(head + 0.002j, head + 0.02j, 0.12, actor.skin)


def _draw_arm(
    pen: _Pen, actor: Actor, shoulders: complex, reach: complex, side: int, prop: str
) -> None:
    shoulder = shoulders + side * 0.115 * actor.build + 0.025j
    hand = shoulder + _mirrored(reach, side)
    elbow = _bend(shoulder, hand, 0.174, towards=side * 0.5 + 1j)
    cloth = _shade(actor.shirt, 0.82)
    pen.limb(shoulder, elbow, 0.072 * actor.build, cloth)
    pen.limb(elbow, hand, 0.058 * actor.build, cloth if actor.long_sleeves else actor.skin)
    if prop == "ball":
        pen.dot(hand, 0.095, _ORANGE)
    elif prop in ("stick", "hammer"):
        # Across the forearm, as one holds a hammer.
        along = cmath.exp(1j * (cmath.phase(hand - elbow) - side * 0.9))
        end = hand + (0.22 if prop == "hammer" else 0.17) * along
        pen.limb(hand, end, 0.03, _WOOD)
        if prop == "hammer":
            pen.limb(end - 0.05j * along, end + 0.05j * along, 0.085, _STEEL)
    pen.dot(hand, 0.064, actor.skin)


def _draw_rope(pen: _Pen, shoulders: complex, pose: Pose, turn: float) -> None:
    """A skipping rope: a parabola from hand to hand, above the head, or below the feet."""
    left, right = (
        shoulders + side * 0.115 + 0.025j + _mirrored(pose.active, side) for side in (-1, 1)
    )
    middle = (-0.58 - 0.62 * math.cos(math.tau * turn)) * 1j
    pull = 2 * middle - (left + right) / 2
    parts = [k / 16 for k in range(17)]
    points = [left * (1 - t) ** 2 + 2 * pull * t * (1 - t) + right * t**2 for t in parts]
    for start, end in itertools.pairwise(points):
        pen.limb(start, end, 0.03, _YELLOW)


def _bend(start: complex, end: complex, bone: float, towards: complex) -> complex:
    """The middle joint of a limb of two equal bones, on the side that points `towards`.

    A distance that the bones cannot span is met half way: the limb is drawn stretched.
    """
    half = (end - start) / 2
    if half == 0:
        return start + bone * towards / abs(towards)
    normal = 1j * half / abs(half)
    if (normal * towards.conjugate()).real < 0:
        normal = -normal
    return start + half + normal * math.sqrt(max(bone**2 - abs(half) ** 2, 0.0))


def _mirrored(point: complex, side: int) -> complex:
    return complex(side * point.real, point.imag)


def _shade(colour: Colour, factor: float) -> Colour:
    return _rgb(*(factor * channel for channel in colour))


def _rgb(red: float, green: float, blue: float) -> Colour:
    return round(red), round(green), round(blue)
