"""Batches of labelled clips beside views of unlabelled ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from banks import GEOMETRY, make_source
from semi import Codes
from torch import Tensor

from compositing.settings import CompositeSettings
from l2a.augment.base import as_batch, draws_of
from l2a.clips import ClipBank, RowState
from train.batches import ClipSource
from train.loading import Loading, load_steps
from train.mix import MixedBatches, TrainingMix
from train.objectives.parts import given
from train.semi_supervised.batches import VIEWS, SemiBatch, SemiBatches, Unlabelled, plan_cut
from train.semi_supervised.strong import TemporalChange, frame_order, strong_augmentation

LABELLED, ROWS = np.arange(5), np.arange(5, 12)
ALL = VIEWS - {"weak", "partners", "cut_weight"}
STEPS = 15


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    """Nobody may ask for the labels of the unlabelled rows."""
    made = make_source(tmp_path_factory.mktemp("bank") / "bank")
    return replace(made, labels=np.where(np.arange(12) < 5, made.labels, -1))


def labelled_of(source: ClipSource) -> MixedBatches:
    mix = TrainingMix(LABELLED, np.array([[0, 1], [3, 4]]), 2)
    return MixedBatches(source, mix, 2, True, 3, epochs=5)


def batches_of(
    source: ClipSource, needs: frozenset[str] = ALL, per_batch: int = 3, flip: bool = True
) -> SemiBatches:
    targets = torch.arange(36.0).view(12, 3)
    unlabelled = Unlabelled(ROWS, per_batch, targets, Codes())
    return SemiBatches(labelled_of(source), source, unlabelled, flip, 3, needs)


def tensors(batch: SemiBatch) -> dict[str, Tensor]:
    """All of a batch."""
    found = {name: getattr(batch, name) for name in VIEWS}
    return {**found, "clips": batch.labelled.clips, "labels": batch.labelled.labels}


def assert_same(first: SemiBatch, second: SemiBatch) -> None:
    other = tensors(second)
    for name, value in tensors(first).items():
        assert torch.equal(value, other[name]), name


# Steps.


def test_the_labelled_part_is_that_of_a_supervised_training(source: ClipSource) -> None:
    alone, beside = labelled_of(source), batches_of(source)
    assert len(beside) == len(alone) == STEPS
    assert beside.steps_per_epoch == alone.steps_per_epoch
    for step in range(0, STEPS, 4):
        assert torch.equal(alone[step].clips, beside[step].labelled.clips)
        assert torch.equal(alone[step].labels, beside[step].labelled.labels)


def test_a_batch_is_the_same_whoever_makes_it_and_from_any_step(source: ClipSource) -> None:
    whole = [batches_of(source)[step] for step in range(STEPS)]
    for workers, first in ((0, 11), (2, 9)):
        made = load_steps(batches_of(source), Loading(workers), first)
        for batch, expected in zip(made, whole[first:], strict=True):
            assert_same(batch, expected)


def test_every_unlabelled_clip_is_drawn_once_a_pass(source: ClipSource) -> None:
    batches = batches_of(source, frozenset())
    drawn = np.concatenate([batches.rows(step) for step in range(14)])
    for one in drawn.reshape(6, 7):
        assert sorted(one) == ROWS.tolist()
    assert drawn[:7].tolist() != drawn[7:14].tolist()


def test_views_do_not_depend_on_each_other(source: ClipSource) -> None:
    whole = batches_of(source)
    for need in sorted(ALL):
        alone = batches_of(source, frozenset({need}))
        for step in (0, 7):
            first, second = alone[step], whole[step]
            assert torch.equal(first.weak, second.weak)
            assert torch.equal(getattr(first, need), getattr(second, need)), need
    bare = batches_of(source, frozenset())[0]
    assert {name for name, value in tensors(bare).items() if value is not None} == {
        "weak", "clips", "labels",
    }  # fmt: skip


def test_what_cannot_be_made_is_refused(source: ClipSource) -> None:
    for needs in ("depth", "teacher", "targets"):
        with pytest.raises(ValueError, match=f"no {needs}"):
            SemiBatches(
                labelled_of(source), source, Unlabelled(ROWS, 2), True, 0, frozenset({needs})
            )


def test_a_batch_moves_as_one(source: ClipSource) -> None:
    batch = batches_of(source)[0]
    assert len(batch) == len(batch.labelled) + 3
    assert_same(batch.to(torch.device("cpu")), batch)


# Views.


def candidates(source: ClipSource, row: int, every: int = 1) -> list[np.ndarray]:
    """Every crop of a clip, mirrored or not."""
    clip, crop = source.bank.frames[row][::every], GEOMETRY.crop
    return [
        view[:, top : top + crop, left : left + crop]
        for view in (clip, clip[:, :, ::-1])
        for top in range(GEOMETRY.height - crop + 1)
        for left in range(GEOMETRY.width - crop + 1)
    ]


def test_weak_and_slow_views_are_crops_of_their_own(source: ClipSource) -> None:
    batches = batches_of(source)
    apart = 0
    for step in range(3):
        batch = batches[step]
        assert batch.weak_again is not None
        assert batch.slow is not None
        assert batch.slow.shape == (3, 2, 20, 20, 3)
        for i, row in enumerate(batches.rows(step)):
            for view, every in ((batch.weak, 1), (batch.weak_again, 1), (batch.slow, 2)):
                found = candidates(source, int(row), every)
                assert any(np.array_equal(view[i].numpy(), one) for one in found)
            apart += not torch.equal(batch.weak[i], batch.weak_again[i])
            apart += not torch.equal(batch.weak[i][::2], batch.slow[i])
    assert apart > 12


def test_a_strong_view_is_made_of_the_weak_one(source: ClipSource) -> None:
    """With changes in time alone, every frame is one of the weak clip's."""
    unlabelled = Unlabelled(ROWS, 3, strong=TemporalChange())
    batches = SemiBatches(labelled_of(source), source, unlabelled, True, 3, frozenset({"strong"}))
    changed = 0
    for step in range(6):
        batch = batches[step]
        assert batch.strong is not None
        for weak, strong in zip(batch.weak, batch.strong, strict=True):
            assert all(any(torch.equal(frame, one) for one in weak) for frame in strong)
            changed += not torch.equal(weak, strong)
    assert 0 < changed < 18
    strong = batches_of(source, frozenset({"strong"}))[0]
    assert strong.strong is not None
    assert strong.strong.dtype == torch.uint8
    assert not torch.equal(strong.strong, strong.weak)


