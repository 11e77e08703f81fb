"""Pictures of composites: what went in, what came out, over time. For eyes, not for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from compositing.composite import Composite, to_and_fro
from compositing.layers import Layers
from l2a.files import written_whole
from l2a.media import resize_frames, resize_masks, sample_indices

Frames = NDArray[np.uint8]

_COLUMNS = ("foreground", "mask", "background", "clean background", "composite")
_GAP = 6
_LINE = 24
_INK = (32, 32, 32)
_PAPER = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Made:
    """A composite and the layers that it was made of (`composite.make_composite`)."""

    foreground: Layers
    background: Layers
    composite: Composite


def draw_strip(path: Path, items: Sequence[Made], *, times: int = 3, height: int = 120) -> None:
    """Draw how composites come about, as a PNG; whole or not at all, same input, same bytes.

    One block for each composite, with its classes, ω and λ above; in a block one row for each of
    `times` moments, and in a row the foreground's frame, its mask, the background's frame, the
    clean background and the composite.

    Args:
        path: the PNG file.
        items: the composites, from top to bottom; at least one.
        times: moments shown of each, uniformly in time.
        height: of a picture, in pixels.
    """
    blocks = [_cells(item, sample_indices(item.foreground.times, times), height) for item in items]
    widths = [max(block[i].shape[2] for block in blocks) for i in range(len(_COLUMNS))]
    lefts = [_GAP + sum(widths[:i]) + i * _GAP for i in range(len(_COLUMNS))]
    block_height = _LINE + times * (height + _GAP)
    size = (lefts[-1] + widths[-1] + _GAP, _LINE + len(blocks) * block_height)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    # Pillow's own font has no Greek letters.
    font_file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    plain, small = ImageFont.truetype(font_file, 14), ImageFont.truetype(font_file, 11)
    for title, left in zip(_COLUMNS, lefts, strict=True):
        draw.text((left, _LINE // 2), title, _INK, small, anchor="lm")
    for number, (item, block) in enumerate(zip(items, blocks, strict=True)):
        top = _LINE + number * block_height
        draw.text((_GAP, top + _LINE // 2), _title(item.composite), _INK, plain, anchor="lm")
        for left, width, cells in zip(lefts, widths, block, strict=True):
            inset = (width - cells.shape[2]) // 2
            for row, cell in enumerate(cells):
                place = (left + inset, top + _LINE + row * (height + _GAP))
                sheet.paste(Image.fromarray(cell), place)
    with written_whole(path) as aside:
        sheet.save(aside)


def side_by_side(item: Made, *, height: int = 240) -> Frames:
    """Foreground, background and composite next to each other, for `l2a.media.write_video`.

    Returns:
        uint8 [T, height, W, 3], RGB: all frames of the composite.
    """
    cells = _cells(item, np.arange(len(item.composite.frames)), height)
    return np.concatenate([cells[0], cells[2], cells[4]], axis=2)


def _cells(item: Made, moments: NDArray[np.int64], height: int) -> list[Frames]:
    """The columns at some moments (int64 [n]): of each uint8 [n, height, its width, 3]."""
    front, behind = item.foreground, item.background
    shown = to_and_fro(front.times, behind.times)[moments]
    mask = resize_masks(front.mask[moments], _fit(front.mask, height))
    pictures = (
        front.frames[moments],
        np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1),
        behind.frames[shown],
        behind.background[shown],
        item.composite.frames[moments],
    )
    return [resize_frames(frames, _fit(frames, height)) for frames in pictures]


def _fit(frames: NDArray[np.generic], height: int) -> tuple[int, int]:
    return height, max(1, round(frames.shape[2] * height / frames.shape[1]))


def _title(composite: Composite) -> str:
    made = composite.provenance
    classes = f"{made['foreground_class']} on {made['background_class']}".replace("_", " ")
    score = "" if made["omega"] is None else f"   ω {made['omega']:.2f}"
    return f"{classes}{score}   λ {composite.lam:.2f}   γ {composite.gamma:.2f}"
