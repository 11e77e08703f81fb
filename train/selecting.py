"""How a run comes to its pairs, and `l2a select`, which does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compositing.settings import EngineSettings
from l2a.devices import pick_device
from l2a.runs import Run
from semantic_match.embed import make_embedder
from train.arms import PRETRAINED
from train.choosing import PairChooser, resolve_budget
from train.frozen.crossfit import refuse_few_recordings
from train.frozen.draws import ArmPairs
from train.opening import hold_to_data, open_data
from train.origin import Origin
from train.prepared import PreparedData
from train.recipe import SelectorRecipe
from train.records import (
    ScoredChoice,
    as_chosen,
    caps_classes,
    chosen_before,
    draw_composites,
    write_random,
    write_selection,
)
from train.settings.full import FullSettings
from train.stage_one import run_stage_one
from train.stages import check_matches, check_networks, match_run, prepare_run
from train.trained_selector import SelectorWithTrunk
from train.transfer import Reuse, open_selector
from train.video_table import VIDEOS, dropped_videos


@dataclass(frozen=True)
class SelectionPlan:
    """How a run comes to its pairs.

    Attributes:
        origin: what the pairs file says of itself.
        given: a Selector from before.
        recipe: how a new one is trained, or `given` further; None takes `given` as it is.
    """

    origin: Origin
    given: SelectorWithTrunk | None
    recipe: SelectorRecipe | None

    def pairs(
        self, run: Run, prepared: PreparedData, settings: FullSettings, kinds: Collection[str]
    ) -> ArmPairs:
        """The stages from matching to the chosen pairs of each of `kinds`.

        The run's pairs file is of its Selector; else of random pairs, or of a Selector from before
        that stands beside. From here on the run takes no other settings.
        """
        kinds = set(kinds) - {"none"}
        if not kinds:
            return ArmPairs({})
        matching = match_run(run, prepared, settings.match)
        budget = resolve_budget(settings.stage_two.budget, prepared, matching)
        run.fix_settings()
        drop = settings.stage_two.drop_real
        chooser = PairChooser(
            prepared, matching, settings.rank, budget, settings.run.seed, drop, caps_classes(run)
        )
        first: dict[str, NDArray[np.int64]] = {}
        trained: dict[str, Callable[[], SelectorWithTrunk]] = {}
        beside: ScoredChoice | None = None
        if "random" in kinds:
            first["random"] = chooser.at_random()
        if PRETRAINED in kinds:
            before = _pretrained(prepared, settings)
            beside = chooser.best(before, settings.engine)
            first[PRETRAINED], trained[PRETRAINED] = beside.selection.pairs, lambda: before
        if "selector" in kinds:
            first["selector"] = self.choose(run, chooser, settings.engine)
            trained["selector"] = lambda: self._selector(run, chooser)
            rank = settings.rank if PRETRAINED in kinds else as_chosen(run, settings.rank)
            return ArmPairs(
                first, replace(chooser, rank=rank), trained,
                lambda: dropped_rows(run, prepared, drop),
            )  # fmt: skip
        path = run.path("pairs.parquet")
        if "random" in kinds:
            write_random(path, first["random"], prepared, self.origin, chooser.caps)
        elif beside is not None:
            write_selection(path, beside, prepared, self.origin)
        draw_composites(run, prepared)
        return ArmPairs(first, chooser, trained)

    def choose(self, run: Run, chooser: PairChooser, engine: EngineSettings) -> NDArray[np.int64]:
        """The stages from a Selector to its pairs; what an earlier call has chosen is read.

        Args:
            run: its settings are fixed.
            chooser: of the pool.
            engine: spreads the scoring.

        Returns:
            Bank rows of the chosen pairs, int64 `[n, 2]`, best first.
        """
        before = chosen_before(run, chooser.prepared)
        if before is not None:
            return before
        if self.recipe is None:
            trained = self._selector(run, chooser)
        else:
            with run.stage("stage one"):
                trained = self._selector(run, chooser)
        with run.stage("select"):
            probe = self.recipe.stage.probe if self.recipe else 0.0
            choice = chooser.valued(run.path(VIDEOS), trained, probe).best(trained, engine)
            write_selection(run.path("pairs.parquet"), choice, chooser.prepared, self.origin)
            draw_composites(run, chooser.prepared)
        return choice.selection.pairs

    def _selector(self, run: Run, chooser: PairChooser) -> SelectorWithTrunk:
        """The run's Selector: the one from before, or one that is trained now, or was before.

        The seconds are those of the stage that asks.
        """
        if self.recipe is not None:
            return run_stage_one(
                chooser.prepared, chooser.matching, self.recipe, run.path("stage_one"),
                run.path("selector"), self.given,
            )  # fmt: skip
        if self.given is None:
            raise ValueError("Give a Selector, or a recipe to train one.")
        return self.given


def _pretrained(prepared: PreparedData, settings: FullSettings) -> SelectorWithTrunk:
    """The Selector from before whose pairs are one more arm."""
    reuse = Reuse(str(settings.semi.pretrained_selector))
    embedder, classes = settings.match.embedder, prepared.videos.classes
    recipe = SelectorRecipe.of(settings)
    return open_selector(reuse, recipe, settings.clips, embedder, classes).trained


def dropped_rows(run: Run, prepared: PreparedData, share: float) -> NDArray[np.int64]:
    """Bank rows of the real clips that the Selector's arms do without, by the run's table."""
    ids = sorted(dropped_videos(run.path(VIDEOS))) if share else []
    return np.array([prepared.bank.row(id_) for id_ in ids], dtype=np.int64)


def select(data: Path, out: Path, reuse: Reuse, settings: FullSettings) -> Path:
    """Choose the best pairs of a data set with a Selector that was trained before.

    The data set may have other classes, and another number of them. What an earlier call with the
    same settings has chosen is not chosen again.

    Args:
        data: the data set's folder.
        out: the run folder; it gets pairs.parquet and pictures, and with fine-tuning selector/.
        reuse: the Selector, and whether to train it further before it chooses.
        settings: clip geometry and embedder must be the Selector's.

    Returns:
        The path of pairs.parquet.

    Raises:
        InputError: the settings, the data or the Selector are wrong, or do not go together.
        L2AError: the work failed.
    """
    pick_device(settings.classifier.device)
    if reuse.finetune:
        check_networks(settings.classifier, settings.stage_one)
    make_embedder(settings.match.embedder)
    opened = open_data(data, out, settings.data, settings.prepare, settings.engine, settings.run)
    recipe = SelectorRecipe.of(settings)
    reused = open_selector(
        reuse, recipe, settings.clips, settings.match.embedder, opened.videos.classes
    )
    settings = replace(settings, selector=reused.settings, prepare=opened.store.settings)
    check_matches(opened.videos, settings.match)
    if reuse.finetune:
        refuse_few_recordings(opened.videos, settings.stage_one.reward_folds)
    run = Run.open(out, "select", settings.groups(), {"data": data, **reused.facts})
    hold_to_data(run, opened)
    prepared = prepare_run(run, opened, settings.clips, settings.composite)
    matching = match_run(run, prepared, settings.match)
    budget = resolve_budget(settings.stage_two.budget, prepared, matching)
    run.fix_settings()
    chooser = PairChooser(prepared, matching, settings.rank, budget, settings.run.seed)
    further = SelectorRecipe.of(settings) if reuse.finetune else None
    plan = SelectionPlan(Origin.of(settings, data), reused.trained, further)
    plan.choose(run, chooser, settings.engine)
    return run.path("pairs.parquet")
