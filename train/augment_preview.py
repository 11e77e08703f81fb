"""`l2a preview --augment`: what augmentations make of a few clips, as a picture and as video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compositing.bank import fill_bank
from compositing.engines import make_engine
from compositing.engines.base import Engine
from compositing.making import LayerMaker
from compositing.pictures import GAP, INK, LINE, PAPER, evenly, font, outlined, plain, truncated
from compositing.preview import pick_evenly_by_class
from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.augment import Augmentation, make_augmentation
from l2a.clips import ClipBank, ClipSettings
from l2a.errors import InputError, L2AError
from l2a.files import atomic_write
from l2a.formats import DataSettings, read_videos
from l2a.logs import say
from l2a.media import write_video
from l2a.progress import progress
from l2a.videos import Video, VideoSet
from train.arms import ArmPlan, augmentation_entries, check_arms, split_entry
from train.batches import ClipBatch, ClipSource
from train.mix import augmented
from train.opening import open_store, prepare_layers, refuse_in_data, require_splits
from train.settings.full import RunSettings

Frames = NDArray[np.uint8]

_SIDE = 112
_GEOMETRY = ClipSettings(num_frames=16, height=_SIDE, width=_SIDE * 4 // 3, crop=_SIDE)
"""Clips as training sees them, the square in the middle, but more frames and larger ones."""

_SHOWN = 6
"""Frames of a clip in the picture."""

_FPS = 8.0

_TRIES = 20
"""Draws to look for one that changes every clip: in a small batch many are their own partner."""


@dataclass(frozen=True)
class AugmentPreview:
    """Augmentations to draw, and the videos to draw them on; nothing is computed yet.

    Attributes:
        augmentations: name ─► what is drawn; of `selector+videomix` only videomix.
        data: the data set.
        videos: a few training videos, spread over the classes.
        count: how many of the videos are shown; mixing takes one more where only one is.
    """

    augmentations: Mapping[str, Augmentation]
    data: VideoSet
    videos: Sequence[Video]
    count: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the data set."""
        return self.data.classes

    @property
    def needs_masks(self) -> bool:
        """Whether an augmentation needs to know where the objects are."""
        return any(augmentation.needs_masks for augmentation in self.augmentations.values())


def open_augment_preview(
    data: Path, augment: Sequence[str] | str, settings: DataSettings, count: int, out: Path
) -> AugmentPreview:
    """Read the names and the data set.

    Args:
        data: the data set's folder.
        augment: as `l2a train --augment` takes it.
        settings: of the data.
        count: how many clips to show.
        out: where they will be drawn; nothing is written yet.

    Raises:
        InputError: an augmentation or the data are wrong, there is no training video, none is to be
            shown, or the data set itself would be written to.
    """
    if count < 1:
        raise InputError(f"count is {count}; it must be at least 1.")
    specs = [split_entry(entry)[1] for entry in augmentation_entries(augment)]
    named = {spec: make_augmentation(spec) for spec in specs}
    videos = read_videos(data, settings)
    refuse_in_data(videos, out=out)
    check_arms([ArmPlan(name, "none", each) for name, each in named.items()], len(videos.classes))
    require_splits(videos, ["train"])
    few = pick_evenly_by_class(videos.of_split("train"), max(count, 2))
    return AugmentPreview(named, videos, few, count)


def draw_augmentations(
    preview: AugmentPreview, out: Path, prepare: PrepareSettings, engine: EngineSettings,
    run: RunSettings,
) -> tuple[Path, tuple[Path, ...]]:  # fmt: skip
    """Augment the clips as one batch, every probability at 1, and draw what came of each.

    Args:
        preview: what to draw.
        out: gets `augment.png`, a few frames of each clip before and after with the weights of its
            label, and `augment/NN.mp4`, the same side by side. Layers that are not there yet and
            are needed for masks go next to it, to `OUT-layers`, unless the settings name a store.
        prepare, engine, run: how masks are made, where that is needed; the seed decides the draws.

    Returns:
        The picture and the clips.

    Raises:
        L2AError: not one of the videos can be read.
    """
    place = out.with_name(out.name + "-layers")
    if not preview.needs_masks:  # a back end that is there on every machine stands for none
        prepare = replace(prepare, segmenter="motion")
    store = open_store(preview.data, run, prepare, engine, preview.videos, out, place)
    videos, batch = _read(preview, store, make_engine(engine))
    names = ["as it is", *preview.augmentations]
    made = [batch] + [
        _clear_example(batch, augmentation.always(), run.seed)
        for augmentation in preview.augmentations.values()
    ]
    count = min(preview.count, len(videos))
    clips = tuple(out / "augment" / f"{number:02}.mp4" for number in range(1, count + 1))
    for old in (out / "augment").glob("*.mp4"):
        if old not in clips:
            old.unlink()  # of an earlier preview, of more clips
    strips: list[tuple[str, Frames]] = []
    for i, (video, path) in enumerate(zip(videos, clips, strict=False)):
        for name, each in zip(names, made, strict=True):
            title = f"{name}:  {_weights(each.labels[i].tolist(), preview.classes)}"
            if each is batch:
                title = f"{path.name}  {plain(video.label)}  {Path(video.id).name}"
            strips.append((title, _shown(each, i)))
        side_by_side = [
            np.pad(each.clips[i].numpy(), _MARGIN, constant_values=255) for each in made
        ]
        write_video(path, np.concatenate(side_by_side, axis=2), _FPS)
    picture = out / "augment.png"
    _draw(picture, strips, len(names))
    return picture, clips


