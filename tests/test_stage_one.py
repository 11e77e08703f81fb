"""Stage one's environment: what a step does, what it is measured on, what restarting means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from banks import make_source

from selector.network import SelectorConfig, new_selector
from selector.reinforce import train_selector
from selector.settings import ReinforceSettings
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool
from train.batches import ClipSource
from train.classifier import make_classifier, soft_loss
from train.settings.full import ClassifierSettings
from train.stage_one import CompositingEnvironment

CPU = torch.device("cpu")
VALIDATION = np.array([9, 10, 11])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture
def environment(source: ClipSource) -> CompositingEnvironment:
    network = make_classifier(ClassifierSettings(network="tiny3d"), 3, 0, CPU)
    by_class = [[row for row in range(9) if row % 3 == c] for c in range(3)]
    matches = (ClassMatch(0, 1, 0.5), ClassMatch(1, 2, 0.5), ClassMatch(2, 0, 0.5))
    generator = torch.Generator().manual_seed(0)
    return CompositingEnvironment(
        network, source, Pool(by_class, by_class, matches),
        torch.randn(12, 5, generator=generator), torch.eye(3)[torch.arange(12) % 3],
        VALIDATION, lr=0.05, flip=True,
    )  # fmt: skip


def draw(environment: CompositingEnvironment, count: int = 6, seed: int = 1):
    return environment.sample(count, torch.Generator().manual_seed(seed))


def test_pairs_carry_the_features_and_labels_of_their_rows(
    environment: CompositingEnvironment,
) -> None:
    batch = draw(environment)
    f, b = batch.rows[:, 0], batch.rows[:, 1]
    assert set(batch.rows.unique().tolist()) <= set(range(9))
    assert ((f + 1) % 3 == b % 3).all()
    assert batch.labels_f.argmax(1).tolist() == (f % 3).tolist()
    assert torch.equal(batch.features_b, environment._features[b])


def test_a_step_is_one_sgd_step_on_the_chosen_composites_alone(
    environment: CompositingEnvironment,
) -> None:
    batch = draw(environment)
    one = torch.tensor([1.0, 1, 0, 0, 0, 0])
    environment.step(batch, one, wants_credit=False)
    after = environment.state_dict()["head.weight"].clone()
    environment.restart()
    # The same two pairs drawn among others: what was not chosen plays no part.
    environment.step(batch, one, wants_credit=False)
    assert torch.equal(environment.state_dict()["head.weight"], after)
    environment.restart()
    environment.step(batch, one, wants_credit=True)
    assert torch.equal(environment.state_dict()["head.weight"], after)
    environment.restart()
    environment.step(batch, torch.ones(6), wants_credit=False)
    assert not torch.equal(environment.state_dict()["head.weight"], after)


def test_the_loss_is_that_of_the_validation_rows_after_the_step(
    environment: CompositingEnvironment, source: ClipSource
) -> None:
    outcome = environment.step(draw(environment), torch.ones(6), wants_credit=False)
    network = environment._network.eval()
    with torch.inference_mode():
        expected = soft_loss(network, source.real(VALIDATION))
    assert outcome.validation_loss == pytest.approx(float(expected), rel=1e-4)


def test_credit_is_given_for_every_pair_chosen_or_not(
    environment: CompositingEnvironment,
) -> None:
    batch, actions = draw(environment), torch.tensor([1.0, 1, 0, 0, 0, 0])
    some = environment.step(batch, actions, wants_credit=True).credit
    environment.restart()
    every = environment.step(batch, torch.ones(6), wants_credit=True).credit
    assert some is not None
    assert every is not None
    assert torch.equal(some, every)  # credit is that before the step
    assert some.shape == (6,)


def test_restarting_puts_weights_and_statistics_back(
    environment: CompositingEnvironment,
) -> None:
    before = {key: value.clone() for key, value in environment.state_dict().items()}
    environment.step(draw(environment), torch.ones(6), wants_credit=True)
    assert not torch.equal(
        environment.state_dict()["trunk.1.running_mean"], before["trunk.1.running_mean"]
    )
    environment.restart()
    for key, value in before.items():
        assert torch.equal(environment.state_dict()[key], value), key


def test_the_loop_learns_against_it_and_leaves_the_validation_rows_alone(
    environment: CompositingEnvironment, tmp_path: Path
) -> None:
    selector = new_selector(SelectorConfig(5, 3, hidden=(16, 8)), 0)
    before = [p.clone() for p in selector.parameters()]
    validation = environment._val_clips.clone()
    losses = []
    train_selector(
        selector, environment, ReinforceSettings(selector_steps=4, selector_batch=4), 0,
        log=lambda step, figures: losses.append(figures.get("validation_loss")),
    )  # fmt: skip
    assert len(losses) == 4
    assert any(not torch.equal(a, b) for a, b in zip(before, selector.parameters(), strict=True))
    assert torch.equal(environment._val_clips, validation)
