"""Stage one on frozen features: as on clips where the trunk is fixed, and cross-fitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from banks import make_source
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l2a.errors import InputError
from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from selector.environment import Measurements, PairBatch
from selector.network import SelectorConfig, new_selector
from selector.reinforce import train_selector
from selector.reliability import measure_reliability
from selector.settings import ReinforceSettings
from semantic_match.match import ClassMatch
from semantic_match.pool import Pool
from train.batches import ClipSource
from train.environment import CompositingEnvironment, FrozenFeatures, ValidationRows, fifth_aside
from train.frozen import crossfit
from train.frozen.crossfit import FoldedClips, crossfit_credit, deal_folds, refuse_few
from train.frozen.environment import DrawnPairs, FrozenEnvironment, MeasuredClips, draw_pairs
from train.frozen.head import LinearHead
from train.settings.full import ClassifierSettings, StageOneSettings

VALIDATION = np.array([9, 10, 11])
RECORDINGS = np.array([0, 1, 0])
SUBSETS = torch.tensor([[0.0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]])


class FixedTrunk(Trunk):
    """A trunk that no training changes: the mean colours of the four quarters of a clip."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(), 12)
        self.there = nn.Parameter(torch.zeros(1), requires_grad=False)

    def _features(self, clips: Tensor) -> Tensor:
        quarters = nn.functional.adaptive_avg_pool3d(clips, (1, 2, 2))
        return 3 * quarters.flatten(1)[:, :, None, None, None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


def both(
    source: ClipSource, fresh: bool
) -> tuple[CompositingEnvironment, FrozenEnvironment, PairBatch]:
    """An environment on clips, one on their features, and a batch of both."""
    torch.manual_seed(4)
    network = VideoNetwork("fixed", FixedTrunk(), 3)
    by_class = [[row for row in range(9) if row % 3 == c] for c in range(3)]
    matches = (ClassMatch(0, 1, 0.5), ClassMatch(1, 2, 0.5), ClassMatch(2, 0, 0.5))
    table, vectors = FrozenFeatures(torch.randn(12, 5)), torch.eye(3)[torch.arange(12) % 3]
    head = LinearHead(
        network.head.weight.detach().double(), network.head.bias.detach().double(), 1, 0, 0, 0
    )
    stage = StageOneSettings(environment_lr=0.5, fresh_head=fresh)
    on_clips = CompositingEnvironment(
        network, source, Pool(by_class, by_class, matches), table, vectors,
        ValidationRows(VALIDATION, RECORDINGS), stage, ClassifierSettings(),
    )  # fmt: skip
    batches = (on_clips.sample(6, torch.Generator().manual_seed(seed)) for seed in range(99))
    batch = next(batch for batch in batches if len(batch.rows.unique(dim=0)) == 6)
    made, real = on_clips._composites(batch), source.real(VALIDATION)
    with torch.no_grad():
        own, val = (network.trunk(network.to_input(part.clips)) for part in (made, real))
    on_features = FrozenEnvironment(
        DrawnPairs(batch.rows, own[:, None], made.labels[:, None]),
        MeasuredClips(val, real.labels, torch.from_numpy(RECORDINGS)),
        table, vectors, torch.from_numpy(source.labels), 0.5, None if fresh else head,
    )  # fmt: skip
    return on_clips, on_features, batch


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("roll_back", [True, False])
def test_it_is_the_environment_on_clips_with_a_fixed_trunk(
    source: ClipSource, fresh: bool, roll_back: bool
) -> None:
    on_clips, on_features, batch = both(source, fresh)
    wanted = Measurements(before=True, credit=True, roll_back=roll_back)
    for subsets in (SUBSETS, torch.ones(1, 6), SUBSETS[1:]):
        one, other = (each.step(batch, subsets, wanted) for each in (on_clips, on_features))
        assert torch.allclose(one.after, other.after, atol=1e-5)
        assert one.before == pytest.approx(other.before, abs=1e-5)
        assert one.credit is not None
        assert other.credit is not None
        assert torch.allclose(one.credit, other.credit, atol=1e-5)
        assert one.credit.abs().max() > 1e-2
        matrices = [each.credit_matrix(batch) for each in (on_clips, on_features)]
        assert matrices[0].shape == (6, 2)
        assert torch.allclose(*matrices, atol=1e-5)
    for each in (on_clips, on_features):
        each.restart()
    again = [each.step(batch, SUBSETS, wanted).after for each in (on_clips, on_features)]
    assert torch.allclose(*again, atol=1e-5)


def world(
    pairs: int = 60, views: int = 2, credit: Tensor | None = None, width: int = 8
) -> FrozenEnvironment:
    """40 videos of 4 classes in groups of two; the pairs' views differ a little."""
    draw = torch.Generator().manual_seed(3)
    classes = torch.arange(40) % 4
    means = 3 * torch.randn(4, width, generator=draw)
    rows = torch.from_numpy(draw_pairs(Listed(), pairs, 0))
    own = means[classes[rows[:, 0]]][:, None] + torch.randn(pairs, views, width, generator=draw)
    labels = nn.functional.one_hot(classes[rows[:, 0]], 4).float()[:, None].expand(-1, views, -1)
    val = torch.arange(20) % 4
    clips = MeasuredClips(
        means[val] + torch.randn(20, width, generator=draw),
        nn.functional.one_hot(val, 4).float(), torch.arange(20) // 2,
    )  # fmt: skip
    return FrozenEnvironment(
        DrawnPairs(rows, own, labels), clips, FrozenFeatures(torch.randn(40, 5, generator=draw)),
        nn.functional.one_hot(classes, 4).float(), classes, 0.1, credit=credit,
    )  # fmt: skip


class Listed:
    """Every video on every other."""

    def __len__(self) -> int:
        return 40 * 39

    def pairs(self, indices: np.ndarray, /) -> np.ndarray:
        rows, columns = np.divmod(indices, 39)
        return np.stack([rows, columns + (columns >= rows)], axis=1)


def test_pairs_are_drawn_once_each_and_by_the_seed() -> None:
    found = draw_pairs(Listed(), 300, 1)
    assert len(np.unique(found, axis=0)) == 300
    assert np.array_equal(found, draw_pairs(Listed(), 300, 1))
    assert not np.array_equal(found, draw_pairs(Listed(), 300, 2))
    assert len(draw_pairs(Listed(), 9999, 1)) == 40 * 39


def test_a_sample_carries_what_belongs_to_its_rows() -> None:
    environment = world()
    batch = environment.sample(500, torch.Generator().manual_seed(2))
    aside = environment.sample_aside(99, torch.Generator().manual_seed(2))
    drawn = {tuple(pair) for pair in environment._drawn.rows.tolist()}
    assert aside is not None
    used, kept = ({tuple(pair) for pair in part.rows.tolist()} for part in (batch, aside))
    assert used | kept == drawn
    assert not used & kept
    assert len(kept) == len(aside.rows) == 12
    assert torch.equal(environment._drawn.rows[environment._places(batch)], batch.rows)
    assert torch.equal(batch.classes, batch.rows % 4)
    assert batch.labels_b.argmax(1).equal(batch.rows[:, 1] % 4)


def test_a_credit_is_the_mean_over_the_views() -> None:
    environment = world(views=3)
    batch = environment.sample(30, torch.Generator().manual_seed(2))
    found = environment.credit_matrix(batch)
    parts = []
    for view in range(3):
        own = environment._drawn
        alone = world(views=3)
        alone.__init__(  # type: ignore[misc]
            DrawnPairs(own.rows, own.features[:, [view]], own.labels[:, [view]]),
            environment._validation, environment._features, environment._vectors,
            environment._classes, 0.1,
        )  # fmt: skip
        parts.append(alone.credit_matrix(batch))
    assert torch.allclose(found, torch.stack(parts).mean(0), atol=1e-6)


def test_a_credit_that_was_measured_before_is_the_one_that_counts() -> None:
    table = torch.randn(60, 10, generator=torch.Generator().manual_seed(1))
    environment = world(credit=table)
    batch = environment.sample(9, torch.Generator().manual_seed(2))
    places = environment._places(batch)
    result = environment.step(batch, torch.ones(1, 9), Measurements(credit=True))
    assert result.credit is not None
    assert torch.equal(result.credit, table[places].sum(1))
    # As one number: what halves of these recordings say is no measure of it.
    assert torch.equal(environment.credit_matrix(batch), table[places].sum(1, keepdim=True))


@pytest.mark.parametrize("reward", ["credit", "counterfactual", "moving-average"])
def test_every_reward_trains_on_it(reward: str) -> None:
    steps = ReinforceSettings(
        reward=reward,
        selector_steps=12,
        selector_batch=16,
        checkpoint_every=4,
        settle=1.0,  # type: ignore[arg-type]
    )
    figures: list[dict[str, float]] = []
    selector = new_selector(SelectorConfig(5, 4, "one-hot", (8,)), 0)
    report = train_selector(
        selector, world(), steps, 0, log=lambda step, found: figures.append(found)
    )
    credited = reward == "credit"  # of a reward of subsets, credit would say nothing
    found = report.verdict.reliability
    assert (found.recordings if found else None) == (10 if credited else None)
    assert (report.verdict.aside > 0) == credited
    assert ["reliability" in one for one in figures] == [False, False, False, credited] * 3


def test_every_background_is_trained_on_where_pools_stand_in_order() -> None:
    """Ten foregrounds with the same five partners each: every fifth pair is always one partner."""
    pairs = torch.tensor([(f, 10 + b) for f in range(10) for b in range(5)])
    used = pairs[~torch.from_numpy(fifth_aside(pairs.numpy()))]
    assert len(used) == 40
    assert set(used[:, 1].tolist()) == set(range(10, 15))


def test_noise_that_training_memorises_is_no_signal() -> None:
    """Most pairs are drawn again and again, a few never: ω knows the noise of most by heart."""
    noise = torch.randn(60, 1, generator=torch.Generator().manual_seed(1))
    steps = ReinforceSettings(selector_steps=150, selector_batch=48, selector_lr=3e-3, settle=1.0)
    figures: list[dict[str, float]] = []
    selector = new_selector(SelectorConfig(5, 4, "one-hot", (64,)), 0)
    verdict = train_selector(
        selector, world(credit=noise), steps, 0, log=lambda step, found: figures.append(found)
    ).verdict
    assert figures[-1]["credit_correlation"] > 0.5
    assert verdict.aside == 12
    assert verdict.explained is not None
    assert abs(verdict.explained) < 2 * verdict.chance
    assert verdict.found is False
    assert f"of the credit of {verdict.aside} pairs that training never drew" in str(verdict)


# Cross-fitting.


@given(st.integers(0, 999), st.integers(4, 7), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_recording_lies_in_one_fold_and_folds_are_even(
    seed: int, folds: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    recordings = rng.integers(0, 30, 90)
    labels = recordings % classes
    found = deal_folds(recordings, labels, folds, seed)
    for recording in np.unique(recordings):
        assert len(set(found[recordings == recording].tolist())) == 1
    largest = np.bincount(recordings).max()
    for label in range(classes):
        held = np.bincount(found[labels == label], minlength=folds)
        assert np.ptp(held) <= largest
    assert set(found.tolist()) == set(range(folds))


def test_fewer_recordings_than_folds_are_refused() -> None:
    with pytest.raises(InputError, match="reward_folds is 5 and there are 3 recordings"):
        deal_folds(np.array([0, 0, 1, 2]), np.zeros(4, np.int64), 5, 0)
    with pytest.raises(InputError, match="into folds; leave --reward-folds out"):
        refuse_few(5, 3)
    with pytest.raises(
        InputError,
        match="as this run keeps its settings, give --reward-folds 6 or less, or leave "
        "--reward-folds out, with another --out and --layers L --bank B, so",
    ):
        refuse_few(9, 6, "another --out and --layers L --bank B")
    refuse_few(4, 4)


def folded(folds: int = 5) -> tuple[FoldedClips, DrawnPairs, Tensor]:
    """40 clips whose first feature is their number, in 20 recordings; all pairs of 12 of them."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    recordings = torch.arange(40) // 2
    features = torch.randn(40, 6, generator=draw) + 2 * nn.functional.one_hot(labels, 6)
    features[:, 0] = torch.arange(40)
    of_clip = torch.from_numpy(deal_folds(recordings.numpy(), labels.numpy(), folds, 0))
    clips = MeasuredClips(features, nn.functional.one_hot(labels, 3).float(), recordings)
    views = torch.stack([features, features + 0.1 * torch.randn(40, 6, generator=draw)], 1)
    views[:, :, 0] = features[:, :1]
    rows = torch.tensor([(f, b) for f in range(12) for b in range(12) if f != b])
    made = (features[rows[:, 0]] + features[rows[:, 1]])[:, None] / 2
    pairs = DrawnPairs(rows, made, clips.labels[rows[:, 0]][:, None])
    return FoldedClips(clips, views, of_clip), pairs, of_clip[rows]


def test_no_pair_is_scored_by_a_head_or_a_fold_that_holds_one_of_its_videos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, pairs, pair_folds = folded()
    log: list[tuple[set[int], set[int], Tensor]] = []
    fitted: dict[int, set[int]] = {}
    fit, measure = crossfit.fit_head, crossfit.credit_by_recording

    def watched_fit(features: Tensor, labels: Tensor, l2: float) -> LinearHead:
        head = fit(features, labels, l2)
        fitted[id(head)] = set(features[:, 0].int().tolist())
        kept.append(head)
        return head

    def watched_without(self: crossfit._Heads, folds: frozenset[int]) -> LinearHead:
        used.append(without(self, folds))
        return used[-1]

    def watched_measure(probabilities: Tensor, targets: Tensor, *rest: Tensor, **more: bool):  # type: ignore[no-untyped-def]
        parts = measure(probabilities, targets, *rest, **more)
        log.append((fitted[id(used[-1])], set(rest[1].tolist()), parts))
        return parts

    kept: list[LinearHead] = []
    used: list[LinearHead] = []
    without = crossfit._Heads.without
    monkeypatch.setattr(crossfit, "fit_head", watched_fit)
    monkeypatch.setattr(crossfit._Heads, "without", watched_without)
    monkeypatch.setattr(crossfit, "credit_by_recording", watched_measure)
    credit = crossfit_credit(real, pairs, pair_folds, 0.1)

    folds, in_order = real.folds, pair_folds.sort(dim=1).values
    turn = iter(log)
    for together in in_order.unique(dim=0):
        own = (in_order == together).all(dim=1)
        videos = set(pairs.rows[own].flatten().tolist())
        for fold in range(5):
            if fold in together.tolist():
                continue
            seen, measured, _ = next(turn)
            assert not seen & videos
            recordings = {row // 2 for row in videos}
            assert not measured & recordings
            assert not {row // 2 for row in seen} & (recordings | measured)
            excluded = {*together.tolist(), fold}
            assert seen == {row for row in range(40) if int(folds[row]) not in excluded}
    assert next(turn, None) is None
    # A pair has credit from every recording outside its videos' folds, and from no other.
    fold_of_recording = folds[::2]
    for pair, own in zip(credit, pair_folds, strict=True):
        assert torch.equal(pair != 0, ~torch.isin(fold_of_recording, own))
    assert len(kept) <= 10 + 10


def test_a_crossfitted_credit_by_hand() -> None:
    real, pairs, pair_folds = folded(4)
    credit = crossfit_credit(real, pairs, pair_folds, 0.1)
    where = 7
    own = set(pair_folds[where].tolist())
    outside = ~torch.isin(real.folds, torch.tensor(sorted(own)))
    clips, expected = real.clips, torch.zeros(20)
    mean, spread = (clips.features[outside].mean(0), clips.features[outside].std(0, correction=0))
    for fold in set(range(4)) - own:
        rest = outside & (real.folds != fold)
        head = crossfit.fit_head(
            real.views[rest].flatten(0, 1), clips.labels[rest].repeat_interleave(2, 0), 0.1
        )
        composite = pairs.features[where, 0]
        push = head.logits(composite).softmax(0) - pairs.labels[where, 0]
        for clip in torch.nonzero(real.folds == fold).flatten().tolist():
            error = head.logits(clips.features[clip]).softmax(0) - clips.labels[clip]
            inner = ((clips.features[clip] - mean) / spread) @ ((composite - mean) / spread) + 1
            expected[clip // 2] += float(error @ push * inner) / int(outside.sum())
    assert torch.allclose(credit[where], expected, atol=1e-5)


def test_halves_of_a_crossfitted_credit_disagree_where_there_is_nothing_to_agree_on() -> None:
    rng = torch.Generator().manual_seed(0)
    count, dim, classes, pairs = 90, 48, 3, 150
    labels = torch.eye(classes)[torch.randint(0, classes, (count + pairs,), generator=rng)]
    noise = torch.randn(count + pairs, dim, generator=rng)
    recordings = np.arange(count)
    folds = deal_folds(recordings, labels[:count].argmax(1).numpy(), 5, 0)
    clips = MeasuredClips(noise[:count], labels[:count], torch.from_numpy(recordings))
    real = FoldedClips(clips, noise[:count, None], torch.from_numpy(folds))
    rows = torch.zeros(pairs, 2, dtype=torch.int64)
    drawn = DrawnPairs(rows, noise[count:, None], labels[count:, None])
    pair_folds = torch.randint(0, 5, (pairs, 2), generator=rng)
    credit = crossfit_credit(real, drawn, pair_folds, 0.01)
    found = measure_reliability(credit, labels[count:].argmax(1))
    assert found is not None
    assert found.halves < -0.1
