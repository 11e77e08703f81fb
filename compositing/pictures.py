"""The contact sheet: a look at what preparation made of some videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from compositing.layers import Layers
from l2a.files import written_whole

UInt8 = NDArray[np.uint8]

TINT = np.array([255, 40, 40], np.float32)
PAPER = (255, 255, 255)
INK = (30, 30, 30)
GAP = 6
LINE = 16
PARTS = ("frame", "mask", "clean background")


def draw_contact_sheet(
    path: Path, layers: Sequence[Layers], *, moments: int = 3, height: int = 120
) -> None:
    """Draw a PNG with one row per video: at each moment the frame, its mask, the background.

    Args:
        path: where to write it, whole or not at all.
        layers: the videos, top to bottom, at least one.
        moments: how many moments of each video, evenly spread.
        height: of each picture, in pixels; pictures wider than 16:9 are made lower instead.
    """
    rows = [[_thumbnail(picture, height) for picture in _row(one, moments)] for one in layers]
    width = max(picture.shape[1] for row in rows for picture in row)
    step_x, step_y = width + GAP, height + LINE + GAP
    columns = moments * len(PARTS)
    size = (GAP + columns * step_x, 2 * GAP + LINE + len(rows) * step_y)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LINE - 4)
    for column in range(columns):
        title = f"{PARTS[column % len(PARTS)]} {column // len(PARTS) + 1}"
        pen.text((GAP + column * step_x, GAP), title, INK, font)
    for number, (one, row) in enumerate(zip(layers, rows, strict=True)):
        top = 2 * GAP + LINE + number * step_y
        text = f"{one.video.label}    {one.video.id}    {len(one.frames)} frames, {one.fps:.3g} fps"
        pen.text((GAP, top), text, INK, font)
        for column, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (GAP + column * step_x, top + LINE))
    with written_whole(path) as aside:
        sheet.save(aside, format="PNG")


def outlined(frame: UInt8, mask: NDArray[np.bool_]) -> UInt8:
    """A frame (uint8 [H, W, 3], RGB) with its mask (bool [H, W]) tinted red and outlined."""
    picture = frame.copy()
    picture[mask] = (0.55 * frame[mask] + 0.45 * TINT).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, frame.shape[0] // 160)
    cv2.drawContours(picture, contours, -1, (255, 230, 0), thickness)
    return picture


def _row(one: Layers, moments: int) -> list[UInt8]:
    chosen = ((np.arange(moments) + 0.5) / moments * len(one.frames)).astype(int).tolist()
    return [
        picture
        for t in chosen
        for picture in (one.frames[t], outlined(one.frames[t], one.mask[t]), one.background[t])
    ]


def _thumbnail(picture: UInt8, height: int) -> UInt8:
    scale = min(height / picture.shape[0], height * 16 / 9 / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
