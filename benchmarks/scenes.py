"""Clips with known truth for `prepare_quality.py`: who is in them, and what the scene behind is.

An actor goes through a scene that is larger than the frame, and a camera films both: it stands,
pans, trembles in a hand or zooms. Two kinds of content: `generated` (the demo's people and places,
without its haze) and `real` (actors cut out of real clips, in front of a frame of another clip).
The shutter blurs what moves, the sensor adds noise, and the clip goes through H.264, as files do.

Run by itself, this file does nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from compositing.segmenters import make_segmenter
from compositing.settings import PrepareSettings
from l2a.demo.figures import cast_actor, draw_figure
from l2a.demo.motions import MOTIONS
from l2a.demo.scenes import SCENES
from l2a.errors import InputError
from l2a.media import read_frames, write_video
from l2a.videos import Video

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Float = NDArray[np.float32]

FPS = 24.0
WINDOW = 0.7
"""Sides of the frame as a share of the scene's: the rest is room for the camera."""
SHUTTER = (-0.25, 0.0, 0.25)
"""When within a frame's time it is exposed: half of the time, as cameras commonly do."""
NOISE = 2.5
"""Standard deviation of the sensor's noise, grey levels."""
CRF = 23
"""x264's default quality."""
REAL_SHARES = (0.03, 0.35)
"""Share of its clip that an actor to be cut out covers; a clip with less of one is a scene."""
STEADY = 0.4
"""The actor's smallest cut-out of a clip, as a share of the largest: flicker is no actor."""
WALK = (0.12, 0.38)
"""Share of the frame's width that an actor walks: some uncover all that is behind, some do not."""

Act = Callable[[float], tuple[Float, Float]]
"""Frame number, whole or not ─► the actor in the scene: colour times coverage float32 [H, W, 3],
0..255, and coverage float32 [H, W, 1], 0..1."""
Path2D = Callable[[float], NDArray[np.float64]]
"""Frame number, whole or not ─► affine map [2, 3] from the frame's pixels (x, y) to the scene's."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A scene and who acts in it.

    Attributes:
        scene: float32 [H, W, 3], RGB, 0..255, larger than the frame.
        act: shows the actor.
        size: (height, width) of the frame in pixels.
    """

    scene: Float
    act: Act
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Filmed:
    """A clip and its truth.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB, with noise, as decoded from a file.
        mask: bool [T, H, W], the actor: every pixel of which the actor covers at least half.
        background: uint8 [T, H, W, 3], RGB, the scene without actor, noise and codec.
        coded: uint8 [T, H, W, 3], RGB, the scene without actor, with noise, as decoded from a
            file: no way of looking behind the actor can be expected to come closer to the truth.
        shown: bool [T, H, W], pixels whose place in the scene at least one frame shows free.
    """

    frames: UInt8
    mask: Bool
    background: UInt8
    coded: UInt8
    shown: Bool


def generated_stage(seed: int, size: tuple[int, int], count: int) -> Stage:
    """A drawn actor, walking while acting, in a drawn scene with all its texture."""
    rng = np.random.default_rng([seed, 0])
    height, width = (round(side / WINDOW) for side in size)
    painted = np.zeros((2 * height, 2 * width, 3), np.float32)
    kinds, labels = sorted(SCENES), sorted(MOTIONS)
    SCENES[kinds[seed % len(kinds)]](painted, rng)
    scene = cv2.resize(painted, (width, height), interpolation=cv2.INTER_AREA)
    actor = cast_actor(seed, rng)
    actor = replace(actor, height=actor.height * size[0] / height)
    motion = MOTIONS[labels[int(rng.integers(len(labels)))]]
    walk = _walk(rng, size, count)
    start, lasts = rng.random(), rng.uniform(*motion.seconds)
    floor = height / 2 + 0.44 * size[0]

    def act(t: float) -> tuple[Float, Float]:
        seconds = t / FPS
        pose = motion.pose(float((start + seconds / lasts) % 1.0))
        place = complex(width / 2 + walk(t), floor)
        prop = motion.prop or actor.prop
        return draw_figure((height, width), actor, pose, prop, place, (seconds / 0.55) % 1.0)

    return Stage(np.clip(scene, 0, 255), act, size)


