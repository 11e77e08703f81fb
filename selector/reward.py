"""What a Selector's action is worth, and the loss that follows: pure functions.

Learn2Augment Eq. 2-6 have two misprints, corrected here:

- Eq. 2 prints the reward as validation loss − δ and maximises it, which would reward pairs that
  RAISE the loss, against the text. We take δ − loss.
- Eq. 6 prints δ_t = (S−1)/S · δ_{t−1} + loss, whose limit is S times the loss and so no average.
  We take loss/S. It also prints f_θ; the loss is the classifier's, f_φ.

The counterfactual reward is the paper's without its moving average: the loss before a step is what
the loss after it is compared with.

The credit per pair is ours. With a reward for the subset every pair of a batch shares one number,
and a hundred coin flips hide each other's effect; a gradient tells them apart at once.

`REWARDS` puts them behind one Protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from selector.environment import Measurements, PairBatch, StepResult
from selector.settings import ReinforceSettings, RewardName

PRIOR_PAIRS = 1.0
"""How many pairs the mean of all counts for, next to the pairs of the class in the batch."""


def update_baseline(delta: float | None, loss: float, window: int = 5) -> float:
    """The moving average δ after a step (Eq. 6, corrected): (S−1)/S · δ + loss/S.

    Args:
        delta: δ before the step; None before the first one, which starts it at its own loss.
        loss: the validation loss after the step.
        window: S, the paper's 5.
    """
    return loss if delta is None else (window - 1) / window * delta + loss / window


def moving_average_reward(loss: float, delta: float | None) -> float:
    """The reward of a subset (Eq. 2, corrected): δ − loss, positive when the loss fell below δ.

    The first step has nothing to be compared with and gets 0.
    """
    return 0.0 if delta is None else delta - loss


def counterfactual_reward(before: float, after: Tensor) -> Tensor:
    """How far each subset's step lowered the validation loss, against the other subsets tried.

    Args:
        before: the validation loss before the step.
        after: float [M], the loss after a step on each of M subsets, all from the same classifier.

    Returns:
        float [M]: before − after, and for M > 1 minus the mean of the other M − 1 (the
        leave-one-out baseline of Kool et al., 2019, which leaves the gradient unbiased).
    """
    gain = before - after
    if len(gain) == 1:
        return gain
    return (gain - gain.mean()) * len(gain) / (len(gain) - 1)


def last_layer_credit(
    val_probabilities: Tensor,
    val_targets: Tensor,
    val_features: Tensor,
    probabilities: Tensor,
    targets: Tensor,
    features: Tensor,
    standardise: bool = True,
) -> Tensor:
    """How far a step of the last layer on each composite alone would lower the validation loss.

    With cross-entropy on softmax(W h + b), the gradient of one clip's loss in [W, b] is
    (p − y) ⊗ [h; 1]. A small step −η·grad_i changes the validation loss by −η·⟨grad_val, grad_i⟩
    to first order in η, so the inner product is the credit:

        credit_i = ⟨ mean_j (p_j − y_j) ⊗ [h_j; 1], (p_i − y_i) ⊗ [h_i; 1] ⟩

    That is the fall of the loss per η for a step of W and b alone, and without `standardise`. With
    it, h̃ = (h − m) / s replaces h on both sides, feature by feature, where m and s
    are the validation clips' mean and spread:

        credit_i = ⟨ mean_j (p_j − y_j) ⊗ [h̃_j; 1], (p_i − y_i) ⊗ [h̃_i; 1] ⟩

    The classifier is the same function of its clips when it is written as softmax(W̃ h̃ + b̃), with
    W̃ = W diag(s) and b̃ = b + W m. The credit is then, to first order, the fall of the loss per η
    for a gradient step on W̃ and b̃, and NOT for one on W and b, which is what the classifier takes.
    In W and b the step on W̃ and b̃ is

        ΔW = −η · g_i ⊗ (h_i − m) diag(1/s²),    Δb = −η · g_i − ΔW m,    with g_i = p_i − y_i,

    so that features count by their spread and not by their size, as with a step preconditioned
    feature by feature. Signs and order of the two credits may differ. A feature that the validation
    clips do not vary is left out (1/s = 0).

    No gradient is formed per composite: the cost is one [C, D+1] matrix and a product with it.

    Args:
        val_probabilities: float [V, C], the classifier's softmax on the validation clips.
        val_targets: float [V, C], their one-hot labels.
        val_features: float [V, D], what enters the classifier's last layer.
        probabilities: float [B, C], the softmax on the composites.
        targets: float [B, C], their mixed labels; rows sum to 1.
        features: float [B, D], what enters the last layer.
        standardise: use h̃, as above. Features behind a ReLU are all positive; left so, their
            common mean dominates every inner product and the credit is worse than chance.

    Returns:
        float [B]; positive when a small step on the composite, of the parameters said above,
        lowers the validation loss.
    """
    if standardise:
        val_features, features = standardised(val_features, features)
    val_errors = val_probabilities - val_targets
    weight_gradient = val_errors.T @ val_features / len(val_features)  # [C, D]
    bias_gradient = val_errors.mean(dim=0)  # [C]
    errors = probabilities - targets
    return (errors * (features @ weight_gradient.T + bias_gradient)).sum(dim=1)


def credit_by_recording(
    val_probabilities: Tensor,
    val_targets: Tensor,
    val_features: Tensor,
    recordings: Tensor,
    probabilities: Tensor,
    targets: Tensor,
    features: Tensor,
    standardise: bool = True,
) -> Tensor:
    """`last_layer_credit`, split over the recordings that the validation clips were cut from.

    The credit is a mean over validation clips of inner products, each of which is a product of two:

        credit_i = 1/V Σ_j ⟨p_j − y_j, p_i − y_i⟩ · (⟨h̃_j, h̃_i⟩ + 1)

    and a recording r has the part of the sum over its own clips. The clips are standardised
    together, whatever their recording, so that the parts of a pair sum to its credit.

    Args:
        recordings: int64 [V], the recording of each validation clip, numbered from 0 without gaps.
        val_probabilities, val_targets, val_features, probabilities, targets, features,
        standardise: as in `last_layer_credit`.

    Returns:
        float [B, R]; its sum over recordings is the credit [B].
    """
    if standardise:
        val_features, features = standardised(val_features, features)
    errors, val_errors = probabilities - targets, val_probabilities - val_targets
    each = (errors @ val_errors.T) * (features @ val_features.T + 1) / len(val_features)
    count = int(recordings.max()) + 1
    return each.new_zeros(len(each), count).index_add_(1, recordings.to(each.device), each)


def standardised(val_features: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Both by mean and spread of the validation clips, feature by feature: [V, D] and [B, D]."""
    mean = val_features.mean(dim=0)
    spread = val_features.std(dim=0, correction=0)
    # A feature that no validation clip varies says nothing about the validation loss.
    scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, torch.zeros_like(spread))
    return (val_features - mean) * scale, (features - mean) * scale


