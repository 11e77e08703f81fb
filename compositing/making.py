"""The making of layers: one video at a time, as a task that engines spread over processes.

Where a stored part no longer fits, only that part is made anew: another threshold segments nothing,
another inpainter segments nothing, and where the final mask stays the same nothing is inpainted.
"""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compositing.engines import Engine, Infer
from compositing.engines.local import HERE
from compositing.failures import Failure, attempt, refuse_if_all
from compositing.inpainters import HostedInpainter, Inpainter, make_inpainter
from compositing.layers import DamagedLayers, LayerStore, Progress, mask_digest
from compositing.masks import Instance, VideoMasks, dilate_masks, encode, no_masks, to_json
from compositing.networks import is_network, to_device
from compositing.records import (
    Background,
    Foreground,
    LayerRecord,
    Layers,
    PrepareReport,
    unfit_reasons,
)
from compositing.segmenters import (
    Detector,
    HostedDetector,
    HostedSegmenter,
    Segmenter,
    make_segmenter,
)
from compositing.settings import PrepareSettings
from l2a.errors import UnreadableVideo
from l2a.files import fingerprint, safe_name, source_mark, write_json
from l2a.media import Frames, resize_masks, write_video
from l2a.runs import versions
from l2a.videos import Skipped, Video

Loaded = TypeVar("Loaded")

BACKGROUND_CRF = 10
BACKGROUND_PRESET = "superfast"
BACKGROUND_TUNE = "fastdecode"
"""A background is read for each of its pairs: 6 % more bytes, and a third less time to decode."""
FOREGROUND = "foreground"
"""Category of the one instance that stands for a final mask."""

_log = logging.getLogger(__name__)


