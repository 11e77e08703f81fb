"""Layers: what compositing knows of one video, made once per video and stored.

A store is a folder:

    masks/<segmentation>/<video>.json    raw instances, YouTube-VIS; one folder per segmenter
    foregrounds/<video>.<digest>.json    the final mask, YouTube-VIS, as one instance
    backgrounds/<video>.<key>.mkv        the clean background, H.264, near lossless
    records/<video>.json                 a `LayerRecord`; written last

<video> is a safe name made of the id. A record's fingerprint covers all that its video's layers
depend on; where it no longer fits, only the parts that changed are made anew: another threshold
segments nothing, another inpainter segments nothing, and where the final mask stays the same
nothing is inpainted. The final mask is stored too, because layers are loaded once per pair and
its upkeep over time costs more than reading it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositing.engines import Engine
from compositing.engines.local import HERE
from compositing.inpainters import Inpainter, make_inpainter
from compositing.making import MakeLayers, lost
from compositing.masks import (
    Instance,
    VideoMasks,
    dilate_masks,
    encode,
    from_json,
    no_masks,
    to_json,
)
from compositing.networks import place
from compositing.records import (
    Background,
    Foreground,
    LayerRecord,
    Layers,
    PrepareReport,
    unfit_reasons,
)
from compositing.segmenters import Segmenter, make_segmenter
from compositing.settings import PrepareSettings
from l2a.errors import InputError, UnreadableVideo
from l2a.files import fingerprint, inside, read_json, safe_name, source_mark, write_json
from l2a.media import Frames, read_frames, resize_masks, write_video
from l2a.runs import versions
from l2a.videos import Skipped, Video

__all__ = ["Background", "Foreground", "LayerRecord", "LayerStore", "Layers", "PrepareReport"]

Progress = Callable[[int, int], None]

_LAYOUT = 2
"""Version of the folder's files; layers of another version are made again."""

BACKGROUND_CRF = 10
BACKGROUND_PRESET = "superfast"
BACKGROUND_TUNE = "fastdecode"
"""A background is read for each of its pairs: 6 % more bytes, and a third less time to decode."""
FOREGROUND = "foreground"
"""Category of the one instance that stands for a final mask."""


