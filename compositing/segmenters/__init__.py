"""Segmenters: who finds the actors and objects of a video. One table, `SEGMENTERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from compositing.masks import VideoMasks
from l2a.backends import make_backend
from l2a.errors import InputError
from l2a.media import Frames
from l2a.videos import Video

if TYPE_CHECKING:
    from compositing.segmenters.detections import Detections


class Segmenter(Protocol):
    """Finds the instances in every frame of a video."""

    @property
    def identity(self) -> str:
        """Name, checksum of the weights or mask files, and own settings: changes with the masks."""
        ...

    def check(self, videos: Sequence[Video]) -> None:
        """Look, before any work, whether these videos can be segmented at all.

        Raises:
            InputError: they cannot; the message says which and what to do.
        """
        ...

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """The instances in `frames` (uint8 [T, H, W, 3], RGB), one entry per frame.

        The masks may have another size than the frames. A video in which nothing can be found
        gives no instances, and a note that says why; that is not an error.
        """
        ...


@runtime_checkable
class Detector(Protocol):
    """What a segmenter has too if its network looks at frames one by one.

    What it gives is small, so that the process that holds the network has nothing else to do;
    pasting the masks to full size, encoding them and following them through the video is left to
    who asks.
    """

    @property
    def name(self) -> str:
        """As in `SEGMENTERS`."""
        ...

    def detect(self, frames: NDArray[np.uint8]) -> Sequence[Detections]:
        """What the network detects in each of the frames (uint8 [n, H, W, 3], RGB)."""
        ...


@dataclass(frozen=True, slots=True)
class HostedSegmenter:
    """A segmenter that lives in another process.

    Attributes:
        identity: that of the segmenter itself.
        infer: asks it: the video and its frames ─► the masks.
    """

    identity: str
    infer: Callable[..., VideoMasks]

    def check(self, videos: Sequence[Video]) -> None:
        """The segmenter itself has looked at them before."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """See `Segmenter`."""
        return self.infer(video, frames)


@dataclass(frozen=True, slots=True)
class HostedDetector:
    """A detector whose network lives in another process.

    Attributes:
        identity, name: those of the detector itself.
        infer: asks the network: frames ─► detections.
    """

    identity: str
    name: str
    infer: Callable[..., Sequence[Detections]]

    def check(self, videos: Sequence[Video]) -> None:
        """The detector itself has looked at them before."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """See `Segmenter`."""
        from compositing.segmenters.following import detect_and_track

        return detect_and_track(frames.frames, self.infer, self.name)


def make_segmenter(spec: str) -> Segmenter:
    """The segmenter that `spec` names, such as "motion", "masks:PATH" or "mask-rcnn".

    "auto" gives `motion` here: commands settle it before, by `auto.resolve_segmenter`.

    Raises:
        InputError: there is no segmenter of that name, or it does not take that argument.
    """
    return make_backend("segmenter", spec, SEGMENTERS)


def _motion(argument: str) -> Segmenter:
    from compositing.segmenters.motion import MotionSegmenter

    return MotionSegmenter.from_argument(argument)


def _auto(argument: str) -> Segmenter:
    """Where nothing was settled (`auto.resolve_segmenter`): what is the same on every machine."""
    if argument:
        raise InputError(f"The segmenter 'auto' takes no argument, but was given {argument!r}.")
    return _motion("")


def _masks(argument: str) -> Segmenter:
    from compositing.segmenters.mask_files import MaskFiles

    return MaskFiles.from_argument(argument)


def _mask_rcnn(argument: str) -> Segmenter:
    from compositing.segmenters.mask_rcnn import MaskRCNN

    return MaskRCNN.from_argument(argument)


def _detectron(argument: str) -> Segmenter:
    from compositing.segmenters.detectron import Detectron

    return Detectron.from_argument(argument)


SEGMENTERS: Mapping[str, Callable[[str], Segmenter]] = MappingProxyType(
    {
        "auto": _auto,
        "motion": _motion,
        "masks": _masks,
        "mask-rcnn": _mask_rcnn,
        "detectron2": _detectron,
    }
)