class LayerMaker:
    """Makes the layers of videos into a store, and gives them out, made again where damaged.

    Called with a video it is the task that engines spread (an `engines.NetworkTask`).

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
        """Travel light: a worker makes its own back ends, but does not hash their files again."""
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

        Args:
            videos: which; results come in this order.
            engine: spreads the work.
            progress: called as progress(videos done, videos in all).

        Raises:
            InputError: the segmenter cannot do these videos, or a file lies where the store has a
                folder; before any work.
            L2AError: unexpected errors struck all videos.
        """
        self.store.check_folders()
        found = {video.id: self.store.current(video) for video in videos}
        todo = [video for video in videos if found[video.id] is None]
        if todo:
            self.segmenter.check(todo)
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
        """See `LayerStore.load`; `DamagedLayers` only if making them again did not mend them."""
        return self._mended(self.store.load, video)

    def load_foreground(self, video: Video) -> Foreground:
        """See `LayerStore.load_foreground`; damage as in `load`."""
        return self._mended(self.store.load_foreground, video)

    def load_background(self, video: Video) -> Background:
        """See `LayerStore.load_background`; damage as in `load`."""
        return self._mended(self.store.load_background, video)

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
                _log.info("%s Making them again now.", damage)
                for path in damage.files:
                    _remove(path)
                self.make(video)
        reason = f"its layers are damaged and stay so when made again: {damage.reason}"
        raise UnreadableVideo(video.path, reason)

    # The task of preparation: `compositing.engines.NetworkTask`.

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
                inpainter.identity, inpainter.looks_behind, partial(infer, "inpainter")
            )
        return self._changed(_given=(segmenter, inpainter))

    def _changed(self, **changes: Any) -> LayerMaker:
        maker = LayerMaker.__new__(LayerMaker)
        maker.__dict__ = self.__getstate__() | changes
        return maker

    # One video.

    def make(self, video: Video) -> LayerRecord:
        """Make what is missing of one video's layers, and its record last.

        Raises:
            UnreadableVideo: it cannot be decoded.
        """
        old = self.store.stored(video.id)
        source = _Source(self.store, video)
        stored = self.store.stored_masks(video)
        mask = self._final_mask(*stored) if stored else None
        if stored is None or mask is None:
            stored = self._segment(video, source.frames)
            mask = resize_masks(stored[0].union(self.settings), source.frames.frames.shape[1:3])
        masks, info = stored
        times = np.array(info["times"], np.float64)
        digest = mask_digest(mask, times)
        name = self._background_name(video, digest, mask, info["source"])
        if old is not None and self.store.sound_background(old, name):
            hole, unseen = old.hole, old.unseen
        elif not name:
            hole, unseen = 0.0, 0.0
        elif mask.shape == source.frames.frames.shape[:3]:
            hole, unseen = self._clean(source.frames, mask, name)
        else:  # decoded otherwise than when it was segmented
            _remove(self.store.masks_path(video.id, self.identities[0]))
            return self.make(video)
        gamma, mask_share = float(mask.mean()), float(mask.any(axis=(1, 2)).mean())
        foreground, background = unfit_reasons(
            self.settings,
            note=masks.note,
            gamma=gamma,
            mask_share=mask_share,
            hole=hole,
            unseen=unseen if self.inpainter.looks_behind else 0.0,
        )
        record = LayerRecord(
            id=video.id,
            num_frames=len(mask),
            height=mask.shape[1],
            width=mask.shape[2],
            fps=float(info["fps"]),
            gamma=gamma,
            mask_share=mask_share,
            hole=hole,
            unseen=unseen,
            foreground_unfit=foreground,
            background_unfit=background,
            segmenter=self.identities[0],
            inpainter=self.identities[1],
            fingerprint=self.store.fingerprint(video),
            mask_digest=digest,
            background=name,
        )
        self._store_foreground(record, mask, info["times"])
        return self._store_record(record, old)

    def _final_mask(self, masks: VideoMasks, info: dict[str, Any]) -> NDArray[np.bool_] | None:
        """The foreground in stored masks: bool [T, H, W] at the frames' size; None if damaged."""
        try:
            union = masks.union(self.settings)
        except ValueError:
            return None
        return resize_masks(union, (int(info["frame_height"]), int(info["frame_width"])))

    def _segment(self, video: Video, source: Frames) -> tuple[VideoMasks, dict[str, Any]]:
        """Segment a video and store the raw masks with what they depend on."""
        masks = self.segmenter(video, source)
        count, height, width = source.frames.shape[:3]
        if masks.num_frames != count:
            raise ValueError(f"{self.identities[0]} gave {masks.num_frames} masks for {count}")
        info = {
            "segmenter": self.identities[0],
            "source": source_mark(video.path),
            "max_side": self.settings.max_side,
            "max_frames": self.settings.max_frames,
            "frame_height": height,
            "frame_width": width,
            "fps": source.fps,
            "times": source.times.tolist(),
            "versions": dict(_versions()),
        }
        try:
            document = to_json(masks, video.id, info)
        except ValueError as error:  # brought from outside, and damaged
            masks = no_masks(height, width, count, f"its masks are damaged: {error}")
            document = to_json(masks, video.id, info)
        write_json(_free(self.store.masks_path(video.id, self.identities[0])), document)
        return masks, info

    def _background_name(
        self, video: Video, digest: str, mask: NDArray[np.bool_], source: str
    ) -> str:
        """The file of a background; "" where there is no hole. It changes with what is in it."""
        if not mask.any():
            return ""
        key = fingerprint([digest, mask.shape, self.settings.dilate, self.identities[1], source])
        return f"{safe_name(video.id)}.{key}.mkv"

    def _clean(self, source: Frames, mask: NDArray[np.bool_], name: str) -> tuple[float, float]:
        """Inpaint and store the background; give the shares `hole` and `unseen`."""
        holes = dilate_masks(mask, self.settings.dilate)
        inpainted = self.inpainter(source.frames, holes)
        write_video(
            _free(self.store.folder / "backgrounds" / name),
            inpainted.frames,
            source.fps,
            crf=BACKGROUND_CRF,
            preset=BACKGROUND_PRESET,
            tune=BACKGROUND_TUNE,
        )
        return float(holes.mean()), float(inpainted.unseen.mean())

    def _store_foreground(
        self, record: LayerRecord, mask: NDArray[np.bool_], times: list[float]
    ) -> None:
        instance = Instance(FOREGROUND, 1.0, encode(mask))
        masks = VideoMasks(record.height, record.width, record.num_frames, (instance,))
        info = {"segmenter": record.segmenter, "times": times}
        write_json(_free(self.store.foreground_path(record)), to_json(masks, record.id, info))

    def _store_record(self, record: LayerRecord, old: LayerRecord | None) -> LayerRecord:
        """Write the record with its files' sizes, and remove what only the old one needed."""
        store = self.store
        background = store.background_path(record.background)
        record = replace(
            record,
            masks_bytes=store.masks_path(record.id, record.segmenter).stat().st_size,
            foreground_bytes=store.foreground_path(record).stat().st_size,
            background_bytes=background.stat().st_size if background else 0,
        )
        write_json(_free(store.record_path(record.id)), record)
        if old is not None:
            for before, now in (
                (store.background_path(old.background), background),
                (store.foreground_path(old), store.foreground_path(record)),
            ):
                if before is not None and before != now:
                    _remove(before)
        return record


class _Source:
    """A video that is decoded when it is first needed, and once."""

    def __init__(self, store: LayerStore, video: Video) -> None:
        self._store, self._video = store, video

    @cached_property
    def frames(self) -> Frames:
        """Its frames; raises `UnreadableVideo`."""
        return self._store.read_source(self._video)


def _free(path: Path) -> Path:
    """`path`, at which there is no folder any more: what is damaged may be anything."""
    if path.is_dir():
        _remove(path)
    return path


def _remove(path: Path) -> None:
    """Remove a file of the store, or a folder that stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _versions() -> dict[str, str]:
    return versions()


def _crashed(video: Video) -> Failure:
    """What comes of a video whose process died twice."""
    return Failure("the process that prepared it died twice")
