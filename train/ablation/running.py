"""The runs of an ablation, one after another or side by side; finished ones are read, failed ones
are listed."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from l2a.errors import InputError
from l2a.files import read_json
from l2a.formats import DataSettings, read_videos
from l2a.locks import locked_meanwhile
from l2a.logs import LOGGER, listening, opened_run, say
from l2a.progress import in_words
from l2a.runs import Run
from l2a.videos import carve_validation
from train.ablation.ahead import begin, sharing
from train.ablation.drawn import write_tables
from train.ablation.plan import LAYERS, MASKS, Plan, PlannedRun
from train.ablation.results import Outcome, Results, read_outcome
from train.ablation.spread import Spread
from train.attempts import why_failed
from train.opening import data_mark, sources_of
from train.report import NAME as PAGE
from train.scene_test.clips import APART
from train.scene_test.stage import wants_scene_test
from train.settings.full import FullSettings
from train.transfer import NOT_REUSED
from train.two_stage import train

Train = Callable[[Path, Path, FullSettings], object]
"""What makes a run: `train.two_stage.train`."""

Begin = Callable[[Path, PlannedRun], None]
"""What makes what a run shares with others: `train.ablation.ahead.begin`."""

DONE = "table.txt"
"""What a run writes when all its figures are there; its page comes last (`finished`)."""


def run_all(plan: Plan, work: Train = train) -> Results:
    """Make every run that is not finished, one after another; the tables are written after each.

    Args:
        plan: the runs; the ablation's own folder is open.
        work: makes one.

    Returns:
        What came out, the runs that failed among them.
    """
    _share_all_masks(plan)
    outcomes: dict[PlannedRun, Outcome] = {}
    took: list[float] = []
    for number, run in enumerate(plan.runs, 1):
        say(f"── run {number} of {len(plan.runs)}: {run.title}")
        began = time.monotonic()
        outcomes[run], fresh = one(plan.data, run, work)
        _write(plan, outcomes)
        if fresh:
            took.append(time.monotonic() - began)
            _tell_time(sum(took), len(took), sum(not finished(o) for o in plan.runs[number:]))
    return Results(plan.table, outcomes)


def run_side_by_side(
    plan: Plan, spread: Spread, work: Train = train, begin: Begin = begin
) -> Results:
    """As `run_all`, but with runs side by side; what they share is made first, one by one.

    Args:
        plan: the runs; the ablation's own folder is open.
        spread: gives them to processes.
        work: makes one, in another process.
        begin: makes what several share, in this process.

    Returns:
        The same results, up to rounding where a run now computes on another number of cores.
    """
    _share_all_masks(plan)
    outcomes = {run: one(plan.data, run, work)[0] for run in plan.runs if finished(run)}
    with spread:
        tasks: dict[PlannedRun, RunTask] = {}
        groups = sharing(run for run in plan.runs if run not in outcomes)
        for number, group in enumerate(groups, 1):
            say(f"── layers and clips {number} of {len(groups)}: {group[0].title}")
            for place, run in enumerate(group):
                reason = _reason(run, partial(begin, plan.data, run))
                if not reason:
                    tasks |= {one: RunTask(plan.data, one, work) for one in group[place:]}
                    break
                # It may be wrong with this run alone: the next one tries.
                outcomes[run] = Outcome(failed=reason)
        _write(plan, outcomes)
        say(f"── {len(tasks)} of {len(plan.runs)} runs to make, side by side")
        began = time.monotonic()
        # In the plan's order: a table that is interrupted has whole pairs to compare.
        ordered = {run: tasks[run] for run in plan.runs if run in tasks}
        for number, (run, found) in enumerate(spread(ordered), 1):
            outcomes[run] = Outcome(failed=found) if isinstance(found, str) else found
            _write(plan, outcomes)
            _tell(run, outcomes[run], f"{number} of {len(tasks)}")
            _tell_time(time.monotonic() - began, number, len(tasks) - number)
    return _results(plan, outcomes)


@dataclass(frozen=True)
class RunTask:
    """A run, as it travels to the process that makes it.

    Attributes:
        data: the data set's folder.
        run: which.
        work: makes it.
    """

    data: Path
    run: PlannedRun
    work: Train

    def __call__(self, cores: int) -> Outcome:
        """Make it on so many cores. What is said goes to its `run.log`; a screen is one for all."""
        torch.set_num_threads(cores)
        settings = self.run.settings
        engine = replace(
            settings.engine,
            engine="local",
            ray_address=None,
            workers=cores,
            devices=self._devices(),
        )
        run = replace(self.run, settings=replace(settings, engine=engine))
        # Its process may be kept, by Ray, for another run.
        with listening(logging.CRITICAL + 1), locked_meanwhile():
            return one(self.data, run, self.work)[0]

    def _devices(self) -> str:
        """Where its process prepares: a GPU that was dealt out to it is its only one, by whatever
        number the command knows it."""
        engine, device = self.run.settings.engine, self.run.settings.classifier.device
        sees_all = engine.engine != "ray" and (device == "cpu" or device.startswith("cuda:"))
        return engine.devices if sees_all or engine.devices == "cpu" else "auto"


def _results(plan: Plan, outcomes: dict[PlannedRun, Outcome]) -> Results:
    """In the order of the plan, whichever came first."""
    return Results(plan.table, {run: outcomes[run] for run in plan.runs if run in outcomes})


def _write(plan: Plan, outcomes: dict[PlannedRun, Outcome]) -> None:
    opened_run(plan.out)  # whose log goes on
    write_tables(plan.out, _results(plan, outcomes))


def _tell(run: PlannedRun, outcome: Outcome, number: str) -> None:
    if outcome.failed:
        LOGGER.error(f"{run.title}: {outcome.failed}")
    else:
        say(f"── {number}: {run.title}: top-1 {100 * outcome.figures['top1']:.1f} %")


def _tell_time(seconds: float, runs: int, left: int) -> None:
    """Say how long the runs that are left will take, by those that were made in so many seconds."""
    if left:
        say(f"{runs} made in {in_words(seconds)}; the other {left} will take about "
            f"{in_words(left * seconds / runs)}")  # fmt: skip


def one(data: Path, run: PlannedRun, work: Train) -> tuple[Outcome, bool]:
    """What one run came to, and whether anything was computed for it."""
    found: list[Outcome] = []
    fresh = not finished(run)

    def make() -> None:
        if fresh:
            work(data, run.folder, run.settings)
        else:
            facts = {"data": data, **NOT_REUSED}
            own = Run(run.folder)
            own.refuse_other("train", run.settings.groups(), facts)
            own.refuse_other_data(_data_mark(data, run.settings.data, run.settings.run.seed))
            say(f"{run.folder} is finished")
        found.append(read_outcome(run))

    reason = _reason(run, make)
    return (Outcome(failed=reason), True) if reason else (found[0], fresh)


@functools.lru_cache(maxsize=64)
def _data_mark(data: Path, settings: DataSettings, seed: int) -> str:
    """That of a run of this split and seed, for all rows."""
    videos = carve_validation(read_videos(data, settings), settings.val_share, seed)
    return data_mark([videos], sources_of(videos))


def _reason(run: PlannedRun, do: Callable[[], object]) -> str:
    """Do something for a run: why it failed, which costs this run alone; "" where it did not."""
    if reason := why_failed(do):
        LOGGER.error(f"{run.title}: {reason}")
    return reason


def finished(run: PlannedRun) -> bool:
    """Whether a run has written all that it writes: its figures, then its page, which `l2a report`
    writes of a run that is under way, too; and a scene test, where one is asked for now."""
    written = all((run.folder / name).is_file() for name in (DONE, PAGE))
    return written and not _lacks_scene_test(run)


def _lacks_scene_test(run: PlannedRun) -> bool:
    """A test that was tried and left out counts as lacking: the run is opened and says so again."""
    if not wants_scene_test(run.settings.stage_two):
        return False
    try:
        found = read_json(run.folder / "metrics.json")
    except InputError:
        return False  # which is said, of this run alone, when its figures are read
    return isinstance(found, dict) and "scene_test" not in found


def _share_all_masks(plan: Plan) -> None:
    """Let the layer stores that are made here share their raw masks."""
    own = plan.out / LAYERS
    for store in plan.stores():
        if store.parent == own:
            share_masks(store, plan.masks)
            # Of test videos, for the scene test: apart, as all that is theirs.
            share_masks(store.with_name(store.name + APART), own / (MASKS + APART))


def share_masks(store: Path, masks: Path) -> None:
    """Let a layer store keep its raw masks where the others do: they are found once.

    Raw masks do not depend on what the rows differ in; their file names tell segmenters apart.
    Where links cannot be made, each store finds its own.
    """
    place = store / MASKS
    if place.is_symlink() or place.exists() or place == masks:
        return
    masks.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(os.path.relpath(masks.resolve(), store.resolve()), True)
    except OSError as error:
        LOGGER.debug(f"{place} cannot be a link ({error}); masks are found again for this store")
