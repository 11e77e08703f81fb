"""`l2a few-shot train`: a method learns from episodes of the base classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors, without_prefix
from l2a.class_splits import ClassSplit, write_class_split
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import write_json
from l2a.logs import say
from l2a.networks import VideoNetwork
from l2a.runs import Run, is_fixed
from train.distributed import refuse_launcher
from train.few_shot.bench import (
    FewShotPlan,
    check_clips,
    check_method,
    choose_classes,
    frame_bank,
    make_network,
    new_method,
    split_facts,
)
from train.few_shot.episodes import DrawnEpisodes
from train.few_shot.evaluation import Codes, Evaluation
from train.few_shot.methods import FewShotMethod
from train.few_shot.opening import FewShotData, open_few_shot, read_every_video
from train.few_shot.training import EpisodeBatches, EpisodeTraining, history_of
from train.loading import Loading
from train.opening import hold_to_data
from train.settings.full import ClassifierSettings

WEIGHTS = "method.safetensors"
"""A run's file of all that was learned."""
CLASSES = "classes.yaml"
"""A run's file of its class split."""
_TRAINING = "training"
"""A run's folder of the state, the best weights and the measurements."""

_OWN = "leave it out: the method's own optimiser has none"
_IDLE = {
    "epochs": "give --train-episodes in its place",
    "batch_size": "give --episodes-per-step in its place",
    "lr": "give --episode-lr in its place",
    "momentum": _OWN,
    "weight_decay": _OWN,
}
"""What a classifier is trained by and a method is not, and what to do."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        folder: of the run.
        history: training episodes ─► accuracy on the validation episodes.
        text: for the terminal.
    """

    folder: Path
    history: Mapping[int, float]
    text: str


def few_shot_train(data: Path, out: Path, plan: FewShotPlan) -> Trained:
    """Train on the base classes; the same call continues a run that was stopped.

    Args:
        data: the data set's folder.
        out: the run's folder; it gets `method.safetensors` and `classes.yaml`.
        plan: all settings.

    Raises:
        InputError: the settings or the data are wrong.
        L2AError: the work failed.
    """
    refuse_launcher("few-shot train")
    refuse_idle(plan.full.classifier, out)
    check_method(plan)
    videos = read_every_video(data, plan.full.data)
    split = choose_classes(videos, plan)
    check_clips(videos, split, "base", plan.training_episodes())
    opened = open_few_shot(videos, split, out, plan.full)
    plan = replace(plan, full=replace(plan.full, prepare=opened.store.settings))
    run = Run.open(out, "few-shot train", plan.groups(), {"data": data, **split_facts(split)})
    hold_to_data(run, opened)
    with run.stage("prepare"):
        prepared = opened.prepare(
            plan.full.clips, plan.full.composite, layers=False, left_out=run.left_out()
        )
        run.write_skipped(prepared.videos.skipped)
    run.fix_settings()
    write_class_split(run.path(CLASSES), split)
    if not run.path(WEIGHTS).is_file():  # what is finished stays as it is
        found = FewShotData(prepared, split)
        network = make_network(plan)
        method = new_method(plan, network.trunk)
        with run.stage("training"):
            _train(run, plan, found, network, method)
        tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
        if not plan.frozen:
            own = network.state_dict()
            tensors |= {f"network.{name}": value for name, value in own.items()}
        save_tensors(run.path(WEIGHTS), tensors or {"nothing": torch.zeros(1)}, _card(plan))
    history = history_of(run.path(_TRAINING))
    write_json(run.path("metrics.json"), {"validation": history})
    return Trained(out, history, _text(plan, history))


def refuse_idle(settings: ClassifierSettings, out: Path) -> None:
    """Refuse settings of a classifier's training that learning from episodes never looks at.

    Args:
        settings: of a training on episodes.
        out: the run folder; earlier versions took such settings for nothing, and their runs go on.

    Raises:
        InputError: one of them is not at its default.
    """
    for name, instead in _IDLE.items():
        value = getattr(settings, name)
        if value == getattr(ClassifierSettings(), name):
            continue
        what = f"{name} is {value}, which `l2a few-shot train` has no use for"
        if not is_fixed(out):
            raise InputError(f"{what}; {instead}.")
        say(f"note: {what}")


