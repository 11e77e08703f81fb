"""The linear head on frozen features: a convex problem, solved to its one optimum.

    min over W, b:  1/n Σ wᵢ · CE(softmax(W x̃ᵢ + b), yᵢ) + l2/2 · ‖W‖²,   x̃ = (x − μ) / s

Labels are soft, the bias is not penalised, μ and s are the (weighted) mean of the features and one
scale for all of them, such that the mean of ‖x̃‖² is 1: so a strength means the same for networks of
any width and scale. W and b are then folded back to the features as they came.

The optimum depends on no seed, no start and no order of the clips: what differs between two heads
is what they were fitted to.

For speed the features are turned to their principal axes, which loses nothing (the best W lies in
their span), and each axis is scaled by the curvature of the loss along it. At a point where clip i
has probabilities pᵢ the Hessian is Σ wᵢ (diag pᵢ − pᵢ pᵢᵀ) ⊗ x̃ᵢ x̃ᵢᵀ (Böhning 1992, "Multinomial
logistic regression algorithm"); taken as if p and x̃ had nothing to do with each other, and classes
were alike, it is κ times the variance of the axis, where κ = mean (1 − ‖pᵢ‖²) / (C − 1), which is
1 / C at W = 0. L-BFGS (`torch.optim`, strong Wolfe) then takes a few dozen steps.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import L2AError
from l2a.networks import VideoNetwork

STRENGTHS: tuple[float, ...] = tuple(10 ** (-step / 2) for step in range(10))
"""The strengths that are tried, strongest first: from 1 to 3.2e-5, two a decade."""

TOLERANCE = 1e-6
"""The gradient's norm at the optimum, as a share of its norm at W = 0, b = 0."""

HEADS_FILE = "heads.safetensors"
"""The heads of the draws of an arm, in the arm's folder."""

_AIM = 0.5 * TOLERANCE
"""Where the search stops: a little further than it must, for rounding when axes are turned back."""

_MOST_STEPS = 4_000
_PATIENCE = 2
"""Strengths in a row that are worse than the best, after which no weaker one is tried."""

_LEAST_VARIANCE = 1e-14
"""An axis that carries less of the features' variance than this share is rounding, and no axis."""

_LEAST_CURVATURE = 1e-4
"""Of a start that is sure of every clip: elsewhere the loss is more curved than there."""

_ROUNDING = 1e-12
"""Features that differ by less than this share of their size are all the same."""


@dataclass(frozen=True)
class LinearHead:
    """A fitted last layer.

    Attributes:
        weight: float64 `[C, D]`, for features as the trunk gives them.
        bias: float64 `[C]`.
        l2: the strength that it was fitted with.
        loss: what was minimised, at the end: nats, with the penalty; None where that was no
            convex problem.
        gradient_norm: of the loss at the end, as a share of its norm at W = 0, b = 0; likewise.
        steps: evaluations of loss and gradient.
    """

    weight: Tensor
    bias: Tensor
    l2: float
    loss: float | None
    gradient_norm: float | None
    steps: int

    def logits(self, features: Tensor) -> Tensor:
        """Logits float64 `[..., C]` of features `[..., D]`."""
        return features.double() @ self.weight.T + self.bias

    @torch.no_grad()
    def put_into(self, network: VideoNetwork) -> None:
        """Make it the network's last layer, in the network's precision and on its device."""
        network.head.weight.copy_(self.weight)
        network.head.bias.copy_(self.bias)


