"""TRX against the authors' public implementation, and against numbers by hand.

The golden logits are those of `TemporalCrossTransformer` in few-shot-action-recognition (MIT,
github.com/tobyperrett, commit 3687f3a, `model.py`) for the same weights and inputs, computed in
float64 on a CPU, where the two agreed to 1e-14.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from train.few_shot.methods import FeatureShape, make_method
from train.few_shot.methods.trx import Trx, TupleTransformer, class_scores, position_code
from train.settings.few_shot_methods import TrxSettings

FRAMES, DIM, WIDTH, WAY = 5, 6, 4, 3
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 0])

PAIRS = [
    [-7.896672522299, -10.738213401587, -7.964258870189],
    [-8.395983267143, -10.447131884132, -7.837025455571],
    [-9.984172652329, -7.272811789455, -9.219249410678],
    [-7.908446331181, -11.119248262082, -8.015435288730],
]
TRIPLES = [
    [-23.916579223885, -24.291880152924, -23.882083073172],
    [-21.660310763718, -22.637734537840, -21.674819993837],
    [-21.900264328345, -20.732991702235, -21.737628314618],
    [-23.680967595992, -24.262974274847, -23.664349893600],
]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Everything is made in float64, as the golden numbers were."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def wave(*shape: int, start: int, scale: float = 1.0) -> Tensor:
    """Numbers that look like noise and are the same everywhere."""
    count = torch.Size(shape).numel()
    places = torch.arange(start, start + count, dtype=torch.float64)
    return scale * torch.sin(places * 0.7 + 0.1 * start).reshape(shape)


def filled(cardinalities: tuple[int, ...]) -> Trx:
    """TRX with the weights that the golden numbers are of, in evaluation mode."""
    settings = TrxSettings(trx_cardinalities=cardinalities, trx_dim=WIDTH)
    made = make_method("trx", FeatureShape(DIM, FRAMES, 1, 1, FRAMES), (settings,))
    assert isinstance(made, Trx)
    for cardinality, one in zip(cardinalities, made.transformers, strict=True):
        assert isinstance(one, TupleTransformer)
        weights = (one.k_linear.weight, one.k_linear.bias, one.v_linear.weight,
                   one.v_linear.bias, one.norm_k.weight, one.norm_k.bias)  # fmt: skip
        for number, weight in enumerate(weights):
            value = wave(*weight.shape, start=10 * cardinality + number, scale=0.5)
            with torch.no_grad():
                weight.copy_(value)
    made.eval()
    return made


def logits_of(method: Trx, dtype: torch.dtype = torch.float64) -> Tensor:
    support = wave(7, FRAMES, DIM, start=1).to(dtype)
    query = wave(4, FRAMES, DIM, start=9).to(dtype)
    with torch.no_grad():
        return method.to(dtype)(support, LABELS, query, WAY)


@pytest.mark.parametrize(
    ("cardinalities", "golden"),
    [
        ((2,), torch.tensor(PAIRS, dtype=torch.float64)),
        ((3,), torch.tensor(TRIPLES, dtype=torch.float64)),
        ((2, 3), torch.tensor([PAIRS, TRIPLES], dtype=torch.float64).mean(0)),
    ],
)
def test_logits_are_those_of_the_public_implementation(
    cardinalities: tuple[int, ...], golden: Tensor
) -> None:
    found = logits_of(filled(cardinalities))
    torch.testing.assert_close(found, golden, rtol=0, atol=1e-9)
    single = logits_of(filled(cardinalities), torch.float32)
    torch.testing.assert_close(single.double(), golden, rtol=1e-6, atol=0)


def test_tuples_are_all_frames_in_their_order() -> None:
    pairs, triples = (TupleTransformer(8, DIM, cardinality, WIDTH) for cardinality in (2, 3))
    assert pairs.tuples.shape == (28, 2)
    assert triples.tuples.shape == (56, 3)
    assert (pairs.tuples[:, 0] < pairs.tuples[:, 1]).all()
    codes = filled((2, 3)).encode(wave(7, FRAMES, DIM, start=1))
    assert codes.shape == (7, 10 + 10, 2 * WIDTH)


def test_one_class_by_hand() -> None:
    """With keys of zero every tuple of every shot is asked alike: a prototype is their mean."""
    # Two tuples, keys and values of one number each; class 0 has two shots, class 1 one.
    support = torch.tensor([[[0.0, 1.0], [0.0, 3.0]], [[0.0, 5.0], [0.0, 7.0]],
                            [[0.0, 0.0], [0.0, 2.0]]])  # fmt: skip
    query = torch.tensor([[[2.0, 4.0], [2.0, 1.0]]])
    found = class_scores(support, torch.tensor([0, 0, 1]), query, 3)
    # Prototypes 4 and 1, distances (0 + 9) / 2 and (9 + 0) / 2.
    assert found.tolist() == [[-4.5, -4.5, -math.inf]]
    # A key that agrees takes part by softmax(2 · k) over the class: e², 1, 1, 1.
    support[0, 0, 0] = 1.0
    share = math.exp(2) / (math.exp(2) + 3)
    prototype = share * 1 + (1 - share) / 3 * (3 + 5 + 7)
    expected = -((4 - prototype) ** 2 + (1 - prototype) ** 2) / 2
    found = class_scores(support, torch.tensor([0, 0, 1]), query, 3)
    assert found[0, 0].item() == pytest.approx(expected, rel=1e-12)


def test_the_position_code_by_hand() -> None:
    code = position_code(3, 4)
    rate = 1 / 100  # 10,000 to the power of -2/4
    expected = [0.1 * math.sin(2), 0.1 * math.cos(2), 0.1 * math.sin(2 * rate),
                0.1 * math.cos(2 * rate)]  # fmt: skip
    assert code[2].tolist() == pytest.approx(expected, rel=1e-12)
    assert code[0].tolist() == [0, 0.1, 0, 0.1]
    assert position_code(3, 5).shape == (3, 5)


def test_the_loss_is_summed_over_queries_or_averaged() -> None:
    logits = wave(4, WAY, start=3)
    labels = torch.tensor([0, 1, 2, 0])
    shape = FeatureShape(DIM, FRAMES, 1, 1, FRAMES)
    losses = {
        kind: make_method("trx", shape, (TrxSettings(trx_dim=4, trx_loss=kind),)).loss(
            logits, labels
        )
        for kind in ("sum", "mean")
    }
    by_hand = -sum(
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    assert losses["sum"].item() == pytest.approx(by_hand)
    assert losses["mean"].item() == pytest.approx(by_hand / 4)


def test_dropout_is_of_training_alone() -> None:
    method = filled((2, 3))
    first = logits_of(method)
    assert logits_of(method).equal(first)
    method.train()
    assert isinstance(method._dropout, nn.Dropout)
    assert method._dropout.p == 0.1
    assert not logits_of(method).equal(first)
