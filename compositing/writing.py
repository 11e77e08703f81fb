"""Writing one video's layers into a store: segmented, emptied, encoded, noted.

Where a stored part no longer fits, only that part is made again: another threshold segments
nothing, another inpainter segments nothing, and where the final mask stays the same nothing is
inpainted.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositing.inpainters.base import Inpainter
from compositing.layers import LayerStore, mask_digest
from compositing.masks import (
    ALL_MASKED,
    Instance,
    VideoMasks,
    dilate_masks,
    encode,
    no_masks,
    to_json,
)
from compositing.records import DAMAGED, LayerRecord, unfit_reasons
from compositing.segmenters import Segmenter
from compositing.settings import PrepareSettings
from l2a.files import fingerprint, safe_name, source_mark, write_json
from l2a.media import Frames, resize_masks, write_video
from l2a.runs import versions
from l2a.videos import Video

BACKGROUND_CRF = 10
BACKGROUND_PRESET = "superfast"
BACKGROUND_TUNE = "fastdecode"
"""A background is read for each of its pairs: 6 % more bytes, and a third less time to decode."""
FOREGROUND = "foreground"
"""Category of the one instance that stands for a final mask."""
_OF_SOURCE = ("source_frames", "source_height", "source_width")
"""Fields of `LayerRecord`, which the raw masks keep so that no video is decoded for them."""


@dataclass(frozen=True, slots=True)
class LayerWriter:
    """Writes one video's layers.

    Attributes:
        store: where to.
        identities: the segmenter's and the inpainter's, so that no worker need hash their files.
        segmenter, inpainter: see their protocols.
    """

    store: LayerStore
    identities: tuple[str, str]
    segmenter: Segmenter
    inpainter: Inpainter

    def write(self, video: Video) -> LayerRecord:
        """Make what is missing of one video's layers, and its record last.

        Raises:
            UnreadableVideo: it cannot be decoded.
        """
        old = self.store.stored(video.id)
        source = _DecodedVideo(self.store, video)
        stored = self.store.stored_masks(video)
        mask = self._final_mask(*stored) if stored else None
        if stored is None or mask is None:
            stored = self._segment(video, source.frames)
            mask = resize_masks(
                stored[0].union(self.store.settings), source.frames.frames.shape[1:3]
            )
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
            remove(self.store.masks_path(video.id, self.identities[0]))
            return self.write(video)
        gamma, mask_share = float(mask.mean()), float(mask.any(axis=(1, 2)).mean())
        foreground, background = unfit_reasons(
            self.store.settings,
            note=masks.note or masks.why_nothing_passes(self.store.settings),
            gamma=gamma,
            mask_share=mask_share,
            hole=hole,
            unseen=unseen if self.inpainter.uses_other_frames else 0.0,
            doubts=masks.doubts,
            sparse=_sparse(masks, mask, self.store.settings),
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
            unmasked=len(masks.unmasked.frames),
            **_of_source(info),
        )
        self._store_foreground(record, mask, info["times"])
        return self._store_record(record, old)

    def _final_mask(self, masks: VideoMasks, info: dict[str, Any]) -> NDArray[np.bool_] | None:
        """The foreground in stored masks: bool [T, H, W] at the frames' size; None if damaged."""
        try:
            union = masks.union(self.store.settings)
        except ValueError:
            return None
        return resize_masks(union, (int(info["frame_height"]), int(info["frame_width"])))

    def _segment(self, video: Video, source: Frames) -> tuple[VideoMasks, dict[str, Any]]:
        """Segment a video and store the raw masks with what they depend on."""
        masks = self.segmenter(video, source)
        count, height, width = source.frames.shape[:3]
        stored = source.stored or (height, width)
        if masks.num_frames != count:
            raise ValueError(f"{self.identities[0]} gave {masks.num_frames} masks for {count}")
        info = {
            "segmenter": self.identities[0],
            "source": source_mark(video.path),
            "max_side": self.store.settings.max_side,
            "max_frames": self.store.settings.max_frames,
            "frame_height": height,
            "frame_width": width,
            **dict(zip(_OF_SOURCE, (source.total, *stored), strict=True)),
            "fps": source.fps,
            "times": source.times.tolist(),
            "versions": dict(_versions()),
            "unmasked": asdict(ALL_MASKED),  # where there are such frames, `to_json` says which
        }
        try:
            document = to_json(masks, video.id, info)
        except ValueError as error:  # brought from outside, and damaged
            masks = no_masks(height, width, count, f"{DAMAGED}: {error}")
            document = to_json(masks, video.id, info)
        write_json(_free(self.store.masks_path(video.id, self.identities[0])), document)
        return masks, info

    def _background_name(
        self, video: Video, digest: str, mask: NDArray[np.bool_], source: str
    ) -> str:
        """The file of a background; "" where there is no hole. It changes with what is in it."""
        if not mask.any():
            return ""
        key = fingerprint(
            [digest, mask.shape, self.store.settings.dilate, self.identities[1], source]
        )
        return f"{safe_name(video.id)}.{key}.mkv"

    def _clean(self, source: Frames, mask: NDArray[np.bool_], name: str) -> tuple[float, float]:
        """Inpaint and store the background; give the shares `hole` and `unseen`."""
        holes = dilate_masks(mask, self.store.settings.dilate)
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
                    remove(before)
        return record


def _of_source(info: dict[str, Any]) -> dict[str, int]:
    """What a record says of the video's file; nothing where the masks are older than that."""
    known = {key: info[key] for key in _OF_SOURCE if type(info.get(key)) is int and info[key] > 0}
    return known if len(known) == len(_OF_SOURCE) else {}


def _sparse(masks: VideoMasks, mask: NDArray[np.bool_], settings: PrepareSettings) -> str:
    """That so many frames have no masks that the actor stays in the background; "" otherwise.

    As many may be without as a foreground may: of them, nobody knows where its actor is either.
    """
    lost = masks.lost(np.asarray(mask.any(axis=(1, 2))), settings.max_gap)
    if lost.mean() <= 1 - settings.min_mask_share:
        return ""
    count = masks.num_frames
    had = count - len(masks.unmasked.frames)
    wider = _enough_gap(masks, settings)
    remedy = f", or --max-gap {wider}" if wider else ""
    return f"masks of only {had} of its {count} frames; make masks of more{remedy}"


def _enough_gap(masks: VideoMasks, settings: PrepareSettings) -> int:
    """A larger `max_gap` with which so many frames are filled that few enough are lost, if the
    instances before gaps are found again behind them; 0 where there is none."""
    count, runs = masks.num_frames, masks.unmasked.runs()

    def filled(start: int, stop: int) -> int:
        """The gap that fills in as many of these frames as can be; 0: none are."""
        if not start:
            return 0
        return min(stop - start, masks.unmasked.hold) if stop == count else stop - start

    for gap in sorted({filled(*run) for run in runs}):
        held = sum(filled(*run) for run in runs if filled(*run) <= gap)
        lost = len(masks.unmasked.frames) - held
        if gap > settings.max_gap and lost <= (1 - settings.min_mask_share) * count:
            return gap
    return 0


class _DecodedVideo:
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
        remove(path)
    return path


def remove(path: Path) -> None:
    """Remove a file of the store, or a folder that stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _versions() -> dict[str, str]:
    return versions()
