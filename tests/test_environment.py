"""The environment on clips: what a step does, what it is measured on, what restarting means."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source
from numpy.typing import NDArray
from torch import Tensor

from l2a.networks import VideoNetwork, build_trunk
from l2a.trunk import Trunk
from selector.environment import Measurements, PairBatch, StepResult
from selector.network import SelectorConfig, new_selector
from selector.reinforce import TrainedTrunk, train_selector
from selector.reward import last_layer_credit
from selector.settings import ReinforceSettings
from semantic_match.listed import ListedPool
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool
from train import environment as environment_of
from train.batches import Augment, ClipBatch, ClipSource
from train.classifier import ask, make_classifier
from train.environment import (
    CompositingEnvironment,
    Features,
    FrozenFeatures,
    PartedPool,
    TrainedFeatures,
    ValidationRows,
)
from train.objectives.supervised import Supervised
from train.settings.full import ClassifierSettings, StageOneSettings

CPU = torch.device("cpu")
VALIDATION = np.array([9, 10, 11])
FIRST_TWO = torch.tensor([[1.0, 1, 0, 0, 0, 0]])
THREE = torch.tensor([[0.0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def make_environment(
    source: ClipSource,
    features: Features | None = None,
    micro_batch: int | None = None,
    kind: type[CompositingEnvironment] = CompositingEnvironment,
    **changes: Any,
) -> CompositingEnvironment:
    network = make_classifier(ClassifierSettings(network="tiny3d"), 3, 0, CPU)
    by_class = [[row for row in range(9) if row % 3 == c] for c in range(3)]
    matches = (ClassMatch(0, 1, 0.5), ClassMatch(1, 2, 0.5), ClassMatch(2, 0, 0.5))
    table = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    plain: dict[str, Any] = {"environment_lr": 0.05, "fresh_head": True}
    return kind(
        network, source, Pool(by_class, by_class, matches), features or FrozenFeatures(table),
        torch.eye(3)[torch.arange(12) % 3], ValidationRows(VALIDATION, np.array([0, 1, 0])),
        StageOneSettings(**(plain | changes)), ClassifierSettings(micro_batch=micro_batch),
    )  # fmt: skip


@pytest.fixture(params=[True, False], ids=["fresh head", "own head"])
def environment(source: ClipSource, request: pytest.FixtureRequest) -> CompositingEnvironment:
    return make_environment(source, fresh_head=request.param)


def draw(environment: CompositingEnvironment, count: int = 6, seed: int = 1) -> PairBatch:
    return environment.sample(count, torch.Generator().manual_seed(seed))


def copied(environment: CompositingEnvironment) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in environment.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_took_the_step_of(environment: CompositingEnvironment, reference: VideoNetwork) -> None:
    """The network has gone down the gradient of a copy of what it was before, at rate 0.05."""
    with torch.no_grad():
        for parameter in reference.parameters():
            assert parameter.grad is not None
            parameter -= 0.05 * parameter.grad
    found = environment._network.state_dict()
    for name, value in reference.state_dict().items():
        assert torch.allclose(found[name], value, atol=1e-7), name


def validation_loss(environment: CompositingEnvironment, source: ClipSource) -> float:
    with torch.inference_mode():
        network = environment._network.eval()
        return float(Supervised().loss(network, source.real(VALIDATION)).total)


# Sampling.


def test_pairs_carry_the_features_labels_and_classes_of_their_rows(
    environment: CompositingEnvironment,
) -> None:
    batch = draw(environment)
    f, b = batch.rows[:, 0], batch.rows[:, 1]
    assert set(batch.rows.unique().tolist()) <= set(range(9))
    assert ((f + 1) % 3 == b % 3).all()
    assert torch.equal(batch.classes, batch.rows % 3)
    assert batch.labels_f.argmax(1).tolist() == (f % 3).tolist()
    assert batch.labels_b.argmax(1).tolist() == (b % 3).tolist()
    table = environment._features(torch.arange(12))
    assert torch.equal(batch.features_f, table[f])
    assert torch.equal(batch.features_b, table[b])


def test_a_batch_follows_from_its_generator_alone(environment: CompositingEnvironment) -> None:
    one, same_one, other = draw(environment), draw(environment), draw(environment, seed=2)
    assert torch.equal(one.rows, same_one.rows)
    assert one.seed == same_one.seed != other.seed
    assert not torch.equal(one.rows, other.rows)


# Pairs that are kept aside.


def pairs_of(batch: PairBatch | None) -> set[tuple[int, int]]:
    assert batch is not None
    return {(f, b) for f, b in batch.rows.tolist()}


def test_no_pair_kept_aside_is_ever_drawn(environment: CompositingEnvironment) -> None:
    used = pairs_of(draw(environment, 2000))
    batch = environment.sample_aside(99, torch.Generator().manual_seed(2))
    assert batch is not None and len(batch.rows) == len(pairs_of(batch))  # each once
    assert not used & pairs_of(batch)
    assert len(used | pairs_of(batch)) == 27  # all there are
    some = environment.sample_aside(2, torch.Generator().manual_seed(3))
    assert len(pairs_of(some)) == 2 and pairs_of(some) < pairs_of(batch)


@pytest.mark.parametrize("listed", [0, 10**6])
def test_a_fifth_of_a_pool_is_kept_aside_listed_or_not(
    monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    monkeypatch.setattr(environment_of, "_LISTED", listed)
    rows = [list(range(40)), list(range(40, 80))]
    pool = Pool(rows, rows, (ClassMatch(0, 1, 0.5),))
    parted = PartedPool(pool)
    used = {tuple(pair) for pair in parted.sample(20_000, np.random.default_rng(0)).tolist()}
    kept = parted.aside(20_000, np.random.default_rng(1))
    assert not used & {tuple(pair) for pair in kept.tolist()}
    assert len(used) + len(kept) == 1600
    assert 270 < len(kept) < 370  # 320 ± 16
    assert len(np.unique(kept, axis=0)) == len(kept)


def test_a_pool_too_small_to_part_keeps_nothing_aside() -> None:
    for pair in range(20):
        parted = PartedPool(ListedPool(np.array([[pair, pair + 1]])))
        assert parted.sample(3, np.random.default_rng(0)).tolist() == [[pair, pair + 1]] * 3
        assert not len(parted.aside(3, np.random.default_rng(0)))


class Noise(CompositingEnvironment):
    """The credit of a pair is a number that nothing tells."""

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        return StepResult(torch.zeros(1), None, self.credit_matrix(batch)[:, 0])

    def credit_matrix(self, batch: PairBatch) -> Tensor:
        noise = torch.randn(9, 9, generator=torch.Generator().manual_seed(1))
        return noise[batch.rows[:, 0], batch.rows[:, 1]][:, None]


def test_noise_that_training_memorises_is_no_signal(source: ClipSource) -> None:
    environment = make_environment(source, kind=Noise)
    settings = ReinforceSettings(
        selector_steps=150, selector_batch=16, selector_lr=3e-3, settle=1.0, within_class=False
    )
    figures: list[dict[str, float]] = []
    verdict = train_selector(
        new_selector(SelectorConfig(5, 3, "one-hot", (64,)), 0), environment, settings, 0,
        log=lambda step, found: figures.append(found),
    ).verdict  # fmt: skip
    assert figures[-1]["credit_correlation"] > 0.5
    assert verdict.explained is not None and verdict.explained < 2 * verdict.chance
    assert not verdict.found
    assert "pairs that training never drew" in str(verdict)


# A step.


@pytest.mark.parametrize(
    ("actions", "composited", "subset"),
    [(FIRST_TWO, [0, 1], [0, 1]), (THREE[:1], [1, 3], [0, 1]), (THREE, [0, 1, 3, 4], [1, 2])],
)
def test_a_step_is_one_sgd_step_on_the_chosen_composites_alone(
    environment: CompositingEnvironment, source: ClipSource, actions: Tensor,
    composited: list[int], subset: list[int],
) -> None:  # fmt: skip
    batch = draw(environment)
    reference = make_classifier(ClassifierSettings(network="tiny3d"), 3, 0, CPU)
    reference.load_state_dict(environment._network.state_dict())
    environment.step(batch, actions, Measurements())

    augment = Augment(np.random.default_rng([batch.seed % 2**32, 1]), flip=True)
    made = source.composites(batch.rows[composited].numpy(), augment)
    part = ClipBatch(made.clips[subset], made.labels[subset])
    Supervised().loss(reference.train(), part).total.backward()
    assert_took_the_step_of(environment, reference)


def test_a_step_by_micro_batches_is_one_step_with_the_sum_of_their_gradients(
    source: ClipSource,
) -> None:
    """Three composites in passes of two and one; batch normalisation sees each pass by itself."""
    environment = make_environment(source, micro_batch=2)
    batch, three = draw(environment), torch.tensor([[1.0, 0, 1, 1, 0, 0]])
    reference = make_classifier(ClassifierSettings(network="tiny3d"), 3, 0, CPU)
    reference.load_state_dict(environment._network.state_dict())
    environment.step(batch, three, Measurements())

    augment = Augment(np.random.default_rng([batch.seed % 2**32, 1]), flip=True)
    made = source.composites(batch.rows[[0, 2, 3]].numpy(), augment)
    for subset in ([0, 2], [1]):
        part = ClipBatch(made.clips[subset], made.labels[subset])
        (Supervised().loss(reference.train(), part).total * (len(subset) / 3)).backward()
    assert_took_the_step_of(environment, reference)


@pytest.mark.parametrize(
    "wanted", [Measurements(before=True), Measurements(credit=True), Measurements(True, True)]
)
def test_measuring_more_changes_no_step(
    environment: CompositingEnvironment, wanted: Measurements
) -> None:
    batch = draw(environment)
    plain = environment.step(batch, FIRST_TWO, Measurements())
    after = copied(environment)
    environment.restart()
    assert torch.equal(environment.step(batch, FIRST_TWO, wanted).after, plain.after)
    assert same(copied(environment), after)
    environment.restart()
    environment.step(batch, torch.ones(1, 6), wanted)
    assert not same(copied(environment), after)


def test_what_was_not_asked_for_is_not_measured(environment: CompositingEnvironment) -> None:
    found = environment.step(draw(environment), FIRST_TWO, Measurements())
    assert (found.before, found.credit) == (None, None)


def test_before_and_after_are_the_losses_of_the_validation_rows(
    environment: CompositingEnvironment, source: ClipSource
) -> None:
    environment.step(draw(environment, seed=7), torch.ones(1, 6), Measurements())
    before = validation_loss(environment, source)
    outcome = environment.step(draw(environment), torch.ones(1, 6), Measurements(before=True))
    assert outcome.before == pytest.approx(before, rel=1e-5)
    assert outcome.after.shape == (1,)
    assert float(outcome.after) == pytest.approx(validation_loss(environment, source), rel=1e-5)
    assert float(outcome.after) != pytest.approx(before, rel=1e-5)


def test_a_fresh_head_finds_all_classes_as_likely(source: ClipSource) -> None:
    environment = make_environment(source, fresh_head=True)
    assert all(not parameter.any() for parameter in environment._network.head.parameters())
    outcome = environment.step(draw(environment), FIRST_TWO, Measurements(before=True))
    assert outcome.before == pytest.approx(np.log(3))
    kept = make_environment(source, fresh_head=False)
    assert all(parameter.any() for parameter in kept._network.head.parameters())


# Several subsets, and rolling back.


@pytest.mark.parametrize(
    "wanted", [Measurements(), Measurements(before=True), Measurements(credit=True)]
)
def test_each_subset_is_tried_from_the_same_classifier(
    environment: CompositingEnvironment, wanted: Measurements
) -> None:
    environment.step(draw(environment, seed=7), torch.ones(1, 6), Measurements())
    start, batch = copied(environment), draw(environment)
    outcome = environment.step(batch, THREE, wanted)
    left = copied(environment)
    assert outcome.after.shape == (3,)
    assert len(set(outcome.after.tolist())) == 3

    environment.load_state_dict(start)
    swapped = environment.step(batch, THREE[[0, 2, 1]], wanted)
    assert torch.equal(swapped.after, outcome.after[[0, 2, 1]])
    assert same(copied(environment), left)  # where the first one brought it

    environment.load_state_dict(start)
    last = environment.step(batch, THREE[[2, 1, 0]], wanted)
    assert torch.equal(last.after, outcome.after[[2, 1, 0]])
    assert not same(copied(environment), left)


def test_the_first_of_several_ends_where_it_would_alone(
    environment: CompositingEnvironment,
) -> None:
    batch = draw(environment)
    # All pairs are composited for credit: which of them are chosen changes no composite.
    alone = environment.step(batch, THREE[:1], Measurements(credit=True))
    left = copied(environment)
    environment.restart()
    several = environment.step(batch, THREE, Measurements(credit=True))
    assert several.after[0] == alone.after[0]
    assert same(copied(environment), left)


@pytest.mark.parametrize("actions", [THREE[:1], THREE])
def test_rolled_back_it_is_as_it_was_to_the_last_bit(
    environment: CompositingEnvironment, actions: Tensor
) -> None:
    environment.step(draw(environment, seed=7), torch.ones(1, 6), Measurements())
    start, batch = copied(environment), draw(environment)
    rolled = environment.step(batch, actions, Measurements(before=True, roll_back=True))
    assert same(copied(environment), start)
    again = environment.step(batch, actions, Measurements(before=True, roll_back=True))
    assert torch.equal(again.after, rolled.after)
    kept = environment.step(batch, actions, Measurements(before=True))
    assert torch.equal(kept.after, rolled.after)
    assert not same(copied(environment), start)


# Composites and credit.


class Recording:
    """A source that keeps the composites it gave."""

    def __init__(self, source: ClipSource) -> None:
        self.source, self.given = source, list[tuple[NDArray[np.int64], ClipBatch]]()
        self.labels = source.labels

    def real(self, rows: NDArray[np.int64]) -> ClipBatch:
        return self.source.real(rows)

    def composites(self, pairs: NDArray[np.int64], augment: Augment) -> ClipBatch:
        self.given.append((pairs, self.source.composites(pairs, augment)))
        return self.given[-1][1]


def test_only_what_is_needed_is_composited_and_the_same_seed_gives_the_same(
    source: ClipSource,
) -> None:
    recording = Recording(source)
    environment = make_environment(recording)  # type: ignore[arg-type]
    batch = draw(environment)
    for _ in range(2):
        environment.step(batch, THREE, Measurements(before=True))
    environment.step(dataclasses.replace(batch, seed=batch.seed + 1), THREE, Measurements())
    environment.step(batch, THREE, Measurements(credit=True))
    (pairs, first), (_, second), (_, other), (every, _) = recording.given
    assert pairs.tolist() == batch.rows[[0, 1, 3, 4]].tolist()  # each once for all three subsets
    assert every.tolist() == batch.rows.tolist()
    assert torch.equal(first.clips, second.clips)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.clips, other.clips)


def test_credit_is_of_every_pair_before_the_step_whatever_was_chosen(
    environment: CompositingEnvironment, source: ClipSource
) -> None:
    environment.step(draw(environment, seed=7), torch.ones(1, 6), Measurements())
    start, batch = copied(environment), draw(environment)
    network = environment._network.eval()
    augment = Augment(np.random.default_rng([batch.seed % 2**32, 1]), flip=True)
    composites, real = source.composites(batch.rows.numpy(), augment), source.real(VALIDATION)
    with torch.inference_mode():
        val, made = (
            network.trunk(network.to_input(clips)) for clips in (real.clips, composites.clips)
        )
        expected = last_layer_credit(
            network.head(val).softmax(1), real.labels, val,
            network.head(made).softmax(1), composites.labels, made,
        )  # fmt: skip
    for actions in (FIRST_TWO, THREE, torch.ones(1, 6)):
        environment.load_state_dict(start)
        credit = environment.step(batch, actions, Measurements(credit=True)).credit
        assert credit is not None
        assert torch.allclose(credit, expected, atol=1e-6)
        assert credit.shape == (6,)


# Going back, going on.


def test_restarting_puts_weights_and_statistics_back(
    environment: CompositingEnvironment,
) -> None:
    before = copied(environment)
    for seed in range(3):
        environment.step(draw(environment, seed=seed), THREE, Measurements(credit=True))
    name = "network.trunk.1.running_mean"
    assert not torch.equal(copied(environment)[name], before[name])
    assert copied(environment)["network.head.weight"].any()
    environment.restart()
    assert same(copied(environment), before)


def test_a_state_is_all_there_is_to_go_on_from(source: ClipSource) -> None:
    environment, other = make_environment(source), make_environment(source)
    environment.step(draw(environment), torch.ones(1, 6), Measurements())
    state = copied(environment)
    other.step(draw(other, seed=5), torch.ones(1, 6), Measurements())
    other.load_state_dict(state)
    batch = draw(environment, seed=3)
    found = [e.step(batch, THREE, Measurements(True, True)) for e in (environment, other)]
    assert torch.equal(found[0].after, found[1].after)
    assert same(copied(environment), copied(other))


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": "credit"},
        {"reward": "counterfactual", "trajectories": 3},
        {"reward": "counterfactual", "roll_back": True},
        {"reward": "moving-average"},
    ],
)
def test_the_loop_learns_against_it_and_leaves_the_validation_rows_alone(
    source: ClipSource, changes: dict[str, Any]
) -> None:
    environment = make_environment(source)
    selector = new_selector(SelectorConfig(5, 3, hidden=(16, 8)), 0)
    before = [p.clone() for p in selector.parameters()]
    validation, losses = environment._val_clips.clone(), []
    train_selector(
        selector, environment, ReinforceSettings(selector_steps=4, selector_batch=4, **changes), 0,
        log=lambda step, figures: losses.append(figures.get("validation_loss")),
    )  # fmt: skip
    assert len(losses) == 4
    assert any(not torch.equal(a, b) for a, b in zip(before, selector.parameters(), strict=True))
    assert torch.equal(environment._val_clips, validation)


# Features.


def test_frozen_features_are_looked_up_and_have_no_state() -> None:
    table = torch.randn(5, 3)
    features = FrozenFeatures(table)
    assert torch.equal(features(torch.tensor([4, 0, 4])), table[[4, 0, 4]])
    assert features.state_dict() == {}
    features.load_state_dict({})


def trained(source: ClipSource) -> tuple[Trunk, TrainedFeatures, Tensor]:
    """A trunk that learns, beside a table whose last column is agreement."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = build_trunk("tiny3d")
    table = torch.randn(12, trunk.feature_dim + 1, generator=torch.Generator().manual_seed(1))
    return trunk, TrainedFeatures(trunk, source, table), table


