"""What pairs are ranked by: the Selector's own logits, the same in any company."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from selector import score
from selector.network import SelectorConfig, new_selector
from selector.score import PairScorer, RandomScorer


def scorer(
    hidden: tuple[int, ...] = (48, 24, 8), precision: score.Precision = "float32"
) -> PairScorer:
    torch.manual_seed(0)
    selector = new_selector(SelectorConfig(6, 3, hidden=hidden), seed=0)
    features = torch.randn(40, 6)
    selector.fit_standardiser(features)
    return PairScorer(selector, features, torch.randn(40, 3), precision)


def all_pairs() -> np.ndarray:
    return np.ascontiguousarray(np.indices((40, 40)).reshape(2, -1).T)


def call(scorer: PairScorer, pairs: np.ndarray) -> Tensor:
    return scorer(np.arange(len(pairs)), pairs)


def plain(scorer: PairScorer, pairs: np.ndarray) -> Tensor:
    fore, back = torch.from_numpy(pairs).T
    features, labels = scorer._features, scorer._labels
    with torch.no_grad():
        found: Tensor = scorer.selector(features[fore], features[back], labels[fore], labels[back])
    return found


@pytest.mark.parametrize("hidden", [(48, 24, 8), (48,)])
def test_scores_are_those_of_the_network(hidden: tuple[int, ...]) -> None:
    here, pairs = scorer(hidden), all_pairs()
    found = call(here, pairs)
    assert found.dtype == torch.float32
    assert found.shape == (1600,)
    assert torch.allclose(found, plain(here, pairs), atol=1e-5)
    assert call(here, pairs[:0]).shape == (0,)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_pair_scores_the_same_to_the_last_bit_in_any_company(precision: score.Precision) -> None:
    torch.manual_seed(0)
    selector = new_selector(SelectorConfig(16, 4, hidden=(512, 256, 64)), seed=0)
    here = PairScorer(selector, torch.randn(40, 16), torch.randn(40, 4), precision)
    pairs = all_pairs()
    whole = call(here, pairs)
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 37, 700, 1023, 1500):
        some = rng.permutation(len(pairs))[:count]
        assert torch.equal(call(here, pairs[some]), whole[some])


def test_bfloat16_has_finer_logits_than_its_eight_bits_and_nearly_the_same_order() -> None:
    pairs = all_pairs()
    exact, rough = call(scorer(), pairs), call(scorer(precision="bfloat16"), pairs)
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, atol=0.05 * float(exact.std()) + 0.01)
    assert len(rough.unique()) > 1000  # as bfloat16 there would be some dozen
    best = [set(logits.argsort()[-160:].tolist()) for logits in (exact, rough)]
    assert len(best[0] & best[1]) > 140


def test_a_scorer_travels_without_what_it_computed() -> None:
    here, pairs = scorer(), all_pairs()
    before = len(pickle.dumps(here))
    expected = call(here, pairs)
    packed = pickle.dumps(here)
    assert len(packed) == before
    assert torch.equal(call(pickle.loads(packed), pairs), expected)  # noqa: S301
    assert torch.equal(call(here.on("cpu"), pairs), expected)
    assert not pickle.loads(packed).selector.training  # noqa: S301


def test_videos_are_projected_once_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_PROJECTED_AT_ONCE", 16)
    here, pairs = scorer(), all_pairs()
    sizes: list[int] = []
    project = here.selector.project

    def counted(features: Tensor, labels: Tensor, side: score.Side) -> Tensor:
        sizes.append(len(features))
        return project(features, labels, side)

    monkeypatch.setattr(here.selector, "project", counted)
    assert torch.allclose(call(here, pairs), plain(here, pairs), atol=1e-5)
    call(here, pairs)
    assert sizes == [16, 16, 8] * 2


def test_random_scores_are_a_shuffle_that_needs_no_memory() -> None:
    numbers = np.arange(100_000)
    found = RandomScorer(7)(numbers, np.empty((0, 2), np.int64))
    assert found.dtype == torch.float32
    assert float(found.min()) >= -1
    assert float(found.max()) <= 0
    assert torch.equal(RandomScorer(7)(numbers[50:60], np.empty((0, 2), np.int64)), found[50:60])
    assert not torch.equal(RandomScorer(8)(numbers, np.empty((0, 2), np.int64)), found)
    # Uniform: each tenth of the range holds a tenth, within five standard deviations.
    counts = torch.histc(found, 10, -1, 0)
    assert (counts - 10_000).abs().max() < 5 * 95
    # No trace of the order: neighbours are not alike.
    both = torch.stack([found[:-1], found[1:]])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.02


def test_splitmix_is_that_of_its_authors() -> None:
    # The first outputs for the seed 1234567, from the reference implementation.
    expected = np.array([6457827717110365317, 3203168211198807973, 9817491932198370423])
    found = RandomScorer(1234567)(np.array([1, 2, 3]), np.empty((0, 2), np.int64))
    assert np.allclose(found.numpy(), -(expected.astype(np.float64) / 2.0**64), rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_scores_alike_and_the_same_in_any_company(precision: score.Precision) -> None:
    here = scorer(precision=precision)
    there, pairs = here.on("cuda"), all_pairs()
    found = call(there, pairs)
    assert found.device.type == "cuda"
    tolerance = 1e-4 if precision == "float32" else 0.05
    assert torch.allclose(found.cpu(), call(here, pairs), atol=tolerance)
    assert torch.equal(call(there, pairs[5:50]), found[5:50])
