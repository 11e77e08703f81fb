"""Layers made up from nothing, and exports of them: what tests of the export share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq

from compositing.export import Material, PairList, export_pairs
from compositing.layers import Foreground, Layers
from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.errors import UnreadableVideo
from l2a.pairs import ScoredPair
from l2a.videos import Video

# Names that look like splits to `datasets`, and one that no file system should have to hold.
CLASSES = ("run", "training dog", "test", "a/b: ü?")
META = {"seed": 3, "data_set": "hmdb51", "budget": 4}
SIZE = (33, 47)


def video(label, number, split="train"):
    name = f"{CLASSES.index(label)}/{number}.avi"
    return Video(name, Path("/nowhere") / name, label, f"g{number}", split)


VIDEOS = {v.id: v for v in (video(label, n) for label in CLASSES for n in range(2))}
IDS = sorted(VIDEOS)


def pair(foreground, background, omega=0.5):
    labels = (VIDEOS[IDS[foreground]].label, VIDEOS[IDS[background]].label)
    return ScoredPair(IDS[foreground], IDS[background], omega, 0.0, *labels)


ROWS = (pair(0, 2, 0.9), pair(2, 5, 0.8), pair(0, 6, 0.7), pair(7, 1, 0.6))


@dataclass
class FakeStore:
    """Layers made up from the id: grey frames, the left quarter masked, moving noise behind."""

    settings: PrepareSettings = field(default_factory=PrepareSettings)
    unreadable: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    version: str = "1"
    ids: tuple[str, ...] = tuple(IDS)

    @property
    def identities(self):
        return f"{self.settings.segmenter} 1", f"{self.settings.inpainter} 1"

    def record(self, video_id):
        return SimpleNamespace(
            id=video_id,
            fingerprint=f"{video_id}-{self.version}",
            num_frames=5,
            height=SIZE[0],
            width=SIZE[1],
            fps=30.0,
            foreground_unfit="mask too small" if video_id in self.unfit else "",
            background_unfit="",
            scaled_down=False,
            thinned=False,
        )

    def load(self, video):
        if video.id in self.interrupted:
            raise KeyboardInterrupt
        if video.id in self.unreadable:
            raise UnreadableVideo(video.path, "the file is empty")
        number = self.ids.index(video.id)
        frames = np.full((5, *SIZE, 3), (20 * number + len(self.version)) % 256, np.uint8)
        mask = np.zeros((5, *SIZE), bool)
        mask[..., : SIZE[1] // 4] = True
        noise = np.random.default_rng(number).integers(0, 256, frames.shape, np.uint8)
        return Layers(video, frames, mask, noise, np.arange(5) / 30, 30.0)

    def load_foreground(self, video):
        layers = self.load(video)
        return Foreground(video, layers.frames, layers.mask, layers.times, layers.fps)

    def load_background(self, video):
        return self.load(video)

    def load_times(self, video):
        return self.load(video).times


MATERIAL = {"videos": VIDEOS, "classes": CLASSES}


def export(out, rows=ROWS, store=None, **changes):
    """Export made-up pairs; `changes` are fields of `PairList` or `Material`, or arguments."""
    pairs = {name: changes.pop(name) for name in ("meta", "spares", "chosen_by") if name in changes}
    names = ("videos", "classes", "originals", "prepare")
    material = {name: changes.pop(name) for name in names if name in changes}
    arguments = {
        "composite": CompositeSettings(),
        "export": ExportSettings(crf=30, preset="ultrafast"),
    }
    return export_pairs(
        PairList(rows, **({"meta": META} | pairs)),
        Material(**(MATERIAL | {"store": store or FakeStore()} | material)),
        out,
        **(arguments | changes),
    )


def tree(folder):
    """Every file's bytes; nothing hidden may be left over."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def table(folder, name="manifest.parquet"):
    return pq.read_table(folder / name).to_pylist()