def standardise_credit(credit: Tensor, classes: Tensor | None = None) -> Tensor:
    """Credit [B] against a baseline, with unit spread over the batch; zeros when it has no spread.

    Without a baseline every credit of an early batch is positive and ω goes to 1 for all pairs.

    Args:
        credit: float [B].
        classes: int64 [B], the class of each pair's foreground. The baseline of a pair is then the
            mean of its class in the batch, drawn towards the mean of all as if PRIOR_PAIRS more
            pairs had that one: actions differ in how much their pairs are worth, and without it
            choosing the best pairs is choosing classes. None compares with the mean of all.
    """
    centred = credit - credit.mean()
    if classes is not None:
        members = functional.one_hot(classes).to(centred.dtype)  # [B, C]
        means = members.T @ centred / (members.sum(dim=0) + PRIOR_PAIRS)
        centred = centred - members @ means
        centred = centred - centred.mean()
    spread = centred.square().mean().sqrt()
    # Rounding leaves a little spread in equal credits; blown up to 1 it would be pure noise.
    flat = spread <= 1e-6 * credit.abs().max()
    return torch.zeros_like(credit) if flat else centred / spread


def log_policy(logits: Tensor, actions: Tensor) -> Tensor:
    """log π(a|s) of each pair: log ω where it was selected, log(1 − ω) where it was not.

    Taken from the logits, so that it stays finite where ω rounds to 0 or 1.

    Args:
        logits: float [B]. actions: float [B], 0 or 1.

    Returns:
        float [B], 0 or less.
    """
    return -functional.binary_cross_entropy_with_logits(logits, actions, reduction="none")


