"""The layer store: what compositing knows of each video, made once by a `LayerMaker`.

A store is a folder:

    masks/<segmentation>/<video>.json    raw instances, YouTube-VIS; one folder per segmenter
    foregrounds/<video>.<digest>.json    the final mask, YouTube-VIS, as one instance
    backgrounds/<video>.<key>.mkv        the clean background, H.264, near lossless
    records/<video>.json                 a `LayerRecord`; written last

<video> is a safe name made of the id. A record's fingerprint covers all that its video's layers
depend on. The final mask is stored too, because layers are loaded once per pair and its refinement
over time costs more than reading it.

Files can be damaged: truncated by a full disk, replaced, half copied. What can be noticed at the
price of a look at the folder (a file that is not there, or of another size) makes a video stale;
the rest is noticed when it is loaded, by the final mask's checksum and by decoding the background.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compositing.masks import VideoMasks, from_json
from compositing.records import (
    Background,
    Foreground,
    LayerRecord,
    Layers,
    PrepareReport,
    from_mask_files,
)
from compositing.settings import PrepareSettings
from l2a.errors import InputError, L2AError, UnreadableVideo
from l2a.files import fingerprint, read_json, safe_join, safe_name, source_mark
from l2a.media import Frames, read_frames
from l2a.videos import Video

__all__ = [
    "Background",
    "DamagedLayers",
    "Foreground",
    "LayerRecord",
    "LayerSource",
    "LayerStore",
    "Layers",
    "PrepareReport",
]

Progress = Callable[[int, int], None]

_LAYOUT = 2
"""Version of the folder's files; layers of another version are made again."""

