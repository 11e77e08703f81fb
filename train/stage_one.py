"""Stage one: the environment in which the Selector learns (Sec. 4.1), and its training.

The Selector acts, this classifier answers: the chosen pairs are composited, the classifier takes
one step on them, and the loss on a fixed validation subset says what they were worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError, L2AError
from l2a.networks import VideoNetwork, build_network, to_input
from l2a.progress import progress
from selector.checkpoint import (
    SelectorCard,
    check_classes,
    check_embedder,
    load_selector,
    save_selector,
)
from selector.network import Selector, SelectorConfig, new_selector
from selector.reinforce import Outcome, PairBatch, train_selector
from selector.reward import last_layer_credit
from semantic_match.embed import Embedder
from semantic_match.pool import Pool
from train.batches import Augment, Batch, ClipSource
from train.classifier import Diet, fit, make_classifier, soft_loss, trunk_features
from train.settings.full import FullSettings
from train.tracking import Tracker
from train.workspace import Matching, Workspace

# Clips in one pass through the classifier when nothing is learned from them.
_FORWARD_BATCH = 32


@dataclass(frozen=True)
class Scorer:
    """A Selector with the trunk that makes its features: what is needed to score any pair.

    Attributes:
        selector: the MLP, on the device it scores on.
        trunk: clips float32 `[B, 3, T, H, W]` ─► features float32 `[B, D]`, on the same device.
        card: what the checkpoint says of both.
    """

    selector: Selector
    trunk: nn.Module
    card: SelectorCard


def label_vectors(matching: Matching, labels: str, num_classes: int) -> Tensor:
    """How each class enters the Selector: float32 `[C, E]`, name embeddings or one-hot rows."""
    if labels == "one-hot":
        return torch.eye(num_classes)
    return torch.from_numpy(matching.vectors)


class CompositingEnvironment:
    """`selector.reinforce.Environment` on composites of real clips.

    Rewards and credit are measured on `validation` rows that never change, so that losses of
    different steps compare the pairs and not the clips.
    """

    def __init__(
        self,
        network: VideoNetwork,
        source: ClipSource,
        pool: Pool,
        features: Tensor,
        labels: Tensor,
        validation: NDArray[np.int64],
        lr: float,
        flip: bool,
    ) -> None:
        """
        Args:
            network: the warmed-up classifier, on its device; it is trained in place.
            source: clips and composites.
            pool: pairs of bank rows to sample from.
            features: float32 `[N, D]`, the Selector's feature of every row of the bank.
            labels: float32 `[N, E]`, the label vector of every row of the bank.
            validation: bank rows of the validation subset.
            lr: learning rate of the classifier's step.
            flip: mirror composites at random.
        """
        self._network = network
        self._source = source
        self._pool = pool
        self._features = features
        self._labels = labels
        self._flip = flip
        self._device = next(network.parameters()).device
        self._optimizer = torch.optim.SGD(network.parameters(), lr=lr)
        self._start = {key: value.clone() for key, value in network.state_dict().items()}
        real = source.real(validation)
        self._val_clips = real.clips
        self._val_labels = real.labels.to(self._device)

    def sample(self, count: int, generator: torch.Generator) -> PairBatch:
        """`count` pairs, uniformly over the pool; see `Environment.sample`."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        rows = torch.from_numpy(self._pool.sample(count, np.random.default_rng(seed)))
        f, b = rows[:, 0], rows[:, 1]
        return PairBatch(
            rows, self._features[f], self._features[b], self._labels[f], self._labels[b], seed
        )

    def step(self, batch: PairBatch, actions: Tensor, wants_credit: bool) -> Outcome:
        """One classifier step on the chosen composites, then its validation loss."""
        chosen = actions.bool().cpu()
        augment = Augment(np.random.default_rng([batch.seed % 2**32, 1]), self._flip)
        # Only credit needs the composites of pairs that were not chosen.
        rows = batch.rows if wants_credit else batch.rows[chosen]
        clips = self._source.composites(rows.numpy(), augment)
        credit = self._credit(clips) if wants_credit else None
        if wants_credit:
            clips = Batch(clips.clips[chosen], clips.labels[chosen])
        self._network.train()
        self._optimizer.zero_grad(set_to_none=True)
        soft_loss(self._network, clips).backward()
        self._optimizer.step()
        return Outcome(self._validation_loss(), credit)

    def restart(self) -> None:
        """Put the classifier back to where its warming up left it."""
        self._network.load_state_dict(self._start)

    def state_dict(self) -> dict[str, Tensor]:
        """The classifier's weights: its optimiser has no momentum, and sampling no memory."""
        return dict(self._network.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        self._network.load_state_dict(state)

    @torch.inference_mode()
    def _credit(self, composites: Batch) -> Tensor:
        """Credit of each composite under the classifier as it is before the step."""
        val_features, val_probabilities = self._forward(self._val_clips)
        features, probabilities = self._forward(composites.clips)
        return last_layer_credit(
            val_probabilities, self._val_labels, val_features,
            probabilities, composites.labels.to(self._device), features,
        )  # fmt: skip

    @torch.inference_mode()
    def _validation_loss(self) -> float:
        _, probabilities = self._forward(self._val_clips)
        likelihood = (probabilities * self._val_labels).sum(dim=1)
        return float(-likelihood.clamp_min(1e-12).log().mean())

    def _forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Last-layer features `[n, D]` and probabilities `[n, C]` of uint8 clips, in order."""
        self._network.eval()
        features = torch.cat(
            [
                self._network.trunk(to_input(part.to(self._device)))
                for part in clips.split(_FORWARD_BATCH)
            ]
        )
        return features, self._network.head(features).softmax(dim=1)


def run_stage_one(
    space: Workspace, matching: Matching, settings: FullSettings, folder: Path, out: Path
) -> Scorer:
    """Warm the classifier up, train the Selector against it, and save the checkpoint to `out`.

    Goes on where an earlier call in `folder` stopped, with the same result.

    Raises:
        L2AError: there is no validation clip to measure rewards on.
    """
    device = pick_device(settings.classifier.device)
    seed = settings.run.seed
    if len(space.rows["val"]) == 0:
        raise L2AError("There are no validation clips for stage one; raise val_share.")
    network = warm_up(space, settings, folder, device)
    trunk = selector_trunk(network, settings, device)
    features = all_features(trunk, space, matching.rows)
    vectors = label_vectors(matching, settings.selector.labels, len(space.videos.classes))
    labels = vectors[torch.from_numpy(space.source.labels)]
    config = SelectorConfig.from_settings(settings.selector, features.shape[1], labels.shape[1])
    selector = new_selector(config, seed).to(device)
    selector.fit_standardiser(features[torch.from_numpy(matching.rows)].to(device))
    environment = CompositingEnvironment(
        network, space.source, matching.pool, features, labels,
        validation_subset(space, settings.stage_one.validation_clips, seed),
        settings.stage_one.environment_lr, settings.classifier.flip,
    )  # fmt: skip
    state = folder / "selector-state.safetensors"
    resume = load_tensors(state) if state.is_file() else None
    first = int(resume[1]["progress"]["step"]) if resume else 0
    total = settings.reinforce.selector_steps
    with (
        progress("Selector", "steps") as report,
        Tracker(folder / "tensorboard", purge_step=first) as tracker,
    ):

        def log(step: int, figures: dict[str, float]) -> None:
            tracker.scalars("selector", figures, step)
            if step % 50 == 0 or step + 1 == total:
                tracker.histogram("selector/omega", sample_omega(selector, environment), step)
            report(step + 1, total)

        train_selector(
            selector, environment, settings.reinforce, seed, log=log,
            save=lambda tensors, facts: save_tensors(state, tensors, facts), resume=resume,
        )  # fmt: skip
    card = make_card(matching, space, settings, selector.config)
    save_selector(out, selector, trunk, card)
    return Scorer(selector.eval(), trunk, card)


def make_card(
    matching: Matching, space: Workspace, settings: FullSettings, config: SelectorConfig
) -> SelectorCard:
    """What the checkpoint says of itself."""
    named = settings.stage_one.trunk
    geometry = space.bank.settings
    return SelectorCard(
        config=config,
        trunk=settings.classifier.network if named == "classifier" else named,
        embedder=matching.embedder if config.labels == "embedding" else "",
        num_frames=geometry.num_frames,
        height=geometry.height,
        width=geometry.width,
        crop=geometry.crop,
        classes=space.videos.classes,
        reward=settings.reinforce.reward,
        steps=settings.reinforce.selector_steps,
        seed=settings.run.seed,
    )


def load_scorer(path: Path, clips: ClipSettings, device: torch.device) -> Scorer:
    """A Selector that was trained before, with the trunk that it was stored with.

    Raises:
        InputError: it has no trunk, or was trained on clips of another geometry.
    """
    loaded = load_selector(path)
    card = loaded.card
    if loaded.trunk is None:
        raise InputError(f"{path} holds no trunk, so it cannot score videos; train it again.")
    for name, value in vars(clips).items():
        if getattr(card, name) != value:
            raise InputError(
                f"The Selector {path} was trained on clips with {name} {getattr(card, name)} and "
                f"not {value}; set --{name.replace('_', '-')} {getattr(card, name)}."
            )
    trunk = loaded.trunk.requires_grad_(False).to(device)
    return Scorer(loaded.selector.to(device), trunk, card)


def check_scorer(scorer: Scorer, embedder: Embedder, classes: Sequence[str]) -> None:
    """Refuse a Selector that learned from another embedder, or one-hot from other classes."""
    check_embedder(scorer.card, embedder.identity, embedder.dim)
    check_classes(scorer.card, classes)


def warm_up(
    space: Workspace, settings: FullSettings, folder: Path, device: torch.device
) -> VideoNetwork:
    """The classifier after `warmup_epochs` on real training clips alone."""
    network = make_classifier(
        settings.classifier, len(space.videos.classes), settings.run.seed, device
    )
    diet = Diet(space.rows["train"], np.empty((0, 2), np.int64), 0)
    epochs = settings.stage_one.warmup_epochs
    with progress("warm up", "epochs") as report:
        fit(
            network, space.source, diet, settings.classifier, epochs=epochs,
            seed=settings.run.seed, checkpoint=folder / "warmup.safetensors",
            on_epoch=lambda epoch, figures: report(epoch + 1, epochs),
        )  # fmt: skip
    return network


def selector_trunk(
    network: VideoNetwork, settings: FullSettings, device: torch.device
) -> nn.Module:
    """The Selector's frozen trunk: a copy of the classifier's as it is now, or one by name."""
    stage = settings.stage_one
    if stage.trunk == "classifier":
        copy = build_network(network.name, 1)
        copy.trunk.load_state_dict(network.trunk.state_dict())
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.run.seed)
            copy = build_network(stage.trunk, 1, stage.trunk_weights)
    return copy.trunk.requires_grad_(False).eval().to(device)


def all_features(trunk: nn.Module, space: Workspace, rows: NDArray[np.int64]) -> Tensor:
    """Trunk features float32 `[N, D]` of the bank's `rows`; zeros elsewhere.

    Once per video: pairs only look their two rows up.
    """
    found = trunk_features(trunk, space.source, rows)
    features = torch.zeros(len(space.bank), found.shape[1])
    features[torch.from_numpy(rows)] = torch.from_numpy(found)
    return features


def validation_subset(space: Workspace, count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` validation rows, drawn once, as even over the classes as they allow."""
    rng = np.random.default_rng([seed, 2])
    piles = [list(rng.permutation(rows)) for rows in space.rows_by_class(space.rows["val"])]
    rows: list[int] = []
    while len(rows) < count and any(piles):
        rows += [int(pile.pop()) for pile in piles if pile][: count - len(rows)]
    return np.sort(np.array(rows, dtype=np.int64))


@torch.inference_mode()
def sample_omega(selector: Selector, environment: CompositingEnvironment) -> Tensor:
    """ω of 512 pairs that are the same at every call, for a histogram."""
    batch = environment.sample(512, torch.Generator().manual_seed(0))
    device = selector.feature_mean.device
    parts = (batch.features_f, batch.features_b, batch.labels_f, batch.labels_b)
    return selector.omega(*(part.to(device) for part in parts)).cpu()
