"""Masks as networks give them, pasted and encoded: against torchvision, detectron2 and COCO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

from compositing.masks import decode
from compositing.run_lengths import MaskPatch, areas_and_boxes, encode, encode_patches
from compositing.segmenters.detections import (
    Detections,
    at_full_size,
    detections_in,
    paste,
    snapped,
)

H, W, SIDE = 40, 56, 28
TOLERANCE = 1e-4
"""How near to the threshold another order of sums may decide otherwise."""


def full(patch: MaskPatch, height: int = H, width: int = W) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.bool_)
    rows, columns = patch.mask.shape
    mask[patch.top : patch.top + rows, patch.left : patch.left + columns] = patch.mask
    return mask


def pasted(boxes: NDArray[np.float64], masks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """All masks at the frame's size, bool [N, H, W]; those whose box misses it are empty."""
    result = np.zeros((len(boxes), H, W), np.bool_)
    for number, patch in zip(*paste(boxes, masks, H, W), strict=True):
        result[number] = full(patch)
    return result


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Of all sizes, less than a pixel and more than the frame, many across its edges."""
    centres = rng.uniform(-10, 66, (count, 2))
    halves = np.exp(rng.uniform(np.log(0.02), np.log(60), (count, 2)))
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def smooth_masks(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    coarse = torch.from_numpy(rng.normal(0, 4, (count, 1, 7, 7)).astype(np.float32))
    fine = functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    return torch.sigmoid(fine)[:, 0].numpy()


def detectron_probabilities(
    boxes: NDArray[np.float32], masks: NDArray[np.float32]
) -> NDArray[np.float32]:
    """detectron2's formula: the masks sampled at the pixels' centres, 0 beyond their edges."""
    rows = []
    for (left, top, right, bottom), mask in zip(boxes.tolist(), masks, strict=True):
        x = (torch.arange(W) + 0.5 - left) / (right - left) * 2 - 1
        y = (torch.arange(H) + 0.5 - top) / (bottom - top) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=2)[None]
        shown = functional.grid_sample(
            torch.from_numpy(mask)[None, None], grid.float(), align_corners=False
        )
        rows.append(shown[0, 0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [False, True])
def test_masks_are_pasted_as_torchvision_pastes_them(seed: int, noise: bool) -> None:
    rng = np.random.default_rng(seed)
    # Its boxes lie within the frame: it cuts them before.
    boxes = np.clip(random_boxes(rng, 60), 0, np.array([W, H, W, H], np.float32))
    masks = rng.random((60, SIDE, SIDE), np.float32) if noise else smooth_masks(rng, 60)
    expected = paste_masks_in_image(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (H, W)
    )[:, 0].numpy()
    found = pasted(snapped(boxes, SIDE), masks)
    clear = np.abs(expected - 0.5) > TOLERANCE
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], (expected >= 0.5)[clear])
    assert found.any(axis=(1, 2)).sum() > 20


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_pasted_as_detectron2_pastes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, masks = random_boxes(rng, 60), smooth_masks(rng, 60)
    expected = detectron_probabilities(boxes, masks)
    clear = np.abs(expected - 0.5) > 1e-3  # its coordinates are float32
    found = pasted(boxes.astype(np.float64), masks)
    np.testing.assert_array_equal(found[clear], (expected >= 0.5)[clear])


def test_a_mask_of_ones_is_its_box_and_a_cell_for_each_pixel_is_the_mask_itself() -> None:
    ones = np.ones((1, SIDE, SIDE), np.float32)
    expected = np.zeros((H, W), np.bool_)
    expected[10:30, 5:50] = True
    np.testing.assert_array_equal(pasted(np.array([[5.0, 10, 50, 30]]), ones)[0], expected)
    whole = np.random.default_rng(0).random((2, H, W), np.float32)
    found = pasted(np.tile(np.array([0.0, 0, W, H]), (2, 1)), whole)
    np.testing.assert_array_equal(found, whole >= 0.5)


def test_boxes_beside_the_frame_and_masks_without_a_pixel_are_left_out() -> None:
    boxes = np.array([[-30.0, 0, -10, 9], [2, 2, 20, 20], [2, 2, 20, 20], [70, 90, 99, 99]])
    masks = np.ones((4, SIDE, SIDE), np.float32)
    masks[2] = 0.4
    found = Detections(("a", "b", "c", "d"), np.array([0.1, 0.2345678, 0.3, 0.4], np.float32),
                       boxes, masks)  # fmt: skip
    (seen,) = at_full_size(found, H, W)
    assert (seen.category, seen.score) == ("b", 0.234568)
    ((_, mask),) = decode([seen.rle], H, W)
    np.testing.assert_array_equal(mask, full(seen.patch))
    nothing = Detections((), np.zeros(0, np.float32), np.zeros((0, 4)), np.zeros((0, 28, 28)))
    assert at_full_size(nothing, H, W) == ()


def test_a_network_is_asked_for_some_frames_at_a_time_and_for_each_once() -> None:
    asked: list[int] = []

    def detect(frames: NDArray[np.uint8]) -> list[Detections]:
        asked.append(len(frames))
        ones = np.ones((1, SIDE, SIDE), np.float32)
        return [
            Detections(
                ("x",), np.ones(1, np.float32), np.array([[0.0, 0, frame[0, 0, 0], 4]]), ones
            )
            for frame in frames
        ]

    frames = np.arange(1, 41, dtype=np.uint8)[:, None, None, None].repeat(H, 1).repeat(W, 2)
    found = list(detections_in(frames, detect))
    assert asked == [32, 8]
    assert [full(row[0].patch).sum() for row in found] == [4 * n for n in range(1, 41)]


# Run lengths


@st.composite
def patches(draw: st.DrawFn) -> tuple[list[MaskPatch], int, int]:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    made = []
    for _ in range(draw(st.integers(0, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rows, columns = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
        if draw(st.booleans()):
            top, rows = 0, height  # runs go on from one column to the next
        seed, share = draw(st.integers(0, 99)), draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1]))
        made.append(
            MaskPatch(top, left, np.random.default_rng(seed).random((rows, columns)) < share)
        )
    return made, height, width


@given(patches())
def test_patches_are_encoded_as_coco_encodes_whole_masks(
    given_: tuple[list[MaskPatch], int, int],
) -> None:
    made, height, width = given_
    whole = [full(patch, height, width) for patch in made]
    expected = encode(np.stack(whole)) if whole else ()
    assert encode_patches(made, height, width) == expected


@pytest.mark.parametrize("size", [(1000, 900), (1, 40_000), (40_000, 1), (2, 3_000_000)])
def test_long_runs_take_as_many_characters_as_they_need(size: tuple[int, int]) -> None:
    """Numbers of one to five groups of bits, and differences of both signs."""
    height, width = size
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.bool_)
    for _ in range(9):
        place = rng.integers(0, height * width)
        mask.T.reshape(-1)[place : place + int(rng.choice([1, 15, 16, 17, 500, 20_000]))] = True
    parts: Sequence[Any] = [MaskPatch(0, 0, mask)]
    assert encode_patches(parts, height, width) == encode(mask[None])


@given(patches())
def test_areas_and_boxes_are_those_of_the_masks(given_: tuple[list[MaskPatch], int, int]) -> None:
    made, height, width = given_
    whole = [full(patch, height, width) for patch in made]
    rles = [rle["counts"].decode() for rle in coco.encode(as_columns(whole))] if whole else []
    areas, boxes = areas_and_boxes(rles, height, width)
    assert areas.tolist() == [mask.sum() for mask in whole]
    for mask, box in zip(whole, boxes.tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [0, 0, 0, 0]
        if rows.size:
            left, top = int(columns.min()), int(rows.min())
            expected = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
        assert box == expected


def as_columns(masks: list[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    return np.asfortranarray(np.stack(masks, axis=2), dtype=np.uint8)


def test_areas_of_many_masks_are_read_in_parts_and_damage_is_named() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2500, 5, 7)) < rng.random((2500, 1, 1))
    masks[:, 2, 2] = True
    rles = [rle for rle in encode(masks) if rle]
    assert areas_and_boxes(rles, 5, 7)[0].tolist() == masks.sum(axis=(1, 2)).tolist()
    for wrong in ("5", "", "P", "\x7f", "T1"):
        with pytest.raises(ValueError, match=r"run.length"):
            areas_and_boxes([*rles, wrong], 5, 7)
