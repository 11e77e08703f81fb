"""The contact sheet: what preparation made of some videos. And what all pictures share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from compositing.layers import LayerRecord, Layers
from l2a.files import atomic_write
from l2a.media import resize_frames, resize_masks

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

TINT = np.array([255, 40, 40], np.float32)
EDGE = (255, 230, 0)
PAPER = (255, 255, 255)
INK = (32, 32, 32)
WARNING = (200, 0, 0)
GAP = 6
LINE = 16
PARTS = ("frame", "mask", "clean background")


def draw_contact_sheet(
    path: Path,
    layers: Iterable[Layers],
    *,
    unfit: Mapping[str, str] | None = None,
    moments: int = 3,
    height: int = 120,
) -> None:
    """Draw a PNG with one row per video: at each moment the frame, its mask, the background.

    Args:
        path: where to write it, whole or not at all.
        layers: the videos, top to bottom, at least one; taken one by one, so that a generator
            keeps only one video in memory.
        unfit: video id ─► why it is unfit, written in red under its row.
        moments: how many moments of each video, evenly spread.
        height: of each picture, in pixels; pictures wider than 16:9 are made lower instead.
    """
    rows = []
    for one in layers:
        text = f"{plain(one.video.label or one.video.split)}    {one.video.id}"
        counts = f"{len(one.frames)} frames, {one.fps:.3g} fps"
        rows.append((text, counts, (unfit or {}).get(one.video.id, ""), _row(one, moments, height)))
    width = max(picture.shape[1] for *_, row in rows for picture in row)
    step = width + GAP
    columns = moments * len(PARTS)
    heights = [LINE + height + GAP + (LINE if reason else 0) for _, _, reason, _ in rows]
    sheet = Image.new("RGB", (GAP + columns * step, 2 * GAP + LINE + sum(heights)), PAPER)
    pen, face, inner = ImageDraw.Draw(sheet), font(LINE - 4), columns * step - GAP
    for column in range(columns):
        title = f"{PARTS[column % len(PARTS)]} {column // len(PARTS) + 1}"
        pen.text((GAP + column * step, GAP), truncated(title, face, width), INK, face)
    top = 2 * GAP + LINE
    for (text, counts, reason, row), tall in zip(rows, heights, strict=True):
        space = inner - face.getlength(counts) - 4 * GAP
        pen.text((GAP, top), f"{truncated(text, face, space)}    {counts}", INK, face)
        for column, picture in enumerate(row):
            put(sheet, picture, (GAP + column * step, top + LINE), (height, width))
        if reason:
            line = top + LINE + height + 1
            pen.text((GAP, line), truncated(reason, face, inner), WARNING, face)
        top += tall
    with atomic_write(path) as aside:
        sheet.save(aside, format="PNG")


def outlined(frame: UInt8, mask: Bool) -> UInt8:
    """A frame (uint8 [H, W, 3], RGB) with its mask (bool [H, W]) tinted red and outlined."""
    picture = frame.copy()
    picture[mask] = (0.55 * frame[mask] + 0.45 * TINT).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, EDGE, max(1, frame.shape[0] // 160))
    return picture


def parts_at(one: Layers, moments: NDArray[np.int64], height: int) -> tuple[UInt8, UInt8, UInt8]:
    """Frames, outlined frames and clean backgrounds at some moments (int64 [n]).

    Returns:
        Of each uint8 [n, height, W, 3], RGB, undistorted. The outline is drawn at this size, so
        that it is as clear on a large video as on a small one.
    """
    size = size_at(one.frames, height)
    frames = resize_frames(one.frames[moments], size)
    masks = resize_masks(one.mask[moments], size)
    pictures = [outlined(frame, mask) for frame, mask in zip(frames, masks, strict=True)]
    return frames, np.stack(pictures), resize_frames(one.background[moments], size)


def evenly(count: int, among: int) -> list[int]:
    """The middles of `count` equal parts of 0..`among` − 1, ascending."""
    return [(2 * i + 1) * among // (2 * count) for i in range(count)]


def size_at(frames: NDArray[np.generic], height: int) -> tuple[int, int]:
    """The size (height, width) that frames or masks [T, H, W, ...] have at that height."""
    return height, max(1, round(frames.shape[2] * height / frames.shape[1]))


def put(sheet: Image.Image, picture: UInt8, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Paste a picture into the middle of a cell: its corner as (x, y), its size (height, width)."""
    right = corner[0] + (size[1] - picture.shape[1]) // 2
    sheet.paste(Image.fromarray(picture), (right, corner[1] + (size[0] - picture.shape[0]) // 2))


def plain(name: str) -> str:
    """A class name as people write it."""
    return name.replace("_", " ")


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all pictures; Pillow's own has no Greek letters."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(file, size)


def truncated(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text in one line, cut short with "…" where it is wider than `width` pixels."""
    # File names may hold line breaks, and bytes that are no characters: neither can be drawn.
    text = text.encode("utf-8", "replace").decode()
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines of at most `width` pixels, broken between words; [] where it is empty."""
    lines: list[str] = []
    for word in text.split():
        word = truncated(word, face, width)
        if lines and face.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def why_unfit(record: LayerRecord) -> str:
    """Why a video is unfit, for people; "" when it can stand on both sides of a pair."""
    foreground, background = record.foreground_unfit, record.background_unfit
    if foreground and background.startswith(foreground):
        return f"unfit: {background}"
    sides = {"foreground": foreground, "background": background}
    return "; ".join(f"unfit as {side}: {why}" for side, why in sides.items() if why)


def _row(one: Layers, moments: int, height: int) -> list[UInt8]:
    chosen = np.array(evenly(moments, len(one.frames)))
    # Wider than 16:9: lower, so that one panorama does not make every column wide.
    low = round(height * min(1.0, height * 16 / 9 / size_at(one.frames, height)[1]))
    parts = parts_at(one, chosen, max(1, low))
    return [part[moment] for moment in range(moments) for part in parts]
