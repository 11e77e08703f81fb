"""A data set of a few dozen tiny videos in UCF101's layout: squares that move over noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l2a.media import write_video

CLASSES = ("ClimbStairs", "JumpRope", "WaveHand")
SIZE = (48, 64)
FRAMES = 12


def write_tiny(
    root: Path, classes: Sequence[str] = CLASSES, train_groups: int = 4, test_groups: int = 1
) -> Path:
    """Write groups of two videos: for each class so many for training, so many for test."""
    lists: dict[str, list[str]] = {"trainlist01.txt": [], "testlist01.txt": []}
    for label, name in enumerate(classes):
        for group in range(1, train_groups + test_groups + 1):
            for clip in (1, 2):
                file = f"{name}/v_{name}_g{group:02}_c{clip:02}.mp4"
                path = root / "videos" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, moving_square(label, 10 * group + clip), fps=12.0)
                if group > train_groups:
                    lists["testlist01.txt"].append(file)
                else:
                    lists["trainlist01.txt"].append(f"{file} {label + 1}")
    splits = root / "splits"
    splits.mkdir()
    (splits / "classInd.txt").write_text(
        "".join(f"{i + 1} {name}\n" for i, name in enumerate(classes))
    )
    for name, lines in lists.items():
        (splits / name).write_text("".join(line + "\n" for line in lines))
    return root


def moving_square(label: int, seed: int) -> np.ndarray:
    """uint8 `[12, 48, 64, 3]`: a bright square that moves as its class does."""
    rng = np.random.default_rng([label, seed])
    height, width = SIZE
    # Coarse noise, which an encoder keeps.
    scene = rng.integers(20, 120, (height // 8, width // 8, 3), dtype=np.uint8)
    frames = np.repeat(scene.repeat(8, 0).repeat(8, 1)[None], FRAMES, axis=0)
    colour = rng.integers(180, 256, 3)
    for t in range(FRAMES):
        turn = 2 * np.pi * t / FRAMES
        circle = (14 + 10 * np.sin(turn), 24 + 18 * np.cos(turn))
        # Each leaves every place before half of the time is over, so that a median sees behind it.
        top, left, tall = ((2 + 2 * t, 6 + 3 * t, 16), (3.2 * t, 24, 12), (*circle, 16))[label % 3]
        frames[t, int(top) : int(top) + tall, int(left) : int(left) + 14] = colour
    return frames
