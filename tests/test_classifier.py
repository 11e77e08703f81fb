"""The classifier: schedule, loss, diet, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source

from l2a.devices import pick_device
from l2a.errors import InputError, L2AError
from train.batches import Batch, ClipSource
from train.classifier import (
    Diet,
    cosine,
    fit,
    make_classifier,
    predict,
    soft_loss,
)
from train.settings.full import ClassifierSettings

CPU = torch.device("cpu")
SETTINGS = ClassifierSettings(network="tiny3d", batch_size=4, lr=0.05)
ROWS = np.arange(9)
PAIRS = np.array([[0, 1], [3, 4], [6, 2]])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def test_the_schedule_falls_along_half_a_cosine() -> None:
    assert cosine(0.1, 0, 100) == pytest.approx(0.1)
    assert cosine(0.1, 50, 100) == pytest.approx(0.05)
    assert cosine(0.1, 25, 100) == pytest.approx(0.05 * (1 + math.sqrt(0.5)))
    assert cosine(0.1, 100, 100) == pytest.approx(0.0, abs=1e-12)


def test_the_loss_is_cross_entropy_with_soft_labels(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU).eval()
    batch = source.composites(PAIRS)
    with torch.inference_mode():
        from l2a.networks import to_input

        logp = network(to_input(batch.clips)).log_softmax(1)
    expected = -(batch.labels * logp).sum(1).mean()
    assert soft_loss(network, batch).item() == pytest.approx(float(expected), rel=1e-5)


def test_composites_are_added_and_real_clips_stay_the_same(source: ClipSource) -> None:
    plain = Diet(ROWS, np.empty((0, 2), np.int64), 2)
    mixed = Diet(ROWS, PAIRS, 2)
    both = list(
        zip(plain.batches(source, 4, True, 5, 1), mixed.batches(source, 4, True, 5, 1), strict=True)
    )
    assert [len(one.labels) for one, _ in both] == [3, 3, 3]
    assert [len(two.labels) for _, two in both] == [5, 5, 5]
    for one, two in both:
        assert torch.equal(one.clips, two.clips[: len(one.clips)])


def test_composites_come_in_another_order_than_the_real_clips() -> None:
    """Else, with as many pairs as clips, each clip would always have the same one beside it."""

    def rows_as_clips(rows: np.ndarray, augment: object, masks: bool) -> Batch:
        first = rows.reshape(len(rows), -1)[:, 0]
        return Batch(torch.from_numpy(first), torch.zeros(len(rows), 1))

    source: Any = SimpleNamespace(real=rows_as_clips, composites=rows_as_clips)
    diet = Diet(ROWS, np.stack([ROWS, ROWS[::-1]], axis=1), 9)
    for epoch in range(3):
        (batch,) = diet.batches(source, 9, False, 5, epoch)
        real, composites = batch.clips.view(2, 9).tolist()
        assert sorted(real) == sorted(composites) == ROWS.tolist()
        assert real != composites


def test_replacing_keeps_the_batch_size(source: ClipSource) -> None:
    diet = Diet(ROWS, PAIRS, 1, replace_real=True)
    assert [len(b.labels) for b in diet.batches(source, 4, True, 0, 0)] == [4, 4, 4]
    with pytest.raises(InputError, match="takes the whole batch of 4"):
        Diet(ROWS, PAIRS, 4, replace_real=True).steps_per_epoch(4)


def test_an_epoch_draws_every_real_clip_once(source: ClipSource) -> None:
    batches = Diet(ROWS, PAIRS, 0).batches(source, 4, False, 0, 0)
    labels = torch.cat([batch.labels for batch in batches]).argmax(1)
    assert sorted(labels.tolist()) == sorted((ROWS % 3).tolist())


def test_seeds_decide_the_first_weights() -> None:
    one, two, other = (make_classifier(SETTINGS, 3, seed, CPU) for seed in (1, 1, 2))
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


class Killed(Exception):
    """Stands for a process that ends between two epochs."""


def test_an_interrupted_training_ends_with_the_same_weights(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.classifier._SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    diet, state = Diet(ROWS, PAIRS, 2), tmp_path / "state.safetensors"

    whole = make_classifier(SETTINGS, 3, 0, CPU)
    fit(whole, source, diet, SETTINGS, epochs=4, seed=9)

    def die(epoch: int, figures: dict[str, float]) -> None:
        if epoch == 2:
            raise Killed

    killed = make_classifier(SETTINGS, 3, 0, CPU)
    with pytest.raises(Killed):
        fit(killed, source, diet, SETTINGS, epochs=4, seed=9, checkpoint=state, on_epoch=die)
    again, seen = make_classifier(SETTINGS, 3, 0, CPU), []
    fit(again, source, diet, SETTINGS, epochs=4, seed=9, checkpoint=state,
        on_epoch=lambda epoch, figures: seen.append(epoch))  # fmt: skip
    assert seen == [2, 3]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_a_classifier_can_learn_its_clips_by_heart(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU)
    fit(network, source, Diet(ROWS, PAIRS, 0), SETTINGS, epochs=30, seed=0)
    assert (predict(network, source, ROWS).argmax(1) == ROWS % 3).mean() > 0.8


def test_training_updates_the_statistics_and_predicting_does_not(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU)
    statistics = network.state_dict()["trunk.1.running_mean"]
    before = statistics.clone()
    predict(network, source, ROWS)
    assert torch.equal(statistics, before)
    fit(network, source, Diet(ROWS, PAIRS, 1), SETTINGS, epochs=1, seed=0)
    assert not torch.equal(statistics, before)


def test_a_diverging_training_says_so(source: ClipSource) -> None:
    settings = ClassifierSettings(network="tiny3d", batch_size=4, lr=1e30)
    network = make_classifier(settings, 3, 0, CPU)
    with pytest.raises(L2AError, match="lower lr"):
        fit(network, source, Diet(ROWS, PAIRS, 2), settings, epochs=3, seed=0)


def test_devices_by_name() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(InputError, match="'tpu9000'"):
        pick_device("tpu9000")
