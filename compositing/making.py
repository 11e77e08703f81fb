"""The task of preparation, as engines spread it over processes, with its networks beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from compositing.engines import Answer
from compositing.inpainters import HostedInpainter
from compositing.networks import is_network
from compositing.records import LayerRecord
from compositing.segmenters import HostedSegmenter
from l2a.errors import UnreadableVideo
from l2a.videos import Skipped, Video

if TYPE_CHECKING:
    from compositing.layers import LayerStore


@dataclass(frozen=True, slots=True)
class MakeLayers:
    """Makes one video's layers: the task that engines spread (an `engines.NetworkTask`)."""

    store: LayerStore

    def __call__(self, video: Video) -> LayerRecord | Skipped:
        """The record of the video's layers, or why it has none."""
        try:
            return self.store.make(video)
        except UnreadableVideo as error:
            return Skipped(video.id, error.reason)

    def networks(self) -> tuple[str, ...]:
        """Which of segmenter and inpainter are networks."""
        parts = {"segmenter": self.store.segmenter, "inpainter": self.store.inpainter}
        return tuple(name for name, part in parts.items() if is_network(part))

    def placed(self, device: str, frames_at_once: int) -> MakeLayers:
        """The same task with its networks in the process that calls it."""
        return MakeLayers(self.store.placed(device, frames_at_once))

    def answer(self, part: str, *arguments: Any) -> Any:
        """What the segmenter or the inpainter gives."""
        asked = self.store.segmenter if part == "segmenter" else self.store.inpainter
        return asked(*arguments)

    def hosted(self, answer: Answer) -> MakeLayers:
        """The same task with its networks in another process."""
        segmenter, inpainter = self.store.segmenter, self.store.inpainter
        if is_network(segmenter):
            segmenter = HostedSegmenter(segmenter.identity, partial(answer, "segmenter"))
        if is_network(inpainter):
            inpainter = HostedInpainter(
                inpainter.identity, inpainter.looks_behind, partial(answer, "inpainter")
            )
        return MakeLayers(self.store.using(segmenter, inpainter))


def lost(video: Video) -> LayerRecord | Skipped:
    """What comes of a video whose process died twice."""
    return Skipped(video.id, "the process that prepared it died twice")
