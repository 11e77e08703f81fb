"""Stage one: the environment in which the Selector learns (Sec. 4.1), and its training.

The Selector acts, this classifier answers: the chosen pairs are composited, the classifier takes
one step on them, and the loss on a fixed validation subset says what they were worth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError, L2AError
from l2a.files import write_json
from l2a.networks import VideoNetwork, build_network
from l2a.progress import progress, say
from selector.agreement import label_agreement
from selector.card import SelectorCard, package_versions
from selector.checkpoint import check_classes, check_embedder, load_selector, save_selector
from selector.model_card import curves_of
from selector.network import Selector, SelectorConfig, new_selector
from selector.reinforce import (
    Checkpoints,
    Known,
    TrainedTrunk,
    TrainingReport,
    train_selector,
)
from semantic_match.embed import Embedder
from train.classifier import Diet, fit, make_classifier, trunk_features
from train.environment import CompositingEnvironment, Features, FrozenFeatures, TrainedFeatures
from train.probe import exchange_labels
from train.settings.full import FullSettings
from train.tracking import Tracker, draw_curves
from train.workspace import Matching, Workspace, rematch


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


def run_stage_one(
    space: Workspace,
    matching: Matching,
    settings: FullSettings,
    folder: Path,
    out: Path,
    start: Scorer | None = None,
) -> Scorer:
    """Warm the classifier up, train the Selector against it, and save the checkpoint to `out`.

    Goes on where an earlier call in `folder` stopped, with the same result.

    Args:
        space, matching: the data set.
        settings: everything that can be set.
        folder: states to go on from, curves, the verdict.
        out: the checkpoint's folder.
        start: a Selector to begin with instead of a new one, with its trunk.

    Raises:
        L2AError: there is no validation clip to measure rewards on.
    """
    stage, seed = settings.stage_one, settings.run.seed
    device = pick_device(settings.classifier.device)
    if len(space.rows["val"]) == 0:
        raise L2AError("There are no validation clips for stage one; raise val_share.")
    mislabelled = None
    if stage.probe:
        space, wrong = exchange_labels(space, stage.probe, seed)
        matching, mislabelled = rematch(matching, space), torch.from_numpy(wrong)
    network = warm_up(space, settings, folder, device)
    trunk = start.trunk if start else selector_trunk(network, settings, device)
    vectors = label_vectors(matching, settings.selector.labels, len(space.videos.classes))
    labels = vectors[torch.from_numpy(space.source.labels)]
    plain = all_features(trunk, space, matching.rows)
    if start:
        config, selector = start.selector.config, start.selector
        inputs = described(plain, space, matching.rows, config)
    else:
        config = SelectorConfig.from_settings(settings.selector, plain.shape[1], labels.shape[1])
        inputs = described(plain, space, matching.rows, config)
        selector = new_selector(config, seed).to(device)
        selector.fit_standardiser(inputs[torch.from_numpy(matching.rows)].to(device))
    features: Features = FrozenFeatures(inputs)
    if stage.trunk_lr:
        features = TrainedFeatures(trunk.requires_grad_(True), space.source, inputs)
    environment = CompositingEnvironment(
        network, space.source, matching.pool, features, labels,
        validation_subset(space, stage.validation_clips, seed),
        stage.environment_lr, settings.classifier.flip, stage.fresh_head,
    )  # fmt: skip
    report, curves = _train(
        selector, environment, settings, folder, mislabelled, trunk, start is not None
    )
    trunk.requires_grad_(False)
    card = make_card(matching, space, settings, config, report, curves_of(curves), start)
    save_selector(out, selector, trunk, card)
    say(f"Selector: {report.verdict}")
    write_json(folder / "verdict.json", asdict(report.verdict) | {"text": str(report.verdict)})
    return Scorer(selector.eval(), trunk, card)


def _train(
    selector: Selector,
    environment: CompositingEnvironment,
    settings: FullSettings,
    folder: Path,
    mislabelled: Tensor | None,
    trunk: nn.Module,
    trained_before: bool,
) -> tuple[TrainingReport, list[dict[str, float]]]:
    """Train with curves, histograms and a state to go on from; draw the curves at the end.

    Returns:
        How it ended, and the figures of each step.
    """
    state = folder / "selector-state.safetensors"
    resume = load_tensors(state) if state.is_file() else None
    curves: list[dict[str, float]] = list(resume[1]["curves"]) if resume else []
    total, rate = settings.reinforce.selector_steps, settings.stage_one.trunk_lr
    seldom = max(1, total // 50)
    with (
        progress("Selector", "steps") as report,
        Tracker(folder / "tensorboard", purge_step=len(curves)) as tracker,
    ):
        if not curves:
            tracker.begin_selector(settings.flat())

        def log(step: int, figures: dict[str, float]) -> None:
            curves.append(figures)
            tracker.selector_step(figures, step)
            if step % seldom == 0 or step + 1 == total:
                tracker.histogram("omega/of_512_pairs", sample_omega(selector, environment), step)
            report(step + 1, total)

        trained = train_selector(
            selector, environment, settings.reinforce, settings.run.seed, log=log,
            checkpoints=Checkpoints(
                lambda tensors, facts: save_tensors(state, tensors, facts | {"curves": curves}),
                resume,
            ),
            trunk=TrainedTrunk(tuple(trunk.parameters()), rate) if rate else None,
            known=Known(mislabelled, trained_before),
        )  # fmt: skip
        tracker.text("selector/verdict", str(trained.verdict), trained.steps)
    draw_curves(folder / "selector.png", curves, trained.verdict)
    write_json(folder / "curves.json", curves)
    return trained, curves


def make_card(
    matching: Matching,
    space: Workspace,
    settings: FullSettings,
    config: SelectorConfig,
    report: TrainingReport,
    curves: Mapping[str, tuple[float, ...]],
    start: Scorer | None = None,
) -> SelectorCard:
    """What the checkpoint says of itself; `curves` are those of `curves_of`."""
    stage, named = settings.stage_one, settings.stage_one.trunk
    geometry, verdict = space.bank.settings, report.verdict
    counts = Counter(video.label for video in space.videos.of_split("train"))
    videos = tuple(counts[name] for name in space.videos.classes)
    return (
        SelectorCard(
            config=config,
            trunk=settings.classifier.network if named == "classifier" else named,
            trunk_weights=_trunk_weights(settings),
            trunk_trained=stage.trunk_lr > 0,
            embedder=matching.embedder if config.labels == "embedding" else "",
            num_frames=geometry.num_frames,
            height=geometry.height,
            width=geometry.width,
            crop=geometry.crop,
            classes=space.videos.classes,
            reward=settings.reinforce.reward,
            steps=report.steps,
            seed=settings.run.seed,
            verdict=str(verdict),
            probe_auroc=verdict.probe.auroc if verdict.probe else None,
            data=space.videos.root.resolve().name,
            videos=videos,
            curves=curves,
        )
        if start is None
        else replace(
            start.card,
            classes=space.videos.classes,
            trunk_trained=start.card.trunk_trained or stage.trunk_lr > 0,
            reward=settings.reinforce.reward,
            steps=start.card.steps + report.steps,
            versions=package_versions(),
            seed=settings.run.seed,
            verdict=str(verdict),
            probe_auroc=verdict.probe.auroc if verdict.probe else None,
            finetuned_from=start.card.classes,
            data=space.videos.root.resolve().name,
            videos=videos,
            curves=curves,
        )
    )


def _trunk_weights(settings: FullSettings) -> str:
    """Where the trunk's weights came from, for a person."""
    stage, classifier = settings.stage_one, settings.classifier
    if stage.trunk != "classifier":
        return stage.trunk_weights or "random"
    began = classifier.weights or "random"
    return f"{began}, then {stage.warmup_epochs} epochs as the classifier's"


