"""What all augmentations promise, checked for every name in the table."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from l2a.augment import (
    AUGMENTATIONS,
    ActorCut,
    Collate,
    Compose,
    CubeCutOut,
    CutMix,
    CutOut,
    Flip,
    FrameCutOut,
    ObjectMix,
    OneOf,
    VideoMix,
    make_augmentation,
)
from l2a.errors import InputError

NAMES = (
    *AUGMENTATIONS,
    "videomix:temporal",
    "videomix:spatio-temporal",
    "videomix:per-frame",
    "randaugment-t:temporal",
    "randaugment-t:mix",
    "flip:1",
    "flip,cutmix,objectmix",
    "videomix:videos=3:per_clip=true",
)
DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def make_batch(
    count: int, size: tuple[int, int, int], dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, soft labels of four classes, and masks of a quarter of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.rand(count, 3, *size, generator=generator)
    clips = (clips * 255).to(dtype) if dtype == torch.uint8 else clips.to(dtype)
    labels = torch.rand(count, 4, generator=generator).softmax(1)
    return clips, labels, torch.rand(count, *size, generator=generator) < 0.25


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
@given(
    count=st.integers(1, 5),
    size=st.tuples(st.integers(1, 5), st.integers(1, 13), st.integers(1, 13)),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 10_000),
)
def test_every_augmentation_keeps_the_form(
    name: str, count: int, size: tuple[int, int, int], dtype: torch.dtype, seed: int
) -> None:
    augment = make_augmentation(name)
    clips, labels, masks = make_batch(count, size, dtype, seed)
    before = clips.clone(), labels.clone(), masks.clone()
    done, soft = augment(clips, labels, masks, seeded(seed))

    assert (done.shape, done.dtype, soft.shape, soft.dtype) == (
        clips.shape, dtype, labels.shape, torch.float32,
    )  # fmt: skip
    torch.testing.assert_close(soft.sum(1), torch.ones(count), atol=1e-6, rtol=0)
    assert soft.min() >= 0
    assert torch.isfinite(done.float()).all()
    if dtype != torch.uint8:
        assert done.min() >= 0 and done.max() <= 1
    for new, old in zip(before, (clips, labels, masks), strict=True):
        assert torch.equal(new, old)
    assert done.data_ptr() != clips.data_ptr() and soft.data_ptr() != labels.data_ptr()
    again, soft_again = augment(clips, labels, masks, seeded(seed))
    assert torch.equal(done, again) and torch.equal(soft, soft_again)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"flip:1"}))  # all have a part of class 1
def test_different_seeds_differ(name: str) -> None:
    clips, labels, masks = make_batch(4, (6, 16, 16))
    masks[..., 12:, :] = False  # boxes that leave some of the scene
    results = [make_augmentation(name)(clips, labels, masks, seeded(s))[0] for s in range(12)]
    assert any(not torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("name", NAMES)
def test_a_non_contiguous_batch_gives_the_same(name: str) -> None:
    clips, labels, masks = make_batch(3, (4, 10, 12))
    turned = clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert not turned.is_contiguous()
    plain = make_augmentation(name)(clips, labels, masks, seeded(3))
    strided = make_augmentation(name)(turned, labels, masks, seeded(3))
    torch.testing.assert_close(plain[0], strided[0])
    torch.testing.assert_close(plain[1], strided[1])


def test_class_indices_become_soft_labels() -> None:
    clips, _, _ = make_batch(3, (2, 6, 6))
    _, soft = Flip()(clips, torch.tensor([2, 0, 1]), num_classes=3)
    assert soft.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert soft.dtype == torch.float32


@pytest.mark.parametrize(
    ("clips", "labels", "masks", "classes", "words"),
    [
        (torch.rand(2, 3, 4, 4), torch.eye(2), None, None, r"\[B, 3, T, H, W\].*\[2, 3, 4, 4\]"),
        (torch.zeros(2, 3, 1, 4, 4).long(), torch.eye(2), None, None, "torch.int64"),
        (torch.rand(2, 3, 1, 4, 4), torch.tensor([0, 1]), None, None, "num_classes"),
        (torch.rand(2, 3, 1, 4, 4), torch.tensor([0, 2]), None, 2, r"0\.\.1.*\[0, 2\]"),
        (torch.rand(2, 3, 1, 4, 4), torch.eye(3), None, None, r"\[3, 3\]"),
        (torch.rand(2, 3, 1, 4, 4), torch.eye(2), torch.ones(2, 1, 4, 4), None, "torch.float32"),
        (torch.rand(2, 3, 1, 4, 4), torch.eye(2), torch.ones(2, 4, 4) > 0, None, r"\[2, 1, 4, 4\]"),
    ],
)
def test_wrong_input_is_named(
    clips: Tensor, labels: Tensor, masks: Tensor | None, classes: int | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Flip()(clips, labels, masks, num_classes=classes)


@pytest.mark.parametrize(
    "spec", ["mixdown", "videomix:diagonal", "cutmix:2", "randaugment-t:late", "flip:left"]
)
def test_a_wrong_name_is_answered_with_what_there_is(spec: str) -> None:
    with pytest.raises(InputError, match=spec.split(":")[-1]):
        make_augmentation(spec)


def test_a_name_takes_settings() -> None:
    made = make_augmentation("flip:3+17:probability=1, videomix:per-frame:alpha=0.5:videos=3")
    assert made == Compose((Flip(1.0, (3, 17)), VideoMix("per-frame", 0.5, videos=3)))
    assert make_augmentation("cutmix:per_clip=true") == CutMix(per_clip=True)
    assert make_augmentation("objectmix+or:probability=1") == ObjectMix(True, 1.0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("videomix:alfa=1", "'alfa'; choose one of: alpha, probability, videos, per_clip"),
        ("videomix:alpha=fast", "alpha must be a number, not 'fast'"),
        ("videomix:alpha=inf", "alpha must be above 0, and finite, not inf"),
        ("videomix:videos=2.5", "videos must be a whole number, not '2.5'"),
        ("videomix:videos=5", "2, 3 or 4 videos, not 5"),
        ("cutmix:per_clip=1", "per_clip must be true or false, not '1'"),
        ("cutmix:alpha=1:alpha=2", "alpha is given twice"),
        ("cutout:frames=0.5", "no setting 'frames'; choose one of: patch, fill, probability"),
        ("cutout:fill=nan", "fill must be a finite number, not nan"),
        ("actorcut+videomix:alpha=1", "give them to each: actorcut,videomix"),
        ("randaugment-t:spatial", "'spatial'; choose one of: temporal, temporal\\+, mix"),
    ],
)
def test_a_wrong_setting_is_named(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as stop:
        make_augmentation(spec)
    if "=" in spec:
        assert repr(spec) in str(stop.value)


@pytest.mark.parametrize("make", [CutOut, FrameCutOut, CubeCutOut, ActorCut])
def test_bytes_are_filled_with_whole_numbers_from_0_to_255(make: Callable[..., Any]) -> None:
    """Whatever a batch draws: 0.45 would be black, and -1 or 300 an overflow."""
    clips, labels, masks = make_batch(2, (2, 6, 6), torch.uint8)
    for fill in (-1, 300, 0.45):
        augment = make(fill=fill, probability=0)
        with pytest.raises(InputError, match=f"fill is {fill}, and clips of bytes"):
            OneOf((Flip(), Compose((augment,))), (1, 0))(clips, labels, masks)
        augment(clips.float(), labels, masks)
    for fill in (0, 255.0):
        make(fill=fill)(clips, labels, masks)
    with pytest.raises(InputError, match="fill must be a finite number, not inf"):
        make(fill=float("inf"))


def test_always_and_needs_masks_reach_every_step() -> None:
    made = Compose((Flip(0.1), OneOf((CutMix(), ObjectMix()), weights=(1, 3))))
    assert made.always() == Compose((Flip(1.0), OneOf(
        (CutMix(probability=1), ObjectMix(probability=1)), weights=(1, 3)
    )))  # fmt: skip
    assert made.needs_masks and not Compose((Flip(), OneOf((CutMix(),)))).needs_masks
    needing = {name for name in AUGMENTATIONS if make_augmentation(name).needs_masks}
    assert needing == {name for name in AUGMENTATIONS if name.startswith(("object", "actor"))}


@pytest.mark.parametrize("name", ["objectmix", "actorcut"])
def test_objects_without_masks_are_refused(name: str) -> None:
    clips, labels, _ = make_batch(2, (2, 6, 6))
    with pytest.raises(InputError, match="masks"):
        make_augmentation(name)(clips, labels)


def test_probabilities_are_kept() -> None:
    clips, labels, _ = make_batch(2, (2, 6, 6))
    never = Compose((VideoMix(probability=0), Flip(probability=0)))
    done, soft = never(clips, labels, None, seeded(0))
    assert torch.equal(done, clips) and torch.equal(soft, labels)
    flips = sum(
        torch.equal(Flip(0.3)(clips[:1], labels[:1], None, seeded(s))[0], clips[:1].flip(-1))
        for s in range(300)
    )
    assert 60 < flips < 120  # 90 expected; 3.8 standard deviations


def test_one_of_draws_by_weight() -> None:
    clips, labels, _ = make_batch(1, (1, 4, 4))
    either = OneOf((Flip(1.0), Flip(0.0)), weights=(0.0, 1.0))
    assert all(torch.equal(either(clips, labels, None, seeded(s))[0], clips) for s in range(20))


def test_the_same_draws_whatever_the_type() -> None:
    clips, labels, _ = make_batch(4, (3, 8, 8), torch.uint8)
    whole, soft = make_augmentation("videomix")(clips, labels, None, seeded(5))
    exact, soft_exact = make_augmentation("videomix")(clips.double(), labels, None, seeded(5))
    assert torch.equal(whole.double(), exact) and torch.equal(soft, soft_exact)


class Samples(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Eight clips of four classes."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 2, 6, 6), index, dtype=torch.uint8), index % 4


@pytest.mark.parametrize("workers", [0, 1])
def test_as_the_collate_fn_of_a_data_loader(workers: int) -> None:
    def batches() -> list[tuple[Tensor, Tensor]]:
        generator = seeded(7)  # torch's global one continues from call to call
        loader = DataLoader(
            Samples(),
            batch_size=4,
            collate_fn=Collate(VideoMix(), 4, generator),
            num_workers=workers,
            generator=generator,
        )
        return list(loader)

    first, second = batches(), batches()
    for (clips, labels), (again, labels_again) in zip(first, second, strict=True):
        assert clips.shape == (4, 3, 2, 6, 6) and clips.dtype == torch.uint8
        assert torch.equal(clips, again) and torch.equal(labels, labels_again)
    assert not torch.equal(first[0][1], first[1][1])


def test_collate_takes_soft_labels_and_masks() -> None:
    clip, mask = torch.rand(3, 2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    other = torch.rand(3, 2, 4, 4)
    soft = torch.tensor([0.25, 0.75]), torch.tensor([1.0, 0.0])
    clips, labels = Collate(make_augmentation("actorcut"))(
        [(clip, soft[0], mask), (other, soft[1], mask)]
    )
    assert torch.equal(clips, torch.stack([clip, other]))
    assert torch.equal(labels, torch.stack(soft))


def test_the_import_pulls_in_torch_and_nothing_heavier() -> None:
    code = (
        "import torch, sys; before = set(sys.modules); import l2a.augment;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['l2a']\n"


def test_every_augmentation_has_a_picture_and_a_row_in_the_documentation() -> None:
    docs = Path(__file__).resolve().parents[1] / "docs"
    page = (docs / "augment.md").read_text(encoding="utf-8")
    for name in AUGMENTATIONS:
        assert f"`{name}" in page, name
    shown = set(re.findall(r"\]\((images/augment/[^)]+)\)", page))
    files = {f"images/augment/{path.name}" for path in (docs / "images" / "augment").iterdir()}
    assert shown == files
    sizes = [(docs / file).stat().st_size for file in files]
    assert max(sizes) <= 60_000 and sum(sizes) <= 2_000_000
