"""Stage one: the environment in which the Selector learns (Sec. 4.1), and its training.

The Selector acts, this classifier answers: the chosen pairs are composited, the classifier takes
one step on them, and the loss on a fixed validation subset says what they were worth.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.devices import pick_device
from l2a.errors import L2AError
from l2a.files import write_json
from l2a.logs import say
from l2a.networks import VideoNetwork, build_network
from l2a.progress import progress
from l2a.trunk import Trunk
from l2a.turns import in_turns
from selector.checkpoint import CARD_NAME, save_selector
from selector.environment import Environment
from selector.judging import DiagnosisContext, score_pairs
from selector.model_card import curves_of
from selector.network import Selector, SelectorConfig, new_selector
from selector.reinforce import TrainedTrunk, TrainingReport, train_selector
from selector.training_state import Checkpoints
from train.classifier import make_classifier
from train.environment import (
    CompositingEnvironment,
    Features,
    FrozenFeatures,
    TrainedFeatures,
    ValidationRows,
)
from train.features import all_features, label_vectors, selector_inputs
from train.frozen.stage_one import frozen_environment, frozen_start
from train.loading import Loading
from train.memory import memory_for_selector, memory_for_training
from train.mix import NO_PAIRS, MixedBatches, TrainingMix
from train.objectives.supervised import Supervised
from train.prepared import Matching, PreparedData, rematch
from train.probe import exchange_labels
from train.recipe import SelectorRecipe
from train.tracking import Tracker, draw_curves
from train.trained_selector import SelectorWithTrunk, load_trained_selector, make_card
from train.trainer import Trainer, TrainingJob

_TAUGHT = 2
"""Counts what a Selector was taught: by the first version, on label agreement with clips of the
same recording, and on pairs that later were to be new."""


def run_stage_one(
    prepared: PreparedData,
    matching: Matching,
    recipe: SelectorRecipe,
    folder: Path,
    out: Path,
    start: SelectorWithTrunk | None = None,
) -> SelectorWithTrunk:
    """Warm the classifier up, train the Selector against it, and save the checkpoint to `out`.

    Resumes where an earlier call in `folder` stopped, with the same result; what one has finished
    is read.

    Args:
        prepared, matching: the data set.
        recipe: how to train.
        folder: states to resume from, curves, the verdict.
        out: the checkpoint's folder.
        start: a Selector to begin with instead of a new one, with its trunk.

    Raises:
        L2AError: there is no validation clip to measure rewards on.
    """
    device = pick_device(recipe.classifier.device)
    verdict = folder / "verdict.json"  # written last
    if verdict.is_file() and (out / CARD_NAME).is_file():
        say(f"the Selector in {out} was trained before, with these settings")
        return load_trained_selector(
            out, prepared.bank.settings, device, recipe.classifier.precision, str(out)
        )
    if len(prepared.rows["val"]) == 0:
        raise L2AError("There are no validation clips for stage one; raise val_share.")
    mislabelled = None
    if recipe.stage.probe:
        prepared, wrong = exchange_labels(prepared, recipe.stage.probe, recipe.seed)
        matching, mislabelled = rematch(matching, prepared), torch.from_numpy(wrong)
    if recipe.classifier.freeze_trunk:
        network = frozen_start(prepared, recipe)
    else:
        network = warm_up(prepared, recipe, folder, device)
    start = copy.deepcopy(start)  # which is trained in place, and may begin another round, too
    trunk = start.trunk if start else selector_trunk(network, recipe, device)
    learner = _begin(prepared, matching, recipe, trunk, start)
    environment = _environment(prepared, matching, recipe, network, learner)
    known = DiagnosisContext(
        mislabelled,
        learner.trained_before,
        _rewarding_recordings(prepared, recipe),
        torch.from_numpy(prepared.recordings),
    )
    report, curves = _train(learner, environment, recipe, folder, known)
    trunk.requires_grad_(False)
    config = learner.selector.config
    card = make_card(prepared, matching, recipe, config, report, curves_of(curves), start)
    save_selector(out, learner.selector, trunk, card)
    say(f"Selector: {report.verdict}")
    write_json(verdict, asdict(report.verdict) | {"text": str(report.verdict)})
    return SelectorWithTrunk(learner.selector.eval(), trunk, card)


@dataclass(frozen=True)
class _Learner:
    """The Selector that is to learn, its trunk, and what it sees of the bank's rows.

    Attributes:
        inputs: float32 `[N, D]`, features and label agreement.
        labels: float32 `[N, E]`, label vectors.
        trained_before: it is being fine-tuned.
    """

    selector: Selector
    trunk: Trunk
    inputs: Tensor
    labels: Tensor
    trained_before: bool


def _begin(
    prepared: PreparedData, matching: Matching, recipe: SelectorRecipe, trunk: Trunk,
    start: SelectorWithTrunk | None,
) -> _Learner:  # fmt: skip
    """A new Selector whose standardiser is fitted to the videos, or the one to begin with."""
    vectors = label_vectors(matching, recipe.selector.labels, len(prepared.videos.classes))
    labels = vectors[torch.from_numpy(prepared.source.labels)]
    features = all_features(trunk, prepared)
    if start:
        # One that an earlier version trained learns from here on what others do.
        start.selector.config = replace(start.selector.config, agreement_across="recordings")
        inputs = selector_inputs(features, prepared, matching, start.selector.config)
        return _Learner(start.selector, trunk, inputs, labels, trained_before=True)
    config = SelectorConfig.from_settings(recipe.selector, features.shape[1], labels.shape[1])
    inputs = selector_inputs(features, prepared, matching, config)
    selector = new_selector(config, recipe.seed).to(trunk.device)
    selector.fit_standardiser(inputs[torch.from_numpy(matching.rows)].to(trunk.device))
    return _Learner(selector, trunk, inputs, labels, trained_before=False)


def _environment(
    prepared: PreparedData, matching: Matching, recipe: SelectorRecipe, network: VideoNetwork,
    learner: _Learner,
) -> Environment:  # fmt: skip
    stage, features = recipe.stage, learner.inputs
    rows = validation_subset(prepared, stage.validation_clips, recipe.seed)
    seen: Features = FrozenFeatures(features)
    if stage.trunk_lr:
        seen = TrainedFeatures(
            learner.trunk.requires_grad_(True), prepared.source, features,
            recipe.classifier.micro_batch,
        )  # fmt: skip
    if recipe.classifier.freeze_trunk or stage.reward_folds:
        return frozen_environment(prepared, matching, recipe, network, seen, learner.labels, rows)
    return CompositingEnvironment(
        network, prepared.source, matching.pool, seen, learner.labels,
        ValidationRows.of(rows, prepared.recordings), stage, recipe.classifier,
    )  # fmt: skip


def _rewarding_recordings(prepared: PreparedData, recipe: SelectorRecipe) -> int | None:
    """The recordings of the validation subset; None where training recordings measure, too."""
    if recipe.stage.reward_folds:
        return None
    rows = validation_subset(prepared, recipe.stage.validation_clips, recipe.seed)
    return len(np.unique(prepared.recordings[rows]))


def _train(
    learner: _Learner,
    environment: Environment,
    recipe: SelectorRecipe,
    folder: Path,
    known: DiagnosisContext,
) -> tuple[TrainingReport, list[dict[str, float]]]:
    """Train with curves, histograms and a state to resume from; draw the curves at the end.

    Returns:
        How it ended, and the figures of each step.
    """
    state, selector = folder / "selector-state.safetensors", learner.selector
    resume = _saved_state(state)
    curves: list[dict[str, float]] = list(resume[1]["curves"]) if resume else []
    total, trunk_lr = recipe.reinforce.selector_steps, recipe.stage.trunk_lr
    seldom = max(1, total // 15)  # 512 pairs through the Selector cost more than a step of training
    with (
        memory_for_selector(
            recipe.reinforce.selector_batch, recipe.classifier, learner.trunk.device
        ),
        progress("Selector", "steps") as report,
        Tracker(folder / "tensorboard", purge_step=len(curves)) as tracker,
    ):
        if not curves:
            tracker.begin_selector(recipe.flat())

        def log(step: int, figures: dict[str, float]) -> None:
            curves.append(figures)
            tracker.selector_step(figures, step)
            if step % seldom == 0 or step + 1 == total:
                tracker.histogram("omega/of_512_pairs", sample_omega(selector, environment), step)
            report(step + 1, total)

        trained = train_selector(
            selector, environment, recipe.reinforce, recipe.seed, log=log,
            checkpoints=Checkpoints(
                lambda tensors, facts: save_tensors(
                    state, tensors, facts | {"curves": curves, "taught": _TAUGHT}
                ),
                resume,
            ),
            trunk=TrainedTrunk(tuple(learner.trunk.parameters()), trunk_lr) if trunk_lr else None,
            known=known,
        )  # fmt: skip
        tracker.text("selector/verdict", str(trained.verdict), trained.steps)
    draw_curves(folder / "selector.png", curves, trained.verdict)
    write_json(folder / "curves.json", curves)
    return trained, curves


def _saved_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What an earlier call left to go on from, if what it taught is what is taught now."""
    if not path.is_file():
        return None
    tensors, facts = load_tensors(path)
    if facts.get("taught") == _TAUGHT:
        return tensors, facts
    say(
        "note: an earlier version began to train this Selector on other inputs; its training "
        "begins again"
    )
    return None