def load_scorer(path: Path, clips: ClipSettings, device: torch.device, given: str) -> Scorer:
    """A Selector that was trained before, with the trunk that it was stored with.

    Args:
        path: its folder, or the `.safetensors` file in it.
        clips: geometry of the clips that it is to score.
        device: where it is to run.
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
    trunk = loaded.trunk.requires_grad_(False).to(device)
    return Scorer(loaded.selector.to(device), trunk, loaded.card)


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


def described(
    features: Tensor, space: Workspace, rows: NDArray[np.int64], config: SelectorConfig
) -> Tensor:
    """What the Selector sees of the bank's `rows`: features, and behind them label agreement.

    Args:
        features: float32 `[N, F]`, of `all_features`.
        rows: bank rows that may stand in a pair; agreement is among them.
        config: of the Selector; without an agreement scale the features stay as they are.

    Returns:
        float32 `[N, config.input_dim]`; zeros outside of `rows`.
    """
    if not config.agreement_scale:
        return features
    used = torch.from_numpy(rows)
    column = torch.zeros(len(features), 1)
    classes = torch.from_numpy(space.source.labels)[used]
    column[used, 0] = label_agreement(features[used], classes)
    return torch.cat([features, column], dim=1)


@torch.inference_mode()
def sample_omega(selector: Selector, environment: CompositingEnvironment) -> Tensor:
    """ω of 512 pairs that are the same at every call, for a histogram."""
    batch = environment.sample(512, torch.Generator().manual_seed(0))
    return selector.eval().omega(*batch.to(selector.feature_mean.device)).cpu()
