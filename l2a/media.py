"""Decode, sample, resize and encode video. Frames are uint8 RGB [T, H, W, 3] everywhere here.

PyAV carries FFmpeg. One decoder thread a process: whoever prepares many videos runs many processes,
and a decoder that starts a thread per core would make them fight.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from l2a.errors import UnreadableVideo
from l2a.files import atomic_write

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

COMPLETE = 0.9
"""A file that yields less than this share of the time it declares counts as truncated."""

_ROUNDING = 0.002
"""Seconds that a whole file may lack: Matroska and ASF round times and lengths to milliseconds."""

_LONE_FRAME = 0.1
"""Seconds that the only frame of a file may be shown where the file does not say."""

SQUARE = (0.1, 10.0)
"""Width over height of a pixel that is believed: anamorphic video lies within 0.5..2."""

_NEARLY_SQUARE = 0.01
"""So far from square is what encoders note when they round a width to even pixels (1280:1279):
to blur every frame for a column that nobody misses would not help."""

NARROWEST = 8
"""Rows and columns that must be left of a frame that is scaled down."""

_THUMBNAIL = 64
"""Frames scaled down to fewer pixels than this are only looked at: they may be narrower."""

# FFmpeg also "plays" text files, pictures, and play lists that name any file on the disk. Only real
# containers are opened, so that no path inside a data file is ever followed.
_CONTAINERS = "avi,mov,mp4,matroska,webm,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,mxf,rm,dv"

# FFmpeg's fast conversions darken every frame by a level or two (1.5 measured), and again whenever
# a composite is written and read; these two flags take the shift away.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

# bf: with B-frames x264's bytes differ from run to run (it reads memory that it never wrote), and
# without them files are as small and times start at 0. cpu-independent: nor do the bytes depend on
# the machine. log-level: x265 would say how it did after every clip. chroma_sample_location: what
# FFmpeg's conversion from RGB makes; untagged, readers move the colours half a pixel to the left.
_ENCODER = {
    "bf": "0",
    "x264-params": "cpu-independent=1",
    "x265-params": "log-level=error",
    "chroma_sample_location": "center",
}


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames and when they are shown.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB, T >= 1, with square pixels.
        times: float64 [T], seconds, strictly ascending; the first is 0.
        fps: frames per second on average over these frames.
        numbers: int64 [T], ascending: which of the file's frames these are, where some were left
            out; None where these are all.
        num_decoded: how many frames the file has, where some were left out.
        stored: (height, width) of the frames in the file, upright, before their pixels were made
            square and the frames scaled down; None where they come from no file.
    """

    frames: UInt8
    times: Float64
    fps: float
    numbers: Int64 | None = None
    num_decoded: int | None = None
    stored: tuple[int, int] | None = None

    @property
    def indices(self) -> Int64:
        """int64 [T], ascending, 0 <= index < total: which of the file's frames these are."""
        return np.arange(len(self.frames)) if self.numbers is None else self.numbers

    @property
    def total(self) -> int:
        """How many frames the file has: T, or more where some were left out."""
        return len(self.frames) if self.num_decoded is None else self.num_decoded


