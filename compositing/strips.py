"""Pictures of composites: what went in, what came out, over time. For eyes, not for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compositing.composite import Composite, ping_pong, steady
from compositing.layers import Layers
from compositing.pictures import GAP, INK, PAPER, font, plain, put, size_at, truncated, wrapped
from l2a.files import atomic_write
from l2a.media import resize_frames, resize_masks, sample_indices

Frames = NDArray[np.uint8]

_COLUMNS = ("foreground", "mask", "background", "clean background", "composite")
_LINE = 24
_ACROSS = 6
_GUTTER = 96


@dataclass(frozen=True, slots=True)
class Composited:
    """A composite and the layers that it was made of (`composite.make_composite`).

    The foreground's frames become those that the composite shows (`composite.steady`).
    """

    foreground: Layers
    background: Layers
    composite: Composite

    def __post_init__(self) -> None:
        object.__setattr__(self, "foreground", steady(self.foreground))


@dataclass(frozen=True, slots=True)
class StripBlock:
    """What a strip shows of one composite, small: the layers need not stay in memory for it.

    Attributes:
        title: its classes, ω, λ and γ.
        cells: for each column uint8 [times, height, its width, 3], RGB.
    """

    title: str
    cells: tuple[Frames, ...]


def strip_block(item: Composited, *, times: int = 3, height: int = 120) -> StripBlock:
    """The block of a composite: `times` moments uniformly in time, `height` pixels high."""
    moments = sample_indices(item.foreground.times, times)
    return StripBlock(_title(item.composite), tuple(_cells(item, moments, height)))


def draw_strip(
    path: Path, items: Iterable[Composited], *, times: int = 3, height: int = 120
) -> None:
    """Draw how composites come about, as a PNG; whole or not at all, same input, same bytes.

    One block for each composite, with its classes, ω and λ above; in a block one row for each of
    `times` moments, and in a row the foreground's frame, its mask, the background's frame, the
    clean background and the composite.

    Args:
        path: the PNG file.
        items: the composites, from top to bottom; at least one. They are taken one by one, so that
            a generator keeps only one in memory.
        times: moments shown of each, uniformly in time.
        height: of a picture, in pixels.
    """
    draw_blocks(path, [strip_block(item, times=times, height=height) for item in items])


def draw_blocks(path: Path, blocks: Sequence[StripBlock]) -> None:
    """Draw a strip of blocks of equal height and equally many moments; see `draw_strip`."""
    times, height = blocks[0].cells[0].shape[:2]
    widths = [max(block.cells[i].shape[2] for block in blocks) for i in range(len(_COLUMNS))]
    lefts = [GAP + sum(widths[:i]) + i * GAP for i in range(len(_COLUMNS))]
    block_height = _LINE + times * (height + GAP)
    width = lefts[-1] + widths[-1] + GAP
    sheet = Image.new("RGB", (width, _LINE + len(blocks) * block_height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for title, left, space in zip(_COLUMNS, lefts, widths, strict=True):
        text = truncated(title, font(11), space)
        pen.text((left, _LINE // 2), text, INK, font(11), anchor="lm")
    for number, block in enumerate(blocks):
        top = _LINE + number * block_height
        text = truncated(block.title, font(14), width - 2 * GAP)
        pen.text((GAP, top + _LINE // 2), text, INK, font(14), anchor="lm")
        for left, space, cells in zip(lefts, widths, block.cells, strict=True):
            for row, cell in enumerate(cells):
                place = (left, top + _LINE + row * (height + GAP))
                put(sheet, cell, place, (height, space))
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")


def side_by_side(item: Composited, *, height: int = 240) -> Frames:
    """Foreground, background and composite next to each other, for `l2a.media.write_video`.

    Returns:
        uint8 [T, height, W, 3], RGB: all frames of the composite.
    """
    foreground, background, made = (
        resize_frames(frames, size_at(frames, height))
        for frames in (item.foreground.frames, item.background.frames, item.composite.frames)
    )
    shown = ping_pong(item.foreground.times, item.background.times)
    return np.concatenate([foreground, background[shown], made], axis=2)


def middle_frame(item: Composited, *, height: int = 150) -> Frames:
    """The composite's frame nearest to its middle that has a mask: uint8 [height, W, 3], RGB."""
    count = len(item.composite.frames)
    found = np.flatnonzero(item.foreground.mask.any(axis=(1, 2)))
    among = found if len(found) else np.arange(count)
    moment = among[np.abs(among - count // 2).argmin()]
    frames = item.composite.frames[moment : moment + 1]
    return resize_frames(frames, size_at(frames, height))[0]


def draw_table(
    path: Path,
    rows: Sequence[str],
    columns: Sequence[tuple[str, str]],
    cells: Sequence[Sequence[Frames]],
) -> None:
    """Draw a PNG that sets ways of compositing the same pairs under each other.

    Columns that do not fit next to each other (more than six) continue below, with all rows.

    Args:
        path: the PNG file; whole or not at all, same input, same bytes.
        rows: the name of each way.
        columns: foreground and background class of each pair.
        cells: for each pair its picture in each row: uint8 [H, W, 3], RGB, H alike in all.
    """
    height = cells[0][0].shape[0]
    face, gutter = font(13), _GUTTER
    widths = [max(cell.shape[1] for cell in column) for column in cells]
    shelves = [range(i, min(i + _ACROSS, len(cells))) for i in range(0, len(cells), _ACROSS)]
    width = max(sum(widths[i] + GAP for i in shelf) for shelf in shelves)
    shelf_height = 2 * _LINE + len(rows) * (height + GAP)
    sheet = Image.new("RGB", (gutter + width, len(shelves) * shelf_height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, shelf in enumerate(shelves):
        top, left = number * shelf_height, gutter
        for row, name in enumerate(rows):
            at = top + 2 * _LINE + row * (height + GAP) + height // 2
            text = "\n".join(wrapped(name, face, gutter - 2 * GAP))
            pen.multiline_text((GAP, at), text, INK, face, anchor="lm")
        for i in shelf:
            for line, text in enumerate((plain(columns[i][0]), f"on {plain(columns[i][1])}")):
                at = top + GAP + line * (_LINE - GAP)
                pen.text((left, at), truncated(text, face, widths[i]), INK, face)
            for row, cell in enumerate(cells[i]):
                place = (left, top + 2 * _LINE + row * (height + GAP))
                put(sheet, cell, place, (height, widths[i]))
            left += widths[i] + GAP
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")


def _cells(item: Composited, moments: NDArray[np.int64], height: int) -> list[Frames]:
    """The columns at some moments (int64 [n]): of each uint8 [n, height, its width, 3]."""
    foreground, background = item.foreground, item.background
    shown = ping_pong(foreground.times, background.times)[moments]
    mask = resize_masks(foreground.mask[moments], size_at(foreground.mask, height))
    pictures = (
        foreground.frames[moments],
        np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1),
        background.frames[shown],
        background.background[shown],
        item.composite.frames[moments],
    )
    return [resize_frames(frames, size_at(frames, height)) for frames in pictures]


def _title(composite: Composite) -> str:
    made = composite.provenance
    classes = f"{plain(made['foreground_class'])} on {plain(made['background_class'])}"
    score = "" if made["omega"] is None else f"   ω {made['omega']:.2f}"
    return f"{classes}{score}   λ {composite.lam:.2f}   γ {composite.gamma:.2f}"
