"""The environment of stage one on real clips: it composites, trains, validates (Sec. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from l2a.checkpoints import with_prefix, without_prefix
from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from selector.environment import Measurements, PairBatch, StepResult
from selector.reward import credit_by_recording, last_layer_credit
from semantic_match.listed import ListedPool
from semantic_match.pool import Pool
from train.batches import Augment, ClipBatch, ClipSource
from train.classifier import EVALUATION_BATCH
from train.contents import mixed
from train.objectives.supervised import Supervised
from train.settings.full import ClassifierSettings, StageOneSettings

ASIDE = 5
"""One pair in so many is kept from training, to judge the Selector by."""
_LISTED = 1 << 18
"""Pools up to this size are listed, so that few pairs of a small one are found at once."""


class Features(Protocol):
    """What the Selector sees of videos."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Bank rows int64 [B] ─► float32 [B, D], as `Selector.forward` takes them."""

    def state_dict(self) -> dict[str, Tensor]:
        """What changes in training; {} when nothing does."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from there."""


class FrozenFeatures:
    """Features that were computed once per video.

    Args:
        table: float32 [N, D], one row for each row of the bank.
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Features`."""
        return self.table[rows]

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing changes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""


class TrainedFeatures:
    """Features of a trunk that learns with the Selector: computed again for every batch.

    Batch normalisation keeps the statistics that the trunk came with: two batches of one step would
    otherwise be normalised differently, and a pair's score would depend on its company.

    Args:
        trunk: clips ─► features, on its device; its parameters get gradients.
        source: of the clips.
        table: float32 [N, D]; only the columns after the trunk's own (label agreement) are used.
        micro_batch: the most clips of which the maps for gradients are in memory at a time: they
            are then computed a second time for them. All at once if None.
    """

    def __init__(
        self, trunk: Trunk, source: ClipSource, table: Tensor, micro_batch: int | None = None
    ) -> None:
        self._trunk, self._source, self._table = trunk.eval(), source, table
        self._device, self._micro_batch = trunk.device, micro_batch

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Features`; with a gradient to the trunk where gradients are on."""
        unique, where = rows.unique(return_inverse=True)
        learns, most = torch.is_grad_enabled(), self._micro_batch
        size = (most or len(unique)) if learns else EVALUATION_BATCH
        own = torch.cat(
            [
                checkpoint(self._own, part, use_reentrant=False, preserve_rng_state=False)
                if learns and most
                else self._own(part)
                for part in unique.split(size)
            ]
        )
        rest = self._table[rows][:, own.shape[1] :].to(self._device)
        return torch.cat([own[where.to(self._device)], rest], dim=1)

    def _own(self, rows: Tensor) -> Tensor:
        """The trunk's features of bank rows."""
        clips = self._source.clips(rows.numpy()).to(self._device)
        features: Tensor = self._trunk(self._trunk.to_input(clips))
        return features

    def state_dict(self) -> dict[str, Tensor]:
        """The trunk's weights."""
        return dict(self._trunk.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume with these weights."""
        self._trunk.load_state_dict(state)


@dataclass(frozen=True)
class ValidationRows:
    """The validation clips that rewards are measured on.

    Attributes:
        rows: their bank rows, int64 `[n]`.
        recordings: the recording of each, int64 `[n]`, numbered from 0 without gaps.
    """

    rows: NDArray[np.int64]
    recordings: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.int64], recordings: NDArray[np.int64]) -> ValidationRows:
        """Rows of a bank whose row r was cut from recording `recordings[r]`, whatever its
        number."""
        return cls(rows, np.unique(recordings[rows], return_inverse=True)[1].astype(np.int64))


class PartedPool:
    """A pool in two parts: what training draws, and a fifth of its pairs, to judge a Selector by.

    A hash of its two videos decides on a pair. Of a pool that is listed exactly a fifth is kept
    aside (none of fewer than five pairs); of a larger one every pair whose hash says so.

    Args:
        pool: pairs of bank rows; no pair of a large one is listed.
    """

    def __init__(self, pool: Pool | ListedPool) -> None:
        self._pool = pool
        self._listed: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        if len(pool) <= _LISTED:
            pairs = pool.block(0, len(pool))
            aside = fifth_aside(pairs)
            self._listed = pairs[~aside], pairs[aside]

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Pairs to train on, with replacement, each as likely as any other: int64 `[count, 2]`.

        Raises:
            InputError: there is nothing to draw from.
        """
        if self._listed is None:
            return self._sifted(count, rng, aside=False)
        used = self._listed[0]
        if not len(used):
            return self._pool.sample(count, rng)  # says so
        return used[rng.integers(0, len(used), count)]

    def aside(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Pairs to judge by, at most `count`, each once: int64 `[n, 2]`."""
        if self._listed is None:
            return np.unique(self._sifted(count, rng, aside=True), axis=0)
        return rng.permutation(self._listed[1])[:count]

    def _sifted(self, count: int, rng: np.random.Generator, *, aside: bool) -> NDArray[np.int64]:
        found = np.empty((0, 2), np.int64)
        while len(found) < count:
            drawn = self._pool.sample(2 * count, rng)
            found = np.concatenate([found, drawn[is_aside(drawn) == aside]])
        return found[:count]


def fifth_aside(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of all pairs of a pool are kept aside: bool `[n]`, a fifth of them, drawn by hash."""
    found = np.zeros(len(pairs), np.bool_)
    order = np.argsort(mixed(pairs[:, 0], pairs[:, 1]), kind="stable")
    found[order[: len(pairs) // ASIDE]] = True
    return found


def is_aside(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs of a pool that is never listed are kept aside: bool `[n]`, one in five."""
    found: NDArray[np.bool_] = mixed(pairs[:, 0], pairs[:, 1]) % ASIDE == 0
    return found


class CompositingEnvironment:
    """`selector.environment.Environment` on composites of real clips.

    The classifier's step is one of plain gradient descent on the supervised objective. Rewards and
    credit are measured on `validation` rows that never change, so that losses of different steps
    compare the pairs and not the clips.
    """

    def __init__(
        self,
        network: VideoNetwork,
        source: ClipSource,
        pool: Pool | ListedPool,
        features: Features,
        labels: Tensor,
        validation: ValidationRows,
        stage: StageOneSettings,
        settings: ClassifierSettings,
    ) -> None:
        """
        Args:
            network: the warmed-up classifier, on its device; it is trained in place.
            source: clips and composites.
            pool: pairs of bank rows to sample from.
            features: what the Selector sees of the bank's rows.
            labels: float32 `[N, E]`, the label vector of every row of the bank.
            validation: what rewards are measured on.
            stage: the learning rate of the classifier's step, and whether to begin, and begin
                again at each restart, with a head of zeros.
            settings: whether to mirror composites at random, and how many of them go through the
                classifier at a time in a step.
        """
        self._network = network
        self._source = source
        self._pool = PartedPool(pool)
        self._features = features
        self._labels = labels
        self._flip, self._micro_batch = settings.flip, settings.micro_batch
        self._device = network.device
        self._objective = Supervised()
        if stage.fresh_head:
            network.fresh_head()
        self._optimizer = torch.optim.SGD(network.parameters(), lr=stage.environment_lr)
        self._start = self._weights()
        real = source.real(validation.rows)
        self._val_clips = real.clips
        self._val_labels = real.labels.to(self._device)
        self._recordings = torch.from_numpy(validation.recordings)
        self._seen: tuple[Tensor, Tensor] | None = None

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """`count` pairs, uniformly over what training has of the pool; see `Environment.sample`."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return self._batch(self._pool.sample(count, np.random.default_rng(seed)), seed)

    def sample_aside(self, count: int, generator: torch.Generator) -> PairBatch | None:
        """Pairs of the fifth that is kept aside; see `Environment.sample_aside`."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        pairs = self._pool.aside(count, np.random.default_rng(seed))
        return self._batch(pairs, seed) if len(pairs) else None

    def _batch(self, pairs: NDArray[np.int64], seed: int) -> PairBatch:
        rows = torch.from_numpy(pairs)
        features = self._features(rows.flatten()).unflatten(0, rows.shape)
        labels = self._labels[rows]
        return PairBatch(
            rows, torch.from_numpy(self._source.labels)[rows], features[:, 0], features[:, 1],
            labels[:, 0], labels[:, 1], seed,
        )  # fmt: skip

    def step(self, batch: PairBatch, actions: Tensor, wanted: Measurements) -> StepResult:
        """One classifier step on the chosen composites of each subset; see `Environment.step`."""
        chosen = actions.bool().cpu()
        # Only credit needs the composites of pairs that were not chosen.
        needed = (
            torch.ones(len(batch.rows), dtype=torch.bool) if wanted.credit else chosen.any(dim=0)
        )
        clips = self._composites(batch, needed)
        credit = self._credit(clips) if wanted.credit else None
        before = self._validation_loss() if wanted.before else None
        several = wanted.roll_back or len(chosen) > 1
        start = self._weights() if several else {}
        losses: list[float] = []
        first = start
        for subset in chosen[:, needed]:
            if losses:
                self._put_back(start)
            self._network.train()
            self._seen = None
            self._optimizer.zero_grad(set_to_none=True)
            self._backward(ClipBatch(clips.clips[subset], clips.labels[subset]))
            self._optimizer.step()
            losses.append(self._validation_loss())
            if len(losses) == 1 and several:
                first = self._weights()
        if several:
            self._put_back(start if wanted.roll_back else first)
        return StepResult(torch.tensor(losses), before, credit)

    def _backward(self, chosen: ClipBatch) -> None:
        """The gradient of the mean loss on chosen composites, in pieces of `micro_batch` clips."""
        count = len(chosen)
        pieces = 1 if self._micro_batch is None else max(1, -(-count // self._micro_batch))
        for index in range(pieces):
            piece = chosen.part(index, pieces).to(self._device)
            loss = self._objective.loss(self._network, piece).total
            (loss if pieces == 1 else loss * (len(piece) / count)).backward()

    @torch.inference_mode()
    def credit_matrix(self, batch: PairBatch) -> Tensor:
        """Credit by validation recording, `[B, R]`; see `Environment.credit_matrix`."""
        composites = self._composites(batch)
        val_features, val_probabilities = self._on_validation()
        features, probabilities = self._forward(composites.clips)
        return credit_by_recording(
            val_probabilities, self._val_labels, val_features, self._recordings,
            probabilities, composites.labels.to(self._device), features,
        ).cpu()  # fmt: skip

    def restart(self) -> None:
        """Put the classifier back to where its warming up left it."""
        self._put_back(self._start)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights of classifier and trunk: the optimiser has no momentum, sampling no memory."""
        network = with_prefix("network.", self._network.state_dict())
        return network | with_prefix("features.", self._features.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state_dict`."""
        self._put_back(without_prefix("network.", state))
        self._features.load_state_dict(without_prefix("features.", state))

    def _composites(self, batch: PairBatch, needed: Tensor | None = None) -> ClipBatch:
        """Composites of a batch, or of the pairs that are needed, placed as its seed says."""
        augment = Augment(np.random.default_rng([batch.seed % 2**32, 1]), self._flip)
        rows = batch.rows if needed is None else batch.rows[needed]
        return self._source.composites(rows.numpy(), augment)

    def _weights(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self._network.state_dict().items()}

    def _put_back(self, weights: Mapping[str, Tensor]) -> None:
        self._network.load_state_dict(weights)
        self._seen = None

    @torch.inference_mode()
    def _credit(self, composites: ClipBatch) -> Tensor:
        """Credit of each composite under the classifier as it is before the step."""
        val_features, val_probabilities = self._on_validation()
        features, probabilities = self._forward(composites.clips)
        return last_layer_credit(
            val_probabilities, self._val_labels, val_features,
            probabilities, composites.labels.to(self._device), features,
        )  # fmt: skip

    @torch.inference_mode()
    def _validation_loss(self) -> float:
        _, probabilities = self._on_validation()
        likelihood = (probabilities * self._val_labels).sum(dim=1)
        return float(-likelihood.clamp_min(1e-12).log().mean())

    def _on_validation(self) -> tuple[Tensor, Tensor]:
        """`_forward` of the validation clips, once for each state of the classifier: what the loss
        after a step was measured on is what the next step's credit is computed with."""
        if self._seen is None:
            self._seen = self._forward(self._val_clips)
        return self._seen

    def _forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Last-layer features `[n, D]` and probabilities `[n, C]` of uint8 clips, in order."""
        network = self._network.eval()
        features = torch.cat(
            [
                network.pool(network.forward_features(network.to_input(part.to(self._device))))
                for part in clips.split(EVALUATION_BATCH)
            ]
        )
        return features, network.head(features).softmax(dim=1)