def real_stage(seed: int, clips: Path, count: int) -> Stage:
    """An actor cut out of a real clip, before a frame of another recording, at the clips' own size.

    Args:
        seed: chooses both.
        clips: a folder with `videos/CLASS/*.avi` and masks for them in `masks/`.
        count: frames that will be filmed; a shorter act goes to and fro.

    Raises:
        InputError: no clip there has an actor of a fitting size.
    """
    rng = np.random.default_rng([seed, 1])
    files = sorted((clips / "videos").glob("*/*.avi"))
    masks = make_segmenter(f"masks:{clips / 'masks'}")
    order = [files[i] for i in rng.permutation(len(files))]
    actor, scene, label = None, None, ""
    for path in order:
        if label == path.parent.name or (actor is not None and scene is not None):
            continue  # two classes, and so two recordings
        video = Video(path.relative_to(clips).as_posix(), path, path.parent.name, "", "train")
        source = read_frames(path)
        mask = masks(video, source).union(PrepareSettings(humans_only=True))
        if mask.shape != source.frames.shape[:3]:
            continue
        share, middle = float(mask.mean()), len(mask) // 2
        areas = mask.mean(axis=(1, 2))
        fitting = REAL_SHARES[0] < share < REAL_SHARES[1]
        if actor is None and fitting and areas.min() > STEADY * areas.max():
            actor, label = (source.frames, mask), path.parent.name
        elif scene is None and 0 < share < REAL_SHARES[0]:
            scene, label = source.frames[middle].astype(np.float32), path.parent.name
    if actor is None or scene is None:
        raise InputError(f"{clips} has no actors of fitting sizes; give another folder of clips.")
    pixels, mask = actor
    height, width = scene.shape[:2]
    even = (round(WINDOW * height) // 2 * 2, round(WINDOW * width) // 2 * 2)
    walk = _walk(rng, even, count)
    # From the actor's own frame into the middle window of the scene.
    shrink = even[0] / mask.shape[1]
    left, top = (width - shrink * mask.shape[2]) / 2, (height - even[0]) / 2

    def act(t: float) -> tuple[Float, Float]:
        last = len(mask) - 1
        now = round(min(max(t, 0), count - 1))
        now = last - abs(last - now % (2 * last)) if last else 0
        soft = cv2.GaussianBlur(mask[now].astype(np.float32), (0, 0), 0.8)[:, :, None]
        layers = np.concatenate([pixels[now] * soft, soft], axis=2)
        move = np.array([[shrink, 0, left + walk(t)], [0, shrink, top]])
        layers = cv2.warpAffine(layers, move, (width, height), flags=cv2.INTER_LINEAR)
        return layers[:, :, :3], layers[:, :, 3:]

    return Stage(scene, act, even)


def film(stage: Stage, camera: str, count: int, seed: int) -> Filmed:
    """Film `count` frames with a camera of `CAMERAS`."""
    rng = np.random.default_rng([seed, 2])
    path = CAMERAS[camera](rng, stage, count)
    height, width = stage.size
    frames = np.empty((count, height, width, 3), np.float32)
    background = np.empty_like(frames)
    coverage = np.empty((count, height, width), np.float32)
    for t in range(count):
        views = [_expose(stage, path, t + moment) for moment in SHUTTER]
        frames[t], background[t], covered = (
            np.mean(parts, axis=0) for parts in zip(*views, strict=True)
        )
        coverage[t] = covered[:, :, 0]
    noise = rng.normal(0, NOISE, frames.shape).astype(np.float32)
    return Filmed(
        frames=_coded(_to_uint8(frames + noise)),
        mask=coverage >= 0.5,
        background=_to_uint8(background),
        coded=_coded(_to_uint8(background + noise)),
        shown=_shown(coverage == 0, [path(t) for t in range(count)], stage.scene.shape[:2]),
    )


def _expose(stage: Stage, path: Path2D, t: float) -> tuple[Float, Float, Float]:
    """One moment: the frame, the scene behind float32 [H, W, 3], the coverage [H, W, 1]."""
    colour, coverage = stage.act(t)
    layers = (stage.scene, np.concatenate([colour, coverage], axis=2))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = stage.size[::-1]
    behind, actor = (
        cv2.warpAffine(layer, path(t), size, flags=how, borderMode=edge)
        for layer, edge in zip(layers, (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT), strict=True)
    )
    covered = actor[:, :, 3:]
    return actor[:, :, :3] + (1 - covered) * behind, behind, covered


def _shown(free: Bool, maps: list[NDArray[np.float64]], size: tuple[int, ...]) -> Bool:
    """Which pixels' places in the scene (of `size`) are free in some frame; all [T, H, W]."""
    height, width = size
    seen = np.zeros((height, width), np.bool_)
    for view, move in zip(free, maps, strict=True):
        there = cv2.warpAffine(view.astype(np.uint8) * 255, move, (width, height))
        seen |= there == 255
    shape, how = free.shape[:0:-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    known = seen.astype(np.uint8) * 255
    return np.stack([cv2.warpAffine(known, move, shape, flags=how) > 127 for move in maps])


def _walk(rng: np.random.Generator, size: tuple[int, int], count: int) -> Callable[[float], float]:
    """Pixels to the right of the scene's middle, at each frame number."""
    way = float(rng.choice([-1, 1]) * rng.uniform(*WALK)) * size[1]
    return lambda t: way * (t / max(1, count - 1) - 0.5)


def _static(rng: np.random.Generator, stage: Stage, count: int) -> Path2D:
    return lambda t: _look(stage)


def _panning(rng: np.random.Generator, stage: Stage, count: int) -> Path2D:
    """Along with the actor or against, as it comes, slower at both ends."""
    far = float(rng.choice([-1, 1]) * rng.uniform(0.28, 0.4)) * stage.size[1]
    rise = float(rng.uniform(-0.02, 0.02)) * stage.size[0]

    def path(t: float) -> NDArray[np.float64]:
        part = min(max(t / max(1, count - 1), 0.0), 1.0)
        eased = 0.5 * part + 0.5 * (3 * part**2 - 2 * part**3) - 0.5
        return _look(stage, far * eased, rise * eased)

    return path


def _hand_held(rng: np.random.Generator, stage: Stage, count: int) -> Path2D:
    tremble = rng.normal(0, 1, (count, 3))
    tremble = cv2.GaussianBlur(tremble, (1, 9), 2, borderType=cv2.BORDER_REPLICATE)
    tremble *= np.array([0.012 * stage.size[0], 0.012 * stage.size[0], 0.008])
    drift = float(rng.uniform(-0.06, 0.06)) * stage.size[1]
    times = np.arange(count)

    def path(t: float) -> NDArray[np.float64]:
        right, down, roll = (float(np.interp(t, times, column)) for column in tremble.T)
        return _look(stage, right + drift * (t / count - 0.5), down, roll=roll)

    return path


def _zooming(rng: np.random.Generator, stage: Stage, count: int) -> Path2D:
    end = float(rng.uniform(1.15, 1.35))
    inwards = bool(rng.random() < 0.5)

    def path(t: float) -> NDArray[np.float64]:
        part = min(max(t / max(1, count - 1), 0.0), 1.0)
        return _look(stage, zoom=end ** (part if inwards else 1 - part))

    return path


CAMERAS: Mapping[str, Callable[[np.random.Generator, Stage, int], Path2D]] = {
    "static": _static,
    "panning": _panning,
    "hand-held": _hand_held,
    "zooming": _zooming,
}
"""Name ─► the way of such a camera."""


def _look(
    stage: Stage, right: float = 0.0, down: float = 0.0, *, zoom: float = 1.0, roll: float = 0.0
) -> NDArray[np.float64]:
    """The map of a camera that looks so many pixels off the middle of the scene."""
    frame = (np.array(stage.size[::-1]) - 1) / 2
    corner = (np.array(stage.scene.shape[1::-1]) - stage.size[::-1]) // 2
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) / zoom
    shift = corner + frame + (right, down) - turn @ frame
    return np.column_stack([turn, shift])


def _to_uint8(frames: Float) -> UInt8:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _coded(frames: UInt8) -> UInt8:
    """Frames of even size as they come back from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, FPS, crf=CRF)
        return read_frames(path).frames
