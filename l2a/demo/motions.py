"""Six actions as movements of hands, feet and hips, with one pose for every moment.

Points are complex numbers in body heights: the real part goes to the right, the imaginary part
DOWN, as in an image. Hands are given from the shoulders and feet from the point on the ground below
the hips, for the right-hand side of the picture; the figure mirrors them for the left.

The actions share their poses: hands above the head belong to four of them, standing upright with
the hands low to all. What tells them apart is how they continue from there.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HANGING = 0.05 + 0.335j


@dataclass(frozen=True, slots=True)
class Pose:
    """One moment of a body that faces the camera.

    Attributes:
        active: the leading hand, from its shoulder.
        other: the other hand, from its shoulder.
        foot: the right foot, from the ground below the hips; the left one mirrors it.
        crouch: how far the hips are lowered.
        jump: how far the whole body is off the ground.
        sway: how far the hips are shifted towards the active hand.
        lean: how far the shoulders are ahead of the hips, towards the active hand.
        balls: balls in the air, from the middle of the shoulders.
        rope: None, or the turn (0..1, 0 above the head) of a skipping rope between the hands.
    """

    active: complex = HANGING
    other: complex = HANGING
    foot: complex = 0.07
    crouch: float = 0.0
    jump: float = 0.0
    sway: float = 0.0
    lean: float = 0.0
    balls: tuple[complex, ...] = ()
    rope: float | None = None


@dataclass(frozen=True, slots=True)
class Motion:
    """An action: its pose at every phase, how long a repetition takes, where it is at home.

    Attributes:
        pose: phase (0..1, cyclic) ─► pose.
        seconds: the shortest and the longest repetition.
        home: the kind of scene in which the training videos show it.
        prop: what the leading hand always holds: "hammer", "nothing", or "" for what the actor has.
    """

    pose: Callable[[float], Pose]
    seconds: tuple[float, float]
    home: str
    prop: str = ""


def _swing(phase: float) -> float:
    """0 at the start, 1 half way, 0 at the end."""
    return 0.5 - 0.5 * math.cos(math.tau * phase)


def _stretched(turn: float) -> complex:
    """The hand of a stretched arm: 0 hangs, 0.5 points up, on the way it points outwards."""
    return 0.34j * cmath.exp(-1j * math.tau * turn)


def _dancing(phase: float) -> Pose:
    side = math.sin(math.tau * phase)
    return Pose(
        active=_stretched(0.46 - 0.09 * side),
        other=_stretched(0.46 + 0.09 * side),
        foot=0.12,
        sway=0.08 * side,
        lean=0.10 * side,
        crouch=0.04 * side * side,
    )


def _hammering(phase: float) -> Pose:
    # Three quarters of the time go into lifting the hammer; the blow is short.
    lifted = _swing(phase / 1.5) if phase < 0.75 else 1 - _swing((phase - 0.75) * 2)
    blow = 1 - lifted
    return Pose(
        active=_stretched(0.08 + 0.40 * lifted),
        other=(0.02 - 0.22 * blow) + (0.28 * blow - 0.20 * lifted) * 1j,
        foot=0.11,
        lean=0.14 * blow,
        crouch=0.12 * blow,
    )


def _juggling(phase: float) -> Pose:
    def ball(flight: float) -> complex:
        part = flight % 1
        side = 1 if flight % 2 < 1 else -1  # to the other hand, and back
        return side * (0.20 - 0.40 * part) + (0.14 - 2.4 * part * (1 - part)) * 1j

    beat = 0.07j * math.sin(2 * math.tau * phase)
    return Pose(
        active=0.08 + 0.18j + beat,
        other=0.08 + 0.18j - beat,
        balls=(ball(2 * phase), ball(2 * phase + 2 / 3), ball(2 * phase + 4 / 3)),
    )


def _jumping_jack(phase: float) -> Pose:
    spread = _swing(phase)
    hand = _stretched(0.03 + 0.43 * spread)
    jump = 0.05 * abs(math.sin(math.tau * phase))
    return Pose(active=hand, other=hand, foot=0.06 + 0.15 * spread, jump=jump)


def _skipping_rope(phase: float) -> Pose:
    hand = 0.13 + 0.22j + 0.03 * cmath.exp(1j * math.tau * phase)
    in_the_air = max(0.0, -math.cos(math.tau * phase))  # when the rope is below
    return Pose(active=hand, other=hand, foot=0.04, jump=0.16 * in_the_air, rope=phase)


def _squatting(phase: float) -> Pose:
    down = _swing(phase)
    hand = (0.05 - 0.09 * down) + (0.335 - 0.22 * down) * 1j
    return Pose(active=hand, other=hand, foot=0.12, crouch=0.25 * down)


MOTIONS: Mapping[str, Motion] = {
    "Dancing": Motion(_dancing, (0.95, 1.2), home="stage"),
    "Hammering": Motion(_hammering, (0.95, 1.2), home="workshop", prop="hammer"),
    "Juggling": Motion(_juggling, (1.0, 1.3), home="forest", prop="nothing"),
    "JumpingJack": Motion(_jumping_jack, (0.8, 1.0), home="beach"),
    "SkippingRope": Motion(_skipping_rope, (0.6, 0.75), home="street", prop="nothing"),
    "Squatting": Motion(_squatting, (1.0, 1.3), home="gym"),
}
"""Class name ─► motion, sorted by name."""
