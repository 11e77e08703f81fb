"""`l2a few-shot`: learn from episodes of base classes, and measure on novel ones."""

from __future__ import annotations

from pathlib import Path

from l2a.arguments import Arguments
from l2a.errors import InputError
from train.commands import show
from train.few_shot.bench import FewShotPlan
from train.settings.few_shot import (
    FewShotSettings,
    FewShotVerb,
    GivenSelector,
    OfData,
    OutFewShot,
)
from train.settings.few_shot_methods import ArnSettings, PrototypeSettings, TrxSettings
from train.settings.full import FullSettings


def run(arguments: Arguments) -> None:
    """Train or evaluate, and print what came of it.

    Raises:
        InputError: no folder is given to write to.
    """
    plan = FewShotPlan(
        FullSettings.of(arguments),
        arguments[FewShotSettings],
        tuple(arguments[kind] for kind in (PrototypeSettings, ArnSettings, TrxSettings)),
        arguments[GivenSelector].selector,
    )
    data, out = arguments[OfData].data, arguments[OutFewShot].out
    verbs = {"train": _train, "evaluate": _evaluate}
    verbs[arguments[FewShotVerb].verb](data, out, plan)


def _train(data: Path, out: Path | None, plan: FewShotPlan) -> None:
    from train.few_shot.run_training import few_shot_train

    if out is None:
        raise InputError("`l2a few-shot train` needs --out, the run's folder.")
    done = few_shot_train(data, out, plan)
    show(done.text, f"everything is in {done.folder}")


def _evaluate(data: Path, out: Path | None, plan: FewShotPlan) -> None:
    from train.few_shot.run_evaluation import few_shot_evaluate

    done = few_shot_evaluate(data, out, plan)
    show(done.text, "", f"everything is in {done.folder}")