def test_targets_and_teacher_are_of_the_rows_that_are_drawn(source: ClipSource) -> None:
    batches = batches_of(source)
    frames = set()
    for step in range(STEPS):
        batch, rows = batches[step], batches.rows(step)
        assert batch.targets is not None
        assert batch.teacher is not None
        assert batch.targets[:, 0].tolist() == (3 * rows).tolist()
        assert batch.teacher[:, 0].tolist() == rows.tolist()
        frames |= set(batch.teacher[:, 1].tolist())
    assert frames == {0, 1, 2, 3}


# Changes in time.


def test_frame_orders_by_hand() -> None:
    assert frame_order("none", 4) == [0, 1, 2, 3]
    assert frame_order("first half", 4) == [0, 1, 0, 1]
    assert frame_order("second half", 4) == [2, 3, 2, 3]
    assert frame_order("first half", 5) == [0, 1, 2, 0, 1]
    assert frame_order("second half", 5) == [3, 4, 2, 3, 4]
    assert frame_order("reverse", 4) == [3, 2, 1, 0]
    dropped = [True, True, False, True]
    assert frame_order("frame cut-out", 4, dropped) == [0, 0, 2, 2]
    assert frame_order("frame cut-out", 4, [True] * 4) == [0, 0, 0, 0]
    assert frame_order("first half", 1) == frame_order("second half", 1) == [0]


def test_the_four_changes_are_as_likely() -> None:
    clips = torch.arange(8, dtype=torch.uint8).view(1, 1, 8, 1, 1).expand(800, 3, 8, 2, 2)
    generator = torch.Generator().manual_seed(0)
    made, _ = TemporalChange()(clips, torch.zeros(800, 1), generator=generator)
    orders = [tuple(order) for order in made[:, 0, :, 0, 0].tolist()]
    halves = [(0, 1, 2, 3) * 2, (4, 5, 6, 7) * 2]
    counts = [
        orders.count(tuple(range(8))), orders.count(halves[0]), orders.count(halves[1]),
        orders.count(tuple(range(7, -1, -1))),
    ]  # fmt: skip
    assert counts == pytest.approx([201, 100, 100, 200], abs=40)
    others = set(orders) - {tuple(range(8)), *halves, tuple(range(7, -1, -1))}
    assert all(order[0] == 0 and list(order) == sorted(order) for order in others)


def test_masks_follow_a_change_in_time() -> None:
    clips = torch.arange(4, dtype=torch.uint8).view(1, 1, 4, 1, 1).expand(20, 3, 4, 2, 2)
    masks = clips[:, 0] >= 2
    batch = as_batch(clips, torch.zeros(20, 1), masks)
    done = TemporalChange().apply(batch, draws_of(torch.Generator().manual_seed(0)))
    assert done.masks is not None
    assert torch.equal(done.masks, done.clips[:, 0] >= 2)
    assert not torch.equal(done.masks, masks)


def test_strong_augmentation_leaves_its_input_alone() -> None:
    clips = torch.randint(0, 256, (2, 3, 4, 8, 8), dtype=torch.uint8)
    before = clips.clone()
    strong_augmentation()(clips, torch.zeros(2, 1), generator=torch.Generator().manual_seed(0))
    assert torch.equal(clips, before)