_DAMAGE = (
    InputError, UnreadableVideo, AttributeError, KeyError, OSError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
"""What reading a damaged file can raise."""


class DamagedLayers(L2AError):
    """A video's layers cannot be read back, though its source may be sound.

    Attributes:
        video_id: the video's.
        files: those that must be made again.
        reason: what is wrong with them.
    """

    def __init__(self, video_id: str, files: tuple[Path, ...], reason: str) -> None:
        super().__init__(
            f"The layers of {video_id} are damaged: {files[0]} {reason}; `l2a prepare` with the"
            " same settings makes them again."
        )
        self.video_id, self.files, self.reason = video_id, files, reason

    def __reduce__(self) -> tuple[type[DamagedLayers], tuple[str, tuple[Path, ...], str]]:
        """Pickle whole."""
        return (DamagedLayers, (self.video_id, self.files, self.reason))


class LayerSource(Protocol):
    """Gives out stored layers: a `LayerStore` as they are, a `LayerMaker` remakes damaged ones."""

    @property
    def settings(self) -> PrepareSettings: ...

    @property
    def identities(self) -> tuple[str, str] | None: ...

    def record(self, video_id: str) -> LayerRecord: ...

    def load(self, video: Video) -> Layers: ...

    def load_foreground(self, video: Video) -> Foreground: ...

    def load_background(self, video: Video) -> Background: ...

    def load_times(self, video: Video) -> NDArray[np.float64]: ...


class LayerStore:
    """A folder of layers, to be read; nothing is made here, and no back end is needed.

    Args:
        folder: where it lies, or will lie.
        settings: how videos become layers.
        identities: the segmenter's and the inpainter's whose layers are wanted; None takes those
            that each record names, for a reader who has no back ends.
    """

    def __init__(
        self, folder: Path, settings: PrepareSettings, identities: tuple[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.identities = identities

    def record(self, video_id: str) -> LayerRecord:
        """What is known of a prepared video.

        Raises:
            InputError: it was not prepared, or its record is damaged.
        """
        record = self.stored(video_id)
        if record is None:
            raise InputError(f"{self.folder} has no layers of {video_id}; prepare it first.")
        return record

    def load(self, video: Video) -> Layers:
        """A prepared video's layers: all its frames, at the stored size.

        Raises:
            InputError: it was not prepared, or with other settings.
            UnreadableVideo: the source cannot be decoded.
            DamagedLayers: a file of the store is not what was written.
        """
        record = self._checked(video)
        front = self._load_foreground(video, record)
        background = self._background(record) if record.background else front.frames.copy()
        return Layers(video, front.frames, front.mask, background, front.times, front.fps)

    def load_foreground(self, video: Video) -> Foreground:
        """What a pair needs of its foreground: the clean background is not decoded.

        Raises:
            InputError, UnreadableVideo, DamagedLayers: as `load`.
        """
        return self._load_foreground(video, self._checked(video))

    def load_background(self, video: Video) -> Background:
        """What a pair needs of its background: the video is decoded only if it has no hole.

        Raises:
            InputError, UnreadableVideo, DamagedLayers: as `load`.
        """
        record = self._checked(video)
        # Records without sizes are older than square pixels: `load` compares with what is decoded.
        if not record.background or not record.masks_bytes:
            layers = self.load(video)
            return Background(video, layers.mask, layers.background, layers.times)
        mask, times = self._foreground(record)
        return Background(video, mask, self._background(record), times)

    def load_times(self, video: Video) -> NDArray[np.float64]:
        """The times of its frames, float64 [T], seconds, from 0; no video is decoded for them.

        Raises:
            InputError, UnreadableVideo, DamagedLayers: as `load`.
        """
        return self._foreground(self._checked(video))[1]

    def check_folders(self) -> None:
        """Raise `InputError` where a file has the place of one of the store's folders."""
        kinds = ("masks", "foregrounds", "backgrounds", "records")
        for path in (self.folder, *(self.folder / kind for kind in kinds)):
            if path.exists() and not path.is_dir():
                raise InputError(
                    f"{path} is a file, where a layer store has a folder; remove it, or give"
                    " --layers another folder."
                )

    def current(self, video: Video) -> LayerRecord | None:
        """The stored record if nothing that it depends on has changed, and its files are there.

        Layers that are `outdated` can be loaded, but are not current.
        """
        record = self.stored(video.id)
        if record is None or record.fingerprint != self.fingerprint(video, record):
            return None
        if record.outdated:
            return None
        files = (
            (self.masks_path(record.id, record.segmenter), record.masks_bytes),
            (self.foreground_path(record), record.foreground_bytes),
            (self.background_path(record.background), record.background_bytes),
        )
        sound = all(_is_whole(path, size) for path, size in files if path is not None)
        return record if sound else None

    def stored(self, video_id: str) -> LayerRecord | None:
        """The record, up to date or not; None where there is none, or a damaged one."""
        path = self.record_path(video_id)
        if not path.exists():
            return None
        try:
            record = LayerRecord.from_json(read_json(path))
            _ = self.background_path(record.background)
        except _DAMAGE:
            return None
        return record if record.id == video_id else None

    def stored_masks(self, video: Video) -> tuple[VideoMasks, dict[str, Any]] | None:
        """The raw masks of this segmenter and their info; None when they are not there, or do not
        say of empty frames whether they have masks."""
        if self.identities is None:
            raise ValueError("a store without identities does not know whose masks are wanted")
        path = self.masks_path(video.id, self.identities[0])
        if not path.exists():
            return None
        try:
            document = read_json(path)
            masks = from_json(document)[video.id]
            info = {key: value for key, value in document["info"].items() if key != "note"}
            sound = _describes(info, masks) and _tells_unmasked(info, masks, self.identities[0])
        except _DAMAGE:
            return None  # a damaged file is made again
        return (masks, info) if sound and info["source"] == source_mark(video.path) else None

    def sound_background(self, record: LayerRecord | None, name: str) -> bool:
        """Whether the background `name` is the record's, and as large as it was written."""
        if record is None or record.background != name:
            return False
        path = self.background_path(name)
        return path is None or _is_whole(path, record.background_bytes)

    def read_source(self, video: Video) -> Frames:
        """The video itself, at the stored size. Raises `UnreadableVideo`."""
        return read_frames(
            video.path, max_frames=self.settings.max_frames, max_side=self.settings.max_side
        )

    def fingerprint(self, video: Video, record: LayerRecord | None = None) -> str:
        """Of all that a video's layers depend on; a record says it where the store does not."""
        identities = self.identities
        if identities is None:
            if record is None:
                raise ValueError("a store without identities has no fingerprint of its own")
            identities = (record.segmenter, record.inpainter)
        settings = asdict(self.settings)
        # Identities say more than names, and a moved folder of masks is still the same.
        del settings["segmenter"], settings["inpainter"]
        return fingerprint([_LAYOUT, settings, identities, source_mark(video.path)])

    def masks_path(self, video_id: str, segmenter: str) -> Path:
        """Where the raw masks of a segmenter, by its identity, lie."""
        kind = fingerprint([segmenter, self.settings.max_side, self.settings.max_frames])
        return self.folder / "masks" / kind / f"{safe_name(video_id)}.json"

    def foreground_path(self, record: LayerRecord) -> Path:
        """Where the final mask lies."""
        name = f"{safe_name(record.id)}.{record.mask_digest[:16]}.json"
        return safe_join(self.folder / "foregrounds", name)

    def background_path(self, name: str) -> Path | None:
        """Where a background lies; None for a video without a hole, which needs no file."""
        return safe_join(self.folder / "backgrounds", name) if name else None

    def record_path(self, video_id: str) -> Path:
        """Where a record lies."""
        return self.folder / "records" / f"{safe_name(video_id)}.json"

    def _checked(self, video: Video) -> LayerRecord:
        """The record of a video whose layers are those of its file and of the settings."""
        path = self.record_path(video.id)
        if path.exists() and self.stored(video.id) is None:
            raise DamagedLayers(video.id, (path,), "is not a record of it")
        record = self.record(video.id)
        if not source_mark(video.path):
            raise UnreadableVideo(video.path, "it is not there any more", passing=True)
        if record.fingerprint != self.fingerprint(video, record):
            raise InputError(
                f"The layers of {video.id} in {self.folder} were made from another file or with"
                " other settings; prepare it again."
            )
        return record

    def _load_foreground(self, video: Video, record: LayerRecord) -> Foreground:
        mask, _ = self._foreground(record)
        source = self.read_source(video)
        if source.frames.shape[:3] != mask.shape:
            # The file is the one that was prepared, so that its layers are wrong, or were decoded
            # otherwise: raw masks included, they are made again from what it shows today.
            files = (self.masks_path(record.id, record.segmenter), self.foreground_path(record))
            shapes = f"is for {_size(mask.shape)}, and the video has {_size(source.frames.shape)}"
            raise DamagedLayers(record.id, files, shapes)
        return Foreground(video, source.frames, mask, source.times, source.fps)

    def _foreground(self, record: LayerRecord) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """The stored final mask, bool [T, H, W], with the frames' times, float64 [T]."""
        path = self.foreground_path(record)
        try:
            document = read_json(path)
            times = np.array(document["info"]["times"], np.float64)
            mask = from_json(document)[record.id].merged()
            sound = mask_digest(mask, times) == record.mask_digest
        except _DAMAGE as error:
            raise DamagedLayers(record.id, (path,), f"cannot be read ({error})") from None
        if not sound or mask.shape != (record.num_frames, record.height, record.width):
            reason = "does not hold the mask that its record names"
            # Not the record, which other processes may be reading; but the background, whose mask
            # it was made with, is not to be trusted either.
            wrong = [path]
            if record.background:
                wrong.append(self.folder / "backgrounds" / record.background)
            raise DamagedLayers(record.id, tuple(wrong), reason)
        return mask, times

    def _background(self, record: LayerRecord) -> NDArray[np.uint8]:
        """The stored background, uint8 [T, H, W, 3], RGB."""
        path = self.folder / "backgrounds" / record.background
        try:
            frames = read_frames(path).frames
        except _DAMAGE as error:
            reason = error.reason if isinstance(error, UnreadableVideo) else str(error)
            raise DamagedLayers(record.id, (path,), f"cannot be read ({reason})") from None
        # H.264 has even sizes only; the padding is cut off again.
        even = (record.height + record.height % 2, record.width + record.width % 2)
        if frames.shape[:3] != (record.num_frames, *even):
            reason = f"has {_size(frames.shape)} in place of {record.num_frames} of {_size(even)}"
            raise DamagedLayers(record.id, (path,), reason)
        return frames[:, : record.height, : record.width]


def mask_digest(mask: NDArray[np.bool_], times: NDArray[np.float64]) -> str:
    """SHA-256 of a final mask (bool [T, H, W]) and of its frames' times (float64 [T], seconds)."""
    return hashlib.sha256(np.packbits(mask).tobytes() + times.tobytes()).hexdigest()


def _is_whole(path: Path, size: int) -> bool:
    """Whether a file is there, as large as it was written; 0 stands for a size not noted."""
    if not path.is_file():
        return False
    found = path.stat().st_size
    return found == size if size else found > 0


def _describes(info: dict[str, Any], masks: VideoMasks) -> bool:
    """Whether the info next to raw masks is complete and belongs to them."""
    times = np.array(info["times"], np.float64)
    numbers = (info["frame_height"], info["frame_width"], info["fps"])
    return bool(
        isinstance(info["source"], str)
        and times.shape == (masks.num_frames,)
        and np.isfinite(times).all()
        and all(type(n) in (int, float) and 0 < n < np.inf for n in numbers)
    )


def _tells_unmasked(info: dict[str, Any], masks: VideoMasks, segmenter: str) -> bool:
    """Whether it is known which frames have no masks: a detector is shown all of them, and masks
    that were read from files before that was stored do not say it of frames without instances."""
    if "unmasked" in info or not from_mask_files(segmenter) or not masks.instances:
        return True
    return all(any(rles) for rles in zip(*(one.rles for one in masks.instances), strict=True))


def _size(shape: tuple[int, ...]) -> str:
    """Frames and pixels in words: "12 frames of 48x62", or "48x62" alone."""
    count, (height, width) = (f"{shape[0]} frames of ", shape[1:3]) if shape[2:] else ("", shape)
    return f"{count}{height}x{width}"