def warm_up(
    prepared: PreparedData, recipe: SelectorRecipe, folder: Path, device: torch.device
) -> VideoNetwork:
    """The classifier after `warmup_epochs` on real training clips alone."""
    settings, seed, epochs = recipe.classifier, recipe.seed, recipe.stage.warmup_epochs
    network = make_classifier(settings, len(prepared.videos.classes), seed, device)
    mix = TrainingMix(prepared.real, NO_PAIRS, 0)
    batches = MixedBatches(prepared.source, mix, settings.batch_size, settings.flip, seed, epochs)
    # Earlier versions exchanged other labels, which the classifier in the middle has learned.
    state = "warmup-probe.safetensors" if recipe.stage.probe else "warmup.safetensors"
    trainer = Trainer(TrainingJob(
        network, Supervised(), batches, settings, seed, Loading.of(recipe.workers, device),
        folder / state,
    ))  # fmt: skip
    with progress("warm up", "epochs") as report, memory_for_training(settings, device):
        trainer.train(lambda epoch, figures: report(epoch + 1, epochs))
    if not settings.sync_batchnorm:
        return network
    # The Selector's steps are process 0's alone, where batch norms would wait for the others.
    alone = make_classifier(settings, len(prepared.videos.classes), seed, device)
    alone.load_state_dict(network.state_dict())
    return alone


