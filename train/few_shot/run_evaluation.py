"""`l2a few-shot evaluate`: accuracy on episodes of the novel classes, with and without composites.

All ways of choosing composites are measured on the same episodes, so that their differences can be
taken in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compositing.records import unfit_rows
from l2a.class_splits import ClassSplit, write_class_split
from l2a.errors import InputError
from l2a.files import file_sha256, read_json, write_json, write_text
from l2a.logs import say
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
    refuse_data,
    split_facts,
)
from train.few_shot.composites import (
    Candidates,
    Compositor,
    KnownScores,
    ScorePairs,
    draw_candidates,
)
from train.few_shot.episodes import DrawnEpisodes, EpisodeClips, Episodes
from train.few_shot.evaluation import Codes, Evaluation, Measured
from train.few_shot.opening import FewShotData, open_few_shot, read_every_video
from train.few_shot.ranking import (
    base_view,
    check_new_to,
    given_selector,
    pair_scores,
    partners,
    train_base_selector,
)
from train.few_shot.run_training import CLASSES, WEIGHTS, load_trained, refuse_other_classes
from train.few_shot.saved import (
    SavedEpisodes,
    check_episode_file,
    refuse_other_episodes,
    write_episodes,
)
from train.few_shot.table import Arm, results_json, results_table
from train.opening import hold_to_data
from train.settings.few_shot import Choice
from train.trained_selector import SelectorWithTrunk
from train.transfer import Reused

Rows = NDArray[np.int64]

SPEEDS = "speed.json"
"""A run's file of how many episodes a second each of its parts took."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to.

    Attributes:
        folder: of the run.
        arms: choice and number of shots ─► the accuracy of each episode.
        text: the table for the terminal.
    """

    folder: Path
    arms: Mapping[tuple[Choice, int], Measured]
    text: str


def few_shot_evaluate(target: Path, out: Path | None, plan: FewShotPlan) -> Evaluated:
    """Measure a method on episodes of the novel classes; the same call continues what was stopped.

    Args:
        target: the data set's folder, or the run of `few_shot_train`.
        out: the run's folder; `target`/evaluation if not given and `target` is a run.
        plan: all settings.

    Raises:
        InputError: the settings or the data are wrong, or the run is another one's.
        L2AError: the work failed.
    """
    refuse_launcher("few-shot evaluate")
    trained = target if (target / "run.yaml").is_file() else None
    data = target if trained is None else data_of(trained)
    out = _out(out, trained)
    check_method(plan)
    begun = is_fixed(out)
    if (file := plan.few.episode_file) is not None and file.is_file():
        check_episode_file(file, plan.episode_settings(), plan.few.episodes, begun=begun)
    videos = read_every_video(data, plan.full.data)
    split = choose_classes(videos, plan)
    if trained is not None:
        refuse_other_classes(trained, split)
    check_clips(videos, split, "novel", plan.episode_settings())
    network = make_network(plan)
    method = new_method(plan, network.trunk)
    if trained is not None:
        load_trained(trained, plan, network, method)
    elif any(True for _ in method.parameters()):
        raise refuse_data(target, plan.few.method)
    given = _given(plan)
    if given is not None:
        check_new_to(given.trained.card, split, videos, begun=begun)
    opened = open_few_shot(videos, split, out, plan.full)
    plan = replace(plan, full=replace(plan.full, prepare=opened.store.settings))
    run = Run.open(
        out, "few-shot evaluate", plan.groups(),
        {
            "data": data, "trained": trained, "selector": plan.selector, **split_facts(split),
            **_weights(trained, given),
        },
    )  # fmt: skip
    hold_to_data(run, opened)
    layers = any(choice != "none" for choice in plan.few.choices)
    with run.stage("prepare"):
        prepared = opened.prepare(
            plan.full.clips, plan.full.composite, layers=layers, left_out=run.left_out()
        )
        run.write_skipped(prepared.videos.skipped)
        run.write_unfit(unfit_rows(prepared.records.values()))
    run.fix_settings()
    write_class_split(run.path(CLASSES), split)
    found = FewShotData(prepared, split)
    episodes = open_episodes(found.clips("novel"), plan)
    refuse_other_episodes(run.path("episodes", "of.json"), episodes)
    with run.stage("scenes"):
        compositors = _compositors(run, plan, found, None if given is None else given.trained)
    codes = Codes(method.folded(), frame_bank(plan, network.trunk, found), len(prepared.bank))
    with run.stage("features"):
        _encode(codes, found, compositors)
    evaluation = Evaluation(codes, episodes, found.rows["base"])
    with run.stage("episodes"):
        arms = _measure(run, plan, evaluation, compositors)
    return _summary(run, plan, split, arms, apart=episodes.settings.group_disjoint)


def _out(out: Path | None, trained: Path | None) -> Path:
    if out is not None:
        return out
    if trained is None:
        raise InputError("`l2a few-shot` needs --out, the run's folder, where data are given.")
    return trained / "evaluation"


def data_of(run: Path) -> Path:
    """The data set that a run of `l2a few-shot train` was made of.

    Raises:
        InputError: it is the run of another command.
    """
    said = Run(run).read()
    if said["command"] != "few-shot train":
        raise InputError(
            f"{run} was made by `l2a {said['command']}`; give a run of `l2a few-shot train`, or "
            "the data set's folder."
        )
    return Run(run).found(str(said["settings"]["data"]))


def open_episodes(clips: EpisodeClips, plan: FewShotPlan) -> Episodes:
    """The episodes of a file, or drawn, and then written to it if it is asked for.

    Raises:
        InputError: the file is damaged, or is of other clips or classes.
    """
    few, path = plan.few, plan.few.episode_file
    if path is not None and path.is_file():
        say(f"episodes: {few.episodes} of {path}")
        return SavedEpisodes(path, clips)
    drawn = DrawnEpisodes(clips, plan.episode_settings(), few.episodes)
    if path is not None:
        write_episodes(path, drawn)
        say(f"episodes: {few.episodes} written to {path}")
    return drawn


def _weights(trained: Path | None, given: Reused | None) -> dict[str, Any]:
    """Checksums of a method and a Selector from before: one trained again under the same name is
    another."""
    found: dict[str, Any] = {}
    if trained is not None:
        found["method_weights"] = file_sha256(trained / WEIGHTS)[:16]
    if given is not None:
        found["selector_weights"] = given.facts["selector_weights"]
    return found


def _given(plan: FewShotPlan) -> Reused | None:
    """The Selector from before, if one is named and used: what is wrong with it is said now."""
    if plan.selector is None or "selector" not in plan.few.choices:
        return None
    return given_selector(plan.selector, plan.full)


def _compositors(
    run: Run, plan: FewShotPlan, data: FewShotData, given: SelectorWithTrunk | None
) -> dict[Choice, Compositor]:
    """What makes the composites of each choice; k is still that of one shot."""
    few, seed = plan.few, plan.full.run.seed
    choices = [choice for choice in few.choices if choice != "none"]
    if not choices:
        return {}
    actors = data.usable("novel", "foreground")
    scenes = data.usable("novel", "background")
    score: ScorePairs | None = None
    if "selector" in choices:
        base = base_view(data, plan.full.data.val_share, seed)
        trained = given or train_base_selector(base, plan.full, run.folder)
        score = KnownScores(pair_scores(trained, data, base, plan.full))
    candidates: Candidates | None = None
    if few.backgrounds == "base":
        candidates = _candidates(plan, data, actors)
        if score is not None:
            candidates = candidates.rank(score)
    able = len(actors) if candidates is None else len(candidates.scenes)
    say(f"composites: {able} of {len(data.rows['novel'])} novel clips are fit as foreground")
    return {
        choice: Compositor(
            choice, 1, seed, candidates, score, frozenset(actors.tolist()),
            frozenset(scenes.tolist()),
        )
        for choice in choices
    }  # fmt: skip


def _candidates(plan: FewShotPlan, data: FewShotData, actors: Rows) -> Candidates:
    """Scenes of base clips for each actor, of the classes that are matched with its own."""
    prepared = data.prepared
    lent = partners(data.split.novel, data.split.base, plan.full.match)
    scenes, labels = data.usable("base", "background"), data.source.labels
    classes = prepared.videos.classes
    of_class = {
        name: scenes[np.isin(labels[scenes], [classes.index(own) for own in bases])]
        for name, bases in lent.items()
    }
    if alone := [name for name, rows in of_class.items() if not len(rows)]:
        say(
            f"note: no base class lends scenes to {', '.join(alone)}, whose clips stay as they "
            "are; give more --matches"
        )
    return draw_candidates(
        actors, lambda row: of_class[classes[int(labels[row])]], prepared.bank.ids,
        plan.few.candidates, plan.full.run.seed,
    )  # fmt: skip


def _encode(codes: Codes, data: FewShotData, compositors: Mapping[Choice, Compositor]) -> None:
    """Make all codes that are known to be needed, so that episodes wait for none."""
    rows = data.rows["novel"]
    codes.of(np.stack([rows, rows], axis=1))
    for compositor in compositors.values():
        if compositor.candidates is not None:
            codes.of(compositor.candidates.pairs)


def _measure(
    run: Run, plan: FewShotPlan, evaluation: Evaluation, compositors: Mapping[Choice, Compositor]
) -> dict[tuple[Choice, int], Measured]:
    """The accuracy of each episode, for each choice of composites and each number of shots."""
    few, found = plan.few, {}
    speeds = read_json(run.path(SPEEDS)) if run.path(SPEEDS).is_file() else {}
    for choice in few.choices:
        for shot in few.shots:
            compositor = compositors.get(choice)
            if compositor is not None:
                compositor = replace(compositor, count=few.composites_per_class or shot)
            title = f"{choice}, {shot} shots" if choice != "none" else f"{shot} shots"
            found[choice, shot] = measured = evaluation.accuracies(
                few.episodes, shot, compositor, run.path("episodes", f"{choice}-{shot}.npy"),
                few.chunk, title,
            )  # fmt: skip
            if measured.per_second is not None:
                say(f"{title}: {measured.per_second:.0f} episodes a second")
                speeds[f"{choice}-{shot}"] = round(measured.per_second, 1)
                write_json(run.path(SPEEDS), speeds)
    return found


def _summary(
    run: Run, plan: FewShotPlan, split: ClassSplit, arms: Mapping[tuple[Choice, int], Measured],
    *, apart: bool,
) -> Evaluated:  # fmt: skip
    few = plan.few
    rows = [Arm(choice, shot, one.values) for (choice, shot), one in arms.items()]
    text = results_table(few, rows, apart=apart)
    write_json(run.path("metrics.json"), results_json(few, split, rows, apart=apart))
    write_text(run.path("table.txt"), text + "\n")
    return Evaluated(run.folder, arms, text)
