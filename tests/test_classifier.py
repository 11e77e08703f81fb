"""The classifier and its objective: first weights, loss, prediction, learning by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from banks import make_source, trainer_of

from l2a.devices import pick_device
from l2a.errors import InputError, L2AError
from train.batches import ClipSource
from train.classifier import make_classifier, predict
from train.mix import TrainingMix
from train.objectives.supervised import Supervised, soft_cross_entropy
from train.settings.full import ClassifierSettings

CPU = torch.device("cpu")
SETTINGS = ClassifierSettings(network="tiny3d", batch_size=4, lr=0.05)
ROWS = np.arange(9)
PAIRS = np.array([[0, 1], [3, 4], [6, 2]])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def test_cross_entropy_with_soft_labels_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0]])
    labels = torch.tensor([[0.3, 0.7], [0.5, 0.5]])
    # log 2, and half of log 4/3 with half of log 4.
    expected = (np.log(2) + (np.log(4 / 3) + np.log(4)) / 2) / 2
    assert float(soft_cross_entropy(logits, labels)) == pytest.approx(expected)


def test_the_loss_is_of_normalised_clips_and_their_labels(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU).eval()
    batch = source.composites(PAIRS)
    with torch.inference_mode():
        logp = network(network.to_input(batch.clips)).log_softmax(1)
    expected = -(batch.labels * logp).sum(1).mean()
    assert Supervised().loss(network, batch).total.item() == pytest.approx(
        float(expected), rel=1e-5
    )


def test_seeds_decide_the_first_weights() -> None:
    one, two, other = (make_classifier(SETTINGS, 3, seed, CPU) for seed in (1, 1, 2))
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_classifier_can_learn_its_clips_by_heart(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU)
    trainer_of(network, source, TrainingMix(ROWS, PAIRS, 0), SETTINGS, 30, seed=0).train()
    assert (predict(network, source, ROWS).argmax(1) == ROWS % 3).mean() > 0.8


def test_training_updates_the_statistics_and_predicting_does_not(source: ClipSource) -> None:
    network = make_classifier(SETTINGS, 3, 0, CPU)
    statistics = network.state_dict()["trunk.1.running_mean"]
    before = statistics.clone()
    predict(network, source, ROWS)
    assert torch.equal(statistics, before)
    trainer_of(network, source, TrainingMix(ROWS, PAIRS, 1), SETTINGS, 1, seed=0).train()
    assert not torch.equal(statistics, before)


def test_a_diverging_training_says_so(source: ClipSource) -> None:
    settings = ClassifierSettings(network="tiny3d", batch_size=4, lr=1e30)
    network = make_classifier(settings, 3, 0, CPU)
    with pytest.raises(L2AError, match=r"give a lower --lr \(it is 1e\+30\), with another --out"):
        trainer_of(network, source, TrainingMix(ROWS, PAIRS, 2), settings, 3, seed=0).train()


def test_devices_by_name() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(InputError, match="'tpu9000'"):
        pick_device("tpu9000")
