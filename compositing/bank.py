"""Fill a `ClipBank`: clips, masks and backgrounds at training resolution, one row a video."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compositing.engines.base import Engine
from compositing.engines.local import HERE
from compositing.failures import Failure, attempt, refuse_if_all
from compositing.layers import LayerSource, Progress
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError
from l2a.media import read_frames, resize_frames, resize_masks, sample_indices
from l2a.videos import Skipped, Video


def fill_bank(
    bank: ClipBank,
    videos: Sequence[Video],
    store: LayerSource,
    layered: Collection[str],
    engine: Engine = HERE,
    progress: Progress | None = None,
) -> tuple[Skipped, ...]:
    """Write the rows of the bank that are not there yet.

    Every clip is squeezed to the bank's size, and its video's aspect ratio noted next to it.

    Frame numbers are chosen once per video, from its times, and used for frames, mask and
    background alike, so that nothing shifts against anything. A video's frames do not depend on
    whether it is in `layered`.

    Args:
        bank: open for writing.
        videos: all of the bank's, in any order; others are passed over.
        store: holds the layers of `layered`; a `LayerMaker` makes damaged ones again.
        layered: ids of the videos whose mask and background are wanted too.
        engine: distributes the work.
        progress: called as progress(rows done, rows in all).

    Returns:
        The videos without a clip, in the order of their rows: those that the bank has marked as
        unreadable, and those that failed this time for another reason than their file's content
        (it was not there, a process died, an unexpected error). Rows of these stay pending, so
        that the next call tries them again.

    Raises:
        InputError: the bank waits for a video that is not given, or a video of `layered` was not
            prepared with the store's settings.
        L2AError: unexpected errors struck all videos.
    """
    by_id = {video.id: video for video in videos}
    rows = bank.pending()
    missing = [bank.ids[row] for row in rows if bank.ids[row] not in by_id]
    if missing:
        raise InputError(f"The bank {bank.folder} waits for {missing[0]}; give this video too.")
    todo = [by_id[bank.ids[row]] for row in rows]
    report = progress or (lambda done, total: None)
    before = len(bank) - len(rows)
    report(before, len(bank))
    cut = _Cut(store, bank.settings, frozenset(layered))
    clips = engine.map(cut, todo, on_crash=_crashed)
    failed: dict[int, Failure] = {}
    for done, (row, clip) in enumerate(zip(rows, clips, strict=True), start=before + 1):
        if isinstance(clip, Failure):
            clip.log(bank.ids[row])
            failed[row] = clip
            if clip.of_file:
                bank.mark_unreadable(row, clip.reason)
        else:
            bank.write(row, clip.frames, clip.masks, clip.background, aspect=clip.aspect)
        report(done, len(bank))
    refuse_if_all(failed.values(), len(bank) - len(failed), "cut to clips")
    # What is not the file's fault may be gone at the next start: those rows stay pending.
    skipped = {row.id: row for row in bank.skipped}
    skipped |= {bank.ids[row]: Skipped(bank.ids[row], why.reason) for row, why in failed.items()}
    return tuple(sorted(skipped.values(), key=lambda one: bank.row(one.id)))


@dataclass(frozen=True, slots=True)
class _Clip:
    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None
    background: NDArray[np.uint8] | None
    aspect: float


@dataclass(frozen=True, slots=True)
class _Cut:
    """Cuts one video down to a row of the bank."""

    store: LayerSource
    settings: ClipSettings
    layered: frozenset[str]

    def __call__(self, video: Video) -> _Clip | Failure:
        return attempt(self._with_layers if video.id in self.layered else self._alone, video)

    def _with_layers(self, video: Video) -> _Clip:
        layers = self.store.load(video)
        chosen = sample_indices(layers.times, self.settings.num_frames)
        size = (self.settings.height, self.settings.width)
        return _Clip(
            resize_frames(layers.frames[chosen], size),
            resize_masks(layers.mask[chosen], size),
            resize_frames(layers.background[chosen], size),
            _aspect(layers.frames),
        )

    def _alone(self, video: Video) -> _Clip:
        how = self.store.settings
        source = read_frames(video.path, max_frames=how.max_frames, max_side=how.max_side)
        chosen = sample_indices(source.times, self.settings.num_frames)
        size = (self.settings.height, self.settings.width)
        frames = resize_frames(source.frames[chosen], size)
        return _Clip(frames, None, None, _aspect(source.frames))


def _aspect(frames: NDArray[np.uint8]) -> float:
    """Width over height of frames [T, H, W, 3] with square pixels."""
    return frames.shape[2] / frames.shape[1]


def _crashed(video: Video) -> _Clip | Failure:
    return Failure("the process that read it died twice")
