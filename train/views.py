"""Several views of a video: clips spread over its time, crops along its longer side, one score.

A video is decoded once, whatever the number of views. Frames of K clips of T frames are the K·T
frames that `sample_indices` chooses; clip c is every K-th of them, from the c-th on. So every clip
spans the whole video with the spacing in time that the network was trained with, and K = 1 is the
clip that everything else here sees.

Scores are the mean of the views' softmax, as in Kim et al. (2020, "Learning Temporally Invariant
and Localizable Features via Data Augmentation", Sec. 4.1), given as its logarithm. The code of Zou
et al. (ActorCut) averages raw scores instead: one view with large logits then outvotes the others,
and the loss is that of no mixture of the views. One view keeps its logits, to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from compositing.engines.base import Engine
from compositing.failures import Failure, attempt, refuse_if_all
from compositing.layers import Progress
from l2a.errors import InputError
from l2a.media import read_frames, resize_frames, sample_indices
from l2a.networks import VideoNetwork
from l2a.settings import ClipSettings
from l2a.videos import Skipped, Video
from train.classifier import EVALUATION_BATCH, ask

MOST_VIEWS = 200
"""Far more than anybody reports; frames of all clips of a video are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Views:
    """How often a video is looked at.

    Attributes:
        clips: K, spread over time.
        crops: squares along the longer side of a frame; in the middle of the shorter one.
    """

    clips: int = 1
    crops: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "CLIPSxCROPS", such as 10x3.

        Raises:
            InputError: it is something else.
        """
        found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
        numbers = [int(number) for number in found.groups()] if found else [0]
        if min(numbers) < 1 or np.prod(numbers) > MOST_VIEWS:
            raise InputError(
                f"views is {text!r}; give CLIPSxCROPS, such as 10x3: two whole numbers from 1, and "
                f"at most {MOST_VIEWS} views in all."
            )
        return cls(*numbers)

    @property
    def count(self) -> int:
        """Views of one video."""
        return self.clips * self.crops

    def corners(self, height: int, width: int, crop: int) -> list[tuple[int, int]]:
        """(top, left) of each square of side `crop`, from end to end of the longer side.

        One crop is the centre crop; of two or more, the first and the last touch the borders.
        """
        spare = np.array([height - crop, width - crop])
        middle, long = (spare // 2).tolist(), int(width >= height)
        found = []
        for index in range(self.crops):
            corner = list(middle)
            if self.crops > 1:
                corner[long] = int(spare[long]) * index // (self.crops - 1)
            found.append((corner[0], corner[1]))
        return found

    def cut(self, frames: NDArray[np.uint8], crop: int) -> NDArray[np.uint8]:
        """The views of one video.

        Args:
            frames: uint8 `[K·T, H, W, 3]`, uniformly spaced in time.
            crop: side of the squares.

        Returns:
            uint8 `[K·crops, T, crop, crop, 3]`: all crops of the first clip, then of the next.
        """
        height, width = frames.shape[1:3]
        return np.stack([
            frames[clip :: self.clips, top : top + crop, left : left + crop]
            for clip in range(self.clips)
            for top, left in self.corners(height, width, crop)
        ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Viewed:
    """What a network says of videos.

    Attributes:
        videos: those that could be read, in the order given.
        scores: float32 `[n, num_classes]`: logarithms of mean probabilities; logits for one view.
        skipped: the others, with the reason.
    """

    videos: tuple[Video, ...]
    scores: NDArray[np.float32]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class ReadViews:
    """Decodes a video and cuts its views: the task of an engine.

    Attributes:
        views: how many.
        clips: geometry of a clip, as the network was trained with.
        max_frames, max_side: as in `PrepareSettings`: what the bank's clips were read with.
    """

    views: Views
    clips: ClipSettings
    max_frames: int
    max_side: int

    def __call__(self, video: Video) -> NDArray[np.uint8] | Failure:
        """uint8 `[views, T, crop, crop, 3]`."""
        return attempt(self._read, video)

    @property
    def memory(self) -> int:
        """Bytes that one call takes at most."""
        geometry, frames = self.clips, self.views.clips * self.clips.num_frames
        stored = 3 * geometry.height * geometry.width
        seen = 3 * geometry.crop**2
        return 3 * self.max_frames * self.max_side**2 + frames * (stored + self.views.crops * seen)

    def _read(self, video: Video) -> NDArray[np.uint8]:
        geometry = self.clips
        source = read_frames(video.path, max_frames=self.max_frames, max_side=self.max_side)
        chosen = sample_indices(source.times, self.views.clips * geometry.num_frames)
        # Frames of a short video repeat: each is resized once.
        kept, where = np.unique(chosen, return_inverse=True)
        frames = resize_frames(source.frames[kept], (geometry.height, geometry.width))
        return self.views.cut(frames[where], geometry.crop)


def predict_views(
    network: VideoNetwork, videos: Sequence[Video], read: ReadViews, engine: Engine,
    report: Progress,
) -> Viewed:  # fmt: skip
    """Ask a network about every view of each video; views of a few videos are in memory at a time.

    Args:
        network: where it is to run.
        videos: in the order wanted.
        read: how their views are made.
        engine: distributes the decoding.
        report: called as report(videos done, videos in all).

    Raises:
        L2AError: unexpected errors struck all videos.
    """
    network.eval()
    kept: list[Video] = []
    failed: dict[str, Failure] = {}

    def clips() -> Iterator[NDArray[np.uint8]]:
        made = engine.map(read, videos, on_crash=_crashed, memory=read.memory)
        for done, (video, views) in enumerate(zip(videos, made, strict=True), start=1):
            if isinstance(views, Failure):
                views.log(video.id)
                failed[video.id] = views
            else:
                kept.append(video)
                yield from views
            report(done, len(videos))

    logits = [_logits(network, batch) for batch in batches_of(clips(), EVALUATION_BATCH)]
    refuse_if_all(failed.values(), len(kept), "decoded")
    skipped = tuple(Skipped(id_, failure.reason) for id_, failure in failed.items())
    classes = network.head.out_features
    rows = np.concatenate(logits) if logits else np.empty((0, classes), np.float32)
    return Viewed(
        tuple(kept), mean_scores(rows.reshape(len(kept), read.views.count, classes)), skipped
    )


def batches_of(clips: Iterable[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    """Clips in stacks of `size`, the last with what is left; no more than one stack waits."""
    waiting: list[NDArray[np.uint8]] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting.clear()
    if waiting:
        yield np.stack(waiting)


def mean_scores(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithm of the mean over views of softmax.

    Args:
        logits: float32 `[n, views, num_classes]`.

    Returns:
        float32 `[n, num_classes]`; of one view, its logits as they are.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=2, keepdims=True)
    shares = np.exp(wide)
    shares /= shares.sum(axis=2, keepdims=True)
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(shares.mean(axis=1), tiny)).astype(np.float32)


@torch.inference_mode()
def _logits(network: VideoNetwork, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits float32 `[B, num_classes]` of clips uint8 `[B, T, h, w, 3]`."""
    found: NDArray[np.float32] = ask(network, torch.from_numpy(clips)).cpu().numpy()
    return found


def _crashed(video: Video) -> Failure:
    return Failure("the process that read it died twice")
