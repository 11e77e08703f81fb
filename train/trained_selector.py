"""A trained Selector with its trunk and its card: what is needed to score any pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from l2a.clips import ClipSettings
from l2a.devices import Precision
from l2a.errors import InputError
from l2a.trunk import Trunk
from selector.card import SelectorCard, package_versions
from selector.checkpoint import check_classes, check_embedder, load_selector
from selector.network import Selector, SelectorConfig
from selector.reinforce import TrainingReport
from selector.score import PairScorer
from selector.settings import Precision as ScoringPrecision
from semantic_match.embed import Embedder
from train.features import all_features, label_vectors, selector_inputs
from train.prepared import Matching, PreparedData
from train.recipe import SelectorRecipe


@dataclass(frozen=True)
class SelectorWithTrunk:
    """A Selector with the trunk that makes its features.

    Attributes:
        selector: the MLP, on the device it scores on.
        trunk: clips ─► features float32 `[B, D]`, on the same device.
        card: what the checkpoint says of both.
    """

    selector: Selector
    trunk: Trunk
    card: SelectorCard

    def check(self, embedder: Embedder, classes: Sequence[str]) -> None:
        """Refuse one that learned from another embedder, or one-hot from other classes."""
        check_embedder(self.card, embedder.identity, embedder.dim)
        check_classes(self.card, classes)

    def inputs(self, prepared: PreparedData, matching: Matching) -> tuple[Tensor, Tensor]:
        """What it sees of each row of the bank: features `[N, D]` and label vectors `[N, E]`."""
        config = self.card.config
        features = all_features(self.trunk, prepared)
        vectors = label_vectors(matching, config.labels, len(prepared.videos.classes))
        labels = vectors[torch.from_numpy(prepared.source.labels)]
        return selector_inputs(features, prepared, matching, config), labels

    def scorer(
        self, features: Tensor, labels: Tensor, precision: ScoringPrecision = "float32"
    ) -> PairScorer:
        """Scores pairs of rows of `inputs`."""
        return PairScorer(self.selector, features, labels, precision)


def load_trained_selector(
    path: Path, clips: ClipSettings, device: torch.device, precision: Precision, given: str
) -> SelectorWithTrunk:
    """A Selector that was trained before, with the trunk that it was stored with.

    Args:
        path: its folder, or the `.safetensors` file in it.
        clips: geometry of the clips that it is to score.
        device, precision: where and how it is to run.
        given: what a person called it, for messages.

    Raises:
        InputError: it is missing or damaged, has no trunk, or was trained on clips of another
            geometry.
    """
    loaded = load_selector(path)
    if loaded.trunk is None:
        raise InputError(
            f"The Selector {given} was stored without its trunk, so it cannot score videos; train "
            "it again."
        )
    own = {name: getattr(loaded.card, name) for name in vars(clips)}
    if other := [name for name, value in vars(clips).items() if own[name] != value]:
        learned = ", ".join(f"{name} {own[name]} and not {getattr(clips, name)}" for name in other)
        remedy = " ".join(f"--{name.replace('_', '-')} {own[name]}" for name in other)
        raise InputError(f"The Selector {given} was trained on clips with {learned}; set {remedy}.")
    trunk = loaded.trunk.requires_grad_(False).move_to(device, precision)
    return SelectorWithTrunk(loaded.selector.to(device), trunk, loaded.card)


def make_card(
    prepared: PreparedData,
    matching: Matching,
    recipe: SelectorRecipe,
    config: SelectorConfig,
    report: TrainingReport,
    curves: Mapping[str, tuple[float, ...]],
    start: SelectorWithTrunk | None = None,
) -> SelectorCard:
    """What the checkpoint says of itself; `curves` are those of `curves_of`."""
    counts = Counter(video.label for video in prepared.videos.of_split("train"))
    before = start.card if start else _first_card(prepared, matching, recipe, config)
    return replace(
        before,
        config=config,
        classes=prepared.videos.classes,
        trunk_trained=before.trunk_trained or recipe.stage.trunk_lr > 0,
        reward=recipe.reinforce.reward,
        steps=before.steps + report.steps,
        seed=recipe.seed,
        verdict=str(report.verdict),
        probe_auroc=report.verdict.probe.auroc if report.verdict.probe else None,
        finetuned_from=before.classes if start else (),
        data=prepared.videos.root.resolve().name,
        videos=tuple(counts[name] for name in prepared.videos.classes),
        curves=curves,
        reliability=report.verdict.reliability,
        recordings=report.verdict.recordings,
        upside_down=report.verdict.upside_down,
        versions=package_versions(),
    )


def _first_card(
    prepared: PreparedData, matching: Matching, recipe: SelectorRecipe, config: SelectorConfig
) -> SelectorCard:
    """Of a Selector that has taken no step: its sizes, trunk, embedder and clip geometry."""
    geometry, named = prepared.bank.settings, recipe.stage.trunk
    return SelectorCard(
        config=config,
        trunk=recipe.classifier.network if named == "classifier" else named,
        trunk_weights=_trunk_weights(recipe),
        trunk_trained=False,
        embedder=matching.embedder if config.labels == "embedding" else "",
        num_frames=geometry.num_frames,
        height=geometry.height,
        width=geometry.width,
        crop=geometry.crop,
        classes=prepared.videos.classes,
        reward=recipe.reinforce.reward,
        steps=0,
        seed=recipe.seed,
    )


def _trunk_weights(recipe: SelectorRecipe) -> str:
    """Where the trunk's weights came from, for a person."""
    stage, classifier = recipe.stage, recipe.classifier
    if stage.trunk != "classifier":
        return stage.trunk_weights or "random"
    began = classifier.weights or "random"
    if classifier.freeze_trunk:
        return f"{began}, left as they were"
    return f"{began}, then {stage.warmup_epochs} epochs as the classifier's"
