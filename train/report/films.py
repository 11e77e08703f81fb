"""Pairs as playing video, and pictures, inlined: data URIs of H.264 and JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compositing.composite import make_composite
from compositing.layers import LayerSource
from compositing.pictures import plain
from compositing.settings import CompositeSettings
from compositing.strips import Composited, strip_block
from l2a.errors import L2AError
from l2a.media import read_frames, resize_frames, write_video
from l2a.pairs import ScoredPair
from l2a.videos import Video

T = TypeVar("T")

_PANELS = ((0, "foreground"), (1, "mask"), (2, "background"), (4, "composite"))
"""Which cells of a strip are shown, and what they are called."""
_HEIGHT = 144
_MOST_FRAMES = 96
_MOST_SIDE = 640
_GAP = 4
_GREY = 128
_CRF = 25


@dataclass(frozen=True)
class Film:
    """A pair, playing: foreground, mask, background and composite side by side.

    Attributes:
        uri: H.264 in an mp4, as a data URI.
        height, width: in pixels.
        panels: what is side by side: names, and widths as shares of the whole.
        pair: which.
        scored: whether its ω says something.
        lam, gamma: λ and γ of the composite.
    """

    uri: str
    height: int
    width: int
    panels: tuple[tuple[str, float], ...]
    pair: ScoredPair
    scored: bool
    lam: float
    gamma: float

    @property
    def title(self) -> str:
        """Its classes."""
        return f"{plain(self.pair.foreground_class)} on {plain(self.pair.background_class)}"


def films_of(
    pairs: Iterable[ScoredPair],
    count: int,
    videos: Mapping[str, Video],
    store: LayerSource,
    settings: CompositeSettings,
    meta: Mapping[str, Any],
) -> list[Film]:
    """Film the first pairs that can be made of stored layers; no layers are made.

    Args:
        pairs: in the order of preference.
        count: how many films at most.
        videos: id ─► training video.
        store: the layers.
        settings: how a pair becomes a composite.
        meta: of the pairs file: `seed` as in an export, and `selection`.
    """
    films: list[Film] = []
    scored = meta.get("selection") != "random"
    for pair in pairs:
        if len(films) == count:
            break
        if not {pair.foreground, pair.background} <= videos.keys():
            continue  # a video that is gone
        try:
            foreground, background = (
                store.load(videos[id_]) for id_ in (pair.foreground, pair.background)
            )
        except L2AError:  # no layers
            continue
        omega = pair.omega if scored else None
        made = make_composite(foreground, background, settings, omega=omega, seed=meta.get("seed"))
        films.append(_film(Composited(foreground, background, made), pair, scored))
    return films


def _film(made: Composited, pair: ScoredPair, scored: bool) -> Film:
    times = made.foreground.times
    count = min(len(times), _MOST_FRAMES)
    cells = strip_block(made, times=count, height=_HEIGHT).cells
    shown = [cells[number] for number, _ in _PANELS]
    gap = np.full((count, _HEIGHT, _GAP, 3), _GREY, np.uint8)
    parts = [part for cell in shown for part in (gap, cell)][1:]
    frames = np.concatenate(parts, axis=2)
    widths = [cell.shape[2] for cell in shown]
    fps = made.foreground.fps * count / len(times)
    return Film(
        uri=video_uri(frames, fps),
        height=_HEIGHT,
        width=frames.shape[2],
        panels=tuple(
            (name, width / sum(widths)) for (_, name), width in zip(_PANELS, widths, strict=True)
        ),
        pair=pair,
        scored=scored,
        lam=made.composite.lam,
        gamma=made.composite.gamma,
    )


def real_film(path: Path) -> tuple[str, int, int]:
    """A video as it is, playing: data URI, height and width in pixels.

    Raises:
        L2AError: it cannot be read.
    """
    read = read_frames(path, max_frames=_MOST_FRAMES, max_side=_MOST_SIDE)
    height, width = read.frames.shape[1:3]
    wide = max(2, round(_HEIGHT * width / height / 2) * 2)
    return video_uri(resize_frames(read.frames, (_HEIGHT, wide)), read.fps), _HEIGHT, wide


def readable_films(
    wanted: Iterable[tuple[T, Path]], most: int
) -> Iterator[tuple[T, tuple[str, int, int]]]:
    """Films of the first videos that can be read.

    Args:
        wanted: in the order of preference: what a video is shown for, and its file.
        most: how many films at most.

    Yields:
        What it is shown for, and its `real_film`.
    """
    made = 0
    for shown_for, path in wanted:
        if made == most:
            return
        try:
            film = real_film(path)
        except L2AError:
            continue
        yield shown_for, film
        made += 1


def video_uri(frames: NDArray[np.uint8], fps: float) -> str:
    """Frames uint8 [T, H, W, 3], RGB, as a data URI that every browser plays."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, frames, fps, crf=_CRF)
        return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def picture_uri(picture: NDArray[np.uint8]) -> str:
    """A picture uint8 [H, W, 3], RGB, as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