def read_frames(
    path: Path | str, *, max_frames: int | None = None, max_side: int | None = None
) -> Frames:
    """Decode a video file: upright (rotation metadata is applied) and in order of display.

    Pixels that the file declares wider or narrower than high (its sample aspect ratio) are made
    square by scaling the width alone, so that people have the shape that players show.

    A video with more than `max_frames` frames is decoded twice, first for its times alone, then
    for the frames chosen by `sample_indices`; never more than `max_frames` frames are in memory.

    Args:
        path: any container and codec that FFmpeg reads.
        max_frames: longer videos are thinned uniformly in time to this many frames, or fewer where
            one frame is on the screen for long.
        max_side: frames whose longer side has more pixels are scaled down to it (`INTER_AREA`).

    Raises:
        UnreadableVideo: the file is missing, empty, not a video, without pictures, ends in the
            middle of a frame, ends before `COMPLETE` of the time that it declares, or has a shape
            of which nothing is left: pixels outside of `SQUARE`, or fewer than `NARROWEST` rows
            or columns once it is scaled down.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableVideo(path, "there is no such file", passing=True)
    if path.stat().st_size == 0:
        raise UnreadableVideo(path, "the file is empty")
    try:
        return _read(path, max_frames, max_side)
    except av.FFmpegError as error:
        reason = f"it is not a video that FFmpeg can decode ({str(error.strerror).lower()})"
        raise UnreadableVideo(
            path, reason, passing=isinstance(error, (OSError, MemoryError))
        ) from error


def declared_frames(path: Path) -> int | None:
    """How many frames a file's header promises; None where it says nothing or cannot be read.

    Nothing is decoded: good for an estimate over many videos, and for nothing else.
    """
    if not path.is_file():
        return None
    try:
        with av.open(
            f"file:{path}",
            container_options={"format_whitelist": _CONTAINERS},
            metadata_errors="replace",
        ) as container:
            stream = _first_moving(container, path)
            if stream.frames:
                return int(stream.frames)
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
            return round((seconds or (container.duration or 0) / av.time_base) * rate) or None
    except (UnreadableVideo, av.FFmpegError, OSError):
        return None


def sample_indices(times: Float64, num_frames: int) -> Int64:
    """Choose frames uniformly in time: cut the video into equal parts, look at each one's middle.

    The video lasts from its first frame to one typical (median) frame period after its last. At
    each part's middle the frame being shown is taken; one that starts up to a twentieth of a period
    later counts as shown, because containers round times (Matroska to milliseconds).

    Args:
        times: float64 [n], seconds, ascending, n >= 1.
        num_frames: how many frames to choose.

    Returns:
        int64 [num_frames], not descending; frames repeat when n < num_frames.
    """
    if len(times) == 0 or num_frames < 1:
        raise ValueError(f"cannot choose {num_frames} of {len(times)} frames")
    period = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    length = float(times[-1] - times[0]) + period
    middles = times[0] + (np.arange(num_frames) + 0.5) * (length / num_frames)
    return np.searchsorted(times, middles + period / 20, side="right").astype(np.int64) - 1


def resize_frames(frames: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize uint8 [T, H, W, 3] to `size` = (height, width): area averaging down, linear up."""
    height, width = size
    if frames.shape[1:3] == size:
        return frames.copy()
    smaller = height * width < frames.shape[1] * frames.shape[2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for source, target in zip(frames, resized, strict=True):
        cv2.resize(source, (width, height), dst=target, interpolation=how)
    return resized


def resize_masks(masks: Bool, size: tuple[int, int]) -> Bool:
    """Resize bool [T, H, W] to `size` = (height, width), nearest neighbour by pixel centres."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns]


def write_video(
    path: Path | str,
    frames: UInt8,
    fps: float,
    *,
    crf: int = 18,
    codec: str = "libx264",
    preset: str = "medium",
    tune: str | None = None,
) -> None:
    """Encode H.264 in the container that the suffix names (.mp4, .mkv); whole or not at all.

    H.264 with 4:2:0 chroma has even sizes only: an odd last row or column is repeated once, and who
    reads the file back crops it. Colours are BT.601, limited range, and tagged so: a reader that
    looks at tags and one that does not (OpenCV; FFmpeg's default is BT.601) see the same colours.
    Pixels are square, and declared so. The same frames and settings give the same bytes.

    Args:
        path: where to write.
        frames: uint8 [T, H, W, 3], RGB, T >= 1.
        fps: frames per second, > 0; 29.97 is kept as the fraction that it is.
        crf: 0 (best) to 51 (smallest).
        codec: FFmpeg's name of an encoder: libx264, or libx265.
        preset: x264's trade of time for size, "ultrafast" to "veryslow".
        tune: what x264 optimises for, such as "fastdecode"; nothing in particular if not given.

    Raises:
        UnreadableVideo: the encoder cannot do frames of this size, such as 20000 pixels wide.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {frames.shape}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, not {fps}")
    odd = [(0, side % 2) for side in frames.shape[1:3]]
    even = np.pad(frames, [(0, 0), *odd, (0, 0)], "edge")
    path = Path(path)
    # bitexact: else Matroska gets a random segment id, and both carry the library's version.
    options = {"fflags": "+bitexact"}
    if path.suffix.lower() in (".mp4", ".mov"):
        options["movflags"] = "+faststart"
    with atomic_write(path) as aside, av.open(f"file:{aside}", "w", options=options) as out:
        stream = out.add_stream(codec, rate=Fraction(fps).limit_denominator(100_000))
        if codec == "libx265":
            stream.codec_context.codec_tag = "hvc1"  # which Apple's players ask for
        stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.sample_aspect_ratio = Fraction(1)
        context.options = {"crf": str(crf), "preset": preset, **_ENCODER}
        if tune:
            context.options |= {"tune": tune}
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = 6  # SMPTE 170M
        try:
            _encode(out, stream, even)
        except av.ExternalError as error:  # the encoder's own; a full disk is none
            size = f"{frames.shape[2]}x{frames.shape[1]}"
            reason = f"frames of {size} pixels cannot be encoded by {codec}"
            raise UnreadableVideo(path, reason) from error


def _encode(out: Any, stream: Any, frames: UInt8) -> None:
    """Encode all frames into a container that is open for writing."""
    reformatter = VideoReformatter()
    for index, pixels in enumerate(frames):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(pixels, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            interpolation=_EXACT,
            threads=1,
        )
        frame.pts = index
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _read(path: Path, max_frames: int | None, max_side: int | None) -> Frames:
    decoded = _Decoding(path)
    to_rgb = _ToRGB(decoded, max_side)
    kept: list[UInt8] = []
    with closing(decoded.frames()) as source:
        for index, frame in enumerate(source):
            if max_frames is None or index < max_frames:
                kept.append(to_rgb(frame))
            else:
                kept.clear()
    decoded.check_complete()
    times = decoded.times()
    total, chosen = len(times), None
    if max_frames is not None and total > max_frames:
        chosen = np.unique(sample_indices(times, max_frames))
        wanted = set(chosen.tolist())
        with closing(_Decoding(path).frames()) as source:
            kept = [to_rgb(frame) for index, frame in enumerate(source) if index in wanted]
        times = times[chosen]
    times = times - times[0]
    fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else decoded.rate
    return Frames(_stack(kept), times, fps, numbers=chosen, num_decoded=total, stored=to_rgb.stored)


class _Decoding:
    """One run of the decoder over a file, and what is known of the file afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rate = 25.0
        self.pixel = Fraction(1)
        self._pts: list[float | None] = []
        self._declared = 0.0
        self._covered = 0.0
        self._starts: list[float] = []
        self._open = -math.inf
        self._broken = False

    def frames(self) -> Generator[Any, None, None]:
        """Yield `av.VideoFrame`s in order of display; damage inside the file is passed over."""
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        with av.open(
            f"file:{self.path}",
            container_options={"format_whitelist": _CONTAINERS},
            metadata_errors="replace",
        ) as container:
            stream = _first_moving(container, self.path)
            if stream.codec_context is None:
                raise UnreadableVideo(self.path, "FFmpeg has no decoder for its codec")
            stream.codec_context.thread_count = 1
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.pixel = _pixel_shape(stream, self.path)
            own = self._declare(container, stream)
            for packet in container.demux():
                if packet.pts is not None and (packet.stream is stream or not own):
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._covered = max(self._covered, end)
                if packet.stream is not stream:
                    continue
                if packet.pts is not None:
                    self._starts.append(float(packet.pts * packet.time_base))
                    if not packet.duration:
                        self._open = max(self._open, self._starts[-1])
                if packet.size:
                    self._broken = packet.is_corrupt
                try:
                    shown = packet.decode()
                except av.InvalidDataError:
                    self._broken = True
                    continue
                for frame in shown:
                    self._pts.append(frame.time)
                    yield frame

    def _declare(self, container: Any, stream: Any) -> bool:
        """Note the declared length; say whether it is the stream's own or the whole file's.

        For AVI FFmpeg shortens the duration to what the file still holds: only the header's frame
        count tells what there was. Matroska declares a length for the whole file only.
        """
        start = float((stream.start_time or 0) * stream.time_base)
        if container.format.name == "avi" and stream.frames:
            self._declared = start + stream.frames / self.rate
        elif stream.duration:
            self._declared = start + float(stream.duration * stream.time_base)
        else:
            self._declared = (container.duration or 0) / av.time_base
            return False
        return True

    def check_complete(self) -> None:
        """Raise `UnreadableVideo` when there was no frame, or the file is not all there."""
        if not self._pts:
            raise UnreadableVideo(self.path, "no frame of it can be decoded")
        if self._broken:
            raise UnreadableVideo(self.path, "it ends in the middle of a frame (truncated file)")
        covered = max(self._covered, self._open + self._period())
        if covered < min(COMPLETE * self._declared, self._declared - _ROUNDING):
            raise UnreadableVideo(
                self.path,
                f"it ends after {covered:.1f} of the {self._declared:.1f} seconds"
                " that it declares (truncated file)",
            )

    def _period(self) -> float:
        """Seconds that a frame is shown whose packet does not say so: the typical (median) one.

        The rate does not tell: for the shortest ASF files it is that of the clock, 1000 a second.
        """
        gaps = np.diff(np.unique(self._starts))
        return float(np.median(gaps)) if len(gaps) else _LONE_FRAME

    def times(self) -> Float64:
        """Seconds [n], strictly ascending, one for each decoded frame.

        Where time stamps are missing or not ascending (packed B-frames in AVI carry each other's),
        frames are spaced by the average rate: decoders give them in order of display all the same.
        """
        stamps = np.array([math.nan if t is None else t for t in self._pts], np.float64)
        if np.isfinite(stamps).all() and (np.diff(stamps) > 0).all():
            return stamps
        return np.arange(len(stamps)) / self.rate


def _first_moving(container: Any, path: Path) -> Any:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise UnreadableVideo(path, "it holds no video, only sound or data")


def _pixel_shape(stream: Any, path: Path) -> Fraction:
    """Width over height of the stream's pixels; 1 where it says nothing, or next to it."""
    declared = stream.sample_aspect_ratio
    if not declared or abs(declared - 1) < _NEARLY_SQUARE:
        return Fraction(1)
    if not SQUARE[0] <= declared <= SQUARE[1]:
        shape = f"{declared.numerator}:{declared.denominator}"
        raise UnreadableVideo(path, f"it declares pixels of {shape}, which no picture has")
    return Fraction(declared)


class _ToRGB:
    """Turns decoder frames into upright uint8 [H, W, 3] of square pixels, all of one size.

    Attributes:
        stored: (height, width) of the first frame in the file, upright; None before it came.
    """

    def __init__(self, decoded: _Decoding, max_side: int | None) -> None:
        self.stored: tuple[int, int] | None = None
        self._decoded = decoded
        self._max_side = max_side
        self._reformatter = VideoReformatter()
        self._coded: tuple[int, int] | None = None

    def __call__(self, frame: Any) -> UInt8:
        coded = self._coded = self._coded or (frame.height, frame.width)
        turns = round(frame.rotation / 90)
        self.stored = self.stored or (coded[::-1] if turns % 2 else coded)
        rgb = self._reformatter.reformat(
            frame,
            width=coded[1],
            height=coded[0],
            format="rgb24",
            interpolation=_EXACT,
            threads=1,
        ).to_ndarray()
        height, width = self._square(coded)
        if (height, width) != coded:
            smaller = height * width < coded[0] * coded[1]
            how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            rgb = cv2.resize(rgb, (width, height), interpolation=how)
        return np.ascontiguousarray(np.rot90(rgb, turns))

    def _square(self, coded: tuple[int, int]) -> tuple[int, int]:
        """The size with square pixels and within the longest side: (height, width)."""
        height, width = coded[0], max(1, round(coded[1] * self._decoded.pixel))
        if self._max_side is None or max(height, width) <= self._max_side:
            return height, width
        scale = self._max_side / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if min(size) < NARROWEST and self._max_side > _THUMBNAIL:
            raise UnreadableVideo(
                self._decoded.path,
                f"its frames of {coded[1]}x{coded[0]} pixels are too narrow: scaled down to "
                f"{self._max_side} they are {size[1]}x{size[0]}",
            )
        return size


def _stack(frames: list[UInt8]) -> UInt8:
    """`np.stack` that frees each frame once it is copied, so that memory does not double."""
    stacked = np.empty((len(frames), *frames[0].shape), np.uint8)
    for index in range(len(frames)):
        stacked[index] = frames[index]
        frames[index] = stacked[index]
    return stacked
