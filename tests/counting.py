"""Back ends that count what they see, and small videos to show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compositing.inpainters.base import Inpainted
from compositing.making import LayerMaker
from compositing.masks import Instance, VideoMasks, encode
from compositing.settings import PrepareSettings
from l2a.media import Frames, resize_frames, write_video
from l2a.videos import Video

COUNT, HEIGHT, WIDTH = 12, 48, 62


@dataclass
class CountingSegmenter:
    """A square that walks; a second, unsure instance of a thing; counts the frames it sees."""

    identity: str = "counting 1"
    left: int = 5
    seen: Counter[str] = field(default_factory=Counter)
    stop_at: int | None = None

    def check(self, videos: Sequence[Video]) -> None:
        """All are fine."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        if self.stop_at == len(self.seen):
            raise KeyboardInterrupt
        self.seen[video.id] += len(frames.frames)
        count, height, width = frames.frames.shape[:3]
        person, thing = np.zeros((2, count, height, width), np.bool_)
        for t in range(count):
            person[t, 10:30, self.left + 2 * t : self.left + 2 * t + 12] = True
        thing[:, 40:44, 50:58] = True
        return VideoMasks(
            height,
            width,
            count,
            (
                Instance("person", 0.9, encode(person)),
                Instance("ball", 0.3, encode(thing)),
            ),
        )


@dataclass
class CountingInpainter:
    """Paints holes grey; says that a given share of each hole was never seen."""

    identity: str = "grey 1"
    uses_other_frames: bool = True
    seen: int = 0
    unseen: bool = False

    def __call__(self, frames: NDArray[np.uint8], holes: NDArray[np.bool_]) -> Inpainted:
        self.seen += len(frames)
        filled = frames.copy()
        filled[holes] = 128
        return Inpainted(filled, holes & self.unseen)


def scene(seed: int, count: int = COUNT) -> NDArray[np.uint8]:
    """Smooth pictures that tell their time: brighter with every frame."""
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 120, (1, 3, 4, 3), np.uint8)
    still = resize_frames(small, (HEIGHT, WIDTH))
    return still + (8 * np.arange(count, dtype=np.uint8))[:, None, None, None]


def make_videos(folder: Path, names: Sequence[str] = ("a", "b", "c")) -> list[Video]:
    videos = []
    for number, name in enumerate(names):
        path = folder / f"{number}.mp4"
        write_video(path, scene(number), 25.0, crf=8)
        videos.append(Video(f"videos/run/{name}.mp4", path, "run", name, "train"))
    return videos


SETTINGS = PrepareSettings(dilate=0.05, min_gamma=0.01)


def store_of(
    tmp_path: Path,
    settings: PrepareSettings = SETTINGS,
    segmenter: CountingSegmenter | None = None,
    inpainter: CountingInpainter | None = None,
) -> tuple[LayerMaker, CountingSegmenter, CountingInpainter]:
    segmenter, inpainter = segmenter or CountingSegmenter(), inpainter or CountingInpainter()
    store = LayerMaker(tmp_path / "store", settings, segmenter=segmenter, inpainter=inpainter)
    return store, segmenter, inpainter


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
