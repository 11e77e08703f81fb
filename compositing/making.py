"""Making layers: one video at a time, as a task that engines distribute over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compositing.engines.base import Engine, Infer
from compositing.engines.local import HERE
from compositing.failures import Failure, attempt, refuse_if_all
from compositing.inpainters import make_inpainter
from compositing.inpainters.base import HostedInpainter, Inpainter
from compositing.layers import DamagedLayers, LayerStore, Progress
from compositing.networks import is_network, to_device
from compositing.records import (
    Background,
    Foreground,
    LayerRecord,
    Layers,
    PrepareReport,
)
from compositing.segmenters import (
    Detector,
    HostedDetector,
    HostedSegmenter,
    Segmenter,
    make_segmenter,
)
from compositing.settings import PrepareSettings
from compositing.writing import LayerWriter, remove
from l2a.errors import UnreadableVideo
from l2a.locks import filling, sweep_filling
from l2a.logs import say
from l2a.videos import Skipped, Video

Loaded = TypeVar("Loaded")


class LayerMaker:
    """Makes the layers of videos into a store, and gives them out, made again where damaged.

    Called with a video it is the task that engines distribute (an `engines.base.NetworkTask`).

    Args:
        folder: the store's; made when something is written.
        settings: how videos become layers.
        segmenter, inpainter: used in place of those that the settings name.

    Raises:
        InputError: a back end is unknown, or its files are not there.
    """

    def __init__(
        self,
        folder: Path,
        settings: PrepareSettings,
        *,
        segmenter: Segmenter | None = None,
        inpainter: Inpainter | None = None,
    ) -> None:
        self.settings = settings
        self._given = (segmenter, inpainter)
        self._device = ("cpu", 8)
        self.identities = (self.segmenter.identity, self.inpainter.identity)
        self.store = LayerStore(folder, settings, self.identities)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without back ends: a worker makes its own, but does not hash their files again."""
        made = ("segmenter", "inpainter")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @property
    def folder(self) -> Path:
        """Where the store lies."""
        return self.store.folder

    @cached_property
    def segmenter(self) -> Segmenter:
        """Finds the instances."""
        return to_device(self._given[0] or make_segmenter(self.settings.segmenter), *self._device)

    @cached_property
    def inpainter(self) -> Inpainter:
        """Empties the background."""
        return to_device(self._given[1] or make_inpainter(self.settings.inpainter), *self._device)

    def prepare(
        self, videos: Sequence[Video], engine: Engine = HERE, progress: Progress | None = None
    ) -> PrepareReport:
        """Make the layers of all videos that do not have them yet.

        One process at a time fills a store: others wait, and take what it has made.

        Args:
            videos: which; results come in this order.
            engine: distributes the work.
            progress: called as progress(videos done, videos in all).

        Raises:
            InputError: the segmenter cannot do these videos, or a file lies where the store has a
                folder; before any work.
            L2AError: unexpected errors struck all videos.
        """
        self.store.check_folders()
        found = {video.id: self.store.current(video) for video in videos}
        todo = [video for video in videos if found[video.id] is None]
        if not todo:
            sweep_filling(self.folder)
            return self._fill(videos, found, engine, progress)
        self.segmenter.check(todo)

        def waits() -> None:
            say(f"waiting for another command that fills {self.folder}")

        with filling(self.folder, waits):
            found |= {video.id: self.store.current(video) for video in todo}
            return self._fill(videos, found, engine, progress)

    def _fill(
        self, videos: Sequence[Video], found: Mapping[str, LayerRecord | None], engine: Engine,
        progress: Progress | None,
    ) -> PrepareReport:  # fmt: skip
        """Make the layers of the videos of which none were found."""
        todo = [video for video in videos if found[video.id] is None]
        results: dict[str, LayerRecord | Failure] = {
            video_id: record for video_id, record in found.items() if record is not None
        }
        reused = len(results)
        report = progress or (lambda done, total: None)
        report(reused, len(videos))
        made = engine.map(self, todo, on_crash=_crashed)
        for video, result in zip(todo, made, strict=True):
            results[video.id] = result
            if isinstance(result, Failure):
                result.log(video.id)
            report(len(results), len(videos))
        rows = [(video.id, results[video.id]) for video in videos]
        records = tuple(row for _, row in rows if isinstance(row, LayerRecord))
        failures = [(video_id, row) for video_id, row in rows if isinstance(row, Failure)]
        refuse_if_all((row for _, row in failures), len(records), "prepared")
        skipped = tuple(Skipped(video_id, row.reason) for video_id, row in failures)
        return PrepareReport(records, skipped, len(records) - reused, reused)

    # What is stored, made again where it is damaged: `compositing.layers.LayerSource`.

    def record(self, video_id: str) -> LayerRecord:
        """See `LayerStore.record`."""
        return self.store.record(video_id)

    def load(self, video: Video) -> Layers:
        """See `LayerStore.load`; what stays damaged when made again is an `UnreadableVideo`."""
        return self._mended(self.store.load, video)

    def load_foreground(self, video: Video) -> Foreground:
        """See `LayerStore.load_foreground`; damage as in `load`."""
        return self._mended(self.store.load_foreground, video)

    def load_background(self, video: Video) -> Background:
        """See `LayerStore.load_background`; damage as in `load`."""
        return self._mended(self.store.load_background, video)

    def load_times(self, video: Video) -> NDArray[np.float64]:
        """See `LayerStore.load_times`; damage as in `load`."""
        return self._mended(self.store.load_times, video)

    def _mended(self, load: Callable[[Video], Loaded], video: Video) -> Loaded:
        """What `load` gives, once damaged files were removed and made again.

        By this process, on its CPU if a network is needed: that is rare, because `prepare` notices
        what is missing or too short. One try may reveal the next file: there are three.
        """
        for _ in range(4):
            try:
                return load(video)
            except DamagedLayers as error:
                damage = error
                say(f"{damage} Making them again now.")
                for path in damage.files:
                    remove(path)
                self.make(video)
        reason = f"its layers are damaged and stay so when made again: {damage.reason}"
        raise UnreadableVideo(video.path, reason, passing=True)

    def make(self, video: Video) -> LayerRecord:
        """Make what is missing of one video's layers, and its record last.

        Raises:
            UnreadableVideo: it cannot be decoded.
        """
        writer = LayerWriter(self.store, self.identities, self.segmenter, self.inpainter)
        return writer.write(video)

    # The task of preparation: `compositing.engines.base.NetworkTask`.

    def __call__(self, video: Video) -> LayerRecord | Failure:
        """The record of the video's layers, or why it has none."""
        return attempt(self.make, video)

    def networks(self) -> tuple[str, ...]:
        """Which of segmenter and inpainter are networks."""
        parts = {"segmenter": self.segmenter, "inpainter": self.inpainter}
        return tuple(name for name, part in parts.items() if is_network(part))

    def on_device(self, device: str, frames_at_once: int) -> LayerMaker:
        """The same maker with its networks in the process that calls it."""
        return self._changed(_device=(device, frames_at_once))

    def infer(self, part: str, *arguments: Any) -> Any:
        """What the network of the segmenter or of the inpainter gives."""
        if part == "inpainter":
            return self.inpainter(*arguments)
        # What travels back is small: the workers paste, encode and follow.
        asked = self.segmenter.detect if isinstance(self.segmenter, Detector) else self.segmenter
        return asked(*arguments)

    def hosted(self, infer: Infer) -> LayerMaker:
        """The same maker with its networks in another process."""
        segmenter, inpainter = self.segmenter, self.inpainter
        if is_network(segmenter):
            ask = partial(infer, "segmenter")
            if isinstance(segmenter, Detector):
                segmenter = HostedDetector(segmenter.identity, segmenter.name, ask)
            else:
                segmenter = HostedSegmenter(segmenter.identity, ask)
        if is_network(inpainter):
            inpainter = HostedInpainter(
                inpainter.identity, inpainter.uses_other_frames, partial(infer, "inpainter")
            )
        return self._changed(_given=(segmenter, inpainter))

    def _changed(self, **changes: Any) -> LayerMaker:
        maker = LayerMaker.__new__(LayerMaker)
        maker.__dict__ = self.__getstate__() | changes
        return maker


def _crashed(video: Video) -> Failure:
    """The result for a video whose process died twice."""
    return Failure("the process that prepared it died twice")
