"""The training mix: what stands beside what, and that every step follows from its number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from banks import epoch_of, make_source

from l2a.errors import InputError
from train.batches import ClipBatch, ClipSource
from train.mix import NO_PAIRS, MixedBatches, TrainingMix

ROWS = np.arange(9)
PAIRS = np.array([[0, 1], [3, 4], [6, 2]])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def test_composites_are_added_and_real_clips_stay_the_same(source: ClipSource) -> None:
    plain, mixed = (
        epoch_of(source, TrainingMix(ROWS, pairs, 2), 4, True, 5, 1) for pairs in (NO_PAIRS, PAIRS)
    )
    assert [len(batch) for batch in plain] == [3, 3, 3]
    assert [len(batch) for batch in mixed] == [5, 5, 5]
    for one, two in zip(plain, mixed, strict=True):
        assert torch.equal(one.clips, two.clips[: len(one)])


def test_composites_come_in_another_order_than_the_real_clips() -> None:
    """Else, with as many pairs as clips, each clip would always have the same one beside it."""

    def rows_as_clips(rows: np.ndarray, augment: object, masks: bool) -> ClipBatch:
        first = rows.reshape(len(rows), -1)[:, 0]
        return ClipBatch(torch.from_numpy(first), torch.zeros(len(rows), 1))

    source: Any = SimpleNamespace(real=rows_as_clips, composites=rows_as_clips)
    mix = TrainingMix(ROWS, np.stack([ROWS, ROWS[::-1]], axis=1), 9)
    for epoch in range(3):
        (batch,) = epoch_of(source, mix, 9, False, 5, epoch)
        real, composites = batch.clips.view(2, 9).tolist()
        assert sorted(real) == sorted(composites) == ROWS.tolist()
        assert real != composites


def test_replacing_keeps_the_batch_size(source: ClipSource) -> None:
    mix = TrainingMix(ROWS, PAIRS, 1, replace_real=True)
    assert [len(batch) for batch in epoch_of(source, mix, 4, True, 0, 0)] == [4, 4, 4]
    with pytest.raises(InputError, match="takes the whole batch of 4"):
        TrainingMix(ROWS, PAIRS, 4, replace_real=True).steps_per_epoch(4)


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_draws_every_real_clip_once(source: ClipSource, epoch: int) -> None:
    batches = epoch_of(source, TrainingMix(ROWS, PAIRS, 0), 4, False, 0, epoch)
    labels = torch.cat([batch.labels for batch in batches]).argmax(1)
    assert sorted(labels.tolist()) == sorted((ROWS % 3).tolist())


def test_any_step_can_be_asked_for_first(source: ClipSource) -> None:
    mix = TrainingMix(ROWS, PAIRS, 2)
    whole = MixedBatches(source, mix, 4, True, 3, epochs=3)
    assert (len(whole), whole.steps_per_epoch) == (9, 3)
    in_order = [whole[step] for step in range(9)]
    for step in (8, 0, 4):
        alone = MixedBatches(source, mix, 4, True, 3, epochs=3)[step]
        assert torch.equal(alone.clips, in_order[step].clips)
        assert torch.equal(alone.labels, in_order[step].labels)
    assert not torch.equal(in_order[0].clips, in_order[3].clips)  # another epoch, another order
