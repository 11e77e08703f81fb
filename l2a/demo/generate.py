"""The demo data set: real H.264 files in which the scene gives the action away, until the test.

Six actions differ by motion. In the training videos every action is shown in its home scene; in the
test videos in any scene but that one. A classifier that looks at the scene, which is by far the
easier way to learn the training set, is wrong on every test video. Composites show actors in other
actions' scenes, which makes the scene useless and the motion worth learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from l2a.demo.figures import Actor, cast_actor, draw_figure
from l2a.demo.motions import MOTIONS
from l2a.demo.scenes import SCENES, paint_scene
from l2a.errors import InputError
from l2a.files import read_json, write_json, write_text
from l2a.media import write_video

FPS = 24.0
_MARGIN = 8
"""Pixels around the frame that a moving camera can show."""
_CLIPS = 2
"""Clips of one group: few, so that a small data set shows many people and places."""
_SMALLEST = (48, 64)
"""(height, width) of the smallest frames."""
_VERSION = 1
"""Of the pictures: a folder of another version is not taken for this one's."""


@dataclass(frozen=True, slots=True)
class RenderedClip:
    """A clip with what no real clip has: the truth about its layers.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB, as the camera saw them, with noise.
        mask: bool [T, H, W], the actor and what the actor handles.
        background: uint8 [T, H, W, 3], RGB, the scene without the actor and without noise.
    """

    frames: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    background: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the clips of one group share.

    Attributes:
        label: a key of `MOTIONS`.
        actor: who is seen.
        scene: float32 [H + 16, W + 16, 3], RGB: the place, with a margin for the camera to move.
        shake: standard deviation of a hand-held camera's tremble, in pixels; 0 on a tripod.
        pan: how far the camera turns in a clip, in pixels.
    """

    label: str
    actor: Actor
    scene: npt.NDArray[np.float32]
    shake: float
    pan: float


def stage_recording(
    label: str, scene: str, number: int, size: tuple[int, int], rng: np.random.Generator
) -> Recording:
    """Choose an actor, a place and a camera.

    Args:
        label: the action, a key of `MOTIONS`.
        scene: the kind of place, a key of `SCENES`.
        number: which group of its class this is; clothes are dealt by it.
        size: (height, width) of the frames, in pixels.
        rng: two draws give two people and two places.
    """
    moving = rng.random() < 0.35
    return Recording(
        label=label,
        actor=cast_actor(number, rng),
        scene=paint_scene(scene, (size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN), rng),
        shake=float(rng.uniform(0.3, 0.8)) if moving else 0.0,
        pan=float(rng.uniform(-5, 5)) if moving else 0.0,
    )


def render_clip(
    recording: Recording, num_frames: int, rng: np.random.Generator, fps: float = FPS
) -> RenderedClip:
    """Film one clip: its speed, its phase and the actor's way through the frame come from `rng`.

    Args:
        recording: who is filmed, and where.
        num_frames: frames of the clip.
        rng: two draws give two clips.
        fps: frames a second; few of them show as much of an action as a longer clip thinned.
    """
    height, width = (side - 2 * _MARGIN for side in recording.scene.shape[:2])
    motion, actor = MOTIONS[recording.label], recording.actor
    seconds = np.arange(num_frames) / fps
    phases = (rng.random() + seconds / rng.uniform(*motion.seconds)) % 1.0
    strides = (rng.random() + seconds / 0.55) % 1.0

    # The actor walks on while acting, so that every place behind is free most of the time.
    way = rng.choice([-1, 1]) * rng.uniform(0.30, 0.38) * width
    walk = rng.uniform(0.46, 0.54) * width + way * np.linspace(-0.5, 0.5, num_frames)
    ground = walk + 1j * rng.uniform(0.90, 0.96) * height
    tremble = cv2.GaussianBlur(rng.normal(0, recording.shake, (num_frames, 2)), (1, 5), 0)
    camera = tremble[:, 0] + 1j * tremble[:, 1] + np.linspace(-0.5, 0.5, num_frames) * recording.pan

    frames = np.empty((num_frames, height, width, 3), np.uint8)
    mask = np.empty((num_frames, height, width), np.bool_)
    background = np.empty_like(frames)
    prop = motion.prop or actor.prop
    for t in range(num_frames):
        scene = _view(recording.scene, camera[t], (height, width))
        pose = motion.pose(float(phases[t]))
        place = complex(ground[t] - camera[t])
        colour, coverage = draw_figure((height, width), actor, pose, prop, place, float(strides[t]))
        noise = rng.integers(-3, 4, scene.shape, np.int8)
        frames[t] = np.clip(colour + (1 - coverage) * scene + noise, 0, 255)
        mask[t] = coverage[:, :, 0] >= 0.5
        background[t] = scene
    return RenderedClip(frames, mask, background)


def generate_demo(
    folder: Path,
    *,
    seed: int = 0,
    per_class_train: int = 20,
    per_class_val: int = 0,
    per_class_test: int = 10,
    num_frames: int = 32,
    size: tuple[int, int] = (120, 160),
    home_share: float = 1.0,
) -> None:
    """Write the data set in UCF101's layout: `videos/<Class>/v_<Class>_gXX_cYY.mp4` and `splits/`.

    The same arguments give the same bytes. A folder that is complete already stays as it is; one
    that an interrupted call left is written again.

    Args:
        folder: where; `demo.json` is written last and says that all is there.
        seed: another seed, other people and places.
        per_class_train: training videos of each class, in groups of two.
        per_class_val: validation videos of each class, in groups of two, in scenes like the test's;
            with 0, validation is left to be carved out of train, and so is shot at home as well.
        per_class_test: test videos of each class, in groups of two.
        num_frames: length of each video, at 24 frames a second.
        size: (height, width) of the frames, in pixels.
        home_share: share of each class's training groups in its home scene; the others, and all
            validation and test groups, go through the remaining scenes in turn.

    Raises:
        InputError: a count below 1, a negative seed, a share outside 0..1, frames below 48x64, or
            the folder holds a demo of other arguments.
    """
    _check_counts(per_class_train, per_class_val, per_class_test, seed)
    if not 0 <= home_share <= 1:
        raise InputError(f"The demo's home_share is {home_share}; it must lie between 0 and 1.")
    if size[0] < _SMALLEST[0] or size[1] < _SMALLEST[1]:
        raise InputError(
            f"The demo's size is {size[0]}x{size[1]}; it must be at least"
            f" {_SMALLEST[0]}x{_SMALLEST[1]}, or the actors would be too small to see."
        )
    made = {
        "version": _VERSION, "seed": seed, "per_class_train": per_class_train,
        "per_class_val": per_class_val, "per_class_test": per_class_test,
        "num_frames": num_frames, "size": list(size), "home_share": home_share,
    }  # fmt: skip
    done = folder / "demo.json"
    if done.exists():
        if read_json(done) != made:
            raise InputError(
                f"{folder} holds a demo made with other settings; remove it, or choose another."
            )
        return

    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for group in _groups(per_class_train, per_class_val, per_class_test, home_share):
        stream = [seed, *group.stream]
        rng = np.random.default_rng(stream)
        recording = stage_recording(group.label, group.scene, group.stream[2], size, rng)
        for clip in range(1, group.clips + 1):
            name = f"{group.label}/v_{group.label}_g{group.number:02}_c{clip:02}.mp4"
            rendered = render_clip(recording, num_frames, np.random.default_rng([*stream, clip]))
            write_video(folder / "videos" / name, rendered.frames, FPS, preset="veryfast")
            label = "" if group.split == "test" else f" {group.stream[0] + 1}"
            lists[group.split].append(f"{name}{label}\n")

    classes = "".join(f"{number} {label}\n" for number, label in enumerate(MOTIONS, start=1))
    write_text(folder / "splits" / "classInd.txt", classes)
    for split in [split for split, lines in lists.items() if lines]:
        write_text(folder / "splits" / f"{split}list01.txt", "".join(lists[split]))
    write_json(done, made)


def _check_counts(train: int, val: int, test: int, seed: int) -> None:
    for name, value in (("per_class_train", train), ("per_class_test", test)):
        if value < 1:
            raise InputError(f"The demo's {name} is {value}; it must be at least 1.")
    for name, value in (("per_class_val", val), ("seed", seed)):
        if value < 0:
            raise InputError(f"The demo's {name} is {value}; it must not be negative.")


@dataclass(frozen=True, slots=True)
class _Group:
    """One recording to be made. `stream` (class, split, place in the split) seeds it, so that a
    group stays the same when there are more of them."""

    label: str
    number: int
    split: str
    scene: str
    clips: int
    stream: tuple[int, int, int]


def _groups(train: int, val: int, test: int, home_share: float) -> Iterator[_Group]:
    """All groups, class by class; as in UCF101, the first groups of a class are for the test."""
    for index, (label, motion) in enumerate(MOTIONS.items()):
        away = [kind for kind in SCENES if kind != motion.home]
        away = away[index % len(away) :] + away[: index % len(away)]  # begin anywhere
        number = 0
        for place, split, count in ((1, "test", test), (2, "val", val)):
            for k in range(-(-count // _CLIPS)):
                number += 1
                clips = min(_CLIPS, count - k * _CLIPS)
                scene = away[k % len(away)]
                yield _Group(label, number, split, scene, clips, (index, place, k))
        train_groups = -(-train // _CLIPS)
        at_home = round(home_share * train_groups)
        for k in range(train_groups):
            scene = motion.home if k < at_home else away[(k - at_home) % len(away)]
            clips = min(_CLIPS, train - k * _CLIPS)
            yield _Group(label, number + k + 1, "train", scene, clips, (index, 0, k))


def _view(
    scene: npt.NDArray[np.float32], camera: complex, size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """What a camera that is turned by `camera` = x + y j pixels, whole or not, sees of a scene."""
    shift = np.array([[1, 0, -_MARGIN - camera.real], [0, 1, -_MARGIN - camera.imag]])
    return cv2.warpAffine(scene, shift, (size[1], size[0]), flags=cv2.INTER_LINEAR)
