"""The trainer: what every step is taken with, going on, old states, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source, trainer_of
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, optimizer_tensors, save_tensors, with_prefix
from l2a.networks import VideoNetwork
from train.batches import ClipBatch, ClipSource
from train.classifier import make_classifier
from train.mix import MixedBatches, TrainingMix
from train.objectives import Loss
from train.objectives.supervised import soft_cross_entropy
from train.settings.full import ClassifierSettings
from train.tracking import Tracker
from train.trainer import Trainer, TrainingJob, cosine, rate_at

CPU = torch.device("cpu")
SETTINGS = ClassifierSettings(
    network="tiny3d", batch_size=4, lr=0.05, momentum=0.8, weight_decay=0.01
)
MIX = TrainingMix(np.arange(9), np.array([[0, 1], [3, 4], [6, 2]]), 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(autouse=True)
def every_step_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.trainer.SECONDS_BETWEEN_STATES", -1.0)


def new(seed: int = 0, settings: ClassifierSettings = SETTINGS) -> VideoNetwork:
    return make_classifier(settings, 3, seed, CPU)


class Killed(Exception):
    """Stands for a process that ends between two steps."""


class RankingMonitor:
    """Notes what every step of SGD is taken with, and what the forward pass computes in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[float, float, float]] = []
        self.autocast: list[bool] = []
        step, features = torch.optim.SGD.step, type(new().trunk)._features

        def noted_step(optimiser: torch.optim.SGD, *given: Any) -> Any:
            (group,) = optimiser.param_groups
            self.steps.append((group["lr"], group["momentum"], group["weight_decay"]))
            return step(optimiser, *given)

        def noted_features(trunk: Any, clips: Tensor) -> Tensor:
            self.autocast.append(torch.is_autocast_enabled("cpu"))
            return features(trunk, clips)

        monkeypatch.setattr(torch.optim.SGD, "step", noted_step)
        monkeypatch.setattr(type(new().trunk), "_features", noted_features)


# What every step is taken with.


