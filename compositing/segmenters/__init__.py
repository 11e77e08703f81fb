"""Segmenters: who finds the actors and objects of a video. One table, `SEGMENTERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from compositing.masks import VideoMasks
from l2a.backends import make_backend
from l2a.errors import InputError
from l2a.media import Frames
from l2a.videos import Video


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
        gives no instances, and a note that says why; it is no error.
        """
        ...


@dataclass(frozen=True, slots=True)
class HostedSegmenter:
    """A segmenter that lives in another process.

    Attributes:
        identity: that of the segmenter itself.
        answer: asks it.
    """

    identity: str
    answer: Callable[..., VideoMasks]

    def check(self, videos: Sequence[Video]) -> None:
        """The segmenter itself has looked at them before."""

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """See `Segmenter`."""
        return self.answer(video, frames)


def make_segmenter(spec: str) -> Segmenter:
    """The segmenter that `spec` names, such as "motion", "masks:PATH" or "mask-rcnn".

    "auto" gives `motion` here: commands settle it before, by `auto.resolve_segmenter`.

    Raises:
        InputError: there is no segmenter of that name, or it cannot be had with that argument.
    """
    return make_backend("segmenter", spec, SEGMENTERS)


def _motion(argument: str) -> Segmenter:
    from compositing.segmenters.motion import MotionSegmenter

    return MotionSegmenter.from_argument(argument)


def _auto(argument: str) -> Segmenter:
    """Where nothing was settled (`auto.resolve_segmenter`): what is the same on every machine."""
    if argument:
        raise InputError(f"The segmenter 'auto' takes no argument, but got {argument!r}.")
    return _motion("")


def _masks(argument: str) -> Segmenter:
    from compositing.segmenters.from_json import MaskFiles

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