# ActorCut.


def marked(folder: Path, bare: tuple[int, ...] = ()) -> ClipSource:
    """Red tells who acts, green whose clip it is, and backgrounds are what clips are not."""
    rows = 8
    bank = ClipBank.create_or_resume(folder, [f"v{i}" for i in range(rows)], GEOMETRY, "test")
    shape = (GEOMETRY.num_frames, GEOMETRY.height, GEOMETRY.width)
    rng = np.random.default_rng(1)
    for row in range(rows):
        masks = np.zeros(shape, bool)
        for t in range(shape[0]):
            masks[t, 6 + t : 14, 8 + row : 14 + row] = True
        frames = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        frames[..., 0] = np.where(masks, 200, 10)
        frames[..., 1] = row
        bank.write(row, frames, masks, 255 - frames)
        if row in bare:
            bank.state[row] = RowState.FRAMES
    return ClipSource(bank, np.full(rows, -1), 3, GEOMETRY.crop, CompositeSettings())


def cut_batches(folder: Path, per_batch: int = 4, bare: tuple[int, ...] = ()) -> list[SemiBatch]:
    source = marked(folder, bare)
    labelled = MixedBatches(
        replace(source, labels=np.zeros(8, np.int64)),
        TrainingMix(np.arange(4), np.empty((0, 2), np.int64), 0), 2, True, 3, epochs=10,
    )  # fmt: skip
    batches = SemiBatches(
        labelled, source, Unlabelled(np.arange(8), per_batch), True, 3, frozenset({"cut", "strong"})
    )
    return [batches[step] for step in range(len(batches))]


def cut_of(batch: SemiBatch) -> tuple[Tensor, list[int], list[float], Tensor]:
    """Cut clips, partners, weights, strong clips."""
    return (
        given(batch.cut), given(batch.partners).tolist(), given(batch.cut_weight).tolist(),
        given(batch.strong),
    )  # fmt: skip


def test_actors_are_cut_from_the_weak_clip_onto_the_partners_empty_scene(tmp_path: Path) -> None:
    cut_steps = 0
    for batch in cut_batches(tmp_path / "bank"):
        cut, partners, weights, strong = cut_of(batch)
        if partners == [0, 1, 2, 3]:
            assert torch.equal(cut, strong)
            assert weights == [1] * 4
            continue
        cut_steps += 1
        assert partners == [3, 2, 1, 0]
        for i, partner in enumerate(partners):
            acts = batch.weak[i, ..., 0] == 200  # a rectangle: its own box
            scene = 255 - batch.weak[partner]  # with the partner's own crop and flip
            assert torch.equal(cut[i], torch.where(acts[..., None], batch.weak[i], scene))
            share = acts.double().mean().item()
            assert weights[i] == pytest.approx(1 - (1 - share) ** 4)
    assert 4 < cut_steps < 16  # of 20


def test_the_middle_clip_of_an_odd_number_stays_whole(tmp_path: Path) -> None:
    found = [cut_of(batch) for batch in cut_batches(tmp_path / "bank", 5)]
    found = [one for one in found if one[1][0] != 0]
    assert found
    for cut, partners, weights, strong in found:
        assert partners == [4, 3, 2, 1, 0]
        assert weights[2] == 1
        assert torch.equal(cut[2], strong[2])


def test_a_clip_without_layers_is_neither_cut_nor_a_scene(tmp_path: Path) -> None:
    steps = 0
    for batch in cut_batches(tmp_path / "bank", 8, bare=(2,)):
        cut, partners, weights, strong = cut_of(batch)
        if partners == list(range(8)):
            continue
        steps += 1
        at = int((batch.weak[:, 0, 0, 0, 1] == 2).nonzero()[0])
        whole = [i for i in range(8) if partners[i] == i]
        assert whole == sorted([at, 7 - at])
        for i in whole:
            assert weights[i] == 1
            assert torch.equal(cut[i], strong[i])
    assert steps > 4


def test_a_plan_by_hand() -> None:
    masks = torch.zeros(5, 1, 4, 4, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 0, 1, 1] = True  # its box is 2 x 2 of 16
    masks[1] = True  # full: nothing of a scene would be seen
    masks[4, 0, :2] = True
    plan = plan_cut(masks, torch.tensor([True, True, True, True, True]))
    assert plan.partners.tolist() == [4, 1, 2, 3, 0]
    torch.testing.assert_close(
        plan.weight, torch.tensor([1 - 0.75**4, 1, 1, 1, 1 - 0.5**4], dtype=torch.float32)
    )
    assert plan.regions is not None
    assert plan.regions[0, 0].sum() == 4
    without = plan_cut(masks, torch.tensor([True, True, True, True, False]))
    assert without.partners.tolist() == [0, 1, 2, 3, 4]
    assert without.weight.tolist() == [1] * 5