_MARGIN = ((0, 0), (0, 0), (0, GAP), (0, 0))


def _read(
    preview: AugmentPreview, store: LayerMaker, engine: Engine
) -> tuple[list[Video], ClipBatch]:
    """The videos that can be read, and their clips."""
    videos = list(preview.videos)
    if preview.needs_masks:
        records, skipped = prepare_layers(store, videos, engine)
        videos = [video for video in videos if video.id in records]
        for row in skipped:
            say(f"skipped {row.id}: {row.reason}")
    if not videos:
        raise L2AError("None of the videos could be read.")
    labels = np.array([preview.classes.index(video.label) for video in videos], dtype=np.int64)
    with TemporaryDirectory() as folder, progress("clips", "videos") as report:
        bank = ClipBank.create_or_resume(
            Path(folder) / "bank", [video.id for video in videos], _GEOMETRY, "preview"
        )
        layered = bank.ids if preview.needs_masks else ()
        undecodable = {row.id for row in fill_bank(bank, videos, store, layered, engine, report)}
        rows = np.array(
            [i for i, id_ in enumerate(bank.ids) if id_ not in undecodable], dtype=np.int64
        )
        if len(rows) == 0:
            raise L2AError("None of the videos could be read.")
        source = ClipSource(bank, labels, len(preview.classes), _SIDE, CompositeSettings())
        batch = source.real(rows, masks=preview.needs_masks)
    return [videos[row] for row in rows], batch


def _clear_example(batch: ClipBatch, augmentation: Augmentation, seed: int) -> ClipBatch:
    """The first draw that changes every clip; where none of a few does, the one that changes most.

    A draw decides for the whole batch, so none is made up of several.
    """
    best, most = batch, 0
    for number in range(_TRIES):
        done = augmented(batch, augmentation, [seed, number])
        changed = int((done.clips != batch.clips).flatten(1).any(1).sum())
        if changed > most:
            best, most = done, changed
        if most == len(batch.labels):
            break
    return best


def _weights(label: Sequence[float], classes: Sequence[str]) -> str:
    """The parts of a soft label, the largest first: "0.62 golf, 0.38 swing baseball"."""
    parts = sorted(zip(label, classes, strict=True), reverse=True)
    return ", ".join(f"{weight:.2f} {plain(name)}" for weight, name in parts if weight > 0)


def _shown(batch: ClipBatch, i: int) -> Frames:
    """A few frames of clip `i`, uint8 [_SHOWN, h, w, 3], with the outline of its mask if known."""
    moments = evenly(_SHOWN, batch.clips.shape[1])
    frames = batch.clips[i].numpy()[moments]
    if batch.masks is None:
        return frames
    masks = batch.masks[i].numpy()[moments]
    return np.stack([outlined(frame, mask) for frame, mask in zip(frames, masks, strict=True)])


def _draw(path: Path, strips: Sequence[tuple[str, Frames]], together: int) -> None:
    """Draw strips of frames under their titles, `together` of them nearer to each other."""
    step, face = LINE + _SIDE + GAP, font(LINE - 4)
    width = GAP + _SHOWN * (_SIDE + GAP)
    blocks = len(strips) // together
    sheet = Image.new("RGB", (width, GAP + len(strips) * step + blocks * 2 * GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (title, frames) in enumerate(strips):
        top = GAP + number * step + number // together * 2 * GAP
        pen.text((GAP, top), truncated(title, face, width - 2 * GAP), INK, face)
        for column, frame in enumerate(frames):
            sheet.paste(Image.fromarray(frame), (GAP + column * (_SIDE + GAP), top + LINE))
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")