class LayerStore:
    """A folder of layers, and the way to make them.

    Args:
        folder: where it lies; made when something is written.
        settings: how videos become layers.
        segmenter, inpainter: used in place of those that the settings name.
    """

    def __init__(
        self,
        folder: Path,
        settings: PrepareSettings,
        *,
        segmenter: Segmenter | None = None,
        inpainter: Inpainter | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self._given = (segmenter, inpainter)
        self._identities: tuple[str, str] | None = None
        self._place = ("cpu", 8)

    def __getstate__(self) -> dict[str, Any]:
        """Travel light: a worker makes its own back ends, but does not hash their files again."""
        return {
            "folder": self.folder,
            "settings": self.settings,
            "_given": self._given,
            "_identities": self.identities,
            "_place": self._place,
        }

    @cached_property
    def segmenter(self) -> Segmenter:
        """Finds the instances."""
        return place(self._given[0] or make_segmenter(self.settings.segmenter), *self._place)

    @cached_property
    def inpainter(self) -> Inpainter:
        """Empties the background."""
        return place(self._given[1] or make_inpainter(self.settings.inpainter), *self._place)

    def placed(self, device: str, frames_at_once: int) -> LayerStore:
        """The same store; its networks run on `device`, with so many frames in one pass."""
        store = LayerStore.__new__(LayerStore)
        store.__dict__ = self.__getstate__() | {"_place": (device, frames_at_once)}
        return store

    def using(self, segmenter: Segmenter, inpainter: Inpainter) -> LayerStore:
        """The same store with other objects in the place of its back ends, of equal identity."""
        store = LayerStore.__new__(LayerStore)
        store.__dict__ = self.__getstate__() | {"_given": (segmenter, inpainter)}
        return store

    @property
    def identities(self) -> tuple[str, str]:
        """The segmenter's and the inpainter's."""
        if self._identities is None:
            self._identities = (self.segmenter.identity, self.inpainter.identity)
        return self._identities

    def prepare(
        self, videos: Sequence[Video], engine: Engine = HERE, progress: Progress | None = None
    ) -> PrepareReport:
        """Make the layers of all videos that do not have them yet.

        Args:
            videos: which; results come in this order.
            engine: spreads the work.
            progress: called as progress(videos done, videos in all).

        Raises:
            InputError: a back end cannot be made, or cannot do these videos; before any work.
        """
        found = {video.id: self._current(video) for video in videos}
        todo = [video for video in videos if found[video.id] is None]
        if todo:
            self.segmenter.check(todo)
        results: dict[str, LayerRecord | Skipped] = {
            video_id: record for video_id, record in found.items() if record is not None
        }
        reused = len(results)
        report = progress or (lambda done, total: None)
        report(reused, len(videos))
        made = engine.map(MakeLayers(self), todo, lost=lost)
        for video, result in zip(todo, made, strict=True):
            results[video.id] = result
            report(len(results), len(videos))
        ordered = [results[video.id] for video in videos]
        records = tuple(row for row in ordered if isinstance(row, LayerRecord))
        skipped = tuple(row for row in ordered if isinstance(row, Skipped))
        return PrepareReport(records, skipped, len(records) - reused, reused)

    def record(self, video_id: str) -> LayerRecord:
        """What is known of a prepared video.

        Raises:
            InputError: it was not prepared.
        """
        record = self._stored(video_id)
        if record is None:
            raise InputError(f"{self.folder} has no layers of {video_id}; prepare it first.")
        return record

    def load(self, video: Video) -> Layers:
        """A prepared video's layers: all its frames, at the stored size.

        Raises:
            InputError: it was not prepared, or with other settings.
            UnreadableVideo: a file cannot be decoded, or is not what was prepared.
        """
        record = self._checked(video)
        front = self.load_foreground(video)
        background = front.frames.copy()
        if record.background:
            background = self._read_background(record)
        if background.shape != front.frames.shape:
            raise UnreadableVideo(video.path, "it has not the frames that were prepared")
        return Layers(video, front.frames, front.mask, background, front.times, front.fps)

    def load_foreground(self, video: Video) -> Foreground:
        """What a pair needs of its foreground: the clean background is not decoded.

        Raises:
            InputError, UnreadableVideo: as `load`.
        """
        record = self._checked(video)
        source = self._read(video)
        mask, _ = self._foreground(video, record)
        if source.frames.shape[:3] != mask.shape:
            raise UnreadableVideo(video.path, "it has not the frames that were prepared")
        return Foreground(video, source.frames, mask, source.times, source.fps)

    def load_background(self, video: Video) -> Background:
        """What a pair needs of its background: the video itself is not decoded if that can be.

        Raises:
            InputError, UnreadableVideo: as `load`.
        """
        record = self._checked(video)
        mask, times = self._foreground(video, record)
        if not record.background or times is None:
            layers = self.load(video)
            return Background(video, layers.mask, layers.background, layers.times)
        background = self._read_background(record)
        if not mask.shape == background.shape[:3] == (len(times), record.height, record.width):
            raise UnreadableVideo(video.path, "it has not the frames that were prepared")
        return Background(video, mask, background, times)

    def _checked(self, video: Video) -> LayerRecord:
        """The record of a video whose layers are those of its file and of the settings."""
        record = self.record(video.id)
        if not source_mark(video.path):
            raise UnreadableVideo(video.path, "it is not there any more")
        if record.fingerprint != self._fingerprint(video):
            raise InputError(
                f"The layers of {video.id} in {self.folder} were made from another file or with"
                " other settings; prepare it again."
            )
        return record

    def _read_background(self, record: LayerRecord) -> NDArray[np.uint8]:
        path = inside(self.folder / "backgrounds", record.background)
        try:
            frames = read_frames(path).frames
        except UnreadableVideo:
            path.unlink(missing_ok=True)  # without it, it is made again
            raise
        # H.264 has even sizes only; the padding is cut off again.
        return frames[:, : record.height, : record.width]

    def make(self, video: Video) -> LayerRecord:
        """Make what is missing of one video's layers, and its record last.

        Raises:
            UnreadableVideo: it cannot be decoded.
        """
        old = self._stored(video.id)
        stored = self._stored_masks(video)
        source = None
        if stored is None:
            source = self._read(video)
            stored = self._segment(video, source)
        masks, info = stored
        size = (int(info["frame_height"]), int(info["frame_width"]))
        mask = self._final_mask(masks, size)
        times = np.array(info["times"])
        digest = hashlib.sha256(np.packbits(mask).tobytes() + times.tobytes()).hexdigest()
        segmenter, inpainter = self.identities
        parts = [digest, mask.shape, self.settings.dilate, inpainter, info["source"]]
        key = fingerprint(parts)
        name = f"{safe_name(video.id)}.{key}.mkv" if mask.any() else ""
        if old is not None and old.background == name and self._has_background(name):
            hole, unseen = old.hole, old.unseen
        else:
            hole, unseen = self._clean(source or self._read(video), mask, name)
        gamma, mask_share = float(mask.mean()), float(mask.any(axis=(1, 2)).mean())
        foreground, background = unfit_reasons(
            self.settings,
            note=masks.note,
            gamma=gamma,
            mask_share=mask_share,
            hole=hole,
            unseen=unseen if self.inpainter.looks_behind else 0.0,
            doubts=masks.doubts,
        )
        record = LayerRecord(
            id=video.id,
            num_frames=len(mask),
            height=size[0],
            width=size[1],
            fps=float(info["fps"]),
            gamma=gamma,
            mask_share=mask_share,
            hole=hole,
            unseen=unseen,
            foreground_unfit=foreground,
            background_unfit=background,
            segmenter=segmenter,
            inpainter=inpainter,
            fingerprint=self._fingerprint(video),
            mask_digest=digest,
            background=name,
        )
        self._store_foreground(record, mask, info["times"])
        write_json(self._record_path(video.id), record)
        if old is not None:
            if old.background and old.background != name:
                inside(self.folder / "backgrounds", old.background).unlink(missing_ok=True)
            if self._foreground_path(old) != self._foreground_path(record):
                self._foreground_path(old).unlink(missing_ok=True)
        return record

    def _read(self, video: Video) -> Frames:
        return read_frames(
            video.path, max_frames=self.settings.max_frames, max_side=self.settings.max_side
        )

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
        write_json(self._masks_path(video.id), document)
        return masks, info

    def _clean(self, source: Frames, mask: NDArray[np.bool_], name: str) -> tuple[float, float]:
        """Inpaint and store the background; give the shares `hole` and `unseen`."""
        if not name:
            return 0.0, 0.0
        holes = dilate_masks(mask, self.settings.dilate)
        inpainted = self.inpainter(source.frames, holes)
        write_video(
            self.folder / "backgrounds" / name,
            inpainted.frames,
            source.fps,
            crf=BACKGROUND_CRF,
            preset=BACKGROUND_PRESET,
            tune=BACKGROUND_TUNE,
        )
        return float(holes.mean()), float(inpainted.unseen.mean())

    def _final_mask(self, masks: VideoMasks, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The foreground at the frames' size (height, width): bool [T, H, W]."""
        return resize_masks(masks.union(self.settings), size)

    def _store_foreground(
        self, record: LayerRecord, mask: NDArray[np.bool_], times: list[float]
    ) -> None:
        path = self._foreground_path(record)
        if not path.is_file():
            instance = Instance(FOREGROUND, 1.0, encode(mask))
            masks = VideoMasks(record.height, record.width, record.num_frames, (instance,))
            info = {"segmenter": record.segmenter, "times": times}
            write_json(path, to_json(masks, record.id, info))

    def _foreground(
        self, video: Video, record: LayerRecord
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
        """The stored final mask, with the frames' times; both from elsewhere if it is damaged.

        Then the mask comes from the raw masks, and the times are None: the video has them.
        """
        try:
            document = read_json(self._foreground_path(record))
            times = np.array(document["info"]["times"], np.float64)
            mask = from_json(document)[record.id].merged()
        except (InputError, KeyError, TypeError, ValueError):
            masks = self._stored_masks(video)
            if masks is None:
                # The record promises what is not there: without it, they are made again.
                self._record_path(video.id).unlink(missing_ok=True)
                raise InputError(
                    f"{self.folder} has no masks of {video.id}; prepare it again."
                ) from None
            return self._final_mask(masks[0], (record.height, record.width)), None
        return mask, times

    def _stored_masks(self, video: Video) -> tuple[VideoMasks, dict[str, Any]] | None:
        """The raw masks of this segmenter and their info; None when they are not there."""
        path = self._masks_path(video.id)
        if not path.is_file():
            return None
        try:
            document = read_json(path)
            masks = from_json(document)[video.id]
        except (InputError, KeyError, ValueError):
            return None  # a damaged file is made anew
        info = {key: value for key, value in document["info"].items() if key != "note"}
        current = "times" in info and info.get("source") == source_mark(video.path)
        return (masks, info) if current else None

    def _stored(self, video_id: str) -> LayerRecord | None:
        path = self._record_path(video_id)
        if not path.is_file():
            return None
        try:
            row = read_json(path)
        except InputError:
            return None
        known = {field.name for field in fields(LayerRecord)}
        return LayerRecord(**row) if isinstance(row, dict) and set(row) == known else None

    def _current(self, video: Video) -> LayerRecord | None:
        """The stored record if nothing that it depends on has changed."""
        record = self._stored(video.id)
        if record is None or record.fingerprint != self._fingerprint(video):
            return None
        files = (self._masks_path(video.id), self._foreground_path(record))
        whole = self._has_background(record.background) and all(map(Path.is_file, files))
        return record if whole else None

    def _has_background(self, name: str) -> bool:
        return not name or inside(self.folder / "backgrounds", name).is_file()

    def _fingerprint(self, video: Video) -> str:
        settings = asdict(self.settings)
        # Identities say more than names, and a moved folder of masks is still the same.
        del settings["segmenter"], settings["inpainter"]
        return fingerprint([_LAYOUT, settings, self.identities, source_mark(video.path)])

    def _masks_path(self, video_id: str) -> Path:
        settings = self.settings
        kind = fingerprint([self.identities[0], settings.max_side, settings.max_frames])
        return self.folder / "masks" / kind / f"{safe_name(video_id)}.json"

    def _foreground_path(self, record: LayerRecord) -> Path:
        name = f"{safe_name(record.id)}.{record.mask_digest[:16]}.json"
        return inside(self.folder / "foregrounds", name)

    def _record_path(self, video_id: str) -> Path:
        return self.folder / "records" / f"{safe_name(video_id)}.json"


@functools.cache
def _versions() -> dict[str, str]:
    return versions()