def test_trained_features_are_the_trunks_with_agreement_behind_them(source: ClipSource) -> None:
    trunk, features, table = trained(source)
    rows = torch.tensor([7, 2, 7, 0])
    found = features(rows)
    with torch.no_grad():
        expected = ask(trunk.eval(), source.clips(np.arange(12)))
    assert found.shape == (4, 129)
    assert torch.allclose(found[:, :128], expected[rows], atol=1e-5)
    assert torch.equal(found[:, 128], table[rows, 128])
    assert torch.equal(found[0], found[2])


def test_a_videos_features_do_not_depend_on_its_company(source: ClipSource) -> None:
    trunk, features, _ = trained(source)
    alone = features(torch.tensor([7]))
    assert torch.allclose(features(torch.arange(12))[7:8], alone, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(features(torch.tensor([7, 1])), features(torch.tensor([7, 1])))
    assert not any(module.training for module in trunk.modules())


def test_a_gradient_reaches_the_trunk_where_gradients_are_on(source: ClipSource) -> None:
    trunk, features, _ = trained(source)
    features(torch.tensor([7, 2])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trunk.parameters())
    with torch.no_grad():
        assert not features(torch.tensor([7, 2])).requires_grad


def test_micro_batches_of_a_trunk_that_learns_give_the_same_gradient(source: ClipSource) -> None:
    gradients, most = [], []
    for micro_batch in (None, 2):
        trunk, _, table = trained(source)
        features = TrainedFeatures(trunk, source, table, micro_batch)
        sizes: list[int] = []
        trunk.register_forward_pre_hook(lambda _, given, seen=sizes: seen.append(len(given[0])))
        features(torch.tensor([7, 2, 5, 7, 1, 0])).square().sum().backward()
        gradients.append([parameter.grad for parameter in trunk.parameters()])
        most.append(max(sizes))
    assert most == [5, 2]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_trunks_weights_are_part_of_the_environments_state(source: ClipSource) -> None:
    trunk, features, _ = trained(source)
    environment = make_environment(source, features)
    state = copied(environment)
    assert {name for name in state if name.startswith("features.")} == {
        f"features.{name}" for name in trunk.state_dict()
    }
    before = draw(environment).features_f.detach()
    with torch.no_grad():
        next(trunk.parameters()).mul_(2)
    assert not torch.allclose(draw(environment).features_f, before)
    environment.restart()  # the classifier goes back to its start, the Selector's trunk does not
    assert not torch.allclose(draw(environment).features_f, before)
    environment.load_state_dict(state)
    assert torch.equal(draw(environment).features_f.detach(), before)


def test_the_loop_trains_the_trunk_and_not_the_classifiers(source: ClipSource) -> None:
    trunk, features, _ = trained(source)
    environment = make_environment(source, features)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    selector = new_selector(SelectorConfig(128, 3, hidden=(8,), agreement_scale=2.0), 0)
    settings = ReinforceSettings("counterfactual", selector_steps=2, selector_batch=4,
                                 roll_back=True, restart_every=0)  # fmt: skip
    classifier = copied(environment)
    train_selector(
        selector, environment, settings, 0, log=lambda step, figures: None,
        trunk=TrainedTrunk(tuple(trunk.parameters()), 0.01),
    )  # fmt: skip
    after = trunk.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in trunk.named_parameters()}  # statistics stay
    for name, value in copied(environment).items():
        if name.startswith("network."):
            assert torch.equal(value, classifier[name]), name


def test_agreement_reaches_no_further_than_the_table(source: ClipSource, tmp_path: Path) -> None:
    trunk, _, table = trained(source)
    without = TrainedFeatures(trunk, source, table[:, :128])
    assert without(torch.tensor([3])).shape == (1, 128)