def selector_trunk(network: VideoNetwork, recipe: SelectorRecipe, device: torch.device) -> Trunk:
    """The Selector's frozen trunk: a copy of the classifier's as it is now, or one by name."""
    stage = recipe.stage
    if stage.trunk == "classifier":
        trunk = copy.deepcopy(network.trunk)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            trunk = build_network(stage.trunk, 1, stage.trunk_weights).trunk
        trunk.move_to(device, recipe.classifier.precision)
    return trunk.requires_grad_(False).eval()


def validation_subset(prepared: PreparedData, count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` validation rows, drawn once, of as many recordings as they allow.

    As even over the classes as these allow; within a class one clip of each recording first, in
    random order, then a second one of each, and so on: a reward is reliable as far as it has seen
    many recordings, and another clip of one that it knows adds little.
    """
    rng = np.random.default_rng([seed, 2])
    piles = [
        in_turns(rng.permutation(rows).tolist(), lambda row: int(prepared.recordings[row]))[::-1]
        for rows in prepared.rows_by_class(prepared.rows["val"])
    ]
    rows: list[int] = []
    while len(rows) < count and any(piles):
        rows += [pile.pop() for pile in piles if pile][: count - len(rows)]
    return np.sort(np.array(rows, dtype=np.int64))


@torch.inference_mode()
def sample_omega(selector: Selector, environment: Environment) -> Tensor:
    """ω of 512 pairs that are the same at every call, for a histogram."""
    batch = environment.sample(512, torch.Generator().manual_seed(0))
    return score_pairs(selector, batch).sigmoid().cpu()
