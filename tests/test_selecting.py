"""How a run comes to its pairs: of which arm its pairs file is, and what is computed for it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from l2a.runs import Run
from train import selecting
from train.settings.full import FullSettings
from train.settings.semi import SemiSettings

PAIRS = {
    name: np.array([[row, 9]]) for row, name in enumerate(("selector", "random", "pretrained"))
}
SETTINGS = replace(FullSettings(), semi=SemiSettings(pretrained_selector="before"))


class Watched(Run):
    """A run whose stages are noted, with what is written within them."""

    def __init__(self, folder: Path, done: list[str]) -> None:
        super().__init__(folder)
        object.__setattr__(self, "done", done)

    def fix_settings(self) -> None: ...

    @contextmanager
    def stage(self, name: str) -> Any:
        self.done.append(f"stage {name}")
        yield


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order; neither videos nor networks have a part in it."""
    done: list[str] = []
    choice = SimpleNamespace(selection=SimpleNamespace(pairs=PAIRS["pretrained"]))

    class PairChooser:
        rank, matching, caps = None, None, None

        def __init__(self, prepared: Any, *given: Any) -> None:
            self.prepared = prepared

        def at_random(self) -> Any:
            return PAIRS["random"]

        def valued(self, *given: Any) -> Any:
            return self

        def best(self, trained: Any, engine: Any) -> Any:
            done.append(f"choose by {trained}")
            if trained == "before":
                return choice
            return SimpleNamespace(selection=SimpleNamespace(pairs=PAIRS["selector"]))

    def write_selection(path: Path, chosen: Any, *given: Any) -> None:
        done.append(f"write {'pretrained' if chosen is choice else 'selector'}")

    def stage_one(*given: Any) -> str:
        done.append("train")
        return "own"

    for name, value in {
        "match_run": lambda *given: None, "resolve_budget": lambda *given: 1,
        "PairChooser": PairChooser,
        "open_selector": lambda *given: SimpleNamespace(trained="before"),
        "chosen_before": lambda *given: None, "write_selection": write_selection,
        "write_random": lambda *given: done.append("write random"),
        "draw_composites": lambda *given: done.append("draw"), "run_stage_one": stage_one,
        "as_chosen": lambda run, rank: rank, "replace": lambda one, **changes: one,
        "SelectorRecipe": SimpleNamespace(of=lambda settings: None),
    }.items():  # fmt: skip
        monkeypatch.setattr(selecting, name, value)
    return done


CHOSEN = ["stage stage one", "train", "stage select", "choose by own", "write selector", "draw"]


@pytest.mark.parametrize(
    ("kinds", "order"),
    [
        ({"none"}, []),
        ({"none", "random"}, ["write random", "draw"]),
        ({"pretrained"}, ["choose by before", "write pretrained", "draw"]),
        ({"none", "random", "pretrained"}, ["choose by before", "write random", "draw"]),
        ({"selector"}, CHOSEN),
        ({"none", "random", "selector"}, CHOSEN),
        ({"pretrained", "random", "selector"}, ["choose by before", *CHOSEN]),
    ],
)
def test_the_pairs_file_is_of_the_selector_or_else_of_random_pairs(
    kinds: set[str], order: list[str], done: list[str], tmp_path: Path
) -> None:
    recipe: Any = SimpleNamespace(stage=SimpleNamespace(probe=0.0))
    plan = selecting.SelectionPlan(cast(Any, None), None, recipe)
    prepared: Any = SimpleNamespace(videos=SimpleNamespace(classes=()))
    pairs = plan.pairs(Watched(tmp_path, done), prepared, SETTINGS, kinds)
    assert done == order
    assert set(pairs.first) == kinds - {"none"}
    assert all(pairs.first[kind] is PAIRS[kind] for kind in pairs.first)
    assert set(pairs.trained) == kinds - {"none", "random"}


def test_draws_of_a_selector_add_no_seconds_to_its_own_stage(
    done: list[str], tmp_path: Path
) -> None:
    """They are made within stage two, whose seconds theirs are."""
    recipe: Any = SimpleNamespace(stage=SimpleNamespace(probe=0.0))
    plan = selecting.SelectionPlan(cast(Any, None), None, recipe)
    prepared: Any = SimpleNamespace(videos=SimpleNamespace(classes=()))
    pairs = plan.pairs(Watched(tmp_path, done), prepared, SETTINGS, {"selector"})
    done.clear()
    assert pairs.trained["selector"]() == "own"  # type: ignore[comparison-overlap]
    assert done == ["train"]