def _train(
    run: Run, plan: FewShotPlan, data: FewShotData, network: VideoNetwork, method: FewShotMethod
) -> None:
    few, recipe = plan.few, method.recipe
    if plan.frozen and not any(True for _ in method.parameters()):
        say(f"{few.method} on a frozen trunk has nothing to learn")
        return
    per_step = few.episodes_per_step or recipe.episodes_per_step
    clips = data.clips("base")
    episodes = DrawnEpisodes(clips, plan.training_episodes(), few.train_episodes + per_step)
    batches = EpisodeBatches(
        episodes, few.train_episodes, per_step, few.validate_every or few.train_episodes,
        data.source, _features(plan, network, data) if plan.frozen else None,
        plan.full.classifier.flip, plan.full.run.seed,
    )  # fmt: skip
    training = EpisodeTraining(
        network, method, batches, plan.kind, few, plan.full.classifier,
        _validation(plan, data, network, method), run.path(_TRAINING), plan.full.run.seed,
    )  # fmt: skip
    device = pick_device(plan.full.classifier.device)
    training.run(Loading.of(plan.full.engine.workers, device))


def _features(plan: FewShotPlan, network: VideoNetwork, data: FewShotData) -> Tensor:
    """Features of the base clips by row of the bank; zeros elsewhere."""
    rows = data.rows["base"]
    own = frame_bank(plan, network.trunk, data).centre(rows)
    features = own.new_zeros(len(data.prepared.bank), *own.shape[1:])
    features[torch.from_numpy(rows)] = own
    return features


def _validation(
    plan: FewShotPlan, data: FewShotData, network: VideoNetwork, method: FewShotMethod
) -> Callable[[], float] | None:
    """What measures the validation classes; None where that is not asked for, or not possible."""
    few, clips = plan.few, data.clips("validation")
    if not few.validate_every:
        return None
    way = min(few.way, len(clips.classes))
    wanted = plan.episode_settings(way=max(2, way))
    try:
        episodes = DrawnEpisodes(clips, wanted, few.validation_episodes)
    except InputError as error:
        say(f"note: there is no measuring on validation classes, and training ends with its last "
            f"episode: {error}")  # fmt: skip
        return None
    if way < few.way:
        say(f"note: there are {way} validation classes: their episodes have as many, not {few.way}")
    kept = frame_bank(plan, network.trunk, data) if plan.frozen else None

    def measure() -> float:
        # A trunk that learns gives other features each time; they are not worth keeping.
        bank = kept or frame_bank(plan, network.trunk, data)
        method.eval()
        network.eval()
        codes = Codes(method, bank, len(data.prepared.bank), keep=kept is not None)
        values = Evaluation(codes, episodes, np.empty(0, np.int64)).values(
            range(few.validation_episodes), wanted.shot, None
        )
        method.train()
        return float(values.mean())

    return measure


def _card(plan: FewShotPlan) -> dict[str, Any]:
    return {
        "method": plan.few.method, "network": plan.full.classifier.network,
        "frozen": plan.frozen, "clips": vars(plan.full.clips),
    }  # fmt: skip


def load_trained(
    folder: Path, plan: FewShotPlan, network: VideoNetwork, method: FewShotMethod
) -> None:
    """Put what a run has learned into a network and a method.

    Raises:
        InputError: the run is not finished, damaged, or was made with other settings.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder} is not finished; the command that made it continues it.")
    tensors, card = load_tensors(path)
    own = _card(plan)
    for name, value in own.items():
        said = card.get(name) if isinstance(card, dict) else None
        if said != value:
            raise InputError(
                f"{folder} was trained with {name} {said} and not {value}; leave that setting out."
            )
    try:
        method.load_state_dict(without_prefix("method.", tensors))
        if not plan.frozen:
            network.load_state_dict(without_prefix("network.", tensors))
    except RuntimeError as error:
        raise InputError(
            f"{path} does not fit these settings ({str(error).splitlines()[-1].strip()}); leave "
            "the method's settings out."
        ) from None


def refuse_other_classes(folder: Path, split: ClassSplit) -> None:
    """Refuse to evaluate a run on another class split than it was trained with.

    Raises:
        InputError: it is another one: novel classes might be among those that it has seen.
    """
    said = Run(folder).read()["settings"].get("class_split_mark")
    if said != split_facts(split)["class_split_mark"]:
        raise InputError(
            f"{folder} was trained with another class split, so that novel classes may not be new "
            "to it; leave --class-split and --seed out, or train again."
        )


def _text(plan: FewShotPlan, history: Mapping[int, float]) -> str:
    if not history:
        return f"{plan.few.method}: trained"
    best = max(history, key=lambda episodes: history[episodes])
    return (
        f"{plan.few.method}: kept after {best} of {max(history)} episodes, "
        f"{100 * history[best]:.1f} % on the validation classes"
    )
