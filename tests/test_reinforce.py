"""The training loop: that it learns, that it resumes to the last bit, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError, L2AError
from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.network import Selector, SelectorConfig, new_selector
from selector.rank import auroc
from selector.reinforce import REWARDS, Outcome, PairBatch, TrainingReport, train_selector
from selector.settings import ReinforceSettings, RewardName


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share among threads, which only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ignore(step: int, figures: dict[str, float]) -> None:
    """A log that nobody reads."""


def gaussian_selector(environment: GaussianEnvironment, hidden: tuple[int, ...]) -> Selector:
    world = environment.world
    config = SelectorConfig(world.feature_dim, world.classes, "one-hot", hidden)
    selector = new_selector(config, seed=0)
    selector.fit_standardiser(environment.features)
    return selector


# That it learns.


def learned(credit_sign: float, steps: int) -> float:
    """AUROC of good against bad pairs after a training in the toy world."""
    environment = GaussianEnvironment(GaussianWorld(credit_sign=credit_sign), seed=0)
    selector = gaussian_selector(environment, hidden=(256, 64))
    settings = ReinforceSettings(selector_steps=steps, selector_lr=1e-3)
    train_selector(selector, environment, settings, seed=0, log=ignore)
    batch = environment.sample(4000, torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = selector(batch.features_f, batch.features_b, batch.labels_f, batch.labels_b)
    return auroc(logits, ~environment.bad[batch.rows[:, 0]])


def test_credit_finds_the_good_pairs() -> None:
    assert learned(credit_sign=1, steps=500) > 0.9


def test_a_reversed_reward_finds_the_bad_ones() -> None:
    assert learned(credit_sign=-1, steps=300) < 0.45


# A scripted environment, to see each step.


class Scripted:
    """Gives the validation losses it was told to, and credit that never changes."""

    def __init__(self, losses: list[float], credit: Tensor | None = None) -> None:
        self.losses, self.credit = losses, credit
        self.taken = 0
        self.calls: list[str] = []

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        rows = torch.randint(5, (count, 2), generator=generator)
        features = torch.randn(2, count, 3, generator=generator)
        return PairBatch(rows, features[0], features[1], *torch.ones(2, count, 2))

    def step(self, batch: PairBatch, actions: Tensor, wants_credit: bool) -> Outcome:
        self.calls.append("credit" if wants_credit else "step")
        loss = self.losses[self.taken % len(self.losses)]
        self.taken += 1
        return Outcome(loss, self.credit if wants_credit else None)

    def restart(self) -> None:
        self.calls.append("restart")

    def state_dict(self) -> dict[str, Tensor]:
        return {"taken": torch.tensor(self.taken)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.taken = int(state["taken"])


def selector_of(logit: float) -> Selector:
    """Gives every pair the same logit."""
    selector = new_selector(SelectorConfig(3, 2, hidden=(4,)), seed=0)
    *_, weight, bias = selector.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.fill_(logit)
    return selector


def scripted_run(
    environment: Scripted, selector: Selector | None = None, **settings: Any
) -> tuple[TrainingReport, list[dict[str, float]]]:
    plain: dict[str, Any] = {
        "reward": "moving-average",
        "selector_batch": 4,
        "restart_every": 0,
        "explore_weight": 0.0,
    }
    rows: list[dict[str, float]] = []
    report = train_selector(
        selector or selector_of(logit=20.0),  # no step is empty
        environment,
        ReinforceSettings(**(plain | settings)),
        seed=0,
        log=lambda step, figures: rows.append({"step": step, **figures}),
    )
    return report, rows


def test_the_moving_average_is_compared_with_before_it_moves() -> None:
    report, rows = scripted_run(Scripted([2.0, 1.0, 3.0]), selector_steps=3)
    assert [row["step"] for row in rows] == [0, 1, 2]
    # δ: 2, then 4/5·2 + 1/5·1, then 4/5·1.8 + 1/5·3; rewards: none yet, 2 − 1, 1.8 − 3.
    assert [row["baseline"] for row in rows] == pytest.approx([2.0, 1.8, 2.04])
    assert [row["reward_mean"] for row in rows] == pytest.approx([0.0, 1.0, -1.2])
    assert (report.steps, report.skipped) == (3, 0)
    assert report.delta == pytest.approx(2.04)


def test_restarts_come_on_time_and_begin_a_new_average() -> None:
    environment = Scripted([2.0, 1.0, 5.0, 4.0, 9.0])
    _, rows = scripted_run(environment, selector_steps=5, restart_every=2)
    assert environment.calls == ["step", "step", "restart", "step", "step", "restart", "step"]
    assert [row["baseline"] for row in rows] == pytest.approx([2.0, 1.8, 5.0, 4.8, 9.0])
    assert [row["reward_mean"] for row in rows] == pytest.approx([0.0, 1.0, 0.0, 1.0, 0.0])


def test_credit_is_asked_for_and_standardised() -> None:
    environment = Scripted([1.0], credit=torch.tensor([1.0, 3.0, 1.0, 3.0]))
    _, rows = scripted_run(environment, reward="credit", selector_steps=2)
    assert environment.calls == ["credit", "credit"]
    assert rows[1]["reward_mean"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["reward_sd"] == pytest.approx(1)
    with pytest.raises(ValueError, match="gave no credit"):
        scripted_run(Scripted([1.0]), reward="credit", selector_steps=2)


def test_figures_of_an_even_policy() -> None:
    _, (row,) = scripted_run(Scripted([1.0]), selector_of(logit=0.0), selector_steps=1)
    assert row["omega_mean"] == 0.5
    assert row["omega_sd"] == 0
    assert row["omega_entropy"] == pytest.approx(math.log(2))
    assert row["share_selected"] in (0.25, 0.5, 0.75, 1.0)


def test_an_empty_subset_is_skipped_and_changes_nothing() -> None:
    selector, environment = selector_of(logit=-200.0), Scripted([1.0])
    before = {name: value.clone() for name, value in selector.state_dict().items()}
    report, rows = scripted_run(environment, selector, selector_steps=5)
    assert report == TrainingReport(steps=5, skipped=5, delta=None)
    assert environment.calls == []
    assert rows[-1]["skipped_steps"] == 5
    assert "reward_mean" not in rows[-1]
    assert all(torch.equal(before[n], v) for n, v in selector.state_dict().items())


def test_a_selector_that_selects_nothing_any_more_is_reported() -> None:
    with pytest.raises(L2AError, match="selected nothing in 100 steps in a row"):
        scripted_run(Scripted([1.0]), selector_of(logit=-200.0), selector_steps=1000)


@pytest.mark.parametrize(
    ("environment", "reward", "message"),
    [
        (Scripted([math.nan]), "moving-average", "validation loss is not .* at step 0"),
        (Scripted([1.0, math.inf]), "moving-average", "validation loss is not .* at step 1"),
        (Scripted([1.0], torch.full((4,), math.nan)), "credit", "reward is not .* at step 0"),
    ],
)
def test_numbers_that_are_not_finite_never_reach_the_weights(
    environment: Scripted, reward: str, message: str
) -> None:
    selector = selector_of(logit=20.0)
    with pytest.raises(L2AError, match=message):
        scripted_run(environment, selector, reward=reward, selector_steps=9)
    assert all(value.isfinite().all() for value in selector.state_dict().values())


def test_broken_features_are_reported() -> None:
    selector = new_selector(SelectorConfig(3, 2, hidden=(4,)), seed=0)
    selector.feature_mean.fill_(math.nan)
    with pytest.raises(L2AError, match=r"Selector's score is not .* at step 0"):
        scripted_run(Scripted([1.0]), selector, selector_steps=1)


def test_every_reward_that_can_be_set_is_there() -> None:
    assert set(REWARDS) == set(get_args(RewardName))


# That it resumes.


class Killed(Exception):
    """Stands for a signal."""


@pytest.mark.parametrize("reward", get_args(RewardName))
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, reward: RewardName) -> None:
    settings = ReinforceSettings(
        reward, selector_steps=23, selector_batch=8, restart_every=7, checkpoint_every=5
    )
    path = tmp_path / "state.safetensors"

    def train(killed_at: int | None, resume: bool) -> tuple[Selector, list[dict[str, float]]]:
        environment = GaussianEnvironment(GaussianWorld(videos=40), seed=3)
        selector = gaussian_selector(environment, hidden=(16,))
        rows: list[dict[str, float]] = []

        def log(step: int, figures: dict[str, float]) -> None:
            rows.append({"step": step, **figures})
            if step == killed_at:
                raise Killed

        train_selector(
            selector,
            environment,
            settings,
            seed=9,
            log=log,
            save=lambda tensors, facts: save_tensors(path, tensors, json.loads(json.dumps(facts))),
            resume=load_tensors(path) if resume else None,
        )
        return selector, rows

    whole, whole_rows = train(killed_at=None, resume=False)
    with pytest.raises(Killed):
        train(killed_at=16, resume=False)
    again, again_rows = train(killed_at=None, resume=True)
    assert again_rows[0]["step"] == 15
    assert again_rows == whole_rows[15:]
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    # The last state is saved too: a finished training has nothing left to do.
    assert train(killed_at=None, resume=True)[1] == []


def test_a_state_of_another_training_is_refused() -> None:
    saved: list[tuple[dict[str, Tensor], dict[str, object]]] = []
    environment = Scripted([1.0])

    def train(seed: int = 0, **changes: Any) -> TrainingReport:
        plain: dict[str, Any] = {
            "reward": "moving-average",
            "selector_steps": 2,
            "selector_batch": 4,
        }
        return train_selector(
            new_selector(SelectorConfig(3, 2, hidden=(4,)), seed=0),
            environment,
            ReinforceSettings(**(plain | changes)),
            seed,
            log=ignore,
            save=lambda tensors, facts: saved.append((tensors, facts)),
            resume=saved[0] if saved else None,
        )

    train()
    with pytest.raises(InputError, match="has seed 0 and this one 1"):
        train(seed=1)
    with pytest.raises(InputError, match=r"selector_lr 0\.0001 and this one 0\.01"):
        train(selector_lr=0.01)
    assert train(selector_steps=4, checkpoint_every=3).steps == 4  # going on for longer is fine
    saved[0] = (saved[0][0], {})
    with pytest.raises(InputError, match="damaged"):
        train()


def test_saved_states_do_not_change_afterwards() -> None:
    saved: list[dict[str, Tensor]] = []
    train_selector(
        new_selector(SelectorConfig(3, 2, hidden=(4,)), seed=0),
        Scripted([2.0, 1.0]),
        ReinforceSettings("moving-average", selector_steps=6, checkpoint_every=3),
        seed=0,
        log=ignore,
        save=lambda tensors, facts: saved.append(tensors),
    )
    first, last = saved
    assert not torch.equal(first["selector.first.weight"], last["selector.first.weight"])
    assert first["environment.taken"].item() == 3