class HeadProblem:
    """Features and labels, ready to be fitted at any strength."""

    def __init__(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """
        Args:
            features: `[n, D]`, finite.
            labels: `[n, C]`, rows sum to 1.
            weights: `[n]`, 0 or more, brought to a sum of n; a clip of weight 2 counts as two of
                weight 1. All 1 if not given.

        Raises:
            L2AError: a feature is not finite, or no clip has a weight.
        """
        count = len(features)
        weights = torch.ones(count) if weights is None else weights
        used = weights > 0
        if not used.any():
            raise L2AError("A head cannot be fitted to no clips.")
        features = features[used].double()
        if not features.isfinite().all():
            raise L2AError(
                "The frozen trunk gives features that are not finite; give it other weights."
            )
        self._share = weights[used].double() / weights.double().sum()
        labels = labels[used].double()
        self._labels = labels / labels.sum(1, keepdim=True)  # float32 rows sum to 1 but for 1e-7
        self._mean = self._share @ features
        centred = features - self._mean
        scale = (self._share @ centred.square().sum(1)).sqrt()
        flat = scale <= _ROUNDING * features.abs().max()
        self._scale = torch.ones_like(scale) if flat else scale
        self._features = torch.zeros_like(centred) if flat else centred / scale

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Principal axes float64 `[D, r]`, the variance `[r]` along each, coordinates `[n, r]`."""
        rooted = self._features * self._share.sqrt()[:, None]
        count, width = rooted.shape
        gram = rooted @ rooted.T if count < width else rooted.T @ rooted
        variances, vectors = torch.linalg.eigh(gram)
        kept = variances > max(_LEAST_VARIANCE, _LEAST_VARIANCE * float(variances[-1]))
        variances, vectors = variances[kept], vectors[:, kept]
        if count < width:
            vectors = rooted.T @ (vectors / variances.sqrt())
        return vectors, variances, self._features @ vectors

    def fit(self, l2: float, start: LinearHead | None = None) -> LinearHead:
        """The optimum at one strength.

        Args:
            l2: the strength, above 0.
            start: where to begin; the optimum does not depend on it, the steps do.

        Raises:
            L2AError: the optimum was not reached, which means that the features are degenerate.
        """
        if not 0 < l2 < float("inf"):
            raise ValueError(f"l2 is {l2}; it must be above 0")
        axes, variances, coordinates = self._axes
        classes = self._labels.shape[1]
        weight = torch.zeros(classes, len(variances), dtype=torch.float64)
        bias = weight.new_zeros(classes)
        if start is not None:
            weight = (self._scale * start.weight) @ axes
            bias = start.bias + start.weight @ self._mean
        curvature = self._curvature(coordinates @ weight.T + bias)
        units, of_bias = (curvature * variances + l2).rsqrt(), curvature**-0.5
        point = torch.cat([weight / units, (bias / of_bias)[:, None]], dim=1)
        scaled = coordinates * units
        lengths = l2 * units.square()
        best = nn.Parameter(point)
        aim = _AIM * self._steepest

        def evaluate() -> tuple[Tensor, bool]:
            loss, push = cross_entropy(
                scaled @ best.data[:, :-1].T + best.data[:, -1] * of_bias, self._labels, self._share
            )
            gradient = torch.empty_like(best)
            gradient[:, :-1] = push.T @ scaled + best.data[:, :-1] * lengths
            gradient[:, -1] = push.sum(0) * of_bias
            best.grad = gradient
            loss = loss + (best.data[:, :-1].square() * lengths).sum() / 2
            return loss, _norm(gradient[:, :-1] / units, gradient[:, -1] / of_bias) < aim

        steps = _minimise(best, evaluate)
        found = best.data
        weight, bias = (found[:, :-1] * units) @ axes.T, found[:, -1] * of_bias
        bias -= bias.mean()  # what all classes share says nothing: without it the optimum is one
        loss, left = self._at(weight, bias, l2)
        left /= self._steepest
        if not left < TOLERANCE:
            raise L2AError(
                f"The head on frozen features was not found (gradient {left:.1e} after {steps} "
                f"steps at l2 {l2:g}); give --l2 a larger value."
            )
        folded = weight / self._scale
        return LinearHead(folded, bias - folded @ self._mean, l2, loss, left, steps)

    def _curvature(self, logits: Tensor) -> float:
        """κ: how curved the loss is along an axis of variance 1, on average, at these logits."""
        classes = logits.shape[1]
        spread = float(self._share @ (1 - logits.softmax(1).square().sum(1)))
        return max(spread / max(classes - 1, 1), _LEAST_CURVATURE)

    @cached_property
    def _steepest(self) -> float:
        """The gradient's norm at W = 0, b = 0; 1 where that is the optimum already."""
        classes = self._labels.shape[1]
        weight = torch.zeros(classes, self._features.shape[1], dtype=torch.float64)
        steepest = self._at(weight, weight[:, 0], 0)[1]
        return steepest if steepest > _LEAST_VARIANCE else 1.0

    def _at(self, weight: Tensor, bias: Tensor, l2: float) -> tuple[float, float]:
        """Loss, and the norm of its gradient, of a head on the standardised features."""
        loss, push = cross_entropy(self._features @ weight.T + bias, self._labels, self._share)
        gradient = _norm(push.T @ self._features + l2 * weight, push.sum(0))
        return float(loss + l2 / 2 * weight.square().sum()), gradient


def cross_entropy(logits: Tensor, labels: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of soft labels, and its gradient.

    Args:
        logits: float64 `[n, C]`.
        labels: float64 `[n, C]`, rows sum to 1.
        shares: float64 `[n]`, the weight of each clip; they sum to 1.

    Returns:
        The loss in nats, and its gradient by the logits, float64 `[n, C]`.
    """
    logs = logits.log_softmax(1)
    loss = -(shares @ (labels * logs).sum(1))
    return loss, shares[:, None] * (logs.exp() - labels)


def fit_head(
    features: Tensor,
    labels: Tensor,
    l2: float,
    weights: Tensor | None = None,
    start: LinearHead | None = None,
) -> LinearHead:
    """The best head for features and soft labels; see `HeadProblem` and its `fit`."""
    return HeadProblem(features, labels, weights).fit(l2, start)


def fit_heads(
    problems: Sequence[HeadProblem], l2: float, starts: Sequence[LinearHead | None]
) -> tuple[LinearHead, ...]:
    """The optima of several problems at one strength, side by side.

    The products of one problem are too small for several threads to gain much. Each problem is
    fitted on one, so that a head does not depend on how many there are.

    Args:
        problems: such as draws of pairs.
        l2: the strength.
        starts: where each begins; see `HeadProblem.fit`.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(
        threads, "head", initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        return tuple(pool.map(lambda problem, start: problem.fit(l2, start), problems, starts))


@dataclass(frozen=True)
class Strength:
    """A strength that was chosen.

    Attributes:
        l2: the chosen one.
        losses: tried strength ─► mean cross-entropy on validation, in nats.
        heads: of the chosen strength, one a problem.
    """

    l2: float
    losses: dict[float, float]
    heads: tuple[LinearHead, ...]


def choose_l2(
    problems: Sequence[HeadProblem],
    features: Tensor,
    labels: Tensor,
    strengths: Sequence[float] = STRENGTHS,
) -> Strength:
    """The strength whose heads have the lowest loss on validation clips.

    The loss has one valley for all that we have seen, and the weak strengths beyond it take the
    most steps: they are not tried once `_PATIENCE` in a row were worse than the best.

    Args:
        problems: one or several, such as draws of pairs; one strength serves them all.
        features: of the validation clips, `[m, D]`, m ≥ 1.
        labels: theirs, `[m, C]`, rows sum to 1.
        strengths: tried from strong to weak, each from the optimum before it. Of two that are as
            good the stronger one is taken.
    """
    losses: dict[float, float] = {}
    chosen: tuple[LinearHead, ...] = ()
    worse = 0
    heads: Sequence[LinearHead | None] = [None] * len(problems)
    for l2 in sorted(set(strengths), reverse=True):
        heads, loss = _fit_all(problems, features, labels, l2, heads)
        if not losses or loss < min(losses.values()):
            chosen, worse = heads, 0
        else:
            worse += 1
        losses[l2] = loss
        if worse == _PATIENCE:
            break
    return Strength(min(losses, key=lambda l2: losses[l2]), losses, chosen)


def walk_l2(
    problems: Sequence[HeadProblem], features: Tensor, labels: Tensor, start: float
) -> Strength:
    """The strength from which the loss on validation clips rises to both sides.

    The loss has one valley for all that we have seen, and weak strengths take the most time: from
    a good start three are tried, where `choose_l2` tries up to ten.

    Args:
        problems, features, labels: as for `choose_l2`.
        start: one of `STRENGTHS`, or the nearest of them is taken.
    """
    tried: dict[int, tuple[tuple[LinearHead, ...], float]] = {}

    def loss(place: int, starts: Sequence[LinearHead | None]) -> float:
        if place not in tried:
            tried[place] = _fit_all(problems, features, labels, STRENGTHS[place], starts)
        return tried[place][1]

    place = min(range(len(STRENGTHS)), key=lambda one: abs(math.log(STRENGTHS[one] / start)))
    best = loss(place, [None] * len(problems))
    for step in (-1, 1):
        while 0 <= place + step < len(STRENGTHS):
            if loss(place + step, tried[place][0]) >= best:
                break
            place += step
            best = tried[place][1]
    losses = {STRENGTHS[one]: found for one, (_, found) in tried.items()}
    return Strength(STRENGTHS[place], losses, tried[place][0])


def _fit_all(
    problems: Sequence[HeadProblem],
    features: Tensor,
    labels: Tensor,
    l2: float,
    starts: Sequence[LinearHead | None],
) -> tuple[tuple[LinearHead, ...], float]:
    """The heads of one strength, and their mean loss on validation clips."""
    shares = torch.full((len(features),), 1 / len(features), dtype=torch.float64)
    heads = fit_heads(problems, l2, starts)
    each = [cross_entropy(head.logits(features), labels.double(), shares)[0] for head in heads]
    return heads, float(torch.stack(each).mean())


def save_heads(path: Path, heads: Sequence[LinearHead]) -> None:
    """Write the heads of several draws."""
    tensors = {
        "weight": torch.stack([head.weight for head in heads]),
        "bias": torch.stack([head.bias for head in heads]),
    }
    facts = [
        {"l2": h.l2, "loss": h.loss, "gradient_norm": h.gradient_norm, "steps": h.steps}
        for h in heads
    ]
    save_tensors(path, tensors, facts)


def load_heads(path: Path) -> list[LinearHead]:
    """Read what `save_heads` wrote."""
    tensors, facts = load_tensors(path)
    return [
        LinearHead(weight, bias, **known)
        for weight, bias, known in zip(tensors["weight"], tensors["bias"], facts, strict=True)
    ]


class _Reached(Exception):
    """The point that was just evaluated is good enough."""


def _minimise(point: nn.Parameter, evaluate: Callable[[], tuple[Tensor, bool]]) -> int:
    """L-BFGS from `point` on, until an evaluated point is good enough or nothing more is gained.

    It stops in the middle of a line search where it can: so near the optimum the loss changes in
    its last digits only, and a search by the loss would go on in vain.

    Args:
        point: is moved to the optimum.
        evaluate: sets its gradient; returns the loss, and whether the point is good enough.

    Returns:
        The evaluations.
    """
    optimizer = torch.optim.LBFGS(
        [point], max_iter=_MOST_STEPS, max_eval=_MOST_STEPS, tolerance_grad=0, tolerance_change=0,
        history_size=30, line_search_fn="strong_wolfe",
    )  # fmt: skip
    steps = 0

    def closure() -> Tensor:
        nonlocal steps
        steps += 1
        loss, reached = evaluate()
        if reached:
            raise _Reached
        return loss

    with contextlib.suppress(_Reached):
        optimizer.step(closure)
    return steps


def _norm(*parts: Tensor) -> float:
    """The Euclidean norm of several tensors as one vector."""
    return float(torch.stack([part.norm() for part in parts]).norm())
