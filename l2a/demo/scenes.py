"""Six kinds of scene. Two recordings of one kind share its looks, not its colours and details."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]
"""float32 [H, W, 3], RGB, 0..255; the painters below draw into it."""

Colour = tuple[float, float, float]

_CONTRAST = 0.35
"""What the haze leaves of a scene's contrast: enough to know the place at a glance."""


def paint_scene(kind: str, size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """A scene without people.

    Args:
        kind: a key of `SCENES`.
        size: (height, width) in pixels.
        rng: two draws give two places of the same kind.

    Returns:
        float32 [H, W, 3], RGB, 0..255.
    """
    height, width = size
    picture = np.zeros((2 * height, 2 * width, 3), np.float32)
    SCENES[kind](picture, rng)
    light = rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3)  # time of day, white balance
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    # The camera is sharp on the actor, and there is haze before what lies behind: without it
    # a small network takes thousands of steps to see that somebody moves at all.
    picture = cv2.GaussianBlur(picture, (0, 0), height / 120)
    haze = picture.mean((0, 1))
    return np.clip((haze + _CONTRAST * (picture - haze)) * light.astype(np.float32), 0, 255)


def _beach(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    shore = int(h * rng.uniform(0.55, 0.65))
    sea = int(h * rng.uniform(0.32, 0.42))
    _gradient(p[:sea], (110, 175, 235), (205, 228, 245), rng)
    _gradient(p[sea:shore], (30, 110, 160), (90, 190, 200), rng)
    for _ in range(14):  # wave crests
        x, y = int(rng.integers(0, w)), int(rng.integers(sea + 4, shore))
        cv2.line(p, (x, y), (x + int(rng.integers(10, 50)), y), (215, 235, 240), 1)
    _gradient(p[shore:], (238, 214, 160), (222, 190, 130), rng)
    _grain(p[shore:], rng, 14, 3)
    x, y = int(rng.integers(20, w - 20)), int(rng.integers(12, sea - 16))
    cv2.circle(p, (x, y), 12, (255, 244, 190), -1)
    x, tall = int(rng.choice([0.12, 0.88]) * w) + int(rng.integers(-15, 16)), int(0.34 * h)
    colour = _vary((225, 60, 60), rng, 70)
    cv2.line(p, (x, shore + 30), (x, shore + 30 - tall), (240, 240, 235), 4)
    cv2.ellipse(p, (x, shore + 34 - tall), (42, 26), 0, 180, 360, colour, -1)
    sail = int(rng.integers(30, w - 30))
    corners = [(sail, sea - 26), (sail, sea), (sail + 16, sea)]
    cv2.fillPoly(p, [np.array(corners, np.int32)], (250, 250, 250))


def _gym(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    floor = int(h * rng.uniform(0.58, 0.66))
    _gradient(p[:floor], (196, 204, 214), (170, 180, 194), rng)
    cv2.rectangle(p, (0, floor - 44), (w, floor), _vary((60, 100, 170), rng, 40), -1)
    _boards(p[floor:], (206, 160, 102), rng)
    left = int(rng.integers(10, w // 3))
    for k in range(10):  # wall bars
        y = 16 + k * (floor - 30) // 10
        cv2.line(p, (left, y), (left + 80, y), (150, 106, 60), 4)
    for x in (left, left + 40, left + 80):
        cv2.line(p, (x, 8), (x, floor), (126, 86, 48), 5)
    x = int(rng.integers(w // 2, w - 60))
    cv2.rectangle(p, (x, 30), (x + 46, 70), (250, 250, 250), 3)
    cv2.ellipse(p, (x + 23, 78), (16, 5), 0, 0, 360, (235, 90, 40), 3)  # basket
    bright = _vary((60, 170, 120), rng, 60)
    y = int(h * rng.uniform(0.8, 0.9))
    cv2.fillPoly(p, [np.array([(0, y), (w, y - 20), (w, y - 8), (0, y + 12)], np.int32)], bright)


def _forest(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    floor = int(h * rng.uniform(0.56, 0.64))
    _gradient(p[:floor], (150, 190, 130), (60, 110, 60), rng)
    _grain(p[:floor], rng, 40, 16)
    _gradient(p[floor:], (84, 128, 52), (58, 92, 36), rng)
    _grain(p[floor:], rng, 30, 6)
    for x in np.sort(rng.integers(0, w, 7)).tolist():
        thick, bark = int(rng.integers(8, 22)), _vary((92, 66, 44), rng, 20)
        foot = floor + int(rng.integers(0, 30))
        cv2.line(p, (x, 0), (x + int(rng.integers(-8, 9)), foot), bark, thick)
    for _ in range(26):  # foliage
        x, y = int(rng.integers(0, w)), int(rng.integers(0, h // 4))
        cv2.circle(p, (x, y), int(rng.integers(8, 22)), _vary((58, 122, 48), rng, 30), -1)
    for _ in range(6):  # bushes
        x, y = int(rng.integers(0, w)), floor + int(rng.integers(-4, 12))
        cv2.ellipse(p, (x, y), (26, 14), 0, 180, 360, _vary((40, 96, 40), rng, 20), -1)


def _street(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    kerb = int(h * rng.uniform(0.6, 0.66))
    _gradient(p[:kerb], (190, 206, 226), (220, 226, 232), rng)
    x = -int(rng.integers(0, 40))
    while x < w:
        wide, top = int(rng.integers(60, 110)), int(rng.integers(0, h // 4))
        cv2.rectangle(p, (x, top), (x + wide, kerb), _vary((168, 112, 92), rng, 45), -1)
        lit = _vary((70, 84, 104), rng, 25)
        for wx in range(x + 10, x + wide - 16, 24):
            for wy in range(top + 10, kerb - 30, 30):
                cv2.rectangle(p, (wx, wy), (wx + 12, wy + 18), lit, -1)
        x += wide
    _gradient(p[kerb:], (160, 160, 162), (120, 120, 124), rng)
    road = int(h * 0.78)
    _gradient(p[road:], (78, 80, 86), (66, 68, 74), rng)
    _grain(p[kerb:], rng, 8, 2)
    for x in range(int(rng.integers(-40, 0)), w, 64):
        cv2.rectangle(p, (x, int(h * 0.88)), (x + 34, int(h * 0.88) + 6), (235, 232, 214), -1)
    x = int(rng.choice([0.1, 0.9]) * w + rng.integers(-10, 11))
    cv2.line(p, (x, kerb + 16), (x, int(0.12 * h)), (48, 54, 60), 5)
    cv2.circle(p, (x, int(0.12 * h)), 9, (255, 236, 170), -1)
    x, paint = int(rng.integers(0, w - 90)), _vary((190, 50, 50), rng, 70)  # a parked car
    cv2.rectangle(p, (x, road - 34), (x + 90, road - 12), paint, -1)
    cv2.rectangle(p, (x + 18, road - 50), (x + 70, road - 34), _vary((120, 150, 170), rng, 15), -1)
    for wheel in (x + 18, x + 72):
        cv2.circle(p, (wheel, road - 10), 9, (30, 30, 32), -1)


def _workshop(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    floor = int(h * rng.uniform(0.64, 0.7))
    _gradient(p[:floor], (150, 128, 104), (128, 106, 84), rng)
    top, bottom = int(h * 0.08), int(h * 0.42)
    cv2.rectangle(p, (14, top), (w - 14, bottom), _vary((204, 176, 130), rng, 18), -1)
    for x in range(22, w - 20, 12):  # pegs
        for y in range(top + 6, bottom, 12):
            p[y, x] = (110, 84, 56)
    for x in range(30, w - 30, 34):  # tools
        x += int(rng.integers(-6, 7))
        y, long = top + int(rng.integers(8, 20)), int(rng.integers(26, 50))
        cv2.line(p, (x, y), (x, y + long), _vary((120, 60, 50), rng, 60), 5)
        cv2.line(p, (x - 9, y), (x + 9, y), _vary((96, 100, 108), rng, 20), 7)
    _gradient(p[floor:], (112, 110, 108), (92, 90, 88), rng)
    _grain(p[floor:], rng, 16, 4)
    bench = int(h * rng.uniform(0.52, 0.58))
    wood = _vary((142, 92, 50), rng, 20)
    cv2.rectangle(p, (0, bench), (w, bench + 12), wood, -1)
    for x in range(int(rng.integers(10, 40)), w, 90):
        cv2.rectangle(p, (x, bench + 12), (x + 12, floor + 14), _darker(wood), -1)
    for _ in range(4):  # boxes and tins
        x, tall = int(rng.integers(0, w - 30)), int(rng.integers(10, 26))
        colour = _vary((130, 120, 110), rng, 80)
        cv2.rectangle(p, (x, bench - tall), (x + int(rng.integers(12, 30)), bench), colour, -1)


def _stage(p: Picture, rng: np.random.Generator) -> None:
    h, w = p.shape[:2]
    floor = int(h * rng.uniform(0.6, 0.68))
    cloth = np.array(_vary((150, 24, 40), rng, 26), np.float32)
    x = np.arange(w)
    fold = rng.uniform(14, 24)
    folds = 0.7 + 0.3 * np.sin(x / fold * np.pi + 0.6 * np.sin(x / 37 + rng.uniform(0, 6)))
    p[:floor] = cloth * folds[None, :, None].astype(np.float32)
    valance = int(h * 0.1)
    for k in range(-1, w // 40 + 2):
        at = (k * 40 + int(rng.integers(0, 6)), valance)
        cv2.ellipse(p, at, (24, 16), 0, 0, 180, tuple(map(float, cloth * 0.75)), -1)
    p[:valance] = cloth * 0.75
    _boards(p[floor:], (116, 76, 48), rng)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    centre = rng.uniform(0.35, 0.65) * w
    spot = np.exp(-(((x - centre) / (0.3 * w)) ** 2) - ((y - 0.6 * h) / (0.5 * h)) ** 2)
    p *= (0.55 + 0.75 * spot)[:, :, None]


SCENES: Mapping[str, Callable[[Picture, np.random.Generator], None]] = {
    "beach": _beach,
    "forest": _forest,
    "gym": _gym,
    "stage": _stage,
    "street": _street,
    "workshop": _workshop,
}
"""Kind ─► painter."""


def _vary(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.uniform(-amount, amount, 3), 0, 255).tolist()
    return red, green, blue


def _darker(colour: Colour) -> Colour:
    return 0.7 * colour[0], 0.7 * colour[1], 0.7 * colour[2]


def _gradient(p: Picture, top: Colour, bottom: Colour, rng: np.random.Generator) -> None:
    """Fill from `top` to `bottom`, both shifted together, with large soft patches."""
    shift = rng.uniform(-14, 14, 3)
    down = np.linspace(0, 1, len(p))[:, None, None]
    p[:] = np.clip(np.array(top) * (1 - down) + np.array(bottom) * down + shift, 0, 255)
    _grain(p, rng, 8, 40)


def _grain(p: Picture, rng: np.random.Generator, strength: float, grain: int) -> None:
    """Add brightness noise whose grains are some `grain` pixels wide."""
    h, w = p.shape[:2]
    coarse = rng.uniform(-strength, strength, (h // grain + 2, w // grain + 2)).astype(np.float32)
    p += cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)[:, :, None]


def _boards(p: Picture, wood: Colour, rng: np.random.Generator) -> None:
    """A wooden floor, its boards running to a vanishing point."""
    h, w = p.shape[:2]
    wood = _vary(wood, rng, 18)
    p[:] = wood
    _grain(p, rng, 10, 5)
    for x in range(-w, 2 * w, 36):
        cv2.line(p, (w // 2 + (x - w // 2) // 2, 0), (x, h), _darker(wood), 1)
