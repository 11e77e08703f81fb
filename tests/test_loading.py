"""Who makes the batches changes no byte; what goes to a device goes whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from banks import make_source
from torch import Tensor

from compositing.settings import CompositeSettings
from l2a.augment import make_augmentation
from l2a.errors import InputError
from train.batches import ClipBatch
from train.loading import MOST_WORKERS, Loading, TensorBatch, load_steps
from train.mix import MixedBatches, TrainingMix

ROWS = np.arange(9)
PAIRS = np.array([[0, 1], [3, 4], [6, 2]])


def batches_of(folder: Path, epochs: int = 2) -> MixedBatches:
    """Everything random at once: placements, a soft edge, colours, masks, an augmentation."""
    settings = CompositeSettings(
        blend="feather", match_colour=0.5, shift=0.3, scale=1.3, flip_foreground=0.5
    )
    source = make_source(folder / "bank", settings=settings)
    mix = TrainingMix(ROWS, PAIRS, 2, augmentation=make_augmentation("objectmix"))
    return MixedBatches(source, mix, 4, True, 7, epochs)


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    batches = batches_of(tmp_path)
    expected = [batches[step] for step in range(len(batches))]
    before = torch.random.get_rng_state()
    found = list(load_steps(batches, Loading(workers)))
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's numbers are drawn
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_goes_on_at_any_step(tmp_path: Path, workers: int) -> None:
    batches = batches_of(tmp_path)
    found = list(load_steps(batches, Loading(workers), first=4))
    assert [torch.equal(b.clips, batches[4 + i].clips) for i, b in enumerate(found)] == [True] * 2
    assert list(load_steps(batches, Loading(workers), first=6)) == []


class Broken:
    """Batches of which the third cannot be made."""

    steps_per_epoch = 5

    def __len__(self) -> int:
        return 5

    def __getitem__(self, step: int) -> ClipBatch:
        if step == 2:
            raise InputError("step 2 cannot be made")
        return ClipBatch(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_at_its_step(workers: int) -> None:
    seen = []
    with pytest.raises(InputError, match=r"^step 2 cannot be made$"):  # and no traceback
        for batch in load_steps(Broken(), Loading(workers)):
            seen.append(batch)
    assert len(seen) == 2


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 4, 5})
    assert Loading.of(0, cpu) == Loading(0, pinned=False)
    assert Loading.of(1, cpu) == Loading(0, pinned=False)
    assert Loading.of(2, cpu) == Loading(2, pinned=False)
    assert Loading.of(0, gpu) == Loading(3, pinned=True)
    assert Loading.of(5, gpu) == Loading(5, pinned=True)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert Loading.of(0, gpu).workers == MOST_WORKERS


@dataclass(frozen=True)
class TwoViews(TensorBatch):
    """A batch as a semi-supervised objective has it."""

    labelled: ClipBatch
    weak: Tensor
    note: str = ""

    def __len__(self) -> int:
        return len(self.labelled) + len(self.weak)


def test_all_tensors_of_a_batch_go_to_the_device_together() -> None:
    batch = TwoViews(ClipBatch(torch.zeros(2, 3), torch.ones(2)), torch.zeros(4), "as it is")
    there = batch.to(torch.device("meta"))
    assert len(there) == 6
    assert there.note == "as it is"
    assert {there.labelled.clips.device.type, there.weak.device.type} == {"meta"}
    assert there.labelled.masks is None


def test_a_batch_of_other_than_clips_is_not_divided() -> None:
    batch = TwoViews(ClipBatch(torch.zeros(2, 3), torch.ones(2)), torch.zeros(4))
    assert batch.part(0, 1) is batch
    with pytest.raises(InputError, match="cannot be divided among processes"):
        batch.part(1, 2)
