"""The training loop: that it learns, that it resumes to the last bit, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError, L2AError
from selector.diagnosis import Verdict, auroc
from selector.environment import Measurements, PairBatch, StepResult
from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.judging import DiagnosisContext, explained_credit, score_pairs
from selector.network import Selector, SelectorConfig, new_selector
from selector.reinforce import TrainedTrunk, TrainingReport, train_selector
from selector.reward import REWARDS
from selector.settings import ReinforceSettings, RewardName
from selector.training_state import Checkpoints

Saved = tuple[dict[str, Tensor], dict[str, object]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share among threads, which only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ignore(step: int, figures: dict[str, float]) -> None:
    """A log that nobody reads."""


def gaussian_selector(
    environment: GaussianEnvironment, hidden: tuple[int, ...], dropout: float = 0.0
) -> Selector:
    world = environment.world
    config = SelectorConfig(
        world.feature_dim, world.classes, "one-hot", hidden, 3.0,
        agreement_scale=4.0 * world.agreement, dropout=dropout,
    )  # fmt: skip
    selector = new_selector(config, seed=0)
    selector.fit_standardiser(environment.features)
    return selector


# That it learns.


class Turned(GaussianEnvironment):
    """A world in which a step that lowers the validation loss is reported as one that raises it."""

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        found = super().step(batch, actions, wanted)
        before = None if found.before is None else -found.before
        return dataclasses.replace(found, after=-found.after, before=before)


def test_pairs_are_scored_as_by_a_forward_pass() -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=40), seed=0)
    selector = gaussian_selector(environment, hidden=(64, 16), dropout=0.5)
    batch = environment.sample(500, torch.Generator().manual_seed(1))
    found = score_pairs(selector, batch)
    with torch.no_grad():
        torch.testing.assert_close(found, selector.eval()(*batch.to(torch.device("cpu"))))


def learned(
    environment: GaussianEnvironment, seed: int = 0, **changes: Any
) -> tuple[float, Verdict]:
    """AUROC of good against bad pairs after a training in the toy world, and its verdict."""
    selector = gaussian_selector(environment, hidden=(64,), dropout=changes.pop("dropout", 0.0))
    plain: dict[str, Any] = {
        "selector_steps": 150,
        "selector_batch": 64,
        "selector_lr": 1e-3,
        "entropy": 0.1,
        "explore_weight": 1.0,
        "restart_every": 10,
        "checkpoint_every": 25,
    }
    settings = ReinforceSettings(**(plain | changes))
    report = train_selector(
        selector, environment, settings, seed, log=ignore, known=DiagnosisContext(environment.bad)
    )
    batch = environment.sample(4000, torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = selector(batch.features_f, batch.features_b, batch.labels_f, batch.labels_b)
    return auroc(logits, ~environment.bad[batch.rows[:, 0]]), report.verdict


@pytest.mark.parametrize("within_class", [True, False])
def test_credit_finds_the_good_pairs(within_class: bool) -> None:
    found, verdict = learned(
        GaussianEnvironment(GaussianWorld(), seed=0), reward="credit", within_class=within_class,
        dropout=0.5,
    )  # fmt: skip
    assert found > 0.9
    assert verdict.probe is not None
    assert verdict.probe.auroc > 0.9
    assert verdict.explained is not None
    assert verdict.explained > 0.3
    assert verdict.found is True


@pytest.mark.parametrize("within_class", [True, False])
def test_a_reversed_credit_finds_the_bad_ones(within_class: bool) -> None:
    found, verdict = learned(
        GaussianEnvironment(GaussianWorld(credit_sign=-1), seed=0), reward="credit",
        within_class=within_class, dropout=0.5,
    )  # fmt: skip
    assert found < 0.1
    assert verdict.found is False
    assert str(verdict).startswith("the ranking is upside down")


@pytest.mark.parametrize(
    ("bar", "changes"),
    [
        (0.7, {"reward": "counterfactual", "selector_batch": 16}),
        (0.6, {"reward": "counterfactual", "selector_batch": 16, "roll_back": True}),
        (0.85, {"reward": "counterfactual", "trajectories": 4}),
        (0.7, {"reward": "moving-average", "selector_batch": 8, "selector_steps": 300}),
    ],
)
def test_rewards_of_subsets_find_the_good_pairs_too_and_turned_the_bad_ones(
    bar: float, changes: dict[str, Any]
) -> None:
    # Over six seeds the AUROC is 0.76 to 0.91, and of one seed as little as 0.57.
    found, verdict = learned(GaussianEnvironment(GaussianWorld(), seed=3), seed=3, **changes)
    assert found > bar
    assert verdict.explained is None  # nobody knows what one pair is worth
    turned, _ = learned(Turned(GaussianWorld(), seed=3), seed=3, **changes)
    assert turned < 1 - bar


def test_without_agreement_credit_is_learned_from_features_and_labels() -> None:
    world = GaussianWorld(agreement=False)
    changes: dict[str, Any] = {"reward": "credit", "within_class": False, "selector_steps": 300}
    assert learned(GaussianEnvironment(world, seed=0), **changes)[0] > 0.75
    turned = dataclasses.replace(world, credit_sign=-1)
    assert learned(GaussianEnvironment(turned, seed=0), **changes)[0] < 0.45


# What the verdict judges by.


@pytest.mark.parametrize(("within_class", "low", "high"), [(True, 0.998, 1.0), (False, 0.0, 0.3)])
def test_omega_is_judged_by_the_part_of_credit_that_it_was_taught(
    within_class: bool, low: float, high: float
) -> None:
    """Two classes whose credit is 10 apart and spreads by 1 within; logits are what lies within."""
    within = torch.randn(256, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(256)[:, None].expand(-1, 2) % 2
    batch = PairBatch(torch.zeros(256, 2, dtype=torch.int64), classes, *torch.zeros(4, 256, 1))
    reward = REWARDS["credit"](ReinforceSettings(within_class=within_class))
    found = explained_credit(within, within + 10 * classes[:, 0], batch, reward)
    assert low < found <= high


class Noise(GaussianEnvironment):
    """The credit of a pair is a number that nothing tells."""

    def __init__(self, videos: int) -> None:
        super().__init__(GaussianWorld(videos=videos, agreement=False), seed=0)
        self.noise = torch.randn(videos, videos, generator=torch.Generator().manual_seed(7))
        self.drawn: set[tuple[int, int]] = set()
        self.judged: set[tuple[int, int]] = set()

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        batch = super().sample(count, generator)
        self.drawn |= {(f, b) for f, b in batch.rows.tolist()}
        return batch

    def sample_aside(self, count: int, generator: torch.Generator) -> PairBatch:
        batch = super().sample_aside(count, generator)
        self.judged |= {(f, b) for f, b in batch.rows.tolist()}
        return batch

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        return StepResult(torch.zeros(1), None, self.credit_matrix(batch)[:, 0])

    def credit_matrix(self, batch: PairBatch) -> Tensor:
        return self.noise[batch.rows[:, 0], batch.rows[:, 1]][:, None]


def test_noise_that_training_memorises_is_no_signal_in_the_toy() -> None:
    environment = Noise(videos=24)
    figures: list[dict[str, float]] = []
    selector = gaussian_selector(environment, hidden=(64,))
    settings = ReinforceSettings(
        selector_steps=200, selector_batch=64, selector_lr=3e-3, settle=1.0, within_class=False
    )
    verdict = train_selector(
        selector, environment, settings, seed=0, log=lambda step, found: figures.append(found)
    ).verdict
    assert figures[-1]["credit_correlation"] > 0.4
    assert environment.judged and not environment.judged & environment.drawn
    assert verdict.explained is not None
    assert abs(verdict.explained) < 2 * verdict.chance
    assert verdict.found is False
    assert verdict.calibration is not None and "new pairs" in str(verdict)


# The toy world keeps what the Protocol promises.


def test_the_toy_is_left_where_the_first_subset_brought_it_or_rolled_back() -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=40), seed=0)
    batch = environment.sample(6, torch.Generator().manual_seed(0))
    actions = torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    environment.step(batch, torch.ones(1, 6), Measurements())
    start = environment.state_dict()

    alone = environment.step(batch, actions[:1], Measurements(before=True, credit=True))
    first = environment.state_dict()
    environment.load_state_dict(start)
    several = environment.step(batch, actions, Measurements(before=True, credit=True))
    assert all(torch.equal(value, first[name]) for name, value in environment.state_dict().items())
    assert several.after.shape == (3,)
    assert several.after[0] == alone.after[0]
    assert several.before == alone.before
    assert several.credit is not None
    assert alone.credit is not None
    assert torch.equal(several.credit, alone.credit)

    environment.load_state_dict(start)
    rolled = environment.step(batch, actions, Measurements(roll_back=True))
    assert torch.equal(rolled.after, several.after)
    assert (rolled.before, rolled.credit) == (None, None)
    assert all(torch.equal(value, start[name]) for name, value in environment.state_dict().items())


# A scripted environment, to see each step.


class Scripted:
    """Gives the losses of its script, and credit and a loss before that never change.

    Args:
        losses: after each step; a list of M for M subsets.
        credit: of the four pairs of a batch.
    """

    def __init__(
        self, losses: list[Any], credit: Tensor | None = None, before: float | None = None
    ) -> None:
        self.losses, self.credit, self.before = losses, credit, before
        self.taken = 0
        self.calls: list[str] = []
        self.asked: list[Measurements] = []
        self.actions: list[Tensor] = []

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        rows = torch.randint(5, (count, 2), generator=generator)
        features = torch.randn(2, count, 3, generator=generator)
        return PairBatch(rows, rows % 2, features[0], features[1], *torch.ones(2, count, 2))

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        self.calls.append("step")
        self.asked.append(wanted)
        self.actions.append(actions.clone())
        loss = self.losses[self.taken % len(self.losses)]
        self.taken += 1
        return StepResult(torch.tensor(loss).reshape(-1), self.before, self.credit)

    def sample_aside(self, count: int, generator: torch.Generator) -> None:
        """None: it has no credit to judge by."""

    def credit_matrix(self, batch: PairBatch) -> Tensor:
        return torch.zeros(len(batch.rows), 1)  # of one recording, which says nothing

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
        "entropy": 0.0,
        "settle": 1.0,
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
    _, rows = scripted_run(environment, reward="credit", within_class=False, selector_steps=2)
    assert environment.asked == [Measurements(credit=True)] * 2
    assert rows[1]["reward_mean"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["reward_sd"] == pytest.approx(1)
    with pytest.raises(ValueError, match="gave no credit"):
        scripted_run(Scripted([1.0]), reward="credit", selector_steps=2)


@pytest.mark.parametrize("roll_back", [False, True])
def test_several_subsets_are_tried_and_compared_with_each_other(roll_back: bool) -> None:
    environment = Scripted([[3.0, 2.0, 4.0], [2.0, 2.0, 2.0]], before=4.0)
    _, rows = scripted_run(
        environment, selector_of(logit=2.0), reward="counterfactual", trajectories=3,
        roll_back=roll_back, selector_steps=2,
    )  # fmt: skip
    assert environment.asked == [Measurements(before=True, roll_back=roll_back)] * 2
    assert all(actions.shape == (3, 4) for actions in environment.actions)
    # Gains 1, 2, 0, against the others' means 1, ½, 1½.
    assert rows[0]["reward_mean"] == pytest.approx(0)
    assert rows[0]["reward_sd"] == pytest.approx(math.sqrt(1.5))
    assert rows[1]["reward_sd"] == 0
    # The classifier goes on from the first subset, and so does δ.
    assert [row["validation_loss"] for row in rows] == [3.0, 2.0]
    assert rows[1]["baseline"] == pytest.approx(0.8 * 3 + 0.2 * 2)
    assert "credit_correlation" not in rows[0]


def test_one_subset_is_compared_with_the_loss_before() -> None:
    environment = Scripted([3.0, 5.0], before=4.0)
    _, rows = scripted_run(
        environment, reward="counterfactual", trajectories=1, roll_back=False, selector_steps=2
    )
    assert [row["reward_mean"] for row in rows] == [1.0, -1.0]


def test_a_step_with_one_empty_subset_among_several_has_no_effect() -> None:
    selector = selector_of(logit=0.0)
    environment = Scripted([[3.0, 2.0, 4.0]], before=4.0)
    weights = [{name: value.clone() for name, value in selector.state_dict().items()}]
    skipped: list[bool] = []

    def log(step: int, figures: dict[str, float]) -> None:
        weights.append({name: value.clone() for name, value in selector.state_dict().items()})
        skipped.append("reward_mean" not in figures)

    settings = ReinforceSettings(
        "counterfactual", selector_steps=30, selector_batch=2, trajectories=3, explore_weight=0.0,
        entropy=0.0,
    )  # fmt: skip
    report = train_selector(selector, environment, settings, seed=0, log=log)
    # Two coins for each of three subsets: in 1 − (3/4)³ = 58 % of the steps one is empty.
    assert 5 < report.skipped == sum(skipped) < 25
    assert all(actions.any(dim=1).all() for actions in environment.actions)
    assert len(environment.actions) == 30 - report.skipped
    for before, after, empty in zip(weights[:-1], weights[1:], skipped, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before) == empty


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
    assert (report.steps, report.skipped, report.delta) == (5, 5, None)
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


def test_others_random_numbers_are_not_used_up() -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=40), seed=0)
    selector = gaussian_selector(environment, hidden=(8,), dropout=0.5)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train_selector(
        selector, environment, ReinforceSettings("credit", selector_steps=3), seed=0, log=ignore
    )
    assert torch.equal(torch.rand(3), expected)
    assert not selector.training


def test_what_dropout_hides_follows_from_the_seed() -> None:
    def train(seed: int, dropout: float) -> list[dict[str, float]]:
        environment = GaussianEnvironment(GaussianWorld(videos=40), seed=0)
        selector = gaussian_selector(environment, hidden=(8,), dropout=dropout)
        rows: list[dict[str, float]] = []
        train_selector(
            selector, environment, ReinforceSettings("credit", selector_steps=3), seed,
            log=lambda step, figures: rows.append(figures),
        )  # fmt: skip
        return rows

    torch.manual_seed(5)
    found = train(0, 0.5)
    torch.manual_seed(6)
    assert train(0, 0.5) == found
    assert train(1, 0.5) != found
    assert train(0, 0.0) != found


# That it looks at its ranking, and stops.


def looked(**changes: Any) -> tuple[TrainingReport, list[dict[str, float]]]:
    environment = GaussianEnvironment(GaussianWorld(), seed=0)
    settings = ReinforceSettings(
        "credit", selector_steps=60, selector_batch=64, selector_lr=1e-3, checkpoint_every=5,
        explore_weight=1.0, **changes,
    )  # fmt: skip
    rows: list[dict[str, float]] = []
    report = train_selector(
        gaussian_selector(environment, hidden=(32,)), environment, settings, seed=0,
        log=lambda step, figures: rows.append(figures), known=DiagnosisContext(environment.bad),
    )  # fmt: skip
    return report, rows


def test_checkpoints_alone_carry_figures_of_the_ranking() -> None:
    report, rows = looked(settle=1.0)
    assert report.steps == len(rows) == 60
    looks = [step + 1 for step, row in enumerate(rows) if "rank_correlation" in row]
    assert looks == list(range(5, 61, 5))
    assert looks == [step + 1 for step, row in enumerate(rows) if "probe_auroc" in row]
    assert report.verdict.probe is not None
    assert rows[-1]["probe_auroc"] == report.verdict.probe.auroc
    assert report.verdict.steps == 60
    assert all("credit_correlation" in row for row in rows)


def test_a_ranking_that_holds_still_stops_the_training() -> None:
    whole, whole_rows = looked(settle=1.0)
    report, rows = looked(settle=0.9)
    assert rows == whole_rows[: len(rows)]  # until then nothing is different
    assert report.steps == len(rows) < whole.steps
    assert report.steps % 5 == 0
    kept = [row["rank_correlation"] for row in rows if "rank_correlation" in row]
    moved = [row["rank_correlation_with_start"] for row in rows if "rank_correlation" in row]
    held = [k >= 0.9 and m < 0.9 for k, m in zip(kept, moved, strict=True)]
    assert held[-3:] == [True] * 3
    assert not any(all(held[i : i + 3]) for i in range(len(held) - 3))  # and not before
    assert report.verdict.settled_at == report.steps - 10


def test_a_ranking_that_nothing_moves_does_not_stop_the_training() -> None:
    report, _ = scripted_run(
        Scripted([1.0]), selector_of(logit=-200.0), selector_steps=20, checkpoint_every=2,
        settle=0.5,
    )  # fmt: skip
    assert report.steps == 20


def test_a_probe_of_no_video_is_no_probe() -> None:
    environment = GaussianEnvironment(GaussianWorld(videos=40), seed=0)
    report = train_selector(
        gaussian_selector(environment, hidden=(8,)), environment,
        ReinforceSettings("credit", selector_steps=2), seed=0, log=ignore,
        known=DiagnosisContext(torch.zeros(40, dtype=torch.bool)),
    )  # fmt: skip
    assert report.verdict.probe is None


# That it resumes.


class Killed(Exception):
    """Stands for a signal."""


@pytest.mark.parametrize("reward", get_args(RewardName))
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, reward: RewardName) -> None:
    several: dict[str, Any] = {"trajectories": 3} if reward == "counterfactual" else {}
    settings = ReinforceSettings(
        reward, selector_steps=23, selector_batch=8, restart_every=7, checkpoint_every=5,
        settle=0.999, **several,
    )  # fmt: skip
    path = tmp_path / "state.safetensors"

    def train(
        killed_at: int | None, resume: bool
    ) -> tuple[Selector, list[dict[str, float]], TrainingReport]:
        environment = GaussianEnvironment(GaussianWorld(videos=40), seed=3)
        selector = gaussian_selector(environment, hidden=(16,), dropout=0.5)
        rows: list[dict[str, float]] = []

        def log(step: int, figures: dict[str, float]) -> None:
            rows.append({"step": step, **figures})
            if step == killed_at:
                raise Killed

        report = train_selector(
            selector,
            environment,
            settings,
            seed=9,
            log=log,
            checkpoints=Checkpoints(
                lambda tensors, facts: save_tensors(path, tensors, json.loads(json.dumps(facts))),
                load_tensors(path) if resume else None,
            ),
            known=DiagnosisContext(environment.bad),
        )
        return selector, rows, report

    whole, whole_rows, whole_report = train(killed_at=None, resume=False)
    with pytest.raises(Killed):
        train(killed_at=16, resume=False)
    again, again_rows, again_report = train(killed_at=None, resume=True)
    assert again_rows[0]["step"] == 15
    assert again_rows == whole_rows[15:]
    assert again_report == whole_report
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    # The last state is saved too: a finished training has nothing left to do but its verdict.
    _, rows, report = train(killed_at=None, resume=True)
    assert rows == []
    assert report == whole_report


@pytest.mark.parametrize("cut", range(5))
def test_a_training_that_stops_early_stops_there_again(cut: int) -> None:
    """Resumed from any of its states, the last of which is the one that it stopped at."""

    def train(resume: Saved | None) -> tuple[TrainingReport, list[Saved]]:
        environment = GaussianEnvironment(GaussianWorld(), seed=0)
        saved: list[Saved] = []
        settings = ReinforceSettings(
            "credit", selector_steps=60, selector_batch=64, selector_lr=1e-3, checkpoint_every=5,
            explore_weight=1.0, settle=0.97,
        )  # fmt: skip
        report = train_selector(
            gaussian_selector(environment, hidden=(32,), dropout=0.2), environment, settings,
            seed=0, log=ignore, checkpoints=Checkpoints(lambda *state: saved.append(state), resume),
        )  # fmt: skip
        return report, saved

    whole, states = train(None)
    assert 5 * len(states) == whole.steps < 60
    report, later = train(states[-1 - cut])
    assert report == whole
    assert len(later) == cut
    for one, other in zip(states[len(states) - cut :], later, strict=True):
        assert one[1] == other[1]
        assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())


class Trunked(GaussianEnvironment):
    """The toy with a trunk between its points and what the Selector sees."""

    def __init__(self, world: GaussianWorld, seed: int) -> None:
        super().__init__(world, seed)
        self.trunk = nn.Linear(world.feature_dim, world.feature_dim, bias=False)
        with torch.no_grad():
            self.trunk.weight.copy_(torch.eye(world.feature_dim))
        self.graphs: list[bool] = []

    def _batch(self, rows: Tensor) -> PairBatch:
        batch = super()._batch(rows)
        sides = [self.trunk(self.points[row]) for row in rows.T]
        self.graphs.append(sides[0].requires_grad)
        return dataclasses.replace(batch, features_f=sides[0], features_b=sides[1])

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {"trunk": self.trunk.weight}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.trunk.load_state_dict({"weight": state["trunk"]})


def trunk_training(
    steps: int, trunk_lr: float, resume: Saved | None = None
) -> tuple[Tensor, Selector, list[Saved]]:
    environment = Trunked(GaussianWorld(videos=40, agreement=False), seed=0)
    selector = gaussian_selector(environment, hidden=(16,))
    saved: list[Saved] = []
    settings = ReinforceSettings(
        "credit", selector_steps=steps, selector_batch=8, checkpoint_every=2, selector_lr=1e-3
    )
    train_selector(
        selector, environment, settings, seed=0, log=ignore,
        checkpoints=Checkpoints(lambda *state: saved.append(state), resume),
        trunk=TrainedTrunk(tuple(environment.trunk.parameters()), trunk_lr),
    )  # fmt: skip
    return environment.trunk.weight.detach(), selector, saved


def test_features_carry_a_gradient_in_a_step_and_nowhere_else() -> None:
    """Whoever only looks must not hold what a step needs: for hundreds of pairs that is much."""
    environment = Trunked(GaussianWorld(videos=40, agreement=False), seed=0)
    selector = gaussian_selector(environment, hidden=(16,))
    settings = ReinforceSettings(
        "credit", selector_steps=4, selector_batch=8, checkpoint_every=1, settle=1.0
    )
    train_selector(
        selector, environment, settings, seed=0, log=ignore,
        trunk=TrainedTrunk(tuple(environment.trunk.parameters()), 0.01),
    )  # fmt: skip
    # The watched pairs before and after; a step, the watched pairs and those of reliability four
    # times; those kept aside.
    assert environment.graphs == [False, *[True, False, False] * 4, False, False]


def test_the_trunk_learns_at_its_own_rate() -> None:
    before = torch.eye(16)
    weight, _, _ = trunk_training(steps=1, trunk_lr=0.02)
    # Adam's first step is its learning rate wherever there is a gradient.
    step = (weight - before).abs()
    assert step.max().item() == pytest.approx(0.02, rel=1e-3)
    assert step.median().item() == pytest.approx(0.02, rel=1e-3)
    weight, _, _ = trunk_training(steps=1, trunk_lr=0.0)
    assert torch.equal(weight, before)


def test_a_trained_trunk_goes_on_with_the_same_bits_and_its_own_rate() -> None:
    whole, selector, states = trunk_training(steps=6, trunk_lr=0.02)
    again, other, _ = trunk_training(steps=6, trunk_lr=0.02, resume=states[1])
    assert torch.equal(again, whole)
    for name, value in selector.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    slow, _, _ = trunk_training(steps=6, trunk_lr=0.0, resume=states[1])
    assert torch.equal(slow, states[1][0]["environment.trunk"])


def test_a_state_of_another_training_is_refused() -> None:
    saved: list[tuple[dict[str, Tensor], dict[str, object]]] = []
    environment = Scripted([1.0])

    def train(seed: int = 0, **changes: Any) -> TrainingReport:
        plain: dict[str, Any] = {
            "reward": "moving-average",
            "selector_steps": 2,
            "selector_batch": 4,
            "selector_lr": 1e-4,
            "settle": 1.0,
        }
        return train_selector(
            new_selector(SelectorConfig(3, 2, hidden=(4,)), seed=0),
            environment,
            ReinforceSettings(**(plain | changes)),
            seed,
            log=ignore,
            checkpoints=Checkpoints(
                lambda tensors, facts: saved.append((tensors, facts)), saved[0] if saved else None
            ),
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
        checkpoints=Checkpoints(lambda tensors, facts: saved.append(tensors)),
    )
    first, last = saved
    assert not torch.equal(first["selector.first.weight"], last["selector.first.weight"])
    assert first["environment.taken"].item() == 3