def test_every_step_has_the_settings_and_its_place_on_one_cosine_over_all_epochs(
    source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = RankingMonitor(monkeypatch)
    trainer_of(new(), source, MIX, SETTINGS, 4, seed=0).train()
    rates = [0.05 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert watch.steps == [(pytest.approx(rate), 0.8, 0.01) for rate in rates]
    assert rates[3] == pytest.approx(0.05 * (1 + math.sqrt(0.5)) / 2)  # epoch 1 begins lower
    assert watch.autocast == [False] * 12


def test_a_training_that_goes_on_takes_the_rates_that_were_left(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    kill_after(5, trainer_of(new(), source, MIX, SETTINGS, 4, seed=0, state=state), monkeypatch)
    watch = RankingMonitor(monkeypatch)
    trainer_of(new(), source, MIX, SETTINGS, 4, seed=0, state=state).train()
    rates = [0.05 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(5, 12)]
    assert [rate for rate, _, _ in watch.steps] == pytest.approx(rates)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_reaches_every_forward_pass_of_a_training(
    source: ClipSource, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    """As on a GPU: the CPU stands for one here."""
    monkeypatch.setattr("l2a.devices.MIXED_PRECISION_ON", ("cpu",))
    watch = RankingMonitor(monkeypatch)
    settings = ClassifierSettings(network="tiny3d", batch_size=4, precision=precision)
    trainer_of(new(0, settings), source, MIX, settings, 1, seed=0).train()
    assert watch.autocast == [precision == "bfloat16"] * 3


def test_the_cosine_by_hand() -> None:
    assert cosine(0, 100) == pytest.approx(1)
    assert cosine(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert cosine(50, 100) == pytest.approx(0.5)
    assert cosine(100, 100) == pytest.approx(0, abs=1e-12)


def test_the_cosine_begins_again_as_slow_as_before() -> None:
    """At 350 of 400 epochs with a tenth of the rate, as TCL's last part does."""
    again = replace(SETTINGS, lr=0.02, lr_restart=0.002)
    rates = [0.02 * rate_at(epoch, 400, again) for epoch in (0, 349, 350, 399)]
    last = 0.01 * (1 + math.cos(math.pi * 349 / 400))
    assert rates == pytest.approx([0.02, last, 0.002, 0.001 * (1 + math.cos(math.pi * 49 / 400))])
    early = replace(again, restart_at=0.1)
    assert [rate_at(step, 15, early) == cosine(step, 15) for step in (1, 2)] == [True, False]


def test_a_training_that_goes_on_after_a_restart_takes_its_rates(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, lr_restart=0.2, restart_at=0.5)
    state = tmp_path / "state.safetensors"
    kill_after(8, trainer_of(new(), source, MIX, settings, 4, seed=0, state=state), monkeypatch)
    watch = RankingMonitor(monkeypatch)
    trainer_of(new(), source, MIX, settings, 4, seed=0, state=state).train()
    rates = [0.2 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(2, 6)]
    assert [rate for rate, _, _ in watch.steps] == pytest.approx(rates)


@pytest.mark.parametrize(("norm", "moved"), [(0.0, None), (1e9, None), (0.01, 0.01)])
def test_gradients_are_clipped_to_a_norm(
    source: ClipSource, norm: float, moved: float | None
) -> None:
    """One step of a rate of 1, without momentum and decay, moves by the gradient."""
    plain = ClassifierSettings(network="tiny3d", batch_size=9, lr=1.0, momentum=0, weight_decay=0)
    networks = [new(), new()]
    for network, clip in zip(networks, (0.0, norm), strict=True):
        how = replace(plain, clip_gradients=clip)
        trainer_of(network, source, MIX, how, 1, seed=0).train()
    free, clipped = (_moved(network) for network in networks)
    assert float(clipped.norm()) == pytest.approx(moved or float(free.norm()), rel=1e-3)
    assert float(free.norm()) > 0.02
    assert torch.nn.functional.cosine_similarity(free, clipped, dim=0) > 0.999


def _moved(network: VideoNetwork) -> Tensor:
    """How far the parameters are from those of a new network."""
    both = zip(network.parameters(), new().parameters(), strict=True)
    return torch.cat([(mine - first).flatten().double() for mine, first in both]).detach()


def test_two_steps_are_sgd_with_momentum_and_weight_decay_by_hand(source: ClipSource) -> None:
    network, reference = new(), new()
    mix = TrainingMix(np.arange(4), MIX.pairs, 0)
    trainer_of(network, source, mix, SETTINGS, 2, seed=3).train()
    batches = MixedBatches(source, mix, 4, True, 3, 2)
    velocity = [torch.zeros_like(p) for p in reference.parameters()]
    for step, rate in enumerate((0.05, 0.025)):
        batch = batches[step]
        reference.zero_grad()
        logits = reference.train()(reference.to_input(batch.clips))
        soft_cross_entropy(logits, batch.labels).backward()
        with torch.no_grad():
            for v, p in zip(velocity, reference.parameters(), strict=True):
                v.mul_(0.8).add_(p.grad + 0.01 * p)  # type: ignore[operator]
                p.sub_(rate * v)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, atol=1e-6, rtol=1e-4)


# Going on.


def kill_after(steps: int, trainer: Trainer[ClipBatch], monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until so many steps are done and saved, and no further."""
    with monkeypatch.context() as patch:
        left = iter(range(steps - 1, -1, -1))

        def save_and_die(path: Path, tensors: Mapping[str, Tensor], values: object) -> None:
            save_tensors(path, tensors, values)
            if next(left) == 0:
                raise Killed

        patch.setattr("train.trainer.save_tensors", save_and_die)
        with pytest.raises(Killed):
            trainer.train()


@pytest.mark.parametrize("cuts", [(1,), (3,), (5,), (2, 5, 1), (11,)])
def test_killed_after_any_steps_it_ends_with_the_same_bytes(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, ...]
) -> None:
    whole, said = new(), list[tuple[int, float]]()
    trainer_of(whole, source, MIX, SETTINGS, 4, seed=9).train(
        lambda epoch, figures: said.append((epoch, figures["loss"]))
    )
    state, again = tmp_path / "state.safetensors", list[tuple[int, float]]()
    for steps in cuts:
        kill_after(
            steps, trainer_of(new(), source, MIX, SETTINGS, 4, seed=9, state=state), monkeypatch
        )
    network = new()
    trainer = trainer_of(network, source, MIX, SETTINGS, 4, seed=9, state=state)
    assert trainer.step == sum(cuts)
    trainer.train(lambda epoch, figures: again.append((epoch, figures["loss"])))
    assert again == said[sum(cuts) // 3 :]  # also the epoch that was cut in its middle
    for key, value in whole.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_workers_change_no_byte_of_a_training(source: ClipSource) -> None:
    networks = [new(), new()]
    for network, workers in zip(networks, (0, 2), strict=True):
        trainer_of(network, source, MIX, SETTINGS, 2, seed=9, workers=workers).train()
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)


class Averaged:
    """Supervised, with a second head and a moving average of it: all that an objective can have."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(128, 3)
        self.average = self.head.weight.detach().clone()
        self.steps: list[int] = []

    def loss(self, network: VideoNetwork, batch: ClipBatch, step: int) -> Loss:
        pooled = network.pool(network.forward_features(network.to_input(batch.clips)))
        second = soft_cross_entropy(self.head(pooled), batch.labels)
        total = soft_cross_entropy(network.head(pooled), batch.labels) + 0.5 * second
        return Loss(total, {"second": second.detach()})

    def after_step(self, network: VideoNetwork, step: int) -> None:
        self.steps.append(step)
        self.average.mul_(0.9).add_(self.head.weight.detach(), alpha=0.1)

    def final(self, network: VideoNetwork) -> VideoNetwork:
        return network

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.head.parameters()

    def buffers(self) -> Iterable[Tensor]:
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        return with_prefix("head.", self.head.state_dict()) | {"average": self.average}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.head.load_state_dict({"weight": state["head.weight"], "bias": state["head.bias"]})
        self.average = state["average"].clone()


def test_an_objective_brings_its_own_head_figures_and_state(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, batches = tmp_path / "state.safetensors", MixedBatches(source, MIX, 4, True, 1, 2)

    def trainer(
        objective: Averaged, network: VideoNetwork, state: Path | None
    ) -> Trainer[ClipBatch]:
        return Trainer(TrainingJob(network, objective, batches, SETTINGS, 1, state=state))

    whole, figures = Averaged(), dict[str, float]()
    begun = whole.head.weight.detach().clone()
    trainer(whole, new(), None).train(lambda epoch, found: figures.update(found))
    assert {"loss", "second", "lr", "clips_per_second"} == figures.keys()
    assert 0 < figures["second"] < figures["loss"]
    assert not torch.equal(whole.head.weight, begun)
    assert whole.steps == list(range(6))
    kill_after(4, trainer(Averaged(), new(), state), monkeypatch)
    again = Averaged()
    trainer(again, new(), state).train()
    assert torch.equal(again.head.weight, whole.head.weight)
    assert torch.equal(again.average, whole.average)


# States of the version before.


def old_state(path: Path, network: VideoNetwork, epochs_done: int) -> None:
    """As the version before wrote it."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.8)
    tensors = with_prefix("network.", network.state_dict()) | optimizer_tensors(optimiser, "sgd.")
    save_tensors(path, tensors, {"epochs_done": epochs_done})


def test_an_unfinished_training_of_the_version_before_begins_anew_and_says_so(
    source: ClipSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="l2a")
    state = tmp_path / "state.safetensors"
    old_state(state, new(5), epochs_done=1)
    network, whole = new(), new()
    trainer = trainer_of(network, source, MIX, SETTINGS, 2, seed=9, state=state)
    assert trainer.step == 0
    assert "starts over" in caplog.text
    trainer.train()
    trainer_of(whole, source, MIX, SETTINGS, 2, seed=9).train()
    assert torch.equal(network.head.weight, whole.head.weight)


def test_a_finished_training_of_the_version_before_is_kept(
    source: ClipSource, tmp_path: Path
) -> None:
    state, network = tmp_path / "state.safetensors", new()
    old_state(state, new(5), epochs_done=2)
    trainer = trainer_of(network, source, MIX, SETTINGS, 2, seed=9, state=state)
    trainer.train()
    assert torch.equal(network.head.weight, new(5).head.weight)
    assert "epochs_done" in load_tensors(state)[1]  # not a step was taken


# Curves.


def test_a_resumed_training_shows_each_epoch_once_in_tensorboard(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state, folder = tmp_path / "state.safetensors", tmp_path / "tensorboard"
    # The state is kept for the last time in the middle of epoch 1, then epochs 1 and 2 are shown.
    for last in (4, None):
        trainer = trainer_of(new(), source, MIX, SETTINGS, 4, seed=9, state=state)
        with Tracker(folder, purge_step=trainer.epoch) as tracker:

            def show(epoch: int, figures: dict[str, float], tracker: Tracker = tracker) -> None:
                tracker.scalars("classifier", figures, epoch)

            if last is None:
                trainer.train(show)
                continue
            kept = iter(range(last))
            with monkeypatch.context() as patch:
                patch.setattr(
                    "train.trainer.save_tensors",
                    lambda *given, kept=kept: next(kept, None) is None or save_tensors(*given),
                )

                def show_and_die(epoch: int, figures: dict[str, float], show: Any = show) -> None:
                    show(epoch, figures)
                    if epoch == 2:
                        raise Killed

                with pytest.raises(Killed):
                    trainer.train(show_and_die)
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("classifier/loss")] == [0, 1, 2, 3]
