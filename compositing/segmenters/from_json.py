"""`masks:PATH`: bring your own masks, as YouTube-VIS JSON in one file or a folder of files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from compositing.masks import VideoMasks, from_json, no_masks
from l2a.errors import InputError
from l2a.files import file_sha256, fingerprint, read_json
from l2a.media import Frames, sample_indices
from l2a.videos import Video

LENGTH_SLACK = 2
"""Decoders disagree by a frame or two about a video's end; masks that do so still belong to it."""


class MaskFiles:
    """Reads masks that somebody made with another program.

    A video is looked up in the file named after its class if there is one, else in all files. Each
    file is parsed when first needed, and once. `file_name` may be relative to the data set's
    folder or to its `videos/` folder.

    Raises:
        InputError: PATH does not exist or holds no .json file; later, a file is not YouTube-VIS.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(f"There are no masks at {path}; check the path after 'masks:'.")
        self._files = tuple(sorted(path.glob("*.json"))) if path.is_dir() else (path,)
        if not self._files:
            raise InputError(f"The folder {path} holds no .json file; put the masks there.")
        self._path = path
        self._parsed: dict[Path, dict[str, VideoMasks]] = {}

    @classmethod
    def from_argument(cls, argument: str) -> MaskFiles:
        """The segmenter of the text after `masks:`."""
        if not argument:
            raise InputError("The segmenter 'masks' needs a path; write masks:PATH.")
        return cls(Path(argument).expanduser())

    @cached_property
    def identity(self) -> str:
        """`masks`, with the SHA-256 of every file; PATH itself does not matter."""
        sums = [(file.name, file_sha256(file)) for file in self._files]
        return f"masks {fingerprint(sums)}"

    def check(self, videos: Sequence[Video]) -> None:
        """Raise `InputError` for a class of which no video has an entry."""
        by_class: dict[str, list[Video]] = {}
        for video in videos:
            by_class.setdefault(video.label, []).append(video)
        without = [
            label
            for label, members in sorted(by_class.items())
            if self._own_file(label) is None and not any(map(self._find, members))
        ]
        if without:
            raise InputError(
                f"{self._path} has no masks for the class {', '.join(without)};"
                f" add a file {without[0]}.json, or leave the class out."
            )

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """The stored masks of the frames, at the masks' own size; a note where there are none."""
        count, height, width = frames.frames.shape[:3]
        masks = self._find(video)
        if masks is None:
            return no_masks(height, width, count, f"{self._path.name} has no masks for it")
        if not masks.instances:
            note = masks.note or f"{self._path.name} has no instance in it"
            return no_masks(height, width, count, note)
        if abs(masks.width * height - masks.height * width) > 0.05 * masks.height * width:
            shapes = f"{masks.height}x{masks.width} and the video {height}x{width}"
            return no_masks(height, width, count, f"its masks are {shapes}: another shape")
        indices = frame_indices(frames.times, masks.num_frames)
        if indices is None:
            lengths = f"{masks.num_frames} frames and the video {count}"
            return no_masks(height, width, count, f"its masks have {lengths}")
        return masks.at(indices)

    def _find(self, video: Video) -> VideoMasks | None:
        own = self._own_file(video.label)
        for file in (own,) if own else self._files:
            parsed = self._parse(file)
            for name in (video.id, f"{video.path.parent.name}/{video.path.name}"):
                if (found := parsed.get(_below_videos(name))) is not None:
                    return found
        return None

    def _own_file(self, label: str) -> Path | None:
        # Compared by name: a label comes from data and may hold slashes.
        return next((f for f in self._files if len(self._files) > 1 and f.stem == label), None)

    def _parse(self, file: Path) -> dict[str, VideoMasks]:
        if file not in self._parsed:
            try:
                masks = from_json(read_json(file))
            except ValueError as error:
                raise InputError(
                    f"{file} is no YouTube-VIS file: {error}; write it anew."
                ) from None
            self._parsed[file] = {_below_videos(name): value for name, value in masks.items()}
        return self._parsed[file]


def frame_indices(times: NDArray[np.float64], num_masks: int) -> NDArray[np.int64] | None:
    """Which of `num_masks` masks, one per frame of the file, belongs to each decoded frame.

    A long video was thinned by `sample_indices` when it was decoded: the same choice among
    `num_masks` equally spaced frames gives the first and the last frame's number, and the times
    those between. Times that lie between the frames show that the lengths do not belong together.

    Args:
        times: float64 [T], seconds, ascending, of the decoded frames.
        num_masks: how many frames the masks were made for.

    Returns:
        int64 [T], 0 <= index < num_masks; None when the lengths do not belong together.
    """
    count = len(times)
    if num_masks > count >= 2:
        first, last = sample_indices(np.arange(num_masks, dtype=np.float64), count)[[0, -1]]
        numbers = first + (times - times[0]) * (last - first) / (times[-1] - times[0])
        nearest = np.rint(numbers)
        if np.abs(numbers - nearest).max() < 0.25:
            return nearest.astype(np.int64)
    if abs(num_masks - count) <= LENGTH_SLACK:
        return np.minimum(np.arange(count), num_masks - 1)
    return None


def _below_videos(name: str) -> str:
    return str(PurePosixPath(name)).removeprefix("videos/")