def subset_policy_loss(logits: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
    """What gradient descent lowers to raise the expected reward of a subset (Eq. 5, corrected).

    −mean_m R_m · Σ_i log π(a_mi|s_i), as in DVRL.

    Args:
        logits: float [B]. actions: float [M, B], 0 or 1. rewards: float [M], no gradient.

    Returns:
        float [].
    """
    log_pi = log_policy(logits.expand_as(actions), actions).sum(dim=1)
    return -(rewards * log_pi).mean()


def pair_policy_loss(logits: Tensor, actions: Tensor, credit: Tensor) -> Tensor:
    """The same with a reward for each pair: −mean_i credit_i · (2a_i − 1) · log π(a_i|s_i).

    The factor turns the sign for a pair that was left out: leaving out a good one is a bad action.

    Args:
        logits: float [B]. actions: float [B], 0 or 1. credit: float [B], no gradient.

    Returns:
        float [].
    """
    return -(credit * (2 * actions - 1) * log_policy(logits, actions)).mean()


def policy_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of π over the pairs, float [] in nats, log 2 at most.

    Its weight τ in the objective gives ω a place to rest: with a credit of expectation c, the
    logit's is 2c/τ and not infinity, so that learning of the ranking continues.
    """
    omega = logits.sigmoid()
    return functional.binary_cross_entropy_with_logits(logits, omega)


def exploration_penalty(
    omega: Tensor, low: float = 0.1, high: float = 0.9, weight: float = 1e3
) -> Tensor:
    """DVRL's penalty on a policy that takes nearly all pairs or nearly none.

    weight · (max(mean ω − high, 0) + max(low − mean ω, 0)), with ω float [B] in 0..1.
    """
    mean = omega.mean()
    return weight * (functional.relu(mean - high) + functional.relu(low - mean))


class Reward(Protocol):
    """What an action was worth, and the loss that follows."""

    @property
    def measurements(self) -> Measurements:
        """What the environment must measure."""

    @property
    def trajectories(self) -> int:
        """M, how many subsets are tried in a step."""

    def advantage(self, result: StepResult, delta: float | None, batch: PairBatch) -> Tensor:
        """How much better than a baseline an action was: float [M] for subsets, or [B] for pairs.

        Args:
            result: what the environment measured.
            delta: δ before the step; None before the first one.
            batch: the pairs.
        """

    def loss(self, logits: Tensor, actions: Tensor, advantage: Tensor) -> Tensor:
        """What gradient descent lowers, float [].

        Args:
            logits: float [B]. actions: float [M, B], 0 or 1. advantage: as above.
        """


@dataclass(frozen=True)
class MovingAverage:
    """The paper's reward (Eq. 2 and 6, corrected)."""

    trajectories: int = 1

    @property
    def measurements(self) -> Measurements:
        """The loss after the step is all it needs."""
        return Measurements()

    def advantage(self, result: StepResult, delta: float | None, batch: PairBatch) -> Tensor:
        """δ − loss, [1]."""
        reward = moving_average_reward(float(result.after[0]), delta)
        return torch.tensor([reward])

    def loss(self, logits: Tensor, actions: Tensor, advantage: Tensor) -> Tensor:
        """See `subset_policy_loss`."""
        return subset_policy_loss(logits, actions, advantage)


@dataclass(frozen=True)
class Counterfactual:
    """Loss before − loss after one step, for each of M subsets."""

    trajectories: int = 1
    roll_back: bool = False

    @property
    def measurements(self) -> Measurements:
        """The loss before the step."""
        return Measurements(before=True, roll_back=self.roll_back)

    def advantage(self, result: StepResult, delta: float | None, batch: PairBatch) -> Tensor:
        """See `counterfactual_reward`, [M]."""
        if result.before is None:
            raise ValueError(
                "The environment gave no loss before the step; `measurements` needs it."
            )
        return counterfactual_reward(result.before, result.after)

    def loss(self, logits: Tensor, actions: Tensor, advantage: Tensor) -> Tensor:
        """See `subset_policy_loss`."""
        return subset_policy_loss(logits, actions, advantage)


@dataclass(frozen=True)
class Credit:
    """Credit per pair, against the pairs of its class or against all."""

    within_class: bool = True
    trajectories: int = 1

    @property
    def measurements(self) -> Measurements:
        """Credit of every pair."""
        return Measurements(credit=True)

    def advantage(self, result: StepResult, delta: float | None, batch: PairBatch) -> Tensor:
        """See `standardise_credit`, [B]."""
        if result.credit is None:
            raise ValueError("The environment gave no credit; `measurements` needs it.")
        credit = result.credit.detach()
        classes = batch.classes[:, 0].to(credit.device) if self.within_class else None
        return standardise_credit(credit, classes)

    def loss(self, logits: Tensor, actions: Tensor, advantage: Tensor) -> Tensor:
        """See `pair_policy_loss`."""
        return pair_policy_loss(logits, actions[0], advantage)


REWARDS: Mapping[RewardName, Callable[[ReinforceSettings], Reward]] = {
    "credit": lambda settings: Credit(settings.within_class),
    "counterfactual": lambda settings: Counterfactual(settings.trajectories, settings.roll_back),
    "moving-average": lambda settings: MovingAverage(),
}
"""Each reward by its name."""
